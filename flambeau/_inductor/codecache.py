"""Where compiled code is kept: flambeau's own cache, since there is no inductor here. Libraries import the module for its side effects."""

from flambeau._ground.cache import Cache


def cache_dir() -> str:
    """The folder of compiled kernels."""
    return str(Cache().folder)

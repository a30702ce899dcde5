"""A hook that sends nothing: what remains is the time of computing."""

from typing import Any

from flambeau.futures import _done

__all__ = ["noop_hook"]


def noop_hook(_: Any, bucket: Any) -> Any:
    """Every rank keeps its own gradients."""
    return _done(bucket.buffer())

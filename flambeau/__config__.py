"""How this library is made, as text: `torch.__config__.show()`."""

from __future__ import annotations


def show() -> str:
    """What stands where PyTorch lists its compiler and its libraries."""
    import numpy

    from flambeau import version
    from flambeau.utils.collect_env import processor

    lines = [f"flambeau {version.flambeau}, Python", f"NumPy {numpy.__version__}", f"Processor {processor()}"]
    return "PyTorch built with:\n" + "".join(f"  - {line}\n" for line in lines)


def parallel_info() -> str:
    """How many threads large operations use."""
    import flambeau

    return f"flambeau:\n\ttorch.get_num_threads() : {flambeau.get_num_threads()}\n"


def _cxx_flags() -> str:
    return ""

"""Programs on many processes: not there yet, and `is_available` says so, as in builds of PyTorch without it."""

import importlib


def is_available() -> bool:
    """Whether processes can work together here.

    >>> is_available()
    False
    """
    return False


class ProcessGroup:
    """Processes that work together: named in annotations; none is ever made here."""


def __getattr__(name: str) -> object:
    if name in ("checkpoint", "device_mesh", "fsdp", "optim", "rpc", "tensor"):
        return importlib.import_module(f"{__name__}.{name}")
    # Names are missing rather than stubbed: libraries ask `is_available` first, and `hasattr` must say the truth.
    raise AttributeError(
        f"module 'torch.distributed' has no attribute '{name}': flambeau has no torch.distributed yet "
        "(torch.distributed.is_available() is False)"
    )

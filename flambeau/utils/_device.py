"""Default devices under PyTorch's private path, which libraries import; `with flambeau.device(...)` is the way to set one."""

import flambeau

from ._contextlib import context_decorator


class DeviceContext:
    """Inside, new tensors are made on `device`."""

    def __init__(self, device) -> None:
        self.device = flambeau.device(device)

    def __enter__(self):
        self.device.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.device.__exit__(*error)


def device_decorator(device, func):
    """`func`, inside which new tensors are made on `device`."""
    return context_decorator(lambda: device, func)


def set_device(device):
    """A decorator: inside the function, new tensors are made on `device`."""
    return lambda func: device_decorator(flambeau.device(device), func)


def __getattr__(name):
    if name == "CURRENT_DEVICE":
        found = flambeau.get_default_device()
        return None if found.type == "cpu" else found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""What the namespaces of devices that are not there have in common: `torch.cuda`, `torch.xpu`, `torch.mtia`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn


class Dummy:
    """Objects of a device: there is none, so that none can be made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"Tried to instantiate dummy base class {type(self).__name__}")


class Device:
    """Uses a device inside a ``with``; without one, a negative number or None is allowed."""

    refuse: Callable[..., NoReturn]

    def __init__(self, device: Any) -> None:
        self.idx = -1 if device is None else device

    def __enter__(self) -> None:
        if not (isinstance(self.idx, int) and self.idx < 0):
            type(self).refuse()

    def __exit__(self, *_: object) -> None:
        return None


class StreamContext:
    """The block in which a stream is used; None changes nothing."""

    refuse: Callable[..., NoReturn]

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            type(self).refuse()

    def __exit__(self, *_: object) -> None:
        return None


class Recorded:
    """Would record the work inside the block as a graph."""

    refuse: Callable[..., NoReturn]

    def __init__(self, graph: Any, pool: Any = None, stream: Any = None, **_: Any) -> None:
        type(self).refuse()


def within(refuse: Callable[..., NoReturn]) -> Callable[..., Any]:
    """`use_mem_pool`: a block whose memory would come from a pool."""

    @contextlib.contextmanager
    def use_mem_pool(pool: Any, device: Any = None) -> Iterator[None]:
        """Takes memory from a pool inside a ``with``."""
        refuse()
        yield

    return use_mem_pool


def monitor(package: str, error: Callable[[], Exception], refuse: Callable[..., NoReturn]) -> Callable[..., Any]:
    """A reading of a device's sensors, for which PyTorch asks a package first."""

    def read(device: Any = None) -> int:
        """What the device's sensors say."""
        import importlib.util

        if importlib.util.find_spec(package) is None:
            raise error()
        refuse()

    return read

"""The standard's Fourier extension: PyTorch's transforms by the standard's argument names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau import Tensor, dtype as DType, fft as _fft


def _one(name: str) -> Callable[..., Tensor]:
    transform = getattr(_fft, name)

    def call(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
        return transform(x, n=n, dim=axis, norm=norm)

    return _named(call, name, "along one axis")


def _many(name: str) -> Callable[..., Tensor]:
    transform = getattr(_fft, name)

    def call(
        x: Tensor, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
    ) -> Tensor:
        return transform(x, s=s, dim=axes, norm=norm)

    return _named(call, name, "along several axes")


def _moved(name: str) -> Callable[..., Tensor]:
    move = getattr(_fft, name)

    def call(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
        return move(x, dim=axes)

    return _named(call, name, "along axes")


def _frequencies(name: str) -> Callable[..., Tensor]:
    make = getattr(_fft, name)

    def call(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Any = None) -> Tensor:
        return make(n, d=d, dtype=dtype or flambeau.get_default_dtype(), device=device)

    return _named(call, name, "of n samples d apart")


def _named(call: Any, name: str, where: str) -> Any:
    call.__name__ = call.__qualname__ = name
    call.__doc__, call.__module__ = f"`flambeau.fft.{name}` {where}.", __name__
    return call


_KINDS = {
    _one: ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"),
    _many: ("fftn", "ifftn", "rfftn", "irfftn"),
    _moved: ("fftshift", "ifftshift"),
    _frequencies: ("fftfreq", "rfftfreq"),
}
for _make, _names in _KINDS.items():
    for _name in _names:
        globals()[_name] = _make(_name)
__all__ = [name for names in _KINDS.values() for name in names]

"""Fourier transforms by kernels (fft.py) or SciPy, in the precision of their input. Modes: divide by nothing, the root of n, n."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau._backends.cpu.library_memory import copied
from flambeau._backends.cpu.library_product import native


def library() -> Any:
    """SciPy's transforms, which are several times faster than NumPy's; NumPy's where there is no SciPy."""
    try:
        import scipy.fft
    except ModuleNotFoundError:
        return np.fft
    return scipy.fft


_FORWARD: tuple[Any, ...] = ("backward", "ortho", "forward")
_INVERSE: tuple[Any, ...] = ("forward", "ortho", "backward")
NATIVE = 1 << 11  # numbers from which a generated kernel transforms them


def _complex(x: Any) -> Any:
    return np.result_type(x.dtype, np.complex64)


def _scale(mode: int, n: int) -> float:
    return (1.0, 1 / math.sqrt(n), 1 / n)[mode]


def _native(x: Any, kind: str, dims: tuple[int, ...], n: int, mode: int, inverse: bool) -> Any:
    """x transformed by kernels: the last of the dims (of n points) as its kind says, the others as complex numbers.

    None where there is no kernel for it.
    """
    if x.size < NATIVE or x.dtype.name not in REAL or not native():
        return None
    from flambeau._backends.cpu.fft_plan import covers, one

    points = [*(x.shape[d] for d in dims[:-1]), n]
    if not all(covers(x, "c2c", d, m) for d, m in zip(dims[:-1], points, strict=False)) or not covers(
        x, kind, dims[-1], n
    ):
        return None
    scale = _scale(mode, math.prod(points))
    if dims == (x.ndim - 1,) and not x.flags.c_contiguous:
        for d in range(x.ndim - 1):  # the kernel reads a dim that lies further out where it is
            turned = np.moveaxis(x, -1, d)
            if turned.flags.c_contiguous and covers(turned, kind, d, n):
                return one(turned, kind, d, n, inverse, scale, rows=True)
    x = x if x.flags.c_contiguous else copied(x, format="contiguous_format")
    steps = [(kind, dims[-1], n), *(("c2c", d, x.shape[d]) for d in reversed(dims[:-1]))]
    if kind == "c2r":
        steps.reverse()
    for i, (what, d, m) in enumerate(steps):
        x = one(x, what, d, m, inverse, scale if i == 0 else 1.0, i > 0)
    return x


REAL = frozenset(("float32", "float64", "complex64", "complex128"))


def _planned(transform: Callable[..., Any], x: Any, dims: tuple[int, ...], whole: bool) -> Any:
    """The transform over dims, laid out as PyTorch's plans leave it: the dims that stay in the order of their strides, then the
    transformed ones likewise, but for the last of them where that one is halved (not `whole`)."""
    by_stride = lambda some: sorted(some, key=lambda d: -x.strides[d])
    free = dims if whole else dims[:-1]
    order = [*by_stride(d for d in range(x.ndim) if d not in dims), *by_stride(free), *dims[len(free) :]]
    if order == list(range(x.ndim)):
        return transform(x, dims)
    made = transform(x.transpose(order), tuple(map(order.index, dims)))
    made = made if made.flags.c_contiguous else copied(made, format="contiguous_format")
    return made.transpose(np.argsort(order))


def c2c(x: Any, *, dims: tuple[int, ...], mode: int, forward: bool) -> Any:
    if not dims or not x.size:
        return x.astype(_complex(x))
    return _planned(lambda x, dims: _c2c(x, dims, mode, forward), x, dims, True)


def _c2c(x: Any, dims: tuple[int, ...], mode: int, forward: bool) -> Any:
    found = _native(x, "c2c", dims, x.shape[dims[-1]], mode, not forward)
    if found is not None:
        return found
    fft = library()
    if len(dims) == 1:
        out = (
            fft.fft(x, axis=dims[0], norm=_FORWARD[mode]) if forward else fft.ifft(x, axis=dims[0], norm=_INVERSE[mode])
        )
    else:
        out = fft.fftn(x, axes=dims, norm=_FORWARD[mode]) if forward else fft.ifftn(x, axes=dims, norm=_INVERSE[mode])
    return out.astype(_complex(x), copy=False)


def r2c(x: Any, *, dims: tuple[int, ...], mode: int, onesided: bool) -> Any:
    return _planned(lambda x, dims: _r2c(x, dims, mode, onesided), x, dims, False)


def _r2c(x: Any, dims: tuple[int, ...], mode: int, onesided: bool) -> Any:
    if x.size:
        kind = "r2c" if onesided else "r2full"
        found = _native(x, kind, dims, x.shape[dims[-1]], mode, False)
        if found is not None:
            return found
    if not onesided:
        return _c2c(x.astype(_complex(x)), dims, mode, True) if x.size else x.astype(_complex(x))
    if not x.size:
        shape = list(x.shape)
        shape[dims[-1]] = shape[dims[-1]] // 2 + 1
        return np.zeros(shape, _complex(x))
    fft = library()
    out = (
        fft.rfft(x, axis=dims[0], norm=_FORWARD[mode])
        if len(dims) == 1
        else fft.rfftn(x, axes=dims, norm=_FORWARD[mode])
    )
    return out.astype(_complex(x), copy=False)


def c2r(x: Any, *, dims: tuple[int, ...], mode: int, last: int) -> Any:
    if not x.size:
        shape = list(x.shape)
        shape[dims[-1]] = last
        return np.zeros(shape, x.real.dtype)
    return _planned(lambda x, dims: _c2r(x, dims, mode, last), x, dims, False)


def _c2r(x: Any, dims: tuple[int, ...], mode: int, last: int) -> Any:
    found = _native(x, "c2r", dims, last, mode, True)
    if found is not None:
        return found
    fft = library()
    if len(dims) > 1:
        x = _c2c(x, dims[:-1], mode, False)
    return fft.irfft(x, last, axis=dims[-1], norm=_INVERSE[mode]).astype(x.real.dtype, copy=False)


def frequencies(*, n: int, spacing: float, real: bool, dtype: Any) -> Any:
    fft = library()
    return (fft.rfftfreq(n, spacing) if real else fft.fftfreq(n, spacing)).astype(dtype.np)

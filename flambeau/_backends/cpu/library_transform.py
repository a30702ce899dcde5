"""Fourier transforms by kernels (fft.py) or SciPy, in the precision of their input. Modes: divide by nothing, the root of n, n."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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
    from flambeau._backends.cpu.fft import covers, one

    points = [*(x.shape[d] for d in dims[:-1]), n]
    if not all(covers(x, "c2c", d, m) for d, m in zip(dims[:-1], points, strict=False)) or not covers(
        x, kind, dims[-1], n
    ):
        return None
    x = np.ascontiguousarray(x)
    scale = _scale(mode, math.prod(points))
    steps = [(kind, dims[-1], n), *(("c2c", d, x.shape[d]) for d in reversed(dims[:-1]))]
    if kind == "c2r":
        steps.reverse()
    for i, (what, d, m) in enumerate(steps):
        x = one(x, what, d, m, inverse, scale if i == 0 else 1.0, i > 0)
    return x


REAL = frozenset(("float32", "float64", "complex64", "complex128"))


def c2c(x: Any, *, dims: tuple[int, ...], mode: int, forward: bool) -> Any:
    if not dims or not x.size:
        return x.astype(_complex(x))
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
    if x.size:
        kind = "r2c" if onesided else "r2full"
        found = _native(x, kind, dims, x.shape[dims[-1]], mode, False)
        if found is not None:
            return found
    if not onesided:
        return c2c(x.astype(_complex(x)), dims=dims, mode=mode, forward=True)
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
    found = _native(x, "c2r", dims, last, mode, True)
    if found is not None:
        return found
    fft = library()
    if len(dims) > 1:
        x = c2c(x, dims=dims[:-1], mode=mode, forward=False)
    return fft.irfft(x, last, axis=dims[-1], norm=_INVERSE[mode]).astype(x.real.dtype, copy=False)


def frequencies(*, n: int, spacing: float, real: bool, dtype: Any) -> Any:
    fft = library()
    return (fft.rfftfreq(n, spacing) if real else fft.fftfreq(n, spacing)).astype(dtype.np)

"""Fourier transforms by SciPy, in the precision of their input. Modes: divide by nothing, the root of n, n."""

from __future__ import annotations

from typing import Any

import numpy as np


class _Later:
    """scipy.fft, imported at its first use: SciPy may be missing where nobody transforms."""

    def __getattr__(self, name: str) -> Any:
        from scipy import fft as found

        return getattr(found, name)


fft = _Later()


def library() -> Any:
    """SciPy's transforms, which are several times faster than NumPy's; NumPy's where there is no SciPy."""
    try:
        import scipy.fft
    except ModuleNotFoundError:
        return np.fft
    return scipy.fft


_FORWARD: tuple[Any, ...] = ("backward", "ortho", "forward")
_INVERSE: tuple[Any, ...] = ("forward", "ortho", "backward")


def _complex(x: Any) -> Any:
    return np.result_type(x.dtype, np.complex64)


def c2c(x: Any, *, dims: tuple[int, ...], mode: int, forward: bool) -> Any:
    fft = library()
    if not dims or not x.size:
        return x.astype(_complex(x))
    if len(dims) == 1:
        out = (
            fft.fft(x, axis=dims[0], norm=_FORWARD[mode]) if forward else fft.ifft(x, axis=dims[0], norm=_INVERSE[mode])
        )
    else:
        out = fft.fftn(x, axes=dims, norm=_FORWARD[mode]) if forward else fft.ifftn(x, axes=dims, norm=_INVERSE[mode])
    return out.astype(_complex(x), copy=False)


def r2c(x: Any, *, dims: tuple[int, ...], mode: int, onesided: bool) -> Any:
    fft = library()
    if not onesided:
        return c2c(x.astype(_complex(x)), dims=dims, mode=mode, forward=True)
    if not x.size:
        shape = list(x.shape)
        shape[dims[-1]] = shape[dims[-1]] // 2 + 1
        return np.zeros(shape, _complex(x))
    out = (
        fft.rfft(x, axis=dims[0], norm=_FORWARD[mode])
        if len(dims) == 1
        else fft.rfftn(x, axes=dims, norm=_FORWARD[mode])
    )
    return out.astype(_complex(x), copy=False)


def c2r(x: Any, *, dims: tuple[int, ...], mode: int, last: int) -> Any:
    fft = library()
    if not x.size:
        shape = list(x.shape)
        shape[dims[-1]] = last
        return np.zeros(shape, x.real.dtype)
    if len(dims) > 1:
        x = c2c(x, dims=dims[:-1], mode=mode, forward=False)
    return fft.irfft(x, last, axis=dims[-1], norm=_INVERSE[mode]).astype(x.real.dtype, copy=False)


def frequencies(*, n: int, spacing: float, real: bool, dtype: Any) -> Any:
    fft = library()
    return (fft.rfftfreq(n, spacing) if real else fft.fftfreq(n, spacing)).astype(dtype.np)

"""`torch.signal.windows`: windows of M points; symmetric for filter design, periodic (`sym=False`) for spectra.

A periodic window is the symmetric one of M + 1 points without its last. Formulas as in Harris, "On the use of windows for harmonic
analysis with the discrete Fourier transform", Proc. IEEE 66 (1978).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import flambeau
from flambeau import Tensor

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]


def _check(name: str, M: int, dtype: Any, layout: Any) -> None:
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not None and layout is not flambeau.strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (flambeau.float32, flambeau.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")


def _window(fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Handles what all windows share: dtype, device, layout, the empty and the one-point window."""
    import functools

    @functools.wraps(fn)
    def window(M: int, *args: Any, sym: bool = True, dtype: Any = None, layout: Any = flambeau.strided, device: Any = None,
               requires_grad: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
        dtype = flambeau.get_default_dtype() if dtype is None else dtype
        _check(fn.__name__, M, dtype, layout)
        if M <= 1:
            if M == 1:
                fn(3, *args, sym=sym, dtype=dtype, device=device, **kwargs)  # refuses bad parameters
            out = flambeau.ones(M, dtype=dtype, device=device)
        else:
            out = fn(M, *args, sym=sym, dtype=dtype, device=device, **kwargs)
        return out.requires_grad_(True) if requires_grad else out

    del window.__wrapped__  # type: ignore[attr-defined]  # the signature is this one
    return window


def _steps(start: float, end: float, M: int, dtype: Any, device: Any) -> Tensor:
    return flambeau.linspace(start, end, M, dtype=dtype, device=device)


@_window
def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: Any = None, device: Any = None
) -> Tensor:
    """exp(-|n - center| / tau).

    >>> import flambeau as torch
    >>> torch.signal.windows.exponential(3, tau=1.0)
    tensor([0.3679, 1.0000, 0.3679])
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    if center is None:
        center = (M if not sym and M > 1 else M - 1) / 2.0
    k = _steps(-center / tau, (-center + M - 1) / tau, M, dtype, device)
    return flambeau.exp(-k.abs())


@_window
def cosine(M: int, *, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """sin(pi (n + 1/2) / M)."""
    import math

    start, step = 0.5, math.pi / (M + 1 if not sym and M > 1 else M)
    return flambeau.sin(_steps(start * step, (start + (M - 1)) * step, M, dtype, device))


@_window
def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """exp(-((n - centre) / std)^2 / 2)."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    start = -(M if not sym and M > 1 else M - 1) / 2.0
    scale = 1 / (std * 2**0.5)
    k = _steps(start * scale, (start + (M - 1)) * scale, M, dtype, device)
    return flambeau.exp(-(k**2))


@_window
def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """I0(beta sqrt(1 - x^2)) / I0(beta), for x from -1 to 1."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    b = flambeau.tensor(beta, dtype=dtype, device=device)
    start = -b
    constant = 2.0 * beta / (M if not sym else M - 1)
    end = flambeau.minimum(b, start + (M - 1) * constant)
    k = _steps(float(start), float(end), M, dtype, device)
    return flambeau.i0(flambeau.sqrt(beta * beta - flambeau.pow(k, 2))) / flambeau.i0(b)


@_window
def general_cosine(M: int, *, a: Iterable[float], sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """The sum over i of (-1)^i a[i] cos(2 pi i n / (M - 1))."""
    import math

    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    a = list(a)
    if not a:
        raise ValueError("Coefficients cannot be empty")
    constant = 2 * math.pi / (M if not sym else M - 1)
    k = _steps(0, (M - 1) * constant, M, dtype, device)
    signs = flambeau.tensor([(-1) ** i * w for i, w in enumerate(a)], dtype=dtype, device=device)
    i = flambeau.arange(len(a), dtype=dtype, device=device)
    return (signs.unsqueeze(-1) * flambeau.cos(i.unsqueeze(-1) * k)).sum(0)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """alpha - (1 - alpha) cos(2 pi n / (M - 1))."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, **options)


def hamming(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """`general_hamming` with alpha = 0.54."""
    return general_hamming(M, sym=sym, **options)


def hann(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """`general_hamming` with alpha = 0.5: sin^2(pi n / (M - 1))."""
    return general_hamming(M, alpha=0.5, sym=sym, **options)


def blackman(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """0.42 - 0.5 cos(2 pi n / (M - 1)) + 0.08 cos(4 pi n / (M - 1))."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **options)


def nuttall(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """The four-term window of Nuttall (1981) with minimum side lobes."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, **options)


@_window
def bartlett(M: int, *, sym: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """The triangle 1 - |2 n / (M - 1) - 1|."""
    start = -1
    constant = 2 / (M if not sym else M - 1)
    k = _steps(start, start + (M - 1) * constant, M, dtype, device)
    return 1 - flambeau.abs(k)

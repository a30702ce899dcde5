"""Fourier transforms. Three operators do the work (between complex and real numbers); the public ones are made of them."""

from __future__ import annotations

from typing import Any

from flambeau._ground.once import warn_once
from flambeau._kernel.language import Dim, Dims1, DType, IntList, Kernel, Shape, Shape1, Size, T
from flambeau._operators.flat import still
from flambeau._operators.op import composite, op
from flambeau._operators.pad import _pad_edges
from flambeau._operators.part import slice_, slice_backward
from flambeau._operators.view import sizes, view_as_real
from flambeau._tensor import Tensor
from flambeau._values.dtype import FLOAT8, SPOKEN, bfloat16, complex32, float16, get_default_dtype
from flambeau._values.shape import wrap_dim

FFT = {"namespace": "fft", "variants": ("function", "out")}
NONE, ROOT, FULL = 0, 1, 2  # by what a result is divided: nothing, the root of the number of points, their number


@op("_fft_c2c", promote="none", variants=("function", "out"))
def c2c(k: Kernel[T], input: T, dim: Shape, normalization: int, forward: bool) -> T:
    """The transform of complex numbers, or its inverse, over several dimensions."""
    return k.library("c2c", input, dims=tuple(dim), mode=normalization, forward=forward)


c2c.vjp(input=lambda g, dim, normalization, forward: c2c(g, dim, normalization, not forward))


@op("_fft_r2c", promote="none", variants=("function", "out"))
def r2c(k: Kernel[T], input: T, dim: IntList, normalization: int, onesided: bool) -> T:
    """The transform of real numbers; `onesided` leaves out the half of the last dimension that follows by symmetry."""
    return k.library("r2c", input, dims=tuple(dim), mode=normalization, onesided=onesided)


r2c.vjp(
    input=lambda g, input_shape, dim, normalization, onesided: _r2c_back(g, input_shape, dim, normalization, onesided)
)


def _r2c_back(g: Any, shape: Shape, dim: Shape, mode: int, onesided: bool) -> Any:
    last = dim[-1]
    if onesided and g.shape[last] != shape[last]:
        whole = (*g.shape[:last], shape[last], *g.shape[last + 1 :])
        g = slice_backward(g, whole, last, 0, g.shape[last], 1)
    return c2c(g, dim, mode, False).real


@op("_fft_c2r", promote="none", variants=("function", "out"))
def c2r(k: Kernel[T], input: T, dim: IntList, normalization: int, last_dim_size: Size) -> T:
    """The inverse transform of numbers whose other half follows by symmetry: a real result."""
    return k.library("c2r", input, dims=tuple(dim), mode=normalization, last=last_dim_size)


c2r.vjp(input=lambda g, dim, normalization, last_dim_size: _c2r_back(g, dim, normalization, last_dim_size))


def _c2r_back(g: Any, dim: Shape, mode: int, last_size: int) -> Any:
    out = r2c(g, dim, mode, True)
    last, twice = dim[-1], g.shape[dim[-1]] - out.shape[dim[-1]]
    if twice <= 0:
        return out
    factor = out.real.new_ones((out.shape[last],))
    factor = factor + slice_backward(factor.new_ones((twice,)), (out.shape[last],), 0, 1, 1 + twice, 1)
    return out * factor.reshape((-1,) + (1,) * (out.ndim - 1 - last)).to(out.dtype)


# ---------------------------------------------------------------- what the arguments mean


def _mode(norm: str | None, forward: bool) -> int:
    if norm is None or norm == "backward":
        return NONE if forward else FULL
    if norm == "forward":
        return FULL if forward else NONE
    if norm == "ortho":
        return ROOT
    raise RuntimeError(f'Invalid normalization mode: "{norm}"')


def _floating(x: Any, complex_: bool = False) -> Any:
    """As floating or complex numbers."""
    kind = x._a.dtype.kind
    if kind in "biu":
        x = x.to(get_default_dtype())
    elif x.dtype is complex32:
        raise RuntimeError("MKL FFT doesn't support tensors of type: Half")
    elif x.dtype in (float16, bfloat16, *FLOAT8):
        raise RuntimeError("Unsupported dtype " + SPOKEN[x.dtype])
    return x.to(x.dtype.to_complex()) if complex_ and not x.is_complex() else x


def _resized(x: Any, dim: int, n: int) -> Any:
    """Cut or filled up with zeros to n elements."""
    have = x.shape[dim]
    if have == n:
        return x
    if have > n:
        return slice_(x, dim, 0, n, 1)
    return slice_backward(x, (*x.shape[:dim], n, *x.shape[dim + 1 :]), dim, 0, have, 1)


def _points(n: int) -> int:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _real_input(name: str, x: Any) -> Any:
    if x.is_complex():
        raise RuntimeError(
            f"Only supports floating-point dtypes, but found: {SPOKEN[x.dtype]}"
            if name == "ihfftn"
            else f"{name} expects a real{'-valued' * (name == 'rfftn')} input tensor, but got {SPOKEN[x.dtype]}"
        )
    return _floating(x)


def _conj(x: Any) -> Any:
    return x.conj()


def _shape_and_dims(x: Any, s: Any, dim: Any, last: int | None = None) -> tuple[list[int], tuple[int, ...]]:
    """The number of points for each dimension, and the dimensions."""
    if dim is not None:
        dims = tuple(wrap_dim(d, x.ndim) for d in sizes(dim))
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
    else:
        dims = ()
    if s is not None:
        s = list(sizes(s))
        if dim is not None and len(dims) != len(s):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
        if len(s) > x.ndim:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {x.ndim} dimensions.")
        if dim is None:
            dims = tuple(range(x.ndim - len(s), x.ndim))
        s = [x.shape[d] if n == -1 else n for n, d in zip(s, dims, strict=True)]
    else:
        if dim is None:
            dims = tuple(range(x.ndim))
        s = [x.shape[d] for d in dims]
    for n in s:
        _points(n)
    return s, dims


def _all_resized(x: Any, s: list[int], dims: tuple[int, ...]) -> Any:
    for n, d in zip(s, dims, strict=True):
        x = _resized(x, d, n)
    return x


# ---------------------------------------------------------------- one dimension


def _one(x: Any, n: int | None, dim: int) -> tuple[int, int]:
    d = wrap_dim(dim, x.ndim, False)
    return d, _points(x.shape[d] if n is None else n)


@composite("fft_fft", **FFT, autocast="float32")
def fft(input: Tensor, n: Size | None = None, dim: Dim = -1, norm: str | None = None) -> Tensor:
    """The discrete Fourier transform: sum over t of x[t] exp(-2 pi i k t / n).

    >>> torch.fft.fft(torch.tensor([1.0, 0.0]))
    tensor([1.+0.j, 1.+0.j])
    """
    d, n = _one(input, n, dim)
    x = _resized(_floating(input), d, n)
    return c2c(x, (d,), _mode(norm, True), True) if x.is_complex() else r2c(x, (d,), _mode(norm, True), False)


@composite("fft_ifft", **FFT, autocast="float32")
def ifft(input: Tensor, n: Size | None = None, dim: Dim = -1, norm: str | None = None) -> Tensor:
    """The inverse of `fft`."""
    d, n = _one(input, n, dim)
    return c2c(_resized(_floating(input, True), d, n), (d,), _mode(norm, False), False)


@composite("fft_rfft", **FFT, autocast="float32")
def rfft(input: Tensor, n: Size | None = None, dim: Dim = -1, norm: str | None = None) -> Tensor:
    """The first half of the transform of real numbers; the other half follows by symmetry.

    >>> torch.fft.rfft(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    tensor([10.+0.j, -2.+2.j, -2.+0.j])
    """
    input = _real_input("rfft", input)
    d, n = _one(input, n, dim)
    return r2c(_resized(input, d, n), (d,), _mode(norm, True), True)


def _to_real(x: Any, n: int | None, dim: int, mode: int, conjugate: bool) -> Any:
    d = wrap_dim(dim, x.ndim, False)
    n = _points(2 * (x.shape[d] - 1) if n is None else n)
    x = _resized(_floating(x, True), d, n // 2 + 1)
    return c2r(_conj(x) if conjugate else x, (d,), mode, n)


@composite("fft_irfft", **FFT, autocast="float32")
def irfft(input: Tensor, n: Size | None = None, dim: Dim = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`.

    >>> torch.fft.irfft(torch.fft.rfft(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    tensor([1., 2., 3., 4.])
    """
    return _to_real(input, n, dim, _mode(norm, False), False)


@composite("fft_hfft", **FFT, autocast="float32")
def hfft(input: Tensor, n: Size | None = None, dim: Dim = -1, norm: str | None = None) -> Tensor:
    """The transform of a Hermitian signal, of which the first half is given: real."""
    return _to_real(input, n, dim, _mode(norm, True), True)


@composite("fft_ihfft", **FFT, autocast="float32")
def ihfft(input: Tensor, n: Size | None = None, dim: Dim = -1, norm: str | None = None) -> Tensor:
    """The inverse of `hfft`."""
    input = _real_input("ihfft", input)
    d, n = _one(input, n, dim)
    return _conj(r2c(_resized(input, d, n), (d,), _mode(norm, False), True))


# ---------------------------------------------------------------- several dimensions


@composite("fft_fftn", **FFT, autocast="float32")
def fftn(input: Tensor, s: Shape1 | None = None, dim: Dims1 | None = None, norm: str | None = None) -> Tensor:
    """The transform over several dimensions.

    >>> torch.fft.fftn(torch.ones(2, 2, 2)).shape
    torch.Size([2, 2, 2])
    """
    shape, dims = _shape_and_dims(input, s, dim)
    x = _all_resized(_floating(input, True), shape, dims)
    return c2c(x, dims, _mode(norm, True), True) if dims else x.clone()


@composite("fft_ifftn", **FFT, autocast="float32")
def ifftn(input: Tensor, s: Shape1 | None = None, dim: Dims1 | None = None, norm: str | None = None) -> Tensor:
    """The inverse of `fftn`."""
    shape, dims = _shape_and_dims(input, s, dim)
    x = _all_resized(_floating(input, True), shape, dims)
    return c2c(x, dims, _mode(norm, False), False) if dims else x.clone()


@composite("fft_rfftn", **FFT, autocast="float32")
def rfftn(input: Tensor, s: Shape1 | None = None, dim: Dims1 | None = None, norm: str | None = None) -> Tensor:
    """The transform of real numbers over several dimensions, the last of which is halved."""
    input = _real_input("rfftn", input)
    shape, dims = _shape_and_dims(input, s, dim)
    if not dims:
        raise RuntimeError("rfftn must transform at least one axis")
    return r2c(_all_resized(input, shape, dims), dims, _mode(norm, True), True)


def _last_points(x: Any, s: Any, dim: Any, name: str) -> tuple[list[int], tuple[int, ...], int]:
    shape, dims = _shape_and_dims(x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    last = 2 * (x.shape[dims[-1]] - 1) if s is None or sizes(s)[-1] == -1 else shape[-1]
    shape[-1] = _points(last) // 2 + 1
    return shape, dims, last


@composite("fft_irfftn", **FFT, autocast="float32")
def irfftn(input: Tensor, s: Shape1 | None = None, dim: Dims1 | None = None, norm: str | None = None) -> Tensor:
    """The inverse of `rfftn`."""
    shape, dims, last = _last_points(input, s, dim, "irfftn")
    return c2r(_all_resized(_floating(input, True), shape, dims), dims, _mode(norm, False), last)


@composite("fft_hfftn", **FFT)
def hfftn(input: Tensor, s: Shape1 | None = None, dim: Dims1 | None = None, norm: str | None = None) -> Tensor:
    """The transform of a Hermitian signal over several dimensions: real."""
    shape, dims, last = _last_points(input, s, dim, "hfftn")
    x = _all_resized(_floating(input, True), shape, dims)
    mode = _mode(norm, True)
    if len(dims) > 1:
        x = c2c(x, dims[:-1], mode, True)
    return c2r(_conj(x), dims[-1:], mode, last)


@composite("fft_ihfftn", **FFT)
def ihfftn(input: Tensor, s: Shape1 | None = None, dim: Dims1 | None = None, norm: str | None = None) -> Tensor:
    """The inverse of `hfftn`."""
    input = _real_input("ihfftn", input)
    shape, dims = _shape_and_dims(input, s, dim)
    if not dims:
        raise RuntimeError("ihfftn must transform at least one axis")
    mode = _mode(norm, False)
    x = _conj(r2c(_all_resized(input, shape, dims), dims[-1:], mode, True))
    return c2c(x, dims[:-1], mode, False) if len(dims) > 1 else x


@composite("fft_fft2", **FFT, autocast="float32")
def fft2(input: Tensor, s: Shape1 | None = None, dim: Dims1 = (-2, -1), norm: str | None = None) -> Tensor:
    """The transform over two dimensions.

    >>> torch.fft.fft2(torch.ones(2, 2))
    tensor([[4.+0.j, 0.+0.j],
            [0.+0.j, 0.+0.j]])
    """
    return fftn(input, s, dim, norm)


@composite("fft_ifft2", **FFT, autocast="float32")
def ifft2(input: Tensor, s: Shape1 | None = None, dim: Dims1 = (-2, -1), norm: str | None = None) -> Tensor:
    """The inverse of `fft2`."""
    return ifftn(input, s, dim, norm)


@composite("fft_rfft2", **FFT, autocast="float32")
def rfft2(input: Tensor, s: Shape1 | None = None, dim: Dims1 = (-2, -1), norm: str | None = None) -> Tensor:
    """The transform of real numbers over two dimensions, the last of which is halved."""
    return rfftn(input, s, dim, norm)


@composite("fft_irfft2", **FFT, autocast="float32")
def irfft2(input: Tensor, s: Shape1 | None = None, dim: Dims1 = (-2, -1), norm: str | None = None) -> Tensor:
    """The inverse of `rfft2`."""
    return irfftn(input, s, dim, norm)


@composite("fft_hfft2", **FFT)
def hfft2(input: Tensor, s: Shape1 | None = None, dim: Dims1 = (-2, -1), norm: str | None = None) -> Tensor:
    """The transform of a Hermitian signal over two dimensions: real."""
    return hfftn(input, s, dim, norm)


@composite("fft_ihfft2", **FFT)
def ihfft2(input: Tensor, s: Shape1 | None = None, dim: Dims1 = (-2, -1), norm: str | None = None) -> Tensor:
    """The inverse of `hfft2`."""
    return ihfftn(input, s, dim, norm)


# ---------------------------------------------------------------- frequencies, shifts


@op("fft_fftfreq", namespace="fft", promote="none", variants=("function", "out", "factory"))
def fftfreq(k: Kernel[T], n: int, d: float = 1.0, *, dtype: DType | None = None) -> T:
    """The frequencies that the elements of a transform of n points stand for.

    >>> torch.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    return k.library("frequencies", n=n, spacing=d, real=False, dtype=get_default_dtype() if dtype is None else dtype)


@op("fft_rfftfreq", namespace="fft", promote="none", variants=("function", "out", "factory"))
def rfftfreq(k: Kernel[T], n: int, d: float = 1.0, *, dtype: DType | None = None) -> T:
    """The frequencies that the elements of a halved transform of n points stand for.

    >>> torch.fft.rfftfreq(4)
    tensor([0.0000, 0.2500, 0.5000])
    """
    return k.library("frequencies", n=n, spacing=d, real=True, dtype=get_default_dtype() if dtype is None else dtype)


def _all_dims(x: Any, dim: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if dim is None else tuple(wrap_dim(d, x.ndim) for d in sizes(dim))


@composite("fft_fftshift", namespace="fft", variants=("function",))
def fftshift(input: Tensor, dim: Dims1 | None = None) -> Tensor:
    """The frequency 0 moved to the middle.

    >>> torch.fft.fftshift(torch.arange(5))
    tensor([3, 4, 0, 1, 2])
    """
    dims = _all_dims(input, dim)
    return input.roll([input.shape[d] // 2 for d in dims], dims) if dims else input.clone()


@composite("fft_ifftshift", namespace="fft", variants=("function",))
def ifftshift(input: Tensor, dim: Dims1 | None = None) -> Tensor:
    """The inverse of `fftshift`."""
    dims = _all_dims(input, dim)
    return input.roll([(input.shape[d] + 1) // 2 for d in dims], dims) if dims else input.clone()


# ---------------------------------------------------------------- short-time transforms


def _reflected(x: Any, by: int, mode: str) -> Any:
    """Both ends of the last dimension continued by mirroring, repeating, or zeros."""
    from flambeau._operators.create import arange

    n = x.shape[-1]
    if mode in ("reflect", "replicate"):
        x = still(x)
    if mode == "constant":
        return slice_backward(x, (*x.shape[:-1], n + 2 * by), x.ndim - 1, by, by + n, 1)
    if mode == "reflect":
        if by >= n:
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, "
                f"but got: padding ({by}, {by}) at dimension "
                f"{x.ndim - 1} of input {list(x.shape)}"
            )
    elif mode not in ("replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if n and (mode != "circular" or by <= n):
        return _pad_edges(x, (*((0, 0),) * (x.ndim - 1), (by, by)), mode)
    at = arange(-by, n + by)
    return x.index_select(-1, at.clamp(0, n - 1) if mode == "replicate" else at % n)


def _window(x: Any, window: Any, win_length: int, n_fft: int) -> Any:
    """The window in the middle of n_fft points."""
    if window is None:
        window = x.new_ones((win_length,)) if not x.is_complex() else x.real.new_ones((win_length,))
    if win_length < n_fft:
        left = (n_fft - win_length) // 2
        window = slice_backward(window, (n_fft,), 0, left, left + win_length, 1)
    return window


@composite(
    "stft.center",
    "stft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None, bool normalized=False, bool? onesided=None, bool? return_complex=None, bool? align_to_window=None)",
    variants=("function", "method"),
    autocast="float32",
)
def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """Fourier transforms of overlapping windows of a signal: (..., frequency, frame)."""
    hop, length = n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    if return_complex is None:
        return_complex = input.is_complex() or (window is not None and window.is_complex())
        if not return_complex:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will "
                "further require that return_complex=True "
                "in a future PyTorch release."
            )
    shown = (
        f"stft({SPOKEN[input.dtype]}{list(input.shape)}, n_fft={n_fft}, hop_length={hop}, win_length={length}, window="
    )
    shown = shown.replace("stft(", "stft(torch.").replace("[", "Tensor[", 1)
    if input._a.dtype.kind not in "fc":
        raise RuntimeError(f"{shown}...) : expected a tensor of floating point or complex values")
    if input.ndim not in (1, 2):
        raise RuntimeError(f"{shown}...) : expected a 1D or 2D tensor")
    if align_to_window is not None and center:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    x = input.unsqueeze(0) if input.ndim == 1 else input
    if center:
        x = _reflected(x, n_fft // 2, pad_mode)
    n = x.shape[1]
    if not 0 < n_fft <= n:
        raise RuntimeError(f"{shown}...) : expected 0 < n_fft < {n}, but got n_fft={length}")
    if hop <= 0:
        raise RuntimeError(f"{shown}...) : expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(f"{shown}...) : expected 0 < win_length <= n_fft, but got win_length={length}")
    if window is not None and (window.ndim != 1 or window.shape[0] != length):
        raise RuntimeError(
            f"{shown}...) : expected a 1D window tensor of size equal to win_length={length}, but "
            f"got window with size {list(window.shape)}"
        )
    both = input.is_complex() or (window is not None and window.is_complex())
    if onesided is None:
        onesided = not both
    w = _window(x, window, length, n_fft)
    if (
        not center and align_to_window and length < n_fft
    ):  # frames begin where the window does, not where its padding does
        left = (n_fft - length) // 2
        x = slice_backward(x, (x.shape[0], n + n_fft - length), 1, left, left + n, 1)
    frames = x.unfold(-1, n_fft, hop) * w
    mode = ROOT if normalized else NONE
    if both:
        if onesided:
            raise RuntimeError("Cannot have onesided output if window or input is complex")
        out = c2c(_floating(frames, True), (2,), mode, True)
    else:
        out = r2c(frames, (2,), mode, onesided)
    out = out.transpose(1, 2)
    out = out.squeeze(0) if input.ndim == 1 else out
    if return_complex:
        return out
    warn_once(
        "stft with return_complex=False is deprecated. In a future pytorch release, stft will return complex tensors for all inputs, "
        "and return_complex=False will raise an error.\nNote: you can still call torch.view_as_real on the complex output to recover the "
        "old return format."
    )
    return view_as_real(out)


@composite("istft", variants=("function", "method"))
def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal whose short-time transforms are given: overlapping windows added up, divided by what the windows add up to."""
    hop, win = n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if input.numel() == 0:
        raise RuntimeError("istft(...) : input tensor cannot be empty.")
    if input.ndim not in (2, 3):
        raise RuntimeError(f"istft(...) : expected a tensor with 3 or 4 dimensions, but got {input.ndim + 1}")
    bins = input.shape[-2]
    if onesided is None:
        onesided = bins != n_fft
    if onesided and n_fft // 2 + 1 != bins:
        raise RuntimeError(
            "istft(...) : expected the frequency dimension (3rd to the last) of the input tensor "
            "to match n_fft / 2 + 1 when onesided=True, "
            f"but got {bins}"
        )
    if not onesided and n_fft != bins:
        raise RuntimeError(
            "istft(...) : expected the frequency dimension (3rd to the last) of the input tensor "
            "to match n_fft when onesided=False, but got "
            f"{bins}"
        )
    if not 0 < hop <= win:
        raise RuntimeError("istft(...) : expected 0 < hop_length <= win_length")
    if not 0 < win <= n_fft:
        raise RuntimeError("istft(...) : expected 0 < win_length <= n_fft")
    x = (input.unsqueeze(0) if input.ndim == 2 else input).transpose(1, 2)
    if window is not None and (window.ndim != 1 or window.shape[0] != win):
        raise RuntimeError("Invalid window shape. window has to be 1D and length of `win_length`")
    w = _window(x, window, win, n_fft)
    mode = ROOT if normalized else FULL
    if return_complex:
        frames = c2c(x, (2,), mode, False)
    else:
        if window is not None and window.is_complex():
            raise RuntimeError("Complex windows are incompatible with return_complex=False")
        frames = c2r(x if onesided else slice_(x, 2, 0, n_fft // 2 + 1, 1), (2,), mode, n_fft)
    count = frames.shape[1]
    total = n_fft + hop * (count - 1)
    y = _added(frames * w, total, n_fft, hop)
    envelope = _added((w * w).expand((1, count, n_fft)), total, n_fft, hop)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - n_fft // 2 if center else total
    y, envelope = slice_(y, 1, start, min(end, total), 1), slice_(envelope, 1, start, min(end, total), 1)
    if bool((envelope.abs() < 1e-11).any()):
        raise RuntimeError("istft(...) : window overlap add min: " + "1")
    y = y / envelope
    if end > total:
        from warnings import warn

        warn(
            "The length of signal is shorter than the length parameter. Result is being padded with zeros in the "
            "tail. Please check your center and "
            "hop_length settings.",
            stacklevel=3,
        )
        y = slice_backward(y, (y.shape[0], end - start), 1, 0, y.shape[1], 1)
    return y.squeeze(0) if input.ndim == 2 else y


def _added(frames: Any, total: int, size: int, hop: int) -> Any:
    from flambeau._operators.part import unfold_backward

    return unfold_backward(frames, (frames.shape[0], total), 1, size, hop)

"""Resampling of images: interpolation on a new grid, sampling at given places, folding and unfolding windows, shuffling pixels.

Interpolation is separable: along each dim, the result is a matrix (nearest: a selection) applied to the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from flambeau._kernel.language import IntList2, Kernel, Shape, Shape1, Shape2, Shape3, Size, T
from flambeau._operators.op import composite, op
from flambeau._operators.pad import constant_pad_nd
from flambeau._operators.view import sizes
from flambeau._tensor import Tensor
from flambeau._values.dtype import FLOAT8, SPOKEN, bfloat16, float16, int64, uint8

HALF = (float16, bfloat16)

# ---------------------------------------------------------------- interpolation


def _scale(n: int, out: int, align: bool, scale: float | None) -> float:
    """How far apart, in input cells, two neighbouring outputs lie."""
    if align:
        return (n - 1) / (out - 1) if out > 1 else 0.0
    return 1.0 / scale if scale is not None and scale > 0 else n / out


def _source(i: int, ratio: float, align: bool, cubic: bool = False) -> float:
    if align:
        return ratio * i
    s = ratio * (i + 0.5) - 0.5
    return s if cubic else max(s, 0.0)


Row = dict[int, float]  # of a matrix: columns and weights


def _linear_rows(n: int, out: int, align: bool, scale: float | None) -> list[Row]:
    ratio = _scale(n, out, align, scale)
    rows = []
    for i in range(out):
        s = _source(i, ratio, align)
        lo = min(int(s), n - 1)
        w = min(max(s - lo, 0.0), 1.0)
        rows.append({lo: 1.0 - w, lo + 1: w} if lo + 1 < n else {lo: 1.0})
    return rows


def _cubic(t: float, a: float = -0.75) -> list[float]:
    """Weights of the four neighbours at distance t past the second (Keys, 1981, a = -0.75)."""

    def near(x: float) -> float:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: float) -> float:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _cubic_rows(n: int, out: int, align: bool, scale: float | None) -> list[Row]:
    ratio = _scale(n, out, align, scale)
    rows = []
    for i in range(out):
        s = _source(i, ratio, align, cubic=True)
        lo = math.floor(s)
        row: Row = {}
        for j, w in enumerate(_cubic(s - lo)):
            at = min(max(lo - 1 + j, 0), n - 1)
            row[at] = row.get(at, 0.0) + w
        rows.append(row)
    return rows


def _antialias_rows(n: int, out: int, align: bool, scale: float | None, cubic: bool) -> list[Row]:
    """Weights of a filter stretched by the downscaling factor, normalised (as Pillow resizes)."""
    ratio = _scale(n, out, align, scale)
    size = 4 if cubic else 2
    stretch = max(ratio, 1.0)
    support = size * 0.5 * stretch
    rows = []
    for i in range(out):
        centre = ratio * (i + 0.5)
        lo, hi = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), n)
        ws = [_filter((j + lo - centre + 0.5) / stretch, cubic) for j in range(hi - lo)]
        total = sum(ws) or 1.0
        rows.append({lo + j: w / total for j, w in enumerate(ws)})
    return rows


def _filter(x: float, cubic: bool) -> float:
    x = abs(x)
    if not cubic:
        return 1.0 - x if x < 1 else 0.0
    a = -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def _nearest(n: int, out: int, scale: float | None, exact: bool) -> list[int]:
    ratio = 1.0 / scale if scale is not None and scale > 0 else n / out
    ratio = _float32(ratio)
    return [min(math.floor(_float32((i + 0.5) * ratio) if exact else _float32(i * ratio)), n - 1) for i in range(out)]


def _part_rows(n: int, out: int, align: bool, scale: float | None) -> list[Row]:
    """Means of nearly equal parts, which share cells where they are not equal."""
    ranges = [range(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]
    return [dict.fromkeys(r, 1.0 / len(r)) for r in ranges]


def _nearest_rows(n: int, out: int, align: bool, scale: float | None, exact: bool) -> list[Row]:
    return [{i: 1.0} for i in _nearest(n, out, scale, exact)]


def _float32(x: float) -> float:
    import struct

    return struct.unpack("f", struct.pack("f", x))[0]


def _output_size(input: Tensor, output_size: Any, scales: Any, n: int) -> tuple[tuple[int, ...], list[float | None]]:
    spatial = input.shape[2:]
    if output_size is not None:
        if scales is not None and not all(s is None for s in scales):
            size = tuple(output_size)
            return size, list(scales)
        return tuple(int(s) for s in output_size), [None] * n
    if scales is None:
        raise RuntimeError("Must specify exactly one of output_size and scale_factors")
    return tuple(int(e * s) for e, s in zip(spatial, scales, strict=True)), list(scales)


def _check(input: Tensor, size: Sequence[int], n: int) -> None:
    if len(size) != n:
        raise RuntimeError(f"It is expected output_size equals to {n}, but got size {len(size)}")
    if input.ndim != n + 2:
        raise RuntimeError(f"It is expected input_size equals to {n + 2}, but got size {input.ndim}")
    if any(s <= 0 for s in (*input.shape[1:], *size)):
        raise RuntimeError(
            "Input and output sizes should be greater than 0, but got input "
            f"(H: {input.shape[2] if n > 1 else 1}, W: {input.shape[-1]}) output (H: {size[0]}, W: {size[-1]})"
        )


Bands = tuple[tuple[int, tuple[float, ...]], ...]  # the rows of a matrix: where what is not 0 begins, and what it is


@lru_cache(maxsize=256)
def _bands(kind: str, cells: int, points: int, align: bool, scale: float | None, turned: bool) -> Bands:
    """The matrix of an interpolation, without the zeros around each row; or its transpose, whose rows are bands too: those of later points begin and
    end later, or nearly so."""
    rows: list[Row] = _ROWS[kind](cells, points, align, scale)
    if turned:
        columns: list[Row] = [{} for _ in range(cells)]
        for i, row in enumerate(rows):
            for j, w in row.items():
                columns[j][i] = w
        rows = columns
    bands = []
    for row in rows:
        found = [j for j, w in row.items() if w]
        first, last = min(found, default=0), max(found, default=-1)
        bands.append((first, tuple(row.get(j, 0.0) for j in range(first, last + 1))))
    return tuple(bands)


@op("_resampled", promote="none", variants=(), halves=True)
def resampled(
    k: Kernel[T], input: T, dim: int, kind: str, cells: int, points: int, align: bool, scale: float | None, turned: bool
) -> T:
    """A dim of the input, counted from the end, by the matrix of an interpolation from cells to points, or its transpose."""
    return k.library("banded", input, dim=dim, bands=_bands(kind, cells, points, align, scale, turned))


resampled.vjp(
    input=lambda g, dim, kind, cells, points, align, scale, turned: resampled(
        g, dim, kind, cells, points, align, scale, not turned
    )
)


def _apply(input: Tensor, kind: str, how: list[tuple[int, int, bool, float | None]]) -> Tensor:
    """One dim after the other: cells, points, whether corners are aligned, scale."""
    if not input.is_floating_point() or input.dtype in FLOAT8 or ("antialias" in kind and input.dtype in HALF):
        if input.dtype is uint8 and len(how) == 2:
            across: Any = resampled_bytes(input, -1, kind, *how[1])  # columns, then rows, each rounded to bytes
            return resampled_bytes(across, -2, kind, *how[0])
        word = "compute_indices_weights_" + ("cubic" if "cubic" in kind else "linear")
        word = "compute_index_ranges_weights" if "antialias" in kind else word
        raise NotImplementedError(f"\"{word}\" not implemented for '{SPOKEN[input.dtype]}'")
    steps = [(d - len(how), h) for d, h in enumerate(how)]
    if len(how) > 1 and how[-1][1] * how[-2][0] <= how[-2][1] * how[-1][0]:
        steps.reverse()  # the last dim costs most: it is done while there is least
    out: Any = input
    for dim, h in steps:
        out = resampled(out, dim, kind, *h, False)
    return out


@lru_cache(maxsize=256)
def _byte_bands(kind: str, cells: int, points: int, align: bool, scale: float | None) -> tuple[int, Bands]:
    """The bands of an interpolation as integers of at most 16 bits, and the power of two that they are multiplied by."""
    bands = _bands(kind, cells, points, align, scale, False)
    largest = max((w for _, ws in bands for w in ws), default=0.0)
    bits = next((b for b in range(22) if int(0.5 + largest * (1 << (b + 1))) >= 1 << 15), 22)
    whole = lambda w: math.floor(w * (1 << bits) + 0.5) if w >= 0 else math.ceil(w * (1 << bits) - 0.5)
    return bits, tuple((first, tuple(map(whole, ws))) for first, ws in bands)


@op("_resampled_bytes", promote="none", variants=(), differentiable=False)
def resampled_bytes(k: Kernel[T], input: T, dim: int, kind: str, cells: int, points: int, align: bool, scale: float | None) -> T:  # fmt: skip
    """`_resampled` of bytes, in fixed point (as Pillow does it)."""
    shift, bands = _byte_bands(kind, cells, points, align, scale)
    return k.library("banded", input, dim=dim, bands=bands, shift=shift)


def _define(name: str, n: int, kind: str, aligned: bool) -> None:
    dims = {1: "s", 2: "h w", 3: "d h w"}[n].split()

    def run(input: Any, output_size: Any, align: bool, scales: Any) -> Any:
        size, scales = _output_size(input, output_size, scales, n)
        _check(input, size, n)
        if aligned or (input.is_floating_point() and input.dtype not in FLOAT8):
            return _apply(
                input, kind, [(e, o, align, s) for e, o, s in zip(input.shape[2:], size, scales, strict=True)]
            )
        if input.dtype is not uint8 and not input.is_quantized:
            raise NotImplementedError(
                f"\"compute_indices_weights_nearest\" not implemented for '{SPOKEN[input.dtype]}'"
            )
        out = input
        for d, (e, o, s) in enumerate(zip(input.shape[2:], size, scales, strict=True)):
            out = out.index_select(d + 2, input.new_tensor(_nearest(e, o, s, "exact" in name), dtype=int64))
        return out

    def vec(input: Tensor, output_size: Shape | None, align_corners: bool, scale_factors: Any) -> Tensor:
        return run(input, output_size, align_corners, scale_factors)

    def vec_nearest(input: Tensor, output_size: Shape | None, scale_factors: Any) -> Tensor:
        return run(input, output_size, False, scale_factors)

    fn = vec if aligned else vec_nearest
    fn.__name__ = name
    fn.__doc__ = f"Interpolates the last {n} dims on a new grid, along ({', '.join(dims)}) in turn."
    fn.__annotations__["scale_factors"] = "Sequence[float] | None"
    composite(f"{name}.vec", namespace="nn", variants=("function",), receiver="input", layouts=True)(fn)
    plain = _plain(name, n, run, aligned)
    composite(name, namespace="nn", variants=("function",), layouts=True)(plain)


def _plain(name: str, n: int, run: Any, aligned: bool) -> Any:
    """The overload that takes one scale for each dim by name."""

    def aligned_1d(input: Tensor, output_size: Shape1, align_corners: bool, scales: float | None = None) -> Tensor:
        return run(input, output_size, align_corners, (scales,))

    def aligned_2d(
        input: Tensor,
        output_size: Shape2,
        align_corners: bool,
        scales_h: float | None = None,
        scales_w: float | None = None,
    ) -> Tensor:
        return run(input, output_size, align_corners, (scales_h, scales_w))

    def aligned_3d(
        input: Tensor,
        output_size: Shape3,
        align_corners: bool,
        scales_d: float | None = None,
        scales_h: float | None = None,
        scales_w: float | None = None,
    ) -> Tensor:
        return run(input, output_size, align_corners, (scales_d, scales_h, scales_w))

    def nearest_1d(input: Tensor, output_size: Shape1, scales: float | None = None) -> Tensor:
        return run(input, output_size, False, (scales,))

    def nearest_2d(
        input: Tensor, output_size: Shape2, scales_h: float | None = None, scales_w: float | None = None
    ) -> Tensor:
        return run(input, output_size, False, (scales_h, scales_w))

    def nearest_3d(
        input: Tensor,
        output_size: Shape3,
        scales_d: float | None = None,
        scales_h: float | None = None,
        scales_w: float | None = None,
    ) -> Tensor:
        return run(input, output_size, False, (scales_d, scales_h, scales_w))

    fn: Any = ((aligned_1d, aligned_2d, aligned_3d) if aligned else (nearest_1d, nearest_2d, nearest_3d))[n - 1]
    fn.__name__, fn.__doc__ = name, f"Interpolates the last {n} dims on a grid of `output_size`."
    return fn


_ROWS: dict[str, Any] = {
    "nearest": partial(_nearest_rows, exact=False),
    "nearest-exact": partial(_nearest_rows, exact=True),
    "linear": _linear_rows,
    "cubic": _cubic_rows,
    "linear antialias": partial(_antialias_rows, cubic=False),
    "parts": _part_rows,
    "cubic antialias": partial(_antialias_rows, cubic=True),
}

for _n in (1, 2, 3):
    _define(f"upsample_nearest{_n}d", _n, "nearest", False)
    _define(f"_upsample_nearest_exact{_n}d", _n, "nearest-exact", False)
_define("upsample_linear1d", 1, "linear", True)
_define("upsample_bilinear2d", 2, "linear", True)
_define("upsample_trilinear3d", 3, "linear", True)
_define("upsample_bicubic2d", 2, "cubic", True)
_define("_upsample_bilinear2d_aa", 2, "linear antialias", True)
_define("_upsample_bicubic2d_aa", 2, "cubic antialias", True)


# ---------------------------------------------------------------- grids of affine maps


def _axis(theta: Tensor, n: int, align: bool) -> Tensor:
    if n <= 1:
        return theta.new_zeros((n,))
    steps = theta.new_tensor([-1.0 + 2.0 * i / (n - 1) for i in range(n)])
    return steps if align else steps * ((n - 1) / n)


@composite("affine_grid_generator", variants=("function",))
def affine_grid_generator(theta: Tensor, size: Shape, align_corners: bool) -> Tensor:
    """The grid of an affine map theta (n, dims, dims + 1) over an image of shape `size`."""
    axes = [_axis(theta, e, align_corners) for e in size[2:]]
    n = len(axes)
    out: Any = theta[:, :, n].reshape(size[0], *(1,) * n, n)
    for d, axis in reversed(list(enumerate(axes))):  # the last sum is the only large one
        along = axis.reshape(*(-1 if i == d else 1 for i in range(n)), 1)
        out = along.unsqueeze(0) * theta[:, :, n - 1 - d].reshape(size[0], *(1,) * n, n) + out
    return out


# ---------------------------------------------------------------- windows as columns, pixels as channels


def _pair(v: Any) -> tuple[int, int]:
    found = sizes(v)
    y, x = found * 2 if len(found) == 1 else found
    return y, x


@composite("im2col", namespace="nn", variants=("function",), lacks=("iC", "im2col_out_cpu"))
def im2col(input: Tensor, kernel_size: IntList2, dilation: IntList2, padding: IntList2, stride: IntList2) -> Tensor:
    """Every window of an image as a column: (n, c * taps, windows)."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = map(_pair, (kernel_size, dilation, padding, stride))
    for what, names, (y, x_), wrong in (
        ("kernel size", ("kernel_height", "kernel_width"), (kh, kw), min(kh, kw) <= 0),
        ("stride", ("stride_height", "stride_width"), (sh, sw), min(sh, sw) <= 0),
        ("dilation", ("dilation_height", "dilation_width"), (dh, dw), min(dh, dw) <= 0),
        ("padding", ("pad_height", "pad_width"), (ph, pw), min(ph, pw) < 0),
    ):
        if wrong:
            limit = "non-negative" if what == "padding" else "greater than zero"
            raise RuntimeError(f"{what} should be {limit}, but got {names[0]}: {y} {names[1]}: {x_}")
    if input.ndim not in (3, 4) or any(e == 0 for e in input.shape[-3:]):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, but got: "
            f"{list(input.shape)}"
        )
    single = input.ndim == 3
    x = input.unsqueeze(0) if single else input
    n, c, h, w = x.shape
    y, z = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    if y < 1 or z < 1:
        raise RuntimeError(
            f"Given input with spatial size ({h}, {w}), kernel_size=({kh}, {kw}), dilation=({dh}, {dw}), padding=({ph}, {pw}), calculated shape of "
            f"the array of sliding blocks as ({y}, {z}), but its components must be at least one."
        )
    x = constant_pad_nd(x, (pw, pw, ph, ph), 0) if ph or pw else x
    rows = input.new_tensor([i * sh + a * dh for a in range(kh) for i in range(y)], dtype=int64)
    cols = input.new_tensor([j * sw + b * dw for b in range(kw) for j in range(z)], dtype=int64)
    out = (
        x.index_select(2, rows)
        .index_select(3, cols)
        .reshape(n, c, kh, y, kw, z)
        .permute(0, 1, 2, 4, 3, 5)
        .reshape(n, c * kh * kw, y * z)
    )
    return out.squeeze(0) if single else out


@composite("col2im", namespace="nn", variants=("function",))
def col2im(
    input: Tensor, output_size: Shape2, kernel_size: IntList2, dilation: IntList2, padding: IntList2, stride: IntList2
) -> Tensor:
    """Adds columns of windows back into an image."""
    (h, w), (kh, kw), (dh, dw), (ph, pw), (sh, sw) = map(_pair, (output_size, kernel_size, dilation, padding, stride))
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for input, but got: "
            f"{list(input.shape)}"
        )
    single = input.ndim == 2
    x = input.unsqueeze(0) if single else input
    n, ckk, blocks = x.shape
    if ckk % (kh * kw):
        raise RuntimeError(
            f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got input.size(1)={ckk} and "
            f"kernel_size=({kh}, {kw})."
        )
    y, z = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    if blocks != y * z:
        raise RuntimeError(
            f"Given output_size=({h}, {w}), kernel_size=({kh}, {kw}), dilation=({dh}, {dw}), padding=({ph}, {pw}), stride=({sh}, {sw}), expected "
            f"size of input's dimension 2 to match the calculated number of sliding blocks {y} * {z} = {y * z}, but got input.size(2)={blocks}."
        )
    c = ckk // (kh * kw)
    x = x.reshape(n, c, kh, kw, y, z).permute(0, 1, 2, 4, 3, 5).reshape(n, c, kh * y, kw * z)
    rows = input.new_tensor([i * sh + a * dh for a in range(kh) for i in range(y)], dtype=int64)
    cols = input.new_tensor([j * sw + b * dw for b in range(kw) for j in range(z)], dtype=int64)
    out = x.new_zeros((n, c, h + 2 * ph, kw * z)).index_add(2, rows, x)
    out = out.new_zeros((n, c, h + 2 * ph, w + 2 * pw)).index_add(3, cols, out)
    out = out[:, :, ph : ph + h, pw : pw + w].contiguous()
    return out.squeeze(0) if single else out


@composite("pixel_shuffle", variants=("function",), packed="images", lacks=("uC", "pixel_shuffle"))
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., c r^2, h, w) to (..., c, h r, w r).

    >>> torch.nn.functional.pixel_shuffle(torch.arange(4).reshape(1, 4, 1, 1), 2)
    tensor([[[[0, 1],
              [2, 3]]]])
    """
    r = upscale_factor
    if input.ndim < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but input.size(-3)={c} is "
            f"not divisible by {r * r}"
        )
    m = len(lead)
    x = input.reshape(*lead, c // (r * r), r, r, h, w).permute(*range(m), m, m + 3, m + 1, m + 4, m + 2)
    return x.reshape(*lead, c // (r * r), h * r, w * r)


@composite("pixel_unshuffle", variants=("function",), packed="images", lacks=("uC", "pixel_unshuffle"))
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., c, h r, w r) to (..., c r^2, h, w)."""
    r = downscale_factor
    if input.ndim < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    for what, e, at in (("height", h, -2), ("width", w, -1)):
        if e % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but input.size({at})={e} is not divisible by {r}"
            )
    m = len(lead)
    x = input.reshape(*lead, c, h // r, r, w // r, r).permute(*range(m), m, m + 2, m + 4, m + 1, m + 3)
    return x.reshape(*lead, c * r * r, h // r, w // r)


@composite(
    "channel_shuffle",
    variants=("function",),
    names=("native_channel_shuffle",),
    packed="images",
    lacks=("uC", "channel_shuffle"),
)
def channel_shuffle(input: Tensor, groups: Size) -> Tensor:
    """Interleaves the channels of `groups` groups."""
    if input.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    n, c = input.shape[:2]
    if groups <= 0:
        raise RuntimeError("Number of groups to divide channels in must be positive. Value of groups:" + str(groups))
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    return input.reshape(n, groups, c // groups, *input.shape[2:]).transpose(1, 2).reshape(input.shape)

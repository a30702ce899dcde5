"""Padding: with a constant, or with the input itself reflected, repeated at its edge, or wrapped around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._kernel.language import Kernel, Scalar, Shape, ShapeList, T
from flambeau._operators.flat import laid, still
from flambeau._operators.op import composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import check_fits, int64
from flambeau._values.shape import whole


def _widths(rank: int, pad: Sequence[int]) -> list[tuple[int, int]]:
    """PyTorch gives (before, after) of the last dim first."""
    out = [(0, 0)] * rank
    for i in range(len(pad) // 2):
        out[rank - 1 - i] = (whole(pad[2 * i]), whole(pad[2 * i + 1]))
    return out


@op("constant_pad_nd", promote="none", variants=("function",), packed="images")
def constant_pad_nd(k: Kernel[T], input: T, pad: Shape, value: Scalar = 0) -> T:
    """Cells of `value` before and after: pad = (last dim before, after, dim before that ...); negative widths crop."""
    out = k.pad(input, _widths(input.ndim, pad), value)
    return k.library("copied", out) if out is input or not any(n > 0 for n in pad) else out


@constant_pad_nd.arrays
def _(k: Any, input: Any, pad: Shape, value: Scalar = 0) -> Any:
    return k.library("pad_constant", input, widths=_widths(input.ndim, pad), value=value)


constant_pad_nd.vjp(input=lambda g, pad: constant_pad_nd(g, [-whole(n) for n in pad]))


@constant_pad_nd.errors
def _(input: Tensor, pad: Shape, value: Scalar) -> None:
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    check_fits(value, input.dtype, True)
    if input.ndim * 2 < len(pad):
        raise RuntimeError(
            "Length of pad should be no more than twice the number of dimensions of the input. Pad length is "
            f"{len(pad)} while the input has {input.ndim} dimensions."
        )
    if not [n for n in pad if n < 0]:
        return
    for n, (a, b) in zip(input.shape, _widths(input.ndim, pad), strict=True):
        if n + min(a, 0) + min(b, 0) < 0:  # cropped first
            raise RuntimeError("narrow(): length must be non-negative.")


def _indices(n: int, before: int, after: int, mode: str) -> list[int]:
    """Which source element each padded position shows."""
    at = range(-before, n + after)
    if mode == "replicate":
        return [min(max(i, 0), n - 1) for i in at]
    if mode == "circular":
        return [i % n for i in at]
    period = 2 * (n - 1) or 1
    return [(j if j < n else period - j) for j in (i % period for i in at)]


Widths = tuple[tuple[int, int], ...]


@op("_pad_edges", promote="none", variants=())
def _pad_edges(k: Kernel[T], input: T, widths: Widths, mode: str) -> T:
    """The input with cells before and after its dims that show its own."""
    return k.library("pad_edges", input, widths=widths, mode=mode)


@op("_pad_edges_backward", promote="none", variants=())
def _pad_edges_backward(k: Kernel[T], grad: T, widths: Widths, mode: str) -> T:
    """What reaches the input of `_pad_edges`."""
    return k.library("pad_edges_backward", grad, widths=widths, mode=mode)


_pad_edges.vjp(input=lambda g, widths, mode: _pad_edges_backward(g, widths, mode))
_pad_edges_backward.vjp(grad=lambda g, widths, mode: _pad_edges(g, widths, mode))


def _take_each(input: Tensor, pad: Sequence[int], mode: str) -> Tensor:
    out = still(input) if mode != "circular" else input
    widths = tuple(_widths(input.ndim, pad))
    if input.numel() and all(n >= 0 for pair in widths for n in pair):
        return _pad_edges(out, widths, mode)
    for d, (before, after) in enumerate(widths):  # cells may show what is cropped
        if before or after:
            index = (
                input.new_tensor(_indices(input.shape[d], before, after, mode), dtype=int64) if input.shape[d] else None
            )
            out = out.index_select(d, index) if index is not None else out
    return out


def _check(input: Tensor, pad: Sequence[int], n: int, mode: str) -> None:
    if len(pad) != 2 * n:
        raise RuntimeError(f"padding size is expected to be {2 * n}, but got: {len(pad)}")
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, but got: "
            f"{list(input.shape)}"
        )
    if any(s == 0 for s in input.shape[input.ndim - n - 1 :]):
        raise RuntimeError(
            f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, but got: "
            f"{list(input.shape)}"
        )
    for d, (before, after) in reversed(list(enumerate(_widths(input.ndim, pad)))):  # PyTorch looks at the last first
        size = input.shape[d]
        if mode == "reflect" and (before >= size or after >= size) and (before or after):
            raise RuntimeError(
                f"Argument #{4 + 2 * (input.ndim - 1 - d)}: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({before}, {after}) at dimension {d} of input {list(input.shape)}"
            )
        if size + before + after < 1 and (before or after):
            raise RuntimeError(f"input (W: {size}) is too small. Calculated output W: {size + before + after}")


_OF_MODE: dict[tuple[str, int], Any] = {}


def _define(mode: str, prefix: str, n: int) -> None:
    def pad_nd(input: Tensor, padding: Shape) -> Tensor:
        padding = (padding,) * (2 * n) if isinstance(padding, int) else tuple(padding)
        _check(input, padding, n, mode)
        input = laid(input, True) if n == 2 and input.ndim == 4 else input
        return _take_each(input, padding, mode)

    pad_nd.__annotations__["padding"] = f"Shape{2 * n}"
    pad_nd.__name__ = f"{prefix}_pad{n}d"
    pad_nd.__doc__ = f"Pads the last {n} dim{'s' * (n > 1)} by {mode} of the input."
    lacks = ("buC", f"{prefix}_pad{n}d")
    _OF_MODE[mode, n] = composite(
        pad_nd.__name__, namespace="nn", variants=("function",), packed="images" if n == 2 else False, lacks=lacks,
        autocast="" if (mode, n) == ("reflect", 3) else "float32",
    )(pad_nd)  # fmt: skip


for _n in (1, 2, 3):
    _define("reflect", "reflection", _n)
    _define("replicate", "replication", _n)


@composite("_pad_circular", namespace="nn", variants=("function",))
def _pad_circular(input: Tensor, pad: Shape) -> Tensor:
    """Pads by wrapping around."""
    for d, (before, after) in enumerate(_widths(input.ndim, pad)):
        if before > input.shape[d] or after > input.shape[d]:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if input.shape[d] + before + after < 0:
            raise RuntimeError("Negative padding value is resulting in an empty dimension")
    widths = _widths(input.ndim, pad)
    for d, (before, after) in enumerate(widths):  # negative widths crop first; what is left wraps around
        if before < 0 or after < 0:
            start = max(-before, 0)
            input = input.narrow(d, start, input.shape[d] - start - max(-after, 0))
    return _take_each(input, [max(n, 0) for n in pad], "circular")


@composite("pad", namespace="nn", variants=("function",), autocast="open")
def pad(input: Tensor, pad: ShapeList, mode: str = "constant", value: float | None = None) -> Tensor:
    """Pads the last dims by `mode`: "constant", "reflect", "replicate" or "circular"."""
    if [n for n in pad if isinstance(n, float)]:
        raise TypeError("widths are whole numbers")  # said in PyTorch's words where the call has failed
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) > 2 * input.ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got padding length {len(pad)} and input of "
            f"dimension {input.ndim}"
        )
    if mode == "constant":
        return constant_pad_nd(input, tuple(pad), 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    n = len(pad) // 2
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if not (
        (n == 1 and input.ndim in (2, 3)) or (n == 2 and input.ndim in (3, 4)) or (n == 3 and input.ndim in (4, 5))
    ):
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {input.ndim}D input tensor.\n"
            "Supported combinations for non-constant padding:\n  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    if mode == "circular":
        return _pad_circular(input, tuple(pad))
    return _OF_MODE[mode, n](input, tuple(pad))

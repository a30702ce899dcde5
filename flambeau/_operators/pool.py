"""Pooling: the largest or the mean of sliding windows, or of a fixed number of nearly equal parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

from flambeau._kernel.language import IntList1, IntList2, IntList3, Kernel, Shape, Shape2, Shape3, T
from flambeau._operators.flat import flat_in, still
from flambeau._operators.index import on_zeros
from flambeau._operators.op import composite, op
from flambeau._operators.resample import resampled
from flambeau._operators.view import sizes
from flambeau._tensor import Tensor

Ints = tuple[int, ...]


def spread(value: Any, n: int, name: str, owner: str) -> Ints:
    """One number for all dims, or one for each."""
    value = sizes(value)
    if len(value) not in (1, n):
        either = "" if owner == "avg_pool3d" else "either "
        omitted = "omitted, " if name == "stride" and "_pool" in owner else ""
        raise RuntimeError(
            f"{owner}: {name} must {either}be {omitted}a single int, or a tuple of {'two' if n == 2 else 'three'} ints"
        )
    return value * n if len(value) == 1 else value


def out_sizes(spatial: Sequence[int], size: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool) -> Ints:
    """How many windows fit; in ceil mode one more may begin inside the input or its left padding."""
    out = []
    for e, k, s, p, d in zip(spatial, size, stride, padding, dilation, strict=True):
        span = e + 2 * p - d * (k - 1) - 1
        n = (span + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (n - 1) * s >= e + p:
            n -= 1
        out.append(n)
    return tuple(out)


def _fitted(
    input: Tensor, n: int, size: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool, owner: str
) -> Ints:
    """How many windows fit, where they do."""
    shape = tuple(input.shape)
    plain = all([type(s) is int for s in shape])  # no proxies, which are not to be compared with what was kept
    fitted = _fitted_in if plain else _fitted_in.__wrapped__
    return fitted(shape, n, size, stride, padding, dilation, ceil_mode, owner)


@lru_cache(1024)
def _fitted_in(
    shape: Ints, n: int, size: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool, owner: str
) -> Ints:
    if owner.startswith("max"):
        for name, given in (("kernel_size", size), ("stride", stride), ("dilation", dilation)):
            if any(x <= 0 for x in given):
                raise RuntimeError(f"{owner}() {name} must be greater than zero, but got {min(given)}")
    out = out_sizes(shape[-n:], size, stride, padding, dilation, ceil_mode) if len(shape) >= n else (0,) * n
    _check(shape, n, size, stride, padding, dilation, out, owner)
    return out


def _check(shape: Ints, n: int, size: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Ints, owner: str) -> None:
    if any(k <= 0 for k in size):
        raise RuntimeError(
            "kernel size should be greater than zero, but got "
            + " ".join(f"{a}: {b}" for a, b in zip(("kH", "kW"), size, strict=False))
        )
    if any(s <= 0 for s in stride):
        raise RuntimeError(
            "stride should be greater than zero, but got "
            + " ".join(f"{a}: {b}" for a, b in zip(("dH", "dW"), stride, strict=False))
        )
    if any(d <= 0 for d in dilation):
        raise RuntimeError("dilation should be greater than zero, but got " + " ".join(map(str, dilation)))
    if any(p < 0 for p in padding):
        raise RuntimeError(f"pad must be non-negative, but got pad: {min(padding)}")
    if any(p > ((k - 1) * d + 1) // 2 for p, k, d in zip(padding, size, dilation, strict=True)):
        i = next(
            i for i, (p, k, d) in enumerate(zip(padding, size, dilation, strict=True)) if p > ((k - 1) * d + 1) // 2
        )
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={padding[i]}, kernel_size={size[i]} and dilation={dilation[i]}"
        )
    if len(shape) not in (n + 1, n + 2) or any(s == 0 for s in shape[-n - 1 :]):
        raise RuntimeError(
            f"{owner}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but got:{list(shape)}"
        )
    if any(o < 1 for o in out):
        image = shape[-n - 1 :]
        raise RuntimeError(
            f"Given input size: ({'x'.join(map(str, image))}). Calculated output size: ({'x'.join(map(str, [image[0], *out]))}). "
            "Output size is too small"
        )


# ---------------------------------------------------------------- max


@op("_max_pool", variants=(), promote="none", outputs=("values", "indices"))
def _max_pool(k: Kernel[T], input: T, size: Shape, stride: Shape, padding: Shape, dilation: Shape, out: Shape) -> T:
    """The largest element of each window, and where in the flattened spatial dims it lies."""
    return k.library("max_pool", input, size=size, stride=stride, padding=padding, dilation=dilation, out=out)


@op("_max_pool_backward", variants=(), promote="none")
def _max_pool_backward(k: Kernel[T], grad: T, indices: T, shape: Shape, dims: int) -> T:
    """Each gradient goes to the element that was largest; overlapping windows add up."""
    return k.library("max_pool_backward", grad, indices, shape=shape, n=dims)


def _picked(g: Tensor, indices: Tensor, n: int) -> Tensor:
    """The elements of the last n dims that the indices point at."""
    lead = tuple(g.shape[:-n])
    return g.reshape(*lead, -1).gather(-1, indices.reshape(*lead, -1)).reshape(indices.shape)


_max_pool_backward.known_as(event="max_pool2d_with_indices_backward").vjp(
    grad=lambda g, indices, dims: _picked(g, indices, dims)
)
_max_pool.known_as("MaxPool2DWithIndicesBackward0", event="max_pool2d_with_indices").vjp(
    input=lambda g_values, input_shape, indices, size: _max_pool_backward(g_values, indices, input_shape, len(size))
).flat()


def _max(input: Any, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, n: int, owner: str) -> Any:
    size, padding, dilation = (
        spread(size, n, "kernel_size", owner),
        spread(padding, n, "padding", owner),
        spread(dilation, n, "dilation", owner),
    )
    stride = (
        size
        if stride is None or (not isinstance(stride, int) and not len(stride))
        else spread(stride, n, "stride", owner)
    )
    out = _fitted(input, n, size, stride, padding, dilation, ceil_mode, owner)
    return _max_pool(input, size, stride, padding, dilation, out)


@composite(
    "max_pool2d_with_indices",
    namespace="nn",
    variants=("function",),
    outputs=("out", "indices"),
    lacks=("buc", "max_pool2d"),
    unnamed=True,
)
def max_pool2d_with_indices(input: Tensor, kernel_size: IntList2, stride: IntList2 = (), padding: IntList2 = 0, dilation: IntList2 = 1,
                            ceil_mode: bool = False) -> Tensor:  # fmt: skip
    """The largest element of each window of the last two dims, and its flat position."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, 2, "max_pool2d")


@composite("max_pool2d_with_indices_backward", variants=())
def max_pool2d_with_indices_backward(grad_output: Tensor, input: Tensor, kernel_size: IntList2, stride: IntList2, padding: IntList2, dilation: IntList2,
                                     ceil_mode: bool, indices: Tensor) -> Tensor:  # fmt: skip
    """What reaches the input of `max_pool2d_with_indices`."""
    return flat_in(_max_pool_backward(grad_output, indices, tuple(input.shape), 2), input)


@composite(
    "max_pool3d_with_indices",
    namespace="nn",
    variants=("function",),
    outputs=("out", "indices"),
    lacks=("buc", "max_pool3d"),
    unnamed=True,
)
def max_pool3d_with_indices(input: Tensor, kernel_size: IntList3, stride: IntList3 = (), padding: IntList3 = 0, dilation: IntList3 = 1,
                            ceil_mode: bool = False) -> Tensor:  # fmt: skip
    """The largest element of each window of the last three dims, and its flat position."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, 3, "max_pool3d")


@composite(
    "max_pool1d_with_indices(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], int[1] dilation=[1], bool ceil_mode=False) -> (Tensor, Tensor)",
    variants=("function",),
    lacks=("buc", "max_pool2d"),
)
def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Shape,
    stride: Shape = (),
    padding: Shape = 0,
    dilation: Shape = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest element of each window of the last dim, and its position."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, 1, "max_pool1d")


@composite(
    "max_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], int[1] dilation=[1], bool ceil_mode=False)",
    variants=("function",),
    lacks=("bic", "max_pool1d_impl"),
)
def max_pool1d(
    input: Tensor,
    kernel_size: Shape,
    stride: Shape = (),
    padding: Shape = 0,
    dilation: Shape = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest element of each window of the last dim."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, 1, "max_pool1d")[0]


@composite("max_pool2d", variants=("function",), lacks=("buc", "max_pool2d"))
def max_pool2d(input: Tensor, kernel_size: IntList2, stride: IntList2 = (), padding: IntList2 = 0, dilation: IntList2 = 1,
               ceil_mode: bool = False) -> Tensor:  # fmt: skip
    """The largest element of each window of the last two dims."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, 2, "max_pool2d")[0]


@composite("max_pool3d", variants=("function",), lacks=("buc", "max_pool3d"), autocast="float32")
def max_pool3d(input: Tensor, kernel_size: IntList3, stride: IntList3 = (), padding: IntList3 = 0, dilation: IntList3 = 1,
               ceil_mode: bool = False) -> Tensor:  # fmt: skip
    """The largest element of each window of the last three dims."""
    return _max(input, kernel_size, stride, padding, dilation, ceil_mode, 3, "max_pool3d")[0]


def _unpool(input: Any, indices: Any, output_size: Any, n: int) -> Any:
    if indices.shape != input.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices tensor "
            f"with shape: {list(indices.shape)}"
        )
    lead = tuple(input.shape[:-n])
    cells = 1
    for e in output_size:
        cells *= e
    places = prod(input.shape[-n:])
    flat = indices.reshape(*lead, places)
    if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= cells):
        raise RuntimeError(
            f"Found an invalid max index: {int(flat.max())} (output volumes are of size {'x'.join(map(str, output_size))}"
        )
    out = on_zeros(input, (*lead, cells), "scatter", -1, flat, input.reshape(*lead, places))
    return out.reshape(*lead, *output_size)


@composite(
    "max_unpool2d",
    namespace="nn",
    variants=("function",),
    packed="images",
    lacks=("bic", "max_unpool2d"),
    autocast="float32",
)
def max_unpool2d(input: Tensor, indices: Tensor, output_size: Shape2) -> Tensor:
    """Puts each element where `max_pool2d` took it from; zeros elsewhere."""
    return _unpool(input, indices, tuple(output_size), 2)


@composite("max_unpool3d", namespace="nn", variants=("function",), lacks=("bic", "max_unpool3d"), autocast="float32")
def max_unpool3d(input: Tensor, indices: Tensor, output_size: Shape3, stride: IntList3, padding: IntList3) -> Tensor:
    """Puts each element where `max_pool3d` took it from; zeros elsewhere."""
    return _unpool(input, indices, tuple(output_size), 3)


# ---------------------------------------------------------------- mean


@op("_avg_pool", variants=(), packed="channels")
def _avg_pool(k: Kernel[T], input: T, size: Shape, stride: Shape, padding: Shape, out: Shape, divisor: Any) -> T:
    """Sums of windows over `divisor`."""
    return k.library("avg_pool", input, size=size, stride=stride, padding=padding, out=out, divisor=divisor)


@op("_avg_pool_backward", variants=())
def _avg_pool_backward(
    k: Kernel[T], grad: T, shape: Shape, size: Shape, stride: Shape, padding: Shape, divisor: Any
) -> T:
    """What reaches the input of `_avg_pool`."""
    return k.library("avg_pool_backward", grad, shape=shape, size=size, stride=stride, padding=padding, divisor=divisor)


_avg_pool.known_as("AvgPool2DBackward0", event="avg_pool2d").vjp(
    input=lambda g, input_shape, size, stride, padding, divisor: _avg_pool_backward(
        g, input_shape, size, stride, padding, divisor
    )
).flat()
_avg_pool_backward.known_as("AvgPool2DBackwardBackward0", event="avg_pool2d_backward").vjp(
    grad=lambda g, grad_shape, size, stride, padding, divisor: _avg_pool(
        g, size, stride, padding, grad_shape[-len(size) :], divisor
    )
)


@lru_cache(maxsize=256)
def _divisor(
    spatial: Sequence[int], size: Ints, stride: Ints, padding: Ints, out: Ints, include_pad: bool, override: int | None
) -> Any:
    """A number where all windows count the same, else one for each output position."""
    if override is not None:
        if override == 0:
            raise RuntimeError("divisor must be not zero")
        return override
    counts = []
    for e, k, s, p, o in zip(spatial, size, stride, padding, out, strict=True):
        row = []
        for i in range(o):
            start = i * s - p
            stop = min(start + k, e + p)
            row.append(stop - start if include_pad else min(stop, e) - max(start, 0))
        counts.append(row)
    if all(len(set(row)) == 1 for row in counts):
        n = 1
        for row in counts:
            n *= row[0]
        return n
    grid: Any = counts[-1]
    for row in reversed(counts[:-1]):
        grid = [_scaled(grid, c) for c in row]
    return grid


def _scaled(grid: Any, c: int) -> Any:
    return [_scaled(x, c) for x in grid] if isinstance(grid, list) else grid * c


def _avg(
    input: Any,
    size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    include_pad: bool,
    override: int | None,
    n: int,
    owner: str,
) -> Any:
    size, padding = spread(size, n, "kernel_size", owner), spread(padding, n, "padding", owner)
    stride = (
        size
        if stride is None or (not isinstance(stride, int) and not len(stride))
        else spread(stride, n, "stride", owner)
    )
    ones = (1,) * n
    out = _fitted(input, n, size, stride, padding, ones, ceil_mode, owner)
    return _avg_pool(
        input,
        size,
        stride,
        padding,
        out,
        _divisor(tuple(input.shape[-n:]), size, stride, padding, out, include_pad, override),
    )


@composite(
    "avg_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], bool ceil_mode=False, bool count_include_pad=True)",
    variants=("function",),
    lacks=("bsuc", "avg_pool2d"),
)
def avg_pool1d(
    input: Tensor,
    kernel_size: Shape,
    stride: Shape = (),
    padding: Shape = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of the last dim."""
    return _avg(input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, 1, "avg_pool1d")


@composite("avg_pool2d", namespace="nn", variants=("function", "out"), lacks=("bsuc", "avg_pool2d"))
def avg_pool2d(input: Tensor, kernel_size: IntList2, stride: IntList2 = (), padding: IntList2 = 0, ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Tensor:  # fmt: skip
    """The mean of each window of the last two dims.

    >>> torch.nn.functional.avg_pool2d(torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), 2)
    tensor([[[1.5000]]])
    """
    return _avg(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, 2, "avg_pool2d")


@composite(
    "avg_pool3d",
    namespace="nn",
    variants=("function", "out"),
    lacks=("bsuhc", "avg_pool3d_out_frame"),
    autocast="float32",
)
def avg_pool3d(input: Tensor, kernel_size: IntList3, stride: IntList3 = (), padding: IntList3 = 0, ceil_mode: bool = False, count_include_pad: bool = True,
               divisor_override: int | None = None) -> Tensor:  # fmt: skip
    """The mean of each window of the last three dims."""
    return _avg(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, 3, "avg_pool3d")


# ---------------------------------------------------------------- adaptive


def _asked(input: Any, output_size: Any, n: int, owner: str) -> Any:
    """The sizes as they are given, one for each dim where it is one number; a line is looked at before anything else."""
    given = output_size if isinstance(output_size, (list, tuple)) else (*sizes(output_size),) * n
    if n == 1 and input.ndim not in (2, 3):
        raise RuntimeError(
            f"Expected 2 to 3 dimensions, but got {input.ndim}-dimensional tensor for argument #1 'self' (while checking arguments for {owner})"
        )
    if n == 1 and len(given) != 1:
        raise RuntimeError(f"{owner}() argument 'output_size' should contain one int (got {len(given)})")
    return given


def _filled(input: Any, given: Any) -> Ints:
    """Sizes with those of the input in the place of None."""
    return sizes([input.shape[i - len(given)] if s is None else s for i, s in enumerate(given)])


def _check_pooled(input: Any, n: int, owner: str, first: int, mark: str = "") -> None:
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(f"{owner}(): Expected {n + 1}D or {n + 2}D tensor, but got{mark} {list(input.shape)}")
    for i in range(first, input.ndim):
        if input.shape[i] == 0:
            raise RuntimeError(
                f"{owner}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes {list(input.shape)} with "
                f"dimension {i} being empty"
            )


def _adaptive_max(input: Any, output_size: Any, n: int, owner: str) -> tuple[Any, Any]:
    given = _asked(input, output_size, n, owner)
    _check_pooled(input, n, owner, 1, ":")
    if len(given) != n:
        raise RuntimeError(f"{owner}(): internal error: output_size.size() must be {n}")
    size = _filled(input, given)
    if any(s < 0 for s in size):
        made = [*input.shape[: input.ndim - n], *(1,) * (n == 1), *size]
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {made}")
    values, indices = _adaptive_max_pool(input, size)
    return values, indices


def _adaptive_avg(input: Any, output_size: Any, n: int, owner: str) -> Any:
    given = _asked(input, output_size, n, owner)
    if len(given) != n:
        raise RuntimeError(f"{owner}: output_size must be {n}")
    size = _filled(input, given)
    if any(s < 0 for s in size):
        # a line is an image of one row there
        where, told = (owner, size) if n > 1 else ("adaptive_avg_pool2d", (1, *size))
        listed = f"{told[0]}, {','.join(map(str, told[1:]))}"  # as PyTorch writes them
        raise RuntimeError(
            f"{where}: elements of output_size must be greater than or equal to 0 but received {{{listed}}}"
        )
    if n > 1 and all(s == 1 for s in size):  # whatever the other dims are, as in PyTorch
        return input.mean(tuple(range(-1, -n - 1, -1)), keepdim=True)
    _check_pooled(input, n, owner, 1 if n == 3 else input.ndim - n)
    spatial = tuple(input.shape[-n:])
    if all(s == 1 for s in size):
        return input.mean(tuple(range(-n, 0)), keepdim=True)
    input = still(input)
    if all(o and e % o == 0 for e, o in zip(spatial, size, strict=True)):
        window = tuple(e // o for e, o in zip(spatial, size, strict=True))
        return _avg_pool(
            input, window, window, (0,) * n, size, _divisor(spatial, window, window, (0,) * n, size, True, None)
        )
    out: Any = input
    for i, (e, o) in enumerate(zip(spatial, size, strict=True)):  # a window is a product of ranges: dim by dim
        if e != o:
            out = resampled(out, i - n, "parts", e, o, False, None, False)
    return out


@composite("adaptive_avg_pool1d", variants=("function",), layouts=True, lacks=("bic", "adaptive_avg_pool2d"))
def adaptive_avg_pool1d(input: Tensor, output_size: IntList1) -> Tensor:
    """The mean of each of `output_size` nearly equal parts of the last dim."""
    return _adaptive_avg(input, output_size, 1, "adaptive_avg_pool1d")


@composite(
    "adaptive_avg_pool2d", namespace="nn", variants=("function",), layouts=True, lacks=("bic", "adaptive_avg_pool2d")
)
def adaptive_avg_pool2d(input: Tensor, output_size: Shape2) -> Tensor:
    """The mean of each of `output_size` nearly equal parts of the last two dims."""
    return _adaptive_avg(input, output_size, 2, "adaptive_avg_pool2d")


@composite(
    "adaptive_avg_pool3d",
    namespace="nn",
    variants=("function",),
    layouts=True,
    lacks=("bic", "adaptive_avg_pool3d_cpu"),
    autocast="float32",
)
def adaptive_avg_pool3d(input: Tensor, output_size: Shape3) -> Tensor:
    """The mean of each of `output_size` nearly equal parts of the last three dims."""
    return _adaptive_avg(input, output_size, 3, "adaptive_avg_pool3d")


@op("_adaptive_max_pool", variants=(), promote="none", outputs=("values", "indices"))
def _adaptive_max_pool(k: Kernel[T], input: T, out: Shape) -> T:
    """The largest element of each part, and its flat position."""
    return k.library("adaptive_max_pool", input, out=out)


_adaptive_max_pool.vjp(
    input=lambda g_values, input_shape, indices, out: _max_pool_backward(g_values, indices, input_shape, len(out))
).flat()


@composite(
    "adaptive_max_pool1d(Tensor self, int[1] output_size) -> (Tensor, Tensor)",
    variants=("function",),
    lacks=("bic", "adaptive_max_pool2d"),
)
def adaptive_max_pool1d(input: Tensor, output_size: Shape) -> tuple[Tensor, Tensor]:
    """The largest element of each of `output_size` nearly equal parts of the last dim, and its position."""
    return _adaptive_max(input, output_size, 1, "adaptive_max_pool1d")


@composite(
    "adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)",
    namespace="nn",
    variants=("function",),
    lacks=("bic", "adaptive_max_pool2d"),
    packed="images",
)
def adaptive_max_pool2d(input: Tensor, output_size: Shape) -> tuple[Tensor, Tensor]:
    """The largest element of each part of the last two dims, and its flat position."""
    return _adaptive_max(input, output_size, 2, "adaptive_max_pool2d")


@composite(
    "adaptive_max_pool3d(Tensor self, int[3] output_size) -> (Tensor, Tensor)",
    namespace="nn",
    variants=("function",),
    lacks=("bic", "adaptive_max_pool3d_cpu"),
    autocast="float32",
)
def adaptive_max_pool3d(input: Tensor, output_size: Shape) -> tuple[Tensor, Tensor]:
    """The largest element of each part of the last three dims, and its flat position."""
    return _adaptive_max(input, output_size, 3, "adaptive_max_pool3d")

"""Views of part of a tensor: select, slice, split, diagonal, windows; and what carries gradients back into the whole."""

from __future__ import annotations

from itertools import pairwise
from numbers import Integral
from typing import Any

from flambeau._kernel.language import Dim, Kernel, Shape, Size, T
from flambeau._operators.op import METHOD, composite, op
from flambeau._operators.view import VIEW, elements, sizes
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, int64
from flambeau._values.shape import whole, wrap_dim

Array = Any
ALL = slice(None)


def at(dim: int, index: Any) -> tuple[Any, ...]:
    """The subscript that is `index` in one dimension and everything in the others."""
    return (ALL,) * dim + (index, ...)


# ---------------------------------------------------------------- select, slice, narrow


@op("select.int", **VIEW)
def select(k: Kernel[T], input: T, dim: Dim, index: Size) -> T:
    """The slice of `input` at `index` along `dim`: that dimension is gone.

    >>> torch.tensor([[1, 2], [3, 4]]).select(1, 0)
    tensor([1, 3])
    """
    dim = wrap_dim(dim, input.ndim)
    shape = input.shape
    index = index % shape[dim]
    return k.reshape(k.slice(input, dim, index, index + 1), shape[:dim] + shape[dim + 1 :])


select.vjp(input=lambda g, input_shape, dim, index: select_backward(g, input_shape, dim, index))


@select.arrays
def _(k: Any, input: Array, dim: int, index: int) -> Array:
    rank = input.ndim
    if not -rank <= dim < rank:
        if rank == 0:
            raise IndexError("select() cannot be applied to a 0-dim tensor.")
        wrap_dim(dim, rank)
    try:
        return input[(ALL,) * (dim % rank) + (int(index), ...)]
    except IndexError:
        raise IndexError(
            f"select(): index {int(index)} out of range for tensor of size {list(input.shape)} at "
            f"dimension {dim % rank}"
        ) from None


@op("select_backward", promote="none", variants=("function",), receiver="grad_output")
def select_backward(k: Kernel[T], input: T, input_sizes: Shape, dim: Dim, index: Size) -> T:
    """Zeros of the given sizes with `input` at `index` along `dim`."""
    dim = wrap_dim(dim, len(input_sizes))
    n, i = input_sizes[dim], index % input_sizes[dim]
    widths = [(0, 0)] * len(input_sizes)
    widths[dim] = (i, n - 1 - i)
    return k.pad(k.reshape(input, (*input_sizes[:dim], 1, *input_sizes[dim + 1 :])), widths)


select_backward.vjp(input=lambda g, dim, index: g.select(dim, index))


@select_backward.arrays
def _(k: Any, input: Array, input_sizes: Shape, dim: int, index: int) -> Array:
    return k.library("placed", input, shape=input_sizes, where=at(dim % len(input_sizes), int(index)))


def clamped(n: int, start: Any, end: Any) -> tuple[int, int]:
    """A slice's ends as PyTorch reads them: counted from the back where negative, then held within the size."""
    start = 0 if start is None else whole(start)
    end = n if end is None else whole(end)
    start, end = start + n if start < 0 else start, end + n if end < 0 else end
    start = min(max(start, 0), n)
    return start, min(max(end, start), n)


@op("slice.Tensor", variants=(), **VIEW)
def slice_(
    k: Kernel[T], input: T, dim: Dim = 0, start: Size | None = None, end: Size | None = None, step: Size = 1
) -> T:
    """Every `step`-th element from `start` up to `end` along `dim`."""
    dim = wrap_dim(dim, input.ndim)
    return k.slice(input, dim, *clamped(input.shape[dim], start, end), step)


slice_.vjp(
    input=lambda g, input_shape, dim, start, end, step: slice_backward(
        g, input_shape, dim, 0 if start is None else start, input_shape[dim] if end is None else end, step
    )
)


@slice_.errors
def _(input: Any, dim: int, start: Any, end: Any, step: int) -> None:
    if not input._a.ndim:
        raise RuntimeError("slice() cannot be applied to a 0-dim tensor.")
    if step <= 0:
        raise RuntimeError("slice step must be positive")


@op("slice_backward", promote="none", variants=("function",), receiver="grad_output")
def slice_backward(k: Kernel[T], input: T, input_sizes: Shape, dim: Dim, start: Size, end: Size, step: Size) -> T:
    """Zeros of the given sizes with `input` in the slice along `dim`."""
    dim = wrap_dim(dim, len(input_sizes))
    start, end = clamped(input_sizes[dim], start, end)
    return k.library("placed", input, shape=input_sizes, where=at(dim, slice(start, end, step)))


slice_backward.vjp(input=lambda g, dim, start, end, step: slice_(g, dim, start, end, step))


@composite(
    "narrow(Tensor(a) self, int dim, SymInt start, SymInt length) -> Tensor(a)",
    "narrow.Tensor(Tensor(a) self, int dim, Tensor start, SymInt length) -> Tensor(a)",
)
def narrow(input: Tensor, dim: Dim, start: Any, length: int) -> Tensor:
    """The part of `input` from `start`, `length` elements long, along `dim`.

    >>> torch.arange(5).narrow(0, 1, 3)
    tensor([1, 2, 3])
    """
    if not isinstance(start, Integral) and (getattr(start, "ndim", 0) > 0 or start._a.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    dim = wrap_dim(dim, input.ndim)
    start, n = whole(start), input.shape[dim]
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    if start < 0:
        start += n
    if start > n - length:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_(input, dim, start, start + length, 1)


@composite("narrow_copy", variants=("function", "method", "out"), layouts=True)
def narrow_copy(input: Tensor, dim: Dim, start: Size, length: Size) -> Tensor:
    """A copy of the part of `input` that `narrow` views."""
    if input.ndim and dim >= input.ndim:
        raise RuntimeError(
            "Expected dim < static_cast<int64_t>(self_sizes.size()) to be true, but got false.  (Could this error message be improved?  "
            "If so, please report an enhancement request to PyTorch.)"
        )
    part = narrow(input, dim, start, length)
    return part.clone() if part.is_contiguous() else part.contiguous()


# ---------------------------------------------------------------- several views at once


@op("unbind.int(Tensor(a -> *) self, int dim=0)", **VIEW)
def unbind(k: Kernel[T], input: T, dim: Dim = 0) -> tuple[T, ...]:
    """All slices along `dim`, as a tuple."""
    dim = wrap_dim(wrap_dim(dim, input.ndim), input.ndim, False)
    return tuple(
        k.reshape(k.slice(input, dim, i, i + 1), input.shape[:dim] + input.shape[dim + 1 :])
        for i in range(input.shape[dim])
    )


unbind.vjp(input=lambda g, dim: _stack(g, dim))
unbind.vjp_arrays(input=lambda k, g, dim: _stacked(k, g, dim))


@unbind.arrays
def _(k: Any, input: Array, dim: int = 0) -> Any:
    before = (ALL,) * wrap_dim(wrap_dim(dim, input.ndim), input.ndim, False)
    return [input[(*before, i, ...)] for i in range(input.shape[len(before)])]


def _stack(g: Any, dim: int) -> Any:
    from flambeau._operators.join import stack  # join is written in terms of this file

    return stack(g if isinstance(g, (list, tuple)) else [g], dim)


def _stacked(k: Any, g: list[Array], dim: int) -> Array:
    from flambeau._operators.join import stack

    return stack.run(k, g, dim)


def _joined(k: Any, g: list[Array], dim: int) -> Array:
    from flambeau._operators.join import cat

    return cat.run(k, g, dim)


def _cat(g: Any, dim: int) -> Any:
    from flambeau._operators.join import cat

    return cat(g if isinstance(g, (list, tuple)) else [g], dim)


def _pieces(x: Array, dim: int, lengths: Any) -> list[Array]:
    before, out, start = (ALL,) * dim, [], 0
    for n in lengths:
        out.append(x[(*before, slice(start, start + n))])
        start += n
    return out


@op(
    "split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0)",
    "split.sizes(Tensor(a -> *) self, SymInt[] split_size, int dim=0)",
    **VIEW,
)
def split(k: Kernel[T], input: T, split_size: Any, dim: Dim = 0) -> tuple[T, ...]:
    """Pieces of `split_size` along `dim` (the last may be shorter), or pieces of the given sizes.

    >>> [len(p) for p in torch.arange(5).split(2)]
    [2, 2, 1]
    """
    dim, out, start = wrap_dim(dim, input.ndim), [], 0
    for n in _lengths(input.shape, split_size, dim):
        out.append(k.slice(input, dim, start, start + n))
        start += n
    return tuple(out)


split.vjp(input=lambda g, dim: _cat(g, dim))
split.vjp_arrays(input=lambda k, g, dim: _joined(k, g, dim))


@split.arrays
def _(k: Any, input: Array, split_size: Any, dim: int = 0) -> Any:
    dim = wrap_dim(dim, input.ndim)
    return _pieces(input, dim, _lengths(input.shape, split_size, dim))


@split.errors
def _(input: Any, split_size: Any, dim: int) -> None:
    if not input._a.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")


def _lengths(shape: Shape, size: Any, dim: int) -> Any:
    n = shape[dim]
    if isinstance(size, (list, tuple)):
        return _checked(sizes(size), n, dim)
    size = whole(size)
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0:
        if n != 0:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
        return (0,)
    return [min(size, n - start) for start in range(0, max(n, 1), size)]


def _checked(given: Shape, n: int, dim: int) -> Shape:
    if any(m < 0 for m in given):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={list(given)}"
        )
    if sum(given) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at "
            f"dimension {dim}), "
            f"but got split_sizes={list(given)}"
        )
    return given


@composite("split_with_sizes(Tensor(a -> *) self, SymInt[] split_sizes, int dim=0) -> Tensor(a)[]")
def split_with_sizes(input: Tensor, split_sizes: Shape, dim: Dim = 0) -> tuple[Tensor, ...]:
    """Pieces of the given sizes along `dim`."""
    if input.ndim == 0:
        raise RuntimeError("split_with_sizes expects at least a 1-dimensional tensor")
    return split(input, tuple(split_sizes), dim)


@composite("unsafe_split.Tensor")
def unsafe_split(input: Tensor, split_size: Size, dim: Dim = 0) -> tuple[Tensor, ...]:
    """As `split`, without the bookkeeping of views."""
    return split(input, split_size, dim)


@composite("unsafe_split_with_sizes")
def unsafe_split_with_sizes(input: Tensor, split_sizes: Shape, dim: Dim = 0) -> tuple[Tensor, ...]:
    """As `split_with_sizes`, without the bookkeeping of views."""
    return split(input, tuple(split_sizes), dim)


@composite("chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]")
def chunk(input: Tensor, chunks: int, dim: Dim = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size along `dim` (the last may be shorter)."""
    if input.ndim == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input._a.shape[wrap_dim(dim, input.ndim)]
    return split(input, -(-n // chunks), dim) if n else split(input, (0,) * chunks, dim)


@composite("unsafe_chunk")
def unsafe_chunk(input: Tensor, chunks: int, dim: Dim = 0) -> tuple[Tensor, ...]:
    """As `chunk`, without the bookkeeping of views."""
    return chunk(input, chunks, dim)


@composite(
    "tensor_split.tensor_indices_or_sections(Tensor(a -> *) self, Tensor tensor_indices_or_sections, int dim=0) -> Tensor(a)[]"
)
def tensor_split(input: Tensor, indices_or_sections: Any, dim: Dim = 0) -> tuple[Tensor, ...]:
    """So many pieces along `dim`, sizes differing by at most one, or pieces cut at the given indices."""
    if input.ndim == 0:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    dim = wrap_dim(dim, input.ndim)
    given, n = indices_or_sections, input.shape[dim]
    if isinstance(given, Tensor):
        if given.ndim > 1:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                "one-dimensional tensor, but got a "
                f"tensor with {given.ndim} dims"
            )
        if given.dtype is not int64:
            raise RuntimeError(
                f"tensor_split expected tensor_indices_or_sections to have dtype of long, but got {SPOKEN[given.dtype]}"
            )
        given = int(given) if given.ndim == 0 else given.tolist()
    if isinstance(given, Integral):
        given = int(given)
        if given <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {given}")
        return split(input, tuple(n // given + (1 if i < n % given else 0) for i in range(given)), dim)
    cuts = [0, *given, n]
    return tuple(slice_(input, dim, a, b, 1) for a, b in pairwise(cuts))


@composite(
    "tensor_split.sections(Tensor(a -> *) self, SymInt sections, int dim=0) -> Tensor(a)[]", python_name="tensor_split"
)
def tensor_split_sections(input: Tensor, sections: int, dim: Dim = 0) -> tuple[Tensor, ...]:
    """So many pieces along `dim`, sizes differing by at most one."""
    return tensor_split(input, sections, dim)


@composite(
    "tensor_split.indices(Tensor(a -> *) self, SymInt[] indices, int dim=0) -> Tensor(a)[]", python_name="tensor_split"
)
def tensor_split_indices(input: Tensor, indices: Shape, dim: Dim = 0) -> tuple[Tensor, ...]:
    """Pieces along `dim`, cut at the given indices."""
    return tensor_split(input, indices, dim)


def _equally(name: str, x: Any, given: Any, dim: int, least: int) -> Any:
    if x.ndim < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} "
            f"dimension, but got a tensor with "
            f"{x.ndim} dimensions!"
        )
    given = int(given) if hasattr(given, "__index__") else given
    if not isinstance(given, int) and not (isinstance(given, (list, tuple)) and all(isinstance(i, int) for i in given)):
        raise TypeError(f"{name}() received an invalid combination of arguments - got (Tensor, {type(given).__name__})")
    if isinstance(given, int):
        if given == 0 or x.shape[dim] % given:
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the "
                f"dimension {x.shape[dim]} is not "
                f"divisible by the split_size {given}!"
            )
        return tensor_split(x, given, dim)
    return tensor_split(x, tuple(given), dim)


@composite(
    "hsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
    "hsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
)
def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Splits along columns (a vector along its only dimension)."""
    return _equally("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1, 1)


@composite(
    "vsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
    "vsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
)
def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Splits along rows."""
    return _equally("vsplit", input, indices_or_sections, 0, 2)


@composite(
    "dsplit.int(Tensor(a -> *) self, int sections) -> Tensor(a)[]",
    "dsplit.array(Tensor(a -> *) self, int[] indices) -> Tensor(a)[]",
)
def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Splits along the third dimension."""
    return _equally("dsplit", input, indices_or_sections, 2, 3)


# ---------------------------------------------------------------- diagonals and windows


def _diagonal(x: Array, k: Any, offset: int, dim1: int, dim2: int) -> Array:
    a, b = wrap_dim(dim1, x.ndim), wrap_dim(dim2, x.ndim)
    n = max(min(x.shape[a], x.shape[b] - offset) if offset >= 0 else min(x.shape[a] + offset, x.shape[b]), 0)
    st = elements(x)
    rest = [i for i in range(x.ndim) if i not in (a, b)]
    if n:
        x = x[at(b, slice(offset, None))] if offset >= 0 else x[at(a, slice(-offset, None))]
    return k.library(
        "strided", x, shape=(*(x.shape[i] for i in rest), n), strides=(*(st[i] for i in rest), st[a] + st[b])
    )


@op("diagonal", **VIEW)
def diagonal(k: Kernel[T], input: T, offset: int = 0, dim1: Dim = 0, dim2: Dim = 1) -> T:
    """The elements whose indices along `dim2` and `dim1` differ by `offset`, as a last dimension."""
    return _diagonal(input, k, offset, dim1, dim2)


diagonal.vjp(input=lambda g, input_shape, offset, dim1, dim2: diagonal_backward(g, input_shape, offset, dim1, dim2))


@diagonal.errors
def _(input: Any, offset: int, dim1: int, dim2: int) -> None:
    rank = input._a.ndim
    if wrap_dim(dim1, rank) == wrap_dim(dim2, rank):
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")


@op("diagonal_backward", promote="none", variants=("function",), receiver="grad_output")
def diagonal_backward(k: Kernel[T], input: T, input_sizes: Shape, offset: int, dim1: Dim, dim2: Dim) -> T:
    """Zeros of the given sizes with `input` on a diagonal."""
    out = k.library("zeros", shape=input_sizes, dtype=input.dtype)
    _diagonal(out, k, offset, dim1, dim2)[...] = input
    return out


diagonal_backward.vjp(input=lambda g, offset, dim1, dim2: g.diagonal(offset, dim1, dim2))


def _windows(x: Array, k: Any, dim: int, size: int, step: int) -> Array:
    if not x.ndim:
        return k.library("strided", x, shape=(size,), strides=(1,))
    d, st = wrap_dim(dim, x.ndim), elements(x)
    n = (x.shape[d] - size) // step + 1
    return k.library(
        "strided",
        x,
        shape=(*x.shape[:d], n, *x.shape[d + 1 :], size),
        strides=(*st[:d], st[d] * step, *st[d + 1 :], st[d]),
    )


@op("unfold", variants=METHOD, **VIEW)
def unfold(k: Kernel[T], input: T, dimension: Dim, size: int, step: int) -> T:
    """All windows of `size` along a dimension, `step` apart; what is in a window is a last dimension.

    >>> torch.arange(5).unfold(0, 2, 1)
    tensor([[0, 1],
            [1, 2],
            [2, 3],
            [3, 4]])
    """
    return _windows(input, k, dimension, size, step)


unfold.vjp(input=lambda g, input_shape, dimension, size, step: unfold_backward(g, input_shape, dimension, size, step))


@unfold.errors
def _(input: Any, dimension: int, size: int, step: int) -> None:
    rank = input._a.ndim
    d = wrap_dim(dimension, rank)
    most = input._a.shape[d] if rank else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > most:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {most} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")


@op("unfold_backward", promote="none", variants=("function",), receiver="grad_in")
def unfold_backward(k: Kernel[T], input: T, input_sizes: Shape, dim: Dim, size: int, step: int) -> T:
    """Zeros of the given sizes to which every window of `input` is added in its place."""
    out = k.library("zeros", shape=input_sizes, dtype=input.dtype)
    windows = _windows(out, k, dim, size, step)
    for i in range(0, size, step):  # as many places side by side as windows are apart never overlap
        windows[..., i : i + step] += input[..., i : i + step]
    return out


unfold_backward.vjp(input=lambda g, dim, size, step: g.unfold(dim, size, step))


# ---------------------------------------------------------------- as_strided


@composite("as_strided", layouts=True, alias=True)
def as_strided(input: Tensor, size: Shape, stride: Shape, storage_offset: Size | None = None) -> Tensor:
    """A view of the storage with any sizes, strides and offset."""
    size, stride = sizes(size), sizes(stride)
    if len(size) != len(stride):
        raise RuntimeError(f"mismatch in length of strides and shape. strides={list(stride)}, shape={list(size)}")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    offset = input.storage_offset() if storage_offset is None else storage_offset
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    return _as_strided(input, size, stride, offset, input.stride(), input.storage_offset())


@op("_as_strided", variants=(), **VIEW)
def _as_strided(
    k: Kernel[T], input: T, size: Shape, stride: Shape, offset: int, own_stride: Shape, own_offset: int
) -> T:
    """The same, told how `input` lies: its derivative needs that, but not its elements."""
    return k.library("as_strided", input, shape=size, strides=stride, offset=offset)


_as_strided.vjp(
    input=lambda g, input_shape, size, stride, offset, own_stride, own_offset: as_strided_backward(
        g, input_shape, own_stride, own_offset, size, stride, offset
    )
)


@op("as_strided_backward", promote="none", variants=())
def as_strided_backward(
    k: Kernel[T],
    input: T,
    sizes: Shape,
    strides: Shape,
    start: int,
    size: Shape,
    stride: Shape,
    offset: int,
    share: bool = True,
) -> T:
    """What reaches a strided view, added up where its elements lie, then read where those of the tensor lie."""
    return k.library(
        "as_strided_backward",
        input,
        sizes=sizes,
        strides=strides,
        start=start,
        size=size,
        stride=stride,
        offset=offset,
        share=share,
    )


as_strided_backward.vjp(
    input=lambda g, sizes, strides, start, size, stride, offset: as_strided_backward(
        g, size, stride, offset, sizes, strides, start, False
    )
)


# ---------------------------------------------------------------- a part replaced, in a copy


@composite("select_scatter", variants=("function", "method", "out"))
def select_scatter(input: Tensor, src: Tensor, dim: Dim, index: Size) -> Tensor:
    """A copy of `input` with `src` in place of the slice at `index` along `dim`."""
    out = input.clone()
    part = select(out, dim, index)
    if part.shape != src.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, "
            f"slice size = {list(part.shape)}"
        )
    part.copy_(src)
    return out


@composite("slice_scatter", variants=("function", "method", "out"))
def slice_scatter(
    input: Tensor, src: Tensor, dim: Dim = 0, start: Size | None = None, end: Size | None = None, step: Size = 1
) -> Tensor:
    """A copy of `input` with `src` in place of a slice along `dim`."""
    out = input.clone()
    part = slice_(out, dim, start, end, step)
    if part.shape != src.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, "
            f"slice size = {list(part.shape)}"
        )
    part.copy_(src)
    return out


@composite("diagonal_scatter", variants=("function", "method", "out"))
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: Dim = 0, dim2: Dim = 1) -> Tensor:
    """A copy of `input` with `src` on a diagonal."""
    out = input.clone()
    part = diagonal(out, offset, dim1, dim2)
    if part.shape != src.shape:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(part.shape)}"
        )
    part.copy_(src)
    return out


@op("as_strided_scatter", promote="none", variants=("function", "method", "out"))
def as_strided_scatter(
    k: Kernel[T], input: T, src: T, size: Shape, stride: Shape, storage_offset: Size | None = None
) -> T:
    """A copy of `input`'s memory with `src` in a strided window of it."""
    return k.library("as_strided_scatter", input, src, shape=sizes(size), strides=sizes(stride), offset=storage_offset)


as_strided_scatter.vjp(
    input=lambda g, size, stride, storage_offset: as_strided_scatter(
        g.contiguous(), g.new_zeros(size), size, stride, storage_offset
    ),
    src=lambda g, size, stride, storage_offset: g.contiguous().as_strided(size, stride, storage_offset),
)

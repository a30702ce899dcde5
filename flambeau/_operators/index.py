"""Reading and writing by index tensors and masks: index, index_put, index_select and its kind, take, masks, nonzero.

gather and scatter stand in scatter.py, lookups of embeddings in embed.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._kernel.language import Dim, Index, Kernel, Mask, N, Scalar, Size, T
from flambeau._operators.op import ALL_FORMS, OUT, Op, composite, op
from flambeau._tensor import MODES, Tensor, has_elements
from flambeau._values.dtype import SPOKEN, check_fits, dtype as Kind, of
from flambeau._values.overlap import check_apart
from flambeau._values.shape import broadcast, wrap_dim

CHANGE = ("function", "method", "inplace")


# ---------------------------------------------------------------- bodies that write into a copy, or into the tensor itself


class InPlace:
    """The kernel as in-place forms use it: what is written is the tensor, not a copy."""

    def __init__(self, k: Any) -> None:
        self.k, self.library, self.xp = k, k.library, k.xp


def changed(k: Any, name: str, input: Any, *xs: Any, **params: Any) -> Any:
    """The routine `name`, which writes into its first array, applied to a copy (or, in place, to `input`)."""
    out = input if type(k) is InPlace else k.library("copied", input)
    k.library(name, out, *xs, **params)
    return out


def writes(o: Op, apart: int | None = None) -> Op:
    """Gives an operator whose body is `changed(...)` the in-place form that makes no copy.

    What it reads may not lie in what it writes; of the arguments before the place `apart`, where it is given.
    """

    def write(k: Any, *args: Any, **kwargs: Any) -> None:
        check_apart(args[0], args[1:apart], False)
        o.body(InPlace(k), *args, **kwargs)

    o.write = write
    return o


def on_zeros(g: Any, shape: Any, write: str, *args: Any) -> Any:
    """Zeros of g's dtype, written to by the method of that name; where nobody looks on, in place."""
    out = g.new_zeros(shape)
    seen = MODES or g.requires_grad or type(g) is not Tensor
    return getattr(out, write if seen else f"{write}_")(*args)


def on_zero_arrays(k: Any, g: Any, shape: Any, name: str, *args: Any, **params: Any) -> Any:
    """The same with bare arrays, by the routine of that name."""
    out = k.xp.zeros(shape, g.dtype)
    k.library(name, out, *args, **params)
    return out


def scattered(k: Any, g: Any, shape: Any, dim: int, keepdim: bool, indices: Any) -> Any:
    """A gradient of elements that were chosen along `dim`, in the places they were chosen from; bare arrays."""
    if not shape:
        return g
    dim = wrap_dim(dim, len(shape))
    if not keepdim:
        g, indices = (x.reshape(*x.shape[:dim], 1, *x.shape[dim:]) for x in (g, indices))
    return on_zero_arrays(k, g, shape, "scatter", indices, g, dim=dim, reduce=None)


def dtype_of(x: Any) -> Kind:
    return x.dtype if isinstance(x.dtype, Kind) else of(x.dtype)


# ---------------------------------------------------------------- index, index_put


@op("index.Tensor", promote="none", variants=("function",))
def index(k: Kernel[T], input: T, indices: Sequence[T | None]) -> T:
    """input[indices], where each index is a tensor of integers, a mask, or None for everything."""
    return k.library("index", input, indices=indices)


index.vjp(input=lambda g, input_shape, indices: _put_back(g, input_shape, indices))


index.vjp_arrays(
    input=lambda k, g, input_shape, indices: on_zero_arrays(
        k, g, input_shape, "index_put", g, indices=indices, accumulate=True
    )
)


def _put_back(g: Any, shape: Any, indices: Any) -> Any:
    return on_zeros(g, shape, "index_put", list(indices), g, True)


@op(
    "index_put",
    promote="none",
    takes_float8=True,
    variants=CHANGE,
    expanded="tensor[indices] = tensor",
    lacks=("u", "index_put"),
)
def index_put(k: Kernel[T], input: T, indices: Sequence[T | None], values: T, accumulate: bool = False) -> T:
    """`input` with `values` at (or, with `accumulate`, added to) input[indices]."""
    return changed(k, "index_put", input, values, indices=indices, accumulate=accumulate)


writes(index_put)
index_put.vjp(
    input=lambda g, indices, values, accumulate: (
        g if accumulate else index_put(g, list(indices), values.new_zeros(()).to(g.dtype), False)
    ),
    values=lambda g, indices: index(g, list(indices)),
)


@index_put.errors
def _(input: Any, indices: Any, values: Any, accumulate: bool) -> None:
    if index_put.routine(input.dtype) and input.numel():  # lists of indices have a lane that does not ask
        raise NotImplementedError(f"\"index_put\" not implemented for '{SPOKEN[input.dtype]}'")
    if values._a.dtype != input._a.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {SPOKEN[input.dtype]} "
            "for the destination and "
            f"{SPOKEN[values.dtype]} for the source."
        )


# ---------------------------------------------------------------- along one dimension


def _vector(name: str, index: Any) -> None:
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    if index._a.dtype.kind != "i" or index._a.dtype.itemsize < 4:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")


@op("index_select", promote="none", variants=OUT, lacks=("u", "index_select"), takes_float8=True)
def index_select(k: Kernel[T], input: T, dim: Dim, index: Index) -> T:
    """The slices of `input` along `dim` that `index` names.

    >>> torch.tensor([10, 20, 30]).index_select(0, torch.tensor([2, 0]))
    tensor([30, 10])
    """
    return k.library("take", input, index, dim=wrap_dim(dim, input.ndim))


@index_select.errors
def _(input: Any, dim: int, index: Any) -> None:
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if index._a.dtype.kind != "i" or index._a.dtype.itemsize < 4:
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    if not input.ndim and index.numel() > 1:
        raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {index.numel()} value(s)")
    if input.ndim and index.numel() and not input._a.shape[wrap_dim(dim, input.ndim)]:
        raise RuntimeError("index_select(): self indexing axis dim should be positive")


index_select.vjp(input=lambda g, input_shape, dim, index: on_zeros(g, input_shape, "index_add", dim, index, g) if input_shape else
                 g.sum().reshape(()))  # fmt: skip
index_select.vjp_arrays(
    input=lambda k, g, input_shape, dim, index: (
        on_zero_arrays(k, g, input_shape, "index_add", index, g, dim=wrap_dim(dim, len(input_shape)), alpha=1)
        if input_shape
        else NotImplemented
    )
)


@op("index_add", promote="none", variants=ALL_FORMS, lacks=("u", "index_add_"), packed=True)
def index_add(k: Kernel[T], input: T, dim: Dim, index: Index, source: T, *, alpha: Scalar = 1) -> T:
    """`input` with each slice of `source` (times `alpha`) added to the slice that `index` names."""
    return changed(k, "index_add", input, index, source, dim=wrap_dim(dim, input.ndim), alpha=alpha)


writes(index_add)
index_add.vjp(
    input=lambda g: g,
    source=lambda g, dim, index, alpha, source_shape: _selected(g, dim, index, source_shape) * alpha,
)


def _selected(g: Any, dim: int, index: Any, shape: Any) -> Any:
    return (
        index_select(g, dim, index).reshape(shape)
        if g.ndim
        else g.reshape(shape)
        if len(shape) < 2
        else g.expand(shape)
    )


@index_add.errors
def _(input: Any, dim: int, index: Any, source: Any, alpha: Any) -> None:
    if index.ndim > 1:
        raise IndexError("index_add_(): Index is supposed to be a vector")
    if source._a.dtype != input._a.dtype:
        raise RuntimeError(
            f"index_add_(): self ({SPOKEN[input.dtype]}) and source ({SPOKEN[source.dtype]}) must "
            "have the same scalar type"
        )
    _same_slices("index_add_", input, dim, index, source)


def _same_slices(name: str, input: Any, dim: int, index: Any, source: Any) -> None:
    n, rank = index.numel(), source.ndim
    d = wrap_dim(dim, input.ndim)
    if rank and source.shape[wrap_dim(dim, rank)] != n:
        raise RuntimeError(
            f"{name}(): Number of indices ({n}) should be equal to source.size(dim): "
            f"({source.shape[wrap_dim(dim, rank)]}), for dim: {d}"
        )
    a, b = list(input.shape), list(source.shape)
    if rank and a and a[:d] + a[d + 1 :] != b[:d] + b[d + 1 :]:
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {a} "
            f"source.shape = {b}"
        )


@op("index_copy", promote="none", variants=ALL_FORMS, lacks=("u", "index_copy_cpu"), packed=True, autocast="widest")
def index_copy(k: Kernel[T], input: T, dim: Dim, index: Index, source: T) -> T:
    """`input` with each slice of `source` in the place that `index` names."""
    return changed(k, "index_copy", input, index, source, dim=wrap_dim(dim, input.ndim))


@index_copy.errors
def _(input: Any, dim: int, index: Any, source: Any) -> None:
    if index.ndim >= 2:
        raise IndexError(f"index_copy_(): Index should have dimension 1 or 0 (got {index.ndim})")
    if source._a.dtype != input._a.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{SPOKEN[input.dtype]} and (source) "
            f"{SPOKEN[source.dtype]}"
        )
    if index._a.dtype.kind != "i" or index._a.dtype.itemsize != 8:
        raise RuntimeError(f"index_copy_(): Expected a long tensor for index, but got {SPOKEN[index.dtype]}")
    n, rank = index.numel(), source.ndim
    if rank and input.ndim and rank != input.ndim:
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must "
            "match. Source dimensionality "
            f"({rank}), destination dimensionality ({input.ndim})"
        )
    d = wrap_dim(dim, input.ndim)
    if rank and input.ndim:
        here, there = ([m for e, m in enumerate(t.shape) if e != d] for t in (input, source))
        if here != there:
            spoken = [" ".join(map(str, shape)) for shape in (here, there)]
            raise RuntimeError(
                "index_copy_(): Source/destination tensor must have same slice shapes. Destination slice shape: "
                f"{spoken[0]} at dimension {d} and source slice shape: {spoken[1]} at dimension 0."
            )
    if rank and source.shape[d] != n:
        raise IndexError(
            f"index_copy_(): Number of indices ({n}) should be equal to source.size(dim) ({source.shape[d]})"
        )


writes(index_copy)
index_copy.vjp(
    input=lambda g, dim, index: index_fill(g, dim, index, 0),
    source=lambda g, dim, index, source_shape: _selected(g, dim, index, source_shape),
)


@op(
    "index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value)",
    "index_fill.int_Tensor",
    promote="none",
    variants=CHANGE,
    lacks=("u", "index_fill_cpu"),
    expanded="tensor[mask] = scalar",
)
def index_fill(k: Kernel[T], input: T, dim: Dim, index: Index, value: N) -> T:
    """`input` with one value in the slices that `index` names."""
    return changed(k, "index_fill", input, index, value, dim=wrap_dim(dim, input.ndim))


@index_fill.errors
def _(input: Any, dim: int, index: Any, value: Any) -> None:
    if index.ndim > 1:
        raise IndexError("Index has to be a vector/scalar")
    if index._a.dtype.kind != "i":
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if getattr(value, "ndim", 0):
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    if not input.is_complex() and (isinstance(value, complex) or (hasattr(value, "is_complex") and value.is_complex())):
        raise RuntimeError("index_fill_(): Converting complex Scalar to non-complex type is not supported")
    check_fits(value, input.dtype, True)


writes(index_fill, apart=3)
index_fill.vjp(
    input=lambda g, dim, index: index_fill(g, dim, index, 0),
    value=lambda g, dim, index: index_select(g, dim, index.unique()).sum() if index.numel() else g.new_zeros(()),
)


def _reduction(input: Any, dim: int, index: Any, source: Any, reduce: str, include_self: bool) -> str:
    """What PyTorch calls the routine that combines slices."""
    return "index_func_" if include_self else "index_reduce_func_exclude_input_init"


@op("index_reduce", promote="none", variants=ALL_FORMS, packed=True, lacks=("buc", _reduction))
def index_reduce(
    k: Kernel[T], input: T, dim: Dim, index: Index, source: T, reduce: str, *, include_self: bool = True
) -> T:
    """`input` with each slice of `source` combined (prod, mean, amax, amin) into the slice that `index` names."""
    return changed(
        k, "index_reduce", input, index, source, dim=wrap_dim(dim, input.ndim), reduce=reduce, include_self=include_self
    )


@index_reduce.errors
def _(input: Any, dim: int, index: Any, source: Any, reduce: str, include_self: bool) -> None:
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either prod, mean, amax or amin, got {reduce}.")
    if index.ndim > 1:
        raise IndexError("index_reduce(): Index is supposed to be a vector")
    if source._a.dtype != input._a.dtype:
        raise RuntimeError("index_reduce(): self and source must have the same scalar type")
    _same_slices("index_reduce_", input, dim, index, source)


writes(index_reduce)
index_reduce.vjp(
    _=lambda g, input, dim, index, source, reduce, include_self, out: _index_reduce_vjp(
        g, input, dim, index, source, reduce, include_self, out
    )
)


def _index_reduce_vjp(g: Any, x: Any, dim: int, at: Any, src: Any, reduce: str, own: bool, out: Any) -> tuple[Any, ...]:
    def pick(t: Any) -> Any:
        return index_select(t, dim, at)

    match reduce:
        case "prod":
            clean = x.masked_fill(x == 0, 1)
            gx = g * index_reduce(clean, dim, at, src, "prod", include_self=own) / clean
            zero = src == 0
            zeros = pick(index_add(x.new_zeros(x.shape), dim, at, zero.to(x.dtype)))
            single = zero & (zeros == 1)
            rest = index_reduce(x, dim, at, src.masked_fill(single, 1), "prod", include_self=own)
            gs = _where(single, pick(g * rest), pick(g * out) / src.masked_fill(zero, 1))
        case "mean":
            count = g.new_ones(g.shape) if own else g.new_zeros(g.shape)
            count = index_add(count, dim, at, src.new_ones(src.shape).to(g.dtype))
            count = count.masked_fill(count == 0, 1)
            gx, gs = g / count, pick(g / count)
        case _:
            mine = (x == out).to(g.dtype)
            yours = (src == pick(out)).to(g.dtype)
            share = g / index_add(mine, dim, at, yours)
            gx, gs = mine * share, yours * pick(share)
    if not own:
        gx = index_fill(gx, dim, at, 0)
    return gx, None, gs


def _where(c: Any, a: Any, b: Any) -> Any:
    return a.where(c, b)


# ---------------------------------------------------------------- flat positions


@op("take", promote="none", variants=OUT, lacks=("uC", "take_cpu"), packed=True)
def take(k: Kernel[T], input: T, index: Index) -> T:
    """Elements by their position in the flattened tensor."""
    return k.library("take_flat", input, index)


@take.errors
def _(input: Any, index: Any) -> None:
    if SPOKEN[index.dtype] != "Long":
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {SPOKEN[index.dtype]}")


take.vjp(input=lambda g, input_shape, index: on_zeros(g, input_shape, "put", index, g, True))


@op("put", promote="none", variants=CHANGE, lacks=("uC", "take_put_cpu"))
def put(k: Kernel[T], input: T, index: Index, source: T, accumulate: bool = False) -> T:
    """`input` with `source` at (or added to) positions in the flattened tensor."""
    return changed(k, "put", input, index, source, accumulate=accumulate)


@put.errors
def _(input: Any, index: Any, source: Any, accumulate: bool) -> None:
    if SPOKEN[index.dtype] != "Long":
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {SPOKEN[index.dtype]}")
    if source._a.dtype != input._a.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{SPOKEN[input.dtype]} and source.dtype = "
            f"{SPOKEN[source.dtype]}"
        )
    if index.numel() != source.numel():
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.numel()}, "
            f"index.numel() = {index.numel()}"
        )
    if index.numel() and not input.numel():
        raise IndexError("put_(): Tried to put elements into an empty tensor")


writes(put)
put.vjp(
    input=lambda g, index, accumulate: g if accumulate else put(g, index, g.new_zeros(index.shape), False),
    source=lambda g, index, source_shape: take(g, index).reshape(source_shape),
)


@composite("take_along_dim", variants=OUT)
def take_along_dim(input: Tensor, indices: Tensor, dim: Dim | None = None) -> Tensor:
    """Elements along `dim` by index; `input` and `indices` broadcast in the other dimensions."""
    if dim is None:
        return input.view(-1).gather(0, indices.reshape(-1))
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input.ndim} dimensions for "
            f"input, and {indices.ndim} dimensions for indices"
        )
    if SPOKEN[indices.dtype] not in ("Long", "Int"):
        raise RuntimeError("torch.take_along_dim(): dtype of indices should be Long but got " + SPOKEN[indices.dtype])
    dim = wrap_dim(dim, input.ndim)
    a, b = list(input.shape), list(indices.shape)
    a[dim] = b[dim] = 1
    both = list(broadcast(a, b))
    a, b = both[:], both[:]
    a[dim], b[dim] = input.shape[dim], indices.shape[dim]
    n = input.shape[dim]
    if not has_elements(indices) or (indices._a < 0).any():
        indices = indices.where(indices >= 0, indices + n)
    return input.expand(a).gather(dim, indices.expand(b))


# ---------------------------------------------------------------- masks


@op(
    "masked_fill.Scalar",
    "masked_fill.Tensor",
    promote="none",
    variants=CHANGE,
    native=True,
    lacks=("u", "masked_fill"),
    expanded="tensor[mask] = scalar",
)
def masked_fill(k: Kernel[T], input: T, mask: Mask, value: N) -> T:
    """`value` where the mask is true, `input` elsewhere.

    >>> torch.tensor([1.0, 2.0]).masked_fill(torch.tensor([True, False]), 0)
    tensor([0., 2.])
    """
    return k.where(mask, k.cast(value, dtype_of(input)), input)


@masked_fill.errors
def _(input: Any, mask: Any, value: Any) -> None:
    if mask._a.dtype.kind != "b":
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype " + C_KIND.get(SPOKEN[mask.dtype], "?")
        )
    if getattr(value, "ndim", 0):
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    if mask._a.shape != input._a.shape:
        broadcast(mask.shape, input.shape)
    check_fits(value, input.dtype, True)
    given = isinstance(value, complex) or (hasattr(value, "is_complex") and value.is_complex())
    if given and not input.is_complex():
        raise RuntimeError(
            f"value cannot be converted to type {C_KIND.get(SPOKEN[input.dtype], 'float')} without overflow"
        )
    if input._a.dtype.kind in "iu" and isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise RuntimeError(
            f"value cannot be converted to type {'int64_t' if input._a.dtype.itemsize == 8 else 'int'} without overflow"
        )


C_KIND = {"Byte": "unsigned char", "Long": "long int", "Int": "int", "Float": "float", "Double": "double"}


@masked_fill.arrays
def _(k: Any, input: Any, mask: Any, value: Any) -> Any:
    if mask.shape != input.shape:
        shape = broadcast(input.shape, mask.shape)
        out = (
            input.copy()
            if shape == input.shape
            else k.library("copied", k.expand(input, shape), format="contiguous_format")
        )
    else:
        out = input.copy()
    k.library("masked_write", out, mask, value)
    return out


@masked_fill.into
def _(k: Any, input: Any, mask: Any, value: Any) -> None:
    check_apart(input, (mask,), True)
    k.library("masked_write", input, mask, value)


masked_fill.vjp(
    input=lambda g, mask: masked_fill(g, mask, 0),
    value=lambda g, mask: masked_fill(g, ~mask, 0).sum(),
)


@op("masked_select", promote="none", takes_float8=True, variants=OUT, lacks=("u", "masked_select"), by_data="shape")
def masked_select(k: Kernel[T], input: T, mask: Mask) -> T:
    """The elements where the mask is true, as a vector."""
    return k.library("masked_select", input, mask)


@masked_select.errors
def _(input: Any, mask: Any) -> None:
    if mask._a.dtype.kind != "b":
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    broadcast(mask.shape, input.shape)


masked_select.vjp(
    input=lambda g, input_shape, mask: on_zeros(g, broadcast(input_shape, mask.shape), "masked_scatter", mask, g)
)


@op("masked_scatter", promote="none", variants=CHANGE, lacks=("uC", "masked_scatter"), packed=True)
def masked_scatter(k: Kernel[T], input: T, mask: Mask, source: T) -> T:
    """`input` with the elements of `source`, one after the other, where the mask is true."""
    if not isinstance(k, InPlace):
        input = k.expand(input, broadcast(input.shape, mask.shape))
    return changed(k, "masked_scatter", input, mask, source)


@masked_scatter.errors
def _(input: Any, mask: Any, source: Any) -> None:
    if source._a.dtype != input._a.dtype:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes but got" + SPOKEN[input.dtype] + " and " +
                           SPOKEN[source.dtype])  # fmt: skip
    if mask._a.dtype.kind != "b":
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype " + SPOKEN[mask.dtype])


writes(masked_scatter, apart=1)
masked_scatter.vjp(
    input=lambda g, mask: masked_fill(g, mask, 0),
    source=lambda g, mask, source_shape: _padded(masked_select(g, mask), source_shape),
)


def _padded(x: Any, shape: Any) -> Any:
    n = 1
    for m in shape:
        n *= m
    if x.numel() < n:
        from flambeau._operators.join import cat

        x = cat([x, x.new_zeros((n - x.numel(),))])
    return x[:n].reshape(shape)


# ---------------------------------------------------------------- where there is something


@op("nonzero", promote="none", variants=(), differentiable=False, by_data="shape", lacks=("u", "nonzero_count_cpu"))
def _nonzero(k: Kernel[T], input: T) -> T:
    """The indices of all elements that are not zero, one row each."""
    return k.library("nonzero", input)


@composite("nonzero_numpy", variants=())
def nonzero_numpy(input: Tensor) -> tuple[Tensor, ...]:
    """The indices of all elements that are not zero, one vector for each dimension."""
    x = input.reshape(1) if input.ndim == 0 else input
    return _nonzero(x).unbind(1)


@composite("_nonzero", python_name="nonzero", variants=OUT)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of all elements that are not zero: one row each, or with `as_tuple` one vector for each dimension.

    >>> torch.tensor([0, 3, 4]).nonzero(as_tuple=True)
    (tensor([1, 2]),)
    """
    return nonzero_numpy(input) if as_tuple else _nonzero(input)


@composite("nonzero_static", variants=OUT)
def nonzero_static(input: Tensor, *, size: Size, fill_value: int = -1) -> Tensor:
    """The indices of the first `size` elements that are not zero; rows of `fill_value` where there are fewer."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    found = _nonzero(input)[:size]
    out = found.new_full((size, input.ndim), fill_value)
    out[: found.shape[0]] = found
    return out


@composite("argwhere")
def argwhere(input: Tensor) -> Tensor:
    """The indices of all elements that are not zero, one row each."""
    return _nonzero(input)


@composite("where", variants=("function",))
def where(condition: Tensor) -> tuple[Tensor, ...]:
    """The indices where the condition holds, one vector for each dimension."""
    return nonzero_numpy(condition)


__all__ = ["ALL_FORMS", "changed", "writes"]

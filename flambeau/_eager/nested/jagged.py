"""Readings for the jagged layout: pointwise operators, views, parts, joining, padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flambeau._backends.nested_arrays import JaggedArray, Ragged, begins
from flambeau._eager.graph import inferred, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.names import public
from flambeau._eager.nested import PLAIN_ONES, dense, is_jagged, is_nested, jagged_reading, refused
from flambeau._eager.nested.classes import size_of, structure
from flambeau._eager.record import record
from flambeau._operators.op import REGISTRY, Op
from flambeau._tensor import Tensor, around, wrap
from flambeau._values.shape import wrap_dim
from flambeau._values.symbolic import NestedInt

# ---------------------------------------------------------------- apart and together


@jagged_reading("_nested_get_values", "values", needs_op=True)
def get_values(op: Op, input: Any) -> Any:
    if not is_nested(input):
        raise RuntimeError("values expected sparse tensor layout but got Strided")
    return _recorded(REGISTRY["_nested_get_values"], wrap(input._a.values), (input,))


@jagged_reading("_nested_with_values", needs_op=True)
def with_values(op: Op, input: Any, structure: Any) -> Any:
    t = around(JaggedArray(input._a, structure) if isinstance(structure, Ragged) else structure.with_values(input._a))
    return _recorded(op, t, (input, structure))


def _recorded(op: Op, t: Any, values: tuple[Any, ...]) -> Any:
    """A tensor over the memory of the first argument, with the history of the call."""
    source = values[0]
    if source._vc is None:
        source._vc = [0]
    t._vc = source._vc
    if STATE.inference:
        inferred(t)
    if STATE.grad and node_of(source) is not None:
        record(op, (t,), values)
    return t


@jagged_reading("_nested_structure")
def structure_of(input: Any) -> Any:
    return input._a.ragged if type(input._a) is JaggedArray else input._a


def values_of(t: Any) -> Any:
    """The elements of a jagged tensor, with their history."""
    return REGISTRY["_nested_get_values"](t)


def again(values: Any, ragged: Ragged) -> Any:
    """The jagged tensor of these values, members as another's."""
    return REGISTRY["_nested_with_values"](values, ragged)


def like(t: Any, values: Any, at: int | None = None) -> Any:
    """The jagged tensor with the structure of t and other values."""
    return again(values, t._a.ragged if at is None else t._a.ragged.moved(at))


def listed(size: Any) -> str:
    """Sizes as PyTorch's errors show them."""
    return str(tuple(size))


# ---------------------------------------------------------------- dimensions


def inner(t: Any, dim: int) -> int:
    """The dimension of the values that one of the whole is; the first and the ragged one are the same there."""
    return t._a.ragged.at - 1 if dim == 0 else dim - 1


def inner_dim(t: Any, dim: int, name: str, ndim: int | None = None, ragged: bool = False, batch: bool = False) -> int:
    """The same of a dimension given by the user, which may not be one that members differ in."""
    d = wrap_dim(dim, t.dim() if ndim is None else ndim)
    if d == t._a.ragged.at and not ragged:
        raise RuntimeError(f"{name}(): not supported for NestedTensor on ragged dim")
    if d == 0 and not batch:
        raise RuntimeError(f"{name}(): not supported for NestedTensor on dim=0")
    return inner(t, d)


def same_structure(t: Any, size: Any) -> bool:
    """Whether sizes agree with those of t up to the ragged dimension (-1 agrees with all)."""
    n = t._a.ragged.at + 1
    mine, other = t._a.shape[:n], tuple(size)[:n]
    return len(mine) == len(other) and all(
        x == y or (isinstance(y, int) and y == -1) for x, y in zip(mine, other, strict=True)
    )


def contiguous_only(name: str, schema: str, t: Any, argument: str = "self") -> None:
    """Refuse what only jagged tensors without holes, ragged in their second dimension, are for."""
    if is_jagged(t) and (t._a.ragged.lengths is not None or t._a.ragged.at != 1):
        raise ValueError(
            f"NestedTensor {name}({schema}): expected {argument} to be a contiguous jagged layout NestedTensor"
        )


# ---------------------------------------------------------------- pointwise


def pointwise(op: Op, values: tuple[Any, ...]) -> Any:
    """A pointwise operator over values, where the structures of its tensors allow it."""
    at = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
    if any(isinstance(v, NestedInt) for v in values):
        bad = next(v for v in values if isinstance(v, NestedInt))
        raise RuntimeError(f"NestedTensor {op.aten}: invalid argument {bad}")
    if len(at) == 1:
        t = values[at[0]]
        return _each(t, dense(op, _with(values, at, [values_of(t)])))
    if len(at) != 2:
        raise refused(op, values)
    a, b = values[at[0]], values[at[1]]
    t, x, y = _met(a, b, _overload(op))
    return _each(t, dense(op, _with(values, at, [x, y])))


def _overload(op: Op) -> str:
    """What PyTorch calls the form of an operator that takes two tensors."""
    named = next((o for o in op.overloads if o.endswith((".Tensor", ".Tensor_Tensor"))), op.overload)
    return named if "." in named else named + ".default"


def _each(t: Any, made: Any) -> Any:
    if isinstance(made, tuple):
        return tuple(like(t, x) for x in made)
    return like(t, made)


def _with(values: tuple[Any, ...], at: list[int], new: list[Any]) -> tuple[Any, ...]:
    out = list(values)
    for i, x in zip(at, new, strict=True):
        out[i] = x
    return tuple(out)


def _met(a: Any, b: Any, name: str) -> tuple[Any, Any, Any]:
    """(the tensor whose structure the result has, values of a, values of b), broadcast against each other."""
    said = f"cannot call binary pointwise function {name} with inputs of shapes {{}} and {{}}"
    if is_jagged(a) and is_jagged(b):
        if same_structure(a, b._a.shape):
            return a, values_of(a), values_of(b)
        raise RuntimeError(said.format(listed(a._a.shape), listed(b._a.shape)))
    nested, t = (a, b) if is_jagged(a) else (b, a)
    if t.dim() > nested.dim():
        raise NotImplementedError("NYI: broadcasting NT with T with larger dim")
    narrow = t
    while narrow.dim() and narrow.shape[0] == 1:
        narrow = narrow.squeeze(0)
    if nested.dim() >= narrow.dim() + 2:
        other = narrow
    elif t.dim() == nested.dim() and t.shape[0] == nested.shape[0]:
        r = nested._a.ragged
        if r.lengths is not None:  # rows have no holes
            rows = tuple(size_of(r.offsets) if i == r.at else n for i, n in enumerate(t.shape))
            shapes = (nested._a.shape, rows)
            raise RuntimeError(said.format(*(listed(x) for x in (shapes if nested is a else shapes[::-1]))))
        other = packed(t.expand([longest(nested) if i == r.at else n for i, n in enumerate(t.shape)]), r)
    else:
        raise RuntimeError(said.format(a.shape, b.shape))
    return (nested, values_of(a), other) if nested is a else (nested, other, values_of(b))


PLAIN_ONES[JaggedArray] = pointwise


@jagged_reading("where.self")
def where(condition: Any, input: Any, other: Any) -> Any:
    if not is_jagged(condition):
        raise ValueError(
            "NestedTensor where_self(condition: jt_all, self: any, other: any): expected condition to be a jagged layout NestedTensor"
        )
    parts = [values_of(condition)]
    for t in (input, other):
        if not is_jagged(t):
            parts.append(t)
            if isinstance(t, Tensor) and t.dim() >= condition.dim():
                raise ValueError(
                    "broadcast_tensors(): broadcasting nested tensors with dense tensors of equal or higher dim is not currently supported"
                )
        elif same_structure(t, condition._a.shape):
            parts.append(values_of(t))
        else:
            raise RuntimeError(f"expand(): cannot expand shape {listed(t._a.shape)} -> {condition.shape}")
    return like(condition, public("where")(*parts))


# ---------------------------------------------------------------- padding


def longest(t: Any) -> int:
    """The length of the longest member where it is known, else one that none exceeds."""
    r = t._a.ragged
    return r.seqlens.get("max_seqlen", t._a.values.shape[r.at - 1])


def _positions(r: Ragged, width: int, total: int) -> tuple[Any, Any]:
    """For each member and position up to a width: where it stands along the ragged dimension, and whether it is there."""
    starts = r.offsets._a[:-1, None]
    lengths = r.counts[:, None]
    j = np.arange(width)[None]
    there = j < lengths
    return np.where(there, starts + j, 0).clip(0, max(total - 1, 0)), there


def padded(t: Any, padding: Any, width: int | None = None) -> Any:
    """The members of a jagged tensor one below the other, filled up to the longest (or to a width; longer ones are cut)."""
    r = t._a.ragged
    if r.lengths is not None:
        raise RuntimeError("to_padded_tensor(): not supported for nested tensors with holes")
    v = values_of(t)
    at = r.at - 1
    if width is None:
        width = r.seqlens["max_seqlen"] if "max_seqlen" in r.seqlens else v.shape[0]
    if at:
        v = v.transpose(at, 0)
    where, there = _positions(r, width, v.shape[0])
    shape = (*there.shape, *v.shape[1:])
    if not v.shape[0]:
        out = public("full")(shape, padding, dtype=v.dtype)
    else:
        out = v.index_select(0, wrap(where.reshape(-1))).view(shape)
        mask = wrap(np.broadcast_to(~there.reshape(*there.shape, *[1] * (v.dim() - 1)), shape))
        out = out.masked_fill(mask, _fill(padding, v.dtype))
    return out.transpose(r.at, 1) if at else out


def _fill(padding: Any, d: Any) -> Any:
    if d.is_floating_point or d.is_complex:
        return padding
    if d.name == "bool":
        return bool(padding)
    if isinstance(padding, float) and math.isinf(padding):
        from flambeau._values.limits import iinfo

        return iinfo(d).max if padding > 0 else iinfo(d).min
    return int(padding)


def packed(t: Any, r: Ragged) -> Any:
    """The values of a jagged tensor that dense rows, cut to the members' lengths, are: the inverse of `padded`."""
    at = r.at
    if at > 1:
        t = t.transpose(at, 1)
    lengths = r.counts
    member = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(member)) - begins(lengths)[member]
    fits = position < t.shape[1]
    values = t.reshape(-1, *t.shape[2:]).index_select(0, wrap(member * t.shape[1] + np.where(fits, position, 0)))
    if not fits.all():
        values = values.masked_fill(wrap(~fits.reshape(-1, *[1] * (values.dim() - 1))), 0)
    return values.transpose(at - 1, 0) if at > 1 else values


@jagged_reading("to_padded_tensor")
def to_padded_tensor(input: Any, padding: Any, output_size: Any = None) -> Any:
    return padded(input, padding, None if output_size is None else output_size[input._a.ragged.at])


# ---------------------------------------------------------------- copies and conversions


@jagged_reading("clone", needs_op=True)
def clone(op: Op, input: Any, memory_format: Any = None) -> Any:
    if input.lengths() is not None and memory_format is not None and memory_format.name == "contiguous_format":
        if input._a.ragged.at != 1:
            raise AssertionError("NJT with ragged_idx != 1 not supported for contiguous clone")
        return from_list(list(input.unbind()))
    return like(input, values_of(input).clone(**({} if memory_format is None else {"memory_format": memory_format})))


@jagged_reading("contiguous")
def contiguous(input: Any, memory_format: Any = None) -> Any:
    if input.is_contiguous():
        return input
    from flambeau._values.device import contiguous_format

    return clone(REGISTRY["clone"], input, contiguous_format)


@jagged_reading("_to_copy", needs_op=True)
def to_copy(op: Op, input: Any, layout: Any = None, **rest: Any) -> Any:
    return like(input, dense(op, tuple({"input": values_of(input), "layout": None, **rest}[p.name] for p in op.params)))


@jagged_reading("to_dense", "_to_dense")
def to_dense(input: Any, **_: Any) -> Any:
    raise RuntimeError("to_dense does not support layout Jagged")


@jagged_reading("fill.Scalar", "fill.Tensor", "zero", "fill", "zero_", needs_op=True)
def fill(op: Op, input: Any, **rest: Any) -> Any:
    values = values_of(input).clone()
    return like(input, values.fill_(rest["value"]) if "value" in rest else values.zero_())


@jagged_reading("copy", needs_op=True)
def copy(op: Op, input: Any, src: Any, **_: Any) -> Any:
    if not is_jagged(src):
        raise ValueError(
            "NestedTensor copy_default(self: jt_all, src: jt_all, non_blocking: any?): expected src to be a jagged layout NestedTensor"
        )
    if input._a.shape != src._a.shape and [t.shape for t in input.unbind()] != [t.shape for t in src.unbind()]:
        raise RuntimeError(f"copy_(): expected compatible input and src shapes, but got: {input.shape} and {src.shape}")
    return like(input, values_of(src).to(input.dtype).clone())


# ---------------------------------------------------------------- views


@jagged_reading("unbind.int")
def unbind(input: Any, dim: int = 0) -> Any:
    if dim != 0:
        raise RuntimeError("unbind(): only supported for NestedTensor on dim=0")
    r, v = input._a.ragged, values_of(input)
    if r.lengths is None:
        return tuple(v.split(r.counts.tolist(), r.at - 1))
    return tuple(v.narrow(r.at - 1, s, n) for s, n in zip(r.offsets._a.tolist(), r.lengths._a.tolist(), strict=False))


@jagged_reading("select.int")
def select(input: Any, dim: int, index: Any) -> Any:
    at = inner_dim(input, dim, "select", batch=True)
    if wrap_dim(dim, input.dim()) == 0:
        return input.unbind()[int(index)]
    r = input._a.ragged
    if r.lengths is not None:
        raise ValueError("select(): not yet supported on dim != 0 for non-contiguous nested tensor with holes")
    return like(input, values_of(input).select(at, index), r.at - 1 if at < r.at - 1 else None)


@jagged_reading("slice.Tensor")
def slice_(input: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    contiguous_only("slice_tensor", "self: jt, dim: any?, start: any?, end: any?, step: any?", input)
    return like(input, REGISTRY["slice.Tensor"](values_of(input), inner_dim(input, dim, "slice"), start, end, step))


@jagged_reading("narrow")
def narrow(input: Any, dim: int, start: Any, length: Any) -> Any:
    contiguous_only("narrow", "self: jt, dim: any, start: any, length: any", input)
    return like(input, values_of(input).narrow(inner_dim(input, dim, "narrow"), start, length))


@jagged_reading("transpose.int")
def transpose(input: Any, dim0: int, dim1: int) -> Any:
    d0, d1 = wrap_dim(dim0, input.dim()), wrap_dim(dim1, input.dim())
    at = input._a.ragged.at
    if at in (d0, d1):
        if 0 in (d0, d1):
            raise ValueError("Transpose is not supported on the batch dimension for jagged NT")
        return like(input, values_of(input).transpose(d0 - 1, d1 - 1), d1 if d0 == at else d0)
    return like(
        input, values_of(input).transpose(inner_dim(input, dim0, "transpose"), inner_dim(input, dim1, "transpose"))
    )


@jagged_reading("permute")
def permute(input: Any, dims: Any) -> Any:
    n = input.dim()
    if len(dims) != n:
        raise ValueError(
            f"permute(): number of dimensions in the tensor input ({n}) does not match the length of the desired ordering of "
            f"dimensions ({len(dims)})."
        )
    order = [wrap_dim(d, n) for d in dims]
    if len(set(order)) != n:
        raise ValueError("permute(): duplicate dims are not allowed.")
    if input.lengths() is not None:
        raise ValueError("permute(): not supported on jagged layout nested tensor with holes")
    if order[0] != 0:
        raise ValueError("Permute is not supported on the batch dimension for jagged NT")
    return like(input, values_of(input).permute([d - 1 for d in order[1:]]), order.index(input._a.ragged.at))


@jagged_reading("view", "_unsafe_view", "reshape")
def view(input: Any, size: Any = None, dtype: Any = None, shape: Any = None) -> Any:
    if dtype is not None:
        return like(input, values_of(input).view(dtype))
    reshapes = shape is not None
    size = tuple(shape if reshapes else size)
    mine, at = input._a.shape, input._a.ragged.at
    if at != 1 and mine != size:
        raise RuntimeError(
            f"view(): does not support ragged_idx != 1 except when inp._size == size. inp._size is ({listed(mine)}) and size is ({list(size)})."
        )
    if len(size) < 3 or not same_structure(input, size):
        raise RuntimeError(f"view(): cannot view shape {listed(mine)} as {list(size)}")
    v = values_of(input)
    size = tuple(v.shape[i] if i == at - 1 else n for i, n in enumerate(size[1:]))
    return like(input, v.reshape(size) if reshapes else v.view(size))


@jagged_reading("flatten.using_ints")
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    n = input.dim()
    inner_dim(input, start_dim, "flatten"), inner_dim(input, end_dim, "flatten")
    first, last = wrap_dim(start_dim, n), wrap_dim(end_dim, n)
    if first == last:
        return input
    s = input._a.shape
    return input.reshape(*s[:first], math.prod(s[first : last + 1]), *s[last + 1 :])


@jagged_reading("unflatten.int")
def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    d, s = wrap_dim(dim, input.dim()), input._a.shape
    return view(input, (*s[:d], *sizes, *s[d + 1 :]))


@jagged_reading("unsqueeze")
def unsqueeze(input: Any, dim: int) -> Any:
    at = inner_dim(input, dim, "unsqueeze", input.dim() + 1, ragged=True)
    r = input._a.ragged
    return like(input, values_of(input).unsqueeze(at), r.at + 1 if at <= r.at - 1 else None)


@jagged_reading("squeeze")
def squeeze(input: Any, dim: Any = None) -> Any:
    if not isinstance(dim, int):
        raise refused("squeeze" if dim is None else "squeeze.dims", (input,))
    contiguous_only("squeeze_dim", "self: jt, dim: any", input)
    return like(input, values_of(input).squeeze(inner_dim(input, dim, "squeeze")))


@jagged_reading("expand", "broadcast_to")
def expand(input: Any, size: Any, implicit: bool = False) -> Any:
    size = tuple(size)
    if not same_structure(input, size):
        raise RuntimeError(f"expand(): cannot expand shape {listed(input._a.shape)} -> {list(size)}")
    at = input._a.ragged.at
    return like(input, values_of(input).expand([-1 if d == at else size[d] for d in range(1, input.dim())]))


@jagged_reading("real", "imag", "isreal", "conj", needs_op=True)
def each(op: Op, input: Any) -> Any:
    return input if op.aten == "real" and not input.is_complex() else like(input, dense(op, (values_of(input),)))


@jagged_reading("expand_as")
def expand_as(input: Any, other: Any) -> Any:
    if is_jagged(input):
        return expand(input, other._a.shape)
    return like(other, input.expand_as(values_of(other)))


@jagged_reading("split.Tensor", "split_with_sizes")
def split(input: Any, split_size: Any = None, dim: int = 0, split_sizes: Any = None) -> Any:
    size = split_size if split_sizes is None else split_sizes
    name = "split" if isinstance(size, int) else "split_with_sizes"
    contiguous_only("split_tensor" if name == "split" else "split_with_sizes_default",
                    f"self: jt, {'split_size' if name == 'split' else 'split_sizes'}: any, dim: any?", input)  # fmt: skip
    return tuple(like(input, x) for x in values_of(input).split(size, inner_dim(input, dim, name)))


@jagged_reading("chunk")
def chunk(input: Any, chunks: int, dim: int = 0) -> Any:
    contiguous_only("chunk_default", "self: jt, chunks: any, dim: any?", input)
    at = inner_dim(input, dim, "chunk", batch=True)
    if wrap_dim(dim, input.dim()):
        return tuple(like(input, x) for x in values_of(input).chunk(chunks, at))
    lengths = wrap(input._a.ragged.counts).chunk(chunks)
    parts = values_of(input).split([int(n.sum()) for n in lengths])
    starts = [wrap(begins(n._a)) for n in lengths]
    return tuple(again(v, structure(o, None, input._a.ragged.at)) for v, o in zip(parts, starts, strict=True))


# ---------------------------------------------------------------- joining


@jagged_reading("cat")
def cat(tensors: Any, dim: int = 0) -> Any:
    first = next(t for t in tensors if is_jagged(t))
    tensors = [t if is_jagged(t) else expand_as(t, first) for t in tensors]
    at = inner_dim(first, dim, "cat")
    return like(tensors[0], public("cat")([values_of(t) for t in tensors], at))


@jagged_reading("stack")
def stack(tensors: Any, dim: int = 0) -> Any:
    first = tensors[0]
    for t in tensors:
        if not is_jagged(t):
            raise RuntimeError("stack(): expected all nested tensors inputs")
        if t.dim() != first.dim():
            raise RuntimeError("stack(): expected all nested tensors to have the same dim")
        if not same_structure(t, first._a.shape):
            raise RuntimeError("stack(): expected all nested tensors to have the same nested structure")
    return like(
        first, public("stack")([values_of(t) for t in tensors], inner_dim(first, dim, "stack", first.dim() + 1))
    )


def from_list(tensors: Any, dtype: Any = None, device: Any = None) -> Any:
    """The jagged tensor whose members are tensors that differ in at most one dimension."""
    said = "When constructing a nested tensor, all tensors in list must {}"
    if not tensors:
        raise RuntimeError("Cannot construct a nested tensor from an empty tensor list")
    if len({t.dtype for t in tensors}) != 1:
        raise RuntimeError(said.format("have the same dtype"))
    if len({t.device for t in tensors}) != 1:
        raise RuntimeError(said.format("be on the same device"))
    if len({t.dim() for t in tensors}) != 1:
        raise RuntimeError(said.format("have the same dim"))
    if tensors[0].dim() == 0:
        raise RuntimeError("Cannot construct a nested tensor from a list of zero-dim tensors")
    sizes = [tuple(t.shape) for t in tensors]
    differing = [d for d in range(len(sizes[0])) if len({s[d] for s in sizes}) > 1]
    if len(differing) > 1:
        raise RuntimeError(
            "Cannot represent given tensor list as a nested tensor with the jagged layout. Note that the jagged layout only allows for a "
            "single ragged dimension. For example: (B, *, D_0, D_1, ..., D_N), with ragged * dim."
        )
    at = differing[0] if differing else 0
    values = public("cat")(tensors, at)
    if device is not None or dtype is not None:
        values = values.to(device=device, dtype=dtype)
    lengths = [s[at] for s in sizes]
    offsets = wrap(begins(lengths))
    return again(values, structure(offsets, None, at + 1, {"min_seqlen": min(lengths), "max_seqlen": max(lengths)}))


@jagged_reading("index_put")
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    r, v = input._a.ragged, values_of(input)
    if len(indices) > input.dim():
        raise AssertionError(f"Too many indices: got {len(indices)} but tensor has {input.dim()} dimensions")
    if len(indices) <= r.at:
        if not input.is_contiguous():
            raise RuntimeError(
                "index_put(): If ragged dimension is not part of indices, this only works on contiguous NJTs"
            )
        rows = padded(input, 0.0, longest(input))
        return like(input, packed(rows.index_put(indices, values, accumulate), r))
    lengths = wrap(r.counts)
    if not bool((indices[r.at] < lengths).all()):
        raise RuntimeError("Some indices in the ragged dimension are out of bounds!")
    joined = r.offsets[indices[0]] + indices[r.at]
    return like(input, v.index_put([*indices[1 : r.at], joined, *indices[r.at + 1 :]], values, accumulate))


@jagged_reading("masked_select")
def masked_select(input: Any, mask: Any) -> Any:
    contiguous_only("masked_select_default", "self: jt, mask: any", input)
    if input.dim() > 2:
        raise RuntimeError("masked_select only support 2-D selections currently")
    if input.shape != mask.shape:
        raise RuntimeError(f"Mask with shape {mask.shape} is not compatible with input's shape {input.shape}")
    m = values_of(mask)
    before = begins(m._a)
    r = input._a.ragged
    kept = structure(wrap(before[r.offsets._a]), None, r.at, r.seqlens)
    return again(values_of(input).masked_select(m), kept)

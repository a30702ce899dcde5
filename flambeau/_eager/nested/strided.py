"""Readings for the strided layout: a buffer, and where in it each member lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends.nested_arrays import NO_SIZES, StridedArray
from flambeau._eager.graph import node_of
from flambeau._eager.modes import STATE
from flambeau._eager.names import public
from flambeau._eager.nested import PLAIN_ONES, dense, is_nested, refused, strided_reading
from flambeau._eager.nested.jagged import get_values, structure_of, values_of, with_values
from flambeau._operators.op import REGISTRY, Op
from flambeau._tensor import Tensor, wrap
from flambeau._values.shape import wrap_dim

# Pointwise operators that nested tensors of this layout have in PyTorch: a fact about it, which no body tells.
_UNARY = frozenset(
    ("abs", "sgn", "logical_not", "isinf", "isposinf", "isneginf", "isnan", "relu", "gelu", "silu", "neg", "tanh", "sin", "cos", "sqrt", "clone", "elu")
)  # fmt: skip
_WITH_NUMBERS = frozenset(("add", "sub", "mul", "div", "eq", "ge", "gt", "masked_fill"))


strided_reading("_nested_get_values", "values", needs_op=True)(get_values)
strided_reading("_nested_with_values", needs_op=True)(with_values)
strided_reading("_nested_structure")(structure_of)


def buffer_of(t: Any) -> Any:
    """The elements, in the order of members that are each contiguous, with their history."""
    if t._a.packed:
        return values_of(t)
    return join(members_of(t))


def members_of(t: Any) -> list[Any]:
    """The members, with their history."""
    v, a = values_of(t), t._a
    return [
        v.as_strided(n, p, o) for n, p, o in zip(a.sizes.tolist(), a.places.tolist(), a.offsets.tolist(), strict=True)
    ]


def join(members: list[Any]) -> Any:
    """The buffer of members one after the other."""
    return public("cat")([m.reshape(-1) for m in members]) if members else public("empty")((0,))


def from_members(members: list[Any], dtype: Any = None, device: Any = None) -> Any:
    """The strided nested tensor of these members, copied into a buffer."""
    for i, m in enumerate(members):
        if m.dim() != members[0].dim():
            raise RuntimeError(
                f"All Tensors given to nested_tensor must have the same dimension. Found dimension {m.dim()} for Tensor at index {i} and "
                f"dimension {members[0].dim()} for Tensor at index 0."
            )
    if members and dtype is None:
        dtype = members[0].dtype
    buffer = join([m.to(device=device, dtype=dtype) for m in members])
    if not members and dtype is not None:
        buffer = buffer.to(dtype)
    return over(buffer, sizes_of(members))


def sizes_of(members: list[Any]) -> Any:
    """The sizes of members, a row for each."""
    if not members:
        return np.zeros((0,), np.int64)
    return np.array([tuple(m.shape) for m in members], np.int64).reshape(len(members), members[0].dim())


def over(buffer: Any, sizes: Any, places: Any = None, offsets: Any = None) -> Any:
    """The nested tensor over a buffer, of members with these sizes (and strides and offsets)."""
    return REGISTRY["_nested_with_values"](buffer, StridedArray(buffer._a, sizes, places, offsets))


def like(t: Any, buffer: Any) -> Any:
    """The nested tensor with members of t's sizes, one after the other in a buffer."""
    return over(buffer, t._a.sizes)


def each(t: Any, fn: Any) -> Any:
    """The nested tensor of what a function makes of each member."""
    return from_members([fn(m) for m in members_of(t)])


# ---------------------------------------------------------------- pointwise


def pointwise(op: Op, values: tuple[Any, ...]) -> Any:
    """A pointwise operator over the buffer."""
    nested = [i for i, v in enumerate(values) if is_nested(v)]
    t = values[nested[0]]
    name = op.aten

    def over_buffers(values: Sequence[Any]) -> Any:
        return like(t, dense(op, tuple(buffer_of(v) if is_nested(v) else v for v in values)))

    if len(nested) == 1 and len([v for v in values if isinstance(v, Tensor)]) == 1:
        if name not in _UNARY and name not in _WITH_NUMBERS:
            raise refused(op, values)
        return over_buffers(values)
    if name in ("eq", "ge", "gt"):
        raise RuntimeError(f"{name} does not support nested tensor as other value.")
    if name not in _WITH_NUMBERS:
        raise refused(op, values)
    if len(nested) == 2:
        other = values[nested[1]]
        if t.dim() != other.dim():
            raise RuntimeError(f"{name} expects both inputs to have the same dimension")
        if not np.array_equal(t._a.sizes, other._a.sizes):
            raise RuntimeError(f"{name} does not support broadcasting when given a NestedTensor")
        return over_buffers(values)
    i, other = next((i, v) for i, v in enumerate(values) if isinstance(v, Tensor) and not is_nested(v))
    if other.numel() == 1 or not other.dim():
        return over_buffers([*values[:i], other.reshape(()), *values[i + 1 :]])
    return _with_rows(op, values, t, other, i)


def _with_rows(op: Op, values: tuple[Any, ...], t: Any, other: Any, i: int) -> Any:
    """Add to (or multiply) members by dense rows: (B, *, D) with (B, 1, D), or every member by one of its size."""
    name = op.aten
    if (
        name in ("add", "mul")
        and t.dim() == 3
        and other.dim() == 3
        and other.shape[0] == t.size(0)
        and other.shape[1] == 1
    ):
        if t.size(-1) != other.shape[-1]:
            raise RuntimeError(f"Expected last dimension to match, got {t.size(-1)} and {other.shape[-1]}")
        members = [
            dense(op, tuple(m if is_nested(v) else other[k] if j == i else v for j, v in enumerate(values)))
            for k, m in enumerate(members_of(t))
        ]
        return from_members(members)
    raise RuntimeError("Expected both self and other to be nested, but got a nested self and non-nested other"
                       if is_nested(values[0]) else "Expected both self and other to be nested, but got a non-nested self and nested other")  # fmt: skip


PLAIN_ONES[StridedArray] = pointwise


@strided_reading("where.self")
def where(condition: Any, input: Any, other: Any) -> Any:
    for name, t in (("condition", condition), ("self", input), ("other", other)):
        if name != "condition" and is_nested(t):
            raise RuntimeError(f"{name} must not be nested")
    raise refused("where.self", (condition,))


# ---------------------------------------------------------------- parts and views


@strided_reading("unbind.int")
def unbind(input: Any, dim: int = 0) -> Any:
    if dim != 0:
        raise RuntimeError(f"NestedTensor can only be unbound along dimension 0 got dimension {dim} instead.")
    return tuple(members_of(input))


@strided_reading("select.int")
def select(input: Any, dim: int, index: Any) -> Any:
    d = wrap_dim(dim, input.dim())
    index = int(index)
    if d == 0:
        n = input._a.count
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of bounds for dimension 0 with size {n}")
        return members_of(input)[index]
    a = input._a
    sizes = a.sizes[:, d - 1]
    if (index < -sizes).any() or (index >= sizes).any():
        bad = next(n for n in sizes.tolist() if not -n <= index < n)
        raise IndexError(f"select(): index {index} out of range for tensor of size {bad} at dimension {d}")
    at = np.where(index < 0, index + sizes, index)
    offsets = a.offsets + at * a.places[:, d - 1]
    buffer = values_of(input)
    return over(buffer, np.delete(a.sizes, d - 1, 1), np.delete(a.places, d - 1, 1), offsets)


@strided_reading("transpose.int")
def transpose(input: Any, dim0: int, dim1: int) -> Any:
    d0, d1 = wrap_dim(dim0, input.dim()), wrap_dim(dim1, input.dim())
    if d0 == d1:
        return input
    for d in (d0, d1):
        if d == 0:
            raise RuntimeError("Nested tensor dimension 0 cannot be transposed")
    a = input._a
    order = list(range(a.sizes.shape[1]))
    order[d0 - 1], order[d1 - 1] = order[d1 - 1], order[d0 - 1]
    return over(values_of(input), a.sizes[:, order], a.places[:, order], a.offsets)


@strided_reading("unsqueeze")
def unsqueeze(input: Any, dim: int) -> Any:
    d = wrap_dim(dim, input.dim() + 1)
    if d == 0:
        raise RuntimeError(
            "unsqueeze(): For nested tensors, unsqueezing dimension 0 is not supported at the moment if you need this feature, please "
            "open an issue on github describing your use case."
        )
    a = input._a
    inner = a.sizes[:, d - 1 :].prod(1) if d <= a.sizes.shape[1] else np.ones(a.count, np.int64)
    step = a.places[:, d - 1] * a.sizes[:, d - 1] if d <= a.sizes.shape[1] else inner
    return over(
        values_of(input),
        np.insert(a.sizes, d - 1, 1, 1),
        np.insert(a.places, d - 1, step, 1),
        a.offsets,
    )


@strided_reading("squeeze")
def squeeze(input: Any, dim: Any = None) -> Any:
    if not isinstance(dim, int):
        raise RuntimeError(
            "squeeze(): For nested tensors, squeeze without the dim argument is not supported at the moment, however you can use "
            "squeeze(Tensor self, int dim) instead if you need this feature, please open an issue on github describing your use case."
        )
    d = wrap_dim(dim, input.dim())
    if d == 0:
        raise RuntimeError(
            "squeeze(): For nested tensors, squeezing dimension 0 is not supported at the moment if you need this feature, please open "
            "an issue on github describing your use case."
        )
    a = input._a
    if (a.sizes[:, d - 1] != 1).any():
        return input
    return over(values_of(input), np.delete(a.sizes, d - 1, 1), np.delete(a.places, d - 1, 1), a.offsets)


@strided_reading("view", "reshape")
def view(input: Any, size: Any = None, dtype: Any = None, shape: Any = None) -> Any:
    name = "view" if shape is None else "reshape"
    size = tuple(size if shape is None else shape)
    a = input._a
    if len(size) < input.dim() and name == "view" and len(size) < 2:
        raise RuntimeError("For now only view to at least 2 dims is supported")
    if size[0] != a.count:
        raise RuntimeError(f"{name}: For now nested {name} cannot change or infer the implicit batch dimension")
    rows = []
    for n in a.sizes.tolist():
        row = [n[i - 1] if s == -1 and i - 1 < len(n) else s for i, s in enumerate(size) if i]
        if int(np.prod(row)) != int(np.prod(n)):
            raise RuntimeError(f"shape '{list(size)}' is invalid for input of size {int(np.prod(n))}")
        rows.append(row)
    if name == "view" and not a.packed:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous "
            "subspaces). Use .reshape(...) instead."
        )
    return over(buffer_of(input), np.array(rows, np.int64))


@strided_reading("chunk")
def chunk(input: Any, chunks: int, dim: int = 0) -> Any:
    if wrap_dim(dim, input.dim()) != input.dim() - 1:
        raise RuntimeError("Chunk for nested tensors is currently only supported for the last dimension.")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    if not input._a.packed:
        raise RuntimeError("chunk expects `self` to be contiguous.")
    last = input.size(-1)
    if last % chunks:
        raise RuntimeError(f"Chunk for nested tensors is only supported for nested tensors with trailing dimension divisible by chunks, got: {last} % {chunks} != 0")  # fmt: skip
    a, n = input._a, last // chunks
    sizes = a.sizes.copy()
    sizes[:, -1] = n
    buffer = values_of(input)
    return tuple(over(buffer, sizes, a.places, a.offsets + i * n) for i in range(chunks))


@strided_reading("narrow")
def narrow(input: Any, dim: int, start: Any, length: Any) -> Any:
    if dim != 0:
        raise RuntimeError(f"narrow(): only dim=0 supported for nested tensors, but got: {dim}")
    a = input._a
    if not 0 <= start <= a.count - length:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({a.count}).")
    part = slice(start, start + length)
    return over(values_of(input), a.sizes[part], a.places[part], a.offsets[part])


@strided_reading("_nested_tensor_size")
def size(input: Any) -> Any:
    return wrap(input._a.sizes)


@strided_reading("_nested_tensor_strides")
def strides(input: Any) -> Any:
    return wrap(input._a.places)


@strided_reading("_nested_tensor_storage_offsets")
def storage_offsets(input: Any) -> Any:
    return wrap(input._a.offsets)


# ---------------------------------------------------------------- copies


@strided_reading("clone")
def clone(input: Any, memory_format: Any = None) -> Any:
    return like(input, buffer_of(input).clone())


@strided_reading("contiguous")
def contiguous(input: Any, memory_format: Any = None) -> Any:
    return input if input._a.packed else like(input, buffer_of(input))


@strided_reading("_to_copy", needs_op=True)
def to_copy(op: Op, input: Any, layout: Any = None, **rest: Any) -> Any:
    return like(input, dense(op, tuple({"input": buffer_of(input), "layout": None, **rest}[p.name] for p in op.params)))


@strided_reading("to_dense", "_to_dense")
def to_dense(input: Any, **_: Any) -> Any:
    return input


@strided_reading("fill.Scalar", "fill.Tensor", "fill", "zero", needs_op=True)
def fill(op: Op, input: Any, **rest: Any) -> Any:
    buffer = buffer_of(input).clone()
    return like(input, buffer.fill_(rest["value"]) if "value" in rest else buffer.zero_())


@strided_reading("copy", needs_op=True)
def copy(op: Op, input: Any, src: Any, **_: Any) -> Any:
    if not is_nested(src):
        raise RuntimeError("copy_ only supports Nested Tensors as source and destination")
    if not np.array_equal(input._a.sizes, src._a.sizes):
        raise RuntimeError("copy_ only supports tensors that are the same size for Nested implementations")
    return like(input, buffer_of(src).to(input.dtype).clone())


@strided_reading("to_padded_tensor")
def to_padded_tensor(input: Any, padding: Any, output_size: Any = None) -> Any:
    a = input._a
    if a.count == 0:
        raise RuntimeError("at least one constituent tensor should have non-zero numel")
    largest = a.sizes.max(0)
    if output_size is not None:
        if len(output_size) != input.dim():
            raise RuntimeError("Length of output_size does not match NestedTensor dims. Broadcasting is not supported.")
        if (np.array(output_size[1:]) < largest).any():
            raise RuntimeError(
                "Value in output_size is less than NestedTensor padded size. Truncation is not supported."
            )
        largest = np.array(output_size[1:])
    rows = []
    for m in members_of(input):
        room: list[int] = []
        for have, want in zip(reversed(m.shape), reversed(largest.tolist()), strict=True):
            room += [0, want - have]
        rows.append(public("constant_pad_nd")(m, room, padding))
    out = public("stack")(rows)
    if output_size is not None and output_size[0] > a.count:
        rest = public("full")((output_size[0] - a.count, *out.shape[1:]), padding, dtype=out.dtype)
        out = public("cat")([out, rest])
    return out


# ---------------------------------------------------------------- reductions, products, normalizations


@strided_reading("sum.dim_IntList")
def total(input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    dims = [dim] if isinstance(dim, int) else list(dim or ())
    if not dims:
        raise refused("sum", (input,))
    if len(dims) != 1:
        raise RuntimeError("NestedTensor only allows reduction of a single dimension for now.")
    d = wrap_dim(dims[0], input.dim())
    if d != input.dim() - 1:
        raise RuntimeError(
            f"NestedTensor can only be reduced across the last dimension for now got dimension {d} instead."
        )
    if not keepdim:
        raise RuntimeError("NestedTensor always requires keepdim=True for now.")
    return each(input, lambda m: m.sum(-1, keepdim=True, dtype=dtype))


@strided_reading("softmax.int")
def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    d = wrap_dim(dim, input.dim())
    if d == 0:
        raise RuntimeError("Cannot apply softmax across nested dimension 0")
    return each(input, lambda m: m.softmax(d - 1, dtype))


def _rows(t: Any) -> Any:
    """The elements as rows of the last dimension, which all members must share."""
    last = t._a.sizes[:, -1]
    if (last != last[0]).any():
        raise RuntimeError(
            "Expected all tensors in nested tensor to have the same trailing dimension, instead last dimension equals: "
            + _column(last)
        )
    return buffer_of(t).reshape(-1, int(last[0]))


def _column(sizes: Any) -> str:
    """Sizes as C++ prints a tensor of them."""
    return "\n".join(f" {n}" for n in sizes.tolist()) + f"\n[ torch.LongTensor{{{len(sizes)}}} ]"


@strided_reading("linear")
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    if input.dim() != 3:
        raise RuntimeError("Linear requires nested_tensor.dim == 3 and dense_matrix.dim == 2."
                           f" Nested tensor dim: {input.dim()}. Dense tensor dim: {weight.dim()}")  # fmt: skip
    out = REGISTRY["linear"](_rows(input), weight, bias)
    sizes = input._a.sizes.copy()
    sizes[:, -1] = weight.shape[0]
    return over(out.reshape(-1), sizes)


@strided_reading("bmm", "matmul", needs_op=True)
def bmm(op: Op, input: Any, mat2: Any = None, other: Any = None) -> Any:
    other = mat2 if other is None else other
    for t, o, said in (
        (input, other, "a nested self and non-nested other"),
        (other, input, "a non-nested self and nested other"),
    ):
        if is_nested(t) and not is_nested(o):
            raise RuntimeError(f"Expected both to be nested, but got {said}")
    if op.aten == "bmm":
        for t, name in ((input, "batch1"), (other, "batch2")):
            if t.dim() != 3:
                raise RuntimeError(f"{name} must be a 3D tensor")
    if input._a.count != other._a.count:
        raise RuntimeError(
            f"Expected size for the 1st dimension of batch2 tensor to be: {input._a.count} but got: {other._a.count}."
        )
    if op.aten == "matmul" and (input._a.sizes[:, -1] != other._a.sizes[:, -2]).any():
        raise RuntimeError(
            f"matmul: Nested tensors cannot be matrix multiplied, last dimension of self has sizes{_column(input._a.sizes[:, -1])}second last "
            f"dimension of mat2 has sizes{_column(other._a.sizes[:, -2])}"
        )
    made = []
    for i, (x, y) in enumerate(zip(members_of(input), members_of(other), strict=True)):
        if x.shape[-1] != y.shape[-2]:
            shown = [f"{m.shape[-2]}x{m.shape[-1]}" for m in (x, y)]
            raise RuntimeError(f"{i}-th nested matrices in batch cannot be multiplied ({shown[0]} and {shown[1]})")
        made.append(x @ y)
    return from_members(made)


@strided_reading("layer_norm")
def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
               cudnn_enable: bool = True) -> Any:  # fmt: skip
    if weight is None or bias is None:
        raise ValueError("NestedTensor layer_norm requires weight and bias")
    return each(input, lambda m: REGISTRY["layer_norm"](m, tuple(normalized_shape), weight, bias, eps))


@strided_reading("dropout", needs_op=True)
def dropout(op: Op, input: Any, p: float, train: bool) -> Any:
    return like(input, dense(op, (buffer_of(input), p, train)))


@strided_reading("native_dropout")
def native_dropout(input: Any, p: float, train: Any = None) -> Any:
    return tuple(like(input, x) for x in REGISTRY["native_dropout"](buffer_of(input), p, train))


@strided_reading("embedding")
def embedding(
    weight: Any, input: Any, padding_idx: Any = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    out = REGISTRY["embedding"](weight, buffer_of(input), padding_idx, scale_grad_by_freq, sparse)
    sizes = np.concatenate([input._a.sizes, np.full((input._a.count, 1), weight.shape[1])], 1)
    return over(out.reshape(-1), sizes)


@strided_reading("scaled_dot_product_attention")
def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
              scale: Any = None, enable_gqa: bool = False) -> Any:  # fmt: skip
    op = REGISTRY["scaled_dot_product_attention"]
    parts = zip(*(members_of(t) for t in (query, key, value)), strict=True)
    return from_members([op(q, k, v, attn_mask, dropout_p, is_causal, scale=scale) for q, k, v in parts])


@strided_reading("cat")
def cat(tensors: Any, dim: int = 0) -> Any:
    if dim != 0:
        raise RuntimeError(f"cat: Only dim=0 is supported when concatenating nested tensors, but got: {dim}")
    if any(node_of(t) is not None for t in tensors):
        raise RuntimeError(NO_SIZES.format("sizes"))
    for i, t in enumerate(tensors):
        if not is_nested(t):
            raise RuntimeError(f"cat_nested: expected all tensors to be nested, but tensor at position {i} was not")
    return from_members([m for t in tensors for m in members_of(t)])


@strided_reading("split.Tensor", "expand", "index_select", "repeat", needs_op=True)
def sized(op: Op, input: Any, **rest: Any) -> Any:
    if STATE.grad and node_of(input) is not None:
        raise RuntimeError(NO_SIZES.format("sizes"))
    raise refused(op, (input, *rest.values()))


@strided_reading("equal", "allclose", needs_op=True)
def compared(op: Op, input: Any, **rest: Any) -> Any:
    raise refused(op, (input, *rest.values()))

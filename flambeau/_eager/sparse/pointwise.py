"""Readings: what works on values alone, and sums and products of tensors whose elements stand in different places."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.sparse_arrays import CompressedArray, CooArray, spoken
from flambeau._eager.derive import function
from flambeau._eager.promotion import result_type
from flambeau._eager.sparse import READINGS, reading, refused, writing
from flambeau._eager.sparse.convert import _same_places, _sparse_values_at, to_compressed
from flambeau._eager.sparse.parts import (
    as_coo,
    coalesced,
    coalesced_array,
    flat_indices,
    found,
    is_compressed,
    is_coo,
    is_sparse,
    values_of,
    with_values,
)
from flambeau._operators.op import REGISTRY
from flambeau._tensor import Tensor, wrap

# Operators that leave zero zero and have sparse kernels in PyTorch: a fact about it, which no body tells.
_ON_VALUES = [
    "abs",
    "sgn",
    "sign",
    "sin",
    "sinh",
    "asin",
    "asinh",
    "tan",
    "tanh",
    "atan",
    "atanh",
    "sqrt",
    "floor",
    "ceil",
    "round",
    "round.decimals",
    "trunc",
    "frac",
    "erf",
    "erfinv",
    "expm1",
    "log1p",
    "relu",
    "deg2rad",
    "rad2deg",
    "isnan",
    "isinf",
    "isposinf",
    "isneginf",
    "signbit",
]
_LINEAR = ("neg", "_conj_physical", "positive")  # also of what is not coalesced


def _on_values(name: str) -> None:
    op = REGISTRY[name]

    @reading(name)
    def unary(input: Any, **rest: Any) -> Any:
        t = coalesced(input) if is_coo(input) and name not in _LINEAR else input
        return with_values(t, function(op)(values_of(t), **rest))

    if name in _LINEAR:
        return

    @writing(name)
    def unary_(input: Any, **rest: Any) -> None:
        if is_coo(input) and not input._a.coalesced:
            raise RuntimeError(f"{op.aten}_ requires coalesced input")
        input._a.become(READINGS[name](input.detach(), **rest)._a)


for _name in (*_ON_VALUES, *_LINEAR):
    if _name in REGISTRY:
        _on_values(_name)


def _common(a: Any, b: Any) -> Any:
    return result_type([a, b])


def _scalar(x: Any) -> bool:
    return not isinstance(x, Tensor) or (x.ndim == 0 and not is_sparse(x))


# ---------------------------------------------------------------- sums


@reading("add.Tensor")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    if not is_sparse(input) and is_sparse(other):
        if is_compressed(other) and not isinstance(input, Tensor):
            raise refused("add.Scalar", (other,), "")
        out = input.to(_common(input, other)).expand(other.shape if input.ndim < other.ndim else input.shape).clone()
        _into_dense(out, other, alpha)
        return out
    if not is_sparse(other):
        if is_compressed(input) and isinstance(other, Tensor) and other.ndim:
            return add(other, input) if alpha == 1 else other * alpha + input
        raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
    if input.shape != other.shape:
        raise RuntimeError(
            f"add: expected sizes of 'self' and 'other' to match, but {list(input.shape)} != {list(other.shape)}"
        )
    d = _common(input, other)
    if is_compressed(input) or is_compressed(other):
        return _add_compressed(input, other, alpha, d)
    a, b = input._a, other._a
    if a.sparse_dim != b.sparse_dim:
        raise RuntimeError(
            f"add: expected 'self' and 'other' to have same number of sparse dimensions, but self has {a.sparse_dim} and other has {b.sparse_dim}"
        )
    v, w = values_of(input).to(d), values_of(other).to(d)
    w = w if alpha == 1 else w * alpha
    if a.indices is b.indices or np.array_equal(a.indices, b.indices):
        return wrap(CooArray(a.indices, (v + w)._a, a.shape, a.coalesced))
    joined = CooArray(np.concatenate([a.indices, b.indices], 1), np.concatenate([v._a, w._a]), a.shape, False)
    return wrap(coalesced_array(joined) if a.coalesced and b.coalesced else joined)


def _add_compressed(input: Any, other: Any, alpha: Any, d: Any) -> Any:
    a, b = input._a, other._a
    if type(a) is not type(b) or a.layout is not b.layout:
        raise RuntimeError("memory format option is only supported by strided tensors")
    v, w = values_of(input).to(d), values_of(other).to(d)
    w = w if alpha == 1 else w * alpha
    if _same_places(a, b):
        return wrap(a.with_values((v + w)._a))
    x, y = as_coo(a.with_values(v._a)), as_coo(b.with_values(w._a))
    joined = CooArray(np.concatenate([x.indices, y.indices], 1), np.concatenate([x.values, y.values]), a.shape, False)
    return to_compressed(wrap(coalesced_array(joined)), a.layout, a.blocksize, None, "add")


def _into_dense(out: Any, other: Any, alpha: Any) -> None:
    """out += alpha * other, element by element of what is there."""
    if out.shape != other.shape:
        raise RuntimeError(
            f"add: expected 'self' and 'other' to have same size, but self has size {list(out.shape)} while other has size "
            f"{list(other.shape)} (FYI: dense-sparse addition does not currently support broadcasting)"
        )
    a = as_coo(other._a)
    if not a.count:
        return
    v = wrap(a.values).to(out.dtype)
    v = v if alpha == 1 else v * alpha
    n = a.sparse_dim
    if n == 1:
        out.index_add_(0, wrap(a.indices[0]), v)
    elif n == 0:
        out.add_(v.sum(0))
    else:
        out.index_put_([wrap(row) for row in a.indices], v, accumulate=True)


@writing("add.Tensor")
def add_(input: Any, other: Any, *, alpha: Any = 1) -> None:
    if is_sparse(input):
        input._a.become(add(input, other, alpha=alpha).to(input.dtype)._a)
    else:
        _into_dense(input, other, alpha)


@reading("sub.Tensor")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    if is_compressed(input):
        raise RuntimeError(f"unsupported tensor layout: {spoken(input._a)}")
    return add(input, other, alpha=-alpha)


@writing("sub.Tensor")
def sub_(input: Any, other: Any, *, alpha: Any = 1) -> None:
    add_(input, other, alpha=-alpha)


@reading("rsub.Tensor")
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    return sub(other, input, alpha=alpha)


# ---------------------------------------------------------------- products


@reading("mul.Tensor")
def mul(input: Any, other: Any) -> Any:
    if not is_sparse(input):
        input, other = other, input
    if _scalar(other):
        return with_values(input, values_of(input) * other)
    d = _common(input, other)
    if is_sparse(other):
        return _mul_sparse(input, other, d)
    if is_compressed(input):
        v = _sparse_values_at(other.expand(input.shape), input)
        return with_values(input, values_of(input).to(d) * v.to(d))
    v = _sparse_values_at(other.expand(input.shape), input)
    return with_values(input, values_of(input).to(d) * v.to(d))


def _mul_sparse(input: Any, other: Any, d: Any) -> Any:
    a, b = input._a, other._a
    if type(a) is not type(b):
        raise RuntimeError("Expected result Tensor to be of format CSR")
    if isinstance(a, CompressedArray):
        if _same_places(a, b):
            return with_values(input, values_of(input).to(d) * values_of(other).to(d))
        made = _mul_sparse(wrap(coalesced_array(as_coo(a))), wrap(coalesced_array(as_coo(b))), d)
        return to_compressed(made, a.layout, a.blocksize, None, "mul")
    if a.sparse_dim != b.sparse_dim or a.ndim != b.ndim or a.shape[: a.sparse_dim] != b.shape[: b.sparse_dim]:
        raise RuntimeError("sparse_binary_op_intersection_cpu(): expects sparse inputs with equal dimensionality, number of sparse "
                           "dimensions, and shape of sparse dimensions")  # fmt: skip
    if a is b or (a.indices.shape == b.indices.shape and a.coalesced and _same_places(a, b)):
        if a.coalesced:
            return with_values(input, values_of(input).to(d) * values_of(other).to(d))
    if a.coalesced and not b.coalesced:
        input, other, a, b = other, input, b, a
    b = coalesced_array(b)
    if not a.count or not b.count:
        return wrap(CooArray(a.indices[:, :0], (values_of(input).to(d)[:0])._a, a.shape, True))
    at, hit = found(b, flat_indices(a.indices, a.shape[: a.sparse_dim]))
    v = wrap(a.values[hit]).to(d) * wrap(b.values[at[hit]]).to(d)
    return wrap(CooArray(a.indices[:, hit], v._a, a.shape, a.coalesced))


@reading("div.Tensor", "true_divide.Tensor")
def div(input: Any, other: Any) -> Any:
    if not isinstance(input, Tensor):
        raise refused("reciprocal", (other,), "")
    _divisor(other)
    if is_compressed(input):
        raise RuntimeError(f"unsupported tensor layout: {spoken(input._a)}")
    return with_values(input, values_of(input) / other)


def _divisor(other: Any) -> None:
    if not _scalar(other):
        raise RuntimeError(
            f"Sparse division requires a scalar or zero-dim dense tensor divisor (got shape {list(other.shape)} for divisor)"
        )


@reading("div.Tensor_mode")
def div_mode(input: Any, other: Any, *, rounding_mode: Any = None) -> Any:
    _divisor(other)
    t = coalesced(input) if is_coo(input) and rounding_mode is not None else input
    return with_values(t, function(REGISTRY["div.Tensor_mode"])(values_of(t), other, rounding_mode=rounding_mode))


@reading("floor_divide")
def floor_divide(input: Any, other: Any) -> Any:
    return div_mode(input, other, rounding_mode="floor")


@reading("pow.Tensor_Tensor")
def power(input: Any, exponent: Any) -> Any:
    if not is_coo(input) or isinstance(exponent, Tensor):
        raise refused(f"pow.Tensor_{'Tensor' if isinstance(exponent, Tensor) else 'Scalar'}", (input, exponent), "")
    if exponent == 0:
        raise RuntimeError("pow: cannot raise to zeroth power on sparse tensor; it would make the result tensor dense")
    t = coalesced(input)
    return with_values(t, values_of(t) ** exponent)


@reading("nan_to_num")
def nan_to_num(input: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    t = coalesced(input) if is_coo(input) else input
    return with_values(t, values_of(t).nan_to_num(nan, posinf, neginf))


@reading("conj", "real", composed=True)
def conj(input: Any) -> Any:
    return input.conj_physical() if input.is_complex() else input


@reading("relu", composed=True)
def relu(input: Any) -> Any:
    """Of values that carry the history: its derivative asks which are positive, and sparse tensors are not compared."""
    t = input.coalesce() if is_coo(input) else input
    return function(REGISTRY["_sparse_with_values"])(t.values().relu(), t.detach())

"""Operators that take sizes, or any number of dimensions in front of those that they work on."""

from __future__ import annotations

from typing import Any

from flambeau._operators.op import Op
from flambeau._tensor import Tensor
from flambeau.func._batch_rules.table import Batch, full, one_by_one, rank, rule, run


@rule("view", "_unsafe_view", "_reshape_copy", "expand", "repeat", "new_empty", "new_zeros", "new_ones", "new_full")
def sized(op: Op, values: list[Any], level: Any) -> Any:
    """A size gets the batch in front."""
    out = [v.value if type(v) is Batch else v for v in values]
    t, size = out[0], values[1]
    if size is None or not isinstance(size, (tuple, list)):
        return one_by_one(op, values, level)
    if op.overload in ("expand", "repeat"):
        missing = len(size) - rank(values[0])
        if missing > 0:
            out[0] = t.reshape(t.shape[0], *(1,) * missing, *t.shape[1:])
    if op.overload in ("view", "_unsafe_view", "_reshape_copy") and -1 in size and t._a.size == 0:
        return one_by_one(op, values, level)
    out[1] = (1 if op.overload == "repeat" else -1 if op.overload == "expand" else t.shape[0], *size)
    return run(op, out)


@rule("_as_strided")
def as_strided(op: Op, values: list[Any], level: Any) -> Any:
    v, size, stride, offset = values[0].value, *values[1:4]
    return run(op, (v, (level.size, *size), (v.stride(0), *stride), offset, v.stride(), v.storage_offset()))


@rule("t")
def t(op: Op, values: list[Any], level: Any) -> Any:
    x = values[0]
    if x.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {x.ndim}D")
    return x.value.mT if x.ndim == 2 else x.value.view_as(x.value)


@rule("tril", "triu", "constant_pad_nd", "linalg_cholesky_ex", "linalg_lu_factor_ex", "_linalg_lu", "_lu_unpack", "linalg_qr",
      "_linalg_eigh", "linalg_eig", "_linalg_svd", "_svdvals", "linalg_inv_ex", "linalg_ldl_factor_ex", "linalg_det",
      "linalg_slogdet", "linalg_matrix_exp", "cholesky_inverse", "geqrf", "embedding", "one_hot", "linalg_solve_triangular",
      "cholesky_solve", "linalg_solve_ex")  # fmt: skip
def in_front(op: Op, values: list[Any], level: Any) -> Any:
    """Operators that take any number of dimensions in front of those that they work on."""
    if op.overload == "embedding" and type(values[0]) is Batch:
        return one_by_one(op, values, level)
    if op.overload == "linalg_solve_ex" and rank(values[0]) != rank(values[1]):
        return one_by_one(op, values, level)
    if op.overload == "embedding":
        return run(op, (values[0], values[1].value, *values[2:]))
    out = [full(v, level.size) if isinstance(v, (Batch, Tensor)) else v for v in values]
    if op.overload in ("linalg_solve_triangular", "cholesky_solve"):
        lead = max(rank(v) for v in values[:2])
        out[:2] = [t.reshape(t.shape[0], *(1,) * (lead + 1 - t.ndim), *t.shape[1:]) for t in out[:2]]
    return run(op, out)

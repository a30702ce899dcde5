"""Products of matrices and vectors."""

from __future__ import annotations

from typing import Any

from flambeau._operators.op import Op
from flambeau.func._batch_rules.table import Batch, behind, rank, rule, run


def _matrix(v: Any, most: int) -> Any:
    """A factor with the batch and all batch dimensions of the samples in front of its last two."""
    if type(v) is not Batch:
        return v
    t = v.value
    return t.reshape(t.shape[0], *(1,) * (most - v.ndim), *t.shape[1:]) if v.ndim < most else t


def _product(x: Any, y: Any) -> Any:
    """matmul of two samples' values; either may be unbatched."""
    row, column = rank(x) == 1, rank(y) == 1
    if row:
        x = Batch(x.value.unsqueeze(1)) if type(x) is Batch else x.unsqueeze(0)
    if column:
        y = Batch(y.value.unsqueeze(-1)) if type(y) is Batch else y.unsqueeze(-1)
    most = max(rank(x), rank(y))
    out = _matrix(x, most) @ _matrix(y, most)
    out = out.squeeze(-1) if column else out
    return (out.squeeze(-1) if column else out.squeeze(-2)) if row else out


@rule("matmul", "mm", "bmm", "mv", "dot")
def product(op: Op, values: list[Any], level: Any) -> Any:
    return _product(values[0], values[1])


@rule("vdot")
def vdot(op: Op, values: list[Any], level: Any) -> Any:
    x = values[0]
    return _product(Batch(x.value.conj()) if type(x) is Batch else x.conj(), values[1])


@rule("outer")
def outer(op: Op, values: list[Any], level: Any) -> Any:
    x, y = (v.value if type(v) is Batch else v for v in values)
    return x.unsqueeze(-1) * y.unsqueeze(-2)


@rule("linear")
def linear(op: Op, values: list[Any], level: Any) -> Any:
    x, w, b = values
    if type(w) is not Batch and type(b) is not Batch:
        return run(op, (x.value, w, b))
    if rank(w) > 1:
        w = Batch(w.value.mT) if type(w) is Batch else w.mT
    out = _product(x, w)
    return out if b is None else out + behind(b, out._a.ndim - (type(x) is Batch or type(w) is Batch))


@rule("addmm", "addmv", "baddbmm", "addr", "addbmm")
def added_product(op: Op, values: list[Any], level: Any) -> Any:
    x, a, b, beta, alpha = values
    if op.overload == "addr":
        p = (a.value if type(a) is Batch else a).unsqueeze(-1) * (b.value if type(b) is Batch else b).unsqueeze(-2)
    else:
        p = _product(a, b)
    p = p.sum(-3) if op.overload == "addbmm" else p
    p = p if alpha == 1 else p & bool(alpha) if p.dtype.kind == "b" else p * alpha
    batched = type(a) is Batch or type(b) is Batch
    if beta == 0:
        return p if batched else p.expand(level.size, *p.shape)
    x = behind(x, p._a.ndim - batched)
    return p + (x if beta == 1 or p.dtype.kind == "b" else x * beta)

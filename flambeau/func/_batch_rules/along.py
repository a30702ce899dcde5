"""Operators along dimensions, which are counted behind the batch."""

from __future__ import annotations

from typing import Any

from flambeau._operators.op import Op
from flambeau._tensor import Tensor
from flambeau._values.dtype import bool_
from flambeau._values.shape import wrap_dim
from flambeau.func._batch_rules.table import Batch, each_result, full, one_by_one, position, rank, rule, run


def _shift(d: int, n: int) -> int:
    return wrap_dim(d, n, True) + 1


@rule("softmax.int", "log_softmax.int", "transpose.int", "swapaxes", "swapdims", "flip", "select.int", "slice.Tensor", "unbind.int",
      "split.Tensor", "diagonal", "unfold", "select_backward", "slice_backward", "diagonal_backward", "unfold_backward", "_fft_c2c",
      "_fft_r2c", "_fft_c2r", "cat", "linalg_vector_norm", "sum.dim_IntList", "mean.dim", "prod.dim_int", "max.dim", "amax",
      "min.dim", "amin", "any", "all", "var.correction", "logsumexp", "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin",
      "gather", "scatter.src", "scatter.value", "scatter_add", "scatter_reduce.two", "sort", "sort.stable", "topk", "kthvalue", "median.dim",
      "nanmedian.dim", "mode", "squeeze", "permute", "argmax", "argmin", "roll")  # fmt: skip
def along(op: Op, values: list[Any], level: Any) -> Any:
    """Dimensions are counted behind the batch; where none is given, all but the batch are meant."""
    out, n, sized = list(values), None, op.overload.endswith("_backward")
    for i, p in enumerate(op.params):
        v = values[i]
        if p.is_list:
            n = max(rank(x) for x in v) if n is None else n
            if op.overload == "cat" and n > 1:  # which leaves out what is empty and has one dimension
                v = [x for x in v if rank(x) != 1]
            out[i] = [full(x, level.size) for x in v]
        elif p.is_tensor and isinstance(v, (Batch, Tensor)):
            n = rank(v) if n is None else n
            if not n and not sized and rank(v):
                return one_by_one(op, values, level)  # its rank is that of the result
            out[i] = full(v, level.size)
            if n == 0 and not sized:
                out[i] = out[i].unsqueeze(-1)
    assert n is not None
    for i, p in enumerate(op.params):
        v = values[i]
        if p.name == "input_sizes":
            if not v and op.overload == "unfold_backward":
                return one_by_one(op, values, level)
            n, out[i] = len(v), (level.size, *v)
    shown = max(n, 1)
    flattened = False
    for i, p in enumerate(op.params):
        v = values[i]
        note = p.annotation.removesuffix(" | None")
        if p.name == "dims" or note in ("Dim", "Dims"):
            if op.overload == "roll" and p.name == "shifts":
                continue
            if (v is None and p.annotation == "Dim | None") or (op.overload == "roll" and p.name == "dims" and v == ()):
                out[0], out[i], flattened = out[0].flatten(1), 1, True
            elif v is None or (
                isinstance(v, (tuple, list)) and not v and op.overload not in ("flip", "permute", "squeeze")
            ):
                out[i] = tuple(range(1, shown + 1))
            elif isinstance(v, (tuple, list)):
                out[i] = tuple(_shift(d, shown) for d in v)
                if op.overload == "permute":
                    out[i] = (0, *out[i])
            else:
                out[i] = _shift(v, shown)
        elif note == "Shape" and p.name == "dim":
            out[i] = tuple(_shift(d, shown) for d in v)
    if flattened and op.overload != "roll":
        keep = position(op, "keepdim")
        kept, out[keep] = out[keep], False
        result = run(op, out)
        return result.reshape(level.size, *(1,) * n) if kept else result
    if op.overload == "permute" and n == 0:
        return out[0].squeeze(-1)
    result = run(op, out)
    if flattened:
        return result.reshape(values[0].value.shape)
    if n == 0 and not sized and op.overload != "unfold":
        return each_result(result, lambda t: t.squeeze(1) if t._a.ndim == 2 else t)
    return result.squeeze(1) if not n and op.overload == "unfold" else result


@rule("unsqueeze", "stack", "diag_embed")
def added(op: Op, values: list[Any], level: Any) -> Any:
    """As `along`, where the dimensions are those of the result."""
    out = list(values)
    if op.params[0].is_list:
        n = rank(values[0][0])
        out[0] = [full(x, level.size) for x in values[0]]
    else:
        n, out[0] = rank(values[0]), values[0].value
    for i, p in enumerate(op.params):
        if p.annotation == "Dim":
            out[i] = _shift(values[i], n + 1)
    return run(op, out)


@rule("max", "min", "prod", "median", "nanmedian")
def of_all(op: Op, values: list[Any], level: Any) -> Any:
    """A reduction of all elements: of the flat samples, along their one dimension."""
    x = values[0].value
    flat = x.flatten(1) if x._a.ndim > 1 else x.unsqueeze(1)
    match op.overload:
        case "max":
            return flat.amax(1)
        case "min":
            return flat.amin(1)
        case "prod":
            return flat.prod(1, dtype=values[1])
    return getattr(flat, op.overload)(1).values


@rule("index_select", "index_add", "index_copy", "index_fill.int_Scalar")
def by_index(op: Op, values: list[Any], level: Any) -> Any:
    """One index for all samples is an index of the batch; one for each becomes gather or scatter."""
    x, dim, index = values[:3]
    n = rank(x)
    d = _shift(dim, max(n, 1))
    if not n or rank(index) != 1 or (op.overload == "index_fill.int_Scalar" and type(values[3]) is Batch):
        return one_by_one(op, values, level)
    if type(index) is not Batch:
        out = [
            full(v, level.size) if isinstance(v, (Batch, Tensor)) and i in (0, 3) else v for i, v in enumerate(values)
        ]
        if op.overload == "index_fill.int_Scalar":
            out[3] = values[3]
        out[1] = d
        return run(op, out)
    t = full(x, level.size)
    i = index.value
    shape = list(t.shape)
    shape[d] = i.shape[1]
    i = i.reshape(level.size, *(1,) * (d - 1), i.shape[1], *(1,) * (n - d)).expand(shape)
    match op.overload:
        case "index_select":
            return t.gather(d, i)
        case "index_add":
            return t.scatter_add(d, i, full(values[3], level.size) * values[4])
        case "index_copy":
            return t.scatter(d, i, full(values[3], level.size))
    return t.masked_fill(t.new_zeros(t.shape, dtype=bool_).scatter(d, i, True), values[3])

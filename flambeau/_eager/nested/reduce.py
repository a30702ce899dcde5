"""Readings for the jagged layout: reductions, over everything, over plain dimensions, over the ragged one."""

from __future__ import annotations

from typing import Any

from flambeau._eager.nested import dense, jagged_reading
from flambeau._eager.nested.jagged import inner, like, padded, values_of
from flambeau._operators.op import Op
from flambeau._tensor import wrap
from flambeau._values.shape import wrap_dim

# What padding must be so that it changes nothing.
_NEUTRAL = {"sum": 0, "mean": 0, "prod": 1, "any": False, "all": True, "amin": "max", "min": "max", "argmin": "max",
            "amax": "min", "max": "min", "argmax": "min"}  # fmt: skip


@jagged_reading("sum.dim_IntList", "mean.dim", "prod", "prod.dim_int", "any", "any.dim", "any.dims", "all", "all.dim", "all.dims",
                "amin", "amax", "max.dim", "min.dim", "max", "min", "argmin", "argmax", needs_op=True)  # fmt: skip
def reduced(op: Op, input: Any, dim: Any = None, **rest: Any) -> Any:
    name = op.aten
    keepdim = bool(rest.get("keepdim", False))
    many = isinstance(dim, (tuple, list))
    if dim is None or (many and not dim):
        out = _run(op, values_of(input), dim, rest)
        return _each(out, lambda o: o.unsqueeze(input._a.ragged.at)) if keepdim else out
    at = input._a.ragged.at
    dims = [wrap_dim(d, input.dim()) for d in (dim if many else [dim])]
    over_batch, over_ragged, over_plain = 0 in dims, at in dims, any(d not in (0, at) for d in dims)
    if over_ragged and input.lengths() is not None:
        raise RuntimeError(
            f"{name}(): reducing across the ragged dimension is not supported for non-contiguous nested tensors with holes"
        )
    inside = list(dict.fromkeys(inner(input, d) for d in dims))
    if over_ragged and over_batch:
        out = _run(op, values_of(input), inside if many else inside[0], rest)
        return _each(out, lambda o: o.unsqueeze(0)) if keepdim else out
    if over_ragged:
        if over_plain and name == "mean":
            raise AssertionError("Cannot reduce on both ragged and non-batch dimensions without also reducing on batch")
        if over_plain:
            raise RuntimeError(
                f"{name}(): reducing along a ragged and non-batch dimension is not supported for nested tensors"
            )
        return _over_ragged(op, input, many, rest)
    if over_batch:
        raise RuntimeError(
            f"{name}(): reducing along the batch dimension but not the ragged dimension is not supported for nested tensors"
        )
    out = _run(op, values_of(input), inside if many else inside[0], rest)
    return _each(out, lambda o: like(input, o, at if keepdim else at - sum(d < at - 1 for d in inside)))


def _over_ragged(op: Op, input: Any, many: bool, rest: dict[str, Any]) -> Any:
    at, name = input._a.ragged.at, op.aten
    if name == "mean":
        total = padded(input, 0).sum(at, keepdim=True, dtype=rest.get("dtype"))
        lengths = wrap(input._a.ragged.counts).reshape(-1, *[1] * (total.dim() - 1))
        out = total / lengths
        return out if rest.get("keepdim") else out.squeeze(at)
    neutral: Any = _NEUTRAL[name]
    if isinstance(neutral, str):
        neutral = _extreme(input.dtype, neutral)
    return _run(op, padded(input, neutral), [at] if many else at, rest)


def _extreme(d: Any, which: str) -> Any:
    if d.is_floating_point:
        from flambeau._values.limits import finfo

        return getattr(finfo(d), which)
    return float("inf") if which == "max" else float("-inf")


def _run(op: Op, values: Any, dim: Any, rest: dict[str, Any]) -> Any:
    given = {"input": values, "dim": dim, **rest}
    return dense(op, tuple(given[p.name] for p in op.params))


def _each(out: Any, fn: Any) -> Any:
    if isinstance(out, tuple):
        parts = [fn(o) for o in out]
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)
    return fn(out)


@jagged_reading("_is_all_true", "_is_any_true", "count_nonzero", needs_op=True)
def whole(op: Op, input: Any, **rest: Any) -> Any:
    return dense(op, (values_of(input), *(rest[p.name] for p in op.params[1:])))

"""Convolutions, pooling, norms and losses: a batch is more images, more channels or more groups."""

from __future__ import annotations

from typing import Any

from flambeau._operators.op import Op
from flambeau.func._batch_rules.elementwise import align
from flambeau.func._batch_rules.table import (
    Batch,
    Same,
    behind,
    each_result,
    full,
    one_by_one,
    position,
    rank,
    rule,
    run,
)


def _fold(t: Any) -> Any:
    """batch, n, c, ... -> batch * n, c, ..."""
    return t.flatten(0, 1)


def _channels(v: Any, size: int) -> Any:
    """batch, n, c, ... -> n, batch * c, ...: a batch as groups of channels."""
    return full(v, size).transpose(0, 1).flatten(1, 2)


@rule("_conv", "_conv_input", "_conv_weight")
def convolution(op: Op, values: list[Any], level: Any) -> Any:
    """A batch of images is more images; a batch of weights, or of weight gradients, is more groups."""
    if not level.size:
        return one_by_one(op, values, level)
    b, out = level.size, list(values)
    at = position(op, "groups")
    groups = values[at]
    first, second = values[:2]
    bias = values[at + 1] if op.overload != "_conv_weight" else None
    if bias is not None:
        plain = [*values[: at + 1], None]
        plain = convolution(op, plain, level) if any(type(v) is Batch for v in plain) else run(op, plain).unsqueeze(0)
        ones = (1,) * (plain.ndim - 3)
        return plain + (bias.value.reshape(b, 1, -1, *ones) if type(bias) is Batch else bias.reshape(-1, *ones))
    if op.overload != "_conv_weight" and type(second) is not Batch:
        out[0] = _fold(first.value)
        if op.overload == "_conv_input":
            out[2] = (b * values[2][0], *values[2][1:])
        return run(op, out).unflatten(0, (b, -1))
    out[at] = groups * b
    if op.overload == "_conv_weight":
        out[0], out[1] = _channels(first, b), _channels(second, b)
        out[2] = (b * values[2][0], *values[2][1:])
        return run(op, out).unflatten(0, (b, -1))
    out[0], out[1] = _channels(first, b), _fold(second.value)
    if op.overload == "_conv_input":
        out[2] = (values[2][0], b * values[2][1], *values[2][2:])
    return run(op, out).unflatten(1, (b, -1)).transpose(0, 1)


@rule("_max_pool", "_avg_pool", "_adaptive_max_pool", "_avg_pool_backward")
def pooling(op: Op, values: list[Any], level: Any) -> Any:
    """A batch of images is more images."""
    x, out = values[0], list(values)
    spatial = len(values[position(op, "size")]) if op.overload != "_adaptive_max_pool" else len(values[1])
    extra = x.ndim - spatial - 1  # how many dimensions stand before the channels
    if extra not in (0, 1):
        return one_by_one(op, values, level)
    out[0] = _fold(x.value) if extra else x.value
    if op.overload == "_avg_pool_backward":
        shape = values[1]
        out[1] = (level.size * shape[0], *shape[1:]) if extra else (level.size, *shape)
    result = run(op, out)
    return each_result(result, lambda t: t.unflatten(0, (level.size, -1))) if extra else result


@rule("_resampled")
def resampled(op: Op, values: list[Any], level: Any) -> Any:
    """Dims are counted from the end: one more before them changes nothing."""
    return run(op, [values[0].value, *values[1:]])


@rule("native_layer_norm")
def layer_norm(op: Op, values: list[Any], level: Any) -> Any:
    x, shape, w, b, eps = values
    if type(x) is not Batch:
        x = Batch(full(x, level.size))
    if type(w) is not Batch and type(b) is not Batch:
        return run(op, (x.value, shape, w, b, eps))
    y, mean, rstd = run(op, (x.value, shape, None, None, eps))
    y = y if w is None else y * behind(w, x.ndim)
    return (y if b is None else y + behind(b, x.ndim)), mean, rstd


@rule("native_batch_norm_statistics")
def batch_norm(op: Op, values: list[Any], level: Any) -> Any:
    """A batch is more channels; where only weight and bias are batched, the statistics are the same for all samples."""
    x, w, b, eps = values
    if type(x) is not Batch:
        y, mean, var = run(op, (x, None, None, eps))
        along = (1, -1, *(1,) * (x.ndim - 2))
        w, b = (None if v is None else full(v, level.size).reshape(level.size, *along) for v in (w, b))
        y = y if w is None else y * w
        return (y if b is None else y + b), Same(mean), Same(var)
    w, b = (None if v is None else full(v, level.size).flatten() for v in (w, b))
    y, mean, var = run(op, (_channels(x, level.size), w, b, eps))
    return y.unflatten(1, (level.size, -1)).transpose(0, 1), *(t.unflatten(0, (level.size, -1)) for t in (mean, var))


@rule("mse_loss")
def mse(op: Op, values: list[Any], level: Any) -> Any:
    x, y = align(op, values)[:2]
    return _reduced((x - y) ** 2, values[2])


def _reduced(each: Any, reduction: int) -> Any:
    """As a loss reduces: 0 not at all, 1 to the mean, 2 to the sum."""
    if reduction == 0 or each._a.ndim == 1:
        return each
    return each.flatten(1).mean(1) if reduction == 1 else each.flatten(1).sum(1)


@rule("nll_loss_forward", "_nll")
def nll(op: Op, values: list[Any], level: Any) -> Any:
    """-weight[target] * input[target], over the samples' own classes."""
    x, target, weight, reduction, ignored = values
    n = rank(x)
    if type(weight) is Batch or rank(target) == n == 1:
        return one_by_one(op, values, level)
    x, target = full(x, level.size), full(target, level.size)
    c = 1 if n == 1 else 2
    counted = target != ignored
    at = target.masked_fill(~counted, 0)
    w = counted.to(x.dtype) if weight is None else weight[at] * counted
    each = -x.gather(c, at.unsqueeze(c)).squeeze(c) * w
    flat = (lambda v: v.flatten(1).sum(1)) if n > 1 else lambda v: v
    total = flat(w)
    out = each if reduction == 0 else flat(each) if reduction == 2 else flat(each) / total
    if len(op.outputs) < 2:
        return out
    return out, (total if reduction else total * 0)


@rule("embedding_dense_backward")
def embedding_backward(op: Op, values: list[Any], level: Any) -> Any:
    """One table of all samples' rows."""
    g, i, n, padding, by_frequency = values
    b = level.size
    g, i = full(g, b), full(i, b)
    from flambeau._eager.names import public

    start = public("arange")(b, device=i.device).reshape(b, *(1,) * (i._a.ndim - 1)) * n
    if padding >= 0:
        g = g.masked_fill((i == padding).unsqueeze(-1), 0)
    return run(op, (g, i + start, n * b, -1, by_frequency)).unflatten(0, (b, n))

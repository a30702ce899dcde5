"""What looks at elements, over a batch: each sample on its own, with derivatives of any order in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau import autograd
from flambeau._eager import record
from flambeau._eager.graph import node_of
from flambeau._eager.modes import STATE
from flambeau._ground.errors import NeedsElements
from flambeau._ground.tree import tree_flatten, tree_unflatten
from flambeau._tensor import Tensor
from flambeau.autograd._dual import closed, variable
from flambeau.autograd.function import Function
from flambeau.func._batch_rules import stacked


def by_samples(fn: Callable[..., Any], args: Sequence[Any]) -> Any:
    """fn(*args), a tree of tensors, where `args` are trees of tensors, some of them batched, and fn looks at their elements."""
    leaves, spec = tree_flatten(list(args))
    at = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    kept: list[Any] = []  # how one sample's result is built; the same for all

    def flat(*tensors: Tensor) -> tuple[Any, ...]:
        given = list(leaves)
        for i, t in zip(at, tensors, strict=True):
            given[i] = t
        outs, out_spec = tree_flatten(fn(*tree_unflatten(given, spec)))
        if not all(o is None or isinstance(o, Tensor) for o in outs):
            raise NeedsElements("vmap: what is not a tensor would have another value for each sample")
        kept[:] = [out_spec, [o is not None for o in outs]]
        return tuple(o for o in outs if o is not None)

    found = iter(BySamples.apply(flat, *(leaves[i] for i in at)))
    out_spec, there = kept
    return tree_unflatten([next(found) if t else None for t in there], out_spec)


def _attempt(fn: Callable[..., Any], *tensors: Any) -> tuple[Any, ...]:
    """fn of one sample, which may be a batch of an outer level."""
    try:
        return tuple(fn(*tensors))
    except NeedsElements:
        return tuple(BySamples.apply(fn, *tensors))


class BySamples(Function):
    """A function from tensors to a tuple of tensors that runs once for each sample, and so do its derivatives."""

    @staticmethod
    def forward(fn: Callable[..., Any], *tensors: Any) -> Any:
        return fn(*tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, fn: Callable[..., Any], *tensors: Any) -> Any:
        def sample(i: int) -> tuple[Any, ...]:
            return _attempt(
                fn, *(t if d is None else t.select(0, i) for t, d in zip(tensors, in_dims[1:], strict=True))
            )

        return stacked([sample(i) for i in range(info.batch_size)]), 0

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.fn, ctx.n = inputs[0], len(inputs) - 1
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gs: Any) -> Any:
        wanted = ctx.needs_input_grad[1:]

        def pulled(*args: Any) -> tuple[Any, ...]:
            return _pulled(ctx.fn, wanted, args[: ctx.n], args[ctx.n :])

        found = iter(BySamples.apply(pulled, *ctx.saved_tensors, *gs))
        return None, *(next(found) if w else None for w in wanted)

    @staticmethod
    def jvp(ctx: Any, _: Any, *vs: Any) -> Any:
        def pushed(*args: Any) -> tuple[Any, ...]:
            return _pushed(ctx.fn, args[: ctx.n], args[ctx.n :])

        return BySamples.apply(pushed, *ctx.saved_tensors, *vs)


def _recorded(fn: Callable[..., Any], tensors: Sequence[Any], wanted: Sequence[bool]) -> tuple[list[Any], list[Any]]:
    """(variables in place of those tensors that are wanted, the results)."""
    given = [variable(t) if w else t for t, w in zip(tensors, wanted, strict=True)]
    return [t for t, w in zip(given, wanted, strict=True) if w], list(_attempt(fn, *given))


def _pulled(
    fn: Callable[..., Any], wanted: Sequence[bool], tensors: Sequence[Any], gs: Sequence[Any]
) -> tuple[Any, ...]:
    """u^T J, for the inputs that are wanted."""
    before, STATE.grad = STATE.grad, True
    try:
        xs, outs = _recorded(fn, tensors, wanted)
        live = [(o, g) for o, g in zip(outs, gs, strict=True) if node_of(o) is not None]
        if not live:
            return tuple(x.new_zeros(x.shape) for x in xs)
        found = autograd.gradients([o for o, _ in live], xs, [g for _, g in live], True, True, True)
        own = {node_of(x) for x in xs} - {None}
        return tuple(
            x.new_zeros(x.shape) if g is None else closed(g, own, before) for x, g in zip(xs, found, strict=True)
        )
    finally:
        STATE.grad = before


def _pushed(fn: Callable[..., Any], tensors: Sequence[Any], vs: Sequence[Any]) -> tuple[Any, ...]:
    """J v: u^T J is linear in u, and this its derivative."""
    before, STATE.grad = STATE.grad, True
    try:
        wanted = [t.dtype.is_floating_point or t.dtype.is_complex for t in tensors]
        xs, outs = _recorded(fn, tensors, wanted)
        us = [variable(o.new_ones(o.shape)) if node_of(o) is not None else None for o in outs]
        live = [(o, u) for o, u in zip(outs, us, strict=True) if u is not None]
        zeros = [o.new_zeros(o.shape) for o in outs]
        if not live:
            return tuple(zeros)
        gs = autograd.gradients([o for o, _ in live], xs, [u for _, u in live], True, True, True)
        moving = [v for v, w in zip(vs, wanted, strict=True) if w]
        pairs = [(g, v) for g, v in zip(gs, moving, strict=True) if g is not None and node_of(g) is not None]
        if not pairs:
            return tuple(zeros)
        found = iter(
            autograd.gradients([g for g, _ in pairs], [u for _, u in live], [v for _, v in pairs], True, True, True)
        )
        ts = [None if u is None else next(found) for u in us]
        own = {node_of(x) for x in (*xs, *us) if x is not None} - {None}
        return tuple(z if t is None else closed(t, own, before) for z, t in zip(zeros, ts, strict=True))
    finally:
        STATE.grad = before


record.BY_SAMPLES.append(by_samples)

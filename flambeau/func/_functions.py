"""Users' Functions under `vmap`: by the batch rule they define, or by one made of their forward, backward and jvp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._eager.modes import STATE
from flambeau._tensor import Tensor
from flambeau.autograd.function import Function
from flambeau.func._batch_rules import VmapInfo
from flambeau.func._batched import LEVELS, BatchedTensor, Level, batched, outside, unwrap, value_at, vmap_level

SEE = "For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"
TWO = "Expected the vmap staticmethod to have two returns, an output and out_dims with pytree structure compatible with the output. "


def mapped_forward(cls: Any, args: tuple[Any, ...]) -> Callable[..., Any] | None:
    """What runs in place of a Function's forward inside `vmap`; None where there is nothing to map."""
    if not LEVELS.open:
        return None
    if cls.generate_vmap_rule and cls.vmap is not Function.vmap:
        raise RuntimeError(
            f"You tried to vmap over {cls.__name__}, but it has both generate_vmap_rule=True and an overridden vmap staticmethod. "
            f"Please set generate_vmap_rule=False or delete the overridden vmap staticmethod to avoid ambiguity. {SEE}"
        )
    if not cls.generate_vmap_rule and cls.vmap is Function.vmap:
        raise RuntimeError(
            f"You tried to vmap over {cls.__name__}, but it does not have vmap support. Please override and implement the vmap "
            f"staticmethod or set generate_vmap_rule=True. {SEE}"
        )
    depths = [a._level for a in args if type(a) is BatchedTensor]
    if not depths:
        return None
    level = next(x for x in LEVELS.open if x.depth == max(depths))

    def forward(*args: Any) -> Any:
        held = [value_at(a, level.depth) for a in args]
        dims = tuple(None if v is None else 0 for v in held)
        values = [a if v is None else v for a, v in zip(args, held, strict=True)]
        with outside(level):
            grad, STATE.grad = STATE.grad, True  # what is behind the batch is recorded in there
            try:
                if cls.generate_vmap_rule:
                    out, where = over_batches(cls, dims, level).apply(*values), 0
                else:
                    out, where = _checked(cls.vmap(VmapInfo(level.size, level.randomness), dims, *values))
            finally:
                STATE.grad = grad
        given = {id(v): a for v, a in zip(values, args, strict=True) if isinstance(v, Tensor)}
        if not isinstance(out, (tuple, list)):
            return _placed(out, where, level, given)
        wheres = where if isinstance(where, (tuple, list)) else (where,) * len(out)
        return type(out)(_placed(o, d, level, given) for o, d in zip(out, wheres, strict=True))

    return forward


def _checked(result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple):
        raise RuntimeError(f"{TWO}Got a {type(result)} instead")
    if len(result) != 2:
        raise RuntimeError(f"{TWO}Got {len(result)} returns instead")
    return result


def _placed(t: Any, dim: int | None, level: Level, given: dict[int, Any]) -> Any:
    if not isinstance(t, Tensor):
        return t
    if id(t) in given:  # an input that was written to
        return given[id(t)]
    if dim is None:
        return t
    return batched(t if dim == 0 else t.movedim(dim, 0), level.depth)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- generate_vmap_rule


def over_batches(cls: Any, dims: Sequence[int | None], level: Level) -> Any:
    """The Function of batches whose samples `cls` is the Function of."""

    def samples(values: Sequence[Any], inner: Level, at: Sequence[int | None] | None = None) -> list[Any]:
        where = (0,) * len(values) if at is None else at
        return [
            batched(v, inner.depth) if d is not None and isinstance(v, Tensor) else v
            for v, d in zip(values, where, strict=True)
        ]

    def whole(result: Any, inner: Level) -> Any:
        if isinstance(result, (tuple, list)):
            return type(result)(whole(r, inner) for r in result)
        return unwrap(result, inner, 0) if isinstance(result, Tensor) else result

    def context(ctx: Any, inputs: Sequence[Any], output: Any, inner: Level) -> tuple[Any, list[Any]]:
        """The context of one sample, and its outputs."""
        listed = isinstance(output, (tuple, list))
        outs = samples(output if listed else [output], inner)
        made = cls._backward_cls()
        made.needs_input_grad = ctx.needs_input_grad
        cls.setup_context(made, tuple(samples(inputs, inner, dims)), type(output)(outs) if listed else outs[0])
        if made.saved_for_forward is None:
            made.saved_for_forward = tuple(made.to_save or ())
        return made, outs

    def again(ctx: Any, inner: Level) -> Any:
        saved = iter(ctx.saved_tensors)
        inputs = [next(saved) if is_tensor else x for is_tensor, x in ctx.inputs]
        outs = [next(saved) if is_tensor else x for is_tensor, x in ctx.outputs]
        return context(ctx, inputs, ctx.kind(outs) if ctx.kind else outs[0], inner)[0]

    class Batched(Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*values: Any) -> Any:
            with vmap_level(level.size, level.randomness) as inner:
                return whole(cls.forward(*samples(values, inner, dims)), inner)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            listed = isinstance(output, (tuple, list))
            outs = list(output) if listed else [output]
            ctx.kind = type(output) if listed else None
            ctx.inputs, ctx.outputs = (
                [(isinstance(x, Tensor), None if isinstance(x, Tensor) else x) for x in xs] for xs in (inputs, outs)
            )
            ctx.save_for_backward(*[x for x in (*inputs, *outs) if isinstance(x, Tensor)])
            with vmap_level(level.size, level.randomness) as inner:
                made, shown = context(ctx, inputs, output, inner)
            without = {id(t) for t in made.non_differentiable or ()}
            written = {id(t._value) for t in made.dirty_tensors or () if type(t) is BatchedTensor}
            ctx.mark_non_differentiable(*[o for o, s in zip(outs, shown, strict=True) if id(s) in without])
            ctx.mark_dirty(*[x for x in inputs if id(x) in written])
            ctx.set_materialize_grads(made.materialize_grads)

        @staticmethod
        def backward(ctx: Any, *gs: Any) -> Any:
            with vmap_level(level.size, level.randomness) as inner:
                made = again(ctx, inner)
                backward = cls.vjp if cls.backward is Function.backward else cls.backward
                found = backward(made, *samples(gs, inner))
                found = whole(found if isinstance(found, (tuple, list)) else (found,), inner)
            shapes = [m and m[0] for m in ctx._shapes]
            found = [g if d is not None or g is None else g.sum(0) for g, d in zip(found, dims)]
            return tuple(
                g if g is None or g.shape == s else g.sum_to_size(s) for g, s in zip(found, shapes, strict=True)
            )

        @staticmethod
        def jvp(ctx: Any, *vs: Any) -> Any:
            with vmap_level(level.size, level.randomness) as inner:
                return whole(cls.jvp(again(ctx, inner), *samples(vs, inner, dims)), inner)

    Batched.__name__ = Batched._backward_cls._function.__name__ = f"Vmapped{cls.__name__}"
    return Batched

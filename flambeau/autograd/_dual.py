"""Forward mode: what an operator does to tangents.

A dual tensor is a plain tensor with tangents hung on it, one for each level at which it is dual. While a level is open, calls
take the general lane, which asks here first. The rule for an operator follows from its derivative: the vector-Jacobian product
u -> u^T J is linear in u, so its own vector-Jacobian product is v -> J v. One definition thus serves both directions
(J. Townsend, "A new trick for calculating Jacobian vector products", 2017). Views, which are linear, map the tangent itself.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flambeau import overrides
from flambeau._eager import call, modes, record
from flambeau._eager.getitem import through_operators
from flambeau._eager.graph import AccumulateGrad, Node, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.views import Part, belongs, blank, rebase
from flambeau._ground.errors import Unbatched
from flambeau._operators.op import Op
from flambeau._tensor import Tensor, bare, twin
from flambeau._values.device import contiguous_format


class _Levels(threading.local):
    open: tuple[int, ...] = ()
    variables: frozenset[Node] = frozenset()  # what transforms that are running differentiate with respect to


LEVELS = _Levels()
_numbers = itertools.count()


def enter() -> int:
    """Open a level; its number, which no level had before: what was dual at one that is closed stays plain."""
    _install()
    level = next(_numbers)
    LEVELS.open = (*LEVELS.open, level)
    modes.enter("dual")
    return level


def leave(level: int) -> None:
    """Close the innermost level."""
    LEVELS.open = LEVELS.open[:-1]
    modes.leave("dual")


def tangent(t: Tensor, level: int) -> Tensor | None:
    """The tangent of t at a level, or None. That of a view is the part of its base's, which a write may have given it, or changed."""
    own = t._tangents.get(level) if t._tangents else None
    whole = tangent(t._base, level) if t._base is not None else None
    if whole is not None and (own is None or _memory(own) is not _memory(whole)):
        base = t._base
        if whole._a.strides != base._a.strides:  # type: ignore[union-attr]
            whole = blank(base._a, whole).copy_(whole)  # type: ignore[union-attr]
            set_tangent(base, level, whole)  # type: ignore[arg-type]
        own = Part(t._a, base._a).read(whole)  # type: ignore[union-attr]
        set_tangent(t, level, own)
    elif own is not None and (moved := getattr(_memory(own), "_moved", None)) is not None:
        own = moved if own._base is None else Part(own._a, own._base._a).read(moved)
        set_tangent(t, level, own)
    return own


def _memory(v: Tensor) -> Tensor:
    """The tensor whose memory v lies in."""
    return v if v._base is None else v._base


def levels_of(t: Tensor) -> list[int]:
    """The open levels at which t is dual."""
    if not t._tangents and (t._base is None or not t._base._tangents):
        return []
    return [k for k in LEVELS.open if tangent(t, k) is not None]


def set_tangent(t: Tensor, level: int, v: Tensor | None) -> None:
    """Make t dual at a level."""
    if v is None:
        if t._tangents:
            t._tangents = {k: x for k, x in t._tangents.items() if k != level}
        return
    t._tangents = {**(t._tangents or {}), level: v}


def primal(t: Tensor, level: int) -> Tensor:
    """t without its tangent at a level; in all else (history, memory, other levels) the same."""
    of_base = t._base is not None and tangent(t._base, level) is not None
    if not of_base and (not t._tangents or level not in t._tangents):
        return t
    node = node_of(t)
    other = twin(t)
    set_tangent(other, level, None)
    if of_base:
        other._node, other._base = node, None
    return other


# ---------------------------------------------------------------- operators


def tensors_of(op: Op, values: Sequence[Any]) -> list[Tensor]:
    out = []
    for p, v in zip(op.params, values, strict=True):
        if p.is_list and v is not None:
            out += [x for x in v if isinstance(x, Tensor)]
        elif isinstance(v, Tensor):
            out.append(v)
    return out


def mapped(op: Op, values: Sequence[Any], fn: Any) -> tuple[Any, ...]:
    """The values with `fn` applied to each tensor."""
    return tuple(
        type(v)(fn(x) if isinstance(x, Tensor) else x for x in v)
        if p.is_list and v is not None
        else fn(v)
        if isinstance(v, Tensor)
        else v
        for p, v in zip(op.params, values, strict=True)
    )


def _operator(op: Op, values: Any, out: Any, into: bool) -> Any:
    """What the general lane asks: the result with its tangent, or NotImplemented where nothing is dual."""
    if not LEVELS.open or op.kind == "composite":
        return NotImplemented
    levels = [k for t in tensors_of(op, values) for k in levels_of(t)]
    if not levels:
        return NotImplemented
    level = max(levels)
    plain = mapped(op, values, lambda t: bare(primal(t, level)))
    if out is not None:
        raise RuntimeError(
            f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but one of "
            "the arguments requires grad."
        )
    if into:
        return _in_place(op, values, plain, level)
    at = op.receiver_at
    if op.view:
        result = call.general(op, plain)
        source = tangent(values[at], level)
        if source is not None:
            _give(result, _same_view(op, plain, source, values, level), level)
        for r in result if isinstance(result, (tuple, list)) else (result,):
            if r._base is not None:
                belongs(r, values[at])
    elif op.differentiable:
        result, tangents = _evaluated(op, values, level)
        _give(result, tangents, level)
    else:
        return call.general(op, plain)
    if STATE.grad:
        outs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        record.record(op, outs, values, type(result) is list)
    return result


def _same_view(op: Op, plain: Any, source: Tensor, values: Any, level: int) -> Any:
    """What a view operator makes of a tangent, which may lie in memory otherwise than its tensor."""
    at = op.receiver_at
    if op.overload == "_as_strided":  # counts in the tensor's memory
        return _evaluated(op, values, level)[1]
    try:
        return call.general(op, (*plain[:at], source, *plain[at + 1 :]))
    except RuntimeError:
        again = source.clone(memory_format=contiguous_format)
        return call.general(op, (*plain[:at], again, *plain[at + 1 :]))


def _in_place(op: Op, values: Any, plain: Any, level: int) -> Any:
    at = op.receiver_at
    target = values[at]
    v = tangent(target, level)
    tracked = STATE.grad and op.differentiable and record.any_history(op, values)
    old = None
    if tracked or (STATE.grad and v is not None and node_of(v) is not None):
        old = primal(target, level).clone()
        old._node, old._nr = node_of(target), target._nr
        set_tangent(old, level, None if v is None else v.clone())
    if op.view:  # squeeze_ and its kind: the tangent becomes a view as the tensor does
        set_tangent(target, level, None)
        call.general(op, (*plain[:at], target, *plain[at + 1 :]), None, True)
        moved = v if v is None else call.general(op, (*plain[:at], v, *plain[at + 1 :]))
        set_tangent(target, level, moved)
        return target
    # What derivatives of these tangents save must not be what is overwritten.
    before = values if old is None else (*values[:at], old, *values[at + 1 :])
    (moved,) = _evaluated(op, before, level)[1] if op.differentiable else (None,)
    if target._vc is None:
        target._vc = [0]
    plain[at]._vc = target._vc
    call.general(op, plain, None, True)
    for k, w in (
        plain[at]._tangents or {}
    ).items():  # at other levels the write may have given tangents, to what stands for the target
        if tangent(target, k) is None:
            _overwrite(_begun(target, w, k), w)
    if v is None and moved is not None:  # so is the whole of what it is a view of
        v = _begun(target, moved, level)
    if v is not None:
        _overwrite(v, moved)
    if not tracked:
        return target
    rebase(target, record.record_write(op, target, values, old))
    return target


def _begun(t: Tensor, like: Tensor, level: int) -> Tensor:
    """Zeros for the tangent of a tensor that had none, as `like` is batched."""
    base = t if t._base is None else t._base
    whole = blank(base._a, like).zero_()
    set_tangent(base, level, whole)
    if base is t:
        return whole
    part = Part(t._a, base._a).read(whole)
    set_tangent(t, level, part)
    return part


def _overwrite(v: Tensor, by: Tensor | None) -> None:
    """Write a tangent; where it is the same for all samples of a batch, and will not be, all of it moves to other memory."""
    if by is None:
        v.zero_()
        return
    try:
        v.copy_(by)
    except Unbatched:
        memory = _memory(v)
        memory._moved = moved = blank(memory._a, by).copy_(memory)  # type: ignore[attr-defined]
        part = moved if v is memory else Part(v._a, memory._a).read(moved)
        part.copy_(by)


def _give(result: Any, tangents: Any, level: int) -> None:
    results = result if isinstance(result, (tuple, list)) else (result,)
    vs = tangents if isinstance(tangents, (tuple, list)) else (tangents,)
    for r, v in zip(results, vs, strict=True):
        if isinstance(r, Tensor) and v is not None:
            set_tangent(r, level, v)


class Variable(AccumulateGrad):
    """The leaf that a transform made for itself."""


class running:
    """The block in which a transform differentiates with respect to some nodes."""

    def __init__(self, own: set[Node]) -> None:
        self.own = own

    def __enter__(self) -> None:
        self.before = LEVELS.variables
        LEVELS.variables = self.before | self.own
        STATE.transforms += 1

    def __exit__(self, *exc: object) -> None:
        LEVELS.variables = self.before
        STATE.transforms -= 1


def variable(t: Tensor) -> Tensor:
    """A tensor of the same value that derivatives are taken with respect to; behind it lies t's history."""
    if node_of(t) is not None:
        return t.view_as(t)
    if t.dtype.kind not in "fcV":
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    other = twin(t)
    other._node, other._nr, other._base = Variable(other), 0, None
    return other


def beyond(nodes: Iterable[Node | None], own: set[Node]) -> bool:
    """Whether the graph under some nodes reaches a leaf that is not one of `own`, or through those to older history."""
    todo = [n for n in nodes if n is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        if node in own:
            if not node.leaf and any(n is not None for n in node.next):
                return True
            continue
        if node.leaf:
            if type(node) is not Variable or node in LEVELS.variables:
                return True
            continue  # of a transform that has ended: nobody can ask for its gradient
        for child in node.next:
            if child is not None and child not in seen:
                seen.add(child)
                todo.append(child)
    return False


def closed(t: Any, own: set[Node], recorded: bool) -> Any:
    """t without history that leads to `own` alone."""
    value = getattr(t, "_value", None)
    if value is not None:  # a batch: what is the same for all samples may have left history in it
        inner = closed(value, own, recorded)
        if inner is not value:
            t = twin(t)
            t._value = inner
    if t._tangents:
        vs = {k: closed(v, own, recorded) for k, v in t._tangents.items()}
        if any(v is not t._tangents[k] for k, v in vs.items()):
            t = twin(t)
            t._tangents = vs
    node = node_of(t)
    return t if node is None or (recorded and beyond([node], own)) else bare(t)


def _evaluated(op: Op, values: Any, level: int) -> tuple[Any, list[Any]]:
    """(an operator's results without history, their tangents): J v is the derivative of u -> u^T J."""
    from flambeau import autograd

    vs: list[Any] = []
    xs: list[Tensor] = []

    def fresh(t: Tensor) -> Tensor:
        v = tangent(t, level)
        x = primal(t, level)
        if not before:
            x = bare(x)
        if v is not None:
            x = variable(x)
            vs.append(v)
            xs.append(x)
        return x

    before, STATE.grad = STATE.grad, True
    try:
        given = mapped(op, values, fresh)
        result = call.general(op, given)
        outs = list(result) if isinstance(result, (tuple, list)) else [result]
        live = [i for i, o in enumerate(outs) if isinstance(o, Tensor) and node_of(o) is not None]
        found: list[Any] = [None] * len(outs)
        own = {n for x in xs if (n := node_of(x)) is not None}
        if live:
            us = [variable(bare(outs[i]).new_ones(outs[i].shape)) for i in live]
            own |= {n for u in us if (n := node_of(u)) is not None}
            gs = autograd.grad([outs[i] for i in live], xs, us, create_graph=True, allow_unused=True)
            pairs = [(g, v) for g, v in zip(gs, vs, strict=True) if g is not None and node_of(g) is not None]
            if pairs:
                ts = autograd.grad(
                    [g for g, _ in pairs], us, [v for _, v in pairs], create_graph=True, allow_unused=True
                )
                for i, t in zip(live, ts, strict=True):
                    found[i] = t if t is None else _apart(closed(t, own, before), vs)
    finally:
        STATE.grad = before
    if isinstance(result, Tensor):
        return bare(closed(result, own, False)), found
    bared = [bare(closed(o, own, False)) if isinstance(o, Tensor) else o for o in outs]
    return (
        bared if isinstance(result, list) else type(result)(*bared) if hasattr(result, "_fields") else tuple(bared)
    ), found


def _apart(t: Any, vs: list[Any]) -> Any:
    """t in memory of its own: a write to the result also writes to its tangent, and must not reach those it was made of."""

    def memory(x: Any) -> Any:
        while (inner := getattr(x, "_value", None)) is not None:
            x = inner
        return x._a

    at = memory(t)
    shared = any(t is v or (isinstance(at, np.ndarray) and np.may_share_memory(at, memory(v))) for v in vs)
    return t.clone() if shared else t


# ---------------------------------------------------------------- calls that are no operators


def _method(fn: Any, args: Any, kwargs: Any) -> Any:
    """`x[i]` and `x[i] = y` of dual tensors."""
    name = getattr(fn, "__name__", "").strip("_")
    if not LEVELS.open or name not in ("getitem", "setitem"):
        return NotImplemented
    return (
        through_operators(name, *args) if any(isinstance(a, Tensor) and levels_of(a) for a in args) else NotImplemented
    )


def _applied(cls: Any, args: Any) -> Any:
    """A user's Function on dual tensors, by its own `jvp`."""
    from flambeau.autograd.function import called

    levels = [k for a in args if isinstance(a, Tensor) for k in levels_of(a)]
    if not levels:
        return NotImplemented
    level = max(levels)
    before, LEVELS.open = LEVELS.open, tuple(k for k in LEVELS.open if k != level)
    try:  # in here the tensors are not dual at this level, though what the node saves keeps its tangents
        vs = [tangent(a, level) if isinstance(a, Tensor) else None for a in args]
        node, result = called(cls, args)
        if node.materialize_grads:
            vs = [
                a.new_zeros(a.shape) if v is None and isinstance(a, Tensor) else v
                for a, v in zip(args, vs, strict=True)
            ]
        tangents = cls.jvp(node, *vs)
    finally:
        LEVELS.open = before
    outs = result if isinstance(result, (tuple, list)) else (result,)
    _give(result, tangents, level)
    for kind, saved, _ in node.saved or ():
        if kind.isdigit():
            saved._tangents = outs[int(kind)]._tangents
    return node, result


def _install() -> None:
    if _operator not in overrides.EXTRA:
        overrides.EXTRA.insert(0, _operator)
        overrides.EXTRA_METHODS.insert(0, _method)
        from flambeau.autograd.function import APPLIED

        APPLIED.append(_applied)

"""Calls recorded as expressions, so that many become one kernel: written derivatives, and composites with their gradients.

While a thread traces, tensors hold a `Stub` where others hold an array, and every operator that is called records its body
instead of running it; promotion, views and history are the eager ones. What cannot be recorded (a number read out of a tensor,
a library routine, a write in place) ends the trace, and the call then runs operator by operator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from flambeau._eager import bodies, call, large, promotion
from flambeau._eager.graph import AccumulateGrad, Node, execute, node_of, serial, unpack
from flambeau._eager.modes import STATE, enter, leave
from flambeau._eager.narrow import expressions
from flambeau._eager.record import class_name, fit_tensor, named, record
from flambeau._kernel.record import FOLD, Expr, Opaque, Record, cast, constant, expand, parameter, toposort
from flambeau._operators.op import Op
from flambeau._tensor import Tensor, new, wrap
from flambeau._values import dtype as dtypes
from flambeau._values.device import CPU
from flambeau._values.shape import contiguous_strides

RECORD = Record()
MOVES = frozenset(("param", "const", "expand", "reshape", "permute", "slice", "flip"))
SMALL = 8  # a reduction's result is kept for the backward pass if it is so many times smaller than the largest operand
Refused = (RuntimeError, ValueError, IndexError)  # what the operator says of bad arguments: it will say so again
_DENSE = np.empty(0).flags


class Stub:
    """Stands for an array that is only an expression."""

    torch_device, base = CPU, None
    __slots__ = ("dtype", "expr")

    def __init__(self, expr: Expr) -> None:
        self.expr, self.dtype = expr, expr.dtype.np

    shape = property(lambda self: self.expr.shape)
    ndim = property(lambda self: len(self.expr.shape))
    size = property(lambda self: prod(self.expr.shape))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    strides = property(lambda self: tuple(s * self.dtype.itemsize for s in contiguous_strides(self.shape)))
    flags = property(lambda self: _DENSE)


@contextlib.contextmanager
def tracing(grad: bool) -> Iterator[None]:
    """Calls in this thread are recorded, with history if `grad`."""
    before = STATE.grad, STATE.tracing
    STATE.grad, STATE.tracing = grad, True
    enter("trace")
    try:
        yield
    finally:
        leave("trace")
        STATE.grad, STATE.tracing = before


def trace(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """One call, recorded."""
    if out is not None or into:
        raise Opaque(op.name)
    if op.kind == "composite":
        result = bodies.call_body(op, op.body, (), values)
        return named(op)(result) if op.outputs and isinstance(result, tuple) else result
    given, meeting, common, how = promotion.meet(op, values)
    xs: list[Any] = []
    for i, (p, a) in enumerate(zip(op.params, given, strict=True)):
        if p.is_list:
            a = [_expr(x, common) for x in a]
        elif p.is_tensor and a is not None and (hasattr(a, "shape") or common is None or i not in meeting):
            a = _expr(a, common)
        xs.append(a)
    if common is not None:
        expressions(xs, meeting, common, how)
    r = bodies.call_body(op, op.body, (RECORD if how.steps is None else Record(how.steps),), tuple(xs))
    if isinstance(r, list):
        raise Opaque(op.name)
    outs = tuple(wrap(Stub(_narrowed(e, op, common))) for e in (r if isinstance(r, tuple) else (r,)))
    if STATE.grad and op.differentiable:
        record(op, outs, values)
    return named(op)(outs) if op.outputs else outs if isinstance(r, tuple) else outs[0]


call.HOOKS["trace"] = trace


def _narrowed(e: Any, op: Op, common: Any) -> Expr:
    if not isinstance(e, Expr):
        raise Opaque(op.name)
    return large.narrowed(e, op, common)


def _expr(a: Any, common: Any) -> Expr:
    """An operand: a stub's expression, or a constant."""
    if type(a) is Stub:
        return a.expr
    if isinstance(a, np.ndarray):
        if a.size != 1:
            raise Opaque("an array that is no operand")
        return expand(constant(a.item(), dtypes.of(a.dtype)), a.shape)
    return constant(a, common)


def _operand(x: Expr, wide: bool = True) -> Tensor:
    """A traced tensor; narrow floats are widened once, here."""
    narrow = wide and x.dtype.np in dtypes.NARROW
    return wrap(Stub(cast(x, dtypes.float32) if narrow else x))


# ---------------------------------------------------------------- written derivatives

_rules: dict[Any, Any] = {}
_MARK = Node()


class Rule:
    """The derivative of one node as a kernel of the gradients and of what the node saved."""

    def __init__(self, node: Any, gs: Sequence[Any], saved: Sequence[Any], single: bool) -> None:
        self.cls, self.single = type(node), single
        self.next = tuple(None if n is None else _MARK for n in node.next)
        self.into, self.metas, self.outs, self.listed = node.into, node.metas, node.outs, node.listed
        self.gs = tuple(g is not None for g in gs)
        self.saved = tuple(None if isinstance(v, Tensor) else (v,) for v in saved)
        self.where: list[int] = []
        self.kernel = large.Native(self.body, self.cls.__name__, formats=self.cls.op.formats)

    def body(self, *xs: Expr) -> Any:
        rest = iter(xs)
        node = new(self.cls)
        node.next, node.into, node.metas, node.outs, node.listed = (
            self.next,
            self.into,
            self.metas,
            self.outs,
            self.listed,
        )
        with refusing(), tracing(False):
            gs = [_operand(next(rest)) if there else self.zeros(nr) for nr, there in enumerate(self.gs)]
            node.saved = tuple(_operand(next(rest)) if v is None else v[0] for v in self.saved)
            node.versions = (-1,) * len(node.saved)
            found = node._run(gs[0] if self.single else gs, False)
            outs: list[Expr] = []
            self.where = []
            for i, (t, into) in enumerate(zip(found, self.into, strict=True)):
                if t is not None:
                    self.where.append(i)
                    outs.append(cast(_expr(fit_tensor(t, into)._a, None), dtypes.of(into[1])))
        if not outs or all(e.op in MOVES for e in toposort(*outs)):
            raise Opaque("a derivative that is a view")
        return tuple(outs)

    def zeros(self, nr: int) -> Any:
        meta = self.metas[nr] if self.metas else None
        return None if meta is None else wrap(Stub(expand(constant(0.0, dtypes.of(meta[1])), meta[0])))

    def __call__(self, arrays: Sequence[Any], count: int) -> Any:
        found = self.kernel(*arrays)
        if found is None:
            return None
        out: list[Any] = [None] * count
        for i, a in zip(self.where, found if isinstance(found, tuple) else (found,), strict=True):
            out[i] = a
        return out


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What goes wrong in a trace says that there is no kernel, nothing more: the eager call has the last word."""
    try:
        yield
    except Refused as problem:
        raise large.Refusal(str(problem)) from problem
    except AttributeError as problem:  # of a stub
        raise Opaque(str(problem)) from problem


def backward(node: Any, g: Any) -> Any:
    """The gradients of a large call's inputs, by one kernel; None where the written rules must run themselves."""
    single = type(g) is not list
    gs = [g] if single else g
    saved = unpack(node)
    arrays = [x for x in gs if x is not None] + [v._a for v in saved if isinstance(v, Tensor)]
    largest = 0
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype not in large.HELD:
            return None
        largest = max(largest, a.size)
    if largest < large.LARGE:
        return None
    statics = tuple(None if isinstance(v, Tensor) else (type(v), large.frozen(v)) for v in saved)
    try:
        key = (type(node), tuple(n is None for n in node.next), node.into, tuple(x is None for x in gs), single, node.listed, node.metas, statics)  # fmt: skip
        rule = _rules.get(key)
    except TypeError:
        return None
    if rule is None:
        if len(_rules) > 2048:
            _rules.clear()
        rule = _rules[key] = Rule(node, gs, saved, single)
    return rule(arrays, len(node.next))


# ---------------------------------------------------------------- composites


class Fused:
    """A composite over operands of one kind: its value as one kernel, its gradients as another.

    What the first leaves for the second are the operands and the results of reductions that are small.
    """

    def __init__(self, op: Op, statics: Sequence[Any], needs: Sequence[bool]) -> None:
        self.op, self.statics, self.needs = op, tuple(statics), tuple(needs)
        self.known: dict[tuple[Expr, ...], tuple[list[Expr], list[Expr]]] = {}
        self.kept: dict[tuple[Any, ...], list[bool]] = {}
        self.forward = large.Native(self.value, op.name, formats=op.formats)
        self.backward = large.Native(self.gradients, f"{op.name} backward", formats=op.formats)

    def traced(self, xs: tuple[Expr, ...]) -> tuple[list[Expr], list[Expr]]:
        """(value and what is kept, gradients of a parameter that follows the operands and what is kept)."""
        found = self.known.get(xs)
        if found is None:
            if len(self.known) > 256:
                self.known.clear()
            found = self.known[xs] = self._traced(xs)
        return found

    def _traced(self, xs: tuple[Expr, ...]) -> tuple[list[Expr], list[Expr]]:
        rest, need = iter(xs), iter(self.needs)
        with refusing(), tracing(any(self.needs)):
            values, wanted = [], []
            for v in self.statics:
                if v is None:
                    t = _operand(next(rest))
                    if next(need):
                        t._node = AccumulateGrad(t)
                        wanted.append(t)
                    values.append(t)
                else:
                    values.append(v[0])
            out = bodies.call_body(self.op, self.op.body, (), tuple(values))
            value = _expr(out._a, None)
            grads: list[Expr] = []
            kept: list[Expr] = []
            if wanted:
                g = parameter(len(xs), value.shape, value.dtype)
                targets: Any = {node_of(t): {0: None} for t in wanted}
                execute([(node_of(out), out._nr, wrap(Stub(g)))], True, True, targets)  # type: ignore[list-item]
                grads = [_gradient(targets[node_of(t)][0], t) for t in wanted]
        narrow = next((x.dtype for x in xs if x.dtype.np in dtypes.NARROW), None)
        if grads:
            most = max(prod(x.shape) for x in xs)
            below, later = set(toposort(value)), toposort(*grads)
            kept = [e for e in later if e in below and e.op in FOLD and prod(e.shape) * SMALL <= most]
            stop = {x: i for i, x in enumerate((*xs, *kept))} | {g: len(xs) + len(kept)}
            fresh = parameter(len(xs) + len(kept), value.shape, narrow or value.dtype)
            grads = replaced(grads, {e: fresh if e is g else parameter(i, e.shape, e.dtype) for e, i in stop.items()})
            floats = [x for x, need in zip(xs, self.needs, strict=True) if need]
            grads = [cast(e, x.dtype) for e, x in zip(grads, floats, strict=True)]
        value = cast(value, narrow) if narrow is not None and value.dtype is dtypes.float32 else value
        return [value, *kept], grads

    def value(self, *xs: Expr) -> Any:
        return tuple(self.traced(xs)[0])

    def gradients(self, *xs: Expr) -> Any:
        return tuple(self.traced(xs[: len(self.needs)])[1])

    def __call__(self, values: tuple[Any, ...], tensors: list[Tensor], arrays: list[Any]) -> Any:
        found = self.forward(*arrays)
        if found is None:
            return None
        outs = found if isinstance(found, tuple) else (found,)
        out = wrap(outs[0])
        if any(self.needs):
            node = new(self.node())
            node.next = tuple(node_of(t) if n else None for t, n in zip(tensors, self.needs, strict=True))
            nrs = tuple(t._nr for t in tensors)
            if any(nrs):
                node.nrs = nrs
            node.fused, node.values, node.seq = self, values, next(serial)
            node.saved = (*tensors, *(wrap(a) for a in outs[1:]))
            node.versions = (*(0 if t._vc is None else t._vc[0] for t in tensors), *(-1 for _ in outs[1:]))
            out._node = node
        return out

    def node(self) -> Any:
        found = _nodes.get(self.op)
        if found is None:
            found = _nodes[self.op] = type(class_name(self.op), (FusedNode,), {})
        return found


def _gradient(t: Any, like: Tensor) -> Expr:
    if t is None:
        return expand(constant(0.0, like.dtype), like._a.shape)
    return _expr(fit_tensor(t, (like._a.shape, like._a.dtype))._a, None)


def replaced(roots: Sequence[Expr], by: dict[Expr, Expr]) -> list[Expr]:
    """The same expressions over other leaves."""
    done = dict(by)
    stack = [(r, False) for r in roots]
    while stack:
        e, ready = stack.pop()
        if e in done:
            continue
        if ready:
            done[e] = Expr(e.op, tuple(done[s] for s in e.src), e.arg, e.shape, e.dtype) if e.src else e
        else:
            stack.append((e, True))
            stack += [(s, False) for s in e.src]
    return [done[r] for r in roots]


_nodes: dict[Op, Any] = {}
_fused: dict[Any, Fused] = {}


class FusedNode(Node):
    """A composite that ran as one kernel. A derivative that is itself recorded runs the composite again, operator by operator."""

    fused: Fused
    values: tuple[Any, ...]

    def arrays(self, g: Any) -> Sequence[Any]:
        saved = unpack(self)
        found = self.fused.backward(*(t._a for t in saved), np.asarray(g))
        if found is None:
            return [None if t is None else t._a for t in self._again(wrap(g), False)]
        rest = iter(found if isinstance(found, tuple) else (found,))
        return [next(rest) if n is not None else None for n in self.next]

    def tensors(self, g: Any) -> Sequence[Any]:
        return self._again(g, True)

    def _again(self, g: Any, create: bool) -> list[Any]:
        tensors = iter(unpack(self))
        given = [next(tensors) if isinstance(v, Tensor) else v for v in self.values]
        if not create:
            given = [_leaf(t) if isinstance(t, Tensor) else t for t in given]
        before, STATE.grad = STATE.grad, True
        try:
            out = bodies.call_body(self.fused.op, self.fused.op.body, (), tuple(given))
            wanted = [
                t for t, n in zip((t for t in given if isinstance(t, Tensor)), self.next, strict=True) if n is not None
            ]
            targets: Any = {}
            for t in wanted:
                targets.setdefault(node_of(t), {})[t._nr] = None
            execute([(node_of(out), out._nr, g if create else g._a)], True, create, targets, before)  # type: ignore[list-item]
        finally:
            STATE.grad = before
        rest = iter(targets[node_of(t)][t._nr] for t in wanted)
        found = [next(rest) if n is not None else None for n in self.next]
        return found if create else [None if x is None else wrap(x) if isinstance(x, np.ndarray) else x for x in found]

    def release(self) -> None:
        super().release()
        self.values = ()


def _leaf(t: Tensor) -> Tensor:
    made = wrap(t._a)
    if t._a.dtype.kind in "fV":
        made._node = AccumulateGrad(made)
    return made


def composite(op: Op, values: tuple[Any, ...]) -> Any:
    """A composite on large tensors as one kernel; None where it must run operator by operator."""
    if STATE.saved_hooks or STATE.anomaly or STATE.inference or STATE.tracing:
        return None
    tensors: list[Tensor] = []
    statics: list[Any] = []
    largest, floating = 0, None
    for p, v in zip(op.params, values, strict=True):
        if isinstance(v, Tensor):
            a = v._a
            if not p.is_tensor or type(a) is not np.ndarray or a.dtype not in large.HELD:
                return None
            if a.dtype.kind in "fV":
                if floating is not None and a.dtype is not floating:
                    return None
                floating = a.dtype
            tensors.append(v)
            statics.append(None)
            largest = max(largest, a.size)
        else:
            statics.append((large.frozen(v),))
    if largest < large.LARGE or floating is None:
        return None
    needs = tuple(
        STATE.grad
        and t._a.dtype is floating
        and (t._node is not None or t._base is not None)
        and node_of(t) is not None
        for t in tensors
    )
    try:
        key = (op, tuple(s and (type(s[0]), s[0]) for s in statics), needs)
        found = _fused.get(key)
    except TypeError:
        return None
    if found is None:
        if len(_fused) > 1024:
            _fused.clear()
        found = _fused[key] = Fused(op, statics, needs)
    if op.check is not None:
        op.check(**{p.name: v for p, v in zip(op.params, values, strict=True)})
    return found(values, tensors, [t._a for t in tensors])

"""Steps that have kernels of their own: products and windows, as launches. Those without one run on the array library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flambeau._backends.cpu import attention, attention_backward, compile, library, recurrent, recurrent_plan, scatter
from flambeau._backends.cpu.arrays import K as ARRAYS
from flambeau._backends.cpu.conv_plan import forward_plan, transposed_plan
from flambeau._backends.cpu.conv_weight import weight_plan
from flambeau._backends.cpu.launch import ARG, CONST, GATE, OUT, TEMP, Launch, Plan, Result, bits
from flambeau._backends.cpu.matmul import matmul_plan
from flambeau._backends.cpu.pool import max_pool_plan
from flambeau._capture.expressions import K, Step
from flambeau._capture.place import Strided
from flambeau._kernel.fuse import fuse
from flambeau._kernel.loops import Layout
from flambeau._kernel.record import parameter
from flambeau._values.dtype import BY_NAME
from flambeau._values.shape import contiguous_strides


def plan(step: Step, operands: Sequence[Strided]) -> Plan | None:
    """The launches of a step for operands like these; None where there are none."""
    if step.kind == "gate":
        return Plan((), (Launch(GATE, ((ARG, 0),)),))
    if step.kind == "call" or any(0 in s.shape for s in operands) or any(0 in o.expr.shape for o in step.outs):
        return None
    arrays = [stand_in(s) for s in operands]
    made = _make(step, arrays)
    if made is None or not all(_lies(r, o.layout) for r, o in zip(made.results, step.outs, strict=True)):
        return None
    return made


def _lies(made: Result, layout: Layout) -> bool:
    """Whether a result lies as the program believes."""
    if made.strides is None:
        return tuple(layout.strides) == contiguous_strides(layout.shape)
    return made.strides == tuple(s * made.dtype.itemsize for s in layout.strides)


def _make(step: Step, xs: list[Any]) -> Plan | None:
    if step.kind == "product":
        plus = xs[2] if len(xs) > 2 else None
        return matmul_plan(xs[0], xs[1], plus, finish=step.params.get("finish"))
    p = step.params
    if step.target in ("add_rows", "add_places"):
        return _added(step, *xs)
    if step.target == "join":
        return _joined(step, xs)
    if step.target in ("attention", "attention_backward"):
        return _attending(step, xs)
    if step.target in ("recurrent_layer", "recurrent_backward"):
        return _walking(step, xs)
    how: tuple[Any, Any, Any] = (tuple(p["stride"]), tuple(p["padding"]), tuple(p["dilation"]))
    match step.target:
        case "conv_forward":
            return forward_plan(xs[0], xs[1], xs[2] if len(xs) > 2 else None, *how, p["groups"])
        case "conv_input":
            bias = xs[2] if len(xs) > 2 else None
            return transposed_plan(xs[0], xs[1], bias, tuple(p["size"][2:]), *how, p["groups"])
        case "conv_weight":
            return weight_plan(xs[0], xs[1], tuple(p["size"]), *how, p["groups"])
        case "max_pool":
            return max_pool_plan(xs[0], p["size"], *how, p["out"])
    return None


def _attending(step: Step, xs: list[Any]) -> Plan | None:
    """Attention or its derivative: the scale is a constant, and a mask is the last operand."""
    causal, fixed = step.params["causal"], 3 if step.target == "attention" else 6
    mask = xs[fixed] if len(xs) > fixed else None
    if fixed == 3:
        steps = tuple(s * xs[0].itemsize for s in step.outs[0].layout.strides)
        made = attention.forward_plan(xs[0], xs[1], xs[2], mask, causal, steps)
    else:
        joined = step.params.get("joined", False)
        made = attention_backward.backward_plan(xs[0], xs[1], xs[2], xs[3], xs[4], xs[5], mask, causal, joined)
    if made is None:
        return None
    swap: dict[tuple[int, ...], tuple[int, ...]] = {
        (ARG, fixed): (CONST, bits(step.params["scale"])),
        (ARG, fixed + 1): (ARG, fixed),
    }
    launches = (replace(w, slots=tuple(swap.get(s, s) for s in w.slots)) for w in made.launches)
    return replace(made, launches=tuple(launches))


def absent(kind: str) -> tuple[int, ...]:
    """Operands of a recurrent layer's derivative that have no elements: what it need not know, and cells."""
    return tuple(n for n, there in ((4, recurrent.SAVED[kind] > 0), (5, kind == "lstm")) if not there)


def _with_absent(step: Step, xs: Sequence[Any]) -> list[Any]:
    """All operands of a recurrent layer or its derivative."""
    given = list(xs)
    for n in absent(step.params["kind"]) if step.target == "recurrent_backward" else ():
        given.insert(n, np.empty((len(xs[0]), 0), xs[0].dtype))
    return given


def _walking(step: Step, xs: Sequence[Any]) -> Plan | None:
    """A recurrent layer or its derivative, of operands in C order: what lies otherwise is copied. Results without elements are left out."""
    p = step.params
    dense = [x if x.flags.c_contiguous else np.empty(x.shape, x.dtype) for x in xs]
    given = _with_absent(step, dense)
    if step.target == "recurrent_layer":
        made = recurrent_plan.layer_plan(p["kind"], p["times"], p["reverse"], p["keep"], *given)
    else:
        made = recurrent_plan.backward_plan(p["kind"], p["times"], p["reverse"], *given)
    if made is None:
        return None
    at = [n for n, x in enumerate(given) if x.size]
    to: dict[tuple[int, ...], tuple[int, ...]] = {(ARG, n): (ARG, k) for k, n in enumerate(at)}
    to |= {(ARG, n): (CONST, 0) for n, x in enumerate(given) if not x.size}
    before: list[Launch] = []
    keep: list[Any] = [made.keep]
    temp = made.temp
    for k, (x, y) in enumerate(zip(xs, dense, strict=True)):
        if x is not y:
            layout = Layout.dense(x.dtype.name, x.shape)
            copy = compile.plan(fuse([parameter(0, x.shape, BY_NAME[x.dtype.name])], {0: compile.layout(x)}, [layout]), [layout])  # type: ignore[arg-type]  # fmt: skip
            start = temp + 63 & -64
            to[(ARG, at[k])] = (TEMP, start)
            before += recurrent_plan.moved(copy.launches, {(ARG, 0): (ARG, k), (OUT, 0): (TEMP, start)}, start)
            keep.append(copy.keep)
            temp = start + y.nbytes
    there = [n for n, r in enumerate(made.results) if 0 not in r.shape]
    to |= {(OUT, n): (OUT, there.index(n)) if n in there else (CONST, 0) for n in range(len(made.results))}
    launches = (*before, *recurrent_plan.moved(made.launches, to))
    return replace(made, results=tuple(made.results[n] for n in there), launches=launches, temp=temp, keep=tuple(keep))


def _walked(step: Step, routine: Any) -> Any:
    """The same by the library."""
    p = step.params
    how = {name: p[name] for name in ("kind", "reverse", "keep") if name in p}

    def run(*xs: Any) -> list[Any]:
        sizes = (len(xs[1]),) * p["times"]
        return [x for x in routine(*_with_absent(step, xs), sizes=sizes, **how) if x.size]

    return run


def _joined(step: Step, xs: list[Any]) -> Plan | None:
    """Each array copied into its part of the result."""
    out, dim, start = step.outs[0], step.params["dim"], 0
    launches: list[Any] = []
    keep: list[Any] = []
    for n, x in enumerate(xs):
        to = Layout(out.layout.dtype, x.shape, out.layout.strides)
        e = parameter(n, x.shape, out.expr.dtype)
        made = compile.plan(fuse([e], {n: compile.layout(x)}, [to]), [to])  # type: ignore[arg-type]
        offset = start * out.layout.strides[dim] * x.itemsize
        launches += [
            replace(w, slots=tuple((OUT, 0, offset) if s[:2] == (OUT, 0) else s for s in w.slots))
            for w in made.launches
        ]
        keep.append(made.keep)
        start += x.shape[dim]
    return Plan((Result(out.expr.dtype.np, out.expr.shape),), tuple(launches), keep=tuple(keep))


def _added(step: Step, g: Any, index: Any) -> Plan | None:
    """Zeros, and then every element of g added in its place: a row that index names, or a place in the line."""
    out = step.outs[0].expr
    size, n = g.itemsize, index.itemsize
    if step.target == "add_rows":
        width = g.shape[1]
        shape, xs, ys = g.shape, (0, 1), (g.strides[0] // size, g.strides[1] // size)
        place = scatter.Index(index.dtype, (index.strides[0] // n, 0), out.shape[0], width, index.size)
    else:
        cells = out.shape[1]
        shape, xs, ys = g.shape, (cells, 0), tuple(t // size for t in g.strides)
        place = scatter.Index(index.dtype, tuple(t // n for t in index.strides), cells, 1, index.size)
    into = np.lib.stride_tricks.as_strided(np.zeros(1, g.dtype), out.shape, (out.shape[1] * size, size))
    made = scatter.write_plan(into, g, shape, xs, ys, [place], "add", False)
    if made is None:
        return None
    layout = Layout.dense(out.dtype.name, out.shape)
    zeros = compile.plan(fuse([K.full(out.shape, 0, out.dtype)], {}, [layout]), [layout])  # type: ignore[arg-type]  # fmt: skip
    swap: dict[tuple[int, ...], tuple[int, ...]] = {
        (ARG, 0): (OUT, 0),
        (OUT, 0): (OUT, 1),
        (ARG, 1): (ARG, 0),
        (ARG, 2): (ARG, 1),
    }
    moved = [replace(x, slots=tuple((*swap.get(tuple(s[:2]), s[:2]), *s[2:]) for s in x.slots)) for x in made.launches]
    results = (Result(g.dtype, out.shape), *made.results)
    return replace(made, results=results, launches=(*zeros.launches, *moved), written=(), keep=(made.keep, zeros.keep))


def stand_in(s: Strided) -> Any:
    """An array of a view's shape, strides and dtype, whose elements are never read."""
    cell = np.zeros(1, s.core.dtype.np)
    return np.lib.stride_tricks.as_strided(cell, s.shape, tuple(t * cell.itemsize for t in s.strides))


def by_library(step: Step) -> Any:
    """The step as a function of arrays."""
    if step.kind == "product":
        return lambda x, y, *other: _finished(np.matmul(x, y), other, step.params.get("finish"))
    if step.target in ("add_rows", "add_places"):
        return lambda g, index: _add(step, g, index)
    if step.target == "join":
        return lambda *xs: np.concatenate(xs, step.params["dim"])
    if step.target == "conv_weight":
        return lambda x, g: library.find("conv_weight")(g, x, **step.params)
    routine = library.find(step.target)
    if step.target in ("recurrent_layer", "recurrent_backward"):
        return _walked(step, routine)
    if step.target in ("attention", "attention_backward"):
        fixed, params = 3 if step.target == "attention" else 6, dict(step.params)
        if params.pop("joined", False):
            whole = lambda x: x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)
            return lambda *xs: np.concatenate([*map(whole, routine(*xs, *(None,) * (7 - len(xs)), **params))], 2)
        return lambda *xs: routine(*xs, *(None,) * (fixed + 1 - len(xs)), **params)
    return lambda *xs: routine(*xs, **step.params)


def _finished(x: Any, other: Sequence[Any], finish: Any) -> Any:
    """A product with what is done to it: another array is added, or words say what."""
    if finish is None:
        return np.add(x, *other) if other else x
    given, values = (x, *other), list[Any]()
    for op, src, arg, d in finish:
        xs = [values[n] for n in src]
        if op == "param":
            values.append(ARRAYS.cast(given[arg], BY_NAME[d]))
        elif op == "const":
            values.append(ARRAYS.full((), arg, BY_NAME[d]))
        elif op == "cast":
            values.append(ARRAYS.cast(xs[0], BY_NAME[d]))
        else:
            values.append(getattr(ARRAYS, op)(*xs, *([] if arg is None else [arg])))
    return values[-1]


def _add(step: Step, g: Any, index: Any) -> tuple[Any, Any]:
    out = np.zeros(step.outs[0].expr.shape, g.dtype)
    at = (index,) if step.target == "add_rows" else (np.arange(g.shape[0])[:, None], index)
    np.add.at(out, at, g)
    return out, np.zeros(1, np.int64)

"""A recurrent layer whole, forward or backward, as one plan: the walk over time, the last states, and gradients of the weights.

For batches whose sequences are all as long: `times` steps of them. What differs in length is put together in `library_recurrent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flambeau._backends.cpu import recurrent, recurrent_steps
from flambeau._backends.cpu.copies import rows_launch
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, c_strides, planned
from flambeau._backends.cpu.matmul import matmul_plan

Array = np.ndarray[Any, Any]
Slot = tuple[int, ...]


def moved(launches: Sequence[Launch], to: Mapping[Slot, Slot], temp: int = 0) -> tuple[Launch, ...]:
    """Launches whose operands lie elsewhere, and whose temporary memory begins at `temp`."""

    def slot(source: int, value: int, *offset: int) -> Slot:
        if source == TEMP:
            return (TEMP, value + temp, *offset)
        there = to.get((source, value), (source, value))
        return (*there[:2], sum(there[2:]) + sum(offset))

    return tuple(replace(x, slots=tuple(slot(*s) for s in x.slots)) for x in launches)


def layer_plan(kind: str, times: int, reverse: bool, keep: bool, x: Array, h0: Array, c0: Array, weight: Array, bias: Array) -> Plan | None:  # fmt: skip
    """States, the last ones, the last cells, what the derivative needs, and all cells; the last two are empty unless `keep`."""
    given = (kind, x, h0, c0, weight, bias, times, reverse, keep)
    walk = recurrent_steps.forward_plan(*given) or recurrent.forward_plan(*given)
    if walk is None:
        return None
    (states, saved, cells), batch, d = walk.results, len(h0), x.dtype
    last = Result(d, (batch, cells.shape[1]))
    results = (states, Result(d, h0.shape), last, saved, cells if keep else Result(d, (0, 0)))
    counts, starts = places(batch, times)
    to: dict[Slot, Slot] = {(ARG, 5): (CONST, counts.ctypes.data), (ARG, 6): (CONST, starts.ctypes.data), (OUT, 1): (OUT, 3), (OUT, 2): (OUT, 4 if keep else 2)}  # fmt: skip
    launches = list(moved(walk.launches, to))
    at = 0 if reverse else len(x) - batch
    for n, source in ((1, 0), (2, 4)) if keep else ((1, 0),):
        if results[n].shape[1]:
            launches.append(copied(results[n], (OUT, n), (OUT, source, at * results[n].shape[1] * d.itemsize)))
    return Plan(results, tuple(launches), walk.temp, True, keep=(walk.keep, counts, starts))


def backward_plan(kind: str, times: int, reverse: bool, g: Array, gh: Array, gc: Array, out: Array, saved: Array, cells: Array,
                  h0: Array, c0: Array, weight: Array) -> Plan | None:  # fmt: skip
    """Gradients of the rows of sums, of the first states and cells, of the weight and the bias."""
    given = (kind, g, gh, gc, out, saved, cells, h0, c0, weight, times, reverse)
    walk = recurrent_steps.backward_plan(*given) or recurrent.backward_plan(*given)
    if walk is None:
        return None
    dx, sums, dh0, dc0 = walk.results
    (rows, units), batch, item = out.shape, len(h0), g.itemsize
    # once panels have been read, the states before each step lie where they lay
    size = lambda shape: int(np.prod(shape)) * item + 63 & -64
    after = size(out.shape)
    here: Slot = (OUT, 0)
    if kind == "gru":
        after = max(after, walk.temp)
        here, after = (TEMP, after), after + size(sums.shape)
    counts, starts = places(batch, times)
    to: dict[Slot, Slot] = {(ARG, 9): (CONST, counts.ctypes.data), (ARG, 10): (CONST, starts.ctypes.data), (OUT, 1): here, (OUT, 2): (OUT, 1), (OUT, 3): (OUT, 2)}  # fmt: skip
    launches = list(moved(walk.launches, to))
    early, step = (rows - batch) * units * item, batch * units * item  # bytes of all steps but one, and of one
    first, others = ((TEMP, early), (TEMP, 0)) if reverse else ((TEMP, 0), (TEMP, step))
    launches.append(copied(Result(g.dtype, h0.shape), first, (ARG, 6)))
    if times > 1:
        source = (ARG, 3, step) if reverse else (ARG, 3)
        launches.append(copied(Result(g.dtype, (rows - batch, units)), others, source))
    ones = np.ones((1, rows), g.dtype)
    d = stand_in(sums)
    by_weight, by_bias = matmul_plan(d.T, stand_in(Result(g.dtype, out.shape))), matmul_plan(ones, d)
    if by_weight is None or by_bias is None:
        return None
    launches += moved(by_weight.launches, {(ARG, 0): here, (ARG, 1): (TEMP, 0), (OUT, 0): (OUT, 3)}, after)
    launches += moved(
        by_bias.launches, {(ARG, 0): (CONST, ones.ctypes.data), (ARG, 1): here, (OUT, 0): (OUT, 4)}, after
    )
    temp = max(walk.temp, after + max(by_weight.temp, by_bias.temp))
    results = (
        dx if kind == "gru" else sums,
        dh0,
        dc0,
        Result(g.dtype, weight.shape),
        Result(g.dtype, weight.shape[:1]),
    )
    keep = (walk.keep, by_weight.keep, by_bias.keep, counts, starts, ones)
    return Plan(results, tuple(launches), temp, True, keep=keep)


def places(batch: int, times: int) -> tuple[Array, Array]:
    """How many rows each time has, and where they start."""
    return np.full(times, batch, np.int64), np.arange(times, dtype=np.int64) * batch


def copied(what: Result, to: Slot, source: Slot) -> Launch:
    """A copy of an array in C order, as one line."""
    line = stand_in(Result(np.dtype("u1"), (int(np.prod(what.shape)) * what.dtype.itemsize,)))
    launch = rows_launch(line, line, to, source)  # type: ignore[arg-type]
    assert launch is not None
    return launch


def stand_in(r: Result) -> Array:
    """An array like a result, whose elements are never read."""
    return np.lib.stride_tricks.as_strided(np.zeros(1, r.dtype), r.shape, c_strides(r))


def layer(kind: str, times: int, reverse: bool, keep: bool, *arrays: Array) -> Any:
    """`layer_plan`, carried out; None where there is none."""
    make = lambda: layer_plan(kind, times, reverse, keep, *arrays)
    return planned(("recurrent layer", kind, times, reverse, keep), arrays, make)


def backward(kind: str, times: int, reverse: bool, *arrays: Array) -> Any:
    """`backward_plan`, carried out; None where there is none."""
    make = lambda: backward_plan(kind, times, reverse, *arrays)
    return planned(("recurrent layer backward", kind, times, reverse), arrays, make)

"""Recurrent layers over all times, by the generated kernel where there is one, else step by step in NumPy.

Rows are those of packed sequences: `sizes[t]` at time t, longest sequences first; a plain batch has the same number each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.library_math import ones
from flambeau._backends.cpu.library_product import native, product

Sizes = tuple[int, ...]
NATIVE = "fd"  # the kinds of numbers that kernels know


@lru_cache(256)
def _places(sizes: Sizes) -> tuple[Any, Any]:
    """sizes, and where the rows of each time start."""
    counts = np.array(sizes, np.int64)
    return counts, np.cumsum(counts) - counts


def _prior(states: Any, first: Any, sizes: Sizes, reverse: bool) -> Any:
    """Of each row, the state before its step."""
    batch = sizes[0]
    if sizes[-1] == batch:
        return np.concatenate((states[batch:], first) if reverse else (first, states[: len(states) - batch]))
    counts, starts = _places(sizes)
    out = np.empty_like(states)
    for t, n in enumerate(sizes):
        p = t + 1 if reverse else t - 1
        old = min(n, sizes[p]) if 0 <= p < len(sizes) else 0
        at = starts[t]
        out[at : at + old] = states[starts[p] : starts[p] + old] if old else states[:0]
        out[at + old : at + n] = first[old:n]
    return out


def _last(states: Any, sizes: Sizes, reverse: bool) -> Any:
    """The state of each sequence after its last step."""
    batch = sizes[0]
    if reverse:
        return states[:batch].copy()
    if sizes[-1] == batch:
        return states[len(states) - batch :].copy()
    counts, starts = _places(sizes)
    length = (counts[:, None] > np.arange(batch)).sum(0)  # of each sequence
    return states[starts[length - 1] + np.arange(batch)]


def recurrent_layer(
    x: Any, h0: Any, c0: Any, weight: Any, bias: Any, *, kind: str, sizes: Sizes, reverse: bool, keep: bool = True
) -> tuple[Any, ...]:
    """(hidden states, final hidden, final cell, what the derivative needs, cell states) from rows x of gates' sums.

    The last two are empty unless `keep`.
    """
    x, h0, c0, weight, bias = (np.ascontiguousarray(a) for a in (x, h0, c0, weight, bias))
    out = None
    if x.dtype.char in NATIVE and native():
        if sizes[-1] == sizes[0]:
            from flambeau._backends.cpu.recurrent_plan import layer

            whole: tuple[Any, ...] | None = layer(kind, len(sizes), reverse, keep, x, h0, c0, weight, bias)
            if whole is not None:
                return whole
        from flambeau._backends.cpu.recurrent import forward

        out = forward(kind, x, h0, c0, weight, bias, *_places(sizes), reverse, keep)
    states, saved, cells = _forward(kind, x, h0, c0, weight, bias, sizes, reverse, keep) if out is None else out
    last = _last(states, sizes, reverse)
    return (
        (states, last, _last(cells, sizes, reverse), saved, cells)
        if keep
        else (states, last, cells, saved, saved[:0].copy())
    )


def recurrent_backward(g: Any, gh: Any, gc: Any, out: Any, saved: Any, cells: Any, h0: Any, c0: Any, weight: Any, *, kind: str,
                       sizes: Sizes, reverse: bool) -> tuple[Any, ...]:  # fmt: skip
    """Gradients of x, h0, c0, weight and bias."""
    g, gh, gc, h0, c0, weight = (np.ascontiguousarray(a) for a in (g, gh, gc, h0, c0, weight))
    found = None
    if g.dtype.char in NATIVE and native():
        if sizes[-1] == sizes[0]:
            from flambeau._backends.cpu.recurrent_plan import backward as whole

            grads: tuple[Any, ...] | None = whole(
                kind, len(sizes), reverse, g, gh, gc, out, saved, cells, h0, c0, weight
            )
            if grads is not None:
                return grads
        from flambeau._backends.cpu.recurrent import backward

        found = backward(kind, g, gh, gc, out, saved, cells, h0, c0, weight, *_places(sizes), reverse)
    if found is None:
        found = _backward(kind, g, gh, gc, out, saved, cells, h0, c0, weight, sizes, reverse)
    dx, dsums, dh0, dc0 = found
    row = ones(len(dsums), dsums.dtype)[None]
    return dx, dh0, dc0, product(dsums.T, _prior(out, h0, sizes, reverse)), product(row, dsums)[0]


def _steps(sizes: Sizes, reverse: bool) -> Iterator[tuple[slice, slice, int, int]]:
    """In order of the walk: the rows of a step, those of the step before that go on, how many these are, and all."""
    _, starts = _places(sizes)
    times = range(len(sizes))
    for t in reversed(times) if reverse else times:
        p = t + 1 if reverse else t - 1
        old = min(sizes[t], sizes[p]) if 0 <= p < len(sizes) else 0
        before = starts[p] if old else 0
        yield slice(starts[t], starts[t] + sizes[t]), slice(before, before + old), old, sizes[t]


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _forward(
    kind: str, x: Any, h0: Any, c0: Any, weight: Any, bias: Any, sizes: Sizes, reverse: bool, keep: bool = True
) -> tuple[Any, Any, Any]:
    """States, what the derivative needs, and cells: of all times, or with nothing to `keep` no gates and the last cells."""
    units = weight.shape[1]
    out = np.empty((len(x), units), x.dtype)
    saved = np.empty((len(x), units * (4 if kind in ("lstm", "gru") else 0)), x.dtype)
    cells = np.empty((len(x), units if kind == "lstm" else 0), x.dtype)
    for now, before, old, n in _steps(sizes, reverse):
        h = np.concatenate((out[before], h0[old:n]))
        fed = h @ weight.T + bias
        if kind == "lstm":
            i, f, c, o = np.split(x[now] + fed, 4, 1)
            i, f, c, o = _sigmoid(i), _sigmoid(f), np.tanh(c), _sigmoid(o)
            saved[now] = np.concatenate((i, f, c, o), 1)
            cells[now] = f * np.concatenate((cells[before], c0[old:n])) + i * c
            out[now] = o * np.tanh(cells[now])
        elif kind == "gru":
            (r, z, c), (rf, zf, cf) = np.split(x[now], 3, 1), np.split(fed, 3, 1)
            r, z = _sigmoid(r + rf), _sigmoid(z + zf)
            c = np.tanh(c + r * cf)
            saved[now] = np.concatenate((r, z, c, cf), 1)
            out[now] = c + z * (h - c)
        else:
            out[now] = np.tanh(x[now] + fed) if kind == "tanh" else np.maximum(x[now] + fed, 0)
    return (out, saved, cells) if keep else (out, saved[:, :0].copy(), _last(cells, sizes, reverse))


def _backward(kind: str, g: Any, gh: Any, gc: Any, out: Any, saved: Any, cells: Any, h0: Any, c0: Any, weight: Any, sizes: Sizes,
              reverse: bool) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    dx = np.empty((len(g), len(weight)), g.dtype)
    dsums = np.empty_like(dx) if kind == "gru" else dx
    dh, dc = gh.copy(), gc.copy()
    for now, before, old, n in reversed(list(_steps(sizes, reverse))):
        d, h = g[now] + dh[:n], np.concatenate((out[before], h0[old:n]))
        dh[:n] = 0
        if kind == "lstm":
            (i, f, c, o), t = np.split(saved[now], 4, 1), np.tanh(cells[now])
            e = dc[:n] + d * o * (1 - t * t)
            dc[:n] = e * f
            before_c = np.concatenate((cells[before], c0[old:n]))
            dx[now] = np.concatenate(
                (e * c * i * (1 - i), e * before_c * f * (1 - f), e * i * (1 - c * c), d * t * o * (1 - o)), 1
            )
        elif kind == "gru":
            r, z, c, fed = np.split(saved[now], 4, 1)
            dn = d * (1 - z) * (1 - c * c)
            first = dn * fed * r * (1 - r), d * (h - c) * z * (1 - z)
            dx[now], dsums[now] = np.concatenate((*first, dn), 1), np.concatenate((*first, dn * r), 1)
            dh[:n] = d * z
        else:
            y = out[now]
            dx[now] = d * (1 - y * y) if kind == "tanh" else np.where(y <= 0, 0, d)
        dh[:n] += dsums[now] @ weight
    return dx, dsums, dh, dc

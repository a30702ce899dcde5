"""Padding with the array itself: mirrored, its edge repeated, or wrapped around; and what that adds up to in a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu.casts import astype
from flambeau._backends.cpu.layouts import channels_last, laid, last_strides
from flambeau._backends.cpu.library_memory import write
from flambeau._backends.cpu.library_product import native
from flambeau._values.dtype import HALVES, element

Widths = Sequence[tuple[int, int]]
SMALL = 1 << 10  # elements of a result that is filled and then written to, sooner than each side by itself


def _sources(n: int, before: int, after: int, mode: str) -> list[tuple[slice, slice]]:
    """Of a padded dim: (cells before or after the array, cells of the array that they show)."""
    stop, out = before + n, []
    if before:
        shown = {
            "reflect": slice(2 * before, before, -1),
            "replicate": slice(before, before + 1),
            "circular": slice(n, n + before),
        }
        out.append((slice(0, before), shown[mode]))
    if after:
        low = stop - 2 - after
        shown = {
            "reflect": slice(stop - 2, low if low >= 0 else None, -1),
            "replicate": slice(stop - 1, stop),
            "circular": slice(before, before + after),
        }
        out.append((slice(stop, stop + after), shown[mode]))
    return out


def pad_constant(x: Any, *, widths: Widths, value: Any) -> Any:
    """x with cells of a value before and after each dim, or (negative widths) without its own; it lies as x does."""
    kept = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True))]
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
    out = np.empty(shape, x.dtype)
    if channels_last(x):
        out = np.lib.stride_tricks.as_strided(out, strides=last_strides(shape, x.itemsize))
    cell = np.asarray(element(value, x.dtype)).astype(x.dtype)
    where = [slice(max(a, 0), max(a, 0) + n) for n, (a, _) in zip(kept.shape, widths, strict=True)]
    if out.size < SMALL:
        out[...] = cell
        out[tuple(where)] = kept
        return out
    write(out[tuple(where)], kept)
    for d, n in enumerate(shape):  # of the first dims whole slabs; of later ones what is left beside the array
        for cells in (slice(0, where[d].start), slice(where[d].stop, n)):
            if cells.start < cells.stop:
                write(out[(*where[:d], cells)], cell)
    return out


def pad_edges(x: Any, *, widths: Widths, mode: str) -> Any:
    """x with cells before and after each dim, dim by dim, that show its own."""
    last = mode != "circular" and channels_last(x)
    if native():
        from flambeau._backends.cpu.edges import edges

        order = (0, *range(2, x.ndim), 1) if last else tuple(range(x.ndim))
        found = edges(x.transpose(order), [widths[d] for d in order], mode)
        if found is not None:
            return found.transpose(np.argsort(order)) if last else found
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
    out = np.empty(shape, x.dtype)
    if last:
        out = np.lib.stride_tricks.as_strided(out, strides=last_strides(shape, x.itemsize))
    where = [slice(a, a + n) for n, (a, _) in zip(x.shape, widths, strict=True)]
    write(out[tuple(where)], x)
    for d, (n, (before, after)) in enumerate(zip(x.shape, widths, strict=True)):
        for cells, shown in _sources(n, before, after, mode):
            place, source = [*where], [*where]
            place[d], source[d] = cells, shown
            out[tuple(place)] = out[tuple(source)]
        where[d] = slice(None)
    return out


def pad_edges_backward(g: Any, *, widths: Widths, mode: str) -> Any:
    """What reaches an array through its padding: each cell's own gradient and those of the cells that show it."""
    left = g.astype(np.float32 if g.dtype in HALVES else g.dtype)  # a copy, in the order of its memory
    for d in reversed(range(g.ndim)):
        before, after = widths[d]
        n = g.shape[d] - before - after
        lead = (slice(None),) * d
        for cells, shown in _sources(n, before, after, mode):
            more = left[(*lead, cells)]
            left[(*lead, shown)] += more.sum(d, keepdims=True) if mode == "replicate" else more
        left = left[(*lead, slice(before, before + n))]
    return laid(astype(np.ascontiguousarray(left), g.dtype), channels_last(g))

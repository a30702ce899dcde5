"""Sums of elements at given places, the same ones in every channel; a place below 0 is none (see `taps`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.cpu.casts import astype
from flambeau._backends.cpu.library_product import native
from flambeau._values.dtype import HALVES

LARGE = 1 << 11  # elements read from which it is a kernel


def _tapped(word: str, x: Any, place: Any, third: Any, cells: int) -> Any:
    """The kernel's result, or None; halves are summed in float32."""
    third = astype(third, x.dtype)
    if x.shape[1] * place.size < LARGE or not native():
        return None
    from flambeau._backends.cpu.taps import tapped

    return tapped(word, (x, place, third), cells)


def _wide(*xs: Any) -> Any:
    return tuple(astype(x, np.float32) if x.dtype in HALVES else x for x in xs)


def taps_read(x: Any, place: Any, weight: Any) -> Any:
    """(n, c, points) from x (n, c, cells): of each point the sum over its taps (n, taps, points)."""
    dtype = x.dtype
    x, weight = _wide(x, weight)
    out = _tapped("read", x, place, weight, x.shape[2])
    if out is None:
        out = np.zeros((*x.shape[:2], place.shape[2]), x.dtype)
        for t in range(place.shape[1]):
            out += _at(x, place[:, t]) * weight[:, t, None].astype(x.dtype, copy=False)
    return astype(out, dtype)


def taps_spread(g: Any, place: Any, weight: Any, *, cells: int) -> Any:
    """(n, c, cells): what each cell gives to g (n, c, points), in the order of points."""
    dtype = g.dtype
    g, weight = _wide(g, weight)
    out = _tapped("spread", g, place, weight, cells)
    if out is None:
        out = np.zeros((*g.shape[:2], cells), g.dtype)
        for n in range(g.shape[0]):
            taps, points = np.nonzero(place[n] >= 0)
            order = np.lexsort((taps, points))
            taps, points = taps[order], points[order]
            shares = g[n][:, points] * weight[n][taps, points].astype(g.dtype, copy=False)
            for c in range(g.shape[1]):
                np.add.at(out[n, c], place[n][taps, points], shares[c])
    return astype(out, dtype)


def taps_weigh(x: Any, place: Any, g: Any) -> Any:
    """(n, taps, points): over channels, the sum of g (n, c, points) times what each tap reads."""
    dtype = x.dtype
    x, g = _wide(x, g)
    out = _tapped("weigh", x, place, g, x.shape[2])
    if out is None:
        out = np.zeros(place.shape, x.dtype)
        for t in range(place.shape[1]):
            out[:, t] = (_at(x, place[:, t]) * g).sum(1)
    return astype(out, dtype)


def _at(x: Any, place: Any) -> Any:
    """x (n, c, cells) at places (n, points); 0 where there is none."""
    at = np.maximum(place, 0)[:, None]
    return np.where(place[:, None] >= 0, np.take_along_axis(x, np.broadcast_to(at, (*x.shape[:2], at.shape[2])), 2), 0)

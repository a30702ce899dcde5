"""Sums and small products whose additions come in PyTorch's order: the same numbers to the last bit.

The orders are those of PyTorch 2.13's x86-64 build on a processor with AVX-512, in one thread (docs/kernels.md says how they
were found). Each has a text in NumPy and a kernel in `sums.py`, of the same bits; the kernel takes over once the code
generator is loaded, or a process has made many such calls. What has neither here has the array library's order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._kernel.arrays import fma

Array = np.ndarray[Any, Any]
LINE = 64  # bytes of the lanes of a product
DENSE = 1 << 13  # elements: longer vectors are for threads, of which each would have a sum of its own
SIDE, ROWS = 4, 16  # of `total`, as in sums.py
SMALL = 400  # multiplications of two matrices of a batch below which PyTorch has loops of its own for them
FEW = 11  # columns up to which MKL's small products of float32 may sum in lanes
APART, HALVES, PAIRS = "apart", "halves", "pairs"


class Ordered:
    """A kernel; None is its answer while NumPy is to do it. `now`: it does not wait until it is worth it."""

    __slots__ = ("name", "off", "plan", "table")

    def __init__(self, name: str) -> None:
        self.name, self.off = name, False
        self.plan: Any = None
        self.table: Any = None

    def __call__(self, *args: Any, now: bool = False) -> Any:
        if self.table is None:
            from flambeau._backends.cpu.small import worth

            if self.off or not (now or worth()):
                return None
            from flambeau._backends.cpu.engine import available

            if not available():
                self.off = True
                return None
            from flambeau._backends.cpu import sums
            from flambeau._backends.cpu.launch import Table

            self.plan, self.table = getattr(sums, f"{self.name}_plan"), Table(self.name)
        out = self.table.call(*args)
        if out is None:
            self.table.add(args, self.plan(*args))
            out = self.table.call(*args)
        return out


_total, _dot, _apart = Ordered("total"), Ordered("dot"), Ordered("apart")
_folded = {HALVES: Ordered("halves"), PAIRS: Ordered("pairs")}


def total(x: Array) -> Array:
    """The sum of all elements of a dense array of float32 or float64."""
    found: Array | None = _total(x)
    return by_rows(x) if found is None else found


def by_rows(x: Array) -> Array:
    """`total` in NumPy: vectors of 32 bytes, four side by side; sixteen rows of them are one sum, sixteen such sums another."""
    x = x.reshape(-1) if x.flags.c_contiguous else x.T.reshape(-1)
    n = 32 // x.itemsize
    rows = x.size // n
    if not rows:
        parts = [x[:1], x[SIDE:], x[1:SIDE], np.zeros(1, x.dtype)]
    else:
        lines = x[: rows * n].reshape(rows, n)
        if rows >= SIDE:
            deep = rows // SIDE
            sums = _levels(lines[: deep * SIDE].reshape(deep, SIDE * n)).reshape(SIDE, n)
            lines = np.concatenate((sums[:1], lines[deep * SIDE :], sums[1:]))
        parts = [np.zeros(1, x.dtype), x[rows * n :], np.add.reduce(lines, 0)]
    return np.asarray(np.add.accumulate(np.concatenate(parts))[-1])  # one by one, where `reduce` would take pairs


def _levels(rows: Array) -> Array:
    """The sum of rows: what is left of sixteen of them, then of sixteen sums of sixteen, and so on."""
    found = None
    while True:
        whole = len(rows) - len(rows) % ROWS
        rest = np.add.reduce(rows[whole:], 0)
        found = rest if found is None else found + rest
        if not whole:
            return found
        rows = np.add.reduce(rows[:whole].reshape(-1, ROWS, rows.shape[1]), 1)


def dot(x: Array, y: Array) -> Array | None:
    """The sum of the products of two vectors; None where it is the array library's."""
    if x.dtype is not y.dtype or x.dtype.char not in "fd" or not 0 < x.size == y.size < DENSE:
        return None
    found: Array | None = _dot(np.ascontiguousarray(x), np.ascontiguousarray(y), now=True)
    return found


def order(x: Array, y: Array) -> str | None:
    """The order of `x @ y`'s additions where it is not that of the sum along k, product by product, fused. Shapes and strides decide."""
    shape, n, item = x.shape, y.shape[-1], x.itemsize
    if len(shape) > 2:
        return APART if y.ndim > 2 and 0 < shape[-2] * shape[-1] * n < SMALL else None
    m, k = shape
    if (n > FEW and (m > 3 or item == 4)) or y.ndim > 2 or m < 2 or n < 2 or k < 2:
        return None
    (down, along), (step, across) = x.strides, y.strides
    if along != item or step != item or down < k * item or across < k * item:
        return None
    if item == 8:
        return PAIRS if m <= 3 else HALVES if 5 <= n <= 7 and n > m and n >= k else None
    few = n <= 3 and m * n <= 30 and k < 32
    return HALVES if few or (4 <= n <= FEW and n > m and n >= k) else None


def product(x: Array, y: Array, how: str) -> Array | None:
    """`x @ y` in such an order; None where that takes a kernel, and there is none."""
    if how == APART:
        return _batches(x, y)
    k = x.shape[1]
    deep = k * x.itemsize > 2 * LINE
    found: Array | None = _folded[how](x, y, now=deep)
    return found if found is not None or deep else by_lanes(x, y, how)


def by_lanes(x: Array, y: Array, how: str) -> Array:
    """`product` in NumPy, of one or two vectors along k."""
    n, rows, columns = LINE // x.itemsize, x[:, None], y.T[None]
    sums = rows[..., :n] * columns[..., :n]
    if x.shape[1] > n:
        rest = x.shape[1] - n
        a, b = np.broadcast_arrays(rows[..., n:], columns[..., n:])
        sums[..., :rest] = fma(np, a, b, sums[..., :rest])
    while n > (4 if how == PAIRS else 1):
        n //= 2
        over = sums.shape[-1] - n
        if over > 0:
            sums[..., :over] += sums[..., n:]
            sums = sums[..., :n]
    if how == PAIRS:
        four = np.zeros((*sums.shape[:-1], 4), x.dtype)
        four[..., : sums.shape[-1]] = sums
        sums = (four[..., ::2] + four[..., 1::2]).sum(-1, dtype=x.dtype)[..., None]
    return sums[..., 0] + x.dtype.type(0)


def _batches(x: Array, y: Array) -> Array:
    (m, k), n = x.shape[-2:], y.shape[-1]
    batch = x.shape[:-2]
    if batch != y.shape[:-2]:
        batch = np.broadcast_shapes(batch, y.shape[:-2])
        x, y = np.broadcast_to(x, (*batch, m, k)), np.broadcast_to(y, (*batch, k, n))
    if x.ndim > 3:
        x, y = x.reshape(-1, m, k), y.reshape(-1, k, n)
    found = _apart(x, y)
    out = one_by_one(x, y) if found is None else found
    return out if len(batch) == 1 else out.reshape(*batch, m, n)


def one_by_one(x: Array, y: Array) -> Array:
    """Products of batches of matrices: along k one after the other, each rounded before it is added."""
    each = np.multiply(x.transpose(2, 0, 1)[..., None], y.transpose(1, 0, 2)[:, :, None], order="C")  # k p m n
    if each[0].size > 1:
        return np.add.reduce(each, 0)
    return np.add.accumulate(each, 0)[-1]  # which `reduce` would add by pairs

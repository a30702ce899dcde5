"""The order among equal elements that PyTorch leaves: the one in which libstdc++'s `sort`, `partial_sort` and `nth_element` put them.

Where elements of a row are equal, an order that is not stable depends on how the row is partitioned. PyTorch's CPU kernels call the
C++ library (`kthvalue` has a quick select of its own), whose steps are deterministic: introsort with the median of three as pivot,
insertion below 17 elements, heaps below a depth (Musser, 1997). They are repeated here on entries, rank << 32 | position, where
equal elements have one rank: as generated code for every row at once, and in Python where there is no code generator.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.emit import APART, Function, Module, V, Words
from flambeau._backends.cpu.engine import Code, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned

SORT, PARTIAL, NTH, LOOSE, SELECT = range(5)  # LOOSE: NTH, and what it selects stays as it is
SMALL = 16  # elements that insertion orders
GRAIN = 1 << 11  # entries of a chunk
INT64 = np.dtype(np.int64)


def _at(f: Function, p: V, i: Any) -> V:
    return f.load("i64", p, i)


def _less(x: V, y: V) -> V:
    """By rank: positions do not count."""
    return (x >> 32) < (y >> 32)


def _swap(f: Function, p: V, i: Any, j: Any) -> None:
    x, y = _at(f, p, i), _at(f, p, j)
    f.store(y, p, i)
    f.store(x, p, j)


def _insertion(m: Module) -> None:
    """Defines insertion(p, n)."""
    f = m.function("internal void insertion(ptr p, i64 n)", APART)
    p, n = f.params
    with f.loop(1, n) as i:
        v = _at(f, p, i)
        j = f.var("i64", i)
        with f.forever() as done:
            with f.when(j.get() == 0):
                f.jump(done)
            before = _at(f, p, j.get() - 1)
            with f.either(_less(v, before)) as otherwise:
                f.store(before, p, j.get())
                j.set(j.get() - 1)
                otherwise()
                f.jump(done)
        f.store(v, p, j.get())


def _heaps(m: Module) -> None:
    """Defines adjust(p, hole, n, v), heap_select(p, middle, n) and sort_heap(p, n)."""
    f = m.function("internal void adjust(ptr p, i64 hole, i64 n, i64 v)", APART)
    p, top, n, v = f.params
    hole, second = f.var("i64", top), f.var("i64", top)
    with f.forever() as done:
        with f.when(second.get() >= (n - 1) >> 1):
            f.jump(done)
        right = (second.get() + 1) << 1
        chosen = f.select(_less(_at(f, p, right), _at(f, p, right - 1)), right - 1, right)
        f.store(_at(f, p, chosen), p, hole.get())
        hole.set(chosen)
        second.set(chosen)
    with f.when(((n & 1) == 0) & (second.get() == (n - 2) >> 1)):
        left = ((second.get() + 1) << 1) - 1
        f.store(_at(f, p, left), p, hole.get())
        hole.set(left)
    with f.forever() as done:
        with f.when(hole.get() <= top):
            f.jump(done)
        parent = (hole.get() - 1) >> 1
        above = _at(f, p, parent)
        with f.either(_less(above, v)) as otherwise:
            f.store(above, p, hole.get())
            hole.set(parent)
            otherwise()
            f.jump(done)
    f.store(v, p, hole.get())

    f = m.function("internal void heap_select(ptr p, i64 middle, i64 n)", APART)
    p, middle, n = f.params
    with f.when(middle >= 2), f.loop(0, middle >> 1) as i:
        parent = (middle >> 1) - 1 - i
        f.call("void", "adjust", p, parent, middle, _at(f, p, parent))
    with f.loop(middle, n) as i, f.when(_less(_at(f, p, i), _at(f, p, 0))):
        v = _at(f, p, i)
        f.store(_at(f, p, 0), p, i)
        f.call("void", "adjust", p, f.value(0, "i64"), middle, v)

    f = m.function("internal void sort_heap(ptr p, i64 n)", APART)
    p, n = f.params
    with f.loop(1, n) as i:
        last = n - i
        v = _at(f, p, last)
        f.store(_at(f, p, 0), p, last)
        f.call("void", "adjust", p, f.value(0, "i64"), last, v)


def _split(m: Module) -> None:
    """Defines split(p, n) -> i64: partitions around the median of three, which it leaves in front."""
    f = m.function("internal i64 split(ptr p, i64 n)", APART)
    p, n = f.params
    middle, last = n >> 1, n - 1
    x, y, z = _at(f, p, 1), _at(f, p, middle), _at(f, p, last)
    rising = f.select(_less(y, z), middle, f.select(_less(x, z), last, f.value(1, "i64")))
    falling = f.select(_less(x, z), f.value(1, "i64"), f.select(_less(y, z), last, middle))
    _swap(f, p, 0, f.select(_less(x, y), rising, falling))
    pivot = _at(f, p, 0)
    i, j = f.var("i64", 1), f.var("i64", n)
    with f.forever():
        with f.forever() as done:
            with f.when(_at(f, p, i.get()) >> 32 >= pivot >> 32):
                f.jump(done)
            i.set(i.get() + 1)
        j.set(j.get() - 1)
        with f.forever() as done:
            with f.when(_at(f, p, j.get()) >> 32 <= pivot >> 32):
                f.jump(done)
            j.set(j.get() - 1)
        with f.when(i.get() >= j.get()):
            f.ret(i.get())
        _swap(f, p, i.get(), j.get())
        i.set(i.get() + 1)
    f.ret(0)


def _sorts(m: Module) -> None:
    """Defines introsort(p, n, depth), sort(p, n) and nth(p, k, n)."""
    f = m.function("internal void introsort(ptr p, i64 n, i64 depth)", APART)
    p, n, depth = f.params
    last, left = f.var("i64", n), f.var("i64", depth)
    with f.forever() as done:
        with f.when(last.get() <= SMALL):
            f.jump(done)
        with f.when(left.get() == 0):
            f.call("void", "heap_select", p, last.get(), last.get())
            f.call("void", "sort_heap", p, last.get())
            f.jump(done)
        left.set(left.get() - 1)
        cut = f.call("i64", "split", p, last.get())
        f.call("void", "introsort", f.gep("i64", p, cut), last.get() - cut, left.get())
        last.set(cut)

    f = m.function("internal void sort(ptr p, i64 n)", APART)
    p, n = f.params
    with f.when(n > 0):
        f.call("void", "introsort", p, n, _depth(f, n))
        f.call("void", "insertion", p, n)

    f = m.function("internal void nth(ptr p, i64 k, i64 n)", APART)
    p, k, n = f.params
    first, last, left = f.var("i64", 0), f.var("i64", n), f.var("i64", _depth(f, n))
    with f.forever() as done:
        with f.when(last.get() - first.get() <= 3):
            f.jump(done)
        part = f.gep("i64", p, first.get())
        with f.when(left.get() == 0):
            f.call("void", "heap_select", part, k + 1 - first.get(), last.get() - first.get())
            _swap(f, p, first.get(), k)
            f.ret()
        left.set(left.get() - 1)
        cut = first.get() + f.call("i64", "split", part, last.get() - first.get())
        with f.either(cut <= k) as otherwise:
            first.set(cut)
            otherwise()
            last.set(cut)
    f.call("void", "insertion", f.gep("i64", p, first.get()), last.get() - first.get())


def _depth(f: Function, n: V) -> V:
    """Twice the logarithm of n."""
    return (63 - f.call("i64", "llvm.ctlz.i64", n, V(f, "i1", "false"))) << 1


def _select(m: Module) -> None:
    """Defines select(p, k, n): the quick select of `kthvalue`."""
    f = m.function("internal void select(ptr p, i64 k, i64 n)", APART)
    p, k, n = f.params
    low, high = f.var("i64", 0), f.var("i64", n - 1)

    def ordered(i: Any, j: Any) -> None:
        """Swap where the first is greater."""
        with f.when(_less(_at(f, p, j), _at(f, p, i))):
            _swap(f, p, i, j)

    with f.forever() as done:
        a, b = low.get(), high.get()
        with f.when(b <= a):
            f.jump(done)
        with f.when(b == a + 1):
            ordered(a, b)
            f.jump(done)
        _swap(f, p, a + ((b - a) >> 1), a + 1)
        ordered(a + 1, b)
        ordered(a, b)
        ordered(a + 1, a)
        i, j, pivot = f.var("i64", a + 1), f.var("i64", b), _at(f, p, a) >> 32
        with f.forever() as met:
            with f.forever() as stop:
                i.set(i.get() + 1)
                with f.when(pivot <= _at(f, p, i.get()) >> 32):
                    f.jump(stop)
            with f.forever() as stop:
                j.set(j.get() - 1)
                with f.when(_at(f, p, j.get()) >> 32 <= pivot):
                    f.jump(stop)
            with f.when(j.get() < i.get()):
                f.jump(met)
            _swap(f, p, i.get(), j.get())
        _swap(f, p, a, j.get())
        with f.when(j.get() <= k):
            low.set(i.get())
        with f.when(j.get() >= k):
            high.set(j.get() - 1)


def text() -> Module:
    """IR of `k`: the positions of the first elements of each row, as one of the routines leaves them."""
    m = Module("ties")
    for part in (_insertion, _heaps, _split, _sorts, _select):
        part(m)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, p = f.params
    w = Words(f, "out x", "n rows block count routine")
    n, count = w["n"], w["count"]
    with f.loop(begin * w["block"], f.min(end * w["block"], w["rows"])) as r:
        src, to = f.gep("i64", w["x"], r * n), f.gep("i64", w["out"], r * count)
        with f.loop(0, n) as j:
            f.store(_at(f, src, j), p, j)
        with f.when(w["routine"] == SORT):
            f.call("void", "sort", p, n)
        with f.when(w["routine"] == PARTIAL):
            f.call("void", "heap_select", p, count, n)
            f.call("void", "sort_heap", p, count)
        with f.when((w["routine"] == NTH) | (w["routine"] == LOOSE)):
            f.call("void", "nth", p, count - 1, n)
        with f.when(w["routine"] == NTH):
            f.call("void", "sort", p, count - 1)
        with f.when(w["routine"] == SELECT):
            f.call("void", "select", p, count - 1, n)
        with f.loop(0, count) as j:
            f.store(_at(f, p, j) & 0xFFFFFFFF, to, j)
    return m


@cache
def kernel() -> Code:
    return engine().load(lambda: str(text()), ["k"], parts=[("kernel", "ties")])


def _plan(x: Any, count: int, routine: int) -> Plan:
    rows, n = x.shape
    block = max(1, GRAIN // max(n, 1))
    slots = ((OUT, 0), (ARG, 0), *((CONST, v) for v in (n, rows, block, count, routine)))
    work = Launch(kernel()["k"], slots, -(-rows // block), 8 * n + 64)
    return Plan((Result(INT64, (rows, count)),), (work,), release=x.size >= GRAIN, keep=(kernel(),))


def native(entries: Any, count: int, routine: int) -> Any:
    """The same by generated code."""
    return planned(("ties", count, routine), (entries,), lambda: _plan(entries, count, routine))


# -- the same in Python ---------------------------------------------------------------------------------------------------


def plain(entries: Any, count: int, routine: int) -> Any:
    """The positions of the first elements of each row, one row after another."""
    out = np.empty((len(entries), count), np.int64)
    for r, row in enumerate(entries.view(np.uint64).tolist()):
        if routine == SORT:
            _sort(row, len(row))
        elif routine == PARTIAL:
            _heap_select(row, 0, count, len(row))
            _sort_heap(row, 0, count)
        elif routine in (NTH, LOOSE):
            _nth(row, count - 1)
            _sort(row, count - 1 if routine == NTH else 0)
        else:
            _quick_select(row, count - 1)
        out[r] = [e & 0xFFFFFFFF for e in row[:count]]
    return out


def _insert(p: list[int], first: int, last: int) -> None:
    for i in range(first + 1, last):
        v, j = p[i], i
        while j > first and v >> 32 < p[j - 1] >> 32:
            p[j] = p[j - 1]
            j -= 1
        p[j] = v


def _adjust(p: list[int], first: int, hole: int, n: int, v: int) -> None:
    top = second = hole
    while second < (n - 1) // 2:
        second = 2 * (second + 1)
        second -= p[first + second] >> 32 < p[first + second - 1] >> 32
        p[first + hole] = p[first + second]
        hole = second
    if n % 2 == 0 and second == (n - 2) // 2:
        second = 2 * second + 1
        p[first + hole] = p[first + second]
        hole = second
    while hole > top and p[first + (hole - 1) // 2] >> 32 < v >> 32:
        p[first + hole] = p[first + (hole - 1) // 2]
        hole = (hole - 1) // 2
    p[first + hole] = v


def _heap_select(p: list[int], first: int, middle: int, last: int) -> None:
    n = middle - first
    for parent in range(n // 2 - 1, -1, -1):
        _adjust(p, first, parent, n, p[first + parent])
    for i in range(middle, last):
        if p[i] >> 32 < p[first] >> 32:
            v, p[i] = p[i], p[first]
            _adjust(p, first, 0, n, v)


def _sort_heap(p: list[int], first: int, last: int) -> None:
    for end in range(last - 1, first, -1):
        v, p[end] = p[end], p[first]
        _adjust(p, first, 0, end - first, v)


def _cut(p: list[int], first: int, last: int) -> int:
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    x, y, z = p[a] >> 32, p[b] >> 32, p[c] >> 32
    if x < y:
        chosen = b if y < z else c if x < z else a
    else:
        chosen = a if x < z else c if y < z else b
    p[first], p[chosen] = p[chosen], p[first]
    pivot, i, j = p[first] >> 32, first + 1, last
    while True:
        while p[i] >> 32 < pivot:
            i += 1
        j -= 1
        while pivot < p[j] >> 32:
            j -= 1
        if i >= j:
            return i
        p[i], p[j] = p[j], p[i]
        i += 1


def _introsort(p: list[int], first: int, last: int, depth: int) -> None:
    while last - first > SMALL:
        if not depth:
            _heap_select(p, first, last, last)
            return _sort_heap(p, first, last)
        depth -= 1
        cut = _cut(p, first, last)
        _introsort(p, cut, last, depth)
        last = cut
    return None


def _sort(p: list[int], n: int) -> None:
    if n > 0:
        _introsort(p, 0, n, 2 * (n.bit_length() - 1))
        _insert(p, 0, n)


def _nth(p: list[int], k: int) -> None:
    first, last = 0, len(p)
    depth = 2 * (last.bit_length() - 1)
    while last - first > 3:
        if not depth:
            _heap_select(p, first, k + 1, last)
            p[first], p[k] = p[k], p[first]
            return
        depth -= 1
        cut = _cut(p, first, last)
        first, last = (cut, last) if cut <= k else (first, cut)
    _insert(p, first, last)


def _quick_select(p: list[int], k: int) -> None:
    def ordered(i: int, j: int) -> None:
        if p[j] >> 32 < p[i] >> 32:
            p[i], p[j] = p[j], p[i]

    low, high = 0, len(p) - 1
    while low < high:
        if high == low + 1:
            return ordered(low, high)
        middle = low + (high - low) // 2
        p[middle], p[low + 1] = p[low + 1], p[middle]
        ordered(low + 1, high)
        ordered(low, high)
        ordered(low + 1, low)
        i, j, pivot = low + 1, high, p[low] >> 32
        while True:
            i += 1
            while p[i] >> 32 < pivot:
                i += 1
            j -= 1
            while pivot < p[j] >> 32:
                j -= 1
            if j < i:
                break
            p[i], p[j] = p[j], p[i]
        p[low], p[j] = p[j], p[low]
        low, high = (i if j <= k else low), (j - 1 if j >= k else high)
    return None

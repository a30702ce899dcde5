"""Arrays that are not there: what an array reading does to them is noted, loop by loop, and not done.

A reading that meets a `Shadow` in place of each array calls NumPy as ever. Ufuncs and reductions come back here (NumPy lets
operands overrule it), views are taken of memory of the same extent, so that their strides are NumPy's own. What comes
out is a `Tape`: NumPy's inner loops with the addresses and strides that NumPy itself would give them for arrays of these
shapes, in its order. `replay.py` runs one. Whatever else is asked of a shadow raises, and then there is no tape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from flambeau._kernel.arrays import Arrays

Array = np.ndarray[Any, Any]
DEPTH = 3  # loops of a step, the inner one among them
OPERANDS = 4  # of a step, its result among them


class Unsuitable(Exception):
    """What was asked for is no loop over known memory."""


class Unfit(Unsuitable):
    """It may be one for other extents."""


class Buffer:
    """Memory of a value: `room` is of its extent, and lends views their strides. `source`: the argument or the constant that it is."""

    __slots__ = ("dtype", "room", "source")

    def __init__(self, room: Array, source: tuple[str, Any] | None = None) -> None:
        self.room, self.dtype, self.source = room, room.dtype, source


class Operand:
    """Where a step reads or writes: a buffer, the offset in it, and the bytes from element to element along each dim."""

    __slots__ = ("buffer", "offset", "strides")

    def __init__(self, buffer: Buffer, offset: int, strides: Sequence[int]) -> None:
        self.buffer, self.offset, self.strides = buffer, offset, tuple(strides)


class Step:
    """Calls of one loop: a ufunc and its operands' type codes, or the name of an own loop; over `dims`, inner last."""

    __slots__ = ("codes", "dims", "loop", "operands")

    def __init__(self, loop: Any, codes: str, dims: Sequence[int], operands: Sequence[Operand]) -> None:
        self.loop, self.codes, self.dims, self.operands = loop, codes, tuple(dims), tuple(operands)


class Tape:
    """What a reading did."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def argument(self, i: int, a: Array) -> Shadow:
        return Shadow(self, Buffer(np.empty(a.shape, a.dtype), ("argument", i)))

    def empty(self, shape: Sequence[int], dtype: Any) -> Shadow:
        return Shadow(self, Buffer(np.empty(tuple(shape), dtype)))

    def constant(self, value: Any, dtype: Any) -> Shadow:
        with np.errstate(over="ignore"):  # what float32 has no room for
            made = np.array(value, dtype)
        return Shadow(self, Buffer(made, ("constant", made)))

    def each(self, loop: Any, codes: str, out: Shadow, *xs: Shadow) -> Shadow:
        """Notes a loop over all elements of `out`, which the others broadcast to."""
        views = [np.broadcast_to(x.view, out.shape) for x in xs] + [out.view]
        for v in views:
            in_order(v)
        self.note(loop, codes, out.shape, [x.operand(v.strides) for x, v in zip((*xs, out), views, strict=True)])
        return out

    def note(self, loop: Any, codes: str, shape: Sequence[int], operands: Sequence[Operand]) -> None:
        """Notes a loop over a shape, in as few dims as it can be walked in."""
        dims, strides = folded(shape, [o.strides for o in operands])
        if len(dims) > DEPTH or len(operands) > OPERANDS or 0 in dims:
            raise Unfit("a step")
        walked = [Operand(o.buffer, o.offset, s) for o, s in zip(operands, strides, strict=True)]
        self.steps.append(Step(loop, codes, dims, walked))


def in_order(view: Array) -> None:
    """Raises where NumPy would walk, and lay out, what comes of an array in another order than that of its dims."""
    before = None
    for n, s in zip(view.shape, view.strides, strict=True):
        if n == 1 or s == 0:
            continue
        if s < 0 or (before is not None and s > before):
            raise Unfit("order")
        before = s


def folded(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """The dims without those of one element, neighbours joined where every operand can be walked so; and the strides along them."""
    dims: list[int] = []
    along: list[list[int]] = [[] for _ in strides]
    for d, n in enumerate(shape):
        if n == 1:
            continue
        if dims and all(a[-1] == s[d] * n for a, s in zip(along, strides, strict=True)):
            dims[-1] *= n
            for a, s in zip(along, strides, strict=True):
                a[-1] = s[d]
            continue
        dims.append(n)
        for a, s in zip(along, strides, strict=True):
            a.append(s[d])
    return dims or [1], [a or [0] for a in along]


class Shadow(NDArrayOperatorsMixin):
    """Stands for an array; `view` is of its shape and strides, in the room of its buffer."""

    __array_priority__ = 1000.0

    def __init__(self, tape: Tape, buffer: Buffer, view: Array | None = None) -> None:
        self.tape, self.buffer, self.view = tape, buffer, buffer.room if view is None else view

    shape = property(lambda self: self.view.shape)
    dtype = property(lambda self: self.view.dtype)
    ndim = property(lambda self: self.view.ndim)
    size = property(lambda self: self.view.size)
    itemsize = property(lambda self: self.view.itemsize)
    strides = property(lambda self: self.view.strides)
    flags = property(lambda self: self.view.flags)
    T = property(lambda self: self.seen(self.view.T))

    def operand(self, strides: Sequence[int]) -> Operand:
        return Operand(self.buffer, self.view.ctypes.data - self.buffer.room.ctypes.data, strides)

    def seen(self, view: Any) -> Shadow:
        """A view of the same memory; of a copy, where NumPy had to make one."""
        if np.may_share_memory(view, self.buffer.room):
            return Shadow(self.tape, self.buffer, view)
        raise Unfit("a copy")

    def reshape(self, *shape: Any) -> Shadow:
        dense = self if self.view.flags.c_contiguous else self.copy()
        return dense.seen(dense.view.reshape(*shape))

    def transpose(self, *dims: Any) -> Shadow:
        return self.seen(self.view.transpose(*dims))

    def squeeze(self, axis: Any = None) -> Shadow:
        return self.seen(self.view.squeeze(axis))

    def swapaxes(self, a: int, b: int) -> Shadow:
        return self.seen(self.view.swapaxes(a, b))

    def __getitem__(self, index: Any) -> Shadow:
        for i in index if type(index) is tuple else (index,):
            if i is not None and i is not Ellipsis and type(i) not in (int, slice):
                raise Unsuitable("an index")
        return self.seen(np.asarray(self.view[index if type(index) is tuple else (index,)]) if self.ndim else self.view)

    def __setitem__(self, index: Any, value: Any) -> None:
        target = self[index]
        self.copied(self.tape.constant(value, self.dtype) if isinstance(value, (int, float)) else value, target)

    def copied(self, x: Any, target: Shadow) -> None:
        """Writes x, of the same dtype, to a view of this."""
        if type(x) is not Shadow or x.dtype is not target.dtype or target.buffer.source is not None:
            raise Unsuitable("an assignment")
        self.tape.each("copy", target.dtype.char, target, x)

    def copy(self, order: str = "C") -> Shadow:
        in_order(self.view)
        out = self.tape.empty(self.shape, self.dtype)
        self.copied(self, out)
        return out

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> Shadow:
        dtype = np.dtype(dtype)
        if dtype is not self.dtype:
            return self.tape.each("cast", self.dtype.char + dtype.char, self.tape.empty(self.shape, dtype), self)
        return self.copy() if copy else self

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return np.add.reduce(self, axis, dtype, out, keepdims)  # type: ignore[call-overload]

    def argmax(self, axis: int, *, keepdims: bool = False) -> Shadow:
        return self.place("argmax", axis, keepdims)

    def argmin(self, axis: int, *, keepdims: bool = False) -> Shadow:
        return self.place("argmin", axis, keepdims)

    def place(self, loop: str, axis: int, keepdims: bool) -> Shadow:
        """Where along a dim the first of the largest, or smallest, elements is, or the first NaN."""
        axis %= self.ndim
        if self.dtype.kind != "f":
            raise Unsuitable(loop)
        if self.shape[axis] == 1:  # a walk of one element at a time
            raise Unfit(loop)
        rest = [d for d in range(self.ndim) if d != axis]
        out = self.tape.empty([1 if d == axis else n for d, n in enumerate(self.shape)], np.int64)
        in_order(self.view)
        x = self.operand([self.strides[d] for d in (*rest, axis)])
        into = out.operand([*(out.strides[d] for d in rest), 0])
        self.tape.note(loop, self.dtype.char, [self.shape[d] for d in (*rest, axis)], [x, into])
        return out if keepdims else out.reshape(without(self.shape, {axis}))

    def __pow__(self, other: Any) -> Any:
        if type(other) not in (int, float) or other != 2:  # of numbers, NumPy has shorter ways for some powers
            raise Unsuitable("a power")
        return np.square(self)

    def __len__(self) -> int:
        return len(self.view)

    def __bool__(self) -> bool:
        raise Unsuitable("a truth value")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise Unsuitable("elements")

    __float__ = __int__ = __index__ = item = tolist = __iter__ = __array__

    # ---- what NumPy asks operands to do ----

    def __array_ufunc__(self, ufunc: Any, method: str, *xs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        if type(out) is tuple:
            out = out[0]
        if method == "__call__" and ufunc is np.vecdot and out is None and not options:
            return products(self.tape, *xs)
        if method == "__call__":
            return called(self.tape, ufunc, xs, None if out is Ellipsis else out, options)
        if method == "reduce" and out is None and xs[0] is self:
            return reduced(self, ufunc, **options)
        raise Unsuitable(method)

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        found = FUNCTIONS.get(function)
        if found is None:
            raise Unsuitable(getattr(function, "__name__", "a function"))
        return found(self.tape, *args, **options)


def called(tape: Tape, ufunc: Any, xs: Sequence[Any], out: Any, options: dict[str, Any]) -> Shadow:
    """A ufunc's call, in the dtype that NumPy finds for its operands."""
    if ufunc.nout != 1 or ufunc.signature is not None or options:
        raise Unsuitable(ufunc.__name__)
    dtypes = ufunc.resolve_dtypes((*(kind(x) for x in xs), None))
    values = [x if type(x) is Shadow else tape.constant(x, d) for x, d in zip(xs, dtypes[:-1], strict=True)]
    if any(v.dtype != d for v, d in zip(values, dtypes[:-1], strict=True)):
        raise Unsuitable("a cast")
    shape = np.broadcast_shapes(*(v.shape for v in values))
    if out is None:
        out = tape.empty(shape, dtypes[-1])
    elif type(out) is not Shadow or out.shape != shape or out.dtype != dtypes[-1] or out.buffer.source is not None:
        raise Unsuitable("out=")
    return tape.each(ufunc, "".join(d.char for d in dtypes[:-1]), out, *values)


def kind(x: Any) -> Any:
    """What says an operand's dtype: itself one, or the type of a number, which takes that of the others."""
    if type(x) in (int, float):
        return type(x)
    if type(x) is Shadow or (isinstance(x, (np.generic, np.ndarray)) and x.ndim == 0):
        return x.dtype
    raise Unsuitable("an operand")


def reduced(x: Shadow, ufunc: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False, **options: Any) -> Shadow:
    """A ufunc's reduction: from its identity on, or from the first elements where it has none."""
    if options or ufunc.nin != 2 or (dtype is not None and np.dtype(dtype) is not x.dtype):
        raise Unsuitable("a reduction")
    if x.dtype.kind != "f" and ufunc not in (np.logical_and, np.logical_or):
        raise Unsuitable("a reduction in another dtype")
    n = x.ndim
    axes = set(range(n)) if axis is None else {a % n for a in (axis if type(axis) is tuple else (axis,)) if n}
    in_order(x.view)
    tape, codes = x.tape, x.dtype.char * 2
    out = tape.empty([1 if d in axes else s for d, s in enumerate(x.shape)], x.dtype)
    into = [0 if d in axes else s for d, s in enumerate(out.strides)]
    begin, shape, offset = x, list(x.shape), 0
    if ufunc.identity is not None:
        begin = tape.constant(ufunc.identity, x.dtype)
    else:
        begin = x[tuple(slice(0, 1) if d in axes else slice(None) for d in range(n))]
        wide = [d for d in axes if shape[d] != 1]
        if len(wide) > 1:
            low, high = min(wide), max(wide) + 1
            if any(shape[d] != 1 and d not in axes for d in range(low, high)):
                raise Unfit("a reduction over dims apart")
            joined = x.seen(x.view.reshape(*shape[:low], -1, *shape[high:]))
            found = reduced(joined, ufunc, low)
            return found.reshape(out.shape if keepdims else without(x.shape, axes))
        if wide:
            shape[wide[0]] -= 1
            offset = x.strides[wide[0]]
    tape.each("copy", x.dtype.char, out, begin)
    if ufunc.identity is not None or offset:
        source = x.operand(x.strides)
        source.offset += offset
        target = out.operand(into)
        tape.note(ufunc, codes, shape, (target, source, target))
    return out if keepdims else out.reshape(without(x.shape, axes))


def without(shape: Sequence[int], axes: set[int]) -> tuple[int, ...]:
    return tuple(s for d, s in enumerate(shape) if d not in axes)


# ---- functions of NumPy that are no ufuncs, and the names that an array library has besides ----


def _where(tape: Tape, c: Any, a: Any, b: Any) -> Shadow:
    d = next(x.dtype for x in (a, b) if type(x) is Shadow)
    xs = [x if type(x) is Shadow else tape.constant(x, np.result_type(kind_of(x), d)) for x in (a, b)]
    if c.dtype.kind != "b" or xs[0].dtype != xs[1].dtype:
        raise Unsuitable("where")
    out = tape.empty(np.broadcast_shapes(c.shape, xs[0].shape, xs[1].shape), xs[0].dtype)
    return tape.each("select", d.char, out, c, *xs)


def kind_of(x: Any) -> Any:
    """`kind` as `np.result_type` takes it."""
    found = kind(x)
    return 1.0 if found is float else 1 if found is int else found


def _dot(tape: Tape, x: Any, y: Any, out: Any = None) -> Shadow:
    if out is not None or type(x) is not Shadow or type(y) is not Shadow or x.ndim != 1 or y.ndim != 1:
        raise Unsuitable("dot")
    return products(tape, x, y)


def products(tape: Tape, x: Any, y: Any) -> Shadow:
    """The sums of products along the last dim: `np.vecdot`."""
    if type(x) is not Shadow or type(y) is not Shadow or x.shape != y.shape or x.dtype is not y.dtype:
        raise Unsuitable("vecdot")
    if x.dtype.kind != "f" or not x.ndim:
        raise Unsuitable("vecdot")
    in_order(x.view)
    in_order(y.view)
    out = tape.empty(x.shape[:-1], x.dtype)
    into = out.operand((*out.strides, 0))
    if x.shape[-1] == 1 and x.size > 1:  # a walk of one element at a time
        raise Unfit("vecdot")
    tape.note("dot", x.dtype.char, x.shape, [x.operand(x.strides), y.operand(y.strides), into])
    return out


def _filled(tape: Tape, shape: Any, value: Any, dtype: Any) -> Shadow:
    out = tape.empty((shape,) if isinstance(shape, int) else shape, dtype)
    return tape.each("copy", out.dtype.char, out, tape.constant(value, out.dtype))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.where: _where,
    np.dot: _dot,
    np.broadcast_to: lambda _, x, shape: x.seen(np.broadcast_to(x.view, shape)),
    np.expand_dims: lambda _, x, axis: x.seen(np.expand_dims(x.view, axis)),
    np.squeeze: lambda _, x, axis=None: x.squeeze(axis),
    np.transpose: lambda _, x, axes=None: x.transpose(axes),
    np.swapaxes: lambda _, x, a, b: x.swapaxes(a, b),
    np.reshape: lambda _, x, shape: x.reshape(shape),
    np.empty_like: lambda tape, x, dtype=None: tape.empty(x.shape, dtype or x.dtype),
    np.zeros_like: lambda tape, x, dtype=None: _filled(tape, x.shape, 0, dtype or x.dtype),
    np.full_like: lambda tape, x, value, dtype=None: _filled(tape, x.shape, value, dtype or x.dtype),
    np.empty: lambda tape, shape, dtype: tape.empty((shape,) if isinstance(shape, int) else shape, dtype),
    np.zeros: lambda tape, shape, dtype: _filled(tape, shape, 0, dtype),
    np.full: lambda tape, shape, value, dtype: _filled(tape, shape, value, dtype),
    np.arange: lambda tape, n, dtype: tape.constant(np.arange(n), dtype),
    np.ascontiguousarray: lambda _, x: x if x.flags.c_contiguous else x.copy(),
    np.asarray: lambda _, x, dtype=None: x if dtype is None else x.astype(dtype, copy=False),
}


class Names:
    """The array library of a reading that is noted: NumPy, but what it makes are shadows."""

    def __init__(self, tape: Tape) -> None:
        for function in FUNCTIONS:
            setattr(
                self, function.__name__, lambda *xs, _made=FUNCTIONS[function], **options: _made(tape, *xs, **options)
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class Noting(Arrays):
    """The words of the kernel language over shadows."""

    def __init__(self, tape: Tape, special: Callable[[str], Any]) -> None:
        super().__init__(Names(tape), special, self.routine)
        self.tape = tape

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        d = x.dtype
        xs = [v if type(v) is Shadow else self.tape.constant(v, d) for v in (x, y, z)]
        if d.kind != "f" or any(v.dtype is not d for v in xs):
            raise Unsuitable("fma")
        return self.tape.each("fma", d.char, self.tape.empty(np.broadcast_shapes(*(v.shape for v in xs)), d), *xs)

    def full(self, shape: Sequence[int], value: Any, dtype: Any) -> Any:
        return super().full(tuple(shape), value, dtype) if len(shape) else self.tape.constant(value, dtype.np)

    def routine(self, name: str) -> Any:
        found = ROUTINES.get(name)
        if found is None:
            raise Unsuitable(name)
        return lambda *xs, **options: found(self.tape, *xs, **options)


def _total(tape: Tape, x: Shadow) -> Shadow:
    """See `library_sums.total`."""
    if x.dtype.kind != "f" or not x.flags.c_contiguous:
        raise Unsuitable("total")
    out = tape.empty((), x.dtype)
    tape.note("total", x.dtype.char, (x.size,), [x.operand((x.itemsize,)), out.operand((0,))])
    return out


def _nll(tape: Tape, x: Shadow, target: Shadow, weight: Shadow | None, *, reduction: int, ignore_index: int) -> tuple[Shadow, Shadow]:  # fmt: skip
    """See `library_math.nll`."""
    at = Classes(tape, target, x.shape, ignore_index)
    loss: Any = at.taken(x)
    total: Any = at.kept(x.dtype)
    if weight is not None:
        w = at.taken(weight) * at.keep.astype(x.dtype)
        loss, total = loss * w, w.sum()
    loss = np.where(at.keep, -loss, x.dtype.type(0))
    if reduction == 0:
        return loss, total
    s = loss.sum()
    return s / total if reduction == 1 else s, total


def _nll_back(tape: Tape, g: Shadow, target: Shadow, weight: Shadow | None, *, shape: Sequence[int], reduction: int, ignore_index: int) -> Shadow:  # fmt: skip
    """See `library_math.nll_back`."""
    at = Classes(tape, target, shape, ignore_index)
    w = None if weight is None else at.taken(weight)
    if reduction == 1:
        g = g / (at.kept(g.dtype) if w is None else np.where(at.keep, w, g.dtype.type(0)).sum())
    value = -g if w is None else -g * w
    value = np.where(at.keep, value, g.dtype.type(0))
    return at.put(value, _filled(tape, shape, 0, g.dtype))


class Classes:
    """One class for each row of a matrix; `ignore`: one that stands for none. Where a class is out of bounds the call is declined."""

    def __init__(self, tape: Tape, target: Shadow, shape: Sequence[int], ignore: int) -> None:
        if len(shape) != 2 or target.shape != (shape[0],) or target.dtype != np.int64:
            raise Unsuitable("classes")
        self.tape, self.target, self.rows = tape, target, shape[0]
        self.limits = tape.constant([shape[1], ignore], np.int64)
        self.keep: Any = target != ignore

    def where(self) -> list[Operand]:
        return [self.target.operand(self.target.strides), self.limits.operand((0,))]

    def note(self, loop: str, dtype: Any, *operands: Operand) -> None:
        self.tape.note(loop, dtype.char, (self.rows,), operands)

    def taken(self, x: Shadow) -> Shadow:
        """The element of each row at its class, or that of one row for all; the first where there is none."""
        if x.strides[-1] != x.itemsize:
            raise Unsuitable("classes")
        out = self.tape.empty((self.rows,), x.dtype)
        self.note(
            "take", x.dtype, x.operand((x.strides[0] if x.ndim > 1 else 0,)), *self.where(), out.operand(out.strides)
        )
        return out

    def kept(self, dtype: Any) -> Shadow:
        """How many rows have a class."""
        out = self.tape.empty((), dtype)
        self.note("kept", dtype, *self.where(), out.operand((0,)))
        return out

    def put(self, value: Shadow, out: Shadow) -> Shadow:
        """Writes a value for each row at its class."""
        one = np.broadcast_to(value.view, (self.rows,)).strides
        self.note("put", out.dtype, value.operand(one), *self.where(), out.operand((out.strides[0],)))
        return out


ROUTINES: dict[str, Callable[..., Any]] = {"total": _total, "nll": _nll, "nll_back": _nll_back}


def noted(run: Callable[..., Any], special: Callable[[str], Any], values: Sequence[Any], arrays: Sequence[int]) -> tuple[Tape, list[Shadow | None], bool]:  # fmt: skip
    """(what `run(k, *values)` does to shadows of the arrays, its results, or None, whether they are a tuple); `arrays`: which values are arrays, or None."""
    tape = Tape()
    given = list(values)
    for i, at in enumerate(arrays):
        if given[at] is not None:
            given[at] = tape.argument(i, given[at])
    found = run(Noting(tape, special), *given)
    outs = list(found) if type(found) is tuple else [found]
    if not tape.steps:
        raise Unfit("nothing is done")
    made = [o for o in outs if o is not None]
    for i, o in enumerate(made):
        whole = type(o) is Shadow and o.buffer.source is None and o.flags.c_contiguous and o.size == o.buffer.room.size
        if not whole or any(o.buffer is p.buffer for p in made[:i]):
            raise Unfit("a result that is a view")
    return tape, outs, type(found) is tuple

"""What bodies leave to the array library, read as expressions or as steps with kernels of their own.

`ROUTINES` are by the library's name, `OPERATORS` by ATen's, for operators that write into a copy or join lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flambeau._backends.cpu.attention import DTYPES as FLOATS
from flambeau._backends.cpu.attention_backward import shared_out, turned
from flambeau._backends.cpu.recurrent import SAVED
from flambeau._capture.expressions import Builder, K, Step, sliced
from flambeau._capture.place import strided
from flambeau._capture.routines import absent
from flambeau._eager.bodies import call_body
from flambeau._kernel.ir import MEMORY
from flambeau._kernel.record import Expr, Opaque, cast, constant, toposort
from flambeau._operators.attention import flash_attention, flash_attention_backward
from flambeau._operators.create import wrapped
from flambeau._operators.loss import _bce, _nll
from flambeau._operators.op import Op
from flambeau._operators.view import sizes
from flambeau._values.dtype import (
    dtype,
    float32,
    float64,
    get_default_dtype,
    int64,
    of,
    of_number,
    promote_types,
)
from flambeau._values.shape import symbolic


def _dtype(d: Any) -> dtype:
    return d if isinstance(d, dtype) else of(d)


def along(dim: int, shape: Sequence[int]) -> Expr:
    """Each element's place along a dim, over the other dims 1."""
    return K.reshape(K.iota(shape[dim], int64), tuple(n if d == dim else 1 for d, n in enumerate(shape)))


def within(b: Builder, index: Expr, n: int, wrap: bool = False) -> Expr:
    """An index that is safe to read with; one that is out of range refuses the call."""
    index = cast(index, int64)
    b.check(K.logical_or(K.lt(index, -n if wrap else 0), K.ge(index, n)))
    if wrap:
        index = K.where(K.lt(index, 0), index + n, index)
    return K.minimum(K.maximum(index, 0), max(n - 1, 0))


# ---------------------------------------------------------------- routines


def rows(b: Builder, table: Expr, index: Expr) -> Expr:
    """Rows of a table by their numbers."""
    return K.take(table, 0, within(b, index, table.shape[0]))


def take(b: Builder, x: Expr, index: Expr, dim: int) -> Expr:
    """Slices along a dim by their numbers."""
    if x.ndim == 0 or index.ndim != 1:
        raise Opaque("take")
    return K.take(x, dim, within(b, index, x.shape[dim]))


def gather(b: Builder, x: Expr, index: Expr, dim: int) -> Expr:
    """For each element of index, the element at that place along dim."""
    if x.ndim != index.ndim or x.ndim == 0:
        raise Opaque("gather")
    return K.gather(x, dim, within(b, index, x.shape[dim]))


def rows_backward(b: Builder, g: Expr, index: Expr, count: int, padding: int, scale: bool) -> Expr:
    """Rows of zeros, to which the rows of g are added in their places."""
    if scale or g.dtype.name not in ("float32", "float64"):
        raise Opaque("rows_backward")
    index, g = K.reshape(index, (-1,)), K.reshape(g, (-1, g.shape[-1]))
    at = within(b, index, count)
    if 0 <= padding < count:
        g = K.where(K.reshape(K.eq(index, padding), (-1, 1)), K.like(0, g), g)
    return b.routine("add_rows", [g, at], [((count, g.shape[1]), g.dtype), ((1,), int64)], count=count)[0]


def max_pool_backward(b: Builder, g: Expr, indices: Expr, shape: Sequence[int], n: int) -> Expr:
    """What reaches an input through the largest elements of its windows."""
    if g.dtype.name not in ("float32", "float64"):
        raise Opaque("max_pool_backward")
    planes, cells, wins = 1, 1, 1
    for d, size in enumerate(shape):
        planes, cells = (planes * size, cells) if d < len(shape) - n else (planes, cells * size)
    for size in g.shape[g.ndim - n :]:
        wins *= size
    flat = [K.reshape(x, (planes, wins)) for x in (g, indices)]
    made = b.routine("add_places", flat, [((planes, cells), g.dtype), ((1,), int64)])[0]
    return K.reshape(made, tuple(shape))


def nll(b: Builder, x: Expr, target: Expr, weight: Expr | None, reduction: int, ignore_index: int) -> tuple[Expr, Expr]:
    """The negative log likelihood, and the weights' sum."""
    if x.ndim != 2 or target.ndim != 1:
        raise Opaque("nll")
    keep = K.ne(target, ignore_index)
    at = within(b, K.where(keep, cast(target, int64), K.like(0, cast(target, int64))), x.shape[1])
    each = -K.reshape(K.gather(x, 1, K.reshape(at, (-1, 1))), (-1,))
    w = K.full(each.shape, 1, x.dtype) if weight is None else K.take(weight, 0, at)
    w = K.where(keep, w, K.like(0, w))
    each = K.where(keep, each * w, K.like(0, each))
    total = K.reshape(K.sum(w, [0]), ())
    if reduction == 0:
        return each, total
    out = K.reshape(K.sum(each, [0]), ())
    return (out / total if reduction == 1 else out), total


def triangular(b: Builder, x: Expr, diagonal: int, lower: bool) -> Expr:
    """Zeros on one side of a diagonal."""
    row, column = along(x.ndim - 2, x.shape), along(x.ndim - 1, x.shape)
    keep = K.le(column, row + diagonal) if lower else K.ge(column, row + diagonal)
    return K.where(K.expand(keep, x.shape), x, K.like(0, x))


def arange(b: Builder, start: Any, end: Any, step: Any, count: int, dtype: Any) -> Expr:
    if not all(isinstance(v, int) for v in (start, step)):
        raise Opaque("arange")
    return cast(K.iota(count, int64) * step + start, _dtype(dtype))


def eye(b: Builder, n: int, m: int, dtype: Any) -> Expr:
    return cast(K.eq(along(0, (n, m)), along(1, (n, m))), _dtype(dtype))


def full(b: Builder, shape: Any, value: Any, d: dtype) -> Expr:
    return K.full(tuple(shape), value, d)


def conv_forward(b: Builder, x: Expr, w: Expr, bias: Expr | None = None, **how: Any) -> Expr:
    """A correlation, and a number added for each channel."""
    sizes = zip(x.shape[2:], w.shape[2:], how["stride"], how["padding"], how["dilation"], strict=True)
    shape = (x.shape[0], w.shape[0], *((n + 2 * p - d * (m - 1) - 1) // s + 1 for n, m, s, p, d in sizes))
    return b.routine("conv_forward", [x, w] if bias is None else [x, w, bias], [(shape, x.dtype)], **how)[0]


def conv_input(b: Builder, g: Expr, w: Expr, bias: Expr | None = None, **how: Any) -> Expr:
    """What reaches its input; or the transposed one, with a number added for each channel."""
    return b.routine("conv_input", [g, w] if bias is None else [g, w, bias], [(tuple(how["size"]), g.dtype)], **how)[0]


def conv_weight(b: Builder, g: Expr, x: Expr, **how: Any) -> Expr:
    """What reaches its weights."""
    return b.routine("conv_weight", [x, g], [(tuple(how["size"]), g.dtype)], **how)[0]


def max_pool(b: Builder, x: Expr, **how: Any) -> tuple[Expr, ...]:
    """The largest element of each window, and where it is."""
    shape = (*x.shape[: x.ndim - len(how["size"])], *how["out"])
    return tuple(b.routine("max_pool", [x], [(shape, x.dtype), (shape, int64)], **how))


def avg_pool(b: Builder, x: Expr, size: Any, stride: Any, padding: Any, out: Any, divisor: Any) -> Expr:
    """Sums of windows, divided."""
    n = len(size)
    need = [(o - 1) * s + k for o, s, k in zip(out, stride, size)]
    have = [m + p for m, p in zip(x.shape[x.ndim - n :], padding)]
    if not isinstance(divisor, (int, float)) or not x.dtype.is_floating_point:
        raise Opaque("avg_pool")
    ends = [(p, max(0, k - m)) for p, k, m in zip(padding, need, have)]
    wide = K.pad(x, [*((0, 0),) * (x.ndim - n), *ends])
    w = K.windows(wide, tuple(size), tuple(stride), (1,) * n)
    for d, o in enumerate(out):
        w = K.slice(w, x.ndim - n + d, 0, o)
    total = K.sum(w, range(w.ndim - n, w.ndim))
    return K.reshape(total, (*x.shape[: x.ndim - n], *out)) / float(divisor)


def attention(b: Builder, q: Expr, k: Expr, v: Expr, mask: Expr | None, *, causal: bool, scale: Any) -> list[Expr]:
    """Attention without its scores in memory, and the logarithms of the sums of exponentials."""
    attends([q, k, v], mask, scale)
    heads, length = q.shape[1:3]
    out = (*q.shape[:3], v.shape[3])
    sums = q.shape[:3], wide(q), (length * heads, 1, heads)
    xs = [q, k, v, *(() if mask is None else (mask,))]
    return b.routine("attention", xs, [(out, q.dtype, b.laid(q, out)), sums], causal=causal, scale=float(scale))


def attention_backward(b: Builder, g: Expr, q: Expr, k: Expr, v: Expr, out: Expr, lse: Expr, mask: Expr | None, *, causal: bool,
                       scale: Any) -> list[Expr]:  # fmt: skip
    """What reaches its query, key and value."""
    attends([q, k, v, g, out], mask, scale)
    made: list[tuple[Any, ...]] = [(x.shape, x.dtype, turned(x.shape)) for x in (q, k, v)]
    parts, _ = shared_out(k.shape[0] * k.shape[1], k.shape[2])
    if parts > 1:
        made[0] = (parts, *q.shape), wide(q), None
    xs = [g, q, k, v, out, lse, *(() if mask is None else (mask,))]
    dq, dk, dv = b.routine("attention_backward", xs, made, causal=causal, scale=float(scale))
    return [dq if parts == 1 else cast(K.reshape(K.sum(dq, [0]), q.shape), q.dtype), dk, dv]


def attends(xs: Sequence[Expr], mask: Expr | None, scale: Any) -> None:
    """Refuses what the kernels of attention have no form for."""
    known = all(x.ndim == 4 and math.prod(x.shape) and x.dtype.name in FLOATS for x in xs)
    if (
        not known
        or not isinstance(scale, (int, float))
        or (mask is not None and mask.dtype.name not in FLOATS | {"bool"})
    ):
        raise Opaque("attention")


def recurrent_layer(b: Builder, x: Expr, h0: Expr, c0: Expr, weight: Expr, bias: Expr, *, kind: str, sizes: Sequence[int],
                    reverse: bool, keep: bool) -> list[Expr]:  # fmt: skip
    """A recurrent layer over all times: states, the last ones, the last cells, what the derivative needs, and all cells."""
    times = even([x, h0, c0, weight, bias], sizes)
    rows, (batch, units) = x.shape[0], h0.shape
    cells = units if kind == "lstm" else 0
    kept = (rows, SAVED[kind] * units), (rows, cells)
    shapes = [(rows, units), (batch, units), (batch, cells), *(kept if keep else ((rows, 0), (0, 0)))]
    return walked(
        b, "recurrent_layer", [x, h0, c0, weight, bias], shapes, kind=kind, times=times, reverse=reverse, keep=keep
    )


def recurrent_backward(b: Builder, *xs: Expr, kind: str, sizes: Sequence[int], reverse: bool) -> list[Expr]:
    """The gradients of its rows of sums, of the first states and cells, of the weight and the bias."""
    xs = tuple(x for n, x in enumerate(xs) if n not in absent(kind))
    times = even(xs, sizes)
    (h0, c0, weight), rows = xs[-3:], xs[0].shape[0]
    shapes = [(rows, weight.shape[0]), h0.shape, c0.shape, weight.shape, weight.shape[:1]]
    return walked(b, "recurrent_backward", xs, shapes, kind=kind, times=times, reverse=reverse)


def even(xs: Sequence[Expr], sizes: Sequence[int]) -> int:
    """How many times there are; refuses what the plans of recurrent layers have no form for."""
    if symbolic(tuple(sizes)) or any(symbolic(tuple(x.shape)) for x in xs):
        raise Opaque("recurrent layer of sizes that change")
    known = all(math.prod(x.shape) and x.dtype is xs[0].dtype for x in xs) and xs[0].dtype in (float32, float64)
    if not sizes or sizes[-1] != sizes[0] or not known:
        raise Opaque("recurrent layer")
    return len(sizes)


def walked(b: Builder, name: str, xs: Sequence[Expr], shapes: Sequence[tuple[int, ...]], **how: Any) -> list[Expr]:
    """A routine's results, of which those without elements are no arrays."""
    d = xs[0].dtype
    made = iter(b.routine(name, xs, [(s, d) for s in shapes if math.prod(s)], **how))
    return [next(made) if math.prod(s) else K.full(s, 0, d) for s in shapes]


def wide(x: Expr) -> dtype:
    """The dtype in which sums over x are kept."""
    return float64 if x.dtype is float64 else float32


def placed(b: Builder, x: Expr, *, shape: Sequence[int], where: Any) -> Expr:
    """Zeros with x in one slice."""
    dim = len(where) - 2  # before it every dim whole, after it an Ellipsis
    if not isinstance(where[dim], slice):
        raise Opaque("placed")
    start, step = where[dim].start, where[dim].step
    n, m = shape[dim], x.shape[dim]
    if step == 1:
        return K.pad(x, [(start, n - start - m) if d == dim else (0, 0) for d in range(x.ndim)])
    return sliced(K.full(tuple(shape), 0, x.dtype), (dim, start, where[dim].stop, step), x)


ROUTINES: dict[str, Callable[..., Any]] = {
    "copied": lambda b, x, dtype=None, format="": x if dtype is None else cast(x, _dtype(dtype)),
    "converted": lambda b, x, dtype: cast(x, _dtype(dtype)),
    "zeros": lambda b, shape, dtype: full(b, shape, 0, _dtype(dtype)),
    "full_as": lambda b, x, value, dtype=None, format="": full(b, x.shape, value or 0, _dtype(dtype or x.dtype)),
    **{f.__name__: f for f in (rows, take, gather, rows_backward, max_pool_backward, nll, triangular, arange, eye, avg_pool, conv_forward,
                               conv_input, conv_weight, max_pool, attention, attention_backward, recurrent_layer,
                               recurrent_backward, placed)},
}  # fmt: skip


# ---------------------------------------------------------------- operators

FREE = {"param", "const", "reshape", "permute", "expand", "slice"}  # what costs nothing to compute


def cat(b: Builder, tensors: list[Expr], dim: int = 0) -> Expr:
    """One after another along a dim."""
    xs = [x for x in tensors if x.shape != (0,)]
    d = tensors[0].dtype
    for x in tensors[1:]:
        d = promote_types(d, x.dtype)
    if not xs or d.name not in MEMORY:
        raise Opaque("cat")
    xs = [cast(x, d) for x in xs]
    dim %= xs[0].ndim
    total = sum(x.shape[dim] for x in xs)
    shape = tuple(total if i == dim else n for i, n in enumerate(xs[0].shape))
    if len(xs) > 2 or any(e.op not in FREE for x in xs for e in toposort(x)):
        return b.routine("join", xs, [(shape, d)], dim=dim)[0]
    place = along(dim, shape)
    out, stop = None, total
    for x in reversed(xs):
        start = stop - x.shape[dim]
        whole = K.pad(x, [(start, total - stop) if i == dim else (0, 0) for i in range(x.ndim)])
        out = whole if out is None else K.where(K.expand(K.lt(place, stop), shape), whole, out)
        stop = start
    assert out is not None
    return out


def stack(b: Builder, tensors: list[Expr], dim: int = 0) -> Expr:
    """Side by side in a new dim."""
    dim %= tensors[0].ndim + 1
    return cat(b, [K.reshape(x, (*x.shape[:dim], 1, *x.shape[dim:])) for x in tensors], dim)


def scatter(b: Builder, x: Expr, dim: int, index: Expr, src: Expr, reduce: Any = None) -> Expr:
    """Elements in the places along a dim that index names: where there is one for each line, chosen at each element."""
    if x.ndim == 0 or reduce not in (None, "add"):
        raise Opaque("scatter")
    dim %= x.ndim
    lines = tuple(1 if d == dim else n for d, n in enumerate(x.shape))
    if index.shape != lines or (src.ndim and src.shape != lines):
        raise Opaque("scatter")
    at = within(b, index, x.shape[dim])
    here = K.eq(along(dim, x.shape), at)
    src = K.expand(cast(src, x.dtype), x.shape)
    return K.where(K.expand(here, x.shape), x + src if reduce == "add" else src, x)


def scatter_add(b: Builder, x: Expr, dim: int, index: Expr, src: Expr) -> Expr:
    """Elements added in the places along a dim that index names."""
    return scatter(b, x, dim, index, src, "add")


def filled(b: Builder, size: Any, fill_value: Any, dtype: Any = None) -> Expr:
    """One number everywhere, which may be one that changes."""
    given = fill_value.dtype if isinstance(fill_value, Expr) else of_number(fill_value)
    d = _dtype(dtype) if dtype is not None else get_default_dtype() if given.is_floating_point else given
    value = cast(fill_value, d) if isinstance(fill_value, Expr) else constant(wrapped(fill_value, d), d)
    return K.expand(value, sizes(size))


def full_like(b: Builder, x: Expr, fill_value: Any, dtype: Any = None, memory_format: Any = None) -> Expr:
    """`filled`, of another's sizes and dtype."""
    return filled(b, x.shape, fill_value, dtype or x.dtype)


def new_full(b: Builder, x: Expr, size: Any, fill_value: Any, dtype: Any = None) -> Expr:
    """`filled`, of another's dtype."""
    return filled(b, size, fill_value, dtype or x.dtype)


def nll_of(b: Builder, x: Expr, target: Expr, weight: Expr | None, reduction: int, ignore_index: int) -> Expr:
    """`_nll`, whose body takes it for granted that targets are in range."""
    keep = K.ne(target, ignore_index)
    at = within(b, K.where(keep, target, K.like(0, target)), x.shape[min(1, x.ndim - 1)])
    if weight is not None:  # which is read there
        target = K.where(keep, at, cast(target, int64))
    made: Expr = call_body(_nll, _nll.body, (b.k,), (x, target, weight, reduction, ignore_index))
    return made


def bce_of(b: Builder, x: Expr, target: Expr) -> Expr:
    """`_bce`, whose body takes it for granted that probabilities are in range."""
    b.check(K.logical_not(K.logical_and(K.ge(x, 0.0), K.le(x, 1.0))))
    made: Expr = call_body(_bce, _bce.body, (b.k,), (x, target))
    return made


def without_zeros(b: Builder, x: Expr) -> Expr:
    """`_without_zeros`, which refuses zeros: they refuse the call."""
    b.check(K.eq(x, 0))
    return x


def again(b: Builder, x: Expr, after: Expr) -> Expr:
    """The same memory under another name."""
    s = strided(x, {leaf.expr: leaf for leaf in b.leaves})
    if s.core.op in ("const", "iota"):
        return x
    made = b.leaf(x.shape, x.dtype, s.strides)
    b.steps.append(Step("again", [x], [made], after=after))
    return made.expr


def whole(op: Op) -> Callable[..., Any]:
    """An operator by the routine that its arrays run by, where its body is for those who have none."""
    return lambda b, *xs: call_body(op, op.run, (b.k,), xs)


_NAMED: dict[str, Callable[..., Any]] = {
    "full": filled,
    "_nll": nll_of,
    "_binary_cross_entropy": bce_of,
    "_without_zeros": without_zeros,
    "_again": again,
}
OPERATORS = (
    _NAMED
    | {op.aten: whole(op) for op in (flash_attention, flash_attention_backward)}
    | {f.__name__: f for f in (cat, stack, scatter, scatter_add, full_like, new_full)}
)

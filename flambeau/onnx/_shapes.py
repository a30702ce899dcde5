"""ATen operators that move, choose, reduce and make elements, in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau.fx.node import Node
from flambeau.onnx._operators import I64, RULES, out_dtype, rule, val

END = 2**63 - 1


def axes_of(dim: Any, n: int) -> list[int]:
    if dim is None or (not isinstance(dim, int) and not len(dim)):
        return list(range(n))
    return [d % max(n, 1) for d in ([dim] if isinstance(dim, int) else dim)]


@rule("view", "reshape", "_unsafe_view", "_reshape_copy")
def _reshape(b: Any, node: Node, x: Any, shape: Sequence[Any]) -> Any:
    return b.add("Reshape", b.name(x), b.ints(shape), allowzero=int(0 in shape) or None)


@rule("flatten")
def _flatten(b: Any, node: Node, x: Any, start: int = 0, end: int = -1) -> Any:
    n = val(x).ndim
    start, end = (start % n, end % n) if n else (0, 0)
    if n == 0:
        return b.add("Reshape", b.name(x), b.ints([1]))
    return b.add("Reshape", b.name(x), b.ints([*[0] * start, -1]) if end == n - 1 else b.add(
        "Concat", b.ints([*[0] * start, -1]), b.add("Shape", b.name(x), start=end + 1), axis=0))  # fmt: skip


@rule("unflatten")
def _unflatten(b: Any, node: Node, x: Any, dim: int, sizes: Sequence[Any]) -> Any:
    n = val(x).ndim
    dim %= n
    head = b.add("Shape", b.name(x), end=dim) if dim else None
    tail = b.add("Shape", b.name(x), start=dim + 1) if dim + 1 < n else None
    parts = [p for p in (head, b.ints(sizes), tail) if p is not None]
    return b.add("Reshape", b.name(x), b.add("Concat", *parts, axis=0))


@rule("expand")
def _expand(b: Any, node: Node, x: Any, shape: Sequence[Any], **ignored: Any) -> Any:
    return b.add("Expand", b.name(x), b.ints([1 if isinstance(s, int) and s == -1 else s for s in shape]))


@rule("expand_as")
def _expand_as(b: Any, node: Node, x: Any, y: Any) -> Any:
    return b.add("Expand", b.name(x), b.add("Shape", b.name(y)))


@rule("permute")
def _permute(b: Any, node: Node, x: Any, dims: Sequence[int]) -> Any:
    return b.add("Transpose", b.name(x), perm=[d % val(x).ndim for d in dims])


@rule("transpose", "swapaxes", "swapdims")
def _transpose(b: Any, node: Node, x: Any, dim0: int, dim1: int) -> Any:
    order = list(range(val(x).ndim))
    if not order:
        return b.name(x)
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return b.add("Transpose", b.name(x), perm=order)


@rule("t", "numpy_T", "mT", "adjoint")
def _turned(b: Any, node: Node, x: Any) -> Any:
    n = val(x).ndim
    whole = "numpy_T" in str(node.target)
    order = list(range(n))[::-1] if whole or n < 2 else [*range(n - 2), n - 1, n - 2]
    return b.add("Transpose", b.name(x), perm=order)


@rule("movedim")
def _movedim(b: Any, node: Node, x: Any, source: Any, destination: Any) -> Any:
    n = val(x).ndim
    s, t = axes_of(source, n), axes_of(destination, n)
    order = [d for d in range(n) if d not in s]
    for to, d in sorted(zip(t, s, strict=True)):
        order.insert(to, d)
    return b.add("Transpose", b.name(x), perm=order)


@rule("unsqueeze")
def _unsqueeze(b: Any, node: Node, x: Any, dim: int) -> Any:
    return b.add("Unsqueeze", b.name(x), b.ints([dim % (val(x).ndim + 1)]))


@rule("squeeze")
def _squeeze(b: Any, node: Node, x: Any, dim: Any = None) -> Any:
    shape = val(x).shape
    axes = [d for d in axes_of(dim, len(shape)) if shape and shape[d] == 1]
    return b.add("Squeeze", b.name(x), b.ints(axes)) if axes else b.name(x)


@rule("slice")
def _slice(b: Any, node: Node, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    ends = b.ints([END if end is None else end])
    return b.add("Slice", b.name(x), b.ints([0 if start is None else start]), ends, b.ints([dim]), b.ints([step]))


@rule("narrow")
def _narrow(b: Any, node: Node, x: Any, dim: int, start: Any, length: Any) -> Any:
    first = b.ints([start])
    return b.add("Slice", b.name(x), first, b.add("Add", first, b.ints([length])), b.ints([dim]))


@rule("select")
def _select(b: Any, node: Node, x: Any, dim: int, index: Any) -> Any:
    return b.add("Gather", b.name(x), b.scalar(index), axis=dim)


@rule("split", "split_with_sizes", "chunk", "unbind")
def _split(b: Any, node: Node, x: Any, *args: Any) -> Any:
    kind = str(node.target).split(".")[1]
    dim = (args[0] if args else 0) if kind == "unbind" else (args[1] if len(args) > 1 else 0)
    dim %= val(x).ndim
    sizes = [1] * len(node.meta["val"]) if kind == "unbind" else [v.shape[dim] for v in node.meta["val"]]
    names = b.add("Split", b.name(x), b.ints(sizes), outputs=len(sizes), axis=dim) if len(sizes) > 1 else [b.name(x)]
    return [b.add("Squeeze", n, b.ints([dim])) for n in names] if kind == "unbind" else names


@rule("cat", "concat", "concatenate")
def _cat(b: Any, node: Node, xs: Sequence[Any], dim: int = 0) -> Any:
    d = out_dtype(node)
    return b.add("Concat", *(b.name(x, d) for x in xs if tuple(val(x).shape) != (0,)), axis=dim)


@rule("stack")
def _stack(b: Any, node: Node, xs: Sequence[Any], dim: int = 0) -> Any:
    d, dim = out_dtype(node), dim % (val(xs[0]).ndim + 1)
    return b.add("Concat", *(b.add("Unsqueeze", b.name(x, d), b.ints([dim])) for x in xs), axis=dim)


@rule("repeat", "tile")
def _repeat(b: Any, node: Node, x: Any, times: Sequence[Any]) -> Any:
    n, name = val(x).ndim, b.name(x)
    if len(times) > n:
        name = b.add("Unsqueeze", name, b.ints(list(range(len(times) - n))))
    return b.add("Tile", name, b.ints([*[1] * (n - len(times)), *times]))


@rule("flip")
def _flip(b: Any, node: Node, x: Any, dims: Sequence[int]) -> Any:
    k = len(dims)
    return b.add("Slice", b.name(x), b.ints([-1] * k), b.ints([-END] * k), b.ints(list(dims)), b.ints([-1] * k))


@rule("roll")
def _roll(b: Any, node: Node, x: Any, shifts: Any, dims: Any = ()) -> Any:
    name = b.name(x)
    flat = not isinstance(dims, int) and not len(dims)
    if flat:
        name = b.add("Reshape", name, b.ints([-1]))
    for s, d in (
        [(shifts if isinstance(shifts, int) else shifts[0], 0)]
        if flat
        else zip(
            [shifts] if isinstance(shifts, int) else shifts, [dims] if isinstance(dims, int) else dims, strict=True
        )
    ):
        if s:
            last = b.add("Slice", name, b.ints([-s]), b.ints([END]), b.ints([d]))
            name = b.add("Concat", last, b.add("Slice", name, b.ints([0]), b.ints([-s]), b.ints([d])), axis=d)
    return b.add("Reshape", name, b.add("Shape", b.name(x))) if flat else name


@rule("tril", "triu")
def _triangle(b: Any, node: Node, x: Any, diagonal: int = 0) -> Any:
    upper = int(str(node.target).split(".")[1].startswith("triu"))
    return b.add("Trilu", b.name(x), b.constant(diagonal, I64), upper=upper)


# ---- choosing ----


@rule("gather")
def _gather(b: Any, node: Node, x: Any, dim: int, index: Any, **ignored: Any) -> Any:
    return b.add("GatherElements", b.name(x), b.name(index), axis=dim)


@rule("index_select")
def _index_select(b: Any, node: Node, x: Any, dim: int, index: Any) -> Any:
    return b.add("Gather", b.name(x), b.name(index), axis=dim)


@rule("index")
def _index(b: Any, node: Node, x: Any, indices: Sequence[Any]) -> Any:
    given = [(d, i) for d, i in enumerate(indices) if i is not None]
    if any(val(i).dtype == flambeau.bool for _, i in given):
        if len(given) == 1 and given[0][0] == 0:
            return b.add("GatherND", b.name(x), b.add("Transpose", b.add("NonZero", b.name(given[0][1])), perm=[1, 0]))
        raise TypeError("masks among several indices")
    if len(given) == 1:
        return b.add("Gather", b.name(x), b.name(given[0][1]), axis=given[0][0])
    if [d for d, _ in given] != list(range(len(given))):
        raise TypeError("several indices that are not the first ones")
    shape = flambeau.broadcast_shapes(*(val(i).shape for _, i in given))
    wide = [b.add("Unsqueeze", b.add("Expand", b.name(i), b.ints(list(shape))), b.ints([len(shape)])) for _, i in given]
    return b.add("GatherND", b.name(x), b.add("Concat", *wide, axis=-1))


@rule("scatter")
def _scatter(b: Any, node: Node, x: Any, dim: int, index: Any, src: Any) -> Any:
    d = out_dtype(node)
    if not isinstance(src, Node):
        src_name = b.add("Expand", b.constant(src, d), b.add("Shape", b.name(index)))
    else:
        src_name = b.name(src, d)
    return b.add("ScatterElements", b.name(x), b.name(index), src_name, axis=dim)


@rule("topk")
def _topk(b: Any, node: Node, x: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    return b.add("TopK", b.name(x), b.ints([k]), outputs=2, axis=dim, largest=int(largest), sorted=int(sorted))


@rule("sort", "argsort")
def _sort(b: Any, node: Node, x: Any, dim: int = -1, descending: bool = False, **ignored: Any) -> Any:
    count = b.add("Gather", b.add("Shape", b.name(x)), b.ints([dim]))
    both = b.add("TopK", b.name(x), count, outputs=2, axis=dim, largest=int(descending))
    return both[1] if "argsort" in str(node.target) else both


@rule("one_hot")
def _one_hot(b: Any, node: Node, x: Any, classes: int = -1) -> Any:
    depth = node.meta["val"].shape[-1] if classes == -1 else classes
    return b.add("OneHot", b.name(x), b.ints([depth]), b.constant([0, 1], I64))


@rule("nonzero")
def _nonzero(b: Any, node: Node, x: Any) -> Any:
    return b.add("Transpose", b.add("NonZero", b.name(x)), perm=[1, 0])


# ---- reducing ----


def _reduction(word: str) -> Callable[..., Any]:
    def become(b: Any, node: Node, x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        d = out_dtype(node)
        axes = axes_of(dim, val(x).ndim)
        return b.add(
            word,
            b.name(x, d),
            b.ints(axes) if axes else None,
            keepdims=int(keepdim),
            noop_with_empty_axes=int(not axes),
        )

    return become


RULES.update(
    {n: _reduction(w) for n, w in (("sum", "ReduceSum"), ("mean", "ReduceMean"), ("prod", "ReduceProd"), ("amax", "ReduceMax"),
                                   ("amin", "ReduceMin"), ("logsumexp", "ReduceLogSumExp"))}
)  # fmt: skip


@rule("any", "all")
def _truth(b: Any, node: Node, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    word = "ReduceMax" if str(node.target).startswith("aten.any") else "ReduceMin"
    whole = b.cast(b.name(x, flambeau.bool), flambeau.int32)
    axes = axes_of(dim, val(x).ndim)
    out = b.add(word, whole, b.ints(axes) if axes else None, keepdims=int(keepdim), noop_with_empty_axes=int(not axes))
    return b.cast(out, flambeau.bool)


@rule("max", "min")
def _extreme(b: Any, node: Node, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    largest = str(node.target).startswith("aten.max")
    if isinstance(dim, Node):
        return RULES["maximum" if largest else "minimum"](b, node, x, dim)
    if dim is None:
        return b.add("ReduceMax" if largest else "ReduceMin", b.name(x), keepdims=0)
    values, places = b.add("TopK", b.name(x), b.ints([1]), outputs=2, axis=dim, largest=int(largest))
    return [values, places] if keepdim else [b.add("Squeeze", n, b.ints([dim])) for n in (values, places)]


@rule("argmax", "argmin")
def _place(b: Any, node: Node, x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    word = "ArgMax" if "argmax" in str(node.target) else "ArgMin"
    if dim is None:
        return b.add(word, b.add("Reshape", b.name(x), b.ints([-1])), axis=0, keepdims=0)
    return b.add(word, b.name(x), axis=dim, keepdims=int(keepdim))


@rule("var", "std")
def _spread(b: Any, node: Node, x: Any, dim: Any = None, *rest: Any, correction: Any = 1, unbiased: Any = None, keepdim: bool = False) -> Any:  # fmt: skip
    if isinstance(dim, bool):
        dim, correction = None, int(dim)
    elif rest:
        correction = int(rest[0])
        keepdim = rest[1] if len(rest) > 1 else keepdim
    d, axes = out_dtype(node), b.ints(axes_of(dim, val(x).ndim))
    apart = b.add("Sub", b.name(x), b.add("ReduceMean", b.name(x), axes, keepdims=1))
    total = b.add("ReduceSum", b.add("Mul", apart, apart), axes, keepdims=int(keepdim))
    count = b.add("ReduceProd", b.add("Gather", b.add("Shape", b.name(x)), axes), keepdims=0)
    n = b.add("Sub", b.cast(count, d), b.constant(1 if correction is None else correction, d))
    out = b.add("Div", total, n)
    return b.add("Sqrt", out) if str(node.target).startswith("aten.std") else out


@rule("norm", "linalg_vector_norm")
def _norm(b: Any, node: Node, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, **ignored: Any) -> Any:
    axes = b.ints(axes_of(dim, val(x).ndim))
    if p in (2, 2.0, "fro", None):
        return b.add("ReduceL2", b.name(x), axes, keepdims=int(keepdim))
    if p == 1:
        return b.add("ReduceL1", b.name(x), axes, keepdims=int(keepdim))
    if p in (math.inf, -math.inf):
        return b.add("ReduceMax" if p > 0 else "ReduceMin", b.add("Abs", b.name(x)), axes, keepdims=int(keepdim))
    raise TypeError(f"norm of order {p}")


@rule("cumsum")
def _cumsum(b: Any, node: Node, x: Any, dim: int, **ignored: Any) -> Any:
    return b.add("CumSum", b.name(x, out_dtype(node)), b.constant(dim, I64))


@rule("diff")
def _diff(b: Any, node: Node, x: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    if n != 1 or prepend is not None or append is not None:
        raise TypeError("diff of a higher order, or with more elements")
    name = b.name(x)
    after = b.add("Slice", name, b.ints([1]), b.ints([END]), b.ints([dim]))
    return b.add("Sub", after, b.add("Slice", name, b.ints([0]), b.ints([-1]), b.ints([dim])))


# ---- making ----


def _filled(b: Any, shape: Sequence[Any], value: Any, d: Any) -> Any:
    return b.add("Expand", b.constant(value, d), b.ints(list(shape)))


@rule("zeros", "new_zeros", "ones", "new_ones", "full", "new_full", "empty", "new_empty")
def _fill(b: Any, node: Node, *args: Any, **kwargs: Any) -> Any:
    kind = str(node.target).split(".")[1]
    args = args[1:] if kind.startswith("new_") else args
    value = args[1] if kind.endswith("full") else 1 if kind.endswith("ones") else 0
    return _filled(b, args[0], value, out_dtype(node))


@rule("zeros_like", "ones_like", "full_like", "empty_like")
def _fill_like(b: Any, node: Node, x: Any, value: Any = None, **kwargs: Any) -> Any:
    fill = value if value is not None else int(str(node.target).startswith("aten.ones"))
    return b.add("Expand", b.constant(fill, out_dtype(node)), b.add("Shape", b.name(x)))


@rule("arange")
def _arange(b: Any, node: Node, start: Any, end: Any = None, step: Any = 1, **kwargs: Any) -> Any:
    d = out_dtype(node)
    if end is None:
        start, end = 0, start
    return b.add("Range", b.name(start, d), b.name(end, d), b.name(step, d))


@rule("eye")
def _eye(b: Any, node: Node, n: int, m: int | None = None, **kwargs: Any) -> Any:
    return b.initializer(flambeau.eye(n, n if m is None else m, dtype=out_dtype(node)), "eye")


@rule("scalar_tensor")
def _scalar(b: Any, node: Node, value: Any, **kwargs: Any) -> Any:
    return b.constant(value, out_dtype(node))


@rule("sym_size")
def _size(b: Any, node: Node, x: Any, dim: int) -> Any:
    return b.add("Squeeze", b.add("Shape", b.name(x), start=dim, end=dim + 1 if dim != -1 else None))

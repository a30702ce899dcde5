"""gather and scatter: elements by an index for each of them, along one dimension."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Dim, Index, Kernel, N, Scalar, T
from flambeau._operators.index import changed, on_zero_arrays, on_zeros, writes
from flambeau._operators.op import ALL_FORMS, OUT, op
from flambeau._operators.sparse import _gather_sparse_backward
from flambeau._values.dtype import SPOKEN, check_fits
from flambeau._values.shape import wrap_dim

REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _fits(name: str, input: Any, dim: int, index: Any, source: Any = None) -> None:
    """Raise what PyTorch says of an index that does not fit."""
    d = wrap_dim(dim, input.ndim)
    if index.numel() == 0:
        return
    if SPOKEN[index.dtype] not in ("Long", "Int"):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    a, i = input._a.shape or (1,), index._a.shape or (1,)
    if len(a) != len(i):
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as "
            f"{'self' if source is not None or name == 'scatter' else 'input'} "
            "tensor"
        )
    s = i if source is None else source._a.shape or (1,)
    if len(s) != len(i):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    for j in range(len(i)):
        if (j != d and i[j] > a[j]) or i[j] > s[j]:
            beside = "" if source is None else f" and to be no larger size than src {list(s)}"
            raise RuntimeError(
                f"Expected index {list(i)} to be no larger than self {list(a)} apart from dimension {d}{beside}"
            )


@op("gather", promote="none", variants=OUT, lacks=("uC", "scatter_gather_tensor_cpu"), packed=True)
def gather(k: Kernel[T], input: T, dim: Dim, index: Index, *, sparse_grad: bool = False) -> T:
    """For each element of `index`, the element of `input` at that place along `dim`.

    >>> torch.tensor([[1, 2], [3, 4]]).gather(1, torch.tensor([[1], [0]]))
    tensor([[2],
            [3]])
    """
    return k.library("gather", input, index, dim=wrap_dim(dim, input.ndim))


@gather.errors
def _(input: Any, dim: int, index: Any, sparse_grad: bool) -> None:
    d = wrap_dim(dim, input.ndim)
    if index.numel() == 0:
        return
    if SPOKEN[index.dtype] not in ("Long", "Int"):
        raise RuntimeError("gather(): Expected dtype int32/int64 for index")
    a, i = input._a.shape or (1,), index._a.shape or (1,)
    if len(a) != len(i):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    for j, (n, m) in enumerate(zip(i, a, strict=True)):
        if j != d and n > m:
            raise RuntimeError(
                f"Size does not match at dimension {j} expected index {list(i)} to be no larger "
                f"than self {list(a)} apart from "
                f"dimension {d}"
            )


gather.vjp(
    input=lambda g, input_shape, dim, index, sparse_grad: (
        _gather_sparse_backward(g.new_empty(1).expand(input_shape), dim, index, g)
        if sparse_grad
        else on_zeros(g, input_shape, "scatter_add", dim, index, g)
    )
)
gather.vjp_arrays(
    input=lambda k, g, input_shape, dim, index, sparse_grad: (
        NotImplemented
        if sparse_grad
        else on_zero_arrays(k, g, input_shape, "scatter", index, g, dim=wrap_dim(dim, len(input_shape)), reduce="add")
    )
)


@op(
    "scatter.src(Tensor self, int dim, Tensor index, Tensor src)",
    "scatter.reduce(Tensor self, int dim, Tensor index, Tensor src, *, str reduce)",
    promote="none",
    variants=ALL_FORMS,
    lacks=("uC", "scatter_gather_tensor_cpu"),
    packed=True,
)
def scatter(k: Kernel[T], input: T, dim: Dim, index: Index, src: N, *, reduce: str | None = None) -> T:
    """`input` with each element of `src` in the place along `dim` that `index` names; or added ("add"), or multiplied."""
    return changed(k, "scatter", input, index, src, dim=wrap_dim(dim, input.ndim), reduce=reduce)


@scatter.errors
def _(input: Any, dim: int, index: Any, src: Any, reduce: Any) -> None:
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    _fits("scatter", input, dim, index, src if hasattr(src, "_a") else None)
    check_fits(src, input.dtype, True)
    if hasattr(src, "_a") and src._a.dtype != input._a.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")


writes(scatter)
scatter.vjp(
    input=lambda g, dim, index, reduce: (
        scatter(g, dim, index, 0) if reduce is None else g if reduce == "add" else _no_product()
    ),
    src=lambda g, dim, index, src_shape, reduce: (
        _spread(gather(g, dim, index), src_shape) if reduce != "multiply" else _no_product()
    ),
)


@op(
    "scatter.value(Tensor self, int dim, Tensor index, Scalar value)",
    "scatter.value_reduce(Tensor self, int dim, Tensor index, Scalar value, *, str reduce)",
    promote="none",
    variants=ALL_FORMS,
    packed=True,
)
def scatter_value(k: Kernel[T], input: T, dim: Dim, index: Index, value: Scalar, *, reduce: str | None = None) -> T:
    """`input` with one value in the places along `dim` that `index` names."""
    return changed(k, "scatter_value", input, index, value=value, dim=wrap_dim(dim, input.ndim), reduce=reduce)


@scatter_value.errors
def _(input: Any, dim: int, index: Any, value: Any, reduce: Any) -> None:
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    _fits("scatter", input, dim, index)
    check_fits(value, input.dtype, True)


writes(scatter_value)
scatter_value.known_as("ScatterBackward1").vjp(
    input=lambda g, dim, index, reduce: (
        scatter(g, dim, index, 0) if reduce is None else g if reduce == "add" else _no_product()
    )
)


def _no_product() -> Any:
    raise NotImplementedError("the derivative of scatter with reduce='multiply' is not implemented")


def _spread(g: Any, shape: Any) -> Any:
    """The gradient of the part of src, of a shape, that was used; zeros for the rest."""
    shape, have = tuple(shape), tuple(g.shape)
    if shape == have:
        return g
    out = g.new_zeros(shape)
    for d, n in enumerate(have):
        if n != shape[d]:
            g = _widen(g, d, shape[d])
    return g if g.numel() else out


def _widen(g: Any, d: int, n: int) -> Any:
    from flambeau._operators.part import slice_backward

    return slice_backward(g, (*g.shape[:d], n, *g.shape[d + 1 :]), d, 0, g.shape[d], 1)


@op("scatter_add", promote="none", variants=ALL_FORMS, lacks=("uC", "scatter_gather_tensor_cpu"), packed=True)
def scatter_add(k: Kernel[T], input: T, dim: Dim, index: Index, src: T) -> T:
    """`input` with each element of `src` added in the place along `dim` that `index` names."""
    return changed(k, "scatter", input, index, src, dim=wrap_dim(dim, input.ndim), reduce="add")


@scatter_add.errors
def _(input: Any, dim: int, index: Any, src: Any) -> None:
    _fits("scatter_add", input, dim, index, src)
    if src._a.dtype != input._a.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")


writes(scatter_add)
scatter_add.vjp(input=lambda g: g, src=lambda g, dim, index, src_shape: _spread(gather(g, dim, index), src_shape))


@op(
    "scatter_reduce.two",
    promote="none",
    variants=ALL_FORMS,
    packed=True,
    lacks=("uC", "scatter_reduce_exclude_input_init"),
)
def scatter_reduce(
    k: Kernel[T], input: T, dim: Dim, index: Index, src: T, reduce: str, *, include_self: bool = True
) -> T:
    """`input` with each element of `src` combined (sum, prod, mean, amax, amin) into the place along `dim` that `index` names."""
    return changed(
        k, "scatter_reduce", input, index, src, dim=wrap_dim(dim, input.ndim), reduce=reduce, include_self=include_self
    )


@scatter_reduce.errors
def _(input: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool) -> None:
    if reduce not in REDUCTIONS:
        raise RuntimeError("reduce argument must be either sum, prod, mean, amax or amin, got " + str(reduce))
    _fits("scatter_reduce", input, dim, index, src)
    if src._a.dtype != input._a.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")


writes(scatter_reduce)
scatter_reduce.vjp(
    _=lambda g, input, dim, index, src, reduce, include_self, out: _scatter_reduce_vjp(
        g, input, dim, index, src, reduce, include_self, out
    )
)


def _scatter_reduce_vjp(
    g: Any, x: Any, dim: int, at: Any, src: Any, reduce: str, own: bool, out: Any
) -> tuple[Any, ...]:
    def pick(t: Any) -> Any:
        return gather(t, dim, at)

    used = src if tuple(src.shape) == tuple(at.shape) else src[tuple(slice(0, n) for n in at.shape)]
    match reduce:
        case "sum":
            gx, gs = g, pick(g)
        case "prod":
            clean = x.masked_fill(x == 0, 1)
            gx = g * scatter_reduce(clean, dim, at, src, "prod", include_self=own) / clean
            zero = used == 0
            single = zero & (pick(scatter_add(x.new_zeros(x.shape), dim, at, zero.to(x.dtype))) == 1)
            rest = scatter_reduce(x, dim, at, used.masked_fill(single, 1), "prod", include_self=own)
            gs = pick(g * rest).where(single, pick(g * out) / used.masked_fill(zero, 1))
        case "mean":
            count = g.new_ones(g.shape) if own else g.new_zeros(g.shape)
            count = scatter_add(count, dim, at, used.new_ones(used.shape).to(g.dtype))
            count = count.masked_fill(count == 0, 1)
            gx, gs = g / count, pick(g / count)
        case _:
            mine, yours = (x == out).to(g.dtype), (used == pick(out)).to(g.dtype)
            share = g / scatter_add(mine, dim, at, yours)
            gx, gs = mine * share, yours * pick(share)
    if not own:
        gx = scatter(gx, dim, at, 0)
    return gx, None, _spread(gs, src.shape)

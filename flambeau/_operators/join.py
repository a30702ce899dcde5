"""Joining tensors: cat, stack and the stacks by name, block diagonals, grids and products of coordinates, broadcasting together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations as choose, combinations_with_replacement as choose_again
from typing import Any

from flambeau._kernel.language import Dim, Kernel, Shape, T
from flambeau._operators.create import zeros
from flambeau._operators.op import FUNCTION_OUT, composite, op
from flambeau._operators.part import _pieces, slice_, unbind
from flambeau._tensor import Tensor
from flambeau._values.dtype import of, promote_types
from flambeau._values.shape import broadcast, wrap_dim


def common(xs: Sequence[Any]) -> Any:
    """The dtype in which arrays meet; None where all have it already."""
    first = xs[0].dtype
    if not [x for x in xs if x.dtype is not first]:
        return None
    d = of(first)
    for x in xs[1:]:
        d = promote_types(d, of(x.dtype))
    return d


def _agreed(k: Any, xs: Sequence[Any]) -> Sequence[Any]:
    d = common(xs)
    return xs if d is None else [k.library("converted", x, dtype=d) for x in xs]


@op(
    "cat",
    variants=FUNCTION_OUT,
    promote="none",
    exact=False,
    names=("concat", "concatenate"),
    packed="channels",
    autocast="widest",
)
def cat(k: Kernel[T], tensors: Sequence[T], dim: Dim = 0) -> T:
    """Tensors one after another along `dim`.

    >>> torch.cat([torch.zeros(1, 2), torch.ones(2, 2)]).shape
    torch.Size([3, 2])
    """
    return _joined(k, tensors, dim)


cat.vjp(tensors=lambda g, tensors_shape, dim: _uncat(g, tensors_shape, dim))
cat.vjp_arrays(tensors=lambda k, g, tensors_shape, dim: _uncat_arrays(k, g, tensors_shape, dim))


def _joined(k: Any, tensors: Sequence[Any], dim: int) -> Any:
    d = tensors[0].dtype
    if not [x for x in tensors if x.dtype is not d or x.shape == (0,)]:
        kept = tensors
    else:
        xs = _agreed(k, tensors)
        kept = [x for x in xs if x.shape != (0,)]  # a 1-d tensor of no elements joins anything
    if not kept:
        wrap_dim(dim, 1)
        return xs[0].copy()
    try:
        return k.library("joined", *kept, dim=dim)
    except (ValueError, IndexError):
        _explain(tensors, dim)
        raise


def _explain(tensors: Sequence[Any], dim: int) -> None:
    """Raise what PyTorch says where arrays cannot be joined."""
    for i, x in enumerate(tensors):
        if not x.ndim:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    kept = [(i, x) for i, x in enumerate(tensors) if x.shape != (0,)]
    first = kept[0][1]
    dim = wrap_dim(dim, first.ndim)
    for i, x in kept:
        if x.ndim != first.ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {first.ndim} and {x.ndim}")
        for d, (n, m) in enumerate(zip(first.shape, x.shape, strict=True)):
            if n != m and d != dim:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {n} but "
                    f"got size {m} for tensor "
                    f"number {i} in the list."
                )


@cat.errors
def _(tensors: Any, dim: int) -> None:
    if isinstance(tensors, Tensor):
        raise TypeError("cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")


def _uncat(g: Any, shapes: Sequence[Shape], dim: int) -> list[Any]:
    dim, start, out = wrap_dim(dim, g.ndim), 0, []
    for shape in shapes:
        if shape == (0,):
            out.append(g.new_zeros((0,)))
            continue
        out.append(slice_(g, dim, start, start + shape[dim], 1))
        start += shape[dim]
    return out


def _uncat_arrays(k: Any, g: Any, shapes: Sequence[Shape], dim: int) -> list[Any]:
    before, start, out = (slice(None),) * wrap_dim(dim, g.ndim), 0, []
    for shape in shapes:
        if shape == (0,):
            out.append(k.xp.zeros(0, g.dtype))
            continue
        stop = start + shape[len(before)]
        out.append(g[(*before, slice(start, stop))])
        start = stop
    return out


@op("stack", variants=FUNCTION_OUT, promote="none", exact=False, packed=True, autocast="widest")
def stack(k: Kernel[T], tensors: Sequence[T], dim: Dim = 0) -> T:
    """Tensors of equal sizes side by side in a new dimension.

    >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    at = wrap_dim(dim, tensors[0].ndim + 1)
    shape = tensors[0].shape
    xs = _agreed(k, tensors)
    if at == len(shape):
        return k.library("joined", *(x.reshape(*shape, 1) for x in xs), dim=at) if shape else k.xp.array(xs)
    # One after another in the dimension that follows the new one: no tensor is reshaped, only the result.
    return k.library("joined", *xs, dim=at).reshape(*shape[:at], len(xs), *shape[at:])


stack.vjp(tensors=lambda g, dim: unbind(g, dim))
stack.vjp_arrays(tensors=lambda k, g, dim: [g[i] for g in (k.xp.moveaxis(g, dim, 0),) for i in range(len(g))])


@stack.errors
def _(tensors: Any, dim: int) -> None:
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = tensors[0]._a.shape
    if not [t for t in tensors if t._a.shape != first]:
        return
    for i, t in enumerate(tensors):
        if t._a.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(t._a.shape)} at entry {i}"
            )


# ---------------------------------------------------------------- stacks by name


@composite("atleast_1d", variants=())
def atleast_1d(input: Tensor) -> Tensor:
    """With at least one dimension."""
    return input if input.ndim >= 1 else input.reshape(1)


@composite("atleast_2d", variants=())
def atleast_2d(input: Tensor) -> Tensor:
    """With at least two dimensions."""
    return input.reshape(1, 1) if input.ndim == 0 else input.unsqueeze(0) if input.ndim == 1 else input


@composite("atleast_3d", variants=())
def atleast_3d(input: Tensor) -> Tensor:
    """With at least three dimensions."""
    match input.ndim:
        case 0:
            return input.reshape(1, 1, 1)
        case 1:
            return input.unsqueeze(0).unsqueeze(-1)
        case 2:
            return input.unsqueeze(-1)
    return input


def _nonempty(name: str, tensors: Any) -> None:
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")


@composite("hstack", variants=FUNCTION_OUT)
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side: along columns (vectors along their only dimension)."""
    _nonempty("hstack", tensors)
    xs = [atleast_1d(t) for t in tensors]
    return cat(xs, 0 if xs[0].ndim == 1 else 1)


@composite("vstack", variants=FUNCTION_OUT, names=("row_stack",))
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one below the other."""
    _nonempty("vstack", tensors)
    return cat([atleast_2d(t) for t in tensors], 0)


@composite("dstack", variants=FUNCTION_OUT)
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one behind the other, along the third dimension."""
    _nonempty("dstack", tensors)
    return cat([atleast_3d(t) for t in tensors], 2)


@composite("column_stack", variants=FUNCTION_OUT)
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Vectors as columns, matrices side by side."""
    _nonempty("column_stack", tensors)
    return hstack([t.reshape(t.numel(), 1) if t.ndim <= 1 else t for t in tensors])


@composite("block_diag", variants=())
def block_diag(tensors: Sequence[Tensor]) -> Tensor:
    """Matrices along the diagonal, zeros elsewhere."""
    if not tensors:
        return zeros((1, 0))
    xs = []
    for i, t in enumerate(tensors):
        if t.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t.ndim} dimensions"
            )
        xs.append(atleast_2d(t))
    width = sum(x.shape[1] for x in xs)
    d = common([x._a for x in xs])
    rows, before = [], 0
    for x in xs:
        x = x if d is None else x.to(d)
        rows.append(
            cat([x.new_zeros((x.shape[0], before)), x, x.new_zeros((x.shape[0], width - before - x.shape[1]))], 1)
        )
        before += x.shape[1]
    return cat(rows, 0)


# ---------------------------------------------------------------- grids and products


@composite("broadcast_tensors", variants=())
def broadcast_tensors(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """All tensors, expanded to the shape in which they meet."""
    shape = broadcast(*[t.shape for t in tensors])
    return tuple([t.expand(shape) for t in tensors])


@composite("meshgrid(Tensor[] tensors)", "meshgrid.indexing(Tensor[] tensors, *, str indexing)", variants=())
def meshgrid(tensors: Sequence[Tensor], indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinates of a grid: each vector, expanded over the dimensions of all the others."""
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for t in tensors:
        if t.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {t}")
        if t._a.dtype != tensors[0]._a.dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    if indexing is None:
        from warnings import warn

        warn("torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.", stacklevel=3)
    elif indexing not in ("xy", "ij"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    swap = indexing == "xy" and len(tensors) >= 2
    xs = list(tensors)
    if swap:
        xs[0], xs[1] = xs[1], xs[0]
    shape = tuple(t.numel() for t in xs)
    grids = [t.reshape((1,) * i + (-1,) + (1,) * (len(xs) - 1 - i)).expand(shape) for i, t in enumerate(xs)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@composite("cartesian_prod", variants=())
def cartesian_prod(tensors: Sequence[Tensor]) -> Tensor:
    """Every combination of one element from each vector, as rows."""
    for t in tensors:
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([g.reshape(-1) for g in meshgrid(tensors, "ij")], 1)


@composite("combinations", variants=("function",))
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of `r` elements of a vector, as rows."""
    if input.ndim != 1:
        raise RuntimeError("Expect a 1D vector, but got shape " + str(list(input.shape)))
    if r < 0:
        raise RuntimeError("Expect a non-negative number, but got " + str(r))
    if r == 0:
        return input.new_empty((0,))
    n = input.shape[0]
    if r == 2:
        from flambeau._operators.create import triu_indices

        return input[triu_indices(n, n, 0 if with_replacement else 1, device=input.device).t().contiguous()]
    rows = list((choose_again if with_replacement else choose)(range(n), r))
    columns = [[row[j] for row in rows] for j in range(r)]
    return stack([input[column] for column in columns], 1)


__all__ = ["_pieces", "cat", "stack"]

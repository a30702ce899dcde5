"""vmap: a function of samples becomes a function of batches."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any

from flambeau._ground.errors import NeedsElements, Unbatched
from flambeau._ground.tree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten
from flambeau._tensor import Tensor
from flambeau.func._batched import BatchedTensor, batched, unwrap, vmap_level

Dims = Any  # an int or None, or a tree of them


def vmap(func: Callable[..., Any], in_dims: Dims = 0, out_dims: Dims = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Callable[..., Any]:  # fmt: skip
    """`func`, which works on samples, as a function of batches.

    Arguments:
        func: takes and returns trees of tensors.
        in_dims: which dimension of each input is the batch; None: the input is the same for all samples. An int, or a tree as the inputs.
        out_dims: where the batch goes in each output. An int, or a tree as the outputs.
        randomness: "error" refuses random operators, "same" draws once for all samples, "different" for each.
        chunk_size: at most so many samples at once.

    Raises ValueError where the inputs do not fit `in_dims`, or differ in the size of the batch.

    >>> import flambeau as torch
    >>> x, y = torch.arange(6.0).view(2, 3), torch.ones(3)
    >>> torch.vmap(torch.dot, in_dims=(0, None))(x, y)
    tensor([ 3., 12.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        parts = sys.modules.get("flambeau._functorch.vmap")
        if parts is not None and parts.replaced():
            return _by_parts(parts, func, in_dims, args, out_dims, randomness, kwargs)
        size, dims, flat, spec = batch_inputs(in_dims, args, func)
        if chunk_size is None or chunk_size >= size:
            return run(func, size, dims, flat, spec, out_dims, randomness, kwargs)
        parts = []
        for start in range(0, size, chunk_size):
            n = min(chunk_size, size - start)
            part = [x if d is None else x.narrow(d, start, n) for x, d in zip(flat, dims, strict=True)]
            parts.append(run(func, n, dims, part, spec, out_dims, randomness, kwargs))
        return joined(parts, out_dims, func)

    return mapped


def _by_parts(parts: Any, func: Any, in_dims: Dims, args: Any, out_dims: Dims, randomness: str, kwargs: Any) -> Any:
    """`vmap` by functions that a library put in the place of its parts, as tensordict does to map over its dictionaries."""
    size, dims, flat, spec = parts._process_batched_inputs(in_dims, args, func)
    with vmap_level(size, randomness) as level:
        try:
            result = func(*parts._create_batched_inputs(dims, flat, level.depth, spec), **kwargs)
        except (NeedsElements, Unbatched) as problem:
            raise RuntimeError(str(problem)) from None
        return parts._unwrap_batched(result, out_dims, level.depth, size, func)


def joined(parts: list[Any], out_dims: Dims, func: Any) -> Any:
    """The outputs of several chunks, along their batch dimensions."""
    from flambeau._eager.names import public

    flat = [tree_flatten(p) for p in parts]
    spec = flat[0][1]
    dims = _output_dims(out_dims, flat[0][0], spec, func)
    outs = [
        columns[0] if d is None else public("cat")(list(columns), d)
        for columns, d in zip(zip(*(leaves for leaves, _ in flat), strict=True), dims, strict=True)
    ]
    return tree_unflatten(outs, spec)


def _name(func: Any) -> str:
    return getattr(func, "__name__", None) or repr(func)


def batch_inputs(in_dims: Dims, args: tuple[Any, ...], func: Any) -> tuple[int, list[int | None], list[Any], Any]:
    """(size of the batch, its dimension in each input, the inputs, their tree)."""
    said = f"vmap({_name(func)}, in_dims={in_dims}, ...)(<inputs>): "
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{said}expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({_name(func)})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a function "
            "with no inputs. The latter is unsupported."
        )
    flat, spec = tree_flatten(args)
    dims = _broadcast_to_and_flatten(in_dims, spec)
    if dims is None:
        raise ValueError(
            f"{said}in_dims is not compatible with the structure of `inputs`. in_dims has structure {tree_flatten(in_dims)[1]} but "
            f"inputs has structure {spec}."
        )
    out: list[int | None] = []
    for x, d in zip(flat, dims, strict=True):
        if not isinstance(d, int) and d is not None:
            raise ValueError(
                f"{said}Got in_dim={d} for an input but in_dim must be either an integer dimension or None."
            )
        if isinstance(d, int) and not isinstance(x, Tensor):
            raise ValueError(
                f"{said}Got in_dim={d} for an input but the input is of type {type(x)}. We cannot vmap over non-Tensor arguments, please "
                "use None as the respective in_dim"
            )
        if d is not None and not -x.ndim <= d < x.ndim:
            raise ValueError(
                f"{said}Got in_dim={d} for some input, but that input is a Tensor of dimensionality {x.ndim} so expected in_dim to "
                f"satisfy -{x.ndim} <= in_dim < {x.ndim}."
            )
        out.append(d if d is None or d >= 0 else d + x.ndim)
    sizes = [x.shape[d] for x, d in zip(flat, out, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any(n != sizes[0] for n in sizes):
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0], out, flat, spec


def run(func: Any, size: int, dims: Iterable[int | None], flat: list[Any], spec: Any, out_dims: Dims, randomness: str,
        kwargs: Any) -> Any:  # fmt: skip
    """The function over one batch."""
    with vmap_level(size, randomness) as level:
        given = [x if d is None else batched(x if d == 0 else x.movedim(d, 0), level.depth) for x, d in zip(flat, dims)]
        try:
            result = func(*tree_unflatten(given, spec), **kwargs)
        except (NeedsElements, Unbatched) as problem:
            raise RuntimeError(str(problem)) from None
        outs, out_spec = tree_flatten(result)
        wanted = _output_dims(out_dims, outs, out_spec, func)
    return tree_unflatten([_left(x, level, d, func) for x, d in zip(outs, wanted, strict=True)], out_spec)


def _left(x: Any, level: Any, dim: Any, func: Any) -> Any:
    if dim is None:
        if type(x) is BatchedTensor and x._level == level.depth:
            raise ValueError(
                f"vmap({_name(func)}, ...): `{_name(func)}` can not return a BatchedTensor when out_dim is None"
            )
        return x
    if not isinstance(x, Tensor):
        raise ValueError(
            f"vmap({_name(func)}, ...): `{_name(func)}` must only return Tensors, got type {type(x)}. Did you mean to set out_dims= to "
            "None for output?"
        )
    return unwrap(x, level, dim)


def _output_dims(out_dims: Dims, outs: list[Any], spec: Any, func: Any) -> list[int | None]:
    if out_dims is None or isinstance(out_dims, int):
        return [out_dims] * len(outs)
    if len(outs) == 1 and spec.is_leaf():
        if isinstance(out_dims, tuple) and len(out_dims) == 1 and isinstance(out_dims[0], int):
            return [out_dims[0]]
    found = _broadcast_to_and_flatten(out_dims, spec)
    if found is None:
        raise ValueError(
            f"vmap({_name(func)}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of `outputs`. "
            f"out_dims has structure {tree_flatten(out_dims)[1]} but outputs has structure {spec}."
        )
    if not all(d is None or isinstance(d, int) for d in found):
        raise ValueError(
            f"vmap({_name(func)}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python collection of ints representing "
            "where in the outputs the vmapped dimension should appear."
        )
    return found

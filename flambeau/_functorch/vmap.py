"""The parts of `vmap` that other libraries take: inputs into batched tensors, outputs out of them."""

from __future__ import annotations

from typing import Any

from flambeau._C._functorch import (
    _add_batch_dim as _add_batch_dim,
    _remove_batch_dim as _remove_batch_dim,
    _vmap_decrement_nesting as _vmap_decrement_nesting,
    _vmap_increment_nesting as _vmap_increment_nesting,
    is_batchedtensor as is_batchedtensor,
)
from flambeau._ground.tree import (
    _broadcast_to_and_flatten as _broadcast_to_and_flatten,
    tree_flatten as tree_flatten,
    tree_unflatten as tree_unflatten,
)
from flambeau._tensor import Tensor as Tensor
from flambeau.func._vmap import _name as _get_name, _output_dims, batch_inputs, vmap as vmap

__all__ = ["_get_name", "vmap"]


def _process_batched_inputs(in_dims: Any, args: Any, func: Any) -> tuple[int, list[Any], list[Any], Any]:
    """(size of the batch, its dimension in each input, the inputs, their tree)."""
    return batch_inputs(in_dims, args, func)


def _create_batched_inputs(flat_in_dims: Any, flat_args: Any, vmap_level: int, args_spec: Any) -> Any:
    """The inputs as tensors of one sample."""
    given = [x if d is None else _add_batch_dim(x, d, vmap_level) for x, d in zip(flat_args, flat_in_dims, strict=True)]
    return tree_unflatten(given, args_spec)


def _maybe_remove_batch_dim(name: str, batched_output: Any, vmap_level: int, batch_size: int, out_dim: Any) -> Any:
    """An output with all its samples, along `out_dim`."""
    if out_dim is None:
        if is_batchedtensor(batched_output):
            raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
        return batched_output
    if not isinstance(batched_output, Tensor):
        raise ValueError(
            f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(batched_output)}. Did you mean to set out_dims= to "
            "None for output?"
        )
    return _remove_batch_dim(batched_output, vmap_level, batch_size, out_dim)


def _unwrap_batched(batched_outputs: Any, out_dims: Any, vmap_level: int, batch_size: int, func: Any) -> Any:
    """The outputs with all their samples."""
    flat, spec = tree_flatten(batched_outputs)
    dims = _output_dims(out_dims, flat, spec, func)
    name = _get_name(func)
    return tree_unflatten(
        [_maybe_remove_batch_dim(name, x, vmap_level, batch_size, d) for x, d in zip(flat, dims, strict=True)], spec
    )


_OWN = (_process_batched_inputs, _create_batched_inputs, _unwrap_batched)


def replaced() -> bool:
    """Whether a library put functions of its own in the place of these; `vmap` then goes through them."""
    return (_process_batched_inputs, _create_batched_inputs, _unwrap_batched) != _OWN

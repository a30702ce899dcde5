"""`torch._C._functorch`: batched tensors by their parts, for libraries with a `vmap` over containers of their own."""

from __future__ import annotations

from typing import Any

from flambeau.func import _batched
from flambeau.func._batched import BatchedTensor, batched, unwrap


def is_batchedtensor(tensor: Any) -> bool:
    """Whether a tensor stands for one sample of a batch."""
    return type(tensor) is BatchedTensor


is_functorch_wrapped_tensor = is_batchedtensor


def is_legacy_batchedtensor(tensor: Any) -> bool:
    """No: there is one kind of batched tensors."""
    return False


is_gradtrackingtensor = is_functionaltensor = is_legacy_batchedtensor


def get_unwrapped(tensor: Any) -> Any:
    """All samples of a batched tensor; any other tensor as it is."""
    return tensor._value if is_batchedtensor(tensor) else tensor


def maybe_get_bdim(tensor: Any) -> int:
    """Which dimension of `get_unwrapped` is the batch: the first; -1 where there is none."""
    return 0 if is_batchedtensor(tensor) else -1


def maybe_get_level(tensor: Any) -> int:
    """The level of the `vmap` that a batched tensor belongs to; -1 for others."""
    return tensor._level if is_batchedtensor(tensor) else -1


def maybe_current_level() -> int | None:
    """The level of the innermost `vmap` that is running."""
    return _batched.LEVELS.open[-1].depth if _batched.LEVELS.open else None


def _add_batch_dim(tensor: Any, in_dim: int, level: int) -> Any:
    """A tensor for one sample of a batch along a dimension."""
    return batched(tensor if in_dim == 0 else tensor.movedim(in_dim, 0), level)


def _remove_batch_dim(tensor: Any, level: int, batch_size: Any, out_dim: int) -> Any:
    """All samples, along a dimension."""
    return unwrap(tensor, next(at for at in _batched.LEVELS.open if at.depth == level), out_dim)


def _vmap_increment_nesting(batch_size: int, randomness: str) -> int:
    """Opens a level; its number."""
    block = _batched.vmap_level(batch_size, randomness)
    _open.append(block)
    return block.__enter__().depth


def _vmap_decrement_nesting() -> int:
    """Closes the innermost level; its number."""
    block = _open.pop()
    block.__exit__(None, None, None)
    return block.level.depth


_open: list[Any] = []

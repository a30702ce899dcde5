"""Gradients averaged as they are, or in 16 bits. The state of a hook is its group, None for the default one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau
from flambeau import distributed as dist

__all__ = [
    "allreduce_hook",
    "bf16_compress_hook",
    "bf16_compress_wrapper",
    "fp16_compress_hook",
    "fp16_compress_wrapper",
]


def _mean(group: Any, tensor: Any) -> Any:
    """The future of the ranks' mean. Divided first, so that halves do not overflow."""
    work: Any = dist.all_reduce(tensor.div_(dist.get_world_size(group)), group=group, async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def allreduce_hook(process_group: Any, bucket: Any) -> Any:
    """Average the gradients."""
    return _mean(process_group, bucket.buffer())


def _in(dtype: Any, process_group: Any, bucket: Any) -> Any:
    buffer = bucket.buffer()
    half = _mean(process_group, buffer.to(dtype))
    return half.then(lambda future: buffer.copy_(future.value()))


def fp16_compress_hook(process_group: Any, bucket: Any) -> Any:
    """Average the gradients in float16."""
    return _in(flambeau.float16, process_group, bucket)


def bf16_compress_hook(process_group: Any, bucket: Any) -> Any:
    """Average the gradients in bfloat16."""
    return _in(flambeau.bfloat16, process_group, bucket)


def _wrapper(dtype: Any, hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compressed(state: Any, bucket: Any) -> Any:
        buffer = bucket.buffer()
        bucket.set_buffer(buffer.to(dtype))

        def widen(future: Any) -> Any:
            found = future.value()
            return buffer.copy_(found[0] if isinstance(found, (list, tuple)) else found)

        return hook(state, bucket).then(widen)

    return compressed


def fp16_compress_wrapper(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A hook that gets, and gives, the gradients in float16."""
    return _wrapper(flambeau.float16, hook)


def bf16_compress_wrapper(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A hook that gets, and gives, the gradients in bfloat16."""
    return _wrapper(flambeau.bfloat16, hook)

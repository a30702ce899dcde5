"""Attention by the generated kernels; None where there is no kernel: then the operator's own definition runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu.library_product import native


def attention(q: Any, k: Any, v: Any, mask: Any, *, causal: bool, scale: float) -> tuple[Any, Any] | None:
    """(result, logarithms of the sums of exponentials) of attention over (batch, heads, length, width)."""
    if not native():
        return None
    from flambeau._backends.cpu.attention import attention

    return attention(q, k, v, mask, causal, scale)


def attention_backward(
    g: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, mask: Any, *, causal: bool, scale: float
) -> tuple[Any, Any, Any] | None:
    """The gradients of q, k and v."""
    if not native():
        return None
    from flambeau._backends.cpu.attention_backward import backward

    return backward(g, q, k, v, out, lse, mask, causal, scale)


def laid_like(x: Any, like: Any) -> Any:
    """x in memory as results for a query `like` lie."""
    out = np.ndarray(x.shape, x.dtype, np.empty(x.nbytes, np.uint8), 0, dense_like(like.strides, x.shape, x.itemsize))
    out[...] = x
    return out


def dense_like(strides: Sequence[int], shape: Sequence[int], item: int) -> tuple[int, ...]:
    """Strides of a new array of a shape: the last dim innermost, the others in the order of these strides; `item` is the least."""
    order = sorted(range(len(shape) - 1), key=lambda i: -abs(strides[i]))  # stable: of equals the outer one stays outer
    made, step = [0] * len(shape), item
    for i in [*order, len(shape) - 1][::-1]:
        made[i] = step
        step *= max(shape[i], 1)
    return tuple(made)

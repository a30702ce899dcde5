"""Finite differences of functions of sparse tensors: as functions of their values, or of all their elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._backends.sparse_arrays import BLOCKED
from flambeau._eager.names import public
from flambeau._eager.sparse.parts import is_sparse
from flambeau._tensor import Tensor


def over_parts(
    func: Callable[..., Any], given: tuple[Any, ...], masked: bool
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The same function of strided tensors: the values that are there (masked), or all elements; and those tensors."""
    patterns: list[Any] = []
    parts: list[Any] = []
    for x in given:
        if not is_sparse(x) or not x.requires_grad:
            patterns.append(None)
            parts.append(x)
            continue
        t = x.detach()
        t = t.coalesce() if t.is_sparse else t
        patterns.append(t)
        parts.append((t.values() if masked else t.to_dense()).clone().requires_grad_())

    def on_parts(*parts: Any) -> Any:
        out = func(*(x if t is None else _whole(x, t, masked) for x, t in zip(parts, patterns, strict=True)))
        return tuple(map(_dense, out)) if isinstance(out, (tuple, list)) else _dense(out)

    return on_parts, tuple(parts)


def _whole(x: Any, t: Any, masked: bool) -> Any:
    if masked:
        return public("_sparse_with_values")(x, t)
    if t.is_sparse:
        return x.to_sparse(t.sparse_dim())
    return x.to_sparse(layout=t.layout, blocksize=tuple(t._a.blocksize) if t.layout in BLOCKED else None)


def _dense(x: Any) -> Any:
    return x.to_dense() if isinstance(x, Tensor) else x

"""Cases of state that changes between calls: each runs its program twice, once eagerly and once compiled, and must tell the same.

A case is a function of `wrap`, which is the identity or `torch.compile`. What it returns (results and state, nested) is compared bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import flambeau as torch
from flambeau import Tensor, nn

CASES: list[Any] = []


def case(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Add a case."""
    CASES.append(fn)
    return fn


def whole(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Add a case whose function must be captured without any break."""
    fn.whole = True  # type: ignore[attr-defined]
    return case(fn)


def near(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The order of sums is another one than eager's, and half precision is rounded less often: compared within bounds."""
    fn.within = 0.02 if fn.__module__.endswith("autocast") else 1e-6  # type: ignore[attr-defined]
    return fn


def x(n: int = 3, seed: int = 0) -> Tensor:
    """Some numbers, the same at each call."""
    return torch.arange(n, dtype=torch.float32) * 0.75 - 1.0 + seed


def same(a: Any, b: Any, within: float = 0.0) -> bool:
    """Equal, of the same types, throughout; elements bit for bit, or within a bound."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return (
            a.shape == b.shape and a.dtype is b.dtype and a.stride() == b.stride() and a.requires_grad == b.requires_grad
            and (
                _bytes(a) == _bytes(b)
                or (within > 0 and torch.allclose(a.detach(), b.detach(), within, within, equal_nan=True))
            )
        )  # fmt: skip
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k], within) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, within) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and within > 0:
        return repr(a) == repr(b) or abs(a - b) <= within * max(1.0, abs(a))
    if isinstance(a, (int, float, str, bool, type(None), set, frozenset, type, torch.dtype)):
        return repr(a) == repr(b)
    return same(vars(a), vars(b), within) if hasattr(a, "__dict__") else bool(a == b)


def _bytes(t: Tensor) -> bytes:
    t = t.detach()
    return (t.reshape(-1).view(torch.int16) if t.dtype is torch.bfloat16 else t).numpy().tobytes()


def freeze(v: Any) -> Any:
    """A copy that later changes do not reach."""
    if isinstance(v, Tensor):
        return v.detach().clone() if not v.requires_grad else v.detach().clone().requires_grad_()
    if isinstance(v, dict):
        return {k: freeze(y) for k, y in v.items()}
    if isinstance(v, list):
        return [freeze(y) for y in v]
    if type(v) is tuple:
        return tuple(freeze(y) for y in v)
    return v


def calls(f: Callable[..., Any], *args_of_calls: Any) -> list[Any]:
    """What a function gives at several calls."""
    return [freeze(f(*a)) for a in args_of_calls]


def twice(f: Callable[..., Any], *args: Any) -> list[Any]:
    """What a function gives at two equal calls."""
    return calls(f, args, args)


def net(*sizes: int) -> Any:
    """Linear layers of these widths."""
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sizes or (3, 4, 3))))


def rows(n: int = 4, seed: int = 0) -> Tensor:
    """A batch of n rows of three numbers."""
    return torch.stack([x(3, i + seed) for i in range(n)])

"""Readings: what operators mean for arrays that are more than strided memory.

Each kind of such arrays (sparse, nested, quantized) has a package beside this file, with its tables of readings and how they are
called; here stands what these share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._operators.op import Op
from flambeau._tensor import Tensor

Table = dict[str, Callable[..., Any]]  # overload -> the reading


def entering(table: Table) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """A decorator that enters functions in a table, for the overloads that it is given; facts become their attributes."""

    def reading(*overloads: str, **facts: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def add(fn: Callable[..., Any]) -> Callable[..., Any]:
            fn.__dict__.update(facts)
            table.update(dict.fromkeys(overloads, fn))
            return fn

        return add

    return reading


def spelled(op: Op, values: Sequence[Any], suffix: str) -> str:
    """The overload that a call would have in PyTorch: numbers take other overloads than tensors."""
    name = op.overload
    base, dot, rest = next((o for o in op.overloads if o.startswith("_")), name).partition(".")
    if base.endswith("_"):
        suffix = ""
    if rest == "Tensor" and any(
        p.annotation.startswith("N") and not isinstance(v, Tensor)
        for p, v in zip(op.params[1:], values[1:], strict=True)
    ):
        for other in op.overloads:
            if other.partition(".")[2] in ("Scalar", "Tensor_Scalar"):
                base, dot, rest = other.partition(".")
    return base + suffix + dot + rest


def refusal(name: str, backend: str, others: str = "layouts") -> NotImplementedError:
    """The error for an operator that a backend of PyTorch's does not have."""
    return NotImplementedError(
        f"Could not run 'aten::{name}' with arguments from the '{backend}' backend. This could be because the operator doesn't exist for "
        "this backend, or was omitted during the selective/custom build process (if using custom build). If you are a Facebook employee "
        "using PyTorch on mobile, please visit https://fburl.com/ptmfixes for possible resolutions. "
        f"'aten::{name}' is only available for other {others} and devices."
    )

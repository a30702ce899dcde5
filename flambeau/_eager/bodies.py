"""Reading an operator's body with arrays."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from flambeau._backends import meta
from flambeau._backends.cpu.arrays import QUIET, K, kernel, loud, quiet
from flambeau._eager.modes import STATE
from flambeau._operators.op import Op
from flambeau._values.shape import broadcast


def call_body(op: Op, body: Any, first: tuple[Any, ...], values: tuple[Any, ...]) -> Any:
    """Call a body (or another reading of it) with positional values where its parameters are keyword-only."""
    names = op.keywords
    if not names:
        return body(*first, *values)
    n = len(values) - len(names)
    return body(*first, *values[:n], **dict(zip(names, values[n:], strict=True)))


def run(op: Op, arrays: tuple[Any, ...], steps: Any = None) -> Any:
    """Read the body with arrays, quietly; `steps` is the dtype to which its steps are rounded."""
    if STATE.stand is not None:
        return STATE.stand(op, arrays)
    token = quiet(QUIET)
    try:
        if meta.has_meta(arrays):
            if op.custom is not None:
                return call_body(op, op.run, (K,), arrays)
            if op.view and type(arrays[0]) is meta.MetaArray:
                with suppress(meta.NoMoveError, AttributeError):
                    return call_body(op, op.run, (meta.MOVES,), arrays)
            return meta.lifted(call_body(op, op.run, (K,), meta.lowered(arrays, op.indices)))
        return call_body(op, op.run, (kernel_for(arrays, steps),), arrays)
    except ValueError:
        if op.kind == "pointwise":
            broadcast(
                *(a.shape for a in arrays if hasattr(a, "shape"))
            )  # says which sizes do not fit, in PyTorch's words
        raise
    finally:
        loud(token)


def kernel_for(arrays: tuple[Any, ...], steps: Any = None) -> Any:
    """The kernel of the backend that the arrays belong to."""
    return K if steps is None else kernel(steps)

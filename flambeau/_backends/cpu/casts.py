"""Large arrays to and from the narrow floats, by generated kernels: NumPy converts those one by one. The bits are the same."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from flambeau._backends.cpu.arrays import QUIET, loud, quiet

LARGE = 1 << 13  # elements
_HALF, _BRAIN, _SINGLE, _DOUBLE = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16), np.dtype("f4"), np.dtype("f8")
_FAST = frozenset(
    (a, b)
    for n in (_HALF, _BRAIN)
    for w in (_SINGLE, _DOUBLE)
    for a, b in ((n, w), (w, n))
    if (a, b) != (_DOUBLE, _BRAIN)
)
_kernels: dict[Any, Any] = {}


def astype(x: Any, d: Any) -> Any:
    """x in another dtype; x itself where it has that already."""
    if x.dtype is d or x.dtype == d:
        return x
    if type(x) is not np.ndarray or x.size < LARGE or (x.dtype, d) not in _FAST:
        return _converted(x, d)
    kernel = _kernels.get((x.dtype, d))
    if kernel is None:
        kernel = _kernels[x.dtype, d] = _compiled(d)
    try:
        found = kernel(x)
    except (NotImplementedError, KeyError, TypeError):
        found = None
    return _converted(x, d) if found is None else found


def _converted(x: Any, d: Any) -> Any:
    """By NumPy, which is not to warn of numbers that a narrow float has no room for."""
    if type(d) is type:
        d = np.dtype(d)
    if d.fields or x.dtype.fields:  # complex numbers of two halves
        from flambeau._backends.cpu.library import find
        from flambeau._values.dtype import of

        return find("converted")(x, dtype=of(d))
    if d.itemsize > 2:
        return x.astype(d)
    token = quiet(QUIET)
    try:
        return x.astype(d)
    finally:
        loud(token)


def _compiled(d: Any) -> Any:
    from flambeau._backends.cpu.engine import available
    from flambeau._ground import flags
    from flambeau._values.dtype import of

    if not flags.get("native") or not available():
        return lambda x: None
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import cast

    to = of(d)
    return compile(lambda x: cast(x, to))

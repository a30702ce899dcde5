"""Copies of large arrays that turn dims about, by kernels; NumPy is as fast where both sides walk memory alike.

Bits are moved, not numbers: an array is seen as one of floats of its element's size. Overlapping memory is left to NumPy.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

LARGE = 1 << 15  # elements: a copy of fewer is over before a kernel has begun
SEEN_AS = {4: np.dtype("f4"), 8: np.dtype("f8")}


@cache
def _table() -> Any:
    """The table of copies; None where kernels cannot be generated."""
    from flambeau._backends.cpu.engine import available

    if not available():
        return None
    from flambeau._backends.cpu.launch import Table

    return Table("copy")


def copy_into(out: Any, x: Any) -> None:
    """out[...] = x, for arrays of one dtype and shape."""
    if (
        x.size >= LARGE
        and x.itemsize in SEEN_AS
        and x.dtype.kind in "fiuc"
        and _turned(out, x)
        and _table() is not None
    ):
        d = SEEN_AS[x.itemsize]
        if _launched(out if out.dtype is d else out.view(d), x if x.dtype is d else x.view(d)):
            return
    out[...] = x


def _turned(out: Any, x: Any) -> bool:
    """Whether the dim that lies innermost on one side does not on the other."""
    steps = [(abs(a), abs(b)) for a, b, n in zip(out.strides, x.strides, x.shape, strict=True) if n > 1]
    return bool(steps) and min(steps)[1] != min(b for _, b in steps)


def _launched(out: Any, x: Any) -> bool:
    table = _table()
    if table.call(out, x) is not None:
        return True
    from flambeau._backends.cpu.compile import RELEASE, fits, layout, native, recorded
    from flambeau._backends.cpu.launch import ARG, CONST, Launch, Plan, overlapping
    from flambeau._kernel.fuse import fuse

    if not (fits(out) and fits(x)) or x.shape != out.shape or 0 in out.strides or overlapping((out, x), (0,)):
        return False
    program = fuse([recorded(x, 0)], [layout(x)], [layout(out)])
    launches, codes = [], []
    for step in program.launches:
        code = native(step.kernel)
        codes.append(code)
        slots = [(ARG, 1 if kind == "in" else 0) for kind, _ in step.operands]
        slots += [(CONST, n) for n in (*step.sizes, *step.grain)]
        launches.append(Launch(code["k"], tuple(slots), step.chunks, step.scratch))
    table.add((out, x), Plan((), tuple(launches), 0, x.size >= RELEASE, (0,), tuple(codes)))
    return table.call(out, x) is not None

"""From what a body gave to what its caller gets: arrays in order, in their dtype, as tensors with history."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.cpu.casts import astype
from flambeau._backends.cpu.layouts import FORMATS, channels_last as lies_last, laid, walked
from flambeau._backends.meta import MetaArray
from flambeau._backends.pending_arrays import NONE
from flambeau._eager import record
from flambeau._eager.graph import inferred
from flambeau._eager.modes import STATE
from flambeau._eager.views import signed, view, views
from flambeau._operators.op import Op
from flambeau._tensor import Tensor, wrap
from flambeau._values import device as devices, dtype as dtypes


def packed(r: Any, how: bool | str, like: Any = None) -> Any:
    """Arrays in order (see `Op.packed`): so PyTorch makes the results of operators that are not elementwise. `like`: the first operand."""
    if type(r) is tuple or type(r) is list:
        return type(r)(packed(x, how, like) for x in r)
    if how == "images" and type(r) is np.ndarray and r.ndim in FORMATS and r.ndim == like.ndim and lies_last(like):
        return laid(r, True)
    if type(r) is not np.ndarray or r.flags.c_contiguous or (how == "channels" and channels_last(r)):
        return r
    return np.ascontiguousarray(r)


def channels_last(a: Any) -> bool:
    """Whether the channels of images or volumes lie side by side."""
    return 4 <= a.ndim <= 5 and a.shape[1] > 1 and a.transpose(0, *range(2, a.ndim), 1).flags.c_contiguous


def first_operand(op: Op, values: tuple[Any, ...]) -> Any:
    return values[0]._a if op.packed == "images" else None


def packed_tensor(t: Any, how: bool | str, like: Any = None) -> Any:
    """A composite's result in order, or its several results."""
    if type(t) is tuple:
        return tuple(packed_tensor(x, how, like) for x in t)
    a = t._a
    if not (type(a) is np.ndarray or isinstance(a, MetaArray)):  # a batch, or more than strided memory
        return t
    if how == "images" and a.ndim in FORMATS and a.ndim == like.ndim and lies_last(like):
        return t if lies_last(a) else t.contiguous(memory_format=getattr(devices, FORMATS[a.ndim]))
    if a.flags.c_contiguous or (how == "channels" and channels_last(a)):
        return t
    return t.contiguous()


def finish(op: Op, values: tuple[Any, ...], r: Any, result_dtype: Any, walk: Any = None) -> Any:
    """Wrap what the body gave, in the dtype it should have, and record the call where an input has history.

    `walk`: the operands as which an elementwise result lies.
    """
    if op.packed and op.packed != "operands":
        r = packed(r, op.packed, first_operand(op, values))
    return recorded(op, values, r, result_dtype, walk)


def recorded(op: Op, values: tuple[Any, ...], r: Any, result_dtype: Any = None, walk: Any = None) -> Any:
    """The second half of `finish`: for arrays that lie as they should."""
    if type(r) is tuple or type(r) is list:
        if result_dtype is None and not STATE.inference and not [x for x in r if type(x) is not np.ndarray]:
            outs = views(values[0], r) if op.view and op.sign is None and _whole(values[0]) else None
            if outs is None and not op.view:
                outs = tuple([wrap(x) for x in r])
        else:
            outs = None
        if outs is None:
            narrow = None if result_dtype is None else dtypes.NARROW.get(result_dtype.np)  # what bodies compute in
            outs = tuple(_wrap(op, values, x, result_dtype if x is not None and x.dtype == narrow else None) for x in r)
        if STATE.grad and op.differentiable:
            record.record(op, outs, values, type(r) is list)
        if type(r) is list:
            return list(outs) if not op.view else outs
        return outs if not op.outputs else record.named(op)(outs)
    o = _wrap(op, values, r, result_dtype)
    if walk is not None:
        o._a = walked(o._a, *walk)
    if STATE.grad and op.differentiable:
        record.record(op, (o,), values)
    return o


def _whole(source: Tensor) -> bool:
    """Whether a tensor's memory holds what it stands for."""
    return type(source._a) is np.ndarray and source._a.dtype.metadata is None


def _wrap(op: Op, values: tuple[Any, ...], r: Any, d: Any) -> Any:
    if r is None:
        return None
    if isinstance(r, Tensor):
        return r
    if not isinstance(r, np.ndarray) and isinstance(r, np.generic):
        r = np.asarray(r)
    if d is not None and r.dtype is not d.np and r.dtype.kind != "b":
        if d.is_complex == (r.dtype.kind == "c"):
            r = astype(r, d.np)
        elif d is dtypes.complex32 or d is dtypes.float16:  # its parts are halves; of halves
            r = astype(r, dtypes.float16.np if d.is_complex else dtypes.complex32.np)
    if op.view:
        source = values[0]
        return view(source, viewed(op, source._a, r))
    t = wrap(r)
    return inferred(t) if STATE.inference else t


def viewed(op: Op, source: Any, r: Any) -> Any:
    """The array of a view: what its memory stands for follows from what the source's does."""
    signs = NONE if type(source) is np.ndarray else getattr(source, "signs", NONE)
    if op.sign is not None:
        signs = op.sign(*signs)
    return r if signs == NONE and type(r) is np.ndarray and r.dtype.metadata is None else signed(r, signs)

"""What the arguments of a call meet in: one device, one dtype, arrays of it.

PyTorch's promotion: tensors with dims outrank 0-d ones, and those outrank numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu.arrays import QUIET, loud, quiet
from flambeau._backends.cpu.casts import astype
from flambeau._backends.pending_arrays import PendingArray, settled as meant
from flambeau._eager import arguments, narrow
from flambeau._eager.modes import STATE
from flambeau._operators.op import Op
from flambeau._tensor import Tensor
from flambeau._values import dtype as dtypes
from flambeau._values.shape import broadcast, wrap_dims

NUMBERS = (bool, int, float, complex, np.generic)
Met = tuple[list[Any], list[int], Any, narrow.Way]
_F32 = np.dtype("f4")
_CATEGORY = {"b": 0, "i": 1, "f": 2, "c": 3, "q": 4}
_WIDE = frozenset(d.np for d in (dtypes.float64, dtypes.complex128, dtypes.int64, dtypes.int32))


def meet(op: Op, values: tuple[Any, ...]) -> Met:
    """The arguments with bare arrays for tensors, which of them meet in one dtype, that dtype (None: each keeps its own), and how."""
    params = op.params
    out = list(values)
    device = None
    tensors: list[int] = []
    given = None
    for i, p in enumerate(params):
        v = values[i]
        if p.is_tensor:
            if isinstance(v, Tensor):
                if not p.is_free:
                    tensors.append(i)
                out[i] = v._a if op.view or type(v._a) is not PendingArray else meant(v._a)
                device = _same_device(device, v, op)
            elif v is not None and p.takes_number and isinstance(v, NUMBERS):
                tensors.append(i)
            elif v is not None or not p.is_optional:
                raise TypeError(misfit(op, values, i))
        elif p.is_list and v is not None:
            if isinstance(v, Tensor):
                raise TypeError(
                    f"{op.aten}(): argument '{p.name}' (position {i + 1}) must be tuple of Tensors, not Tensor"
                )
            arrays: list[Any] = []
            for x in v:
                if not isinstance(x, Tensor) and (x is not None or "T | None]" not in p.annotation):
                    raise TypeError(
                        f"expected Tensor as element {len(arrays)} in argument {i}, but got {type(x).__name__}"
                    )
                arrays.append(None if x is None else x._a if type(x._a) is not PendingArray else meant(x._a))
            out[i] = arrays
        elif p.name == "dtype":
            given = v
    if device is None and tensors and "factory" not in op.variants:
        raise TypeError(misfit(op, values, tensors[0]))  # numbers alone
    if op.promote == "none":
        if op.lacks:
            refuse_first(op, values)
        for i in tensors:
            if not hasattr(out[i], "shape"):
                out[i] = beside(out[i], values[op.receiver_at])
        return out, tensors, None, narrow.PLAIN
    deciding = tensors
    if op.scalar:  # a number there has no say
        deciding = [i for i in tensors if params[i].name != op.scalar or isinstance(values[i], Tensor)]
    common = given if given is not None else promoted(op, result_type([values[i] for i in deciding]), values)
    if op.lacks:
        refuse(op, common, values)
    return out, tensors, common, narrow.way(op, out, common)


def refuse(op: Op, d: dtypes.dtype, values: tuple[Any, ...] = ()) -> None:
    """Raise where PyTorch has no routine for a dtype; what is wrong with sizes and dimensions it says before."""
    name = op.routine(d)
    if callable(name):
        name = name(*values)
    if name:
        given = [(p, v) for p, v in zip(op.params, values, strict=False) if v is not None]
        shapes = [v._a.shape for p, v in given if p.is_tensor and isinstance(v, Tensor)]
        if op.kind == "pointwise" and shapes:
            broadcast(*shapes)
        for p, v in given:
            if shapes and p.name == "dim" and p.annotation.startswith("Dim") and isinstance(v, (int, tuple, list)):
                wrap_dims(v, len(shapes[0]))
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtypes.SPOKEN[d]}'")


def refuse_first(op: Op, values: tuple[Any, ...]) -> None:
    """The same, by the dtype of the first tensor."""
    first = next((v for p, v in zip(op.params, values, strict=True) if p.is_tensor and isinstance(v, Tensor)), None)
    if first is not None and first._a.size:  # of nothing PyTorch asks no routine
        refuse(op, first.dtype, values)


def promoted(op: Op, common: dtypes.dtype, values: Sequence[Any]) -> dtypes.dtype:
    """The dtype of the result where operands meet in `common`."""
    if common.kind in "bi" and (op.promote == "float" or (op.promote == "quotient" and values[-1] is None)):
        return dtypes.get_default_dtype()
    if (op.promote == "sum" and common.kind in "bi") or (op.promote == "number" and common.kind == "b"):
        return dtypes.int64
    return common


def misfit(op: Op, values: tuple[Any, ...], i: int) -> str:
    """What PyTorch says where the argument at a position is no tensor."""
    return arguments.refusal(op, values, i, False)


def settled(out: list[Any], tensors: list[int], common: Any, how: narrow.Way) -> Met:
    """The same, with numbers as 0-d arrays: what a kernel takes."""
    if common is None or all(hasattr(out[i], "shape") for i in tensors):
        return out, tensors, common, how
    given = list(out)
    for i in tensors:
        if not hasattr(out[i], "shape"):
            given[i] = number(out[i], dtypes.float32 if i == how.wide else common)
    return given, tensors, common, how


def converted(op: Op, out: list[Any], tensors: list[int], common: Any, how: narrow.Way) -> tuple[tuple[Any, ...], Any, Any]:  # fmt: skip
    """The arrays that the body sees, the dtype of its result (None: whatever the body gives) and that of its steps."""
    if common is None:
        return tuple(out), None, None
    compute = common.np if op.halves and common.np in dtypes.HALVES else dtypes.NARROW.get(common.np, common.np)
    if common is dtypes.complex32:
        compute = dtypes.complex64.np
    for i in tensors:
        a = out[i]
        d = dtypes.float32 if i == how.wide else common
        if not hasattr(a, "shape"):
            out[i] = number(a, d, compute)
        elif a.dtype is not compute or d.np is not compute:
            if a.dtype.kind == "c" and not common.is_complex and common.kind != "b":
                a = a.real
            out[i] = astype(a if d is dtypes.complex32 else astype(a, d.np), compute)
    return tuple(out), (None if op.promote == "bool" else common), how.steps


def _same_device(device: Any, t: Tensor, op: Op) -> Any:
    """All tensors live on one device; a 0-d tensor on the CPU may meet any."""
    d = t.device
    if device is None or device == d:
        return d
    if t._a.ndim == 0 and d.type == "cpu":
        return device
    if op.aten == "copy" and device.type == "meta":  # nothing is written, wherever it comes from
        return device
    if op.aten == "copy" and d.type == "meta":
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, {device} and {d}!"
    )


def number(value: Any, d: dtypes.dtype, compute: Any = None) -> Any:
    """A Python number as a 0-d array of a dtype; integers wrap around as in PyTorch."""
    if STATE.stand is not None:
        value = getattr(value, "raw", value)  # a capture's number: what it is now is of no interest
    if d.kind == "i" and not isinstance(value, (bool, np.bool_)):
        return np.asarray(int(value)).astype(d.np) if -(2**63) <= int(value) < 2**64 else _overflow()
    if type(value) is int and not -(2**63) <= value < 2**64:
        _overflow()
    if d is dtypes.complex32:
        d = dtypes.complex64
    a = np.asarray(value)
    token = quiet(QUIET)
    try:
        if d.np in dtypes.HALVES:  # through float32, as in PyTorch
            a = a.astype(_F32)
        return a.astype(d.np).astype(compute if compute is not None else d.np, copy=False)
    finally:
        loud(token)


def beside(value: Any, t: Any) -> Any:
    """A Python number as a 0-d array for an operator that looks after dtypes itself: with all its digits, where the tensor can hold them."""
    kind = type(value)
    if STATE.stand is None and (kind is int or kind is float or kind is bool):
        key = kind, value or repr(value), t._a.dtype in _WIDE if isinstance(t, Tensor) else False, dtypes.get_default_dtype()  # fmt: skip
        found = _BESIDE.get(key)
        if found is None:
            if len(_BESIDE) > 4096:
                _BESIDE.clear()
            found = _BESIDE[key] = _beside(value, t)
        return found
    return _beside(value, t)


_BESIDE: dict[Any, Any] = {}  # arrays of numbers that have come before: they are only read


def _beside(value: Any, t: Any) -> Any:
    d = dtypes.of_number(value)
    if isinstance(t, Tensor) and d is not dtypes.bool_ and t._a.dtype in _WIDE:
        d = dtypes.promote_types(d, dtypes.float64) if d.kind in "fc" else d
    return number(value, d)


def _overflow() -> Any:
    raise OverflowError("int too big to convert")


def result_type(operands: list[Any]) -> dtypes.dtype:
    """The dtype in which operands meet: tensors with dims outrank 0-d ones, and those outrank numbers, within a category.

    A lower rank decides only where it is of a higher category (an integer tensor times a float number is floating).
    """
    ranks: list[dtypes.dtype | None] = [None, None, None]
    for v in operands:
        if isinstance(v, Tensor):
            rank, d = (0, v.dtype) if v._a.ndim else (1, v.dtype)
        else:
            rank, d = 2, dtypes.of_number(v)
        ranks[rank] = d if ranks[rank] is None else dtypes.promote_types(ranks[rank], d)  # type: ignore[arg-type]
    result: dtypes.dtype | None = ranks[0]
    for lower in ranks[1:]:
        if lower is None:
            continue
        if result is None:
            result = lower
        elif _CATEGORY[lower.kind] > _CATEGORY[result.kind]:
            widens = lower.kind == "c" and result.kind == "f"
            result = result.to_complex() if widens else dtypes.promote_types(result, lower)
    return result if result is not None else dtypes.get_default_dtype()


Op.meeting = staticmethod(result_type)

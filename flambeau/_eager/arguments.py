"""Arguments of the wrong kind, refused in PyTorch's words before an operator does anything.

What may be given for a parameter follows from its annotation. The flat functions and the general lane look only whether types are the usual
ones (`Op.usual`), which costs next to nothing; what is unusual, and the arguments of a body that failed, are looked at here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._operators.kinds import NUMBERS, is_size, is_tensor, takes
from flambeau._operators.op import Op, Param
from flambeau._tensor import Tensor
from flambeau._values.device import device, layout, memory_format
from flambeau._values.dtype import dtype

_MOST = 2**63
_C_NAMES = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"} | {
    f"int{n}": f"int{n}_t" for n in (8, 16, 32, 64)
}
_KNOWN = frozenset((type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, Tensor, dtype))


def fits(p: Param, v: Any) -> bool:
    """Whether PyTorch would take a value for a parameter, by its type."""
    if v is p.default:
        return True
    foreign = type(v) not in _KNOWN and not isinstance(v, (np.generic, Tensor, list, tuple)) and _foreign(p, v)
    return foreign or takes(p, v)


def _foreign(p: Param, v: Any) -> bool:
    """Whether an object may stand for whatever it likes: tensors and numbers of modes and tracers, and what belongs to this package."""
    cls = type(v)
    return (
        hasattr(cls, "__torch_function__")
        or (not p.is_tensor and (hasattr(cls, "__index__") or hasattr(cls, "__float__")))
        or isinstance(v, (device, layout, memory_format))
        or cls.__module__.partition(".")[0] in ("flambeau", "torch")
    )


def check(op: Op, values: tuple[Any, ...], into: bool = False) -> None:
    """Raise TypeError for the first argument that PyTorch would not take."""
    for i, (p, v) in enumerate(zip(op.params, values, strict=True)):
        if (
            p.annotation == "Scalar"
            and isinstance(v, Tensor)
            and any("Tensor" in o.partition(".")[2] for o in op.overloads)
        ):
            continue  # an overload takes it
        if type(v) is int and not -_MOST <= v < _MOST and p.annotation.startswith(_WHOLE):
            raise ValueError("Overflow when unpacking long long")
        if p.annotation == "Sequence[T]" and isinstance(v, (list, tuple)):
            for at, x in enumerate(v):
                if not is_tensor(x):
                    raise TypeError(f"expected Tensor as element {at} in argument {i}, but got {type(x).__name__}")
        one = p.note in ("Dims", "IntList", "ShapeList") and len(op.overloads) == 1 and is_size(v)
        if (one or not fits(p, v)) and not (op.number_first and not i and isinstance(v, NUMBERS)):
            raise TypeError(refusal(op, values, i, into))
        if isinstance(v, complex) and p.annotation.startswith("Scalar") and op.promote != "none":
            real = next((t for t in values if isinstance(t, Tensor)), None)
            if real is not None and not real.is_complex():
                raise RuntimeError(
                    f"value cannot be converted to type {_C_NAMES.get(real.dtype.name, real.dtype.name)} without overflow"
                )
        if type(v) in (list, tuple) and p.annotation.startswith(("Shape", "Dims", "Ints")):
            for at, x in enumerate(v):
                if type(x) in (bool, float, str, list, tuple, type(None)) and type(x) is not type(p.default):
                    from flambeau._eager import signatures

                    raise TypeError(signatures.unpacked(op, p.name, at, x, into))


def plain(op: Op, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same with Python's whole numbers for NumPy's, and for tensors that stand for one."""
    return tuple(
        (() if v is None and p.default == () else _whole(v)) if p.annotation.startswith(_WHOLE) else v
        for p, v in zip(op.params, values, strict=True)
    )


def _whole(v: Any) -> Any:
    if isinstance(v, np.integer) or (isinstance(v, Tensor) and v._a.size == 1):
        return int(v)
    if type(v) in (list, tuple) and any(isinstance(x, (np.integer, Tensor)) for x in v):
        return type(v)(_whole(x) for x in v)
    return v


_WHOLE = ("Shape", "Dims", "Ints", "Dim", "int")


def refusal(op: Op, values: tuple[Any, ...], i: int, into: bool) -> str:
    """What PyTorch says of a call in which the argument at a position does not fit."""
    from flambeau._eager import signatures  # late: a program that is right needs no words

    name, ops = signatures.family(op, into)
    args, kwargs, method = signatures.written(op, values, into)
    return signatures.refusal(name, ops, args, kwargs, method)


def alone(op: Op, values: tuple[Any, ...]) -> None:
    """Refuse an argument without the one that every overload with it has beside it."""
    raise TypeError(refusal(op, values, 0, False))


def alike(op: Op, values: tuple[Any, ...], into: bool) -> None:
    """Refuse limits of which one is a number and the other a tensor that cannot stand for one."""
    given = [values[i] for i in op.alike if values[i] is not None]
    if any(isinstance(v, Tensor) and (v._a.ndim or v._node is not None) for v in given) and any(
        isinstance(v, NUMBERS) for v in given
    ):
        raise TypeError(refusal(op, values, 0, into))


def fixed(op: Op, values: tuple[Any, ...]) -> None:
    """Refuse a history of what has no gradient."""
    for p, v in zip(op.params, values, strict=True):
        if p.name in op.fixed and isinstance(v, Tensor) and v.requires_grad:
            raise RuntimeError(
                f"The function '{op.fixed[p.name] or op.event_name or op.aten}' is not differentiable with respect to argument '{p.name}'. This input cannot have requires_grad True."
            )


def misused(op: Op, values: tuple[Any, ...], into: bool = False) -> None:
    """After a failure: if an argument is of the wrong kind, that is what is to be said."""
    try:
        check(op, values, into)
    except (TypeError, ValueError, RuntimeError) as refused:
        raise refused from None

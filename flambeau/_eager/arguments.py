"""Arguments of the wrong kind, refused in PyTorch's words before an operator does anything.

What may be given for a parameter follows from its annotation. The flat functions and the general lane look only whether types are the usual
ones (`Op.usual`), which costs next to nothing; what is unusual, and the arguments of a body that failed, are looked at here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._operators.op import Op, Param
from flambeau._tensor import Tensor
from flambeau._values.device import device, layout, memory_format
from flambeau._values.dtype import dtype, of_type

_NUMBERS = (int, float, complex, np.generic)
_MOST = 2**63
_C_NAMES = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"} | {
    f"int{n}": f"int{n}_t" for n in (8, 16, 32, 64)
}
_KNOWN = frozenset((type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, Tensor, dtype))


def _index(v: Any, truth: bool) -> bool:
    """Whether a value is a whole number, or a tensor that stands for one (of truth values, too, where `truth`)."""
    if isinstance(v, Tensor):
        return not v._a.ndim and v._a.dtype.kind in ("iub" if truth else "iu") and v._node is None
    return isinstance(v, (int, np.integer)) and not isinstance(v, bool)


def _number(v: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(v, kinds) or (isinstance(v, Tensor) and not v._a.ndim)


def _list(v: Any) -> bool:
    return isinstance(v, (list, tuple))


def fits(p: Param, v: Any) -> bool:
    """Whether PyTorch would take a value for a parameter, by its type."""
    if v is None:
        return p.annotation.endswith("None") or p.default is None
    if v is p.default or (
        type(v) not in _KNOWN and not isinstance(v, (np.generic, Tensor, list, tuple)) and _foreign(v)
    ):
        return True
    truth = p.note.startswith("Size")
    match p.annotation.removesuffix(" | None"):
        case "T" | "Mask" | "Index":
            return isinstance(v, Tensor)
        case "N":
            return isinstance(v, (Tensor, *_NUMBERS))
        case "Scalar":
            return _number(v, _NUMBERS)
        case "float":
            return _number(v, (int, float, np.generic))
        case "Dim" | "int":
            return _index(v, truth)
        case "bool":
            return isinstance(v, bool)
        case "str":
            return isinstance(v, str)
        case "Shape" | "Dims" | "Ints":
            return _index(v, truth=True) or (_list(v) and (not v or _index(v[0], truth=True)))
        case "Sequence[T]":
            return _list(v)
        case "MemoryFormat":
            return isinstance(v, memory_format)
        case "Sequence[float]":
            return _list(v) and all(_number(x, (int, float, np.generic)) for x in v)
        case "DType":
            return isinstance(v, dtype) or of_type(v) is not v
    return True


def _foreign(v: Any) -> bool:
    """Whether an object may stand for whatever it likes: tensors and numbers of modes and tracers, and what belongs to this package."""
    cls = type(v)
    return (
        hasattr(cls, "__torch_function__")
        or hasattr(cls, "__index__")
        or hasattr(cls, "__float__")
        or isinstance(v, (device, layout, memory_format))
        or cls.__module__.partition(".")[0] in ("flambeau", "torch")
    )


def check(op: Op, values: tuple[Any, ...], into: bool = False) -> None:
    """Raise TypeError for the first argument that PyTorch would not take."""
    for i, (p, v) in enumerate(zip(op.params, values, strict=True)):
        if type(v) is int and not -_MOST <= v < _MOST and p.annotation.startswith(_WHOLE):
            raise ValueError("Overflow when unpacking long long")
        one = p.note in ("Dims", "IntList") and len(op.overloads) == 1 and _index(v, truth=True)
        if (one or not fits(p, v)) and not (op.number_first and not i and isinstance(v, _NUMBERS)):
            raise TypeError(refusal(op, values, i, into))
        if p.annotation == "Sequence[T]":
            for at, x in enumerate(v):
                if not isinstance(x, Tensor) and not hasattr(x, "__torch_function__"):
                    raise TypeError(f"expected Tensor as element {at} in argument {i}, but got {type(x).__name__}")
        elif isinstance(v, complex) and p.annotation.startswith("Scalar") and op.promote != "none":
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
    return tuple(_whole(v) if p.annotation.startswith(_WHOLE) else v for p, v in zip(op.params, values, strict=True))


def _whole(v: Any) -> Any:
    if isinstance(v, np.integer) or (isinstance(v, Tensor) and not v._a.ndim):
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


def misused(op: Op, values: tuple[Any, ...], into: bool = False) -> None:
    """After a failure: if an argument is of the wrong kind, that is what is to be said."""
    try:
        check(op, values, into)
    except (TypeError, ValueError, RuntimeError) as refused:
        raise refused from None

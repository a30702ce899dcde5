"""Whether a value is what a parameter's annotation, or a schema's type, names: the one decision, as PyTorch's parser of arguments makes it.

Overloads are chosen by it, arguments checked, and calls that fit nothing described. Of a list of numbers only the first element is looked
at, as there; what the others are, unpacking them tells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._operators.op import Param
from flambeau._tensor import Tensor
from flambeau._values.device import device, layout, memory_format
from flambeau._values.dtype import dtype, of_type

NUMBERS = (int, float, complex, np.generic)
NUMPY_NAMES = {"dim": "axis", "keepdim": "keepdims"}  # under which PyTorch takes these parameters, too


def is_tensor(v: Any) -> bool:
    """Whether a value is a tensor, or of a class that stands in for tensors."""
    return isinstance(v, Tensor) or hasattr(type(v), "__torch_function__")


def is_whole(v: Any) -> bool:
    """Whether a value is a whole number, or a 0-d tensor of one."""
    if isinstance(v, Tensor):
        return not v._a.ndim and v._a.dtype.kind in "iu" and v._node is None
    return isinstance(v, (int, np.integer)) and not isinstance(v, bool)


def is_size(v: Any) -> bool:
    """Whether a value stands for a size: a whole number, or a tensor with one element of whole numbers or truth values."""
    if isinstance(v, Tensor):
        return v._a.size == 1 and v._a.dtype.kind in "iub" and v._node is None
    return isinstance(v, (int, np.integer)) and not isinstance(v, bool)


def is_number(v: Any, kinds: tuple[type, ...] = NUMBERS) -> bool:
    """Whether a value is a number, or a 0-d tensor of one: which no gradient is to reach."""
    return isinstance(v, kinds) or (isinstance(v, Tensor) and not v._a.ndim and v._node is None)


def fits(kind: str, v: Any) -> bool:
    """Whether a value is of the kind of an annotation."""
    if v is None:
        return kind.endswith("None") or kind == "Any"
    match kind.removesuffix(" | None"):
        case "T" | "Mask" | "Index":
            return is_tensor(v)
        case "N" | "T | Scalar":
            return is_tensor(v) or isinstance(v, NUMBERS)
        case "Scalar":
            return is_number(v)
        case "float":
            return is_number(v) and not isinstance(v, complex)
        case "Dim" | "int":
            return is_whole(v)
        case "Size":
            return is_size(v)
        case "bool":
            return isinstance(v, bool)
        case "str":
            return isinstance(v, str)
        case "Shape" | "Dims" | "Ints":
            return is_size(v) or (_is_list(v) and (not v or is_size(v[0])))
        case "Sequence[T]":
            return _is_list(v) and all(map(is_tensor, v))
        case "Sequence[T | None]":
            return _is_list(v) and all(x is None or is_tensor(x) for x in v)
        case "Sequence[float]":
            return _is_list(v) and all(is_number(x) and not isinstance(x, complex) for x in v)
        case "Sequence[Scalar]":
            return _is_list(v) and all(map(is_number, v))
        case "DType":
            return isinstance(v, dtype) or of_type(v) is not v
        case "Device":
            return isinstance(v, (device, str, int))
        case "Layout":
            return isinstance(v, layout)
        case "MemoryFormat":
            return isinstance(v, memory_format)
    return True


def takes(p: Param, v: Any) -> bool:
    """Whether a value may be given for a parameter."""
    if v is None:
        return p.default is None or p.default == () or fits(p.annotation, v)
    return fits(p.note if p.note.startswith("Size") and p.annotation.startswith("int") else p.annotation, v)


_OF_TYPE = {"Tensor": "T", "SymInt": "Size", "ScalarType": "DType"}


def is_of(type_: str, v: Any) -> bool:
    """Whether a value is of a schema's type: `Tensor?`, `SymInt[2]`."""
    if v is None:
        return type_.endswith("?")
    inner, bracket, size = type_.removesuffix("?").partition("[")
    if bracket:
        if not _is_list(v):
            return size != "]" and is_of(inner, v)
        inner = "SymInt" if inner == "int" else inner
        return all(is_of(inner, x) for x in (v[:1] if inner == "SymInt" else v))
    if inner in ("Tensor", "Scalar", "float", "int", "SymInt", "bool", "str", "ScalarType"):
        return fits(_OF_TYPE.get(inner, inner), v)
    return not isinstance(v, (*NUMBERS, Tensor, str, list, tuple))


def _is_list(v: Any) -> bool:
    return isinstance(v, (list, tuple))

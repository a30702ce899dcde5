"""Python's operator syntax: which operator `x + y` and its like mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import _operators
from flambeau._eager.names import method, public
from flambeau._tensor import Tensor, wrap
from flambeau._values.dtype import float64, promote_types

BINARY = {
    "__add__": "add", "__radd__": "add", "__sub__": "sub", "__div__": "div", "__mul__": "mul", "__rmul__": "mul", "__truediv__": "div",
    "__floordiv__": "floor_divide", "__mod__": "remainder", "__pow__": "pow", "__matmul__": "matmul", "__and__": "bitwise_and",
    "__rand__": "bitwise_and", "__or__": "bitwise_or", "__ror__": "bitwise_or", "__xor__": "bitwise_xor",
    "__rxor__": "bitwise_xor", "__lshift__": "bitwise_left_shift", "__rshift__": "bitwise_right_shift", "__eq__": "eq",
    "__ne__": "ne", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge", "__rsub__": "rsub",
}  # fmt: skip
REFLECTED = {"__rpow__": "pow", "__rmod__": "remainder", "__rlshift__": "bitwise_left_shift", "__rrshift__": "bitwise_right_shift",
             "__rmatmul__": "matmul", "__rfloordiv__": "floor_divide"}  # fmt: skip
INPLACE = {
    "__iadd__": "add_", "__isub__": "sub_", "__imul__": "mul_", "__itruediv__": "div_", "__idiv__": "div_", "__ifloordiv__": "floor_divide_",
    "__imod__": "remainder_", "__ipow__": "pow_", "__iand__": "bitwise_and_", "__ior__": "bitwise_or_",
    "__ixor__": "bitwise_xor_", "__ilshift__": "bitwise_left_shift_", "__irshift__": "bitwise_right_shift_",
}  # fmt: skip
UNARY = {"__neg__": "neg", "__abs__": "abs", "__invert__": "bitwise_not", "__pos__": "positive"}


def _declining(fn: Any, dunder: str) -> Any:
    """Operands that the operator refuses get their own say, as Python's protocol wants."""

    def binary(self: Any, other: Any) -> Any:
        _applies(self, dunder)
        try:
            return fn(self, other)
        except TypeError:
            if isinstance(other, (Tensor, bool, int, float, complex)):
                raise
            if dunder == "__eq__" and isinstance(other, np.ndarray) and other.dtype.kind in "biufc":
                return fn(self, wrap(other))  # both would decline, and Python compare the objects
            return NotImplemented

    binary.__name__, binary.__qualname__ = dunder, "Tensor." + dunder
    binary.__op__ = getattr(fn, "__op__", None)  # type: ignore[attr-defined]
    return binary


def _late(dunder: str, name: str, find: Any, reflected: bool = False) -> Any:
    """A method that finds its operator at its first call and then takes itself out of the way."""

    def found(self: Any, *args: Any) -> Any:
        _operators.load()
        fn = find(name)
        if fn is None:
            raise NotImplementedError(f"Tensor.{dunder} is not implemented")
        if reflected:
            made: Any = lambda self, other: public(name)(_operand(other, self), self)
        elif dunder == "__invert__":
            made = _guarded(fn, dunder)
        elif dunder in UNARY or dunder in INPLACE:
            made = fn
        elif dunder in ("__eq__", "__ne__"):
            made = _declining(fn, dunder)
        else:
            made = _declining(fn, dunder) if not hasattr(fn, "__source__") else _guarded(fn, dunder)
        setattr(Tensor, dunder, made)
        return made(self, *args)

    def first(self: Any, other: Any) -> Any:
        return found(self, other)

    if dunder in UNARY:
        first = found  # type: ignore[assignment]
    first.__name__ = dunder
    return first


def _operand(other: Any, like: Any) -> Any:
    if isinstance(other, Tensor):
        return other
    from flambeau._eager.construct import tensor

    if not isinstance(other, (bool, int, float, complex)):
        return other
    wide = like._a.dtype.char in "dD" and isinstance(other, (float, complex))  # a double must not pass through a float
    made = tensor(other, device=like.device)
    return tensor(other, device=like.device, dtype=promote_types(made.dtype, float64)) if wide else made


def _guarded(fn: Any, dunder: str) -> Any:
    """The flat function itself, written again so that a TypeError of a foreign operand becomes NotImplemented."""
    from flambeau._eager.flat_text import SCOPE
    from flambeau._ground.source import build

    text = fn.__source__
    head, _, rest = text.partition("\n")
    name = head[4 : head.index("(")]
    text = text.replace(f"def {name}(", f"def {dunder}(", 1).replace(
        "return general(", f"return general_operator({dunder!r}, "
    )
    SCOPE["general_operator"] = _general_operator
    made = build(dunder, text, SCOPE)
    made.__qualname__, made.__op__, made.__doc__ = "Tensor." + dunder, fn.__op__, fn.__doc__
    return made


def _applies(self: Any, name: str) -> None:
    """A descriptor is for tensors: `Tensor.__radd__(1, x)` is no call."""
    if isinstance(self, (bool, int, float, complex)):
        raise TypeError(
            f"descriptor '{name}' for 'torch._C.TensorBase' objects doesn't apply to a '{type(self).__name__}' object"
        )


def _general_operator(dunder: str, op: Any, values: Any, out: Any = None) -> Any:
    from flambeau._eager.call import general

    _applies(values[0], dunder)
    if dunder == "__invert__" and isinstance(values[0], Tensor) and values[0].dtype.kind in "fc":
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    try:
        return general(op, values, out)
    except TypeError:
        if len(values) > 1 and not isinstance(values[1], (Tensor, bool, int, float, complex)):
            return NotImplemented
        raise


def _rdiv(self: Any, other: Any) -> Any:
    """other / self. PyTorch takes the reciprocal first, and with it another last bit than a quotient has."""
    try:
        return self.reciprocal() * other
    except TypeError:
        return NotImplemented


Tensor.__rdiv__ = Tensor.__rtruediv__ = _rdiv  # type: ignore[attr-defined, method-assign]
for _d, _n in (BINARY | UNARY).items():
    setattr(Tensor, _d, _late(_d, _n, public))
for _d, _n in REFLECTED.items():
    setattr(Tensor, _d, _late(_d, _n, public, reflected=True))
for _d, _n in INPLACE.items():
    setattr(Tensor, _d, _late(_d, _n, method))
Tensor.__hash__ = lambda self: id(self)  # type: ignore[method-assign]

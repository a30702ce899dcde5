"""Dtypes as the standard has them: how they meet, of what kind they are; and NumPy's reading for those PyTorch has few operators of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import flambeau
from flambeau import Tensor, dtype as DType

WIDE = frozenset(
    (flambeau.uint16, flambeau.uint32, flambeau.uint64)
)  # storable, but most operators refuse them, as in PyTorch
SIGNED = {flambeau.uint16: flambeau.int16, flambeau.uint32: flambeau.int32, flambeau.uint64: flambeau.int64}
KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
KINDS["integral"] = KINDS["signed integer"] + KINDS["unsigned integer"]
KINDS["numeric"] = KINDS["integral"] + KINDS["real floating"] + KINDS["complex floating"]
DTYPES: dict[str, DType] = {name: getattr(flambeau, name) for name in KINDS["bool"] + KINDS["numeric"]}


def numpy_dtype(d: DType) -> np.dtype[Any]:
    """NumPy's dtype of the same name."""
    return np.dtype(str(d).removeprefix("torch."))


def whole(d: DType) -> bool:
    return not (d.is_floating_point or d.is_complex or d == flambeau.bool)


def promote(a: DType, b: DType) -> DType:
    """The dtype in which two arrays meet. Integers of both signs meet in a signed one that holds both."""
    if a == b:
        return a
    if whole(a) and whole(b):
        met = np.promote_types(numpy_dtype(a), numpy_dtype(b))
        if met.kind == "f":
            raise TypeError(f"no integer dtype holds the values of both {a} and {b}")
        return DTYPES[met.name]
    return flambeau.promote_types(a, b)


def _of_scalar(value: Any, d: DType) -> DType:
    """The dtype in which a Python number meets an array of dtype d: the number never widens, within its kind."""
    if isinstance(value, bool):
        return d
    if isinstance(value, int):
        if d == flambeau.bool:
            raise TypeError(f"Python's {type(value).__name__} does not meet arrays of booleans")
        return d
    if isinstance(value, float):
        if whole(d) or d == flambeau.bool:
            raise TypeError(f"Python's float does not meet arrays of dtype {d}")
        return d
    if isinstance(value, complex):
        if whole(d) or d == flambeau.bool:
            raise TypeError(f"Python's complex does not meet arrays of dtype {d}")
        return d if d.is_complex else d.to_complex()
    raise TypeError(f"expected an array or a Python number, got {type(value).__name__}")


def result_type(*arrays_and_dtypes: Tensor | DType | bool | int | float | complex) -> DType:
    """The dtype in which arrays, dtypes and Python numbers meet; at least one is an array or a dtype."""
    met: DType | None = None
    scalars = []
    for x in arrays_and_dtypes:
        if isinstance(x, (Tensor, DType)):
            d = x.dtype if isinstance(x, Tensor) else x
            met = d if met is None else promote(met, d)
        else:
            scalars.append(x)
    if met is None:
        raise ValueError("result_type needs at least one array or dtype")
    for s in scalars:
        met = _of_scalar(s, met)
    return met


def as_number(value: Any, x: Tensor) -> Tensor:
    """A Python number as an array without dimensions, of x's dtype and on its device."""
    if isinstance(value, (float, complex)) and not isinstance(value, bool):
        _of_scalar(value, x.dtype)
    return flambeau.asarray(value, dtype=x.dtype, device=x.device)


def meet(*operands: Any) -> tuple[Tensor, ...]:
    """The operands as arrays of the dtype in which they meet."""
    if not any(isinstance(x, Tensor) for x in operands):
        raise TypeError(f"at least one operand must be an array, got {', '.join(type(x).__name__ for x in operands)}")
    d = result_type(*operands)
    device = next(x.device for x in operands if isinstance(x, Tensor))
    return tuple(
        (x if x.dtype == d else x.to(d)) if isinstance(x, Tensor) else flambeau.asarray(x, dtype=d, device=device)
        for x in operands
    )


def by_numpy(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What NumPy's function answers, tensors in and out."""

    def there(x: Any) -> Any:
        return x.numpy() if isinstance(x, Tensor) else numpy_dtype(x) if isinstance(x, DType) else x

    def here(x: Any) -> Any:
        if isinstance(x, tuple):
            return type(x)(*map(here, x)) if hasattr(x, "_fields") else tuple(map(here, x))
        return flambeau.from_numpy(np.array(x))

    with np.errstate(all="ignore"):
        return here(function(*map(there, args), **{k: there(v) for k, v in kwargs.items()}))


def portable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn, but NumPy's function of that name where the first array is of a dtype that most of our operators refuse."""
    other = getattr(np, fn.__name__)

    @functools.wraps(fn)
    def either(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, Tensor) and x.dtype in WIDE:
            return by_numpy(other, x, *args, **{k: v for k, v in kwargs.items() if v is not None})
        return fn(x, *args, **kwargs)

    return either


def axes_of(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes meant, counted from 0; IndexError where there is no such axis."""
    if axis is None:
        return tuple(range(ndim))
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in given:
        if not -ndim <= a < ndim:
            raise IndexError(f"axis {a} is out of bounds for an array of {ndim} dimensions")
    counted = tuple(a % ndim for a in given)
    if len(set(counted)) != len(counted):
        raise ValueError("repeated axis")
    return counted


def astype(x: Tensor, dtype: DType, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """x with another dtype; always a copy if `copy`, else only where needed."""
    if x.is_complex() and not dtype.is_complex:
        raise TypeError("complex arrays are not cast to real dtypes: take real(x) or imag(x)")
    return x.to(device=x.device if device is None else device, dtype=dtype, copy=copy)


def can_cast(from_: Tensor | DType, to: DType, /) -> bool:
    """Whether every value of one dtype has its like in the other."""
    source = from_.dtype if isinstance(from_, Tensor) else from_
    try:
        return promote(source, to) == to
    except (TypeError, RuntimeError):
        return False


class FloatLimits(NamedTuple):
    """What `finfo` answers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class IntegerLimits(NamedTuple):
    """What `iinfo` answers."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: Tensor | DType, /) -> FloatLimits:
    """Limits of a floating dtype, or of the parts of a complex one."""
    d = type.dtype if isinstance(type, Tensor) else type
    real = d.to_real() if d.is_complex else d
    f = flambeau.finfo(real)
    return FloatLimits(f.bits, f.eps, f.max, f.min, f.smallest_normal, real)


def iinfo(type: Tensor | DType, /) -> IntegerLimits:
    """Limits of an integer dtype."""
    d = type.dtype if isinstance(type, Tensor) else type
    i = flambeau.iinfo(d)
    return IntegerLimits(i.bits, i.max, i.min, d)


def isdtype(dtype: DType, kind: DType | str | tuple[DType | str, ...]) -> bool:
    """Whether a dtype is (one) of a kind: "bool", "signed integer", "integral", "real floating", "numeric", ... or a dtype."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in KINDS:
            raise ValueError(f"unrecognized data type kind: {kind!r}")
        return str(dtype).removeprefix("torch.") in KINDS[kind]
    return dtype == kind

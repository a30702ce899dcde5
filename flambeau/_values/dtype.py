"""Element types: PyTorch's dtypes, what NumPy calls them, and the promotion rules. No tensor is known here."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np


class dtype:
    """An element type, such as `float32`; two are equal only if they are the same object."""

    __slots__ = ("is_complex", "is_floating_point", "is_signed", "itemsize", "kind", "name", "np", "rank", "shortcut")

    name: str
    np: np.dtype[Any]
    itemsize: int
    kind: str  # "b" bool, "i" integer, "f" floating, "c" complex, "q" quantized
    is_floating_point: bool
    is_complex: bool
    is_signed: bool

    def __init__(self, name: str, storage: Any, kind: str, itemsize: int | None = None) -> None:
        self.name, self.kind = name, kind
        self.np = np.dtype(storage)
        self.itemsize = self.np.itemsize if itemsize is None else itemsize
        self.is_floating_point, self.is_complex = kind == "f", kind == "c"
        self.is_signed = kind in "fcq" or (kind == "i" and not name.startswith("u"))

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> Any:
        return named, (self.name,)

    @property
    def abbr(self) -> str:
        """A short name: `f32`, `i64`, `bf16`; that of dtypes of parts of bytes is their name."""
        name = self.name
        if name in ("bool", "bfloat16"):
            return {"bool": "b8", "bfloat16": "bf16"}[name]
        if name.startswith("bits"):
            return "b" + name[4:] + ("" if "x" in name else "x1")
        if name.startswith(("float", "complex")):
            return name[0] + name.lstrip("floatcmpex").replace("_", "")
        kind = name.rstrip("0123456789")
        return (
            {"int": "i", "uint": "u"}[kind] + name[len(kind) :]
            if kind in ("int", "uint") and self.itemsize * 8 == int(name[len(kind) :])
            else name
        )

    def to_real(self) -> dtype:
        """The dtype of the real part."""
        return REAL.get(self, self)

    def to_complex(self) -> dtype:
        """The complex dtype whose parts have this dtype."""
        return COMPLEX.get(self, self)


dtype.__module__ = "flambeau"

_HALF_PAIR = [("real", np.float16), ("imag", np.float16)]  # NumPy has no complex of two halves: it is only carried

bool_ = dtype("bool", np.bool_, "b")
uint8, uint16, uint32, uint64 = (dtype(f"uint{n}", f"u{n // 8}", "i") for n in (8, 16, 32, 64))
int8, int16, int32, int64 = (dtype(f"int{n}", f"i{n // 8}", "i") for n in (8, 16, 32, 64))
float16, float32, float64 = (dtype(f"float{n}", f"f{n // 8}", "f") for n in (16, 32, 64))
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, "f")
float8_e4m3fn = dtype("float8_e4m3fn", ml_dtypes.float8_e4m3fn, "f")
float8_e4m3fnuz = dtype("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, "f")
float8_e5m2 = dtype("float8_e5m2", ml_dtypes.float8_e5m2, "f")
float8_e5m2fnuz = dtype("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, "f")
float8_e8m0fnu = dtype("float8_e8m0fnu", ml_dtypes.float8_e8m0fnu, "f")
float4_e2m1fn_x2 = dtype("float4_e2m1fn_x2", np.dtype([("x2", np.uint8)]), "f")
complex32 = dtype("complex32", np.dtype(_HALF_PAIR), "c")
complex64, complex128 = dtype("complex64", np.complex64, "c"), dtype("complex128", np.complex128, "c")
qint8, quint8, qint32 = (
    dtype(n, np.dtype([(n, s)]), "q") for n, s in (("qint8", "i1"), ("quint8", "u1"), ("qint32", "i4"))
)

# Names for packed data: bytes that libraries label and unpack themselves. Nothing is computed in them, in PyTorch neither.
LABELS = tuple(
    dtype(name, np.dtype([(name, np.uint16 if name == "bits16" else np.uint8)]), "q" if name.startswith("quint") else "i")
    for name in (
        *(f"{sign}int{n}" for sign in ("u", "") for n in range(1, 8)),
        "bits8", "bits16", "bits1x8", "bits2x4", "bits4x2", "quint4x2", "quint2x4",
    )
)  # fmt: skip

ALL: tuple[dtype, ...] = (
    uint8, int8, int16, int32, int64, float16, float32, float64, complex32, complex64, complex128, bool_, qint8, quint8,
    qint32, bfloat16, float8_e5m2, float8_e4m3fn, float8_e5m2fnuz, float8_e4m3fnuz, uint16, uint32, uint64,
    float8_e8m0fnu, float4_e2m1fn_x2,
)  # fmt: skip
ALIASES = {
    "half": float16, "float": float32, "double": float64, "short": int16, "int": int32, "long": int64,
    "chalf": complex32, "cfloat": complex64, "cdouble": complex128, "bool": bool_,
    "bit": LABELS[0],
}  # fmt: skip
FLOAT8 = (float8_e5m2, float8_e4m3fn, float8_e5m2fnuz, float8_e4m3fnuz, float8_e8m0fnu)
BY_NAME = {d.name: d for d in (*ALL, *LABELS)} | ALIASES
NARROW = {d.np: float32.np for d in (float16, bfloat16, *FLOAT8)}  # what arithmetic widens, and to what
HALVES = frozenset((float16.np, bfloat16.np))
COMPLEX = {float16: complex32, float32: complex64, float64: complex128, bfloat16: complex64}
REAL = {complex32: float16, complex64: float32, complex128: float64}
# How PyTorch's errors spell a dtype ("Float", "Long", ...).
SPOKEN = {
    uint8: "Byte", int8: "Char", int16: "Short", int32: "Int", int64: "Long", float16: "Half", float32: "Float",
    float64: "Double", complex32: "ComplexHalf", complex64: "ComplexFloat", complex128: "ComplexDouble", bool_: "Bool",
    bfloat16: "BFloat16", uint16: "UInt16", uint32: "UInt32", uint64: "UInt64", float8_e5m2: "Float8_e5m2",
    float8_e4m3fn: "Float8_e4m3fn", float8_e5m2fnuz: "Float8_e5m2fnuz", float8_e4m3fnuz: "Float8_e4m3fnuz",
    float8_e8m0fnu: "Float8_e8m0fnu", float4_e2m1fn_x2: "Float4_e2m1fn_x2", qint8: "QInt8", quint8: "QUInt8",
    qint32: "QInt32", **{d: d.name.replace("uint", "UInt").replace("int", "Int").replace("bits", "Bits").replace("quInt", "QUInt") for d in LABELS},
}  # fmt: skip
# How C++ spells it, which some of PyTorch's errors show.
C_NAMES = {
    uint8: "unsigned char", int8: "signed char", int16: "short int", int32: "int", int64: "long int",
    uint16: "short unsigned int", uint32: "unsigned int", uint64: "long unsigned int", bool_: "bool", float16: "c10::Half",
    bfloat16: "c10::BFloat16", float32: "float", float64: "double", complex32: "c10::complex<c10::Half>",
    complex64: "c10::complex<float>", complex128: "c10::complex<double>",
    **{d: f"c10::{d.name[0].upper()}{d.name[1:]}" for d in (*FLOAT8, float4_e2m1fn_x2)}, **{d: f"c10::{d.name}" for d in (qint8, quint8, qint32)},
}  # fmt: skip
_WITH_CLASSES = (uint8, int8, int16, int32, int64, float16, float32, float64)


def class_name(d: dtype) -> str:
    """How errors name the type of a tensor: by its class, where the dtype is old enough to have one."""
    return f"torch.{SPOKEN[d]}Tensor" if d in _WITH_CLASSES else f"CPU{SPOKEN[d]}Type"


_C_INTEGERS = {uint8: "uint8_t", int8: "int8_t", int16: "int16_t", int32: "int", int64: "int64_t",
               uint16: "uint16_t", uint32: "uint32_t", uint64: "uint64_t"}  # fmt: skip
_C_FLOATS = {d: (name, float(ml_dtypes.finfo(d.np).max)) for d, name in (
    (float16, "c10::Half"), (bfloat16, "c10::BFloat16"), (float32, "float"))}  # fmt: skip


def check_fits(value: object, d: dtype, stored: bool = False) -> None:
    """Refuse a Python number that is to be stored and does not fit: an integer as an integer dtype (unsigned ones count down from
    the top), a finite number as a floating one; `stored`: nor a floating one as an integer dtype, whose elements it becomes.

    (As an operand of arithmetic an integer wraps around, and a number becomes infinite.)
    """
    kind = type(value)
    if kind is complex and value.imag and not d.is_complex:  # type: ignore[attr-defined]
        raise RuntimeError(f"value cannot be converted to type {_C_INTEGERS.get(d, C_NAMES[d])} without overflow")
    if kind is not int and kind is not float:
        return
    if d in _C_FLOATS:
        name, high = _C_FLOATS[d]
        low = -high
        if value in (math.inf, -math.inf) or value != value:
            return
    elif d in _C_INTEGERS and (kind is int or stored):
        name = _C_INTEGERS[d]
        low, high = storable(d)
        low = max(low, 0) if kind is float and not d.is_signed else low
    else:
        return
    if not low <= value <= high:  # type: ignore[operator]
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")


def storable(d: dtype) -> tuple[int, int]:
    """The least and the greatest Python integer that may be stored as an integer dtype."""
    bits = 8 * d.itemsize
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if d.is_signed else (1 - (1 << bits), (1 << bits) - 1)


def held(value: Any, d: dtype) -> Any:
    """The number that a narrow floating dtype holds for a Python number: the double goes through float32, as in PyTorch."""
    if type(value) is int and -256 <= value <= 256 and d.np in HALVES:  # the usual ones, held exactly
        return float(value)
    with np.errstate(all="ignore"):
        return float(np.asarray(value, np.float32).astype(d.np))


def wrapped(value: int, d: dtype) -> int:
    """What an integer dtype holds of a Python integer: its lowest bits."""
    bits = 8 * d.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if d.is_signed and value >> bits - 1 else value


def element(value: Any, d: np.dtype[Any]) -> Any:
    """A number as it is written into an array of a NumPy dtype: a complex number of two halves is a pair there."""
    if not d.fields or hasattr(value, "shape"):
        return value
    return np.array((value.real, value.imag), d) if "real" in d.fields else value


def named(name: str) -> dtype:
    """The dtype of that name: what pickles call, since a dtype is itself only as long as it is unique."""
    return BY_NAME[name]


_FROM_NUMPY: dict[np.dtype[Any], dtype] = {d.np: d for d in (*ALL, *LABELS)}


def of(np_dtype: np.dtype[Any]) -> dtype:
    """The dtype of an array of that NumPy dtype."""
    try:
        return _FROM_NUMPY[np_dtype]
    except KeyError:
        raise TypeError(
            f"can't convert np.ndarray of type {np_dtype.type.__module__}.{np_dtype.type.__name__}. The only supported types "
            "are: float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, "
            "uint8, and bool."
        ) from None


_PYTHON = {bool: bool_, int: int64, float: float64, complex: complex128}


def of_type(kind: Any) -> Any:
    """The dtype that a Python type stands for among dtypes (`int` for int64); anything else as it is."""
    return _PYTHON.get(kind, kind) if type(kind) is type else kind


def asked(kind: Any, owner: str, name: str = "dtype") -> Any:
    """The dtype that an argument of a function names; None stays."""
    d = of_type(kind)
    if d is not None and not isinstance(d, dtype):
        raise TypeError(f"{owner}(): argument '{name}' must be torch.dtype, not {type(kind).__name__}")
    return d


# ---------------------------------------------------------------- the default dtype


class _Default:
    """What Python floats become; one for the process, as in PyTorch."""

    floating = float32


def get_default_dtype() -> dtype:
    """The dtype that Python floats become in new tensors: `float32` unless `set_default_dtype` changed it."""
    return _Default.floating


def set_default_dtype(d: dtype) -> None:
    """Make `d`, a floating dtype, what Python floats become."""
    if not isinstance(d, dtype):
        raise TypeError(f"invalid dtype object: {d!r}")
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _Default.floating = d


def default_complex() -> dtype:
    """The dtype that Python complex numbers become."""
    return _Default.floating.to_complex()


def of_number(value: object) -> dtype:
    """The dtype that a Python number stands for."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, (float, np.floating)):
        return _Default.floating
    return default_complex()


# ---------------------------------------------------------------- promotion

_BAREBITS = (uint16, uint32, uint64)
_CATEGORY = {"b": 0, "i": 1, "f": 2, "c": 3}
_FLOATS = {float16: 0, bfloat16: 0, float32: 1, float64: 2}
_cache: dict[tuple[dtype, dtype], dtype] = {}


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that holds both, by PyTorch's table (float16 with bfloat16 gives float32).

    >>> promote_types(uint8, int8)
    torch.int16
    """
    if type1 is type2:
        return type1
    found = _cache.get((type1, type2))
    if found is None:
        found = _cache[type1, type2] = _cache[type2, type1] = _promote(type1, type2)
    return found


def _promote(a: dtype, b: dtype) -> dtype:
    ca, cb = _CATEGORY.get(a.kind, 9), _CATEGORY.get(b.kind, 9)
    if ca == 9 or cb == 9:
        raise RuntimeError(
            f"promoteTypes with quantized numbers is not handled yet; figure out what the correct rules should be, "
            f"offending types: {SPOKEN[a]} {SPOKEN[b]}"
        )
    for x, y in ((a, b), (b, a)):
        if x in FLOAT8 or x is float4_e2m1fn_x2:
            if y.kind in "bi" and x is not float8_e8m0fnu and x is not float4_e2m1fn_x2:
                return x
            raise RuntimeError(
                f"Promotion for Float8 Types is not supported, attempted to promote {SPOKEN[a]} and {SPOKEN[b]}"
            )
    if ca < cb:
        a, b, ca, cb = b, a, cb, ca  # a has the higher category from here on
    if ca == 3:
        real = _promote(a.to_real(), b.to_real()) if cb >= 2 and a.to_real() is not b.to_real() else a.to_real()
        return complex32 if real is float16 else real.to_complex()
    if ca == 2:
        if cb < 2:
            return a
        if _FLOATS[a] == _FLOATS[b]:
            return float32  # one is float16 and the other bfloat16
        return a if _FLOATS[a] > _FLOATS[b] else b
    if cb == 0:
        return a
    if a in _BAREBITS or b in _BAREBITS:
        raise RuntimeError(
            f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote {SPOKEN[a]} and {SPOKEN[b]}"
        )
    if uint8 in (a, b):
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    return a if a.itemsize > b.itemsize else b


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether a result of one dtype may be stored into a tensor of the other."""
    if from_.is_complex and not to.is_complex:
        return False
    if from_.is_floating_point and to.kind in "bi":
        return False
    return not (from_.kind == "i" and to.kind == "b")

"""Reading 1: run a body at once, on whole arrays of one array library (`xp`: NumPy or CuPy).

Pointwise words are the library's ufuncs wherever it has them. `special` supplies erf and its kind, and is loaded only when met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._values.dtype import dtype as DType, element, held
from flambeau._values.rounding import exact_sum, fused, to_odd

Shape = tuple[int, ...]

UFUNCS = {
    "neg": "negative", "exp": "exp", "exp2": "exp2", "expm1": "expm1", "log": "log", "log2": "log2", "log1p": "log1p",
    "sqrt": "sqrt", "abs": "absolute", "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin",
    "acos": "arccos", "atan": "arctan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "arcsinh",
    "acosh": "arccosh", "atanh": "arctanh", "floor": "floor", "ceil": "ceil", "round": "rint", "trunc": "trunc",
    "conj": "conjugate", "invert": "invert", "isnan": "isnan", "isinf": "isinf", "signbit": "signbit",
    "logical_not": "logical_not", "add": "add", "sub": "subtract", "mul": "multiply", "div": "true_divide",
    "floordiv": "floor_divide", "pow": "power", "fmod": "fmod", "maximum": "maximum",
    "minimum": "minimum", "fmax": "fmax", "fmin": "fmin", "atan2": "arctan2", "copysign": "copysign",
    "nextafter": "nextafter", "hypot": "hypot", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "eq": "equal", "ne": "not_equal", "logical_and": "logical_and", "logical_or": "logical_or",
    "logical_xor": "logical_xor", "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or", "bitwise_xor": "bitwise_xor",
    "lshift": "left_shift", "rshift": "right_shift", "sign": "sign",
}  # fmt: skip
SPECIAL = {"erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "lgamma": "gammaln", "digamma": "psi", "zeta": "zeta"}


CARRIED = {"f": "d", "F": "D"}  # in what scans carry float32 and complex64 along, by character codes; as PyTorch's do


class Arrays:
    """Interprets a body on whole arrays.

    `special` maps a word of `SPECIAL` to its function; `library` maps the name of a library routine to its function.
    Operands that were widened are of the dtype `narrow`.
    """

    quick_fma: Callable[[Any, Any, Any], Any] | None = None  # native code for few numbers, or None where it declines

    def __init__(self, xp: Any, special: Callable[[str], Any], library: Callable[[str], Any], narrow: DType | None = None) -> None:  # fmt: skip
        self.xp, self._special, self._library, self.narrow = xp, special, library, narrow
        for word, name in UFUNCS.items():
            setattr(self, word, getattr(xp, name))

    def __getattr__(self, word: str) -> Any:
        if word not in SPECIAL:
            raise AttributeError(f"the kernel language has no word {word!r}")
        function = self._special(word)
        setattr(self, word, function)
        return function

    # ---- pointwise words that no ufunc is ----

    def reciprocal(self, x: Any) -> Any:
        return 1 / x

    def rsqrt(self, x: Any) -> Any:
        return 1 / self.xp.sqrt(x)

    def sigmoid(self, x: Any) -> Any:
        return 1 / (1 + self.xp.exp(-x))  # exp may overflow to inf, whose reciprocal is the right 0

    def log10(self, x: Any) -> Any:
        if x.dtype.char != "f":
            return self.xp.log10(x)
        return self.xp.log10(x.astype("d")).astype("f")  # NumPy's of float32 is not exact at powers of ten

    def remainder(self, x: Any, y: Any) -> Any:
        r = self.xp.remainder(x, y)
        if r.dtype.kind != "f" or (r != 0).all():
            return r
        return self.xp.where(r == 0, self.xp.copysign(r, x), r)  # a zero has the sign of what is divided

    def real(self, x: Any) -> Any:
        return x.real

    def imag(self, x: Any) -> Any:
        return x.imag if x.dtype.kind == "c" else self.xp.zeros_like(x)

    def ldexp(self, x: Any, y: Any) -> Any:
        return x * self.xp.exp2(self.xp.asarray(y).astype(x.dtype))

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        if self.quick_fma is not None and type(x) is self.xp.ndarray and x.dtype.char in "fd":
            y = y if hasattr(y, "dtype") else self.xp.asarray(y, x.dtype)
            found = self.quick_fma(x, y, z)
            if found is not None:
                return found
        return fma(self.xp, x, y, z)

    def polygamma(self, n: Any, x: Any) -> Any:
        return self._special("polygamma")(n, x)

    def complex(self, re: Any, im: Any) -> Any:
        shape, d = self.xp.broadcast_shapes(re.shape, im.shape), "D" if re.dtype.itemsize == 8 else "F"
        like = next((x for x in (re, im) if x.shape == shape), None)
        out = self.xp.empty(shape, d) if like is None else self.xp.empty_like(like, d)
        out.real, out.imag = re, im
        return out

    def where(self, c: Any, a: Any, b: Any) -> Any:
        if not hasattr(a, "dtype") and not hasattr(b, "dtype"):
            raise TypeError("where: one of the two values must be an array, or be made one with k.like")
        return self.xp.where(c, a, b)

    def cast(self, x: Any, dtype: DType) -> Any:
        if x.dtype.kind == "c" and not dtype.is_complex and dtype.kind != "b":
            x = x.real
        return x.astype(dtype.np, copy=False)

    def rounded(self, x: Any) -> Any:
        if self.narrow is None:
            return x
        return x.astype(self.narrow.np).astype(x.dtype) if hasattr(x, "dtype") else held(x, self.narrow)

    def like(self, value: Any, x: Any) -> Any:
        return x.dtype.type(value)

    def full(self, shape: Shape, value: Any, dtype: DType) -> Any:
        d = dtype.np
        if d.kind in "fb" and type(value) in (int, float, bool):  # hot: what is not range-checked
            out = self.xp.empty(shape, d)
            out.fill(value)
            return out
        return self.xp.full(shape, element(value, d), d)

    def iota(self, n: int, dtype: DType) -> Any:
        return self.xp.arange(n, dtype=dtype.np)

    # ---- reductions: dims are kept ----

    def sum(self, x: Any, dims: Sequence[int]) -> Any:
        return self.xp.add.reduce(x, axis=tuple(dims), keepdims=True, dtype=x.dtype)

    def prod(self, x: Any, dims: Sequence[int]) -> Any:
        return self.xp.multiply.reduce(x, axis=tuple(dims), keepdims=True, dtype=x.dtype)

    def max(self, x: Any, dims: Sequence[int]) -> Any:
        return self.xp.maximum.reduce(x, axis=tuple(dims), keepdims=True)

    def min(self, x: Any, dims: Sequence[int]) -> Any:
        return self.xp.minimum.reduce(x, axis=tuple(dims), keepdims=True)

    def any(self, x: Any, dims: Sequence[int]) -> Any:
        return self.xp.logical_or.reduce(x, axis=tuple(dims), dtype=bool, keepdims=True)

    def all(self, x: Any, dims: Sequence[int]) -> Any:
        return self.xp.logical_and.reduce(x, axis=tuple(dims), dtype=bool, keepdims=True)

    def argmax(self, x: Any, dim: int) -> Any:
        return x.argmax(dim, keepdims=True)

    def argmin(self, x: Any, dim: int) -> Any:
        return x.argmin(dim, keepdims=True)

    def cumsum(self, x: Any, dim: int) -> Any:
        return self.xp.cumsum(x, axis=dim, dtype=CARRIED.get(x.dtype.char, x.dtype)).astype(x.dtype, copy=False)

    def cumprod(self, x: Any, dim: int) -> Any:
        return self.xp.cumprod(x, axis=dim, dtype=CARRIED.get(x.dtype.char, x.dtype)).astype(x.dtype, copy=False)

    def cummax(self, x: Any, dim: int) -> Any:
        return self.xp.maximum.accumulate(x, axis=dim)

    def cummin(self, x: Any, dim: int) -> Any:
        return self.xp.minimum.accumulate(x, axis=dim)

    def logcumsumexp(self, x: Any, dim: int) -> Any:
        return self.xp.logaddexp.accumulate(x, axis=dim)

    # ---- moves ----

    def reshape(self, x: Any, shape: Shape) -> Any:
        return x.reshape(shape)

    def permute(self, x: Any, dims: Sequence[int]) -> Any:
        return x.transpose(dims)

    def expand(self, x: Any, shape: Shape) -> Any:
        return x if x.shape == tuple(shape) else self.xp.broadcast_to(x, shape)

    def slice(self, x: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
        return x[(slice(None),) * (dim % x.ndim) + (slice(start, stop, step),)]

    def flip(self, x: Any, dims: Sequence[int]) -> Any:
        return self.xp.flip(x, tuple(dims))

    def pad(self, x: Any, widths: Sequence[tuple[int, int]], value: Any = 0) -> Any:
        if any(a < 0 or b < 0 for a, b in widths):
            x = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True))]
        if not any(a > 0 or b > 0 for a, b in widths):
            return x
        inner = tuple(slice(max(a, 0), max(a, 0) + n) for n, (a, _) in zip(x.shape, widths, strict=True))
        out = self.xp.full(
            [n + max(a, 0) + max(b, 0) for n, (a, b) in zip(x.shape, widths, strict=True)],
            element(value, x.dtype),
            x.dtype,
        )
        out[inner] = x
        return out

    def windows(self, x: Any, size: Shape, stride: Shape, dilation: Shape) -> Any:
        m, st = x.ndim - len(size), x.strides
        out = windowed(x.shape[m:], size, stride, dilation)
        outer = tuple(s * t for s, t in zip(st[m:], stride, strict=True))
        inner = tuple(s * d for s, d in zip(st[m:], dilation, strict=True))
        return self.xp.lib.stride_tricks.as_strided(x, x.shape[:m] + out + tuple(size), st[:m] + outer + inner)

    # ---- indexed reads, products, the library ----

    def take(self, x: Any, dim: int, index: Any) -> Any:
        return self.xp.take(x, index, axis=dim)

    def gather(self, x: Any, dim: int, index: Any) -> Any:
        dim, m = dim % x.ndim, x.ndim - 1
        return x[
            tuple(
                index if d == dim else self.xp.arange(n).reshape((n,) + (1,) * (m - d))
                for d, n in enumerate(index.shape)
            )
        ]

    def matmul(self, x: Any, y: Any) -> Any:
        return self.xp.matmul(x, y)

    def library(self, name: str, *xs: Any, **params: Any) -> Any:
        return self._library(name)(*xs, **params)


def windowed(extent: Shape, size: Shape, stride: Shape, dilation: Shape) -> Shape:
    """How many windows fit, for each dim."""
    return tuple((e - d * (s - 1) - 1) // t + 1 for e, s, t, d in zip(extent, size, stride, dilation, strict=True))


def fma(xp: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, of float32 and float64 rounded once; `y` may be a number."""
    if x.dtype.char not in "fd":
        return x * y + z
    y = y if hasattr(y, "dtype") else x.dtype.type(y)
    if x.dtype.char == "f":  # the product of two float32 is exact in float64
        return to_odd(xp, *exact_sum(x.astype("d") * y, z)).astype("f")
    return fused(xp, x, y, z)

"""The kernel language: the words in which operator bodies are written.

A body is an ordinary function of a kernel `k` and values of type T, and is read several times, each time with another `k`:
`Arrays` (arrays.py) runs it at once, `Record` (record.py) yields an Expr: shapes, derivative, native code.
Nothing here knows about tensors, autograd or any operator. The annotations below are also the types in printed schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, TypeAlias, TypeVar

from flambeau._values.dtype import dtype

DType = dtype
Shape = tuple[int, ...]
Scalar = float | int | complex | bool
Dim = int
Dims = int | tuple[int, ...]

# The same, with what PyTorch's schemas tell beside: which integers are sizes (SymInt), how long a list is that one number may stand for.
Size = int
Shape1: TypeAlias = Shape
Shape2: TypeAlias = Shape
Shape3: TypeAlias = Shape
Shape4: TypeAlias = Shape
Shape5: TypeAlias = Shape
Shape6: TypeAlias = Shape
IntList: TypeAlias = Shape
ShapeList: TypeAlias = Shape
IntList1: TypeAlias = Shape
IntList2: TypeAlias = Shape
IntList3: TypeAlias = Shape
Dims1: TypeAlias = Dims
Sizes1: TypeAlias = Dims


class Value(Protocol):
    """What flows through a body: an array when it runs, an Expr when it is recorded."""

    @property
    def shape(self) -> Shape: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> Any: ...
    def __add__(self, o: Self | Scalar, /) -> Self: ...
    def __radd__(self, o: Self | Scalar, /) -> Self: ...
    def __sub__(self, o: Self | Scalar, /) -> Self: ...
    def __rsub__(self, o: Self | Scalar, /) -> Self: ...
    def __mul__(self, o: Self | Scalar, /) -> Self: ...
    def __rmul__(self, o: Self | Scalar, /) -> Self: ...
    def __truediv__(self, o: Self | Scalar, /) -> Self: ...
    def __rtruediv__(self, o: Self | Scalar, /) -> Self: ...
    def __neg__(self) -> Self: ...
    def __getitem__(self, index: Any, /) -> Self: ...


T = TypeVar("T", bound=Value)

# What a body sees as T, and callers otherwise: `Any` because a type variable has no second name.
N: TypeAlias = Any  # a tensor or a number
Mask: TypeAlias = Any  # tensors that keep their dtype where the others meet
Index: TypeAlias = Any

# The pointwise words, by number of operands. Comparisons and tests yield booleans; the rest keep their operands' dtype.
UNARY = (
    "neg", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "abs", "sign", "sin", "cos",
    "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid", "erf", "erfc", "erfinv",
    "lgamma", "digamma", "floor", "ceil", "round", "trunc", "conj", "real", "imag", "invert", "isnan", "isinf",
    "signbit", "logical_not",
)  # fmt: skip
BINARY = (
    "add", "sub", "mul", "div", "floordiv", "pow", "fmod", "remainder", "maximum", "minimum", "fmax", "fmin", "atan2", "copysign",
    "nextafter", "hypot", "ldexp", "lt", "le", "gt", "ge", "eq", "ne", "logical_and", "logical_or", "logical_xor",
    "bitwise_and", "bitwise_or", "bitwise_xor", "lshift", "rshift", "polygamma", "zeta", "complex",
)  # fmt: skip
TERNARY = ("where", "fma")
TO_BOOL = frozenset(("lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "signbit", "logical_not", "logical_and", "logical_or",
                     "logical_xor"))  # fmt: skip
TO_REAL = frozenset(("abs", "real", "imag"))  # of a complex operand
REDUCE = ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin")
SCAN = ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")
MOVES = ("reshape", "permute", "expand", "slice", "flip", "pad", "windows")


class Kernel(Protocol[T]):
    """What a body may call. Every reduction keeps its dims; a negative pad crops. Pointwise words broadcast.

    Besides the words spelled out here there are those of `UNARY` and `BINARY`, all of the form `k.exp(x)`, `k.pow(x, y)`.
    """

    xp: Any  # the array library, in texts that only run on arrays

    def __getattr__(self, word: str, /) -> Callable[..., T]: ...
    def where(self, c: T, a: T | Scalar, b: T | Scalar) -> T: ...
    def cast(self, x: T, dtype: DType) -> T: ...
    def rounded(self, x: Any) -> Any:
        """A value or a number as the operands' own dtype holds it, where that is float16 or bfloat16: a step that PyTorch rounds."""
        ...

    def like(self, value: Scalar, x: T) -> T:
        """A 0-d constant of x's dtype."""
        ...

    def full(self, shape: Shape, value: Scalar, dtype: DType) -> T: ...
    def iota(self, n: int, dtype: DType) -> T:
        """0, 1, ..., n-1."""
        ...

    def sum(self, x: T, dims: Sequence[int]) -> T: ...
    def prod(self, x: T, dims: Sequence[int]) -> T: ...
    def max(self, x: T, dims: Sequence[int]) -> T: ...
    def min(self, x: T, dims: Sequence[int]) -> T: ...
    def any(self, x: T, dims: Sequence[int]) -> T: ...
    def all(self, x: T, dims: Sequence[int]) -> T: ...
    def argmax(self, x: T, dim: int) -> T: ...
    def argmin(self, x: T, dim: int) -> T: ...
    def cumsum(self, x: T, dim: int) -> T: ...
    def cumprod(self, x: T, dim: int) -> T: ...
    def cummax(self, x: T, dim: int) -> T: ...
    def cummin(self, x: T, dim: int) -> T: ...
    def logcumsumexp(self, x: T, dim: int) -> T: ...
    def reshape(self, x: T, shape: Shape) -> T: ...
    def permute(self, x: T, dims: Sequence[int]) -> T: ...
    def expand(self, x: T, shape: Shape) -> T: ...
    def slice(self, x: T, dim: int, start: int, stop: int, step: int = 1) -> T: ...
    def flip(self, x: T, dims: Sequence[int]) -> T: ...
    def pad(self, x: T, widths: Sequence[tuple[int, int]], value: Scalar = 0) -> T: ...
    def windows(self, x: T, size: Shape, stride: Shape, dilation: Shape) -> T:
        """A view of the last len(size) dims as (outer..., inner...): no copy."""
        ...

    def take(self, x: T, dim: int, index: T) -> T:
        """Whole slices x[..., index, ...] along dim, for a 1-d index."""
        ...

    def gather(self, x: T, dim: int, index: T) -> T:
        """Elements along dim, one for each of index's."""
        ...

    def matmul(self, x: T, y: T) -> T:
        """Products of the last two dims, batched over the ones before."""
        ...

    def library(self, name: str, *xs: T | None, **params: Any) -> Any:
        """A named routine of the backend's array library: opaque to fusion."""
        ...

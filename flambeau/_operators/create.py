"""Tensors from nothing but sizes and numbers. The variant "factory" adds `layout=`, `device=`, `requires_grad=` and so on."""

from __future__ import annotations

import math
from typing import Any

from flambeau._kernel.language import DType, IntList, Kernel, Scalar, Shape, ShapeList, T
from flambeau._operators.op import Op, composite, op
from flambeau._operators.view import sizes
from flambeau._tensor import Tensor
from flambeau._values.device import memory_format as MemoryFormat
from flambeau._values.dtype import (
    SPOKEN,
    check_fits,
    complex128,
    default_complex,
    dtype,
    get_default_dtype,
    int32,
    int64,
    of,
    of_number,
)
from flambeau._values.shape import whole

FACTORY = ("function", "out", "factory")
LIKE = ("function", "factory")
NEW = ("method", "factory")


def shaped(size: Any) -> Shape:
    """Checked sizes."""
    size = sizes(size)
    for n in size:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(size)}")
    return size


def chosen(given: dtype | None) -> dtype:
    return get_default_dtype() if given is None else given


def number(v: Any) -> Any:
    """A Python number, also where a 0-d tensor was given."""
    return v.item() if hasattr(v, "item") else v


def own(x: Any, given: dtype | None) -> dtype:
    """The dtype asked for, or that of an array."""
    return given if given is not None else x.dtype if isinstance(x.dtype, dtype) else of(x.dtype)


def filled(k: Any, size: Any, value: Any, d: dtype) -> Any:
    return k.full(shaped(size), wrapped(value, d), d)


def wrapped(value: Any, d: dtype) -> Any:
    """A number as an unsigned dtype holds it: negative ones count from the top."""
    check_fits(value, d, True)
    if d.kind == "i" and not d.is_signed and isinstance(value, (int, float)) and value < 0:
        return int(value) % (1 << 8 * d.itemsize)
    return value


# ---------------------------------------------------------------- one value everywhere


@op("empty.memory_format", promote="none", variants=FACTORY)
def empty(k: Kernel[T], size: Shape, *, dtype: DType | None = None, memory_format: MemoryFormat | None = None) -> T:
    """A tensor of the given sizes, whose elements are whatever was in memory.

    >>> torch.empty(2, 3).shape
    torch.Size([2, 3])
    """
    name = "contiguous_format" if memory_format is None else memory_format.name
    if name == "preserve_format":
        raise RuntimeError("unsupported memory format option Preserve")
    return k.library("empty", shape=shaped(size), dtype=chosen(dtype), format=name)


@op("zeros", promote="none", variants=FACTORY)
def zeros(k: Kernel[T], size: Shape, *, dtype: DType | None = None) -> T:
    """A tensor of zeros.

    >>> torch.zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return filled(k, size, 0, chosen(dtype))


@zeros.arrays
def _(k: Any, size: Shape, *, dtype: dtype | None = None) -> Any:
    size = sizes(size)
    for n in size:
        if n < 0:
            raise RuntimeError("zeros: Dimension size must be non-negative.")
    return k.xp.zeros(size, chosen(dtype).np)


@op("ones", promote="none", variants=FACTORY)
def ones(k: Kernel[T], size: Shape, *, dtype: DType | None = None) -> T:
    """A tensor of ones."""
    return filled(k, size, 1, chosen(dtype))


@op("full", promote="none", variants=FACTORY)
def full(k: Kernel[T], size: ShapeList, fill_value: Scalar, *, dtype: DType | None = None) -> T:
    """A tensor of the given sizes, every element of which is `fill_value`.

    >>> torch.full((2,), 3.5)
    tensor([3.5000, 3.5000])
    """
    value = number(fill_value)
    return filled(k, size, value, of_number(value) if dtype is None else dtype)


@op("scalar_tensor", promote="none", variants=FACTORY)
def scalar_tensor(k: Kernel[T], s: Scalar, *, dtype: DType | None = None) -> T:
    """A 0-d tensor that holds a number."""
    value = number(s)
    if dtype is None:
        dtype = default_complex() if isinstance(value, complex) else get_default_dtype()
    return k.full((), wrapped(value, dtype), dtype)


@op("empty_strided", promote="none", variants=("function", "factory"))
def empty_strided(k: Kernel[T], size: Shape, stride: Shape, *, dtype: DType | None = None) -> T:
    """Uninitialized memory with the given sizes and strides."""
    return k.library("empty_strided", shape=shaped(size), strides=sizes(stride), dtype=chosen(dtype))


@op("empty_permuted", promote="none", variants=("function", "factory"))
def empty_permuted(k: Kernel[T], size: Shape, physical_layout: IntList, *, dtype: DType | None = None) -> T:
    """Uninitialized memory whose dimensions lie in the given order, the outermost first."""
    if len(sizes(size)) != len(sizes(physical_layout)):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(sizes(size))} is not equal "
            f"to len(physical_layout) = {len(sizes(physical_layout))}"
        )
    order = sizes(physical_layout)
    for i, d in enumerate(order):
        if not 0 <= d < len(order):
            raise RuntimeError(
                f"Dimension out of range (expected to be between 0 and {len(order) - 1}, but got {d} at index {i}).  "
                "NB: negative dims not currently supported; file an issue if you want it."
            )
    if len(set(order)) < len(order):
        raise RuntimeError("Duplicate dim not allowed")
    return k.library("laid_out", shape=shaped(size), d=chosen(dtype).np, order=order)


# ---------------------------------------------------------------- like another tensor


def _as(k: Any, x: Any, value: Any, given: Any, format: Any) -> Any:
    return k.library(
        "full_as", x, value=value, dtype=given, format="preserve_format" if format is None else format.name
    )


@op("empty_like", promote="none", variants=LIKE, differentiable=False)
def empty_like(k: Kernel[T], input: T, *, dtype: DType | None = None, memory_format: MemoryFormat | None = None) -> T:
    """Uninitialized memory of `input`'s sizes and dtype."""
    return _as(k, input, None, dtype, memory_format)


@op("zeros_like", promote="none", variants=LIKE, differentiable=False)
def zeros_like(k: Kernel[T], input: T, *, dtype: DType | None = None, memory_format: MemoryFormat | None = None) -> T:
    """Zeros of `input`'s sizes and dtype."""
    return _as(k, input, 0, dtype, memory_format)


@op("ones_like", promote="none", variants=LIKE, differentiable=False)
def ones_like(k: Kernel[T], input: T, *, dtype: DType | None = None, memory_format: MemoryFormat | None = None) -> T:
    """Ones of `input`'s sizes and dtype."""
    return _as(k, input, 1, dtype, memory_format)


@op("full_like", promote="none", variants=LIKE, differentiable=False)
def full_like(
    k: Kernel[T], input: T, fill_value: Scalar, *, dtype: DType | None = None, memory_format: MemoryFormat | None = None
) -> T:
    """One value in a tensor of `input`'s sizes and dtype."""
    check_fits(fill_value, own(input, dtype), True)
    return _as(k, input, number(fill_value), dtype, memory_format)


@op("new_empty", promote="none", variants=NEW, differentiable=False)
def new_empty(k: Kernel[T], input: T, size: Shape, *, dtype: DType | None = None) -> T:
    """Uninitialized memory of this tensor's dtype."""
    return k.library("empty", shape=shaped(size), dtype=own(input, dtype), format="contiguous_format")


@op("new_zeros", promote="none", variants=NEW, differentiable=False)
def new_zeros(k: Kernel[T], input: T, size: Shape, *, dtype: DType | None = None) -> T:
    """Zeros of this tensor's dtype."""
    return k.library("zeros", shape=shaped(size), dtype=own(input, dtype))


@op("new_ones", promote="none", variants=NEW, differentiable=False)
def new_ones(k: Kernel[T], input: T, size: Shape, *, dtype: DType | None = None) -> T:
    """Ones of this tensor's dtype."""
    return filled(k, size, 1, own(input, dtype))


@op("new_full", promote="none", variants=NEW, differentiable=False)
def new_full(k: Kernel[T], input: T, size: ShapeList, fill_value: Scalar, *, dtype: DType | None = None) -> T:
    """One value in a tensor of this tensor's dtype."""
    check_fits(fill_value, own(input, dtype), True)
    return filled(k, size, number(fill_value), own(input, dtype))


@op("new_empty_strided", promote="none", variants=NEW, differentiable=False)
def new_empty_strided(k: Kernel[T], input: T, size: Shape, stride: Shape, *, dtype: DType | None = None) -> T:
    """Uninitialized memory of this tensor's dtype, with the given sizes and strides."""
    return k.library("empty_strided", shape=shaped(size), strides=sizes(stride), dtype=own(input, dtype))


# ---------------------------------------------------------------- ranges


@op(
    "arange.start_step(Scalar start, Scalar end, Scalar step=1, *, ScalarType? dtype=None, ...)",
    "arange.start(Scalar start, Scalar end, *, ScalarType? dtype=None, ...)",
    "arange(Scalar end, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=FACTORY,
    lacks=("bcu", "arange_cpu"),
)
def arange(
    k: Kernel[T], start: Scalar = 0, end: Scalar | None = None, step: Scalar = 1, *, dtype: DType | None = None
) -> T:
    """start, start + step, ... up to but without `end`. With one argument, that is the end and the start is 0.

    >>> torch.arange(1, 2.5, 0.5)
    tensor([1.0000, 1.5000, 2.0000])
    """
    if end is None:
        start, end = 0, start
    start, end, step = number(start), number(end), number(step)
    integers = isinstance(start, int) and isinstance(end, int) and isinstance(step, int)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if dtype is None:
        dtype = int64 if integers else get_default_dtype()
    _counted(arange, dtype)
    if dtype is int64:
        start, end, step = whole(start), whole(end), whole(step)
    return k.library("arange", start=start, end=end, step=step, count=_count(start, end, step), dtype=dtype)


arange.renamed["arange"] = {"end": "start"}


def _count(start: Any, end: Any, step: Any) -> int:
    if step == 0:
        raise ValueError("step must be nonzero")
    integers = isinstance(start, int) and isinstance(end, int)
    if not integers and not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if integers and isinstance(step, int):
        return -((start - end) // step)
    return math.ceil((end - start) / step)


@op(
    "range.step(Scalar start, Scalar end, Scalar step=1, *, ScalarType? dtype=None, ...)",
    "range(Scalar start, Scalar end, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=FACTORY,
    lacks=("bcu", "range_cpu"),
)
def range_(k: Kernel[T], start: Scalar = 0, end: Scalar = 0, step: Scalar = 1, *, dtype: DType | None = None) -> T:
    """start, start + step, ... up to and with `end`. Deprecated: use `arange`."""
    from warnings import warn

    warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is inconsistent "
        "with Python's range "
        "builtin. Instead, use torch.arange, which produces values in [start, end).",
        stacklevel=4,
    )
    first, last, by = number(start), number(end), number(step)
    _count(first, last, by)
    dtype = chosen(dtype)
    _counted(range_, dtype)
    return k.library("arange", start=first, end=last, step=by, count=int((last - first) / by + 1), dtype=dtype)


def _counted(op: Op, d: DType) -> None:
    """Raise where a dtype is not counted up in: no tensor tells it, so nobody else has looked."""
    if op.routine(d):
        raise NotImplementedError(f"\"{op.routine(d)}\" not implemented for '{SPOKEN[d]}'")


@op(
    "linspace",
    "linspace.Tensor_Tensor(Tensor start, Tensor end, int steps, *, ScalarType? dtype=None, ...)",
    "linspace.Tensor_Scalar(Tensor start, Scalar end, int steps, *, ScalarType? dtype=None, ...)",
    "linspace.Scalar_Tensor(Scalar start, Tensor end, int steps, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=FACTORY,
)
def linspace(k: Kernel[T], start: Scalar, end: Scalar, steps: int, *, dtype: DType | None = None) -> T:
    """`steps` numbers from `start` to `end`, evenly spaced.

    >>> torch.linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    start, end, dtype = _ends("linspace", start, end, steps, dtype)
    return k.library("linspace", start=start, end=end, steps=int(steps), dtype=dtype)


def _ends(name: str, start: Any, end: Any, steps: int, d: dtype | None) -> tuple[Any, Any, dtype]:
    if not isinstance(steps, int) and not hasattr(steps, "__index__"):
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got ({type(start).__name__}, "
            f"{type(end).__name__}, "
            f"{type(steps).__name__})"
        )
    given = [(what, v) for what, v in (("start", start), ("end", end)) if isinstance(v, Tensor)]
    if any(v.ndim for _, v in given):
        raise RuntimeError(
            f"{name} only supports 0-dimensional start and end tensors, but got "
            + " and ".join(f"{what} with {v.ndim} dimension(s)" for what, v in given)
            + "."
        )
    start, end = number(start), number(end)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    spanned = isinstance(start, complex) or isinstance(end, complex)
    if spanned and d is not None and d.kind != "c":
        part = "double" if default_complex() is complex128 else "float"
        raise RuntimeError(
            f"torch.{name}(): inferred dtype c10::complex<{part}> can't be safely cast to passed dtype {SPOKEN[d]}"
        )
    if d is None:
        d = default_complex() if spanned else get_default_dtype()
    return start, end, d


@op(
    "logspace",
    "logspace.Tensor_Tensor(Tensor start, Tensor end, int steps, float base=10., *, ScalarType? dtype=None, ...)",
    "logspace.Tensor_Scalar(Tensor start, Scalar end, int steps, float base=10., *, ScalarType? dtype=None, ...)",
    "logspace.Scalar_Tensor(Scalar start, Tensor end, int steps, float base=10., *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=FACTORY,
)
def logspace(
    k: Kernel[T], start: Scalar, end: Scalar, steps: int, base: float = 10.0, *, dtype: DType | None = None
) -> T:
    """`steps` powers of `base`, with exponents from `start` to `end`, evenly spaced."""
    start, end, dtype = _ends("logspace", start, end, steps, dtype)
    return k.library("logspace", start=start, end=end, steps=int(steps), base=base, dtype=dtype)


@op(
    "eye.m(SymInt n, SymInt m, *, ScalarType? dtype=None, ...)",
    "eye(SymInt n, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=FACTORY,
)
def eye(k: Kernel[T], n: int, m: int | None = None, *, dtype: DType | None = None) -> T:
    """Ones on the diagonal of an n by m matrix, zeros elsewhere."""
    if n < 0:
        raise RuntimeError(f"n must be greater or equal to 0, got {n}")
    if m is not None and m < 0:
        raise RuntimeError(f"m must be greater or equal to 0, got {m}")
    kind = chosen(dtype)
    if SPOKEN[kind] in ("UInt16", "UInt32", "UInt64", "ComplexHalf"):
        raise NotImplementedError(f"\"eye\" not implemented for '{SPOKEN[kind]}'")
    return k.library("eye", n=int(n), m=int(n if m is None else m), dtype=kind)


@op(
    "tril_indices(int row, int col, int offset=0, *, ScalarType? dtype=4, ...)",
    promote="none",
    variants=("function", "factory"),
)
def tril_indices(k: Kernel[T], row: int, col: int, offset: int = 0, *, dtype: DType | None = None) -> T:
    """Row and column numbers of the lower triangle of a row by col matrix."""
    kind = _triangle(row, col, dtype, "tril")
    return k.library("triangle", row=row, col=col, offset=offset, lower=True, dtype=kind)


@op(
    "triu_indices(int row, int col, int offset=0, *, ScalarType? dtype=4, ...)",
    promote="none",
    variants=("function", "factory"),
)
def triu_indices(k: Kernel[T], row: int, col: int, offset: int = 0, *, dtype: DType | None = None) -> T:
    """Row and column numbers of the upper triangle of a row by col matrix."""
    kind = _triangle(row, col, dtype, "triu")
    return k.library("triangle", row=row, col=col, offset=offset, lower=False, dtype=kind)


def _triangle(row: int, col: int, dtype: DType | None, word: str) -> DType:
    """The dtype of the numbers, where they can be had."""
    if row < 0:
        raise RuntimeError("row must be non-negative, got" + str(row))
    if col < 0:
        raise RuntimeError("col must be non-negative, got" + str(col))
    kind = int64 if dtype is None else dtype
    if kind not in (int32, int64):
        raise NotImplementedError(f"\"{word}_indices\" not implemented for '{SPOKEN[kind]}'")
    return kind


# ---------------------------------------------------------------- windows for spectra


def _window(k: Any, name: str, length: int, periodic: bool, given: dtype | None, **shape: float) -> Any:
    d = chosen(given)
    if not d.is_floating_point:
        raise RuntimeError(
            f"{name}_window expects floating point dtypes, got: {d!r}".replace("torch.", "").replace(
                "got: ", "got: torch."
            )
        )
    if length < 0:
        raise RuntimeError(f"{name}_window requires non-negative window_length, got window_length={length}")
    return k.library("window", kind=name, length=length, periodic=periodic, dtype=d, **shape)


@op(
    "hann_window.periodic(int window_length, bool periodic, *, ScalarType? dtype=None, ...)",
    "hann_window(int window_length, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=("function", "factory"),
)
def hann_window(k: Kernel[T], window_length: int, periodic: bool = True, *, dtype: DType | None = None) -> T:
    """(1 - cos(2 pi n / N)) / 2."""
    return _window(k, "hann", window_length, periodic, dtype)


@op(
    "hamming_window.periodic_alpha_beta(int window_length, bool periodic, float alpha, float beta, *, ScalarType? dtype=None, ...)",
    "hamming_window(int window_length, *, ScalarType? dtype=None, ...)",
    "hamming_window.periodic(int window_length, bool periodic, *, ScalarType? dtype=None, ...)",
    "hamming_window.periodic_alpha(int window_length, bool periodic, float alpha, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=("function", "factory"),
)
def hamming_window(
    k: Kernel[T],
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: DType | None = None,
) -> T:
    """alpha - beta cos(2 pi n / N)."""
    return _window(k, "hamming", window_length, periodic, dtype, alpha=alpha, beta=beta)


@op(
    "blackman_window.periodic(int window_length, bool periodic, *, ScalarType? dtype=None, ...)",
    "blackman_window(int window_length, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=("function", "factory"),
)
def blackman_window(k: Kernel[T], window_length: int, periodic: bool = True, *, dtype: DType | None = None) -> T:
    """0.42 - cos(2 pi n / N) / 2 + 0.08 cos(4 pi n / N)."""
    return _window(k, "blackman", window_length, periodic, dtype)


@op(
    "bartlett_window.periodic(int window_length, bool periodic, *, ScalarType? dtype=None, ...)",
    "bartlett_window(int window_length, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=("function", "factory"),
)
def bartlett_window(k: Kernel[T], window_length: int, periodic: bool = True, *, dtype: DType | None = None) -> T:
    """1 - |2 n / N - 1|."""
    return _window(k, "bartlett", window_length, periodic, dtype)


@op(
    "kaiser_window.beta(int window_length, bool periodic, float beta, *, ScalarType? dtype=None, ...)",
    "kaiser_window(int window_length, *, ScalarType? dtype=None, ...)",
    "kaiser_window.periodic(int window_length, bool periodic, *, ScalarType? dtype=None, ...)",
    promote="none",
    variants=("function", "factory"),
)
def kaiser_window(
    k: Kernel[T], window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DType | None = None
) -> T:
    """I0(beta sqrt(1 - (2 n / N - 1)^2)) / I0(beta)."""
    return _window(k, "kaiser", window_length, periodic, dtype, beta=beta)


@composite("vander", variants=("function",))
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of `x` as columns."""
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    from flambeau._operators.join import cat

    kind = x.dtype if x.dtype.kind in "fc" else int64
    first = x.new_ones((x.shape[0], min(n, 1)), dtype=kind)
    out = cat([first, x.to(kind).unsqueeze(-1).expand(x.shape[0], n - 1)], 1).cumprod(1) if n > 1 else first
    return out if increasing else out.flip(1)

"""Random integers: `random_`, randint, randperm, and the bounds within which PyTorch draws them."""

from __future__ import annotations

import math
from typing import Any

from flambeau._ground.errors import check
from flambeau._kernel.language import DType, Kernel, Shape, T
from flambeau._operators.create import FACTORY, LIKE, own, shaped
from flambeau._operators.op import op
from flambeau._operators.random import FILLS, FLOATS, RANGE, SIGNED_OR_BYTE, empty_like, nothing, own_dtype, supported
from flambeau._values.device import memory_format as MemoryFormat
from flambeau._values.dtype import (
    C_NAMES,
    SPOKEN,
    bfloat16,
    bool_,
    dtype,
    float16,
    float32,
    float64,
    int64,
    uint16,
    uint32,
    uint64,
)
from flambeau._values.generator import Generator

UNSIGNED = (uint16, uint32, uint64)
LOWEST = -(1 << 63)


def _inner(value: int, d: dtype, step: int) -> int:
    """A bound moved inwards to where the numbers of a floating dtype cannot cross it (`step` is 1 for the lower one)."""
    digits = RANGE[d][1]
    rounded = float(d.np.type(value + step))
    if math.isinf(rounded):
        return value  # out of bounds, which is for the caller to say
    near = int(rounded)
    if (near < value) if step > 0 else (near >= value):
        spacing = 1 << (max(abs(value + step).bit_length() - 1, 0) - digits + 1)
        return near + step * spacing
    return value


def _bounds(d: dtype, low: int, high: int | None) -> tuple[int, int]:
    """(low, span) of what `random_` draws from, or PyTorch's refusal."""
    floating = d in RANGE
    if high is not None:
        check(low < high, RuntimeError, f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        if floating:
            low, high = _inner(low, d, 1), _inner(high, d, -1)
            check(low < high, RuntimeError, "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got "
                  f"from={low} >= to={high}")  # fmt: skip
        _in_range(d, low, high - 1)
        return low, high - low
    if floating:
        last = min(1 << RANGE[d][1], -LOWEST - 1)
        low = _inner(low, d, 1)
        check(low < last, RuntimeError, "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' casted to "
              f"dtype, but got from={low} > to_inc={last}")  # fmt: skip
    elif d.kind in "bi":
        last = min(_limits(d)[1], -LOWEST - 1)
    else:
        raise RuntimeError("random_from_to_impl handles only integral, floating-point and boolean types")
    _in_range(d, low, last)
    return low, last - low + 1


def _limits(d: dtype) -> tuple[int, int]:
    if d is bool_:
        return 0, 1
    bits = d.itemsize * 8
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if d.is_signed else (0, (1 << bits) - 1)


def _in_range(d: dtype, low: int, last: int) -> None:
    if d in RANGE:
        largest, digits = RANGE[d]
        smallest: float = -largest
    elif d.kind in "bi":
        smallest, largest = _limits(d)
        digits = 0
    else:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    for name, value in (("from", low), ("to - 1", last)):
        check(smallest <= value <= largest, RuntimeError, f"{name} is out of bounds for {C_NAMES[d]}")
        if digits and not -(1 << digits) <= value <= 1 << digits:
            import warnings

            warnings.warn(
                f"{name} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision limitations {C_NAMES[d]} can support "
                "discrete uniform distribution only within this range. This warning will become an error in version 1.7 "
                "release, please fix the code in advance", UserWarning, stacklevel=5)  # fmt: skip


@op("random", **FILLS)
def random(k: Kernel[T], input: T, *, generator: Generator | None = None) -> T:
    """Fills the tensor with integers from 0 to the largest that its dtype holds (exactly)."""
    supported("random_kernel_cpu", own_dtype(input), (*SIGNED_OR_BYTE, bool_, *FLOATS))
    return k.library("integers", input, low=None, span=0, generator=generator)


random.vjp(input=nothing)


@op("random.to", promote="none", variants=("inplace",), python_name="random")
def random_to(k: Kernel[T], input: T, to: int, *, generator: Generator | None = None) -> T:
    """Fills the tensor with integers from 0 to `to` - 1."""
    low, span = _bounds(own_dtype(input), 0, int(to))
    return k.library("integers", input, low=low, span=span, generator=generator)


random_to.vjp(input=nothing)


@op(
    "random.from(Tensor self, int from, int? to, *, Generator? generator=None)",
    promote="none",
    variants=("inplace",),
    python_name="random",
)
def random_from(k: Kernel[T], input: T, from_: int, to: int | None, *, generator: Generator | None = None) -> T:
    """Fills the tensor with integers from `from` to `to` - 1, or to the largest that its dtype holds."""
    if from_ == LOWEST and to is None:
        supported("random_full_64_bits_range_kernel_cpu", own_dtype(input), (int64, float64, float32, bfloat16))
        return k.library("integers", input, low=LOWEST, span=0, generator=generator)
    low, span = _bounds(own_dtype(input), int(from_), None if to is None else int(to))
    return k.library("integers", input, low=low, span=span, generator=generator)


random_from.vjp(input=nothing)


@op(
    "randint(SymInt high, SymInt[] size, *, ScalarType? dtype=4, ...)",
    "randint.generator(SymInt high, SymInt[] size, *, Generator? generator, ScalarType? dtype=4, ...)",
    promote="none",
    variants=FACTORY,
)
def randint(
    k: Kernel[T], high: int, size: Shape, *, generator: Generator | None = None, dtype: DType | None = None
) -> T:
    """Integers from 0 to `high` - 1, or from `low` to `high` - 1.

    >>> torch.randint(5, 6, (3,))
    tensor([5, 5, 5])
    """
    return _randint(k, 0, high, size, dtype, generator)


@op(
    "randint.low(SymInt low, SymInt high, SymInt[] size, *, ScalarType? dtype=4, ...)",
    "randint.low_generator(SymInt low, SymInt high, SymInt[] size, *, Generator? generator, ScalarType? dtype=4, ...)",
    promote="none",
    variants=FACTORY,
    python_name="randint",
)
def randint_low(k: Kernel[T], low: int, high: int, size: Shape, *, generator: Generator | None = None,
                dtype: DType | None = None) -> T:  # fmt: skip
    """Integers from `low` to `high` - 1."""
    return _randint(k, low, high, size, dtype, generator)


def _randint(k: Any, low: int, high: int, size: Any, d: dtype | None, generator: Any) -> Any:
    if isinstance(size, int):
        raise TypeError(f"randint(): argument 'size' (position 2) must be tuple of ints, not {type(size).__name__}")
    low, high = int(low), int(high)
    if not (LOWEST <= low < -LOWEST and LOWEST <= high < -LOWEST):
        raise ValueError("Overflow when unpacking long long")
    d = int64 if d is None else d
    shape = shaped(size)
    low, span = _bounds(d, low, high)
    return k.library("randint", shape=shape, dtype=d, low=low, span=span, generator=generator)


@op(
    "randint_like(Tensor self, SymInt high, *, ScalarType? dtype=None, ..., MemoryFormat? memory_format=None)",
    "randint_like.Tensor(Tensor self, Tensor high, *, ScalarType? dtype=None, ..., MemoryFormat? memory_format=None)",
    promote="none",
    variants=LIKE,
    differentiable=False,
)
def randint_like(k: Kernel[T], input: T, high: int, *, generator: Generator | None = None, dtype: DType | None = None,
                 memory_format: MemoryFormat | None = None) -> T:  # fmt: skip
    """Integers from 0 to `high` - 1, or from `low` to `high` - 1, in a tensor of `input`'s sizes."""
    return _randint_like(k, input, 0, high, generator, dtype, memory_format)


@op(
    "randint_like.low_dtype(Tensor self, SymInt low, SymInt high, *, ScalarType? dtype=None, ..., MemoryFormat? memory_format=None)",
    promote="none",
    variants=LIKE,
    differentiable=False,
    python_name="randint_like",
)
def randint_like_low(k: Kernel[T], input: T, low: int, high: int, *, generator: Generator | None = None,
                     dtype: DType | None = None, memory_format: MemoryFormat | None = None) -> T:  # fmt: skip
    """Integers from `low` to `high` - 1 in a tensor of `input`'s sizes."""
    return _randint_like(k, input, low, high, generator, dtype, memory_format)


def _randint_like(k: Any, x: Any, low: Any, high: Any, generator: Any, d: dtype | None, format: Any) -> Any:
    d = own(x, d)
    first, span = _bounds(d, int(low), int(high))
    return k.library("integers", empty_like(k, x, d, format), low=first, span=span, generator=generator)


@op(
    "randperm(SymInt n, *, ScalarType? dtype=4, ...)",
    "randperm.generator(SymInt n, *, Generator? generator, ScalarType? dtype=4, ...)",
    promote="none",
    variants=FACTORY,
)
def randperm(k: Kernel[T], n: int, *, generator: Generator | None = None, dtype: DType | None = None) -> T:
    """The integers from 0 to `n` - 1 in random order.

    >>> torch.randperm(5).sort().values
    tensor([0, 1, 2, 3, 4])
    """
    d = int64 if dtype is None else dtype
    n = int(n)
    check(n >= 0, RuntimeError, f"Trying to create tensor with negative dimension {n}: [{n}]")
    supported("randperm", d, (*SIGNED_OR_BYTE, *FLOATS, *UNSIGNED))
    if d in RANGE:
        digits = RANGE[d][1]
        most = str((1 << digits) + 1) if d in (float16, bfloat16) else f"2^{digits}+1"
        check(n <= (1 << digits) + 1, RuntimeError, f"n cannot be greater than {most} for {SPOKEN[d]} type.")
    else:
        check(n <= _limits(d)[1], RuntimeError, f"value cannot be converted to type {d.name}_t without overflow")
    return k.library("randperm", n=n, dtype=d, generator=generator)

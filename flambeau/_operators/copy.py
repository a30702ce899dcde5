"""Copies: clone, contiguous, conversion, writing in place, and rearrangements that need new memory (flip, roll, repeat)."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from flambeau._ground.once import warn_once
from flambeau._kernel.language import Dim, Dims1, DType, IntList, Kernel, N, Shape, Sizes1, T
from flambeau._operators.op import METHOD, composite, op
from flambeau._operators.view import sizes
from flambeau._tensor import Tensor, has_elements
from flambeau._values.device import memory_format as MemoryFormat
from flambeau._values.dtype import check_fits, dtype as Kind, of
from flambeau._values.overlap import check_apart, check_overlap
from flambeau._values.shape import check_fills, wrap_dim, wrap_dims

FEW = 1 << 15  # elements: copies of fewer are the array library's

DISCARDS = "Casting complex values to real discards the imaginary part"

INPLACE = ("inplace",)


@op("clone", promote="none")
def clone(k: Kernel[T], input: T, *, memory_format: MemoryFormat | None = None) -> T:
    """A copy, laid out like `input` where that is dense.

    >>> x = torch.tensor([1.0, 2.0])
    >>> x.clone().add_(1), x
    (tensor([2., 3.]), tensor([1., 2.]))
    """
    return input


clone.vjp(input=lambda g: g)


@clone.arrays
def _(k: Any, input: Any, *, memory_format: Any = None) -> Any:
    if memory_format is None and input.flags.c_contiguous and input.size < FEW:
        return input.copy()
    return k.library("copied", input, format="preserve_format" if memory_format is None else memory_format.name)


@composite("contiguous(Tensor(a) self, *, MemoryFormat memory_format=0) -> Tensor(a)", variants=METHOD, layouts=True)
def contiguous(input: Tensor, memory_format: MemoryFormat | None = None) -> Tensor:
    """This tensor if its elements lie in order, else a copy in which they do."""
    if memory_format is None:
        return input if input._a.flags.c_contiguous else _contiguous(input)
    if memory_format.name == "preserve_format":
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    return input if input.is_contiguous(memory_format=memory_format) else clone(input, memory_format=memory_format)


@op("_contiguous", promote="none", variants=())
def _contiguous(k: Kernel[T], input: T) -> T:
    """The elements in row-major order."""
    return input


_contiguous.vjp(input=lambda g: g)


@_contiguous.arrays
def _(k: Any, input: Any) -> Any:
    return k.library("copied", input, format="contiguous_format") if input.size >= FEW else input.copy("C")


@op(
    "_to_copy(Tensor self, *, ScalarType? dtype=None, ..., bool non_blocking=False, MemoryFormat? memory_format=None)",
    promote="none",
    variants=("function",),
)
def _to_copy(
    k: Kernel[T],
    input: T,
    *,
    dtype: DType | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool | None = None,
    non_blocking: bool = False,
    memory_format: MemoryFormat | None = None,
) -> T:
    """A copy in another dtype or memory format: what `Tensor.to` does where something changes."""
    return input if dtype is None else k.cast(input, dtype)


_to_copy.vjp(input=lambda g, input_dtype: g if g.dtype is input_dtype else _back(g, input_dtype))


def _back(g: Any, d: Kind) -> Any:
    return (g.real if g.is_complex() and not d.is_complex else g).to(d)


@_to_copy.arrays
def _(
    k: Any,
    input: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
    non_blocking: bool = False,
    memory_format: Any = None,
) -> Any:
    if input.dtype.kind == "c" and dtype is not None and dtype.kind != "c":
        warn_once(DISCARDS)
    if memory_format is None and input.flags.c_contiguous:
        return k.library("converted", input, dtype=dtype) if dtype is not None else input.copy()
    return k.library(
        "copied", input, dtype=dtype, format="preserve_format" if memory_format is None else memory_format.name
    )


@composite("type_as", variants=METHOD)
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """This tensor in the dtype (and on the device) of `other`."""
    return input.to(other)


# ---------------------------------------------------------------- writing in place


@op("copy", promote="none", variants=("function", "inplace", "method_"))
def copy(k: Kernel[T], input: T, src: N, non_blocking: bool = False) -> T:
    """`src`, broadcast to the sizes of `input` and in its dtype."""
    return k.cast(k.expand(src, input.shape), input.dtype if isinstance(input.dtype, Kind) else of(input.dtype))


copy.vjp(input=lambda g: g.new_zeros(g.shape), src=lambda g: g)


@copy.errors
def _(input: Any, src: Any, non_blocking: bool) -> None:
    if hasattr(src, "_a"):
        a, b = input._a, src._a
        check_fills(a.shape, b.shape)
        if b.dtype.kind == "c" and a.dtype.kind != "c":
            warn_once(DISCARDS)
        if a is not b and (a.base is not None or b.base is not None):
            check_apart(a, (b,), True)


@copy.into
def _(k: Any, input: Any, src: Any, non_blocking: bool = False) -> None:
    if src.dtype is input.dtype and input.dtype.kind != "V" and input.size < FEW:
        input[...] = src
    else:
        k.library("write", input, src)


@op("fill.Scalar", "fill.Tensor", promote="none", variants=("function", "inplace", "method_"), expanded=True)
def fill(k: Kernel[T], input: T, value: N) -> T:
    """One value everywhere, in a tensor of `input`'s sizes and dtype."""
    return k.cast(k.expand(value, input.shape), input.dtype if isinstance(input.dtype, Kind) else of(input.dtype))


fill.vjp(input=lambda g: g.new_zeros(g.shape), value=lambda g: g.sum())


@fill.errors
def _(input: Any, value: Any) -> None:
    if hasattr(value, "_a"):
        check_overlap(input._a)
    if getattr(value, "ndim", 0):
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.")
    if hasattr(value, "_a") and value._a.dtype.kind == "c" and input._a.dtype.kind != "c":
        warn_once(DISCARDS)
    check_fits(value, input.dtype, True)


@fill.into
def _(k: Any, input: Any, value: Any) -> None:
    k.library("write", input, value)


@op("zero", promote="none", variants=INPLACE, expanded=True)
def zero(k: Kernel[T], input: T) -> T:
    """Zeros everywhere."""
    return k.full(input.shape, 0, input.dtype if isinstance(input.dtype, Kind) else of(input.dtype))


zero.vjp(input=lambda g: g.new_zeros(g.shape))


@zero.into
def _(k: Any, input: Any) -> None:
    input.fill(0) if input.dtype.kind != "V" else k.library("write", input, k.xp.zeros((), input.dtype))


# ---------------------------------------------------------------- rearrangements


@op("flip", promote="none", takes_float8=True, lacks=("uC", "flip_cpu"))
def flip(k: Kernel[T], input: T, dims: IntList) -> T:
    """The elements in reverse order along some dimensions."""
    return k.flip(input, wrap_dims(sizes(dims), input.ndim, empty_is_all=False))


flip.vjp(input=lambda g, dims: g.flip(dims))


@flip.arrays
def _(k: Any, input: Any, dims: Any) -> Any:
    dims = wrap_dims(sizes(dims), input.ndim, empty_is_all=False)
    return k.library("copied", k.xp.flip(input, dims) if dims else input)


@composite("fliplr")
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, (1,))


@composite("flipud")
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, (0,))


@op("roll", promote="none", packed="channels")
def roll(k: Kernel[T], input: T, shifts: Sizes1, dims: Dims1 = ()) -> T:
    """The elements moved along some dimensions (all as one where none is given); those pushed out come in again."""
    shifts, dims = sizes(shifts), sizes(dims)
    if not dims:
        return k.reshape(k.library("roll", k.reshape(input, (-1,)), shifts=shifts, dims=(0,)), input.shape)
    return k.library("roll", input, shifts=shifts, dims=tuple(_wrapped(d, input.ndim) for d in dims))


def _wrapped(d: int, rank: int) -> int:
    return wrap_dim(d, rank, False)


roll.vjp(input=lambda g, shifts, dims: g.roll(tuple(-s for s in sizes(shifts)), dims))


@roll.errors
def _(input: Any, shifts: Any, dims: Any) -> None:
    shifts, dims = sizes(shifts), sizes(dims)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not (len(shifts) == 1 and not dims) and len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")


@composite("rot90")
def rot90(input: Tensor, k: int = 1, dims: IntList = (0, 1)) -> Tensor:
    """Turned by 90 degrees `k` times, in the plane of two dimensions."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = dims
    if a == b or abs(a - b) == input.ndim:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}")
    for d in dims:
        if not -input.ndim <= d < input.ndim:
            raise RuntimeError(f"Rotation dim{0 if d == a else 1} out of range, dim{0 if d == a else 1} = {d}")
    match k % 4:
        case 1:
            return flip(input, (b,)).transpose(a, b)
        case 2:
            return flip(input, tuple(dims))
        case 3:
            return flip(input, (a,)).transpose(a, b)
    return clone(input)


@op("repeat", promote="none", variants=METHOD, packed=True)
def repeat(k: Kernel[T], input: T, repeats: Shape) -> T:
    """`input` laid side by side, so often along each dimension.

    >>> torch.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    repeats = sizes(repeats)
    shape = (1,) * (len(repeats) - input.ndim) + tuple(input.shape)
    spread, wide = [], []
    for r, n in zip(repeats, shape, strict=True):
        spread += [1, n]
        wide += [r, n]
    return k.reshape(
        k.expand(k.reshape(input, tuple(spread)), tuple(wide)),
        tuple(r * n for r, n in zip(repeats, shape, strict=True)),
    )


repeat.vjp(input=lambda g, input_shape, repeats: _unrepeat(g, tuple(input_shape), sizes(repeats)))


@repeat.errors
def _(input: Any, repeats: Any) -> None:
    repeats = sizes(repeats)
    if len(repeats) < input._a.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    for i, r in enumerate(repeats):
        if r < 0:
            raise RuntimeError(
                "Trying to create tensor with negative dimension "
                f"{r * ((1,) * (len(repeats) - input._a.ndim) + input._a.shape)[i]}: "
                f"{[r * n for r, n in zip(repeats, (1,) * (len(repeats) - input._a.ndim) + input._a.shape, strict=True)]}"
            )


@repeat.arrays
def _(k: Any, input: Any, repeats: Any) -> Any:
    return k.library("tile", input, repeats=sizes(repeats))


def _unrepeat(g: Any, shape: Shape, repeats: Shape) -> Any:
    if 0 in repeats:
        return g.new_zeros(shape)
    full = (1,) * (len(repeats) - len(shape)) + shape
    wide = [m for pair in zip(repeats, full, strict=True) for m in pair]
    g = g.reshape(wide)
    return (g.sum(tuple(range(0, len(wide), 2))) if wide else g).reshape(shape)


@composite("tile")
def tile(input: Tensor, dims: Shape) -> Tensor:
    """`input` repeated along its dimensions; counts that are missing in front are 1."""
    dims = sizes(dims)
    return input.repeat((1,) * (input.ndim - len(dims)) + dims)


@op("_repeats_index", promote="none", variants=(), differentiable=False, by_data="shape")
def _repeats_index(k: Kernel[T], input: T) -> T:
    """0 as often as repeats[0] says, then 1, ..."""
    return k.library("repeats_index", input)


@op("_repeats_index_of_size", promote="none", variants=(), differentiable=False)
def _repeats_index_of_size(k: Kernel[T], input: T, output_size: int) -> T:
    """The same, where it is known how many there are."""
    return k.library("repeats_index", input, total=output_size)


@composite(
    "repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, SymInt? output_size=None)",
    "repeat_interleave.self_Tensor(Tensor self, Tensor repeats, int? dim=None, *, SymInt? output_size=None)",
    "repeat_interleave.Tensor(Tensor repeats, *, SymInt? output_size=None)",
)
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: Dim | None = None, *, output_size: int | None = None
) -> Tensor:
    """Every element repeated, along `dim` or in the flattened tensor.

    >>> torch.tensor([1, 2]).repeat_interleave(2)
    tensor([1, 1, 2, 2])
    """
    if repeats is None:
        _check_repeats(input)
        return _index_of_repeats(input, output_size)
    if dim is None:
        input, dim = input.reshape(-1), 0
    dim = wrap_dim(dim, input.ndim)
    if not input.ndim:
        input = input.reshape(1)
    if isinstance(repeats, Tensor):
        _check_repeats(repeats)
        if repeats.ndim == 0 or repeats.numel() == 1:
            repeats = int(repeats)
        elif repeats.shape[0] != input.shape[dim]:
            raise RuntimeError(
                "repeats must have the same size as input along dim, but got repeats.size(0) = "
                f"{repeats.shape[0]} and "
                f"input.size({dim}) = {input.shape[dim]}"
            )
    if isinstance(repeats, Integral):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        shape = tuple(input.shape)
        wide = input.unsqueeze(dim + 1).expand((*shape[: dim + 1], repeats, *shape[dim + 1 :]))
        return wide.clone().reshape((*shape[:dim], shape[dim] * repeats, *shape[dim + 1 :]))
    if isinstance(repeats, (list, tuple)):
        raise TypeError("repeat_interleave(): argument 'repeats' (position 2) must be Tensor or int, not list")
    return input.index_select(dim, _index_of_repeats(repeats, output_size))


def _index_of_repeats(repeats: Tensor, output_size: int | None) -> Tensor:
    return _repeats_index(repeats) if output_size is None else _repeats_index_of_size(repeats, output_size)


def _check_repeats(repeats: Any) -> None:
    if repeats.ndim > 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if repeats._a.dtype.kind not in "iu" or repeats._a.dtype.itemsize < 4:
        raise RuntimeError("repeats has to be Long or Int tensor")
    if has_elements(repeats) and (repeats._a < 0).any():
        raise RuntimeError("repeats can not be negative")


def _conversion(name: str, kind: str) -> None:
    """`x.float()` and its like."""

    def body(input: Any, memory_format: Any = None) -> Any:
        d = _KINDS[kind]
        if memory_format is None:
            return input if input._a.dtype == d.np else _to_copy(input, dtype=d)
        return input.to(d, memory_format=memory_format)

    body.__doc__ = f"This tensor in {kind}."
    body.__annotations__ = {"input": "T", "memory_format": "MemoryFormat | None"}
    composite("_to_" + kind, python_name=name, variants=METHOD)(body)


def _kinds() -> dict[str, Kind]:
    from flambeau._values import dtype as dtypes

    return {
        n: getattr(dtypes, n if n != "bool" else "bool_")
        for n in (
            "float32",
            "float64",
            "float16",
            "bfloat16",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint8",
            "bool",
            "complex64",
            "complex128",
            "complex32",
        )
    }


_KINDS = _kinds()
for _name, _kind in {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
    "cfloat": "complex64",
    "cdouble": "complex128",
    "chalf": "complex32",
}.items():
    _conversion(_name, _kind)


@composite("_pin_memory(Tensor self, Device? device=None)", variants=("function",))
def _pin_memory(input: Tensor, device: Any = None) -> Tensor:
    """A copy in memory that an accelerator reads directly: there is no accelerator."""
    raise RuntimeError("Cannot access accelerator device when none is available.")

"""Order: sort, topk, kthvalue, uniqueness, binary search, membership."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Dim, Index, Kernel, N, Size, T
from flambeau._operators.flat import underived_in
from flambeau._operators.index import on_zeros, scattered
from flambeau._operators.op import ALL_FORMS, OUT, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, int32, int64
from flambeau._values.shape import wrap_dim

PAIR = ("values", "indices")


def _scattered(g: Any, shape: Any, dim: int, indices: Any) -> Any:
    """A gradient of chosen elements, in the places they were chosen from."""
    return on_zeros(g, shape, "scatter", dim, indices, g) if shape else g


@op("sort", lacks=("8", "sorting_kernel_method_name"), promote="none", variants=OUT, outputs=PAIR, onto=True)
def sort(k: Kernel[T], input: T, dim: Dim = -1, descending: bool = False) -> tuple[T, T]:
    """The elements in order along `dim`, and where they were.

    >>> torch.tensor([3, 1, 2]).sort().indices
    tensor([1, 2, 0])
    """
    return k.library("sort", input, dim=wrap_dim(dim, input.ndim), descending=descending, stable=False)


@op(
    "sort.stable",
    lacks=("8", "sorting_kernel_method_name"),
    promote="none",
    variants=OUT,
    outputs=PAIR,
    onto=True,
    python_name="sort",
)
def sort_stable(k: Kernel[T], input: T, *, stable: bool | None, dim: Dim = -1, descending: bool = False) -> tuple[T, T]:
    """`sort` which leaves equal elements in the order in which they were."""
    return k.library("sort", input, dim=wrap_dim(dim, input.ndim), descending=descending, stable=bool(stable))


def _refuse_complex(input: Any, dim: int, descending: bool, stable: Any = None) -> None:
    if input.dtype.kind == "c":
        raise RuntimeError(" Sort does not support complex dtypes on CPU")


for _sorted in (sort, sort_stable):
    _sorted.vjp(input=lambda g_values, input_shape, dim, indices: _scattered(g_values, input_shape, dim, indices))
    _sorted.vjp_arrays(
        input=lambda k, g_values, input_shape, dim, indices: scattered(k, g_values, input_shape, dim, True, indices)
    )
    _sorted.errors(_refuse_complex)


@composite("argsort")
def argsort(input: Tensor, dim: Dim = -1, descending: bool = False) -> Tensor:
    """The indices that would sort along `dim`."""
    return sort(input, dim, descending)[1]


@composite("argsort.stable", python_name="argsort")
def argsort_stable(input: Tensor, *, stable: bool, dim: Dim = -1, descending: bool = False) -> Tensor:
    """The indices that would sort along `dim`, equal elements in the order in which they are."""
    return sort_stable(input, stable=stable, dim=dim, descending=descending)[1]


@composite("msort", variants=OUT)
def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dimension."""
    return sort(input, 0)[0]


@op("topk", promote="none", variants=OUT, outputs=PAIR, lacks=("u", "topk_cpu"))
def topk(kernel: Kernel[T], input: T, k: Size, dim: Dim = -1, largest: bool = True, sorted: bool = True) -> tuple[T, T]:
    """The `k` largest (or smallest) elements along `dim`, and where they were."""
    return kernel.library("topk", input, count=k, dim=wrap_dim(dim, input.ndim), largest=largest, ordered=sorted)


topk.vjp(input=lambda g_values, input_shape, dim, indices: _scattered(g_values, input_shape, dim, indices))
topk.vjp_arrays(
    input=lambda k, g_values, input_shape, dim, indices: scattered(k, g_values, input_shape, dim, True, indices)
)


@topk.errors
def _(input: Any, k: int, dim: int, largest: bool, sorted: bool) -> None:
    d = wrap_dim(dim, input.ndim)
    if not 0 <= k <= (input._a.shape[d] if input.ndim else 1):
        raise RuntimeError("selected index k out of range")
    if input.dtype.kind == "c":
        raise RuntimeError(" topk does not support complex dtypes on CPU")
    if input.dtype.kind == "b":
        raise RuntimeError("topk does not support bool dtypes on CPU")


@op("kthvalue", promote="none", variants=OUT, outputs=PAIR, packed=True, lacks=("bcu", "kthvalue_cpu"))
def kthvalue(kernel: Kernel[T], input: T, k: Size, dim: Dim = -1, keepdim: bool = False) -> tuple[T, T]:
    """The `k`-th smallest element along `dim`, and where it was."""
    return kernel.library("kthvalue", input, place=k, dim=wrap_dim(dim, input.ndim), keepdim=keepdim)


kthvalue.vjp(
    input=lambda g_values, input_shape, dim, keepdim, indices: _back(g_values, input_shape, dim, keepdim, indices)
)


def _back(g: Any, shape: Any, dim: int, keepdim: bool, indices: Any) -> Any:
    if not shape:
        return g
    if not keepdim:
        g, indices = g.unsqueeze(dim), indices.unsqueeze(dim)
    return on_zeros(g, shape, "scatter", dim, indices, g)


@kthvalue.errors
def _(input: Any, k: int, dim: int, keepdim: bool) -> None:
    d = wrap_dim(dim, input.ndim)
    n = input._a.shape[d] if input.ndim else 1
    if not n:
        raise IndexError(f"kthvalue(): Expected reduction dim {d} to have non-zero size.")
    if not 1 <= k <= n:
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(d))


# ---------------------------------------------------------------- uniqueness


@op("_unique2", promote="none", variants=("function",), differentiable=False, by_data="shape")
def _unique2(
    k: Kernel[T], input: T, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False
) -> tuple[T, T, T]:
    """The distinct elements, where each element went, and how often each occurs."""
    return k.library("unique", input, dim=None, inverse=return_inverse, counts=return_counts)


@op("unique_dim", promote="none", variants=("function",), differentiable=False, by_data="shape")
def unique_dim(
    k: Kernel[T], input: T, dim: Dim, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False
) -> tuple[T, T, T]:
    """The distinct slices along `dim`, where each went, and how often each occurs."""
    return k.library("unique", input, dim=wrap_dim(dim, input.ndim))


@op("_unique_runs", promote="none", variants=(), differentiable=False, by_data="shape")
def _unique_runs(
    k: Kernel[T], input: T, return_inverse: bool = False, return_counts: bool = False, dim: Dim | None = None
) -> tuple[T, T, T]:
    """The first of each run of equal elements, which run each element is in, and how long the runs are."""
    dim = None if dim is None else wrap_dim(dim, input.ndim)
    return k.library("unique_runs", input, dim=dim, inverse=return_inverse, counts=return_counts)


@unique_dim.errors
def _(input: Tensor, dim: int, sorted: bool, return_inverse: bool, return_counts: bool) -> None:
    _some_slices(input, dim)


@_unique_runs.errors
def _(input: Tensor, return_inverse: bool, return_counts: bool, dim: int | None) -> None:
    if dim is not None:
        _some_slices(input, dim)


def _some_slices(input: Tensor, dim: int) -> None:
    """Slices of nothing are not told apart."""
    empty = sum(n == 0 for n in input.shape)
    if empty > 1 and not input.shape[dim]:
        raise RuntimeError("Number of zero sized dimensions is more than one, so unique cannot be applied ")
    if empty and input.shape[dim]:
        raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique cannot be applied")


def _wanted(found: Any, inverse: bool, counts: bool) -> Any:
    values, back, often = found
    if inverse and counts:
        return values, back, often
    return (values, back) if inverse else (values, often) if counts else values


@composite("unique", variants=("function", "method"), lacks=("c", "unique"))
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: Dim | None = None,
) -> Any:
    """The distinct elements (or slices along `dim`), sorted; with `return_inverse` where each went, with `return_counts` how often.

    >>> torch.unique(torch.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    asked = (sorted, return_inverse, return_counts)
    values, *rest = _unique2(input, *asked) if dim is None else unique_dim(input, dim, *asked)
    values = underived_in(values, input, "_unique2" if dim is None else "unique_dim")
    return _wanted((values, *rest), return_inverse, return_counts)


@composite(
    "unique_consecutive(Tensor self, bool return_inverse=False, bool return_counts=False, int? dim=None) -> (Tensor, Tensor, Tensor)",
    variants=("function", "method"),
    lacks=("c", "unique"),
)
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: Dim | None = None
) -> Any:
    """The first of each run of equal elements (or slices along `dim`)."""
    values, *rest = _unique_runs(input, return_inverse, return_counts, dim)
    values = underived_in(values, input, "unique_consecutive")
    return _wanted((values, *rest), return_inverse, return_counts)


# ---------------------------------------------------------------- search


def _side(right: bool, side: str | None) -> bool:
    return right if side is None else side == "right"


@op("searchsorted.Tensor", "searchsorted.Scalar", promote="none", variants=("function", "out"), differentiable=False,
    lacks=("buc", "searchsorted_out_cpu"))  # fmt: skip
def searchsorted(
    k: Kernel[T],
    sorted_sequence: T,
    input: N,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Index | None = None,
) -> T:
    """Where each value would go in a sorted sequence (the last dimension) so that it stays sorted."""
    return k.library(
        "searchsorted", sorted_sequence, input, sorter, right=_side(right, side), dtype=int32 if out_int32 else int64
    )


@searchsorted.errors
def _(sorted_sequence: Any, input: Any, out_int32: bool, right: bool, side: Any, sorter: Any) -> None:
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    s = sorted_sequence._a
    if s.ndim != 1 and not getattr(input, "ndim", 0):
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor dimension is 1, but we got boundaries tensor "
            f"dim({s.ndim}) and input value's dim(0) numel(1)"
        )
    if not s.ndim:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if hasattr(input, "_a"):
        v = input._a
        if v.dtype != s.dtype:
            raise RuntimeError(
                "torch.searchsorted(): boundary tensor and input value tensor should have same "
                "dtype, but got boundary tensor dtype "
                f"{C[SPOKEN[sorted_sequence.dtype]]} and input value tensor dtype "
                f"{C[SPOKEN[input.dtype]]}"
            )
        if s.ndim > 1 and s.shape[:-1] != v.shape[:-1]:
            raise RuntimeError(
                "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
                "dimensions of boundaries tensor and input "
                f"value tensor must match, but we got boundaries tensor {list(s.shape)} and input "
                f"value tensor {list(v.shape)}"
            )
    if sorter is not None:
        if sorter._a.shape != s.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got "
                "boundary tensor "
                f"{list(s.shape)}and got sorter tensor {list(sorter.shape)}"
            )
        if SPOKEN[sorter.dtype] != "Long":
            raise RuntimeError(
                f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {SPOKEN[sorter.dtype]}"
            )


C = {
    "Float": "float",
    "Double": "double",
    "Long": "long long",
    "Int": "int",
    "Half": "c10::Half",
    "BFloat16": "c10::BFloat16",
    "Short": "short int",
    "Char": "signed char",
    "Byte": "unsigned char",
    "Bool": "bool",
}


@op(
    "bucketize.Tensor",
    "bucketize.Scalar(Scalar self, Tensor boundaries, *, bool out_int32=False, bool right=False)",
    promote="none",
    variants=("function", "out"),
    differentiable=False,
    lacks=("buc", "searchsorted_out_cpu"),
)
def bucketize(k: Kernel[T], input: N, boundaries: T, *, out_int32: bool = False, right: bool = False) -> T:
    """Which interval between boundaries each value lies in."""
    return k.library("searchsorted", boundaries, input, None, right=right, dtype=int32 if out_int32 else int64)


@bucketize.errors
def _(input: Any, boundaries: Any, out_int32: bool, right: bool) -> None:
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")


@op(
    "isin.Tensor_Tensor",
    "isin.Tensor_Scalar(Tensor elements, Scalar test_element, *, bool assume_unique=False, bool invert=False)",
    "isin.Scalar_Tensor(Scalar element, Tensor test_elements, *, bool assume_unique=False, bool invert=False)",
    promote="bool",
    variants=("function", "out"),
    differentiable=False,
    lacks=("uC", "isin_default_cpu"),
)
def isin(k: Kernel[T], elements: N, test_elements: N, *, assume_unique: bool = False, invert: bool = False) -> T:
    """Whether each element is one of the test elements."""
    return k.library("isin", elements, test_elements, invert=invert)


@isin.errors
def _(elements: Any, test_elements: Any, assume_unique: bool, invert: bool) -> None:
    for t in (elements, test_elements):
        if isinstance(t, Tensor) and (t.dtype.kind == "b" or (t.dtype.kind == "c" and t.dtype.itemsize > 4)):
            raise RuntimeError(f"Unsupported input type encountered for isin(): {SPOKEN[t.dtype]}")


__all__ = ["ALL_FORMS"]

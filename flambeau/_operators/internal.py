"""Operators that PyTorch's own Python code calls by name: parts of others, conversions, checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._ground.errors import LinAlgError
from flambeau._kernel.language import DType, N, Shape
from flambeau._operators import embed, linalg, norm, solve, sparse
from flambeau._operators.compare import bitwise_and, bitwise_left_shift, bitwise_or, bitwise_right_shift, bitwise_xor
from flambeau._operators.op import FUNCTION, Op, composite
from flambeau._tensor import Tensor
from flambeau._values.dtype import float16, float32, float64, int8, int16, int32, int64, uint8

# ---------------------------------------------------------------- operators of Python


def _operator_of(sign: str, does: Op) -> None:
    def operator(input: Tensor, other: N) -> Tensor:
        return does(input, other)

    operator.__doc__ = f"What `__{sign}__` of a tensor calls."
    composite(f"__{sign}__.Tensor", f"__{sign}__.Scalar", variants=())(operator)


for _sign, _does in {
    "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor, "lshift": bitwise_left_shift, "rshift": bitwise_right_shift,
}.items():  # fmt: skip
    _operator_of(_sign, _does)


# ---------------------------------------------------------------- parts of sparse tensors, as copies


def _copy_of_part(part: Op) -> None:
    def copy(input: Tensor) -> Tensor:
        return part(input).clone()

    copy.__doc__ = f"A copy of what `{part.name}` views."
    composite(f"{part.name}_copy", variants=FUNCTION, layouts=True)(copy)


for _part in (sparse.values, sparse.indices, sparse.crow_indices, sparse.col_indices, sparse.ccol_indices, sparse.row_indices):  # fmt: skip
    _copy_of_part(_part)


@composite("spmm", variants=FUNCTION, layouts=True)
def spmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of a sparse matrix and a dense one: `mm`."""
    return input.mm(mat2)


@composite(
    "_convert_indices_from_coo_to_csr(Tensor self, int size, *, bool out_int32=False) -> Tensor", variants=FUNCTION
)
def _convert_indices_from_coo_to_csr(input: Tensor, size: int, *, out_int32: bool = False) -> Tensor:
    """Where each of `size` rows begins in a sorted list of the rows of elements."""
    starts = input.new_zeros((size + 1,))
    starts[1:] = input.bincount(minlength=size).cumsum(0)
    return starts.to(int32) if out_int32 else starts


@composite(
    "_convert_indices_from_csr_to_coo(Tensor crow_indices, Tensor col_indices, *, bool out_int32=False, bool transpose=False) -> Tensor",
    variants=FUNCTION,
)
def _convert_indices_from_csr_to_coo(
    crow_indices: Tensor, col_indices: Tensor, *, out_int32: bool = False, transpose: bool = False
) -> Tensor:
    """The row and the column of each element."""
    rows = crow_indices.new_tensor(range(crow_indices.shape[-1] - 1)).repeat_interleave(crow_indices.diff())
    both = (col_indices, rows) if transpose else (rows, col_indices)
    found = rows.new_zeros((2, rows.shape[0]))
    found[0], found[1] = both
    return found.to(int32) if out_int32 else found


# ---------------------------------------------------------------- older names


@composite("_shape_as_tensor", variants=FUNCTION, differentiable=False)
def _shape_as_tensor(input: Tensor) -> Tensor:
    """The sizes, as a tensor."""
    return input.new_tensor(tuple(input.shape), dtype=int64, requires_grad=False)


@composite("_reshape_from_tensor(Tensor self, Tensor shape) -> Tensor", variants=FUNCTION)
def _reshape_from_tensor(input: Tensor, shape: Tensor) -> Tensor:
    """`reshape` to sizes that stand in a tensor."""
    return input.reshape(shape.tolist())


def _cast_to(name: str, dtype: Any) -> None:
    def cast(input: Tensor, non_blocking: bool = False) -> Tensor:
        return input.to(dtype, non_blocking=non_blocking)

    cast.__doc__ = f"`to` {dtype}."
    composite(f"_cast_{name}", variants=FUNCTION)(cast)


for _name, _dtype in (("Byte", uint8), ("Char", int8), ("Double", float64), ("Float", float32), ("Half", float16), ("Int", int32), ("Long", int64), ("Short", int16)):  # fmt: skip
    _cast_to(_name, _dtype)


# ---------------------------------------------------------------- linear algebra


@composite("_linalg_det", variants=FUNCTION, outputs=("result", "LU", "pivots"))
def _linalg_det(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The determinant, and the factors that it is the product of: those of the transpose where A lies row by row."""
    x = A.detach()
    LU, pivots, _ = linalg.linalg_lu_factor_ex(x.mT if x.is_contiguous() and not x.is_complex() else x)
    return solve.linalg_det(A), LU, pivots


_CAUSES = {
    "inv": lambda i: f"The diagonal element {i} is zero, the inversion could not be completed because the input matrix is singular.",
    "solve": lambda i: "The solver failed because the input matrix is singular.",
    "cholesky": lambda i: (
        "The factorization could not be completed because the input is not positive-definite (the leading minor of order "
        f"{i} is not positive-definite)."
    ),
    "svd": lambda i: (
        "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated singular "
        f"values (error code: {i})."
    ),
    "eig": lambda i: (
        "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated eigenvalues "
        f"(error code: {i})."
    ),
    "lstsq": lambda i: f"The least squares solution could not be computed because the input matrix does not have full rank (error code: {i}).",
    "lu_factor": lambda i: (
        f"U[{i},{i}] is zero and using it on lu_solve would result in a division by zero. If you still want to perform the "
        "factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
    ),
}  # fmt: skip


@composite("_linalg_check_errors(Tensor info, str api_name, *, bool is_matrix) -> ()", variants=FUNCTION)
def _linalg_check_errors(info: Tensor, api_name: str, *, is_matrix: bool) -> None:
    """Raises for the first matrix that LAPACK gave up on, in the words of the function that asked."""
    if not info.any():
        return
    cause: Callable[[Any], str] | None = next((text for word, text in _CAUSES.items() if word in api_name), None)
    if cause is None:
        raise RuntimeError(f"{api_name}: Unknown error code")
    error = RuntimeError if "lu_factor" in api_name else LinAlgError
    linalg.refuse(info, lambda which, i: f"{api_name}: {which}{cause(i)}", not is_matrix, error)


# ---------------------------------------------------------------- others


@composite(
    "_embedding_bag_forward_only(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq=False, int mode=0, bool sparse=False, "
    "Tensor? per_sample_weights=None, bool include_last_offset=False, int padding_idx=-1) -> (Tensor, Tensor, Tensor, Tensor)",
    variants=FUNCTION,
)
def _embedding_bag_forward_only(weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
                                per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int = -1) -> Any:  # fmt: skip
    """`embedding_bag`, without history."""
    each = None if per_sample_weights is None else per_sample_weights.detach()
    return embed.embedding_bag(weight.detach(), indices, offsets, scale_grad_by_freq, mode, sparse, each, include_last_offset,
                               None if padding_idx < 0 else padding_idx)  # fmt: skip


@composite("_has_compatible_shallow_copy_type(Tensor self, Tensor from) -> bool", variants=FUNCTION)
def _has_compatible_shallow_copy_type(input: Tensor, from_: Tensor) -> Any:
    """Whether `input.data = from_` may keep the object: both have the same layout and device."""
    return str(input.layout) == str(from_.layout) and str(input.device) == str(from_.device)


@composite("native_norm(Tensor self, Scalar p=2) -> Tensor", "native_norm.ScalarOpt_dim_dtype(Tensor self, Scalar? p, int[1] dim, bool keepdim, ScalarType? dtype) -> Tensor",
           variants=FUNCTION, layouts=True)  # fmt: skip
def native_norm(
    input: Tensor, p: Any = 2, dim: Shape = (), keepdim: bool = False, dtype: DType | None = None
) -> Tensor:
    """The norm of a sparse tensor's elements."""
    if str(input.layout) == "torch.strided":
        raise NotImplementedError("Could not run 'aten::native_norm' with arguments from the 'CPU' backend.")
    return norm.norm(input, 2 if p is None else p, dim or None, keepdim, dtype=dtype)

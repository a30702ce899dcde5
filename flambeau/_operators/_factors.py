"""What products ask of their factors and added terms: shapes and dtypes, refused in PyTorch's words."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Shape
from flambeau._values.dtype import C_NAMES, SPOKEN, class_name, int8, uint8
from flambeau._values.shape import broadcast


def same_dtype(a: Any, b: Any) -> None:
    if a._a.dtype is not b._a.dtype and a._a.dtype != b._a.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {C_NAMES[a.dtype]} != {C_NAMES[b.dtype]}"
        )


def same_dtypes(a: Any, b: Any) -> None:
    if a._a.dtype != b._a.dtype:
        raise RuntimeError(f"expected scalar type {SPOKEN[a.dtype]} but found {SPOKEN[b.dtype]}")


def terms_and_factors(plus: Any, mat1: Any, mat2: Any) -> None:
    """The dtypes of a sum with a product."""
    for what, t in (("self", plus), ("mat1", mat1)):
        if t._a.dtype != mat2._a.dtype:
            raise RuntimeError(
                f"{what} and mat2 must have the same dtype, but got {SPOKEN[t.dtype]} and {SPOKEN[mat2.dtype]}"
            )


def vector_dtypes(mat: Any, vec: Any, plus: Any = None) -> None:
    plus = vec if plus is None else plus
    if not (plus._a.dtype == mat._a.dtype == vec._a.dtype):
        found = [SPOKEN[t.dtype] for t in (plus, mat, vec)]
        raise RuntimeError(
            f"addmv input tensors must have the same dtype, but got {found[0]}, {found[1]}, and {found[2]}"
        )


def explain(x: Shape, y: Shape) -> None:
    """Raise what PyTorch says of shapes that have no product."""
    if not x or not y:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {len(x)}D and {len(y)}D")
    if len(x) == len(y) == 1:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{x[0]}] and src [{y[0]}] to have the same "
            "number of elements, but got "
            f"{x[0]} and {y[0]} elements respectively"
        )
    if len(x) == 2 and len(y) == 1:
        raise RuntimeError(f"size mismatch, got input ({x[0]}), mat ({x[0]}x{x[1]}), vec ({y[0]})")
    if len(x) == 1 and len(y) == 2:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied (1x{x[0]} and {y[0]}x{y[1]})")
    if len(y) <= 2:
        rows = 1
        for n in x[:-1]:
            rows *= n
        if len(y) == 1:
            raise RuntimeError(f"size mismatch, got input ({rows}), mat ({rows}x{x[-1]}), vec ({y[0]})")
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x[-1]} and {y[0]}x{y[1]})")
    count = 1
    for n in broadcast(x[:-2], y[:-2]):
        count *= n
    raise RuntimeError(
        f"Expected size for first two dimensions of batch2 tensor to be: [{count}, {x[-1]}] but got: [{count}, {y[-2]}]."
    )


def batches_fit(x: Any, y: Any) -> None:
    if x.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    if y.ndim != 3:
        raise RuntimeError("batch2 must be a 3D tensor")
    (b, _, n), (c, m, _) = x._a.shape, y._a.shape
    if b != c or n != m:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{b}, {n}] but got: [{c}, {m}]."
        )


def vectors_fit(x: Any, y: Any) -> None:
    if x.ndim != 1 or y.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {x.ndim}D and {y.ndim}D tensors")
    if x._a.dtype != y._a.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {SPOKEN[x.dtype]} and {SPOKEN[y.dtype]}"
        )
    if x.numel() != y.numel():
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{x.numel()}] and src [{y.numel()}] to have "
            "the same number of elements, "
            f"but got {x.numel()} and {y.numel()} elements respectively"
        )


def term_fits(input: Any, shape: Shape) -> None:
    """Raise where a term does not expand to the product's sizes."""
    have = input._a.shape
    if len(have) > len(shape):
        raise RuntimeError(
            f"expand({class_name(input.dtype)}{{{list(have)}}}, size={list(shape)}): the number of sizes provided "
            f"({len(shape)}) must be greater or equal to the number of dimensions in the tensor ({len(have)})"
        )
    for i in range(1, len(have) + 1):
        if have[-i] not in (1, shape[-i]):
            raise RuntimeError(
                f"The expanded size of the tensor ({shape[-i]}) must match the existing size ({have[-i]}) at non-singleton "
                f"dimension {len(shape) - i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(have)}"
            )


def pair_fits(input1: Any, input2: Any, weight: Any, bias: Any) -> None:
    """The sizes and dtypes of a bilinear layer."""
    if input1.ndim != input2.ndim:
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {input1.ndim} and {input2.ndim}")
    for i in range(input1.ndim - 1):
        if input1.shape[i] != input2.shape[i]:
            raise RuntimeError(
                f"bilinear(): input batch dimensions do not match at dim {i}: got {input1.shape[i]} "
                f"and {input2.shape[i]}"
            )
    if input1.shape[-1] != weight.shape[1]:
        raise RuntimeError(
            f"bilinear(): input1 size does not match weight size: got {input1.shape[-1]} but expected {weight.shape[1]}"
        )
    if input2.shape[-1] != weight.shape[2]:
        raise RuntimeError(
            f"bilinear(): input2 size does not match weight size: got {input2.shape[-1]} but expected {weight.shape[2]}"
        )
    if bias is not None and bias.shape[0] != weight.shape[0]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias.shape[0]} but expected {weight.shape[0]}"
        )
    if not (input1.dtype is input2.dtype is weight.dtype):
        found = [C_NAMES[t.dtype] for t in (input1, input2, weight)]
        raise RuntimeError(
            f"All tensors must have the same dtype, got input1: {found[0]}, input2: {found[1]}, weight: {found[2]}"
        )


def bytes_fit(input: Any, mat2: Any) -> None:
    """The sizes and dtypes of a product of bytes."""
    for t, name in ((input, "self"), (mat2, "mat2")):
        if t.ndim != 2:
            raise RuntimeError(f"int_mm_out_cpu: Expected {name} to be of dimension 2 but got {t.ndim}")
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"int_mm_out_cpu: self.size(1) needs to match mat2.size(0) but got {input.shape[1]} and {mat2.shape[0]}"
        )
    for t, name, of in ((input, "self", (int8, uint8)), (mat2, "mat2", (int8,))):
        if t.dtype not in of:
            said = "int8 or uint8" if name == "self" else "of type int8"
            raise RuntimeError(f"int_mm_out_cpu: Expected {name} dtype to be {said} but got {C_NAMES[t.dtype]}")

"""Products of groups of matrices: rows that belong together have a matrix of their own, as the experts of a mixture do."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import DType
from flambeau._operators.op import REGISTRY, composite
from flambeau._tensor import Tensor
from flambeau._values import dtype as dtypes


@composite("_grouped_mm", variants=("function",))
def _grouped_mm(
    input: Tensor, mat2: Tensor, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: DType | None = None
) -> Tensor:
    """Products of matrices in groups; `offs` says where the groups of the ragged side end.

    (rows, k) @ (groups, k, n): groups of rows. (groups, m, k) @ (k, columns): groups of columns. (m, k) @ (k, n): groups of the dimension
    that is summed over, which gives (groups, m, n). (groups, m, k) @ (groups, k, n): no offsets.
    """
    _check(input, mat2, offs, bias, out_dtype)
    x: Any = input
    y: Any = mat2
    if x.ndim == 3 and y.ndim == 3:
        return x @ y
    ends: list[int] = offs.tolist()  # type: ignore[union-attr]
    spans = [slice(start, max(start, end)) for start, end in zip([0, *ends], ends, strict=False)]
    if x.ndim == 2 and y.ndim == 2:
        return REGISTRY["stack"]([x[:, s] @ y[s] for s in spans], 0)
    parts = [x[s] @ y[i] if x.ndim == 2 else x[i] @ y[:, s] for i, s in enumerate(spans)]
    dim, total = (0, x.shape[0]) if x.ndim == 2 else (1, y.shape[1])
    rest = total - (ends[-1] if ends else 0)
    if rest > 0:  # PyTorch leaves what no group has as it finds the memory
        shape = (rest, y.shape[2]) if x.ndim == 2 else (x.shape[1], rest)
        parts.append(x.new_zeros(shape))
    return REGISTRY["cat"](parts, dim)


def _check(x: Any, y: Any, offs: Any, bias: Any, out_dtype: Any) -> None:
    for name, m in (("mat_a", x), ("mat_b", y)):
        if m.dtype not in (dtypes.float32, dtypes.bfloat16, dtypes.float16):
            spoken = dtypes.SPOKEN[m.dtype]
            raise RuntimeError(f"Expected {name} to be Float32, BFloat16 or Float16 matrix, got {spoken}")
    for name, m in (("mat_a", x), ("mat_b", y)):
        if m.ndim not in (2, 3):
            raise RuntimeError(f"{name} has to be 2 or 3d")
    ragged = x.ndim == 2 or y.ndim == 2
    if ragged != (offs is not None):
        raise RuntimeError("Have to provide offsets if there is a 2d matrix, or no offset if both matrices are 3d")
    if x.shape[-1] != y.shape[-2]:
        raise RuntimeError("contraction dimension of mat_a and mat_b must match")
    if offs is not None and offs.dtype is not dtypes.int32:
        raise RuntimeError("Offsets have to be int32")
    groups = {m.shape[0] for m in (x, y) if m.ndim == 3} | ({offs.shape[0]} if offs is not None else set())
    if len(groups) > 1:
        raise RuntimeError("matrix batch sizes have to match")
    if bias is not None:
        raise RuntimeError("Bias not supported yet")
    if out_dtype is not None and out_dtype is not x.dtype:
        raise RuntimeError("Grouped gemm output dtype must match `mat_a` dtype")

"""Sparse tensors from their parts, with the checks of their invariants, and empty ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.sparse_arrays import (
    BLOCKED,
    BY_ROWS,
    SPOKEN,
    CompressedArray,
    CooArray,
    empty_compressed,
    empty_coo,
    spoken,
)
from flambeau._eager.construct import array_of, on
from flambeau._eager.create import require
from flambeau._eager.graph import node_of
from flambeau._eager.modes import STATE
from flambeau._eager.sparse.parts import flat_indices
from flambeau._operators.op import REGISTRY, Op
from flambeau._tensor import Tensor, wrap
from flambeau._values import dtype as dtypes
from flambeau._values.device import sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr, strided


class Checks:
    """Whether constructors check invariants where they are not told."""

    enabled = False


def sparse_coo_tensor(indices: Any = None, values: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None,
                      pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None,
                      is_coalesced: bool | None = None) -> Tensor:  # fmt: skip
    """A sparse tensor in coordinate format: `values[i]` stands at the coordinates `indices[:, i]`; what stands at one place adds up.

    >>> torch.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3)).to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 5.]])
    """
    check = Checks.enabled if check_invariants is None else check_invariants
    if values is None:  # only sizes
        shape = tuple(int(n) for n in (indices if size is None else size))
        t = wrap(empty_coo(shape, (dtype or dtypes.get_default_dtype()).np))
        return _finished(t, None, requires_grad)
    source, v = _values(values, dtype)
    i = array_of(indices, None, copy=False)
    i = (i if i.size else i.reshape(i.shape)).astype(np.int64, copy=False)
    if i.ndim != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(i.shape)}")
    if v.ndim == 0:
        v = v.reshape(1)
    sparse_dim, count = i.shape
    if size is None:
        if count == 0 and sparse_dim and not v.shape[0]:
            size = (0,) * sparse_dim + v.shape[1:]
        else:
            low, high = (i.min(1), i.max(1)) if count else (np.zeros(sparse_dim, int), np.full(sparse_dim, -1))
            for d, n in enumerate(low):
                if n < 0:
                    raise RuntimeError(f"found negative index {n} for dim {d}")
            size = (*(int(n) + 1 for n in high), *v.shape[1:])
        if count != v.shape[0]:
            _count(count, v.shape[0])
    size = tuple(int(n) for n in ((size,) if isinstance(size, int) else size))
    check_coo(i, v, size, is_coalesced, check)
    t = wrap(CooArray(i, v, size, bool(is_coalesced)))
    return _finished(t, source, requires_grad, device)


def _count(indices: int, values: int) -> None:
    raise RuntimeError(
        f"indices and values must have same nnz, but got nnz from indices: {indices}, nnz from values: {values}"
    )


def check_coo(i: Any, v: Any, size: tuple[int, ...], is_coalesced: Any, thoroughly: bool) -> None:
    """Refuse parts that do not fit one another; thoroughly: look at the indices too."""
    sparse_dim, count = i.shape
    if len(size) != sparse_dim + v.ndim - 1:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, sparse_dim = {sparse_dim}, dense_dim = {v.ndim - 1}"
            if not thoroughly
            else f"number of dimensions must be sparse_dim ({sparse_dim}) + dense_dim ({v.ndim - 1}), but got {len(size)}"
        )
    expected = (count, *size[sparse_dim:])
    if thoroughly and count != v.shape[0]:
        _count(count, v.shape[0])
    if v.shape[0] != count:
        _count(count, v.shape[0])
    if v.shape != expected:
        raise RuntimeError(f"values has incorrect size, expected {list(expected)}, got {list(v.shape)}")
    if not thoroughly or not count:
        return
    for d in range(sparse_dim):
        low, high = int(i[d].min()), int(i[d].max())
        if low < 0:
            raise RuntimeError(f"found negative index {low} for dim {d}")
        if high >= size[d]:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {d}, size is {size[d]} but found index {high}"
            )
    if is_coalesced and sparse_dim and (np.diff(flat_indices(i, size[:sparse_dim])) <= 0).any():
        raise RuntimeError("cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor")


def _values(values: Any, dtype: Any) -> tuple[Any, Any]:
    """(the tensor that the values are, or None; their array)."""
    if isinstance(values, Tensor):
        t = values if dtype is None or values.dtype is dtype else values.to(dtype)
        return t, t._a
    return None, array_of(values, dtype, copy=False)


def _finished(t: Tensor, source: Any, requires_grad: bool, device: Any = None) -> Tensor:
    """With the history of the values, or as a leaf."""
    if device is not None:
        t = on(t, device)
    if source is not None and STATE.grad and node_of(source) is not None and not requires_grad:
        from flambeau._eager import record

        record.record(REGISTRY["_sparse_with_values"], (t,), (source, wrap(t._a)))
    if requires_grad:
        require(t)
    return t


NAMES = {sparse_csr: ("crow", "col", "row", "column"), sparse_bsr: ("crow", "col", "row", "column"),
         sparse_csc: ("ccol", "row", "column", "row"), sparse_bsc: ("ccol", "row", "column", "row")}  # fmt: skip


def compressed_tensor(layout: Any, compressed: Any, plain: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None,
                      pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None) -> Tensor:  # fmt: skip
    """A tensor in one of the compressed layouts."""
    source, v = _values(values, dtype)
    c, p = (
        array_of(x, None if isinstance(x, (Tensor, np.ndarray)) else dtypes.int64, copy=False)
        for x in (compressed, plain)
    )
    block = layout in BLOCKED
    if size is None:
        size = _size_of(layout, c, p, v, block)
    size = tuple(int(n) for n in size)
    if Checks.enabled if check_invariants is None else check_invariants:
        check_compressed(layout, c, p, v, size)
    return _finished(wrap(CompressedArray(layout, c, p, v, size)), source, requires_grad, device)


def _size_of(layout: Any, c: Any, p: Any, v: Any, block: bool) -> tuple[int, ...]:
    b = c.ndim - 1
    h, w = v.shape[b + 1 : b + 3] if block else (1, 1)
    outer = c.shape[-1] - 1
    inner = int(p.max()) + 1 if p.size else 0
    rows, columns = (outer * h, inner * w) if layout in BY_ROWS else (inner * h, outer * w)
    return (*v.shape[:b], rows, columns, *v.shape[b + (3 if block else 1) :])


def check_compressed(layout: Any, c: Any, p: Any, v: Any, size: tuple[int, ...]) -> None:
    """Refuse parts that do not make a tensor of a compressed layout."""
    cname, pname, outer_name, inner_name = NAMES[layout]
    cname, pname = f"{cname}_indices", f"{pname}_indices"
    block = layout in BLOCKED
    spoken_c, spoken_p = (dtypes.SPOKEN[dtypes.of(x.dtype)] for x in (c, p))

    def fail(text: str) -> None:
        raise RuntimeError(text)

    if c.ndim < 1:
        fail(f"{cname} must have dimensionality >= 1 but got {c.ndim}")
    if c.ndim != p.ndim:
        fail(f"{cname} and {pname} dimensionalities must be equal but got {c.ndim} and {p.ndim}, respectively")
    b = c.ndim - 1
    if v.ndim <= b + 2 * block:
        fail(
            f"values must have dimensionality > sum of batch and block dimensionalities (={b} + {2 * block}) but got {v.ndim}"
        )
    dense = v.ndim - b - 2 * block - 1
    if len(size) != b + 2 + dense:
        fail(
            f"tensor dimensionality must be sum of batch, base, and dense dimensionalities (={b} + 2 + {dense}) but got {len(size)}"
        )
    count = p.shape[-1]
    if c.shape[:-1] != size[:b]:
        fail(
            f"all batch dimensions of {cname} (={list(c.shape[:-1])}) and the tensor must be equal (={list(size[:b])})"
        )
    if p.shape[:-1] != size[:b]:
        fail(
            f"all batch dimensions of {pname} (={list(p.shape[:-1])}) and the tensor must be equal (={list(size[:b])})"
        )
    h, w = v.shape[b + 1 : b + 3] if block else (1, 1)
    if block and (size[b] % h or size[b + 1] % w):
        at, n, k = (b, size[b], h) if size[b] % h else (b + 1, size[b + 1], w)
        fail(f"tensor shape[{at}] (={n}) must be divisible with blocksize[{at - b}] (={k}) as defined by values shape")
    rows, columns = size[b] // h, size[b + 1] // w
    outer, inner = (rows, columns) if layout in BY_ROWS else (columns, rows)
    unit = " block" if block else ""
    if c.shape[-1] != outer + 1:
        fail(
            f"{cname}.shape[-1] must be equal to the number of {outer_name}{unit}s + 1 (={outer + 1}), but got {c.shape[-1]}"
        )
    if count != v.shape[b]:
        fail(f"{pname}.shape[-1] must be equal to nnz (={v.shape[b]}) as defined by values.shape[{b}], but got {count}")
    if spoken_c != spoken_p:
        fail(f"{cname} and {pname} must have the same dtype, bot got {spoken_c} and {spoken_p}, respectively")
    if spoken_c not in ("Int", "Long"):
        fail(f"{cname} and {pname} must be an int32 or int64 type, but got {spoken_c}")
    short = "ncols" if layout in BY_ROWS else "nrows"
    long = "nrows" if layout in BY_ROWS else "ncols"
    if (c[..., 0] != 0).any():
        fail(f"`{cname}[..., 0] == 0` is not satisfied.")
    if (c[..., -1] != count).any():
        fail(f"`{cname}[..., -1] == nnz` is not satisfied.")
    steps = np.diff(c, axis=-1)
    if ((steps < 0) | (steps > inner)).any():
        fail(f"`0 <= {cname}[..., 1:] - {cname}[..., :-1] <= {short}` is not satisfied.")
    if p.size and (p.min() < 0 or p.max() >= inner):
        fail(f"`0 <= {pname} < {short}` is not satisfied.")
    for starts, indices in zip(c.reshape(-1, outer + 1), p.reshape(-1, count), strict=True):
        own = np.repeat(np.arange(outer), np.diff(starts))
        if (np.diff(own * max(inner, 1) + indices) <= 0).any():
            fail(f"`{pname}[..., {cname}[..., i - 1]:{cname}[..., i]] for all i = 1, ..., {long} are sorted and distinct along the last "
                 "dimension values` is not satisfied.")  # fmt: skip


def sparse_csr_tensor(crow_indices: Any, col_indices: Any, values: Any, size: Any = None, **options: Any) -> Tensor:
    """A matrix (or a batch of them) in compressed rows: row i has the columns `col_indices[crow_indices[i] : crow_indices[i + 1]]`.

    >>> torch.sparse_csr_tensor([0, 1, 2], [1, 0], [3.0, 4.0]).to_dense()
    tensor([[0., 3.],
            [4., 0.]])
    """
    return compressed_tensor(sparse_csr, crow_indices, col_indices, values, size, **options)


def sparse_csc_tensor(ccol_indices: Any, row_indices: Any, values: Any, size: Any = None, **options: Any) -> Tensor:
    """A matrix (or a batch of them) in compressed columns."""
    return compressed_tensor(sparse_csc, ccol_indices, row_indices, values, size, **options)


def sparse_bsr_tensor(crow_indices: Any, col_indices: Any, values: Any, size: Any = None, **options: Any) -> Tensor:
    """A matrix (or a batch of them) in compressed rows of blocks."""
    return compressed_tensor(sparse_bsr, crow_indices, col_indices, values, size, **options)


def sparse_bsc_tensor(ccol_indices: Any, row_indices: Any, values: Any, size: Any = None, **options: Any) -> Tensor:
    """A matrix (or a batch of them) in compressed columns of blocks."""
    return compressed_tensor(sparse_bsc, ccol_indices, row_indices, values, size, **options)


def sparse_compressed_tensor(compressed_indices: Any, plain_indices: Any, values: Any, size: Any = None, *, layout: Any = None, **options: Any) -> Tensor:  # fmt: skip
    """A tensor in the compressed layout that `layout` names."""
    if layout not in NAMES:
        got = "none" if layout is None else SPOKEN.get(layout, "Strided")
        raise RuntimeError(f"sparse_compressed_tensor expected sparse compressed tensor layout but got {got}")
    return compressed_tensor(layout, compressed_indices, plain_indices, values, size, **options)


def _validate_sparse_coo_tensor_args(
    indices: Any, values: Any, size: Any, is_coalesced: Any = None, check_pinning: Any = None
) -> None:
    check_coo(indices._a, values._a, tuple(size), is_coalesced, True)


def _validate_sparse_compressed_tensor_args(compressed_indices: Any, plain_indices: Any, values: Any, size: Any, layout: Any,
                                            check_pinning: Any = None) -> None:  # fmt: skip
    check_compressed(layout, compressed_indices._a, plain_indices._a, values._a, tuple(size))


# ---------------------------------------------------------------- empty ones


def created(op: Op, values: tuple[Any, ...], layout: Any, like: Any) -> Tensor | None:
    """`zeros(layout=sparse_coo)`, `zeros_like(sparse)` and their kind."""
    wanted = layout if layout is not None else like.layout
    bound = {p.name: v for p, v in zip(op.params, values, strict=True)}
    if wanted is strided:
        return None
    name = op.aten
    kind = name.removeprefix("new_").removesuffix("_like")
    if kind not in ("zeros", "empty"):
        from flambeau._eager.sparse import refused

        if name in ("ones", "full"):
            raise RuntimeError("full(...) is not implemented for sparse layout")
        inner = {
            "ones": "fill_.Scalar",
            "full": "fill_.Scalar",
            "rand": "uniform_",
            "randn": "normal_",
            "randint": "random_.from",
        }
        raise refused(inner.get(kind, name), (like,) if like is not None else (wrap(empty_coo((0,), np.float32)),), "")
    size = bound.get("size")
    shape = tuple(like.shape) if size is None else tuple((size,) if isinstance(size, int) else size)
    d = bound.get("dtype") or (like.dtype if like is not None else dtypes.get_default_dtype())
    if wanted is sparse_coo:
        inherited = like._a.sparse_dim if size is None and like is not None and type(like._a) is CooArray else None
        return wrap(empty_coo(shape, d.np, inherited))
    if wanted in BLOCKED:
        raise RuntimeError(
            f"{kind}_sparse_compressed expected sparse compressed (non-block) tensor layout but got {SPOKEN[wanted]}"
        )
    if len(shape) < 2:
        raise RuntimeError(
            f"torch.{kind}: Only batched sparse compressed (non-block) tensors are supported, but got size {list(shape)}"
        )
    if kind == "empty" and like is not None and size is None and spoken(like._a) == SPOKEN[wanted]:
        return wrap(like._a.with_values(np.empty_like(like._a.values, dtype=d.np)).copy())
    return wrap(empty_compressed(wanted, shape, d.np))

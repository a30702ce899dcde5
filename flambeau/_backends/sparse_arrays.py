"""Sparse arrays: where elements are, and what they are. What a Tensor holds whose layout is not strided.

To the code above they look like the null backend's arrays: a shape, a dtype, and no memory that strides could walk. Whatever wants
such memory is told so, in PyTorch's words. They change in place as a whole (`become`), so that all tensors over one see it.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flambeau._backends.meta import marked
from flambeau._values.device import layout as Layout, sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr

SPOKEN = {sparse_coo: "Sparse", sparse_csr: "SparseCsr", sparse_csc: "SparseCsc", sparse_bsr: "SparseBsr", sparse_bsc: "SparseBsc"}  # fmt: skip
BY_ROWS = frozenset((sparse_csr, sparse_bsr))  # the compressed layouts whose compressed dimension is that of rows
BLOCKED = frozenset((sparse_bsr, sparse_bsc))
NO_POINTER = "Cannot access data pointer of Tensor that doesn't have storage"


class SparseArray:
    """What the sparse layouts have in common."""

    base = None
    has_elements = False
    layout: Layout
    shape: tuple[int, ...]
    values: Any
    __slots__ = ()

    @property
    def dtype(self) -> Any:
        return marked(self.values.dtype)

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: prod(self.shape))

    @property
    def nbytes(self) -> int:
        raise RuntimeError(
            "nbytes is not defined for sparse tensors.  If you want the size of the constituent tensors, add the nbytes of the indices "
            "and values.  If you want the size of the  equivalent dense tensor, multiply numel() by element_size()"
        )

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(NO_POINTER)

    @property
    def __array_interface__(self) -> Any:
        raise RuntimeError(NO_POINTER)

    tolist = __array__ = __getitem__ = __setitem__ = __len__ = __iter__ = __bool__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __add__ = __sub__ = __mul__ = _refuse
    __hash__ = None  # type: ignore[assignment]

    def with_values(self, values: Any) -> Any:
        """Other values (of the same count) in the same places."""
        raise NotImplementedError

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return self.with_values(self.values.astype(dtype, copy=copy))

    def become(self, other: Any) -> None:
        """Take on what another array of the same class holds."""
        name: str
        for name in type(self).__slots__:
            setattr(self, name, getattr(other, name))


class CooArray(SparseArray):
    """Coordinates (sparse dimensions x count), and for each an element or, where there are dense dimensions, an array."""

    __slots__ = ("coalesced", "indices", "shape", "values")
    layout = sparse_coo

    def __init__(self, indices: Any, values: Any, shape: Any, coalesced: bool = False) -> None:
        self.indices, self.values, self.shape = indices, values, tuple(shape)
        self.coalesced = coalesced or values.shape[0] < 2

    sparse_dim = property(lambda self: self.indices.shape[0])
    dense_dim = property(lambda self: self.values.ndim - 1)
    count = property(lambda self: self.indices.shape[1])
    strides = property(lambda self: (0,) * len(self.shape))

    @property
    def flags(self) -> Any:
        return _NotContiguous

    def with_values(self, values: Any) -> CooArray:
        return CooArray(self.indices, values, self.shape, self.coalesced)

    def copy(self, order: str = "K") -> CooArray:
        return CooArray(self.indices.copy(), self.values.copy(), self.shape, self.coalesced)


class _NotContiguous:
    c_contiguous = f_contiguous = False
    writeable = True


class CompressedArray(SparseArray):
    """CSR, CSC, BSR or BSC: where each compressed row (or column) begins, the plain indices, and values, blocks of them, per index."""

    __slots__ = ("compressed", "layout", "plain", "shape", "values")

    def __init__(self, layout: Layout, compressed: Any, plain: Any, values: Any, shape: Any) -> None:
        self.layout, self.compressed, self.plain, self.values = layout, compressed, plain, values
        self.shape = tuple(shape)

    batch_dim = property(lambda self: self.compressed.ndim - 1)
    sparse_dim = 2
    count = property(lambda self: self.plain.shape[-1])
    by_rows = property(lambda self: self.layout in BY_ROWS)

    @property
    def dense_dim(self) -> int:
        return self.values.ndim - self.batch_dim - (3 if self.layout in BLOCKED else 1)

    @property
    def blocksize(self) -> tuple[int, int]:
        b = self.batch_dim
        return self.values.shape[b + 1 : b + 3] if self.layout in BLOCKED else (1, 1)

    def _without(self, what: str) -> Any:
        raise RuntimeError(f"Sparse {str(self.layout)[-3:].upper()} tensors do not have {what}")

    strides = property(lambda self: self._without("strides"))
    flags = property(lambda self: self._without("is_contiguous"))

    def with_values(self, values: Any) -> CompressedArray:
        return CompressedArray(self.layout, self.compressed, self.plain, values, self.shape)

    def copy(self, order: str = "K") -> CompressedArray:
        return CompressedArray(self.layout, self.compressed.copy(), self.plain.copy(), self.values.copy(), self.shape)


def spoken(a: Any) -> str:
    """What PyTorch's errors call an array's layout."""
    return SPOKEN.get(getattr(a, "layout", None), "Strided")  # type: ignore[arg-type]


def empty_coo(shape: Any, dtype: Any, sparse_dim: int | None = None) -> CooArray:
    """A coordinate array without elements."""
    n = len(shape) if sparse_dim is None else sparse_dim
    return CooArray(np.empty((n, 0), np.int64), np.empty((0, *shape[n:]), dtype), shape, True)


def empty_compressed(layout: Layout, shape: Any, dtype: Any) -> CompressedArray:
    """A compressed array (without blocks) without elements."""
    *batch, rows, columns = shape
    starts = np.zeros((*batch, (rows if layout in BY_ROWS else columns) + 1), np.int64)
    return CompressedArray(layout, starts, np.empty((*batch, 0), np.int64), np.empty((*batch, 0), dtype), shape)

"""Functions for sparse tensors: products, sums and softmax over what is there, and checks of what sparse tensors are made of."""

from __future__ import annotations

import functools

import flambeau
from flambeau._eager import names as _names
from flambeau._eager.sparse.check import over_parts as _over_parts
from flambeau._eager.sparse.create import Checks as _Checks

from .semi_structured import (
    SparseSemiStructuredTensor,
    SparseSemiStructuredTensorCUSPARSELT,
    SparseSemiStructuredTensorCUTLASS,
    to_sparse_semi_structured,
)

__all__ = [
    "SparseSemiStructuredTensor",
    "SparseSemiStructuredTensorCUSPARSELT",
    "SparseSemiStructuredTensorCUTLASS",
    "addmm",
    "as_sparse_gradcheck",
    "check_sparse_tensor_invariants",
    "log_softmax",
    "mm",
    "sampled_addmm",
    "softmax",
    "spdiags",
    "sum",
    "to_sparse_semi_structured",
]

sampled_addmm = _names.public("sampled_addmm", "sparse")
spsolve = _names.public("_spsolve")


def mm(mat1, mat2, reduce=None):
    """The product of two matrices, at least one of them sparse; a sparse one's gradient has elements only where it has.

    `reduce`, for a CSR matrix with a dense one: "sum", "mean", "amax" or "amin" of the terms of each row.
    """
    return flambeau._sparse_mm(mat1, mat2) if reduce is None else flambeau._sparse_mm(mat1, mat2, reduce)


def addmm(mat, mat1, mat2, *, beta=1.0, alpha=1.0):
    """`beta * mat + alpha * (mat1 @ mat2)` with a sparse `mat1`, whose gradient has elements only where it has."""
    return flambeau._sparse_addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sum(input, dim=None, dtype=None):
    """The sum of what is there, over all dimensions or some; the gradient has elements only where `input` has."""
    if dim is None:
        return input.coalesce().values().sum(dtype=dtype)
    if isinstance(dim, int):
        dim = (dim,)
    return flambeau._sparse_sum(input, dim) if dtype is None else flambeau._sparse_sum(input, dim, dtype=dtype)


def softmax(input, dim, *, dtype=None):
    """Softmax along a dimension of what is there: what is not counts as minus infinity."""
    return flambeau._sparse_softmax(input, dim, dtype)


def log_softmax(input, dim, *, dtype=None):
    """The logarithm of softmax along a dimension of what is there."""
    return flambeau._sparse_log_softmax(input, dim, dtype)


def spdiags(diagonals, offsets, shape, layout=None):
    """A sparse matrix whose diagonals are the rows of `diagonals`, at the given offsets."""
    return flambeau._spdiags(diagonals, offsets, shape, layout)


class check_sparse_tensor_invariants:
    """Whether constructors of sparse tensors check what they are given: a switch, a context manager, a decorator."""

    @staticmethod
    def is_enabled():
        """Whether they check now."""
        return _Checks.enabled

    @staticmethod
    def enable():
        """Check from now on."""
        _Checks.enabled = True

    @staticmethod
    def disable():
        """Do not check from now on."""
        _Checks.enabled = False

    def __init__(self, enable=True):
        self.state = enable
        self.saved_state = None

    def __enter__(self):
        if self.saved_state is not None:
            raise RuntimeError("This context manager instance is already activated. Use a different context manager instance for context nesting.")  # fmt: skip
        self.saved_state = self.is_enabled()
        _Checks.enabled = self.state

    def __exit__(self, type, value, traceback):
        _Checks.enabled = self.saved_state
        self.saved_state = None

    def __call__(self, mth):
        @functools.wraps(mth)
        def checked(*args, **kwargs):
            with type(self)(self.state):
                return mth(*args, **kwargs)

        return checked


def as_sparse_gradcheck(gradcheck):
    """`gradcheck` for functions of sparse tensors, by decoration; this library's own takes them as they are."""

    @functools.wraps(gradcheck)
    def checked(func, inputs, **kwargs):
        given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        func, given = _over_parts(func, tuple(given), bool(kwargs.pop("masked", False)))
        return gradcheck(func, given, **kwargs)

    return checked


def __getattr__(name):
    if name.endswith("Tensor"):
        from flambeau import _legacy_types

        found = _legacy_types.sparse(name)
        if found is not None:
            return found
    raise AttributeError(f"module 'torch.sparse' has no attribute '{name}'")

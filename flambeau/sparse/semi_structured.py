"""Semi-structured sparsity (two of four elements), which exists on GPUs alone: without one, what PyTorch says there."""

from __future__ import annotations

import warnings

from flambeau import Tensor

__all__ = [
    "SparseSemiStructuredTensor",
    "SparseSemiStructuredTensorCUSPARSELT",
    "SparseSemiStructuredTensorCUTLASS",
    "to_sparse_semi_structured",
]


class SparseSemiStructuredTensor(Tensor):
    """A matrix of which two in four elements are there; made by one of the classes for a backend."""

    BACKEND: str
    _DEFAULT_ALG_ID = 0
    _FORCE_CUTLASS = False
    _FUSE_TRANSPOSE = False

    @classmethod
    def _validate_device_dim_dtype_shape(cls, original_tensor):
        if not original_tensor.is_cuda:
            raise RuntimeError(
                f"Error original_tensor.device= {original_tensor.device} is not supported! Only CUDA tensors are currently supported."
            )

    @classmethod
    def from_dense(cls, original_tensor, alg_id=0):
        """The dense matrix compressed; refused where it is not on a GPU."""
        if not hasattr(cls, "BACKEND"):
            raise NotImplementedError
        cls._validate_device_dim_dtype_shape(original_tensor)
        raise NotImplementedError(f"semi-structured sparse tensors ({cls.BACKEND})")


class SparseSemiStructuredTensorCUTLASS(SparseSemiStructuredTensor):
    """The one whose products CUTLASS computes."""

    BACKEND = "cutlass"


class SparseSemiStructuredTensorCUSPARSELT(SparseSemiStructuredTensor):
    """The one whose products cuSPARSELt computes."""

    BACKEND = "cusparselt"


def to_sparse_semi_structured(original_tensor, transposed=False, alg_id=0):
    """A dense matrix, compressed; refused where it is not on a GPU."""
    if transposed:
        warnings.warn(
            "Setting transpose from `to_sparse_semi_structured` is deprecated and will be removed in a future release. "
            "`SparseSemiStructuredTensor` only support contiguous input tensors.",
            FutureWarning,
            stacklevel=2,
        )
    forced = SparseSemiStructuredTensor._FORCE_CUTLASS
    cls = SparseSemiStructuredTensorCUTLASS if forced else SparseSemiStructuredTensorCUSPARSELT
    return cls.from_dense(original_tensor, alg_id=alg_id)

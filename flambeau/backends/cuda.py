"""Switches of CUDA's libraries, and of the implementations of attention."""

import contextlib

import flambeau

_attention = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}
_preferred = {"linalg": "default", "blas": "default"}


class _Matmul:
    """How products of matrices may be rounded."""

    def __init__(self):
        self.allow_tf32 = False
        self.allow_fp16_reduced_precision_reduction = True
        self.allow_bf16_reduced_precision_reduction = True
        self.allow_fp16_accumulation = False
        self.fp32_precision = "none"


matmul = _Matmul()


def is_built():
    """Whether CUDA is supported at all."""
    return flambeau.cuda.is_available()


def preferred_linalg_library(backend=None):
    """The library for linear algebra; sets it if one is given."""
    _preferred["linalg"] = _preferred["linalg"] if backend is None else backend
    return _preferred["linalg"]


def preferred_blas_library(backend=None):
    """The library for products; sets it if one is given."""
    _preferred["blas"] = _preferred["blas"] if backend is None else backend
    return _preferred["blas"]


def flash_sdp_enabled():
    """Whether flash attention may be used."""
    return _attention["flash"]


def enable_flash_sdp(enabled):
    """Allows or forbids flash attention."""
    _attention["flash"] = bool(enabled)


def mem_efficient_sdp_enabled():
    """Whether memory efficient attention may be used."""
    return _attention["mem_efficient"]


def enable_mem_efficient_sdp(enabled):
    """Allows or forbids memory efficient attention."""
    _attention["mem_efficient"] = bool(enabled)


def math_sdp_enabled():
    """Whether attention may be computed as it is written."""
    return _attention["math"]


def enable_math_sdp(enabled):
    """Allows or forbids attention as it is written."""
    _attention["math"] = bool(enabled)


def cudnn_sdp_enabled():
    """Whether cuDNN's attention may be used."""
    return _attention["cudnn"]


def enable_cudnn_sdp(enabled):
    """Allows or forbids cuDNN's attention."""
    _attention["cudnn"] = bool(enabled)


def is_flash_attention_available():
    """Whether flash attention is there."""
    return False


@contextlib.contextmanager
def sdp_kernel(enable_flash=True, enable_math=True, enable_mem_efficient=True, enable_cudnn=True):
    """Allows only these implementations of attention inside a ``with``."""
    before = dict(_attention)
    _attention.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield {}
    finally:
        _attention.update(before)

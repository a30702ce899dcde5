"""Switches of CUDA's libraries, and of the implementations of attention."""

import contextlib
from dataclasses import dataclass
from typing import Any

import flambeau
from flambeau.backends.switches import PRECISIONS

_attention = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}
_preferred = {"linalg": "default", "blas": "default"}


class cuBLASModule:
    """How products of matrices may be rounded."""

    _switches = {
        "allow_tf32": False,
        "allow_fp16_reduced_precision_reduction": True,
        "allow_bf16_reduced_precision_reduction": True,
        "allow_fp16_reduced_precision_reduction_split_k": True,
        "allow_bf16_reduced_precision_reduction_split_k": True,
        "allow_fp16_accumulation": False,
        "fp32_precision": "none",
    }

    def __getattr__(self, name):
        if name not in self._switches:
            raise AttributeError("Unknown attribute " + name)
        return self._switches[name]

    def __setattr__(self, name, value):
        if name not in self._switches or name.endswith("_split_k"):
            raise AttributeError("Unknown attribute " + name)
        if name == "fp32_precision" and value not in PRECISIONS:
            raise RuntimeError(f"Unknown precision: {value}")
        if name.endswith("_reduction"):
            value, self._switches[name + "_split_k"] = _reduction(value, name)
        self._switches[name] = value


def _reduction(value, name):
    """The two parts of a setting: whether sums may be rounded on the way, whether they may be split."""
    if isinstance(value, bool):
        return value, True
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} expects a bool or a tuple/list of bools, but got {type(value)!r}")
    if not value:
        raise TypeError(f"{name} expects at least one boolean argument")
    if len(value) > 2:
        raise TypeError(f"{name} expects at most two boolean arguments")
    for v, which in zip(value, ("allow_reduced_precision", "allow_splitk"), strict=False):
        if not isinstance(v, bool):
            raise TypeError(f"{name} expects a bool for {which}, but got {type(v)!r}")
    return value[0], value[1] if len(value) == 2 else True


matmul = cuBLASModule()


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


_attention["reduced"] = False


def fp16_bf16_reduction_math_sdp_allowed():
    """Whether attention as it is written may add up in half precision."""
    return _attention["reduced"]


def allow_fp16_bf16_reduction_math_sdp(enabled):
    """Allows or forbids attention as it is written to add up in half precision."""
    _attention["reduced"] = bool(enabled)


@dataclass(frozen=True)
class SDPAParams:
    """The arguments of a call of attention, for questions about which implementation would take it."""

    query: Any
    key: Any
    value: Any
    attn_mask: Any
    dropout: float
    is_causal: bool
    enable_gqa: bool


def can_use_flash_attention(params, debug=False):
    """Whether CUDA's flash attention would take these arguments."""
    return False


can_use_efficient_attention = can_use_cudnn_attention = can_use_flash_attention


def is_ck_sdpa_available():
    """Whether attention of ROCm's composable kernels is there."""
    return False


def preferred_rocm_fa_library(backend=None):
    """The library for attention on ROCm; sets it if one is given."""
    if backend is not None and backend not in ("default", "aotriton", "ck"):
        raise RuntimeError("Unknown input value. Choose from: default, aotriton, ck.")
    _preferred["rocm_fa"] = _preferred.get("rocm_fa", "default") if backend is None else backend
    return _preferred["rocm_fa"]


def blas_workspace_size(size=None, backend=None):
    """Bytes that a library of products may work in: needs a device."""
    flambeau.cuda._refuse()


def cublas_workspace_size(size=None):
    """Bytes that cuBLAS may work in: needs a device."""
    flambeau.cuda._refuse()


cublaslt_workspace_size = cublas_workspace_size


class cuFFTPlanCacheAttrContextProp:
    """An attribute of a device's plan cache: read and written by functions of the device's number."""

    def __init__(self, getter, setter):
        self.getter, self.setter = getter, setter

    def __get__(self, obj, owner=None):
        return self if obj is None else self.getter(obj.device_index)

    def __set__(self, obj, value):
        if isinstance(self.setter, str):
            raise RuntimeError(self.setter)
        self.setter(obj.device_index, value)


class cuFFTPlanCache:
    """The plans that cuFFT keeps for one device."""

    def __init__(self, device_index):
        self.device_index = device_index

    size = cuFFTPlanCacheAttrContextProp(
        lambda index: flambeau.cuda._refuse(),
        ".size is a read-only property showing the number of plans currently in the cache. To change the cache capacity, set "
        "cufft_plan_cache.max_size.",
    )
    max_size = cuFFTPlanCacheAttrContextProp(
        lambda index: flambeau.cuda._refuse(), lambda index, value: flambeau.cuda._refuse()
    )

    def clear(self):
        """Forget the plans."""
        flambeau.cuda._refuse()


class cuFFTPlanCacheManager:
    """The plan caches of all devices, by number; without one, that of the device in use."""

    def __getitem__(self, device):
        index = flambeau.device("cuda", device).index if isinstance(device, int) else flambeau.device(device).index
        raise RuntimeError(
            f"cufft_plan_cache: expected 0 <= device index < {flambeau.cuda.device_count()}, but got device with index {index}"
        )

    def __getattr__(self, name):
        return getattr(self[flambeau.cuda.current_device()], name)

    def __setattr__(self, name, value):
        setattr(self[flambeau.cuda.current_device()], name, value)


cufft_plan_cache = cuFFTPlanCacheManager()

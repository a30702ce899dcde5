"""Backends: an array library and a code generator for each kind of device. Knows no operator.

`cpu` is NumPy with LLVM; `meta` has shapes only; `python.py` runs kernels in plain Python, and defines what they mean.
"""

from __future__ import annotations

from typing import Any


def convert(array: Any, source: str, target: str) -> Any:
    """An array on another kind of device."""
    from flambeau._backends import meta

    if target == "meta":
        return meta.MetaArray(array.shape, array.dtype, array.strides)
    if source == "meta":
        raise NotImplementedError(
            "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of torch.nn.Module.to() when moving "
            "module from meta to a different device."
        )
    if target == "cuda":
        raise AssertionError("Torch not compiled with CUDA enabled")
    raise NotImplementedError(f"the device '{target}' is not available")

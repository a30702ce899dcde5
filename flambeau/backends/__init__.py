"""Switches of libraries that PyTorch may use. Programs set them; here they change nothing but what they answer."""

import importlib

_FILES = (
    "cpu",
    "cuda",
    "cudnn",
    "cusparselt",
    "mha",
    "miopen",
    "mkl",
    "mkldnn",
    "mps",
    "nnpack",
    "openmp",
    "opt_einsum",
    "quantized",
)


def __getattr__(name: str):
    if name in _FILES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_FILES})

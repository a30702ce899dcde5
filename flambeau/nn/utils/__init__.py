"""nn.utils: gradient clipping, reparametrisations, packed sequences; a file is read when first needed."""

import importlib

# at once: both functions hide the files that they are in
from .spectral_norm import remove_spectral_norm, spectral_norm
from .weight_norm import remove_weight_norm, weight_norm

_FILES = {
    "clip_grad": "clip_grad_norm clip_grad_norm_ clip_grad_value_ clip_grads_with_norm_ get_total_norm",
    "convert_parameters": "parameters_to_vector vector_to_parameters",
    "fusion": "fuse_conv_bn_eval fuse_conv_bn_weights fuse_linear_bn_eval fuse_linear_bn_weights",
    "init": "skip_init",
    "memory_format": "convert_conv2d_weight_memory_format convert_conv3d_weight_memory_format",
    "parametrizations": "",
    "parametrize": "",
    "prune": "",
    "rnn": "",
    "stateless": "",
}
_WHERE = {name: file for file, names in _FILES.items() for name in names.split()}
_PRIVATE = {"clip_grads_with_norm_": "_clip_grads_with_norm_", "get_total_norm": "_get_total_norm"}

__all__ = sorted(
    {*_WHERE, "parametrizations", "parametrize", "rnn", "stateless"}
    | {"remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"}
)


def __getattr__(name):
    if name in _WHERE:
        value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), _PRIVATE.get(name, name))
        globals()[name] = value
        return value
    if name in _FILES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_WHERE, *_FILES})

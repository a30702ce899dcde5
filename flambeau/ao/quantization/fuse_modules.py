"""Modules that follow one another, made one; in their places stay the fused module and identities."""

from __future__ import annotations

import copy
from typing import Any

from flambeau import nn
from flambeau.ao.quantization.fuser_method_mappings import get_fuser_method
from flambeau.ao.quantization.utils import getattr_from_fqn as _get_module
from flambeau.nn.utils.parametrize import type_before_parametrizations

__all__ = ["fuse_known_modules", "fuse_modules", "fuse_modules_qat"]


def _set_module(model: Any, submodule_key: str, module: Any) -> None:
    parent, _, name = submodule_key.rpartition(".")
    setattr(_get_module(model, parent) if parent else model, name, module)


def fuse_known_modules(mod_list: Any, is_qat: bool, additional_fuser_method_mapping: Any = None) -> list[Any]:
    """The fused module and identities, as many as there were modules. Hooks before the first and after the last stay."""
    fuse = get_fuser_method(tuple(map(type_before_parametrizations, mod_list)), additional_fuser_method_mapping)
    fused = fuse(is_qat, *mod_list)
    for hook in mod_list[0]._forward_pre_hooks.values():
        fused.register_forward_pre_hook(hook)
    mod_list[0]._forward_pre_hooks.clear()
    for hook in mod_list[-1]._forward_hooks.values():
        fused.register_forward_hook(hook)
    mod_list[-1]._forward_hooks.clear()
    rest = [nn.Identity() for _ in mod_list[1:]]
    for identity in rest:
        identity.training = mod_list[0].training
    return [fused, *rest]


def _fuse_modules(model: Any, modules_to_fuse: Any, is_qat: bool, inplace: bool = False, fuser_func: Any = fuse_known_modules,
                  fuse_custom_config_dict: Any = None) -> Any:  # fmt: skip
    if not inplace:
        model = copy.deepcopy(model)
    more = (fuse_custom_config_dict or {}).get("additional_fuser_method_mapping", {})
    groups = [modules_to_fuse] if all(isinstance(m, str) for m in modules_to_fuse) else modules_to_fuse
    for names in groups:
        made = fuser_func([_get_module(model, name) for name in names], is_qat, more)
        for name, module in zip(names, made, strict=True):
            _set_module(model, name, module)
    return model


def fuse_modules(model: Any, modules_to_fuse: Any, inplace: bool = False, fuser_func: Any = fuse_known_modules,
                 fuse_custom_config_dict: Any = None) -> Any:  # fmt: skip
    """Fuse modules that follow one another: convolution or linear layer, normalization, activation.

    >>> from flambeau import nn
    >>> from flambeau.ao.quantization import fuse_modules
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    >>> [type(m).__name__ for m in fuse_modules(model, ["0", "1", "2"])]
    ['ConvReLU2d', 'Identity', 'Identity']
    """
    return _fuse_modules(model, modules_to_fuse, False, inplace, fuser_func, fuse_custom_config_dict)


def fuse_modules_qat(model: Any, modules_to_fuse: Any, inplace: bool = False, fuser_func: Any = fuse_known_modules,
                     fuse_custom_config_dict: Any = None) -> Any:  # fmt: skip
    """The same for training: normalizations keep their statistics."""
    return _fuse_modules(model, modules_to_fuse, True, inplace, fuser_func, fuse_custom_config_dict)

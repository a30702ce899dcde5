"""Quantization of a model by its modules: configurations attached, observers put in, modules swapped."""

from __future__ import annotations

import copy
import inspect
import warnings
from typing import Any

import flambeau as torch
from flambeau import nn
from flambeau.ao.nn import quantized as nnq
from flambeau.ao.nn.intrinsic import _FusedModule
from flambeau.ao.quantization.observer import _is_activation_post_process
from flambeau.ao.quantization.qconfig import (
    _activation_is_memoryless,
    _add_module_to_qconfig_obs_ctr,
    _assert_valid_qconfig,
    default_dynamic_qconfig,
    float16_dynamic_qconfig,
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
)
from flambeau.ao.quantization.quantization_mappings import (
    _get_special_act_post_process,
    _has_special_act_post_process,
    get_default_dynamic_quant_module_mappings,
    get_default_qat_module_mappings,
    get_default_qconfig_propagation_list,
    get_default_static_quant_module_mappings,
    get_default_static_quant_reference_module_mappings,
    no_observer_set,
)
from flambeau.ao.quantization.stubs import DeQuantStub, QuantWrapper
from flambeau.ao.quantization.utils import get_qparam_dict, has_no_children_ignoring_parametrizations
from flambeau.nn.utils.parametrize import type_before_parametrizations

__all__ = [
    "add_quant_dequant", "convert", "get_default_custom_config_dict", "prepare", "prepare_qat", "propagate_qconfig_", "quantize",
    "quantize_dynamic", "quantize_qat", "swap_module",
]  # fmt: skip


def get_default_custom_config_dict() -> dict[str, Any]:
    """Which modules that know how to be quantized themselves are known: those of `torch.ao.nn.quantizable`."""
    from flambeau.ao.nn import quantizable

    return {
        "float_to_observed_custom_module_class": {
            nn.LSTM: quantizable.LSTM,
            nn.MultiheadAttention: quantizable.MultiheadAttention,
        },
        "observed_to_quantized_custom_module_class": {
            quantizable.LSTM: nnq.LSTM,
            quantizable.MultiheadAttention: nnq.MultiheadAttention,
        },
    }


# ---------------------------------------------------------------- configurations


def _propagate(module: Any, by_key: Any, parent: Any, name: str, custom: Any) -> None:
    own = by_key.get(type_before_parametrizations(module), parent)
    own = getattr(module, "qconfig", by_key.get(name, own))
    _assert_valid_qconfig(own, module)
    module.qconfig = own = _add_module_to_qconfig_obs_ctr(own, module)
    for child_name, child in module.named_children():
        opaque = child_name in custom.get("non_traceable_module_name", []) or type(child) in custom.get(
            "non_traceable_module_class", []
        )
        if not opaque:
            _propagate(child, by_key, own, f"{name}.{child_name}" if name else child_name, custom)


def propagate_qconfig_(module: Any, qconfig_dict: Any = None, prepare_custom_config_dict: Any = None) -> None:
    """Give every module in a model a configuration: its own, that of its name or type in a dict, or its parent's."""
    _propagate(module, qconfig_dict or {}, None, "", prepare_custom_config_dict or {})


# ---------------------------------------------------------------- observers


def _observer_forward_hook(self: Any, input: Any, output: Any) -> Any:
    """Watches what a module gives."""
    return self.activation_post_process(output)


def _observer_forward_pre_hook(self: Any, input: Any) -> Any:
    """Watches what a module is given."""
    return self.activation_post_process(input[0])


def _register_activation_post_process_hook(module: Any, pre_hook: bool = False) -> None:
    if not hasattr(module, "activation_post_process"):
        raise AssertionError("Expect activation_post_process attribute already attached to the module")
    if pre_hook:
        module.register_forward_pre_hook(_observer_forward_pre_hook, prepend=True)
    else:
        module.register_forward_hook(_observer_forward_hook, prepend=True)


def _get_unique_devices_(module: Any) -> set[Any]:
    held = [*module.parameters(), *module.buffers()]
    return {t.device for t in held if t.device.type != "meta"}


def _wants(module: Any) -> bool:
    return getattr(module, "qconfig", None) is not None


def _made(module: Any, device: Any, make: Any = None) -> Any:
    made = module.qconfig.activation() if make is None else make()
    if device is not None:
        made.to(device)
    return made


def _watch(module: Any, device: Any, make: Any = None) -> None:
    """Put an observer into a module, of what it gives (or is given, where only the last counts)."""
    if _wants(module) and not isinstance(module, DeQuantStub):
        module.add_module("activation_post_process", _made(module, device, make))
        _register_activation_post_process_hook(module, pre_hook=_activation_is_memoryless(module.qconfig))


def _add_observer_(module: Any, qconfig_propagation_list: Any = None, non_leaf_module_list: Any = None, device: Any = None,
                   custom_module_class_mapping: Any = None) -> None:  # fmt: skip
    """Put observers into the modules of a model that are to be quantized."""
    kinds = get_default_qconfig_propagation_list() if qconfig_propagation_list is None else qconfig_propagation_list
    custom = custom_module_class_mapping or {}
    if device is None:
        devices = _get_unique_devices_(module)
        if len(devices) > 1:
            raise AssertionError(
                f"_add_observer_ only works with cpu or single-device CUDA modules, but got devices {devices}"
            )
        device = next(iter(devices), None)
    for name, child in module.named_children():
        kind = type_before_parametrizations(child)
        if kind is nn.Dropout:
            continue
        if issubclass(kind, (nnq.FloatFunctional, nnq.QFunctional)):
            if _wants(child):
                if not hasattr(child, "activation_post_process"):
                    raise AssertionError(f"functional class {kind} has no pre-defined `activation_post_process`")
                child.activation_post_process = _made(child, device)
        elif isinstance(child, _FusedModule) or (non_leaf_module_list is not None and kind in non_leaf_module_list):
            _watch(child, device)
        elif _has_special_act_post_process(child):
            _watch(child, device, _get_special_act_post_process(child))
        elif _wants(child) and kind in custom:
            observed = custom[kind].from_float(child)
            setattr(module, name, observed)
            if not issubclass(custom[kind], tuple(no_observer_set())):
                _watch(observed, device)
        else:
            _add_observer_(child, kinds, non_leaf_module_list, device, custom)
    if isinstance(module, nn.Sequential) or type_before_parametrizations(module) not in kinds:
        return
    if has_no_children_ignoring_parametrizations(module):
        _watch(module, device)
    if hasattr(module, "weight_fake_quant"):
        _watch(module, device)


def add_quant_dequant(module: Any) -> Any:
    """Put every module that has a configuration and no children between a `QuantStub` and a `DeQuantStub`."""
    if has_no_children_ignoring_parametrizations(module) and getattr(module, "qconfig", None):
        return QuantWrapper(module)
    for name, child in module.named_children():
        module._modules[name] = add_quant_dequant(child)
    return module


def prepare(model: Any, inplace: bool = False, allow_list: Any = None, observer_non_leaf_module_list: Any = None,
            prepare_custom_config_dict: Any = None) -> Any:  # fmt: skip
    """A copy of a model whose modules are watched, by the `qconfig` that they (or what they are in) have.

    Arguments:
        inplace: change the model itself.
        allow_list: the classes of modules to watch.
        observer_non_leaf_module_list: further classes, of modules that have children.
        prepare_custom_config_dict: classes of modules that bring observed versions of their own.
    """
    custom = get_default_custom_config_dict() if prepare_custom_config_dict is None else prepare_custom_config_dict
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    if not any(getattr(m, "qconfig", None) for m in model.modules()):
        warnings.warn(
            "None of the submodule got qconfig applied. Make sure you passed correct configuration through `qconfig_dict` or by assigning "
            "the `.qconfig` attribute directly on submodules",
            stacklevel=2,
        )
    _add_observer_(
        model,
        allow_list,
        observer_non_leaf_module_list,
        custom_module_class_mapping=custom.get("float_to_observed_custom_module_class", {}),
    )
    return model


def _remove_activation_post_process(module: Any) -> None:
    if _is_activation_post_process(getattr(module, "activation_post_process", None)):
        del module.activation_post_process
    for hooks, ours in (
        (module._forward_pre_hooks, _observer_forward_pre_hook),
        (module._forward_hooks, _observer_forward_hook),
    ):
        for handle in [h for h, hook in hooks.items() if hook is ours]:
            hooks.pop(handle)


def _remove_qconfig(module: Any) -> None:
    """Take configurations and observers out of a model again."""
    for child in module.children():
        _remove_qconfig(child)
    if hasattr(module, "qconfig"):
        del module.qconfig
    _remove_activation_post_process(module)


# ---------------------------------------------------------------- modules swapped


def convert(module: Any, mapping: Any = None, inplace: bool = False, remove_qconfig: bool = True, is_reference: bool = False,
            convert_custom_config_dict: Any = None, use_precomputed_fake_quant: bool = False) -> Any:  # fmt: skip
    """A copy of a watched model with quantized modules in the places of those that have a configuration.

    Arguments:
        mapping: the class that takes the place of each class; by default quantized ones.
        inplace: change the model itself.
        remove_qconfig: take configurations out.
        is_reference: modules that compute in floats, of weights in codes.
        convert_custom_config_dict: classes that take the places of observed ones of one's own.
    """
    module = module if inplace else copy.deepcopy(module)
    _convert(module, mapping, True, is_reference, convert_custom_config_dict, use_precomputed_fake_quant)
    if remove_qconfig:
        _remove_qconfig(module)
    return module


def _convert(module: Any, mapping: Any = None, inplace: bool = False, is_reference: bool = False, convert_custom_config_dict: Any = None,
             use_precomputed_fake_quant: bool = False) -> Any:  # fmt: skip
    if mapping is None:
        mapping = (
            get_default_static_quant_reference_module_mappings()
            if is_reference
            else get_default_static_quant_module_mappings()
        )
    config = get_default_custom_config_dict() if convert_custom_config_dict is None else convert_custom_config_dict
    custom = config.get("observed_to_quantized_custom_module_class", {})
    module = module if inplace else copy.deepcopy(module)
    swapped = {}
    for name, child in module.named_children():
        if not isinstance(child, _FusedModule) and type_before_parametrizations(child) not in custom:
            _convert(child, mapping, True, is_reference, config, use_precomputed_fake_quant)
        swapped[name] = swap_module(child, mapping, custom, use_precomputed_fake_quant)
    module._modules.update(swapped)
    return module


def swap_module(
    mod: Any, mapping: Any, custom_module_class_mapping: Any, use_precomputed_fake_quant: bool = False
) -> Any:
    """What takes a module's place: itself, where it has no configuration or its class no counterpart."""
    if not _wants(mod):
        return mod
    kind = type_before_parametrizations(mod)
    if kind in custom_module_class_mapping:
        made = custom_module_class_mapping[kind].from_observed(mod)
    elif kind in mapping:
        made = _from_float(mapping[kind], mod, use_precomputed_fake_quant)
    else:
        return mod
    for hook in mod._forward_pre_hooks.values():
        made.register_forward_pre_hook(hook)
    for hook in mod._forward_hooks.values():
        if hook is not _observer_forward_hook:
            made.register_forward_hook(hook)
    devices = _get_unique_devices_(mod)
    if len(devices) > 1:
        raise AssertionError(
            f"swap_module only works with cpu or single-device CUDA modules, but got devices {devices}"
        )
    if devices:
        made.to(next(iter(devices)))
    return made


def _from_float(kind: Any, mod: Any, use_precomputed_fake_quant: bool) -> Any:
    if getattr(kind, "_IS_REFERENCE", False):
        watcher = mod.qconfig.weight()
        watcher(mod.weight)
        return kind.from_float(mod, get_qparam_dict(watcher))
    if "use_precomputed_fake_quant" in inspect.signature(kind.from_float).parameters:
        return kind.from_float(mod, use_precomputed_fake_quant=use_precomputed_fake_quant)
    return kind.from_float(mod)


# ---------------------------------------------------------------- all at once


def quantize(model: Any, run_fn: Any, run_args: Any, mapping: Any = None, inplace: bool = False) -> Any:
    """A quantized model, whose ranges are those that `run_fn(model, *run_args)` shows."""
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    prepare(model, inplace=True)
    run_fn(model, *run_args)
    convert(model, get_default_static_quant_module_mappings() if mapping is None else mapping, inplace=True)
    return model


_WITH_WEIGHTS = (nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.RNNCell, nn.GRUCell)
_DYNAMIC = {
    torch.qint8: (default_dynamic_qconfig, _WITH_WEIGHTS),
    torch.float16: (float16_dynamic_qconfig, _WITH_WEIGHTS),
    torch.quint8: (float_qparams_weight_only_qconfig, (nn.EmbeddingBag, nn.Embedding)),
    torch.quint4x2: (float_qparams_weight_only_qconfig_4bit, (nn.EmbeddingBag,)),
}


def quantize_dynamic(
    model: Any, qconfig_spec: Any = None, dtype: Any = torch.qint8, mapping: Any = None, inplace: bool = False
) -> Any:
    """A model whose weights are codes, and whose activations become codes when it runs.

    Arguments:
        qconfig_spec: a dict of configurations by type or name, or a set of types and names; by default layers with large weights.
        dtype: what weights become, where `qconfig_spec` does not say.
        mapping: the class that takes the place of each class.
        inplace: change the model itself.

    >>> from flambeau import nn
    >>> from flambeau.ao.quantization import quantize_dynamic
    >>> quantize_dynamic(nn.Sequential(nn.Linear(4, 2)))
    Sequential(
      (0): DynamicQuantizedLinear(in_features=4, out_features=2, dtype=torch.qint8, qscheme=torch.per_tensor_affine)
    )
    """
    if qconfig_spec is None:
        if dtype not in _DYNAMIC:
            raise ValueError(
                f"Don't know how to quantize with default settings for {dtype}. Provide full qconfig please"
            )
        qconfig, kinds = _DYNAMIC[dtype]
        qconfig_spec = dict.fromkeys(kinds, qconfig)
    elif isinstance(qconfig_spec, set):
        if dtype not in _DYNAMIC:
            raise RuntimeError("Unknown dtype specified for quantize_dynamic: ", str(dtype))
        qconfig_spec = dict.fromkeys(qconfig_spec, _DYNAMIC[dtype][0])
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    propagate_qconfig_(model, qconfig_spec)
    convert(model, get_default_dynamic_quant_module_mappings() if mapping is None else mapping, inplace=True)
    return model


def prepare_qat(model: Any, mapping: Any = None, inplace: bool = False) -> Any:
    """A copy of a model in training whose modules quantize their weights and what they give, as floats."""
    if not model.training:
        raise AssertionError("prepare_qat only works on models in training mode")
    mapping = get_default_qat_module_mappings() if mapping is None else mapping
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    convert(model, mapping=mapping, inplace=True, remove_qconfig=False)
    prepare(model, observer_non_leaf_module_list=set(mapping.values()), inplace=True)
    return model


def quantize_qat(model: Any, run_fn: Any, run_args: Any, inplace: bool = False) -> Any:
    """A quantized model, trained for it by `run_fn(model, *run_args)`."""
    model = model if inplace else copy.deepcopy(model)
    model.train()
    prepare_qat(model, inplace=True)
    run_fn(model, *run_args)
    convert(model, inplace=True)
    return model


def _get_observer_dict(mod: Any, target_dict: dict[str, Any], prefix: str = "") -> None:
    """Find the observers of a model, by name."""
    dot = prefix + "." if prefix else ""
    if hasattr(mod, "activation_post_process"):
        target_dict[dot + "activation_post_process"] = mod.activation_post_process
    for name, child in mod.named_children():
        _get_observer_dict(child, target_dict, dot + name)

"""Quantization of models: observers, fake quantization, configurations, `prepare` and `convert` (docs/quantization.md).

Names load with the module that defines them.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

_HOMES = {
    "observer": (
        "AffineQuantizedObserverBase FixedQParamsObserver Granularity HistogramObserver MappingType MinMaxObserver MovingAverageMinMaxObserver "
        "MovingAveragePerChannelMinMaxObserver NoopObserver ObserverBase PerAxis PerBlock PerChannelMinMaxObserver PerGroup PerRow PerTensor "
        "PerToken PlaceholderObserver RecordingObserver ReuseInputObserver TorchAODType UniformQuantizationObserverBase ZeroPointDomain "
        "default_affine_fixed_qparams_observer default_debug_observer default_dynamic_quant_observer "
        "default_fixed_qparams_range_0to1_observer default_fixed_qparams_range_neg1to1_observer default_float_qparams_observer "
        "default_float_qparams_observer_4bit default_histogram_observer default_observer default_per_channel_weight_observer "
        "default_placeholder_observer default_reuse_input_observer default_symmetric_fixed_qparams_observer default_weight_observer "
        "get_block_size get_observer_state_dict load_observer_state_dict per_channel_weight_observer_range_neg_127_to_127 "
        "weight_observer_range_neg_127_to_127 _PartialWrapper _is_activation_post_process"
    ),
    "fake_quantize": (
        "FakeQuantize FakeQuantizeBase FixedQParamsFakeQuantize FusedMovingAvgObsFakeQuantize default_affine_fixed_qparams_fake_quant "
        "default_dynamic_fake_quant default_embedding_fake_quant default_embedding_fake_quant_4bit default_fake_quant "
        "default_fixed_qparams_range_0to1_fake_quant default_fixed_qparams_range_neg1to1_fake_quant default_fused_act_fake_quant "
        "default_fused_per_channel_wt_fake_quant default_fused_wt_fake_quant default_histogram_fake_quant "
        "default_per_channel_weight_fake_quant default_symmetric_fixed_qparams_fake_quant default_weight_fake_quant disable_fake_quant "
        "disable_observer enable_fake_quant enable_observer fused_per_channel_wt_fake_quant_range_neg_127_to_127 "
        "fused_wt_fake_quant_range_neg_127_to_127"
    ),
    "qconfig": (
        "QConfig QConfigAny QConfigDynamic default_activation_only_qconfig default_debug_qconfig default_dynamic_qat_qconfig "
        "default_dynamic_qconfig default_embedding_qat_qconfig default_embedding_qat_qconfig_4bit default_per_channel_qconfig "
        "default_per_channel_symmetric_qnnpack_qat_qconfig default_per_channel_symmetric_qnnpack_qconfig default_qat_qconfig "
        "default_qat_qconfig_v2 default_qconfig default_quint8_weight_qconfig default_reuse_input_qconfig "
        "default_symmetric_qnnpack_qat_qconfig default_symmetric_qnnpack_qconfig default_weight_only_qconfig float16_dynamic_qconfig "
        "float16_static_qconfig float_qparams_weight_only_qconfig float_qparams_weight_only_qconfig_4bit get_default_qat_qconfig "
        "get_default_qat_qconfig_dict get_default_qconfig get_default_qconfig_dict per_channel_dynamic_qconfig qconfig_equals"
    ),
    "qconfig_mapping": "QConfigMapping get_default_qat_qconfig_mapping get_default_qconfig_mapping",
    "quant_type": "QuantType",
    "utils": "MatchAllNode Pattern",
    "stubs": "DeQuantStub QuantStub QuantWrapper",
    "fuser_method_mappings": (
        "fuse_conv_bn fuse_conv_bn_relu fuse_convtranspose_bn fuse_linear_bn get_fuser_method get_fuser_method_new"
    ),
    "fuse_modules": "fuse_known_modules fuse_modules fuse_modules_qat",
    "quantization_mappings": (
        "DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS DEFAULT_FLOAT_TO_QUANTIZED_OPERATOR_MAPPINGS DEFAULT_MODULE_TO_ACT_POST_PROCESS "
        "DEFAULT_QAT_MODULE_MAPPINGS DEFAULT_REFERENCE_STATIC_QUANT_MODULE_MAPPINGS DEFAULT_STATIC_QUANT_MODULE_MAPPINGS "
        "get_default_compare_output_module_list get_default_dynamic_quant_module_mappings get_default_dynamic_sparse_quant_module_mappings "
        "get_default_float_to_quantized_operator_mappings get_default_qat_module_mappings get_default_qconfig_propagation_list "
        "get_default_static_quant_module_mappings get_default_static_quant_reference_module_mappings "
        "get_default_static_sparse_quant_module_mappings get_dynamic_quant_module_class get_embedding_qat_module_mappings "
        "get_embedding_static_quant_module_mappings get_quantized_operator get_static_quant_module_class no_observer_set"
    ),
    "quantize_jit": (
        "convert_dynamic_jit convert_jit fuse_conv_bn_jit prepare_dynamic_jit prepare_jit quantize_dynamic_jit quantize_jit script_qconfig "
        "script_qconfig_dict"
    ),
    "quantize": (
        "add_quant_dequant convert get_default_custom_config_dict prepare prepare_qat propagate_qconfig_ quantize quantize_dynamic "
        "quantize_qat swap_module"
    ),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
_MODULES = frozenset((*_HOMES, "partial", "granularity", "quantize_fx", "backend_config", "fx"))

__all__ = sorted(
    ("ObserverOrFakeQuantize", "default_eval_fn", *(n for n in _HOME_OF if not n.startswith(("_", "DEFAULT_"))))
)


def default_eval_fn(model: Any, calib_data: Any) -> None:
    """Show a model what there is: pairs of inputs and targets."""
    for data, _ in calib_data:
        model(data)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        made = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    elif name == "ObserverOrFakeQuantize":
        from flambeau.ao.quantization.fake_quantize import FakeQuantizeBase
        from flambeau.ao.quantization.observer import ObserverBase

        made = ObserverBase | FakeQuantizeBase
    elif name in _MODULES:
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            raise AttributeError(f"module 'torch.ao.quantization' has no attribute '{name}'") from None
    else:
        raise AttributeError(f"module 'torch.ao.quantization' has no attribute '{name}'")
    globals()[name] = made
    return made


class _Package(types.ModuleType):
    """`quantize` and `fuse_modules` are functions, though modules of these names are imported too."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType) and name in _HOME_OF:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_MODULES, "ObserverOrFakeQuantize"})

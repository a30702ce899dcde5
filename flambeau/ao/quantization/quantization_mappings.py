"""Which class takes a module's place: quantized, quantized when it runs, trained for it."""

from __future__ import annotations

import copy
import functools
from typing import Any

import flambeau as torch
from flambeau import nn
from flambeau.ao import nn as ao_nn
from flambeau.ao.nn import intrinsic as nni, qat as nnqat, quantized as nnq
from flambeau.ao.nn.intrinsic import qat as nniqat, quantized as nniq
from flambeau.ao.nn.intrinsic.quantized import dynamic as nniqd
from flambeau.ao.nn.qat import dynamic as nnqatd
from flambeau.ao.nn.quantized import dynamic as nnqd
from flambeau.ao.quantization.fake_quantize import (
    default_fixed_qparams_range_0to1_fake_quant,
    default_fixed_qparams_range_neg1to1_fake_quant,
)
from flambeau.ao.quantization.stubs import DeQuantStub, QuantStub
from flambeau.ao.quantization.utils import get_combined_dict
from flambeau.nn import functional as F
from flambeau.nn.utils.parametrize import type_before_parametrizations

__all__ = [
    "DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS", "DEFAULT_FLOAT_TO_QUANTIZED_OPERATOR_MAPPINGS", "DEFAULT_MODULE_TO_ACT_POST_PROCESS",
    "DEFAULT_QAT_MODULE_MAPPINGS", "DEFAULT_STATIC_QUANT_MODULE_MAPPINGS",
    "get_default_compare_output_module_list", "get_default_dynamic_quant_module_mappings", "get_default_dynamic_sparse_quant_module_mappings",
    "get_default_float_to_quantized_operator_mappings", "get_default_qat_module_mappings", "get_default_qconfig_propagation_list",
    "get_default_static_quant_module_mappings", "get_default_static_quant_reference_module_mappings",
    "get_default_static_sparse_quant_module_mappings", "get_dynamic_quant_module_class", "get_embedding_qat_module_mappings",
    "get_embedding_static_quant_module_mappings", "get_quantized_operator", "get_static_quant_module_class", "no_observer_set",
]  # fmt: skip


def _alike(source: Any, target: Any, *names: str) -> dict[Any, Any]:
    """Classes of one package by those of the same names in another."""
    return {getattr(source, name): getattr(target, name) for name in names}


_NonDynamicLinear = nn.modules.linear.NonDynamicallyQuantizableLinear
_CONVOLUTIONS = [f"{kind}{n}d" for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)]

DEFAULT_STATIC_QUANT_MODULE_MAPPINGS: dict[Any, Any] = {
    QuantStub: nnq.Quantize,
    DeQuantStub: nnq.DeQuantize,
    **_alike(nn, nnq, "BatchNorm2d", "BatchNorm3d", "Dropout", *_CONVOLUTIONS, "ELU", "Embedding", "EmbeddingBag", "GroupNorm", "Hardswish",
             "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "LeakyReLU", "Linear", "ReLU6", "PReLU"),
    _NonDynamicLinear: nnq.Linear,
    nnq.FloatFunctional: nnq.QFunctional,
    **_alike(nni, nniq, "BNReLU2d", "BNReLU3d", "ConvReLU1d", "ConvReLU2d", "ConvReLU3d", "ConvAdd2d", "ConvAddReLU2d", "LinearReLU",
             "LinearLeakyReLU", "LinearTanh"),
    **{getattr(nniqat, f"ConvBn{n}d"): getattr(nnq, f"Conv{n}d") for n in (1, 2, 3)},
    **{getattr(nniqat, f"ConvBnReLU{n}d"): getattr(nniq, f"ConvReLU{n}d") for n in (1, 2, 3)},
    **_alike(nniqat, nniq, "ConvReLU2d", "ConvReLU3d", "LinearReLU"),
    nniqat.LinearBn1d: nnq.Linear,
    **_alike(nnqat, nnq, "Linear", "Conv2d", "Conv3d"),
}  # fmt: skip
DEFAULT_QAT_MODULE_MAPPINGS: dict[Any, Any] = {
    **_alike(nn, nnqat, "Conv2d", "Conv3d", "Linear"),
    _NonDynamicLinear: nnqat.Linear,
    **_alike(nni, nniqat, "ConvBn1d", "ConvBn2d", "ConvBn3d", "ConvBnReLU1d", "ConvBnReLU2d", "ConvBnReLU3d", "ConvReLU2d", "ConvReLU3d",
             "LinearReLU", "LinearBn1d"),
}  # fmt: skip
DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS: dict[Any, Any] = {
    **_alike(nn, nnqd, "GRUCell", "Linear", "LSTM", "GRU", "LSTMCell", "RNNCell"),
    nnqatd.Linear: nnqd.Linear,
    _NonDynamicLinear: nnqd.Linear,
    nni.LinearReLU: nniqd.LinearReLU,
    **_alike(nn, nnq, "EmbeddingBag", "Embedding"),
}
_INCLUDE_QCONFIG_PROPAGATE_LIST = {nn.Sequential}
DEFAULT_FLOAT_TO_QUANTIZED_OPERATOR_MAPPINGS: dict[Any, Any] = {
    getattr(F, name): getattr(torch.ops.quantized, name)
    for name in ("elu", "hardswish", "instance_norm", "layer_norm", "leaky_relu", "dropout")
}
DEFAULT_MODULE_TO_ACT_POST_PROCESS: dict[Any, Any] = {
    **dict.fromkeys((nn.Hardsigmoid, nn.Sigmoid, nn.Softmax), default_fixed_qparams_range_0to1_fake_quant),
    nn.Tanh: default_fixed_qparams_range_neg1to1_fake_quant,
}


@functools.cache
def _reference() -> dict[Any, Any]:
    from flambeau.ao.nn.quantized import reference as nnqr

    same = _alike(
        nn, nnqr, "Linear", *_CONVOLUTIONS, "Embedding", "EmbeddingBag", "GRUCell", "LSTMCell", "RNNCell", "LSTM"
    )
    return {QuantStub: nnq.Quantize, DeQuantStub: nnq.DeQuantize, **same}


def __getattr__(name: str) -> Any:
    if name == "DEFAULT_REFERENCE_STATIC_QUANT_MODULE_MAPPINGS":
        return _reference()
    raise AttributeError(f"module 'torch.ao.quantization.quantization_mappings' has no attribute '{name}'")


@functools.cache
def _sparse() -> tuple[dict[Any, Any], dict[Any, Any]]:
    return {nn.Linear: ao_nn.sparse.quantized.Linear}, {nn.Linear: ao_nn.sparse.quantized.dynamic.Linear}


def no_observer_set() -> set[Any]:
    """Modules that are not watched: what is in them is."""
    return {ao_nn.quantizable.LSTM, ao_nn.quantizable.MultiheadAttention}


def get_default_static_quant_module_mappings() -> dict[Any, Any]:
    """Which class takes a module's place, where ranges are known beforehand."""
    return copy.copy(DEFAULT_STATIC_QUANT_MODULE_MAPPINGS)


def get_default_static_quant_reference_module_mappings() -> dict[Any, Any]:
    """The same where the results are to be floats, of weights in codes."""
    return copy.copy(_reference())


def get_embedding_static_quant_module_mappings() -> dict[Any, Any]:
    """The same with tables of embeddings that were trained for it."""
    return {**DEFAULT_STATIC_QUANT_MODULE_MAPPINGS, **_alike(nnqat, nnq, "EmbeddingBag", "Embedding")}


def get_default_static_sparse_quant_module_mappings() -> dict[Any, Any]:
    """Which class takes a module's place where its weight is sparse."""
    return copy.copy(_sparse()[0])


def _class_in(mapping: dict[Any, Any], float_module_class: Any) -> Any:
    found = mapping.get(float_module_class)
    if found is None:
        raise AssertionError(
            f"Floating point module class {float_module_class} does not have a corresponding quantized module class"
        )
    return found


def get_static_quant_module_class(
    float_module_class: Any, additional_static_quant_mapping: Any = None, is_reference: bool = False
) -> Any:
    """The class that takes the place of one, where ranges are known beforehand."""
    default = _reference() if is_reference else DEFAULT_STATIC_QUANT_MODULE_MAPPINGS
    return _class_in(get_combined_dict(default, additional_static_quant_mapping or {}), float_module_class)


def get_dynamic_quant_module_class(float_module_class: Any, additional_dynamic_quant_mapping: Any = None) -> Any:
    """The class that takes the place of one, where ranges are found when it runs."""
    return _class_in(
        get_combined_dict(DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS, additional_dynamic_quant_mapping or {}),
        float_module_class,
    )


def get_default_qat_module_mappings() -> dict[Any, Any]:
    """Which class takes a module's place in training."""
    return copy.copy(DEFAULT_QAT_MODULE_MAPPINGS)


def get_embedding_qat_module_mappings() -> dict[Any, Any]:
    """The same with tables of embeddings."""
    return {**DEFAULT_QAT_MODULE_MAPPINGS, **_alike(nn, nnqat, "EmbeddingBag", "Embedding")}


def get_default_dynamic_quant_module_mappings() -> dict[Any, Any]:
    """Which class takes a module's place, where ranges are found when it runs."""
    return DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS


def get_default_dynamic_sparse_quant_module_mappings() -> dict[Any, Any]:
    """The same where the weight is sparse."""
    return _sparse()[1]


def get_default_qconfig_propagation_list() -> set[Any]:
    """The classes of modules that `prepare` watches."""
    mappings = (
        DEFAULT_STATIC_QUANT_MODULE_MAPPINGS,
        DEFAULT_QAT_MODULE_MAPPINGS,
        DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS,
    )
    return {kind for mapping in mappings for kind in mapping} | _INCLUDE_QCONFIG_PROPAGATE_LIST


def get_default_compare_output_module_list() -> set[Any]:
    """The classes of modules whose results are worth comparing."""
    mappings = (
        DEFAULT_STATIC_QUANT_MODULE_MAPPINGS,
        DEFAULT_QAT_MODULE_MAPPINGS,
        DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS,
    )
    return get_default_qconfig_propagation_list() | {kind for mapping in mappings for kind in mapping.values()}


def get_default_float_to_quantized_operator_mappings() -> dict[Any, Any]:
    """Which operator takes a function's place."""
    return copy.copy(DEFAULT_FLOAT_TO_QUANTIZED_OPERATOR_MAPPINGS)


def get_quantized_operator(float_op: Any) -> Any:
    """The operator that takes the place of a function."""
    found = DEFAULT_FLOAT_TO_QUANTIZED_OPERATOR_MAPPINGS.get(float_op)
    if found is None:
        raise AssertionError(f"Operator {float_op} does not have corresponding quantized op")
    return found


def _get_special_act_post_process(module: Any) -> Any:
    """What watches a module whose range is known, in place of what its configuration says."""
    return DEFAULT_MODULE_TO_ACT_POST_PROCESS.get(type_before_parametrizations(module))


def _has_special_act_post_process(module: Any) -> bool:
    return module.training and type(module) in DEFAULT_MODULE_TO_ACT_POST_PROCESS

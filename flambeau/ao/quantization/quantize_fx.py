"""Quantization of a model by its graph: traced, prepared, shown data, converted."""

from __future__ import annotations

import copy
from typing import Any

from flambeau import fx
from flambeau.ao.quantization.fx import convert as _conversion, prepare as _preparation
from flambeau.ao.quantization.fx.custom_config import ConvertCustomConfig, FuseCustomConfig, PrepareCustomConfig
from flambeau.ao.quantization.qconfig_mapping import QConfigMapping

__all__ = ["convert_fx", "fuse_fx", "prepare_fx", "prepare_qat_fx"]


def _config(kind: Any, given: Any) -> Any:
    return kind.from_dict(given) if isinstance(given, dict) else kind() if given is None else given


def _refuse(name: str, **given: Any) -> None:
    for argument, value in given.items():
        if value is not None and value is not False:
            raise NotImplementedError(f"torch.ao.quantization.quantize_fx.{name}: {argument} is not implemented")


def _kept(source: Any, made: Any, names: list[str]) -> Any:
    for name in names:
        setattr(made, name, getattr(source, name))
    if names:
        made.meta["preserved_attributes"] = {name: getattr(source, name) for name in names}
    return made


def fuse_fx(model: Any, fuse_custom_config: Any = None, backend_config: Any = None) -> Any:
    """The graph of a model in evaluation, in which convolutions and linear layers have taken in what follows them."""
    _refuse("fuse_fx", backend_config=backend_config)
    config = _config(FuseCustomConfig, fuse_custom_config)
    made, _ = _preparation.traced(copy.deepcopy(model), [], [])
    _preparation.fuse(made, False)
    return _kept(model, made, config.preserved_attributes)


def _prepare(name: str, is_qat: bool, model: Any, mapping: Any, custom: Any, backend_config: Any) -> Any:
    _refuse(name, backend_config=backend_config)
    config = _config(PrepareCustomConfig, custom)
    mapping = QConfigMapping.from_dict(mapping) if isinstance(mapping, dict) else copy.deepcopy(mapping)
    source = copy.deepcopy(model)
    made, places = _preparation.traced(source, config.non_traceable_module_names, config.non_traceable_module_classes)
    _preparation.fuse(made, is_qat)
    return _kept(model, _preparation.prepare(made, mapping, is_qat, places), config.preserved_attributes)


def prepare_fx(model: Any, qconfig_mapping: Any, example_inputs: Any, prepare_custom_config: Any = None, _equalization_config: Any = None,
               backend_config: Any = None) -> Any:  # fmt: skip
    """The graph of a model in evaluation, with observers where values are to become codes.

    Arguments:
        qconfig_mapping: which part is to be quantized how (`get_default_qconfig_mapping()`).
        example_inputs: a tuple of inputs; not needed here, since no shapes are asked for.
        prepare_custom_config: modules that are not to be looked into, attributes to keep.
    """
    _refuse("prepare_fx", _equalization_config=_equalization_config)
    if model.training:
        model = copy.deepcopy(model).eval()
    return _prepare("prepare_fx", False, model, qconfig_mapping, prepare_custom_config, backend_config)


def prepare_qat_fx(
    model: Any, qconfig_mapping: Any, example_inputs: Any, prepare_custom_config: Any = None, backend_config: Any = None
) -> Any:
    """The graph of a model in training, with fake quantizers where values are to become codes."""
    if not model.training:
        raise AssertionError("prepare_qat_fx only works for models in train mode")
    return _prepare("prepare_qat_fx", True, model, qconfig_mapping, prepare_custom_config, backend_config)


def convert_fx(graph_module: Any, convert_custom_config: Any = None, _remove_qconfig: bool = True, qconfig_mapping: Any = None,
               backend_config: Any = None, keep_original_weights: bool = False) -> Any:  # fmt: skip
    """The graph of a prepared model that has seen data, or was trained, in codes."""
    _refuse(
        "convert_fx",
        qconfig_mapping=qconfig_mapping,
        backend_config=backend_config,
        keep_original_weights=keep_original_weights,
    )
    if not isinstance(graph_module, fx.GraphModule):
        raise ValueError(
            f"input model must be a GraphModule, Got type:{type(graph_module)} Please make sure to follow the tutorials."
        )
    config = _config(ConvertCustomConfig, convert_custom_config)
    kept = graph_module.meta.get("preserved_attributes", {})
    made = _conversion.convert(copy.deepcopy(graph_module), _remove_qconfig)
    for name in config.preserved_attributes:
        setattr(made, name, getattr(graph_module, name, kept.get(name)))
    return made

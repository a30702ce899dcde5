"""Which part of a model is to be quantized how."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flambeau as torch
from flambeau.ao.quantization.fake_quantize import FixedQParamsFakeQuantize, default_weight_fake_quant
from flambeau.ao.quantization.observer import (
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
    default_placeholder_observer,
    default_weight_observer,
)
from flambeau.ao.quantization.qconfig import (
    QConfig,
    default_quint8_weight_qconfig,
    default_reuse_input_qconfig,
    default_symmetric_qnnpack_qat_qconfig,
    default_symmetric_qnnpack_qconfig,
    get_default_qat_qconfig,
    get_default_qconfig,
)

__all__ = ["QConfigMapping", "get_default_qat_qconfig_mapping", "get_default_qconfig_mapping"]

_FIXED_QPARAMS_OP_TO_OBSERVER: dict[Any, Any] = {
    **dict.fromkeys(
        (torch.nn.Hardsigmoid, torch.nn.functional.hardsigmoid, "hardsigmoid", "hardsigmoid_", torch.nn.Sigmoid, torch.sigmoid, "sigmoid",
         "sigmoid_", torch.nn.Softmax), default_fixed_qparams_range_0to1_observer),
    **dict.fromkeys((torch.nn.Tanh, torch.tanh, "tanh", "tanh_"), default_fixed_qparams_range_neg1to1_observer),
}  # fmt: skip
_STYLES = ("global_qconfig", "object_type_qconfigs", "module_name_regex_qconfigs", "module_name_qconfigs",
           "module_name_object_type_order_qconfigs")  # fmt: skip


class QConfigMapping:
    """How parts of a model are to be quantized: all, those of a type, those whose name fits, those of a name. The most special one holds.

    >>> from flambeau.ao.quantization import QConfigMapping, default_dynamic_qconfig, default_qconfig
    >>> mapping = QConfigMapping().set_global(default_qconfig).set_module_name("head", None)
    """

    def __init__(self) -> None:
        self.global_qconfig: Any = None
        self.object_type_qconfigs: OrderedDict[Any, Any] = OrderedDict()
        self.module_name_regex_qconfigs: OrderedDict[str, Any] = OrderedDict()
        self.module_name_qconfigs: OrderedDict[str, Any] = OrderedDict()
        self.module_name_object_type_order_qconfigs: OrderedDict[tuple[str, Any, int], Any] = OrderedDict()

    def set_global(self, global_qconfig: Any) -> QConfigMapping:
        """For all that nothing else is said of."""
        self.global_qconfig = global_qconfig
        return self

    def set_object_type(self, object_type: Any, qconfig: Any) -> QConfigMapping:
        """For modules of a type, calls of a function, or of a method by its name."""
        self.object_type_qconfigs[object_type] = qconfig
        return self

    def set_module_name_regex(self, module_name_regex: str, qconfig: Any) -> QConfigMapping:
        """For modules whose name matches; of several that do, the one that was set first holds."""
        self.module_name_regex_qconfigs[module_name_regex] = qconfig
        return self

    def set_module_name(self, module_name: str, qconfig: Any) -> QConfigMapping:
        """For the module of that name, and what is in it."""
        self.module_name_qconfigs[module_name] = qconfig
        return self

    def set_module_name_object_type_order(
        self, module_name: str, object_type: Any, index: int, qconfig: Any
    ) -> QConfigMapping:
        """For the so-manieth of a type in the module of that name."""
        self.module_name_object_type_order_qconfigs[(module_name, object_type, index)] = qconfig
        return self

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for style in _STYLES:
            said = getattr(self, style)
            text += f"\n {style}"
            if isinstance(said, OrderedDict) and said:
                text += "".join(f"\n  {key}: {qconfig}" for key, qconfig in said.items())
            else:
                text += f"\n  {said}"
        return text + "\n)"

    def to_dict(self) -> dict[str, Any]:
        """The same as a dict of lists."""
        return {
            "": self.global_qconfig,
            "object_type": list(self.object_type_qconfigs.items()),
            "module_name_regex": list(self.module_name_regex_qconfigs.items()),
            "module_name": list(self.module_name_qconfigs.items()),
            "module_name_object_type_order": [(*k, v) for k, v in self.module_name_object_type_order_qconfigs.items()],
        }

    @classmethod
    def from_dict(cls, qconfig_dict: dict[str, Any]) -> QConfigMapping:
        """What `to_dict` gives, read back."""
        made = cls()
        if "" in qconfig_dict:
            made.set_global(qconfig_dict[""])
        for name in ("object_type", "module_name_regex", "module_name", "module_name_object_type_order"):
            for entry in qconfig_dict.get(name, []):
                getattr(made, f"set_{name}")(*entry)
        return made


def _get_default_qconfig_mapping(is_qat: bool, backend: str, version: int) -> QConfigMapping:
    qconfig = get_default_qat_qconfig(backend, version) if is_qat else get_default_qconfig(backend, version)
    weight = default_weight_fake_quant if is_qat else default_weight_observer
    transposed = QConfig(qconfig.activation, weight) if backend in ("fbgemm", "x86") else qconfig
    normalizing = QConfig(qconfig.activation, default_placeholder_observer)
    mapping = QConfigMapping().set_global(qconfig).set_object_type("reshape", default_reuse_input_qconfig)
    for where, kind in ((torch.nn, "ConvTranspose{}d"), (torch.nn.functional, "conv_transpose{}d")):
        for n in (1, 2, 3):
            mapping.set_object_type(getattr(where, kind.format(n)), transposed)
    mapping.set_object_type(torch.nn.functional.layer_norm, normalizing)
    mapping.set_object_type(torch.nn.LayerNorm, normalizing)
    mapping.set_object_type(torch.nn.PReLU, default_quint8_weight_qconfig)
    made: dict[Any, QConfig] = {}
    for kind, observer in _FIXED_QPARAMS_OP_TO_OBSERVER.items():
        if observer not in made:
            made[observer] = QConfig(
                FixedQParamsFakeQuantize.with_args(observer=observer) if is_qat else observer, weight
            )
        mapping.set_object_type(kind, made[observer])
    return mapping


def get_default_qconfig_mapping(backend: str = "x86", version: int = 0) -> QConfigMapping:
    """The usual mapping for an engine, for ranges that are found beforehand."""
    return _get_default_qconfig_mapping(False, backend, version)


def get_default_qat_qconfig_mapping(backend: str = "x86", version: int = 1) -> QConfigMapping:
    """The usual mapping for an engine, for training."""
    return _get_default_qconfig_mapping(True, backend, version)


def _with_default(mapping: QConfigMapping, qconfig: Any) -> QConfigMapping:
    mapping.set_global(qconfig)
    for kind in mapping.object_type_qconfigs:
        if kind not in _FIXED_QPARAMS_OP_TO_OBSERVER:
            mapping.set_object_type(kind, qconfig)
    return mapping


def _get_symmetric_qnnpack_qconfig_mapping() -> QConfigMapping:
    return _with_default(get_default_qconfig_mapping("qnnpack"), default_symmetric_qnnpack_qconfig)


def _get_symmetric_qnnpack_qat_qconfig_mapping() -> QConfigMapping:
    return _with_default(get_default_qat_qconfig_mapping("qnnpack"), default_symmetric_qnnpack_qat_qconfig)

"""How a layer is to be quantized: what makes the observers of its activations and of its weights."""

from __future__ import annotations

import copy
import warnings
from collections import namedtuple
from typing import Any

import flambeau as torch
from flambeau import nn
from flambeau.ao.quantization.fake_quantize import (
    FakeQuantize,
    FakeQuantizeBase,
    FusedMovingAvgObsFakeQuantize,
    default_dynamic_fake_quant,
    default_embedding_fake_quant,
    default_embedding_fake_quant_4bit,
    default_fake_quant,
    default_fused_act_fake_quant,
    default_fused_per_channel_wt_fake_quant,
    default_fused_wt_fake_quant,
    default_per_channel_weight_fake_quant,
    default_weight_fake_quant,
    fused_per_channel_wt_fake_quant_range_neg_127_to_127,
    fused_wt_fake_quant_range_neg_127_to_127,
)
from flambeau.ao.quantization.observer import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    NoopObserver,
    PerChannelMinMaxObserver,
    PlaceholderObserver,
    ReuseInputObserver,
    _PartialWrapper,
    default_debug_observer,
    default_dynamic_quant_observer,
    default_float_qparams_observer,
    default_float_qparams_observer_4bit,
    default_observer,
    default_per_channel_weight_observer,
    default_placeholder_observer,
    default_reuse_input_observer,
    default_weight_observer,
    per_channel_weight_observer_range_neg_127_to_127,
    weight_observer_range_neg_127_to_127,
)

__all__ = [
    "QConfig", "QConfigAny", "QConfigDynamic", "default_activation_only_qconfig", "default_debug_qconfig", "default_dynamic_qat_qconfig",
    "default_dynamic_qconfig", "default_embedding_qat_qconfig", "default_embedding_qat_qconfig_4bit", "default_per_channel_qconfig",
    "default_per_channel_symmetric_qnnpack_qat_qconfig", "default_per_channel_symmetric_qnnpack_qconfig", "default_qat_qconfig",
    "default_qat_qconfig_v2", "default_qconfig", "default_quint8_weight_qconfig", "default_reuse_input_qconfig",
    "default_symmetric_qnnpack_qat_qconfig", "default_symmetric_qnnpack_qconfig", "default_weight_only_qconfig", "float16_dynamic_qconfig",
    "float16_static_qconfig", "float_qparams_weight_only_qconfig", "float_qparams_weight_only_qconfig_4bit", "get_default_qat_qconfig",
    "get_default_qat_qconfig_dict", "get_default_qconfig", "get_default_qconfig_dict", "per_channel_dynamic_qconfig", "qconfig_equals",
]  # fmt: skip

_INSTANCE = (
    "{} received observer instance, please pass observer class instead. Use MyObserver.with_args(x=1) to override arguments to constructor "
    "if needed"
)


class QConfig(namedtuple("QConfig", ["activation", "weight"])):
    """What makes the observers (or fake quantizers) of a layer's activations and of its weights: classes, or `Class.with_args(...)`.

    >>> from flambeau.ao.quantization import MinMaxObserver, QConfig, default_weight_observer
    >>> config = QConfig(MinMaxObserver.with_args(reduce_range=False), default_weight_observer)
    """

    __slots__ = ()

    def __new__(cls, activation: Any, weight: Any) -> QConfig:
        if isinstance(activation, nn.Module) or isinstance(weight, nn.Module):
            raise ValueError(_INSTANCE.format("QConfig"))
        return super().__new__(cls, activation, weight)


class QConfigDynamic(namedtuple("QConfigDynamic", ["activation", "weight"])):
    """The same where activations are quantized when the model runs. `QConfig` says that too."""

    __slots__ = ()

    def __new__(cls, activation: Any = nn.Identity, weight: Any = nn.Identity) -> QConfigDynamic:
        warnings.warn(
            "`QConfigDynamic` is going to be deprecated in PyTorch 1.12, please use `QConfig` instead",
            FutureWarning,
            stacklevel=2,
        )
        if isinstance(weight, nn.Module):
            raise ValueError(_INSTANCE.format("QConfigDynamic"))
        return super().__new__(cls, activation, weight)


QConfigAny = QConfig | None

# ---------------------------------------------------------------- the usual ones

_half = PlaceholderObserver.with_args(dtype=torch.float16)
_signed = HistogramObserver.with_args(dtype=torch.qint8, reduce_range=False, eps=2**-12)
_signed_fake = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver,
    quant_min=-128,
    quant_max=127,
    dtype=torch.qint8,
    reduce_range=False,
    eps=2**-12,
)
_unchanged = NoopObserver.with_args(dtype=torch.float32)

default_qconfig = QConfig(default_observer, default_weight_observer)
default_debug_qconfig = QConfig(default_debug_observer, default_weight_observer)
default_per_channel_qconfig = QConfig(default_observer, default_per_channel_weight_observer)
default_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_weight_observer)
float16_dynamic_qconfig = QConfig(PlaceholderObserver.with_args(dtype=torch.float16, is_dynamic=True), _half)
float16_static_qconfig = QConfig(_half, _half)
per_channel_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_per_channel_weight_observer)
float_qparams_weight_only_qconfig = QConfig(default_placeholder_observer, default_float_qparams_observer)
float_qparams_weight_only_qconfig_4bit = QConfig(default_placeholder_observer, default_float_qparams_observer_4bit)
default_qat_qconfig = QConfig(default_fake_quant, default_weight_fake_quant)
default_dynamic_qat_qconfig = QConfig(default_dynamic_fake_quant, default_weight_fake_quant)
default_weight_only_qconfig = QConfig(nn.Identity, default_weight_fake_quant)
default_activation_only_qconfig = QConfig(default_fake_quant, nn.Identity)
default_qat_qconfig_v2 = QConfig(default_fused_act_fake_quant, default_fused_wt_fake_quant)
default_reuse_input_qconfig = QConfig(default_reuse_input_observer, NoopObserver)
default_symmetric_qnnpack_qconfig = QConfig(_signed, weight_observer_range_neg_127_to_127)
default_per_channel_symmetric_qnnpack_qconfig = QConfig(_signed, per_channel_weight_observer_range_neg_127_to_127)
default_embedding_qat_qconfig = QConfig(_unchanged, default_embedding_fake_quant)
default_embedding_qat_qconfig_4bit = QConfig(_unchanged, default_embedding_fake_quant_4bit)
default_quint8_weight_qconfig = QConfig(HistogramObserver, MinMaxObserver)
default_symmetric_qnnpack_qat_qconfig = QConfig(_signed_fake, fused_wt_fake_quant_range_neg_127_to_127)
default_per_channel_symmetric_qnnpack_qat_qconfig = QConfig(
    _signed_fake, fused_per_channel_wt_fake_quant_range_neg_127_to_127
)
_default_fp32_placeholder_qconfig = QConfig(
    PlaceholderObserver.with_args(dtype=torch.float32), PlaceholderObserver.with_args(dtype=torch.float32)
)
_default_quint8_placeholder_qconfig = QConfig(PlaceholderObserver.with_args(dtype=torch.quint8), None)

_BACKENDS = ["fbgemm", "x86", "qnnpack", "onednn"]


def _known(backend: str) -> None:
    if backend not in _BACKENDS:
        raise AssertionError(f"backend: {backend} not supported. backend must be one of {_BACKENDS}")


def get_default_qconfig(backend: str = "x86", version: int = 0) -> QConfig:
    """The usual configuration for an engine, for ranges that are found beforehand."""
    _known(backend)
    if version != 0:
        raise AssertionError(
            f"Version number: {version} in get_default_qconfig is not supported. Version number must be 0"
        )
    activation = HistogramObserver.with_args(reduce_range=backend in ("fbgemm", "x86"))
    return QConfig(activation, default_weight_observer if backend == "qnnpack" else default_per_channel_weight_observer)


def get_default_qat_qconfig(backend: str = "x86", version: int | None = 1) -> QConfig:
    """The usual configuration for an engine, for training."""
    _known(backend)
    if version not in (0, 1):
        raise AssertionError(
            f"Version number: {version}in get_default_qat_qconfig is not supported. Version number must be 0 or 1"
        )
    reduce = {} if backend == "onednn" else {"reduce_range": backend in ("fbgemm", "x86")}
    kind = FusedMovingAvgObsFakeQuantize if version else FakeQuantize
    activation = kind.with_args(observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, **reduce)
    one, each = (
        (default_fused_wt_fake_quant, default_fused_per_channel_wt_fake_quant)
        if version
        else (default_weight_fake_quant, default_per_channel_weight_fake_quant)
    )
    return QConfig(activation, one if backend == "qnnpack" else each)


def _as_dict(name: str, made: Any) -> dict[str, Any]:
    warnings.warn(
        f"`torch.ao.quantization.{name}_dict` is deprecated and will be removed in a future version. Please use "
        f"`torch.ao.quantization.{name}_mapping` instead.",
        FutureWarning,
        stacklevel=3,
    )
    return made.to_dict()


def get_default_qconfig_dict(backend: str = "x86", version: int = 0) -> dict[str, Any]:
    """`get_default_qconfig_mapping` as a dict."""
    from flambeau.ao.quantization.qconfig_mapping import get_default_qconfig_mapping

    return _as_dict("get_default_qconfig", get_default_qconfig_mapping(backend, version))


def get_default_qat_qconfig_dict(backend: str = "x86", version: int = 1) -> dict[str, Any]:
    """`get_default_qat_qconfig_mapping` as a dict."""
    from flambeau.ao.quantization.qconfig_mapping import get_default_qat_qconfig_mapping

    return _as_dict("get_default_qat_qconfig", get_default_qat_qconfig_mapping(backend, version))


# ---------------------------------------------------------------- what they say


def _assert_valid_qconfig(qconfig: Any, mod: Any) -> None:
    """Refuse a scale for each channel where a module's operator takes one."""
    if (
        qconfig is None
        or not isinstance(mod, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
        or qconfig.weight is None
    ):
        return
    if isinstance(qconfig.weight(), (PerChannelMinMaxObserver, MovingAveragePerChannelMinMaxObserver)):
        raise AssertionError("Per channel weight observer is not supported yet for ConvTranspose{n}d.")


def _add_module_to_qconfig_obs_ctr(qconfig: Any, module: Any) -> Any:
    """A configuration whose observers are made where the module is."""
    if module is None or qconfig is None or qconfig._fields != ("activation", "weight"):
        return qconfig

    def place() -> Any:
        devices = {p.device for p in module.parameters()} | {b.device for b in module.buffers()}
        device = next(iter(devices), None)
        return None if device is None else {"device": device}

    def placed(make: Any) -> Any:
        try:
            make.with_args(factory_kwargs=None)()
            return make.with_callable_args(factory_kwargs=place)
        except (AttributeError, TypeError):  # it takes no such argument
            return make

    return QConfig(placed(qconfig.activation), placed(qconfig.weight))


def _obs_or_fq_ctr_equals(a: Any, b: Any) -> bool:
    if isinstance(a, _PartialWrapper) and isinstance(b, _PartialWrapper):
        return _partial_wrapper_equals(a, b)
    return bool(a == b)


def _partial_wrapper_equals(a: _PartialWrapper, b: _PartialWrapper) -> bool:
    """Whether two constructors have the same arguments."""
    x, y = copy.copy(a.p.keywords), copy.copy(b.p.keywords)
    if "observer" in x and "observer" in y and not _obs_or_fq_ctr_equals(x.pop("observer"), y.pop("observer")):
        return False
    return bool(a.p.func == b.p.func and a.p.args == b.p.args and x == y)


def qconfig_equals(q1: Any, q2: Any) -> bool:
    """Whether two configurations make the same observers."""
    if q1 is None or q2 is None:
        return q1 is q2
    try:
        return _obs_or_fq_ctr_equals(q1.activation, q2.activation) and _obs_or_fq_ctr_equals(q1.weight, q2.weight)
    except AttributeError:
        return bool(q1 == q2)


def _activation_is_memoryless(qconfig: Any) -> bool:
    """Whether the observer of activations forgets all but the last."""
    made = qconfig.activation()
    if isinstance(made, FakeQuantizeBase) and hasattr(made, "activation_post_process"):
        made = made.activation_post_process
    return getattr(made, "averaging_constant", None) == 1


def _is_reuse_input_qconfig(qconfig: Any) -> bool:
    return (
        qconfig is not None
        and isinstance(qconfig.activation(), ReuseInputObserver)
        and isinstance(qconfig.weight(), NoopObserver)
    )

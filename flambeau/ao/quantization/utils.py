"""What the parts of quantization share: kinds of schemes and dtypes, ranges of codes, what a QConfig asks for."""

from __future__ import annotations

import warnings
from typing import Any

import flambeau as torch
from flambeau.ao.quantization.quant_type import QuantType
from flambeau.nn.utils.parametrize import is_parametrized

Pattern = Any
NodePattern = Any


class MatchAllNode:
    """Stands for any node in a pattern."""


def get_combined_dict(default_dict: dict[Any, Any], additional_dict: dict[Any, Any]) -> dict[Any, Any]:
    """Both, the second overriding the first."""
    return {**default_dict, **additional_dict}


def is_per_tensor(qscheme: Any) -> bool:
    """Whether a scheme has one scale."""
    return qscheme in (torch.per_tensor_affine, torch.per_tensor_symmetric)


def is_per_channel(qscheme: Any) -> bool:
    """Whether a scheme has a scale for each channel."""
    return qscheme in (torch.per_channel_affine, torch.per_channel_affine_float_qparams, torch.per_channel_symmetric)


def getattr_from_fqn(obj: Any, fqn: str) -> Any:
    """`obj.a.b.c`, of "a.b.c"."""
    for name in fqn.split("."):
        obj = getattr(obj, name)
    return obj


_UNDERLYING = {torch.quint8: torch.uint8, torch.qint8: torch.int8, torch.qint32: torch.int32, torch.quint4x2: torch.uint8,
               torch.quint2x4: torch.uint8, **{d: d for d in (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.int32,
                                                             torch.float8_e5m2, torch.float8_e4m3fn)}}  # fmt: skip


def to_underlying_dtype(qdtype: Any) -> Any:
    """The dtype of the codes of a quantized dtype."""
    if qdtype not in _UNDERLYING:
        raise AssertionError("Unsupported dtype: " + str(qdtype))
    return _UNDERLYING[qdtype]


def get_qparam_dict(observer_or_fake_quant: Any) -> dict[str, Any]:
    """How an observer would have a weight quantized: scheme, dtype, scale, zero point."""
    from flambeau.ao.quantization.observer import PlaceholderObserver

    qscheme = getattr(observer_or_fake_quant, "qscheme", None)
    out: dict[str, Any] = {"qscheme": qscheme, "dtype": observer_or_fake_quant.dtype}
    if not qscheme or isinstance(observer_or_fake_quant, PlaceholderObserver):
        return {"qscheme": None, "dtype": observer_or_fake_quant.dtype}
    if is_per_tensor(qscheme):
        out["qscheme"] = torch.per_tensor_affine
    elif is_per_channel(qscheme):
        if qscheme is torch.per_channel_symmetric:
            out["qscheme"] = torch.per_channel_affine
        out["axis"] = observer_or_fake_quant.ch_axis
    else:
        raise RuntimeError(f"Unrecognized qscheme: {qscheme}")
    out["scale"], out["zero_point"] = observer_or_fake_quant.calculate_qparams()
    if hasattr(observer_or_fake_quant, "quant_min"):
        out["quant_min"] = observer_or_fake_quant.quant_min
    if hasattr(observer_or_fake_quant, "quant_max"):
        out["quant_max"] = observer_or_fake_quant.quant_max
    return out


def get_swapped_custom_module_class(custom_module: Any, custom_module_class_mapping: Any, qconfig: Any) -> Any:
    """The class that takes the place of a module's, for how it is to be quantized."""
    by_class = custom_module_class_mapping.get(get_quant_type(qconfig), {})
    found = by_class.get(type(custom_module))
    if found is None:
        raise AssertionError(
            f"did not find corresponding observed module class for {type(custom_module)} in mapping: {by_class}"
        )
    return found


# ---------------------------------------------------------------- what a QConfig asks for


def activation_dtype(qconfig: Any) -> Any:
    """What activations are quantized to."""
    return qconfig.activation().dtype


def weight_dtype(qconfig: Any) -> Any:
    """What weights are quantized to."""
    return qconfig.weight().dtype


_STATIC = (torch.quint8, torch.qint8, torch.qint32, torch.float16, torch.uint8, torch.int8, torch.int16, torch.int32, torch.float8_e5m2,
           torch.float8_e4m3fn)  # fmt: skip


def _facts(qconfig: Any) -> tuple[Any, Any, bool]:
    activation = qconfig.activation()
    return activation.dtype, qconfig.weight().dtype, bool(getattr(activation, "is_dynamic", False))


def activation_is_statically_quantized(qconfig: Any) -> bool:
    """Whether the ranges of activations are to be known beforehand."""
    return activation_dtype(qconfig) in _STATIC and not activation_is_dynamically_quantized(qconfig)


def activation_is_dynamically_quantized(qconfig: Any) -> bool:
    """Whether the ranges of activations are to be found when the model runs."""
    return get_qconfig_dtypes(qconfig)[2]


def activation_is_int8_quantized(qconfig: Any) -> bool:
    """Whether activations are quantized to eight bits."""
    return activation_dtype(qconfig) in (torch.quint8, torch.qint8, torch.uint8, torch.int8)


def activation_is_int32_quantized(qconfig: Any) -> bool:
    """Whether activations are quantized to 32 bits."""
    return activation_dtype(qconfig) in (torch.qint32, torch.int32)


def weight_is_quantized(qconfig: Any) -> bool:
    """Whether weights are quantized at all."""
    return weight_dtype(qconfig) in (*_STATIC, torch.quint4x2)


def weight_is_statically_quantized(qconfig: Any) -> bool:
    """Whether weights are quantized to eight bits once and for all."""
    return weight_dtype(qconfig) in (torch.quint8, torch.qint8, torch.uint8, torch.int8)


def op_is_int8_dynamically_quantized(qconfig: Any) -> bool:
    """Whether activations become eight bits when the model runs, and weights beforehand."""
    activation, weight, dynamic = _facts(qconfig)
    return activation in (torch.quint8, torch.uint8) and weight in (torch.qint8, torch.int8) and dynamic


def get_qconfig_dtypes(qconfig: Any) -> tuple[Any, Any, Any]:
    """What activations and weights are quantized to, and whether the former is done when the model runs."""
    if qconfig is None:
        raise AssertionError("qconfig must be provided to extract dtypes")
    return _facts(qconfig)


def get_quant_type(qconfig: Any) -> QuantType:
    """When ranges are found."""
    if qconfig is None:
        raise AssertionError("qconfig must be provided to determine quant type")
    activation, weight = qconfig.activation(), qconfig.weight()
    codes = (torch.quint8, torch.qint8, torch.quint4x2, torch.qint32, torch.uint8, torch.int8, torch.int16, torch.int32, torch.float8_e5m2,
             torch.float8_e4m3fn)  # fmt: skip
    if weight.dtype in codes:
        if getattr(activation, "is_dynamic", False):
            return QuantType.DYNAMIC
        return QuantType.STATIC if activation.dtype in codes else QuantType.WEIGHT_ONLY
    if weight.dtype is torch.float16:
        if getattr(activation, "is_dynamic", False):
            return QuantType.DYNAMIC
        if activation.dtype is torch.float16:
            return QuantType.STATIC
    raise Exception(
        f"Unrecognized dtype combination in get_quant_type: activation({activation.dtype}),weight({weight.dtype})"
    )


# ---------------------------------------------------------------- ranges


def check_min_max_valid(min_val: Any, max_val: Any) -> bool:
    """Whether ends of ranges are ends of ranges: seen, and in order."""
    if not min_val.numel() or not max_val.numel():
        warnings.warn("must run observer before calling calculate_qparams. Returning default values.", stacklevel=2)
        return False
    if min_val.dim() == 0 or max_val.dim() == 0:
        if min_val == float("inf") and max_val == float("-inf"):
            warnings.warn("must run observer before calling calculate_qparams. Returning default values.", stacklevel=2)
            return False
        if min_val > max_val:
            raise AssertionError(f"min {min_val} should be less than max {max_val}")
    elif torch.any(min_val > max_val):
        raise AssertionError(f"min {min_val} should be less than max {max_val}")
    return True


_RANGES = {torch.qint8: (-128, 127), torch.int8: (-128, 127), torch.quint8: (0, 255), torch.uint8: (0, 255),
           torch.qint32: (-(2**31), 2**31 - 1), torch.int32: (-(2**31), 2**31 - 1), torch.int16: (-(2**15), 2**15 - 1),
           torch.uint16: (0, 2**16 - 1)}  # fmt: skip
_REDUCED = {torch.qint8: (-64, 63), torch.int8: (-64, 63), torch.quint8: (0, 127), torch.uint8: (0, 127)}


def calculate_qmin_qmax(
    quant_min: Any, quant_max: Any, has_customized_qrange: bool, dtype: Any, reduce_range: bool
) -> tuple[int, int]:
    """The codes to use: those that were asked for, or those of the dtype, without one bit where it is to be unused."""
    if not has_customized_qrange:
        if reduce_range and dtype in _REDUCED:
            return _REDUCED[dtype]
        return _RANGES.get(dtype, (0, 15))
    most = 256 if dtype in (torch.qint8, torch.int8) else 2**32 if dtype in (torch.qint32, torch.int32) else None
    if most is not None and not 0 < quant_max - quant_min + 1 <= most:
        raise AssertionError(f"quantization range should be positive and not exceed the maximum bit range (={most}).")
    return (quant_min // 2, quant_max // 2) if reduce_range else (quant_min, quant_max)


def validate_qmin_qmax(quant_min: int, quant_max: int) -> None:
    """Refuse codes that do not hold zero, or are in the wrong order."""
    if not quant_min <= 0 <= quant_max:
        raise AssertionError("Used-specified quantization range must include 0.")
    if quant_min >= quant_max:
        raise AssertionError("qmin must be strictly less than qmax for user-specified quantization range.")


def determine_qparams(min_val: Any, max_val: Any, quant_min: int, quant_max: int, dtype: Any, eps: Any, has_customized_qrange: bool,
                      qscheme: Any = torch.per_tensor_affine) -> tuple[Any, Any]:  # fmt: skip
    """Scales and zero points for ends of ranges, in double precision."""
    if not check_min_max_valid(min_val, max_val):
        return torch.tensor([1.0], device=min_val.device.type), torch.tensor([0], device=min_val.device.type)
    least, most = min_val.clamp(max=0), max_val.clamp(min=0)
    zeros = torch.zeros(least.shape, dtype=torch.int64, device=least.device)
    eps = eps.to(least.device)
    if qscheme in (torch.per_tensor_symmetric, torch.per_channel_symmetric):
        scale = torch.max(torch.max(-least, most) / (float(quant_max - quant_min) / 2), eps)
        if dtype in (torch.uint8, torch.quint8):
            zeros = zeros + ((quant_min + quant_max) // 2 if has_customized_qrange else 128)
    elif qscheme is torch.per_channel_affine_float_qparams:
        scale = (max_val - min_val) / float(quant_max - quant_min)
        scale = torch.where(scale > eps, scale, torch.ones_like(scale))
        zeros = -1 * min_val / scale
    else:
        scale = torch.max((most - least) / float(quant_max - quant_min), eps)
        zeros = (quant_min - torch.round(least / scale).to(torch.int)).clamp(quant_min, quant_max)
    return scale.to(torch.double).reshape(-1) if not scale.ndim else scale.to(torch.double), zeros.reshape(-1) if not zeros.ndim else zeros.to(torch.int64)  # fmt: skip


# ---------------------------------------------------------------- modules


def _parent_name(target: str) -> tuple[str, str]:
    """("a.b", "c") of "a.b.c"."""
    parent, _, name = target.rpartition(".")
    return parent, name


def has_no_children_ignoring_parametrizations(module: Any) -> bool:
    """Whether a module has no children but those that parametrizations put there."""
    if not module._modules:
        return True
    return is_parametrized(module) and len(module._modules) == 1 and "parametrizations" in module._modules


def get_fqn_to_example_inputs(model: Any, example_inputs: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    """What each module of a model is called with, by its name."""
    found: dict[str, tuple[Any, ...]] = {}
    handles = []
    for name, module in model.named_modules():
        if name:

            def note(_: Any, args: Any, kwargs: Any, name: str = name) -> None:
                found[name] = (*args, *kwargs.values())

            handles.append(module.register_forward_pre_hook(note, with_kwargs=True))
    try:
        model(*example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _assert_and_get_unique_device(module: Any) -> Any:
    devices = {p.device for p in module.parameters()} | {b.device for b in module.buffers()}
    if len(devices) > 1:
        raise AssertionError(f"prepare only works with cpu or single-device CUDA modules, but got devices {devices}")
    return next(iter(devices), None)

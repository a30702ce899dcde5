"""How weights are quantized as their observers say, and what modules with packed weights share."""

import abc
from collections.abc import Sequence

import flambeau
from flambeau import nn
from flambeau.nn.modules.module import _addindent

__all__ = ["WeightedQuantizedModule"]


class WeightedQuantizedModule(nn.Module, metaclass=abc.ABCMeta):
    """A quantized module that can be made from a reference module."""

    @classmethod
    @abc.abstractmethod
    def from_reference(cls, ref_module, output_scale, output_zero_point):
        raise NotImplementedError


_PER_TENSOR = (flambeau.per_tensor_symmetric, flambeau.per_tensor_affine)
_PER_CHANNEL = (flambeau.per_channel_symmetric, flambeau.per_channel_affine)


def _get_weight_observer(observer):
    """The observer itself, where it is within a fake quantization."""
    return getattr(observer, "activation_post_process", observer)


def _needs_weight_clamping(observer, dtype):
    observer = _get_weight_observer(observer)
    if dtype not in (flambeau.qint8, flambeau.quint8, flambeau.qint32):
        return False
    info = flambeau.iinfo(dtype)
    return observer.quant_min > info.min or observer.quant_max < info.max


def _clamp_weights(qweight, observer, scale, zp):
    """A weight whose codes lie within what the observer allows, which may be less than the dtype does."""
    if not _needs_weight_clamping(observer, qweight.dtype):
        return qweight
    observer = _get_weight_observer(observer)
    codes = qweight.int_repr().clamp(observer.quant_min, observer.quant_max)
    if observer.qscheme in _PER_TENSOR:
        return flambeau._make_per_tensor_quantized_tensor(codes, scale.item(), zp.item())
    return flambeau._make_per_channel_quantized_tensor(codes, scale, zp, axis=observer.ch_axis)


def _quantize_weight(float_wt, observer):
    """The weight in codes, by the observer's scheme, scales and zero points."""
    scale, zero_point = observer.calculate_qparams()
    scheme = observer.qscheme
    if scheme in _PER_TENSOR:
        qweight = flambeau.quantize_per_tensor(float_wt, float(scale), int(zero_point), flambeau.qint8)
    elif scheme in _PER_CHANNEL:
        qweight = flambeau.quantize_per_channel(
            float_wt, scale.to(flambeau.double), zero_point.to(flambeau.int64), observer.ch_axis, flambeau.qint8
        )
    elif scheme == flambeau.per_channel_affine_float_qparams:
        qweight = flambeau.quantize_per_channel(
            float_wt, scale.to(flambeau.float), zero_point.to(flambeau.float), observer.ch_axis, observer.dtype
        )
    else:
        raise ValueError(f"Unexpected qscheme {scheme}")
    return _clamp_weights(qweight, observer, scale, zero_point)


def _ntuple_from_first(n):
    """A function that makes a tuple of ``n`` equal numbers of the first it is given, unless given ``n`` of them."""

    def parse(x):
        while isinstance(x, Sequence) and len(x) != n:
            x = x[0]
        return (x,) * n

    return parse


_pair_from_first = _ntuple_from_first(2)


def _hide_packed_params_repr(self, params):
    """A module as it prints, without its children of the type ``params``."""
    extra = self.extra_repr()
    lines = extra.split("\n") if extra else []
    children = [
        f"({key}): {_addindent(repr(module), 2)}"
        for key, module in self._modules.items()
        if not isinstance(module, params)
    ]
    if len(lines) == 1 and not children:
        return f"{self._get_name()}({lines[0]})"
    inside = "\n  ".join(lines + children)
    return f"{self._get_name()}(\n  {inside}\n)" if inside else f"{self._get_name()}()"

"""Observers: modules that pass on what they are given, and remember enough of it to choose a scale and a zero point."""

from __future__ import annotations

import struct
import warnings
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from functools import partial
from typing import Any

import flambeau as torch
from flambeau import nn
from flambeau.ao.quantization.granularity import (
    AffineQuantizedObserverBase,
    Granularity,
    MappingType,
    PerAxis,
    PerBlock,
    PerGroup,
    PerRow,
    PerTensor,
    PerToken,
    TorchAODType,
    ZeroPointDomain,
    get_block_size,
)
from flambeau.ao.quantization.partial import _PartialWrapper, _with_args, _with_callable_args
from flambeau.ao.quantization.utils import (
    calculate_qmin_qmax,
    check_min_max_valid,
    is_per_channel,
    is_per_tensor,
    validate_qmin_qmax,
)

__all__ = [
    "AffineQuantizedObserverBase", "FixedQParamsObserver", "Granularity", "HistogramObserver", "MappingType", "MinMaxObserver",
    "MovingAverageMinMaxObserver", "MovingAveragePerChannelMinMaxObserver", "NoopObserver", "ObserverBase", "PerAxis", "PerBlock",
    "PerChannelMinMaxObserver", "PerGroup", "PerRow", "PerTensor", "PerToken", "PlaceholderObserver", "RecordingObserver", "ReuseInputObserver",
    "TorchAODType", "UniformQuantizationObserverBase", "ZeroPointDomain", "default_affine_fixed_qparams_observer", "default_debug_observer",
    "default_dynamic_quant_observer", "default_fixed_qparams_range_0to1_observer", "default_fixed_qparams_range_neg1to1_observer",
    "default_float_qparams_observer", "default_float_qparams_observer_4bit", "default_histogram_observer", "default_observer",
    "default_per_channel_weight_observer", "default_placeholder_observer", "default_reuse_input_observer",
    "default_symmetric_fixed_qparams_observer", "default_weight_observer", "get_block_size", "get_observer_state_dict",
    "load_observer_state_dict", "per_channel_weight_observer_range_neg_127_to_127", "weight_observer_range_neg_127_to_127",
]  # fmt: skip

_EPS = torch.finfo(torch.float32).eps
_SYMMETRIC = (torch.per_tensor_symmetric, torch.per_channel_symmetric)
_DTYPES = (torch.qint8, torch.quint8, torch.quint4x2, torch.qint32, torch.int8, torch.uint8, torch.int16, torch.int32, torch.float8_e5m2,
           torch.float8_e4m3fn, torch.uint16)  # fmt: skip


class ObserverBase(ABC, nn.Module):
    """What all observers are: `forward` watches, `calculate_qparams` says what follows from what was seen.

    Arguments:
        dtype: what is to be quantized to.
        is_dynamic: whether the range of each input is to be found anew when the quantized model runs.
    """

    def __init__(self, dtype: Any, is_dynamic: bool = False) -> None:
        super().__init__()
        self.dtype, self.is_dynamic = dtype, is_dynamic

    @abstractmethod
    def forward(self, x: Any) -> Any:
        """Watch x, and give it back."""

    @abstractmethod
    def calculate_qparams(self, **kwargs: Any) -> Any:
        """Scale and zero point."""

    with_args = classmethod(_with_args)
    with_callable_args = classmethod(_with_callable_args)


class UniformQuantizationObserverBase(ObserverBase):
    """Observers of ranges: a range is covered by equally spaced codes.

    Arguments:
        dtype: what is to be quantized to.
        qscheme: one scale or one per channel, symmetric about zero or not.
        reduce_range: leave one bit unused.
        quant_min, quant_max: the codes to use; by default all that the dtype has.
        eps: the least scale.
    """

    _version = 3
    eps: Any

    def __init__(self, dtype: Any = torch.quint8, qscheme: Any = torch.per_tensor_affine, reduce_range: bool = False, quant_min: Any = None,
                 quant_max: Any = None, factory_kwargs: Any = None, eps: float = _EPS, is_dynamic: bool = False, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(dtype=dtype, is_dynamic=is_dynamic, **kwargs)
        self.qscheme = qscheme
        if reduce_range:
            warnings.warn(
                "Please use quant_min and quant_max to specify the range for observers.                     reduce_range will be deprecated "
                "in a future release of PyTorch.",
                stacklevel=2,
            )
        self.reduce_range = reduce_range
        self._place = dict(factory_kwargs or {})
        self.register_buffer("eps", torch.tensor([eps], **self._place))
        if qscheme not in (
            *_SYMMETRIC,
            torch.per_tensor_affine,
            torch.per_channel_affine,
            torch.per_channel_affine_float_qparams,
        ):
            raise AssertionError(
                "Default Observer only works for per_tensor_affine, per_tensor_symmetric, per_channel_affine, per_channel_symmetric and "
                "per_channel_float_qparams quantization scheme"
            )
        if dtype not in _DTYPES:
            raise AssertionError(f"Default Observer only works for {_DTYPES} data type")
        self.has_customized_qrange = quant_min is not None and quant_max is not None
        if self.has_customized_qrange:
            validate_qmin_qmax(quant_min, quant_max)
        self.quant_min, self.quant_max = calculate_qmin_qmax(
            quant_min, quant_max, self.has_customized_qrange, dtype, reduce_range
        )

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        if local_metadata.get("version", None) in (None, 1):  # before eps was kept
            state_dict[prefix + "eps"] = torch.tensor([_EPS])
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _validate_qmin_qmax(self, quant_min: int, quant_max: int) -> None:
        validate_qmin_qmax(quant_min, quant_max)

    def _calculate_qparams(self, min_val: Any, max_val: Any) -> tuple[Any, Any]:
        """Scales and zero points for ends of ranges."""
        where = min_val.device.type
        if not check_min_max_valid(min_val, max_val):
            return torch.tensor([1.0], device=where), torch.tensor([0], device=where)
        low, high = self.quant_min, self.quant_max
        least, most = min_val.clamp(max=0), max_val.clamp(min=0)
        zeros = torch.zeros(least.shape, dtype=torch.int64, device=where)
        if self.qscheme in _SYMMETRIC:
            scale = torch.max(torch.max(-least, most) / (float(high - low) / 2), self.eps)
            if self.dtype in (torch.quint8, torch.uint8):
                zeros = zeros + ((low + high) // 2 if self.has_customized_qrange else 128)
            elif self.dtype is torch.uint16:
                zeros = zeros + 2**15
        elif self.qscheme is torch.per_channel_affine_float_qparams:
            scale = (max_val - min_val) / float(high - low)
            scale = torch.where(scale > self.eps, scale, torch.ones_like(scale))
            zeros = -1 * min_val / scale
        else:
            scale = torch.max((most - least) / float(high - low), self.eps)
            zeros = (low - torch.round(least / scale).to(torch.int)).clamp(low, high)
        return scale.reshape(-1) if not scale.ndim else scale, zeros.reshape(-1) if not zeros.ndim else zeros

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        raise NotImplementedError("Cannot reset min/max values in the given observer.")

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" if hasattr(self, "min_val") else ""


_ObserverBase = UniformQuantizationObserverBase


class MinMaxObserver(UniformQuantizationObserverBase):
    """The range of all that has come by.

    >>> import flambeau as torch
    >>> observer = torch.ao.quantization.MinMaxObserver()
    >>> _ = observer(torch.tensor([-1.0, 0.5, 4.1]))
    >>> observer.calculate_qparams()
    (tensor([0.0200]), tensor([50], dtype=torch.int32))
    """

    min_val: Any
    max_val: Any

    def __init__(self, dtype: Any = torch.quint8, qscheme: Any = torch.per_tensor_affine, reduce_range: bool = False, quant_min: Any = None,
                 quant_max: Any = None, factory_kwargs: Any = None, eps: float = _EPS, is_dynamic: bool = False, **kwargs: Any) -> None:  # fmt: skip
        if not is_per_tensor(qscheme):
            raise NotImplementedError(
                "MinMaxObserver's qscheme only support torch.per_tensor_symmetric                     and torch.per_tensor_affine."
            )
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **kwargs)
        self.register_buffer("min_val", torch.tensor(float("inf"), **self._place))
        self.register_buffer("max_val", torch.tensor(float("-inf"), **self._place))
        if qscheme is torch.per_tensor_symmetric and reduce_range and dtype is torch.quint8:
            raise NotImplementedError(
                "Cannot reduce range for symmetric                                        quantization for quint8"
            )

    def forward(self, x_orig: Any) -> Any:
        if x_orig.numel():
            low, high = torch.aminmax(x_orig.detach().to(self.min_val.dtype))
            self._see(low, high)
        return x_orig

    def _see(self, low: Any, high: Any) -> None:
        self.min_val.copy_(torch.min(low, self.min_val))
        self.max_val.copy_(torch.max(high, self.max_val))

    def calculate_qparams(self) -> Any:
        return self._calculate_qparams(self.min_val, self.max_val)

    def reset_min_max_vals(self) -> None:
        self.min_val.fill_(float("inf"))
        self.max_val.fill_(float("-inf"))


class MovingAverageMinMaxObserver(MinMaxObserver):
    """The moving average of the ranges of what comes by."""

    def __init__(self, averaging_constant: float = 0.01, dtype: Any = torch.quint8, qscheme: Any = torch.per_tensor_affine,
                 reduce_range: bool = False, quant_min: Any = None, quant_max: Any = None, eps: float = _EPS, is_dynamic: bool = False,
                 **kwargs: Any) -> None:  # fmt: skip
        if not is_per_tensor(qscheme):
            raise NotImplementedError(
                "MovingAverageMinMaxObserver's qscheme only support                 torch.per_tensor_symmetric and torch.per_tensor_affine."
                f"                 but got: {qscheme}"
            )
        if is_dynamic and averaging_constant != 1:
            raise NotImplementedError(
                f"MovingAverageMinMaxObserver doesn't support dynamic quantization for averaging constant of {averaging_constant}"
            )
        super().__init__(dtype=dtype, qscheme=qscheme, reduce_range=reduce_range, quant_min=quant_min, quant_max=quant_max, eps=eps,
                         is_dynamic=is_dynamic, **kwargs)  # fmt: skip
        self.averaging_constant = averaging_constant

    def _see(self, low: Any, high: Any) -> None:
        if self.min_val == float("inf") and self.max_val == float("-inf"):
            self.min_val.copy_(low)
            self.max_val.copy_(high)
            return
        self.min_val.copy_(self.min_val + self.averaging_constant * (low - self.min_val))
        self.max_val.copy_(self.max_val + self.averaging_constant * (high - self.max_val))


class PerChannelMinMaxObserver(UniformQuantizationObserverBase):
    """The range of each channel of all that has come by."""

    min_val: Any
    max_val: Any

    def __init__(self, ch_axis: int = 0, dtype: Any = torch.quint8, qscheme: Any = torch.per_channel_affine, reduce_range: bool = False,
                 quant_min: Any = None, quant_max: Any = None, factory_kwargs: Any = None, eps: float = _EPS, is_dynamic: bool = False,
                 **kwargs: Any) -> None:  # fmt: skip
        name = type(self).__name__
        if not is_per_channel(qscheme):
            raise NotImplementedError(
                f"{name}'s qscheme only support                     torch.per_channel_symmetric, torch.per_channel_affine and "
                "torch.per_channel_affine_float_qparams."
            )
        if is_dynamic:
            raise NotImplementedError(f"{name} doesn't support dynamic quantization")
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **kwargs)
        self.ch_axis = ch_axis
        self.register_buffer("min_val", torch.tensor([], **self._place))
        self.register_buffer("max_val", torch.tensor([], **self._place))
        if qscheme is torch.per_channel_symmetric and reduce_range and dtype is torch.quint8:
            raise NotImplementedError("Cannot reduce range for symmetric quantization for quint8")

    def forward(self, x_orig: Any) -> Any:
        if x_orig.numel():
            rows = x_orig.detach().to(self.min_val.dtype).transpose(0, self.ch_axis).flatten(1)
            low, high = torch.aminmax(rows, dim=1)
            if self.min_val.numel() and self.max_val.numel():
                low, high = self._met(low, high)
            for held, new in ((self.min_val, low), (self.max_val, high)):
                held.resize_(new.shape)
                held.copy_(new)
        return x_orig

    def _met(self, low: Any, high: Any) -> tuple[Any, Any]:
        return torch.min(low, self.min_val), torch.max(high, self.max_val)

    def calculate_qparams(self) -> Any:
        return self._calculate_qparams(self.min_val, self.max_val)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str],
                              unexpected_keys: list[str], error_msgs: list[str]) -> None:  # fmt: skip
        version = local_metadata.get("version")
        plural = "s" if version is not None and version < 3 else ""  # what the buffers were called before
        for name, held in ((f"min_val{plural}", self.min_val), (f"max_val{plural}", self.max_val)):
            if prefix + name in state_dict:
                held.resize_(state_dict[prefix + name].shape)
            elif strict:
                missing_keys.append(prefix + name)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, False, missing_keys, unexpected_keys, error_msgs
        )

    def reset_min_max_vals(self) -> None:
        self.min_val, self.max_val = torch.empty(0), torch.empty(0)


class MovingAveragePerChannelMinMaxObserver(PerChannelMinMaxObserver):
    """The moving average of the ranges of each channel of what comes by."""

    def __init__(self, averaging_constant: float = 0.01, ch_axis: int = 0, dtype: Any = torch.quint8, qscheme: Any = torch.per_channel_affine,
                 reduce_range: bool = False, quant_min: Any = None, quant_max: Any = None, eps: float = _EPS, is_dynamic: bool = False,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(ch_axis=ch_axis, dtype=dtype, qscheme=qscheme, reduce_range=reduce_range, quant_min=quant_min, quant_max=quant_max,
                         eps=eps, is_dynamic=is_dynamic, **kwargs)  # fmt: skip
        self.averaging_constant = averaging_constant

    def _met(self, low: Any, high: Any) -> tuple[Any, Any]:
        c = self.averaging_constant
        return self.min_val + c * (low - self.min_val), self.max_val + c * (high - self.max_val)


def _single(x: float) -> float:
    return struct.unpack("f", struct.pack("f", x))[0]


class HistogramObserver(UniformQuantizationObserverBase):
    """The histogram of all that has come by. The range is the one that loses least: ends of it may be given up."""

    histogram: Any
    min_val: Any
    max_val: Any

    def __init__(self, bins: int = 2048, dtype: Any = torch.quint8, qscheme: Any = torch.per_tensor_affine, reduce_range: bool = False,
                 quant_min: Any = None, quant_max: Any = None, factory_kwargs: Any = None, eps: float = _EPS, is_dynamic: bool = False,
                 **kwargs: Any) -> None:  # fmt: skip
        if not is_per_tensor(qscheme):
            raise NotImplementedError(
                "HistogramObserver's qscheme only support torch.per_tensor_symmetric                     and torch.per_tensor_affine."
            )
        if is_dynamic:
            raise NotImplementedError("HistogramObserver doesn't support dynamic quantization")
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **kwargs)
        self.bins = bins
        self.register_buffer("histogram", torch.zeros(bins, **self._place))
        self.register_buffer("min_val", torch.tensor(float("inf"), **self._place))
        self.register_buffer("max_val", torch.tensor(float("-inf"), **self._place))
        self.dst_nbins = 2 ** torch.iinfo(dtype).bits
        self.upsample_rate = 16

    # ---- what is lost by a range ----

    @staticmethod
    def _get_norm(begin: Any, end: Any, density: Any) -> Any:
        """The integral of x**2 from begin to end, times a density."""
        return density * ((end * end * end - begin * begin * begin) / 3)

    def _compute_quantization_error(self, next_start_bin: int, next_end_bin: int) -> float:
        """How much is lost, in squares, where the range is that of these bins."""
        width = (self.max_val.item() - self.min_val.item()) / self.bins
        step = width * (next_end_bin - next_start_bin + 1) / self.dst_nbins
        if step == 0.0:
            return 0.0
        begin = (torch.arange(self.bins, device=self.histogram.device) - next_start_bin) * width
        end = begin + width
        first, last = ((x / step).floor().clamp(0, self.dst_nbins - 1) for x in (begin, end))
        density = self.histogram / width
        half = torch.tensor(step / 2)
        norm = self._get_norm(begin - (first + 0.5) * step, half, density)
        norm = norm + (last - first - 1) * self._get_norm(-half, half, density)
        norm = norm + self._get_norm(-half, end - (last * step + step / 2), density)
        return float(norm.sum().item())

    def _non_linear_param_search(self) -> tuple[Any, Any]:
        """The ends of the best range: they move inwards, where less is cut off, for as long as that helps."""
        if self.histogram.shape[0] != self.bins:
            raise AssertionError("bins mismatch")
        width = (self.max_val - self.min_val) / self.bins
        total = self.histogram.sum().item()
        below = self.histogram.cumsum(0).tolist()
        step, alpha, beta = 1e-5, 0.0, 1.0
        start, end, least = 0, self.bins - 1, float("inf")
        while alpha < beta:
            next_alpha, next_beta = alpha + step, beta - step
            left = bisect_left(below, _single(next_alpha * total), start, end)
            right = max(bisect_right(below, _single(next_beta * total), start, end + 1) - 1, start)
            moved = (start, end)
            if left - start > end - right:
                moved, alpha = (left, end), next_alpha
            else:
                moved, beta = (start, right), next_beta
            if moved == (start, end):
                continue
            norm = self._compute_quantization_error(*moved)
            if norm > least:
                break
            least, (start, end) = norm, moved
        return self.min_val + width * start, self.min_val + width * (end + 1)

    # ---- histograms over other ranges ----

    def _upscale_histogram(self, histogram: Any, orig_min: Any, orig_max: Any, update_min: Any, update_max: Any) -> Any:
        """A histogram over a wider range: each bin is cut in slices, and each slice goes to where its middle lies."""
        n = self.bins * self.upsample_rate
        slices = histogram.repeat_interleave(self.upsample_rate) / self.upsample_rate
        middles = torch.linspace(orig_min, orig_max, n + 1, device=orig_min.device)[:-1].to(histogram.device) + 0.5 * (
            (orig_max - orig_min) / n
        )
        edges = torch.linspace(update_min, update_max, self.bins + 1, device=update_min.device).to(histogram.device)
        at = (torch.bucketize(middles, edges, right=True) - 1).clamp(0, self.bins - 1)
        return torch.bincount(at, weights=slices, minlength=self.bins)

    def _combine_histograms(
        self, orig_hist: Any, orig_min: Any, orig_max: Any, update_hist: Any, update_min: Any, update_max: Any
    ) -> Any:
        """The sum of a histogram and one over a range that holds its own."""
        if update_min == orig_min and update_max == orig_max:
            return orig_hist + update_hist
        if orig_min == orig_max:  # one value
            return (
                torch.histc(orig_min, self.bins, min=update_min.item(), max=update_max.item()) * orig_hist.sum()
                + update_hist
            )
        if update_min > orig_min:
            raise AssertionError("update_min must be <= orig_min")
        if update_max < orig_max:
            raise AssertionError("update_max must be >= orig_max")
        return update_hist + self._upscale_histogram(orig_hist, orig_min, orig_max, update_min, update_max)

    def _hold(self, **values: Any) -> None:
        for name, value in values.items():
            held = getattr(self, name).detach_()
            held.resize_(value.shape)
            held.copy_(value)

    def reset_histogram(self, x: Any, min_val: Any, max_val: Any) -> None:
        """Begin anew, with the histogram of x over a range."""
        if min_val.numel() != 1 or max_val.numel() != 1:
            raise AssertionError("histogram min/max values must be scalar.")
        self._hold(
            min_val=min_val,
            max_val=max_val,
            histogram=torch.histc(x, self.bins, min=min_val.item(), max=max_val.item()),
        )

    def forward(self, x_orig: Any) -> Any:
        if not x_orig.numel():
            return x_orig
        x = x_orig.detach()
        low, high = torch.aminmax(x)
        if low == -torch.inf or high == torch.inf:
            warnings.warn("torch.inf detected in input tensor, ignoring input", stacklevel=2)
            x = x[x.abs() != torch.inf]
            if not x.numel():
                return x_orig
            low, high = torch.aminmax(x)
        if self.min_val == float("inf") or self.max_val == float("-inf"):
            self.reset_histogram(x, low, high)
            return x_orig
        low, high = torch.min(self.min_val, low).detach(), torch.max(self.max_val, high).detach()
        new = torch.histc(x, self.bins, min=low.item(), max=high.item()).to(self.histogram.device)
        both = self._combine_histograms(self.histogram, self.min_val, self.max_val, new, low, high)
        self._hold(histogram=both, min_val=low, max_val=high)
        return x_orig

    def calculate_qparams(self) -> Any:
        if self.min_val == float("inf") and self.max_val == float("-inf"):
            warnings.warn(
                "must run observer before calling calculate_qparams.                                    Returning default scale and zero point ",
                stacklevel=2,
            )
            where = self.min_val.device.type
            return torch.tensor([1.0], device=where), torch.tensor([0], device=where)
        if self.bins != len(self.histogram):
            raise AssertionError(
                "The number of bins in histogram should be equal to the number of bins supplied while making this observer"
            )
        return self._calculate_qparams(*self._non_linear_param_search())

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool, missing_keys: list[str], *args: Any
    ) -> None:
        version = local_metadata.get("version", None)
        for name, unseen in (("min_val", "inf"), ("max_val", "-inf")):
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            if (version is None or version < 3) and tuple(state_dict[key].shape) == (0,):
                state_dict[key] = torch.tensor(float(unseen))
            setattr(self, name, state_dict[key])
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *args)


class FixedQParamsObserver(ObserverBase):
    """A scale and a zero point that are known beforehand."""

    scale: Any
    zero_point: Any

    def __init__(self, scale: float, zero_point: int, dtype: Any = torch.quint8, qscheme: Any = torch.per_tensor_affine, quant_min: int = 0,
                 quant_max: int = 255, is_dynamic: bool = False, **kwargs: Any) -> None:  # fmt: skip
        if is_dynamic:
            raise NotImplementedError("FixedQParamsObserver doesn't support dynamic quantization")
        super().__init__(dtype=dtype, is_dynamic=is_dynamic, **kwargs)
        self.quant_min, self.quant_max, self.qscheme = quant_min, quant_max, qscheme
        self.register_buffer("scale", torch.tensor([scale], dtype=torch.float))
        self.register_buffer("zero_point", torch.tensor([zero_point], dtype=torch.int))

    def forward(self, X: Any) -> Any:
        return X

    def calculate_qparams(self) -> Any:
        return self.scale, self.zero_point


class _Unseeing(ObserverBase):
    """Observers that see nothing."""

    def forward(self, x: Any) -> Any:
        return x

    def calculate_qparams(self) -> Any:
        raise Exception(f"calculate_qparams should not be called for {type(self).__name__}")


class PlaceholderObserver(_Unseeing):
    """Says what to quantize to, where no range is needed: float16, or ranges found when the model runs."""

    def __init__(self, dtype: Any = torch.float32, custom_op_name: str = "", compute_dtype: Any = None, quant_min: Any = None,
                 quant_max: Any = None, qscheme: Any = None, eps: Any = None, is_dynamic: bool = False) -> None:  # fmt: skip
        super().__init__(dtype=dtype, is_dynamic=is_dynamic)
        self.qscheme = torch.per_tensor_affine if qscheme is None else qscheme
        self.quant_min, self.quant_max = quant_min, quant_max
        self.eps = _EPS if eps is None else eps
        self.custom_op = custom_op_name
        if compute_dtype:
            warnings.warn(
                "Please use `is_dynamic` instead of `compute_dtype`.                     `compute_dtype` will be deprecated in a future release"
                "                     of PyTorch.",
                stacklevel=2,
            )

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, is_dynamic={self.is_dynamic}"


class RecordingObserver(_Unseeing):
    """Keeps all that comes by, to look at."""

    def __init__(self, dtype: Any = torch.quint8) -> None:
        super().__init__(dtype=dtype, is_dynamic=False)
        self.tensor_val: list[Any] = []

    def forward(self, x: Any) -> Any:
        self.tensor_val.append(x.clone())
        return x

    def get_tensor_value(self) -> list[Any]:
        return self.tensor_val


class NoopObserver(_Unseeing):
    """Says what to quantize to, and nothing else."""

    def __init__(self, dtype: Any = torch.float16, custom_op_name: str = "") -> None:
        super().__init__(dtype=dtype, is_dynamic=False)
        self.custom_op = custom_op_name


class ReuseInputObserver(_Unseeing):
    """Says of an operation that only moves elements (`reshape`) that its result is quantized as its input is."""

    def __init__(self) -> None:
        super().__init__(torch.quint8, is_dynamic=False)


# ---------------------------------------------------------------- among the modules of a model


def _is_activation_post_process(module: Any) -> bool:
    from flambeau.ao.quantization.fake_quantize import FakeQuantizeBase

    return isinstance(module, (ObserverBase, FakeQuantizeBase, AffineQuantizedObserverBase))


def get_observer_state_dict(mod: Any) -> Any:
    """The part of a model's state dict that its observers hold."""
    state = mod.state_dict()
    found = OrderedDict((name, value) for name, value in state.items() if "activation_post_process" in name)
    found._metadata = state._metadata  # type: ignore[attr-defined]
    return found


def load_observer_state_dict(mod: Any, obs_dict: Any) -> None:
    """Give the observers of a model what those of another held."""
    missing: list[str] = []
    unexpected: list[str] = []
    for name, module in mod.named_modules():
        if _is_activation_post_process(module):
            module._load_from_state_dict(obs_dict, name + ".", {}, False, missing, unexpected, [])
    for what, keys in (("Missing", missing), ("Unexpected", unexpected)):
        for key in keys:
            if "observer" in key or "activation_post_process" in key:
                raise Exception(f"{what} keys for observer {key} in state_dict")


# ---------------------------------------------------------------- the usual ones

_WEIGHT = {"dtype": torch.qint8, "qscheme": torch.per_tensor_symmetric}
_CHANNELS = {"dtype": torch.qint8, "qscheme": torch.per_channel_symmetric}
_NARROW = {"quant_min": -127, "quant_max": 127, "eps": 2**-12}

default_observer = MinMaxObserver.with_args(quant_min=0, quant_max=127)
default_placeholder_observer = PlaceholderObserver
default_debug_observer = RecordingObserver
default_weight_observer = MinMaxObserver.with_args(**_WEIGHT)
weight_observer_range_neg_127_to_127 = MinMaxObserver.with_args(**_WEIGHT, **_NARROW)
default_histogram_observer = HistogramObserver.with_args(quant_min=0, quant_max=127)
default_per_channel_weight_observer = PerChannelMinMaxObserver.with_args(**_CHANNELS)
per_channel_weight_observer_range_neg_127_to_127 = PerChannelMinMaxObserver.with_args(**_CHANNELS, **_NARROW)
default_dynamic_quant_observer = PlaceholderObserver.with_args(
    dtype=torch.quint8, quant_min=0, quant_max=255, is_dynamic=True
)
default_float_qparams_observer = PerChannelMinMaxObserver.with_args(
    dtype=torch.quint8, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0
)
default_float_qparams_observer_4bit = PerChannelMinMaxObserver.with_args(
    dtype=torch.quint4x2, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0
)
default_fixed_qparams_range_neg1to1_observer = FixedQParamsObserver.with_args(
    scale=2.0 / 256.0, zero_point=128, dtype=torch.quint8, quant_min=0, quant_max=255
)
default_fixed_qparams_range_0to1_observer = FixedQParamsObserver.with_args(
    scale=1.0 / 256.0, zero_point=0, dtype=torch.quint8, quant_min=0, quant_max=255
)
default_symmetric_fixed_qparams_observer = default_fixed_qparams_range_neg1to1_observer
default_affine_fixed_qparams_observer = default_fixed_qparams_range_0to1_observer
default_reuse_input_observer = ReuseInputObserver
_REEXPORTED = (_PartialWrapper, partial)

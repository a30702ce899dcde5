"""Convolutions whose weights are packed codes."""

import flambeau
import flambeau.nn.functional as F
from flambeau import nn, ops
from flambeau.ao.nn import _arguments, intrinsic
from flambeau.ao.nn.intrinsic import qat
from flambeau.nn.modules.utils import _ntuple
from flambeau.nn.utils import fuse_conv_bn_weights

from .utils import WeightedQuantizedModule, _quantize_weight

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

_SUPPORTED_PADDING = {"zeros", "reflect"}

_SHAPES = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}

_STATE = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "transposed",
    "output_padding",
    "groups",
    "padding_mode",
)


def _reverse_repeat_padding(padding):
    """Padding as ``F.pad`` wants it: from the last dimension, twice each."""
    return [p for p in reversed(padding) for _ in range(2)]


class _ConvNd(WeightedQuantizedModule):
    """What all of them share. The result has ``scale`` and ``zero_point``; a state dict holds the weight unpacked."""

    _stem = "conv"  # of the names of operators
    _arguments = staticmethod(_arguments.of_conv)
    _NNIQAT_CONV_BN_MODULE = None
    _NNI_CONV_RELU_MODULE = None
    _NNI_CONV_ADD_MODULE = None
    _NNI_CONV_ADD_RELU_MODULE = None

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        if self._dims == 3 and padding_mode == "reflect":
            raise AssertionError("Conv3d does not support reflection padding")
        self._init(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            False,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _init(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        transposed,
        output_padding,
        groups,
        bias,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        super().__init__()
        if out_channels <= 0:
            raise ValueError(f"out_channels must be greater than 0, got {out_channels}")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        each = _ntuple(self._dims)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = each(kernel_size)
        self.stride = each(stride)
        self.padding = padding if isinstance(padding, str) else each(padding)
        self.dilation = each(dilation)
        self.transposed = transposed
        self.output_padding = each(output_padding)
        self.groups = groups
        if padding_mode not in _SUPPORTED_PADDING:
            raise ValueError(f"'padding_mode' {padding_mode} is not supported by quantized convolution")
        self.padding_mode = padding_mode
        channels = [in_channels, out_channels // groups] if transposed else [out_channels, in_channels // groups]
        weight = flambeau._empty_affine_quantized(
            channels + list(self.kernel_size), scale=1, zero_point=0, dtype=flambeau.qint8, device=device
        )
        self.set_weight_bias(
            weight, flambeau.zeros(out_channels, dtype=flambeau.float, device=device) if bias else None
        )
        self.scale = 1.0
        self.zero_point = 0

    def _get_name(self):
        return f"QuantizedConv{self._dims}d"

    def _operator(self, suffix=""):
        """An operator of these dimensions."""
        return getattr(ops.quantized, f"{self._stem}{self._dims}d{suffix}")

    def set_weight_bias(self, w, b):
        """Packs a weight of codes and a bias."""
        padding = self.padding if self.padding_mode == "zeros" else _ntuple(self._dims)(0)
        self._packed_params = self._operator("_prepack")(w, b, self.stride, padding, self.dilation, self.groups)

    def _weight_bias(self):
        if self._dims == 1:
            return ops.quantized.conv1d_unpack(self._packed_params)
        return self._packed_params.unpack()

    def weight(self):
        """The weight, unpacked."""
        return self._weight_bias()[0]

    def bias(self):
        """The bias, unpacked."""
        return self._weight_bias()[1]

    def _padded(self, input):
        """The input, checked, and padded where that is not by zeros."""
        if len(input.shape) != self._dims + 2:
            raise ValueError(f"Input shape must be `{_SHAPES[self._dims]}`!")
        if self.padding_mode != "zeros":
            input = F.pad(input, _reverse_repeat_padding(self.padding), mode=self.padding_mode)
        return input

    def forward(self, input):
        return self._operator()(self._padded(input), self._packed_params, self.scale, self.zero_point)

    def extra_repr(self):
        s = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"scale={self.scale}, zero_point={self.zero_point}"
        )
        if self.padding != (0,) * len(self.padding):
            s += f", padding={self.padding}"
        if self.dilation != (1,) * len(self.dilation):
            s += f", dilation={self.dilation}"
        if self.output_padding != (0,) * len(self.output_padding):
            s += f", output_padding={self.output_padding}"
        if self.groups != 1:
            s += f", groups={self.groups}"
        if self.bias() is None:
            s += ", bias=False"
        return s

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"], destination[prefix + "bias"] = self._weight_bias()
        destination[prefix + "scale"] = flambeau.tensor(self.scale)
        destination[prefix + "zero_point"] = flambeau.tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self.set_weight_bias(state_dict.pop(prefix + "weight"), state_dict.pop(prefix + "bias"))
        self.scale = float(state_dict.pop(prefix + "scale"))
        self.zero_point = int(state_dict.pop(prefix + "zero_point"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def __getstate__(self):
        facts = (getattr(self, name) for name in _STATE)
        return (*facts, *self._weight_bias(), self.scale, self.zero_point, self.training)

    def __setstate__(self, state):
        nn.Module.__init__(self)
        for name, value in zip(_STATE, state):
            setattr(self, name, value)
        weight, bias, self.scale, self.zero_point, self.training = state[len(_STATE) :]
        self.set_weight_bias(weight, bias)

    def __deepcopy__(self, memo):
        new = type(self).__new__(type(self))
        new.__setstate__(self.__getstate__())
        return new

    def __copy__(self):
        return self.__deepcopy__({})

    @classmethod
    def get_qconv(cls, mod, activation_post_process, weight_post_process=None):
        """The module with the weight of a float one, quantized as an observer says."""
        if weight_post_process is None:
            weight_post_process = mod.qconfig.weight()
        weight_post_process(mod.weight)
        if weight_post_process.dtype != flambeau.qint8:
            raise AssertionError(f"Weight observer must have a dtype of qint8, got {weight_post_process.dtype}")
        made = cls(*cls._arguments(mod))
        made.set_weight_bias(_quantize_weight(mod.weight.float(), weight_post_process), mod.bias)
        # dynamic quantization has no use for a scale of results
        if activation_post_process is not None and activation_post_process.dtype != flambeau.float:
            scale, zero_point = activation_post_process.calculate_qparams()
            made.scale, made.zero_point = float(scale), int(zero_point)
        return made

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """What becomes of an observed module, or of one trained with fake quantization."""
        if hasattr(mod, "weight_fake_quant"):
            if type(mod) is cls._NNIQAT_CONV_BN_MODULE:
                _fuse_normalization(mod)
            if not hasattr(mod, "activation_post_process"):
                raise AssertionError("Input QAT module must have observer attached")
            return cls.get_qconv(mod, mod.activation_post_process, mod.weight_fake_quant)
        if type(mod) is not cls._FLOAT_MODULE:
            raise AssertionError(
                f"nnq.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__} "
                f"but got: {type(mod).__name__}"
            )
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined.")
        activation_post_process = getattr(mod, "activation_post_process", None)
        if type(mod) in (cls._NNI_CONV_RELU_MODULE, cls._NNI_CONV_ADD_MODULE, cls._NNI_CONV_ADD_RELU_MODULE):
            mod = mod[0]
        return cls.get_qconv(mod, activation_post_process, mod.qconfig.weight())

    @classmethod
    def from_reference(cls, ref_qconv, output_scale, output_zero_point):
        """What becomes of a reference module."""
        weight = ref_qconv.weight
        made = cls(*cls._arguments(ref_qconv), device=weight.device, dtype=weight.dtype)
        made.set_weight_bias(ref_qconv.get_quantized_weight(), ref_qconv.bias)
        made.scale, made.zero_point = float(output_scale), int(output_zero_point)
        return made


def _fuse_normalization(conv):
    """Makes the weight and bias of a trained convolution those of it and its normalization."""
    bn = conv.bn
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )


class Conv1d(_ConvNd):
    """``nn.Conv1d`` of quantized tensors."""

    _dims = 1
    _FLOAT_MODULE = nn.Conv1d
    _NNIQAT_CONV_BN_MODULE = qat.ConvBn1d
    _NNI_CONV_RELU_MODULE = intrinsic.ConvReLU1d


class Conv2d(_ConvNd):
    """``nn.Conv2d`` of quantized tensors."""

    _dims = 2
    _FLOAT_MODULE = nn.Conv2d
    _NNIQAT_CONV_BN_MODULE = qat.ConvBn2d
    _NNI_CONV_RELU_MODULE = intrinsic.ConvReLU2d
    _NNI_CONV_ADD_MODULE = intrinsic.ConvAdd2d
    _NNI_CONV_ADD_RELU_MODULE = intrinsic.ConvAddReLU2d


class Conv3d(_ConvNd):
    """``nn.Conv3d`` of quantized tensors."""

    _dims = 3
    _FLOAT_MODULE = nn.Conv3d
    _NNIQAT_CONV_BN_MODULE = qat.ConvBn3d
    _NNI_CONV_RELU_MODULE = intrinsic.ConvReLU3d


class _ConvTransposeNd(_ConvNd):
    """What transposed convolutions share."""

    _stem = "conv_transpose"
    _arguments = staticmethod(_arguments.of_conv_transpose)

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self._init(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            True,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _get_name(self):
        return f"QuantizedConvTranspose{self._dims}d"

    def set_weight_bias(self, w, b):
        geometry = self.stride, self.padding, self.output_padding, self.dilation, self.groups
        self._packed_params = self._operator("_prepack")(w, b, *geometry)

    def _weight_bias(self):
        if self._dims == 1:
            return ops.quantized.conv_transpose1d_unpack(self._packed_params)
        return getattr(ops.quantized, f"conv{self._dims}d_unpack")(self._packed_params)

    def _padded(self, input):
        if len(input.shape) != self._dims + 2:
            shape = "(N, C, T, H, W)" if self._dims == 3 else _SHAPES[self._dims]
            raise ValueError(f"Input shape must be `{shape}`!")
        return input

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """What becomes of an observed module."""
        if type(mod) is not cls._FLOAT_MODULE:
            raise AssertionError(f" nnq.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined.")
        return cls.get_qconv(mod, getattr(mod, "activation_post_process", None))


class ConvTranspose1d(_ConvTransposeNd):
    """``nn.ConvTranspose1d`` of quantized tensors."""

    _dims = 1
    _FLOAT_MODULE = nn.ConvTranspose1d


class ConvTranspose2d(_ConvTransposeNd):
    """``nn.ConvTranspose2d`` of quantized tensors."""

    _dims = 2
    _FLOAT_MODULE = nn.ConvTranspose2d


class ConvTranspose3d(_ConvTransposeNd):
    """``nn.ConvTranspose3d`` of quantized tensors."""

    _dims = 3
    _FLOAT_MODULE = nn.ConvTranspose3d

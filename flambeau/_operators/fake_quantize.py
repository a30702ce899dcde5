"""Fake quantization: elements moved to the nearest that codes could hold, still as floats, so that networks learn to live with it.

The gradient is that of the identity where codes are in bounds, and zero elsewhere.
"""

from __future__ import annotations

import struct
from typing import Any

from flambeau._kernel.language import Kernel, N, T
from flambeau._operators.op import FUNCTION, composite, op, pointwise
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, bool_
from flambeau._values.ranges import qparams_of_range
from flambeau._values.shape import wrap_dim

WIDE = 9.2e18  # codes of channels pass through int64 in PyTorch: what does not fit becomes the least code


def _single(value: float) -> float:
    """A number in single precision."""
    return struct.unpack("f", struct.pack("f", value))[0]


# ---------------------------------------------------------------- elements


@pointwise("_fake_quantized", variants=())
def _fake_quantized(k: Kernel[T], input: T, inverse: N, scale: N, shift: N, zero: N, low: N, high: N, wide: N) -> T:
    """The nearest of the values that codes from `low` to `high` stand for; zero points are `zero`, or `shift` where they are no codes."""
    code = k.round(input * inverse + shift) + zero
    code = k.where(k.le(k.abs(code), wide), code, k.where(k.gt(wide, 1e30), code, low))
    return (k.fmin(k.fmax(code, low), high) - (zero + shift)) * scale


@pointwise("_fake_quantized_mask", variants=(), promote="bool", differentiable=False)
def _fake_quantized_mask(k: Kernel[T], input: T, inverse: N, shift: N, zero: N, low: N, high: N) -> T:
    """Where codes are in bounds."""
    code = k.round(input * inverse + shift) + zero
    return k.logical_and(k.ge(code, low), k.le(code, high))


_fake_quantized.vjp(
    input=lambda g, input, inverse, shift, zero, low, high: (
        g * _fake_quantized_mask(input, inverse, shift, zero, low, high)
    )
)


def _both(input: Any, scale: Any, zero: Any, low: int, high: int) -> Any:
    """The result and the mask. Halves are computed in single precision; what has one scale, results in single precision."""
    channels = not isinstance(scale, float)
    inverse = 1.0 / scale if channels else _single(1.0 / scale)
    wider = input.dtype.itemsize > 4
    x = input if wider else input.float()
    shift, zero = (zero, 0.0) if channels and zero.dtype.kind == "f" else (0.0, zero)
    wide = WIDE if channels else 3e38
    zero = zero.float() if hasattr(zero, "_a") else zero
    out = _fake_quantized(x, inverse, scale, shift, zero, float(low), float(high), wide)
    mask = _fake_quantized_mask(x.detach(), inverse, shift, zero, float(low), float(high))
    out = out.float() if wider and not channels else out
    return out if out.dtype is input.dtype else out.to(input.dtype), mask


def _check(input: Any, low: int, high: int, zero: float | None = None) -> None:
    if not input.dtype.is_floating_point:
        raise NotImplementedError(
            f"\"fake_quantize_tensor_cachemask_kernel_type_handling\" not implemented for '{SPOKEN[input.dtype]}'"
        )
    if low > high:
        raise RuntimeError("`quant_min` should be less than or         equal to `quant_max`.")
    if zero is not None and not low <= zero <= high:
        raise RuntimeError("`zero_point` must be between `quant_min` and `quant_max`.")


# ---------------------------------------------------------------- one scale


@composite("fake_quantize_per_tensor_affine", variants=FUNCTION, autocast="float32")
def fake_quantize_per_tensor_affine(
    input: Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int
) -> Tensor:
    """What quantizing and dequantizing would make of each element, with gradients as if it made nothing of it.

    >>> torch.fake_quantize_per_tensor_affine(torch.tensor([0.04, 0.26, 9.0]), 0.1, 0, 0, 15)
    tensor([0.0000, 0.3000, 1.5000])
    """
    _check(input, quant_min, quant_max, zero_point)
    return _both(input, _single(scale), float(zero_point), quant_min, quant_max)[0]


@composite(
    "fake_quantize_per_tensor_affine.tensor_qparams",
    variants=FUNCTION,
    python_name="fake_quantize_per_tensor_affine",
    autocast="float32",
)
def fake_quantize_by_tensors(
    input: Tensor, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int
) -> Tensor:
    """The same, with scale and zero point as tensors."""
    return fake_quantize_per_tensor_affine(input, scale.item(), int(zero_point.item()), quant_min, quant_max)


@composite("fake_quantize_per_tensor_affine_cachemask", variants=(), outputs=("output", "mask"))
def fake_quantize_per_tensor_affine_cachemask(
    input: Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int
) -> Any:
    """The same, with the mask of the elements whose codes are in bounds."""
    _check(input, quant_min, quant_max, zero_point)
    return _both(input, _single(scale), float(zero_point), quant_min, quant_max)


@composite("_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", variants=FUNCTION, outputs=("output", "mask"))
def _fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
    input: Tensor, scale: Tensor, zero_point: Tensor, fake_quant_enabled: Tensor, quant_min: int, quant_max: int
) -> Any:
    """The same, where a tensor says so; else a copy."""
    if not fake_quant_enabled.item():
        return input.clone(), input.detach().new_ones(input.shape, dtype=bool_)
    return fake_quantize_per_tensor_affine_cachemask(input, scale.item(), int(zero_point.item()), quant_min, quant_max)


@composite(
    "fake_quantize_per_tensor_affine_cachemask_backward",
    "fake_quantize_per_channel_affine_cachemask_backward",
    variants=(),
)
def cachemask_backward(grad: Tensor, mask: Tensor) -> Tensor:
    """The gradient of the input."""
    return grad * mask


# ---------------------------------------------------------------- a scale for each channel


def _along(v: Any, input: Any, axis: int) -> Any:
    """Numbers of channels, shaped to meet the input."""
    shape = [1] * input.ndim
    shape[wrap_dim(axis, input.ndim, True)] = -1
    return v.reshape(shape)


def _channels(input: Any, scale: Any, zero_point: Any, axis: int, low: int, high: int) -> Any:
    if str(scale.dtype)[6:] not in ("float32", "bfloat16"):
        raise RuntimeError(f"Scale must be Float or BFloat16, found {SPOKEN[scale.dtype]}")
    if str(zero_point.dtype)[6:] not in ("int32", "float32", "float16"):
        raise RuntimeError(f"Zero-point must be Int32, Float or Half, found {SPOKEN[zero_point.dtype]}")
    if scale.ndim != 1 or zero_point.ndim != 1:
        raise RuntimeError("scale should be a 1-D tensor" if scale.ndim != 1 else "zero point should be a 1-D tensor")
    if scale.numel() != zero_point.numel() or scale.numel() != input.shape[wrap_dim(axis, input.ndim, False)]:
        raise RuntimeError("dimensions of scale and zero-point are not consistent with input tensor")
    if not 0 <= axis <= input.ndim:
        raise RuntimeError("`axis` must be between 0 and number of dimensions of input")
    _check(input, low, high)
    if (
        zero_point.dtype.kind == "i"
        and zero_point.numel()
        and not (low <= int(zero_point.min()) and int(zero_point.max()) <= high)
    ):
        raise RuntimeError("`zero_point` must be between `quant_min` and `quant_max`.")
    return _both(input, _along(scale.float(), input, axis), _along(zero_point, input, axis), low, high)


@composite("fake_quantize_per_channel_affine", variants=FUNCTION)
def fake_quantize_per_channel_affine(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """The same with a scale and a zero point for each index of a dimension."""
    return _channels(input, scale.detach().clone(), zero_point.detach().clone(), axis, quant_min, quant_max)[0]


@composite("fake_quantize_per_channel_affine_cachemask", variants=(), outputs=("output", "mask"))
def fake_quantize_per_channel_affine_cachemask(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Any:
    """The same, with the mask of the elements whose codes are in bounds."""
    return _channels(input, scale.detach().clone(), zero_point.detach().clone(), axis, quant_min, quant_max)


# ---------------------------------------------------------------- scales that are learned


def _code_of_zero(zero: Any, low: int, high: int) -> Any:
    """Zero points as codes."""
    return (zero.detach().float() + 0.5).clamp(low, high).floor()


@pointwise("_fake_learned_slope", variants=(), differentiable=False)
def _fake_learned_slope(k: Kernel[T], input: T, scale: T, zero: T, low: N, high: N) -> T:
    """How the result grows with the scale."""
    code = k.round(input * (1.0 / scale) + zero)
    inside = (code - zero) - input * (1.0 / scale)
    return k.where(k.lt(code, low), low - zero, k.where(k.gt(code, high), high - zero, inside))


def _factored(g: Any, factor: float) -> Any:
    return g if factor == 1.0 else g * factor


def _learned_grads(
    g: Any, input: Any, scale: Any, zero: Any, low: int, high: int, factor: float, axis: int | None
) -> Any:
    s, z = (
        (scale, _code_of_zero(zero, low, high))
        if axis is None
        else (_along(scale, input, axis), _along(_code_of_zero(zero, low, high), input, axis))
    )
    inverse = 1.0 / s
    inside = _fake_quantized_mask(input, inverse, 0.0, z, float(low), float(high))
    gs = g * _fake_learned_slope(input, s, z, float(low), float(high))
    gz = g * (~inside) * -s
    if axis is None:
        return g * inside, _factored(gs.sum().reshape(1), factor), _factored(gz.sum().reshape(1), factor)
    rest = [d for d in range(input.ndim) if d != wrap_dim(axis, input.ndim, True)]
    return g * inside, _factored(gs.sum(rest) if rest else gs, factor), _factored(gz.sum(rest) if rest else gz, factor)


@composite("_fake_quantize_learnable_per_tensor_affine_backward", variants=())
def _fake_quantize_learnable_per_tensor_affine_backward(
    grad: Tensor,
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    quant_min: int,
    quant_max: int,
    grad_factor: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of input, scale and zero point."""
    return _learned_grads(grad, input, scale, zero_point, quant_min, quant_max, grad_factor, None)


@composite("_fake_quantize_learnable_per_channel_affine_backward", variants=())
def _fake_quantize_learnable_per_channel_affine_backward(
    grad: Tensor,
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    axis: int,
    quant_min: int,
    quant_max: int,
    grad_factor: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of input, scales and zero points."""
    return _learned_grads(grad, input, scale, zero_point, quant_min, quant_max, grad_factor, axis)


def _learned(k: Any, input: Any, scale: Any, zero: Any, low: int, high: int) -> Any:
    zero = k.floor(k.fmin(k.fmax(zero + 0.5, k.like(low, zero)), k.like(high, zero)))
    code = k.round(input * (1.0 / scale)) + zero
    return (k.fmin(k.fmax(code, k.like(low, code)), k.like(high, code)) - zero) * scale


@op("_fake_quantize_learnable_per_tensor_affine", variants=FUNCTION)
def _fake_quantize_learnable_per_tensor_affine(
    k: Kernel[T], input: T, scale: T, zero_point: T, quant_min: int, quant_max: int, grad_factor: float = 1.0
) -> T:
    """Fake quantization whose scale and zero point are learned."""
    return _learned(k, input, scale, zero_point, quant_min, quant_max)


_fake_quantize_learnable_per_tensor_affine.vjp(
    _=lambda g, input, scale, zero_point, quant_min, quant_max, grad_factor: _learned_grads(
        g, input, scale, zero_point, quant_min, quant_max, grad_factor, None
    )
)


@op("_fake_quantize_learnable_per_channel_affine", variants=FUNCTION)
def _fake_quantize_learnable_per_channel_affine(
    k: Kernel[T], input: T, scale: T, zero_point: T, axis: int, quant_min: int, quant_max: int, grad_factor: float = 1.0
) -> T:
    """The same with a scale and a zero point for each index of a dimension."""
    shape = tuple(n if d == wrap_dim(axis, input.ndim, True) else 1 for d, n in enumerate(input.shape))
    return _learned(k, input, k.reshape(scale, shape), k.reshape(zero_point, shape), quant_min, quant_max)


_fake_quantize_learnable_per_channel_affine.vjp(
    _=lambda g, input, scale, zero_point, axis, quant_min, quant_max, grad_factor: _learned_grads(
        g, input, scale, zero_point, quant_min, quant_max, grad_factor, axis
    )
)


# ---------------------------------------------------------------- observed on the way

_MOVING = "(Tensor self, Tensor observer_on, Tensor fake_quant_on, Tensor(a!) running_min, Tensor(b!) running_max, Tensor(c!) scale, Tensor(d!) zero_point, float averaging_const, int quant_min, int quant_max, int ch_axis, bool per_row_fake_quant=False, bool symmetric_quant=False)"


def _observe(x: Any, least: Any, most: Any, constant: float, rows: bool) -> None:
    """Moves the running ends of the range towards those of x."""
    y = x.reshape(x.shape[0], -1) if rows else x.reshape(1, -1)
    low, high = y.aminmax(dim=1)
    for running, new in ((least, low), (most, high)):
        new = new.reshape(running.shape).to(running.dtype)
        running.copy_(new.where(running.isinf(), running + (new - running) * constant))


@composite(
    f"_fused_moving_avg_obs_fq_helper{_MOVING}",
    variants=FUNCTION,
    outputs=("output", "mask"),
)
def _fused_moving_avg_obs_fq_helper(
    input: Tensor,
    observer_on: Tensor,
    fake_quant_on: Tensor,
    running_min: Tensor,
    running_max: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    averaging_const: float,
    quant_min: int,
    quant_max: int,
    ch_axis: int,
    per_row_fake_quant: bool = False,
    symmetric_quant: bool = False,
) -> Any:
    """`fused_moving_avg_obs_fake_quant`, with the mask of the elements whose codes are in bounds."""
    x: Any = input
    least: Any = running_min
    most: Any = running_max
    scales: Any = scale
    zeros: Any = zero_point
    if per_row_fake_quant and not least.numel():
        least.resize_(x.shape[0]).fill_(float("inf"))
        most.resize_(x.shape[0]).fill_(-float("inf"))
    if observer_on.item():
        if per_row_fake_quant and ch_axis != 0:
            raise RuntimeError(
                "Per-channel FakeQuant in fused_moving_avg_obs_fake_quant is only supported on axis == 0"
            )
        _observe(x.detach(), least, most, averaging_const, per_row_fake_quant)
    if not fake_quant_on.item():
        return x.clone(), x.detach().new_ones(x.shape, dtype=bool_)
    found = [
        qparams_of_range(low, high, quant_min, quant_max, symmetric_quant)
        for low, high in zip(least.reshape(-1).tolist(), most.reshape(-1).tolist(), strict=True)
    ]
    if scales.numel() != len(found):
        scales.resize_(len(found))
        zeros.resize_(len(found))
    scales.copy_(scales.new_tensor([s for s, _ in found]).reshape(scales.shape))
    zeros.copy_(zeros.new_tensor([z for _, z in found]).reshape(zeros.shape))
    if per_row_fake_quant:
        return fake_quantize_per_channel_affine_cachemask(x, scales, zeros, 0, quant_min, quant_max)
    return fake_quantize_per_tensor_affine_cachemask(x, scales.item(), int(zeros.item()), quant_min, quant_max)


@composite(
    f"fused_moving_avg_obs_fake_quant{_MOVING}",
    variants=FUNCTION,
)
def fused_moving_avg_obs_fake_quant(
    input: Tensor,
    observer_on: Tensor,
    fake_quant_on: Tensor,
    running_min: Tensor,
    running_max: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    averaging_const: float,
    quant_min: int,
    quant_max: int,
    ch_axis: int,
    per_row_fake_quant: bool = False,
    symmetric_quant: bool = False,
) -> Tensor:
    """Fake quantization by the moving average of the range of what has come by, which this updates."""
    return _fused_moving_avg_obs_fq_helper(
        input, observer_on, fake_quant_on, running_min, running_max, scale, zero_point, averaging_const, quant_min, quant_max, ch_axis,
        per_row_fake_quant, symmetric_quant,
    )[0]  # fmt: skip

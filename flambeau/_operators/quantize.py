"""Quantized tensors: made of floating ones, read back, asked what they mean.

As with sparse layouts, what runs are readings (`_eager/quantized`, docs/quantization.md): quantized tensors have no kernel-language body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._kernel.language import DType, Kernel, Shape, T
from flambeau._operators.op import FUNCTION, METHOD, Definition, op

Ints = Any
MemoryFormat = Any


def _quantized(*overloads: str, **options: Any) -> Definition:
    """`op` for what has readings for quantized tensors alone."""
    return op(*overloads, promote="none", layouts="quantized", differentiable=False, **options)


# ---------------------------------------------------------------- to and from


@_quantized("quantize_per_tensor", variants=FUNCTION)
def quantize_per_tensor(k: Kernel[T], input: T, scale: float, zero_point: int, dtype: DType) -> T:
    """A float tensor in integers of a quantized dtype: `round(input / scale) + zero_point`, kept in bounds.

    >>> torch.quantize_per_tensor(torch.tensor([-1.0, 0.0, 1.0, 2.0]), 0.1, 10, torch.quint8)
    tensor([-1.,  0.,  1.,  2.], size=(4,), dtype=torch.quint8,
           quantization_scheme=torch.per_tensor_affine, scale=0.1, zero_point=10)
    """


@_quantized("quantize_per_tensor.tensor_qparams", variants=FUNCTION)
def quantize_per_tensor_by_tensors(k: Kernel[T], input: T, scale: T, zero_point: T, dtype: DType) -> T:
    """The same, with scale and zero point as tensors."""


@_quantized(
    "quantize_per_tensor.tensors(Tensor[] tensors, Tensor scales, Tensor zero_points, ScalarType dtype) -> Tensor[]",
    variants=FUNCTION,
)
def quantize_each(k: Kernel[T], tensors: Sequence[T], scales: T, zero_points: T, dtype: DType) -> Any:
    """Several tensors, each with its own scale and zero point."""


@_quantized("quantize_per_tensor_dynamic", variants=FUNCTION)
def quantize_per_tensor_dynamic(k: Kernel[T], input: T, dtype: DType, reduce_range: bool) -> T:
    """A float tensor quantized by what range its elements have."""


@_quantized("quantize_per_channel", variants=FUNCTION)
def quantize_per_channel(k: Kernel[T], input: T, scales: T, zero_points: T, axis: int, dtype: DType) -> T:
    """The same with a scale and a zero point for each index of a dimension."""


@_quantized("dequantize.self")
def dequantize(k: Kernel[T], input: T) -> T:
    """What the elements of a quantized tensor stand for, in float32.

    >>> torch.quantize_per_tensor(torch.tensor([0.52]), 0.1, 10, torch.quint8).dequantize()
    tensor([0.5000])
    """


@_quantized("dequantize.tensors(Tensor[] tensors) -> Tensor[]", variants=FUNCTION)
def dequantize_each(k: Kernel[T], tensors: Sequence[T]) -> Any:
    """The same of several tensors."""


@_quantized("_choose_qparams_per_tensor(Tensor self, bool reduce_range=False) -> (float, int)", variants=FUNCTION)
def _choose_qparams_per_tensor(k: Kernel[T], input: T, reduce_range: bool = False) -> Any:
    """The scale and zero point by which eight bits hold the elements of a tensor."""


@_quantized(
    "choose_qparams_optimized(Tensor input, int numel, int n_bins, float ratio, int bit_width) -> (Tensor, Tensor)",
    variants=FUNCTION,
)
def choose_qparams_optimized(k: Kernel[T], input: T, numel: int, n_bins: int, ratio: float, bit_width: int) -> Any:
    """The upper and the lower end of the range that codes of few bits cover with the least loss."""


# ---------------------------------------------------------------- what they mean


@_quantized("int_repr")
def int_repr(k: Kernel[T], input: T) -> T:
    """The integers in which a quantized tensor is held."""


@_quantized("q_scale")
def q_scale(k: Kernel[T], input: T) -> float:
    """The scale of a tensor that has one."""


@_quantized("q_zero_point")
def q_zero_point(k: Kernel[T], input: T) -> int:
    """The zero point of a tensor that has one."""


@_quantized("q_per_channel_scales")
def q_per_channel_scales(k: Kernel[T], input: T) -> T:
    """The scales along the dimension that has them."""


@_quantized("q_per_channel_zero_points")
def q_per_channel_zero_points(k: Kernel[T], input: T) -> T:
    """The zero points along the dimension that has them."""


@_quantized("q_per_channel_axis")
def q_per_channel_axis(k: Kernel[T], input: T) -> int:
    """The dimension that has scales and zero points."""


@_quantized("qscheme(Tensor self) -> QScheme", variants=METHOD)
def qscheme(k: Kernel[T], input: T) -> Any:
    """How a tensor is quantized."""


# ---------------------------------------------------------------- made of parts


@_quantized("_make_per_tensor_quantized_tensor", variants=FUNCTION)
def _make_per_tensor_quantized_tensor(k: Kernel[T], input: T, scale: float, zero_point: int) -> T:
    """The quantized tensor whose integers these are."""


@_quantized("_make_per_channel_quantized_tensor", variants=FUNCTION)
def _make_per_channel_quantized_tensor(k: Kernel[T], input: T, scale: T, zero_point: T, axis: int) -> T:
    """The same with a scale and a zero point for each index of a dimension."""


@_quantized(
    "_empty_affine_quantized(SymInt[] size, *, ScalarType? dtype=None, ..., float scale=1., int zero_point=0, MemoryFormat? memory_format=0)",
    variants=FUNCTION,
)
def _empty_affine_quantized(
    k: Kernel[T],
    size: Shape,
    *,
    dtype: DType | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
    scale: float = 1.0,
    zero_point: int = 0,
    memory_format: MemoryFormat | None = None,
) -> T:
    """A quantized tensor whose elements are whatever was in memory."""


@_quantized(
    "_empty_per_channel_affine_quantized(SymInt[] size, *, Tensor scales, Tensor zero_points, int axis, ScalarType? dtype=None, ..., MemoryFormat? memory_format=0)",
    variants=FUNCTION,
)
def _empty_per_channel_affine_quantized(
    k: Kernel[T],
    size: Shape,
    *,
    scales: T,
    zero_points: T,
    axis: int,
    dtype: DType | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
    memory_format: MemoryFormat | None = None,
) -> T:
    """The same with a scale and a zero point for each index of a dimension."""


@_quantized(
    "empty_quantized(int[] size, Tensor qtensor, *, ScalarType? dtype=None, ..., MemoryFormat? memory_format=None)",
    variants=FUNCTION,
)
def empty_quantized(
    k: Kernel[T],
    size: Ints,
    qtensor: T,
    *,
    dtype: DType | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
    memory_format: MemoryFormat | None = None,
) -> T:
    """A quantized tensor that means the same by its integers as another; its elements are whatever was in memory."""


@_quantized(
    "quantized_max_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], int[1] dilation=[1], bool ceil_mode=False)",
    variants=FUNCTION,
)
def quantized_max_pool1d(
    k: Kernel[T],
    input: T,
    kernel_size: Ints,
    stride: Ints = (),
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> T:
    """The largest element of each window of a quantized tensor."""


quantized_max_pool2d = _quantized(
    "quantized_max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, bool ceil_mode=False)",
    variants=FUNCTION,
)(quantized_max_pool1d.body)
quantized_max_pool3d = _quantized(
    "quantized_max_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, int[3] dilation=1, bool ceil_mode=False)",
    variants=FUNCTION,
)(quantized_max_pool1d.body)


@_quantized("quantized_batch_norm", variants=FUNCTION, receiver="input")
def quantized_batch_norm(
    k: Kernel[T],
    input: T,
    weight: T | None,
    bias: T | None,
    mean: T,
    var: T,
    eps: float,
    output_scale: float,
    output_zero_point: int,
) -> T:
    """Batch normalization of a quantized tensor by fixed statistics, with another scale and zero point."""

"""Operators on single codes: sums, products, activations; and what moves or picks codes."""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau
from flambeau._backends.quantized_arrays import PerTensor, bounds, code, codes, quantized
from flambeau._eager.quantized.move import joined
from flambeau._eager.quantized.pointwise import clamped, seen, through
from flambeau._quantized import operator
from flambeau._tensor import wrap

F32 = np.float32


def into(out: Any, made: Any) -> Any:
    """The codes of a result, written into a tensor that says what they mean."""
    out._a[...] = made._a
    return out


def _meets(a: Any, b: Any) -> None:
    for t in (a, b):
        if t.qscheme() is not flambeau.per_tensor_affine:
            raise RuntimeError("Only per tensor quantization is supported in Add.")
    if a.dtype is not b.dtype:
        raise RuntimeError("Add operands should have same data type.")


# ---------------------------------------------------------------- sums


def _add(a: Any, b: Any, scale: float, zero_point: int, relu: bool) -> Any:
    _meets(a, b)
    y = seen(a) + seen(b)
    return through(y.relu() if relu else y, scale, zero_point, a.dtype)


def _add_scalar(a: Any, b: Any, relu: bool) -> Any:
    """The zero point moves; where it would leave the range of codes, the scale grows."""
    scale, zero = a.q_scale(), a.q_zero_point()
    low, high = bounds(a.dtype)
    step = int(np.rint(float(b) / scale))
    if low > zero - step:
        new_scale, new_zero = (float(high) - float(zero - step)) / (float(high) - float(low)) * scale, low
    elif high < zero - step:
        new_scale, new_zero = (float(zero - step) - float(low)) / (float(high) - float(low)) * scale, high
    else:
        moved = wrap(quantized(codes(a._a).copy(), a.dtype, PerTensor(scale, zero - step)))
        return clamped(moved, zero - step, None) if relu else moved
    y = wrap((codes(a._a).astype(np.int64) - (zero - step)).astype(F32) * F32(scale))
    return through(y.relu() if relu else y, new_scale, new_zero, a.dtype)


def _mul(a: Any, b: Any, scale: float, zero_point: int, relu: bool) -> Any:
    _meets(a, b)
    products = (codes(a._a).astype(np.int64) - a.q_zero_point()) * (codes(b._a).astype(np.int64) - b.q_zero_point())
    if relu:
        products = np.maximum(products, 0)
    multiplier = F32(F32(F32(a.q_scale()) * F32(b.q_scale())) * F32(1.0 / F32(scale)))
    low, high = bounds(a.dtype)
    y = np.rint(products.astype(F32) * multiplier).astype(np.int64) + zero_point
    c = np.clip(y, low, high).astype(codes(a._a).dtype)
    return wrap(quantized(np.ascontiguousarray(c), a.dtype, PerTensor(scale, zero_point)))


def _mul_scalar(a: Any, b: Any, relu: bool) -> Any:
    """Codes stay, and their scale is multiplied; they change places where the factor is negative."""
    factor, scale, zero = float(b), a.q_scale(), a.q_zero_point()
    low, high = bounds(a.dtype)
    c = codes(a._a)
    if factor == 0.0:
        return wrap(quantized(np.zeros_like(c), a.dtype, PerTensor(1.0, 0)))
    if factor > 0.0:
        out = wrap(quantized(c.copy(), a.dtype, PerTensor(scale * factor, zero)))
    else:
        turned = (high + low - c.astype(np.int64)).astype(c.dtype)
        out = wrap(quantized(turned, a.dtype, PerTensor(scale * -factor, high - (zero - low))))
    return clamped(out, out.q_zero_point(), None) if relu else out


def _arithmetic(name: str, run: Any, by_number: Any) -> None:
    for suffix, relu in (("", False), ("_relu", True)):
        full = name + suffix
        both = "Tensor qa, Tensor qb"

        def tensors(a: Any, b: Any, scale: float, zero_point: int, relu: bool = relu) -> Any:
            return run(a, b, scale, zero_point, relu)

        def written(a: Any, b: Any, out: Any, relu: bool = relu) -> Any:
            return into(out, run(a, b, out.q_scale(), out.q_zero_point(), relu))

        def number(a: Any, b: Any, relu: bool = relu) -> Any:
            return by_number(a, b.item() if hasattr(b, "item") else b, relu)

        operator(f"{full}({both}, float scale, int zero_point) -> Tensor qc")(tensors)
        operator(
            f"{full}.out({both}, Tensor(a!) out) -> Tensor(a!) out",
            f"{full}_out({both}, Tensor(a!) out) -> Tensor(a!) out",
        )(written)
        operator(f"{full}.Scalar(Tensor qa, Scalar b) -> Tensor qc", f"{name}_scalar{suffix}(Tensor qa, Scalar b) -> Tensor qc",
                 f"{name}_scalar{suffix}.Tensor(Tensor qa, Tensor b) -> Tensor qc")(number)  # fmt: skip
        operator(f"{full}.Scalar2(Scalar b, Tensor qa) -> Tensor qc")(lambda b, a, number=number: number(a, b))

        def number_into(a: Any, b: Any, out: Any, number: Any = number) -> Any:
            made = number(a, b)
            out._a = made._a  # scale and zero point follow from the number
            return out

        operator(f"{full}.Scalar_out(Tensor qa, Scalar b, Tensor(a!) out) -> Tensor(a!) out",
                 f"{name}_scalar{suffix}_out(Tensor qa, Scalar b, Tensor(a!) out) -> Tensor(a!) out",
                 f"{name}_scalar{suffix}_out.Tensor(Tensor qa, Tensor b, Tensor(a!) out) -> Tensor(a!) out")(number_into)  # fmt: skip


_arithmetic("add", _add, _add_scalar)
_arithmetic("mul", _mul, _mul_scalar)


# ---------------------------------------------------------------- joined


def _cat(tensors: Any, dim: int, scale: Any, zero_point: Any, relu: bool) -> Any:
    out = joined(tensors, dim, scale, zero_point)
    return clamped(out, out.q_zero_point(), None) if relu else out


operator("cat(Tensor[] qx, int dim, float? scale, int? zero_point) -> Tensor")(
    lambda qx, dim, s, z: _cat(qx, dim, s, z, False)
)
operator("cat_relu(Tensor[] qx, int dim, float? scale, int? zero_point) -> Tensor")(
    lambda qx, dim, s, z: _cat(qx, dim, s, z, True)
)


def _cat_into(relu: bool) -> Any:
    return lambda qx, dim, out: into(out, _cat(qx, dim, out.q_scale(), out.q_zero_point(), relu))


operator("cat_out(Tensor[] qx, int dim, Tensor(a!) out) -> Tensor(a!)")(_cat_into(False))
operator("cat_relu_out(Tensor[] qx, int dim, Tensor(a!) out) -> Tensor(a!)")(_cat_into(True))


# ---------------------------------------------------------------- activations


@operator("relu6(Tensor qx, bool inplace=False) -> Tensor")
def relu6(x: Any, inplace: bool = False) -> Any:
    top = int(code(np.asarray(6.0, F32), x._a.quantizer, x.dtype))
    made = clamped(x, x.q_zero_point(), top)
    return into(x, made) if inplace else made


@operator(
    "leaky_relu(Tensor qx, Scalar negative_slope, bool inplace, float output_scale, int output_zero_point) -> Tensor"
)
def leaky_relu(x: Any, slope: Any, inplace: bool, scale: float, zero_point: int) -> Any:
    made = through(flambeau.nn.functional.leaky_relu(seen(x), float(slope)), scale, zero_point, x.dtype)
    return into(x, made) if inplace else made


@operator("clamp(Tensor qx, Scalar? min=None, Scalar? max=None) -> Tensor qy")
def clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    return flambeau.clamp(x, min, max)


@operator("threshold(Tensor qx, Scalar threshold, Scalar value) -> Tensor qy")
def threshold(x: Any, threshold: Any, value: Any) -> Any:
    return flambeau.threshold(x, threshold, value)


@operator("hardswish(Tensor input, float output_scale, int output_zero_point) -> Tensor")
def hardswish(x: Any, scale: float, zero_point: int) -> Any:
    return through(flambeau.nn.functional.hardswish(seen(x)), scale, zero_point, x.dtype)


@operator(
    "elu(Tensor self, float output_scale, int output_zero_point, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor"
)
def elu(x: Any, scale: float, zero_point: int, alpha: Any = 1, outer: Any = 1, inner: Any = 1) -> Any:
    y = seen(x)
    below = (y.mul(float(inner)).exp() - 1.0) * float(alpha) * float(outer)
    return through(flambeau.where(y >= 0, y * float(outer), below), scale, zero_point, x.dtype)


@operator("celu(Tensor self, float output_scale, int output_zero_point, Scalar alpha=1) -> Tensor")
def celu(x: Any, scale: float, zero_point: int, alpha: Any = 1) -> Any:
    if float(alpha) == 0.0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return elu(x, scale, zero_point, alpha, 1.0, 1.0 / float(alpha))


@operator("sigmoid(Tensor qx, float output_scale, int output_zero_point) -> Tensor")
def sigmoid(x: Any, scale: float, zero_point: int) -> Any:
    return through(seen(x).sigmoid(), scale, zero_point, x.dtype)


@operator("softmax(Tensor qx, int dim, float output_scale, int output_zero_point) -> Tensor")
def softmax(x: Any, dim: int, scale: float, zero_point: int) -> Any:
    return flambeau.quantize_per_tensor(x.dequantize().softmax(dim), scale, zero_point, x.dtype)


@operator("prelu(Tensor qx, Tensor weight, float output_scale, int output_zero_point) -> Tensor")
def prelu(x: Any, weight: Any, scale: float, zero_point: int) -> Any:
    w = weight.dequantize() if weight.is_quantized else weight.detach()
    return through(flambeau.prelu(seen(x), w), scale, zero_point, x.dtype)


@operator(
    "dropout(Tensor self, float output_scale, int output_zero_point, Scalar p=0.5, bool training=False) -> Tensor"
)
def dropout(x: Any, scale: float, zero_point: int, p: Any = 0.5, training: bool = False) -> Any:
    return x.clone()


# ---------------------------------------------------------------- windows

_window = "Tensor qx, int[] kernel_size, int[] stride, int[] padding, int[] dilation, bool ceil_mode"
operator(f"max_pool1d({_window}) -> Tensor")(lambda *args: flambeau.quantized_max_pool1d(*args))
operator(f"max_pool2d({_window}) -> Tensor")(lambda *args: flambeau.quantized_max_pool2d(*args))

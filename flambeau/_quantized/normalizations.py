"""Normalizations of codes: by fixed statistics, and by those of each row, which sums of integers give exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau
from flambeau._backends.quantized_arrays import PerTensor, bounds, codes, quantized
from flambeau._eager.quantized import reading
from flambeau._quantized import operator
from flambeau._tensor import wrap

F32 = np.float32
_BY_STATISTICS = "Tensor qx, Tensor? weight, Tensor? bias, Tensor mean, Tensor var, float eps, float output_scale, int output_zero_point"


def _coded(x: Any, y: Any, scale: float, zero_point: int) -> Any:
    low, high = bounds(x.dtype)
    c = np.clip(np.rint(y.astype(F32)).astype(np.int64) + zero_point, low, high).astype(codes(x._a).dtype)
    out = np.empty_like(codes(x._a))
    out[...] = c
    return wrap(quantized(out, x.dtype, PerTensor(scale, zero_point)))


def batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float, scale: float, zero_point: int, relu: bool = False
) -> Any:
    """One factor and one summand for each channel, in units of the result's scale."""
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.numel() != x.shape[1]:
            raise RuntimeError(f"Expect {name} size to match C")
    ones = np.ones_like(mean._a, dtype=F32)
    w = ones if weight is None else weight.detach()._a.astype(F32)
    b = ones * F32(0) if bias is None else bias.detach()._a.astype(F32)
    inverse = F32(1) / np.sqrt(var.detach()._a.astype(F32) + F32(eps))
    alpha = inverse * w * F32(F32(x.q_scale()) / F32(scale))
    beta = (b - mean.detach()._a.astype(F32) * inverse * w) / F32(scale)
    shape = [1, -1] + [1] * (x.ndim - 2)
    d = codes(x._a).astype(np.float64) - x.q_zero_point()
    y = (d * alpha.reshape(shape).astype(np.float64) + beta.reshape(shape).astype(np.float64)).astype(F32)
    q = _coded(x, np.maximum(y, 0) if relu else y, scale, zero_point)
    return q.contiguous(memory_format=flambeau.channels_last) if x.ndim == 4 else q


for _n in ("", "1d", "2d", "3d"):
    operator(f"batch_norm{_n}({_BY_STATISTICS}) -> Tensor")(batch_norm)
    operator(f"batch_norm{_n}_relu({_BY_STATISTICS}) -> Tensor")(lambda *args: batch_norm(*args, relu=True))


def _by_rows(
    x: Any, rows: int, per_channel: int, weight: Any, bias: Any, eps: float, scale: float, zero_point: int
) -> Any:
    """Rows of equal length, each by its own mean and variance; weight and bias stand along a row, or each for `per_channel` elements."""
    c = np.ascontiguousarray(codes(x._a)).reshape(rows, -1).astype(np.int64)
    n = c.shape[1]
    mean = c.sum(1) / n
    variance = np.maximum((c * c).sum(1) / n - mean * mean, 0.0)
    rstd = 1.0 / np.sqrt(variance + float(eps) / (x.q_scale() * x.q_scale()))
    y = ((c - mean[:, None]) * rstd[:, None]).astype(F32)
    w = None if weight is None else weight.detach()._a.astype(F32).reshape(-1)
    b = None if bias is None else bias.detach()._a.astype(F32).reshape(-1)
    if per_channel:
        at = (np.arange(c.size).reshape(c.shape) // per_channel) % (
            len(w) if w is not None else len(b) if b is not None else 1
        )
        w, b = (None if v is None else v[at] for v in (w, b))
    y = y if w is None else y * w
    y = y if b is None else y + b
    q = _coded(x.contiguous(), (y * F32(1.0 / scale)).reshape(x.shape), scale, zero_point)
    return q


@operator(
    "layer_norm(Tensor input, int[] normalized_shape, Tensor? weight, Tensor? bias, float eps, float output_scale, int output_zero_point) -> Tensor"
)
def layer_norm(x: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float, scale: float, zero_point: int) -> Any:
    rows = int(np.prod(x.shape[: x.ndim - len(normalized_shape)]))
    return _by_rows(x, rows, 0, weight, bias, eps, scale, zero_point)


@operator(
    "group_norm(Tensor input, int num_groups, Tensor? weight, Tensor? bias, float eps, float output_scale, int output_zero_point) -> Tensor"
)
def group_norm(x: Any, num_groups: int, weight: Any, bias: Any, eps: float, scale: float, zero_point: int) -> Any:
    return _by_rows(x, x.shape[0] * num_groups, int(np.prod(x.shape[2:])), weight, bias, eps, scale, zero_point)


@operator(
    "instance_norm(Tensor input, Tensor? weight, Tensor? bias, float eps, float output_scale, int output_zero_point) -> Tensor"
)
def instance_norm(x: Any, weight: Any, bias: Any, eps: float, scale: float, zero_point: int) -> Any:
    return group_norm(x, x.shape[1], weight, bias, eps, scale, zero_point)


reading("quantized_batch_norm")(batch_norm)

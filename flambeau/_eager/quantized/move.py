"""Readings: elements moved, selected, joined, compared by their codes and written, whatever they mean."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from flambeau._backends.cpu.arrays import K
from flambeau._backends.quantized_arrays import PerChannel, PerTensor, code, codes, decode, encode, quantized
from flambeau._eager import bodies
from flambeau._eager.quantized import _view, codes_of, like, moved, reading, writing
from flambeau._eager.quantized.convert import is_quantized
from flambeau._operators.op import REGISTRY
from flambeau._tensor import wrap
from flambeau._values.dtype import SPOKEN, of
from flambeau._values.shape import wrap_dim


def _by_codes(overload: str) -> None:
    """An operator that only takes elements from somewhere: run on the codes."""
    op = REGISTRY[overload]

    def carried(*args: Any, **kwargs: Any) -> Any:
        source, *rest = args
        r = op(codes_of(source), *rest, **kwargs)
        if isinstance(r, tuple):
            return type(r)((like(source, r[0]), *r[1:]))
        return like(source, r)

    reading(overload)(carried)


for _name in ("clone", "_contiguous", "_reshape_copy", "flip", "_pad_edges", "index_select", "index.Tensor", "sort", "sort.stable", "topk", "max", "min", "max.dim",
              "min.dim", "repeat", "masked_select", "roll", "gather", "take", "unfold", "channel_shuffle"):  # fmt: skip
    if _name in REGISTRY and REGISTRY[_name].kind != "composite" and not REGISTRY[_name].view:
        _by_codes(_name)


# ---------------------------------------------------------------- views of channels


def _part(source: Any, r: Any, dim: int, picked: Any) -> Any:
    """A view whose elements along a dimension are those picked; scales along that dimension are picked as well."""
    q = source._a.quantizer
    if q.axis is None:
        return _view(source, r)
    scales, zeros, axis = q.scales, q.zero_points, q.axis
    if isinstance(picked, int):
        if axis == dim:
            return _view(source, r, PerTensor(float(scales[picked]), int(zeros[picked])))
        return _view(source, r, PerChannel(scales, zeros, axis - (axis > dim)))
    return _view(source, r, PerChannel(scales[picked], zeros[picked], axis) if axis == dim else q)


@reading("select.int")
def select(input: Any, dim: int, index: int) -> Any:
    d = wrap_dim(dim, input.ndim, True)
    if not -input.shape[d] <= index < input.shape[d]:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {d}"
        )
    return _part(input, input._a[(*(slice(None),) * d, index, ...)], d, index)


@reading("slice.Tensor")
def slice_(input: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    op = REGISTRY["slice.Tensor"]
    r = bodies.call_body(op, op.run, (K,), (input._a, dim, start, end, step))
    return _part(input, r, wrap_dim(dim, input.ndim, True), slice(start, end, step))


@reading("unsqueeze")
def unsqueeze(input: Any, dim: int) -> Any:
    d = wrap_dim(dim, input.ndim + 1, True)
    q = input._a.quantizer
    moved_ = None if q.axis is None else PerChannel(q.scales, q.zero_points, q.axis + (d <= q.axis))
    return _view(input, np.expand_dims(input._a, d), moved_)


def _squeezed(input: Any, dims: Any) -> Any:
    """Without those of these dimensions that are of size one; scales stand along the same dimension as before."""
    gone = {d for d in dims if input.shape[d] == 1}
    q = input._a.quantizer
    if q.axis in gone:
        raise RuntimeError("Squeeze is only possible on non-axis dimension for Per-Channel Quantized Tensors.")
    moved_ = None if q.axis is None else PerChannel(q.scales, q.zero_points, q.axis - sum(d < q.axis for d in gone))
    return _view(input, np.squeeze(input._a, tuple(gone)), moved_)


@reading("squeeze")
def squeeze(input: Any, dim: Any = None) -> Any:
    dims = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return _squeezed(input, [wrap_dim(d, input.ndim, True) for d in dims])


@reading("alias")
def alias(input: Any) -> Any:
    return _view(input, input._a[...])


@reading("view")
def view(input: Any, size: Any = None, *, dtype: Any = None) -> Any:
    q = input._a.quantizer
    if q.axis is None:
        return moved(REGISTRY["view"], (input, size, dtype))
    op = REGISTRY["view"]
    r = bodies.call_body(op, op.run, (K,), (codes(input._a), size, dtype))
    if q.axis >= r.ndim or r.shape[q.axis] != len(q.scales):
        got = r.shape[q.axis] if q.axis < r.ndim else 1
        raise RuntimeError(f"length of scales must equal to channel, expected {got} got, {len(q.scales)}")
    return _view(input, quantized(r, input.dtype, q))


# ---------------------------------------------------------------- joined


@reading("cat")
def cat(tensors: Any, dim: int = 0) -> Any:
    if all(map(is_quantized, tensors)) and not all(t._a.quantizer.same(tensors[0]._a.quantizer) for t in tensors):
        warnings.warn("All inputs of this cat operator must share the same quantization parameters. Otherwise large numerical "
                      "inaccuracies may occur.", stacklevel=2)  # fmt: skip
    return joined(tensors, dim, None, None)


def joined(tensors: Any, dim: int, scale: float | None, zero_point: int | None) -> Any:
    """Tensors one after the other, in the codes of the first, or of a scale and zero point."""
    for t in tensors:
        if not is_quantized(t):
            from flambeau._eager.quantized import refused

            raise refused("qscheme", (t,), "")
        if t._a.quantizer.axis is not None:
            raise RuntimeError("Only per-tensor quantization is supported in 'cat'!")
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError("All dtypes must be the same.")
    first = tensors[0]
    q = first._a.quantizer
    if scale is not None or zero_point is not None:
        q = PerTensor(q.scale if scale is None else scale, q.zero_point if zero_point is None else zero_point)
    parts = [
        codes(t._a) if t._a.quantizer.same(q) else encode(decode(t._a), q, first.dtype)
        for t in tensors
        if t.numel() or t.ndim != 1
    ]
    made = REGISTRY["cat"]([wrap(c) for c in parts], dim)
    return wrap(quantized(made._a, first.dtype, q))


@reading("stack")
def stack(tensors: Any, dim: int = 0) -> Any:
    d = wrap_dim(dim, tensors[0].ndim + 1, True)
    return joined([t.unsqueeze(d) for t in tensors], d, None, None)


# ---------------------------------------------------------------- written


def written(target: Any, src: Any) -> Any:
    """The codes by which a quantized tensor holds elements of another tensor, or numbers."""
    a = src._a if hasattr(src, "_a") else np.asarray(src)
    if hasattr(src, "_a") and is_quantized(src):
        if src._a.quantizer.same(target._a.quantizer) and src.dtype is target.dtype:
            return codes(a)
        a = decode(a)
    a = a.astype(np.float32)
    q = target._a.quantizer
    return code(np.broadcast_to(a, target.shape) if q.axis is not None else a, q, target.dtype)


@writing("copy")
def copy_(input: Any, src: Any, non_blocking: bool = False) -> None:
    if not is_quantized(input):
        raise RuntimeError(
            "Copying from quantized Tensor to non-quantized Tensor is not allowed, please use dequantize to get a float Tensor "
            "from a quantized Tensor"
        )
    if is_quantized(src):
        if src.dtype is not input.dtype:
            raise RuntimeError("Quantized Copy only works with Tensors with the same dtype")
        shape = np.broadcast_shapes(input.shape, src.shape)
        if shape != tuple(input.shape):
            raise RuntimeError("output with shape does not match the broadcast shape")
        codes(input._a)[...] = codes(src._a)
        if input._a.quantizer is not src._a.quantizer and input._base is None:
            input._a.quantizer = src._a.quantizer
        return
    if src.dtype is not of(np.dtype(np.float32)):
        raise RuntimeError(f"Quantized copy only works with kFloat as source Tensor, got {SPOKEN[src.dtype]}")
    codes(input._a)[...] = written(input, src)


@writing("fill.Scalar", "fill.Tensor")
def fill_(input: Any, value: Any) -> None:
    codes(input._a)[...] = written(input, value)


@writing("index_put")
def index_put_(input: Any, indices: Any, values: Any, accumulate: bool = False) -> None:
    if accumulate:
        raise RuntimeError("index_put for quantized tensors is currently only supported for accumulate=False")
    codes_of(input).index_put_(indices, wrap(np.asarray(written(input, values))))


@writing("masked_fill.Scalar")
def masked_fill_(input: Any, mask: Any, value: Any) -> None:
    codes_of(input).masked_fill_(mask, int(written(input, value)))


@reading("masked_fill.Scalar")
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    return input.clone().masked_fill_(mask, value)


@reading("constant_pad_nd")
def constant_pad_nd(input: Any, pad: Any, value: Any = 0) -> Any:
    return like(input, REGISTRY["constant_pad_nd"](codes_of(input), pad, int(written(input, value))))

"""Linear and bilinear layers."""

from __future__ import annotations

import math
from typing import Any

from flambeau._kernel.language import Kernel, T
from flambeau._operators._factors import (
    explain,
    pair_fits,
    same_dtype,
    term_fits,
    terms_and_factors,
)
from flambeau._operators.contract import adjoint, bmm, called, conj, mm, product
from flambeau._operators.op import composite, op
from flambeau._tensor import Tensor, wrap
from flambeau._values.shape import check_fills


@op(
    "linear",
    namespace="nn",
    variants=("function", "out"),
    halves=True,
    receiver="input",
    lacks=("buC", "addmm_impl_cpu_"),
    autocast="lower",
)
def linear(k: Kernel[T], input: T, weight: T, bias: T | None = None) -> T:
    """input @ weight.T + bias.

    >>> torch.nn.functional.linear(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]))
    tensor([11.5000])
    """
    x = k.reshape(input, (1, -1)) if input.ndim == 1 else input
    out = k.matmul(x, k.reshape(weight, (-1, 1)) if weight.ndim == 1 else k.permute(weight, (1, 0)))
    if input.ndim == 1 or weight.ndim == 1:
        out = k.reshape(out, (*input.shape[:-1], *weight.shape[:-1]))
    if bias is None:
        return out
    return out + bias if bias.ndim <= len(out.shape) else k.reshape(out + bias, out.shape)


@linear.arrays
def _(k: Any, input: Any, weight: Any, bias: Any = None) -> Any:
    fused = (
        bias if bias is not None and weight.ndim == 2 and bias.shape == weight.shape[:1] and input.ndim > 1 else None
    )
    try:
        if input.ndim > 2 and weight.ndim == 2 and input.size:
            out = product(k, input.reshape(-1, input.shape[-1]), weight.T, fused)
            out = out.reshape(*input.shape[:-1], weight.shape[0])
        else:
            out = product(k, input, weight.T, fused)
    except ValueError:
        explain(input.shape, weight.T.shape)
        raise
    if bias is None or fused is not None:
        return out
    try:
        out += bias
    except (ValueError, TypeError):
        out = (out + bias).reshape(out.shape)  # a vector product is a number
    return out


@linear.errors
def _(input: Any, weight: Any, bias: Any) -> None:
    if not input.ndim or not weight.ndim:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, but they are {input.ndim}D and {weight.ndim}D"
        )
    if weight.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {weight.ndim}D")
    if bias is None:
        if input._a.dtype is not weight._a.dtype:
            x, w = input._a.shape, weight._a.shape
            if len(x) == len(w) == 2 and x[1] != w[1]:
                explain(x, w[::-1])
            same_dtype(input, weight)
        return
    x, w, b = input._a.shape, weight._a.shape, bias._a.shape
    if b == w[:1] and len(w) == 2 and input._a.dtype is weight._a.dtype is bias._a.dtype:
        return
    terms_and_factors(bias, input, weight)
    if not x or not w or len(w) > 2 or x[-1] != w[-1]:
        return  # the product itself says so
    if len(x) != 2 and len(b) != 1 and b[:-1] != (1,):
        check_fills(x[:-1] + w[:-1], b)  # a product, and a sum in its place
        return
    if len(w) == 1:
        raise RuntimeError("mat2 must be a matrix, got 1-D tensor")
    term_fits(bias, (math.prod(x[:-1]), w[0]))


def _linear_vjp(
    g: Any, input: Any, weight: Any, input_shape: Any, weight_shape: Any, needs: Any
) -> tuple[Any, Any, Any]:
    wants = (*needs, False)[:3]
    if len(weight_shape) == 1:
        return (
            g.unsqueeze(-1) * conj(weight) if wants[0] else None,
            (g.unsqueeze(-1) * conj(input)).reshape(-1, input_shape[-1]).sum(0) if wants[1] else None,
            g if wants[2] else None,
        )
    rows = g if g.ndim == 2 else g.reshape(-1, weight_shape[0])
    gi = gw = gb = None
    if wants[0]:
        gi = mm(rows, conj(weight))
        if g.ndim != 2:
            gi = gi.reshape(input_shape)
    if wants[1]:
        x = input if input.ndim == 2 else input.reshape(-1, input.shape[-1])
        gw = mm(adjoint(rows) if rows._a.dtype.kind != "c" else rows.t(), conj(x))
    if wants[2]:
        gb = rows.sum(0)
    return gi, gw, gb


linear.known_as(
    "AddmmBackward0",
    inside=lambda input, weight, bias: called(input, weight) if bias is None else "addmm",
    without=("bias", "MmBackward0"),
).vjp(
    _=lambda g, input, weight, input_shape, weight_shape, needs: _linear_vjp(
        g, input, weight, input_shape, weight_shape, needs
    )
).reads(input=("weight",), weight=("input",))


def _linear_arrays(
    k: Any, g: Any, input: Any, weight: Any, input_shape: Any, weight_shape: Any, needs: Any
) -> tuple[Any, Any, Any]:
    if len(weight_shape) == 1 or g.dtype.kind not in "fV":
        x, w = (None if a is None else wrap(a) for a in (input, weight))
        out = _linear_vjp(wrap(g), x, w, input_shape, weight_shape, needs)
        return tuple(None if x is None else x._a for x in out)  # type: ignore[return-value]
    wants = (*needs, False)[:3]
    rows = g if g.ndim == 2 else g.reshape(-1, weight_shape[0])
    gi = gw = gb = None
    if wants[0]:
        gi = product(k, rows, weight)
        if g.ndim != 2:
            gi = gi.reshape(input_shape)
    if wants[1]:
        gw = product(k, rows.T, input if input.ndim == 2 else input.reshape(-1, input.shape[-1]))
    if wants[2]:  # a product with ones adds columns faster than a reduction
        gb = product(k, k.library("ones", rows.shape[0], rows.dtype)[None], rows)[0]
    return gi, gw, gb


linear.vjp_arrays(_=_linear_arrays)


@composite("bilinear", variants=("function",))
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 @ weight[o] @ input2 for each output o, plus bias."""
    pair_fits(input1, input2, weight, bias)
    n, o = input1.shape[-1], weight.shape[0]
    rows = math.prod(input1.shape[:-1])
    x, y = input1.reshape(rows, n), input2.reshape(rows, input2.shape[-1])
    wide = mm(x, weight.permute(1, 0, 2).reshape(n, o * weight.shape[2])).reshape(
        x.shape[0], o, weight.shape[2]
    )  # b o j
    out = bmm(wide, y.unsqueeze(-1)).squeeze(-1).reshape(*input1.shape[:-1], o)
    return out if bias is None else out + bias

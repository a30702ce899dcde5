"""`torch.masked`: reductions and normalisations over the elements that a mask selects.

Where the mask is False an element counts as the reduction's identity: 0 for a sum, -inf for a maximum.
"""

from __future__ import annotations

import math
from typing import Any

import flambeau
from flambeau import Tensor

Dims = int | tuple[int, ...] | None


def _mask(input: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask, of the input's shape."""
    if mask is None:
        return None
    if mask.ndim > input.ndim:
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    return mask.to(flambeau.bool).expand(input.shape)


def _kept(input: Tensor, mask: Tensor | None, identity: Any) -> Tensor:
    m = _mask(input, mask)
    return (
        input
        if m is None
        else flambeau.where(m, input, flambeau.tensor(identity, dtype=input.dtype, device=input.device))
    )


def _dims(dim: Dims, ndim: int) -> tuple[int, ...]:
    if dim is None or (not isinstance(dim, int) and not len(dim)):
        return tuple(range(ndim))
    return tuple(d % max(ndim, 1) for d in ((dim,) if isinstance(dim, int) else dim))


def _accumulated(input: Tensor, dtype: Any) -> Tensor:
    """Integers add up as int64."""
    if dtype is not None:
        return input.to(dtype)
    return input if input.dtype.is_floating_point or input.dtype.is_complex else input.to(flambeau.int64)


def _lowest(dtype: Any) -> Any:
    return -math.inf if dtype.is_floating_point else False if dtype is flambeau.bool else flambeau.iinfo(dtype).min


def _highest(dtype: Any) -> Any:
    return math.inf if dtype.is_floating_point else True if dtype is flambeau.bool else flambeau.iinfo(dtype).max


def sum(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The sum of the selected elements.

    >>> import flambeau as torch
    >>> torch.masked.sum(torch.tensor([1.0, 2.0, 4.0]), mask=torch.tensor([True, False, True]))
    tensor(5.)
    """
    x = _kept(_accumulated(input, dtype), mask, 0)
    return x.sum(_dims(dim, x.ndim), keepdim) if x.ndim else x.clone()


def prod(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The product of the selected elements."""
    x = _kept(_accumulated(input, dtype), mask, 1)
    for d in sorted(_dims(dim, x.ndim), reverse=True):
        x = x.prod(d, keepdim)
    return x


def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Running sums of the selected elements."""
    x = _kept(input if dtype is None else input.to(dtype), mask, 0)
    return x.cumsum(dim, dtype=x.dtype)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """Running products of the selected elements."""
    x = _kept(input if dtype is None else input.to(dtype), mask, 1)
    return x.cumprod(dim, dtype=x.dtype)


def amax(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The largest selected element."""
    x = input if dtype is None else input.to(dtype)
    x = _kept(x, mask, _lowest(x.dtype))
    return x.amax(_dims(dim, x.ndim), keepdim)


def amin(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The smallest selected element."""
    x = input if dtype is None else input.to(dtype)
    x = _kept(x, mask, _highest(x.dtype))
    return x.amin(_dims(dim, x.ndim), keepdim)


def argmax(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Where the largest selected element is."""
    x = input if dtype is None else input.to(dtype)
    return _kept(x, mask, _lowest(x.dtype)).argmax(dim, bool(keepdim)).to(x.dtype)


def argmin(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """Where the smallest selected element is."""
    x = input if dtype is None else input.to(dtype)
    return _kept(x, mask, _highest(x.dtype)).argmin(dim, bool(keepdim)).to(x.dtype)


def _count(input: Tensor, dim: Dims, keepdim: bool, mask: Tensor | None) -> Tensor:
    ones = flambeau.ones(input.shape, dtype=flambeau.int64, device=input.device)
    return sum(ones, dim, keepdim=keepdim, mask=mask)


def mean(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The mean of the selected elements; NaN where none is."""
    whose, dtype = ("Input", input.dtype) if dtype is None else ("Optional", dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(
            f"mean(): Could not infer output dtype. {whose} dtype must be either a floating point or complex dtype. Got: {dtype}"
        )
    return sum(input, dim, keepdim=keepdim, dtype=dtype, mask=mask) / _count(input, dim, keepdim, mask)


def median(
    input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The median of the selected elements along dim; NaN where none is, which integers cannot say: ValueError."""
    whole = not input.dtype.is_floating_point
    x = input.to(flambeau.float32) if whole else input
    if not x.ndim:
        x, dim, mask = x.reshape(1), 0, None if mask is None else mask.reshape(1)
    out = _kept(x, mask, math.nan).nanmedian(dim, keepdim).values
    if not whole:
        return out
    if out.isnan().any():
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return out.to(input.dtype if dtype is None else dtype)


def logsumexp(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """log(sum(exp)) of the selected elements."""
    x = input if dtype is None else input.to(dtype)
    wide = x if x.dtype.is_floating_point or x.dtype.is_complex else x.to(flambeau.get_default_dtype())
    return _kept(wide, mask, -math.inf).logsumexp(_dims(dim, x.ndim), keepdim).to(x.dtype)


def logaddexp(
    input: Tensor,
    other: Tensor,
    *,
    dtype: Any = None,
    input_mask: Tensor | None = None,
    other_mask: Tensor | None = None,
) -> Tensor:
    """log(exp(input) + exp(other)) of the selected elements."""
    a, b = (input, other) if dtype is None else (input.to(dtype), other.to(dtype))
    return flambeau.logaddexp(_kept(a, input_mask, -math.inf), _kept(b, other_mask, -math.inf))


def norm(
    input: Tensor,
    ord: Any = 2.0,
    dim: Dims = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The vector norm of the selected elements."""
    x = input if dtype is None else input.to(dtype)
    x = _kept(x, mask, math.inf if ord == -math.inf else 0)
    return flambeau.linalg.vector_norm(x, 2.0 if ord is None else ord, _dims(dim, x.ndim), keepdim, dtype=dtype)


def _correction(unbiased: bool | None, correction: float | None) -> float:
    if unbiased is not None and correction is not None:
        raise RuntimeError("Only one of unbiased and correction may be given")
    return correction if correction is not None else 1 if unbiased is None else int(unbiased)


def _spread(input: Tensor, dim: Dims, correction: float, keepdim: bool, dtype: Any, mask: Tensor | None) -> Tensor:
    dtype = input.dtype if dtype is None else dtype
    if not (dtype.is_floating_point or dtype.is_complex):
        dtype = flambeau.float32
    x = input.to(dtype)
    count = _count(x, dim, True, mask)
    centre = sum(x, dim, keepdim=True, mask=mask) / count
    square = (x - centre).abs().pow(2) if dtype.is_complex else (x - centre) * (x - centre)
    total = sum(square, dim, keepdim=keepdim, mask=mask)
    n = count if keepdim else count.reshape(total.shape)
    if correction:
        n = flambeau.maximum(n - correction, flambeau.zeros_like(n))
    return (total / n).to(dtype)


def var(input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: float | None = None, keepdim: bool = False, dtype: Any = None,
        mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The variance of the selected elements."""
    return _spread(input, dim, _correction(unbiased, correction), keepdim, dtype, mask)


def std(input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: float | None = None, keepdim: bool = False, dtype: Any = None,
        mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The standard deviation of the selected elements."""
    return _spread(input, dim, _correction(unbiased, correction), keepdim, dtype, mask).sqrt()


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """softmax over the selected elements."""
    x = input if dtype is None else input.to(dtype)
    return flambeau.nn.functional.softmax(_kept(x, mask, -math.inf), dim, dtype=dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """log(softmax) over the selected elements."""
    x = input if dtype is None else input.to(dtype)
    return flambeau.nn.functional.log_softmax(_kept(x, mask, -math.inf), dim, dtype=dtype)


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Tensor | None = None) -> Tensor:
    """softmax of the negative of the selected elements."""
    x = input if dtype is None else input.to(dtype)
    return flambeau.nn.functional.softmin(_kept(x, mask, math.inf), dim, dtype=dtype)


def normalize(
    input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Tensor | None = None
) -> Tensor:
    """The selected elements over their norm along dim (at least eps)."""
    x = input if dtype is None else input.to(dtype)
    n = norm(x, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _kept(x, mask, 0) / flambeau.maximum(n, flambeau.tensor(eps, dtype=n.dtype, device=n.device))


from .maskedtensor import MaskedTensor, as_masked_tensor, is_masked_tensor, masked_tensor

__all__ = ["MaskedTensor", "amax", "amin", "argmax", "argmin", "as_masked_tensor", "cumprod", "cumsum", "is_masked_tensor", "log_softmax", "logaddexp",
           "logsumexp", "masked_tensor", "mean", "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var"]  # fmt: skip

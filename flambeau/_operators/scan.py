"""Cumulative sums, products, extremes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau._kernel.language import Dim, DType, Kernel, T
from flambeau._operators.index import on_zeros
from flambeau._operators.op import ALL_FORMS, OUT, Op, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import int64
from flambeau._values.shape import wrap_dim


@op("cumsum", promote="sum", variants=ALL_FORMS, native=True, lacks=("Cub", "cumsum_out_cpu"), packed=True)
def cumsum(k: Kernel[T], input: T, dim: Dim, *, dtype: DType | None = None) -> T:
    """Sums of all elements up to each along dim."""
    return k.cumsum(input, dim) if input.ndim else k.library("copied", input)


@op("cumprod", promote="sum", variants=ALL_FORMS, native=True, lacks=("Cub", "cumprod_out_cpu"), packed=True)
def cumprod(k: Kernel[T], input: T, dim: Dim, *, dtype: DType | None = None) -> T:
    """Products of all elements up to each along dim."""
    return k.cumprod(input, dim) if input.ndim else k.library("copied", input)


def _range(input: Any, dim: int, dtype: Any = None) -> None:
    wrap_dim(dim, input.ndim)


cumsum.errors(_range)
cumprod.errors(_range)
cumsum.vjp(input=lambda g, dim: g.flip(dim).cumsum(dim).flip(dim) if g.ndim else g)


def _cumprod_vjp(g: Tensor, input: Tensor, out: Tensor, dim: int) -> Tensor:
    """d out_j / d x_i = product of x_k, k <= j, k != i; by division where no element is 0."""
    if not input.ndim or not input.numel() or input.shape[dim] == 1:
        return g
    conj: Callable[[Tensor], Tensor] = (lambda t: t.conj()) if input.is_complex() else (lambda t: t)
    if not bool(input.eq(0).any()):
        return (g * conj(out)).flip(dim).cumsum(dim).flip(dim) / conj(input)
    parts = []
    n = input.shape[dim]
    for i in range(n):  # rare: an exact zero among the factors
        rest = [input.narrow(dim, 0, i), input.narrow(dim, i, 1) * 0 + 1, input.narrow(dim, i + 1, n - i - 1)]
        from flambeau._operators.join import cat

        others = cat([r for r in rest if r.shape[dim]], dim).cumprod(dim)
        parts.append((g.narrow(dim, i, n - i) * conj(others.narrow(dim, i, n - i))).sum(dim, keepdim=True))
    from flambeau._operators.join import cat

    return cat(parts, dim)


cumprod.vjp(input=_cumprod_vjp)


@op(
    "logcumsumexp",
    promote="none",
    variants=OUT,
    native=True,
    lacks=("biC", "logcumsumexp_out_cpu"),
    packed=True,
    onto=True,
)
def logcumsumexp(k: Kernel[T], input: T, dim: Dim) -> T:
    """log of the cumulative sum of exponentials."""
    return k.logcumsumexp(input, dim)


@logcumsumexp.arrays
def _(k: Any, input: Any, dim: int) -> Any:
    return k.library("logcumsumexp", input, dim=dim)


logcumsumexp.errors(lambda input, dim: _range(input, dim))
logcumsumexp.vjp(input=lambda g, input, out, dim: _lcse_vjp(g, input, out, dim))


def _lcse_vjp(g: Tensor, input: Tensor, out: Tensor, dim: int) -> Tensor:
    """The sum over j >= i of g_j exp(x_i - out_j), its positive and negative terms summed as logarithms, so that nothing overflows."""
    if not input.ndim:
        return g
    unreached = out.eq(-math.inf)

    def part(signed: Tensor, none: Any) -> Tensor:
        terms = (
            signed.masked_fill(none, 1.0).log().masked_fill(none, -math.inf) - out.masked_fill(unreached, 0.0).conj()
        )
        return (terms.flip(dim).logcumsumexp(dim).flip(dim) + input.conj()).exp()

    return part(g, g == 0) if input.is_complex() else part(g, g <= 0) - part(-g, g >= 0)


def _running(word: str) -> Op:
    def body(k: Kernel[T], input: T, dim: Dim) -> tuple[T, T]:
        so_far = getattr(k, f"cum{word}")(input, dim)
        along = tuple(n if d == dim % input.ndim else 1 for d, n in enumerate(input.shape))
        places = k.expand(k.reshape(k.iota(input.shape[dim], int64), along), input.shape)
        hit = k.logical_or(k.eq(input, so_far), k.ne(input, input))
        return so_far, k.cummax(k.where(hit, places, k.like(0, places)), dim)

    body.__name__, body.__doc__ = (
        f"cum{word}",
        f"The {'largest' if word == 'max' else 'smallest'} element so far along dim, and where it is.",
    )
    made = op(
        f"cum{word}",
        promote="none",
        variants=OUT,
        outputs=("values", "indices"),
        native=True,
        lacks=("uc", f"cum{word}_cpu"),
        packed=True,
        onto=True,
    )(body)
    made.arrays(lambda k, input, dim: k.library("cumulative_extreme", input, dim=dim, word=word))
    made.errors(lambda input, dim: _range(input, dim))
    return made.vjp(
        input=lambda g_values, input_shape, indices, dim: (
            on_zeros(g_values, input_shape, "scatter_add", dim, indices, g_values) if input_shape else g_values
        )
    )


cummax, cummin = _running("max"), _running("min")


@composite("diff", variants=OUT)
def diff(
    input: Tensor, n: int = 1, dim: Dim = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along dim, n times."""
    from flambeau._operators.join import cat

    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if n == 0:  # whatever was to be joined
        return input.clone()
    parts = [t for t in (prepend, input, append) if t is not None]
    at = wrap_dim(dim, input.ndim)
    for t in parts:
        if t.ndim != input.ndim:
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
        for i, (a, b) in enumerate(zip(t.shape, input.shape, strict=True)):
            if i != at and a != b:
                raise RuntimeError(
                    "diff expects the shape of tensor to prepend or append to match that of input except along the differencing "
                    f"dimension; input.size({i}) = {b}, but got tensor.size({i}) = {a}"
                )
    x = cat(parts, dim) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[dim])):
        size = x.shape[dim]
        after, before = x.narrow(dim, 1, size - 1), x.narrow(dim, 0, size - 1)
        x = after.logical_xor(before) if x.dtype.kind == "b" else after - before
    return x


@composite(
    "trapezoid.x(Tensor y, Tensor x, *, int dim=-1)",
    "trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1)",
    variants=("function",),
    names=("trapz",),
    native=True,
)
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: Dim = -1) -> Tensor:
    """The integral of y by the trapezoidal rule, at places x or dx apart."""
    _no_bools("trapezoid", y, x)
    n = y.shape[dim]
    if n == 0:
        return y.sum(dim)
    mid = y.narrow(dim, 1, n - 1) + y.narrow(dim, 0, n - 1)
    return (mid * _steps("trapezoid", y, x, dim)).sum(dim) / 2 if x is not None else mid.sum(dim) * dx / 2


@composite(
    "cumulative_trapezoid.x(Tensor y, Tensor x, *, int dim=-1)",
    "cumulative_trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1)",
    variants=("function",),
    native=True,
)
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: Dim = -1) -> Tensor:
    """`trapezoid` up to each place."""
    _no_bools("cumulative_trapezoid", y, x)
    n = y.shape[dim]
    mid = y.narrow(dim, 1, n - 1) + y.narrow(dim, 0, n - 1)
    return (
        (mid * _steps("cumulative_trapezoid", y, x, dim)).cumsum(dim) / 2
        if x is not None
        else mid.cumsum(dim) * (dx / 2)
    )


def _no_bools(name: str, y: Tensor, x: Tensor | None) -> None:
    if any(t is not None and t.dtype.kind == "b" for t in (y, x)):
        which = "`y`" if x is None else "`x` or `y`"
        raise RuntimeError(f"{name}: received a bool input for {which}, but bool is not supported")


def _steps(name: str, y: Tensor, x: Tensor, dim: int) -> Tensor:
    if x.ndim == 1:
        if x.shape[0] != y.shape[dim]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        d = x.diff()
        at = [1] * y.ndim
        at[dim] = d.shape[0]
        return d.reshape(at)
    return x.reshape(*[1] * (y.ndim - x.ndim), *x.shape).diff(dim=wrap_dim(dim, y.ndim))

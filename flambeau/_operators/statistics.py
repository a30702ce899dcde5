"""Statistics: medians, modes, quantiles, covariances, distances between rows, numerical gradients."""

from __future__ import annotations

import math
import warnings
from typing import Any

from flambeau._kernel.language import Dim, Dims, Kernel, Scalar, T
from flambeau._operators._factors import same_dtypes
from flambeau._operators.flat import flat_in
from flambeau._operators.index import on_zeros
from flambeau._operators.norm import norm_of_sizes
from flambeau._operators.op import ALL_FORMS, FUNCTION, OUT, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, float32, float64, uint8
from flambeau._values.shape import wrap_dim

PAIR = ("values", "indices")


# ---------------------------------------------------------------- median and mode


def _refuse_kinds(input: Tensor, routine: str) -> None:
    if input._a.dtype.kind in "bc":
        raise NotImplementedError(f"\"{routine}\" not implemented for '{SPOKEN[input.dtype]}'")


def _refuse_empty(input: Tensor, dim: int, name: str) -> None:
    d = wrap_dim(dim, input.ndim)
    if input.ndim and not input._a.shape[d]:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _shared(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    """The gradient of a chosen value, shared by the elements that equal it."""
    hit: Tensor = input.isnan() if out.isnan().any() else input == out
    return hit.to(g.dtype) * (g / hit.sum())


def _placed(g: Tensor, shape: Any, dim: int, keepdim: bool, indices: Tensor) -> Tensor:
    """The gradient of values chosen along dim, in the places they were chosen from."""
    if not shape:
        return g
    if not keepdim:
        g, indices = g.unsqueeze(dim), indices.unsqueeze(dim)
    return on_zeros(g, shape, "scatter", dim, indices, g)


def _median(name: str, ignore_nan: bool) -> tuple[Any, Any]:
    def whole(k: Kernel[T], input: T) -> T:
        x = k.reshape(input, (-1,)) if input.ndim else input
        if input.ndim and not x.shape[0]:
            return k.full((), math.nan, float32)
        return k.library("median", x, dim=0, ignore_nan=ignore_nan)[0]

    def along(k: Kernel[T], input: T, dim: Dim, keepdim: bool = False) -> tuple[T, T]:
        d = wrap_dim(dim, input.ndim)
        values, indices = k.library("median", input, dim=d, ignore_nan=ignore_nan)
        if keepdim and input.ndim:
            shape = (*input.shape[:d], 1, *input.shape[d + 1 :])
            values, indices = k.reshape(values, shape), k.reshape(indices, shape)
        return values, indices

    whole.__name__ = along.__name__ = name
    what = "The median: the lower of the two in the middle" + (", NaN aside." if ignore_nan else "; NaN if one is.")
    whole.__doc__, along.__doc__ = what, what
    first = op(name, promote="none", variants=("function", "method"), lacks=("uC", "median_cpu"))(whole)
    second = op(f"{name}.dim", promote="none", variants=OUT, outputs=PAIR, packed=True, lacks=("uC", "median_out"))(
        along
    )
    first.vjp(input=_shared)
    second.vjp(
        input=lambda g_values, input_shape, dim, keepdim, indices: _placed(g_values, input_shape, dim, keepdim, indices)
    )

    @first.errors
    def _(input: Tensor) -> None:
        _refuse_kinds(input, "median_cpu")

    @second.errors
    def _(input: Tensor, dim: int, keepdim: bool) -> None:
        _refuse_empty(input, dim, "median")
        _refuse_kinds(input, "median_out")

    return first, second


median, median_dim = _median("median", False)
nanmedian, nanmedian_dim = _median("nanmedian", True)


@op("mode", promote="none", variants=OUT, outputs=PAIR, packed=True, lacks=("cu", "mode_cpu"))
def mode(k: Kernel[T], input: T, dim: Dim = -1, keepdim: bool = False) -> tuple[T, T]:
    """The value that occurs most often along `dim` (the smallest of them), and where it last does."""
    d = wrap_dim(dim, input.ndim)
    values, indices = k.library("mode", input, dim=d)
    if keepdim and input.ndim:
        shape = (*input.shape[:d], 1, *input.shape[d + 1 :])
        values, indices = k.reshape(values, shape), k.reshape(indices, shape)
    return values, indices


mode.vjp(
    input=lambda g_values, input_shape, dim, keepdim, indices: _placed(g_values, input_shape, dim, keepdim, indices)
)


@mode.errors
def _(input: Tensor, dim: int, keepdim: bool) -> None:
    _refuse_empty(input, dim, "mode")


# ---------------------------------------------------------------- quantiles

_WAYS = ("linear", "lower", "higher", "midpoint", "nearest")


def _check_quantile(input: Any, q: Any, interpolation: str) -> None:
    if not isinstance(q, Tensor) and not 0 <= q <= 1:
        raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q:g}")
    if not input.numel():
        raise RuntimeError("quantile() input tensor must be non-empty")
    if input.dtype not in (float32, float64):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if interpolation not in _WAYS:
        raise RuntimeError(
            f"quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if isinstance(q, Tensor):
        if q.ndim > 1:
            raise RuntimeError("quantile() q must be a scalar or 1D tensor")
        if q.dtype is not input.dtype:
            raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
        if not bool(((q >= 0) & (q <= 1)).all()):
            raise RuntimeError("quantile() q values must be in the range [0, 1]")


def _quantile(input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, ignore_nan: bool) -> Any:
    _check_quantile(input, q, interpolation)
    single = not isinstance(q, Tensor) or q.ndim == 0
    q = (q if isinstance(q, Tensor) else input.new_tensor(q)).reshape(-1)
    rank = input.ndim
    d = 0 if dim is None else wrap_dim(dim, rank)
    x = input.reshape(-1) if dim is None or not rank else input.movedim(d, -1)
    x = x.sort(-1)[0]
    n = x.shape[-1]
    nan = x.isnan()
    if ignore_nan:
        place = q * (nan.logical_not().sum(-1, keepdim=True) - 1).clamp(min=0).to(q.dtype)
    else:
        place = (
            (q * float(n - 1)).expand(*x.shape[:-1], q.shape[0]).masked_fill(nan.any(-1, keepdim=True), float(n - 1))
        )
    if interpolation in ("lower", "higher", "nearest"):
        place = {"lower": place.floor, "higher": place.ceil, "nearest": place.round}[interpolation]()
    below = place.long()
    out = x.gather(-1, below)
    if interpolation in ("linear", "midpoint"):
        weight = (
            place - below.to(place.dtype) if interpolation == "linear" else input.new_tensor(0.5).expand(place.shape)
        )
        above = x.gather(-1, place.ceil().long())
        out = out.lerp(above, weight)
    out = out.movedim(-1, 0)
    if keepdim:
        out = out.reshape(q.shape[0], *((1,) * rank)) if dim is None else out.unsqueeze(d + 1) if rank else out
    return out.squeeze(0) if single else out


@composite(
    "quantile",
    'quantile.scalar(Tensor self, float q, int? dim=None, bool keepdim=False, *, str interpolation="linear")',
    variants=OUT,
    autocast="float32",
)
def quantile(
    input: Tensor, q: Tensor | Scalar, dim: Dim | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The value below which the fraction `q` of the elements lies."""
    return _quantile(input, q, dim, keepdim, interpolation, False)


@composite(
    "nanquantile",
    'nanquantile.scalar(Tensor self, float q, int? dim=None, bool keepdim=False, *, str interpolation="linear")',
    variants=OUT,
    autocast="float32",
)
def nanquantile(
    input: Tensor, q: Tensor | Scalar, dim: Dim | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The quantile of what is not NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, True)


# ---------------------------------------------------------------- counts and covariances


@composite(
    "count_nonzero.dim_IntList(Tensor self, int[] dim)",
    "count_nonzero(Tensor self, int? dim=None)",
    lacks=("u", "nonzero_count_cpu"),
)
def count_nonzero(input: Tensor, dim: Dims | None = None) -> Tensor:
    """How many elements are not zero."""
    return (input != 0).sum(dim)


def _check_weights(name: str, w: Any, n: int, whole: bool) -> None:
    what = f"cov(): expected {name} to have"
    if w.ndim > 1:
        raise RuntimeError(f"{what} one or fewer dimensions but got {name} with {w.ndim} dimensions")
    if whole != (w.dtype.kind == "i") or (not whole and w.dtype.kind != "f"):
        raise RuntimeError(
            f"{what} {'integral' if whole else 'floating point'} dtype but got {name} with {SPOKEN[w.dtype]} dtype"
        )
    if w.numel() != n:
        raise RuntimeError(f"{what} the same numel as there are observations in the input but got {w.numel()} != {n}")
    if n and not bool((w >= 0).all()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@composite("cov", autocast="open")
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of the rows of a matrix, whose columns are observations."""
    x: Any = input
    if x.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {x.ndim} dimensions"
        )
    if x.dtype.kind == "b":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = x if x.ndim == 2 else x.reshape(1, -1)
    n = x.shape[1]
    w: Any = None
    if fweights is not None:
        _check_weights("fweights", fweights, n, True)
        w = fweights
    if aweights is not None:
        _check_weights("aweights", aweights, n, False)
        w = aweights if w is None else w * aweights
    total: Any = n if w is None else w.sum()
    if w is not None and bool(total == 0):
        raise ZeroDivisionError("cov(): weights sum to zero, can't be normalized")
    mean = (x if w is None else x * w).sum(1) / total
    if w is not None and aweights is not None and correction != 0:
        freedom = total - correction * (w * aweights).sum() / total
    else:
        freedom = total - correction
    if bool(freedom <= 0):
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.",
            stacklevel=2,
        )
        freedom = abs(freedom) * 0
    x = x - mean.unsqueeze(1)
    y = (x if w is None else x * w).t().conj()
    return ((x @ y) / freedom).squeeze()


@composite("corrcoef", autocast="open")
def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the rows of a matrix, whose columns are observations."""
    x: Any = input
    if x.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {x.ndim} dimensions"
        )
    c = cov(x)
    if not c.ndim:
        return c / c
    d = c.diagonal()
    s = (d.real if c.is_complex() else d).sqrt()
    c = c / s.reshape(-1, 1) / s.reshape(1, -1)
    if not c.is_complex():
        return c.clip(-1, 1)
    from flambeau._operators.complex import complex_ as pair

    return pair(c.real.clip(-1, 1), c.imag.clip(-1, 1))


# ---------------------------------------------------------------- norms of slices, distances of rows


@composite("renorm", variants=ALL_FORMS, packed=True)
def renorm(input: Tensor, p: Scalar, dim: Dim, maxnorm: Scalar) -> Tensor:
    """Each slice along `dim` scaled down, where needed, so that its p-norm is at most `maxnorm`."""
    x: Any = input
    if isinstance(p, complex) or p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if isinstance(maxnorm, complex) or maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if x.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {x.ndim} dimensions")
    d = wrap_dim(dim, x.ndim)
    if x.dtype.kind in "bi":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {SPOKEN[x.dtype]}"
        )
    size = x.norm(p, [i for i in range(x.ndim) if i != d], keepdim=True)
    return x * (maxnorm / (size + 1e-7)).masked_fill(size <= maxnorm, 1)


@op("_euclidean_dist(Tensor x1, Tensor x2)", variants=FUNCTION, packed=True)
def _euclidean_dist(k: Kernel[T], input: T, other: T) -> T:
    """The distances between the rows of two matrices, by one matrix product."""
    return k.library("euclidean", input, other)


def _pull(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """How distances pull at the rows of x; two equal rows do not pull."""
    ratio = (g / out).masked_fill(out == 0, 0)
    return ratio.sum(-1, keepdim=True) * x - ratio @ y


_euclidean_dist.vjp(
    input=lambda g, out, input, other: _pull(g, out, input, other),
    other=lambda g, out, input, other: _pull(g.mT, out.mT, other, input),
)


@op("_pairwise", variants=(), native=True, lacks=("8", "cdist"))
def _pairwise(k: Kernel[T], input: T, other: T, p: float) -> T:
    """The p-norms of the differences between each row of one matrix and each of another; not one difference is kept."""
    n, m, d = input.shape[-2], other.shape[-2], input.shape[-1]
    x = k.reshape(input, (*input.shape[:-2], n, 1, d))
    apart = k.abs(x - k.reshape(other, (*other.shape[:-2], 1, m, d)))
    if p == 0:  # what is not a number is no number of coordinates
        found = k.sum(k.minimum(k.ceil(apart), k.like(1, apart)), (apart.ndim - 1,))
    else:
        found = norm_of_sizes(k, apart, p, (apart.ndim - 1,))
    return k.reshape(found, found.shape[:-1])


def _pull_apart(g: Any, out: Any, input: Any, other: Any, p: float) -> Any:
    """How distances pull at the rows of `input`: what is equal does not."""
    d = input.unsqueeze(-2) - other.unsqueeze(-3)
    g, out = g.unsqueeze(-1), out.unsqueeze(-1)
    if p == 1:
        each = d.sign() * g
    elif p == 2:
        each = d * (g / out).masked_fill(out == 0, 0)
    elif p == math.inf:
        each = d.sign() * (d.abs() == out).to(g.dtype) * g
    else:
        each = d.sign() * d.abs().pow(p - 1).masked_fill(d == 0, 0) * (g / out.pow(p - 1)).masked_fill(out == 0, 0)
    return each.sum(-2)


_pairwise.known_as("CdistBackward0", event="_cdist_forward").vjp(
    input=lambda g, out, input, other, p: _pull_apart(g, out, input, other, p),
    other=lambda g, out, input, other, p: _pull_apart(g.mT, out.mT, other, input, p),
)


def pairwise(input: Any, other: Any, p: float) -> Any:
    """`_pairwise`; distances of order 0 (how many coordinates differ) have a derivative, which is zero."""
    if p == 0:
        return flat_in(flat_in(_pairwise(input.detach(), other.detach(), 0.0), input), other)
    return _pairwise(input, other, float(p))


_MM = {None: None, 0: None, 1: True, 2: False}  # compute_mode: whether by a matrix product (None: for many rows)
_MODES = {"use_mm_for_euclid_dist_if_necessary": 0, "use_mm_for_euclid_dist": 1, "donot_use_mm_for_euclid_dist": 2}


@composite(
    "cdist(Tensor x1, Tensor x2, float p=2., int? compute_mode=None)",
    variants=FUNCTION,
    packed=True,
    lacks=("h", "cdist"),
    autocast="float32",
)
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    """The p-norms of the differences between each row of `x1` and each of `x2`."""
    a: Any = x1
    b: Any = x2
    for name, t in (("X1", a), ("X2", b)):
        if t.dtype.kind != "f":
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {SPOKEN[t.dtype]}")
        if t.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {t.ndim}D")
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    same_dtypes(a, b)
    if isinstance(compute_mode, str):
        if compute_mode not in _MODES:
            raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
        compute_mode = _MODES[compute_mode]
    product = _MM.get(compute_mode)
    if p == 2 and (product or (product is None and (a.shape[-2] > 25 or b.shape[-2] > 25))):
        return _euclidean_dist(a, b)
    if not a.shape[-1]:
        return (a.unsqueeze(-2) - b.unsqueeze(-3)).sum(-1)
    return pairwise(a, b, p)


# ---------------------------------------------------------------- numerical gradient


def _slope(x: Any, dim: int, step: Any, order: int) -> Any:
    """Differences along dim: central inside, one-sided (of the given order) at both ends."""
    n = x.shape[dim]

    def at(start: int, length: int) -> Any:
        return x.narrow(dim, start, length)

    if not isinstance(step, Tensor):
        first, inner, last = (
            at(1, 1) - at(0, 1),
            (at(2, n - 2) - at(0, n - 2)) / (2 * step),
            at(n - 1, 1) - at(n - 2, 1),
        )
        if order == 2:
            first = at(0, 1) * -1.5 + at(1, 1) * 2 - at(2, 1) * 0.5
            last = at(n - 1, 1) * 1.5 - at(n - 2, 1) * 2 + at(n - 3, 1) * 0.5
        return _cat([first / step, inner, last / step], dim)
    h = step.diff().reshape([-1 if i == dim else 1 for i in range(x.ndim)])

    def weighted(u: Any, v: Any, w: tuple[Any, Any, Any], start: int, length: int) -> Any:
        return w[0] * at(start, length) + w[1] * at(start + 1, length) + w[2] * at(start + 2, length)

    u, v = h.narrow(dim, 0, n - 2), h.narrow(dim, 1, n - 2)
    inner = weighted(u, v, (-v / (u * (u + v)), (v - u) / (u * v), u / (v * (u + v))), 0, n - 2)
    if order == 1:
        first, last = (
            (at(1, 1) - at(0, 1)) / h.narrow(dim, 0, 1),
            (at(n - 1, 1) - at(n - 2, 1)) / h.narrow(dim, n - 2, 1),
        )
    else:
        u, v = h.narrow(dim, 0, 1), h.narrow(dim, 1, 1)
        first = weighted(u, v, (-(2 * u + v) / (u * (u + v)), (u + v) / (u * v), -u / (v * (u + v))), 0, 1)
        u, v = h.narrow(dim, n - 3, 1), h.narrow(dim, n - 2, 1)
        last = weighted(u, v, (v / (u * (u + v)), -(u + v) / (u * v), (2 * v + u) / (v * (u + v))), n - 3, 1)
    return _cat([first, inner, last], dim)


def _cat(xs: list[Any], dim: int) -> Any:
    from flambeau._operators.join import cat

    return cat(xs, dim)


@composite("gradient.scalarint(Tensor self, *, Scalar? spacing=None, int? dim=None, int edge_order=1) -> Tensor[]", "gradient.scalararray(Tensor self, *, Scalar spacing, int[] dim, int edge_order=1) -> Tensor[]", "gradient.array(Tensor self, *, int[] dim, int edge_order=1) -> Tensor[]", "gradient.scalarrayint(Tensor self, *, Scalar[] spacing, int? dim=None, int edge_order=1) -> Tensor[]", "gradient.scalarrayarray(Tensor self, *, Scalar[] spacing, int[] dim, int edge_order=1) -> Tensor[]",
           "gradient.tensorarrayint(Tensor self, *, Tensor[] spacing, int? dim=None, int edge_order=1) -> Tensor[]", "gradient.tensorarray(Tensor self, *, Tensor[] spacing, int[] dim, int edge_order=1) -> Tensor[]", variants=FUNCTION)  # fmt: skip
def gradient(input: Tensor, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> Any:
    """The derivative along each of `dim`, estimated from samples `spacing` apart (a step, or coordinates, for each dim)."""
    x: Any = input
    if x.dtype is uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    dims = (
        list(range(x.ndim)) if dim is None else [wrap_dim(d, x.ndim) for d in ((dim,) if isinstance(dim, int) else dim)]
    )
    if spacing is None or isinstance(spacing, (int, float, complex)):
        steps = [1 if spacing is None else spacing] * len(dims)
    else:
        steps = list(spacing)
        if len(steps) != len(dims):
            if dim is None:
                raise RuntimeError(
                    f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to 'self.dim() = {x.ndim}', "
                    f"since dim argument was not given, but got a list of length {len(steps)}"
                )
            raise RuntimeError(
                "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to have the same "
                f"length, but got a spacing argument of length {len(steps)} and a dim argument of length {len(dims)}."
            )
    for d in dims:
        if dims.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        if x.shape[d] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    return tuple(_slope(x, d, step, edge_order) for d, step in zip(dims, steps, strict=True))

"""Reductions: sums, products, extremes, means and spreads over some or all dimensions."""

from __future__ import annotations

import math
from math import prod as product
from typing import Any

from flambeau._ground.once import warn
from flambeau._kernel.language import Dim, Dims, Dims1, DType, Kernel, Scalar, T
from flambeau._operators.op import OUT, Op, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, uint8
from flambeau._values.shape import wrap_dim, wrap_dims

SPREAD = 1 << 13  # elements: smaller tensors are summed in one thread; of larger ones, gradients stay one number


def dropped(shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[int, ...]:
    """The shape after a reduction over dims."""
    return (
        tuple(1 if i in dims else n for i, n in enumerate(shape))
        if keepdim
        else tuple(n for i, n in enumerate(shape) if i not in dims)
    )


def restored(g: Tensor, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Tensor:
    """A reduced tensor with its dims back as 1, so that it broadcasts against the input."""
    dims = wrap_dims(dim, len(shape))
    if keepdim or len(dims) == len(shape):
        return g
    return g.reshape(tuple(1 if i in dims else n for i, n in enumerate(shape)))


@op(
    "sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None)",
    "sum(Tensor self, *, ScalarType? dtype=None)",
    promote="sum",
    variants=OUT,
    native=True,
    lacks=("C", "sum_cpu"),
    packed=True,
)
def sum(k: Kernel[T], input: T, dim: Dims | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> T:
    """The sum over `dim` (all dimensions where it is None or empty)."""
    dims = wrap_dims(dim, input.ndim)
    out = k.sum(input, dims)
    return out if keepdim else k.reshape(out, dropped(input.shape, dims, False))


@sum.arrays
def _(k, input, dim=None, keepdim=False, *, dtype=None):  # type: ignore[no-untyped-def]
    return _reduced(k, input, None if dim is None else wrap_dims(dim, input.ndim), keepdim)


def ordered(x: Any) -> bool:
    """Whether the sum of all elements of an array is computed in PyTorch's order."""
    return x.dtype.char in "fd" and 0 < x.size < SPREAD and bool(x.flags.forc)


def _reduced(k: Any, x: Any, dims: Any, keepdim: bool) -> Any:
    """The sum of an array over dims, or all of them (None): of all of a small one in PyTorch's order."""
    if (dims is None or len(dims) == x.ndim) and ordered(x):
        out = k.library("total", x)
        return out.reshape((1,) * x.ndim) if keepdim else out
    return k.xp.add.reduce(x, dims, None, None, keepdim)


def _sum_back(k: Any, g: Any, input_shape: tuple[int, ...], dim: Any, keepdim: bool) -> Any:
    if dim is not None and not keepdim and input_shape:
        dims = wrap_dims(dim, len(input_shape))
        g = g.reshape(tuple(1 if i in dims else n for i, n in enumerate(input_shape)))
    if g.shape == input_shape:  # dims of one element
        return g
    if g.size != 1 or product(input_shape) >= SPREAD:
        return k.xp.broadcast_to(g if g.ndim <= len(input_shape) else g.reshape(()), input_shape)
    out = k.xp.empty(input_shape, g.dtype)
    out[...] = g if g.ndim <= out.ndim else g.reshape(())
    return out


sum.vjp(input=lambda g, input_shape, dim, keepdim: restored(g, input_shape, dim, keepdim).expand(input_shape))
sum.vjp_arrays(input=_sum_back)


@op(
    "mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None)",
    "mean(Tensor self, *, ScalarType? dtype=None)",
    variants=OUT,
    native=True,
    lacks=("C", "sum_cpu"),
    packed=True,
)
def mean(k: Kernel[T], input: T, dim: Dims | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> T:
    """The mean over `dim` (all dimensions where it is None or empty)."""
    dims = wrap_dims(dim, input.ndim)
    n = product(input.shape[d] for d in dims)
    out = k.sum(input, dims) / n if n else k.sum(input, dims) * math.nan
    return out if keepdim else k.reshape(out, dropped(input.shape, dims, False))


@mean.arrays
def _(k, input, dim=None, keepdim=False, *, dtype=None):  # type: ignore[no-untyped-def]
    dims = None if dim is None else wrap_dims(dim, input.ndim)
    n = input.size if dims is None else product(input.shape[d] for d in dims)
    out = _reduced(k, input, dims, keepdim)
    return out / input.dtype.type(n) if n else out * input.dtype.type(math.nan)


def _count(shape: tuple[int, ...], dim: Any) -> int:
    return product(shape[d] for d in wrap_dims(dim, len(shape)))


def _mean_back(k: Any, g: Any, input_shape: tuple[int, ...], dim: Any, keepdim: bool) -> Any:
    """Over some dims the gradient has an element of its own for each of the input's, as in PyTorch: it may be written in place."""
    g = _sum_back(k, g / g.dtype.type(max(1, _count(input_shape, dim))), input_shape, dim, keepdim)
    if dim is None or 0 not in g.strides:
        return g
    out = k.xp.empty(input_shape, g.dtype)
    out[...] = g
    return out


def _mean_back_tensors(g: Tensor, shape: tuple[int, ...], dim: Any, keepdim: bool) -> Tensor:
    n = max(1, _count(shape, dim))
    if dim is None:
        return restored(g / n, shape, dim, keepdim).expand(shape)
    return restored(g, shape, dim, keepdim).expand(shape) / n


mean.vjp(input=lambda g, input_shape, dim, keepdim: _mean_back_tensors(g, input_shape, dim, keepdim))
mean.vjp_arrays(input=_mean_back)


@mean.errors
def _(input: Any, dim: Any, keepdim: bool, dtype: Any) -> None:
    d = dtype or input.dtype
    if d.kind in "bi":
        from flambeau._values.dtype import SPOKEN

        if dtype is None:
            raise RuntimeError(
                "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
                + SPOKEN[d]
            )
        raise RuntimeError(
            "mean(): could not infer output dtype. Optional dtype must be either a floating point or complex dtype. Got: "
            + SPOKEN[d]
        )


@composite("nansum", variants=OUT, native=True, lacks=("8", "nansum_cpu"))
def nansum(input: Tensor, dim: Dims1 | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum, NaN counting as 0."""
    if input.is_complex():
        raise RuntimeError("nansum on CPU does not support complex inputs")
    if dtype is not None and dtype.is_complex:
        raise NotImplementedError(f"\"nansum_cpu\" not implemented for '{SPOKEN[dtype]}'")
    x = input.masked_fill(input.isnan(), 0) if input.dtype.is_floating_point else input
    return x.sum(dim, keepdim, dtype=dtype)


@composite("nanmean", variants=OUT, native=True, lacks=("8", "nansum_cpu"))
def nanmean(input: Tensor, dim: Dims1 | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean of what is not NaN."""
    if input.dtype.kind in "bi":
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {SPOKEN[input.dtype]}"
        )
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(
            "nanmean(): could not infer output dtype. Optional dtype must be either a floating point or complex dtype. Got: "
            + SPOKEN[dtype]
        )
    return nansum(input, dim, keepdim, dtype=dtype) / input.isnan().logical_not().sum(dim, keepdim)


@op(
    "prod",
    promote="sum",
    variants=("function", "method"),
    native=True,
    lacks=("uC", "prod_out_cpu"),
    autocast="float32",
)
def prod(k: Kernel[T], input: T, *, dtype: DType | None = None) -> T:
    """The product of all elements."""
    return k.reshape(k.prod(input, tuple(range(input.ndim))), ())


@op(
    "prod.dim_int",
    promote="sum",
    variants=OUT,
    native=True,
    packed=True,
    lacks=("C", "prod_out_cpu"),
    autocast="float32",
)
def prod_dim(k: Kernel[T], input: T, dim: Dim, keepdim: bool = False, *, dtype: DType | None = None) -> T:
    """The product over one dimension."""
    dim = wrap_dim(dim, input.ndim)
    dims = (dim,) if input.ndim else ()
    return k.reshape(k.prod(input, dims), dropped(input.shape, dims, keepdim))


def _others(input: Tensor, dim: int) -> Tensor:
    """For each element the product of all others along dim, without dividing."""
    if not input.numel():
        return input
    one = input.narrow(dim, 0, 1) * 0 + 1
    before = _cat([one, input.narrow(dim, 0, input.shape[dim] - 1)], dim).cumprod(dim)
    back = input.flip(dim)
    after = _cat([one, back.narrow(dim, 0, input.shape[dim] - 1)], dim).cumprod(dim).flip(dim)
    return before * after


def _cat(xs: list[Any], dim: int) -> Any:
    from flambeau._operators.join import cat

    return cat(xs, dim)


def _c(x: Tensor) -> Tensor:
    return x.conj() if x.is_complex() else x


def _prod_vjp(g: Tensor, input: Tensor) -> Tensor:
    if input.ndim == 0:
        return g
    flat = input.reshape(-1)
    return (g * _c(_others(flat, 0))).reshape(input.shape)


prod.vjp(input=_prod_vjp)
prod_dim.known_as("ProdBackward1").vjp(
    input=lambda g, input, dim, keepdim: (
        g if input.ndim == 0 else (g if keepdim else g.unsqueeze(dim)) * _c(_others(input, wrap_dim(dim, input.ndim)))
    )
)


# ---------------------------------------------------------------- extremes


def _nonempty(name: str) -> Any:
    def check(input: Any, **_: Any) -> None:
        if not input.numel():
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument."
            )

    return check


def _refuse_empty(input: Any, dims: Any, name: str) -> None:
    if input.numel():
        return
    if not isinstance(dims, int) and not len(dims):
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument."
        )
    wrapped = wrap_dims(dims, input.ndim)
    if name in ("amin", "amax"):  # tell them as they were given
        wrapped = (dims,) if isinstance(dims, int) else tuple(dims)
    for d in wrapped:
        if input.ndim and input.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _extreme(word: str) -> tuple[Op, Op, Op]:
    """amax/max over all, and max along a dim with indices."""

    def full(k: Kernel[T], input: T) -> T:
        return k.reshape(getattr(k, word)(input, tuple(range(input.ndim))), ())

    def along(k: Kernel[T], input: T, dim: Dim, keepdim: bool = False) -> tuple[T, T]:
        if not input.ndim:
            return k.library("copied", input), k.library("filled", k.iota(1, _int64()), shape=())
        d = wrap_dim(dim, input.ndim)
        index = getattr(k, "arg" + word)(input, d)
        shape = dropped(input.shape, (d,), keepdim)
        return k.reshape(k.gather(input, d, index), shape), k.reshape(index, shape)

    def several(k: Kernel[T], input: T, dim: Dims1 = (), keepdim: bool = False) -> T:
        dims = wrap_dims(dim, input.ndim)
        return k.reshape(getattr(k, word)(input, dims), dropped(input.shape, dims, keepdim))

    kind = "largest" if word == "max" else "smallest"
    full.__name__, full.__doc__ = word, f"The {kind} element."
    along.__name__, along.__doc__ = word + "_dim", f"The {kind} element along a dimension, and where it is."
    several.__name__, several.__doc__ = (
        "a" + word,
        f"The {kind} element over some dimensions; equal ones share the gradient.",
    )
    a = op(word, promote="none", variants=OUT, native=True, lacks=("uc", f"{word}_all"))(full)
    b = op(
        f"{word}.dim",
        promote="none",
        variants=OUT,
        outputs=("values", "indices"),
        native=True,
        lacks=("u", f"{word}_cpu"),
        packed=True,
    )(along)
    c = op(f"a{word}", promote="none", variants=OUT, native=True, lacks=("uc", f"{word}_values_cpu"), packed=True)(
        several
    )
    a.errors(_nonempty(word))

    def refuse(input: Any, dim: int, keepdim: bool) -> None:
        if input.is_complex():
            raise RuntimeError(f"{word}(): does not support complex input")
        if not input.ndim:
            wrap_dim(dim, 0)
        else:
            _refuse_empty(input, dim, word)

    b.errors(refuse)
    c.errors(lambda input, dim, keepdim: _refuse_empty(input, dim, "a" + word))
    a.vjp(input=lambda g, input, out: _shared(g, input, out))
    b.vjp(
        input=lambda g_values, input_shape, indices, dim, keepdim: _placed(g_values, input_shape, indices, dim, keepdim)
    )
    b.vjp_arrays(
        input=lambda k, g_values, input_shape, indices, dim, keepdim: _placed_arrays(
            k, g_values, input_shape, indices, dim, keepdim
        )
    )
    c.vjp(
        input=lambda g, input, out, dim, keepdim: _shared(
            restored(g, input.shape, dim, keepdim), input, restored(out, input.shape, dim, keepdim), dim
        )
    )
    return a, b, c


def _int64() -> Any:
    from flambeau._values.dtype import int64

    return int64


def _shared(g: Tensor, input: Tensor, out: Tensor, dim: Any = None) -> Tensor:
    hit = (
        input.eq(out).logical_or(input.isnan().logical_and(out.isnan()))
        if input.dtype.is_floating_point
        else input.eq(out)
    )
    hit = hit.to(g.dtype)
    return g * hit / hit.sum(wrap_dims(dim, input.ndim), keepdim=True)


def _placed(g: Tensor, shape: tuple[int, ...], indices: Tensor, dim: int, keepdim: bool) -> Tensor:
    """A gradient per slice, put where the slice's element was."""
    if not shape:
        return g
    if not keepdim:
        g, indices = g.unsqueeze(dim), indices.unsqueeze(dim)
    from flambeau._operators.index import on_zeros

    return on_zeros(g, shape, "scatter", dim, indices, g)


def _placed_arrays(k: Any, g: Any, shape: tuple[int, ...], indices: Any, dim: int, keepdim: bool) -> Any:
    from flambeau._operators.index import scattered

    return scattered(k, g, shape, dim, keepdim, indices)


@composite("max.other", variants=("function", "method", "out"))
def max_other(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two elements."""
    from flambeau._operators.select import maximum

    return maximum(input, other)


@composite("min.other", variants=("function", "method", "out"))
def min_other(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two elements."""
    from flambeau._operators.select import minimum

    return minimum(input, other)


max_, max_dim, amax = _extreme("max")
min_, min_dim, amin = _extreme("min")


@composite("aminmax", variants=OUT, outputs=("min", "max"), exact=True, lacks=("cu", "aminmax_cpu"))
def aminmax(input: Tensor, *, dim: Dim | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest and the largest element."""
    if dim is None and not input.numel():
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    if dim is not None and input.ndim and not input.numel() and not input.shape[wrap_dim(dim, input.ndim)]:
        raise IndexError(f"aminmax: Expected reduction dim {wrap_dim(dim, input.ndim)} to have non-zero size.")
    dims = () if dim is None else (dim,)
    return amin(input, dims, keepdim), amax(input, dims, keepdim)


def _arg(word: str) -> Op:
    def body(k: Kernel[T], input: T, dim: Dim | None = None, keepdim: bool = False) -> T:
        if not input.ndim:
            return k.reshape(getattr(k, word)(k.reshape(input, (1,)), 0), ())
        if dim is None:
            flat = getattr(k, word)(k.reshape(input, (product(input.shape),)), 0)
            return k.reshape(flat, (1,) * input.ndim if keepdim else ())
        d = wrap_dim(dim, input.ndim)
        return k.reshape(getattr(k, word)(input, d), dropped(input.shape, (d,), keepdim))

    body.__name__, body.__doc__ = (
        word,
        f"Where the {'largest' if word == 'argmax' else 'smallest'} element is: flat, or along a dimension.",
    )
    made = op(
        word, promote="none", variants=OUT, differentiable=False, native=True, packed=True, lacks=("u", f"{word}_cpu")
    )(body)

    def check(input: Any, dim: Any, keepdim: bool) -> None:
        for kind, name in (("b", "bool"), ("c", "complex")):
            if input.dtype.kind == kind:
                raise RuntimeError(f"{word}(): does not support {name} input")
        if dim is None and not input.numel():
            raise IndexError(f"{word}(): Expected reduction dim to be specified for input.numel() == 0.")
        if dim is not None:
            _refuse_empty(input, dim, word) if input.ndim else wrap_dim(dim, 0)

    return made.errors(check)


argmax, argmin = _arg("argmax"), _arg("argmin")


def _truth(word: str) -> Op:
    def body(k: Kernel[T], input: T, dim: Dims | None = None, keepdim: bool = False) -> T:
        dims = tuple(range(input.ndim)) if dim is None else wrap_dims(dim, input.ndim, empty_is_all=False)
        out = getattr(k, word)(k.ne(input, k.like(0, input)) if input.dtype.kind not in "b?" else input, dims)
        if input.dtype.kind not in "b?" and input.dtype.name == "uint8":  # PyTorch's truth values of old
            out = k.cast(out, uint8)
        return k.reshape(out, dropped(input.shape, dims, keepdim))

    body.__name__, body.__doc__ = word, f"Whether {word} element{'s are' if word == 'all' else ' is'} nonzero."
    return op(
        f"{word}(Tensor self)", f"{word}.dim(Tensor self, int dim, bool keepdim=False)", f"{word}.dims", promote="none", variants=OUT,
        differentiable=False, native=True, packed=True,
    )(body)  # fmt: skip


any_, all_ = _truth("any"), _truth("all")


# ---------------------------------------------------------------- spread


@op("var.correction", variants=OUT, native=True, packed=True, lacks=("8", "std_cpu"))
def var(
    k: Kernel[T], input: T, dim: Dims1 | None = None, *, correction: Scalar | None = None, keepdim: bool = False
) -> T:
    """The mean squared distance from the mean, over n - correction (1 by default)."""
    dims = wrap_dims(dim, input.ndim)
    n = product(input.shape[d] for d in dims)
    c: Any = 1 if correction is None else correction
    d = input - k.sum(input, dims) / max(n, 1)
    square = d * d if input.dtype.kind != "c" else k.real(d) * k.real(d) + k.imag(d) * k.imag(d)
    left = max(n - c, 0)
    out = (
        k.sum(square, dims) / left
        if left
        else k.sum(square, dims) / k.like(0.0, k.real(square) if input.dtype.kind == "c" else square)
    )
    return k.reshape(out, dropped(input.shape, dims, keepdim))


def _var_vjp(g: Tensor, input: Tensor, dim: Any, correction: Any, keepdim: bool) -> Tensor:
    n = _count(tuple(input.shape), dim)
    c = 1 if correction is None else correction
    dims = wrap_dims(dim, input.ndim)
    centred = input - input.mean(dims, keepdim=True) if dims else input * 0
    factor = 2.0 / (n - c) if n > c else math.nan if n == c and n else math.inf
    return restored(g, tuple(input.shape), dim, keepdim) * centred * factor


var.vjp(input=_var_vjp)


@var.errors
def _(input: Any, dim: Any, correction: Any, keepdim: bool) -> None:
    if input.dtype.kind in "bi":
        raise RuntimeError("std and var only support floating point and complex dtypes")
    if _few(input, dim, correction):
        _warn_few("var")


def _few(input: Any, dim: Any, correction: Any) -> bool:
    return _count(tuple(input.shape), dim) <= (1 if correction is None else correction)


def _warn_few(name: str) -> None:
    warn(
        f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor (input numel divided "
        "by output numel)."
    )


def _spread(name: str, input: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    """`var` for an operator of another name, under which it warns."""
    if input.dtype.kind in "bi" or not _few(input, dim, correction):
        return var(input, dim, correction=correction, keepdim=keepdim)
    _warn_few(name)
    return var(input, dim, correction=-1, keepdim=keepdim) * math.inf  # what a division by zero gives, NaN from 0


@composite(
    "var(Tensor self, bool unbiased=True)",
    "var.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False)",
    python_name="var",
    variants=OUT,
)
def var_unbiased(input: Tensor, dim: Dims | None = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """`var` with correction 1 (unbiased) or 0."""
    return var(input, dim, correction=int(unbiased), keepdim=keepdim)


@composite("var.all", python_name="var")
def var_all(input: Tensor, unbiased: bool) -> Tensor:
    """`var` of all elements."""
    return var(input, None, correction=int(unbiased))


@composite("std.correction", variants=OUT, layouts=True)
def std(input: Tensor, dim: Dims1 | None = None, *, correction: Scalar | None = None, keepdim: bool = False) -> Tensor:
    """The square root of `var`."""
    return _root(_spread("std", input, dim, correction, keepdim))


@op("_std_root", variants=())
def _root(k: Kernel[T], input: T) -> T:
    """The square root, whose derivative at 0 is 0."""
    return k.sqrt(input)


_root.known_as("StdBackward0", event="sqrt").vjp(input=lambda g, out: (g / (out * 2)).masked_fill(out.eq(0), 0.0))


@composite(
    "std(Tensor self, bool unbiased=True)",
    "std.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False)",
    python_name="std",
    layouts=True,
    variants=OUT,
)
def std_unbiased(input: Tensor, dim: Dims | None = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """`std` with correction 1 (unbiased) or 0."""
    return std(input, dim, correction=int(unbiased), keepdim=keepdim)


@composite("std.all", python_name="std", layouts=True)
def std_all(input: Tensor, unbiased: bool) -> Tensor:
    """`std` of all elements."""
    return std(input, None, correction=int(unbiased))


def _with_mean(name: str) -> None:
    def both(input: Tensor, dim: Dims | None, correction: Any, keepdim: bool) -> tuple[Tensor, Tensor]:
        if input.dtype.kind in "bi":
            raise RuntimeError(f"{name}_mean only support floating point and complex dtypes")
        found = _spread(f"{name}_mean", input, dim, correction, keepdim)
        return _root(found) if name == "std" else found, input.mean(dim, keepdim)

    def correction_(
        input: Tensor, dim: Dims1 | None = None, *, correction: Scalar | None = None, keepdim: bool = False
    ) -> tuple[Tensor, Tensor]:
        return both(input, dim, correction, keepdim)

    def unbiased_(
        input: Tensor, dim: Dims | None = None, unbiased: bool = True, keepdim: bool = False
    ) -> tuple[Tensor, Tensor]:
        return both(input, dim, int(unbiased), keepdim)

    def all_of(input: Tensor, unbiased: bool) -> tuple[Tensor, Tensor]:
        return both(input, None, int(unbiased), False)

    by_dim = "dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False)"
    for fn, overload in ((correction_, "correction"), (unbiased_, by_dim), (all_of, "all")):
        fn.__name__, fn.__doc__ = f"{name}_mean", f"`{name}` and the mean."
        composite(f"{name}_mean.{overload}", variants=("function",), python_name=f"{name}_mean")(fn)


_with_mean("var")
_with_mean("std")


# ---------------------------------------------------------------- logarithms of sums, norms


@op(
    "logsumexp",
    variants=OUT,
    promote="float",
    native=True,
    packed=True,
    lacks=(("C", "exp_vml_cpu"), ("8", "max_values_cpu")),
)
def logsumexp(k: Kernel[T], input: T, dim: Dims1, keepdim: bool = False) -> T:
    """log(sum(exp(x))), without overflow.

    >>> torch.special.logsumexp(torch.tensor([1000.0, 1000.0]), 0)
    tensor(1000.6932)
    """
    dims = wrap_dims(dim, input.ndim)
    if not product(input.shape[d] for d in dims):
        top = k.sum(input, dims)
        return k.reshape(k.log(top), dropped(input.shape, dims, keepdim))
    top = k.max(input, dims) if input.dtype.kind != "c" else k.cast(k.max(k.real(input), dims), _like(input))
    top = k.where(k.isinf(top), k.like(0.0, top), top)
    return k.reshape(k.log(k.sum(k.exp(input - top), dims)) + top, dropped(input.shape, dims, keepdim))


def _like(x: Any) -> Any:
    from flambeau._values.dtype import of

    return of(x.dtype) if not hasattr(x.dtype, "is_complex") else x.dtype


@logsumexp.errors
def _(input: Any, dim: Any, keepdim: bool) -> None:
    if (
        input.ndim and not keepdim and isinstance(dim, (tuple, list)) and not len(dim)
    ):  # PyTorch squeezes all dims of what it adds
        raise RuntimeError(f"output with shape [] doesn't match the broadcast shape {[1] * input.ndim}")


logsumexp.vjp(
    input=lambda g, input, out, dim, keepdim: (
        restored(g, tuple(input.shape), dim, keepdim)
        * _c((input - restored(out.masked_fill(out.abs().eq(math.inf), 0.0), tuple(input.shape), dim, keepdim)).exp())
    )
)


@composite("dist")
def dist(input: Tensor, other: Tensor, p: Scalar = 2) -> Tensor:
    """The p-norm of input - other."""
    return (input - other).norm(p)

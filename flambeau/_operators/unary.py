"""Functions of one element, each a word of the kernel language: exp, sin, erf, floor and their kind."""

from __future__ import annotations

from flambeau._kernel.language import Kernel, T
from flambeau._operators.op import ALL_FORMS, Op, pointwise

FLOATING = {
    "exp": ("exp(x).", ()), "exp2": ("2 to the power x.", ()), "expm1": ("exp(x) - 1, accurate near 0.", ()),
    "log": ("The natural logarithm.", ()), "log2": ("The logarithm to base 2.", ()), "log10": ("The logarithm to base 10.", ()),
    "log1p": ("log(1 + x), accurate near 0.", ()), "sqrt": ("The square root.", ()),
    "rsqrt": ("1 / sqrt(x).", ()), "reciprocal": ("1 / x.", ()), "sin": ("The sine.", ()), "cos": ("The cosine.", ()),
    "tan": ("The tangent.", ()), "asin": ("The inverse sine.", ("arcsin",)), "acos": ("The inverse cosine.", ("arccos",)),
    "atan": ("The inverse tangent.", ("arctan",)), "sinh": ("The hyperbolic sine.", ()), "cosh": ("The hyperbolic cosine.", ()),
    "tanh": ("The hyperbolic tangent.", ()), "asinh": ("The inverse hyperbolic sine.", ("arcsinh",)),
    "acosh": ("The inverse hyperbolic cosine.", ("arccosh",)), "atanh": ("The inverse hyperbolic tangent.", ("arctanh",)),
    "sigmoid": ("1 / (1 + exp(-x)).", ()), "erf": ("The error function.", ()),
    "erfc": ("1 - erf(x).", ()), "erfinv": ("The inverse of erf.", ()), "lgamma": ("log |Gamma(x)|.", ()),
    "digamma": ("The derivative of log Gamma(x).", ()),
}  # fmt: skip


def _word(name: str, doc: str, aliases: tuple[str, ...], promote: str) -> Op:
    def body(k: Kernel[T], input: T) -> T:
        return getattr(k, name)(input)

    body.__name__, body.__doc__ = name, doc
    return pointwise(name, variants=ALL_FORMS, promote=promote, names=aliases)(body)


UNARY = {name: _word(name, doc, aliases, "float") for name, (doc, aliases) in FLOATING.items()}
exp, sqrt, sigmoid, tanh, log = (UNARY[n] for n in ("exp", "sqrt", "sigmoid", "tanh", "log"))


@pointwise("floor", variants=ALL_FORMS)
def floor(k: Kernel[T], input: T) -> T:
    """The largest integer not above each element."""
    return k.floor(input)


@pointwise("ceil", variants=ALL_FORMS)
def ceil(k: Kernel[T], input: T) -> T:
    """The smallest integer not below each element."""
    return k.ceil(input)


@pointwise("trunc", variants=ALL_FORMS, names=("fix",))
def trunc(k: Kernel[T], input: T) -> T:
    """Each element without its fraction."""
    return k.trunc(input)


@pointwise("frac", variants=ALL_FORMS)
def frac(k: Kernel[T], input: T) -> T:
    """The fraction of each element, with its sign."""
    return input - k.trunc(input)


@pointwise("round", variants=ALL_FORMS)
def round_(k: Kernel[T], input: T) -> T:
    """The nearest integer; halves go to the even one."""
    return k.round(input)




@pointwise("neg", variants=ALL_FORMS, names=("negative",))
def neg(k: Kernel[T], input: T) -> T:
    """-x."""
    return -input


@neg.errors
def _(input: T) -> None:
    if input.dtype.kind == "b":  # type: ignore[attr-defined]
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
                           "`logical_not()` operator instead.")


@pointwise("abs", variants=ALL_FORMS, names=("absolute",))
def abs_(k: Kernel[T], input: T) -> T:
    """|x|; of a complex number, its modulus."""
    return k.abs(input)


@pointwise("sign", variants=ALL_FORMS)
def sign(k: Kernel[T], input: T) -> T:
    """-1, 0 or 1; of a boolean, itself."""
    return k.logical_or(input, input) if input.dtype.kind == "b" else k.sign(input)


@pointwise("sgn", variants=ALL_FORMS)
def sgn(k: Kernel[T], input: T) -> T:
    """The sign; of a complex number, x / |x|."""
    return k.logical_or(input, input) if input.dtype.kind == "b" else k.sign(input)


@pointwise("square", variants=ALL_FORMS)
def square(k: Kernel[T], input: T) -> T:
    """x * x."""
    return input * input


@pointwise("positive", variants=("function", "method"))
def positive(k: Kernel[T], input: T) -> T:
    """x."""
    return input


@pointwise("relu", variants=("function", "method", "inplace"))
def relu(k: Kernel[T], input: T) -> T:
    """max(x, 0)."""
    return k.maximum(input, k.like(0, input))


relu.vjp(input=lambda g, out: g * out.gt(0))
relu.vjp_arrays(input=lambda k, g, out: g * (out > 0))

"""Special functions: `torch.special`, and those of them that have a name of their own in `torch`.

The routines are SciPy's; what is here is how they are named and differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau._kernel.expansions import bessel, scaled_bessel
from flambeau._kernel.language import Kernel, N, T
from flambeau._operators import activation, elementary, reduce, select
from flambeau._operators.op import ALL_FORMS, FUNCTION_OUT, NAMES, REGISTRY, Op, composite, op, pointwise
from flambeau._tensor import Tensor

HALVES_TOO = ("i0", "i0e", "i1", "i1e", "entr", "psi")  # what PyTorch computes of float16 and bfloat16


def _one(overload: str, routine: str, what: str, differentiable: bool = True, words: Callable[[Any, Any], Any] | None = None) -> Op:  # fmt: skip
    """An operator of one argument that is a routine of SciPy; large calls are a kernel where it has a text in words."""

    def body(k: Kernel[T], input: T) -> T:
        return k.library("scipy_special", input, routine=routine) if words is None else words(k, input)

    name = overload.partition("(")[0]
    body.__name__ = name.removeprefix("special_")
    body.__doc__ = what
    space, forms = ("special", FUNCTION_OUT) if overload.startswith("special_") else ("", ALL_FORMS)
    kind = op if words is None else pointwise
    made = kind(overload, promote="float", namespace=space, variants=forms, differentiable=differentiable,
                lacks=("c" if routine in HALVES_TOO else "ch", "i0_vml_cpu" if name == "i0" else f"{name.removeprefix('special_')}_cpu"))(body)  # fmt: skip
    if words is not None:
        made.arrays(lambda k, input: k.library("scipy_special", input, routine=routine))
    return made


# ---------------------------------------------------------------- Bessel and Airy functions

i0 = _one("i0", "i0", "The modified Bessel function of the first kind, of order 0.", words=lambda k, x: bessel(k, x, 0))
i0e = _one("special_i0e", "i0e", "exp(-|x|) i0(x).", words=lambda k, x: scaled_bessel(k, x, 0))
i1 = _one(
    "special_i1",
    "i1",
    "The modified Bessel function of the first kind, of order 1.",
    words=lambda k, x: bessel(k, x, 1),
)
i1e = _one("special_i1e", "i1e", "exp(-|x|) i1(x).", words=lambda k, x: scaled_bessel(k, x, 1))
i0.vjp(input=lambda g, input: g * i1(input))
i0e.vjp(input=lambda g, input, out: g * (i1e(input) - input.sgn() * out))


def _unless_zero(x: Tensor) -> Tensor:
    """A divisor whose quotient is not used where it was zero."""
    return x.masked_fill(x == 0, 1.0)


def _i1_derivative(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    return g * (i0(input) - out / _unless_zero(input)).masked_fill(input == 0, 0.5)


def _i1e_derivative(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    return g * (i0e(input) - out * (input.sgn() + _unless_zero(input).reciprocal())).masked_fill(input == 0, 0.5)


i1.vjp(input=_i1_derivative)
i1e.vjp(input=_i1e_derivative)

airy_ai = _one("special_airy_ai(Tensor x)", "airy", "The Airy function Ai.", False)
bessel_j0 = _one("special_bessel_j0", "j0", "The Bessel function of the first kind, of order 0.", False)
bessel_j1 = _one("special_bessel_j1", "j1", "The Bessel function of the first kind, of order 1.", False)
bessel_y0 = _one("special_bessel_y0", "y0", "The Bessel function of the second kind, of order 0.", False)
bessel_y1 = _one("special_bessel_y1", "y1", "The Bessel function of the second kind, of order 1.", False)
modified_bessel_i0 = _one(
    "special_modified_bessel_i0", "i0", "The modified Bessel function of the first kind, of order 0.", False
)
modified_bessel_i1 = _one(
    "special_modified_bessel_i1", "i1", "The modified Bessel function of the first kind, of order 1.", False
)
modified_bessel_k0 = _one(
    "special_modified_bessel_k0", "k0", "The modified Bessel function of the second kind, of order 0.", False
)
modified_bessel_k1 = _one(
    "special_modified_bessel_k1", "k1", "The modified Bessel function of the second kind, of order 1.", False
)
scaled_modified_bessel_k0 = _one(
    "special_scaled_modified_bessel_k0(Tensor x)", "k0e", "exp(x) modified_bessel_k0(x).", False
)
scaled_modified_bessel_k1 = _one(
    "special_scaled_modified_bessel_k1(Tensor x)", "k1e", "exp(x) modified_bessel_k1(x).", False
)


@op(
    "special_spherical_bessel_j0",
    promote="float",
    namespace="special",
    variants=FUNCTION_OUT,
    differentiable=False,
    receiver="x",
    lacks=("hc", "spherical_bessel_j0_cpu"),
)
def spherical_bessel_j0(k: Kernel[T], input: T) -> T:
    """The spherical Bessel function of the first kind, of order 0: sin(x) / x."""
    zero = k.eq(input, 0.0)
    return k.where(zero, k.like(1.0, input), k.where(k.isinf(input), k.like(0.0, input), k.sin(input) / input))


# ---------------------------------------------------------------- the normal distribution

erfcx = _one("special_erfcx", "erfcx", "exp(x^2) erfc(x).")


@pointwise("special_ndtr", promote="float", namespace="special", variants=FUNCTION_OUT, lacks=("c", "ndtr_cpu"))
def ndtr(k: Kernel[T], input: T) -> T:
    """The area under the standard normal density up to x.

    >>> torch.special.ndtr(torch.tensor([0.0, 1.96]))
    tensor([0.5000, 0.9750])
    """
    return (k.rounded(k.erf(k.rounded(input * math.sqrt(0.5)))) + 1.0) * 0.5


ndtri = _one("special_ndtri", "ndtri", "The x up to which the standard normal density has this area.")
log_ndtr = _one("special_log_ndtr", "log_ndtr", "log(ndtr(x)).")
entr = _one("special_entr", "entr", "-x log(x); 0 at 0, -inf below.")
erfcx.vjp(input=lambda g, input, out: g * (2 * input * out - 2 / math.sqrt(math.pi)))
ndtr.vjp(input=lambda g, input: g * (input * input * -0.5).exp() / math.sqrt(2 * math.pi))
ndtri.vjp(input=lambda g, out: g * (out * out * 0.5).exp() * math.sqrt(2 * math.pi))
log_ndtr.vjp(input=lambda g, input: g / erfcx(input * -math.sqrt(0.5)) * math.sqrt(2 / math.pi))
entr.vjp(input=lambda g, input: g * -(input.log() + 1))


# ---------------------------------------------------------------- gamma and zeta functions


@op("igamma", variants=ALL_FORMS, packed="operands", lacks=("bic", "igamma_cpu"))
def igamma(k: Kernel[T], input: T, other: T) -> T:
    """The regularized lower incomplete gamma function of order `input`.

    >>> torch.special.gammainc(torch.tensor([1.0]), torch.tensor([1.0]))
    tensor([0.6321])
    """
    return k.library("scipy_special", input, other, routine="gammainc")


@op("igammac", variants=ALL_FORMS, packed="operands", lacks=("bic", "igammac_cpu"))
def igammac(k: Kernel[T], input: T, other: T) -> T:
    """The regularized upper incomplete gamma function of order `input`."""
    return k.library("scipy_special", input, other, routine="gammaincc")


def _no_order(name: str) -> Any:
    raise NotImplementedError(f"the derivative for '{name}: input' is not implemented.")


igamma.vjp(
    input=lambda g: _no_order("igamma"),
    other=lambda g, input, other: g * ((input - 1) * other.log() - other - input.lgamma()).exp(),
)
igammac.vjp(
    input=lambda g: _no_order("igammac"),
    other=lambda g, input, other: -g * ((input - 1) * other.log() - other - input.lgamma()).exp(),
)


@op("special_zeta", "special_zeta.self_scalar", "special_zeta.other_scalar", promote="float", namespace="special", variants=FUNCTION_OUT,
    packed="operands", lacks=("hc", "zeta_cpu"))  # fmt: skip
def zeta(k: Kernel[T], input: N, other: N) -> T:
    """The Hurwitz zeta function: the sum over n >= 0 of (n + other)^-input.

    >>> torch.special.zeta(torch.tensor([2.0]), torch.tensor([1.0]))
    tensor([1.6449])
    """
    return k.library("scipy_special", input, other, routine="zeta")


zeta.vjp(other=lambda g, input, other: g * -input * zeta(input + 1, other))


@composite("mvlgamma", variants=ALL_FORMS)
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension `p`."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    if input.dtype.kind == "b":
        raise RuntimeError("The input tensor may not be a boolean tensor.")
    x = input if input.dtype.is_floating_point else input * 1.0
    steps = x.new_tensor([-0.5 * j for j in range(p - 1, -1, -1)])
    return (x.unsqueeze(-1) + steps).lgamma().sum(-1) + p * (p - 1) * 0.25 * math.log(math.pi)


@op("special_xlog1py", "special_xlog1py.self_scalar", "special_xlog1py.other_scalar", promote="float", namespace="special",
    variants=FUNCTION_OUT, packed="operands", lacks=("c", "xlog1py_cpu"))  # fmt: skip
def xlog1py(k: Kernel[T], input: N, other: N) -> T:
    """input * log1p(other); 0 where input is 0, NaN where other is.

    >>> torch.special.xlog1py(torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 0.0]))
    tensor([0., 0.])
    """
    y = k.where(k.eq(input, 0.0), k.like(0.0, input), input * k.rounded(k.log1p(other)))
    return k.where(k.isnan(other), other, y)


def _tensor(x: Any, g: Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else g.new_tensor(x)


xlog1py.vjp(
    input=lambda g, input, other: (
        g * _tensor(other, g).log1p().masked_fill((input == 0) & (_tensor(other, g) <= -1), 0)
    ),
    other=lambda g, input, other: g * input / (other + 1),
)


@op(
    "frexp.Tensor",
    promote="none",
    variants=("function", "method", "out"),
    lacks=("8", "frexp_cpu"),
    outputs=("mantissa", "exponent"),
)
def frexp(k: Kernel[T], input: T) -> tuple[T, T]:
    """The mantissa, at least 1/2 and below 1, and the power of two of each element."""
    return k.library("frexp", input)


frexp.vjp(input=lambda g_mantissa, exponent: g_mantissa / exponent.exp2())


@frexp.errors
def _(input: Tensor) -> None:
    if not input.dtype.is_floating_point:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")


# ---------------------------------------------------------------- orthogonal polynomials


_POLYNOMIALS = {
    "chebyshev_t": "Chebyshev's polynomial of the first kind, T_n(x) = cos(n a) where x = cos a",
    "chebyshev_u": "Chebyshev's polynomial of the second kind, U_n(x) = sin((n + 1) a) / sin a where x = cos a",
    "chebyshev_v": "Chebyshev's polynomial of the third kind, V_n(x) = cos((n + 1/2) a) / cos(a / 2) where x = cos a",
    "chebyshev_w": "Chebyshev's polynomial of the fourth kind, W_n(x) = sin((n + 1/2) a) / sin(a / 2) where x = cos a",
    "hermite_h": "The physicists' Hermite polynomial: H_0 = 1, H_1 = 2x, H_(n+1) = 2x H_n - 2n H_(n-1)",
    "hermite_he": "The probabilists' Hermite polynomial: He_0 = 1, He_1 = x, He_(n+1) = x He_n - n He_(n-1)",
    "laguerre_l": "Laguerre's polynomial: L_0 = 1, L_1 = 1 - x, (n + 1) L_(n+1) = (2n + 1 - x) L_n - n L_(n-1)",
    "legendre_p": "Legendre's polynomial: P_0 = 1, P_1 = x, (n + 1) P_(n+1) = (2n + 1) x P_n - n P_(n-1)",
}


def _polynomial(name: str, family: str, shifted: bool = False) -> Op:
    def body(k: Kernel[T], x: N, n: N) -> T:
        return k.library("polynomial", x * 2 - 1 if shifted else x, n, family=family)

    full = f"special_{name}"
    body.__name__ = name
    body.__doc__ = _POLYNOMIALS[family] + (", at 2x - 1." if shifted else ".")
    return op(full, f"{full}.x_scalar", f"{full}.n_scalar", promote="float", namespace="special", variants=FUNCTION_OUT,
              differentiable=False, lacks=("ch", f"{name}_cpu"), packed="operands")(body)  # fmt: skip


for _letter in "tuvw":
    _polynomial(f"chebyshev_polynomial_{_letter}", f"chebyshev_{_letter}")
    _polynomial(f"shifted_chebyshev_polynomial_{_letter}", f"chebyshev_{_letter}", shifted=True)
for _kind in ("hermite_h", "hermite_he", "laguerre_l", "legendre_p"):
    _polynomial("_polynomial_".join(_kind.rsplit("_", 1)), _kind)


# ---------------------------------------------------------------- other names, in torch.special, for operators defined elsewhere

ALIASES: dict[str, tuple[Op, ...]] = {
    "exp2": (elementary.exp2,), "expm1": (elementary.expm1,), "log1p": (elementary.log1p,), "expit": (elementary.sigmoid,),
    "logit": (elementary.logit,), "erf": (elementary.erf,), "erfc": (elementary.erfc,), "erfinv": (elementary.erfinv,),
    "gammaln": (elementary.lgamma,), "digamma": (elementary.digamma,), "psi": (elementary.digamma,), "sinc": (elementary.sinc,),
    "xlogy": (elementary.xlogy,), "round": (elementary.round, elementary.round_decimals), "polygamma": (select.polygamma,),
    "multigammaln": (mvlgamma,), "i0": (i0,), "gammainc": (igamma,), "gammaincc": (igammac,),
    "logsumexp": (reduce.logsumexp,), "softmax": (activation.softmax,), "log_softmax": (activation.log_softmax,),
}  # fmt: skip
for _name, _ops in ALIASES.items():
    NAMES["special"].setdefault(_name, []).extend(_ops)
    REGISTRY[f"special_{_name}"] = _ops[0]
# Where the other name's schema is not the first's.
REGISTRY["special_log_softmax"].schemas["special_log_softmax"] = "(Tensor self, int dim, *, ScalarType? dtype=None)"
REGISTRY["special_round"].schemas["special_round"] = "(Tensor self, *, int decimals=0)"
REGISTRY["special_xlogy"].schemas["special_xlogy"] = "(Tensor self, Tensor other)"

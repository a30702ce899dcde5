"""Random tensors; integers stand in random_integers. The streams and what is made of them are PyTorch's CPU generator's, number for number (`_values.sampling`)."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NoReturn

from flambeau._ground.errors import check
from flambeau._kernel.language import DType, Kernel, Shape, Size, T
from flambeau._operators.create import FACTORY, LIKE, chosen, own, shaped
from flambeau._operators.op import op
from flambeau._tensor import Tensor
from flambeau._values.device import memory_format as MemoryFormat
from flambeau._values.dtype import (
    C_NAMES,
    SPOKEN,
    bfloat16,
    bool_,
    complex64,
    complex128,
    dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from flambeau._values.generator import Generator
from flambeau._values.shape import broadcast

FLOATS = (float32, float64, float16, bfloat16)
SIGNED_OR_BYTE = (uint8, int8, int16, int32, int64)
COMPLEX = (complex64, complex128)
# Largest number and digits of the significand, by floating dtype.
RANGE = {float16: (65504.0, 11), bfloat16: (3.3895313892515355e38, 8), float32: (3.4028234663852886e38, 24),
         float64: (1.7976931348623157e308, 53)}  # fmt: skip

# Operators that overwrite their tensor with random numbers: method and in place only, and nothing flows back through them.
FILLS: dict[str, Any] = {"promote": "none", "variants": ("inplace",)}


def nothing(g: Tensor) -> Tensor:
    return g.new_zeros(g.shape)


def missing(routine: str, d: dtype) -> NoReturn:
    raise NotImplementedError(f"\"{routine}\" not implemented for '{SPOKEN[d]}'")


def supported(routine: str, d: dtype, dtypes: Collection[dtype]) -> None:
    if d not in dtypes:
        missing(routine, d)


def real(d: dtype) -> dtype:
    """The dtype whose random numbers a complex one is made of."""
    return d.to_real() if d in COMPLEX else d


# ---------------------------------------------------------------- uniform


def _check_uniform(d: dtype, low: float, high: float) -> None:
    supported("check_uniform_bounds", d, FLOATS)
    largest = RANGE[d][0]
    if -largest <= low <= high <= largest and high - low <= largest:
        return  # hot: nothing to say
    check(-largest <= low <= largest, RuntimeError, f"from is out of bounds for {C_NAMES[d]}")
    check(-largest <= high <= largest, RuntimeError, f"to is out of bounds for {C_NAMES[d]}")
    check(
        low <= high,
        RuntimeError,
        f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}",
    )
    check(high - low <= largest, RuntimeError, f"uniform_ expects to-from <= std::numeric_limits<{SPOKEN[d]}>::max(), but found "
          f"to={high:g} and from={low:g} which result in to-from to exceed the limit")  # fmt: skip


@op("uniform(Tensor self, float from=0., float to=1., *, Generator? generator=None)", **FILLS)
def uniform(k: Kernel[T], input: T, from_: float = 0, to: float = 1, *, generator: Generator | None = None) -> T:
    """Fills the tensor with numbers from the uniform distribution on [from, to)."""
    return k.library("uniform", input, low=float(from_), high=float(to), generator=generator)


uniform.vjp(input=nothing)


@uniform.errors
def _(input: Any, from_: float, to: float, generator: Any) -> None:
    if not (input.numel() == 0 and input.dtype in COMPLEX):
        _check_uniform(real(input.dtype), from_, to)


@op(
    "rand(SymInt[] size, *, ScalarType? dtype=None, ...)",
    "rand.generator(SymInt[] size, *, Generator? generator, ScalarType? dtype=None, ...)",
    promote="none",
    variants=FACTORY,
)
def rand(k: Kernel[T], size: Shape, *, generator: Generator | None = None, dtype: DType | None = None) -> T:
    """Numbers from the uniform distribution on [0, 1).

    >>> torch.rand(2, 3).shape
    torch.Size([2, 3])
    """
    d = chosen(dtype)
    supported("check_uniform_bounds", real(d), FLOATS)
    return k.library("rand", shape=shaped(size), dtype=d, generator=generator)


@op(
    "rand_like(Tensor self, *, ScalarType? dtype=None, ..., MemoryFormat? memory_format=None)",
    "rand_like.generator(Tensor self, *, Generator? generator, ScalarType? dtype=None, ..., MemoryFormat? memory_format=None)",
    promote="none",
    variants=LIKE,
    differentiable=False,
)
def rand_like(k: Kernel[T], input: T, *, generator: Generator | None = None, dtype: DType | None = None,
              memory_format: MemoryFormat | None = None) -> T:  # fmt: skip
    """Uniform numbers on [0, 1) in a tensor of `input`'s sizes."""
    d = own(input, dtype)
    supported("check_uniform_bounds", real(d), FLOATS)
    return k.library("uniform", empty_like(k, input, d, memory_format), low=0.0, high=1.0, generator=generator)


def empty_like(k: Any, x: Any, d: dtype, format: Any) -> Any:
    return k.library("full_as", x, value=None, dtype=d, format="preserve_format" if format is None else format.name)


# ---------------------------------------------------------------- normal


def _check_std(std: float) -> None:
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")


@op(
    "normal_(Tensor(a!) self, float mean=0., float std=1., *, Generator? generator=None) -> Tensor(a!)",
    "normal_functional",
    promote="none",
    variants=("inplace",),
    python_name="normal",
)
def normal_fill(k: Kernel[T], input: T, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> T:
    """Fills the tensor with normal numbers."""
    return k.library("normal", input, mean=float(mean), std=float(std), generator=generator)


normal_fill.vjp(input=nothing)


@normal_fill.errors
def _(input: Any, mean: float, std: float, generator: Any) -> None:
    _check_std(std)
    if input.numel():
        supported("normal_kernel_cpu", real(input.dtype), FLOATS)


@op(
    "randn(SymInt[] size, *, ScalarType? dtype=None, ...)",
    "randn.generator(SymInt[] size, *, Generator? generator, ScalarType? dtype=None, ...)",
    promote="none",
    variants=FACTORY,
)
def randn(k: Kernel[T], size: Shape, *, generator: Generator | None = None, dtype: DType | None = None) -> T:
    """Numbers from the standard normal distribution.

    >>> torch.randn(4).shape
    torch.Size([4])
    """
    d = chosen(dtype)
    supported("normal_kernel_cpu", real(d), FLOATS)
    return k.library("randn", shape=shaped(size), dtype=d, generator=generator)


@op(
    "randn_like(Tensor self, *, ScalarType? dtype=None, ..., MemoryFormat? memory_format=None)",
    "randn_like.generator(Tensor self, *, Generator? generator, ScalarType? dtype=None, ..., MemoryFormat? memory_format=None)",
    promote="none",
    variants=LIKE,
    differentiable=False,
)
def randn_like(k: Kernel[T], input: T, *, generator: Generator | None = None, dtype: DType | None = None,
               memory_format: MemoryFormat | None = None) -> T:  # fmt: skip
    """Standard normal numbers in a tensor of `input`'s sizes."""
    d = own(input, dtype)
    supported("normal_kernel_cpu", real(d), FLOATS)
    return k.library("normal", empty_like(k, input, d, memory_format), mean=0.0, std=1.0, generator=generator)


@op("normal.Tensor_Tensor", promote="none", exact=False, variants=("function", "out"))
def normal_each(k: Kernel[T], mean: T, std: T, *, generator: Generator | None = None) -> T:
    """Normal numbers, each with its own mean and standard deviation.

    >>> torch.normal(torch.tensor([0.0, 100.0]), torch.tensor([0.0, 0.0]))
    tensor([  0., 100.])
    """
    z = k.library("randn", shape=broadcast(mean.shape, std.shape), dtype=own_dtype(mean), generator=generator)
    return z * std + mean


@normal_each.errors
def _(mean: Any, std: Any, generator: Any) -> None:
    _check_stds(std)
    supported("normal_kernel_cpu", real(mean.dtype), FLOATS)


normal_each.vjp(mean=nothing, std=nothing)


@op("normal.Tensor_float", promote="none", exact=False, variants=("function", "out"), python_name="normal")
def normal_mean(k: Kernel[T], mean: T, std: float = 1, *, generator: Generator | None = None) -> T:
    """Normal numbers, each with its own mean."""
    return k.library("randn", shape=mean.shape, dtype=own_dtype(mean), generator=generator, std=float(std)) + mean


@normal_mean.errors
def _(mean: Any, std: float, generator: Any) -> None:
    _check_std(std)
    supported("normal_kernel_cpu", real(mean.dtype), FLOATS)


normal_mean.vjp(mean=nothing)


@op("normal.float_Tensor", promote="none", exact=False, variants=("function", "out"), python_name="normal")
def normal_std(k: Kernel[T], mean: float, std: T, *, generator: Generator | None = None) -> T:
    """Normal numbers, each with its own standard deviation."""
    z = k.library("randn", shape=std.shape, dtype=own_dtype(std), generator=generator) * std
    return z + k.like(mean, z)


@normal_std.errors
def _(mean: float, std: Any, generator: Any) -> None:
    _check_stds(std)
    supported("normal_kernel_cpu", real(std.dtype), FLOATS)


normal_std.vjp(std=nothing)


@op("normal.float_float", promote="none", variants=FACTORY, python_name="normal")
def normal_new(k: Kernel[T], mean: float, std: float, size: Shape, *, generator: Generator | None = None,
               dtype: DType | None = None) -> T:  # fmt: skip
    """Normal numbers in a new tensor."""
    d = chosen(dtype)
    supported("normal_kernel_cpu", real(d), FLOATS)
    return k.library("randn", shape=shaped(size), dtype=d, generator=generator, mean=float(mean), std=float(std))


@normal_new.errors
def _(mean: float, std: float, size: Any, generator: Any, dtype: Any) -> None:
    _check_std(std)


def _check_stds(std: Any) -> None:
    check(not std.is_complex(), RuntimeError, "normal expects standard deviation to be non-complex")
    check(std.device.type == "meta" or std.numel() == 0 or bool((std._a >= 0).all()), RuntimeError,
          "normal expects all elements of std >= 0.0")  # fmt: skip


def own_dtype(x: Any) -> dtype:
    return own(x, None)


# ---------------------------------------------------------------- bernoulli


ZERO_ONE = frozenset((*SIGNED_OR_BYTE, bool_, *FLOATS))


def _check_p(p: float) -> None:
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")


@op(
    "bernoulli_.float(Tensor(a!) self, float p=0.5, *, Generator? generator=None) -> Tensor(a!)",
    promote="none",
    variants=("inplace",),
    python_name="bernoulli",
)
def bernoulli_fill(k: Kernel[T], input: T, p: float = 0.5, *, generator: Generator | None = None) -> T:
    """Fills the tensor with ones, each with probability `p`, and zeros."""
    return k.library("bernoulli", input, p=float(p), generator=generator)


bernoulli_fill.vjp(input=nothing)


@bernoulli_fill.errors
def _(input: Any, p: float, generator: Any) -> None:
    _check_p(p)
    supported("bernoulli_scalar_cpu_", input.dtype, ZERO_ONE)


@op(
    "bernoulli_.Tensor(Tensor(a!) self, Tensor p, *, Generator? generator=None) -> Tensor(a!)",
    promote="none",
    variants=("inplace",),
    python_name="bernoulli",
)
def bernoulli_fill_each(k: Kernel[T], input: T, p: T, *, generator: Generator | None = None) -> T:
    """Fills the tensor with ones, each with the probability that stands in `p`, and zeros."""
    _check_each(own_dtype(input), p)
    if p.shape != input.shape:
        _expandable(p.shape, input.shape)
    return k.library("bernoulli_each", input, p, generator=generator)


bernoulli_fill_each.vjp(input=nothing, p=lambda g, p_shape: g.new_zeros(p_shape))


def _expandable(shape: Shape, target: Shape) -> None:
    for i, (have, want) in enumerate(zip(reversed(shape), reversed(target), strict=False), 1):
        check(have in (1, want), RuntimeError, f"The expanded size of the tensor ({want}) must match the existing size ({have}) "
              f"at non-singleton dimension {len(target) - i}.  Target sizes: {list(target)}.  "
              f"Tensor sizes: {list(shape)}")  # fmt: skip


def _check_each(d: dtype, p: Any) -> None:
    supported("bernoulli_tensor_cpu_self_", d, ZERO_ONE)
    supported("bernoulli_tensor_cpu_p_", own_dtype(p), FLOATS)
    check(not hasattr(p, "__array_interface__") or bool(((p >= 0) & (p <= 1)).all()), RuntimeError,
          "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error message be improved?  If so, please "
          "report an enhancement request to PyTorch.)")  # fmt: skip


@op("bernoulli", promote="none", exact=False, variants=("function", "method", "out"))
def bernoulli(k: Kernel[T], input: T, *, generator: Generator | None = None) -> T:
    """Ones and zeros, a one with the probability that stands in `input`.

    >>> torch.bernoulli(torch.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    _check_each(own_dtype(input), input)
    return k.library("bernoulli_each", empty_like(k, input, own_dtype(input), _Contiguous), input, generator=generator)


class _Contiguous:
    name = "contiguous_format"


bernoulli.vjp(input=nothing)


@op("bernoulli.p", promote="none", variants=("function", "method"), python_name="bernoulli")
def bernoulli_p(k: Kernel[T], input: T, p: float, *, generator: Generator | None = None) -> T:
    """Ones, each with probability `p`, and zeros, in a tensor like `input`."""
    return k.library("bernoulli", empty_like(k, input, own_dtype(input), _Contiguous), p=float(p), generator=generator)


bernoulli_p.vjp(input=nothing)


@bernoulli_p.errors
def _(input: Any, p: float, generator: Any) -> None:
    _check_p(p)
    supported("bernoulli_scalar_cpu_", input.dtype, ZERO_ONE)


# ---------------------------------------------------------------- other distributions, in place


@op("exponential", **FILLS)
def exponential(k: Kernel[T], input: T, lambd: float = 1, *, generator: Generator | None = None) -> T:
    r"""Fills the tensor with exponential numbers: density :math:`\lambda e^{-\lambda x}`."""
    return k.library("exponential", input, rate=float(lambd), generator=generator)


exponential.vjp(input=nothing)


@exponential.errors
def _(input: Any, lambd: float, generator: Any) -> None:
    check(lambd > 0, RuntimeError, f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    check(input.is_floating_point(), RuntimeError, "Exponential distribution is a continuous probability distribution. dtype must "
          f"be a floating point but you specified {SPOKEN[input.dtype]}")  # fmt: skip
    supported("exponential_cpu", input.dtype, FLOATS)


@op("geometric", **FILLS)
def geometric(k: Kernel[T], input: T, p: float, *, generator: Generator | None = None) -> T:
    """Fills the tensor with numbers of trials until the first success, which has probability `p`."""
    return k.library("geometric", input, p=float(p), generator=generator)


geometric.vjp(input=nothing)


@geometric.errors
def _(input: Any, p: float, generator: Any) -> None:
    check(0 < p < 1, RuntimeError, f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    supported("geometric_cpu", input.dtype, (*SIGNED_OR_BYTE, *FLOATS))


@op("cauchy", **FILLS)
def cauchy(k: Kernel[T], input: T, median: float = 0, sigma: float = 1, *, generator: Generator | None = None) -> T:
    """Fills the tensor with Cauchy numbers."""
    return k.library("cauchy", input, median=float(median), sigma=float(sigma), generator=generator)


cauchy.vjp(input=nothing)


@cauchy.errors
def _(input: Any, median: float, sigma: float, generator: Any) -> None:
    check(sigma > 0, RuntimeError, f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    check(input.is_floating_point(), RuntimeError, "Cauchy distribution is a continuous probability distribution. dtype must be a "
          f"floating point but you specified {C_NAMES.get(input.dtype, input.dtype)}")  # fmt: skip
    supported("cauchy_cpu", input.dtype, FLOATS)


@op("log_normal", **FILLS)
def log_normal(k: Kernel[T], input: T, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> T:
    """Fills the tensor with numbers whose logarithms are normal."""
    return k.library("log_normal", input, mean=float(mean), std=float(std), generator=generator)


log_normal.vjp(input=nothing)


@log_normal.errors
def _(input: Any, mean: float, std: float, generator: Any) -> None:
    check(std > 0, RuntimeError, f"log_normal_ expects std > 0.0, but found std={std:g}")
    supported("log_normal_cpu", input.dtype, FLOATS)


# ---------------------------------------------------------------- draws that depend on a tensor


@op("multinomial", promote="none", variants=("function", "method", "out"), differentiable=False)
def multinomial(
    k: Kernel[T], input: T, num_samples: Size, replacement: bool = False, *, generator: Generator | None = None
) -> T:
    """Indices drawn from each row of `input` in proportion to its weights.

    >>> torch.multinomial(torch.tensor([0.0, 3.0]), 2, replacement=True)
    tensor([1, 1])
    """
    return k.library("multinomial", input, count=int(num_samples), replacement=replacement, generator=generator)


@multinomial.errors
def _(input: Any, num_samples: int, replacement: bool, generator: Any) -> None:
    check(input.dim() in (1, 2), RuntimeError, "prob_dist must be 1 or 2 dim")
    check(input.is_floating_point(), RuntimeError, "multinomial only supports floating-point dtypes for input, got: "
          f"{SPOKEN[input.dtype]}")  # fmt: skip
    check(num_samples > 0, RuntimeError, "cannot sample n_sample <= 0 samples")
    categories = input.shape[-1]
    check(replacement or num_samples <= categories, RuntimeError,
          "cannot sample n_sample > prob_dist.size(-1) samples without replacement")  # fmt: skip
    check(categories <= 1 << 24, RuntimeError, "number of categories cannot exceed 2^24")
    if input.device.type == "meta" or 0 in input.shape[:-1]:
        return
    a = input._a
    sums = a.sum(-1)
    fair = not a.size or bool((a.min() >= 0) & (a.max() < math.inf))
    check(fair, RuntimeError, "probability tensor contains either `inf`, `nan` or element < 0")
    check(bool((sums != 0).all()), RuntimeError, "invalid multinomial distribution (sum of probabilities <= 0)")


@op("poisson", promote="none", variants=("function",))
def poisson(k: Kernel[T], input: T, generator: Generator | None = None) -> T:
    """Poisson numbers, each with the rate that stands in `input`."""
    supported("poisson_cpu", own_dtype(input), FLOATS)
    return k.library("poisson", input, generator=generator)


poisson.vjp(input=nothing)


@op("binomial", promote="none", variants=("function",))
def binomial(k: Kernel[T], count: T, prob: T, generator: Generator | None = None) -> T:
    """Numbers of successes in `count` trials, each with probability `prob`."""
    return k.library("binomial", count, prob, generator=generator)


@binomial.errors
def _(count: Any, prob: Any, generator: Any) -> None:
    for name, x in (("count", count), ("prob", prob)):
        check(
            x.is_floating_point(),
            ValueError,
            f"binomial only supports floating-point dtypes for {name}, got: {SPOKEN[x.dtype]}",
        )


binomial.vjp(count=nothing, prob=nothing)


@op("_standard_gamma", promote="none", variants=("function",))
def _standard_gamma(k: Kernel[T], input: T, generator: Generator | None = None) -> T:
    """Gamma numbers of rate 1, each with the shape parameter that stands in `input`."""
    supported("gamma_cpu", own_dtype(input), (float32, float64))
    return k.library("standard_gamma", input, generator=generator)


@op("_standard_gamma_grad", promote="none", variants=("function",), differentiable=False)
def _standard_gamma_grad(k: Kernel[T], input: T, output: T) -> T:
    """How a gamma number moves with its shape parameter: -(dF/d alpha) / (dF/dx), F the distribution function."""
    return k.library("gamma_slope", input, output)


_standard_gamma.vjp(input=lambda g, out, input: g * _standard_gamma_grad(input, out))


@op("_dirichlet_grad", promote="none", variants=("function",), differentiable=False)
def _dirichlet_grad(k: Kernel[T], x: T, alpha: T, total: T) -> T:
    """How an entry of a Dirichlet number moves with its concentration, the entry being Beta(alpha, total - alpha) distributed."""
    return k.library("beta_slope", x, alpha, total)


@op("_sample_dirichlet", promote="none", variants=("function",), differentiable=False)
def _sample_dirichlet(k: Kernel[T], input: T, generator: Generator | None = None) -> T:
    """Points of the simplex, one for each row of concentrations."""
    supported("dirichlet", own_dtype(input), (float32, float64))
    return k.library("dirichlet", input, generator=generator)

"""Random numbers on NumPy arrays: the streams of `_values.sampling`, in the shape and memory order of what they fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau._backends.cpu.library_order import topk
from flambeau._backends.cpu.library_product import native
from flambeau._backends.cpu.small import loaded
from flambeau._values import rejection, sampling
from flambeau._values.generator import Generator, default_generator

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Gen = Generator | None
NATIVE = 1 << 12  # numbers from which on native code pays for being loaded
FEW = 64  # numbers below which samplers are as quick without it
PATIENCE = 500  # small draws after which native code is worth being loaded in a process that has some already
MOST = 2000  # and in one that has none
_loaded: dict[str, Any] = {}
_waited = {"draws": 0}
REAL = {np.dtype("c8"): np.dtype("f4"), np.dtype("c16"): np.dtype("f8")}


def _stream(generator: Gen) -> Generator:
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"argument 'generator' must be torch.Generator, not {type(generator).__name__}")
    return generator


def _like(x: Any, sample: Callable[[int, Any], Array]) -> Any:
    """`sample(n, dtype)` arranged as x; a complex number is two draws."""
    if x.size == 0 or _hollow(x):
        return x
    real = REAL.get(x.dtype)
    values = sample(x.size, x.dtype) if real is None else sample(2 * x.size, real).view(x.dtype)
    return sampling.arrange(values, x)


def _hollow(x: Any) -> bool:
    """Whether x only stands for an array that is not there (the meta device): it takes no random numbers."""
    if not isinstance(x, np.ndarray):
        return True
    if x.size > 1 and x.flags.c_contiguous:
        return False
    return not any(x.strides) and (x.size > 1 or (not x.flags.writeable and x.base is not None))


def _new(shape: Shape, dtype: Any, sample: Callable[[int, Any], Array]) -> Array:
    """`sample(n, dtype)` as a contiguous array."""
    n = 1
    for size in shape:
        n *= size
    if n == 0:
        return np.empty(shape, dtype)
    real = REAL.get(dtype)
    return (sample(n, dtype) if real is None else sample(2 * n, real).view(dtype)).reshape(shape)


def _native(n: int) -> Any:
    """Native code, where there are many numbers, or where it is there anyway: it gives the same bits as NumPy."""
    if "draws" not in _loaded:
        if n < NATIVE and not _worth():
            return None
        from flambeau._backends.cpu.draws import draws  # brings the code generator

        _loaded["draws"] = draws()
    return _loaded["draws"]


def _worth() -> bool:
    """Whether so many small draws were made that native code is worth being loaded for them."""
    _waited["draws"] += 1
    return _waited["draws"] > PATIENCE and (loaded() or _waited["draws"] > MOST)


def _samplers(n: int) -> Any:
    """Native code for samplers that reject, and for libm over arrays, where there are many numbers or it is there anyway."""
    if n < NATIVE and (n < FEW or "samplers" not in _loaded):
        return None
    if "samplers" not in _loaded:
        from flambeau._backends.cpu.samplers import samplers

        _loaded["samplers"] = samplers()
    return _loaded["samplers"]


def _std(std: float, dtype: Any) -> float:
    """Of each part of a complex normal: the two share the variance."""
    return std if dtype not in REAL else std / 2**0.5


def uniform(x: Any, *, low: float, high: float, generator: Gen) -> Any:
    """x with uniform numbers."""
    gen = _stream(generator)
    return _like(x, lambda n, d: sampling.uniform(gen, n, d, low, high, _native(n)))


def normal(x: Any, *, mean: float, std: float, generator: Gen) -> Any:
    """x with normal numbers."""
    gen = _stream(generator)
    if _hollow(x):
        return x
    whole, std = x.flags.c_contiguous, _std(std, x.dtype)
    return _like(x, lambda n, d: sampling.normal(gen, n, d, mean, std, whole, _native(n)))


def rand(*, shape: Shape, dtype: Any, generator: Gen) -> Array:
    """Uniform numbers in [0, 1)."""
    gen = _stream(generator)
    return _new(shape, dtype.np, lambda n, d: sampling.uniform(gen, n, d, native=_native(n)))


def randn(*, shape: Shape, dtype: Any, generator: Gen, mean: float = 0.0, std: float = 1.0) -> Array:
    """Normal numbers."""
    gen, std = _stream(generator), _std(std, dtype.np)
    return _new(shape, dtype.np, lambda n, d: sampling.normal(gen, n, d, mean, std, True, _native(n)))


def randint(*, shape: Shape, dtype: Any, low: int, span: int, generator: Gen) -> Array:
    """Integers in [low, low + span)."""
    gen = _stream(generator)
    return _new(shape, dtype.np, lambda n, d: sampling.integers(gen, n, d, low, span, _native(n)))


def integers(x: Any, *, low: int | None, span: int, generator: Gen) -> Any:
    """x with integers in [low, low + span); span 0 means all of int64's range, low None whatever x's dtype holds."""
    gen = _stream(generator)
    if low is None:
        return _like(x, lambda n, d: sampling.whole_range(gen, n, d))
    if span == 0:
        return _like(x, lambda n, d: sampling.full_range(gen, n, d))
    return _like(x, lambda n, d: sampling.integers(gen, n, d, low, span, _native(n)))


def randperm(*, n: int, dtype: Any, generator: Gen) -> Array:
    """0 .. n - 1 in random order."""
    return sampling.randperm(_stream(generator), n, dtype.np, _native(n))


def bernoulli(x: Any, *, p: float, generator: Gen) -> Any:
    """x with ones and zeros, a one with probability p."""
    gen = _stream(generator)

    def sample(n: int, d: Any) -> Array:
        found = sampling.bernoulli(gen, n, p, d, _native(n))
        return found if found.dtype is d else found.astype(d)

    return _like(x, sample)


def bernoulli_each(x: Any, p: Any, *, generator: Gen) -> Any:
    """x with ones and zeros, a one with the probability that stands in p (broadcast to x)."""
    gen = _stream(generator)
    if x.size == 0 or _hollow(x):
        return x
    each = np.broadcast_to(p, x.shape).transpose(sampling.memory_order(x)).reshape(-1)
    return sampling.arrange(sampling.bernoulli_each(gen, each).astype(x.dtype), x)


def exponential(x: Any, *, rate: float, generator: Gen) -> Any:
    """x with exponential numbers."""
    gen = _stream(generator)
    _samplers(x.size)
    return _like(x, lambda n, d: sampling.exponential(gen, n, d, rate))


def geometric(x: Any, *, p: float, generator: Gen) -> Any:
    """x with geometric numbers."""
    gen = _stream(generator)
    _samplers(x.size)
    return _like(x, lambda n, d: sampling.geometric(gen, n, d, p))


def cauchy(x: Any, *, median: float, sigma: float, generator: Gen) -> Any:
    """x with Cauchy numbers."""
    gen = _stream(generator)
    _samplers(x.size)
    return _like(x, lambda n, d: sampling.cauchy(gen, n, d, median, sigma))


def log_normal(x: Any, *, mean: float, std: float, generator: Gen) -> Any:
    """x with log-normal numbers."""
    gen = _stream(generator)
    _samplers(x.size)
    return _like(x, lambda n, d: sampling.log_normal(gen, n, d, mean, std))


def multinomial(x: Any, *, count: int, replacement: bool, generator: Gen) -> Any:
    """Categories drawn from rows of weights."""
    gen = _stream(generator)
    rows = x.reshape(-1, x.shape[-1]) if x.ndim == 2 else x.reshape(1, -1)
    if x.shape[:-1] == (0,) or not rows.size:
        out = np.empty((rows.shape[0], count), np.int64)
    elif replacement and count > 1:
        out = sampling.multinomial(gen, rows, count, _places)
    else:  # the largest of p / q with q exponential: Gumbel's trick, which needs no logarithms
        races = np.divide(rows, sampling.exponential(gen, rows.size, rows.dtype, 1.0).reshape(rows.shape))
        if count == 1:
            out = np.argmax(races, -1)[:, None].astype(np.int64)
        else:
            out = topk(races, count=count, dim=1, largest=True)[1].astype(np.int64, copy=False)
    return out if x.ndim == 2 else out[0]


def _places(rows: Any, values: Any) -> Any:
    """Where numbers stand in rising rows, or None where there is no kernel."""
    if not native():
        return None
    from flambeau._backends.cpu.search import places

    return places(rows.astype(values.dtype), values, right=False, out=np.dtype(np.int64))


def _each(function: Callable[..., Array], *xs: Array) -> Array:
    """A scalar sampler over contiguous arrays; half precision passes through float32."""
    d = xs[0].dtype
    flat = [np.ascontiguousarray(x).reshape(-1) for x in xs]
    if d.itemsize < 4:
        flat = [x.astype(np.float32) for x in flat]
    return function(*flat).astype(d, copy=False).reshape(xs[0].shape)


def poisson(x: Any, *, generator: Gen) -> Any:
    """A Poisson number for each rate."""
    gen = _stream(generator)
    return _each(lambda rates: rejection.poisson(gen, rates, _samplers(rates.size)), x)


def standard_gamma(x: Any, *, generator: Gen) -> Any:
    """A gamma number for each shape parameter."""
    gen = _stream(generator)
    return _each(lambda shapes: rejection.gamma(gen, shapes, _samplers(shapes.size)), x)


def dirichlet(x: Any, *, generator: Gen) -> Any:
    """A point of the simplex for each row of concentrations."""
    return rejection.dirichlet(_stream(generator), np.ascontiguousarray(x), _samplers(x.size))


def binomial(count: Any, prob: Any, *, generator: Gen) -> Any:
    """A binomial number for each count and probability."""
    gen = _stream(generator)
    counts, probs = np.broadcast_arrays(count, prob)
    return _each(lambda n, p: rejection.binomial(gen, n, p, _samplers(n.size)), counts, probs)


def _slope(distribution: Callable[[Any], Any], at: Any, density: Any) -> Any:
    """-(dF/da) / f for a distribution function F(a): central differences of fourth order, whose error is about 1e-10."""
    h = 1e-3 * np.minimum(at, 1.0)
    f1, f2 = distribution(at + h) - distribution(at - h), distribution(at + 2 * h) - distribution(at - 2 * h)
    return -(8 * f1 - f2) / (12 * h) / density


def gamma_slope(alpha: Any, x: Any) -> Any:
    """dx/d alpha of gamma numbers at fixed probability (implicit reparameterisation: Figurnov, Mohamed, Mnih 2018)."""
    from scipy import special

    a, y = np.broadcast_arrays(alpha.astype(np.float64), x.astype(np.float64))
    density = np.exp((a - 1) * np.log(y) - y - special.gammaln(a))
    lower = _slope(lambda b: special.gammainc(b, y), a, density)
    upper = -_slope(lambda b: special.gammaincc(b, y), a, density)  # beyond the mean the other tail keeps its digits
    out = np.where(y < a, lower, upper)
    return np.nan_to_num(out, nan=0.0, posinf=0.0, neginf=0.0).astype(x.dtype)


def beta_slope(x: Any, alpha: Any, total: Any) -> Any:
    """dx/d alpha of beta numbers with the other parameter total - alpha, at fixed probability, divided by 1 - x (see Dirichlet)."""
    from scipy import special

    y, a, t = np.broadcast_arrays(*(v.astype(np.float64) for v in (x, alpha, total)))
    b = t - a
    density = np.exp((a - 1) * np.log(y) + (b - 1) * np.log1p(-y) - special.betaln(a, b))
    lower = _slope(lambda c: special.betainc(c, b, y), a, density)
    upper = -_slope(lambda c: special.betaincc(c, b, y), a, density)
    out = np.where(y < a / t, lower, upper) / (1 - y)
    return np.nan_to_num(out, nan=0.0, posinf=0.0, neginf=0.0).astype(x.dtype)

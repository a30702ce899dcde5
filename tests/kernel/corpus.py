"""Kernels that every stage is tested with: bodies in the kernel language, and the shapes of their arguments. Not tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flambeau._kernel.record import Record
from flambeau._values.dtype import bfloat16, bool_, float32, float64, int64

k = Record()
Arg = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """`args` are (dtype, shape); "index n" is int64 below n."""

    body: Callable[..., Any]
    args: tuple[Arg, ...]


def gelu(x: Any) -> Any:
    return x * 0.5 * (k.erf(x * 0.7071067811865476) + 1.0)


def softmax(x: Any, dim: int) -> Any:
    e = k.exp(x - k.max(x, [dim]))
    return e / k.sum(e, [dim])


def log_softmax(x: Any, dim: int) -> Any:
    s = x - k.max(x, [dim])
    return s - k.log(k.sum(k.exp(s), [dim]))


def layer_norm(x: Any, w: Any, b: Any) -> Any:
    n = float(x.shape[-1])
    d = x - k.sum(x, [x.ndim - 1]) / n
    return d * k.rsqrt(k.sum(d * d, [x.ndim - 1]) / n + 1e-5) * w + b


def group_norm(x: Any, groups: int) -> Any:
    n, c, *rest = x.shape
    size = c // groups * int(np.prod(rest))
    v = k.reshape(x, (n, groups, size))
    d = v - k.sum(v, [2]) / float(size)
    return k.reshape(d * k.rsqrt(k.sum(d * d, [2]) / float(size) + 1e-5), x.shape)


def batch_norm(x: Any) -> Any:
    n = float(np.prod([s for d, s in enumerate(x.shape) if d != 1]))
    dims = [d for d in range(x.ndim) if d != 1]
    mean = k.sum(x, dims) / n
    d = x - mean
    var = k.sum(d * d, dims) / n
    return d * k.rsqrt(var + 1e-5), mean, var


def var(x: Any, dim: int) -> Any:
    n = x.shape[dim]
    mean = k.sum(x, [dim]) / float(n)
    d = x - mean
    return k.sum(d * d, [dim]) / float(n - 1), mean


def cross_entropy(x: Any, target: Any) -> Any:
    n = x.shape[0]
    picked = k.gather(log_softmax(x, 1), 1, k.reshape(target, (n, 1)))
    return k.sum(-picked, [0]) / float(n)


def cummax(x: Any, dim: int) -> Any:
    v = k.cummax(x, dim)
    places = k.expand(
        k.reshape(k.iota(x.shape[dim], int64), [x.shape[d] if d == dim else 1 for d in range(2)]), x.shape
    )
    return v, k.cummax(k.where(k.eq(x, v), places, k.like(0, places)), dim)


def depthwise(x: Any, w: Any) -> Any:
    v = k.windows(k.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), (3, 3), (1, 1), (1, 1))  # n c y x h w
    return k.reshape(k.sum(v * k.reshape(w, (1, x.shape[1], 1, 1, 3, 3)), (4, 5)), x.shape)


def adam(p: Any, g: Any, m: Any, v: Any) -> Any:
    m, v = m * 0.9 + g * 0.1, v * 0.999 + g * g * 0.001
    return p - m / (k.sqrt(v) + 1e-8) * 0.01, m, v


def f(*shape: int) -> Arg:
    return "float32", shape


def d(*shape: int) -> Arg:
    return "float64", shape


CORPUS: dict[str, Case] = {
    "add": Case(lambda x, y: x + y, (f(3, 40), f(3, 40))),
    "broadcast": Case(lambda x, y: k.exp(x + y) * 2.0, (f(3, 4, 37), f(4, 1))),
    "scalar": Case(lambda x: k.maximum(x, k.like(0.5, x)), (f(),)),
    "gelu": Case(gelu, (f(7, 19),)),
    "half": Case(lambda x, y: k.cast(k.cast(x, float32) * k.cast(y, float32), bfloat16), (("bfloat16", (70,)),) * 2),
    "float16": Case(lambda x: k.exp(x), (("float16", (33,)),)),
    "compare": Case(lambda x, y: k.where(x < y, x, y * 2.0), (f(50), f(50))),
    "logic": Case(lambda x, y: k.logical_and(k.isnan(x), k.logical_not(y < 0.0)), (f(50), f(50))),
    "integers": Case(lambda x, y: k.floordiv(x, y) + k.remainder(x, y), (("int64", (50,)), ("index 9", (50,)))),
    "bytes": Case(lambda x, y: k.bitwise_xor(x, y) + x, (("uint8", (100,)), ("uint8", (100,)))),
    "casts": Case(lambda x: k.cast(k.cast(x * 10.0, int64), float64), (f(41),)),
    "iota": Case(lambda x: x + k.cast(k.reshape(k.iota(5, int64), (5, 1)), float32), (f(5, 20),)),
    "flip": Case(lambda x: k.flip(x, [1]) + x, (f(3, 40),)),
    "slice": Case(lambda x: k.slice(x, 1, 3, 40, 3) + 1.0, (f(4, 41),)),
    "pad": Case(lambda x: k.pad(x, [(1, 2), (3, 4)], 7.0) * 2.0, (f(5, 30),)),
    "crop": Case(lambda x: k.pad(x, [(-1, 0), (2, -3)]), (f(5, 30),)),
    "permute": Case(lambda x, y: k.permute(x, (2, 0, 1)) + y, (f(4, 5, 33), f(33, 4, 5))),
    "transpose": Case(lambda x, y: k.permute(x, (1, 0)) + y, (f(70, 45), f(45, 70))),
    "transpose bytes": Case(lambda x: k.permute(x, (0, 2, 1)) + x, (("uint8", (2, 33, 33)),)),
    "sum all": Case(lambda x: k.sum(x, [0, 1]), (f(5, 33),)),
    "sum inner": Case(lambda x: k.sum(x, [1]), (f(5, 133),)),
    "sum outer": Case(lambda x: k.sum(x, [0]), (f(33, 70),)),
    "sum several": Case(lambda x: k.sum(x, [0, 2]), (f(4, 5, 33),)),
    "sum middle": Case(lambda x: k.sum(x, [1]), (f(3, 6, 20),)),
    "sum long": Case(lambda x: k.sum(x * x, [0]), (f(70000),)),
    "sum tall": Case(lambda x: k.sum(x, [0]), (f(6000, 12),)),
    "sum empty": Case(lambda x: k.sum(x, [1]) + 1.0, (f(3, 0),)),
    "prod": Case(lambda x: k.prod(x, [1]), (d(5, 9),)),
    "max min": Case(lambda x: (k.max(x, [1]), k.min(x, [1])), (f(5, 40),)),
    "any all": Case(lambda x: (k.any(x < 0.0, [0]), k.all(x < 1.0, [0])), (f(9, 20),)),
    "argmax": Case(lambda x: k.argmax(x, 1), (f(5, 40),)),
    "argmin outer": Case(lambda x: k.argmin(x, 0), (d(9, 20),)),
    "softmax": Case(lambda x: softmax(x, 1), (f(5, 70),)),
    "softmax outer": Case(lambda x: softmax(x, 0), (f(9, 70),)),
    "softmax middle": Case(lambda x: softmax(x, 1), (d(3, 9, 20),)),
    "log_softmax": Case(lambda x: log_softmax(x, 1), (f(5, 70),)),
    "logsumexp": Case(lambda x: k.log(k.sum(k.exp(x - k.max(x, [1])), [1])) + k.max(x, [1]), (f(5, 70),)),
    "layer_norm": Case(layer_norm, (f(6, 40), f(40), f(40))),
    "group_norm": Case(lambda x: group_norm(x, 2), (f(2, 6, 4, 5),)),
    "batch_norm": Case(batch_norm, (f(4, 3, 5, 7),)),
    "var": Case(lambda x: var(x, 1), (f(5, 40),)),
    "var of a long row": Case(lambda x: var(x, 0), (f(70000),)),
    "cross_entropy": Case(cross_entropy, (f(6, 40), ("index 40", (6,)))),
    "cumsum": Case(lambda x: k.cumsum(x, 1) * 2.0, (f(5, 70),)),
    "cumsum outer": Case(lambda x: k.cumsum(x, 0), (f(9, 40),)),
    "cumprod": Case(lambda x: k.cumprod(x, 0), (d(30),)),
    "cumsum integers": Case(lambda x: k.cumsum(x, 1), (("int64", (4, 40)),)),
    "cummax": Case(lambda x: cummax(x, 1), (f(5, 70),)),
    "cummax outer": Case(lambda x: cummax(x, 0), (d(9, 40),)),
    "cummin": Case(lambda x: k.cummin(x, 1), (("int64", (4, 40)),)),
    "logcumsumexp": Case(lambda x: k.logcumsumexp(x * 30.0, 1), (f(5, 70),)),
    "logcumsumexp outer": Case(lambda x: k.logcumsumexp(x, 0), (d(9, 40),)),
    "norm of channels": Case(lambda x, w: group_norm(x, 2) * k.reshape(w, (1, 6, 1, 1)), (f(2, 6, 4, 5), f(6))),
    "take": Case(lambda x, i: k.take(x, 1, i), (f(3, 8, 20), ("index 8", (11,)))),
    "take inner": Case(lambda x, i: k.take(x, 1, i), (f(3, 8), ("index 8", (40,)))),
    "gather": Case(lambda x, i: k.gather(x, 0, i), (f(8, 20), ("index 8", (5, 20)))),
    "windows": Case(lambda x: k.sum(k.windows(x, (3,), (2,), (1,)), [2]), (f(4, 41),)),
    "depthwise": Case(depthwise, (f(2, 3, 6, 17), f(3, 3, 3))),
    "adam": Case(adam, (f(90), f(90), f(90), f(90))),
    "trigonometry": Case(lambda x: k.sin(x * 50.0) + k.cos(x) * k.tan(x), (d(33),)),
    "power": Case(lambda x, y: k.pow(k.abs(x), y), (f(33), f(33))),
    "gamma": Case(lambda x: k.lgamma(k.abs(x) + 0.1) + k.digamma(k.abs(x) + 3.0), (d(33),)),
    "is bool": Case(lambda x: k.cast(x, bool_), (f(33),)),
}  # fmt: skip


def arguments(case: Case, seed: int = 0, layout: str = "dense") -> list[np.ndarray[Any, Any]]:
    """Arrays for a case: dense, transposed in memory, or every second element of a larger array, backwards."""
    from flambeau._values.dtype import BY_NAME

    rng = np.random.default_rng(seed)
    out = []
    for dtype, shape in case.args:
        if dtype.startswith("index"):
            a = rng.integers(1 if "9" in dtype else 0, int(dtype.split()[1]), shape)
        elif dtype.startswith(("int", "uint")):
            a = rng.integers(0 if dtype[0] == "u" else -50, 50, shape).astype(dtype)
        else:
            a = rng.standard_normal(shape).astype(BY_NAME[dtype].np)
        if layout == "transposed":
            a = np.asarray(a.T.copy().T)
        elif layout == "strided" and a.ndim:
            big = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
            view = big[..., ::-2]
            view[...] = a
            a = view
        out.append(a)
    return out

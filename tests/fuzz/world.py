"""What random programs find around them: inputs of every layout, and state that lives from call to call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MOST = 1 << 17  # elements of a value that a program goes on with
NOISE = [0.0]  # how far inputs are moved, relative to themselves: tells what hangs on last places


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray[Any, Any]:
    """Numbers that depend on the arguments alone."""
    rng = np.random.default_rng([seed, *shape])
    x = rng.standard_normal(shape)
    if NOISE[0] and dtype in ("float32", "float64", "float16", "bfloat16", "complex64"):
        x = x * (
            1
            + NOISE[0]
            * {"float64": 1e-15, "float32": 5e-7, "complex64": 5e-7, "float16": 2e-3, "bfloat16": 1e-2}[dtype]
            * rng.uniform(-1, 1, shape)
        )
    if dtype == "bool":
        return x > 0
    if dtype.startswith(("int", "uint")):
        return np.abs(x * 3).astype("int64") if dtype.startswith("u") else (x * 3).astype("int64")
    return x


def tensor(fl: Any, shape: tuple[int, ...], dtype: str, layout: str, grad: bool, seed: int) -> Any:
    """A tensor that lies in memory as `layout` says."""
    d = getattr(fl, dtype)
    make = lambda shape: fl.from_numpy(np.array(numbers(shape, dtype, seed))).to(d)
    if not shape:
        t = make(shape)
    elif layout == "turned":
        t = make(shape[::-1]).permute(*range(len(shape) - 1, -1, -1))
    elif layout == "gaps":
        t = make((*shape[:-1], shape[-1] * 2 + 1))[..., 1::2]
    elif layout == "offset":
        t = make((shape[0] + 1, *shape[1:]))[1:]
    elif layout == "last" and len(shape) == 4:
        t = make(shape).contiguous(memory_format=fl.channels_last)
    elif layout == "expanded" and shape[0] > 1:
        t = make((1, *shape[1:])).expand(shape)
    elif layout == "reversed" and len(shape) > 1:
        t = make((shape[1], shape[0], *shape[2:])).transpose(0, 1)
    else:
        t = make(shape)
    return t.requires_grad_() if grad else t


class State:
    """An object that a program reads and changes."""

    def __init__(self, fl: Any, seed: int) -> None:
        fl.manual_seed(seed)
        self.calls, self.scale = 0, 0.75
        self.items: list[Any] = []
        self.table: dict[Any, Any] = {"k": 2}
        self.buffer = fl.zeros(5)
        nn = fl.nn
        self.net = nn.Sequential(
            nn.Linear(6, 4),
            (nn.ReLU(), nn.Tanh(), nn.GELU())[seed % 3],
            nn.LayerNorm(4),
            nn.Dropout(0.3),
            nn.Linear(4, 2),
        )
        how = (fl.optim.SGD, fl.optim.Adam, fl.optim.AdamW, fl.optim.RMSprop)[seed // 3 % 4]
        self.opt = how(self.net.parameters(), lr=0.05)
        self.kept = None

    def shifted(self, x: Any) -> Any:
        return x + self.scale


def scope(fl: Any) -> dict[str, Any]:
    """The globals of a program."""
    import sys

    def twice(x: Any) -> Any:
        return x * 2

    def scaled(s: Any) -> Any:
        def inner(x: Any) -> Any:
            return x * s.scale

        return inner

    def weights(shape: Any, dtype: Any) -> Any:
        """Small numbers that are the same at every call."""
        return ((fl.arange(math.prod(shape)) * 7 % 11 - 5) * 0.125).reshape(shape).to(dtype)

    def places(shape: Any, n: int, step: int) -> Any:
        """Indices below n."""
        return (fl.arange(math.prod(shape)) * step % max(n, 1)).reshape(shape)

    return {
        "torch": fl,
        "weights": weights,
        "places": places,
        "F": fl.nn.functional,
        "world": sys.modules[__name__],
        "twice": twice,
        "scaled": scaled,
        "COUNT": [0],
    }

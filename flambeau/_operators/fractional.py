"""Max pooling over windows whose places are drawn (Graham, 2014)."""

from __future__ import annotations

import math
from typing import Any

from flambeau._kernel.language import IntList2, IntList3
from flambeau._operators.flat import still
from flambeau._operators.op import FUNCTION, composite
from flambeau._tensor import Tensor

_NAMES = {2: ("height", "width"), 3: ("time", "height", "width")}


def _check(input: Any, size: Any, out: Any, samples: Any, n: int) -> None:
    owner = f"fractional_max_pool{n}d"
    title = owner + ("_out" if n == 3 else "")
    for name, given in (("kernel_size", size), ("output_size", out)):
        if len(given) != n:
            raise RuntimeError(
                f"{owner}: {name} must either be a single Int or tuple of {'three ' if n == 3 else ''}Ints"
            )
    if input.ndim not in (n + 1, n + 2) or any(s == 0 for s in input.shape[-n - 1 :]):
        raise RuntimeError(f"{title}(): Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}")
    if samples.ndim != 3:
        raise RuntimeError(f"Expect _random_samples to have 3 dimensions, got {samples.ndim}")
    batch = input.shape[0] if input.ndim == n + 2 else 1
    if samples.shape[0] < batch:
        raise RuntimeError("Expect _random_samples.size(0) no less then input batch size.")
    if samples.shape[1] != input.shape[-n - 1]:
        raise RuntimeError("Expect _random_samples.size(1) equals to input channel size.")
    if samples.shape[2] != n:
        raise RuntimeError(f"Expect _random_samples.size(2) equals to {n}; got {samples.shape[2]}.")
    for name, k, o, s in zip(_NAMES[n], size, out, input.shape[-n:], strict=True):
        if o + k - 1 > s:
            raise RuntimeError(f"{title}(): pool {name} {k} too large relative to input {name} {s}")


def _starts(sample: Any, length: int, size: int, out: int) -> Any:
    """Where each of `out` windows begins: steps of the mean length, from a drawn phase; the last window ends at the end."""
    phase = sample.unsqueeze(-1)  # n c 1
    last = phase.new_full((*sample.shape, 1), length - size).long()
    if out == 1:
        return last
    steps = phase.new_tensor(range(out - 1))
    alpha = (length - size) / (out - 1)
    from flambeau._operators.join import cat

    return cat([((steps + phase) * alpha).long() - (phase * alpha).long(), last], -1)


def _pool(input: Any, kernel_size: Any, output_size: Any, samples: Any, n: int) -> Any:
    size, out = ([x] if isinstance(x, int) else list(x) for x in (kernel_size, output_size))
    size, out = size * (n // len(size) or 1), out * (n // len(out) or 1)
    _check(input, size, out, samples, n)
    batched = input.ndim == n + 2
    input = still(input)
    x = input if batched else input.unsqueeze(0)
    lead, spatial = x.shape[:2], x.shape[2:]
    order = (1, 0) if n == 2 else (0, 1, 2)  # in two dims the first sample is the width's
    flat: Any = 0
    for d in range(n):
        start = _starts(samples[: lead[0], :, order[d]], spatial[d], size[d], out[d])
        at = start.unsqueeze(-1) + start.new_tensor(range(size[d]))  # n c o k
        shape = [*lead, *(out[e] if e == d else 1 for e in range(n)), *(size[e] if e == d else 1 for e in range(n))]
        flat = flat * spatial[d] + at.reshape(shape)
    cells, places = math.prod(size), math.prod(out)
    flat = flat.reshape(*lead, places, cells)
    line = x.reshape(*lead, math.prod(spatial))
    windows = line.detach().gather(-1, flat.reshape(*lead, places * cells)).reshape(flat.shape)
    best = flat.gather(-1, windows.argmax(-1, keepdim=True)).squeeze(-1)
    values = line.gather(-1, best).reshape(*lead, *out)
    best = best.reshape(*lead, *out)
    return (values, best) if batched else (values.squeeze(0), best.squeeze(0))


@composite("fractional_max_pool2d", namespace="nn", variants=FUNCTION, outputs=("output", "indices"), unnamed=True,
           lacks=("bic", "fractional_max_pool2d_out_frame"), autocast="float32")  # fmt: skip
def fractional_max_pool2d(
    input: Tensor, kernel_size: IntList2, output_size: IntList2, random_samples: Tensor
) -> Tensor:
    """The largest elements of windows of the last two dims at drawn places, and their flat positions."""
    return _pool(input, kernel_size, output_size, random_samples, 2)


@composite("fractional_max_pool3d", namespace="nn", variants=FUNCTION, outputs=("output", "indices"), unnamed=True,
           lacks=("bic", "fractional_max_pool3d_out_frame"), autocast="float32")  # fmt: skip
def fractional_max_pool3d(
    input: Tensor, kernel_size: IntList3, output_size: IntList3, random_samples: Tensor
) -> Tensor:
    """The largest elements of windows of the last three dims at drawn places, and their flat positions."""
    return _pool(input, kernel_size, output_size, random_samples, 3)

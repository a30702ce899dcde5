"""Plans of convolutions: what to launch for arrays of a shape and layout. How each is launched: `conv_launch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import GRAIN, PLAIN, TYPES, Epilogue, Operand
from flambeau._backends.cpu.conv_launch import launches as launches_of
from flambeau._backends.cpu.conv_slab import steps
from flambeau._backends.cpu.correlation import Correlation, Tap, three
from flambeau._backends.cpu.launch import ARG, OUT, Launch, Plan, Result, c_strides
from flambeau._backends.cpu.layouts import channels_last, last_strides
from flambeau._backends.cpu.matmul import launch


def out_size(n: int, k: int, s: int, p: int, d: int) -> int:
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


def forward_plan(
    x: np.ndarray[Any, Any],
    w: np.ndarray[Any, Any],
    bias: np.ndarray[Any, Any] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Plan | None:
    """The plan of a convolution of x (n, c, ...) with w (o, c / groups, ...), as of `ARG` 0, 1 and, with a bias, 2."""
    dtype, rank = x.dtype.name, x.ndim - 2
    sx, sw = steps(x), steps(w)
    if dtype not in TYPES or w.dtype is not x.dtype or rank not in (1, 2, 3) or sx is None or sw is None:
        return None
    o, extent = w.shape[0] // groups, w.shape[2:]
    spatial = tuple(out_size(*v) for v in zip(x.shape[2:], extent, stride, padding, dilation, strict=True))
    result = result_like(x, w, (x.shape[0], w.shape[0], *spatial))
    if prod(extent) == 1 and max(stride) == 1 and max(padding) == 0 and flat(x) and not result.strides:
        # a product for each image and group: w (o, c) times x (c, positions)
        return pointwise(x, w, bias, result, groups, o, w.shape[1], (o * sw[0], sw[0], sw[1]))
    so = [s // x.itemsize for s in result.strides or c_strides(result)]
    taps = [tuple((i * d - p, i) for i in range(k)) for k, p, d in zip(extent, padding, dilation, strict=True)]
    one = ((0, 0),)
    work = Correlation(
        dtype,
        x.shape[0],
        groups,
        o,
        w.shape[1],
        three(spatial, 1),
        three(x.shape[2:], 1),
        three(stride, 1),
        (*(one,) * (3 - rank), *taps)[:2],  # type: ignore[arg-type]
        (taps[-1],),
        (so[0], o * so[1], so[1], *three(so[2:], 0)),
        (sx[0], w.shape[1] * sx[1], sx[1], *three(sx[2:], 0)),
        (o * sw[0], sw[0], sw[1], *three(sw[2:], 0)),
        spatial[-1],
    )
    launches, temp, keep = launches_of(work, (OUT, 0), 0, (ARG, 0), (ARG, 1), bias_of(bias, o), 0)
    return Plan((result,), launches, temp, prod(result.shape) * prod(w.shape[1:]) > 2 * GRAIN, keep=keep)


def result_like(x: np.ndarray[Any, Any], w: np.ndarray[Any, Any], shape: tuple[int, ...]) -> Result:
    """The result of a shape, with channels last where an operand has them so."""
    return Result(x.dtype, shape, last_strides(shape, x.itemsize) if channels_last(x, w) else None)


def flat(x: np.ndarray[Any, Any]) -> bool:
    """Whether the positions of a plane follow one another in memory."""
    n = x.itemsize
    for size_, step in zip(reversed(x.shape[2:]), reversed(x.strides[2:]), strict=True):
        if size_ != 1 and step != n:
            return False
        n *= size_
    return True


def pointwise(
    x: np.ndarray[Any, Any],
    w: np.ndarray[Any, Any],
    bias: np.ndarray[Any, Any] | None,
    result: Result,
    groups: int,
    rows: int,
    depth: int,
    steps_a: tuple[int, int, int],
) -> Plan:
    """A convolution of one tap as matrix products; `steps_a` are the weights' strides over (group, row, channel)."""
    dtype, n, positions = x.dtype.name, x.shape[0], prod(x.shape[2:])
    sx = steps(x) or []
    so = [s // x.itemsize for s in result.strides or c_strides(result)]
    e, operands = with_bias(dtype, bias, 2, rows)
    ag, am, ak = steps_a
    a = Operand((ARG, 1), (0, ag, am, ak))
    b = Operand((ARG, 0), (sx[0], depth * sx[1], sx[1], 1))
    c = Operand((OUT, 0), (so[0], rows * so[1], so[1], 1))
    work = launch(dtype, (n, groups, rows, positions, depth), c, a, b, e, operands)
    return Plan((result,), (work,), release=prod(result.shape) * depth > 2 * GRAIN)


def with_bias(dtype: str, bias: np.ndarray[Any, Any] | None, arg: int, rows: int) -> tuple[Epilogue, list[Operand]]:
    """The epilogue that adds a bias of one number per output channel."""
    if bias is None:
        return PLAIN, []
    step = bias.strides[0] // bias.itemsize
    return biased(dtype), [Operand((ARG, arg), (0, rows * step, step, 0))]


@cache
def biased(dtype: str) -> Epilogue:
    return Epilogue(f"add-column-{dtype}", ((dtype, "column"),), 0, lambda f, x, o, s: x + o[0])


def transposed_plan(
    g: np.ndarray[Any, Any],
    w: np.ndarray[Any, Any],
    bias: np.ndarray[Any, Any] | None,
    spatial: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Plan | None:
    """The plan of the transposed convolution of g (n, o, ...) with w (o, c / groups, ...): (n, c, *spatial).

    It is the gradient of `forward_plan` for its input, and `conv_transpose`.
    """
    dtype, rank = g.dtype.name, g.ndim - 2
    sg, sw = steps(g), steps(w)
    if dtype not in TYPES or w.dtype is not g.dtype or rank not in (1, 2, 3) or sg is None or sw is None:
        return None
    o, c, extent = w.shape[0] // groups, w.shape[1], w.shape[2:]
    result = result_like(g, w, (g.shape[0], c * groups, *spatial))
    if (
        prod(extent) == 1
        and max(stride) == 1
        and max(padding) == 0
        and flat(g)
        and not result.strides
        and tuple(spatial) == g.shape[2:]
    ):
        return pointwise(g, w, bias, result, groups, c, o, (o * sw[0], sw[1], sw[0]))
    so = [s // g.itemsize for s in result.strides or c_strides(result)]
    launches: list[Launch] = []
    temp, keep = 0, list[Any]()
    how = (extent, stride, padding, dilation)
    co, cx = (so[0], c * so[1], *so[1:]), (sg[0], o * sg[1], *sg[1:])
    sa = (o * sw[0], sw[1], sw[0], *sw[2:])
    for work, offset in transposed_correlations(
        dtype, (g.shape[0], groups, c, o), spatial, g.shape[2:], how, co, cx, sa
    ):
        some, used, kept = launches_of(work, (OUT, 0), offset, (ARG, 0), (ARG, 1), bias_of(bias, c), temp)
        launches += some
        temp += used
        keep += kept
    return Plan((result,), tuple(launches), temp, prod(g.shape) * prod(w.shape[1:]) > 2 * GRAIN, keep=tuple(keep))


def transposed_correlations(
    dtype: str,
    extents: tuple[int, int, int, int],
    out: Sequence[int],
    inside: Sequence[int],
    how: tuple[Sequence[int], ...],
    c: Sequence[int],
    x: Sequence[int],
    a: Sequence[int],
) -> Iterator[tuple[Correlation, int]]:
    """A transposed convolution as (correlation, element offset into the output), one for each phase of all dims but the last.

    `extents` are images, groups, rows, channels; `how` the kernel's size, stride, padding and dilation; strides as in
    `Correlation`, of the dims that are there.
    """
    (images, groups, rows, channels), (extent, stride, padding, dilation) = extents, how
    rank, one = len(out), ((0, 0),)
    along_all = [
        phase_taps(r, extent[-1], stride[-1], padding[-1], dilation[-1]) for r in range(min(stride[-1], out[-1]))
    ]
    for phase in product(*(range(min(s, n)) for s, n in zip(stride[:-1], out[:-1], strict=True))):
        # output index i = j * s + phase reads the input at j + (phase + p - tap * d) / s, where that is whole
        taps = [phase_taps(*v) for v in zip(phase, extent, stride, padding, dilation)]  # of all dims but the last
        along = along_all
        if not all(taps):  # no tap at all: the output is the bias
            taps, along = [()] * (rank - 1), [() for _ in along]
        counts = [-(-(n - r) // s) for n, r, s in zip(out, (*phase, 0), stride, strict=True)]
        work = Correlation(
            dtype,
            images,
            groups,
            rows,
            channels,
            three(counts, 1),
            three(inside, 1),
            (1, 1, 1),
            (*(one,) * (3 - rank), *taps),
            tuple(along),
            (*c[:3], *three([b * s for b, s in zip(c[3:], stride, strict=True)], 0)),
            (*x[:3], *three(x[3:], 0)),
            (*a[:3], *three(a[3:], 0)),
            out[-1],
            c[-1],
        )
        yield work, sum(r * b for r, b in zip(phase, c[3:]))


def phase_taps(phase: int, k: int, s: int, p: int, d: int) -> tuple[Tap, ...]:
    """The taps that a phase of a transposed convolution's output has."""
    return tuple(((phase + p - i * d) // s, i) for i in range(k) if (phase + p - i * d) % s == 0)


def bias_of(bias: np.ndarray[Any, Any] | None, rows: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The slot of a bias (`ARG` 2) and its strides over groups and rows."""
    if bias is None:
        return None
    step = bias.strides[0] // bias.itemsize
    return (ARG, 2), (rows * step, step)

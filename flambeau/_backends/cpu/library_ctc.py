"""Connectionist temporal classification: the forward and backward tables over labels with blanks between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.library_product import native

Ints = Sequence[int]
LARGE = 1 << 12  # entries of a table from which its steps are a kernel


def _extended(targets: Any, target_lengths: Ints, blank: int) -> tuple[Any, Any]:
    """Labels with a blank before, between and after them, and where a step may skip the blank between two different ones."""
    longest = max(target_lengths, default=0)
    labels = np.full((len(target_lengths), 2 * longest + 1), blank, np.int64)
    start = 0
    for row, n in enumerate(target_lengths):
        labels[row, 1 : 2 * n : 2] = targets[start : start + n] if targets.ndim == 1 else targets[row, :n]
        start += n
    skip = np.zeros(labels.shape, bool)
    skip[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    return labels, skip


def _step(out: Any, stay: Any, one: Any, two: Any, skip: Any, p: Any) -> None:
    """Into `out`, the logarithm of the sum of three ways to an entry, the third where it may be, times what stands there."""
    if out.size >= STEP and native() and _kernel("step", _sum_of_three, True)(out, stay, one, two, skip, p) is not None:
        return
    out[...] = np.logaddexp(np.logaddexp(stay, one), np.where(skip, two, -np.inf)) + p


STEP = 1 << 8


@cache
def _kernel(name: str, body: Any, write: bool = False) -> Any:
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record

    k = Record()
    return compile(lambda *xs: body(k, *xs), name, write=write)


def _sum_of_three(k: Any, stay: Any, one: Any, two: Any, skip: Any, p: Any) -> Any:
    two = k.where(skip, two, k.like(-np.inf, two))
    most = k.maximum(k.maximum(stay, one), two)
    base = k.where(k.eq(most, k.like(-np.inf, most)), k.like(0, most), most)
    return k.log(k.exp(stay - base) + k.exp(one - base) + k.exp(two - base)) + base + p


def _computed(name: str, body: Any, *xs: Any) -> Any:
    """body(k, *xs), by a kernel where there is much of it."""
    found = _kernel(name, body)(*xs) if xs[0].size >= LARGE and native() else None
    if found is None:
        from flambeau._backends.cpu.arrays import K

        found = body(K, *xs)
    return found


def ctc(log_probs: Any, targets: Any, *, input_lengths: Ints, target_lengths: Ints, blank: int) -> tuple[Any, Any]:
    """(minus the log-likelihoods, the forward table (n, t, 2 l + 1))."""
    steps, batch, _ = log_probs.shape
    labels, skip = _extended(targets, target_lengths, blank)
    p = np.take_along_axis(log_probs.astype(np.float64), labels[None], 2)  # t n s
    table = np.full((*p.shape[:2], p.shape[2] + 2), -np.inf)  # two entries that cannot be before the first
    alpha = table[:, :, 2:]
    if steps:
        alpha[0, :, :2] = p[0, :, :2]
    with np.errstate(invalid="ignore"):
        for t in range(1, steps):
            before = table[t - 1]
            _step(alpha[t], before[:, 2:], before[:, 1:-1], before[:, :-2], skip, p[t])
    nll = np.empty(batch)
    for n, (t, s) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        if t == 0:
            nll[n] = 0.0 if s == 0 else np.inf
        else:
            nll[n] = -np.logaddexp(alpha[t - 1, n, 2 * s], alpha[t - 1, n, 2 * s - 1] if s else -np.inf)
    return nll.astype(log_probs.dtype), alpha.transpose(1, 0, 2).astype(log_probs.dtype)


def ctc_backward(grad: Any, log_probs: Any, targets: Any, nll: Any, log_alpha: Any, *, input_lengths: Ints, target_lengths: Ints,
                 blank: int, zero_infinity: bool) -> Any:  # fmt: skip
    """grad (exp(log_probs) - the expected number of each label at each step)."""
    steps, batch, classes = log_probs.shape
    labels, skip = _extended(targets, target_lengths, blank)
    wide = log_probs.astype(np.float64)
    p = np.take_along_axis(wide, labels[None], 2)
    onward = np.zeros(skip.shape, bool)  # may skip from here
    onward[:, :-2] = skip[:, 2:]
    table = np.full((steps + 1, batch, labels.shape[1] + 2), -np.inf)  # two entries that cannot be behind the last
    lengths, ends = np.asarray(input_lengths), 2 * np.asarray(target_lengths, np.int64)
    inside = np.arange(labels.shape[1]) <= ends[:, None]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for t in range(steps - 1, -1, -1):
            after, beta = table[t + 1], table[t, :, :-2]
            _step(beta, after[:, :-2], after[:, 1:-1], after[:, 2:], onward, p[t])
            for n in np.flatnonzero(lengths == t + 1):
                beta[n] = -np.inf
                for s in (ends[n], ends[n] - 1) if ends[n] else (ends[n],):
                    beta[n, s] = p[t, n, s]
        there = np.arange(steps)[:, None] < lengths
        alpha = log_alpha.transpose(1, 0, 2).astype(np.float64)
        both = np.where(there[:, :, None] & inside, alpha + table[:steps, :, :-2], -np.inf)
        total = _by_label(both, labels, classes)
        scale = np.asarray(grad, np.float64)[None, :, None]
        out = _computed("ctc backward", _surplus, wide, total, nll.astype(np.float64)[:, None], there[..., None], scale)
    if zero_infinity:
        out[:, np.isinf(nll)] = 0
    return out.astype(log_probs.dtype)


def _surplus(k: Any, wide: Any, total: Any, nll: Any, there: Any, grad: Any) -> Any:
    return k.where(there, (k.exp(wide) - k.exp(total + nll - wide)) * grad, k.like(0, wide))


def _shares(k: Any, terms: Any, highest: Any) -> Any:
    return k.exp(terms - highest)


def _logarithms(k: Any, sums: Any, highest: Any) -> Any:
    return k.log(sums) + highest


def _by_label(terms: Any, labels: Any, classes: int) -> Any:
    """The logarithm of the sum of exp(terms) (t, n, s) of each label (n, s): (t, n, classes)."""
    steps, batch = terms.shape[:2]
    highest = terms.max(2, keepdims=True, initial=-np.inf)
    highest = np.where(np.isfinite(highest), highest, 0)
    place = np.arange(steps * batch).reshape(steps, batch, 1) * classes + labels
    weights = _computed("exponentials", _shares, terms, highest)
    sums = np.bincount(place.reshape(-1), weights.reshape(-1), steps * batch * classes)
    return _computed("logarithms", _logarithms, sums.reshape(steps, batch, classes), highest)

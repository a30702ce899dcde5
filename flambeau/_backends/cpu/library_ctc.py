"""Connectionist temporal classification: the forward and backward tables over labels with blanks between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Ints = Sequence[int]


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


def _later(table: Any, by: int) -> Any:
    """The table moved right (or left, for negative `by`), with impossible entries coming in."""
    out = np.full_like(table, -np.inf)
    if table.shape[1] > abs(by):
        if by > 0:
            out[:, by:] = table[:, :-by]
        else:
            out[:, :by] = table[:, -by:]
    return out


def ctc(log_probs: Any, targets: Any, *, input_lengths: Ints, target_lengths: Ints, blank: int) -> tuple[Any, Any]:
    """(minus the log-likelihoods, the forward table (n, t, 2 l + 1))."""
    steps, batch, _ = log_probs.shape
    labels, skip = _extended(targets, target_lengths, blank)
    p = np.take_along_axis(log_probs.astype(np.float64), labels[None], 2)  # t n s
    alpha = np.full(p.shape, -np.inf)
    if steps:
        alpha[0, :, :2] = p[0, :, :2]
    with np.errstate(invalid="ignore"):
        for t in range(1, steps):
            before = alpha[t - 1]
            two = np.where(skip, _later(before, 2), -np.inf)
            alpha[t] = np.logaddexp(np.logaddexp(before, _later(before, 1)), two) + p[t]
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
    both = np.full(p.shape, -np.inf)
    beta = np.full(labels.shape, -np.inf)
    lengths, ends = np.asarray(input_lengths), 2 * np.asarray(target_lengths, np.int64)
    inside = np.arange(labels.shape[1]) <= ends[:, None]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for t in range(steps - 1, -1, -1):
            two = np.where(onward, _later(beta, -2), -np.inf)
            beta = np.logaddexp(np.logaddexp(beta, _later(beta, -1)), two) + p[t]
            for n in np.flatnonzero(lengths == t + 1):
                beta[n] = -np.inf
                for s in (ends[n], ends[n] - 1) if ends[n] else (ends[n],):
                    beta[n, s] = p[t, n, s]
            both[t] = np.where(inside & (lengths > t)[:, None], log_alpha[:, t].astype(np.float64) + beta, -np.inf)
        total = _by_label(both, labels, classes)
        there = (np.arange(steps)[:, None] < lengths)[..., None]
        out = np.where(there, np.exp(wide) - np.exp(total + nll[:, None] - wide), 0)
        out *= grad[None, :, None]
    if zero_infinity:
        out[:, np.isinf(nll)] = 0
    return out.astype(log_probs.dtype)


def _by_label(terms: Any, labels: Any, classes: int) -> Any:
    """The logarithm of the sum of exp(terms) (t, n, s) of each label (n, s): (t, n, classes)."""
    steps, batch = terms.shape[:2]
    highest = terms.max(2, keepdims=True, initial=-np.inf)
    highest = np.where(np.isfinite(highest), highest, 0)
    place = np.arange(steps * batch).reshape(steps, batch, 1) * classes + labels
    sums = np.bincount(place.reshape(-1), np.exp(terms - highest).reshape(-1), steps * batch * classes)
    return np.log(sums.reshape(steps, batch, classes)) + highest

"""The operators of torchaudio's compiled library, in Python: that library is built against PyTorch's C++ and cannot be loaded.

`torch.ops.load_library` comes here where torchaudio asks for it. Recursions over time run in the array library; gradients are torchaudio's own,
written over these operators.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._tensor import Tensor, wrap
from flambeau.library import Library

SCHEMAS = (
    "_lfilter_core_loop(Tensor input_signal_windows, Tensor a_coeff_flipped, Tensor(a!) padded_output_waveform) -> ()",
    "_overdrive_core_loop(Tensor waveform, Tensor temp, Tensor(a!) last_in, Tensor(b!) last_out, Tensor(c!) output_waveform) -> ()",
    "rnnt_loss_forward(Tensor logits, Tensor targets, Tensor logit_lengths, Tensor target_lengths, int blank, float clamp, "
    "bool fused_log_softmax=True) -> (Tensor, Tensor?)",
    "forced_align(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank) -> (Tensor, Tensor)",
)
_libraries: list[Library] = []


def register() -> None:
    """Declares the operators of the namespaces torchaudio and _torchaudio, once."""
    if _libraries:
        return
    library, facts = Library("torchaudio", "DEF"), Library("_torchaudio", "DEF")
    _libraries.extend((library, facts))
    for schema, body in zip(
        SCHEMAS, (lfilter_core_loop, overdrive_core_loop, rnnt_loss_forward, forced_align), strict=True
    ):
        library.define(schema)
        library.impl(schema.partition("(")[0], body, "CPU")
    for schema, value in (("is_align_available() -> bool", True), ("cuda_version() -> int?", None)):
        facts.define(schema)
        facts.impl(schema.partition("(")[0], lambda value=value: value, "CompositeImplicitAutograd")


def _filtered(b: list[float], a: Any, x: Any, past_x: Any, past_y: Any) -> Any:
    """The recursive filter b / a along the last axis, after what came before it (the latest first)."""
    from scipy.signal import lfilter, lfiltic

    one = np.asarray(b, x.dtype)
    return lfilter(one, a, x, zi=lfiltic(one, a, past_y, past_x).astype(x.dtype))[0]


def lfilter_core_loop(input_signal_windows: Tensor, a_coeff_flipped: Tensor, padded_output_waveform: Tensor) -> None:
    """The recursive part of a filter: each sample less a weighted sum of the results before it. Channels have coefficients of their own."""
    x, a, y = input_signal_windows._a, a_coeff_flipped._a[:, ::-1], padded_output_waveform._a
    order = a.shape[1]
    for sample in range(x.shape[0]):
        for channel in range(x.shape[1]):
            # What stands where a result will stand counts as well: nothing, as torchaudio calls it.
            started = x[sample, channel] - a[channel, 0] * y[sample, channel, order - 1 :]
            coefficients = np.concatenate([np.ones(1, a.dtype), a[channel, 1:]])
            past = y[sample, channel, : order - 1][::-1].copy()
            y[sample, channel, order - 1 :] = _filtered([1.0], coefficients, started, [], past)


def overdrive_core_loop(
    waveform: Tensor, temp: Tensor, last_in: Tensor, last_out: Tensor, output_waveform: Tensor
) -> None:
    """A filter without its constant part, mixed with the sound it comes from; the last sample and result are kept."""
    x = temp._a
    for row in range(x.shape[0]):
        y = _filtered(
            [1.0, -1.0],
            np.asarray([1.0, -0.995], x.dtype),
            x[row],
            last_in._a[row : row + 1],
            last_out._a[row : row + 1],
        )
        output_waveform._a[row] = waveform._a[row] * 0.5 + y * 0.75
        if y.size:
            last_in._a[row], last_out._a[row] = x[row, -1], y[-1]


def rnnt_loss_forward(logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int, clamp: float, fused_log_softmax: bool = True) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The negative log-likelihood of each target under a transducer, and its derivative with respect to the logits."""
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    x = (wide.log_softmax(-1) if fused_log_softmax else wide)._a
    each = max(len(x) // max(len(targets._a), 1), 1)
    costs, gradients = np.zeros(len(x), x.dtype), np.zeros_like(x)
    for i in range(len(x)):
        t, u = int(logit_lengths._a[i]), int(target_lengths._a[i // each]) + 1
        target = targets._a[i // each, : u - 1]
        costs[i], gradients[i, :t, :u] = _transduced(x[i, :t, :u], target, blank, fused_log_softmax)
    if clamp > 0:
        np.clip(gradients, -clamp, clamp, out=gradients)
    return wrap(costs.astype(logits._a.dtype)), wrap(gradients.astype(logits._a.dtype))


def _transduced(log: Any, target: Any, blank: int, fused: bool) -> tuple[Any, Any]:
    """Cost and gradient for one sequence: sums over all ways through the grid of times and labels, from its start and from its end."""
    t, u, _ = log.shape
    skip = log[:, :, blank]
    emit = log[:, np.arange(u - 1), target] if u > 1 else np.zeros((t, 0), log.dtype)
    ahead, back = np.full((t, u), -np.inf, log.dtype), np.full((t, u), -np.inf, log.dtype)
    for i in range(t):
        for j in range(u):
            ways = ([ahead[i - 1, j] + skip[i - 1, j]] if i else []) + ([ahead[i, j - 1] + emit[i, j - 1]] if j else [])
            ahead[i, j] = np.logaddexp.reduce(ways) if ways else 0.0
    for i in reversed(range(t)):
        for j in reversed(range(u)):
            ways = ([back[i + 1, j] + skip[i, j]] if i + 1 < t else []) + (
                [back[i, j + 1] + emit[i, j]] if j + 1 < u else []
            )
            back[i, j] = np.logaddexp.reduce(ways) if ways else skip[i, j]
    cost = -back[0, 0]
    after = np.concatenate([back[1:], np.full((1, u), -np.inf, log.dtype)])
    after[-1, -1] = 0.0  # the last step leaves the grid
    taken = np.zeros_like(log)  # how much of all ways goes over each step
    taken[:, :, blank] = np.exp(ahead + skip + after + cost)
    if u > 1:
        taken[:, np.arange(u - 1), target] += np.exp(ahead[:, :-1] + emit + back[:, 1:] + cost)
    return cost, np.exp(log) * taken.sum(-1, keepdims=True) - taken if fused else -taken


def forced_align(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The likeliest label (or blank) for each time under CTC, given all labels in order; and the probabilities it chose from."""
    log, target = log_probs._a, targets._a
    if len(log) != 1 or len(target) != 1:
        raise RuntimeError("Batch size must be 1 for forced alignment.")
    labels, times = target[0], log.shape[1]
    repeats = int((labels[1:] == labels[:-1]).sum())
    if times < len(labels) + repeats:
        raise RuntimeError(
            f"targets length is too long for CTC. Found log_probs length: {times}, targets length: {len(labels)}, and number of repeats: {repeats}"
        )
    states = np.full(2 * len(labels) + 1, blank, labels.dtype)
    states[1::2] = labels
    may_skip = np.zeros(len(states), bool)  # from one label to the next, unless they are the same
    may_skip[3::2] = labels[1:] != labels[:-1]
    best = np.full(len(states), -np.inf, log.dtype)
    best[:2] = log[0, 0, states[:2]]
    came = np.zeros((times, len(states)), np.int64)
    for i in range(1, times):
        steps = np.full((3, len(states)), -np.inf, log.dtype)
        steps[0], steps[1, 1:] = best, best[:-1]
        steps[2, 2:] = np.where(may_skip[2:], best[:-2], -np.inf)
        # Of equal ways torchaudio takes the longest step.
        came[i] = np.where(
            (steps[2] > steps[1]) & (steps[2] > steps[0]),
            2,
            np.where((steps[1] > steps[0]) & (steps[1] > steps[2]), 1, 0),
        )
        best = steps[came[i], np.arange(len(states))] + log[0, i, states]
    at = len(states) - 1 if len(states) == 1 or best[-1] > best[-2] else len(states) - 2
    path = np.zeros((1, times), labels.dtype)
    for i in reversed(range(times)):
        path[0, i] = states[at]
        at -= came[i, at]
    return wrap(path), log_probs

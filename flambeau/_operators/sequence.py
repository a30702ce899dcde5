"""Sequences of different lengths: padded, packed, and aligned with labels (CTC)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flambeau._kernel.language import Index, Kernel, Scalar, Shape, T
from flambeau._operators.op import FUNCTION, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, float32, float64, int64, of
from flambeau._values.shape import check_fills

Ints = Sequence[int]


# ---------------------------------------------------------------- padding and packing


@op("pad_sequence", namespace="nn", variants=FUNCTION, promote="none")
def pad_sequence(
    k: Kernel[T],
    sequences: Sequence[T],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> T:
    """Tensors (length, ...) as one of (longest, n, ...), or (n, longest, ...), filled up on one side, in the first one's dtype."""
    first = sequences[0]
    longest = max(x.shape[0] for x in sequences)
    shape = (len(sequences), longest) if batch_first else (longest, len(sequences))
    out = k.xp.full((*shape, *first.shape[1:]), padding_value, first.dtype)
    for i, x in enumerate(sequences):
        rows = _beside_padding(x.shape[0], longest, padding_side)
        same = x if x.dtype is first.dtype else k.library("converted", x, dtype=of(first.dtype))
        out[(i, rows) if batch_first else (rows, i)] = same
    return out


pad_sequence.vjp(
    sequences=lambda g, sequences_shape, batch_first, padding_side: _unpadded(
        g, sequences_shape, batch_first, padding_side
    )
)


def _beside_padding(length: int, longest: int, side: str) -> slice:
    return slice(longest - length, longest) if side == "left" else slice(0, length)


def _unpadded(g: Any, shapes: Sequence[Shape], batch_first: bool, side: str) -> list[Any]:
    """The gradients of the sequences: their rows of that of the batch."""
    longest = g.shape[1 if batch_first else 0]
    rows = [_beside_padding(shape[0], longest, side) for shape in shapes]
    return [(g[i, r] if batch_first else g[r, i]).sum_to_size(shapes[i]) for i, r in enumerate(rows)]


@pad_sequence.errors
def _(sequences: Any, batch_first: bool, padding_value: float, padding_side: str) -> None:
    if not len(sequences):
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    first = sequences[0]
    if any(not s.ndim for s in sequences):
        raise RuntimeError("ArrayRef: invalid slice, N = 1; size = 0")
    for s in sequences:
        check_fills((s._a.shape[0], *first._a.shape[1:]), s._a.shape)


@composite(
    "_pack_padded_sequence(Tensor input, Tensor lengths, bool batch_first) -> (Tensor, Tensor)",
    variants=FUNCTION,
    receiver="input",
)
def _pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool) -> Any:
    """The rows of a padded batch step by step, without the padding, and how many sequences reach each step."""
    if lengths.ndim != 1 or lengths.dtype is not int64 or lengths.device.type != "cpu":
        kind = lengths.type().rpartition(".")[2].removesuffix("Tensor")
        found = f"{lengths.ndim}D {lengths.device} {kind} tensor"
        raise RuntimeError(f"'lengths' argument should be a 1D CPU int64 tensor, but got {found}")
    if not input.numel():
        raise RuntimeError("Cannot pack empty tensors.")
    x = input.transpose(0, 1) if batch_first else input
    batch = x.size(1)
    sizes = lengths.tolist()
    if len(sizes) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={batch})"
        )
    if sizes[-1] <= 0:  # the least, where they are in order
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if sizes != sorted(sizes, reverse=True):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if "
            "you do not need ONNX exportability."
        )
    reach = [sum(n > t for n in sizes) for t in range(sizes[0])]
    rows = [t * batch + b for t, n in enumerate(reach[: x.shape[0]]) for b in range(n)]
    flat = x.reshape(-1, *x.shape[2:])
    return flat.index_select(0, lengths.new_tensor(rows)), lengths.new_tensor(reach)


@composite(
    "_pad_packed_sequence(Tensor data, Tensor batch_sizes, bool batch_first, Scalar padding_value, int total_length) -> (Tensor, Tensor)",
    variants=FUNCTION,
)
def _pad_packed_sequence(
    data: Tensor, batch_sizes: Any, batch_first: bool, padding_value: Scalar, total_length: int
) -> Any:
    """The padded batch that was packed, `total_length` long, and the lengths of its sequences."""
    reach = batch_sizes.tolist()
    batch = reach[0]
    if total_length > 0 and total_length < len(reach):
        raise RuntimeError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {len(reach)}"
        )
    steps = max(total_length, len(reach))
    start, rows = 0, []
    for n in (*reach, *(0,) * (steps - len(reach))):
        rows += [*range(start, start + n), *(-1,) * (batch - n)]
        start += n
    at = batch_sizes.new_tensor(rows)
    out = data.index_select(0, at.clamp(min=0))
    missing = at.lt(0).view(-1, *(1,) * (data.ndim - 1))
    out = out.masked_fill(missing, padding_value).view(steps, batch, *data.shape[1:])
    lengths = [sum(n > b for n in reach) for b in range(batch)]
    return out.transpose(0, 1) if batch_first else out, batch_sizes.new_tensor(lengths)


# ---------------------------------------------------------------- connectionist temporal classification


@op(
    "_ctc_loss",
    "_ctc_loss.Tensor(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank=0, bool zero_infinity=False) -> (Tensor, Tensor)",
    variants=FUNCTION,
    promote="none",
    outputs=("neg_log_likelihood", "log_alpha"),
    unnamed=True,
)
def _ctc_loss(k: Kernel[T], log_probs: T, targets: Index, input_lengths: Ints, target_lengths: Ints, blank: int = 0,
              zero_infinity: bool = False) -> T:  # fmt: skip
    """Minus the log-probability of all alignments of each target with log_probs (t, n, c), and the forward table.

    Graves et al., 2006.
    """
    return k.library("ctc", log_probs, targets, input_lengths=input_lengths, target_lengths=target_lengths, blank=blank)


@op(
    "_ctc_loss_backward",
    "_ctc_loss_backward.Tensor(Tensor grad, Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, "
    "Tensor neg_log_likelihood, Tensor log_alpha, int blank, bool zero_infinity=False) -> Tensor",
    variants=FUNCTION,
    promote="none",
    differentiable=False,
)
def _ctc_loss_backward(k: Kernel[T], grad: T, log_probs: T, targets: Index, input_lengths: Ints, target_lengths: Ints,
                       neg_log_likelihood: T, log_alpha: T, blank: int, zero_infinity: bool = False) -> T:  # fmt: skip
    """The gradient by what log_softmax was taken of, which log_softmax's own derivative leaves as it is."""
    return k.library("ctc_backward", grad, log_probs, targets, neg_log_likelihood, log_alpha, input_lengths=input_lengths,
                     target_lengths=target_lengths, blank=blank, zero_infinity=zero_infinity)  # fmt: skip


_ctc_loss.vjp(log_probs=lambda g_neg_log_likelihood, log_probs, targets, input_lengths, target_lengths, neg_log_likelihood,
              log_alpha, blank, zero_infinity: _ctc_loss_backward(g_neg_log_likelihood, log_probs, targets, input_lengths, target_lengths,
                                                       neg_log_likelihood, log_alpha, blank, zero_infinity))  # fmt: skip


def _lengths(given: Any, name: str) -> list[int]:
    if not isinstance(given, Tensor):
        return [int(n) for n in given]
    if given.dtype.is_floating_point or given.dtype.is_complex:
        raise RuntimeError(f"{name} must be integral")
    return given.reshape(-1).tolist()


def _check_ctc(log_probs: Any, targets: Any, inputs: list[int], labels: list[int], blank: int) -> None:
    def refuse(text: str) -> None:
        raise RuntimeError(f"{text} (while checking arguments for ctc_loss_allocate_outputs)")

    if log_probs.dtype not in (float32, float64):
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{SPOKEN[log_probs.dtype]}'")
    if log_probs.ndim != 3:
        refuse(
            f"Expected 3-dimensional tensor, but got {log_probs.ndim}-dimensional tensor for argument #1 'log_probs'"
        )
    steps, batch, classes = log_probs.shape
    if not log_probs.dtype.is_floating_point:
        kind = log_probs.type().rpartition(".")[2].removesuffix("Tensor")
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{kind}'")
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    for name, given in (("input_lengths", inputs), ("target_lengths", labels)):
        if len(given) != batch:
            raise RuntimeError(f"{name} must be of size batch_size")
        for n in given:
            if n < 0:
                refuse(f"Expected {name} to have value at least 0, but got value {n}")
            if n > steps and name == "input_lengths":
                refuse(f"Expected {name} to have value at most {steps}, but got value {n}")
    have, at = targets.shape, "for argument #2 'targets'"
    need = sum(labels) if targets.ndim == 1 else batch
    if have[0] != need:
        refuse(f"Expected tensor to have size {need} at dimension 0, but got size {have[0]} {at}")
    longest = max(labels, default=0)
    if targets.ndim > 1 and have[1] < longest:
        refuse(f"Expected tensor to have size at least {longest} at dimension 1, but got size {have[1]} {at}")


@composite(
    "ctc_loss.IntList(Tensor log_probs, Tensor targets, int[] input_lengths, int[] target_lengths, int blank=0, int reduction=1, bool zero_infinity=False)",
    "ctc_loss.Tensor(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank=0, int reduction=1, bool zero_infinity=False)",
    variants=FUNCTION,
    autocast="float32",
)
def ctc_loss(log_probs: Tensor, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: int = 1,
             zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """Minus the log-probability of all alignments of each target with log_probs (t, n, c) or (t, c)."""
    batched = log_probs.ndim == 3
    if log_probs.ndim == 2:
        log_probs, targets = log_probs.unsqueeze(1), targets.unsqueeze(0) if targets.ndim == 1 else targets
    inputs, labels = _lengths(input_lengths, "input_lengths"), _lengths(target_lengths, "target_lengths")
    _check_ctc(log_probs, targets, inputs, labels, blank)
    loss = _ctc_loss(log_probs, targets.long(), inputs, labels, blank, zero_infinity)[0]
    if zero_infinity:
        loss = loss.masked_fill(loss.eq(math.inf), 0.0)
    if reduction == 1:
        return (loss / loss.new_tensor([max(n, 1) for n in labels])).mean()
    if reduction == 2:
        return loss.sum()
    return loss if batched else loss.squeeze(0)

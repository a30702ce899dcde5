"""Sequences of different lengths in one tensor: padded, or packed step by step without the padding."""

from collections import namedtuple
from collections.abc import Iterable

import flambeau
from flambeau import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpad_sequence",
    "pack_sequence",
    "unpack_sequence",
]

PackedSequence_ = namedtuple("PackedSequence_", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])


class PackedSequence(PackedSequence_):
    """Sequences packed step by step: ``batch_sizes[t]`` of them reach step t, and their rows lie together in ``data``.

    >>> pack_sequence([flambeau.tensor([1, 2]), flambeau.tensor([3])]).data.tolist()
    [1, 3, 2]
    """

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:  # both in one pair, as older programs gave them
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. "
                "They should be instantiated by functions like pack_sequence and pack_padded_sequences in "
                "nn.utils.rnn. https://pytorch.org/docs/stable/nn.html#torch.nn.utils.rnn.pack_sequence"
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def pin_memory(self):
        """All tensors in pinned memory."""
        return type(self)(*(None if t is None else t.pin_memory() for t in self))

    def to(self, *args, **kwargs):
        """Moves or casts the data; the indices follow to its device."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        _, _, non_blocking, layout = flambeau._C._nn._parse_to(*args, **kwargs)
        indices = (
            None if t is None else t.to(data.device, non_blocking=non_blocking, memory_format=layout)
            for t in (self.sorted_indices, self.unsorted_indices)
        )
        return type(self)(data, self.batch_sizes, *indices)

    def _to_type(self, kind, args, kwargs):
        """Moves as asked, which must end on a device of this kind."""
        like = flambeau.tensor((), dtype=self.data.dtype, device=self.data.device).to(*args, **kwargs)
        if like.device.type != kind:
            kwargs["device"] = kind
        return self.to(*args, **kwargs)

    def cuda(self, *args, **kwargs):
        """Moves the data to a CUDA device."""
        return self._to_type("cuda", args, kwargs)

    def cpu(self, *args, **kwargs):
        """Moves the data to the CPU."""
        return self._to_type("cpu", args, kwargs)

    def double(self):
        """The data as float64."""
        return self.to(dtype=flambeau.float64)

    def float(self):
        """The data as float32."""
        return self.to(dtype=flambeau.float32)

    def half(self):
        """The data as float16."""
        return self.to(dtype=flambeau.float16)

    def long(self):
        """The data as int64."""
        return self.to(dtype=flambeau.int64)

    def int(self):
        """The data as int32."""
        return self.to(dtype=flambeau.int32)

    def short(self):
        """The data as int16."""
        return self.to(dtype=flambeau.int16)

    def char(self):
        """The data as int8."""
        return self.to(dtype=flambeau.int8)

    def byte(self):
        """The data as uint8."""
        return self.to(dtype=flambeau.uint8)

    @property
    def is_cuda(self):
        """Whether the data is on a CUDA device."""
        return self.data.is_cuda

    def is_pinned(self):
        """Whether the data is in pinned memory."""
        return self.data.is_pinned()


def invert_permutation(permutation):
    """The permutation that undoes this one; None stays None.

    >>> invert_permutation(flambeau.tensor([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    if permutation is None:
        return None
    inverse = flambeau.empty_like(permutation, memory_format=flambeau.legacy_contiguous_format)
    return inverse.scatter_(0, permutation, flambeau.arange(0, permutation.numel(), device=permutation.device))


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Packs a padded batch (T, N, ...), or (N, T, ...) with ``batch_first``; ``lengths`` are those of the N sequences.

    They must fall, unless ``enforce_sorted`` is False: then the batch is sorted, and the order kept to undo it.
    """
    if isinstance(lengths, Tensor):
        lengths = lengths.to(dtype=flambeau.int64)
    else:
        lengths = flambeau.as_tensor(lengths, dtype=flambeau.int64, device="cpu")
    order = None
    if not enforce_sorted:
        lengths, order = flambeau.sort(lengths, descending=True)
        order = order.to(input.device)
        input = input.index_select(0 if batch_first else 1, order)
    data, batch_sizes = flambeau._pack_padded_sequence(input, lengths, batch_first)
    return PackedSequence(data, batch_sizes, order, None)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """The padded batch of a packed one, and the lengths; ``total_length`` pads further than the longest sequence."""
    longest = sequence.batch_sizes.size(0)
    if total_length is None:
        total_length = longest
    elif total_length < longest:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {longest}"
        )
    padded, lengths = flambeau._pad_packed_sequence(
        sequence.data, sequence.batch_sizes, batch_first, padding_value, total_length
    )
    order = sequence.unsorted_indices
    if order is None:
        return padded, lengths
    return padded.index_select(0 if batch_first else 1, order), lengths[order.cpu()]


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Tensors (L, ...) of different lengths as one (T, N, ...), or (N, T, ...) with ``batch_first``.

    >>> pad_sequence([flambeau.tensor([1, 2]), flambeau.tensor([3])], batch_first=True).tolist()
    [[1, 2], [3, 0]]
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    return flambeau._C._nn.pad_sequence(tuple(sequences), batch_first, padding_value, padding_side)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The sequences of a padded batch, as a list."""
    if not batch_first:
        padded_sequences.transpose_(0, 1)
    steps = flambeau.arange(padded_sequences.shape[1], device=lengths.device)
    return [seq[steps < length] for seq, length in zip(padded_sequences, lengths, strict=True)]


def pack_sequence(sequences, enforce_sorted=True):
    """Packs a list of sequences; see :func:`pack_padded_sequence`."""
    lengths = flambeau.as_tensor([seq.size(0) for seq in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """The sequences of a packed batch, as a list."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)

"""Tables of embeddings in bytes: each row holds its codes, then the scale and the float that code zero stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau
from flambeau._backends.quantized_arrays import apart, codes, side_by_side
from flambeau._quantized import ROWS, operator
from flambeau._quantized.params import EmbeddingPackedParamsBase
from flambeau._tensor import wrap
from flambeau._values import dtype as dtypes
from flambeau._values.ranges import best_range

F32 = np.float32
HALF = np.float16
Table = tuple[Any, Any, Any]  # codes, scales, and what code zero stands for


# ---------------------------------------------------------------- bytes


def to_bytes(table: Table, bits: int) -> Any:
    """The rows of a table: of eight bits with facts in single precision, of fewer in half."""
    c, scales, biases = table
    kind = F32 if bits == 8 else HALF
    facts = np.stack([scales, biases], -1).astype(kind)
    facts = facts.reshape(*facts.shape[:-1], 2).view(np.uint8).reshape(*facts.shape[:-1], -1)
    return np.concatenate([c if bits == 8 else side_by_side(c, 8 // bits), facts], -1)


def from_bytes(rows: Any, bits: int) -> Table:
    """The table whose rows these are."""
    kind, size = (F32, 8) if bits == 8 else (HALF, 4)
    body, facts = rows[..., :-size], np.ascontiguousarray(rows[..., -size:]).view(kind).astype(F32)
    if bits != 8:
        body = apart(body, 8 // bits).reshape(*body.shape[:-1], -1)
    return body, facts[..., 0], facts[..., 1]


def floats(table: Table) -> Any:
    """What the codes of a table stand for."""
    c, scales, biases = table
    return (c.astype(np.float64) * scales[..., None].astype(np.float64) + biases[..., None].astype(np.float64)).astype(
        F32
    )


# ---------------------------------------------------------------- from floats


def _by_range(w: Any, low: Any, high: Any, bits: int) -> Table:
    top = (1 << bits) - 1
    if bits == 8:
        spread = high - low
        scales, inverse = (spread / F32(255)).astype(F32), F32(255) / (spread + F32(1e-8))
    else:
        low = low.astype(HALF).astype(F32)
        spread = high - low
        scales = np.where(spread == 0, F32(1), spread / F32(top)).astype(HALF).astype(F32)
        scales = np.where(scales == 0, F32(1), scales)
        inverse = F32(1) / scales
        scales, inverse = (np.where(np.isinf(inverse), F32(1), v) for v in (scales, inverse))
    c = np.clip(np.rint((w - low[..., None]) * inverse[..., None]), 0, top).astype(np.uint8)
    return c, scales, low


def _prepared(weight: Any, bits: int, ranges: Any, optimized: bool, nbins: int, ratio: float) -> Any:
    w = np.ascontiguousarray(weight.detach()._a.astype(F32))
    if ranges is not None:
        given = ranges.detach()._a.astype(F32)
        low, high = given[..., 0], given[..., 1]
    elif optimized:
        found = [best_range(row, nbins, ratio, bits) for row in w.reshape(-1, w.shape[-1])]
        low, high = (np.array([r[i] for r in found], F32).reshape(w.shape[:-1]) for i in (0, 1))
    else:
        low, high = w.min(-1), w.max(-1)
    return wrap(to_bytes(_by_range(w, low, high, bits), bits))


@operator("embedding_bag_byte_prepack(Tensor weight) -> Tensor")
def byte_prepack(weight: Any) -> Any:
    return _prepared(weight, 8, None, False, 0, 0.0)


@operator("embedding_bag_byte_prepack_with_rowwise_min_max(Tensor weight, Tensor rowwise_min_max) -> Tensor")
def byte_prepack_ranges(weight: Any, rowwise_min_max: Any) -> Any:
    return _prepared(weight, 8, rowwise_min_max, False, 0, 0.0)


def _few_bits(bits: int) -> None:
    how = "bool optimized_qparams=False, int nbins=200, float ratio=0.16"

    @operator(f"embedding_bag_{bits}bit_prepack(Tensor weight, {how}) -> Tensor")
    def prepack(weight: Any, optimized: bool = False, nbins: int = 200, ratio: float = 0.16) -> Any:
        return _prepared(weight, bits, None, optimized, nbins, ratio)

    @operator(
        f"embedding_bag_{bits}bit_prepack_with_rowwise_min_max(Tensor weight, Tensor rowwise_min_max, {how}) -> Tensor"
    )
    def prepack_ranges(weight: Any, ranges: Any, optimized: bool = False, nbins: int = 200, ratio: float = 0.16) -> Any:
        return _prepared(weight, bits, ranges, optimized, nbins, ratio)


for _bits in (4, 2):
    _few_bits(_bits)


def _unpack(bits: int) -> Any:
    return lambda weight: wrap(floats(from_bytes(weight._a, bits)))


for _bits, _name in ((8, "byte"), (4, "4bit"), (2, "2bit")):
    operator(f"embedding_bag_{_name}_unpack(Tensor weight) -> Tensor")(_unpack(_bits))


# ---------------------------------------------------------------- packed tables


@operator(f"embedding_bag_prepack(Tensor weight) -> {ROWS} W_prepack")
def prepack(weight: Any) -> Any:
    if weight.dtype not in (dtypes.quint8, dtypes.BY_NAME["quint4x2"]):
        raise RuntimeError("embedding_bag_prepack currently only supports quint8 and quint4x2 weights")
    if weight.qscheme() is not flambeau.per_channel_affine_float_qparams:
        raise RuntimeError("Expect embedding_bag weights to be quantized using kPerChannelAffineFloatQParams")
    return EmbeddingPackedParamsBase(weight)


@operator(f"embedding_bag_unpack({ROWS} W_prepack) -> Tensor W_origin")
def unpack(packed: Any) -> Any:
    return packed.unpack()


def table_of(packed: Any) -> Table:
    """The table in a packed object."""
    weight = packed.unpack()
    q = weight._a.quantizer
    scales = q.scales.astype(F32)
    biases = -q.zero_points.astype(F32) * scales
    if packed.bit_rate() != 8:
        scales, biases = scales.astype(HALF).astype(F32), biases.astype(HALF).astype(F32)
    return codes(weight._a), scales, biases


# ---------------------------------------------------------------- looking up


def _picked(table: Table, at: Any) -> Any:
    return floats(tuple(part[at] for part in table))  # type: ignore[arg-type]


def embedding(table: Table, indices: Any) -> Any:
    """The rows at indices."""
    at = indices._a
    n = len(table[0])
    if at.size and (at.min() < 0 or at.max() >= n):
        raise RuntimeError("Embedding lookup indices out of range")
    return wrap(_picked(table, at))


def bag(table: Table, indices: Any, offsets: Any, weights: Any, mapping: Any, last: bool) -> Any:
    """Sums of the rows of each bag."""
    at = indices._a
    if at.ndim == 2:
        starts = np.arange(at.shape[0] + 1, dtype=np.int64) * at.shape[1]
        at = at.reshape(-1)
    else:
        if offsets is None:
            raise RuntimeError("embedding_bag operator expects offsets to be set for 1D indices.")
        starts = offsets._a.astype(np.int64)
        starts = starts if last else np.append(starts, len(at))
    if mapping is not None and mapping.numel():
        at = mapping._a.reshape(-1)[at]
    here = at >= 0  # rows that were pruned count nothing
    rows = np.zeros((len(at), table[0].shape[-1]), F32)
    rows[here] = _picked(table, at[here])
    if weights is not None:
        rows *= weights.detach()._a.astype(F32).reshape(-1, 1)
    out = np.zeros((len(starts) - 1, rows.shape[1]), F32)
    np.add.at(out, np.repeat(np.arange(len(starts) - 1), np.diff(starts)), rows[starts[0] : starts[-1]])
    return wrap(out)


_LOOK = (
    "Tensor indices, Tensor? offsets=None, bool scale_grad_by_freq=False, int mode=0, bool pruned_weights=False, "
    "Tensor? per_sample_weights=None, Tensor? compressed_indices_mapping=None, bool include_last_offset=False"
)


def _bags(of: Any) -> Any:
    def run(weight: Any, indices: Any, offsets: Any = None, freq: bool = False, mode: int = 0, pruned: bool = False,
            per_sample_weights: Any = None, mapping: Any = None, last: bool = False) -> Any:  # fmt: skip
        return bag(of(weight), indices, offsets, per_sample_weights, mapping if pruned else None, last)

    return run


def _lookups(name: str, bits: int) -> None:
    @operator(f"embedding_{name}({ROWS} weight, Tensor indices, bool pruned_weights=False) -> Tensor")
    def one(packed: Any, indices: Any, pruned: bool = False) -> Any:
        return embedding(table_of(packed), indices)

    operator(f"embedding_bag_{name}({ROWS} weight, {_LOOK}) -> Tensor")(_bags(table_of))
    operator(f"embedding_bag_{name}_rowwise_offsets(Tensor weight, {_LOOK}) -> Tensor")(
        _bags(lambda w: from_bytes(w._a, bits))
    )


_lookups("byte", 8)
_lookups("4bit", 4)
operator(f"embedding_bag_2bit_rowwise_offsets(Tensor weight, {_LOOK}) -> Tensor")(_bags(lambda w: from_bytes(w._a, 2)))

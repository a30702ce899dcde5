"""Attention whose scores and mask are functions of the positions, computed on whole score matrices.

The functions are called once with index tensors that broadcast against each other, not once per position: they must be
made of elementwise operations and indexing, which is what compiled versions of them need as well.
"""

import itertools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple, NotRequired, TypedDict

import flambeau
from flambeau import Tensor

__all__ = [
    "BlockMask",
    "flex_attention",
    "AuxOutput",
    "AuxRequest",
    "FlexKernelOptions",
    "create_block_mask",
    "create_mask",
    "or_masks",
    "and_masks",
    "noop_mask",
]

_DEFAULT_SPARSE_BLOCK_SIZE = 128
_score_mod_signature = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
_mask_mod_signature = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
_Backend = Literal["AUTO", "TRITON", "TRITON_DECODE", "FLASH"]


class FlexKernelOptions(TypedDict, total=False):
    """What `kernel_options` may say: how PyTorch's GPU kernels are cut. None of it changes a result, and here nothing follows it."""

    num_warps: NotRequired[int]
    num_stages: NotRequired[int]
    BLOCK_M: NotRequired[int]
    BLOCK_N: NotRequired[int]
    BLOCK_M1: NotRequired[int]
    BLOCK_N1: NotRequired[int]
    BLOCK_M2: NotRequired[int]
    BLOCK_N2: NotRequired[int]
    PRESCALE_QK: NotRequired[bool]
    ROWS_GUARANTEED_SAFE: NotRequired[bool]
    BLOCKS_ARE_CONTIGUOUS: NotRequired[bool]
    WRITE_DQ: NotRequired[bool]
    FORCE_USE_FLEX_ATTENTION: NotRequired[bool]
    USE_TMA: NotRequired[bool]
    kpack: NotRequired[int]
    matrix_instr_nonkdim: NotRequired[int]
    waves_per_eu: NotRequired[int]
    BACKEND: NotRequired[_Backend]


def noop_mask(batch, head, token_q, token_kv):
    """The mask that hides nothing."""
    return batch.new_ones(size=(), dtype=flambeau.bool, device=batch.device)


def _identity(score, batch, head, token_q, token_kv):
    return score


def _combined(masks, combine):
    if not all(callable(mask) for mask in masks):
        raise RuntimeError(f"All inputs should be callable mask_mods: {masks}")

    def mask(b, h, q_idx, kv_idx):
        out = masks[0](b, h, q_idx, kv_idx)
        for other in masks[1:]:
            out = combine(out, other(b, h, q_idx, kv_idx))
        return out

    return mask


def or_masks(*mask_mods):
    """The mask that shows what any of the given ones shows."""
    return _combined(mask_mods, lambda a, b: a | b)


def and_masks(*mask_mods):
    """The mask that shows what all of the given ones show."""
    return _combined(mask_mods, lambda a, b: a & b)


def _indices(batch, heads, q_len, kv_len, device):
    """Positions (batch, head, query, key) as tensors that broadcast to (B, H, Q, K)."""
    sizes = (batch, heads, q_len, kv_len)
    return [
        flambeau.arange(size, device=device).view([-1 if d == i else 1 for d in range(4)])
        for i, size in enumerate(sizes)
    ]


def create_mask(mod_fn, B, H, Q_LEN, KV_LEN, device=None):
    """The mask that ``mod_fn(b, h, q_idx, kv_idx)`` says, as a boolean tensor (B, H, Q_LEN, KV_LEN).

    >>> create_mask(lambda b, h, q, k: q >= k, 1, 1, 2, 2).int().tolist()
    [[[[1, 0], [1, 1]]]]
    """
    size = (1 if B is None else B, 1 if H is None else H, Q_LEN, KV_LEN)
    return mod_fn(*_indices(*size, device)).expand(size)


def _pair(block_size):
    return (block_size, block_size) if isinstance(block_size, int) else tuple(block_size)


def _sliced(batch, head, token_q, token_kv):
    raise RuntimeError(
        "Cannot use mask_mod from a sliced BlockMask. It would count rows and batches from the beginning of the slice: set it to a "
        "function that adds the offset and calls the mask_mod of the whole mask."
    )


class BlockMask:
    """A mask function with a note of which blocks of the score matrix it empties, fills or cuts.

    `kv_...` say it per row of blocks, `q_...` per column. `dq_...` fix the order in which GPU kernels of PyTorch's add up
    gradients; they are kept.
    """

    _TENSOR_ATTRS = [
        "kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices", "full_q_num_blocks",
        "full_q_indices", "dq_write_order", "dq_write_order_full", "dq_kv_order",
    ]  # fmt: skip
    _CONTEXT_ATTRS = ["seq_lengths", "BLOCK_SIZE", "mask_mod", "dq_kv_order_spt"]

    def __init__(self, seq_lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, q_num_blocks, q_indices,
                 full_q_num_blocks, full_q_indices, BLOCK_SIZE=(_DEFAULT_SPARSE_BLOCK_SIZE, _DEFAULT_SPARSE_BLOCK_SIZE),
                 mask_mod=noop_mask, *, dq_write_order=None, dq_write_order_full=None, dq_kv_order=None,
                 dq_kv_order_spt=None):  # fmt: skip
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        for side, counts, indices in (
            ("kv", full_kv_num_blocks, full_kv_indices),
            ("q", full_q_num_blocks, full_q_indices),
        ):
            if (counts is None) != (indices is None):
                raise AssertionError(f"full_{side}_num_blocks and full_{side}_indices must be both provided or omitted")
        if dq_write_order_full is not None and dq_write_order is None:
            raise ValueError("dq_write_order_full requires dq_write_order")
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = seq_lengths, BLOCK_SIZE, mask_mod
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices
        self.q_num_blocks, self.q_indices = q_num_blocks, q_indices
        self.full_q_num_blocks, self.full_q_indices = full_q_num_blocks, full_q_indices
        self.dq_write_order, self.dq_write_order_full = dq_write_order, dq_write_order_full
        self.dq_kv_order, self.dq_kv_order_spt = dq_kv_order, dq_kv_order_spt

    @classmethod
    def from_kv_blocks(cls, kv_num_blocks, kv_indices, full_kv_num_blocks=None, full_kv_indices=None,
                       BLOCK_SIZE=_DEFAULT_SPARSE_BLOCK_SIZE, mask_mod=None, seq_lengths=None, compute_q_blocks=True, *,
                       dq_write_order=None, dq_write_order_full=None, dq_kv_order=None):  # fmt: skip
        """A block mask from, per row of blocks, how many of them there are and which."""
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        if dq_kv_order is not None and not isinstance(dq_kv_order, (bool, Tensor)):
            raise ValueError("dq_kv_order must be a bool, Tensor, or None")
        columns = full_columns = (None, None)
        if compute_q_blocks:
            columns = _ordered(_dense(kv_num_blocks, kv_indices).transpose(-2, -1))
            if full_kv_num_blocks is not None:
                full_columns = _ordered(_dense(full_kv_num_blocks, full_kv_indices).transpose(-2, -1))
        size = _pair(BLOCK_SIZE)
        if seq_lengths is None:
            rows, cols = kv_indices.shape[-2:]
            seq_lengths = (rows * size[0], cols * size[1])
        return cls(seq_lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, *columns, *full_columns, size,
                   noop_mask if mask_mod is None else mask_mod, dq_write_order=dq_write_order,
                   dq_write_order_full=dq_write_order_full, dq_kv_order=dq_kv_order if isinstance(dq_kv_order, Tensor) else None,
                   dq_kv_order_spt=dq_kv_order if isinstance(dq_kv_order, bool) else None)  # fmt: skip

    def __getitem__(self, index):
        """The mask of some batches, heads and rows of blocks; a number keeps its dim. Its mask function is refused: it would count from the start."""
        if self.dq_kv_order is not None:
            raise NotImplementedError(
                "Slicing BlockMask with tensor dq_kv_order is not supported yet. Construct a new BlockMask with matching precomputed "
                "dq_write_order metadata."
            )
        if self.dq_write_order is not None:
            raise NotImplementedError("BlockMask[...] of a mask with dq_write_order")
        given = index if isinstance(index, tuple) else (index,)
        whole = slice(None)
        given = tuple(
            (slice(i + n, i + n + 1) if -n <= i < 0 else slice(i, i + 1)) if isinstance(i, int) else i
            for i, n in zip((*given, whole, whole, whole)[:3], self.kv_num_blocks.shape[:3], strict=True)
        )
        parts = (self.kv_num_blocks, self.kv_indices, self.full_kv_num_blocks, self.full_kv_indices)
        made = BlockMask.from_kv_blocks(*(None if t is None else t[given] for t in parts), self.BLOCK_SIZE, _sliced, self.seq_lengths,
                                        self.q_indices is not None)  # fmt: skip
        made.dq_kv_order_spt = self.dq_kv_order_spt
        return made

    def as_tuple(self, flatten=True):
        """All that it is made of, in a fixed order; flat, or with lengths and sizes in pairs."""
        lengths, size = (self.seq_lengths, self.BLOCK_SIZE) if flatten else ((self.seq_lengths,), (self.BLOCK_SIZE,))
        tensors = (getattr(self, name) for name in self._TENSOR_ATTRS)
        return (*lengths, *tensors, self.dq_kv_order_spt, *size, self.mask_mod)

    @property
    def shape(self):
        """(B, H, query length, key length)."""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self):
        """The number of scores."""
        return math.prod(self.shape)

    def to_dense(self):
        """One number per block: 1 if anything in it is shown."""
        dense = _dense(self.kv_num_blocks, self.kv_indices)
        return dense if self.full_kv_indices is None else dense | _dense(self.full_kv_num_blocks, self.full_kv_indices)

    def sparsity(self):
        """The percentage of scores in blocks that nothing is shown of."""
        shown = self.to_dense().sum().item() * self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1]
        return 100 * (1 - shown / self.numel())

    def to(self, device):
        """The same mask on another device."""
        moved = {name: getattr(self, name) for name in self._TENSOR_ATTRS}
        moved = {name: t if t is None else t.to(device) for name, t in moved.items()}
        return BlockMask(**moved, **{name: getattr(self, name) for name in self._CONTEXT_ATTRS})

    def to_string(self, grid_size=(20, 20), limit=4):
        """A picture of the blocks, one for each batch and head: full, cut or empty. At most so many characters wide and high, so many pictures."""
        dense = self.to_dense()
        *batch, rows, columns = dense.shape
        most = (
            (rows, columns) if grid_size == -1 else (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
        )
        step = [max(1, -(-n // m)) for n, m in zip((rows, columns), most, strict=True)]
        pictures = []
        for i, at in enumerate(itertools.product(*map(range, batch))):
            if i == limit:
                pictures += ["...", "To print out more, set BlockMask.to_string(limit=N)",
                             "You can also index (BlockMask[batch, head]) to choose a specific batch or head"]  # fmt: skip
                break
            lines = [str(at)]
            for r in range(0, rows, step[0]):
                parts = [
                    dense[at][r : r + step[0], c : c + step[1]].float().mean().item()
                    for c in range(0, columns, step[1])
                ]
                lines.append("".join(2 * ("█" if p == 1 else " " if p == 0 else "░") for p in parts))
            pictures.append("\n".join(lines) + "\n")
        return "\n".join(pictures)

    def __str__(self):
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n{self.to_string().strip()}\n)"

    def __repr__(self):
        names = ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices", "full_q_num_blocks",
                 "full_q_indices")  # fmt: skip
        shapes = [(n, getattr(self, n)) for n in names]
        facts = [(n, t if t is None else t.shape) for n, t in shapes]
        facts += [("BLOCK_SIZE", self.BLOCK_SIZE), ("shape", self.shape), ("sparsity", f"{self.sparsity():.2f}%")]
        facts += [("mask_mod", getattr(self.mask_mod, "__name__", self.mask_mod))]
        return "BlockMask(\n" + ",\n".join(f"    {n}={v}" for n, v in facts) + "\n)"


def _dense(counts, indices):
    """Ones where the first ``counts`` of each row's indices point."""
    valid = flambeau.arange(indices.size(-1), device=indices.device) < counts.unsqueeze(-1)
    out = flambeau.zeros(*indices.shape[:-1], indices.size(-1) + 1, dtype=flambeau.int32, device=indices.device)
    where = flambeau.where(valid, indices.long(), indices.size(-1))  # the rest into a column of their own
    return out.scatter_(-1, where, 1)[..., :-1]


def _ordered(blocks):
    """Per row of blocks, how many are set, and the column numbers with those first."""
    order = flambeau.argsort(blocks.int(), dim=-1, descending=True, stable=True)
    return blocks.sum(dim=-1).to(flambeau.int32), order.to(flambeau.int32)


def create_block_mask(mask_mod, B, H, Q_LEN, KV_LEN, device=None, BLOCK_SIZE=_DEFAULT_SPARSE_BLOCK_SIZE, _compile=False,
                      separate_full_blocks=True, compute_dq_write_order=False, dq_kv_order=True):  # fmt: skip
    """A :class:`BlockMask` for ``mask_mod(b, h, q_idx, kv_idx)``; B and H may be None where it does not use them.

    Blocks that are shown whole are noted apart, unless `separate_full_blocks` is off.
    """
    if not isinstance(dq_kv_order, bool):
        raise ValueError("dq_kv_order must be a bool when using create_block_mask")
    q_size, kv_size = size = _pair(BLOCK_SIZE)
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    padding = (0, -KV_LEN % kv_size, 0, -Q_LEN % q_size)
    tiles = flambeau._C._nn.pad(mask.int(), padding, "constant", 0)
    tiles = tiles.unflatten(-1, (-1, kv_size)).unflatten(-3, (-1, q_size)).sum(dim=(-3, -1))
    full, shown = tiles == q_size * kv_size, tiles > 0
    blocks = (*_ordered(shown & ~full), *_ordered(full)) if separate_full_blocks else (*_ordered(shown), None, None)
    made = BlockMask.from_kv_blocks(*blocks, size, mask_mod, (Q_LEN, KV_LEN))
    if compute_dq_write_order:
        made.dq_write_order, made.dq_write_order_full = _write_order(made, dq_kv_order)
        made.dq_kv_order_spt = dq_kv_order
    return made


def _write_order(mask, last_first):
    """For each block, per column, its place among those shown of its row: from the first, or from the last."""
    shown = mask.to_dense()
    rank = shown.cumsum(-1) - shown
    if last_first:
        rank = shown.sum(-1, keepdim=True) - 1 - rank
    rank = rank.to(flambeau.int32).transpose(-2, -1)  # b h columns rows

    def of(indices):
        rows = indices.long().clamp(0, rank.size(-1) - 1)
        return rank.expand(*rows.shape[:2], *rank.shape[2:]).gather(-1, rows)

    return of(mask.q_indices), None if mask.full_q_indices is None else of(mask.full_q_indices)


class AuxRequest(NamedTuple):
    """What else :func:`flex_attention` should return."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What :func:`flex_attention` returned besides the output."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def flex_attention(
    query,
    key,
    value,
    score_mod=None,
    block_mask=None,
    scale=None,
    enable_gqa=False,
    return_lse=False,
    kernel_options=None,
    *,
    return_aux=None,
):
    r""":math:`\mathrm{softmax}(f(q k^T \cdot scale))\, v` with ``f`` the ``score_mod`` and all that the mask hides gone.

    Query (B, Hq, L, E), key (B, Hkv, S, E), value (B, Hkv, S, Ev); rows that see nothing are zero.
    """
    _fits(query, key, value, block_mask, enable_gqa, kernel_options or {})
    if return_lse and return_aux is not None:
        raise ValueError(
            "Cannot specify both return_lse and return_aux. return_lse is deprecated, please use "
            "return_aux=AuxRequest(lse=True) instead."
        )
    if query.size(-3) != key.size(-3):
        groups = query.size(-3) // key.size(-3)
        key, value = key.repeat_interleave(groups, dim=-3), value.repeat_interleave(groups, dim=-3)
    scale = 1.0 / math.sqrt(query.size(-1)) if scale is None else scale
    score_mod = _identity if score_mod is None else score_mod
    wide = flambeau.float64 if query.dtype == flambeau.float64 else flambeau.float32
    scores = query.to(wide) @ key.to(wide).transpose(-2, -1) * scale
    places = _indices(*scores.shape, query.device)
    scores = score_mod(scores, *places).to(wide)
    if block_mask is not None:
        scores = scores.masked_fill(~block_mask.mask_mod(*places), -math.inf)
    lse = scores.logsumexp(dim=-1)
    weights = (scores - lse.unsqueeze(-1)).exp().masked_fill((lse == -math.inf).unsqueeze(-1), 0.0)
    out = weights.to(query.dtype) @ value.to(query.dtype)
    if return_aux is None:
        return (out, lse) if return_lse else out
    return out, AuxOutput(lse if return_aux.lse else None, scores.amax(dim=-1) if return_aux.max_scores else None)


def _fits(query, key, value, block_mask, enable_gqa, kernel_options):
    """Raises where tensors and mask are no attention."""
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    if query.size(-1) != key.size(-1):
        raise ValueError(
            "Expect query and key/value to have the same embedding dimension but got "
            f"E={query.size(-1)} and E={key.size(-1)}."
        )
    if query.device.type != key.device.type or query.device.type != value.device.type:
        raise ValueError(
            f"Expected query, key, and value to have the same device type, but got query.device: {query.device}, "
            f"key.device: {key.device}, and value.device: {value.device} instead."
        )
    heads, groups = query.size(-3), key.size(-3)
    if heads != groups and not enable_gqa:
        raise ValueError(
            "Expect query and key/value to have the same number of heads but got "
            f"Hq={heads} and Hkv={groups}. Try setting enable_gqa=True for GQA."
        )
    if heads % groups:
        raise ValueError(
            f"Expect number of query heads to be a multiple of kv heads for GQA but got Hq={heads} and Hkv={groups}."
        )
    batch, other = query.size(0), key.size(0)
    if batch != other:
        if block_mask is None:
            raise ValueError(
                "Expect query and key/value to have the same batch size, or non-none block_mask, but got "
                f"block_mask=None, Bq={batch}, and Bkv={other}."
            )
        masked = block_mask.kv_num_blocks.size(0)
        if masked != batch:
            raise ValueError(
                "Expect query and key/value to have the same batch size, or block_mask and query to have the same "
                f"batch size, but got Bq={batch}, Bkv={other}, B_block_mask={masked}."
            )
        if 1 not in (batch, other):
            raise RuntimeError(f"Bq and Bkv must broadcast. Got Bq={batch} and Bkv={other}")
    if block_mask is not None:
        _fits_mask(block_mask, query.size(-2), key.size(-2))
    if "OUTPUT_LOGSUMEXP" in kernel_options:
        raise AssertionError("OUTPUT_LOGSUMEXP must not be in kernel_options")


def _fits_mask(block_mask, rows, columns):
    mask_rows, mask_columns = block_mask.shape[-2:]
    made = f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={rows} and kv_len={columns}. "
    if rows > mask_rows or columns > mask_columns:
        raise ValueError(
            made + "As the block mask was created for a smaller length than you're using it for, you likely need to "
            "create a new block mask."
        )
    if (rows, columns) != (mask_rows, mask_columns):
        raise ValueError(
            made + "As the block mask was created for a larger length than you're using it for, you can either "
            "1. create a new block mask with the correct length, or 2. 'adjust' the existing block mask to the correct "
            "length by calling block_mask._adjust(q_len, kv_len). This essentially 'crops' the block mask to the upper "
            "left corner, which does not work for all mask_mods!"
        )

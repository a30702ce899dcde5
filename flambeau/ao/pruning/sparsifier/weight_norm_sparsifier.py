"""Masks over the blocks of smallest norm."""

import math

import flambeau
import flambeau.nn.functional as F

from .base_sparsifier import BaseSparsifier

__all__ = ["WeightNormSparsifier"]


class WeightNormSparsifier(BaseSparsifier):
    """Zeroes the share ``sparsity_level`` of blocks that have the smallest norm.

    Blocks are ``sparse_block_shape`` (rows, columns) and begin at the first element. Within a chosen block the
    ``zeros_per_block`` smallest elements become zero, all of them unless told. ``norm`` is 1, 2 or a function.
    """

    def __init__(self, sparsity_level=0.5, sparse_block_shape=(1, 4), zeros_per_block=None, norm=None):
        if zeros_per_block is None:
            zeros_per_block = math.prod(sparse_block_shape)
        defaults = {
            "sparsity_level": sparsity_level,
            "sparse_block_shape": sparse_block_shape,
            "zeros_per_block": zeros_per_block,
        }
        if norm is None:
            norm = 2
        if callable(norm):
            self.norm_fn = norm
        elif norm == 1:
            self.norm_fn = lambda T: T.abs()
        elif norm == 2:
            self.norm_fn = lambda T: T * T
        else:
            raise NotImplementedError(f"L-{norm} is not yet implemented.")
        super().__init__(defaults=defaults)

    def update_mask(self, module, tensor_name, sparsity_level, sparse_block_shape, zeros_per_block, **kwargs):
        """A mask whose zeros lie in the blocks of smallest norm."""
        per_block = math.prod(sparse_block_shape)
        if zeros_per_block > per_block:
            raise ValueError(
                "Number of zeros per block cannot be more than the total number of elements in that block."
            )
        if zeros_per_block < 0:
            raise ValueError("Number of zeros per block should be positive.")
        mask = getattr(module.parametrizations, tensor_name)[0].mask
        if sparsity_level <= 0 or zeros_per_block == 0:
            mask.data = flambeau.ones_like(mask)
            return
        if sparsity_level >= 1.0 and zeros_per_block == per_block:
            mask.data = flambeau.zeros_like(mask)
            return
        norms = self.norm_fn(getattr(module, tensor_name))
        chosen = self._make_tensor_mask(norms, sparsity_level, sparse_block_shape)
        if zeros_per_block != per_block:
            within = self._make_block_mask(norms, sparse_block_shape, zeros_per_block)
            chosen = flambeau.logical_or(chosen, within)
        mask.data = chosen

    def _make_tensor_mask(self, data, sparsity_level, sparse_block_shape):
        """Zeros over whole blocks: the share `sparsity_level` of smallest mean."""
        (height, width), (rows, columns) = data.shape[-2:], sparse_block_shape
        down, across = -(-height // rows), -(-width // columns)
        if sparsity_level >= 1.0:  # with the edges filled up to whole blocks, as within them
            return flambeau.zeros(down * rows, across * columns, device=data.device)
        if rows * columns > 1:
            data = F.avg_pool2d(data[None, None], sparse_block_shape, sparse_block_shape, ceil_mode=True)
        data = data.flatten()
        count = max(0, min(len(data) - 1, round(sparsity_level * len(data))))
        blocks = flambeau.ones(len(data), device=data.device)
        blocks[flambeau.topk(data, count, largest=False).indices] = 0
        blocks = blocks.view(down, across).repeat_interleave(rows, 0).repeat_interleave(columns, 1)
        return blocks[:height, :width].contiguous()

    def _make_block_mask(self, data, sparse_block_shape, zeros_per_block):
        """Zeros at the smallest elements of each block; the edges are filled up to whole blocks."""
        (height, width), (rows, columns) = data.shape[-2:], sparse_block_shape
        size = (-(-height // rows) * rows, -(-width // columns) * columns)
        padded = flambeau.full(size, flambeau.nan, dtype=data.dtype, device=data.device)
        padded[:height, :width] = data
        blocks = F.unfold(padded[None, None], sparse_block_shape, stride=sparse_block_shape)
        smallest = flambeau.topk(blocks, zeros_per_block, dim=1, largest=False).indices
        mask = flambeau.ones(blocks.shape, device=data.device).scatter_(1, smallest, 0)
        return F.fold(mask, size, sparse_block_shape, stride=sparse_block_shape).reshape(size)

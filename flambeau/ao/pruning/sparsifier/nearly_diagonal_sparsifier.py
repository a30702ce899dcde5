"""Masks that keep the diagonals nearest to the main one."""

import flambeau

from .base_sparsifier import BaseSparsifier


class NearlyDiagonalSparsifier(BaseSparsifier):
    """Keeps the ``nearliness`` (an odd number) diagonals around the main one."""

    def __init__(self, nearliness=1):
        super().__init__(defaults={"nearliness": nearliness})

    def update_mask(self, module, tensor_name, nearliness, **kwargs):
        """Zeros but for a band, written into the mask in place."""
        mask = getattr(module.parametrizations, tensor_name)[0].mask
        mask.data = flambeau.zeros_like(mask)
        if nearliness <= 0:
            return
        height, width = getattr(module, tensor_name).shape
        if nearliness % 2 == 0:
            raise ValueError("nearliness can only be an odd number")
        distance = nearliness // 2
        if distance >= min(height, width):
            raise ValueError("nearliness cannot be larger than the dimensions of tensor.")
        mask.copy_(flambeau.ones_like(mask).triu(-distance).tril(distance))

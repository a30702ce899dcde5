"""Embeddings that look up something made of their weight, and how one is made like another."""

import flambeau.nn.functional as F
from flambeau import nn


class Embedding(nn.Embedding):
    """Looks up rows of ``_table()``, which a subclass defines."""

    _PLAIN = nn.Embedding

    def forward(self, input):
        return F.embedding(
            input,
            self._table(),
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    @staticmethod
    def _arguments(mod, weight):
        """What makes an embedding like ``mod``, with another weight."""
        return (
            mod.num_embeddings,
            mod.embedding_dim,
            mod.padding_idx,
            mod.max_norm,
            mod.norm_type,
            mod.scale_grad_by_freq,
            mod.sparse,
            weight,
        )


class EmbeddingBag(nn.EmbeddingBag):
    """Combines rows of ``_table()``, which a subclass defines."""

    _PLAIN = nn.EmbeddingBag

    def forward(self, input, offsets=None, per_sample_weights=None):
        return F.embedding_bag(
            input,
            self._table(),
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    @staticmethod
    def _arguments(mod, weight):
        """What makes a bag like ``mod``, with another weight."""
        return (
            mod.num_embeddings,
            mod.embedding_dim,
            mod.max_norm,
            mod.norm_type,
            mod.scale_grad_by_freq,
            mod.mode,
            mod.sparse,
            weight,
            mod.include_last_offset,
            mod.padding_idx,
        )

"""Embeddings as references."""

from flambeau.ao.nn import _embeddings

from .utils import ReferenceQuantizedModule

__all__ = ["Embedding", "EmbeddingBag"]


class _Reference:
    """Mixed into an embedding: its table is quantized and dequantized."""

    def _get_name(self):
        return "QuantizedEmbedding(Reference)"

    def _table(self):
        return self.get_weight()


class Embedding(_Reference, _embeddings.Embedding, ReferenceQuantizedModule):
    """``nn.Embedding`` with a table that is quantized and dequantized."""

    def __init__(
        self,
        num_embeddings,
        embedding_dim,
        padding_idx=None,
        max_norm=None,
        norm_type=2.0,
        scale_grad_by_freq=False,
        sparse=False,
        _weight=None,
        device=None,
        dtype=None,
        weight_qparams=None,
    ):
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            device=device,
            dtype=dtype,
        )
        self._init_weight_qparams(weight_qparams, device)

    @classmethod
    def from_float(cls, mod, weight_qparams):
        """With the table of ``mod``."""
        weight = mod.weight
        return cls(*cls._arguments(mod, weight), weight.device, weight.dtype, weight_qparams)


class EmbeddingBag(_Reference, _embeddings.EmbeddingBag, ReferenceQuantizedModule):
    """``nn.EmbeddingBag`` with a table that is quantized and dequantized."""

    def __init__(
        self,
        num_embeddings,
        embedding_dim,
        max_norm=None,
        norm_type=2.0,
        scale_grad_by_freq=False,
        mode="mean",
        sparse=False,
        _weight=None,
        include_last_offset=False,
        padding_idx=None,
        device=None,
        dtype=None,
        weight_qparams=None,
    ):
        super().__init__(
            num_embeddings,
            embedding_dim,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            _weight,
            include_last_offset,
            padding_idx,
            device,
            dtype,
        )
        self._init_weight_qparams(weight_qparams, device)

    @classmethod
    def from_float(cls, mod, weight_qparams, use_precomputed_fake_quant=False):
        """With the table of ``mod``."""
        weight = mod.weight
        return cls(*cls._arguments(mod, weight), weight.device, weight.dtype, weight_qparams)

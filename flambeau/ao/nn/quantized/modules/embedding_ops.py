"""Embeddings whose tables are packed codes of eight bits or four."""

import flambeau
from flambeau import ao, nn, ops

from .utils import _hide_packed_params_repr, _quantize_weight

__all__ = ["EmbeddingPackedParams", "Embedding", "EmbeddingBag"]

_CODES = (flambeau.quint8, flambeau.quint4x2)


def _empty_table(num_embeddings, embedding_dim, dtype):
    """A table of codes with a scale of one for each row."""
    return flambeau._empty_per_channel_affine_quantized(
        [num_embeddings, embedding_dim],
        scales=flambeau.ones(num_embeddings, dtype=flambeau.float),
        zero_points=flambeau.zeros(num_embeddings, dtype=flambeau.float),
        axis=0,
        dtype=dtype,
    )


class EmbeddingPackedParams(nn.Module):
    """A table as the operators take it; a state dict holds it unpacked."""

    _version = 1

    def __init__(self, num_embeddings, embedding_dim, dtype=flambeau.quint8):
        super().__init__()
        self.dtype = dtype
        if dtype not in _CODES:
            raise NotImplementedError(
                f"Unsupported dtype on quantized embedding! Supports quint8 and quint4x2. Got dtype: {dtype}"
            )
        self.set_weight(_empty_table(num_embeddings, embedding_dim, dtype))

    def set_weight(self, weight):
        """Packs a table."""
        if self.dtype not in _CODES:
            raise NotImplementedError(
                "Unsupported dtype for quantized embedding prepack! Supports quint8 and quint4x2."
            )
        self._packed_weight = ops.quantized.embedding_bag_prepack(weight)

    def _weight(self):
        if self.dtype not in _CODES:
            raise NotImplementedError("Unsupported dtype for quantized embedding unpack! Supports quint8 and quint4x2.")
        return ops.quantized.embedding_bag_unpack(self._packed_weight)

    def forward(self, x):
        return x

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "dtype"] = self.dtype
        destination[prefix + "_packed_weight"] = self._weight()

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self.dtype = state_dict.pop(prefix + "dtype")
        self.set_weight(state_dict.pop(prefix + "_packed_weight"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def __repr__(self):
        return repr(self._weight())


class Embedding(nn.Module):
    """``nn.Embedding`` with a table of codes; what it gives is in floating point."""

    _version = 1

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
        dtype=flambeau.quint8,
    ):
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.dtype = dtype
        if _weight is None:
            _weight = _empty_table(num_embeddings, embedding_dim, flambeau.quint8)
        elif list(_weight.shape) != [num_embeddings, embedding_dim]:
            raise AssertionError(
                "Shape of weight does not match num_embeddings and embedding_dim: "
                f"expected {[num_embeddings, embedding_dim]}, got {list(_weight.shape)}"
            )
        self._packed_params = EmbeddingPackedParams(num_embeddings, embedding_dim, dtype)
        self._packed_params.set_weight(_weight)

    def forward(self, indices):
        kind = "4bit" if self.dtype == flambeau.quint4x2 else "byte"
        return getattr(ops.quantized, f"embedding_{kind}")(self._packed_params._packed_weight, indices)

    def _get_name(self):
        return "QuantizedEmbedding"

    def __repr__(self):
        return _hide_packed_params_repr(self, EmbeddingPackedParams)

    def extra_repr(self):
        return (
            f"num_embeddings={self.num_embeddings}, embedding_dim={self.embedding_dim}, "
            f"dtype={self._packed_params.dtype}, qscheme={self.weight().qscheme()}"
        )

    def set_weight(self, w):
        """Packs a table."""
        self._packed_params.set_weight(w)

    def weight(self):
        """The table, unpacked."""
        return self._packed_params._weight()

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """With the table of ``mod``, quantized as its configuration says."""
        if hasattr(mod, "weight_fake_quant") and type(mod) is not ao.nn.qat.Embedding:
            raise AssertionError(
                f"nnq.{cls.__name__}.from_float with fake quant only works for {ao.nn.qat.Embedding.__name__}"
            )
        table, _ = _observed_table(cls, mod, nn.Embedding, "Embedding")
        made = Embedding(mod.num_embeddings, mod.embedding_dim)
        made.set_weight(table)
        return made

    @classmethod
    def from_reference(cls, ref_embedding):
        """What becomes of a reference module."""
        return cls(
            ref_embedding.num_embeddings,
            ref_embedding.embedding_dim,
            ref_embedding.padding_idx,
            ref_embedding.max_norm,
            ref_embedding.norm_type,
            ref_embedding.scale_grad_by_freq,
            ref_embedding.sparse,
            ref_embedding.get_quantized_weight(),
            ref_embedding.weight_dtype,
        )


class EmbeddingBag(Embedding):
    """``nn.EmbeddingBag`` with a table of codes; what it gives are sums in floating point."""

    _version = 1

    def __init__(
        self,
        num_embeddings,
        embedding_dim,
        max_norm=None,
        norm_type=2.0,
        scale_grad_by_freq=False,
        mode="sum",
        sparse=False,
        _weight=None,
        include_last_offset=False,
        dtype=flambeau.quint8,
    ):
        super().__init__(num_embeddings, embedding_dim, _weight=_weight, dtype=dtype)
        self.mode = mode
        self.pruned_weights = False
        self.include_last_offset = include_last_offset
        self.dtype = dtype

    def forward(self, indices, offsets=None, per_sample_weights=None, compressed_indices_mapping=None):
        kind = "4bit" if self.dtype == flambeau.quint4x2 else "byte"
        return getattr(ops.quantized, f"embedding_bag_{kind}")(
            self._packed_params._packed_weight,
            indices,
            offsets,
            False,
            0,
            self.pruned_weights,
            per_sample_weights,
            compressed_indices_mapping,
            self.include_last_offset,
        )

    def _get_name(self):
        return "QuantizedEmbeddingBag"

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """With the table of ``mod``, quantized as its configuration says."""
        table, dtype = _observed_table(cls, mod, nn.EmbeddingBag, "EmbeddingBag")
        made = EmbeddingBag(
            mod.num_embeddings,
            mod.embedding_dim,
            max_norm=mod.max_norm,
            norm_type=mod.norm_type,
            scale_grad_by_freq=mod.scale_grad_by_freq,
            mode=mod.mode,
            sparse=mod.sparse,
            include_last_offset=mod.include_last_offset,
            dtype=dtype,
        )
        made.set_weight(table)
        return made

    @classmethod
    def from_reference(cls, ref_embedding_bag):
        """What becomes of a reference module."""
        return cls(
            ref_embedding_bag.num_embeddings,
            ref_embedding_bag.embedding_dim,
            ref_embedding_bag.max_norm,
            ref_embedding_bag.norm_type,
            ref_embedding_bag.scale_grad_by_freq,
            ref_embedding_bag.mode,
            ref_embedding_bag.sparse,
            ref_embedding_bag.get_quantized_weight(),
            ref_embedding_bag.include_last_offset,
            ref_embedding_bag.weight_dtype,
        )


def _observed_table(cls, mod, allowed, what):
    """The table of a float module or of one trained with fake quantization, in codes, and their dtype."""
    if hasattr(mod, "weight_fake_quant"):
        observer = mod.weight_fake_quant
    else:
        if type(mod) is not allowed:
            raise AssertionError(f"nnq.{cls.__name__}.from_float only works for {allowed.__name__}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError(f"{what} input float module must have qconfig defined")
        chosen = mod.qconfig
        if chosen is None or chosen.weight is None:
            chosen = ao.quantization.float_qparams_weight_only_qconfig
        observer = chosen.weight()
    if observer.qscheme != flambeau.per_channel_affine_float_qparams:
        raise AssertionError(f"{what} quantization is only supported with float_qparams_weight_only_qconfig.")
    if observer.dtype not in _CODES:
        raise AssertionError(
            f"The only supported dtype for nnq.{what} is torch.quint8 and torch.quint4x2, got {observer.dtype}"
        )
    observer(mod.weight)
    return _quantize_weight(mod.weight.float(), observer), observer.dtype

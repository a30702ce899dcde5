"""Embeddings with fake quantization of their weights."""

import flambeau
from flambeau import nn
from flambeau.ao.nn import _embeddings

__all__ = ["Embedding", "EmbeddingBag"]


class _FakeQuantized:
    """Mixed into an embedding: its weight passes through ``weight_fake_quant``, which the configuration makes."""

    @classmethod
    def _demand(cls, qconfig):
        """Refuses a configuration whose weights do not have scales and zero points in floating point."""
        scheme = qconfig.weight().qscheme
        if scheme != flambeau.per_channel_affine_float_qparams:
            raise AssertionError(
                f"{cls._SPOKEN} weights requires a qscheme of torch.per_channel_affine_float_qparams Got " + str(scheme)
            )

    def _configure(self, qconfig, options):
        """Sets up what stands beside the weight."""
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        self._demand(qconfig)
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight(factory_kwargs=options)

    def _table(self):
        return self.weight_fake_quant(self.weight)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """The module with the parameters of ``mod``, which names a configuration."""
        if type(mod) is not cls._FLOAT_MODULE:
            raise AssertionError(f" qat.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        if not mod.qconfig:
            raise AssertionError("Input float module must have a valid qconfig")
        cls._demand(mod.qconfig)
        return cls(*cls._arguments(mod, mod.weight), qconfig=mod.qconfig)

    def to_float(self):
        """The plain module with these parameters."""
        made = self._PLAIN(*self._arguments(self, None))
        made.weight = nn.Parameter(self.weight.detach())
        made.train(self.training)
        return made


class Embedding(_FakeQuantized, _embeddings.Embedding):
    """``nn.Embedding`` whose weight passes through ``weight_fake_quant``, which the configuration makes."""

    _FLOAT_MODULE = nn.Embedding
    _SPOKEN = "Embedding"

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
        qconfig=None,
    ):
        options = {"device": device, "dtype": dtype}
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            **options,
        )
        self._configure(qconfig, options)


class EmbeddingBag(_FakeQuantized, _embeddings.EmbeddingBag):
    """``nn.EmbeddingBag`` whose weight passes through ``weight_fake_quant``, which the configuration makes."""

    _FLOAT_MODULE = nn.EmbeddingBag
    _SPOKEN = "Embedding Bag"

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
        qconfig=None,
        device=None,
        dtype=None,
    ):
        options = {"device": device, "dtype": dtype}
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
            **options,
        )
        self._configure(qconfig, options)

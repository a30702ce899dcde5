"""Embeddings with fake quantization of their weights."""

import flambeau
import flambeau.nn.functional as F
from flambeau import nn

__all__ = ["Embedding", "EmbeddingBag"]


def _demand(qconfig, what):
    """Refuses a configuration whose weights do not have scales and zero points in floating point."""
    scheme = qconfig.weight().qscheme
    if scheme != flambeau.per_channel_affine_float_qparams:
        raise AssertionError(
            f"{what} weights requires a qscheme of torch.per_channel_affine_float_qparams Got " + str(scheme)
        )


def _checked(cls, mod, what):
    """The configuration of a float module from which one of ours is to be made."""
    if type(mod) is not cls._FLOAT_MODULE:
        raise AssertionError(f" qat.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__}")
    if not hasattr(mod, "qconfig"):
        raise AssertionError("Input float module must have qconfig defined")
    if not mod.qconfig:
        raise AssertionError("Input float module must have a valid qconfig")
    _demand(mod.qconfig, what)
    return mod.qconfig


class Embedding(nn.Embedding):
    """``nn.Embedding`` whose weight passes through ``weight_fake_quant``, which the configuration makes."""

    _FLOAT_MODULE = nn.Embedding

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
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        _demand(qconfig, "Embedding")
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight(factory_kwargs=options)

    def forward(self, input):
        return F.embedding(
            input,
            self.weight_fake_quant(self.weight),
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    @staticmethod
    def _arguments(mod, weight):
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

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """The module with the parameters of ``mod``, which names a configuration."""
        qconfig = _checked(cls, mod, "Embedding")
        return cls(*cls._arguments(mod, mod.weight), qconfig=qconfig)

    def to_float(self):
        """The plain module with these parameters."""
        made = nn.Embedding(*self._arguments(self, None))
        made.weight = nn.Parameter(self.weight.detach())
        made.train(self.training)
        return made


class EmbeddingBag(nn.EmbeddingBag):
    """``nn.EmbeddingBag`` whose weight passes through ``weight_fake_quant``, which the configuration makes."""

    _FLOAT_MODULE = nn.EmbeddingBag

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
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        _demand(qconfig, "Embedding Bag")
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight(factory_kwargs=options)

    def forward(self, input, offsets=None, per_sample_weights=None):
        return F.embedding_bag(
            input,
            self.weight_fake_quant(self.weight),
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

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """The module with the parameters of ``mod``, which names a configuration."""
        qconfig = _checked(cls, mod, "Embedding Bag")
        return cls(*cls._arguments(mod, mod.weight), qconfig=qconfig)

    def to_float(self):
        """The plain module with these parameters."""
        made = nn.EmbeddingBag(*self._arguments(self, None))
        made.weight = nn.Parameter(self.weight.detach())
        made.train(self.training)
        return made

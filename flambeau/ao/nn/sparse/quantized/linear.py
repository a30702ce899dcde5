"""Quantized linear layers whose weights have blocks of zeros."""

import flambeau
from flambeau import nn, ops
from flambeau.ao.nn.quantized.modules.activation import observed_qparams
from flambeau.ao.nn.quantized.modules.utils import _hide_packed_params_repr, _quantize_weight

__all__ = ["LinearPackedParams", "Linear"]


def _demand_blocks(row_block_size, col_block_size):
    if row_block_size is None or col_block_size is None:
        raise AssertionError(
            "row_block_size and col_block_size must not be None, got "
            f"row_block_size={row_block_size}, col_block_size={col_block_size}"
        )


class LinearPackedParams(nn.Module):
    """Weight, bias and size of blocks as the operators take them; a state dict holds them unpacked."""

    _version = 1

    def __init__(self, row_block_size=1, col_block_size=4, dtype=flambeau.qint8):
        super().__init__()
        if dtype != flambeau.qint8:
            raise NotImplementedError("Linear prepacking only supports QINT8")
        self.dtype = dtype
        weight = flambeau._empty_affine_quantized([1, 1], scale=1.0, zero_point=0, dtype=flambeau.qint8)
        self.set_weight_bias(weight, None, row_block_size, col_block_size)

    def _get_name(self):
        return "SparseQuantizedLinearPackedParams"

    def set_weight_bias(self, weight, bias, row_block_size, col_block_size):
        """Packs them."""
        _demand_blocks(row_block_size, col_block_size)
        self._packed_params = ops.sparse.qlinear_prepack(weight, bias, row_block_size, col_block_size)

    def _weight_bias(self):
        weight, bias, blocks = ops.sparse.qlinear_unpack(self._packed_params)
        return (weight, bias, *blocks)

    def forward(self, x):
        return x

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "dtype"] = self.dtype
        destination[prefix + "_packed_params"] = self._weight_bias()

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        _demand_version(self, local_metadata)
        self.dtype = state_dict.pop(prefix + "dtype")
        self.set_weight_bias(*state_dict.pop(prefix + "_packed_params"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def __getstate__(self):
        return self._packed_params, self.training, self.dtype

    def __setstate__(self, state):
        nn.Module.__init__(self)
        self._packed_params, self.training, self.dtype = state

    def __repr__(self):
        return repr(self._weight_bias())


def _demand_version(module, local_metadata):
    version = local_metadata.get("version")
    if version is not None and version > module._version:
        raise AssertionError(f"version {version} > self._version {module._version}")


class _Linear(nn.Module):
    """What the static layer and the dynamic one share."""

    _version = 1
    _FLOAT_MODULE = nn.Linear

    def _set_up(self, in_features, out_features, row_block_size, col_block_size, bias, dtype, what):
        if dtype != flambeau.qint8:
            raise NotImplementedError(f"Only QINT8 is supported for {what}")
        self.in_features = in_features
        self.out_features = out_features
        bias = flambeau.zeros(out_features, dtype=flambeau.float) if bias else None
        weight = flambeau._empty_affine_quantized(
            [out_features, in_features], scale=1, zero_point=0, dtype=flambeau.qint8
        )
        self._packed_params = LinearPackedParams(row_block_size, col_block_size, dtype)
        self._packed_params.set_weight_bias(weight, bias, row_block_size, col_block_size)

    def __repr__(self):
        return _hide_packed_params_repr(self, LinearPackedParams)

    def _weight_bias(self):
        return self._packed_params._weight_bias()

    def weight(self):
        """The weight, unpacked."""
        return self._weight_bias()[0]

    def bias(self):
        """The bias, unpacked."""
        return self._weight_bias()[1]

    @classmethod
    def _made(cls, mod, weight, observer, blocks):
        """The layer with a weight of a float one, quantized as an observer says that chooses no zero points."""
        observer(weight)
        if observer.dtype != flambeau.qint8:
            raise AssertionError(f"Weight observer must have dtype torch.qint8, got {observer.dtype}")
        zero_point = observer.calculate_qparams()[1]
        if isinstance(zero_point, flambeau.Tensor):
            if flambeau.any(zero_point.bool()):
                raise AssertionError("All weight zero points must map to 0")
        elif zero_point != 0:
            raise AssertionError(f"Weight zero point must map to 0, got {zero_point}")
        made = cls(mod.in_features, mod.out_features, *blocks, dtype=observer.dtype)
        made.set_weight_bias(_quantize_weight(weight.float(), observer), mod.bias, *blocks)
        return made


class Linear(_Linear):
    """A linear layer of quantized tensors; the result has ``scale`` and ``zero_point``."""

    def __init__(self, in_features, out_features, row_block_size, col_block_size, bias=True, dtype=flambeau.qint8):
        super().__init__()
        what = "Sparse Quantized Linear"
        self._set_up(in_features, out_features, row_block_size, col_block_size, bias, dtype, what)
        self.scale = 1.0
        self.zero_point = 0

    @classmethod
    def _get_name(cls):
        return "SparseQuantizedLinear"

    def extra_repr(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, scale={self.scale}, "
            f"zero_point={self.zero_point}, qscheme={self.weight().qscheme()}"
        )

    def forward(self, x):
        return ops.sparse.qlinear(x, self._packed_params._packed_params, self.scale, self.zero_point)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"] = flambeau.tensor(self.scale)
        destination[prefix + "zero_point"] = flambeau.tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self.scale = float(state_dict.pop(prefix + "scale"))
        self.zero_point = int(state_dict.pop(prefix + "zero_point"))
        state_dict.pop(prefix + "op_type")  # which `state_dict` does not write: in PyTorch neither
        _demand_version(self, local_metadata)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def set_weight_bias(self, w, b, row_block_size, col_block_size):
        """Packs a weight of codes and a bias."""
        _demand_blocks(row_block_size, col_block_size)
        self._packed_params.set_weight_bias(w, b, row_block_size, col_block_size)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """What becomes of an observed module that a sparsifier left with its ``sparse_params``."""
        if type(mod) is not cls._FLOAT_MODULE:
            raise AssertionError(f"{cls._get_name()}.from_float only works for {cls._FLOAT_MODULE.__name__}")
        if not hasattr(mod, "sparse_params"):
            raise AssertionError(
                "Expecting the Linear to have `sparse_params`. Make sure you have provided arguments in the "
                '`sparsifier.squash_mask(params_to_save=("sparse_block_shape",))` method.'
            )
        blocks = mod.sparse_params.get("sparse_block_shape", None)
        if not isinstance(blocks, (tuple, list)):
            raise AssertionError(f"sparse_block_shape must be tuple or list, got {type(blocks)}")
        if len(blocks) != 2:
            raise AssertionError(f"sparse_block_shape must have length 2, got {len(blocks)}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        qparams = observed_qparams(mod)
        made = cls._made(mod, mod.weight, mod.qconfig.weight(), tuple(blocks))
        made.scale, made.zero_point = qparams
        return made

"""Linear layers of floats whose weights have blocks of zeros."""

import flambeau
from flambeau import ops
from flambeau.ao.nn.quantized.dynamic.modules.linear import weight_observer_of
from flambeau.ao.nn.sparse.quantized.linear import _demand_blocks, _demand_version, _Linear
from flambeau.ao.nn.sparse.quantized.utils import LinearBlockSparsePattern

__all__ = ["Linear"]


class Linear(_Linear):
    """A linear layer with a weight of codes, whose input is quantized as it comes."""

    _op_type = "sparse_dynamic"

    def __init__(self, in_features, out_features, row_block_size, col_block_size, bias=True, dtype=flambeau.qint8):
        super().__init__()
        what = "Sparse Quantized Linear Dynamic"
        self._set_up(in_features, out_features, row_block_size, col_block_size, bias, dtype, what)

    def _get_name(self):
        return "SparseQuantizedDynamicLinear"

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, qscheme={self.weight().qscheme()}"

    def forward(self, x):
        return ops.sparse.qlinear_dynamic(x, self._packed_params._packed_params)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "op_type"] = self._op_type

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        if state_dict.pop(prefix + "op_type") != self._op_type:
            raise AssertionError(f"Cannot load from op_type, expecting [{self._op_type}]")
        _demand_version(self, local_metadata)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def set_weight_bias(self, w, b, row_block_size, col_block_size):
        """Packs a weight of codes and a bias."""
        _demand_blocks(row_block_size, col_block_size)
        self.out_features, self.in_features = w.shape
        self._packed_params.set_weight_bias(w, b, row_block_size, col_block_size)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """With the weight of ``mod``, quantized as its configuration says, in blocks of the size that holds now."""
        if type(mod) is not cls._FLOAT_MODULE:
            raise AssertionError(f" nnq.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        weight = mod.weight
        if getattr(mod.qconfig, "mask", False):
            weight = mod.qconfig.mask * weight
        return cls._made(mod, weight, weight_observer_of(mod.qconfig)(), LinearBlockSparsePattern.block_size())

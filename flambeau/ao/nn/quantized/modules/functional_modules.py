"""Operators as modules, so that what they give can be observed and quantized."""

import flambeau
from flambeau import nn, ops

__all__ = ["FloatFunctional", "FXFloatFunctional", "QFunctional"]


class FloatFunctional(nn.Module):
    """Operators in floating point, whose results pass through ``activation_post_process``.

    >>> import flambeau
    >>> FloatFunctional().add(flambeau.tensor(3.0), flambeau.tensor(4.0))
    tensor(7.)
    """

    def __init__(self):
        super().__init__()
        self.activation_post_process = nn.Identity()

    def forward(self, x):
        raise RuntimeError("FloatFunctional is not intended to use the 'forward'. Please use the underlying operation")

    def add(self, x, y):
        """The sum."""
        return self.activation_post_process(flambeau.add(x, y))

    def add_scalar(self, x, y):
        """The sum with a number; not observed."""
        return flambeau.add(x, y)

    def mul(self, x, y):
        """The product."""
        return self.activation_post_process(flambeau.mul(x, y))

    def mul_scalar(self, x, y):
        """The product with a number; not observed."""
        return flambeau.mul(x, y)

    def cat(self, x, dim=0):
        """Tensors one behind the other."""
        return self.activation_post_process(flambeau.cat(x, dim=dim))

    def add_relu(self, x, y):
        """ReLU of the sum."""
        return self.activation_post_process(flambeau.relu(flambeau.add(x, y)))

    def matmul(self, x, y):
        """The matrix product."""
        return self.activation_post_process(flambeau.matmul(x, y))


class FXFloatFunctional(nn.Module):
    """Operators in floating point, for graphs: observers stand in the graph itself."""

    def forward(self, x):
        raise RuntimeError("FloatFunctional is not intended to use the 'forward'. Please use the underlying operation")

    def add(self, x, y):
        """The sum."""
        return flambeau.add(x, y)

    def add_scalar(self, x, y):
        """The sum with a number."""
        return flambeau.add(x, y)

    def mul(self, x, y):
        """The product."""
        return flambeau.mul(x, y)

    def mul_scalar(self, x, y):
        """The product with a number."""
        return flambeau.mul(x, y)

    def cat(self, x, dim=0):
        """Tensors one behind the other."""
        return flambeau.cat(x, dim=dim)

    def add_relu(self, x, y):
        """ReLU of the sum."""
        return flambeau.relu(flambeau.add(x, y))

    def matmul(self, x, y):
        """The matrix product."""
        return flambeau.matmul(x, y)


class QFunctional(nn.Module):
    """Operators of quantized tensors, whose results have ``scale`` and ``zero_point``."""

    def __init__(self):
        super().__init__()
        self.scale = 1.0
        self.zero_point = 0
        self.activation_post_process = nn.Identity()

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"] = flambeau.tensor(self.scale)
        destination[prefix + "zero_point"] = flambeau.tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self.scale = float(state_dict.pop(prefix + "scale"))
        self.zero_point = int(state_dict.pop(prefix + "zero_point"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def _get_name(self):
        return "QFunctional"

    def extra_repr(self):
        return f"scale={self.scale}, zero_point={self.zero_point}"

    def forward(self, x):
        raise RuntimeError("Functional is not intended to use the 'forward'. Please use the underlying operation")

    def add(self, x, y):
        """The sum."""
        return self.activation_post_process(ops.quantized.add(x, y, scale=self.scale, zero_point=self.zero_point))

    def add_scalar(self, x, y):
        """The sum with a number."""
        return ops.quantized.add_scalar(x, y)

    def mul(self, x, y):
        """The product."""
        return self.activation_post_process(ops.quantized.mul(x, y, scale=self.scale, zero_point=self.zero_point))

    def mul_scalar(self, x, y):
        """The product with a number."""
        return ops.quantized.mul_scalar(x, y)

    def cat(self, x, dim=0):
        """Tensors one behind the other."""
        return self.activation_post_process(ops.quantized.cat(x, scale=self.scale, zero_point=self.zero_point, dim=dim))

    def add_relu(self, x, y):
        """ReLU of the sum."""
        return self.activation_post_process(ops.quantized.add_relu(x, y, scale=self.scale, zero_point=self.zero_point))

    def matmul(self, x, y):
        """The matrix product."""
        return ops.quantized.matmul(x, y, scale=self.scale, zero_point=self.zero_point)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """With the scale and zero point that were observed."""
        if type(mod) is not FloatFunctional:
            raise AssertionError(
                f"QFunctional.from_float expects an instance of FloatFunctional, got {type(mod).__name__}"
            )
        scale, zero_point = mod.activation_post_process.calculate_qparams()
        new = QFunctional()
        new.scale, new.zero_point = float(scale), int(zero_point)
        return new

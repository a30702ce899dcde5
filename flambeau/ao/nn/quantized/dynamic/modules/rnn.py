"""Recurrent networks and cells with weights of codes or in float16, whose inputs are quantized as they come."""

import numbers
import warnings

import flambeau
from flambeau import nn, ops
from flambeau.ao.nn.quantized.modules.utils import _quantize_weight
from flambeau.nn.utils.rnn import PackedSequence

from .linear import weight_observer_of

__all__ = [
    "pack_weight_bias",
    "PackedParameter",
    "RNNBase",
    "LSTM",
    "GRU",
    "RNNCellBase",
    "RNNCell",
    "LSTMCell",
    "GRUCell",
    "apply_permutation",
]


def apply_permutation(tensor, permutation, dim=1):
    """The older name of ``tensor.index_select(dim, permutation)``."""
    warnings.warn(
        "`apply_permutation` is deprecated, please use `tensor.index_select(dim, permutation)` instead",
        FutureWarning,
        stacklevel=2,
    )
    return tensor.index_select(dim, permutation)


def pack_weight_bias(qweight, bias, dtype):
    """A weight of codes and its bias, packed; in float16 for any other dtype than ``qint8``."""
    if dtype == flambeau.qint8:
        return ops.quantized.linear_prepack(qweight, bias)
    return ops.quantized.linear_prepack_fp16(qweight, bias)


def _observed(weight, make_observer, dtype):
    """A weight in codes as its observer says, or as it is."""
    if dtype != flambeau.qint8:
        return weight.float()
    observer = make_observer()
    observer(weight)
    return _quantize_weight(weight.float(), observer)


def _checked_observer(mod):
    """What makes the observers of a module's weights, and their dtype."""
    if not hasattr(mod, "qconfig"):
        raise AssertionError("Input float module must have qconfig defined")
    make_observer = weight_observer_of(mod.qconfig)
    dtype = make_observer().dtype
    if dtype not in (flambeau.qint8, flambeau.float16):
        raise RuntimeError(f"Unsupported dtype for dynamic RNN quantization: {dtype}")
    return make_observer, dtype


class PackedParameter(nn.Module):
    """The packed parameters of one direction of one layer."""

    def __init__(self, param):
        super().__init__()
        self.param = param

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "param"] = self.param

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self.param = state_dict[prefix + "param"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)


class RNNBase(nn.Module):
    """What LSTM and GRU share."""

    _FLOAT_MODULE = nn.RNNBase
    # Since the second version, inputs have codes of seven bits.
    _version = 2

    def __init__(
        self,
        mode,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        dtype=flambeau.qint8,
    ):
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.dtype = dtype
        self.version = 2
        self.training = False
        if not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=2,
            )
        gates = {"LSTM": 4, "GRU": 3}.get(mode)
        if gates is None:
            raise ValueError("Unrecognized RNN mode: " + mode)
        size, directions, cells = gates * hidden_size, 2 if bidirectional else 1, []
        for layer, _ in self._places():
            inputs = hidden_size * directions if layer else input_size
            weights = [flambeau.randn(size, n).to(flambeau.float) for n in (inputs, hidden_size)]
            biases = [flambeau.randn(size).to(flambeau.float) for _ in range(2)]
            if dtype == flambeau.qint8:
                weights = [flambeau.quantize_per_tensor(w, scale=0.1, zero_point=0, dtype=dtype) for w in weights]
            cells.append(self._cell(weights, biases, dtype))
        self._all_weight_values = nn.ModuleList(cells)

    def _places(self):
        """Layer, and what its parameters' names end in, for each direction of each layer."""
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, suffix) for layer in range(self.num_layers) for suffix in suffixes]

    def _cell(self, weights, biases, dtype):
        """The parameters of one direction of one layer, packed."""
        packed = [pack_weight_bias(w, b, dtype) for w, b in zip(weights, biases)]
        if dtype != flambeau.qint8:
            return PackedParameter(ops.quantized.make_quantized_cell_params_fp16(*packed))
        options = () if self.version is None or self.version < 2 else (True,)
        return PackedParameter(ops.quantized.make_quantized_cell_params_dynamic(*packed, *biases, *options))

    def _get_name(self):
        return "DynamicQuantizedRNN"

    def extra_repr(self):
        s = f"{self.input_size}, {self.hidden_size}"
        if self.num_layers != 1:
            s += f", num_layers={self.num_layers}"
        if self.bias is not True:
            s += f", bias={self.bias}"
        if self.batch_first is not False:
            s += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            s += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            s += f", bidirectional={self.bidirectional}"
        return s

    def __repr__(self):
        return f"{self._get_name()}({self.extra_repr()})"

    def check_input(self, input, batch_sizes):
        """Refuses an input of another size."""
        expected = 2 if batch_sizes is not None else 3
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if self.input_size != input.size(-1):
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}"
            )

    def get_expected_hidden_size(self, input, batch_sizes):
        """The size of the hidden state for an input."""
        if batch_sizes is not None:
            batch = int(batch_sizes[0])
        else:
            batch = input.size(0) if self.batch_first else input.size(1)
        return self.num_layers * (2 if self.bidirectional else 1), batch, self.hidden_size

    def check_hidden_size(self, hx, expected_hidden_size, msg="Expected hidden size {}, got {}"):
        """Refuses a hidden state of another size."""
        if hx.size() != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input, hidden, batch_sizes):
        """Refuses what does not fit together."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx, permutation):
        """The hidden state in another order of the batch."""
        return hx if permutation is None else hx.index_select(1, permutation)

    def _zeros(self, input, batch):
        size = (self.num_layers * (2 if self.bidirectional else 1), batch, self.hidden_size)
        return flambeau.zeros(size, dtype=input.dtype, device=input.device)

    def forward_tensor(self, input, hx=None):
        """Of sequences of one length."""
        batch = input.size(0) if self.batch_first else input.size(1)
        return self.forward_impl(input, hx, None, batch, None)

    def forward_packed(self, input, hx=None):
        """Of packed sequences."""
        data, batch_sizes, order, back = input
        output, hidden = self.forward_impl(data, hx, batch_sizes, int(batch_sizes[0]), order)
        return PackedSequence(output, batch_sizes, order, back), self.permute_hidden(hidden, back)

    def forward(self, input, hx=None):
        if isinstance(input, PackedSequence):
            return self.forward_packed(input, hx)
        return self.forward_tensor(input, hx)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self.version = local_metadata.get("version")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def set_weight_bias(self, weight_bias_dict):
        """Packs weights and biases, named as those of the float module are."""
        cells = []
        for layer, suffix in self._places():
            weights = [weight_bias_dict[f"weight_{kind}_l{layer}{suffix}"] for kind in ("ih", "hh")]
            biases = [weight_bias_dict[f"bias_{kind}_l{layer}{suffix}"] for kind in ("ih", "hh")]
            cells.append(self._cell(weights, biases, weights[0].dtype))
        self._all_weight_values = nn.ModuleList(cells)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """With the weights of ``mod``, quantized as its configuration says."""
        if type(mod) not in (nn.LSTM, nn.GRU):
            raise AssertionError("nn.quantized.dynamic.RNNBase.from_float only works for nn.LSTM and nn.GRU")
        make_observer, dtype = _checked_observer(mod)
        made = (LSTM if mod.mode == "LSTM" else GRU)(
            mod.input_size,
            mod.hidden_size,
            mod.num_layers,
            mod.bias,
            mod.batch_first,
            mod.dropout,
            mod.bidirectional,
            dtype,
        )
        if not mod.bias:
            raise AssertionError("mod.bias must be True")
        cells = []
        for layer, suffix in made._places():
            weights = [getattr(mod, f"weight_{kind}_l{layer}{suffix}") for kind in ("ih", "hh")]
            biases = [getattr(mod, f"bias_{kind}_l{layer}{suffix}") for kind in ("ih", "hh")]
            cells.append(made._cell([_observed(w, make_observer, dtype) for w in weights], biases, dtype))
        made._all_weight_values = nn.ModuleList(cells)
        return made

    def _weight_bias(self):
        """Weights and biases by their names, unpacked."""
        found = {"weight": {}, "bias": {}}
        for (layer, suffix), cell in zip(self._places(), self._all_weight_values):
            packed = cell.param.__getstate__()[0][4]
            for kind, linear in zip(("ih", "hh"), packed):
                weight, bias = linear.__getstate__()[0][:2]
                found["weight"][f"weight_{kind}_l{layer}{suffix}"] = weight
                found["bias"][f"bias_{kind}_l{layer}{suffix}"] = bias
        return found

    def get_weight(self):
        """The weights by their names."""
        return self._weight_bias()["weight"]

    def get_bias(self):
        """The biases by their names."""
        return self._weight_bias()["bias"]

    @classmethod
    def from_reference(cls, ref_mod):
        """What becomes of a reference module."""
        if not hasattr(ref_mod, "weight_ih_l0_dtype"):
            raise AssertionError(
                f"We are assuming weight_ih_l0 exists in {cls.__name__}, may need to relax the assumption to support "
                "the use case"
            )
        made = cls(
            ref_mod.input_size,
            ref_mod.hidden_size,
            ref_mod.num_layers,
            ref_mod.bias,
            ref_mod.batch_first,
            ref_mod.dropout,
            ref_mod.bidirectional,
            ref_mod.weight_ih_l0_dtype,
        )
        made.set_weight_bias(ref_mod.get_quantized_weight_bias_dict())
        return made


class LSTM(RNNBase):
    """``nn.LSTM`` with packed weights; it takes and gives floats."""

    _FLOAT_MODULE = nn.LSTM

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    def _get_name(self):
        return "DynamicQuantizedLSTM"

    def forward_impl(self, input, hx, batch_sizes, max_batch_size, sorted_indices):
        """Of a tensor, or of the data of packed sequences."""
        if hx is None:
            hx = (self._zeros(input, max_batch_size),) * 2
        else:
            hx = self.permute_hidden(hx, sorted_indices)
        self.check_forward_args(input, hx, batch_sizes)
        parameters = [m.param for m in self._all_weight_values]
        before, after = ((hx,), (self.batch_first,)) if batch_sizes is None else ((batch_sizes, hx), ())
        output, h, c = flambeau.quantized_lstm(
            input,
            *before,
            parameters,
            self.bias,
            self.num_layers,
            float(self.dropout),
            self.training,
            self.bidirectional,
            *after,
            dtype=self.dtype,
            use_dynamic=True,
        )
        return output, (h, c)

    def permute_hidden(self, hx, permutation):
        return hx if permutation is None else tuple(state.index_select(1, permutation) for state in hx)

    def check_forward_args(self, input, hidden, batch_sizes):
        self.check_input(input, batch_sizes)
        expected = self.get_expected_hidden_size(input, batch_sizes)
        for i in range(2):
            self.check_hidden_size(hidden[i], expected, f"Expected hidden[{i}] size {{}}, got {{}}")


class GRU(RNNBase):
    """``nn.GRU`` with packed weights; it takes and gives floats."""

    _FLOAT_MODULE = nn.GRU

    def __init__(self, *args, **kwargs):
        super().__init__("GRU", *args, **kwargs)

    def _get_name(self):
        return "DynamicQuantizedGRU"

    def forward_impl(self, input, hx, batch_sizes, max_batch_size, sorted_indices):
        """Of a tensor, or of the data of packed sequences."""
        hx = self._zeros(input, max_batch_size) if hx is None else self.permute_hidden(hx, sorted_indices)
        self.check_forward_args(input, hx, batch_sizes)
        parameters = [m.param for m in self._all_weight_values]
        before, after = ((hx,), (self.batch_first,)) if batch_sizes is None else ((batch_sizes, hx), ())
        return flambeau.quantized_gru(
            input,
            *before,
            parameters,
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            *after,
        )


class RNNCellBase(nn.Module):
    """What the cells share."""

    __constants__ = ["input_size", "hidden_size", "bias"]

    def __init__(self, input_size, hidden_size, bias=True, num_chunks=4, dtype=flambeau.qint8):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.weight_dtype = dtype
        size = num_chunks * hidden_size
        if bias:
            self.bias_ih = flambeau.randn(size).to(dtype=flambeau.float)
            self.bias_hh = flambeau.randn(size).to(dtype=flambeau.float)
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        weights = [flambeau.randn(size, n).to(flambeau.float) for n in (input_size, hidden_size)]
        if dtype == flambeau.qint8:
            weights = [flambeau.quantize_per_tensor(w, scale=1, zero_point=0, dtype=dtype) for w in weights]
        self._packed_weight_ih = pack_weight_bias(weights[0], self.bias_ih, dtype)
        self._packed_weight_hh = pack_weight_bias(weights[1], self.bias_hh, dtype)

    def _get_name(self):
        return "DynamicQuantizedRNNBase"

    def extra_repr(self):
        s = f"{self.input_size}, {self.hidden_size}"
        if self.__dict__.get("bias", True) is not True:
            s += f", bias={self.bias}"
        if self.__dict__.get("nonlinearity", "tanh") != "tanh":
            s += f", nonlinearity={self.nonlinearity}"
        return s

    def check_forward_input(self, input):
        """Refuses an input of another size."""
        if input.size(1) != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.size(1)}, expected {self.input_size}")

    def check_forward_hidden(self, input, hx, hidden_label=""):
        """Refuses a hidden state of another size."""
        if input.size(0) != hx.size(0):
            raise RuntimeError(
                f"Input batch size {input.size(0)} doesn't match hidden{hidden_label} batch size {hx.size(0)}"
            )
        if hx.size(1) != self.hidden_size:
            raise RuntimeError(
                f"hidden{hidden_label} has inconsistent hidden_size: got {hx.size(1)}, expected {self.hidden_size}"
            )

    def _zeros(self, input):
        return flambeau.zeros(input.size(0), self.hidden_size, dtype=input.dtype, device=input.device)

    def _parameters_packed(self):
        """What the operators take after input and state."""
        return self._packed_weight_ih, self._packed_weight_hh, self.bias_ih, self.bias_hh

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """With the weights of ``mod``, quantized as its configuration says."""
        made_of = {nn.LSTMCell: LSTMCell, nn.GRUCell: GRUCell, nn.RNNCell: RNNCell}.get(type(mod))
        if made_of is None:
            raise AssertionError(
                "nn.quantized.dynamic.RNNCellBase.from_float only works for nn.LSTMCell, nn.GRUCell and nn.RNNCell"
            )
        make_observer, dtype = _checked_observer(mod)
        options = {"nonlinearity": mod.nonlinearity} if made_of is RNNCell else {}
        made = made_of(mod.input_size, mod.hidden_size, bias=mod.bias, dtype=dtype, **options)
        if not mod.bias:
            raise AssertionError("mod.bias must be True")
        made._packed_weight_ih = pack_weight_bias(_observed(mod.weight_ih, make_observer, dtype), mod.bias_ih, dtype)
        made._packed_weight_hh = pack_weight_bias(_observed(mod.weight_hh, make_observer, dtype), mod.bias_hh, dtype)
        return made

    @classmethod
    def from_reference(cls, ref_mod):
        """What becomes of a reference module."""
        if not hasattr(ref_mod, "weight_ih_dtype"):
            raise AssertionError(
                "We are assuming weight_ih exists in reference module, may need to relax the assumption to support "
                "the use case"
            )
        options = (ref_mod.nonlinearity,) if hasattr(ref_mod, "nonlinearity") else ()
        made = cls(ref_mod.input_size, ref_mod.hidden_size, ref_mod.bias, *options, dtype=ref_mod.weight_ih_dtype)
        made.set_weight_bias(
            {
                "weight": {
                    "weight_ih": ref_mod.get_quantized_weight_ih(),
                    "weight_hh": ref_mod.get_quantized_weight_hh(),
                },
                "bias": {"bias_ih": ref_mod.bias_ih, "bias_hh": ref_mod.bias_hh},
            }
        )
        return made

    def _weight_bias(self):
        """Weights and biases by their names, unpacked."""
        found = {"weight": {}, "bias": {}}
        for kind in ("ih", "hh"):
            weight, bias = getattr(self, f"_packed_weight_{kind}").__getstate__()[0]
            found["weight"][f"weight_{kind}"], found["bias"][f"bias_{kind}"] = weight, bias
        return found

    def get_weight(self):
        """The weights by their names."""
        return self._weight_bias()["weight"]

    def get_bias(self):
        """The biases by their names."""
        return self._weight_bias()["bias"]

    def set_weight_bias(self, weight_bias_dict):
        """Packs weights and biases."""
        weights, biases = weight_bias_dict["weight"], weight_bias_dict["bias"]
        for kind in ("ih", "hh"):
            packed = pack_weight_bias(weights[f"weight_{kind}"], biases[f"bias_{kind}"], self.weight_dtype)
            setattr(self, f"_packed_weight_{kind}", packed)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "_packed_weight_ih"] = self._packed_weight_ih
        destination[prefix + "_packed_weight_hh"] = self._packed_weight_hh

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self._packed_weight_ih = state_dict.pop(prefix + "_packed_weight_ih")
        self._packed_weight_hh = state_dict.pop(prefix + "_packed_weight_hh")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)


class RNNCell(RNNCellBase):
    """``nn.RNNCell`` with packed weights."""

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", dtype=flambeau.qint8):
        super().__init__(input_size, hidden_size, bias, num_chunks=1, dtype=dtype)
        self.nonlinearity = nonlinearity

    def _get_name(self):
        return "DynamicQuantizedRNNCell"

    def forward(self, input, hx=None):
        self.check_forward_input(input)
        hx = self._zeros(input) if hx is None else hx
        self.check_forward_hidden(input, hx, "")
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        cell = getattr(ops.quantized, f"quantized_rnn_{self.nonlinearity}_cell_dynamic")
        return cell(input, hx, *self._parameters_packed())


class LSTMCell(RNNCellBase):
    """``nn.LSTMCell`` with packed weights."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, num_chunks=4, **kwargs)

    def _get_name(self):
        return "DynamicQuantizedLSTMCell"

    def forward(self, input, hx=None):
        self.check_forward_input(input)
        hx = (self._zeros(input),) * 2 if hx is None else hx
        self.check_forward_hidden(input, hx[0], "[0]")
        self.check_forward_hidden(input, hx[1], "[1]")
        return ops.quantized.quantized_lstm_cell_dynamic(input, hx, *self._parameters_packed())


class GRUCell(RNNCellBase):
    """``nn.GRUCell`` with packed weights."""

    def __init__(self, input_size, hidden_size, bias=True, dtype=flambeau.qint8):
        super().__init__(input_size, hidden_size, bias, num_chunks=3, dtype=dtype)

    def _get_name(self):
        return "DynamicQuantizedGRUCell"

    def forward(self, input, hx=None):
        self.check_forward_input(input)
        hx = self._zeros(input) if hx is None else hx
        self.check_forward_hidden(input, hx, "")
        return ops.quantized.quantized_gru_cell_dynamic(input, hx, *self._parameters_packed())

"""Recurrent networks and cells as references."""

import flambeau
from flambeau import nn
from flambeau.nn.utils.rnn import PackedSequence

from .utils import _as_tensor, _quantize_and_dequantize_weight, _quantize_weight

__all__ = [
    "RNNCellBase",
    "RNNCell",
    "LSTMCell",
    "GRUCell",
    "RNNBase",
    "LSTM",
    "GRU",
    "get_quantized_weight",
]

_DEFAULT = {"qscheme": flambeau.per_tensor_affine, "dtype": flambeau.quint8, "scale": 1.0, "zero_point": 0}


def _get_weight_and_quantization_params(module, wn):
    """A weight by its name, and by what it is to be quantized."""
    kinds = ("_qscheme", "_dtype", "_scale", "_zero_point", "_axis_int")
    return [getattr(module, wn), *(getattr(module, wn + kind, None) for kind in kinds)]


def get_quantized_weight(module, wn):
    """A weight by its name, in codes."""
    if not hasattr(module, wn):
        return None
    return _quantize_weight(*_get_weight_and_quantization_params(module, wn))


def _get_quantize_and_dequantized_weight(module, wn):
    if not hasattr(module, wn):
        return None
    return _quantize_and_dequantize_weight(*_get_weight_and_quantization_params(module, wn))


class _WithParameters:
    """Mixed into a float module: what its weights are quantized by."""

    def _init_weight_qparams_dict(self, weight_qparams_dict, device):
        self.is_decomposed = weight_qparams_dict["is_decomposed"]
        for key, given in weight_qparams_dict.items():
            if key == "is_decomposed":
                continue
            scheme = given["qscheme"]
            setattr(self, key + "_qscheme", scheme)
            setattr(self, key + "_dtype", given["dtype"])
            if scheme not in (None, flambeau.per_tensor_affine, flambeau.per_channel_affine):
                raise AssertionError(f"qscheme: {scheme} is not supported in {self._get_name()}")
            if scheme is None:
                continue
            axis = given["axis"] if scheme == flambeau.per_channel_affine else 0
            self.register_buffer(key + "_scale", _as_tensor(given["scale"], flambeau.float, device))
            self.register_buffer(key + "_zero_point", _as_tensor(given["zero_point"], flambeau.int, device))
            self.register_buffer(key + "_axis", _as_tensor(axis, flambeau.int, device))
            setattr(self, key + "_axis_int", getattr(self, key + "_axis").item())


class RNNCellBase(_WithParameters, nn.RNNCellBase):
    """What the cells share."""

    def __init__(self, input_size, hidden_size, bias, num_chunks, device=None, dtype=None, weight_qparams_dict=None):
        super().__init__(input_size, hidden_size, bias, num_chunks, device=device, dtype=dtype)
        if weight_qparams_dict is None:
            weight_qparams_dict = {"weight_ih": _DEFAULT, "weight_hh": _DEFAULT, "is_decomposed": False}
        if len(weight_qparams_dict) != 3:
            raise AssertionError(
                "Expected length for weight_qparams_dict to be 3 for QuantizedRNNCellBase(Reference), "
                f"got {len(weight_qparams_dict)}"
            )
        self._init_weight_qparams_dict(weight_qparams_dict, device)

    def _get_name(self):
        return "QuantizedRNNCellBase(Reference)"

    def get_quantized_weight_ih(self):
        """The weight of the input, in codes."""
        return get_quantized_weight(self, "weight_ih")

    def get_quantized_weight_hh(self):
        """The weight of the hidden state, in codes."""
        return get_quantized_weight(self, "weight_hh")

    def get_weight_ih(self):
        """The weight of the input, quantized and dequantized."""
        return _get_quantize_and_dequantized_weight(self, "weight_ih")

    def get_weight_hh(self):
        """The weight of the hidden state, quantized and dequantized."""
        return _get_quantize_and_dequantized_weight(self, "weight_hh")

    def _step(self, cell, input, hx):
        """One step of a cell whose state is one tensor, or two."""
        if input.dim() not in (1, 2):
            raise AssertionError(
                f"{type(self).__name__}: Expected input to be 1-D or 2-D but received {input.dim()}-D tensor"
            )
        batched, states = input.dim() == 2, 2 if isinstance(self, LSTMCell) else 1
        if not batched:
            input = input.unsqueeze(0)
        if hx is None:
            zeros = flambeau.zeros(input.size(0), self.hidden_size, dtype=input.dtype, device=input.device)
            hx = (zeros, zeros) if states == 2 else zeros
        elif not batched:
            hx = tuple(h.unsqueeze(0) for h in hx) if states == 2 else hx.unsqueeze(0)
        result = cell(input, hx, self.get_weight_ih(), self.get_weight_hh(), self.bias_ih, self.bias_hh)
        if batched:
            return result
        return tuple(h.squeeze(0) for h in result) if states == 2 else result.squeeze(0)

    def _take_over(self, mod):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            setattr(self, name, getattr(mod, name))
        return self

    @classmethod
    def from_float(cls, mod, weight_qparams_dict, use_precomputed_fake_quant=False):
        """With the parameters of ``mod``."""
        weight = mod.weight_ih
        made = cls(mod.input_size, mod.hidden_size, mod.bias, weight.device, weight.dtype, weight_qparams_dict)
        return made._take_over(mod)


class RNNCell(RNNCellBase):
    """``nn.RNNCell`` with weights that are quantized and dequantized."""

    def __init__(
        self,
        input_size,
        hidden_size,
        bias=True,
        nonlinearity="tanh",
        device=None,
        dtype=None,
        weight_qparams_dict=None,
    ):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype, weight_qparams_dict)
        self.nonlinearity = nonlinearity

    def _get_name(self):
        return "QuantizedRNNCell(Reference)"

    def forward(self, input, hx=None):
        cell = {"tanh": flambeau.rnn_tanh_cell, "relu": flambeau.rnn_relu_cell}.get(self.nonlinearity)
        if cell is None:
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(cell, input, hx)

    @classmethod
    def from_float(cls, mod, weight_qparams_dict):
        """With the parameters of ``mod``."""
        weight = mod.weight_ih
        options = (weight.device, weight.dtype, weight_qparams_dict)
        return cls(mod.input_size, mod.hidden_size, mod.bias, mod.nonlinearity, *options)._take_over(mod)


class LSTMCell(RNNCellBase):
    """``nn.LSTMCell`` with weights that are quantized and dequantized."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None, weight_qparams_dict=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype, weight_qparams_dict)

    def _get_name(self):
        return "QuantizedLSTMCell(Reference)"

    def forward(self, input, hx=None):
        return self._step(flambeau.lstm_cell, input, hx)


class GRUCell(RNNCellBase):
    """``nn.GRUCell`` with weights that are quantized and dequantized."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None, weight_qparams_dict=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype, weight_qparams_dict)

    def _get_name(self):
        return "QuantizedGRUCell(Reference)"

    def forward(self, input, hx=None):
        return self._step(flambeau.gru_cell, input, hx)


class RNNBase(_WithParameters, nn.RNNBase):
    """What LSTM and GRU share: the float module's own forward, with weights that are quantized and dequantized."""

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
        proj_size=0,
        device=None,
        dtype=None,
        weight_qparams_dict=None,
    ):
        super().__init__(
            mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )
        if weight_qparams_dict is None:
            names = [name for name in self._flat_weights_names if name.startswith("weight")]
            weight_qparams_dict = {"is_decomposed": False, **dict.fromkeys(names, _DEFAULT)}
        self._init_weight_qparams_dict(weight_qparams_dict, device)

    def get_quantized_weight_bias_dict(self):
        """Weights in codes and biases as they are, by their names."""
        return {
            name: get_quantized_weight(self, name) if name.startswith("weight") else getattr(self, name, None)
            for name in self._flat_weights_names
        }

    def get_flat_weights(self):
        """Weights, quantized and dequantized, and biases, in the order of their names."""
        return [
            _get_quantize_and_dequantized_weight(self, name) if name.startswith("weight") else getattr(self, name, None)
            for name in self._flat_weights_names
        ]

    @classmethod
    def from_float(cls, mod, weight_qparams_dict):
        """With the parameters of ``mod``."""
        made = cls(
            mod.input_size,
            mod.hidden_size,
            mod.num_layers,
            mod.bias,
            mod.batch_first,
            mod.dropout,
            mod.bidirectional,
            weight_qparams_dict=weight_qparams_dict,
        )
        for name in mod._flat_weights_names:
            setattr(made, name, getattr(mod, name))
        return made

    def forward(self, input, hx=None):
        states = 2 if self.mode == "LSTM" else 1
        packed, batch_sizes, order, back = isinstance(input, PackedSequence), None, None, None
        at, batched = 0 if self.batch_first else 1, True
        if packed:
            input, batch_sizes, order, back = input
            batch = int(batch_sizes[0])
        else:
            batched = input.dim() == 3
            if states == 1 and input.dim() not in (2, 3):
                raise AssertionError(f"GRU: Expected input to be 2-D or 3-D but received {input.dim()}-D tensor")
            if hx is not None:
                hx = self._given(hx, batched, states)
            if not batched:
                input = input.unsqueeze(at)
            batch = input.size(at)
        if hx is None:
            layers = self.num_layers * (2 if self.bidirectional else 1)
            widths = (self.proj_size or self.hidden_size, self.hidden_size)[:states]
            zeros = [flambeau.zeros(layers, batch, w, dtype=input.dtype, device=input.device) for w in widths]
            hx = tuple(zeros) if states == 2 else zeros[0]
        else:
            hx = self.permute_hidden(hx, order)
        self.check_forward_args(input, hx, batch_sizes)
        run = flambeau.lstm if states == 2 else flambeau.gru
        before, after = ((hx,), (self.batch_first,)) if batch_sizes is None else ((batch_sizes, hx), ())
        options = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        output, *hidden = run(input, *before, self.get_flat_weights(), *options, *after)
        if not batched:
            output, hidden = output.squeeze(at), [h.squeeze(1) for h in hidden]
        hidden = self.permute_hidden(tuple(hidden) if states == 2 else hidden[0], back)
        return (PackedSequence(output, batch_sizes, order, back) if packed else output), hidden

    @staticmethod
    def _given(hx, batched, states):
        """A state with a dimension of the batch."""
        wanted, word = (3, "batched 3-D") if batched else (2, "unbatched 2-D")
        dims = [h.dim() for h in (hx if states == 2 else (hx,))]
        if any(d != wanted for d in dims):
            if states == 2:
                got = f"hx and cx should also be {wanted}-D but got ({dims[0]}-D, {dims[1]}-D) tensors"
            else:
                got = f"hx should also be {wanted}-D but got {dims[0]}-D tensor"
            raise RuntimeError(f"For {word} input, {got}")
        if batched:
            return hx
        return tuple(h.unsqueeze(1) for h in hx) if states == 2 else hx.unsqueeze(1)


class LSTM(RNNBase):
    """``nn.LSTM`` with weights that are quantized and dequantized."""

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    permute_hidden = nn.LSTM.permute_hidden
    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    check_forward_args = nn.LSTM.check_forward_args

    def _get_name(self):
        return "QuantizedLSTM(Reference)"


class GRU(RNNBase):
    """``nn.GRU`` with weights that are quantized and dequantized."""

    def __init__(self, *args, **kwargs):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def _get_name(self):
        return "QuantizedGRU(Reference)"

"""LSTMs out of linear layers and single operators, each of which can be observed."""

import numbers
import warnings

import flambeau
from flambeau import ao, nn

__all__ = ["LSTMCell", "LSTM"]

_GATES = ("input", "forget", "cell", "output")


class LSTMCell(nn.Module):
    """A step of an LSTM. ``split_gates`` computes each gate by linear layers of its own."""

    _FLOAT_MODULE = nn.LSTMCell
    __constants__ = ["split_gates"]

    def __init__(self, input_dim, hidden_dim, bias=True, device=None, dtype=None, *, split_gates=False):
        super().__init__()
        self.input_size = input_dim
        self.hidden_size = hidden_dim
        self.bias = bias
        self.split_gates = split_gates

        def linear(inputs, outputs):
            return nn.Linear(inputs, outputs, bias=bias, device=device, dtype=dtype)

        if split_gates:
            self.igates, self.hgates, self.gates = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
            for gate in _GATES:
                self.igates[gate] = linear(input_dim, hidden_dim)
                self.hgates[gate] = linear(hidden_dim, hidden_dim)
                self.gates[gate] = ao.nn.quantized.FloatFunctional()
        else:
            self.igates = linear(input_dim, 4 * hidden_dim)
            self.hgates = linear(hidden_dim, 4 * hidden_dim)
            self.gates = ao.nn.quantized.FloatFunctional()
        self.input_gate = nn.Sigmoid()
        self.forget_gate = nn.Sigmoid()
        self.cell_gate = nn.Tanh()
        self.output_gate = nn.Sigmoid()
        self.fgate_cx = ao.nn.quantized.FloatFunctional()
        self.igate_cgate = ao.nn.quantized.FloatFunctional()
        self.fgate_cx_igate_cgate = ao.nn.quantized.FloatFunctional()
        self.ogate_cy = ao.nn.quantized.FloatFunctional()
        self.initial_hidden_state_qparams = (1.0, 0)
        self.initial_cell_state_qparams = (1.0, 0)
        self.hidden_state_dtype = flambeau.quint8
        self.cell_state_dtype = flambeau.quint8

    def forward(self, x, hidden=None):
        if hidden is None or hidden[0] is None or hidden[1] is None:
            hidden = self.initialize_hidden(x.shape[0], x.is_quantized)
        hx, cx = hidden
        if self.split_gates:
            i, f, g, o = (self.gates[key].add(self.igates[key](x), self.hgates[key](hx)) for key in _GATES)
        else:
            i, f, g, o = self.gates.add(self.igates(x), self.hgates(hx)).chunk(4, 1)
        i, f, g, o = self.input_gate(i), self.forget_gate(f), self.cell_gate(g), self.output_gate(o)
        cy = self.fgate_cx_igate_cgate.add(self.fgate_cx.mul(f, cx), self.igate_cgate.mul(i, g))
        return self.ogate_cy.mul(o, flambeau.tanh(cy)), cy

    def initialize_hidden(self, batch_size, is_quantized=False):
        """States of zeros, quantized as the attributes say where the input is."""
        h, c = (flambeau.zeros((batch_size, self.hidden_size)) for _ in range(2))
        if is_quantized:
            h = flambeau.quantize_per_tensor(h, *self.initial_hidden_state_qparams, dtype=self.hidden_state_dtype)
            c = flambeau.quantize_per_tensor(c, *self.initial_cell_state_qparams, dtype=self.cell_state_dtype)
        return h, c

    def _get_name(self):
        return "QuantizableLSTMCell"

    @classmethod
    def from_params(cls, wi, wh, bi=None, bh=None, split_gates=False):
        """A cell with these weights and biases, of the input and of the hidden state."""
        if (bi is None) != (bh is None):
            raise AssertionError("bi and bh must both be None or both have values")
        cell = cls(wi.shape[1], wh.shape[1], bias=bi is not None, split_gates=split_gates)
        for weight, bias, gates in ((wi, bi, cell.igates), (wh, bh, cell.hgates)):
            layers = list(gates.values()) if split_gates else [gates]
            for layer, part in zip(layers, weight.chunk(4, 0) if split_gates else [weight]):
                layer.weight = nn.Parameter(part)
            if bias is not None:
                for layer, part in zip(layers, bias.chunk(4, 0) if split_gates else [bias]):
                    layer.bias = nn.Parameter(part)
        return cell

    @classmethod
    def from_float(cls, other, use_precomputed_fake_quant=False, split_gates=False):
        """The cell that computes what ``nn.LSTMCell`` does; its ``qconfig`` goes to the linear layers."""
        if type(other) is not cls._FLOAT_MODULE:
            raise AssertionError(f"Expected module type {cls._FLOAT_MODULE}, got {type(other)}")
        if not hasattr(other, "qconfig"):
            raise AssertionError("The float module must have 'qconfig'")
        made = cls.from_params(other.weight_ih, other.weight_hh, other.bias_ih, other.bias_hh, split_gates=split_gates)
        linear = [*made.igates.values(), *made.hgates.values()] if split_gates else []
        for module in (made, made.igates, made.hgates, *linear):
            module.qconfig = other.qconfig
        return made


class _LSTMSingleLayer(nn.Module):
    """One direction of a layer: the cell along a sequence."""

    def __init__(self, input_dim, hidden_dim, bias=True, device=None, dtype=None, *, split_gates=False):
        super().__init__()
        self.cell = LSTMCell(input_dim, hidden_dim, bias=bias, device=device, dtype=dtype, split_gates=split_gates)

    def forward(self, x, hidden=None):
        result = []
        for step in range(x.shape[0]):
            hidden = self.cell(x[step], hidden)
            result.append(hidden[0])
        return flambeau.stack(result, 0), hidden

    @classmethod
    def from_params(cls, *args, **kwargs):
        cell = LSTMCell.from_params(*args, **kwargs)
        layer = cls(cell.input_size, cell.hidden_size, cell.bias, split_gates=cell.split_gates)
        layer.cell = cell
        return layer


class _LSTMLayer(nn.Module):
    """A layer of one direction or two."""

    def __init__(
        self,
        input_dim,
        hidden_dim,
        bias=True,
        batch_first=False,
        bidirectional=False,
        device=None,
        dtype=None,
        *,
        split_gates=False,
    ):
        super().__init__()
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        options = {"bias": bias, "device": device, "dtype": dtype, "split_gates": split_gates}
        self.layer_fw = _LSTMSingleLayer(input_dim, hidden_dim, **options)
        if bidirectional:
            self.layer_bw = _LSTMSingleLayer(input_dim, hidden_dim, **options)

    def forward(self, x, hidden=None):
        if self.batch_first:
            x = x.transpose(0, 1)
        h, c = (None, None) if hidden is None else hidden
        if not self.bidirectional:
            result, (h, c) = self.layer_fw(x, None if h is None and c is None else (h, c))
        else:
            at = [(None if h is None else h[i], None if c is None else c[i]) for i in range(2)]
            forth, state = self.layer_fw(x, at[0])
            back, state_back = self.layer_bw(x.flip(0), at[1])
            result = flambeau.cat([forth, back.flip(0)], forth.dim() - 1)
            h, c = (flambeau.stack([state[i], state_back[i]], 0) for i in range(2))
        if self.batch_first:
            result.transpose_(0, 1)
        return result, (h, c)

    @classmethod
    def from_float(cls, other, layer_idx=0, qconfig=None, **kwargs):
        """Layer number ``layer_idx`` of an ``nn.LSTM``."""
        if not hasattr(other, "qconfig") and qconfig is None:
            raise AssertionError("other must have qconfig or qconfig must be provided")
        split_gates = kwargs.get("split_gates", False)
        names = ("input_size", "hidden_size", "bias", "batch_first", "bidirectional")
        layer = cls(*(kwargs.get(name, getattr(other, name)) for name in names), split_gates=split_gates)
        layer.qconfig = getattr(other, "qconfig", qconfig)

        def direction(suffix):
            names = (f"{kind}_l{layer_idx}{suffix}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            return _LSTMSingleLayer.from_params(*(getattr(other, n, None) for n in names), split_gates=split_gates)

        layer.layer_fw = direction("")
        if other.bidirectional:
            layer.layer_bw = direction("_reverse")
        return layer


class LSTM(nn.Module):
    """``nn.LSTM``, taken apart: ``layers`` holds the layers. Dropout between them is not done."""

    _FLOAT_MODULE = nn.LSTM

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        device=None,
        dtype=None,
        *,
        split_gates=False,
    ):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.training = False
        if not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0:
            warnings.warn(
                "dropout option for quantizable LSTM is ignored. If you are training, please, use nn.LSTM version "
                "followed by `prepare` step.",
                stacklevel=2,
            )
            if num_layers == 1:
                warnings.warn(
                    "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                    f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                    stacklevel=2,
                )
        # A layer's input is that of one direction, as in PyTorch, where two directions cannot be stacked so.
        self.layers = nn.ModuleList(
            _LSTMLayer(
                hidden_size if layer else input_size,
                hidden_size,
                bias,
                batch_first=False,
                bidirectional=bidirectional,
                device=device,
                dtype=dtype,
                split_gates=split_gates,
            )
            for layer in range(max(1, num_layers))
        )

    def forward(self, x, hidden=None):
        if self.batch_first:
            x = x.transpose(0, 1)
        directions, batch = 2 if self.bidirectional else 1, x.size(1)
        if hidden is None:
            zeros = flambeau.zeros(directions, batch, self.hidden_size, dtype=flambeau.float, device=x.device)
            zeros.squeeze_(0)
            if x.is_quantized:
                zeros = flambeau.quantize_per_tensor(zeros, scale=1.0, zero_point=0, dtype=x.dtype)
            states = [(zeros, zeros)] * self.num_layers
        elif isinstance(hidden[0], flambeau.Tensor):
            shape = (self.num_layers, directions, batch, self.hidden_size)
            h, c = hidden[0].reshape(shape), hidden[1].reshape(shape)
            states = [(h[i].squeeze(0), c[i].squeeze(0)) for i in range(self.num_layers)]
        else:
            states = hidden
        after = []
        for i, layer in enumerate(self.layers):
            x, state = layer(x, states[i])
            after.append(state)
        h, c = (flambeau.stack(list(part)) for part in zip(*after))
        h, c = h.reshape(-1, h.shape[-2], h.shape[-1]), c.reshape(-1, c.shape[-2], c.shape[-1])
        return x.transpose(0, 1) if self.batch_first else x, (h, c)

    def _get_name(self):
        return "QuantizableLSTM"

    @classmethod
    def from_float(cls, other, qconfig=None, split_gates=False):
        """The module that computes what ``other`` does, prepared: with observers where it is to be quantized."""
        if not isinstance(other, cls._FLOAT_MODULE):
            raise AssertionError(f"Expected module type {cls._FLOAT_MODULE}, got {type(other)}")
        if not hasattr(other, "qconfig") and not qconfig:
            raise AssertionError("other must have qconfig or qconfig must be provided")
        made = cls(
            other.input_size,
            other.hidden_size,
            other.num_layers,
            other.bias,
            other.batch_first,
            other.dropout,
            other.bidirectional,
            split_gates=split_gates,
        )
        made.qconfig = getattr(other, "qconfig", qconfig)
        for i in range(other.num_layers):
            made.layers[i] = _LSTMLayer.from_float(other, i, qconfig, batch_first=False, split_gates=split_gates)
        if other.training:
            made.train()
            return ao.quantization.prepare_qat(made, inplace=True)
        made.eval()
        return ao.quantization.prepare(made, inplace=True)

    @classmethod
    def from_observed(cls, other):
        """Not here: from floating point this class leads to an observed module only."""
        raise NotImplementedError(
            "It looks like you are trying to convert a non-quantizable LSTM module. Please, see "
            "the examples on quantizable LSTMs."
        )

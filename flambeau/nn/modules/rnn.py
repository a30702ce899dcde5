"""Recurrent layers over whole sequences, padded or packed, and cells for one step."""

import math
import numbers
import warnings

import flambeau

from .. import init
from ..parameter import Parameter
from ..utils.rnn import PackedSequence
from .module import Module

__all__ = ["RNNBase", "RNN", "LSTM", "GRU", "RNNCellBase", "RNNCell", "LSTMCell", "GRUCell"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _apply_permutation(tensor, permutation, dim=1):
    return tensor.index_select(dim, permutation)


def apply_permutation(tensor, permutation, dim=1):
    """The old name of ``tensor.index_select(dim, permutation)``."""
    warnings.warn(
        "`apply_permutation` is deprecated, please use `tensor.index_select(dim, permutation)` instead",
        FutureWarning,
        stacklevel=2,
    )
    return _apply_permutation(tensor, permutation, dim)


def _check_type(name, value, kind):
    if not isinstance(value, kind):
        raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")


class RNNBase(Module):
    """Weights, checks and the forward that RNN, LSTM and GRU share; a state is one tensor, or two for the LSTM.

    Weights are named ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0`` (and ``weight_hr_l0`` for a
    projection), per layer, and with ``_reverse`` for the second direction; they start uniform in plus or minus one
    over the root of ``hidden_size``.
    """

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
        self.proj_size = proj_size
        self._check_arguments(dropout)

        gate_size = _GATES[mode] * hidden_size
        out_size = proj_size if proj_size > 0 else hidden_size
        self._flat_weights_names = []
        self._all_weights = []
        for layer in range(num_layers):
            in_size = input_size if layer == 0 else out_size * self._directions
            sizes = {"weight_ih": (gate_size, in_size), "weight_hh": (gate_size, out_size)}
            if bias:
                sizes |= {"bias_ih": (gate_size,), "bias_hh": (gate_size,)}
            if proj_size > 0:
                sizes["weight_hr"] = (proj_size, hidden_size)
            for suffix in ("", "_reverse")[: self._directions]:
                names = [f"{name}_l{layer}{suffix}" for name in sizes]
                for name, size in zip(names, sizes.values(), strict=True):
                    setattr(self, name, Parameter(flambeau.empty(size, device=device, dtype=dtype)))
                self._flat_weights_names += names
                self._all_weights.append(names)
        self.reset_parameters()

    def _check_arguments(self, dropout):
        if not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={self.num_layers}",
                stacklevel=4,
            )
        _check_type("bias", self.bias, bool)
        _check_type("batch_first", self.batch_first, bool)
        for name in ("input_size", "hidden_size"):
            _check_type(name, getattr(self, name), int)
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if self.num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if self.proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if self.mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + self.mode)

    @property
    def _directions(self):
        return 2 if self.bidirectional else 1

    @property
    def _flat_weights(self):
        """All weights in the order the operators want; they are looked up anew, so that replaced ones count."""
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @property
    def all_weights(self):
        """The weights by layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self):
        """Does nothing here: weights need not lie next to each other."""

    def reset_parameters(self):
        """Draws all weights anew."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    # ---- checks ----
    def check_input(self, input, batch_sizes):
        """Raises unless the input has the weights' dtype, the right rank and ``input_size`` features."""
        dtype = self._flat_weights[0].dtype
        if input.dtype != dtype and not flambeau._C._is_any_autocast_enabled():
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). Convert input: "
                f"input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        rank = 3 if batch_sizes is None else 2
        if input.dim() != rank:
            raise RuntimeError(f"input must have {rank} dimensions, got {input.dim()}")
        if self.input_size != input.size(-1):
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}"
            )

    def _batch(self, input, batch_sizes):
        if batch_sizes is not None:
            return int(batch_sizes[0])
        return input.size(0 if self.batch_first else 1)

    def get_expected_hidden_size(self, input, batch_sizes):
        """(layers * directions, batch, size of the hidden state)."""
        size = self.proj_size if self.proj_size > 0 else self.hidden_size
        return self.num_layers * self._directions, self._batch(input, batch_sizes), size

    def check_hidden_size(self, hx, expected_hidden_size, msg="Expected hidden size {}, got {}"):
        """Raises unless ``hx`` has the expected size."""
        if hx.size() != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input, hidden, batch_sizes):
        """Raises unless input and state fit the layer."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    # ---- forward ----
    def permute_hidden(self, hx, permutation):
        """The state with its batch in another order."""
        return hx if permutation is None else _apply_permutation(hx, permutation)

    def _zeros(self, input, batch_sizes):
        size = self.get_expected_hidden_size(input, batch_sizes)
        return flambeau.zeros(size, dtype=input.dtype, device=input.device)

    def _check_ranks(self, hx, batched):
        rank = 3 if batched else 2
        if hx.dim() != rank:
            kind = "batched" if batched else "unbatched"
            raise RuntimeError(f"For {kind} {rank}-D input, hx should also be {rank}-D but got {hx.dim()}-D tensor")

    def _each(self, hx, fn):
        """``fn`` of every tensor of the state."""
        return fn(hx)

    def _run(self, *args):
        """Calls the operator and returns the output and the state."""
        run = {"RNN_TANH": flambeau.rnn_tanh, "RNN_RELU": flambeau.rnn_relu, "GRU": flambeau.gru}[self.mode]
        return run(*args)

    def forward(self, input, hx=None):
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            word = "tensor instead" if isinstance(self, RNN) else "instead"
            raise ValueError(f"{self._title}: Expected input to be 2D or 3D, got {input.dim()}D {word}")
        batched = input.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        if not batched:
            input = input.unsqueeze(batch_dim)
        if hx is None:
            hx = self._zeros(input, None)
        else:
            self._check_ranks(hx, batched)
            if not batched:
                hx = self._each(hx, lambda t: t.unsqueeze(1))
        self.check_forward_args(input, hx, None)
        output, hidden = self._run(
            input,
            hx,
            self._flat_weights,
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            self.batch_first,
        )
        if not batched:
            output = output.squeeze(batch_dim)
            hidden = self._each(hidden, lambda t: t.squeeze(1))
        return output, hidden

    def _forward_packed(self, packed, hx):
        input, batch_sizes, order, order_back = packed
        hx = self._zeros(input, batch_sizes) if hx is None else self.permute_hidden(hx, order)
        self.check_forward_args(input, hx, batch_sizes)
        output, hidden = self._run(
            input,
            batch_sizes,
            hx,
            self._flat_weights,
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
        )
        output = PackedSequence(output, batch_sizes, order, order_back)
        return output, self.permute_hidden(hidden, order_back)

    # ---- the rest of a module ----
    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        for name, default in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0),
            ("bidirectional", False),
        ):
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value}"
        return text

    def __getstate__(self):
        return {**super().__getstate__(), "_flat_weights": self._flat_weights}

    def __setstate__(self, state):
        state = {k: v for k, v in state.items() if k not in ("_flat_weights", "_flat_weight_refs")}
        super().__setstate__({"proj_size": 0} | state)


class RNN(RNNBase):
    r""":math:`h_t = \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})`, or with ReLU, over sequences.

    Input (L, N, input_size), or with ``batch_first`` (N, L, input_size), or a packed sequence; state
    (layers * directions, N, hidden_size). Returns the outputs of all steps and the last state.

    >>> RNN(10, 20, 2)(flambeau.randn(5, 3, 10))[0].shape
    torch.Size([5, 3, 20])
    """

    _title = "RNN"

    def __init__(self, *args, **kwargs):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity, args = args[3], (*args[:3], *args[4:])
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__("RNN_TANH" if nonlinearity == "tanh" else "RNN_RELU", *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    r"""Long short-term memory over sequences: gates :math:`i, f, o = \sigma(\cdot)`, candidate :math:`g = \tanh(\cdot)`,
    :math:`c_t = f c_{t-1} + i g`, :math:`h_t = o \tanh(c_t)`, projected to ``proj_size`` if that is not 0.

    >>> output, (h, c) = LSTM(10, 20, 2)(flambeau.randn(5, 3, 10))
    >>> output.shape, c.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    _title = "LSTM"

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input, batch_sizes):
        """(layers * directions, batch, hidden_size)."""
        return self.num_layers * self._directions, self._batch(input, batch_sizes), self.hidden_size

    def check_forward_args(self, input, hidden, batch_sizes):
        self.check_input(input, batch_sizes)
        sizes = self.get_expected_hidden_size(input, batch_sizes), self.get_expected_cell_size(input, batch_sizes)
        for i, size in enumerate(sizes):
            self.check_hidden_size(hidden[i], size, f"Expected hidden[{i}] size {{}}, got {{}}")

    def permute_hidden(self, hx, permutation):
        if permutation is None:
            return hx
        return _apply_permutation(hx[0], permutation), _apply_permutation(hx[1], permutation)

    def _zeros(self, input, batch_sizes):
        cells = self.get_expected_cell_size(input, batch_sizes)
        return super()._zeros(input, batch_sizes), flambeau.zeros(cells, dtype=input.dtype, device=input.device)

    def _check_ranks(self, hx, batched):
        rank, kind = (3, "batched") if batched else (2, "unbatched")
        if hx[0].dim() != rank or hx[1].dim() != rank:
            raise RuntimeError(
                f"For {kind} {rank}-D input, hx and cx should also be {rank}-D but got ({hx[0].dim()}-D, "
                f"{hx[1].dim()}-D) tensors"
            )

    def _each(self, hx, fn):
        return fn(hx[0]), fn(hx[1])

    def _run(self, *args):
        output, h, c = flambeau.lstm(*args)
        return output, (h, c)


class GRU(RNNBase):
    r"""Gated recurrent unit over sequences: gates :math:`r, z = \sigma(\cdot)`,
    :math:`n = \tanh(W_{in} x + b_{in} + r (W_{hn} h + b_{hn}))`, :math:`h_t = (1 - z) n + z h_{t-1}`.

    >>> GRU(10, 20, bidirectional=True)(flambeau.randn(5, 3, 10))[0].shape
    torch.Size([5, 3, 40])
    """

    _title = "GRU"

    def __init__(self, *args, **kwargs):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class RNNCellBase(Module):
    """Weights of one step: ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``."""

    def __init__(self, input_size, hidden_size, bias, num_chunks, device=None, dtype=None):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size

        def new(*size):
            return Parameter(flambeau.empty(size, device=device, dtype=dtype))

        self.weight_ih = new(gates, input_size)
        self.weight_hh = new(gates, hidden_size)
        self.register_parameter("bias_ih", new(gates) if bias else None)
        self.register_parameter("bias_hh", new(gates) if bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draws all weights anew."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text

    def _check(self, input, **states):
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for word, state in states.items():
            if state.dim() not in (1, 2):
                raise ValueError(f"{name}: Expected {word} to be 1D or 2D, got {state.dim()}D instead")

    def _weights(self):
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def _zeros(self, input):
        return flambeau.zeros(input.size(0), self.hidden_size, dtype=input.dtype, device=input.device)


class _OneStateCell(RNNCellBase):
    def forward(self, input, hx=None):
        self._check(input, **({} if hx is None else {"hidden": hx}))
        batched = input.dim() == 2
        if not batched:
            input = input.unsqueeze(0)
            hx = None if hx is None else hx.unsqueeze(0)
        out = self._step(input, self._zeros(input) if hx is None else hx, *self._weights())
        return out if batched else out.squeeze(0)


class RNNCell(_OneStateCell):
    r""":math:`h' = \tanh(W_{ih} x + b_{ih} + W_{hh} h + b_{hh})`, or with ReLU, for input (N, input_size)."""

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, num_chunks=1, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    def _step(self, *args):
        if self.nonlinearity == "tanh":
            return flambeau.rnn_tanh_cell(*args)
        if self.nonlinearity == "relu":
            return flambeau.rnn_relu_cell(*args)
        raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")


class LSTMCell(RNNCellBase):
    """One step of an :class:`LSTM`: input (N, input_size), state and result two tensors (N, hidden_size)."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, num_chunks=4, device=device, dtype=dtype)

    def forward(self, input, hx=None):
        self._check(input, **{f"hx[{i}]": state for i, state in enumerate(hx or ())})
        batched = input.dim() == 2
        if not batched:
            input = input.unsqueeze(0)
            hx = None if hx is None else (hx[0].unsqueeze(0), hx[1].unsqueeze(0))
        if hx is None:
            zeros = self._zeros(input)
            hx = (zeros, zeros)
        h, c = flambeau.lstm_cell(input, hx, *self._weights())
        return (h, c) if batched else (h.squeeze(0), c.squeeze(0))


class GRUCell(_OneStateCell):
    """One step of a :class:`GRU`: input (N, input_size), state and result (N, hidden_size)."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, num_chunks=3, device=device, dtype=dtype)

    def _step(self, *args):
        return flambeau.gru_cell(*args)

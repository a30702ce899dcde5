"""Recurrent networks: Elman, GRU and LSTM, one cell each, run over layers, directions and (packed) time.

Gates are laid out as PyTorch lays them out: LSTM input, forget, cell, output; GRU reset, update, new. A layer's products with
its inputs are one for all times; what is left, the walk over time, is one operator (`_recurrent_layer`). Projected states and
narrow dtypes are walked in tensor operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._kernel.language import Kernel, Shape, T
from flambeau._operators._factors import terms_and_factors
from flambeau._operators.linear import linear
from flambeau._operators.op import composite, op
from flambeau._tensor import Tensor

State = tuple[Any, ...]


def _product(x: Any, w: Any, b: Any) -> Any:
    if b is not None and x.dtype is not w.dtype:
        terms_and_factors(b, x, w)
    out = x @ w.t()
    return out if b is None else out + b


# ---------------------------------------------------------------- cells: (x w_ih^T + b_ih already computed, state, w_hh, b_hh) -> state


def _elman(activation: str) -> Callable[..., State]:
    def step(gates: Any, state: State, w: Any, b: Any, p: Any) -> State:
        pre = gates + _product(state[0], w, b)
        return (pre.tanh() if activation == "tanh" else pre.relu(),)

    return step


def _gru(gates: Any, state: State, w: Any, b: Any, p: Any) -> State:
    (h,) = state
    ir, iz, inn = gates.chunk(3, -1)
    hr, hz, hn = _product(h, w, b).chunk(3, -1)
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    n = (inn + r * hn).tanh()
    return ((h - n) * z + n,)


def _lstm(gates: Any, state: State, w: Any, b: Any, p: Any) -> State:
    h, c = state
    i, f, g, o = (gates + _product(h, w, b)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if p is None else h @ p.t(), c)


STEPS: dict[str, Callable[..., State]] = {"tanh": _elman("tanh"), "relu": _elman("relu"), "gru": _gru, "lstm": _lstm}


# ---------------------------------------------------------------- over time, in one operator

GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}


@op("_recurrent_layer", promote="none", variants=(), outputs=("output", "h_n", "c_n", "saved", "cells"))
def _recurrent_layer(
    k: Kernel[T], x: T, h_0: T, c_0: T, weight: T, bias: T, sizes: Shape, kind: str, reverse: bool, keep: bool
) -> T:
    """One layer and direction over the rows x of its gates' sums, `sizes[t]` of them at time t: states, and the last ones.

    A kind without cells is given h_0 for c_0. With `keep` there is what the derivative reads, else it walks forward again.
    """
    return k.library(
        "recurrent_layer", x, h_0, c_0, weight, bias, kind=kind, sizes=tuple(sizes), reverse=reverse, keep=keep
    )


@op(
    "_recurrent_layer_backward",
    promote="none",
    variants=(),
    outputs=("x", "h_0", "c_0", "weight", "bias"),
    differentiable=False,
)
def _recurrent_layer_backward(k: Kernel[T], g: T, g_h: T, g_c: T, output: T, saved: T, cells: T, h_0: T, c_0: T, weight: T, sizes: Shape,
                              kind: str, reverse: bool) -> T:  # fmt: skip
    """The gradients of `_recurrent_layer`."""
    return k.library(
        "recurrent_backward",
        g,
        g_h,
        g_c,
        output,
        saved,
        cells,
        h_0,
        c_0,
        weight,
        kind=kind,
        sizes=tuple(sizes),
        reverse=reverse,
    )


def _layer_vjp(g_output: Any, g_h_n: Any, g_c_n: Any, x: Any, h_0: Any, c_0: Any, weight: Any, bias: Any, sizes: Any, kind: Any,
               reverse: Any, keep: Any, output: Any, saved: Any, cells: Any, recorded: Any) -> Any:  # fmt: skip
    if kind != "lstm":
        g_c_n = g_h_n
    if recorded or not keep:
        grads = _through_time(g_output, g_h_n, g_c_n, x, h_0, c_0, weight, bias, sizes, kind, reverse)
    else:
        grads = _recurrent_layer_backward(
            g_output, g_h_n, g_c_n, output, saved, cells, h_0, c_0, weight, sizes, kind, reverse
        )
    dx, dh, dc, dw, db = grads
    return dx, dh, dc if kind == "lstm" else None, dw, db


_recurrent_layer.known_as("MkldnnRnnLayerBackward0", event="mkldnn_rnn_layer").vjp(_=_layer_vjp)


def _through_time(g: Any, dh: Any, dc: Any, x: Any, h_0: Any, c_0: Any, weight: Any, bias: Any, sizes: Sequence[int], kind: str,
                  reverse: bool) -> State:  # fmt: skip
    """The derivative of a layer in tensor operations, so that it has derivatives itself: forward again, and back."""
    xs, gs = x.split(list(sizes), 0), g.split(list(sizes), 0)
    times = list(range(len(sizes)))[:: -1 if reverse else 1]
    h = c = x[:0, : weight.shape[1]]
    trail = []
    for t in times:
        n = sizes[t]
        old = min(n, h.shape[0])
        h, c = _cat([h[:old], h_0[old:n]]), _cat([c[:old], c_0[old:n]])
        before, fed = (h, c), h @ weight.t() + bias
        if kind == "gru":
            parts = [
                *((a + b).sigmoid() for a, b in zip(xs[t].chunk(3, 1)[:2], fed.chunk(3, 1), strict=False)),
                fed.chunk(3, 1)[2],
            ]
            parts.append((xs[t].chunk(3, 1)[2] + parts[0] * parts[2]).tanh())
            h = (h - parts[3]) * parts[1] + parts[3]
        elif kind == "lstm":
            i, f, u, o = (xs[t] + fed).chunk(4, 1)
            parts = [i.sigmoid(), f.sigmoid(), u.tanh(), o.sigmoid()]
            c = parts[1] * c + parts[0] * parts[2]
            h = parts[3] * c.tanh()
            parts.append(c.tanh())
        else:
            h = (xs[t] + fed).tanh() if kind == "tanh" else (xs[t] + fed).relu()
            parts = [h]
        trail.append((t, n, before, parts))
    outer: list[Any] = [None] * len(sizes)
    inner, states = list(outer), list(outer)
    for t, n, (h, c), parts in reversed(trail):
        d, left = gs[t] + dh[:n], 0.0
        if kind == "gru":
            r, z, fed, new = parts
            dn = d * (1 - z) * (1 - new * new)
            first = [dn * fed * r * (1 - r), d * (h - new) * z * (1 - z)]
            outer[t], inner[t], left = _cat([*first, dn], 1), _cat([*first, dn * r], 1), d * z
        elif kind == "lstm":
            i, f, u, o, y = parts
            e = dc[:n] + d * o * (1 - y * y)
            dc = _cat([e * f, dc[n:]])
            outer[t] = _cat([e * u * i * (1 - i), e * c * f * (1 - f), e * i * (1 - u * u), d * y * o * (1 - o)], 1)
        else:
            outer[t] = d * (1 - parts[0] * parts[0]) if kind == "tanh" else d * (parts[0] > 0)
        inner[t] = outer[t] if kind != "gru" else inner[t]
        states[t] = h
        dh = _cat([inner[t] @ weight + left, dh[n:]])
    sums = _cat(inner)
    return _cat(outer), dh, dc, sums.t() @ _cat(states), sums.sum(0)


def _fused(
    kind: str, x: Any, sizes: Sequence[int], state: State, weights: Sequence[Any], reverse: bool
) -> tuple[Any, State] | None:
    """One layer and direction over rows x, or None where the operator does not take them."""
    w_ih, w_hh, b_ih, b_hh, p = weights
    tensors = [t for t in (x, *state, w_ih, w_hh, b_ih, b_hh) if t is not None]
    if (
        p is not None
        or x.dtype.name not in ("float32", "float64")
        or not x.numel()
        or any(t.dtype is not x.dtype for t in tensors)
    ):
        return None
    units, lead = w_hh.shape[-1], GATES[kind] * w_hh.shape[-1]
    if (
        not all(type(t._a).__module__ == "numpy" for t in tensors)
        or w_ih.shape != (lead, x.shape[1])
        or w_hh.shape != (lead, units)
    ):
        return None
    if any(s.shape != (sizes[0], units) for s in state) or any(
        b is not None and b.shape != (lead,) for b in (b_ih, b_hh)
    ):
        return None
    sums = linear(x, w_ih, b_ih)
    if kind == "gru" and sums.dtype is not state[0].dtype:  # autocast's products: the state is mixed with them as it is
        return None
    keep = _differentiated(sums, *state, w_hh, b_hh)
    bias = w_hh.new_zeros(lead) if b_hh is None else b_hh
    out, h, c, *_ = _recurrent_layer(sums, state[0], state[-1], w_hh, bias, tuple(sizes), kind, reverse, keep)
    return out, (h, c) if kind == "lstm" else (h,)


def _differentiated(sums: Any, *tensors: Any) -> bool:
    """Whether there may be a derivative: gradients are on, of which a copy of nothing of what wants one speaks, if the sums do not."""
    wants = next((t for t in tensors if t is not None and t.requires_grad), None)
    return sums.requires_grad or (wants is not None and wants.narrow(0, 0, 0).clone().requires_grad)


# ---------------------------------------------------------------- over time, in tensor operations


def _dense(kind: str, x: Any, state: State, weights: Sequence[Any], reverse: bool) -> tuple[Any, State]:
    """x: (time, batch, features)."""
    if x.ndim == 3:
        times, batch, width = x.shape
        found = _fused(kind, x.reshape(times * batch, width), (batch,) * times, state, weights, reverse)
        if found is not None:
            return found[0].view(times, batch, -1), found[1]
    w_ih, w_hh, b_ih, b_hh, p = weights
    step = STEPS[kind]
    gates = _product(x, w_ih, b_ih).unbind(0)  # one product for all times
    outs = []
    for g in reversed(gates) if reverse else gates:
        state = step(g, state, w_hh, b_hh, p)
        outs.append(state[0])
    if reverse:
        outs.reverse()
    return _stack(outs), state


def _packed(
    kind: str, data: Any, sizes: Sequence[int], state: State, weights: Sequence[Any], reverse: bool
) -> tuple[Any, State]:
    """data: all times one after the other, `sizes[t]` sequences each, longest first."""
    found = _fused(kind, data, sizes, state, weights, reverse)
    if found is not None:
        return found
    w_ih, w_hh, b_ih, b_hh, p = weights
    step = STEPS[kind]
    gates = _product(data, w_ih, b_ih).split(list(sizes), 0)
    outs = []
    if not reverse:
        ended: list[State] = []  # final states of sequences that are over, shortest first
        n = sizes[0]
        for g, size in zip(gates, sizes, strict=True):
            if size < n:
                ended.append(tuple(s[size:n] for s in state))
                state = tuple(s[:size] for s in state)
                n = size
            state = step(g, state, w_hh, b_hh, p)
            outs.append(state[0])
        ended.append(state)
        return _cat(outs), tuple(_cat([e[i] for e in reversed(ended)]) for i in range(len(state)))
    first = state
    n = sizes[-1]
    state = tuple(s[:n] for s in first)
    for g, size in zip(reversed(gates), reversed(sizes), strict=True):
        if size > n:  # sequences that end here begin here, walking backwards
            state = tuple(_cat([s, f[n:size]]) for s, f in zip(state, first, strict=True))
            n = size
        state = step(g, state, w_hh, b_hh, p)
        outs.append(state[0])
    outs.reverse()
    return _cat(outs), state


def _stack(xs: list[Any]) -> Any:
    from flambeau._operators.join import stack

    return stack(xs, 0)


def _cat(xs: list[Any], dim: int = 0) -> Any:
    from flambeau._operators.join import cat

    return cat(xs, dim) if len(xs) > 1 else xs[0]


def _layers(kind: str, x: Any, sizes: Any, states: State, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
            bidirectional: bool) -> tuple[Any, State]:  # fmt: skip
    """All layers and directions. Each state is (layers * directions, batch, features)."""
    directions = 2 if bidirectional else 1
    if kind == "lstm" and len(states) != 2:
        raise RuntimeError("lstm expects two hidden states")
    projected = kind == "lstm" and states[0].shape[2] != states[1].shape[2]
    each = (4 if has_biases else 2) + (1 if projected else 0)
    if len(params) != each * directions * num_layers:
        raise RuntimeError("got an incorrect number of RNN parameters")
    finals: list[State] = []
    for layer in range(num_layers):
        outs = []
        for d in range(directions):
            at = layer * directions + d
            ws = list(params[at * each : (at + 1) * each])
            p = ws.pop() if projected else None
            w_ih, w_hh, *bs = ws
            weights = (w_ih, w_hh, *(bs or (None, None)), p)
            state = tuple(s[at] for s in states)
            out, state = (
                _dense(kind, x, state, weights, d == 1)
                if sizes is None
                else _packed(kind, x, sizes, state, weights, d == 1)
            )
            outs.append(out)
            finals.append(state)
        x = _cat(outs, -1)
        if dropout and train and layer < num_layers - 1:
            from flambeau._operators.dropout import dropout as drop

            x = drop(x, dropout, True)
    return x, tuple(_stack([f[i] for f in finals]) for i in range(len(states)))


def _run(kind: str, input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool, bidirectional: bool,
         batch_first: bool) -> Any:  # fmt: skip
    x = input.transpose(0, 1) if batch_first else input
    if x.shape[0] == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    states = tuple(hx) if isinstance(hx, (list, tuple)) else (hx,)
    out, finals = _layers(kind, x, None, states, params, has_biases, num_layers, dropout, train, bidirectional)
    return (out.transpose(0, 1) if batch_first else out, *finals)


def _run_packed(kind: str, data: Any, batch_sizes: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
                bidirectional: bool) -> Any:  # fmt: skip
    states = tuple(hx) if isinstance(hx, (list, tuple)) else (hx,)
    out, finals = _layers(
        kind, data, batch_sizes.tolist(), states, params, has_biases, num_layers, dropout, train, bidirectional
    )
    return (out, *finals)


def _define(kind: str, name: str, state: str) -> None:
    """The two overloads of one network: padded input, and packed data."""
    hx_note = "Sequence[T]" if kind == "lstm" else "T"

    def padded(input: Tensor, hx: Any, params: Sequence[Tensor], has_biases: bool, num_layers: int, dropout: float, train: bool, bidirectional: bool,
               batch_first: bool) -> Tensor:  # fmt: skip
        return _run(kind, input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)

    def packed(data: Tensor, batch_sizes: Tensor, hx: Any, params: Sequence[Tensor], has_biases: bool, num_layers: int, dropout: float, train: bool,
               bidirectional: bool) -> Tensor:  # fmt: skip
        return _run_packed(kind, data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional)

    for fn, what in ((padded, "a padded sequence"), (packed, "packed sequences")):
        fn.__name__ = name
        fn.__doc__ = f"Runs the recurrent network `{name}` over {what}: outputs and the final {state}."
        fn.__annotations__ |= {"hx": hx_note, "return": "tuple[T, T, T]" if kind == "lstm" else "tuple[T, T]"}
    composite(f"{name}.input", variants=("function",), receiver="input", autocast="open")(padded)
    composite(f"{name}.data", variants=("function",), receiver="data", autocast="open")(packed)


_define("tanh", "rnn_tanh", "state")
_define("relu", "rnn_relu", "state")
_define("gru", "gru", "state")
_define("lstm", "lstm", "hidden and cell states")


# ---------------------------------------------------------------- single cells


def _check_cell(input: Any, state: State, w_ih: Any, w_hh: Any) -> None:
    """PyTorch's words for sizes that do not meet."""
    if input.shape[1] != w_ih.shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {input.shape[1]} expected {w_ih.shape[1]}")
    for i, h in enumerate(state):
        if input.shape[0] != h.shape[0]:
            raise RuntimeError(f"Input batch size {input.shape[0]} doesn't match hidden{i} batch size {h.shape[0]}")
        if h.shape[1] != w_hh.shape[1]:
            raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {h.shape[1]}, expected {w_hh.shape[1]}")


@composite("rnn_tanh_cell", variants=("function",), receiver="input", autocast="open")
def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """tanh(w_ih x + b_ih + w_hh h + b_hh)."""
    _check_cell(input, (hx,), w_ih, w_hh)
    return STEPS["tanh"](_product(input, w_ih, b_ih), (hx,), w_hh, b_hh, None)[0]


@composite("rnn_relu_cell", variants=("function",), receiver="input", autocast="open")
def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """relu(w_ih x + b_ih + w_hh h + b_hh)."""
    _check_cell(input, (hx,), w_ih, w_hh)
    return STEPS["relu"](_product(input, w_ih, b_ih), (hx,), w_hh, b_hh, None)[0]


@composite("gru_cell", variants=("function",), receiver="input", autocast="open")
def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """One step of a GRU (Cho et al., 2014)."""
    _check_cell(input, (hx,), w_ih, w_hh)
    return _gru(_product(input, w_ih, b_ih), (hx,), w_hh, b_hh, None)[0]


@composite(
    "lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> (Tensor, Tensor)",
    variants=("function",),
    receiver="input",
    autocast="open",
)
def lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM (Hochreiter and Schmidhuber, 1997): the hidden and the cell state."""
    _check_cell(input, tuple(hx), w_ih, w_hh)
    return _lstm(_product(input, w_ih, b_ih), tuple(hx), w_hh, b_hh, None)

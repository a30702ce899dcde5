"""Recurrent networks whose products are quantized: layers of cells, each given as an object with `linear_ih` and `linear_hh`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._kernel.language import DType
from flambeau._operators.dropout import dropout as drop
from flambeau._operators.join import cat, stack
from flambeau._operators.op import FUNCTION, composite
from flambeau._tensor import Tensor

Cell = Callable[..., Any]


def lstm_cell(projected: Any, state: Any, cell: Any) -> Any:
    """One step of an LSTM, its input already multiplied by its weights."""
    hx, cx = state
    i, f, g, o = (cell.linear_hh(hx) + projected).chunk(4, 1)
    cy = f.sigmoid() * cx + i.sigmoid() * g.tanh()
    return o.sigmoid() * cy.tanh(), cy


def gru_cell(projected: Any, hx: Any, cell: Any) -> Any:
    """One step of a GRU, its input already multiplied by its weights."""
    ri, zi, ni = projected.chunk(3, 1)
    rh, zh, nh = cell.linear_hh(hx).chunk(3, 1)
    r, z = (rh + ri).sigmoid(), (zh + zi).sigmoid()
    n = (ni + nh * r).tanh()
    return (hx - n) * z + n


def _steps(step: Cell, x: Any, state: Any, cell: Any, backwards: bool) -> tuple[Any, Any]:
    """One direction over a whole sequence (time first); what comes in is multiplied by its weights at once."""
    rows = cell.linear_ih(x).unbind(0)
    outs = []
    for row in reversed(rows) if backwards else rows:
        state = step(row, state, cell)
        outs.append(state[0] if isinstance(state, tuple) else state)
    return stack(outs[::-1] if backwards else outs), state


def _packed_steps(step: Cell, data: Any, sizes: list[int], state: Any, cell: Any, backwards: bool) -> tuple[Any, Any]:
    """The same over a packed sequence: of each step as many rows as there are sequences that long."""
    rows = cell.linear_ih(data).split(sizes)
    many = isinstance(state, tuple)
    parts = list(state) if many else [state]
    outs: list[Any] = []
    for row, n in reversed(list(zip(rows, sizes, strict=True))) if backwards else zip(rows, sizes, strict=True):
        now = tuple(p[:n] for p in parts)
        made = step(row, now if many else now[0], cell)
        made = made if many else (made,)
        outs.append(made[0])
        parts = [cat([m, p[n:]]) if n < p.shape[0] else m for m, p in zip(made, parts, strict=True)]
    return cat(outs[::-1] if backwards else outs), tuple(parts) if many else parts[0]


def _layers(
    step: Cell, run: Any, x: Any, states: list[Any], cells: Any, layers: int, p: float, train: bool, both: bool
) -> Any:
    ends = []
    directions = 2 if both else 1
    for layer in range(layers):
        outs = []
        for d in range(directions):
            out, end = run(step, x, states[layer * directions + d], cells[layer * directions + d], d == 1)
            outs.append(out)
            ends.append(end)
        x = cat(outs, -1) if both else outs[0]
        if p and train and layer < layers - 1:
            x = drop(x, p, True)
    return x, ends


def _lstm(run: Any, x: Any, hx: Any, params: Any, layers: int, p: float, train: bool, both: bool) -> Any:
    states = list(zip(hx[0].unbind(0), hx[1].unbind(0), strict=True))
    out, ends = _layers(lstm_cell, run, x, states, params, layers, p, train, both)
    return out, stack([h for h, _ in ends]), stack([c for _, c in ends])


def _gru(run: Any, x: Any, hx: Any, params: Any, layers: int, p: float, train: bool, both: bool) -> Any:
    out, ends = _layers(gru_cell, run, x, list(hx.unbind(0)), params, layers, p, train, both)
    return out, stack(ends)


def _by_sizes(batch_sizes: Any) -> Any:
    sizes = batch_sizes.tolist()
    return lambda step, x, state, cell, backwards: _packed_steps(step, x, sizes, state, cell, backwards)


@composite(
    "quantized_lstm.input(Tensor input, Tensor[] hx, __torch__.torch.classes.rnn.CellParamsBase[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first, *, ScalarType? dtype=None, bool use_dynamic=False) -> (Tensor, Tensor, Tensor)",
    variants=FUNCTION,
)
def quantized_lstm(
    input: Tensor,
    hx: Sequence[Tensor],
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    *,
    dtype: DType | None = None,
    use_dynamic: bool = False,
) -> Any:
    """An LSTM whose weights are quantized: (output, last hidden states, last cell states)."""
    x = input.transpose(0, 1) if batch_first else input
    out, h, c = _lstm(_steps, x, hx, params, num_layers, dropout, train, bidirectional)
    return out.transpose(0, 1) if batch_first else out, h, c


@composite(
    "quantized_lstm.data(Tensor data, Tensor batch_sizes, Tensor[] hx, __torch__.torch.classes.rnn.CellParamsBase[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, *, ScalarType? dtype=None, bool use_dynamic=False) -> (Tensor, Tensor, Tensor)",
    variants=FUNCTION,
    python_name="quantized_lstm",
)
def quantized_lstm_packed(
    data: Tensor,
    batch_sizes: Tensor,
    hx: Sequence[Tensor],
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    *,
    dtype: DType | None = None,
    use_dynamic: bool = False,
) -> Any:
    """The same over a packed sequence."""
    return _lstm(_by_sizes(batch_sizes), data, hx, params, num_layers, dropout, train, bidirectional)


@composite(
    "quantized_gru.input(Tensor input, Tensor hx, __torch__.torch.classes.rnn.CellParamsBase[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
    variants=FUNCTION,
)
def quantized_gru(
    input: Tensor,
    hx: Tensor,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    """A GRU whose weights are quantized: (output, last states)."""
    x = input.transpose(0, 1) if batch_first else input
    out, h = _gru(_steps, x, hx, params, num_layers, dropout, train, bidirectional)
    return out.transpose(0, 1) if batch_first else out, h


@composite(
    "quantized_gru.data(Tensor data, Tensor batch_sizes, Tensor hx, __torch__.torch.classes.rnn.CellParamsBase[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional) -> (Tensor, Tensor)",
    variants=FUNCTION,
    python_name="quantized_gru",
)
def quantized_gru_packed(
    data: Tensor,
    batch_sizes: Tensor,
    hx: Tensor,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
) -> Any:
    """The same over a packed sequence."""
    return _gru(_by_sizes(batch_sizes), data, hx, params, num_layers, dropout, train, bidirectional)

"""Recurrent cells whose weights are codes, and their parameters as `torch.quantized_lstm` and `torch.quantized_gru` take them."""

from __future__ import annotations

from typing import Any

from flambeau._operators.rnn_quantized import gru_cell, lstm_cell
from flambeau._quantized import CELL, LINEAR, operator
from flambeau._quantized.params import CellParamsBase


@operator(
    f"make_quantized_cell_params_dynamic({LINEAR} w_ih, {LINEAR} w_hh, Tensor bias_ih, Tensor bias_hh, bool reduce_range=False) -> {CELL}"
)
def make_dynamic(w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, reduce_range: bool = False) -> Any:
    return CellParamsBase("quantized_dynamic", w_ih, w_hh, b_ih, b_hh, reduce_range)


@operator(f"make_quantized_cell_params_fp16({LINEAR} w_ih, {LINEAR} w_hh) -> {CELL}")
def make_fp16(w_ih: Any, w_hh: Any) -> Any:
    return CellParamsBase("quantized_fp16", w_ih, w_hh, w_ih.bias(), w_hh.bias())


_weights = f"{LINEAR} w_ih, {LINEAR} w_hh"


@operator(
    f"quantized_lstm_cell_dynamic(Tensor input, Tensor[] hx, {_weights}, Tensor bias_ih, Tensor bias_hh) -> (Tensor, Tensor)"
)
def lstm(x: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    cell = make_dynamic(w_ih, w_hh, b_ih, b_hh, True)
    return lstm_cell(cell.linear_ih(x), tuple(hx), cell)


@operator(f"quantized_gru_cell_dynamic(Tensor input, Tensor hx, {_weights}, Tensor b_ih, Tensor b_hh) -> Tensor")
def gru(x: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    cell = make_dynamic(w_ih, w_hh, b_ih, b_hh, True)
    return gru_cell(cell.linear_ih(x), hx, cell)


@operator(f"quantized_rnn_tanh_cell_dynamic(Tensor input, Tensor hx, {_weights}, Tensor b_ih, Tensor b_hh) -> Tensor")
def rnn_tanh(x: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    cell = make_dynamic(w_ih, w_hh, b_ih, b_hh, True)
    return (cell.linear_hh(hx) + cell.linear_ih(x)).tanh()


@operator(f"quantized_rnn_relu_cell_dynamic(Tensor input, Tensor hx, {_weights}, Tensor b_ih, Tensor b_hh) -> Tensor")
def rnn_relu(x: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    cell = make_dynamic(w_ih, w_hh, b_ih, b_hh, True)
    return (cell.linear_hh(hx) + cell.linear_ih(x)).relu()

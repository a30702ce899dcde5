"""Linear layers and cells with weights of eight bits or half precision, from before there were quantized tensors.

What PyTorch packs for its kernels is opaque there; here a packed weight is the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._operators.fake_quantize import _single
from flambeau._operators.op import FUNCTION, composite
from flambeau._operators.quantize import int_repr, quantize_per_tensor
from flambeau._operators.rnn_quantized import gru_cell, lstm_cell
from flambeau._tensor import Tensor
from flambeau._values.dtype import float16, float32, int8, int32, quint8
from flambeau._values.ranges import qparams_of_range

Scalar = Any


@composite("fbgemm_linear_quantize_weight", variants=FUNCTION, receiver="input")
def fbgemm_linear_quantize_weight(input: Tensor) -> tuple[Tensor, Tensor, float, int]:
    """A weight in codes of eight bits: codes, sums of rows of distances from zero, scale, zero point."""
    w: Any = input
    low, high = w.aminmax()
    scale, zero = qparams_of_range(low.item(), high.item(), -128, 127)
    codes = int_repr(quantize_per_tensor(w.detach() + 0.0, scale, zero + 128, quint8)).to(int32) - 128
    return codes.to(int8), (codes - zero).sum(1).to(int32), _single(scale), zero


@composite(
    "fbgemm_pack_quantized_matrix(Tensor input)",
    "fbgemm_pack_quantized_matrix.KN(Tensor input, int K, int N)",
    variants=FUNCTION,
    receiver="input",
)
def fbgemm_pack_quantized_matrix(input: Tensor, K: Any = None, N: Any = None) -> Tensor:
    """A weight as `fbgemm_linear_int8_weight` takes it."""
    return input.clone()


@composite("fbgemm_pack_gemm_matrix_fp16", variants=FUNCTION, receiver="input")
def fbgemm_pack_gemm_matrix_fp16(input: Tensor) -> Tensor:
    """A weight in half precision, as `fbgemm_linear_fp16_weight` takes it."""
    return input.detach().clamp(-65504.0, 65504.0).to(float16)


def _product(x: Any, weight: Any, scale: Any, zero: Any, bias: Any) -> Any:
    """Rows in codes of the range that all of them have, times the rows of a weight in codes."""
    low, high = x.aminmax()
    own, own_zero = qparams_of_range(low.item(), high.item(), 0, 255)
    seen = int_repr(quantize_per_tensor(x.detach(), own, own_zero, quint8)).to(float32) - own_zero
    unit = _single(_single(own) * _single(float(scale)))
    return (seen.double() @ (weight.double() - int(zero)).mT).float() * unit + bias


@composite("fbgemm_linear_int8_weight_fp32_activation", variants=FUNCTION, receiver="input")
def fbgemm_linear_int8_weight_fp32_activation(
    input: Tensor,
    weight: Tensor,
    packed: Tensor,
    col_offsets: Tensor,
    weight_scale: Scalar,
    weight_zero_point: Scalar,
    bias: Tensor,
) -> Tensor:
    """A linear layer whose weight is codes of eight bits, and whose input becomes so."""
    return _product(input, weight, weight_scale, weight_zero_point, bias)


@composite("fbgemm_linear_int8_weight", variants=FUNCTION, receiver="input")
def fbgemm_linear_int8_weight(
    input: Tensor,
    weight: Tensor,
    packed: Tensor,
    col_offsets: Tensor,
    weight_scale: Scalar,
    weight_zero_point: Scalar,
    bias: Tensor,
) -> Tensor:
    """The same with a bias."""
    return _product(input, weight, weight_scale, weight_zero_point, bias)


@composite("fbgemm_linear_fp16_weight_fp32_activation", variants=FUNCTION, receiver="input")
def fbgemm_linear_fp16_weight_fp32_activation(input: Tensor, packed_weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer whose weight is in half precision."""
    out = input.detach() @ packed_weight.to(float32).mT
    return out if bias is None else out + bias


@composite("fbgemm_linear_fp16_weight", variants=FUNCTION, receiver="input")
def fbgemm_linear_fp16_weight(input: Tensor, packed_weight: Tensor, bias: Tensor) -> Tensor:
    """The same with a bias."""
    return fbgemm_linear_fp16_weight_fp32_activation(input, packed_weight, bias)


class _Cell:
    """The weight by states of a cell, as cells ask for it."""

    def __init__(self, weight: Any, scale: Any, zero: Any, bias: Any) -> None:
        self.parts = weight, scale, zero, bias

    def linear_hh(self, x: Any) -> Any:
        return _product(x, *self.parts)


@composite("quantized_lstm_cell", variants=FUNCTION, receiver="input")
def quantized_lstm_cell(
    input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, packed_ih: Tensor, packed_hh: Tensor, col_offsets_ih: Tensor, col_offsets_hh: Tensor,
    scale_ih: Scalar, scale_hh: Scalar, zero_point_ih: Scalar, zero_point_hh: Scalar,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One step of an LSTM whose weights are codes of eight bits."""
    cell = _Cell(w_hh, scale_hh, zero_point_hh, b_hh)
    return lstm_cell(_product(input, w_ih, scale_ih, zero_point_ih, b_ih), tuple(hx), cell)


@composite("quantized_gru_cell", variants=FUNCTION, receiver="input")
def quantized_gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, packed_ih: Tensor, packed_hh: Tensor, col_offsets_ih: Tensor, col_offsets_hh: Tensor,
    scale_ih: Scalar, scale_hh: Scalar, zero_point_ih: Scalar, zero_point_hh: Scalar,
) -> Tensor:  # fmt: skip
    """One step of a GRU whose weights are codes of eight bits."""
    cell = _Cell(w_hh, scale_hh, zero_point_hh, b_hh)
    return gru_cell(_product(input, w_ih, scale_ih, zero_point_ih, b_ih), hx, cell)


@composite("quantized_rnn_relu_cell", variants=FUNCTION, receiver="input")
def quantized_rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, packed_ih: Tensor, packed_hh: Tensor, col_offsets_ih: Tensor, col_offsets_hh: Tensor,
    scale_ih: Scalar, scale_hh: Scalar, zero_point_ih: Scalar, zero_point_hh: Scalar,
) -> Tensor:  # fmt: skip
    """One step of a simple cell whose weights are codes of eight bits."""
    return (
        _product(input, w_ih, scale_ih, zero_point_ih, b_ih) + _product(hx, w_hh, scale_hh, zero_point_hh, b_hh)
    ).relu()


@composite("quantized_rnn_tanh_cell", variants=FUNCTION, receiver="input")
def quantized_rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, packed_ih: Tensor, packed_hh: Tensor, col_offsets_ih: Tensor, col_offsets_hh: Tensor,
    scale_ih: Scalar, scale_hh: Scalar, zero_point_ih: Scalar, zero_point_hh: Scalar,
) -> Tensor:  # fmt: skip
    """The same with `tanh`."""
    return (
        _product(input, w_ih, scale_ih, zero_point_ih, b_ih) + _product(hx, w_hh, scale_hh, zero_point_hh, b_hh)
    ).tanh()

"""Modules taken apart into what can be observed."""

from .modules import LSTM, LSTMCell, MultiheadAttention

__all__ = [
    "LSTM",
    "LSTMCell",
    "MultiheadAttention",
]

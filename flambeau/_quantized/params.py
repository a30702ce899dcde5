"""Weights as quantized operators take them: what PyTorch keeps in objects of its own, of classes under `torch.classes.quantized`."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.quantized_arrays import PerChannel, PerTensor, codes, quantized
from flambeau._tensor import wrap
from flambeau._values import dtype as dtypes

F32 = np.float32


class Packed:
    """What all of them are: `__getstate__` says what PyTorch's says, and `__setstate__` takes it."""

    qualname: str

    def _type(self) -> Any:
        return self.qualname

    def __repr__(self) -> str:
        return f"ScriptObject <{self.qualname}>"

    def __obj_flatten__(self) -> Any:
        return self.__getstate__()[0]


def single(weight: Any) -> Any:
    """A weight whose scales are of single precision, as packed ones are."""
    q = weight._a.quantizer
    if q.axis is None:
        kept: Any = PerTensor(float(F32(q.scale)), q.zero_point)
    elif q.scales.dtype == np.float64:
        kept = PerChannel(q.scales.astype(F32).astype(np.float64), q.zero_points, q.axis)
    else:
        kept = q
    return wrap(quantized(codes(weight._a).copy(), weight.dtype, kept))


class LinearPackedParamsBase(Packed):
    """Weight and bias of a linear layer: of codes, or in float16."""

    qualname = "__torch__.torch.classes.quantized.LinearPackedParamsBase"

    def __init__(self, weight: Any, bias: Any) -> None:
        self._weight, self._bias = weight, bias

    def unpack(self) -> tuple[Any, Any]:
        """Weight and bias."""
        return self._weight, self._bias

    def bias(self) -> Any:
        return self._bias

    def __getstate__(self) -> Any:
        return (self._weight, self._bias), self.qualname

    def __setstate__(self, state: Any) -> None:
        self._weight, self._bias = state[0]


class ConvPackedParams(Packed):
    """Weight and bias of a convolution, and how it is to be done."""

    dims: int

    def __init__(self, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, output_padding: Any = None,
                 transpose: bool = False) -> None:  # fmt: skip
        n = self.dims
        self._weight, self._bias = weight, bias
        self._stride, self._padding, self._dilation = list(stride), list(padding), list(dilation)
        self._output_padding = [0] * n if output_padding is None else list(output_padding)
        self._groups, self._transpose = int(groups), bool(transpose)

    def unpack(self) -> tuple[Any, Any]:
        """Weight and bias."""
        return self._weight, self._bias

    def stride(self) -> list[int]:
        return self._stride

    def padding(self) -> list[int]:
        return self._padding

    def output_padding(self) -> list[int]:
        return self._output_padding

    def dilation(self) -> list[int]:
        return self._dilation

    def groups(self) -> int:
        return self._groups

    def transpose(self) -> bool:
        return self._transpose

    def __getstate__(self) -> Any:
        n = self.dims
        facts = [
            n,
            *self._stride,
            *self._padding,
            *self._dilation,
            *self._output_padding,
            self._groups,
            int(self._transpose),
        ]
        return ("2", [wrap(np.array(facts, np.int16)), self._weight], [self._bias]), self.qualname

    def __setstate__(self, state: Any) -> None:
        _, (facts, weight), (bias,) = state[0]
        n, *rest = facts.tolist()
        at = [rest[i * n : (i + 1) * n] for i in range(4)]
        ConvPackedParams.__init__(self, weight, bias, at[0], at[1], at[2], rest[-2], at[3], bool(rest[-1]))


class Conv2dPackedParamsBase(ConvPackedParams):
    dims = 2
    qualname = "__torch__.torch.classes.quantized.Conv2dPackedParamsBase"


class Conv3dPackedParamsBase(ConvPackedParams):
    dims = 3
    qualname = "__torch__.torch.classes.quantized.Conv3dPackedParamsBase"


class EmbeddingPackedParamsBase(Packed):
    """A table of embeddings: a scale and a zero point for each row."""

    qualname = "__torch__.torch.classes.quantized.EmbeddingPackedParamsBase"

    def __init__(self, weight: Any) -> None:
        self._weight = weight

    def bit_rate(self) -> int:
        return 8 if self._weight.dtype is dtypes.quint8 else 4

    def version(self) -> int:
        return 1

    def unpack(self) -> Any:
        """The table as a quantized tensor."""
        return self._weight

    def __getstate__(self) -> Any:
        return (1, [self._weight], [], [self.bit_rate()]), self.qualname

    def __setstate__(self, state: Any) -> None:
        self._weight = state[0][1][0]


class CellParamsBase(Packed):
    """The weights of a recurrent cell: kind, weights by input and by state, biases."""

    qualname = "__torch__.torch.classes.rnn.CellParamsBase"

    def __init__(self, kind: str, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, reduce_range: bool = False) -> None:
        self.kind, self.w_ih, self.w_hh, self.b_ih, self.b_hh, self.reduce_range = (
            kind,
            w_ih,
            w_hh,
            b_ih,
            b_hh,
            reduce_range,
        )

    def linear_ih(self, x: Any) -> Any:
        """What comes in, times its weights."""
        return self._linear(x, self.w_ih)

    def linear_hh(self, x: Any) -> Any:
        """A state, times its weights."""
        return self._linear(x, self.w_hh)

    def _linear(self, x: Any, weight: Any) -> Any:
        from flambeau._quantized.products import dynamic, linear_dynamic_fp16

        return linear_dynamic_fp16(x, weight) if self.kind.endswith("fp16") else dynamic(x, weight, self.reduce_range)

    def __getstate__(self) -> Any:
        return (self.kind, [self.b_ih, self.b_hh], [], [int(self.reduce_range)], [self.w_ih, self.w_hh]), self.qualname

    def __setstate__(self, state: Any) -> None:
        self.kind, (self.b_ih, self.b_hh), _, (reduce_range,), (self.w_ih, self.w_hh) = state[0]
        self.reduce_range = bool(reduce_range)


CLASSES = {
    "quantized": {c.__name__: c for c in (LinearPackedParamsBase, Conv2dPackedParamsBase, Conv3dPackedParamsBase, EmbeddingPackedParamsBase)},
    "rnn": {"CellParamsBase": CellParamsBase},
}  # fmt: skip

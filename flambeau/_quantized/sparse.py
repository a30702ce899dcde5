"""Linear layers whose weights have blocks of zeros. Only what they are kept as knows of the blocks: the sums are those of dense ones."""

from __future__ import annotations

from typing import Any

from flambeau._quantized import operator
from flambeau._quantized.params import LinearPackedParamsBase
from flambeau._quantized.products import _linear, dynamic, linear_prepack

SPARSE = "__torch__.torch.classes.sparse.LinearPackedParamsBase"


class SparseLinearPackedParamsBase(LinearPackedParamsBase):
    """Weight and bias of a linear layer, and the size of blocks."""

    qualname = SPARSE

    def __init__(self, weight: Any, bias: Any, blocks: list[int]) -> None:
        super().__init__(weight, bias)
        self._blocks = blocks

    def __getstate__(self) -> Any:
        return (self._weight, self._bias, self._blocks), self.qualname

    def __setstate__(self, state: Any) -> None:
        self._weight, self._bias, self._blocks = state[0]


@operator(
    f"qlinear_prepack(Tensor W, Tensor? B, int out_features_block_size, int in_features_block_size) -> {SPARSE} W_prepack",
    namespace="sparse",
)
def prepack(weight: Any, bias: Any, out_block: int, in_block: int) -> Any:
    zeros = weight.q_zero_point() if "tensor" in str(weight.qscheme()) else weight.q_per_channel_zero_points().any()
    if zeros:
        raise RuntimeError("zero point(s) should be 0 for the weight tensor of ao::sparse::qlinear op")
    weight, bias = linear_prepack(weight, bias).unpack()
    return SparseLinearPackedParamsBase(weight, bias, [out_block, in_block])


@operator(
    f"qlinear_unpack({SPARSE} W_prepack) -> (Tensor W_origin, Tensor? B_origin, int[] block_pattern)",
    namespace="sparse",
)
def unpack(packed: Any) -> Any:
    return (*packed.unpack(), list(packed._blocks))


_static = f"Tensor X, {SPARSE} W_prepack, float Y_scale_i, int Y_zero_point_i"
operator(f"qlinear({_static}) -> Tensor Y", namespace="sparse")(lambda x, p, s, z: _linear(x, p, s, z, False))
operator(f"qlinear_relu({_static}) -> Tensor Y", namespace="sparse")(lambda x, p, s, z: _linear(x, p, s, z, True))
operator(f"qlinear_dynamic(Tensor X, {SPARSE} W_prepack) -> Tensor Y", namespace="sparse")(dynamic)
operator(f"qlinear_relu_dynamic(Tensor X, {SPARSE} W_prepack) -> Tensor Y", namespace="sparse")(
    lambda x, p: dynamic(x, p).relu_()
)

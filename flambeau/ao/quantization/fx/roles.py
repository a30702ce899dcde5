"""What nodes of a graph are to quantization: which have ranges of their own, which keep their input's, which have known ones."""

from __future__ import annotations

import operator
from typing import Any

import flambeau as torch
from flambeau import nn
from flambeau.ao.nn import intrinsic as nni
from flambeau.ao.quantization.qconfig_mapping import _FIXED_QPARAMS_OP_TO_OBSERVER
from flambeau.ao.quantization.quantization_mappings import (
    DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS,
    DEFAULT_STATIC_QUANT_MODULE_MAPPINGS,
)
from flambeau.ao.quantization.stubs import DeQuantStub, QuantStub
from flambeau.ao.quantization.utils import activation_is_dynamically_quantized, weight_dtype
from flambeau.nn import functional as F

OWN, SHARED, FIXED, SWAPPED, PAIR, JOIN = "own", "shared", "fixed", "swapped", "pair", "join"

ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
PRODUCTS = (operator.mul, operator.imul, torch.mul, "mul", "mul_")
ACTIVATIONS = (nn.ReLU, F.relu, torch.relu, "relu", "relu_")
FUNCTIONS = (F.dropout, F.elu, F.hardswish, F.leaky_relu, torch.matmul)
_SAME_RANGE = frozenset((
    *(getattr(nn, f"{kind}{n}d") for kind in ("AdaptiveAvgPool", "AvgPool", "MaxPool") for n in (1, 2, 3)),
    nn.Hardtanh, nn.Identity, nn.PixelShuffle, nn.PixelUnshuffle, nn.ReLU, nn.ReLU6,
    *(getattr(F, f"{kind}{n}d") for kind in ("adaptive_avg_pool", "avg_pool", "max_pool") for n in (1, 2, 3)),
    F.hardtanh, F.interpolate, F.relu, F.relu6, torch.relu, torch.pixel_shuffle, torch.pixel_unshuffle, torch.clamp, torch.flatten, torch.mean,
    torch.narrow, torch.repeat_interleave, torch.transpose, torch.squeeze, torch.unsqueeze,
    "contiguous", "clamp", "detach", "mean", "permute", "repeat", "repeat_interleave", "reshape", "relu", "squeeze", "transpose", "unsqueeze", "view",
))  # fmt: skip
_NO_RANGE = (QuantStub, DeQuantStub, nn.Embedding, nn.EmbeddingBag)


def kind_of(node: Any, modules: dict[str, Any]) -> Any:
    """What a node calls: the class of a module, a function, the name of a method."""
    return type(modules[node.target]) if node.op == "call_module" else node.target


def role_of(node: Any, modules: dict[str, Any], qconfig: Any) -> str | None:
    """What a node is to quantization, by its configuration; None: it stays in floats."""
    if qconfig is None or node.op not in ("call_module", "call_function", "call_method"):
        return None
    kind = kind_of(node, modules)
    if activation_is_dynamically_quantized(qconfig) or qconfig.activation().dtype in (torch.float32, torch.float16):
        known = kind in DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS
        weighs = known and (weight_dtype(qconfig) is torch.quint8 or weight_dtype(qconfig) is torch.quint4x2)
        table = kind in (nn.Embedding, nn.EmbeddingBag)
        return SWAPPED if known and (table == weighs) else None
    if kind in _FIXED_QPARAMS_OP_TO_OBSERVER:
        return FIXED
    if kind in (torch.cat, torch.concat):
        return JOIN
    if kind in (*ADDITIONS, *PRODUCTS):
        return PAIR if len(_tensors(node)) == 2 and _tensors(node)[0] is not _tensors(node)[1] else None
    if kind in FUNCTIONS:
        return OWN
    if node.op == "call_module" and kind in DEFAULT_STATIC_QUANT_MODULE_MAPPINGS and kind not in _NO_RANGE:
        return OWN
    if kind in _SAME_RANGE:
        return SHARED
    return None


def _tensors(node: Any) -> list[Any]:
    """The nodes among the first two arguments."""
    return [a for a in node.args[:2] if hasattr(a, "op")]


def inputs_of(node: Any, role: str) -> list[Any]:
    """The nodes whose values are to be codes where the node computes in codes."""
    if role == JOIN:
        return [a for a in node.args[0] if hasattr(a, "op")]
    if role == PAIR or node.target is torch.matmul:
        return _tensors(node)
    return [node.args[0]] if node.args and hasattr(node.args[0], "op") else []


FUSED = (nni._FusedModule,)

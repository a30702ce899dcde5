"""Marks in a float model: where a converted one begins to compute in integers, and where it is back in floating point."""

from __future__ import annotations

from typing import Any

from flambeau import nn

__all__ = ["DeQuantStub", "QuantStub", "QuantWrapper"]


class _Stub(nn.Module):
    """Passes on what it is given, and may have a configuration."""

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Any) -> Any:
        return x


class QuantStub(_Stub):
    """Where a converted model begins to compute in integers. Before, it passes on what it is given."""


class DeQuantStub(_Stub):
    """Where a converted model is back in floating point. Before, it passes on what it is given."""


class QuantWrapper(nn.Module):
    """A module between the two marks."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        qconfig = getattr(module, "qconfig", None)
        self.add_module("quant", QuantStub(qconfig))
        self.add_module("dequant", DeQuantStub(qconfig))
        self.add_module("module", module)
        self.train(module.training)

    def forward(self, X: Any) -> Any:
        return self.dequant(self.module(self.quant(X)))

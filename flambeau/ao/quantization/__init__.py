"""Quantization: the marks that float models carry. Until a model is converted, they pass on what they are given."""

from typing import Any, NoReturn

from flambeau import nn

__all__ = ["DeQuantStub", "QuantStub", "QuantWrapper"]


class QuantStub(nn.Module):
    """Where a converted model would begin to compute in integers."""

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Any) -> Any:
        return x


class DeQuantStub(nn.Module):
    """Where a converted model would be back in floating point."""

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Any) -> Any:
        return x


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


_MISSING = frozenset(("prepare", "prepare_qat", "convert", "quantize", "quantize_dynamic", "quantize_qat", "fuse_modules", "fuse_modules_qat",
                      "get_default_qconfig", "get_default_qat_qconfig", "QConfig"))  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MISSING:
        raise AttributeError(f"module 'torch.ao.quantization' has no attribute '{name}'")

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"torch.ao.quantization.{name} is not implemented")

    return refuse

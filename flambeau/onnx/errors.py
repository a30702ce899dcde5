"""Errors of `torch.onnx`."""

from __future__ import annotations

__all__ = ["OnnxExporterError", "OnnxExporterWarning", "SymbolicValueError", "UnsupportedOperatorError"]


class OnnxExporterWarning(UserWarning):
    """Something about an exported model that its author should know."""


class OnnxExporterError(RuntimeError):
    """A model that cannot be written as ONNX."""


class UnsupportedOperatorError(OnnxExporterError):
    """An operator without an ONNX counterpart."""

    def __init__(self, name: str, version: int, supported_version: int | None = None) -> None:
        later = f". Support for this operator was added in version {supported_version}, try exporting with this version"
        super().__init__(
            f"Exporting the operator '{name}' to ONNX opset version {version} is not supported{'' if supported_version is None else later}"
        )


class SymbolicValueError(OnnxExporterError):
    """A value of a TorchScript graph that a rule cannot use."""

    def __init__(self, msg: str, value: object) -> None:
        super().__init__(f"{msg}  [Caused by the value '{value}']")


class TorchExportError(OnnxExporterError):
    """A model of which `torch.export` makes no graph."""


class ConversionError(OnnxExporterError):
    """A graph of which no ONNX model can be made."""


OnnxExporterError.__module__ = "flambeau.onnx"
for _error in (TorchExportError, ConversionError):
    _error.__module__ = "flambeau.onnx._internal.exporter._errors"

"""`torch.onnx`: models as ONNX files, through the `onnx` package. Also keeps what libraries register when they are imported."""

from collections.abc import Callable
from enum import Enum
from typing import Any

from flambeau.onnx import errors
from flambeau.onnx._program import ONNXProgram, export, is_in_onnx_export
from flambeau.onnx.errors import OnnxExporterError

__all__ = [
    "ONNXProgram", "OnnxExporterError", "errors", "export", "is_in_onnx_export", "register_custom_op_symbolic", "unregister_custom_op_symbolic",
]  # fmt: skip

OperatorExportTypes = Enum("OperatorExportTypes", ["ONNX", "ONNX_ATEN", "ONNX_ATEN_FALLBACK", "ONNX_FALLTHROUGH"], start=0, type=int, module="torch._C._onnx")  # fmt: skip
TrainingMode = Enum("TrainingMode", ["EVAL", "PRESERVE", "TRAINING"], start=0, type=int, module="torch._C._onnx")
TensorProtoDataType = Enum("TensorProtoDataType", [
    "UNDEFINED", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL", "FLOAT16", "DOUBLE", "UINT32", "UINT64",
    "COMPLEX64", "COMPLEX128", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ",
], start=0, type=int, module="torch._C._onnx")  # fmt: skip
_symbolics: dict[tuple[str, int], Callable[..., Any]] = {}  # (operator, version of the operator set) -> what it becomes


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Callable[..., Any], opset_version: int) -> None:
    """Says what an operator becomes, from a version of the operator set on."""
    if "::" not in symbolic_name:
        raise ValueError(f"Failed to register operator {symbolic_name}. The symbolic name must match the format domain::name, and should start with a letter and contain only alphanumerical characters")  # fmt: skip
    _symbolics[symbolic_name, opset_version] = symbolic_fn


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Forgets what an operator becomes."""
    _symbolics.pop((symbolic_name, opset_version), None)


def __getattr__(name: str) -> Any:
    if name in ("symbolic_helper", "operators") or name.startswith("symbolic_opset"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.onnx' has no attribute '{name}'")

"""Translations of operators to version 11 of ONNX's operator set: none is there yet."""

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(f"module 'torch.onnx.symbolic_opset11' has no attribute '{name}'")
    raise NotImplementedError(f"torch.onnx.symbolic_opset11.{name} is not implemented")

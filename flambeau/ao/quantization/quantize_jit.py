"""Quantization of TorchScript modules: named by programs, and not there. Models are quantized by their modules, before they are scripted."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "convert_dynamic_jit", "convert_jit", "fuse_conv_bn_jit", "prepare_dynamic_jit", "prepare_jit", "quantize_dynamic_jit", "quantize_jit",
    "script_qconfig", "script_qconfig_dict",
]  # fmt: skip


def _refuse(name: str) -> NoReturn:
    raise NotImplementedError(
        f"torch.ao.quantization.{name} is not implemented: TorchScript modules are not quantized; quantize the model, then script it"
    )


def script_qconfig(qconfig: Any) -> Any:
    """Not implemented."""
    _refuse("script_qconfig")


def script_qconfig_dict(qconfig_dict: Any) -> Any:
    """Not implemented."""
    _refuse("script_qconfig_dict")


def fuse_conv_bn_jit(model: Any, inplace: bool = False) -> Any:
    """Not implemented."""
    _refuse("fuse_conv_bn_jit")


def prepare_jit(model: Any, qconfig_dict: Any, inplace: bool = False) -> Any:
    """Not implemented."""
    _refuse("prepare_jit")


def prepare_dynamic_jit(model: Any, qconfig_dict: Any, inplace: bool = False) -> Any:
    """Not implemented."""
    _refuse("prepare_dynamic_jit")


def convert_jit(model: Any, inplace: bool = False, debug: bool = False, preserved_attrs: Any = None) -> Any:
    """Not implemented."""
    _refuse("convert_jit")


def convert_dynamic_jit(model: Any, inplace: bool = False, debug: bool = False, preserved_attrs: Any = None) -> Any:
    """Not implemented."""
    _refuse("convert_dynamic_jit")


def quantize_jit(
    model: Any, qconfig_dict: Any, run_fn: Any, run_args: Any, inplace: bool = False, debug: bool = False
) -> Any:
    """Not implemented."""
    _refuse("quantize_jit")


def quantize_dynamic_jit(model: Any, qconfig_dict: Any, inplace: bool = False, debug: bool = False) -> Any:
    """Not implemented."""
    _refuse("quantize_dynamic_jit")

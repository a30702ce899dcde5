"""Small questions about the compiler that other libraries ask."""

from __future__ import annotations

from typing import Any


def is_compile_supported(device_type: Any) -> bool:
    """Whether functions on a type of device can be compiled."""
    return str(device_type).partition(":")[0] == "cpu"


def is_compiling() -> bool:
    """Whether this runs while a function is captured."""
    from flambeau._capture.control import is_dynamo_compiling

    return is_dynamo_compiling()

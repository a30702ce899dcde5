"""Whether TorchScript compiles (`PYTORCH_JIT=0` says no), and what it has compiled."""

from __future__ import annotations

import os
from typing import Any

from flambeau._jit_internal import _qualified_name


class EnabledProxy:
    """The switch; true while functions and modules are compiled."""

    def __init__(self) -> None:
        self.enabled = os.environ.get("PYTORCH_JIT", "1") not in ("0", "OFF", "off", "FALSE", "false")

    def __bool__(self) -> bool:
        return self.enabled


_enabled = EnabledProxy()


def disable() -> None:
    _enabled.enabled = False


def enable() -> None:
    _enabled.enabled = True


_script_classes: dict[Any, Any] = {}  # Python's class -> its compiled form
_name_to_pyclass: dict[str, Any] = {}


def _add_script_class(python_class: Any, script_class: Any) -> None:
    _script_classes[python_class] = script_class
    _name_to_pyclass[script_class.qualified_name()] = python_class


def _get_script_class(python_class: Any) -> Any:
    return _script_classes.get(getattr(python_class, "_jit_override_qualname", python_class))


def _get_python_class(qualified_name: str) -> Any:
    return _name_to_pyclass.get(qualified_name)


def _clear_class_state() -> None:
    _script_classes.clear()
    _name_to_pyclass.clear()


_jit_caching_layer: Any = {}  # functions -> what they were compiled to
_jit_function_overload_caching: Any = {}


def _try_get_jit_cached_function(key: Any) -> Any:
    return _jit_caching_layer.get(key)


def _set_jit_function_cache(key: Any, value: Any) -> None:
    _jit_caching_layer[key] = value


def _try_get_jit_cached_overloads(key: Any) -> Any:
    return _jit_function_overload_caching.get(key)


def _set_jit_overload_cache(key: Any, compiled_fns: Any) -> None:
    _jit_function_overload_caching[key] = compiled_fns


__all__ = ["_qualified_name", "disable", "enable"]

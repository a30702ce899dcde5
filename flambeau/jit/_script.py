"""`torch.jit.script` and the objects it makes."""

from __future__ import annotations

import collections
import inspect
from typing import Any

from flambeau.jit._state import _enabled
from flambeau.nn import Module

Attribute = collections.namedtuple("Attribute", ["value", "type"])
Attribute.__doc__ = "A value and its type in TorchScript, for attributes whose type does not show."


class ScriptWarning(Warning):
    """Something in a scripted program is not what it seems."""


class ScriptFunction:
    """A compiled function."""


class ScriptModule(Module):
    """A compiled module."""


class RecursiveScriptModule(ScriptModule):
    """A module compiled with all that it holds."""


class RecursiveScriptClass:
    """An object of a compiled class."""


def script(obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> Any:
    """Compile a function, class or module."""
    if not _enabled or inspect.isfunction(obj) or inspect.isclass(obj):
        return obj
    raise NotImplementedError("torch.jit.script is not implemented for modules")


def script_method(fn: Any) -> Any:
    """Compile a method of a `ScriptModule`."""
    if not _enabled:
        return fn
    raise NotImplementedError("torch.jit.script_method is not implemented")


def interface(obj: Any) -> Any:
    """Make a class of method declarations a type that other classes and modules can satisfy."""
    if not inspect.isclass(obj):
        raise RuntimeError("interface must be applied to a class")
    obj.__torch_script_interface__ = True
    return obj


def _unwrap_optional(x: Any) -> Any:
    if x is None:
        raise AssertionError("Unwrapping null optional")
    return x

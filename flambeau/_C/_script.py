"""TorchScript as PyTorch's core spells it: the types of values, graphs, and switches of how programs are fused.

The switches tell what they were last set to, as PyTorch's do on a machine without a GPU; programs here are fused by `compile`, whatever they say.
"""

from __future__ import annotations

from typing import Any

from flambeau._ground.function_schema import Argument as Argument, FunctionSchema as FunctionSchema
from flambeau.jit._language import core, types as ty
from flambeau.jit._language.run import ScriptObject as ScriptObject
from flambeau.jit._script import ScriptMethod as ScriptMethod

Graph, Node, Value, Block = core.GraphView, core.NodeView, core.ValueView, core.BlockView
Type, ListType, DictType, TupleType = ty.Type, ty.List, ty.Dict, ty.Tuple
OptionalType, UnionType = ty.Optional, ty.Union
FutureType, AwaitType, ClassType, EnumType, InterfaceType = ty.Future, ty.Await, ty.Class, ty.Enum, ty.Interface


class _Single(type):
    """The class of a type that has one instance."""

    only: Any

    def __instancecheck__(cls, x: Any) -> bool:
        return x is cls.only

    def get(cls) -> Any:
        """The one instance."""
        return cls.only


_SINGLE = {
    "AnyType": ty.ANY, "BoolType": ty.BOOL, "ComplexType": ty.COMPLEX, "DeviceObjType": ty.DEVICE, "FloatType": ty.FLOAT, "IntType": ty.INT,
    "NoneType": ty.NONE, "NumberType": ty.NUMBER, "StreamObjType": ty.STREAM, "StringType": ty.STR, "TensorType": ty.TENSOR,
}  # fmt: skip
globals().update({name: _Single(name, (), {"only": t, "__module__": "torch"}) for name, t in _SINGLE.items()})

_switches = {"profiling": True, "autocast": True, "executor": True, "texpr": True, "cpu": False, "gpu": False}


def _set(name: str) -> Any:
    def switch(on: bool) -> bool:
        before, _switches[name] = _switches[name], bool(on)
        return before

    return switch


_jit_set_profiling_mode, _jit_set_profiling_executor = _set("profiling"), _set("executor")
_jit_set_autocast_mode = _set("autocast")


def _jit_set_texpr_fuser_enabled(on: bool) -> None:
    _switches["texpr"] = bool(on)


def _jit_texpr_fuser_enabled() -> bool:
    return _switches["texpr"]


def _jit_override_can_fuse_on_cpu(on: bool) -> None:
    _switches["cpu"] = bool(on)


def _jit_override_can_fuse_on_gpu(on: bool) -> None:
    _switches["gpu"] = bool(on)


def _jit_can_fuse_on_cpu() -> bool:
    return _switches["cpu"]


def _jit_can_fuse_on_gpu() -> bool:
    return _switches["gpu"]


def _jit_clear_class_registry() -> None:
    """Forget which Python classes were compiled: they are compiled again where they are used."""
    from flambeau.jit import _state

    _state._clear_class_state()

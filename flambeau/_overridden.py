"""What users' subclasses of Tensor see of methods and attributes that are no operators: `__torch_function__` is asked about those, too.

Operators ask by themselves, on the way that every call takes. The rest (sizes, conversions, hooks, ...) is asked about where a class
of a user is concerned, by an attribute lookup that only such classes get: tensors themselves pay nothing.
"""

from __future__ import annotations

import functools
import types
from typing import Any

from flambeau import overrides
from flambeau._eager.modes import STATE
from flambeau._operators.op import METHODS
from flambeau._tensor import Tensor

# Not asked about: they make or change the object itself, or stand below `__torch_function__`; `to` asks by itself.
SILENT = frozenset(("as_subclass", "new", "names", "has_names", "to"))
DUNDERS = ("__array__", "__array_wrap__", "__bool__", "__complex__", "__contains__", "__dir__", "__dlpack__", "__dlpack_device__",
           "__float__", "__index__", "__int__", "__len__", "__reduce_ex__", "__repr__", "__reversed__")  # fmt: skip
# What gives tensors, and is asked about even where the class has no own `__torch_function__`.
KEEPING = frozenset(("detach", "data", "new_tensor"))


@functools.cache
def asked_about() -> frozenset[str]:
    """Tensor's own attributes and methods that are no operators; what a program put there is its own business."""
    return frozenset(
        name
        for name, value in vars(Tensor).items()
        if not name.startswith("_")
        and name not in SILENT
        and name not in METHODS
        and isinstance(value, (types.FunctionType, property))
        and str(getattr(getattr(value, "fget", value), "__module__", "")).startswith("flambeau")
    )


def _own(cls: type, name: str) -> bool:
    """Whether a class of the user's defines a name."""
    for k in cls.__mro__:
        if k is Tensor:
            return False
        if name in k.__dict__:
            return True
    return False


@functools.cache
def _routed(fn: Any) -> Any:
    """A method that asks `__torch_function__` first."""

    @functools.wraps(fn)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (STATE.no_function and not STATE.function_modes) or not STATE.members:
            return fn(self, *args, **kwargs)
        return overrides.handle_torch_function(fn, (self, *args), self, *args, **kwargs)

    return call


def _lookup(names: Any) -> Any:
    def __getattribute__(self: Any, name: str) -> Any:
        if name not in names() or STATE.no_function or not STATE.members or _own(type(self), name):
            return object.__getattribute__(self, name)
        member = Tensor.__dict__[name]
        if isinstance(member, property):
            return overrides.handle_torch_function(member.__get__, (self,), self)
        return types.MethodType(_routed(member), self)

    return __getattribute__


_everything, _tensors = _lookup(asked_about), _lookup(lambda: KEEPING)


def attend(cls: Any) -> None:
    """Give a user's class its lookup."""
    if any("__getattribute__" in k.__dict__ for k in cls.__mro__[: cls.__mro__.index(Tensor)]):
        inherited = cls.__getattribute__
        if inherited not in (_everything, _tensors):
            return
    own = getattr(cls.__torch_function__, "__func__", None) is not Tensor.__torch_function__.__func__  # type: ignore[attr-defined]
    cls.__getattribute__ = _everything if own else _tensors
    if own:
        for name in DUNDERS:
            if not _own(cls, name):
                setattr(cls, name, _routed(Tensor.__dict__[name]))

"""What users' subclasses of Tensor see of methods and attributes that are no operators: `__torch_function__` is asked about those, too.

Operators ask by themselves, on the way that every call takes. The rest (sizes, conversions, hooks, ...) is asked about where a class
of a user is concerned, by an attribute lookup that only such classes get, and tensors while a `TorchFunctionMode` is active: else they pay nothing.
"""

from __future__ import annotations

import functools
import threading
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
            access = _Access(member.__get__) if STATE.function_modes else member.__get__
            return overrides.handle_torch_function(access, (self,), self)
        return types.MethodType(_routed(member), self)

    return __getattribute__


_everything, _tensors = _lookup(asked_about), _lookup(lambda: KEEPING)


def _seen(fn: Any) -> Any:
    """A method that asks the mode of this thread, if there is one."""

    @functools.wraps(fn)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _looks():
            return fn(self, *args, **kwargs)
        return overrides.asked_mode(call if len(STATE.function_modes) > 1 else fn, self, *args, **kwargs)

    return call


class _Access:
    """`Tensor.shape.__get__`, and equal to it, but further modes outside, and the tensor's class, are asked in turn."""

    def __init__(self, access: Any) -> None:
        self._access, self.__name__, self.__self__ = access, access.__name__, access.__self__

    def __eq__(self, other: object) -> bool:
        return self._access == (other._access if isinstance(other, _Access) else other)

    def __hash__(self) -> int:
        return hash(self._access)

    def __call__(self, *args: Any) -> Any:
        if _looks() or (STATE.members and not STATE.no_function and overrides.has_torch_function(args[:1])):
            return overrides.asked_mode(self, *args)
        return self._access(*args)


def _looks() -> bool:
    """Whether the innermost mode of this thread sees attributes, and nobody has asked for silence."""
    return bool(STATE.function_modes) and STATE.members and STATE.function_modes[-1]._sees_members


def _get_under_modes(self: Any, name: str) -> Any:
    if name not in asked_about() or not _looks():
        return object.__getattribute__(self, name)
    member = Tensor.__dict__[name]
    if isinstance(member, property):
        return overrides.asked_mode(_Access(member.__get__), self)
    return types.MethodType(_seen(member), self)


def _set_under_modes(self: Any, name: str, value: Any) -> None:
    member = Tensor.__dict__.get(name)
    if isinstance(member, property) and name in asked_about() and _looks():
        overrides.asked_mode(_Access(member.__set__), self, value)
    else:
        object.__setattr__(self, name, value)


_lock = threading.Lock()
_modes = 0  # active in any thread; tensors pay for their lookup only while there are some
_dunders: dict[str, Any] = {}  # Tensor's own, while others stand in their place


def watch() -> None:
    """A mode is entered: plain tensors ask about their attributes, too."""
    global _modes
    with _lock:
        _modes += 1
        if _modes == 1:
            asked_about()  # before anything stands in place of a member
            for name in DUNDERS:
                _dunders[name] = Tensor.__dict__[name]
                setattr(Tensor, name, _seen(_dunders[name]))
            Tensor.__getattribute__ = _get_under_modes  # type: ignore[method-assign]
            Tensor.__setattr__ = _set_under_modes  # type: ignore[method-assign]


def unwatch() -> None:
    """A mode is left."""
    global _modes
    with _lock:
        _modes -= 1
        if _modes == 0:
            del Tensor.__getattribute__, Tensor.__setattr__
            for name, member in _dunders.items():
                setattr(Tensor, name, member)
            _dunders.clear()


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

"""Attributes of values of a capture: where Python would find them, and which assumptions that makes."""

from __future__ import annotations

import enum
import functools
import threading
import types
import weakref
from typing import Any

from flambeau._capture.breaks import Break
from flambeau._capture.numbers import Tracked
from flambeau._capture.tracer import BUILTIN, HEAP, MISSING, Tracer, instance_dict, is_constant, lookup
from flambeau._eager.modes import State
from flambeau._tensor import Tensor

# What a tensor tells without its elements.
_FACTS = frozenset(("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "itemsize", "nbytes", "is_cuda", "is_cpu",
                    "is_meta", "is_sparse", "is_sparse_csr", "is_quantized", "is_nested", "is_mkldnn", "is_xpu", "is_mps", "is_ipu",
                    "is_xla", "is_vulkan", "is_maia", "is_mtia", "retains_grad", "names", "output_nr", "grad_fn", "__class__",
                    "_is_param", "_is_buffer", "persistent"))  # fmt: skip
_OPERATOR_PROPERTIES = frozenset(("T", "mT", "H", "mH", "real", "imag"))
_FIELDS = frozenset(("_a", "_node", "_nr", "_base", "_vc", "_seen", "_created", "_retain", "_hooks", "_post_hooks", "_inference",
                     "_version", "_post_accumulate_grad_hooks", "_backward_hooks"))  # fmt: skip
_ELSEWHERE = (threading.local, weakref.ProxyType, weakref.CallableProxyType)  # their attributes are not their own
_MODULE_TABLES = ("_parameters", "_buffers", "_modules")


def load(tr: Tracer, obj: Any, name: str) -> Any:
    """`obj.name`."""
    kind = type(obj)
    if isinstance(obj, Tensor):
        return _tensor(tr, obj, name)
    if isinstance(obj, types.ModuleType):
        return _module(tr, obj, name)
    if isinstance(obj, type):
        return _class(tr, obj, name)
    if kind is super:
        return _super(tr, obj, name)
    if kind is types.FunctionType:
        return _function(tr, obj, name)
    if kind is types.MethodType:
        return _method(tr, obj, name)
    if isinstance(obj, State):
        return _switch(tr, obj, name)
    if isinstance(obj, (*BUILTIN, Tracked)) or is_constant(obj):
        return getattr(obj, name)
    own = lookup(kind, "__getattribute__")
    if isinstance(own, types.FunctionType):
        try:
            return tr.call(_bind(tr, kind, "__getattribute__", own, obj), (name,), {})
        except AttributeError:
            fn = lookup(kind, "__getattr__")
            if fn is MISSING:
                raise
            return tr.call(_bind(tr, kind, "__getattr__", fn, obj), (name,), {})
    if issubclass(kind, threading.local):
        return _of_thread(tr, obj, kind, name)
    if issubclass(kind, _ELSEWHERE):
        raise Break(f"an attribute of a {kind.__name__}, which has its own way to find them")
    return _instance(tr, obj, kind, name)


def _of_thread(tr: Tracer, obj: Any, kind: type, name: str) -> Any:
    """What a `threading.local` holds for this thread: each call asks its own."""
    source = tr.source_of(obj)
    found = lookup(kind, name)
    if source is None or not (found is MISSING or is_constant(found)) or not name.isidentifier():
        raise Break(f"an attribute of a {kind.__name__}, which has its own way to find them")
    v = getattr(obj, name, MISSING)
    if v is MISSING:
        tr.reach(False, tr.sources.anew(f"hasattr({{}}, {name!r})", source))
        raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'", name=name, obj=obj)
    return tr.reach(v, tr.sources.anew(f"{{}}.{name}", source))


def _switch(tr: Tracer, state: Any, name: str) -> Any:
    """One of the thread's switches; what it was at the start is assumed."""
    v = getattr(state, name)
    if name in ("autocast_dtypes", "autocast_cache") and tr.guards.once("switch", name):
        held = tr.guards.constant(tr.state_before[name])
        tr.guards.check(f"STATE.{name} != {held}", f"the thread's '{name}' is {tr.state_before[name]}")
    return v


def plain(tr: Tracer, obj: Any, name: str) -> Any:
    """`object.__getattribute__(obj, name)`: nothing that the class says about it is asked."""
    kind = type(obj)
    if (
        isinstance(obj, (Tensor, types.ModuleType, type, State, *BUILTIN, Tracked))
        or kind in (super, types.FunctionType, types.MethodType)
        or is_constant(obj)
    ):
        return load(tr, obj, name)
    return _instance(tr, obj, kind, name, False)


def _instance(tr: Tracer, obj: Any, kind: type, name: str, ask: bool = True) -> Any:
    if name == "__class__":
        return kind
    source = tr.source_of(obj)
    found = lookup(kind, name)
    if found is not MISSING:
        t = type(found)
        if (prop := _is_property(t)) or t is functools.cached_property:
            if prop:
                _assume(tr, kind, name, found)
                if found.fget is None:
                    raise AttributeError(f"unreadable attribute '{name}'")
                tr.register(found.fget, tr.constant(found.fget))
                return tr.call(found.fget, (obj,), {})
        elif t is types.MemberDescriptorType:
            v = found.__get__(obj, kind)
            if source is None or tr.journal.slot_written(obj, name):
                return v
            return tr.reach(v, tr.sources.attr(source, name))
        elif t is types.GetSetDescriptorType:
            if name == "__dict__":
                d = found.__get__(obj, kind)
                if source is not None and type(d) is dict:
                    tr.register(d, tr.sources.dict(source))
                return d
            v = found.__get__(obj, kind)
            return v if source is None else tr.reach(v, tr.sources.attr(source, name))
        elif t.__name__ == "_tuplegetter":
            return tr.get_item(obj, found.__reduce__()[1][0])
        elif hasattr(t, "__set__") and hasattr(t, "__get__"):
            fn = lookup(t, "__get__")
            if not isinstance(fn, types.FunctionType):
                raise Break(f"the descriptor {kind.__name__}.{name}")
            _descriptor(tr, kind, name, found)
            return tr.call(fn, (found, obj, kind), {})
    d = instance_dict(obj)
    if d is not None:
        if name in d:
            v = d[name]
            if source is None:
                return v
            base = tr.sources.dict(source)
            tr.register(d, base)
            if tr.journal.written(d, name):
                return v
            return tr.reach(v, tr.sources.item(base, name))
        if source is not None and (found is not MISSING or not _is_module(tr, obj)):
            base = tr.sources.dict(source)
            tr.register(d, base)
            if name not in tr.journal.initial(d):
                tr.guards.present(base, name, False)
    if found is not MISSING:
        return _bind(tr, kind, name, found, obj)
    return _missing(tr, obj, kind, name, source, ask)


def _is_property(t: type) -> bool:
    """Whether descriptors of this type are read as properties are."""
    return t is property or (issubclass(t, property) and lookup(t, "__get__") is property.__get__)


def _missing(tr: Tracer, obj: Any, kind: type, name: str, source: Any, ask: bool) -> Any:
    """Nothing has that name: `__getattr__` is asked."""
    fn = lookup(kind, "__getattr__") if ask else MISSING
    if kind.__flags__ & HEAP and fn is MISSING:
        tr.guards.no_class_attribute(kind, name)
    if fn is MISSING:
        raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'", name=name, obj=obj)
    if _is_module(tr, obj) and fn is _module_class().__getattr__:
        own = instance_dict(obj)
        for table in _MODULE_TABLES:
            held = own.get(table)
            if held is None:
                continue
            if source is not None and not tr.journal.written(own, table):
                base = tr.sources.item(tr.sources.dict(source), table)
                if tr.source_of(held) is None:
                    tr.register(held, base)
            if name in held:
                return tr.get_item(held, name)
            if source is not None and table != "_modules" and name not in tr.journal.initial(held):
                at = tr.source_of(held)
                if at is not None and held:
                    tr.guards.present(at, name, False)
                elif at is not None:
                    tr.guards.length(at, 0)
        raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'", name=name, obj=obj)
    return tr.call(_bind(tr, kind, "__getattr__", fn, obj), (name,), {})


def _module_class() -> Any:
    from flambeau.nn import Module

    return Module


def _is_module(tr: Tracer, obj: Any) -> bool:
    import sys

    nn = sys.modules.get("flambeau.nn.modules.module")
    return nn is not None and isinstance(obj, nn.Module)


def _assume(tr: Tracer, kind: type, name: str, found: Any) -> None:
    """The class keeps its definition of a name."""
    if not kind.__flags__ & HEAP or name == "__class__":
        return
    t = type(found)
    if t is classmethod:
        tr.guards.class_attribute(kind, name, found.__func__, ".__func__")
    elif t is staticmethod:
        tr.guards.class_attribute(kind, name, found.__func__)
    else:
        tr.guards.class_attribute(kind, name, found)


def _descriptor(tr: Tracer, kind: type, name: str, found: Any) -> None:
    """The class keeps a descriptor written in Python, which is an object from outside. It is not asked for: that would run it."""
    owner = next(base for base in kind.__mro__ if name in base.__dict__)
    if tr.source_of(found) is None:
        tr.register(found, tr.constant(found))
    tr.guards.definition(kind, owner, name, found)
    for what in ("__get__", "__set__"):
        if isinstance(fn := lookup(type(found), what), types.FunctionType):
            _assume(tr, type(found), what, fn)
            _registered(tr, fn)


def _bind(tr: Tracer, kind: type, name: str, found: Any, obj: Any) -> Any:
    """What the class defines, as an instance sees it."""
    t = type(found)
    if t is types.FunctionType:
        _assume(tr, kind, name, found)
        tr.register(found, tr.constant(found))
        return types.MethodType(found, obj)
    if t is staticmethod:
        _assume(tr, kind, name, found)
        return _registered(tr, found.__func__)
    if t is classmethod:
        _assume(tr, kind, name, found)
        return types.MethodType(_registered(tr, found.__func__), kind)
    if t in BUILTIN or t is types.GetSetDescriptorType:
        return found.__get__(obj, kind) if hasattr(found, "__get__") else found
    if t is functools.cached_property:
        v = tr.call(_registered(tr, found.func), (obj,), {})
        store(tr, obj, found.attrname, v)
        return v
    if t is functools._lru_cache_wrapper:
        _assume(tr, kind, name, found)
        tr.register(found, tr.constant(found))
        return types.MethodType(found, obj)
    if hasattr(t, "__get__") and t is not type:
        fn = lookup(t, "__get__")
        if isinstance(fn, types.FunctionType):
            _descriptor(tr, kind, name, found)
            return tr.call(fn, (found, obj, kind), {})
        if not isinstance(found, type):
            raise Break(f"the descriptor {kind.__name__}.{name}")
    return tr.reach(found, tr.sources.attr(tr.constant(kind), name))


def _registered(tr: Tracer, fn: Any) -> Any:
    if isinstance(fn, types.FunctionType):
        tr.register(fn, tr.constant(fn))
    return fn


def _module(tr: Tracer, obj: Any, name: str) -> Any:
    space = obj.__dict__
    if name == "__dict__":
        tr.register(space, tr.constant(space))
        return space
    if name not in space:
        v = getattr(obj, name)  # its own __getattr__ loads what is rarely used
        if name not in space:
            return tr.reach(v, tr.sources.attr(tr.constant(obj), name))
    return tr.load_global(space, {}, name)


def _class(tr: Tracer, cls: type, name: str) -> Any:
    if issubclass(cls, enum.Enum):
        return getattr(cls, name)
    meta = lookup(type(cls), name)
    if meta is not MISSING and hasattr(type(meta), "__set__"):
        v = getattr(cls, name)
        if name == "__dict__" and cls.__flags__ & HEAP:
            tr.register(v, tr.sources.anew("{}.__dict__", tr.constant(cls)))
        return v
    found = lookup(cls, name)
    if found is MISSING:
        if isinstance(meta, types.FunctionType):
            return types.MethodType(_registered(tr, meta), cls)
        v = getattr(cls, name)
        if isinstance(v, types.FunctionType):
            tr.guards.class_attribute(cls, name, v)
            return _registered(tr, v)
        return v
    t = type(found)
    if t in (types.FunctionType, staticmethod):
        _assume(tr, cls, name, found)
        return _registered(tr, found if t is types.FunctionType else found.__func__)
    if t is classmethod:
        _assume(tr, cls, name, found)
        return types.MethodType(_registered(tr, found.__func__), cls)
    if t is property or t in BUILTIN or t in (types.MemberDescriptorType, types.GetSetDescriptorType):
        return getattr(cls, name)
    fn = lookup(t, "__get__")
    if isinstance(fn, types.FunctionType):
        _descriptor(tr, cls, name, found)
        return tr.call(fn, (found, None, cls), {})
    v = getattr(cls, name)
    return tr.reach(v, tr.sources.attr(tr.constant(cls), name)) if cls.__flags__ & HEAP else v


def _super(tr: Tracer, obj: Any, name: str) -> Any:
    """`super().name`: the next class in order that defines it."""
    this, me, kind = obj.__thisclass__, obj.__self__, obj.__self_class__
    if name == "__class__":
        return super
    order = kind.__mro__
    tr.guards.order(kind)
    for base in order[order.index(this) + 1 :]:
        if name in base.__dict__:
            found = base.__dict__[name]
            if isinstance(found, property):
                _assume(tr, base, name, found)
                return tr.call(_registered(tr, found.fget), (me,), {})
            if isinstance(me, type) and isinstance(found, types.FunctionType):  # __new__ and class methods
                _assume(tr, base, name, found)
                return _registered(tr, found)
            return _bind(tr, base, name, found, me)
    raise AttributeError(f"'super' object has no attribute '{name}'")


def _function(tr: Tracer, fn: Any, name: str) -> Any:
    source = tr.source_of(fn)
    d = fn.__dict__
    if name in d:
        v = d[name]
        if source is None:
            return v
        base = tr.sources.dict(source)
        tr.register(d, base)
        if tr.journal.written(d, name):
            return v
        return tr.reach(v, tr.sources.item(base, name))
    if name == "__dict__":
        if source is not None:
            tr.register(d, tr.sources.dict(source))
        return d
    v = getattr(fn, name)  # says when there is no such attribute
    if source is None or name in ("__globals__", "__code__", "__call__", "__get__", "__builtins__"):
        return v
    return tr.reach(v, tr.sources.attr(source, name))


def _method(tr: Tracer, m: Any, name: str) -> Any:
    source = tr.source_of(m)
    if name in ("__func__", "__self__"):
        v = getattr(m, name)
        return v if source is None else tr.reach(v, tr.sources.attr(source, name))
    if name in ("__call__", "__eq__", "__hash__"):
        return getattr(m, name)
    return load(tr, load(tr, m, "__func__"), name)


# ---------------------------------------------------------------- tensors


def _tensor(tr: Tracer, t: Any, name: str) -> Any:
    if name not in ("grad", "_grad", "__class__"):
        tr.examine(t)
    if name in _FACTS:
        return _fact(tr, t, name)
    if name in ("grad", "_grad"):
        if t._grad is None:
            tr.examine(t)
        if t._grad is None and name == "grad" and t._node is not None and not t._node.leaf and not t._retain:
            raise Break("the .grad of a tensor that is not a leaf is read")
        return tr.tensor_grad(t)
    if name == "data":
        return tr.recorder.detach(t)
    if name in _OPERATOR_PROPERTIES:
        return getattr(t, name)
    if name in _FIELDS:
        raise Break(f"a tensor's '{name}' is read")
    kind = type(t)
    source = tr.source_of(t)
    d = vars(t)
    if name in d:
        v = d[name]
        return v if source is None else tr.reach(v, tr.sources.anew(f"{{}}.{name}", source))
    found = lookup(kind, name)
    if found is MISSING:
        found = getattr(kind, name, MISSING)  # methods are written when they are first asked for
        found = lookup(kind, name) if found is not MISSING else MISSING
    if found is MISSING:
        if source is not None:
            tr.guards.present(tr.sources.anew("{}.__dict__", source), name, False)
        raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'", name=name, obj=t)
    if isinstance(found, types.FunctionType):
        _assume(tr, kind, name, found)
        return types.MethodType(_registered(tr, found), t)
    if isinstance(found, property):
        if (found.fget.__module__ or "").startswith("flambeau"):
            raise Break(f"a tensor's '{name}' is read")
        _assume(tr, kind, name, found)
        return tr.call(_registered(tr, found.fget), (t,), {})
    return _bind(tr, kind, name, found, t)


def _fact(tr: Tracer, t: Any, name: str) -> Any:
    if name in ("_is_param", "_is_buffer", "persistent"):
        return getattr(t, name)
    return getattr(t, name)


# ---------------------------------------------------------------- writing


def store(tr: Tracer, obj: Any, name: str, value: Any) -> None:
    """`obj.name = value`."""
    if isinstance(obj, Tensor):
        _store_tensor(tr, obj, name, value)
        return
    if isinstance(obj, State):
        setattr(obj, name, value)
        return
    if isinstance(obj, types.ModuleType):
        tr.store_global(obj.__dict__, name, value)
        return
    if isinstance(obj, type):
        raise Break(f"the class attribute {obj.__name__}.{name} is assigned")
    kind = type(obj)
    fn = lookup(kind, "__setattr__")
    if isinstance(fn, types.FunctionType):
        tr.call(_bind(tr, kind, "__setattr__", fn, obj), (name, value), {})
        return
    store_plain(tr, obj, name, value)


def _refuse_elsewhere(kind: type, name: str, what: str) -> None:
    """Attributes that lie with a thread, or with another object, are left to Python."""
    if issubclass(kind, _ELSEWHERE):
        raise Break(f"the attribute '{name}' of a {kind.__name__} is {what}")


def store_plain(tr: Tracer, obj: Any, name: str, value: Any) -> None:
    """`object.__setattr__(obj, name, value)`."""
    kind = type(obj)
    source = tr.source_of(obj)
    _refuse_elsewhere(kind, name, "assigned")
    found = lookup(kind, name)
    if found is not MISSING and hasattr(type(found), "__set__"):
        if isinstance(found, property):
            if found.fset is None:
                raise AttributeError(f"property '{name}' of '{kind.__name__}' object has no setter")
            _assume(tr, kind, name, found)
            tr.call(_registered(tr, found.fset), (obj, value), {})
            return
        if isinstance(found, types.MemberDescriptorType):
            if source is not None:
                tr.journal.slot(obj, name)
            found.__set__(obj, value)
            return
        fn = lookup(type(found), "__set__")
        if isinstance(fn, types.FunctionType):
            _descriptor(tr, kind, name, found)
            tr.call(fn, (found, obj, value), {})
            return
        if source is not None:
            raise Break(f"the attribute '{name}' of a {kind.__name__} is assigned")
        setattr(obj, name, value)
        return
    d = instance_dict(obj)
    if d is None:
        if source is not None:
            raise Break(f"the attribute '{name}' of a {kind.__name__} is assigned")
        object.__setattr__(obj, name, value)
        return
    if source is not None:
        tr.register(d, tr.sources.dict(source))
        tr.journal.put(d, name)
    d[name] = value


def delete(tr: Tracer, obj: Any, name: str) -> None:
    """`del obj.name`."""
    if isinstance(obj, Tensor):
        if name != "grad":
            raise Break(f"a tensor's '{name}' is deleted")
        tr.set_tensor_grad(obj, None)
        return
    kind = type(obj)
    fn = lookup(kind, "__delattr__")
    if isinstance(fn, types.FunctionType):
        tr.call(_bind(tr, kind, "__delattr__", fn, obj), (name,), {})
        return
    delete_plain(tr, obj, name)


def delete_plain(tr: Tracer, obj: Any, name: str) -> None:
    kind = type(obj)
    _refuse_elsewhere(kind, name, "deleted")
    if isinstance(obj, (type, types.ModuleType)) or (
        lookup(kind, name) is not MISSING and hasattr(type(lookup(kind, name)), "__delete__")
    ):
        raise Break(f"the attribute '{name}' of {kind.__name__} is deleted")
    d = instance_dict(obj)
    if d is None or name not in d:
        raise AttributeError(f"'{kind.__name__}' object has no attribute '{name}'")
    if tr.source_of(obj) is not None:
        load(tr, obj, name)
        tr.journal.touch(d)
    del d[name]


def _store_tensor(tr: Tracer, t: Any, name: str, value: Any) -> None:
    source = tr.source_of(t)
    tr.examine(t)
    if name == "grad":
        if value is None:
            tr.set_tensor_grad(t, None)
            return
        if source is not None:
            tr.journal.grad(t)
        t.grad = value  # checks
        return
    if name == "requires_grad":
        if bool(value) == t.requires_grad:
            return
        if source is not None:
            raise Break("requires_grad of a tensor from outside is changed")
        t.requires_grad = value
        tr.recorder.inside_leaf = True
        return
    if name in _FIELDS or name == "data" or isinstance(lookup(type(t), name), property):
        raise Break(f"a tensor's '{name}' is assigned")
    if source is not None:
        raise Break(f"the attribute '{name}' of a tensor from outside is assigned")
    setattr(t, name, value)


Tracer.load_attr, Tracer.store_attr, Tracer.delete_attr = load, store, delete

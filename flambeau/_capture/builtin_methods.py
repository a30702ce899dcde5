"""Methods of builtin types in a capture: what they read is assumed, what they write is noted."""

from __future__ import annotations

import builtins
import collections
import copyreg
import itertools
import math
import operator
import types
from typing import Any

from flambeau._capture.breaks import Break
from flambeau._capture.builtin_calls import fixed, in_order, length, simple, stepping
from flambeau._capture.builtin_classes import native_new
from flambeau._capture.operations import advance, binary, unpack
from flambeau._capture.tracer import LISTS, PRIMITIVE, SETS, Tracer, builtin_of, lookup
from flambeau._tensor import Tensor

_PURE = frozenset((
    operator.index, abs, divmod, pow, round, ord, chr, hex, bin, oct, ascii, callable, hash,
    *(f for n, f in vars(math).items() if callable(f) and not n.startswith("_")),
))  # fmt: skip
_GENERATOR_METHODS = frozenset(("send", "throw", "close", "__next__", "__iter__"))


def bound(tr: Tracer, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], unbound: Any = None) -> Any:
    """A builtin function, or a builtin type's method with its object."""
    me, name = getattr(fn, "__self__", None), fn.__name__
    if fn in _PURE:
        for x in args:
            tr.deep(x)
            if not simple(x) and not isinstance(x, Tensor):
                dunder = f"__{name}__"
                own = lookup(type(x), dunder)
                if isinstance(own, types.FunctionType):
                    return tr.call(tr.load_attr(x, dunder), args[1:], {})
                if name != "callable":
                    raise Break(f"{name}() of a {type(x).__name__}")
        if name in ("abs", "divmod", "pow", "round") and not any(isinstance(x, Tensor) for x in args):
            return fn(*args, **kwargs)
        return fn(*map(fixed, args), **{k: fixed(v) for k, v in kwargs.items()})
    if me is None or isinstance(me, types.ModuleType):
        if fn is builtins.__import__:
            raise Break("__import__() is called")
        raise Break(f"the function '{getattr(me, '__name__', '?')}.{name}' of C is called")
    if name == "__new__" and isinstance(me, type):
        return _new(tr, args, kwargs)
    if isinstance(me, type):
        return _class_method(tr, me, name, fn, args, kwargs)
    if name == "__setattr__" and len(args) == 2:
        from flambeau._capture.attributes import store_plain

        if isinstance(me, Tensor):
            tr.store_attr(me, *args)
            return None
        store_plain(tr, me, *args)
        return None
    if name == "__delattr__":
        from flambeau._capture.attributes import delete_plain

        delete_plain(tr, me, *args)
        return None
    if name == "__getattribute__":
        from flambeau._capture.attributes import plain

        return plain(tr, me, *args)
    if name == "__init__":
        if isinstance(me, (dict, list, set, collections.deque)):
            _method(tr, me, "update" if isinstance(me, (dict, set)) else "extend", args[:1] or ([],), kwargs)
        elif isinstance(me, BaseException):
            me.args = args
        return None
    if name == "__init_subclass__":
        return None
    return _method(tr, me, name, args, kwargs)


def _new(tr: Tracer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    cls = args[0]
    return native_new(tr, cls, args[1:], kwargs)


def _class_method(tr: Tracer, cls: Any, name: str, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name == "fromkeys":
        made = cls()
        for k in unpack(tr, args[0]):
            made[fixed(k)] = args[1] if len(args) > 1 else None
        return made
    if name == "from_iterable":
        return itertools.chain.from_iterable(stepping(tr, x) for x in unpack(tr, args[0]))
    if cls in PRIMITIVE and all(map(simple, args)):
        return fn(*map(fixed, args), **kwargs)
    if name in ("mro", "__subclasses__", "__instancecheck__", "__subclasscheck__"):
        return fn(*args)
    raise Break(f"{cls.__name__}.{name}() is called")


_READS = frozenset(("index", "count", "copy", "union", "intersection", "difference", "symmetric_difference", "issubset", "issuperset",
                    "isdisjoint", "__len__", "__contains__", "__eq__", "__ne__", "__getitem__", "__iter__", "__reversed__", "__or__",
                    "most_common", "elements", "__and__", "__sub__"))  # fmt: skip
_WRITES = frozenset(("insert", "pop", "remove", "clear", "reverse", "popleft", "appendleft", "rotate", "popitem", "move_to_end", "add",
                     "discard", "__setitem__", "__delitem__", "sort", "subtract", "difference_update", "intersection_update",
                     "extendleft"))  # fmt: skip


def _method(tr: Tracer, me: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A method of a builtin type."""
    if isinstance(me, (str, bytes, int, float, complex, range, slice)) and not isinstance(me, Tensor):
        return _of_constant(tr, me, name, args, kwargs)
    if isinstance(me, dict):
        return _of_dict(tr, me, name, args, kwargs)
    if isinstance(me, (*LISTS, *SETS)):
        return _of_sequence(tr, me, name, args, kwargs)
    if type(me) is types.MappingProxyType:
        me = tr.shown(me)
        return _of_dict(tr, me, name, args, kwargs) if isinstance(me, dict) else getattr(me, name)(*args, **kwargs)
    if type(me) in (type({}.keys()), type({}.values()), type({}.items())):
        return getattr(me, name)(*args, **kwargs)
    if isinstance(me, (types.FunctionType, types.MethodType)) and name in ("__call__", "__get__"):
        return tr.call(me, args, kwargs) if name == "__call__" else types.MethodType(me, args[0])
    if isinstance(me, property):
        return getattr(me, name)(*args)
    if isinstance(me, BaseException) and name in ("with_traceback", "add_note"):
        return me if name == "with_traceback" else getattr(me, name)(*args)
    if hasattr(type(me), "__next__") and name in ("__next__", "__iter__"):
        return advance(tr, me) if name == "__next__" else me
    if name == "__reduce_ex__" and args[:1] >= (2,):
        return _reduced(tr, me)
    if name == "__eq__":
        return NotImplemented if args[0] is not me else True
    if name == "__ne__":
        return NotImplemented if args[0] is not me else False
    if name in ("__class__", "__hash__", "__dir__", "__sizeof__", "__reduce_ex__", "__str__", "__repr__"):
        raise Break(f"{name} of a {type(me).__name__}")
    raise Break(f"the method '{name}' of a {type(me).__name__} is called")


def _reduced(tr: Tracer, me: Any) -> Any:
    """What `copy` makes another of: the class and the attributes of an object that says nothing else about it."""
    kind = type(me)
    said = ("__reduce__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")
    if builtin_of(me) is not object or any(lookup(kind, n) is not lookup(object, n) for n in said) or copyreg._slotnames(kind):  # type: ignore[attr-defined]  # fmt: skip
        raise Break(f"__reduce_ex__ of a {kind.__name__}")
    return copyreg.__newobj__, (kind,), tr.load_attr(me, "__dict__") or None, None, None  # type: ignore[attr-defined]


def _of_constant(tr: Tracer, me: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name == "join":
        parts = unpack(tr, args[0])
        return me.join(parts)
    for x in (*args, *kwargs.values()):
        tr.deep(x)
        if not simple(x) and name in ("format", "__mod__", "__rmod__"):
            raise Break(f"a {type(x).__name__} is made a string")
    return getattr(fixed(me), name)(*map(fixed, args), **{k: fixed(v) for k, v in kwargs.items()})


def _own(me: Any, name: str) -> Any:
    """A method as the container's class in Python's own library has it (a Counter's are its own)."""
    return getattr(builtin_of(me), name, None) or getattr(type(me), name)


def _of_dict(tr: Tracer, me: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    known = tr.source_of(me) is not None
    if name == "get":
        key, default = args[0], args[1] if len(args) > 1 else kwargs.get("default")
        return tr.get_item(me, key) if tr.has(me, key) else default
    if name == "__contains__":
        return tr.has(me, args[0])
    if name == "__getitem__":
        missing = lookup(type(me), "__missing__")
        if isinstance(missing, types.FunctionType) and not tr.has(me, args[0]):
            return tr.call(tr.load_attr(me, "__missing__"), (args[0],), {})
        return tr.get_item(me, args[0])
    if name == "__setitem__":
        tr.set_item(me, *args)
        return None
    if name == "__delitem__":
        tr.delete_item(me, args[0])
        return None
    if name == "setdefault":
        if tr.has(me, args[0]):
            return tr.get_item(me, args[0])
        tr.set_item(me, args[0], args[1] if len(args) > 1 else None)
        return args[1] if len(args) > 1 else None
    if name == "pop":
        if tr.has(me, args[0]):
            v = tr.get_item(me, args[0])
            tr.delete_item(me, args[0])
            return v
        if len(args) > 1:
            return args[1]
        raise KeyError(args[0])
    if name == "update":
        for a in args:
            pairs = a.items() if isinstance(a, dict) else [tuple(unpack(tr, p)) for p in unpack(tr, a)]
            tr.scan(a)
            for k, v in list(pairs):
                tr.set_item(me, k, v)
        for k, v in kwargs.items():
            tr.set_item(me, k, v)
        return None
    if name in (
        "items",
        "keys",
        "values",
        "copy",
        "__iter__",
        "__len__",
        "__reversed__",
        "__eq__",
        "__or__",
        "most_common",
    ):
        if name == "__len__":
            return length(tr, me)
        tr.scan(me)
        for a in args:
            tr.deep(a)
        return _own(me, name)(me, *args, **kwargs)
    if name in ("clear", "popitem", "move_to_end"):
        tr.scan(me)
        if known:
            tr.journal.touch(me)
        return _own(me, name)(me, *args, **kwargs)
    raise Break(f"the method '{name}' of a {type(me).__name__} is called")


def _of_sequence(tr: Tracer, me: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    known = tr.source_of(me) is not None
    if name == "append":
        if known:
            if isinstance(me, collections.deque) and me.maxlen is not None:
                tr.scan(me)
            tr.journal.touch(me)
        _own(me, name)(me, *args)
        return None
    if name in ("extend", "update", "extendleft"):
        items = [x for a in args for x in unpack(tr, a)]
        if known:
            if name != "extend" or (isinstance(me, collections.deque) and me.maxlen is not None):
                tr.scan(me)
            tr.journal.touch(me)
        _own(me, name)(me, [fixed(x) for x in items] if isinstance(me, set) else items)
        return None
    if name == "__setitem__":
        tr.set_item(me, *args)
        return None
    if name == "__getitem__":
        return tr.get_item(me, *args)
    if name == "sort":
        if known:
            tr.scan(me)
            tr.journal.touch(me)
        me[:] = in_order(tr, list(me), **kwargs)
        return None
    if name in ("__contains__",):
        return tr.has(me, args[0])
    if name == "__len__":
        return length(tr, me)
    if name == "add" and known:
        if not tr.has(me, args[0]):
            tr.journal.touch(me)
            _own(me, name)(me, fixed(args[0]))
        return None
    if name in _WRITES or name in _READS:
        tr.scan(me)
        for a in args:
            if isinstance(a, (dict, *LISTS, *SETS)):
                tr.scan(a)
        if name in ("index", "count", "remove") and not all(map(simple, me)):
            return _find(tr, me, name, args)
        if name in _WRITES and known:
            tr.journal.touch(me)
        return _own(me, name)(me, *map(fixed, args), **kwargs)
    if name in ("_asdict", "_replace"):
        raise Break(f"the method '{name}' of a {type(me).__name__} is called")
    raise Break(f"the method '{name}' of a {type(me).__name__} is called")


def _find(tr: Tracer, me: Any, name: str, args: tuple[Any, ...]) -> Any:
    places = [
        i
        for i, x in enumerate(me)
        if x is args[0] or (not isinstance(x, Tensor) and tr.truth(binary(tr, "==", x, args[0])))
    ]
    if name == "count":
        return len(places)
    if not places:
        raise ValueError(f"{args[0]!r} is not in list" if simple(args[0]) else "not in list")
    if name == "index":
        return places[0]
    if tr.source_of(me) is not None:
        tr.journal.touch(me)
    del me[places[0]]
    return None

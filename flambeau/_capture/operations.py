"""Python's operators and iteration on values of a capture: native where nothing but native code runs, followed where a class says what it does."""

from __future__ import annotations

import collections
import operator
import types
from collections.abc import Callable
from typing import Any

from flambeau._capture.breaks import Break
from flambeau._capture.mistakes import subscripts
from flambeau._capture.numbers import Tracked
from flambeau._capture.tracer import LISTS, MISSING, PRIMITIVE, SETS, Tracer, is_constant, lookup
from flambeau._tensor import Tensor

_NATIVE = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
    "**": operator.pow, "@": operator.matmul, "&": operator.and_, "|": operator.or_, "^": operator.xor, "<<": operator.lshift,
    ">>": operator.rshift, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt,
    ">=": operator.ge, "+=": operator.iadd, "-=": operator.isub, "*=": operator.imul, "/=": operator.itruediv,
    "//=": operator.ifloordiv, "%=": operator.imod, "**=": operator.ipow, "@=": operator.imatmul, "&=": operator.iand,
    "|=": operator.ior, "^=": operator.ixor, "<<=": operator.ilshift, ">>=": operator.irshift,
}  # fmt: skip
_NAMES = {"+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow", "@": "matmul", "&": "and",
          "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift"}  # fmt: skip
_COMPARE = {"<": ("__lt__", "__gt__"), "<=": ("__le__", "__ge__"), "==": ("__eq__", "__eq__"), "!=": ("__ne__", "__ne__"),
            ">": ("__gt__", "__lt__"), ">=": ("__ge__", "__le__")}  # fmt: skip
_UNARY: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "-": ("__neg__", operator.neg),
    "+": ("__pos__", operator.pos),
    "~": ("__invert__", operator.invert),
}


def binary(tr: Tracer, symbol: str, x: Any, y: Any) -> Any:
    """`x symbol y`."""
    if tr.native:
        return _NATIVE[symbol](x, y)
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        for v in (x, y):
            _refuse_foreign(v)
            tr.deep(v)
        if isinstance(x, list) and symbol in ("+", "+="):
            raise Break("a list and a tensor are added")
        return _NATIVE[symbol](x, y)
    if _simple(x) and _simple(y):
        return _NATIVE[symbol](x, y)
    if symbol in _COMPARE:
        left, right = _COMPARE[symbol]
    else:
        name = _NAMES[symbol.removesuffix("=")]
        if len(symbol) > 1 and symbol.endswith("="):
            fn = lookup(type(x), f"__i{name}__")
            if isinstance(fn, types.FunctionType):
                result = tr.call(tr.load_attr(x, f"__i{name}__"), (y,), {})
                if result is not NotImplemented:
                    return result
            elif fn is not MISSING and isinstance(x, (list, dict, set, collections.deque)):
                tr.scan(y)
                if tr.source_of(x) is not None:
                    tr.scan(x)
                    tr.journal.touch(x)
                    if isinstance(x, dict) and isinstance(y, dict):
                        for key in y:
                            tr.journal.put(x, key)
                return _NATIVE[symbol](x, y)
            symbol = symbol[:-1]
        left, right = f"__{name}__", f"__r{name}__"
    for me, other, dunder in ((x, y, left), (y, x, right)):
        fn = lookup(type(me), dunder)
        if isinstance(fn, types.FunctionType):
            result = tr.call(tr.load_attr(me, dunder), (other,), {})
            if result is not NotImplemented:
                return result
    if isinstance(lookup(type(x), left), types.FunctionType) or isinstance(lookup(type(y), right), types.FunctionType):
        if symbol in ("==", "!="):
            return tr.identical(x, y) == (symbol == "==")
        raise TypeError(f"unsupported operand type(s) for {symbol}: '{type(x).__name__}' and '{type(y).__name__}'")
    if symbol == "!=" and isinstance(lookup(type(x), "__eq__"), types.FunctionType):
        return not tr.truth(binary(tr, "==", x, y))
    if isinstance(x, LISTS) and isinstance(y, LISTS) and symbol in ("==", "!="):
        same = _sequences_equal(tr, x, y)
        return same if symbol == "==" else not same
    for v in (x, y):
        tr.deep(v)
    if symbol in ("==", "!="):
        if lookup(type(x), "__eq__") is object.__eq__:
            tr.identical(x, y)
        for v in (x, y):
            if isinstance(v, (dict, *LISTS)) and not all(map(_simple, v.values() if isinstance(v, dict) else v)):
                raise Break("containers of objects are compared")
    return _NATIVE[symbol](x, y)


def _sequences_equal(tr: Tracer, x: Any, y: Any) -> bool:
    if isinstance(x, list) != isinstance(y, list) or isinstance(x, tuple) != isinstance(y, tuple):
        return False
    for v in (x, y):
        tr.scan(v)
    return len(x) == len(y) and all(
        tr.identical(a, b) or tr.truth(binary(tr, "==", a, b)) for a, b in zip(x, y, strict=True)
    )


def _simple(x: Any) -> bool:
    return type(x) in PRIMITIVE or isinstance(x, Tracked) or (isinstance(x, (str, int, float)) and is_constant(x))


def _refuse_foreign(x: Any) -> None:
    if type(x).__module__ == "numpy":
        raise Break("an array of NumPy meets a tensor")


def unary(tr: Tracer, symbol: str, x: Any) -> Any:
    """`-x`, `+x`, `~x`."""
    name, native = _UNARY[symbol]
    if tr.native:
        return native(x)
    if (
        not isinstance(x, Tensor)
        and isinstance(lookup(type(x), name), types.FunctionType)
        and not isinstance(x, Tracked)
    ):
        return tr.call(tr.load_attr(x, name), (), {})
    tr.deep(x)
    return native(x)


@subscripts
def subscript(tr: Tracer, c: Any, key: Any) -> Any:
    """`c[key]`."""
    if tr.native:
        return c[key]
    if isinstance(c, Tensor):
        tr.examine(c)
        tr.deep(key)
        return c[key]
    fn = lookup(type(c), "__getitem__")
    if isinstance(fn, types.FunctionType):
        return tr.call(tr.load_attr(c, "__getitem__"), (key,), {})
    if isinstance(c, (list, tuple, dict, collections.deque)):
        missing = lookup(type(c), "__missing__")
        if isinstance(missing, types.FunctionType) and not tr.has(c, key):
            return tr.call(tr.load_attr(c, "__missing__"), (key,), {})
        return tr.get_item(c, key)
    if isinstance(c, (str, bytes, range)):
        return c[_plain_index(key)]
    if isinstance(c, types.MappingProxyType):
        c = tr.shown(c)
        return subscript(tr, c, key) if isinstance(c, dict) else c[_plain_index(key)]
    if isinstance(c, type):
        return c[key]  # type: ignore[index]  # list[int]
    raise Break(f"a {type(c).__name__} is indexed")


def _plain_index(key: Any) -> Any:
    if isinstance(key, Tracked):
        return key.fixed()
    if isinstance(key, slice):
        return slice(*map(_plain_index, (key.start, key.stop, key.step)))
    return key


@subscripts
def store_subscript(tr: Tracer, c: Any, key: Any, value: Any) -> None:
    """`c[key] = value`."""
    if tr.native:
        c[key] = value
        return
    if isinstance(c, Tensor):
        tr.examine(c)
        tr.deep(key)
        c[key] = value
        return
    fn = lookup(type(c), "__setitem__")
    if isinstance(fn, types.FunctionType):
        tr.call(tr.load_attr(c, "__setitem__"), (key, value), {})
    elif isinstance(c, (list, dict, collections.deque)):
        tr.scan(value) if isinstance(key, slice) else None
        tr.set_item(c, key, value)
    else:
        raise Break(f"an element of a {type(c).__name__} is assigned")


@subscripts
def delete_subscript(tr: Tracer, c: Any, key: Any) -> None:
    """`del c[key]`."""
    if tr.native:
        del c[key]
        return
    fn = lookup(type(c), "__delitem__")
    if isinstance(fn, types.FunctionType):
        tr.call(tr.load_attr(c, "__delitem__"), (key,), {})
    elif isinstance(c, (list, dict, collections.deque)):
        tr.delete_item(c, key)
    else:
        raise Break(f"an element of a {type(c).__name__} is deleted")


_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()), types.MappingProxyType)


def iterate(tr: Tracer, x: Any) -> Any:
    """`iter(x)`."""
    if tr.native:
        return iter(x)
    if isinstance(x, types.MappingProxyType):
        x = tr.shown(x)
    if isinstance(x, Tensor):
        tr.examine(x)
        return iter(x)
    fn = lookup(type(x), "__iter__")
    if isinstance(fn, types.FunctionType):
        return x if getattr(x, "traced_iterator", False) else tr.call(tr.load_attr(x, "__iter__"), (), {})
    if isinstance(x, (dict, *LISTS, *SETS)):
        tr.unordered |= isinstance(x, SETS)
        tr.scan(x)
        return iter(x)
    if isinstance(x, (str, bytes, range, *_VIEWS)):
        return iter(x)  # type: ignore[call-overload]
    if hasattr(type(x), "__next__"):
        if tr.source_of(x) is not None:
            raise Break("an iterator from outside is advanced", "pass a list")
        return x
    if fn is MISSING and isinstance(lookup(type(x), "__getitem__"), types.FunctionType):
        return _by_index(tr, x)
    if fn is MISSING:
        raise TypeError(f"'{type(x).__name__}' object is not iterable")
    raise Break(f"a {type(x).__name__} is iterated over")


def _by_index(tr: Tracer, x: Any) -> Any:
    i = 0
    while True:
        try:
            v = subscript(tr, x, i)
        except IndexError:
            return
        yield v
        i += 1


def advance(tr: Tracer, it: Any) -> Any:
    """`next(it)`; raises StopIteration."""
    if tr.native:
        return next(it)
    fn = lookup(type(it), "__next__")
    if isinstance(fn, types.FunctionType) and not getattr(it, "traced_iterator", False):
        return tr.call(tr.load_attr(it, "__next__"), (), {})
    if tr.source_of(it) is not None:
        raise Break("an iterator from outside is advanced", "pass a list")
    return next(it)


def unpack(tr: Tracer, x: Any) -> list[Any]:
    """All elements of x."""
    if tr.native:
        return list(x)
    if type(x) in (list, tuple):
        tr.scan(x)
        return list(x)
    it = iterate(tr, x)
    out = []
    while True:
        try:
            out.append(advance(tr, it))
        except StopIteration:
            return out


Tracer.binary = binary

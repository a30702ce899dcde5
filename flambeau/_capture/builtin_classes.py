"""Calls of classes in a capture: objects of users, and those of Python and its library that are made as they are."""

from __future__ import annotations

import collections
import functools
import itertools
import operator
import types
from typing import Any

from flambeau._capture.breaks import Break
from flambeau._capture.builtin_calls import Steps, find, fixed, simple, spoken_plainly, stepping
from flambeau._capture.numbers import Tracked, TrackedFloat
from flambeau._capture.operations import advance, binary, iterate, unpack
from flambeau._capture.tracer import HEAP, MISSING, SETS, Tracer, lookup
from flambeau._tensor import Tensor
from flambeau._values.device import device
from flambeau._values.limits import finfo, iinfo
from flambeau._values.shape import Size

_PURE_CLASSES = frozenset((int, float, bool, complex, str, bytes, slice, range, device, Size, finfo, iinfo, object))
_CONTAINERS = frozenset((list, tuple, set, frozenset, dict, collections.OrderedDict, collections.deque, collections.defaultdict,
                         collections.Counter))  # fmt: skip
_ITERATORS = (enumerate, zip, reversed, itertools.chain, itertools.repeat, itertools.islice, itertools.product, itertools.count,
              itertools.cycle, itertools.combinations, itertools.permutations, itertools.accumulate, itertools.pairwise,
              itertools.zip_longest, itertools.starmap, itertools.takewhile, itertools.dropwhile, itertools.filterfalse,
              itertools.compress)  # fmt: skip


def construct(tr: Tracer, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`cls(*args, **kwargs)`."""
    handler = find(cls)
    if handler is not None:
        return handler(tr, *args, **kwargs)
    if cls is type:
        if len(args) == 1:
            x = args[0]
            return type(x.raw) if isinstance(x, Tracked) else type(x)
        raise Break("a class is made")
    if cls is super:
        return super(*args)
    if cls in _PURE_CLASSES:
        return _pure_class(tr, cls, args, kwargs)
    if cls in _CONTAINERS:
        return _container(tr, cls, args, kwargs)
    if cls in _ITERATORS:
        return _iterator(tr, cls, args, kwargs)
    if issubclass(cls, BaseException) and not isinstance(lookup(cls, "__init__"), types.FunctionType):
        return cls(*map(fixed, args), **kwargs)
    if cls in (functools.partial, types.MethodType, types.SimpleNamespace, staticmethod, classmethod, property):
        return cls(*args, **kwargs)
    if cls is types.CellType or (cls is types.MappingProxyType and tr.source_of(args[0]) is None):
        return cls(*args)
    if cls in (operator.itemgetter, operator.attrgetter, operator.methodcaller):
        raise Break(f"operator.{cls.__name__}")
    meta = lookup(type(cls), "__call__")
    if isinstance(meta, types.FunctionType):
        import enum

        if issubclass(cls, enum.Enum):
            return cls(*map(fixed, args))
        tr.register(meta, tr.constant(meta))
        return tr.call(meta, (cls, *args), kwargs)
    if issubclass(cls, Tensor) and cls is Tensor:
        raise Break("torch.Tensor() is called", "use torch.tensor or torch.empty")
    if not cls.__flags__ & HEAP:
        raise Break(f"the class {cls.__module__}.{cls.__name__} is called")
    return instantiate(tr, cls, args, kwargs)


def instantiate(tr: Tracer, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `type.__call__` does: `__new__`, then `__init__`."""
    made = lookup(cls, "__new__")
    if isinstance(made, staticmethod):
        made = made.__func__
    if isinstance(made, types.FunctionType):
        tr.guards.class_attribute(cls, "__new__", made)
        tr.register(made, tr.constant(made))
        obj = tr.call(made, (cls, *args), kwargs)
        if not isinstance(obj, cls):
            return obj
    else:
        obj = native_new(tr, cls, args, kwargs)
    init = lookup(cls, "__init__")
    if isinstance(init, types.FunctionType):
        tr.call(tr.load_attr(obj, "__init__"), args, kwargs)
    elif init is not object.__init__ and init is not MISSING and not issubclass(cls, tuple):
        if issubclass(cls, (dict, list, set, collections.deque)):
            for a in args:
                tr.deep(a, 0)
            init(
                obj,
                *[
                    unpack(tr, a) if not isinstance(a, dict) and i == 0 and not callable(a) else a
                    for i, a in enumerate(args)
                ],
                **kwargs,
            )
        elif issubclass(cls, BaseException):
            init(obj, *args)
        else:
            raise Break(f"the class {cls.__module__}.{cls.__name__} is called")
    elif (
        isinstance(made, types.FunctionType) is False
        and (args or kwargs)
        and init is object.__init__
        and not issubclass(cls, tuple)
    ):
        raise TypeError(f"{cls.__name__}() takes no arguments")
    return obj


def native_new(tr: Tracer, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if issubclass(cls, tuple):
        return tuple.__new__(cls, unpack(tr, args[0]) if args else ())
    for base in (dict, list, set, collections.deque, int, float, str, BaseException):
        if issubclass(cls, base):
            return base.__new__(cls, *(map(fixed, args) if base in (int, float, str, BaseException) else ()))
    if any(isinstance(c.__dict__.get("__new__"), types.BuiltinFunctionType) for c in cls.__mro__[:-1]):
        raise Break(f"the class {cls.__module__}.{cls.__name__} is called")
    return object.__new__(cls)


def _pure_class(tr: Tracer, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if cls is bool:
        return tr.truth(args[0]) if args else False
    if cls is Size:
        return Size(fixed(x) for x in unpack(tr, args[0])) if args else Size(())
    if args and isinstance(args[0], Tracked) and len(args) == 1:
        if (cls is float and isinstance(args[0], TrackedFloat)) or (cls is int and type(args[0].raw) is int):
            return args[0]
        if cls is float and type(args[0].raw) is int:
            from flambeau._capture.numbers import track

            return track(float(args[0].raw), tr.sources.expression("float({})", args[0].source), tr)
    for x in (*args, *kwargs.values()):
        tr.deep(x)
        if not simple(x) and not isinstance(x, Tensor):
            if cls in (str, int, float) and not isinstance(x, (type, types.FunctionType)):
                dunder = {str: "__str__", int: "__int__", float: "__float__"}[cls]
                fn = lookup(type(x), dunder)
                if isinstance(fn, types.FunctionType):
                    return tr.call(tr.load_attr(x, dunder), (), {})
            if cls is slice or (cls is str and len(args) == 1 and spoken_plainly(x)):
                continue
            if cls is str and isinstance(x, BaseException) and all(map(simple, x.args)):
                return str(x)
            raise Break(f"{cls.__name__}() of a {type(x).__name__}")
        if isinstance(x, Tensor) and cls is str:
            raise Break("a tensor is made a string")
    return cls(*map(fixed, args), **{k: fixed(v) for k, v in kwargs.items()}) if cls is not slice else slice(*args)


def _accumulate(tr: Tracer, xs: Any, func: Any = None, *, initial: Any = None) -> Any:
    it, total = iterate(tr, xs), [initial]

    def step() -> Any:
        if first:
            first.clear()
            total[0] = advance(tr, it) if initial is None else initial
        else:
            x = advance(tr, it)
            total[0] = binary(tr, "+", total[0], x) if func is None else tr.call(func, (total[0], x), {})
        return total[0]

    first = [True]
    return Steps(tr, step)


def _starmap(tr: Tracer, fn: Any, xs: Any) -> Any:
    it = iterate(tr, xs)
    return Steps(tr, lambda: tr.call(fn, tuple(unpack(tr, advance(tr, it))), {}), (itertools.starmap, fn, it))


def _takewhile(tr: Tracer, fn: Any, xs: Any) -> Any:
    it, over = iterate(tr, xs), list[bool]()

    def step() -> Any:
        x = None if over else advance(tr, it)
        if over or not tr.truth(tr.call(fn, (x,), {})):
            over.append(True)
            raise StopIteration
        return x

    return Steps(tr, step)


def _dropwhile(tr: Tracer, fn: Any, xs: Any) -> Any:
    it, begun = iterate(tr, xs), list[bool]()

    def step() -> Any:
        x = advance(tr, it)
        while not begun and tr.truth(tr.call(fn, (x,), {})):
            x = advance(tr, it)
        begun.append(True)
        return x

    return Steps(tr, step)


def _filterfalse(tr: Tracer, fn: Any, xs: Any) -> Any:
    it = iterate(tr, xs)

    def step() -> Any:
        while True:
            x = advance(tr, it)
            if not tr.truth(x if fn is None else tr.call(fn, (x,), {})):
                return x

    return Steps(tr, step, (itertools.filterfalse, fn, it))


def _compress(tr: Tracer, data: Any, selectors: Any) -> Any:
    it, chosen = iterate(tr, data), iterate(tr, selectors)

    def step() -> Any:
        while True:
            x, take = advance(tr, it), advance(tr, chosen)
            if tr.truth(take):
                return x

    return Steps(tr, step, (itertools.compress, it, chosen))


_STEPPED: dict[Any, Any] = {itertools.accumulate: _accumulate, itertools.starmap: _starmap, itertools.takewhile: _takewhile,
            itertools.dropwhile: _dropwhile, itertools.filterfalse: _filterfalse, itertools.compress: _compress}  # fmt: skip


def _container(tr: Tracer, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if cls is collections.defaultdict:
        made: Any = collections.defaultdict(args[0] if args else None)
        for a in args[1:]:
            tr.scan(a)
            made.update(a)
        made.update(kwargs)
        return made
    if not args:
        return cls(**kwargs)
    x = tr.shown(args[0]) if type(args[0]) is types.MappingProxyType else args[0]
    if cls in (dict, collections.OrderedDict, collections.Counter):
        if type(x) is types.MappingProxyType:
            return cls(x, **kwargs)
        fn = lookup(type(x), "keys")
        if isinstance(x, dict):
            tr.scan(x)
            return cls(x, **kwargs)
        if isinstance(fn, types.FunctionType):
            raise Break(f"{cls.__name__}() of a {type(x).__name__}")
        pairs = [tuple(unpack(tr, p)) for p in unpack(tr, x)] if cls is not collections.Counter else unpack(tr, x)
        return cls(pairs, **kwargs)
    items = unpack(tr, x)
    if cls in SETS:
        for y in items:
            tr.hashable(y)
        items = [fixed(y) for y in items]
    return cls(items, *args[1:], **kwargs)


def _iterator(tr: Tracer, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if cls is reversed:
        x = args[0]
        fn = lookup(type(x), "__reversed__")
        if isinstance(fn, types.FunctionType):
            return tr.call(tr.load_attr(x, "__reversed__"), (), {})
        tr.scan(x)
        return reversed(x)
    if cls in (itertools.repeat, itertools.count):
        return cls(*[x if cls is itertools.repeat and i == 0 else fixed(x) for i, x in enumerate(args)], **kwargs)
    if cls in _STEPPED:
        return _STEPPED[cls](tr, *args, **kwargs)
    if cls is zip or cls is itertools.chain or cls is itertools.zip_longest or cls is itertools.product:
        return cls(*[stepping(tr, x) for x in args], **kwargs)
    return cls(stepping(tr, args[0]), *map(fixed, args[1:]), **{k: fixed(v) for k, v in kwargs.items()})

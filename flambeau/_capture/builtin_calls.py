"""Builtin functions, classes and methods in a capture: which are called as they are, and which are read anew because they run Python code."""

from __future__ import annotations

import builtins
import collections
import functools
import itertools
import math
import operator
import types
from typing import Any

from flambeau._capture import backward as backwards
from flambeau._capture.breaks import Break
from flambeau._capture.numbers import Tracked, TrackedFloat, TrackedInt
from flambeau._capture.operations import advance, binary, iterate, subscript, unpack
from flambeau._capture.tracer import HEAP, LISTS, MISSING, PRIMITIVE, SETS, Tracer, is_constant, lookup
from flambeau._tensor import Tensor
from flambeau._values.device import device
from flambeau._values.limits import finfo, iinfo
from flambeau._values.shape import Size

HANDLERS: dict[Any, Any] = {}
_PURE = frozenset((
    operator.index, abs, divmod, pow, round, ord, chr, hex, bin, oct, ascii, callable, hash,
    *(f for n, f in vars(math).items() if callable(f) and not n.startswith("_")),
))  # fmt: skip
_PURE_CLASSES = frozenset((int, float, bool, complex, str, bytes, slice, range, device, Size, finfo, iinfo, object))
_CONTAINERS = frozenset((list, tuple, set, frozenset, dict, collections.OrderedDict, collections.deque, collections.defaultdict,
                         collections.Counter))  # fmt: skip
_ITERATORS = (enumerate, zip, reversed, itertools.chain, itertools.repeat, itertools.islice, itertools.product, itertools.count,
              itertools.cycle, itertools.combinations, itertools.permutations, itertools.accumulate, itertools.pairwise,
              itertools.zip_longest)  # fmt: skip
_GENERATOR_METHODS = frozenset(("send", "throw", "close", "__next__", "__iter__"))


def handles(*functions: Any) -> Any:
    def add(handler: Any) -> Any:
        for fn in functions:
            HANDLERS[fn] = handler
        return handler

    return add


def find(fn: Any) -> Any:
    """What stands for a function in a capture, or None."""
    try:
        return HANDLERS.get(fn)
    except TypeError:  # not hashable
        return None


def fixed(x: Any) -> Any:
    return x.fixed() if isinstance(x, Tracked) else x


def _simple(x: Any) -> bool:
    return is_constant(x) or isinstance(x, Tracked)


# ---------------------------------------------------------------- about objects


@handles(isinstance)
def _isinstance(tr: Tracer, obj: Any, classes: Any) -> bool:
    tr.deep(classes)
    if isinstance(obj, Tracked):
        obj = obj.raw
    return isinstance(obj, classes)


@handles(issubclass)
def _issubclass(tr: Tracer, cls: Any, classes: Any) -> bool:
    tr.deep(classes)
    return issubclass(cls, classes)


@handles(getattr)
def _getattr(tr: Tracer, obj: Any, name: str, *default: Any) -> Any:
    if not default:
        return tr.load_attr(obj, name)
    try:
        return tr.load_attr(obj, name)
    except AttributeError:
        return default[0]


@handles(hasattr)
def _hasattr(tr: Tracer, obj: Any, name: str) -> bool:
    if isinstance(obj, Tensor) and name == "__torch_function__":
        return True
    try:
        tr.load_attr(obj, name)
    except AttributeError:
        return False
    return True


@handles(setattr)
def _setattr(tr: Tracer, obj: Any, name: str, value: Any) -> None:
    tr.store_attr(obj, name, value)


@handles(delattr)
def _delattr(tr: Tracer, obj: Any, name: str) -> None:
    tr.delete_attr(obj, name)


@handles(len)
def _len(tr: Tracer, obj: Any) -> int:
    if isinstance(obj, Tensor):
        tr.examine(obj)
        return obj.shape[0] if obj.dim() else len(obj)
    fn = lookup(type(obj), "__len__")
    if isinstance(fn, types.FunctionType):
        return tr.call(tr.load_attr(obj, "__len__"), (), {})
    source = tr.source_of(obj)
    if source is not None and isinstance(obj, (dict, *LISTS, *SETS)):
        if tr.journal.touched(obj):
            tr.scan(obj)
        else:
            tr.guards.length(source, len(obj))
    return len(obj)


@handles(iter)
def _iter(tr: Tracer, obj: Any, *sentinel: Any) -> Any:
    if sentinel:
        raise Break("iter() with a sentinel")
    return iterate(tr, obj)


@handles(next)
def _next(tr: Tracer, it: Any, *default: Any) -> Any:
    try:
        return advance(tr, it)
    except StopIteration:
        if default:
            return default[0]
        raise


@handles(id)
def _id(tr: Tracer, obj: Any) -> Any:
    source = tr.source_of(obj)
    if source is None:
        return id(obj)
    made = TrackedInt(id(obj))
    made.tracer, made.source = tr, tr.sources.expression("id({})", source)
    return made


@handles(vars)
def _vars(tr: Tracer, *obj: Any) -> Any:
    if not obj:
        raise Break("vars() of the function itself")
    return tr.load_attr(obj[0], "__dict__")


@handles(any)
def _any(tr: Tracer, xs: Any) -> bool:
    it = iterate(tr, xs)
    while True:
        try:
            if tr.truth(advance(tr, it)):
                return True
        except StopIteration:
            return False


@handles(all)
def _all(tr: Tracer, xs: Any) -> bool:
    it = iterate(tr, xs)
    while True:
        try:
            if not tr.truth(advance(tr, it)):
                return False
        except StopIteration:
            return True


@handles(sum, math.fsum)
def _sum(tr: Tracer, xs: Any, start: Any = 0) -> Any:
    for x in unpack(tr, xs):
        start = binary(tr, "+", start, x)
    return start


@handles(math.prod)
def _prod(tr: Tracer, xs: Any, *, start: Any = 1) -> Any:
    for x in unpack(tr, xs):
        start = binary(tr, "*", start, x)
    return start


def _extreme(symbol: str) -> Any:
    def pick(tr: Tracer, *args: Any, key: Any = None, **default: Any) -> Any:
        xs = unpack(tr, args[0]) if len(args) == 1 else list(args)
        if not xs:
            if "default" in default:
                return default["default"]
            raise ValueError(f"{'min' if symbol == '<' else 'max'}() arg is an empty sequence")
        best, worth = xs[0], xs[0] if key is None else tr.call(key, (xs[0],), {})
        for x in xs[1:]:
            w = x if key is None else tr.call(key, (x,), {})
            if tr.truth(binary(tr, symbol, w, worth)):
                best, worth = x, w
        return best

    return pick


HANDLERS[min], HANDLERS[max] = _extreme("<"), _extreme(">")


@handles(sorted)
def _sorted(tr: Tracer, xs: Any, *, key: Any = None, reverse: Any = False) -> Any:
    items = unpack(tr, xs)
    worth = [x if key is None else tr.call(key, (x,), {}) for x in items]
    if not all(map(_simple, worth)):
        raise Break("objects are sorted")
    worth = [fixed(w) for w in worth]
    order = sorted(range(len(items)), key=lambda i: worth[i], reverse=tr.truth(reverse))
    return [items[i] for i in order]


@handles(map)
def _map(tr: Tracer, fn: Any, *xs: Any) -> Any:
    its = [iterate(tr, x) for x in xs]
    return Steps(tr, lambda: tr.call(fn, tuple(advance(tr, it) for it in list(its)), {}), (map, fn, *its))


@handles(filter)
def _filter(tr: Tracer, fn: Any, xs: Any) -> Any:
    it = iterate(tr, xs)

    def step() -> Any:
        while True:
            x = advance(tr, it)
            if tr.truth(x if fn is None else tr.call(fn, (x,), {})):
                return x

    return Steps(tr, step, (filter, fn, it))


class Steps:
    """An iterator whose steps are followed by the capture."""

    traced_iterator = True

    def __init__(self, tr: Tracer, step: Any, made: Any = None) -> None:
        self.step = step
        self.made = made  # the call that gives the same outside of captures, as a tuple

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            return self.step()
        except RuntimeError as error:
            if isinstance(error.__cause__, StopIteration):  # out of a generator expression
                raise StopIteration from None
            raise


def stepping(tr: Tracer, x: Any) -> Any:
    """An iterator over x that native code may advance."""
    it = iterate(tr, x)
    if isinstance(lookup(type(it), "__next__"), types.FunctionType) and not getattr(it, "traced_iterator", False):
        return Steps(tr, lambda: advance(tr, it))
    return it


@handles(functools.reduce)
def _reduce(tr: Tracer, fn: Any, xs: Any, *start: Any) -> Any:
    items = [*start, *unpack(tr, xs)]
    if not items:
        raise TypeError("reduce() of empty iterable with no initial value")
    total = items[0]
    for x in items[1:]:
        total = tr.call(fn, (total, x), {})
    return total


@handles(repr, format)
def _repr(tr: Tracer, x: Any, *spec: Any) -> str:
    if not _simple(x) or (spec and not _simple(spec[0])):
        raise Break(f"a {type(x).__name__} is made a string")
    return repr(fixed(x)) if not spec else format(fixed(x), *spec)


@handles(print)
def _print(tr: Tracer, *args: Any, **kwargs: Any) -> None:
    raise Break("print() is called", "it happens between two programs; take it out for one program")


@handles(globals, locals)
def _spaces(tr: Tracer) -> Any:
    raise Break("globals() or locals() is called")


_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@", "and_": "&",
              "or_": "|", "xor": "^", "lt": "<", "le": "<=", "eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "iadd": "+=", "imul": "*="}  # fmt: skip
for _name, _symbol in _OPERATORS.items():
    HANDLERS[getattr(operator, _name)] = functools.partial(
        lambda tr, x, y, symbol: binary(tr, symbol, x, y), symbol=_symbol
    )
HANDLERS[operator.getitem] = subscript
HANDLERS[operator.contains] = lambda tr, c, x: tr.contains(c, x)
HANDLERS[operator.not_] = lambda tr, x: not tr.truth(x)
HANDLERS[operator.truth] = lambda tr, x: tr.truth(x)
HANDLERS[operator.neg] = lambda tr, x: -x
HANDLERS[operator.is_] = lambda tr, x, y: x is y
HANDLERS[operator.is_not] = lambda tr, x, y: x is not y


# ---------------------------------------------------------------- flambeau's own


def install() -> None:
    """Functions of the library that mean something else in a capture."""
    import flambeau
    from flambeau import autograd
    from flambeau._capture import calls, control
    from flambeau._eager import construct

    HANDLERS[autograd.backward] = backwards.backward
    HANDLERS[autograd.grad] = backwards.grad
    HANDLERS[flambeau.Tensor.backward] = (
        lambda tr, t, gradient=None, retain_graph=None, create_graph=False, inputs=None: backwards.backward(
            tr, t, gradient, retain_graph, create_graph, None, inputs
        )
    )
    HANDLERS[construct.tensor] = _tensor
    HANDLERS[autograd.Function.apply.__func__] = calls.custom_apply
    saved = autograd.function.FunctionCtx.saved_tensors.fget
    HANDLERS[saved] = lambda tr, ctx: saved(ctx)
    HANDLERS[construct.as_tensor] = _as_tensor
    HANDLERS[flambeau.Tensor.requires_grad_] = _requires_grad
    HANDLERS[flambeau.Tensor.register_hook] = _register_hook
    HANDLERS[flambeau.Tensor.retain_grad] = _retain_grad
    HANDLERS[flambeau.Tensor.detach_] = _detach_in_place
    HANDLERS[flambeau.Tensor._make_subclass] = _make_subclass
    HANDLERS[flambeau.Tensor.is_shared] = lambda tr, t: False
    for name in ("is_compiling", "is_dynamo_compiling"):
        HANDLERS[getattr(control, name)] = lambda tr: True
    HANDLERS[control.graph_break] = _graph_break


def _graph_break(tr: Tracer, *message: Any) -> None:
    raise Break("graph_break() is called")


def _tensor(tr: Tracer, data: Any, **options: Any) -> Any:
    tr.deep(data)
    return tr.recorder.new_tensor(data, **options)


def _as_tensor(tr: Tracer, data: Any, dtype: Any = None, device: Any = None) -> Any:
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(device=device, dtype=dtype)  # type: ignore[operator]
    return _tensor(tr, data, dtype=dtype, device=device)


def _requires_grad(tr: Tracer, t: Any, requires_grad: bool = True) -> Any:
    tr.store_attr(t, "requires_grad", requires_grad)
    return t


def _register_hook(tr: Tracer, t: Any, hook: Any) -> Any:
    if tr.source_of(t) is not None:
        raise Break("a hook is put on a tensor from outside")
    tr.recorder.custom = "a hook of a tensor"
    return t.register_hook(hook)


def _retain_grad(tr: Tracer, t: Any) -> None:
    if tr.source_of(t) is not None and not t.is_leaf:
        raise Break("retain_grad() of a tensor from outside")
    tr.recorder.custom = "retain_grad()"
    t.retain_grad()


def _detach_in_place(tr: Tracer, t: Any) -> Any:
    raise Break("detach_() is called", "use detach()")


def _make_subclass(tr: Tracer, cls: Any, data: Any, require_grad: bool = False, **_: Any) -> Any:
    made = Tensor._make_subclass(cls, tr.recorder.detach(data), False)  # type: ignore[attr-defined]
    if require_grad:
        made.requires_grad = True
        tr.recorder.inside_leaf = True
    return made


# ---------------------------------------------------------------- classes


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
    if cls is types.CellType:
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
        obj = _native_new(tr, cls, args, kwargs)
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


def _native_new(tr: Tracer, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if issubclass(cls, tuple):
        return tuple.__new__(cls, unpack(tr, args[0]) if args else ())
    for base in (dict, list, set, collections.deque, int, float, str, BaseException):
        if issubclass(cls, base):
            return base.__new__(cls, *(map(fixed, args) if base in (int, float, str, BaseException) else ()))
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
        if not _simple(x) and not isinstance(x, Tensor):
            if cls in (str, int, float) and not isinstance(x, (type, types.FunctionType)):
                dunder = {str: "__str__", int: "__int__", float: "__float__"}[cls]
                fn = lookup(type(x), dunder)
                if isinstance(fn, types.FunctionType):
                    return tr.call(tr.load_attr(x, dunder), (), {})
            if cls is slice:
                continue
            if cls is str and isinstance(x, BaseException) and all(map(_simple, x.args)):
                return str(x)
            raise Break(f"{cls.__name__}() of a {type(x).__name__}")
        if isinstance(x, Tensor) and cls is str:
            raise Break("a tensor is made a string")
    return cls(*map(fixed, args), **{k: fixed(v) for k, v in kwargs.items()}) if cls is not slice else slice(*args)


def _container(tr: Tracer, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if cls is collections.defaultdict:
        made = collections.defaultdict(args[0] if args else None)
        for a in args[1:]:
            tr.scan(a)
            made.update(a)
        made.update(kwargs)
        return made
    if not args:
        return cls(**kwargs)
    x = args[0]
    if cls in (dict, collections.OrderedDict, collections.Counter):
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
    if cls is itertools.accumulate:
        raise Break("itertools.accumulate")
    if cls is zip or cls is itertools.chain or cls is itertools.zip_longest or cls is itertools.product:
        return cls(*[stepping(tr, x) for x in args], **kwargs)
    return cls(stepping(tr, args[0]), *map(fixed, args[1:]), **{k: fixed(v) for k, v in kwargs.items()})


# ---------------------------------------------------------------- methods of builtin types


def bound(tr: Tracer, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], unbound: Any = None) -> Any:
    """A builtin function, or a builtin type's method with its object."""
    me, name = getattr(fn, "__self__", None), fn.__name__
    if fn in _PURE:
        for x in args:
            tr.deep(x)
            if not _simple(x) and not isinstance(x, Tensor):
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
        return tr.load_attr(me, *args)
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
    return _native_new(tr, cls, args[1:], kwargs)


def _class_method(tr: Tracer, cls: Any, name: str, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name == "fromkeys":
        made = cls()
        for k in unpack(tr, args[0]):
            made[fixed(k)] = args[1] if len(args) > 1 else None
        return made
    if name == "from_iterable":
        return itertools.chain.from_iterable(stepping(tr, x) for x in unpack(tr, args[0]))
    if cls in PRIMITIVE and all(map(_simple, args)):
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
    if name == "__eq__":
        return NotImplemented if args[0] is not me else True
    if name == "__ne__":
        return NotImplemented if args[0] is not me else False
    if name in ("__class__", "__hash__", "__dir__", "__sizeof__", "__reduce_ex__", "__str__", "__repr__"):
        raise Break(f"{name} of a {type(me).__name__}")
    raise Break(f"the method '{name}' of a {type(me).__name__} is called")


def _of_constant(tr: Tracer, me: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name == "join":
        parts = unpack(tr, args[0])
        return me.join(parts)
    for x in (*args, *kwargs.values()):
        tr.deep(x)
        if not _simple(x) and name in ("format", "__mod__", "__rmod__"):
            raise Break(f"a {type(x).__name__} is made a string")
    return getattr(fixed(me), name)(*map(fixed, args), **{k: fixed(v) for k, v in kwargs.items()})


def _of_dict(tr: Tracer, me: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    known = tr.source_of(me) is not None
    if name == "get":
        key, default = args[0], args[1] if len(args) > 1 else kwargs.get("default")
        return tr.get_item(me, key) if tr.contains(me, key) else default
    if name == "__contains__":
        return tr.contains(me, args[0])
    if name == "__getitem__":
        return tr.get_item(me, args[0])
    if name == "__setitem__":
        tr.set_item(me, *args)
        return None
    if name == "__delitem__":
        tr.delete_item(me, args[0])
        return None
    if name == "setdefault":
        if tr.contains(me, args[0]):
            return tr.get_item(me, args[0])
        tr.set_item(me, args[0], args[1] if len(args) > 1 else None)
        return args[1] if len(args) > 1 else None
    if name == "pop":
        if tr.contains(me, args[0]):
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
            return _len(tr, me)
        tr.scan(me)
        for a in args:
            tr.deep(a)
        return getattr(me, name)(*args, **kwargs)
    if name in ("clear", "popitem", "move_to_end"):
        tr.scan(me)
        if known:
            tr.journal.touch(me)
        return getattr(me, name)(*args, **kwargs)
    raise Break(f"the method '{name}' of a {type(me).__name__} is called")


def _of_sequence(tr: Tracer, me: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    known = tr.source_of(me) is not None
    if name == "append":
        if known:
            if isinstance(me, collections.deque) and me.maxlen is not None:
                tr.scan(me)
            tr.journal.touch(me)
        me.append(*args)
        return None
    if name in ("extend", "update", "extendleft"):
        items = [x for a in args for x in unpack(tr, a)]
        if known:
            if name != "extend" or (isinstance(me, collections.deque) and me.maxlen is not None):
                tr.scan(me)
            tr.journal.touch(me)
        getattr(me, name)([fixed(x) for x in items] if isinstance(me, set) else items)
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
        me[:] = _sorted(tr, list(me), **kwargs)
        return None
    if name in ("__contains__",):
        return tr.contains(me, args[0])
    if name == "__len__":
        return _len(tr, me)
    if name == "add" and known:
        if not tr.contains(me, args[0]):
            tr.journal.touch(me)
            me.add(fixed(args[0]))
        return None
    if name in _WRITES or name in _READS:
        tr.scan(me)
        for a in args:
            if isinstance(a, (dict, *LISTS, *SETS)):
                tr.scan(a)
        if name in ("index", "count", "remove") and not all(map(_simple, me)):
            return _find(tr, me, name, args)
        if name in _WRITES and known:
            tr.journal.touch(me)
        return getattr(me, name)(*map(fixed, args), **kwargs)
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
        raise ValueError(f"{args[0]!r} is not in list" if _simple(args[0]) else "not in list")
    if name == "index":
        return places[0]
    if tr.source_of(me) is not None:
        tr.journal.touch(me)
    del me[places[0]]
    return None

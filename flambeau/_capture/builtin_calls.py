"""Builtin functions in a capture that are read anew because they run Python code; not classes (`builtin_classes`) and methods (`builtin_methods`)."""

from __future__ import annotations

import collections
import functools
import inspect
import itertools
import math
import operator
import sys
import types
from collections.abc import Callable
from typing import Any, TypeVar

from flambeau._capture import asking, mistakes
from flambeau._capture.breaks import Break
from flambeau._capture.numbers import Tracked, TrackedInt, applied, plain
from flambeau._capture.operations import advance, binary, iterate, subscript, unpack
from flambeau._capture.tracer import LISTS, SETS, Tracer, is_constant, lookup
from flambeau._tensor import Tensor

HANDLERS: dict[Any, Any] = {}
F = TypeVar("F", bound=Callable[..., Any])


def handles(*functions: Any) -> Callable[[F], F]:
    def add(handler: F) -> F:
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


def simple(x: Any) -> bool:
    return is_constant(x) or isinstance(x, Tracked)


def spoken_plainly(x: Any) -> bool:
    """Whether what an object is as a string is its own matter: constants, and classes."""
    return simple(x) or (
        isinstance(x, type) and type(x).__repr__ is type.__repr__ and type(x).__str__ is object.__str__
    )


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
    except AttributeError as e:
        mistakes.handled(e)
        return default[0]


@handles(hasattr)
def _hasattr(tr: Tracer, obj: Any, name: str) -> bool:
    if isinstance(obj, Tensor) and name == "__torch_function__":
        return True
    try:
        tr.load_attr(obj, name)
    except AttributeError as e:
        mistakes.handled(e)
        return False
    return True


@handles(setattr)
def _setattr(tr: Tracer, obj: Any, name: str, value: Any) -> None:
    tr.store_attr(obj, name, value)


@handles(delattr)
def _delattr(tr: Tracer, obj: Any, name: str) -> None:
    tr.delete_attr(obj, name)


@handles(len)
def length(tr: Tracer, obj: Any) -> int:
    if isinstance(obj, Tensor):
        tr.examine(obj)
        return obj.shape[0] if obj.dim() else len(obj)
    fn = lookup(type(obj), "__len__")
    if isinstance(fn, types.FunctionType):
        return tr.call(tr.load_attr(obj, "__len__"), (), {})
    if type(obj) is types.MappingProxyType:
        obj = tr.shown(obj)
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
    return tr.load_attr(obj[0], "__dict__") if obj else _locals(tr)


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


def _of_numbers(fn: Any) -> None:
    """A function of `math`, of numbers that change: another such number (schedules go by cosines)."""

    @handles(fn)
    def changing(tr: Tracer, *args: Any) -> Any:
        raw = [plain(x) for x in args]
        if not any(isinstance(x, Tracked) for x in args) or not all(type(x) in (int, float) for x in raw):
            return fn(*map(fixed, args))
        return applied(tr, fn, f"{{}}({', '.join(['{}'] * len(args))})", args, (tr.constant(fn),))


_OF_NUMBERS = (
    "ceil",
    "cos",
    "exp",
    "expm1",
    "floor",
    "log",
    "log10",
    "log1p",
    "log2",
    "pow",
    "sin",
    "sqrt",
    "tan",
    "tanh",
)
for _name in _OF_NUMBERS:
    _of_numbers(getattr(math, _name))


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
def in_order(tr: Tracer, xs: Any, *, key: Any = None, reverse: Any = False) -> Any:
    items = unpack(tr, xs)
    worth = [x if key is None else tr.call(key, (x,), {}) for x in items]
    if not all(map(simple, worth)):
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


@handles(itertools.tee)
def _tee(tr: Tracer, xs: Any, n: Any = 2) -> Any:
    it, waiting = iterate(tr, xs), [collections.deque[Any]() for _ in range(fixed(n))]

    def steps(mine: Any) -> Any:
        def step() -> Any:
            if not mine:
                x = advance(tr, it)
                for queue in waiting:
                    queue.append(x)
            return mine.popleft()

        return Steps(tr, step)

    return tuple(map(steps, waiting))


@handles(repr, format)
def _repr(tr: Tracer, x: Any, *spec: Any) -> str:
    if not spoken_plainly(x) or (spec and not simple(spec[0])):
        raise Break(f"a {type(x).__name__} is made a string")
    return repr(fixed(x)) if not spec else format(fixed(x), *spec)


@handles(inspect.signature)
def _signature(tr: Tracer, fn: Any, **options: Any) -> Any:
    """The parameters of a function: what it wraps, its code and its defaults say them."""
    inner = fn
    while True:
        if isinstance(inner, types.MethodType):
            inner = tr.load_attr(inner, "__func__")
        if not isinstance(inner, types.FunctionType) or "__signature__" in inner.__dict__:
            raise Break(f"the signature of a {type(inner).__name__} is asked for")
        source = tr.source_of(inner)
        if source is not None:
            for name in ("__code__", "__defaults__", "__kwdefaults__", "__annotations__"):
                tr.guards.identity(tr.sources.attr(source, name), getattr(inner, name))
            tr.guards.present(tr.sources.dict(source), "__signature__", False)
        if "__wrapped__" not in inner.__dict__:
            return inspect.signature(fn, **options)
        inner = tr.load_attr(inner, "__wrapped__")


@handles(sys.exception)
def _exception(tr: Tracer) -> Any:
    f = tr.frame
    while f is not None and f.exc is None:
        f = f.caller
    return None if f is None else f.exc


@handles(sys.exc_info)
def _exc_info(tr: Tracer) -> Any:
    e = _exception(tr)
    return (None, None, None) if e is None else (type(e), e, e.__traceback__)


@handles(print)
def _print(tr: Tracer, *args: Any, **kwargs: Any) -> None:
    raise Break("print() is called", "it happens between two programs; take it out for one program")


@handles(globals)
def _globals(tr: Tracer) -> dict[str, Any]:
    return tr.reach(tr.frame.globals, tr.sources.const(tr.frame.globals))


@handles(locals)
def _locals(tr: Tracer) -> dict[str, Any]:
    return asking.variables(tr, tr.frame)


@handles(eval, exec)
def _evaluate(tr: Tracer, *args: Any, **kwargs: Any) -> None:
    raise Break("eval() or exec() is called")


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

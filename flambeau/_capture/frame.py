"""Interprets the bytecode of one function call. What the instructions mean for values is `tracer`, `operations` and `calls`.

Instructions are handled by name, as Python 3.11 has them. Later versions lay out calls and attributes otherwise under the same names:
they need handlers of their own, and until then nothing is captured there (`VERSIONS`).
"""

from __future__ import annotations

import dis
import functools
import types
from typing import Any

from flambeau._capture import operations as ops
from flambeau._capture.breaks import Break
from flambeau._capture.tracer import MISSING, Tracer, is_constant, lookup

NULL: Any = type("Null", (), {"__repr__": lambda self: "NULL"})()
HANDLERS: dict[str, Any] = {}
VERSIONS = frozenset(((3, 11),))  # whose instructions the handlers below understand


class Stop(BaseException):
    """The outermost frame has come to where this capture is to end."""


class Pending:
    """An argument that nobody has read yet."""

    __slots__ = ("source", "value")

    def __init__(self, value: Any, source: Any) -> None:
        self.value, self.source = value, source


class Code:
    """A code object, decoded once."""

    __slots__ = ("at", "instructions", "table")

    def __init__(self, code: types.CodeType) -> None:
        every = list(dis.get_instructions(code))
        self.at: dict[int, int] = {}
        self.instructions: list[Any] = []
        for i in every:
            if i.opname in ("EXTENDED_ARG", "CACHE"):
                self.at[i.offset] = len(self.instructions)
                continue
            self.at[i.offset] = len(self.instructions)
            self.instructions.append(i)
        self.table = dis._parse_exception_table(code)  # type: ignore[attr-defined]


@functools.lru_cache(4096)
def decode(code: types.CodeType) -> Code:
    return Code(code)


class Frame:
    """One call: its code, variables, stack, and place."""

    __slots__ = (
        "builtins",
        "code",
        "count",
        "decoded",
        "exc",
        "globals",
        "ip",
        "kwnames",
        "names",
        "stack",
        "top",
        "yielded",
    )

    def __init__(
        self, code: types.CodeType, globals: dict[str, Any], names: dict[str, Any], cells: tuple[Any, ...] = ()
    ) -> None:
        self.code, self.globals, self.names = code, globals, names
        self.decoded = decode(code)
        held = globals.get("__builtins__")
        self.builtins = held if isinstance(held, dict) else vars(held) if held is not None else __builtins__
        self.names.update(zip(code.co_freevars, cells, strict=False))
        self.stack: list[Any] = []
        self.ip = 0
        self.exc: Any = None
        self.kwnames: tuple[str, ...] = ()
        self.top = False
        self.yielded = False
        self.count = 0

    @property
    def line(self) -> int:
        """The line of the current instruction."""
        i = self.decoded.instructions[max(self.ip - 1, 0)]
        position = i.positions
        return (position.lineno if position else None) or self.code.co_firstlineno


def start(tr: Tracer, f: Frame) -> Any:
    """Run a call from its beginning; a generator function gives a generator."""
    return run(tr, f)


def run(tr: Tracer, f: Frame) -> Any:
    """Run until the function returns (or, in a generator, yields)."""
    instructions = f.decoded.instructions
    tr.depth += 1
    outer, tr.frame = getattr(tr, "frame", None), f
    try:
        while True:
            i = instructions[f.ip]
            if f.top:
                f.count += 1
                if f.count == tr.stop_at:
                    raise Stop
            f.ip += 1
            try:
                leaving = HANDLERS[i.opname](tr, f, i)
                if leaving is not None:
                    return leaving[0]
            except (Break, Stop) as b:
                if isinstance(b, Break) and not b.file:
                    b.file, b.line, b.function = f.code.co_filename, f.line, f.code.co_qualname
                raise
            except KeyError as e:
                if i.opname not in HANDLERS:
                    raise Break(f"the instruction {i.opname}") from None
                unwind(f, i, e)
            except BaseException as e:
                unwind(f, i, e)
    finally:
        tr.depth -= 1
        tr.frame = outer


def unwind(f: Frame, i: Any, e: BaseException) -> None:
    """Go to the handler of an exception, or raise it on."""
    for entry in f.decoded.table:
        if entry.start <= i.offset < entry.end:
            del f.stack[entry.depth :]
            if entry.lasti:
                f.stack.append(i.offset)
            f.stack.append(e)
            f.ip = f.decoded.at[entry.target]
            return
    raise e


class Generator:
    """A generator whose body the capture follows."""

    traced_iterator = True

    def __init__(self, tr: Tracer, f: Frame) -> None:
        self.tr, self.f, self.done, self.running = tr, f, False, False

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        if self.done:
            raise StopIteration
        self.f.stack.append(value)
        return self._go()

    def _go(self) -> Any:
        f = self.f
        f.yielded = False
        try:
            result = run(self.tr, f)
        except StopIteration as e:
            self.done = True
            raise RuntimeError("generator raised StopIteration") from e
        except BaseException:
            self.done = True
            raise
        if f.yielded:
            return result
        self.done = True
        raise StopIteration(result)

    def throw(self, *exc: Any) -> Any:
        e = (
            exc[0]
            if isinstance(exc[0], BaseException)
            else exc[0](*exc[1:2])
            if len(exc) > 1 and exc[1] is not None
            else exc[0]()
        )
        if len(exc) > 1 and isinstance(exc[1], BaseException):
            e = exc[1]
        if self.done:
            raise e
        f = self.f
        i = f.decoded.instructions[f.ip - 1]
        try:
            unwind(f, i, e)
        except BaseException:
            self.done = True
            raise
        return self._go()

    def close(self) -> None:
        if self.done or self.f.ip == 0:
            self.done = True
            return
        try:
            self.throw(GeneratorExit())
        except (GeneratorExit, StopIteration):
            return
        raise RuntimeError("generator ignored GeneratorExit")


def op(*names: str) -> Any:
    def add(fn: Any) -> Any:
        for name in names:
            HANDLERS[name] = fn
        return fn

    return add


# ---------------------------------------------------------------- nothing, and the stack


@op("RESUME", "NOP", "PRECALL", "CACHE", "COPY_FREE_VARS", "EXTENDED_ARG", "NOT_TAKEN")
def _nothing(tr: Tracer, f: Frame, i: Any) -> None:
    pass


@op("POP_TOP", "END_FOR_ITER")
def _pop(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.pop()


@op("PUSH_NULL")
def _push_null(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(NULL)


@op("COPY")
def _copy(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(f.stack[-i.arg])


@op("SWAP")
def _swap(tr: Tracer, f: Frame, i: Any) -> None:
    s = f.stack
    s[-1], s[-i.arg] = s[-i.arg], s[-1]


@op("LOAD_CONST")
def _load_const(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(i.argval)


# ---------------------------------------------------------------- variables


def local(tr: Tracer, f: Frame, name: str) -> Any:
    v = f.names.get(name, MISSING)
    if v is MISSING:
        raise UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")
    if type(v) is Pending:
        v = f.names[name] = tr.reach(v.value, v.source)
    return v


@op("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW")
def _load_fast(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.names.get(i.argval, MISSING)
    if v is MISSING or type(v) is Pending:
        v = local(tr, f, i.argval)
    f.stack.append(v)


@op("STORE_FAST")
def _store_fast(tr: Tracer, f: Frame, i: Any) -> None:
    f.names[i.argval] = f.stack.pop()


@op("DELETE_FAST")
def _delete_fast(tr: Tracer, f: Frame, i: Any) -> None:
    local(tr, f, i.argval)
    del f.names[i.argval]


@op("LOAD_CLOSURE")
def _load_closure(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(f.names[i.argval])


@op("MAKE_CELL")
def _make_cell(tr: Tracer, f: Frame, i: Any) -> None:
    name = i.argval
    f.names[name] = types.CellType(local(tr, f, name)) if name in f.names else types.CellType()


@op("LOAD_DEREF")
def _load_deref(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(tr.load_cell(f.names[i.argval], i.argval))


@op("STORE_DEREF")
def _store_deref(tr: Tracer, f: Frame, i: Any) -> None:
    tr.store_cell(f.names[i.argval], f.stack.pop())


@op("DELETE_DEREF")
def _delete_deref(tr: Tracer, f: Frame, i: Any) -> None:
    cell = f.names[i.argval]
    if tr.source_of(cell) is not None:
        raise Break("a variable of an outer function is deleted")
    del cell.cell_contents


@op("LOAD_GLOBAL")
def _load_global(tr: Tracer, f: Frame, i: Any) -> None:
    if i.arg & 1:
        f.stack.append(NULL)
    f.stack.append(tr.load_global(f.globals, f.builtins, i.argval))


@op("STORE_GLOBAL")
def _store_global(tr: Tracer, f: Frame, i: Any) -> None:
    tr.store_global(f.globals, i.argval, f.stack.pop())


# ---------------------------------------------------------------- attributes and items


@op("LOAD_ATTR")
def _load_attr(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(tr.load_attr(f.stack.pop(), i.argval))


@op("LOAD_METHOD")
def _load_method(tr: Tracer, f: Frame, i: Any) -> None:
    obj = f.stack.pop()
    f.stack += (NULL, tr.load_attr(obj, i.argval))


@op("STORE_ATTR")
def _store_attr(tr: Tracer, f: Frame, i: Any) -> None:
    obj = f.stack.pop()
    tr.store_attr(obj, i.argval, f.stack.pop())


@op("DELETE_ATTR")
def _delete_attr(tr: Tracer, f: Frame, i: Any) -> None:
    tr.delete_attr(f.stack.pop(), i.argval)


@op("BINARY_SUBSCR")
def _subscript(tr: Tracer, f: Frame, i: Any) -> None:
    key = f.stack.pop()
    f.stack.append(ops.subscript(tr, f.stack.pop(), key))


@op("STORE_SUBSCR")
def _store_subscript(tr: Tracer, f: Frame, i: Any) -> None:
    key, c, v = f.stack.pop(), f.stack.pop(), f.stack.pop()
    ops.store_subscript(tr, c, key, v)


@op("DELETE_SUBSCR")
def _delete_subscript(tr: Tracer, f: Frame, i: Any) -> None:
    key = f.stack.pop()
    ops.delete_subscript(tr, f.stack.pop(), key)


# ---------------------------------------------------------------- operators


@op("BINARY_OP")
def _binary(tr: Tracer, f: Frame, i: Any) -> None:
    y = f.stack.pop()
    f.stack.append(ops.binary(tr, i.argrepr, f.stack.pop(), y))


@op("COMPARE_OP")
def _compare(tr: Tracer, f: Frame, i: Any) -> None:
    y = f.stack.pop()
    f.stack.append(ops.binary(tr, i.argval, f.stack.pop(), y))


@op("UNARY_NEGATIVE")
def _negative(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(ops.unary(tr, "-", f.stack.pop()))


@op("UNARY_POSITIVE")
def _positive(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(ops.unary(tr, "+", f.stack.pop()))


@op("UNARY_INVERT")
def _invert(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(ops.unary(tr, "~", f.stack.pop()))


@op("UNARY_NOT")
def _not(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(not tr.truth(f.stack.pop()))


@op("IS_OP")
def _is(tr: Tracer, f: Frame, i: Any) -> None:
    y, x = f.stack.pop(), f.stack.pop()
    f.stack.append((x is not y) if i.arg else (x is y))


@op("CONTAINS_OP")
def _contains(tr: Tracer, f: Frame, i: Any) -> None:
    c, x = f.stack.pop(), f.stack.pop()
    f.stack.append(tr.contains(c, x) != bool(i.arg))


# ---------------------------------------------------------------- making containers


@op("BUILD_TUPLE", "BUILD_LIST", "BUILD_SET")
def _build(tr: Tracer, f: Frame, i: Any) -> None:
    n = i.arg
    items = f.stack[len(f.stack) - n :]
    del f.stack[len(f.stack) - n :]
    if i.opname == "BUILD_SET":
        for x in items:
            tr.hashable(x)
    f.stack.append({"BUILD_TUPLE": tuple, "BUILD_LIST": list, "BUILD_SET": set}[i.opname](items))


@op("BUILD_MAP")
def _build_map(tr: Tracer, f: Frame, i: Any) -> None:
    n = 2 * i.arg
    items = f.stack[len(f.stack) - n :]
    del f.stack[len(f.stack) - n :]
    for k in items[::2]:
        tr.hashable(k)
    f.stack.append(dict(zip(items[::2], items[1::2], strict=True)))


@op("BUILD_CONST_KEY_MAP")
def _build_const_map(tr: Tracer, f: Frame, i: Any) -> None:
    keys = f.stack.pop()
    items = f.stack[len(f.stack) - i.arg :]
    del f.stack[len(f.stack) - i.arg :]
    f.stack.append(dict(zip(keys, items, strict=True)))


@op("BUILD_STRING")
def _build_string(tr: Tracer, f: Frame, i: Any) -> None:
    parts = f.stack[len(f.stack) - i.arg :]
    del f.stack[len(f.stack) - i.arg :]
    f.stack.append("".join(parts))


@op("BUILD_SLICE")
def _build_slice(tr: Tracer, f: Frame, i: Any) -> None:
    parts = f.stack[len(f.stack) - i.arg :]
    del f.stack[len(f.stack) - i.arg :]
    f.stack.append(slice(*parts))


@op("LIST_APPEND")
def _list_append(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.stack.pop()
    f.stack[-i.arg].append(v)


@op("SET_ADD")
def _set_add(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.stack.pop()
    tr.hashable(v)
    f.stack[-i.arg].add(v)


@op("MAP_ADD")
def _map_add(tr: Tracer, f: Frame, i: Any) -> None:
    v, k = f.stack.pop(), f.stack.pop()
    f.stack[-i.arg][k] = v


@op("LIST_EXTEND")
def _list_extend(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.stack.pop()
    f.stack[-i.arg].extend(ops.unpack(tr, v))


@op("SET_UPDATE")
def _set_update(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.stack.pop()
    f.stack[-i.arg].update(ops.unpack(tr, v))


@op("DICT_UPDATE", "DICT_MERGE")
def _dict_update(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.stack.pop()
    if not isinstance(v, dict):
        keys = ops.unpack(tr, tr.call(tr.load_attr(v, "keys"), (), {}))
        v = {k: ops.subscript(tr, v, k) for k in keys}
    else:
        tr.scan(v)
    into = f.stack[-i.arg]
    if i.opname == "DICT_MERGE":
        for k in v:
            if k in into:
                raise TypeError(f"got multiple values for keyword argument '{k}'")
    into.update(v)


@op("LIST_TO_TUPLE")
def _list_to_tuple(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(tuple(f.stack.pop()))


@op("UNPACK_SEQUENCE")
def _unpack_sequence(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.stack.pop()
    items = ops.unpack(tr, v)
    if len(items) != i.arg:
        raise ValueError(f"not enough values to unpack (expected {i.arg}, got {len(items)})" if len(items) < i.arg
                         else f"too many values to unpack (expected {i.arg})")  # fmt: skip
    f.stack += items[::-1]


@op("UNPACK_EX")
def _unpack_ex(tr: Tracer, f: Frame, i: Any) -> None:
    before, after = i.arg & 0xFF, i.arg >> 8
    items = ops.unpack(tr, f.stack.pop())
    if len(items) < before + after:
        raise ValueError(f"not enough values to unpack (expected at least {before + after}, got {len(items)})")
    tail = items[len(items) - after :] if after else []
    f.stack += [*tail[::-1], items[before : len(items) - after], *items[:before][::-1]]


@op("GET_LEN")
def _get_len(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(tr.call(len, (f.stack[-1],), {}))


@op("FORMAT_VALUE")
def _format_value(tr: Tracer, f: Frame, i: Any) -> None:
    spec = f.stack.pop() if i.arg & 4 else ""
    f.stack.append(formatted(tr, f.stack.pop(), i.arg & 3, spec))


def formatted(tr: Tracer, v: Any, conversion: int, spec: str) -> str:
    """One field of an f-string."""
    from flambeau._capture.numbers import Tracked

    tr.deep(v)
    if not tr.native and not is_constant(v) and not isinstance(v, Tracked):
        fn = lookup(type(v), "__str__" if conversion < 2 else "__repr__")
        if isinstance(fn, types.FunctionType) and not (fn.__module__ or "").startswith("flambeau._"):
            v = tr.call(tr.load_attr(v, fn.__name__), (), {})
            conversion = 0
        elif isinstance(v, (type, types.FunctionType)) or (
            isinstance(v, BaseException) and all(map(is_constant, v.args))
        ):
            pass
        else:
            raise Break(f"a {type(v).__name__} is made a string")
    v = v.fixed() if isinstance(v, Tracked) else v
    v = str(v) if conversion == 1 else repr(v) if conversion == 2 else ascii(v) if conversion == 3 else v
    return format(v, spec)


# ---------------------------------------------------------------- jumps and loops


def jump(f: Frame, i: Any) -> None:
    f.ip = f.decoded.at[i.argval]


@op("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP")
def _jump(tr: Tracer, f: Frame, i: Any) -> None:
    jump(f, i)


@op("POP_JUMP_FORWARD_IF_FALSE", "POP_JUMP_BACKWARD_IF_FALSE", "POP_JUMP_IF_FALSE")
def _jump_if_false(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.stack.pop()
    if not (v if v is True or v is False else tr.truth(v)):
        jump(f, i)


@op("POP_JUMP_FORWARD_IF_TRUE", "POP_JUMP_BACKWARD_IF_TRUE", "POP_JUMP_IF_TRUE")
def _jump_if_true(tr: Tracer, f: Frame, i: Any) -> None:
    v = f.stack.pop()
    if v if v is True or v is False else tr.truth(v):
        jump(f, i)


@op("POP_JUMP_FORWARD_IF_NONE", "POP_JUMP_BACKWARD_IF_NONE", "POP_JUMP_IF_NONE")
def _jump_if_none(tr: Tracer, f: Frame, i: Any) -> None:
    if f.stack.pop() is None:
        jump(f, i)


@op("POP_JUMP_FORWARD_IF_NOT_NONE", "POP_JUMP_BACKWARD_IF_NOT_NONE", "POP_JUMP_IF_NOT_NONE")
def _jump_if_not_none(tr: Tracer, f: Frame, i: Any) -> None:
    if f.stack.pop() is not None:
        jump(f, i)


@op("JUMP_IF_FALSE_OR_POP")
def _jump_if_false_or_pop(tr: Tracer, f: Frame, i: Any) -> None:
    if not tr.truth(f.stack[-1]):
        jump(f, i)
    else:
        f.stack.pop()


@op("JUMP_IF_TRUE_OR_POP")
def _jump_if_true_or_pop(tr: Tracer, f: Frame, i: Any) -> None:
    if tr.truth(f.stack[-1]):
        jump(f, i)
    else:
        f.stack.pop()


@op("GET_ITER")
def _get_iter(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(ops.iterate(tr, f.stack.pop()))


@op("FOR_ITER")
def _for_iter(tr: Tracer, f: Frame, i: Any) -> None:
    try:
        f.stack.append(ops.advance(tr, f.stack[-1]))
    except StopIteration:
        f.stack.pop()
        jump(f, i)


# ---------------------------------------------------------------- calls


@op("KW_NAMES")
def _kw_names(tr: Tracer, f: Frame, i: Any) -> None:
    f.kwnames = f.code.co_consts[i.arg]


@op("CALL")
def _call(tr: Tracer, f: Frame, i: Any) -> None:
    s, n, names = f.stack, i.arg, f.kwnames
    f.kwnames = ()
    args = s[len(s) - n :]
    del s[len(s) - n :]
    x, y = s.pop(), s.pop()  # 3.11: method, self  or  NULL, callable
    if y is NULL:
        fn = x
    else:
        fn, args = y, [x, *args]
    kwargs = dict(zip(names, args[len(args) - len(names) :], strict=True)) if names else {}
    if names:
        args = args[: len(args) - len(names)]
    if fn is super and not args:
        s.append(_super(tr, f))
        return
    s.append(tr.call(fn, tuple(args), kwargs))


def _super(tr: Tracer, f: Frame) -> Any:
    """`super()` without arguments: the class that defines the function, and its first argument."""
    cls = tr.load_cell(f.names["__class__"], "__class__")
    name = f.code.co_varnames[0]
    me = f.names[name]
    if type(me) is types.CellType:
        me = tr.load_cell(me, name)
    else:
        me = local(tr, f, name)
    return super(cls, me)


@op("CALL_FUNCTION_EX")
def _call_ex(tr: Tracer, f: Frame, i: Any) -> None:
    s = f.stack
    kwargs = s.pop() if i.arg & 1 else {}
    args = s.pop()
    fn = s.pop()
    if s and s[-1] is NULL:
        s.pop()
    if isinstance(kwargs, dict):
        tr.scan(kwargs)
    s.append(tr.call(fn, tuple(ops.unpack(tr, args)), dict(kwargs)))


@op("MAKE_FUNCTION")
def _make_function(tr: Tracer, f: Frame, i: Any) -> None:
    s, flags = f.stack, i.arg or 0
    code = s.pop()
    cells = s.pop() if flags & 8 else None
    notes = s.pop() if flags & 4 else None
    kwdefaults = s.pop() if flags & 2 else None
    defaults = s.pop() if flags & 1 else None
    fn = types.FunctionType(code, f.globals, code.co_name, defaults, cells)
    fn.__kwdefaults__, fn.__qualname__ = kwdefaults, code.co_qualname
    if notes:
        fn.__annotations__ = dict(zip(notes[::2], notes[1::2], strict=True)) if isinstance(notes, tuple) else notes
    s.append(fn)


@op("RETURN_VALUE")
def _return(tr: Tracer, f: Frame, i: Any) -> Any:
    return (f.stack.pop(),)


@op("LOAD_BUILD_CLASS")
def _build_class(tr: Tracer, f: Frame, i: Any) -> None:
    if not tr.native:
        raise Break("a class is defined", "define it outside")
    f.stack.append(f.builtins["__build_class__"])


# ---------------------------------------------------------------- generators


@op("RETURN_GENERATOR")
def _return_generator(tr: Tracer, f: Frame, i: Any) -> Any:
    return (Generator(tr, f),)


@op("YIELD_VALUE")
def _yield(tr: Tracer, f: Frame, i: Any) -> Any:
    f.yielded = True
    return (f.stack.pop(),)


@op("GET_YIELD_FROM_ITER")
def _get_yield_from(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(ops.iterate(tr, f.stack.pop()))


@op("SEND")
def _send(tr: Tracer, f: Frame, i: Any) -> None:
    v, it = f.stack.pop(), f.stack[-1]
    try:
        made = ops.advance(tr, it) if v is None else it.send(v)
    except StopIteration as e:
        f.stack[-1] = e.value
        jump(f, i)
        return
    f.stack.append(made)


# ---------------------------------------------------------------- exceptions and with


@op("RAISE_VARARGS")
def _raise(tr: Tracer, f: Frame, i: Any) -> None:
    if i.arg == 0:
        if f.exc is None:
            raise Break("a bare raise outside of a handler")
        raise f.exc
    cause = f.stack.pop() if i.arg == 2 else None
    e = f.stack.pop()
    if isinstance(e, type):
        e = tr.call(e, (), {})
    if i.arg == 2:
        raise e from cause
    raise e


@op("RERAISE")
def _reraise(tr: Tracer, f: Frame, i: Any) -> None:
    e = f.stack.pop()
    if i.arg:
        f.stack.pop()
    raise e


@op("PUSH_EXC_INFO")
def _push_exc(tr: Tracer, f: Frame, i: Any) -> None:
    e = f.stack.pop()
    f.stack += (f.exc, e)
    f.exc = e


@op("POP_EXCEPT")
def _pop_except(tr: Tracer, f: Frame, i: Any) -> None:
    f.exc = f.stack.pop()


@op("CHECK_EXC_MATCH")
def _check_exc(tr: Tracer, f: Frame, i: Any) -> None:
    kinds = f.stack.pop()
    tr.deep(kinds)
    f.stack.append(isinstance(f.stack[-1], kinds))


@op("BEFORE_WITH")
def _before_with(tr: Tracer, f: Frame, i: Any) -> None:
    manager = f.stack.pop()
    leave = tr.load_attr(manager, "__exit__")
    enter = tr.load_attr(manager, "__enter__")
    f.stack.append(leave)
    f.stack.append(tr.call(enter, (), {}))


@op("WITH_EXCEPT_START")
def _with_except(tr: Tracer, f: Frame, i: Any) -> None:
    e, leave = f.stack[-1], f.stack[-4]
    f.stack.append(tr.call(leave, (type(e), e, e.__traceback__), {}))


@op("LOAD_ASSERTION_ERROR")
def _assertion_error(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(AssertionError)


# ---------------------------------------------------------------- imports, matching


@op("IMPORT_NAME")
def _import(tr: Tracer, f: Frame, i: Any) -> None:
    names, level = f.stack.pop(), f.stack.pop()
    module = __import__(i.argval, f.globals, None, names, level)
    tr.register(module, tr.constant(module))
    f.stack.append(module)


@op("IMPORT_FROM")
def _import_from(tr: Tracer, f: Frame, i: Any) -> None:
    f.stack.append(tr.load_attr(f.stack[-1], i.argval))


@op("MATCH_SEQUENCE", "MATCH_MAPPING")
def _match_kind(tr: Tracer, f: Frame, i: Any) -> None:
    import collections.abc

    kind = collections.abc.Sequence if i.opname == "MATCH_SEQUENCE" else collections.abc.Mapping
    f.stack.append(isinstance(f.stack[-1], kind) and not isinstance(f.stack[-1], (str, bytes, bytearray)))


@op("MATCH_KEYS")
def _match_keys(tr: Tracer, f: Frame, i: Any) -> None:
    keys, c = f.stack[-1], f.stack[-2]
    f.stack.append(tuple(ops.subscript(tr, c, k) for k in keys) if all(tr.contains(c, k) for k in keys) else None)


@op("MATCH_CLASS")
def _match_class(tr: Tracer, f: Frame, i: Any) -> None:
    names, cls, x = f.stack.pop(), f.stack.pop(), f.stack.pop()
    if not isinstance(x, cls):
        f.stack.append(None)
        return
    order = getattr(cls, "__match_args__", ())
    if i.arg and not order:
        if i.arg == 1 and cls in (bool, bytes, dict, float, frozenset, int, list, set, str, tuple):
            f.stack.append((x,))
            return
        raise Break("a class pattern by position")
    try:
        f.stack.append(tuple(tr.load_attr(x, n) for n in (*order[: i.arg], *names)))
    except AttributeError:
        f.stack.append(None)

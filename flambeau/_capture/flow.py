"""What instructions do to a frame, continued: jumps and loops, calls, generators, exceptions and `with`."""

from __future__ import annotations

import types
from typing import Any

from flambeau._capture import operations as ops
from flambeau._capture.breaks import Break
from flambeau._capture.bytecode import Instruction
from flambeau._capture.frame import NULL, Frame, op
from flambeau._capture.generators import Generator, finish
from flambeau._capture.instructions import local
from flambeau._capture.tracer import Tracer
from flambeau._tensor import Tensor

# ---------------------------------------------------------------- jumps and loops


@op("JUMP")
def _jump(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.ip = i.target


@op("POP_JUMP_IF_FALSE")
def _jump_if_false(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.stack.pop()
    if not (v if v is True or v is False else _decided(tr, f, v, i)):
        f.ip = i.target


@op("POP_JUMP_IF_TRUE")
def _jump_if_true(tr: Tracer, f: Frame, i: Instruction) -> None:
    v = f.stack.pop()
    if v if v is True or v is False else _decided(tr, f, v, i):
        f.ip = i.target


@op("POP_JUMP_IF_NONE")
def _jump_if_none(tr: Tracer, f: Frame, i: Instruction) -> None:
    if f.stack.pop() is None:
        f.ip = i.target


@op("POP_JUMP_IF_NOT_NONE")
def _jump_if_not_none(tr: Tracer, f: Frame, i: Instruction) -> None:
    if f.stack.pop() is not None:
        f.ip = i.target


@op("JUMP_IF_FALSE_OR_POP")
def _jump_if_false_or_pop(tr: Tracer, f: Frame, i: Instruction) -> None:
    if not tr.truth(f.stack[-1]):
        f.ip = i.target
    else:
        f.stack.pop()


@op("JUMP_IF_TRUE_OR_POP")
def _jump_if_true_or_pop(tr: Tracer, f: Frame, i: Instruction) -> None:
    if tr.truth(f.stack[-1]):
        f.ip = i.target
    else:
        f.stack.pop()


@op("TO_BOOL")
def _to_bool(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(_decided(tr, f, f.stack.pop(), f.decoded.instructions[f.ip]))


def _decided(tr: Tracer, f: Frame, v: Any, jump: Instruction) -> bool:
    """The truth of what a jump depends on. Of a tensor that is none, unless one side does nothing but raise an error: what makes the
    other side go on is assumed, and looked at when the program has run."""
    if not isinstance(v, Tensor) or tr.native or not tr.assumes or jump.name not in _JUMPS:
        return tr.truth(v)
    after = f.decoded.instructions.index(jump, max(f.ip - 1, 0)) + 1
    true, false = (after, jump.target) if jump.name == "POP_JUMP_IF_FALSE" else (jump.target, after)
    raising = _raises(f, true), _raises(f, false)
    if raising[0] == raising[1]:
        return tr.truth(v)
    return tr.assume(v, not raising[0])


_JUMPS = ("POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE")
_GOES = (
    "JUMP",
    "RETURN_VALUE",
    "FOR_ITER",
    "SEND",
    "YIELD_VALUE",
    "BEFORE_WITH",
    "RERAISE",
    "STORE_GLOBAL",
    "STORE_ATTR",
    "STORE_SUBSCR",
)


def _raises(f: Frame, at: int) -> bool:
    """Whether the instructions from here on lead straight to an error."""
    for i in f.decoded.instructions[at : at + 120]:
        if i.name == "RAISE_VARARGS":
            return True
        if i.name in _GOES or i.target >= 0:
            return False
    return False


@op("GET_ITER")
def _get_iter(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(ops.iterate(tr, f.stack.pop()))


@op("FOR_ITER")
def _for_iter(tr: Tracer, f: Frame, i: Instruction) -> None:
    try:
        f.stack.append(ops.advance(tr, f.stack[-1]))
    except StopIteration:
        f.stack.pop()
        f.ip = i.target


# ---------------------------------------------------------------- calls


@op("CALL", "CALL_KW")
def _call(tr: Tracer, f: Frame, i: Instruction) -> None:
    s, n = f.stack, i.arg
    names = s.pop() if i.name == "CALL_KW" else ()
    args = s[len(s) - n :]
    del s[len(s) - n :]
    top, under = s.pop(), s.pop()
    if under is NULL or top is NULL:
        fn = top if under is NULL else under  # the callable has its NULL below it until 3.12, above it since
    else:
        fn, args = under, [top, *args]
    kwargs = dict(zip(names, args[len(args) - len(names) :], strict=True)) if names else {}
    if names:
        args = args[: len(args) - len(names)]
    if fn is super and not args:
        s.append(_super(tr, f))
        return
    s.append(tr.call(fn, tuple(args), kwargs, True))


@op("LOAD_SUPER")
def _load_super(tr: Tracer, f: Frame, i: Instruction) -> None:
    me, cls, fn = f.stack.pop(), f.stack.pop(), f.stack.pop()
    f.stack.append(super(cls, me) if fn is super else tr.call(fn, (cls, me) if i.arg else (), {}))


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
def _call_ex(tr: Tracer, f: Frame, i: Instruction) -> None:
    s = f.stack
    kwargs = s.pop() if i.arg & 1 else {}
    args = s.pop()
    top, under = s.pop(), s.pop()
    fn = under if top is NULL else top
    if isinstance(kwargs, dict):
        tr.scan(kwargs)
    s.append(tr.call(fn, tuple(ops.unpack(tr, args)), dict(kwargs), True))


@op("MAKE_FUNCTION")
def _make_function(tr: Tracer, f: Frame, i: Instruction) -> None:
    s, flags = f.stack, i.arg
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
def _return(tr: Tracer, f: Frame, i: Instruction) -> Any:
    return (f.stack.pop(),)


@op("LOAD_BUILD_CLASS")
def _build_class(tr: Tracer, f: Frame, i: Instruction) -> None:
    if not tr.native:
        raise Break("a class is defined", "define it outside")
    f.stack.append(f.builtins["__build_class__"])


# ---------------------------------------------------------------- generators


@op("RETURN_GENERATOR")
def _return_generator(tr: Tracer, f: Frame, i: Instruction) -> Any:
    return (Generator(tr, f),)


@op("YIELD_VALUE")
def _yield(tr: Tracer, f: Frame, i: Instruction) -> Any:
    f.yielded = True
    return (f.stack.pop(),)


@op("GET_YIELD_FROM_ITER")
def _get_yield_from(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(ops.iterate(tr, f.stack.pop()))


@op("SEND")
def _send(tr: Tracer, f: Frame, i: Instruction) -> None:
    v, it = f.stack.pop(), f.stack[-1]
    try:
        made = ops.advance(tr, it) if v is None else it.send(v)
    except StopIteration as e:
        finish(f, i, e.value)
        return
    f.stack.append(made)


@op("END_SEND")
def _end_send(tr: Tracer, f: Frame, i: Instruction) -> None:
    del f.stack[-2]


@op("CLEANUP_THROW")
def _cleanup_throw(tr: Tracer, f: Frame, i: Instruction) -> None:
    e = f.stack.pop()
    if not isinstance(e, StopIteration):
        raise e
    f.stack[-1] = e.value


@op("STOPITERATION_ERROR")
def _stop_iteration_error(tr: Tracer, f: Frame, i: Instruction) -> None:
    e = f.stack.pop()
    if isinstance(e, StopIteration):
        made = RuntimeError("generator raised StopIteration")
        made.__cause__ = made.__context__ = e
        e = made
    f.stack.append(e)


# ---------------------------------------------------------------- exceptions and with


@op("RAISE_VARARGS")
def _raise(tr: Tracer, f: Frame, i: Instruction) -> None:
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
def _reraise(tr: Tracer, f: Frame, i: Instruction) -> None:
    e = f.stack.pop()
    if i.arg:
        f.stack.pop()
    raise e


@op("PUSH_EXC_INFO")
def _push_exc(tr: Tracer, f: Frame, i: Instruction) -> None:
    e = f.stack.pop()
    f.stack += (f.exc, e)
    f.exc = e


@op("POP_EXCEPT")
def _pop_except(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.exc = f.stack.pop()


@op("CHECK_EXC_MATCH")
def _check_exc(tr: Tracer, f: Frame, i: Instruction) -> None:
    kinds = f.stack.pop()
    tr.deep(kinds)
    f.stack.append(isinstance(f.stack[-1], kinds))


@op("BEFORE_WITH")
def _before_with(tr: Tracer, f: Frame, i: Instruction) -> None:
    manager = f.stack.pop()
    leave = tr.load_attr(manager, "__exit__")
    enter = tr.load_attr(manager, "__enter__")
    f.stack.append(leave)
    f.stack.append(tr.call(enter, (), {}))


@op("WITH_EXCEPT_START")
def _with_except(tr: Tracer, f: Frame, i: Instruction) -> None:
    e, leave = f.stack[-1], f.stack[-4]
    f.stack.append(tr.call(leave, (type(e), e, e.__traceback__), {}))


@op("LOAD_ASSERTION_ERROR")
def _assertion_error(tr: Tracer, f: Frame, i: Instruction) -> None:
    f.stack.append(AssertionError)

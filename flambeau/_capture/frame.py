"""Frames of calls that are interpreted, and the loop that runs them. What the instructions do is `instructions` and `flow`."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, TypeVar

from flambeau._capture import mistakes
from flambeau._capture.breaks import Break
from flambeau._capture.bytecode import Instruction, decode

NULL: Any = type("Null", (), {"__repr__": lambda self: "NULL"})()
F = TypeVar("F", bound=Callable[..., Any])
HANDLERS: dict[str, Callable[..., Any]] = {}  # by the names of instructions


class Stop(BaseException):
    """A frame has come to where this capture is to end."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame


class Pending:
    """An argument that nobody has read yet."""

    __slots__ = ("source", "value")

    def __init__(self, value: Any, source: Any) -> None:
        self.value, self.source = value, source


class Frame:
    """One call: its code, variables, stack, and place."""

    __slots__ = (
        "at", "builtins", "caller", "code", "decoded", "exc", "globals", "ip", "names", "stack", "tail", "yielded",
    )  # fmt: skip

    def __init__(
        self, code: types.CodeType, globals: dict[str, Any], names: dict[str, Any], cells: tuple[Any, ...] = ()
    ) -> None:
        self.code, self.globals, self.names = code, globals, names
        self.decoded = decode(code)
        held = globals.get("__builtins__")
        self.builtins: Any = held if isinstance(held, dict) else vars(held) if held is not None else __builtins__
        self.names.update(zip(code.co_freevars, cells, strict=False))
        self.stack: list[Any] = []
        self.ip = 0
        self.exc: Any = None
        self.yielded = False
        self.caller: Frame | None = None  # in whose instruction this call is made
        self.tail = False  # whether that instruction does nothing more than push this call's result
        self.at = 0  # when the current instruction was begun

    @property
    def instruction(self) -> Instruction:
        """The current instruction."""
        return self.decoded.instructions[max(self.ip - 1, 0)]

    @property
    def line(self) -> int:
        """The line of the current instruction."""
        return self.instruction.line or self.code.co_firstlineno


def run(tr: Any, f: Frame) -> Any:
    """Run until the function returns (or, in a generator, yields)."""
    instructions = f.decoded.instructions
    tr.depth += 1
    outer, tr.frame = tr.frame, f
    if not f.tail:
        f.caller = outer
    try:
        while True:
            i = instructions[f.ip]
            tr.count += 1
            if tr.count == tr.stop_at:
                raise Stop(f)
            f.at = tr.count
            f.ip += 1
            try:
                leaving = HANDLERS[i.name](tr, f, i)
                if leaving is not None:
                    return leaving[0]
            except (Break, Stop) as b:
                if isinstance(b, Break) and b.frame is None:
                    b.place(f)
                raise
            except BaseException as e:
                if not unwind(f, e):
                    raise
                if not tr.native:
                    mistakes.handled(e)
    finally:
        tr.depth -= 1
        tr.frame = outer


def unwind(f: Frame, e: BaseException) -> bool:
    """Go to the handler of an exception of the current instruction, if there is one."""
    offset = f.instruction.offset
    for start, end, target, depth, lasti in f.decoded.handlers:
        if start <= offset < end:
            del f.stack[depth:]
            if lasti:
                f.stack.append(offset)
            f.stack.append(e)
            f.ip = target
            return True
    return False


def run_all(tr: Any, frames: list[Frame]) -> Any:
    """Run the last of frames that wait for one another, then each of the others with what the one after it gave."""
    while True:
        try:
            result = run(tr, frames[-1])
        except (Break, Stop):
            raise
        except BaseException as e:
            frames.pop()
            if not unwind_all(frames, e):
                raise
        else:
            frames.pop()
            if not frames:
                return result
            frames[-1].stack.append(result)


def unwind_all(frames: list[Frame], e: BaseException) -> bool:
    """Go to the handler of an exception in the last frame that has one; those after it are left."""
    while frames:
        if unwind(frames[-1], e):
            return True
        frames.pop()
    return False


def callers(f: Frame) -> list[Frame]:
    """A frame and all that wait for it, the outermost first."""
    found = [f]
    while (caller := found[-1].caller) is not None:
        found.append(caller)
    return found[::-1]


def op(*names: str) -> Callable[[F], F]:
    """The function carries out instructions of these names."""

    def add(fn: F) -> F:
        for name in names:
            HANDLERS[name] = fn
        return fn

    return add

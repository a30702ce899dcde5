"""Generators whose bodies a capture follows."""

from __future__ import annotations

import builtins
from typing import Any

from flambeau._capture.frame import Frame, run, unwind


class Generator:
    """What a generator function returns in a capture."""

    traced_iterator = True

    def __init__(self, tr: Any, f: Frame) -> None:
        self.tr, self.f, self.done = tr, f, False
        tr.generators.append(self)

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
        if f.instruction.name == "YIELD_VALUE" and f.instruction.arg:
            return self._throw_within(f, e)
        return self._raise(e)

    def _throw_within(self, f: Frame, e: BaseException) -> Any:
        """`yield from` hands the exception on to the iterator that it waits for."""
        inner = f.stack[-1]
        try:
            if isinstance(e, GeneratorExit):
                if hasattr(inner, "close"):
                    inner.close()
            elif hasattr(inner, "throw"):
                return inner.throw(e)
        except StopIteration as s:
            finish(f, f.decoded.instructions[f.ip - 2], s.value)
            return self._go()
        except BaseException as raised:
            e = raised
        return self._raise(e)

    def _raise(self, e: BaseException) -> Any:
        self.f.stack.append(None)  # in the place of what would have been sent
        if not unwind(self.f, e):
            self.done = True
            raise e
        return self._go()

    @property
    def unfinished(self) -> bool:
        """Whether it waits where something is left to be done when it is thrown away."""
        return not (self.done or self.f.ip == 0 or self._ends(self.f.instruction.offset))

    def _ends(self, offset: int) -> bool:
        """Whether a GeneratorExit raised at an offset leaves at once: what handles exceptions there asks for others (`except IndexError`)."""
        code = self.f.decoded
        at = next((target for start, end, target, *_ in code.handlers if start <= offset < end), None)
        if at is None or code.instructions[at].name == "STOPITERATION_ERROR":  # since 3.12 around all
            return True
        asked: list[Any] = []
        while (i := code.instructions[at]).name != "RERAISE":
            at += 1
            if i.name == "LOAD_GLOBAL":
                asked.append(self.f.globals.get(i.arg, getattr(builtins, i.arg, None)))
            elif i.name == "POP_JUMP_IF_FALSE":
                if not all(isinstance(e, type) and issubclass(e, Exception) for e in asked):
                    return False
                asked, at = [], i.target
            elif i.name not in ("PUSH_EXC_INFO", "CHECK_EXC_MATCH", "BUILD_TUPLE", "COPY", "POP_EXCEPT"):
                return False
        return self._ends(i.offset)

    def close(self) -> None:
        if self.done or self.f.ip == 0:
            self.done = True
            return
        try:
            self.throw(GeneratorExit())
        except (GeneratorExit, StopIteration):
            return
        raise RuntimeError("generator ignored GeneratorExit")


def finish(f: Frame, send: Any, value: Any) -> None:
    """The iterator of a `yield from` is exhausted: its value is the expression's."""
    if send.arg is True:
        f.stack[-1] = value
    else:
        f.stack.append(value)  # END_SEND takes the iterator away
    f.ip = send.target

"""Carries out instructions for real, between two programs: what could not be captured happens here, in the frame that waits for it."""

from __future__ import annotations

import types
from typing import Any

from flambeau._capture import asking, frame
from flambeau._capture.frame import Frame


class Native:
    """The tracer's interface, without any tracing."""

    native = True
    stop_at = -1
    depth = count = 0
    frame: Any = None

    def __init__(self, call: Any = None) -> None:
        self._call = call

    def load_attr(self, obj: Any, name: str) -> Any:
        return getattr(obj, name)

    def store_attr(self, obj: Any, name: str, value: Any) -> None:
        setattr(obj, name, value)

    def delete_attr(self, obj: Any, name: str) -> None:
        delattr(obj, name)

    def truth(self, x: Any) -> bool:
        return bool(x)

    def identical(self, x: Any, y: Any) -> bool:
        return x is y

    def contains(self, c: Any, x: Any) -> bool:
        return x in c

    def load_global(self, space: dict[str, Any], builtins: dict[str, Any], name: str) -> Any:
        if name in space:
            return space[name]
        if name in builtins:
            return builtins[name]
        raise NameError(f"name '{name}' is not defined")

    def store_global(self, space: dict[str, Any], name: str, value: Any) -> None:
        space[name] = value

    def load_cell(self, cell: Any, name: str) -> Any:
        try:
            return cell.cell_contents
        except ValueError:
            raise NameError(f"cannot access free variable '{name}' where it is not associated with a value") from None

    def store_cell(self, cell: Any, value: Any) -> None:
        cell.cell_contents = value

    def call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tail: bool = False) -> Any:
        if self._call is not None and type(fn) in (types.FunctionType, types.MethodType):
            return self._call(fn, args, kwargs)
        meant = asking.asked(self, fn, args, kwargs)
        if meant is not None:
            return meant()
        return fn(*args, **kwargs)

    def reach(self, value: Any, source: Any) -> Any:
        return value

    def source_of(self, x: Any) -> None:
        return None

    def _nothing(self, *args: Any) -> None:
        pass

    scan = deep = hashable = register = constant = _nothing


def step(tr: Native, frames: list[Frame]) -> tuple[Any] | None:
    """One instruction of the last frame; a 1-tuple where the first returned. After an exception all the rest is carried out."""
    f = tr.frame = frames[-1]
    i = f.decoded.instructions[f.ip]
    f.ip += 1
    try:
        result: tuple[Any] | None = frame.HANDLERS[i.name](tr, f, i)
    except BaseException as e:
        if not frame.unwind_all(frames, e):
            raise
        return (frame.run_all(tr, frames),)
    if result is None:
        return None
    frames.pop()
    if not frames:
        return result
    frames[-1].stack.append(result[0])
    return None

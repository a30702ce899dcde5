"""Functions of Python's that look at who calls them: `locals`, `globals`, `eval` and their like mean the frame that is interpreted."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from flambeau._capture.breaks import Break
from flambeau._capture.frame import Frame, Pending

ASKING = {f.__name__: f for f in (locals, vars, dir, eval, exec)}  # those that read any of a frame's variables, by name
_FUNCTION = 0x3  # the flags of code whose variables are a function's


def variables(tr: Any, f: Frame) -> dict[str, Any]:
    """What `locals()` gives in a frame: a new dictionary."""
    code = f.code
    if code.co_flags & _FUNCTION != _FUNCTION:
        raise Break("locals() in the body of a class")
    cells = {*code.co_cellvars, *code.co_freevars}
    found: dict[str, Any] = {}
    for name in dict.fromkeys((*code.co_varnames, *code.co_cellvars, *code.co_freevars)):
        if name not in f.names:
            continue
        v = f.names[name]
        if type(v) is Pending:
            v = f.names[name] = tr.reach(v.value, v.source)
        if name in cells and type(v) is types.CellType:
            try:
                v = tr.load_cell(v, name)
            except NameError:
                continue
        found[name] = v
    return found


def asked(tr: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any] | None:
    """What such a function does where it is called by a frame that is interpreted; None for all others."""
    f = tr.frame
    if type(fn) is not types.BuiltinFunctionType:
        return None
    if fn is globals:
        return lambda: f.globals
    if fn is locals or (fn is vars and not args):
        return lambda: variables(tr, f)
    if fn is dir and not args:
        return lambda: sorted(variables(tr, f))
    if (fn is eval or fn is exec) and args and (len(args) == 1 or args[1] is None) and not kwargs.get("globals"):
        own = variables(tr, f) if len(args) < 3 or args[2] is None else args[2]
        return lambda: fn(args[0], f.globals, own)
    return None


def reads_all(code: types.CodeType) -> bool:
    """Whether any variable of a function may be read by name."""
    return not ASKING.keys().isdisjoint(code.co_names)


__all__ = ["asked", "reads_all", "variables"]

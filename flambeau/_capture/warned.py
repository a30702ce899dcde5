"""Warnings in a capture: they are given again at each later call, where the function gave them, by the filters that hold then.

Not one is given while a capture lasts. Filters that make an error of a warning are assumed not to meet it: where one does, the call
of `warn` is a break. Under filters that the function itself sets (`catch_warnings`), only what is ignored can be captured.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from flambeau._capture.breaks import Break
from flambeau._capture.builtin_calls import HANDLERS, fixed, handles
from flambeau._capture.frame import Pending, callers
from flambeau._capture.tracer import Tracer


def raises(text: str, category: type[Warning]) -> bool:
    """Whether some filter that may meet a warning makes an error of it."""
    for action, message, kind, module, line in warnings.filters:
        if issubclass(category, kind) and (message is None or message.match(text)):
            if action == "error":
                return True
            if module is None and not line:
                return False
    return getattr(warnings, "defaultaction", "") == "error"


def again(text: str, category: type[Warning], file: str, line: int, space: dict[str, Any]) -> None:
    """The warning of a line of a function that was captured."""
    registry = space.setdefault("__warningregistry__", {})
    warnings.warn_explicit(text, category, file, line, space.get("__name__") or "<string>", registry)


def outside(text: str, category: type[Warning], level: int) -> None:
    """The warning of a caller of the compiled function: of the one that called it where `level` is 1."""
    n = 1
    while _ours(sys._getframe(n)):
        n += 1
    warnings.warn(text, category, stacklevel=n + level)


def _ours(frame: Any) -> bool:
    return frame.f_code.co_filename.startswith("<flambeau ") or str(frame.f_globals.get("__name__")).startswith(
        "flambeau._capture."
    )


@handles(warnings.warn)
def _warn(tr: Tracer, message: Any, category: Any = None, stacklevel: Any = 1, source: Any = None, **more: Any) -> None:
    if more.pop("skip_file_prefixes", ()) or source is not None:
        raise Break("warn() is called with the source of a warning")
    if isinstance(message, Warning):
        message, category = message.args[0] if len(message.args) == 1 else None, type(message)
    message, level = fixed(message), max(1, fixed(stacklevel))
    category = UserWarning if category is None else category
    if type(message) is not str or not isinstance(category, type) or not issubclass(category, Warning):
        raise Break("warn() is called with something other than a string and a class")
    if tr.journal.written(warnings.__dict__, "filters") or tr.journal.touched(warnings.filters):
        if _action(message, category) != "ignore":
            raise Break("a warning under filters that the function has set")
        return
    if raises(message, category):
        raise Break("a warning that is an error")
    if kept(tr):
        raise Break("a warning that the function itself looks at")
    frame = tr.frame
    while level > 1 and frame.caller is not None:
        frame, level = frame.caller, level - 1
    g = tr.guards
    text, kind = g.constant(message), g.constant(category)
    g.scope.update(warning_raises=raises, warn_again=again, warn_outside=outside)
    if g.once("warning", message, id(category)):
        g.check(f"warning_raises({text}, {kind})", f"the warning {message[:40]!r} is no error", None, True)
    if level > 1:
        tr.said.append(f"warn_outside({text}, {kind}, {level - 1})")
    else:
        place = f"{g.constant(frame.code.co_filename)}, {frame.line}, {g.constant(frame.globals)}"
        tr.said.append(f"warn_again({text}, {kind}, {place})")


def kept(tr: Tracer) -> bool:
    """Whether the function has the list in which warnings are kept: one that is given later would be missing there."""
    seen = getattr(warnings._showwarnmsg_impl, "__self__", None)  # type: ignore[attr-defined]
    if type(seen) is not list:
        return False
    frames = callers(tr.frame) if tr.frame is not None else []
    values = [v.value if type(v) is Pending else v for f in frames for v in (*f.names.values(), *f.stack)]
    return any(v is seen for v in values) or tr.looked_into(seen)


def _action(text: str, category: type[Warning]) -> str:
    """What the first filter says that certainly meets a warning; nothing where one before it may."""
    for action, message, kind, module, line in warnings.filters:
        if issubclass(category, kind) and (message is None or message.match(text)):
            return action if module is None and not line else ""
    return ""


def _mutated(tr: Tracer) -> None:
    """The function has set filters: those that remember what was said forget it."""
    tr.guards.scope["filters_mutated"] = mutated = _filters_mutated()
    mutated()
    if "filters_mutated()" not in tr.said[-1:]:
        tr.said.append("filters_mutated()")


def _filters_mutated() -> Any:
    name = "_filters_mutated" if hasattr(warnings, "_filters_mutated") else "_filters_mutated_lock_held"
    return getattr(warnings, name)


HANDLERS[_filters_mutated()] = _mutated

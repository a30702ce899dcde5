"""Which modules a call really uses."""

import sys
from typing import Any

__all__ = ["trace_dependencies"]


def trace_dependencies(callable: Any, inputs: Any) -> list[str]:
    """The modules of the functions that `callable(*args)` calls, for each args of `inputs`."""
    used = set()

    def note(frame, event, arg):
        if event != "call":
            return
        name = frame.f_code.co_name
        found = frame.f_globals.get(name, frame.f_locals.get(name))
        if found is None and "self" in frame.f_locals:
            found = getattr(frame.f_locals["self"], name, None)
        module = getattr(found, "__module__", None)
        if module:
            used.add(module)

    try:
        sys.setprofile(note)
        for args in inputs:
            callable(*args)
    finally:
        sys.setprofile(None)
    return list(used)

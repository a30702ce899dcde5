"""The compiler's own mistakes: told apart from the errors of programs, and told at all.

What a capture meets is an error of the program where eager code, which runs next, raises it as well; where eager code does not, the capture
was mistaken. One that the program's own handler would catch is looked at before: an attribute, a variable or a module that the compiler's
code does not find is nothing that the program asked for. A mistake costs speed only, so it is a warning, once for each place; with
`FLAMBEAU_STRICT=1`, which the test suite sets, it is raised.
"""

from __future__ import annotations

import dis
import os
import traceback
import types
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from flambeau._capture.breaks import Break
from flambeau._ground import dumps, flags

_HERE = os.path.dirname(__file__) + os.sep
_told: set[tuple[str, int]] = set()  # places
_asked: set[types.CodeType] = set()
# Instructions that fail only where the code that they stand in is wrong; what a program asks for by name is called (`getattr`).
_OWN = frozenset(
    ("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_SUPER_ATTR",
     "STORE_ATTR", "IMPORT_NAME", "IMPORT_FROM", "UNPACK_SEQUENCE", "UNPACK_EX")
)  # fmt: skip
_ITEMS = frozenset(("BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR", "BINARY_SLICE", "STORE_SLICE"))
F = TypeVar("F", bound=Callable[..., Any])


class CompilerError(RuntimeError):
    """`FLAMBEAU_STRICT`: the compiler has made a mistake."""


class Expected:
    """The outcome of a capture that met an error: eager code is to raise it, with all effects up to there."""

    def __init__(self, name: str, error: BaseException | None) -> None:
        self.name, self.error = name, error

    def met(self, eager: Callable[[], Any]) -> Any:
        """What eager code gives, which should be an error."""
        result = eager()
        if self.error is not None:
            tell(self.error, f"'{self.name}' is not captured, and runs eagerly")
        return result


def subscripts(fn: F) -> F:
    """The function's own code takes items for programs: what it does not find they have asked for."""
    _asked.add(fn.__code__)
    return fn


def ours(e: BaseException) -> bool:
    """Whether an error is about the code of this package, not about what a program asked it to do."""
    tb = e.__traceback__
    if tb is None or isinstance(e, Break):
        return False
    while tb.tb_next is not None:
        tb = tb.tb_next
    code = tb.tb_frame.f_code
    if not code.co_filename.startswith(_HERE):
        return False
    if type(e) is AssertionError:
        return True
    at = next((i.opname for i in dis.get_instructions(code) if i.offset == tb.tb_lasti), "")
    return at in _OWN or (at in _ITEMS and code not in _asked)


def within(e: BaseException) -> bool:
    """Whether an error was raised by the library's code."""
    tb = e.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is None or tb.tb_frame.f_code.co_filename.startswith(
        (os.path.dirname(_HERE.rstrip(os.sep)) + os.sep, "<flambeau ")
    )


def handled(e: BaseException) -> None:
    """An error is about to be caught by the program: not one of ours."""
    if isinstance(e, Exception) and ours(e):
        tell(e, "the capture stops there")
        raise Break(f"the compiler has made a mistake: {e!r}") from e


def tell(error: BaseException, what: str) -> None:
    """A mistake: raised where the switch says so; else a warning, once for each place."""
    if flags.get("strict"):
        raise CompilerError(f"{what}: {error!r}") from error
    if dumps.anything():
        dumps.say(f"# {what}, as the compiler has made a mistake:\n{''.join(traceback.format_exception(error))}")
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    place = ("", 0) if tb is None else (tb.tb_frame.f_code.co_filename, tb.tb_lineno)
    if place not in _told:
        _told.add(place)
        where = f" ({os.path.relpath(place[0], os.path.dirname(_HERE.rstrip(os.sep)))}:{place[1]})" if place[1] else ""
        warnings.warn(
            f"torch.compile: {what}: {type(error).__name__}: {error}{where}. This is a mistake of the compiler's, which costs speed only; "
            "FLAMBEAU_LOGS=breaks shows more", RuntimeWarning, stacklevel=3)  # fmt: skip

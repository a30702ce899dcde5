"""Stances: what compiled functions do when they would have to be captured."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau._eager import modes

NAMES = ("default", "eager_then_compile", "aot_eager_then_compile", "force_eager", "eager_on_recompile", "fail_on_recompile")  # fmt: skip
_now: list[tuple[str, Any]] = [("default", None)]


def stance() -> tuple[str, Any]:
    """The stance in force, and the backend it forces (or None)."""
    return _now[0]


def _change(to: tuple[str, Any]) -> tuple[str, Any]:
    before, _now[0] = _now[0], to
    if (before[0] == "force_eager") != (to[0] == "force_eager"):
        (modes.enter if to[0] == "force_eager" else modes.leave)("force_eager")
    return before


class set_stance:
    """Say what compiled functions do, from now on, within a block, or within a function.

    "default"; "force_eager": as if nothing were compiled; "eager_on_recompile": what was captured is used, nothing new is;
    "fail_on_recompile": nothing new is captured, and an error says so; "eager_then_compile", "aot_eager_then_compile": the first call of
    each function runs in Python, later ones compiled.

    >>> import flambeau as torch
    >>> double = torch.compile(lambda x: x * 2)
    >>> with torch.compiler.set_stance("force_eager"):
    ...     double(torch.ones(1))
    tensor([2.])
    """

    def __init__(
        self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend: Any = None
    ) -> None:
        if force_backend is not None and stance != "default":
            raise RuntimeError("non-default stance cannot have force_backend set")
        if stance not in NAMES:
            raise RuntimeError(f"invalid torch.compile stance '{stance}'")
        self.wanted = (stance, force_backend)
        self.before = _change(self.wanted)

    def __enter__(self) -> None:
        _change(self.wanted)

    def __exit__(self, *error: object) -> None:
        _change(self.before)

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        _change(self.before)

        @functools.wraps(fn)
        def within(*args: Any, **kwargs: Any) -> Any:
            before = _change(self.wanted)
            try:
                return fn(*args, **kwargs)
            finally:
                _change(before)

        return within

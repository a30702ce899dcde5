"""Constructors with some of their arguments: what a QConfig holds, since every module of a model gets observers of its own."""

from __future__ import annotations

from functools import partial
from typing import Any


class _PartialWrapper:
    """A constructor with arguments, some of which may be asked for when it is called."""

    def __init__(self, p: Any) -> None:
        self.p, self.callable_args = p, {}  # type: ignore[var-annotated]

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        asked = {name: get() for name, get in self.callable_args.items() if name not in keywords}
        return self.p(*args, **keywords, **asked)

    def __repr__(self) -> str:
        return repr(self.p) + repr(self.callable_args)

    def with_args(self, **kwargs: Any) -> _PartialWrapper:
        """The same with further arguments."""
        return _with_args(self, **kwargs)

    def with_callable_args(self, **kwargs: Any) -> _PartialWrapper:
        """The same with arguments that functions give, each time it is called."""
        made = _PartialWrapper(self.p)
        made.callable_args = {**self.callable_args, **kwargs}
        return made


def _with_args(cls_or_self: Any, **kwargs: Any) -> _PartialWrapper:
    """A constructor with some of its arguments."""
    return _PartialWrapper(partial(cls_or_self, **kwargs))


def _with_callable_args(cls_or_self: Any, **kwargs: Any) -> _PartialWrapper:
    """A constructor some of whose arguments functions give, each time it is called."""
    return _PartialWrapper(partial(cls_or_self)).with_callable_args(**kwargs)

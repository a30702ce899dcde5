"""A call that is made when its value is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["_Await"]
W = TypeVar("W")


class _Await(Generic[W]):
    """A delayed call; any use of it as its value makes the call."""

    def __init__(self, fn: Callable[..., W] | None, args: tuple[Any, ...] = (), value: Any = None) -> None:
        self._fn, self._args, self._value, self._done = fn, args, value, fn is None

    def fn(self) -> Callable[..., W] | None:
        return self._fn

    def args(self) -> tuple[Any, ...]:
        return self._args

    def is_nowait(self) -> bool:
        """Whether it held its value from the start."""
        return self._fn is None

    def wait(self) -> W:
        """The value."""
        if not self._done:
            self._value, self._done = self._fn(*self._args), True  # type: ignore[misc]
        return self._value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(self.wait(), name)

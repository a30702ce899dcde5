"""Future: a value that will be there. `collect_all`, `wait_all`: several of them."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]
T = TypeVar("T")


class Future(Generic[T]):
    """A value that some call will set.

    >>> import flambeau as torch
    >>> f = torch.futures.Future()
    >>> g = f.then(lambda f: f.value() + 1)
    >>> f.set_result(1)
    >>> g.wait()
    2
    """

    def __init__(self, *, devices: Any = None) -> None:
        self._inner: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def done(self) -> bool:
        """Whether it holds a value or an error."""
        return self._inner.done()

    def wait(self) -> T:
        """Wait for the value; raises the error where that was set."""
        return self._inner.result()

    def value(self) -> T:
        """The value, which must be there."""
        if not self.done():
            raise RuntimeError("value() called on an incomplete future")
        return self.wait()

    def then(self, callback: Callable[[Future[T]], Any]) -> Future[Any]:
        """The future of what `callback(self)` gives, which runs when this one is done."""
        out: Future[Any] = Future()

        def run(_: Any) -> None:
            try:
                out.set_result(callback(self))
            except Exception as problem:
                out.set_exception(problem)

        self._inner.add_done_callback(run)
        return out

    def add_done_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Call `callback(self)` when this future is done."""
        self._inner.add_done_callback(lambda _: callback(self))

    def set_result(self, result: T) -> None:
        """Set the value, once."""
        try:
            self._inner.set_result(result)
        except concurrent.futures.InvalidStateError:
            raise RuntimeError("Future can only be set once") from None

    def set_exception(self, result: BaseException) -> None:
        """Set an error: waiting raises it."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._inner.set_exception(result)


def _done(value: T) -> Future[T]:
    """A future that holds its value from the start."""
    out: Future[T] = Future()
    out.set_result(value)
    return out


def collect_all(futures: list[Future[Any]]) -> Future[list[Future[Any]]]:
    """The future of a list of futures, done when they all are."""
    out: Future[list[Future[Any]]] = Future()
    left = [len(futures)]
    if not futures:
        out.set_result([])

    def one(_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            out.set_result(list(futures))

    for f in futures:
        f.add_done_callback(one)
    return out


def wait_all(futures: list[Future[Any]]) -> list[Any]:
    """The values of all futures; raises the first error."""
    return [f.wait() for f in collect_all(futures).wait()]

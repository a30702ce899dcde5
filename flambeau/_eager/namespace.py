"""Public modules filled from the registry: `linalg`, `fft`, `special`, `_C._nn`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import _operators
from flambeau._eager.names import public
from flambeau._operators.op import NAMES


def fill(scope: dict[str, Any], namespace: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a module whose functions are the operators of a namespace."""

    def find(name: str) -> Any:
        if not name.startswith("__"):
            _operators.load()
            made = public(name, namespace)
            if made is not None:
                scope[name] = made
                return made
        raise AttributeError(f"module '{scope['__name__']}' has no attribute '{name}'")

    def names() -> list[str]:
        _operators.load()
        return sorted({*scope, *NAMES.get(namespace, {})})

    return find, names

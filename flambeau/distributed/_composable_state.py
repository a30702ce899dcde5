"""States that wrappers keep for modules, found by the module."""

from __future__ import annotations

import weakref
from typing import Any

import flambeau


class _State:
    """What a wrapper knows of a module."""


_module_state_mapping: weakref.WeakKeyDictionary[Any, weakref.ref[_State]] = weakref.WeakKeyDictionary()


def _insert_module_state(module: flambeau.nn.Module, state: _State) -> None:
    """Have a module's state found by it; one that already has a state keeps it, and that is an error."""
    if module in _module_state_mapping:
        raise AssertionError(f"Inserting {module} more than once.")
    _module_state_mapping[module] = weakref.ref(state)


def _get_module_state(module: flambeau.nn.Module) -> _State | None:
    """The state of a module: itself, where it is one; None where there is none."""
    if isinstance(module, _State):
        return module
    found = _module_state_mapping.get(module)
    state = None if found is None else found()
    if found is not None and state is None:
        raise AssertionError("State has already been garbage collected")
    return state

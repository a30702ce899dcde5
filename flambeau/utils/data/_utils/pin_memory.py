"""Pinning every tensor in nested containers; there is nothing to pin for while tensors stay on the CPU."""

from collections.abc import Mapping, Sequence

import flambeau

from .collate import _like_mapping, _like_sequence


def pin_memory(data, device=None):
    """The same containers with their tensors (and whatever else has a `pin_memory` method) pinned."""
    if isinstance(data, flambeau.Tensor) or hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: pin_memory(value, device) for key, value in data.items()})
    if isinstance(data, tuple):
        values = [pin_memory(value, device) for value in data]
        return type(data)(*values) if hasattr(data, "_fields") else type(data)(values)
    if isinstance(data, Sequence):
        return _like_sequence(data, [pin_memory(value, device) for value in data])
    return data

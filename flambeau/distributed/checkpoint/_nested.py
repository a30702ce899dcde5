"""Nested states as flat ones: `{"a": {"b": [x]}}` is `{"a.b.0": x}`, and the paths by which it is made nested again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import flambeau

Path = tuple[str | int, ...]


def _is_terminal(value: Any) -> bool:
    """Whether a list is kept whole: nothing in it is a tensor or a mapping."""
    if isinstance(value, Mapping):
        return False
    if not isinstance(value, list):
        return True
    return all(
        not isinstance(entry, flambeau.Tensor) and (not isinstance(entry, (Mapping, list)) or _is_terminal(entry))
        for entry in value
    )


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner)
    elif _is_terminal(value):
        yield path, value
    else:
        for i, inner in enumerate(value):
            yield from _leaves((*path, i), inner)


def flatten_state_dict(state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """The leaves by dotted names, and each name's path.

    >>> flatten_state_dict({"a": {"b": 1}, "c": [1, 2]})
    ({'a.b': 1, 'c': [1, 2]}, {'a.b': ('a', 'b'), 'c': ('c',)})
    """
    flat: dict[str, Any] = {}
    paths: dict[str, Path] = {}
    for path, value in _leaves((), state_dict):
        name = ".".join(map(str, path))
        if name in flat:
            raise ValueError(f"duplicated flatten key {name}")
        flat[name], paths[name] = value, path
    return flat, paths


def set_element(root: Any, path: Path, value: Any) -> None:
    """Put a value where a path leads, with the dicts and lists on the way."""
    place = root
    for key, following in itertools.pairwise(path):
        fresh: Any = {} if isinstance(following, str) else []
        if isinstance(place, list):
            assert isinstance(key, int)
            place += [None] * (key + 1 - len(place))
            if place[key] is None:
                place[key] = fresh
            place = place[key]
        else:
            place = place.setdefault(_known(place, key), fresh)
    last = path[-1]
    if isinstance(place, list):
        assert isinstance(last, int)
        place += [None] * (last + 1 - len(place))
        place[last] = value
    else:
        place[_known(place, last)] = value


def _known(place: Any, key: Any) -> Any:
    """A dict's own key: numbers are written as text in paths."""
    if key not in place:
        for own in place:
            if not isinstance(own, str) and str(own) == key:
                return own
    return key


def unflatten_state_dict(state_dict: Mapping[str, Any], mapping: Mapping[str, Path]) -> dict[str, Any]:
    """The nested state of a flat one."""
    nested: dict[str, Any] = {}
    for name, value in state_dict.items():
        set_element(nested, mapping[name], value)
    return nested

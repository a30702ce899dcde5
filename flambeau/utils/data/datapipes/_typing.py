"""The classes of pipes' classes; what `IterDataPipe[int]` says about a pipe's items, and whether they are that."""

import functools
import types
from abc import ABCMeta
from typing import Any, TypeVar, Union, get_args, get_origin

from ._hook_iterator import _SnapshotState, hook_iterator


class _DataPipeMeta(ABCMeta):
    """The class of all classes of pipes."""


class _IterDataPipeMeta(_DataPipeMeta):
    """The class of those by iteration: makes their iterators check themselves, and `reset` respect a restored state."""

    def __new__(cls, name, bases, namespace, **kwargs):
        if "reset" in namespace:
            namespace["reset"] = _conditional(namespace["reset"])
        if "__iter__" in namespace:
            hook_iterator(namespace)
        return super().__new__(cls, name, bases, namespace, **kwargs)


def _conditional(reset):
    @functools.wraps(reset)
    def conditional_reset(self, *args, **kwargs) -> None:
        if self._snapshot_state is not _SnapshotState.Restored:
            self._number_of_samples_yielded = 0
            self._fast_forward_iterator = None
            reset(self, *args, **kwargs)
        self._snapshot_state = _SnapshotState.Iterating

    return conditional_reset


def item_type(cls):
    """What a class of pipes says that its items are; Any if it says nothing."""
    for base in cls.__mro__:
        for alias in base.__dict__.get("__orig_bases__", ()):
            origin = get_origin(alias)
            if isinstance(origin, _DataPipeMeta) and not isinstance(get_args(alias)[0], TypeVar):
                return get_args(alias)[0]
    return Any


def is_a(x, kind) -> bool:
    """Whether a value is of a type, its parts included."""
    if kind is Any or isinstance(kind, TypeVar):
        return True
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(is_a(x, a) for a in args)
    if origin is None:
        return x is None if kind in (None, type(None)) else not isinstance(kind, type) or _plain(x, kind)
    if not isinstance(x, origin):
        return False
    if origin is tuple and args:
        if args[-1] is Ellipsis:
            return all(is_a(i, args[0]) for i in x)
        return len(x) == len(args) and all(map(is_a, x, args))
    if isinstance(x, dict) and len(args) == 2:
        return all(is_a(k, args[0]) and is_a(v, args[1]) for k, v in x.items())
    if isinstance(x, (list, set, frozenset)) and args:
        return all(is_a(i, args[0]) for i in x)
    return True


def _plain(x, kind):
    return isinstance(x, kind) and not (isinstance(x, bool) and kind is int)


def is_subtype(one, other) -> bool:
    """Whether all values of a type are of another, as far as can be seen."""
    if other is Any or isinstance(other, TypeVar) or one == other:
        return True
    if one is Any:
        return False
    unions = (Union, types.UnionType)
    if get_origin(one) in unions:
        return all(is_subtype(a, other) for a in get_args(one))
    if get_origin(other) in unions:
        return any(is_subtype(one, a) for a in get_args(other))
    left, right = get_origin(one) or one, get_origin(other) or other
    if not (isinstance(left, type) and isinstance(right, type) and issubclass(left, right)) or (left, right) == (
        bool,
        int,
    ):
        return False
    a, b = get_args(one), get_args(other)
    return not b or (len(a) == len(b) and all(map(is_subtype, a, b)))

"""A set that keeps the order in which its elements came."""

from collections.abc import Iterable, Iterator, MutableSet
from typing import Any


class OrderedSet(MutableSet[Any]):
    """A set in the order of insertion.

    >>> from flambeau.utils._ordered_set import OrderedSet
    >>> OrderedSet([2, 1, 2]) | [3]
    OrderedSet([2, 1, 3])
    """

    __slots__ = ("_dict",)

    def __init__(self, iterable: Iterable[Any] | None = None) -> None:
        self._dict = dict.fromkeys(iterable or ())

    def __contains__(self, elem: object) -> bool:
        return elem in self._dict

    def __iter__(self) -> Iterator[Any]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)})" if self else f"{type(self).__name__}()"

    def __getstate__(self) -> list[Any]:
        return list(self)

    def __setstate__(self, state: list[Any]) -> None:
        self._dict = dict.fromkeys(state)

    def add(self, elem: Any) -> None:
        """Put an element at the end, unless it is there."""
        self._dict[elem] = None

    def discard(self, elem: Any) -> None:
        """Take an element out, if it is there."""
        self._dict.pop(elem, None)

    def clear(self) -> None:
        """Take all out."""
        self._dict.clear()

    def pop(self) -> Any:
        """Take the last element out."""
        if not self:
            raise KeyError("pop from an empty set")
        return self._dict.popitem()[0]

    def copy(self) -> "OrderedSet":
        """The same elements in a set of their own."""
        return type(self)(self)

    def update(self, *others: Iterable[Any]) -> None:
        """Put the elements of others at the end."""
        for other in others:
            self._dict.update(dict.fromkeys(other))

    def union(self, *others: Iterable[Any]) -> "OrderedSet":
        """These elements, then those of others."""
        out = self.copy()
        out.update(*others)
        return out

    def __or__(self, other: Any) -> "OrderedSet":
        return self.union(other)

    def difference(self, *others: Iterable[Any]) -> "OrderedSet":
        """The elements that are in none of the others."""
        gone = set().union(*others)
        return type(self)(x for x in self if x not in gone)

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Take the elements of others out."""
        for other in others:
            self -= other

    def intersection(self, *others: Iterable[Any]) -> "OrderedSet":
        """The elements that are in all of the others."""
        kept = [set(other) for other in others]
        return type(self)(x for x in self if all(x in k for k in kept))

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Keep those that are in all of the others."""
        self._dict = self.intersection(*others)._dict

    def symmetric_difference(self, other: Iterable[Any]) -> "OrderedSet":
        """What is in one of both."""
        return self ^ type(self)(other)

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        """Keep what is in one of both."""
        self._dict = self.symmetric_difference(other)._dict

    def issubset(self, other: Iterable[Any]) -> bool:
        """Whether all elements are there."""
        return set(self) <= set(other)

    def issuperset(self, other: Iterable[Any]) -> bool:
        """Whether all of the others are here."""
        return set(self) >= set(other)

"""Symbolic numbers: what PyTorch's sizes may be besides integers, and the one kind of them that exists outside of captures.

The ragged size of a jagged nested tensor is a `NestedInt`: it stands for all the lengths at once. Two are equal where they came
from the same offsets; in order they can be compared only with what every size is at least (PyTorch takes two for that).
"""

from __future__ import annotations

from itertools import count
from typing import Any


class SymInt:
    """A symbolic integer: the ragged size of a nested tensor, or a size that a capture follows."""


class SymFloat:
    """A symbolic float: see SymInt."""


class SymBool:
    """A symbolic truth value: see SymInt."""


_serial = count(1)  # PyTorch gives the first number to a tensor of its own


class NestedInt(SymInt):
    """The size of a ragged dimension: `j1`, or a multiple of it."""

    __slots__ = ("coeff", "id")

    def __init__(self, id: int | None = None, coeff: int = 1) -> None:
        self.id, self.coeff = next(_serial) if id is None else id, coeff

    @property
    def node(self) -> NestedInt:
        return self

    def is_nested_int(self) -> bool:
        """True: other symbolic sizes are not ragged."""
        return True

    def nested_int(self) -> int:
        """Which offsets it came from."""
        return self.id

    def nested_int_coeff(self) -> int:
        """How many times the ragged size it is."""
        return self.coeff

    def __repr__(self) -> str:
        return f"j{self.id}" if self.coeff == 1 else f"{self.coeff}*j{self.id}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NestedInt) and (self.id, self.coeff) == (other.id, other.coeff)

    def __hash__(self) -> int:
        return hash(("nested", self.id, self.coeff))

    def __bool__(self) -> bool:
        return True

    def __mul__(self, other: Any) -> NestedInt:
        if isinstance(other, SymInt):
            raise ValueError("unsupported: <class 'torch.nested._internal.nested_int.NestedIntNode'>")
        return NestedInt(self.id, self.coeff * other) if isinstance(other, int) else NotImplemented

    __rmul__ = __mul__

    def __ge__(self, other: Any) -> bool:
        if isinstance(other, NestedInt) and other.id == self.id:
            return self.coeff >= other.coeff
        if isinstance(other, int) and other <= 2:
            return True
        raise ValueError("ge: relation is indeterminate")

    def __le__(self, other: Any) -> bool:
        if isinstance(other, NestedInt):
            return other >= self
        if isinstance(other, int) and other < 2:
            return False
        raise ValueError("ge: relation is indeterminate")

    def __gt__(self, other: Any) -> bool:
        return not self <= other

    def __lt__(self, other: Any) -> bool:
        return not self >= other

    def _lacks(self, method: str) -> Any:
        raise AttributeError(f"'NestedIntNode' object has no attribute '{method}'")

    def __int__(self) -> int:
        return self._lacks("int_")

    __index__ = __int__

    def __add__(self, other: Any) -> Any:
        return self._lacks("add")

    def __sub__(self, other: Any) -> Any:
        return self._lacks("sub")

    def __floordiv__(self, other: Any) -> Any:
        return self._lacks("int_floordiv")

    def __mod__(self, other: Any) -> Any:
        return self._lacks("mod")

    def __neg__(self) -> Any:
        return self._lacks("neg")

    __radd__ = __add__


for _cls in (SymInt, SymFloat, SymBool):
    _cls.__module__ = "flambeau"
NestedInt.__name__ = NestedInt.__qualname__ = "SymInt"
NestedInt.__module__ = "flambeau"

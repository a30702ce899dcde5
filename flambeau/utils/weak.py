"""Dictionaries by the identity of their keys, which they do not keep alive; and weak references to tensors."""

import weakref
from collections.abc import Mapping, MutableMapping
from copy import deepcopy

from flambeau import Tensor

__all__ = ["TensorWeakRef", "WeakIdRef", "WeakIdKeyDictionary", "WeakTensorKeyDictionary"]

WeakRef = weakref.ref


class WeakIdRef(weakref.ref):
    """A weak reference that is equal to another if both are to the same object."""

    __slots__ = ("_id",)

    def __init__(self, key, callback=None) -> None:
        self._id = id(key)
        super().__init__(key, callback)

    def __hash__(self):
        return self._id

    def __eq__(self, other):
        ours, theirs = self(), other()
        return ours is theirs if ours is not None and theirs is not None else self is other


class WeakIdKeyDictionary(MutableMapping):
    """A dictionary by identity; an entry goes when its key is collected.

    >>> key, same = flambeau.ones(2), flambeau.ones(2)
    >>> found = flambeau.utils.weak.WeakIdKeyDictionary({key: 1})
    >>> key in found, same in found
    (True, False)
    """

    def __init__(self, dict=None, ref_type=WeakIdRef) -> None:
        self.data = {}
        self.ref_type = ref_type
        data = self.data
        self._remove = lambda ref: data.pop(ref, None)
        if dict is not None:
            self.update(dict)

    def __getitem__(self, key):
        return self.data[self.ref_type(key)]

    def __setitem__(self, key, value) -> None:
        self.data[self.ref_type(key, self._remove)] = value

    def __delitem__(self, key) -> None:
        del self.data[self.ref_type(key)]

    def __contains__(self, key) -> bool:
        try:
            return self.ref_type(key) in self.data
        except TypeError:
            return False

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self):
        for ref in list(self.data):
            key = ref()
            if key is not None:
                yield key

    keys = __iter__

    def items(self):
        """The keys that still live, with their values."""
        for ref, value in list(self.data.items()):
            key = ref()
            if key is not None:
                yield key, value

    def values(self):
        """The values of the keys that still live."""
        return (value for _, value in self.items())

    def keyrefs(self):
        """Weak references to the keys."""
        return list(self.data)

    def copy(self):
        """Another dictionary with the same entries."""
        made = WeakIdKeyDictionary()
        for key, value in self.items():
            made[key] = value
        return made

    __copy__ = copy

    def __deepcopy__(self, memo):
        made = type(self)()
        for key, value in self.items():
            made[key] = deepcopy(value, memo)
        return made

    def __or__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        made = self.copy()
        made.update(other)
        return made

    def __ior__(self, other):
        self.update(other)
        return self

    def __eq__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return {id(k): v for k, v in self.items()} == {id(k): v for k, v in other.items()}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"


WeakTensorKeyDictionary = WeakIdKeyDictionary


class TensorWeakRef:
    """A weak reference to a tensor."""

    def __init__(self, tensor) -> None:
        if not isinstance(tensor, Tensor):
            raise AssertionError(f"expected torch.Tensor, got {type(tensor)}.")
        self.ref = weakref.ref(tensor)

    def __call__(self):
        return self.ref()

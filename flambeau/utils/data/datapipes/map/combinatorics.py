"""`shuffle` of a pipe by index: a pipe by iteration."""

import random

from ..datapipe import IterDataPipe, MapDataPipe
from ..iter.combinatorics import Shuffling, drawn_seed

__all__ = ["ShufflerIterDataPipe"]


class ShufflerIterDataPipe(Shuffling, IterDataPipe):
    """The items of a pipe by index in random order; `indices` are those it has, if they are not 0, 1, ..."""

    def __init__(self, datapipe, *, indices: list | None = None) -> None:
        super().__init__()
        self.datapipe = datapipe
        self.indices = list(range(len(datapipe))) if indices is None else indices
        self._enabled, self._seed, self._rng = True, None, random.Random()
        self._shuffled_indices = self.indices

    def __iter__(self):
        if not self._enabled:
            for i in self.indices:
                yield self.datapipe[i]
            return
        while self._shuffled_indices:
            yield self.datapipe[self._shuffled_indices.pop()]

    def reset(self) -> None:
        """A new order."""
        if self._enabled and self._seed is None:
            self._seed = drawn_seed()
        self._rng.seed(self._seed)
        self._seed = None
        self._shuffled_indices = self._rng.sample(self.indices, len(self.indices))

    def __len__(self) -> int:
        return len(self.datapipe)

    def __getstate__(self):
        return self._hooked((self.datapipe, self.indices, self._enabled, self._seed, self._rng.getstate(),
                             self._shuffled_indices, self._valid_iterator_id, self._number_of_samples_yielded))  # fmt: skip

    def __setstate__(self, state):
        (self.datapipe, self.indices, self._enabled, self._seed, numbers, self._shuffled_indices, self._valid_iterator_id,
         self._number_of_samples_yielded) = state  # fmt: skip
        self._rng = random.Random()
        self._rng.setstate(numbers)


MapDataPipe.register_datapipe_as_function("shuffle", ShufflerIterDataPipe)

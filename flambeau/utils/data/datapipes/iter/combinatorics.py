"""Other orders: `shuffle`, and the order of a sampler."""

import random
from collections.abc import Sized

import flambeau
from flambeau.utils.data.sampler import SequentialSampler

from .._decorator import functional_datapipe
from ..datapipe import IterDataPipe
from ..utils.common import length_of

__all__ = ["SamplerIterDataPipe", "ShufflerIterDataPipe"]


class SamplerIterDataPipe(IterDataPipe):
    """What a sampler makes of a pipe that knows its length."""

    def __init__(self, datapipe, sampler=SequentialSampler, sampler_args=None, sampler_kwargs=None) -> None:
        if not isinstance(datapipe, Sized):
            raise AssertionError("Sampler class requires input datapipe implemented `__len__`")
        super().__init__()
        self.datapipe = datapipe
        self.sampler_args = () if sampler_args is None else sampler_args
        self.sampler_kwargs = {} if sampler_kwargs is None else sampler_kwargs
        self.sampler_kwargs["data_source"] = datapipe
        self.sampler = sampler(*self.sampler_args, **self.sampler_kwargs)

    def __iter__(self):
        return iter(self.sampler)

    def __len__(self) -> int:
        return length_of(self.sampler, self)


def drawn_seed():
    """A seed from this library's generator."""
    return int(flambeau.empty((), dtype=flambeau.int64).random_().item())


class Shuffling:
    """What the shufflers of both kinds of pipes are told."""

    def set_shuffle(self, shuffle=True):
        """Whether it shuffles."""
        self._enabled = shuffle
        return self

    def set_seed(self, seed: int):
        """The seed of the next pass."""
        self._seed = seed
        return self


@functional_datapipe("shuffle")
class ShufflerIterDataPipe(Shuffling, IterDataPipe):
    """Items in random order: a buffer is filled, and each new item takes the place of a random one."""

    def __init__(self, datapipe, *, buffer_size: int = 10000, unbatch_level: int = 0) -> None:
        super().__init__()
        self._buffer = []
        if buffer_size <= 0:
            raise AssertionError("buffer_size should be larger than 0")
        self.datapipe = datapipe.unbatch(unbatch_level=unbatch_level) if unbatch_level else datapipe
        self.buffer_size = buffer_size
        self._enabled, self._seed, self._rng = True, None, random.Random()

    def __iter__(self):
        if not self._enabled:
            yield from self.datapipe
            return
        buffer = self._buffer
        for x in self.datapipe:
            if len(buffer) < self.buffer_size:
                buffer.append(x)
                continue
            i = self._rng.randint(0, len(buffer) - 1)
            out, buffer[i] = buffer[i], x
            yield out
        while buffer:
            yield buffer.pop(self._rng.randint(0, len(buffer) - 1))

    def __len__(self) -> int:
        return length_of(self.datapipe, self)

    def reset(self) -> None:
        """An empty buffer, and the seed that was set, or a drawn one."""
        self._buffer = []
        if self._enabled:
            self._rng.seed(drawn_seed() if self._seed is None else self._seed)
            self._seed = None

    def __getstate__(self):
        state = (self.datapipe, self.buffer_size, self._enabled, self._seed, self._buffer, self._rng.getstate(),
                 self._valid_iterator_id, self._number_of_samples_yielded)  # fmt: skip
        return self._hooked(state)

    def __setstate__(self, state):
        (self.datapipe, self.buffer_size, self._enabled, self._seed, self._buffer, numbers, self._valid_iterator_id,
         self._number_of_samples_yielded) = state  # fmt: skip
        self._rng = random.Random()
        self._rng.setstate(numbers)

    def __del__(self) -> None:
        self.__dict__.get("_buffer", []).clear()

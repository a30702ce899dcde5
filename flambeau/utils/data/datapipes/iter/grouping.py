"""Items in batches, out of batches, and in groups of one key: `batch`, `unbatch`, `groupby`."""

from collections import defaultdict

from .._decorator import functional_datapipe
from ..datapipe import DataChunk, IterDataPipe
from ..utils.common import _check_unpickable_fn, length_of

__all__ = ["BatcherIterDataPipe", "GrouperIterDataPipe", "UnBatcherIterDataPipe"]


def hold(pipe, datapipe, batch_size, drop_last, wrapper_class) -> None:
    """What a pipe of batches, of either kind, is made of."""
    if batch_size <= 0:
        raise AssertionError("Batch size is required to be larger than 0!")
    pipe.datapipe, pipe.batch_size = datapipe, batch_size
    pipe.drop_last, pipe.wrapper_class = drop_last, wrapper_class


def batches(pipe) -> int:
    """How many batches a pipe's source makes."""
    n = length_of(pipe.datapipe, pipe)
    return n // pipe.batch_size if pipe.drop_last else -(-n // pipe.batch_size)


@functional_datapipe("batch")
class BatcherIterDataPipe(IterDataPipe):
    """Batches of items; the last may be smaller, or is dropped."""

    def __init__(self, datapipe, batch_size: int, drop_last: bool = False, wrapper_class=DataChunk) -> None:
        super().__init__()
        hold(self, datapipe, batch_size, drop_last, wrapper_class)

    def __iter__(self):
        batch: list = []
        for x in self.datapipe:
            batch.append(x)
            if len(batch) == self.batch_size:
                yield self.wrapper_class(batch)
                batch = []
        if batch and not self.drop_last:
            yield self.wrapper_class(batch)

    def __len__(self) -> int:
        return batches(self)


@functional_datapipe("unbatch")
class UnBatcherIterDataPipe(IterDataPipe):
    """The items of batches, `unbatch_level` deep; -1 for all the way down."""

    def __init__(self, datapipe, unbatch_level: int = 1) -> None:
        self.datapipe, self.unbatch_level = datapipe, unbatch_level

    def __iter__(self):
        for element in self.datapipe:
            yield from self._dive(element, self.unbatch_level)

    def _dive(self, element, unbatch_level):
        if unbatch_level < -1:
            raise ValueError("unbatch_level must be -1 or >= 0")
        if unbatch_level == 0 or (unbatch_level == -1 and not isinstance(element, list)):
            yield element
        elif isinstance(element, list):
            for item in element:
                yield from self._dive(item, max(unbatch_level - 1, -1))
        else:
            raise IndexError(f"unbatch_level {self.unbatch_level} exceeds the depth of the DataPipe")


@functional_datapipe("groupby")
class GrouperIterDataPipe(IterDataPipe):
    """Groups of items for which a function gives the same key.

    Args:
        datapipe: the source
        group_key_fn: the function
        keep_key: gives (key, group)
        buffer_size: how many items may wait; then the largest group is given out
        group_size: a group of so many is given out at once
        guaranteed_group_size: no group is smaller, but for the last ones
        drop_remaining: a group that is too small is dropped, not an error
    """

    def __init__(self, datapipe, group_key_fn, *, keep_key: bool = False, buffer_size: int = 10000,
                 group_size: int | None = None, guaranteed_group_size: int | None = None, drop_remaining: bool = False) -> None:  # fmt: skip
        _check_unpickable_fn(group_key_fn)
        self.datapipe, self.group_key_fn, self.keep_key = datapipe, group_key_fn, keep_key
        self.max_buffer_size, self.group_size, self.guaranteed_group_size = buffer_size, group_size, None
        if group_size is not None and buffer_size is not None:
            if not 0 < group_size <= buffer_size:
                raise AssertionError("group_size must be > 0 and <= buffer_size")
            self.guaranteed_group_size = group_size
        if guaranteed_group_size is not None:
            if group_size is None or not 0 < guaranteed_group_size <= group_size:
                raise AssertionError("guaranteed_group_size must be > 0 and <= group_size and group_size must be set")
            self.guaranteed_group_size = guaranteed_group_size
        self.drop_remaining, self.wrapper_class = drop_remaining, DataChunk
        self.reset()

    def _remove_biggest_key(self):
        """Takes the largest group out of the buffer; gives it, or None if it is dropped."""
        key = max(self.buffer_elements, key=lambda k: len(self.buffer_elements[k]))
        size, least = len(self.buffer_elements[key]), self.guaranteed_group_size
        if least is not None and size < least and not self.drop_remaining:
            raise RuntimeError("Failed to group items", str(self.buffer_elements[key]))
        self.curr_buffer_size -= size
        group = self.buffer_elements.pop(key)
        return group if least is None or size >= least else None

    def _out(self, key, group):
        group = self.wrapper_class(group)
        return (key, group) if self.keep_key else group

    def __iter__(self):
        for x in self.datapipe:
            key = self.group_key_fn(x)
            self.buffer_elements[key].append(x)
            self.curr_buffer_size += 1
            if len(self.buffer_elements[key]) == self.group_size:
                yield self._out(key, self.buffer_elements[key])
                self.curr_buffer_size -= len(self.buffer_elements.pop(key))
            if self.curr_buffer_size == self.max_buffer_size:
                group = self._remove_biggest_key()
                if group is not None:
                    yield self._out(key, group)
        for key in tuple(self.buffer_elements):
            group = self.buffer_elements.pop(key)
            self.curr_buffer_size -= len(group)
            yield self._out(key, group)

    def reset(self) -> None:
        """Nothing waits."""
        self.curr_buffer_size, self.buffer_elements = 0, defaultdict(list)

    def __getstate__(self):
        return self._hooked((self.datapipe, self.group_key_fn, self.keep_key, self.max_buffer_size, self.group_size,
                             self.guaranteed_group_size, self.drop_remaining, self.wrapper_class, self._valid_iterator_id,
                             self._number_of_samples_yielded))  # fmt: skip

    def __setstate__(self, state):
        (self.datapipe, self.group_key_fn, self.keep_key, self.max_buffer_size, self.group_size, self.guaranteed_group_size,
         self.drop_remaining, self.wrapper_class, self._valid_iterator_id, self._number_of_samples_yielded) = state  # fmt: skip
        self.curr_buffer_size, self.buffer_elements = 0, defaultdict(list)

"""Several pipes made one (`concat`, `mux`, `zip`), and one made several (`fork`, `demux`)."""

import copy as copying
import warnings
from collections import deque
from collections.abc import Sized

from .._decorator import functional_datapipe
from .._hook_iterator import _SnapshotState
from ..datapipe import IterDataPipe
from ..utils.common import StreamWrapper, _check_unpickable_fn, no_length

__all__ = [
    "ConcaterIterDataPipe", "DemultiplexerIterDataPipe", "ForkerIterDataPipe", "MultiplexerIterDataPipe",
    "ZipperIterDataPipe",
]  # fmt: skip


def _lengths(pipe):
    if all(isinstance(dp, Sized) for dp in pipe.datapipes):
        return [len(dp) for dp in pipe.datapipes]
    raise no_length(pipe)


@functional_datapipe("concat")
class ConcaterIterDataPipe(IterDataPipe):
    """One pipe after the other."""

    def __init__(self, *datapipes) -> None:
        if not datapipes:
            raise ValueError("Expected at least one DataPipe, but got nothing")
        if not all(isinstance(dp, IterDataPipe) for dp in datapipes):
            raise TypeError("Expected all inputs to be `IterDataPipe`")
        self.datapipes = datapipes

    def __iter__(self):
        for dp in self.datapipes:
            yield from dp

    def __len__(self) -> int:
        return sum(_lengths(self))


@functional_datapipe("mux")
class MultiplexerIterDataPipe(IterDataPipe):
    """An item of each pipe in turn, until one has no more; what was taken in that round is dropped."""

    def __init__(self, *datapipes) -> None:
        self.datapipes = datapipes
        self.buffer: list = []

    def __iter__(self):
        iterators = [iter(dp) for dp in self.datapipes]
        while iterators:
            for items in iterators:
                try:
                    self.buffer.append(next(items))
                except StopIteration:
                    self.buffer.clear()
                    return
            yield from self.buffer
            self.buffer.clear()

    def __len__(self) -> int:
        return min(_lengths(self)) * len(self.datapipes)

    def reset(self) -> None:
        """Nothing was taken."""
        self.buffer = []

    def __getstate__(self):
        return self._hooked((self.datapipes, self._valid_iterator_id, self._number_of_samples_yielded))

    def __setstate__(self, state):
        self.datapipes, self._valid_iterator_id, self._number_of_samples_yielded = state
        self.buffer = []


@functional_datapipe("zip")
class ZipperIterDataPipe(IterDataPipe):
    """Tuples of an item of each pipe, as long as all have one."""

    def __init__(self, *datapipes) -> None:
        if not all(isinstance(dp, IterDataPipe) for dp in datapipes):
            raise TypeError("All inputs are required to be `IterDataPipe` for `ZipIterDataPipe`.")
        super().__init__()
        self.datapipes = datapipes

    def __iter__(self):
        yield from zip(*[iter(dp) for dp in self.datapipes], strict=False)

    def __len__(self) -> int:
        return min(_lengths(self))


# ---- one pipe made several ---------------------------------------------------------------------------------------
class _ChildDataPipe(IterDataPipe):
    """One of the pipes that a container makes of its source. An iterator of one ends those of its sisters' last round."""

    _is_child_datapipe = True

    def __init__(self, main_datapipe, instance_id: int) -> None:
        if not isinstance(main_datapipe, _Container):
            raise AssertionError("main_datapipe must implement _ContainerTemplate")
        self.main_datapipe, self.instance_id = main_datapipe, instance_id

    def __iter__(self):
        return self.main_datapipe.get_next_element_by_instance(self.instance_id)

    def __len__(self) -> int:
        return self.main_datapipe.get_length_by_instance(self.instance_id)

    def _set_main_datapipe_valid_iterator_id(self) -> int:
        """Joins the container's round; begins a new one if this pipe was in it already."""
        main = self.main_datapipe
        if main._valid_iterator_id is None:
            main._valid_iterator_id = 0
        elif main._valid_iterator_id == self._valid_iterator_id:
            main._valid_iterator_id += 1
            if not main.is_every_instance_exhausted():
                warnings.warn(
                    "Some child DataPipes are not exhausted when __iter__ is called. We are resetting the buffer and each "
                    "child DataPipe will read from the start again.",
                    UserWarning,
                    stacklevel=2,
                )
            main.reset()
        self._valid_iterator_id = main._valid_iterator_id
        return self._valid_iterator_id

    def _check_valid_iterator_id(self, iterator_id) -> bool:
        return iterator_id == self._valid_iterator_id == self.main_datapipe._valid_iterator_id


class _Container(IterDataPipe):
    """A source, what was taken from it, and which children have stopped."""

    def __init__(self, datapipe, num_instances, buffer_size, name) -> None:
        self.main_datapipe, self.num_instances, self.buffer_size = datapipe, num_instances, buffer_size
        if buffer_size < 0:
            warnings.warn(
                f"Unlimited buffer size is set for `{name}`, please be aware of OOM at random places",
                UserWarning,
                stacklevel=3,
            )
        self._forget()

    def _forget(self):
        self._datapipe_iterator = None
        self._child_stop = [True] * self.num_instances

    def _begin(self, instance_id):
        """Starts the source for the first child that asks."""
        if self._datapipe_iterator is None and self._child_stop[instance_id]:
            self._datapipe_iterator = iter(self.main_datapipe)
            self._snapshot_state = _SnapshotState.Iterating
            self._child_stop = [False] * self.num_instances
            return True
        return False

    def reset(self) -> None:
        """Nothing was taken."""
        self._forget()


@functional_datapipe("fork")
class ForkerIterDataPipe(IterDataPipe):
    """Several pipes with the same items; one may be `buffer_size` items ahead of another.

    Args:
        datapipe: the source
        num_instances: how many
        buffer_size: -1 for any
        copy: None gives out the same objects, "shallow" and "deep" copies
    """

    def __new__(cls, datapipe, num_instances: int, buffer_size: int = 1000, copy=None):
        if num_instances < 1:
            raise ValueError(f"Expected `num_instances` larger than 0, but {num_instances} is found")
        if num_instances == 1:
            return datapipe
        container = _ForkerIterDataPipe(datapipe, num_instances, buffer_size, copy)
        return [_ChildDataPipe(container, i) for i in range(num_instances)]


def _no_op(x):
    return x


class _ForkerIterDataPipe(_Container):
    def __init__(self, datapipe, num_instances, buffer_size=1000, copy=None) -> None:
        copies = {None: _no_op, "shallow": copying.copy, "deep": copying.deepcopy}
        super().__init__(datapipe, num_instances, buffer_size, "fork")
        if copy not in copies:
            raise ValueError(f"Unknown copy method `{copy}` requested, choose one of None, `shallow` or `deep`.")
        self.copy_fn = copies[copy]

    def _forget(self):
        super()._forget()
        self.buffer: deque = deque()
        self.child_pointers = [0] * self.num_instances  # how many items each child was given
        self.slowest_ptr = self.leading_ptr = 0  # how many all were given, how many came from the source
        self.end_ptr = None  # one more than there are

    def __len__(self) -> int:
        return len(self.main_datapipe)

    def get_next_element_by_instance(self, instance_id: int):
        """The items for a child."""
        self._begin(instance_id)
        try:
            while not self._child_stop[instance_id]:
                self.child_pointers[instance_id] += 1
                at = self.child_pointers[instance_id]
                if at == self.end_ptr:
                    self._child_stop[instance_id] = True
                    break
                if self.buffer and at <= self.leading_ptr:
                    item = self.buffer[at - self.slowest_ptr - 1]
                else:
                    self.leading_ptr = at
                    try:
                        item = next(self._datapipe_iterator)
                    except StopIteration:
                        self._child_stop[instance_id] = True
                        self._datapipe_iterator = None
                        self.end_ptr = at
                        continue
                    self.buffer.append(item)
                if at == self.slowest_ptr + 1:
                    least = min(self.child_pointers)
                    if self.slowest_ptr < least:
                        self.slowest_ptr = least
                        self.buffer.popleft()
                if 0 <= self.buffer_size < self.leading_ptr - self.slowest_ptr:
                    raise BufferError(
                        f"ForkerIterDataPipe buffer overflow,buffer size {self.buffer_size} is insufficient."
                    )
                yield self.copy_fn(item)
        finally:
            self._child_stop[instance_id] = True
            if all(self._child_stop):
                self._datapipe_iterator = None
                self._cleanup()

    def is_every_instance_exhausted(self) -> bool:
        """Whether all children have come to the end."""
        return self.end_ptr is not None and all(self._child_stop)

    def get_length_by_instance(self, instance_id: int) -> int:
        """The source's length."""
        return len(self.main_datapipe)

    def __getstate__(self):
        return self._hooked((self.main_datapipe, self.num_instances, self.buffer_size, self.copy_fn,
                             self._valid_iterator_id, self._number_of_samples_yielded))  # fmt: skip

    def __setstate__(self, state):
        (self.main_datapipe, self.num_instances, self.buffer_size, self.copy_fn, self._valid_iterator_id,
         self._number_of_samples_yielded) = state  # fmt: skip
        self._forget()

    def _cleanup(self) -> None:
        while self.buffer:
            StreamWrapper.close_streams(self.buffer.popleft())

    def __del__(self) -> None:
        if "buffer" in self.__dict__:
            self._cleanup()


@functional_datapipe("demux")
class DemultiplexerIterDataPipe(IterDataPipe):
    """Several pipes, among which a function divides the items of one.

    Args:
        datapipe: the source
        num_instances: how many
        classifier_fn: gives the number of the pipe that an item goes to
        drop_none: None drops the item
        buffer_size: how many items may wait; -1 for any
    """

    def __new__(cls, datapipe, num_instances: int, classifier_fn, drop_none: bool = False, buffer_size: int = 1000):
        if num_instances < 1:
            raise ValueError(f"Expected `num_instances` larger than 0, but {num_instances} is found")
        _check_unpickable_fn(classifier_fn)
        container = _DemultiplexerIterDataPipe(datapipe, num_instances, classifier_fn, drop_none, buffer_size)
        return [_ChildDataPipe(container, i) for i in range(num_instances)]


class _DemultiplexerIterDataPipe(_Container):
    def __init__(self, datapipe, num_instances, classifier_fn, drop_none, buffer_size) -> None:
        super().__init__(datapipe, num_instances, buffer_size, "demux")
        self.classifier_fn, self.drop_none = classifier_fn, drop_none

    def _forget(self):
        super()._forget()
        self.current_buffer_usage = 0
        self.child_buffers: list[deque] = [deque() for _ in range(self.num_instances)]
        self.main_datapipe_exhausted = False

    def _find_next(self, instance_id: int):
        """The next item for a child; those for others wait."""
        while not self.main_datapipe_exhausted and not self._child_stop[instance_id]:
            value = next(self._datapipe_iterator)
            which = self.classifier_fn(value)
            if which is None and self.drop_none:
                StreamWrapper.close_streams(value)
                continue
            if which is None or not 0 <= which < self.num_instances:
                raise ValueError(
                    f"Output of the classification fn should be between 0 and {self.num_instances - 1}. "
                    f"{which} is returned."
                )
            if which == instance_id:
                return value
            self.child_buffers[which].append(value)
            self.current_buffer_usage += 1
            if 0 <= self.buffer_size < self.current_buffer_usage:
                raise BufferError(
                    f"DemultiplexerIterDataPipe buffer overflow, buffer size {self.buffer_size} is insufficient."
                )
        raise StopIteration

    def get_next_element_by_instance(self, instance_id: int):
        """The items for a child."""
        if self._begin(instance_id):
            self.main_datapipe_exhausted = False
        waiting = self.child_buffers[instance_id]
        try:
            while not self._child_stop[instance_id]:
                if waiting:
                    self.current_buffer_usage -= 1
                    yield waiting.popleft()
                    continue
                try:
                    value = self._find_next(instance_id)
                except StopIteration:
                    self._child_stop[instance_id] = True
                    self.main_datapipe_exhausted = True
                    self._datapipe_iterator = None
                    continue
                yield value
        finally:
            self._child_stop[instance_id] = True
            if all(self._child_stop):
                self._datapipe_iterator = None
            self._cleanup([instance_id])

    def is_every_instance_exhausted(self) -> bool:
        """Whether all children have come to the end."""
        return self.main_datapipe_exhausted and all(self._child_stop)

    def get_length_by_instance(self, instance_id: int) -> int:
        """Not known."""
        raise TypeError

    def __getstate__(self):
        return self._hooked((self.main_datapipe, self.num_instances, self.buffer_size, self.classifier_fn, self.drop_none,
                             self._valid_iterator_id, self._number_of_samples_yielded))  # fmt: skip

    def __setstate__(self, state):
        (self.main_datapipe, self.num_instances, self.buffer_size, self.classifier_fn, self.drop_none,
         self._valid_iterator_id, self._number_of_samples_yielded) = state  # fmt: skip
        self._forget()

    def _cleanup(self, ids=None) -> None:
        for i in range(self.num_instances) if ids is None else ids:
            while self.child_buffers[i]:
                StreamWrapper.close_streams(self.child_buffers[i].popleft())

    def __del__(self) -> None:
        if "child_buffers" in self.__dict__:
            self._cleanup()

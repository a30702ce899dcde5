"""What every `__iter__` of an `IterDataPipe` is wrapped in: a pipe has one valid iterator, the newest."""

import functools
import inspect
from enum import Enum

import flambeau
from flambeau.utils.data._utils.iterator import _profiling


class _SnapshotState(Enum):
    """Whether a pipe's iterator was put forward to where another one stopped."""

    NotStarted = 0  # may be put forward
    Restored = 1  # was; the next iterator goes on from there
    Iterating = 2  # the next iterator starts anew


def _arguments(pipe):
    names = inspect.signature(type(pipe)).parameters
    shown = [(name, value) for name, value in inspect.getmembers(pipe) if name in names]
    return ", ".join(f"{n}={v.__name__ if inspect.isfunction(v) else repr(v)}" for n, v in shown)


def _describe(pipe, short=False):
    text = f"{type(pipe).__name__}({_arguments(pipe)})"
    return text.replace("IterDataPipe", "").replace("MapDataPipe", "") if short else text


_FEEDBACK = (
    "\nFor feedback regarding this single iterator per IterDataPipe constraint, feel free to comment on this issue: "
    "https://github.com/pytorch/data/issues/45."
)


def _check(pipe, number):
    """Raises if another iterator was made since."""
    if getattr(pipe, "_is_child_datapipe", False) is True:
        if not pipe._check_valid_iterator_id(number):
            raise RuntimeError(
                "This iterator has been invalidated, because a new iterator has been created from one of the "
                f"ChildDataPipes of {_describe(pipe.main_datapipe)}.{_FEEDBACK}"
            )
    elif pipe._valid_iterator_id != number:
        raise RuntimeError(
            "This iterator has been invalidated because another iterator has been created from the same IterDataPipe: "
            f"{_describe(pipe)}\nThis may be caused by multiple references to the same IterDataPipe. We recommend using "
            f"`.fork()` if that is necessary.{_FEEDBACK}"
        )


def _begin(pipe):
    """The number of a new iterator; the pipe is reset."""
    if getattr(pipe, "_is_child_datapipe", False) is True:
        pipe._set_main_datapipe_valid_iterator_id()
    else:
        pipe._valid_iterator_id = 0 if pipe._valid_iterator_id is None else pipe._valid_iterator_id + 1
        pipe.reset()
    return pipe._valid_iterator_id


def _next(pipe, step):
    """One step, under the pipe's name in profiles."""
    if not _profiling():
        return step()
    if not hasattr(pipe, "_profile_name"):
        pipe._profile_name = _describe(pipe, short=True)
    with flambeau.autograd.profiler.record_function(pipe._profile_name):
        return step()


def _blame(pipe, error):
    """Adds to an error's text whose `__iter__` it came from: the innermost one's."""
    text = error.args[0] if error.args and isinstance(error.args[0], str) else None
    where = f"thrown by __iter__ of {type(pipe).__name__}({_arguments(pipe)})"
    if text is None:
        error.args = (f"\nThis exception is {where}",)
    elif "thrown by __iter__ of" not in text and "single iterator per IterDataPipe constraint" not in text:
        error.args = (f"{text}\nThis exception is {where}", *error.args[1:])


class IteratorDecorator:
    """An iterator that is not a generator, with the same checks."""

    def __init__(self, iterator, datapipe, iterator_id, counts) -> None:
        self.iterator, self.datapipe, self.iterator_id, self.counts = iterator, datapipe, iterator_id, counts

    def __iter__(self):
        return self

    def __next__(self):
        return _next(self.datapipe, self._step)

    def _step(self):
        _check(self.datapipe, self.iterator_id)
        result = next(self.iterator)
        if self.counts:
            self.datapipe._number_of_samples_yielded += 1
        return result

    def __getattr__(self, name):
        return getattr(self.iterator, name)


def _taken_up(pipe):
    """The iterator that was put forward, once."""
    found, pipe._fast_forward_iterator = pipe._fast_forward_iterator, None
    if found:
        pipe._snapshot_state = _SnapshotState.Iterating
    return found


def _wrapped_generator(fn):
    @functools.wraps(fn)
    def iterate(self, *args, **kwargs):
        forward = _taken_up(self)
        if forward:
            yield from forward
            return
        items = fn(self, *args, **kwargs)
        number = _begin(self)
        try:
            while True:
                item = _next(self, items.__next__)
                self._number_of_samples_yielded += 1
                yield item
                _check(self, number)
        except StopIteration:
            return
        except Exception as error:
            _blame(self, error)
            raise

    return iterate


def _wrapped_iter(fn, has_next):
    @functools.wraps(fn)
    def iterate(self, *args, **kwargs):
        items = fn(self, *args, **kwargs)
        forward = _taken_up(self)
        self._snapshot_state = _SnapshotState.Iterating
        if forward:
            return forward
        counts = not (items is self and has_next)
        return IteratorDecorator(items, self, _begin(self), counts)

    return iterate


def _wrapped_next(fn):
    @functools.wraps(fn)
    def step(self, *args, **kwargs):
        result = _next(self, lambda: fn(self, *args, **kwargs))
        self._number_of_samples_yielded += 1
        return result

    return step


def hook_iterator(namespace) -> None:
    """Wraps the iteration of a class that is being made."""
    fn = namespace["__iter__"]
    if inspect.isgeneratorfunction(fn):
        namespace["__iter__"] = _wrapped_generator(fn)
        return
    if "__next__" in namespace:
        namespace["__next__"] = _wrapped_next(namespace["__next__"])
    namespace["__iter__"] = _wrapped_iter(fn, "__next__" in namespace)

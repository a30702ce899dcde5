"""`IterDataPipe` and `MapDataPipe`: datasets that know the names of the pipes that can be put on them."""

import functools
import pickle
from typing import Any, TypeVar

from flambeau.utils._import_utils import import_dill
from flambeau.utils.data.dataset import Dataset, IterableDataset

from ._hook_iterator import _SnapshotState
from ._typing import _DataPipeMeta, _IterDataPipeMeta

__all__ = ["DataChunk", "DFIterDataPipe", "IterDataPipe", "MapDataPipe"]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class DataChunk(list[_T]):
    """A batch of items, before they are collated."""

    def __init__(self, items) -> None:
        items = list(items)
        super().__init__(items)
        self.items = items

    def as_str(self, indent: str = "") -> str:
        """The items as text."""
        return f"{indent}[{', '.join(map(str, self))}]"

    def __iter__(self):
        yield from super().__iter__()

    def raw_iterator(self):
        """The items as they were given."""
        yield from self.items


class _Names:
    """What both kinds have: names of pipes as methods, hooks into pickling and printing."""

    functions: dict[str, Any]
    reduce_ex_hook: Any = None
    getstate_hook: Any = None
    str_hook: Any = None
    repr_hook: Any = None

    def __getattr__(self, attribute_name):
        if attribute_name in self.functions:
            made = self.functions[attribute_name]
            method = functools.partial(made, self)
            functools.update_wrapper(method, made, assigned=("__doc__",))
            return method
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{attribute_name}")

    @classmethod
    def register_function(cls, function_name, function) -> None:
        """Makes a function a method of all pipes."""
        cls.functions[function_name] = function

    @classmethod
    def register_datapipe_as_function(cls, function_name, cls_to_register, enable_df_api_tracing=False) -> None:
        """Makes a class of pipes a method of all pipes."""
        if function_name in cls.functions:
            raise Exception(f"Unable to add DataPipe function name {function_name} as it is already taken")

        def make(source, *args, **kwargs):
            return cls_to_register(source, *args, **kwargs)

        functools.update_wrapper(make, cls_to_register, assigned=("__doc__",))
        cls.functions[function_name] = make

    def __getstate__(self):
        return self._hooked(self.__dict__)

    def _hooked(self, state):
        hook = type(self).getstate_hook
        return state if hook is None else hook(state)

    def __reduce_ex__(self, *args, **kwargs):
        hook = type(self).reduce_ex_hook
        if hook is not None:
            try:
                return hook(self)
            except NotImplementedError:
                pass
        return super().__reduce_ex__(*args, **kwargs)

    @classmethod
    def set_getstate_hook(cls, hook_fn) -> None:
        """What pickling sees of a pipe goes through a function."""
        if cls.getstate_hook is not None and hook_fn is not None:
            raise RuntimeError("Attempt to override existing getstate_hook")
        cls.getstate_hook = hook_fn

    @classmethod
    def set_reduce_ex_hook(cls, hook_fn) -> None:
        """How a pipe is pickled is for a function to say."""
        if cls.reduce_ex_hook is not None and hook_fn is not None:
            raise RuntimeError("Attempt to override existing reduce_ex_hook")
        cls.reduce_ex_hook = hook_fn

    def __repr__(self) -> str:
        return type(self).__qualname__ if self.repr_hook is None else self.repr_hook(self)

    def __str__(self) -> str:
        return type(self).__qualname__ if self.str_hook is None else self.str_hook(self)

    def __dir__(self):
        return [*super().__dir__(), *self.functions]


class IterDataPipe(_Names, IterableDataset[_T_co], metaclass=_IterDataPipeMeta):
    """A pipe by iteration: a subclass gives `__iter__`, and `reset` if it has a state.

    It has one valid iterator: a new one ends those before. The pipes of `datapipes.iter` are methods of it.

    >>> from flambeau.utils.data.datapipes.iter import IterableWrapper
    >>> list(IterableWrapper(range(5)).map(abs).batch(2))
    [[0, 1], [2, 3], [4]]
    """

    functions: dict[str, Any] = {}
    _valid_iterator_id: int | None = None
    _number_of_samples_yielded: int = 0
    _snapshot_state: _SnapshotState = _SnapshotState.NotStarted
    _fast_forward_iterator: Any = None

    def __iter__(self):
        return self

    def reset(self) -> None:
        """Called before each new iterator; forgets what the last one left."""


class DFIterDataPipe(IterDataPipe):
    """A pipe of data frames."""

    def _is_dfpipe(self) -> bool:
        return True


class MapDataPipe(_Names, Dataset[_T_co], metaclass=_DataPipeMeta):
    """A pipe by index: a subclass gives `__getitem__`, usually `__len__`. The pipes of `datapipes.map` are methods of it.

    >>> from flambeau.utils.data.datapipes.map import SequenceWrapper
    >>> SequenceWrapper(range(5)).map(abs).batch(2)[1]
    [2, 3]
    """

    functions: dict[str, Any] = {}


class _DataPipeSerializationWrapper:
    """What a loader holds: pickled as one piece, with dill where pickle fails and dill is there."""

    def __init__(self, datapipe) -> None:
        self._datapipe = datapipe

    def __getstate__(self):
        try:
            return pickle.dumps(self._datapipe), False
        except Exception:
            dill = import_dill()
            if dill is None:
                raise
            return dill.dumps(self._datapipe), True

    def __setstate__(self, state):
        value, by_dill = state
        self._datapipe = import_dill().loads(value) if by_dill else pickle.loads(value)

    def __len__(self) -> int:
        try:
            return len(self._datapipe)
        except Exception as e:
            raise TypeError(f"{type(self).__name__} instance doesn't have valid length") from e


class _IterDataPipeSerializationWrapper(_DataPipeSerializationWrapper, IterDataPipe):
    def __init__(self, datapipe) -> None:
        super().__init__(datapipe)
        self._datapipe_iter: Any = None

    def __iter__(self):
        self._datapipe_iter = iter(self._datapipe)
        return self

    def __next__(self):
        if self._datapipe_iter is None:
            raise AssertionError("Iterator has not been initialized; call __iter__() before __next__()")
        return next(self._datapipe_iter)


class _MapDataPipeSerializationWrapper(_DataPipeSerializationWrapper, MapDataPipe):
    def __getitem__(self, idx):
        return self._datapipe[idx]

"""`DataLoader`: a dataset in batches, made in this process or by worker processes.

The passes over the dataset are `_utils/iterator.py` (in this process) and `_utils/processes.py` (workers).
"""

import os
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any, Generic, TypeVar
from warnings import warn

from ._utils import pipes
from ._utils.collate import default_collate, default_convert
from ._utils.iterator import _BaseDataLoaderIter, _SingleProcessDataLoaderIter
from ._utils.worker import get_worker_info
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

__all__ = ["DataLoader", "get_worker_info", "default_collate", "default_convert"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
_worker_init_fn_t = Callable[[int], None]
_collate_fn_t = Callable[[list[T]], Any]  # both named in annotations of other libraries


class _DatasetKind:
    """The two kinds of datasets."""

    Map = 0
    Iterable = 1

    @staticmethod
    def create_fetcher(kind, dataset, auto_collation, collate_fn, drop_last):
        """What turns an index, or a list of them, into a batch."""
        from ._utils.fetch import _IterableDatasetFetcher, _MapDatasetFetcher

        cls = _MapDatasetFetcher if kind == _DatasetKind.Map else _IterableDatasetFetcher
        return cls(dataset, auto_collation, collate_fn, drop_last)


class _InfiniteConstantSampler(Sampler):
    """None, for ever: datasets by iteration have no indices."""

    def __iter__(self):
        while True:
            yield None


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches.

    Args:
        dataset: by index or by iteration
        batch_size: items per batch; None gives single items, not collated
        shuffle: a new random order in each epoch
        sampler: the order, instead of `shuffle`
        batch_sampler: lists of indices, instead of `batch_size`, `shuffle`, `sampler` and `drop_last`
        num_workers: processes that make batches ahead of time; 0 makes them here
        collate_fn: turns a list of items into a batch
        pin_memory: pin the tensors' memory for the accelerator
        drop_last: leave out a last batch that is not full
        timeout: seconds to wait for a worker; 0 waits for ever
        worker_init_fn: called in each worker with its number, after seeding
        multiprocessing_context: how workers are started ("fork", "spawn", "forkserver" or a context)
        generator: of the order and of the workers' seeds
        prefetch_factor: batches that each worker makes ahead; 2 if not given
        persistent_workers: keep the workers between epochs
        in_order: give out batches in order, even when a later one is ready first

    >>> data = flambeau.utils.data.TensorDataset(flambeau.arange(5))
    >>> [batch.tolist() for (batch,) in flambeau.utils.data.DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    dataset: Dataset[T_co]
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    sampler: Sampler | Iterable
    pin_memory_device: str
    prefetch_factor: int | None
    _iterator: Any = None
    __initialized = False

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler[list] | Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        prefetch_factor = _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        pipe = pipes.kind(dataset)
        self.dataset = pipes.wrapped(dataset, shuffle) if pipe else dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self._dataset_kind = _DatasetKind.Iterable if isinstance(dataset, IterableDataset) else _DatasetKind.Map
        by_index = self._dataset_kind == _DatasetKind.Map
        if not by_index:
            unused = "DataLoader with IterableDataset: expected unspecified {0} option, but got {0}={1}"
            _expect(shuffle in (False, None) or pipe, unused.format("shuffle", shuffle))
            _expect(sampler is None, unused.format("sampler", sampler))
            _expect(batch_sampler is None, unused.format("batch_sampler", batch_sampler))
            shuffle = False
        _check_sampling(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None:
            if not by_index:
                sampler = _InfiniteConstantSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        if collate_fn is None:
            collate_fn = default_collate if self._auto_collation else default_convert
        self.collate_fn = collate_fn
        self.persistent_workers = persistent_workers
        self.__initialized = True
        self._IterableDataset_len_called = None
        self._iterator = None
        self.check_worker_number_rationality()

    def __setattr__(self, attr, val) -> None:
        fixed = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
        if self.__initialized and attr in fixed:
            raise ValueError(f"{attr} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(attr, val)

    @property
    def multiprocessing_context(self):
        """How workers are started; None is the default of `multiprocessing`."""
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, multiprocessing_context) -> None:
        if multiprocessing_context is not None:
            multiprocessing_context = self._context(multiprocessing_context)
        self.__multiprocessing_context = multiprocessing_context

    def _context(self, given):
        import multiprocessing
        from multiprocessing.context import BaseContext

        _expect(
            self.num_workers > 0,
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), "
            f"but got num_workers={self.num_workers}",
        )
        if isinstance(given, str):
            methods = multiprocessing.get_all_start_methods()
            _expect(
                given in methods,
                f"multiprocessing_context option should specify a valid start method in {methods!r}, "
                f"but got multiprocessing_context={given!r}",
            )
            given = multiprocessing.get_context(given)
        if not isinstance(given, BaseContext):
            raise TypeError(
                "multiprocessing_context option should be a valid context object or a string specifying the start "
                f"method, but got multiprocessing_context={given}"
            )
        return given

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self.num_workers == 0:
            return _SingleProcessDataLoaderIter(self)
        from ._utils.processes import _MultiProcessingDataLoaderIter

        self.check_worker_number_rationality()
        return _MultiProcessingDataLoaderIter(self)

    def __iter__(self) -> _BaseDataLoaderIter:
        if not self.persistent_workers or self.num_workers == 0:
            return self._get_iterator()
        if self._iterator is None or self._iterator._shutdown:
            self._iterator = self._get_iterator()
        else:
            self._iterator._reset(self)
        return self._iterator

    @property
    def _auto_collation(self):
        return self.batch_sampler is not None

    @property
    def _index_sampler(self):
        return self.batch_sampler if self._auto_collation else self.sampler

    def __len__(self) -> int:
        """The number of batches; of a dataset by iteration, what its own length says."""
        if self._dataset_kind == _DatasetKind.Map:
            return len(self._index_sampler)
        length = self._IterableDataset_len_called = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else ceil(length / self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warns when there are more workers than processors."""
        if not self.num_workers:
            return
        cpuset = hasattr(os, "sched_getaffinity")
        most = len(os.sched_getaffinity(0)) if cpuset else os.cpu_count()
        if most is not None and self.num_workers <= most:
            return
        if most is None:
            advice = "DataLoader is not able to compute a suggested max number of worker in current system."
        else:
            note = "" if cpuset else " (`cpuset` is not taken into account)"
            advice = (
                f"Our suggested max number of worker in current system is {most}{note}, "
                "which is smaller than what this DataLoader is going to create."
            )
        warn(
            f"This DataLoader will create {self.num_workers} worker processes in total. {advice} Please be aware that "
            "excessive worker creation might get DataLoader running slow or even freeze, lower the worker number to "
            "avoid potential slowness/freeze if necessary.",
            stacklevel=3,
        )


def _check_workers(num_workers, timeout, prefetch_factor, persistent_workers):
    """Refuses options of workers that contradict each other; how many batches each worker makes ahead."""
    _expect(
        num_workers >= 0,
        "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.",
    )
    _expect(timeout >= 0, "timeout option should be non-negative")
    _expect(
        num_workers > 0 or prefetch_factor is None,
        "prefetch_factor option could only be specified in multiprocessing."
        "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None.",
    )
    if num_workers > 0 and prefetch_factor is None:
        prefetch_factor = 2
    _expect(prefetch_factor is None or prefetch_factor >= 0, "prefetch_factor option should be non-negative")
    _expect(not persistent_workers or num_workers > 0, "persistent_workers option needs num_workers > 0")
    return prefetch_factor


def _check_sampling(batch_size, shuffle, sampler, batch_sampler, drop_last):
    """Refuses options of sampling that contradict each other."""
    _expect(sampler is None or not shuffle, "sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        _expect(
            batch_size == 1 and not shuffle and sampler is None and not drop_last,
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last",
        )
    elif batch_size is None:
        _expect(not drop_last, "batch_size=None option disables auto-batching and is mutually exclusive with drop_last")


def _expect(condition, message):
    if not condition:
        raise ValueError(message)


def __getattr__(name):
    if name == "_MultiProcessingDataLoaderIter":  # on demand: it imports multiprocessing
        from ._utils.processes import _MultiProcessingDataLoaderIter

        return _MultiProcessingDataLoaderIter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _sharding_worker_init_fn(worker_init_fn, world_size, rank_id, worker_id):
    """In a worker of a loader over a pipeline that others wrote: the pipeline gives out this worker's share alone."""
    from . import graph_settings

    info = get_worker_info()
    graph_settings.apply_sharding(info.dataset, world_size * info.num_workers, worker_id * world_size + rank_id)
    if worker_init_fn is not None:
        worker_init_fn(worker_id)

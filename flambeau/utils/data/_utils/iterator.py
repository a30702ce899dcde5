"""`_SingleProcessDataLoaderIter`, and what every pass over a dataset has."""

from warnings import warn

import flambeau

from . import pipes
from .worker import Task, _fetcher


class _BaseDataLoaderIter:
    """One pass over a dataset (or several, with persistent workers)."""

    def __init__(self, loader) -> None:
        self._dataset = loader.dataset
        self._pipe = pipes.kind(self._dataset)
        self._shared_seed = None
        self._seed_pipes(loader)
        self._dataset_kind = loader._dataset_kind
        self._IterableDataset_len_called = loader._IterableDataset_len_called
        self._auto_collation = loader._auto_collation
        self._drop_last = loader.drop_last
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._pin_memory, self._pin_memory_device = _pinning(loader)
        self._timeout = loader.timeout
        self._collate_fn = loader.collate_fn
        self._sampler_iter = iter(self._index_sampler)
        self._base_seed = flambeau.empty((), dtype=flambeau.int64).random_(generator=loader.generator).item()
        self._persistent_workers = loader.persistent_workers
        self._num_yielded = 0
        self._profile_name = f"enumerate(DataLoader)#{type(self).__name__}.__next__"

    def __iter__(self):
        return self

    def _reset(self, loader, first_iter=False) -> None:
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._IterableDataset_len_called = loader._IterableDataset_len_called
        self._seed_pipes(loader)

    def _seed_pipes(self, loader):
        if self._pipe == "iter":
            self._shared_seed = pipes.shared_seed(loader.generator)
            pipes.apply_seed(self._dataset, self._shared_seed)

    def _next_index(self):
        return next(self._sampler_iter)

    def _next_data(self):
        raise NotImplementedError

    def __next__(self):
        if _profiling():
            with flambeau.autograd.profiler.record_function(self._profile_name):
                data = self._next_data()
        else:
            data = self._next_data()
        self._num_yielded += 1
        expected = self._IterableDataset_len_called
        if self._dataset_kind == 1 and expected is not None and self._num_yielded > expected:
            message = (
                f"Length of IterableDataset {self._dataset} was reported to be {expected}"
                f"(when accessing len(dataloader)), but {self._num_yielded} samples have been fetched. "
            )
            if self._num_workers > 0:
                message += (
                    "For multiprocessing data-loading, this could be caused by not properly configuring the "
                    "IterableDataset replica at each worker. Please see "
                    "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
                )
            warn(message, stacklevel=2)
        return data

    def __len__(self) -> int:
        return len(self._index_sampler)

    def __getstate__(self):
        raise NotImplementedError("{} cannot be pickled", type(self).__name__)


def _profiling():
    """Is a profiler running?"""
    enabled = getattr(flambeau.autograd, "_profiler_enabled", None)
    return enabled is not None and enabled()


def _accelerated():
    """Is there a device to pin memory for?"""
    accelerator = getattr(flambeau, "accelerator", None)
    return accelerator is not None and accelerator.is_available()


def _pinning(loader):
    """(whether tensors are pinned, for which kind of device)."""
    if not loader.pin_memory:
        return False, None
    if loader.pin_memory_device:
        warn(
            "pin_memory_device is deprecated, the current accelerator will be used as the device,"
            f"ignore pin_memory_device='{loader.pin_memory_device}'.",
            stacklevel=5,
        )
    if not _accelerated():
        warn(
            "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
            stacklevel=5,
        )
        return False, None
    return True, flambeau.accelerator.current_accelerator().type


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """Makes the batches in this process, when they are asked for."""

    def __init__(self, loader) -> None:
        super().__init__(loader)
        if self._timeout != 0:
            raise AssertionError("_SingleProcessDataLoaderIter requires timeout == 0")
        task = Task(
            self._dataset_kind, self._dataset, self._auto_collation, self._collate_fn, self._drop_last, 0, None, 0, 0
        )
        if self._pipe:
            pipes.shard(self._dataset, 1, 0)
        self._dataset_fetcher = _fetcher(task)

    def _next_data(self):
        data = self._dataset_fetcher.fetch(self._next_index())
        if self._pin_memory:
            from .pin_memory import pin_memory

            data = pin_memory(data, self._pin_memory_device)
        return data

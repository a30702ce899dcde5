"""What a worker process does: fetch what its channel asks for, until the channel ends."""

import os
import random
from typing import Any, NamedTuple

import numpy as np

import flambeau
from flambeau._utils import ExceptionWrapper


class WorkerInfo(NamedTuple):
    """What a worker knows about itself."""

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any = None
    worker_method: str | None = "multiprocessing"


_worker_info = None


def get_worker_info():
    """In a worker process of a `DataLoader`, what it is; None elsewhere.

    It has `id`, `num_workers`, `seed` and `dataset` (the worker's own copy).
    """
    return _worker_info


class ManagerWatchdog:
    """In a worker that others wrote (torchdata's): tells whether the process that started it still lives."""

    def __init__(self):
        self.manager_pid, self.manager_dead = os.getppid(), False

    def is_alive(self):
        """Whether the parent is there; once it was not, never again."""
        self.manager_dead = self.manager_dead or os.getppid() != self.manager_pid
        return not self.manager_dead


class _IterableDatasetStopIteration(NamedTuple):
    """Sent instead of a batch: this worker's dataset has no more items."""

    worker_id: int


class _ResumeIteration(NamedTuple):
    """Sent to a persistent worker, and back from it: the next epoch begins."""

    seed: int | None = None


def _generate_state(base_seed, worker_id):
    """The words that seed NumPy in a worker."""
    words = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    return np.random.SeedSequence(words).generate_state(4)


def _seed(base_seed, worker_id):
    random.seed(base_seed + worker_id)
    flambeau.manual_seed(base_seed + worker_id)
    np.random.seed(_generate_state(base_seed, worker_id))


class Task(NamedTuple):
    """Everything a worker needs to know."""

    dataset_kind: int
    dataset: Any
    auto_collation: bool
    collate_fn: Any
    drop_last: bool
    base_seed: int
    init_fn: Any
    worker_id: int
    num_workers: int
    shared_seed: int | None = None  # of random pipes


def _worker_loop(channel, task):
    """The life of a worker process."""
    channel.watch_parent()
    try:
        _serve(channel, task)
    except (KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        pass  # interrupted by the user, or the loader is gone: there is nobody to tell


def _serve(channel, task):
    global _worker_info
    from . import parcel, pipes

    flambeau.set_num_threads(1)
    _seed(task.base_seed, task.worker_id)
    seed = task.base_seed + task.worker_id
    _worker_info = WorkerInfo(task.worker_id, task.num_workers, seed, task.dataset)
    where = f"in DataLoader worker process {task.worker_id}"
    parcels = parcel.Arena()
    failure = fetcher = None
    try:
        if task.shared_seed is not None:
            pipes.apply_seed(task.dataset, task.shared_seed)
        if pipes.kind(task.dataset):
            pipes.shard(task.dataset, task.num_workers, task.worker_id)
        if task.init_fn is not None:
            task.init_fn(task.worker_id)
        fetcher = _fetcher(task)
    except Exception:
        failure = ExceptionWrapper(where=where)
    while (message := channel.recv()) is not None:
        if isinstance(message, _ResumeIteration):
            channel.send(*parcel.pack((message, None), parcels))
            failure = fetcher = None
            try:
                if message.seed is not None:
                    pipes.apply_seed(task.dataset, message.seed)
                fetcher = _fetcher(task)
            except Exception:
                failure = ExceptionWrapper(where=where)
            continue
        number, index = message
        if failure is not None:
            data, failure = failure, None
        elif fetcher is None:
            continue
        else:
            try:
                data = fetcher.fetch(index)
            except Exception as error:
                if isinstance(error, StopIteration) and task.dataset_kind == 1:
                    data, fetcher = _IterableDatasetStopIteration(task.worker_id), None
                else:
                    data = ExceptionWrapper(where=where)
        try:
            packed = parcel.pack((number, data), parcels)
        except Exception:  # something that cannot be pickled
            packed = parcel.pack((number, ExceptionWrapper(where=where)), parcels)
        del data, message
        channel.send(*packed)
        del packed


def _fetcher(task):
    from .fetch import _IterableDatasetFetcher, _MapDatasetFetcher

    cls = _IterableDatasetFetcher if task.dataset_kind == 1 else _MapDatasetFetcher
    return cls(task.dataset, task.auto_collation, task.collate_fn, task.drop_last)

"""Datasets for the tests of loaders; at module level, so that spawned workers find them. Not a test."""

import random

import numpy as np


def random_items(fl, n):
    """Items with tensors, numbers and text, and with random numbers from all three generators."""

    class Items(fl.utils.data.Dataset):
        def __init__(self):
            self.x = fl.arange(n * 3.0).view(n, 3)

        def __len__(self):
            return n

        def __getitem__(self, i):
            numbers = float(np.random.rand()), random.random()
            return {"x": self.x[i], "noise": fl.rand(2), "numbers": numbers, "name": str(i), "even": i % 2 == 0}

    return Items()


def counting(fl, n):
    """Counts to n; each worker counts its own part."""

    class Counting(fl.utils.data.IterableDataset):
        def __iter__(self):
            info = fl.utils.data.get_worker_info()
            first, step = (0, 1) if info is None else (info.id, info.num_workers)
            return iter(range(first, n, step))

    return Counting()


def reseed(worker):
    """A `worker_init_fn`."""
    random.seed(worker)

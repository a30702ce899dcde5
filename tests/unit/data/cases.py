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


def __getattr__(name):
    if name == "Random":  # made on demand: this file is also read where only real PyTorch is
        import flambeau

        class Random(flambeau.utils.data.Dataset):
            """Items with random numbers, for spawned workers."""

            def __init__(self, n):
                self.n = n

            def __len__(self):
                return self.n

            def __getitem__(self, i):
                return {"i": i, "noise": flambeau.rand(600)}

        Random.__qualname__ = "Random"
        globals()["Random"] = Random
        return Random
    raise AttributeError(name)

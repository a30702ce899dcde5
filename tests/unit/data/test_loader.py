"""Loaders in one process and with workers: PyTorch's batches, in PyTorch's order, with PyTorch's random numbers."""

import random
import warnings

import numpy as np
import pytest

from tests.unit.data import cases

# What PyTorch's own workers give, with `num_workers` of them, is what ours must give.
LOADERS = {
    "plain": {"batch_size": 8},
    "shuffled": {"batch_size": 8, "shuffle": True},
    "dropped": {"batch_size": 7, "shuffle": True, "drop_last": True},
    "no batches": {"batch_size": None},
    "two workers": {"batch_size": 8, "shuffle": True, "num_workers": 2},
    "three workers": {"batch_size": 4, "num_workers": 3, "prefetch_factor": 4},
    "persistent": {"batch_size": 8, "shuffle": True, "num_workers": 2, "persistent_workers": True},
    "items from workers": {"batch_size": None, "num_workers": 2},
    "initialised": {"batch_size": 8, "num_workers": 2, "worker_init_fn": cases.reseed},
}


def epochs(fl, dataset, kwargs, n=2):
    random.seed(0)
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # more workers than this machine has processors
        loader = fl.utils.data.DataLoader(dataset, **kwargs)
        found = [list(loader) for _ in range(n)]
    return found, fl.rand(2)


@pytest.mark.parametrize("name", LOADERS)
def test_batches(agree, name):
    agree(lambda fl: epochs(fl, cases.random_items(fl, 22), LOADERS[name]), exact=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_generator_of_ones_own(agree, workers):
    def program(fl):
        kwargs = {"shuffle": True, "num_workers": workers, "generator": fl.Generator().manual_seed(5), "batch_size": 5}
        return epochs(fl, cases.random_items(fl, 22), kwargs)

    agree(program, exact=True)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("drop_last", [False, True])
def test_iterable(agree, workers, batch_size, drop_last):
    if batch_size is None and drop_last:
        pytest.skip("refused")
    agree(
        lambda fl: epochs(
            fl, cases.counting(fl, 10), {"num_workers": workers, "batch_size": batch_size, "drop_last": drop_last}
        ),
        exact=True,
    )


def test_samplers_and_collate(agree):
    def program(fl):
        d = fl.utils.data
        rows = [
            d.DataLoader(range(10), batch_sampler=[[1, 2], [3]]),
            d.DataLoader(range(10), sampler=[5, 3, 1], batch_size=2),
            d.DataLoader(range(10), batch_size=4, collate_fn=lambda items: items),
            d.DataLoader(range(6), batch_size=4, collate_fn=sum, num_workers=1),
        ]
        return [(list(row), len(row)) for row in rows]

    agree(program)


REFUSED = {
    "workers": {"num_workers": -1},
    "timeout": {"timeout": -1},
    "prefetch": {"prefetch_factor": 2},
    "negative prefetch": {"prefetch_factor": -2, "num_workers": 1},
    "persistent": {"persistent_workers": True},
    "shuffle and sampler": {"shuffle": True, "sampler": [1]},
    "batch_sampler": {"batch_sampler": [[1]], "batch_size": 2},
    "drop_last": {"batch_size": None, "drop_last": True},
    "context": {"multiprocessing_context": "fork"},
    "no such context": {"multiprocessing_context": "knife", "num_workers": 1},
    "batch_size": {"batch_size": 0},
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(agree, case):
    agree(lambda fl: str(fl.utils.data.DataLoader(range(3), **REFUSED[case])), raises=ValueError)


@pytest.mark.parametrize("option", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_iterable_refused(agree, option):
    agree(lambda fl: str(fl.utils.data.DataLoader(cases.counting(fl, 3), **option)), raises=ValueError)


def test_attributes_are_fixed(agree):
    def program(fl):
        fl.utils.data.DataLoader([1]).batch_size = 3

    agree(program, raises=ValueError)


def test_lengths(agree):
    def program(fl):
        loader = fl.utils.data.DataLoader
        return [len(loader(range(10), batch_size=b, drop_last=d)) for b in (1, 3, 5) for d in (True, False)]

    agree(program)


def test_a_wrong_length_is_noticed():
    import flambeau as fl

    class Wrong(fl.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(3))

        def __len__(self):
            return 2

    loader = fl.utils.data.DataLoader(Wrong(), batch_size=None)
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 2"):
        list(loader)


def test_pinning_without_an_accelerator_warns():
    import flambeau as fl

    with pytest.warns(UserWarning, match="no accelerator is found"):
        list(fl.utils.data.DataLoader([1], pin_memory=True))


def test_too_many_workers_warn():
    import flambeau as fl

    with pytest.warns(UserWarning, match="This DataLoader will create 1000 worker processes in total"):
        fl.utils.data.DataLoader([1], num_workers=1000)

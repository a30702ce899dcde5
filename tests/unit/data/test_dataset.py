"""Datasets and collation: what PyTorch gives, and what it refuses."""

from collections import OrderedDict, UserDict, defaultdict, namedtuple

import numpy as np
import pytest

Point = namedtuple("Point", "x y")


def data(fl):
    return fl.utils.data


CASES = {
    "tensors": lambda fl: [data(fl).TensorDataset(fl.arange(6).view(3, 2), fl.arange(3.0))[i] for i in (0, -1)],
    "concat": lambda fl: [(data(fl).ConcatDataset(["ab", "c", "", "def"]))[i] for i in (0, 2, 3, 5, -1, -6)],
    "concat length": lambda fl: len(data(fl).ConcatDataset(["ab", "c", "", "def"])),
    "subset": lambda fl: [data(fl).Subset("abcdef", [4, 0, 2])[i] for i in range(3)],
    "subset items": lambda fl: data(fl).Subset("abcdef", [4, 0, 2]).__getitems__([2, 0]),
    "stack": lambda fl: data(fl).StackDataset("abc", range(3))[1],
    "stack items": lambda fl: data(fl).StackDataset(a="abc", b=range(3)).__getitems__([2, 1]),
    "random_split": lambda fl: [s.indices for s in data(fl).random_split(range(10), [3, 7])],
    "random_split parts": lambda fl: [
        s.indices for s in data(fl).random_split(range(11), [0.3, 0.3, 0.4], fl.Generator().manual_seed(1))
    ],
    "distributed": lambda fl: [
        list(data(fl).DistributedSampler(range(n), num_replicas=3, rank=r, shuffle=shuffle, drop_last=drop, seed=5))
        for n in (1, 7, 9, 11)
        for r in range(3)
        for shuffle in (True, False)
        for drop in (True, False)
        if n >= 3 or not drop
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_items(agree, case):
    agree(lambda fl: CASES[case](fl))


REFUSED = {
    "dataset": (NotImplementedError, lambda fl: data(fl).Dataset()[0]),
    "sizes": (AssertionError, lambda fl: data(fl).TensorDataset(fl.zeros(2), fl.zeros(3))),
    "stack": (ValueError, lambda fl: data(fl).StackDataset("ab", "c")),
    "stack both": (ValueError, lambda fl: data(fl).StackDataset("ab", x="cd")),
    "stack nothing": (ValueError, lambda fl: data(fl).StackDataset()),
    "concat nothing": (AssertionError, lambda fl: data(fl).ConcatDataset([])),
    "concat index": (ValueError, lambda fl: data(fl).ConcatDataset(["ab"])[-3]),
    "split": (ValueError, lambda fl: data(fl).random_split(range(3), [1, 1])),
    "rank": (ValueError, lambda fl: data(fl).DistributedSampler(range(3), num_replicas=2, rank=2)),
    "sampler": (NotImplementedError, lambda fl: iter(data(fl).Sampler())),
    "num_samples": (ValueError, lambda fl: data(fl).RandomSampler(range(3), num_samples=0)),
    "empty": (ValueError, lambda fl: data(fl).RandomSampler([])),
    "replacement": (TypeError, lambda fl: data(fl).RandomSampler(range(3), replacement=1)),
    "weights": (ValueError, lambda fl: data(fl).WeightedRandomSampler([[1.0]], 1)),
    "batch_size": (ValueError, lambda fl: data(fl).BatchSampler(range(3), True, False)),
    "drop_last": (ValueError, lambda fl: data(fl).BatchSampler(range(3), 2, 1)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(agree, case):
    error, call = REFUSED[case]
    agree(lambda fl: str(call(fl)), raises=error)


def test_chains_are_iterated(agree):
    def program(fl):
        class Count(data(fl).IterableDataset):
            def __init__(self, n):
                self.n = n

            def __iter__(self):
                return iter(range(self.n))

            def __len__(self):
                return self.n

        chain = Count(2) + Count(3)
        return list(chain), len(chain), type(chain).__name__

    agree(program)


def test_subsets_of_subsets_ask_once():
    import flambeau as fl

    class Squares(fl.utils.data.Dataset):
        asked = []

        def __getitems__(self, indices):
            self.asked.append(indices)
            return [i * i for i in indices]

        def __len__(self):
            return 10

    subset = fl.utils.data.Subset(Squares(), [9, 8, 7, 6])
    loader = fl.utils.data.DataLoader(subset, batch_size=2)
    assert [b.tolist() for b in loader] == [[81, 64], [49, 36]]
    assert Squares.asked == [[9, 8], [7, 6]]


class Bag(UserDict):
    """A mapping with an attribute."""


BATCHES = {
    "ints": [1, 2, 3],
    "bools": [True, False],
    "floats": [1.0, 2.5],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "numpy scalars": [np.float32(1), np.float32(2)],
    "numpy int": [np.int16(1), np.int16(2)],
    "arrays": [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    "tuples": [(1, "a", 2.0), (3, "b", 4.0)],
    "lists": [[1, 2], [3, 4]],
    "dicts": [{"x": 1, "y": [1.0, 2.0]}, {"x": 2, "y": [3.0, 4.0]}],
    "ordered": [OrderedDict(b=1, a=2), OrderedDict(b=3, a=4)],
    "default": [defaultdict(int, a=1), defaultdict(int, a=2)],
    "user": [Bag(a=1), Bag(a=2)],
    "named": [Point(1, 2.0), Point(3, 4.0)],
    "ranges": [range(2), range(2, 4)],
}


def show(x):
    """Nested containers with the names of their types."""
    if isinstance(x, (dict, UserDict)):
        return type(x).__name__, [(k, show(v)) for k, v in x.items()]
    if isinstance(x, (list, tuple)):
        return type(x).__name__, [show(v) for v in x]
    return str(x) if isinstance(x, bytes) else x


@pytest.mark.parametrize("case", BATCHES)
def test_collate(agree, case):
    agree(lambda fl: (show(data(fl).default_collate(BATCHES[case])), show(data(fl).default_convert(BATCHES[case]))))


def test_collate_tensors(agree):
    agree(lambda fl: data(fl).default_collate([{"x": fl.arange(4).view(2, 2).t(), "y": (fl.tensor(True), 1)}] * 3))


BAD = {
    "none": (TypeError, lambda fl: [None, None]),
    "object": (TypeError, lambda fl: [object, object]),
    "lengths": (RuntimeError, lambda fl: [[1, 2], [3]]),
    "shapes": (RuntimeError, lambda fl: [fl.zeros(2), fl.zeros(3)]),
    "object arrays": (TypeError, lambda fl: [np.array(["a"]), np.array(["b"])]),
}


@pytest.mark.parametrize("case", BAD)
def test_collate_refuses(agree, case):
    error, batch = BAD[case]
    agree(lambda fl: str(data(fl).default_collate(batch(fl))), raises=error)

"""The orders of samplers: PyTorch's, index for index, and what they leave of the generators."""

import pytest

ORDERS = {
    "random": lambda d, g: d.RandomSampler(range(20)),
    "random generator": lambda d, g: d.RandomSampler(range(20), generator=g),
    "few": lambda d, g: d.RandomSampler(range(20), num_samples=7, generator=g),
    "many": lambda d, g: d.RandomSampler(range(20), num_samples=47, generator=g),
    "replacement": lambda d, g: d.RandomSampler(range(20), replacement=True, num_samples=70, generator=g),
    "replacement 64": lambda d, g: d.RandomSampler(range(20), replacement=True, num_samples=64),
    "subset": lambda d, g: d.SubsetRandomSampler([3, 1, 4, 1, 5, 9]),
    "weighted": lambda d, g: d.WeightedRandomSampler([0.1, 0.9, 0.4, 0.7, 3.0, 0.6], 12, generator=g),
    "weighted once": lambda d, g: d.WeightedRandomSampler([0.9, 0.4, 0.05, 0.2, 0.3, 0.1], 5, replacement=False),
    "batches": lambda d, g: d.BatchSampler(d.RandomSampler(range(20)), 6, drop_last=False),
    "full batches": lambda d, g: d.BatchSampler(d.SequentialSampler(range(20)), 6, drop_last=True),
}


@pytest.mark.parametrize("name", ORDERS)
def test_order(agree, name):
    def program(fl):
        generator = fl.Generator().manual_seed(42)
        sampler = ORDERS[name](fl.utils.data, generator)
        epochs = [list(sampler) for _ in range(2)]
        return epochs, len(sampler), fl.rand(2), fl.rand(2, generator=generator)

    agree(program)


def test_distributed_epochs(agree):
    def program(fl):
        sampler = fl.utils.data.DistributedSampler(range(10), num_replicas=3, rank=1)
        found = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            found.append(list(sampler))
        return found, len(sampler)

    agree(program)

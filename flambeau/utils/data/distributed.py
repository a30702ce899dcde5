"""`DistributedSampler`: each of several processes takes its share of a dataset."""

from math import ceil

import flambeau

from .sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler):
    """Every `num_replicas`-th index from `rank` on, of all indices in the same order in every process.

    Args:
        dataset: by index
        num_replicas: processes; that of the process group if not given
        rank: number of this process; that in the process group if not given
        shuffle: reorder, anew in each epoch (if `set_epoch` is called)
        seed: of the order; equal in all processes
        drop_last: leave out the last indices to make all shares equal, instead of repeating the first ones

    >>> sampler = flambeau.utils.data.DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False)
    >>> list(sampler)
    [1, 3, 0]
    """

    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False) -> None:
        num_replicas = _group().get_world_size() if num_replicas is None else num_replicas
        rank = _group().get_rank() if rank is None else rank
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        share = len(dataset) / num_replicas
        self.num_samples = int(share) if drop_last else ceil(share)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self):
        indices = list(range(len(self.dataset)))
        if self.shuffle:
            generator = flambeau.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = flambeau.randperm(len(indices), generator=generator).tolist()
        if indices and len(indices) < self.total_size:
            indices = indices * ceil(self.total_size / len(indices))
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Gives the next iteration another order; call it before each epoch, in all processes alike."""
        self.epoch = epoch


def _group():
    if not flambeau.distributed.is_available():
        raise RuntimeError("Requires distributed package to be available")
    return flambeau.distributed

"""torchdata: loaders whose place in an epoch is kept, alone and with workers; graphs of nodes."""

import torch
from torch.utils.data import RandomSampler
from torchdata.nodes import Batcher, IterableWrapper, Loader, Mapper, ParallelMapper, Prefetcher, SamplerWrapper
from torchdata.stateful_dataloader import StatefulDataLoader


def stateful():
    results = {}
    for workers in (0, 2):
        torch.manual_seed(0)
        loader = StatefulDataLoader(list(range(20)), batch_size=4, shuffle=True, num_workers=workers)
        it = iter(loader)
        seen, state = [next(it), next(it)], loader.state_dict()
        again = StatefulDataLoader(list(range(20)), batch_size=4, shuffle=True, num_workers=workers)
        again.load_state_dict(state)
        results[str(workers)] = [seen, list(again), list(it)]
    return results


def nodes():
    batches = Batcher(Mapper(IterableWrapper(range(10)), lambda x: x * 2), 3, drop_last=False)
    drawn = ParallelMapper(SamplerWrapper(RandomSampler(range(8))), lambda x: x + 1, num_workers=2, method="thread")
    return {"batches": list(Loader(batches)), "drawn": sorted(Loader(Prefetcher(drawn, 2)))}

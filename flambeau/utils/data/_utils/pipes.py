"""What a loader does for pipelines (`datapipes`): seeds, and each worker its own part. Nothing of it is loaded without them."""

import sys

import flambeau


def kind(dataset):
    """The kind of a pipe, "iter" or "map"; None for other datasets."""
    module = sys.modules.get(f"{__package__.rpartition('.')[0]}.datapipes.datapipe")
    if module is None:
        return None
    if isinstance(dataset, module.IterDataPipe):
        return "iter"
    return "map" if isinstance(dataset, module.MapDataPipe) else None


def wrapped(dataset, shuffle):
    """What a loader holds in place of a pipe; the settings of its shuffling are applied."""
    from ..datapipes import datapipe

    if isinstance(dataset, datapipe.MapDataPipe):
        return datapipe._MapDataPipeSerializationWrapper(dataset)
    if shuffle is not None:
        from ..graph_settings import apply_shuffle_settings

        apply_shuffle_settings(dataset, shuffle=shuffle)
    return datapipe._IterDataPipeSerializationWrapper(dataset)


def place():
    """(number of processes, number of this one)."""
    dist = flambeau.distributed
    return (dist.get_world_size(), dist.get_rank()) if dist.is_available() and dist.is_initialized() else (1, 0)


def shared_seed(generator):
    """A seed, the same in all processes."""
    seed = flambeau.empty((), dtype=flambeau.int64).random_(generator=generator)
    if place()[0] > 1:
        flambeau.distributed.broadcast(seed, src=0)
    return seed.item()


def apply_seed(dataset, seed):
    """Gives the random pipes of a pipeline their seeds."""
    from ..graph_settings import apply_random_seed

    apply_random_seed(dataset, flambeau.Generator().manual_seed(seed))


def shard(dataset, workers, worker):
    """Keeps the items of this process, or of this worker of it."""
    from ..graph_settings import apply_sharding

    processes, process = place()
    apply_sharding(dataset, workers * processes, worker * processes + process)

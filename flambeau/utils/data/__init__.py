"""Datasets, samplers and loaders, under PyTorch's names."""

from .dataloader import DataLoader, _DatasetKind, default_collate, default_convert, get_worker_info
from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from .distributed import DistributedSampler
from .sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

_PIPES = {
    "DFIterDataPipe": "datapipe", "DataChunk": "datapipe", "IterDataPipe": "datapipe", "MapDataPipe": "datapipe",
    "argument_validation": "_decorator", "functional_datapipe": "_decorator", "guaranteed_datapipes_determinism": "_decorator",
    "non_deterministic": "_decorator", "runtime_validation": "_decorator", "runtime_validation_disabled": "_decorator",
}  # fmt: skip


def __getattr__(name):  # pipelines, and loaders' settings of them, when they are asked for
    import importlib

    if name in ("datapipes", "graph", "graph_settings", "_utils"):
        return importlib.import_module(f"{__name__}.{name}")
    if name in _PIPES:
        importlib.import_module(f"{__name__}.datapipes.iter")
        importlib.import_module(f"{__name__}.datapipes.map")
        found = getattr(importlib.import_module(f"{__name__}.datapipes.{_PIPES[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "DFIterDataPipe", "DataChunk", "DataLoader", "Dataset",
    "DistributedSampler", "IterDataPipe", "IterableDataset", "MapDataPipe", "argument_validation", "functional_datapipe",
    "guaranteed_datapipes_determinism", "non_deterministic", "runtime_validation", "runtime_validation_disabled",
    "RandomSampler", "Sampler", "SequentialSampler", "StackDataset", "Subset", "SubsetRandomSampler", "TensorDataset",
    "WeightedRandomSampler", "_DatasetKind", "default_collate", "default_convert", "get_worker_info", "random_split",
]  # fmt: skip

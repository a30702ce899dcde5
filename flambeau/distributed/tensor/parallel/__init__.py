"""Layers spread over ranks: plans can be described; carrying them out is not there yet."""

from flambeau.distributed._absent import absent_function
from flambeau.distributed.tensor.parallel.style import (
    ColwiseParallel as ColwiseParallel,
    ParallelStyle as ParallelStyle,
    PrepareModuleInput as PrepareModuleInput,
    PrepareModuleInputOutput as PrepareModuleInputOutput,
    PrepareModuleOutput as PrepareModuleOutput,
    RowwiseParallel as RowwiseParallel,
    SequenceParallel as SequenceParallel,
)

_PATH = "torch.distributed.tensor.parallel"
parallelize_module = absent_function(f"{_PATH}.parallelize_module")
loss_parallel = absent_function(f"{_PATH}.loss_parallel")
__all__ = [
    "ColwiseParallel", "ParallelStyle", "PrepareModuleInput", "PrepareModuleInputOutput", "PrepareModuleOutput", "RowwiseParallel", "SequenceParallel",
    "loss_parallel", "parallelize_module",
]  # fmt: skip

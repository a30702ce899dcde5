"""Layers spread over ranks: not there yet. The styles can be named and asked about."""

from flambeau.distributed._absent import absent_class, absent_function

_PATH = "torch.distributed.tensor.parallel"
ParallelStyle = absent_class(f"{_PATH}.ParallelStyle")
ColwiseParallel = absent_class(f"{_PATH}.ColwiseParallel")
RowwiseParallel = absent_class(f"{_PATH}.RowwiseParallel")
SequenceParallel = absent_class(f"{_PATH}.SequenceParallel")
PrepareModuleInput = absent_class(f"{_PATH}.PrepareModuleInput")
PrepareModuleInputOutput = absent_class(f"{_PATH}.PrepareModuleInputOutput")
PrepareModuleOutput = absent_class(f"{_PATH}.PrepareModuleOutput")
parallelize_module = absent_function(f"{_PATH}.parallelize_module")
loss_parallel = absent_function(f"{_PATH}.loss_parallel")

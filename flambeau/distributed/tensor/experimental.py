"""Functions over the parts of spread tensors: not there yet."""

from flambeau.distributed._absent import absent_function

_PATH = "torch.distributed.tensor.experimental"
local_map = absent_function(f"{_PATH}.local_map")
register_sharding = absent_function(f"{_PATH}.register_sharding")
context_parallel = absent_function(f"{_PATH}.context_parallel")
implicit_replication = absent_function(f"{_PATH}.implicit_replication")

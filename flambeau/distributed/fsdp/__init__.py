"""Parameters spread over processes: not there yet."""

from flambeau.distributed._absent import absent_class, absent_function

FullyShardedDataParallel = absent_class("torch.distributed.fsdp.FullyShardedDataParallel")
FSDPModule = absent_class("torch.distributed.fsdp.FSDPModule")
fully_shard = absent_function("torch.distributed.fsdp.fully_shard")
register_fsdp_forward_method = absent_function("torch.distributed.fsdp.register_fsdp_forward_method")


def __getattr__(name: str) -> object:
    import importlib

    if name in ("api", "wrap", "fully_sharded_data_parallel", "sharded_grad_scaler"):
        return importlib.import_module(f"{__name__}.{name}")
    api = importlib.import_module(f"{__name__}.api")
    if name in vars(api) and not name.startswith("_"):
        return vars(api)[name]
    raise AttributeError(f"module 'torch.distributed.fsdp' has no attribute '{name}'")

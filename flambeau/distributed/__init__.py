"""Programs on many processes: groups of ranks, collectives, messages, and what is built on them.

Everything loads when it is first asked for: a program of one process does not pay for it.
"""

import importlib

_MODULES = ("algorithms", "autograd", "checkpoint", "constants", "device_mesh", "distributed_c10d", "elastic", "fsdp", "launcher", "nn", "optim", "pipelining",
            "rendezvous", "rpc", "run", "tensor", "utils", "_composable", "_functional_collectives", "_shard", "_tensor")  # fmt: skip
_FROM = {
    **dict.fromkeys(("DistError", "DistBackendError", "DistNetworkError", "DistStoreError", "QueueEmptyError"), "_errors"),
    **dict.fromkeys(("Store", "HashStore", "FileStore", "TCPStore", "PrefixStore"), "_store"),
    **dict.fromkeys(("ProcessGroup", "Work"), "_group"),
    **dict.fromkeys(("AllToAllOptions", "AllreduceCoalescedOptions", "AllreduceOptions", "BarrierOptions", "BroadcastOptions", "BuiltinCommHookType",
                     "DebugLevel", "GatherOptions", "GradBucket", "Logger", "ProcessGroupGloo", "ReduceOptions", "ReduceScatterOptions", "Reducer",
                     "ScatterOptions", "get_debug_level", "set_debug_level", "set_debug_level_from_env"), "_options"),
    "ReduceOp": "_reduce_op", "DeviceMesh": "device_mesh", "init_device_mesh": "device_mesh",
    "rendezvous": "rendezvous", "register_rendezvous_handler": "rendezvous",
}  # fmt: skip


def is_available() -> bool:
    """Whether processes can work together here.

    >>> is_available()
    True
    """
    return True


def is_initialized() -> bool:
    """Whether this process has joined others."""
    import sys

    module = sys.modules.get(f"{__name__}.distributed_c10d")
    return module is not None and module.is_initialized()


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(f"module 'torch.distributed' has no attribute '{name}'")
    if name in _FROM:
        made = getattr(importlib.import_module(f"{__name__}.{_FROM[name]}"), name)
        globals()[name] = made
        return made
    if name in _MODULES or name.startswith("_"):  # the import system asks for submodules by attribute first
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    found = getattr(importlib.import_module(f"{__name__}.distributed_c10d"), name, None)
    if found is None:
        raise AttributeError(f"module 'torch.distributed' has no attribute '{name}'")
    return found


def __dir__() -> list[str]:
    c10d = importlib.import_module(f"{__name__}.distributed_c10d")
    own = [n for n, v in vars(c10d).items() if getattr(v, "__module__", "") == c10d.__name__ and not n.startswith("_")]
    return sorted({*globals(), *_FROM, *_MODULES, *own})

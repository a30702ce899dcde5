"""Process groups and stores under the path of PyTorch's library."""

from typing import Any

from flambeau.distributed import distributed_c10d


def __getattr__(name: str) -> Any:
    found = getattr(distributed_c10d, name, None)
    if found is None:
        raise AttributeError(f"module 'torch._C._distributed_c10d' has no attribute '{name}'")
    return found

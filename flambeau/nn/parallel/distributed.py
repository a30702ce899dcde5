"""DistributedDataParallel: gradients averaged over processes. There are no process groups here yet."""

from ..modules.module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """Wraps a module so that its gradients are averaged over the processes of a group."""

    def __init__(self, module, *args, process_group=None, **kwargs):
        super().__init__()
        if process_group is None:
            raise ValueError(
                "Default process group has not been initialized, please make sure to call init_process_group."
            )
        raise NotImplementedError("DistributedDataParallel over a process group")

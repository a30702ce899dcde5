"""Copies between GPUs, of which there are none: the names are there for those who import them, and say so when they are called."""

__all__ = ["broadcast", "broadcast_coalesced", "gather", "reduce_add", "reduce_add_coalesced", "scatter"]


def _none(name):
    raise NotImplementedError(f"torch.nn.parallel.comm.{name} copies between GPUs, of which there are none")


def broadcast(tensor, devices=None, *, out=None):
    """A tensor on several GPUs."""
    _none("broadcast")


def broadcast_coalesced(tensors, devices, buffer_size=10485760):
    """Tensors on several GPUs, small ones together."""
    _none("broadcast_coalesced")


def reduce_add(inputs, destination=None):
    """The sum of tensors from several GPUs; of a single one, that one."""
    if len(inputs) == 1:
        return inputs[0]
    _none("reduce_add")


def reduce_add_coalesced(inputs, destination=None, buffer_size=10485760):
    """The sums of lists of tensors from several GPUs."""
    _none("reduce_add_coalesced")


def scatter(tensor, devices=None, chunk_sizes=None, dim=0, streams=None, *, out=None):
    """The parts of a tensor on several GPUs."""
    _none("scatter")


def gather(tensors, dim=0, destination=None, *, out=None):
    """Tensors from several GPUs, joined."""
    _none("gather")

"""Tensors spread over processes: not there yet. The class can be named and asked about: no tensor is one."""

from typing import Any, NoReturn

import flambeau
from flambeau.distributed.tensor.placement_types import (
    Partial as Partial,
    Placement as Placement,
    Replicate as Replicate,
    Shard as Shard,
)


class DTensor(flambeau.Tensor):
    """A tensor spread over processes; none can be made yet."""

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("torch.distributed.tensor.DTensor is not implemented")

    @staticmethod
    def from_local(*args: Any, **kwargs: Any) -> NoReturn:
        """A spread tensor from each process's part."""
        raise NotImplementedError("torch.distributed.tensor.DTensor.from_local is not implemented")


def distribute_tensor(*args: Any, **kwargs: Any) -> NoReturn:
    """A tensor spread over the ranks of a mesh."""
    raise NotImplementedError("torch.distributed.tensor.distribute_tensor is not implemented")


def distribute_module(*args: Any, **kwargs: Any) -> NoReturn:
    """A module whose parameters are spread over the ranks of a mesh."""
    raise NotImplementedError("torch.distributed.tensor.distribute_module is not implemented")

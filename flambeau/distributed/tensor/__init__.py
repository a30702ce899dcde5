"""Tensors spread over processes: not there yet. The class can be named and asked about: no tensor is one."""

from typing import Any, NoReturn

import flambeau


class DTensor(flambeau.Tensor):
    """A tensor spread over processes; none can be made yet."""

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("torch.distributed.tensor.DTensor is not implemented")

    @staticmethod
    def from_local(*args: Any, **kwargs: Any) -> NoReturn:
        """A spread tensor from each process's part."""
        raise NotImplementedError("torch.distributed.tensor.DTensor.from_local is not implemented")

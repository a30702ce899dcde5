"""Optimizers whose state is spread over processes: not there yet. The class can be named and asked about."""

from typing import Any, NoReturn

from flambeau.optim import Optimizer


class ZeroRedundancyOptimizer(Optimizer):
    """An optimizer whose state is spread over processes; none can be made yet."""

    def __init__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("torch.distributed.optim.ZeroRedundancyOptimizer is not implemented")

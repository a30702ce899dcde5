"""States of optimizers whose model is spread over ranks."""

from typing import Any, NoReturn

__all__ = ["load_sharded_optimizer_state_dict"]


def load_sharded_optimizer_state_dict(model_state_dict: Any, optimizer_key: str, storage_reader: Any, planner: Any = None) -> NoReturn:  # fmt: skip
    """Refused: there are no models spread over ranks yet."""
    raise NotImplementedError("torch.distributed.checkpoint.optimizer.load_sharded_optimizer_state_dict")

"""Backward passes over processes that call each other: not there yet, as `torch.distributed.rpc` is not, and `is_available` says so."""

from typing import NoReturn


def is_available() -> bool:
    """Whether backward passes can go through calls of other processes here."""
    return False


class context:
    """Would gather the gradients of one backward pass over processes."""

    def __enter__(self) -> NoReturn:
        raise NotImplementedError("torch.distributed.autograd.context")

    def __exit__(self, *_: object) -> None:
        return None

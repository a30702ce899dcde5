"""Fake tensors, which have a device but no elements: not there (meta tensors are). They can be asked about: no tensor is one."""

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import flambeau


class FakeTensor(flambeau.Tensor):
    """A tensor without elements that remembers its device; none can be made."""

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("torch._subclasses.FakeTensor is not implemented")


class FakeTensorMode:
    """The block in which tensors are fake."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("torch._subclasses.FakeTensorMode is not implemented")


def is_fake(x: object) -> bool:
    """Whether a tensor is fake."""
    return isinstance(x, FakeTensor)


@contextlib.contextmanager
def unset_fake_temporarily() -> Iterator[None]:
    """A block in which no tensor is fake; the mode that it interrupts, of which there is none."""
    yield None

"""What backends of `compile` share: ahead-of-time compilation of both passes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau._functorch.aot_autograd import aot_module_simplified

__all__ = ["AotAutograd", "aot_autograd", "device_from_inputs", "dtype_from_inputs", "fake_tensor_unsupported"]


class AotAutograd:
    """A backend that takes a captured graph's forward and backward passes apart and hands each to a compiler."""

    def __init__(self, **kwargs: Any) -> None:
        self.__name__ = "compiler_fn"
        self.kwargs = kwargs

    def __call__(self, gm: Any, example_inputs: Sequence[Any], **_: Any) -> Callable[..., Any]:
        given = dict(self.kwargs)
        if callable(given.get("decompositions")):
            given["decompositions"] = given["decompositions"]()
        return aot_module_simplified(gm, example_inputs, **given)


def aot_autograd(**kwargs: Any) -> AotAutograd:
    """A backend from compilers of graphs of ATen operators: `aot_autograd(fw_compiler=..., bw_compiler=...)`.

    >>> import flambeau as torch
    >>> from flambeau._dynamo.backends.common import aot_autograd
    >>> from flambeau._functorch.compilers import nop
    >>> f = torch.compile(lambda x: x.sin() * 2, backend=aot_autograd(fw_compiler=nop))
    >>> f(torch.zeros(2))
    tensor([0., 0.])
    """
    return AotAutograd(**kwargs)


def fake_tensor_unsupported(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A backend that wants real tensors as examples: it gets them in any case."""

    @functools.wraps(fn)
    def wrapper(model: Any, inputs: Any, **kwargs: Any) -> Any:
        return fn(model, inputs, **kwargs)

    return wrapper


def device_from_inputs(example_inputs: Sequence[Any]) -> Any:
    """Where the first tensor is."""
    return next((x.device for x in example_inputs if isinstance(x, flambeau.Tensor)), flambeau.device("cpu"))


def dtype_from_inputs(example_inputs: Sequence[Any]) -> Any:
    """The dtype of the first tensor."""
    return next((x.dtype for x in example_inputs if isinstance(x, flambeau.Tensor)), flambeau.float32)

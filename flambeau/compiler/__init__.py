"""`flambeau.compile`, and what surrounds it: switching it off, asking whether it is at work, forgetting what it made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau._capture.control import (
    allow_in_graph,
    assume_constant_result,
    cudagraph_mark_step_begin,
    disable,
    graph_break,
    is_compiling,
    is_dynamo_compiling,
    is_exporting,
    substitute_in_graph,
)

__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "cudagraph_mark_step_begin",
    "disable",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "list_backends",
    "reset",
    "set_stance",
    "substitute_in_graph",
]


def compile(model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: str | Callable[..., Any] = "inductor",
            mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False) -> Any:  # fmt: skip
    """A function (or module) that does the same, captured once for each kind of input and run as one program.

    Without `model` it is a decorator. What cannot be captured runs in Python, between programs; `flambeau._dynamo.explain` says where.

    Args:
        model: a function, method or module
        fullgraph: raise where the function cannot be captured whole, instead of splitting it
        dynamic: whether sizes may change without a new capture: True, False, or None for those that were seen to change
        backend: "inductor" (native code), "eager" (the captured graph, operator by operator), "aot_eager", or a function that takes
            an `fx.GraphModule` and example inputs, and returns a function of the inputs that gives a tuple
        mode, options: accepted as PyTorch's; not both
        disable: change nothing

    >>> import flambeau as torch
    >>> f = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2, backend="eager")
    >>> f(torch.zeros(2))
    tensor([1., 1.])
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable
        )
    if disable:
        return model
    from flambeau._capture.api import optimized

    return optimized(model, backend, fullgraph, dynamic, options or {})


def reset() -> None:
    """Forget everything that was captured."""
    from flambeau._capture.api import reset as forget

    forget()


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """Names that `backend=` understands."""
    from flambeau._capture.backends import names

    return names()


class set_stance:
    """How compiled functions behave: "default", "force_eager" (as if they were not compiled), ..."""

    def __init__(
        self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend: Any = None
    ) -> None:
        if stance not in (
            "default",
            "force_eager",
            "eager_on_recompile",
            "fail_on_recompile",
            "eager_then_compile",
            "aot_eager_then_compile",
        ):
            raise RuntimeError(f"invalid torch.compile stance '{stance}'")
        from flambeau._eager import modes

        self.eager = stance == "force_eager"
        if self.eager:
            modes.enter("force_eager")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        from flambeau._eager import modes

        if self.eager:
            modes.leave("force_eager")

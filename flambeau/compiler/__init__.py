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
from flambeau._capture.stance import set_stance
from flambeau.compiler import config
from flambeau.compiler._cache import load_cache_artifacts, save_cache_artifacts

__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "config",
    "cudagraph_mark_step_begin",
    "disable",
    "get_default_backend",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "keep_portable_guards_unsafe",
    "keep_tensor_guards_unsafe",
    "list_backends",
    "load_cache_artifacts",
    "nested_compile_region",
    "reset",
    "save_cache_artifacts",
    "set_default_backend",
    "set_enable_guard_collectives",
    "set_stance",
    "skip_all_guards_unsafe",
    "skip_guard_on_all_nn_modules_unsafe",
    "skip_guard_on_globals_unsafe",
    "skip_guard_on_inbuilt_nn_modules_unsafe",
    "substitute_in_graph",
    "wrap_numpy",
]

_default: list[Any] = [
    "inductor",
    False,
]  # the backend where none is named; whether guards are to be agreed on by all ranks


def compile(model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: str | Callable[..., Any] | None = None,
            mode: str | None = None, options: dict[str, Any] | None = None, name: str | None = None, disable: bool = False,
            recompile_limit: int | None = None, isolate_recompiles: bool = False, shapes_spec: Any = None) -> Any:  # fmt: skip
    """A function (or module) that does the same, captured once for each kind of input and run as one program.

    Without `model` it is a decorator. What cannot be captured runs in Python, between programs; `flambeau._dynamo.explain` says where.

    Args:
        model: a function, method or module
        fullgraph: raise where the function cannot be captured whole, instead of splitting it
        dynamic: whether sizes may change without a new capture: True, False, or None for those that were seen to change
        backend: "inductor" (native code), "eager" (the captured graph, operator by operator), "aot_eager", or a function that takes
            an `fx.GraphModule` and example inputs, and returns a function of the inputs that gives a tuple
        mode, options: PyTorch's (`torch._inductor.list_options()`), not both; they change nothing but for backends of one's own, which get them. No guard is left out for a `guard_filter_fn`: results stay sound
        name: accepted
        disable: change nothing
        recompile_limit: captures of this function before new inputs run in Python; `torch._dynamo.config.recompile_limit` otherwise
        isolate_recompiles: accepted: each `compile` has captures of its own

    >>> import flambeau as torch
    >>> f = torch.compile(lambda x: torch.sin(x) ** 2 + torch.cos(x) ** 2, backend="eager")
    >>> f(torch.zeros(2))
    tensor([1., 1.])
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if shapes_spec is not None:
        raise NotImplementedError("torch.compile with shapes_spec")
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, name=name,
            disable=disable, recompile_limit=recompile_limit, isolate_recompiles=isolate_recompiles
        )  # fmt: skip
    if disable:
        return model
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    from flambeau._capture.api import optimized

    chosen = _default[0] if backend is None else backend
    given: dict[str, Any] = {}
    settings = {k: v for k, v in (options or {}).items() if k != "guard_filter_fn"}
    if chosen == "inductor":
        from flambeau._inductor import check

        check(mode, settings)
    else:  # for the backend to make what it can of them
        given = {"mode": mode} if mode and mode != "default" else {}
        given |= {"options": settings} if settings else {}
    return optimized(model, chosen, fullgraph, dynamic, given, recompile_limit)


def reset() -> None:
    """Forget everything that was captured."""
    from flambeau._capture.api import reset as forget

    forget()


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """Names that `backend=` understands, without those that have one of these tags."""
    from flambeau._capture.backends import names

    return names(exclude_tags)


def get_default_backend() -> str | Callable[..., Any]:
    """The backend of `compile` where none is named."""
    return _default[0]


def set_default_backend(backend: str | Callable[..., Any] | None) -> None:
    """Choose the backend of `compile` where none is named; None chooses "inductor" again."""
    _default[0] = "inductor" if backend is None else backend


def nested_compile_region(fn: Any = None, *, options: Any = None, max_reuse_entries: int = 8, reuse_hash_fn: Any = None) -> Any:  # fmt: skip
    """Accepted: equal kernels are made once wherever they come from, so a repeated region needs no mark."""
    if options is not None:
        raise RuntimeError("nested_compile_region config is an experimental feature for testing only.")
    return fn if fn is not None else lambda f: f


def wrap_numpy(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy arrays as a function of tensors. NumPy computes; no gradient passes."""
    import numpy as np

    import flambeau
    from flambeau.utils import _pytree as pytree

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = pytree.tree_map_only(flambeau.Tensor, lambda t: t.numpy(), (args, kwargs))
        out = fn(*args, **kwargs)
        return pytree.tree_map(lambda x: flambeau.as_tensor(x) if isinstance(x, (np.ndarray, np.generic)) else x, out)

    return wrapped


def set_enable_guard_collectives(enabled: bool) -> bool:
    """Accepted: no rank waits for another before it captures. The former setting is returned."""
    before, _default[1] = _default[1], bool(enabled)
    return before


# Functions for `options={"guard_filter_fn": ...}`. Each takes entries as PyTorch describes guards, and says which to keep.


def keep_portable_guards_unsafe(guard_entries: Any) -> list[bool]:
    """Guards on tensors and on global state."""
    return [
        g.guard_type in ("GLOBAL_STATE", "SHAPE_ENV") or (g.guard_type == "TENSOR_MATCH" and not g.is_global)
        for g in guard_entries
    ]


def keep_tensor_guards_unsafe(guard_entries: Any, keep_parameters: bool = False) -> list[bool]:
    """Guards on tensors, those on parameters only where asked."""
    from flambeau.nn import Parameter

    return [
        g.guard_type == "TENSOR_MATCH" and (keep_parameters or not isinstance(g.value, Parameter))
        for g in guard_entries
    ]


def skip_all_guards_unsafe(guard_entries: Any) -> list[bool]:
    """No guard."""
    return [False for _ in guard_entries]


def skip_guard_on_all_nn_modules_unsafe(guard_entries: Any) -> list[bool]:
    """All but those on modules."""
    return [not g.orig_guard.source.is_unspecialized_nn_module() for g in guard_entries]


def skip_guard_on_globals_unsafe(guard_entries: Any) -> list[bool]:
    """All but those on globals."""
    return [not g.is_global for g in guard_entries]


def skip_guard_on_inbuilt_nn_modules_unsafe(guard_entries: Any) -> list[bool]:
    """All but those on modules of `torch.nn`."""
    return [not g.orig_guard.source.is_unspecialized_builtin_nn_module() for g in guard_entries]

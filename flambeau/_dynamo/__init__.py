"""The names under which other libraries reach the compiler: re-exports of `flambeau.compiler`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._capture.control import (
    allow_in_graph as allow_in_graph,
    assume_constant_result as assume_constant_result,
    disable as disable,
    error_on_graph_break as error_on_graph_break,
    graph_break as graph_break,
    is_dynamo_compiling as is_compiling,
    substitute_in_graph as substitute_in_graph,
)
from flambeau._dynamo import config as config, exc as exc
from flambeau._functorch import config as _ahead  # programs set it having imported this package alone


def reset() -> None:
    """Forget everything that was captured."""
    from flambeau._capture.api import reset as forget

    forget()


def explain(f: Any, *args: Any, **kwargs: Any) -> Any:
    """`explain(f)(*args)`: how many programs f becomes, and where, why and what to do about the breaks."""
    from flambeau._capture.api import explain as run

    return run(f, *args, **kwargs)


def optimize(
    backend: str | Callable[..., Any] = "inductor", *, nopython: bool = False, dynamic: bool | None = None, **_: Any
) -> Any:
    """The older form of `flambeau.compile`: gives a decorator."""
    from flambeau.compiler import compile

    return lambda fn: compile(fn, backend=backend, fullgraph=nopython, dynamic=dynamic)


def optimize_assert(backend: str | Callable[..., Any], **options: Any) -> Any:
    """`optimize` that raises where the function cannot be captured whole."""
    return optimize(backend, nopython=True, **options)


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """Names that `backend=` understands, without those that have one of these tags."""
    from flambeau._capture.backends import names

    return names(exclude_tags)


def lookup_backend(compiler_fn: Any) -> Callable[..., Any]:
    """The backend of a name; a function is one itself."""
    from flambeau._capture.backends import find

    return find(compiler_fn)


def is_dynamo_disable_recursive(method: Any) -> bool | None:
    """Whether `disable` was asked not to follow what a function calls either; None where it was not asked."""
    return getattr(method, "_torchdynamo_disable_recursive", None)


def dont_skip_tracing(fn: Any = None) -> Any:
    """Accepted: what a function does is followed in any case."""
    return (lambda f: f) if fn is None else fn


def nonstrict_trace(traceable_fn: Any) -> Any:
    """Accepted: what a function does is followed."""
    return traceable_fn


def patch_dynamo_config(arg1: Any = None, arg2: Any = None, **kwargs: Any) -> Any:
    """Set switches for the length of a `with` block, or of a decorated function."""
    return config.patch(arg1, arg2, **kwargs) if isinstance(arg1, str) else config.patch(arg1 or {}, **kwargs)


def register_backend(compiler_fn: Any = None, name: str | None = None, tags: Any = ()) -> Any:
    """Make a backend known under a name."""
    from flambeau._capture.backends import register

    if compiler_fn is None:
        return lambda fn: register_backend(fn, name, tags)
    return register(name or compiler_fn.__name__, tags)(compiler_fn)


def mark_dynamic(t: Any, index: Any, *, min: int | None = None, max: int | None = None, **_: Any) -> None:
    """Compile for all sizes of a dimension (or of several) of t from the first call on."""
    _mark(t, "_dynamo_dynamic_indices", index)


mark_unbacked = mark_dynamic


def maybe_mark_dynamic(t: Any, index: Any) -> None:
    """`mark_dynamic`, for sizes that the function may fix after all."""
    _mark(t, "_dynamo_weak_dynamic_indices", index)


def mark_static(t: Any, index: Any = None) -> None:
    """Compile for each size of a dimension of t (of all where none is given) anew."""
    _mark(t, "_dynamo_static_indices", range(t.dim()) if index is None else index)


def _mark(t: Any, name: str, index: Any) -> None:
    found = t.__dict__.setdefault(name, set())
    found.update([index] if isinstance(index, int) else index)


def mark_static_address(t: Any, guard: bool = True) -> None:
    """Accepted."""


def forbid_in_graph(fn: Any) -> Any:
    """Never capture `fn`."""
    return disable(fn)


disallow_in_graph = forbid_in_graph


def is_dynamo_supported() -> bool:
    """Whether functions can be captured here."""
    return True


def __getattr__(name: str) -> Any:
    if name == "OptimizedModule":
        from flambeau._capture.api import OptimizedModule

        return OptimizedModule
    if name in ("eval_frame", "utils", "testing", "compiled_autograd"):
        import importlib

        return importlib.import_module(f"flambeau._dynamo.{name}")
    raise AttributeError(f"module 'torch._dynamo' has no attribute '{name}'")

"""What makes a function of a captured graph, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._capture import logs
from flambeau._capture.retreat import guarded

BACKENDS: dict[str, Callable[..., Any]] = {}
TAGS: dict[str, frozenset[str]] = {}  # what each is for, where that is not daily use: "debug", "experimental"


def register(name: str, tags: Any = ()) -> Callable[[Any], Any]:
    """Make a backend known under a name."""

    def add(fn: Any) -> Any:
        BACKENDS[name], TAGS[name] = fn, frozenset(tags)
        return fn

    return add


@register("eager", ("debug",))
@register("aot_eager", ("debug",))
@register("cudagraphs")
def eager(module: Any, examples: list[Any], **_: Any) -> Any:
    """The graph as it is, operator by operator. Recordings of CUDA graphs are for other devices."""
    return guarded(module, module.forward)


@register("eager_noexcept", ("debug",))
def eager_noexcept(module: Any, examples: list[Any], **_: Any) -> Any:
    """The same; what fails is said to be the graph's."""

    def run(*args: Any) -> Any:
        try:
            return module.forward(*args)
        except Exception as problem:
            raise RuntimeError("Unexpected exception when running generated GraphModule") from problem

    return run


@register("ts", ("debug",))
def torchscript(module: Any, examples: list[Any], **_: Any) -> Any:
    """The graph as TorchScript."""
    from importlib import import_module

    return import_module("flambeau.jit").script(module)


def _of_a_package(package: str) -> Callable[..., Any]:
    """A backend that another package brings: without it the import fails, and what there is of it is made for PyTorch's C++."""

    def backend(module: Any, examples: list[Any], **options: Any) -> Any:
        from importlib import import_module

        import_module(package)
        raise NotImplementedError(f"torch.compile with a backend of {package}")

    return backend


register("tvm")(_of_a_package("tvm"))
register("openxla")(_of_a_package("torch_xla"))


@register("inductor")
def native(module: Any, examples: list[Any], **_: Any) -> Any:
    """Native programs; what they cannot hold runs operator by operator."""
    from flambeau._capture import shared

    try:
        parts = shared.split(module)
        if parts is None:
            return _whole(module, examples)
        run = _whole(parts[0], examples)
        return shared.with_views(run, parts[1])
    except Exception as problem:  # a mistake of ours is no reason for a program to fail; tests ask for what was noted
        logs.refused(problem)
        return eager(module, examples)


def _whole(module: Any, examples: list[Any]) -> Any:
    if "atoms" in module.meta:
        from flambeau._capture.sized import Sized

        return Sized(module, native)
    try:
        from flambeau._capture.lower import compile_program, needs_history

        made: Any = None
        if needs_history(module):
            from flambeau._capture.joint import Joint

            made = Joint(module, examples)
        else:
            made = compile_program(module, examples)
    except Exception as problem:
        logs.refused(problem)
        return eager(module, examples)
    return made.call


def made(backend: Callable[..., Any], module: Any, examples: list[Any]) -> Callable[..., Any]:
    """What a backend makes of a graph. Where something is refused in what a backend of one's own made, all is as before, too."""
    if backend in (native, eager):
        run: Callable[..., Any] = backend(module, examples)
        return run
    theirs: list[Callable[..., Any]] = []
    whole = lambda *inputs: theirs[0](*inputs)
    kept = guarded(module, whole)  # what may be refused is told by the graph as it was captured
    theirs.append(backend(module, examples))
    assert callable(theirs[0]), "compiler_fn did not return callable"
    return theirs[0] if kept is whole else kept


def recalled(module: Callable[[], Any], blueprint: Any) -> Any:
    """The native program of a graph that was met before; `module` gives the graph where it is wanted all the same."""
    from flambeau._capture.lower import Compiled

    try:
        return Compiled(module, (), blueprint).call
    except Exception as problem:
        logs.refused(problem)
        return eager(module(), [])


def find(backend: Any) -> Callable[..., Any]:
    """The backend of a name; a function is one itself."""
    if callable(backend):
        return backend
    found = BACKENDS.get(backend)
    if found is None:
        from flambeau._capture.breaks import InvalidBackend

        raise InvalidBackend(
            f"Invalid backend: '{backend}', see `torch._dynamo.list_backends()` for available backends."
        )
    return found


def names(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The names, sorted, but those of backends that have one of the tags."""
    excluded = set(exclude_tags or ())
    return sorted(n for n in BACKENDS if not excluded & TAGS[n])

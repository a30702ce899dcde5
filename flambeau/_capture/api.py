"""What `flambeau.compile` returns: a function of the same signature, or a module around the module."""

from __future__ import annotations

import functools
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Any

import flambeau
from flambeau import Tensor  # noqa: F401
from flambeau._capture import backends
from flambeau._capture.breaks import Failed
from flambeau._capture.ending import Entry
from flambeau._capture.entries import Function
from flambeau._capture.waiting import Partial
from flambeau._ground.source import build

_made: weakref.WeakSet[Function] = weakref.WeakSet()


def reset() -> None:
    """Forget all captures."""
    for f in list(_made):
        f.reset()


def optimized(model: Any, backend: Any, fullgraph: bool, dynamic: bool | None, options: dict[str, Any], limit: int | None = None) -> Any:  # fmt: skip
    """The compiled form of a function, method, module or other callable."""
    if isinstance(model, flambeau.nn.Module):
        return OptimizedModule(
            model,
            functools.partial(
                optimized, backend=backend, fullgraph=fullgraph, dynamic=dynamic, options=options, limit=limit
            ),
        )
    if not callable(model):
        raise RuntimeError("torch.compile() needs something that can be called")
    found = backends.find(backend)
    if options:
        found = functools.partial(found, **options)
    if isinstance(model, types.MethodType):
        inner = (
            compiled(model.__func__, found, fullgraph, dynamic, limit)
            if isinstance(model.__func__, types.FunctionType)
            else model.__func__
        )
        return types.MethodType(inner, model.__self__)
    operator = getattr(model, "__op__", None) is not None and not hasattr(model, "__wrapped__")
    if isinstance(model, types.FunctionType) and not operator:
        original = model.__dict__.get("_torchdynamo_orig_callable")
        return compiled(model if original is None else original, found, fullgraph, dynamic, limit)
    call = getattr(type(model), "__call__", None)  # noqa: B004  (which function it is)
    if isinstance(call, types.FunctionType) and not isinstance(model, type):
        inner = compiled(call, found, fullgraph, dynamic, limit)
        return _named(lambda *args, **kwargs: inner(model, *args, **kwargs), model, inner)

    def through(*args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs)

    through.__name__ = through.__qualname__ = getattr(model, "__name__", "through")
    return compiled(through, found, fullgraph, dynamic, limit)


def _named(fn: Any, model: Any, inner: Any) -> Any:
    functools.update_wrapper(fn, model) if hasattr(model, "__name__") else None
    fn._torchdynamo_orig_callable = model
    fn._captures = getattr(inner, "_captures", None)
    return fn


def compiled(fn: Any, backend: Callable[..., Any], fullgraph: bool, dynamic: bool | None, limit: int | None) -> Any:
    """A function with the signature of `fn` that runs its captures."""
    captures = Function(fn, backend, fullgraph, dynamic, limit)
    _made.add(captures)
    code = fn.__code__
    n, k, only = code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount
    names = code.co_varnames
    at = n + k
    star = names[at] if code.co_flags & 4 else None
    double = names[at + (star is not None)] if code.co_flags & 8 else None
    head = []
    defaults = fn.__defaults__ or ()
    for i, name in enumerate(names[:n]):
        head.append(name + (" = None" if i >= n - len(defaults) else ""))
        if only and i == only - 1:
            head.append("/")
    head += [f"*{star}"] if star else ["*"] if k else []
    head += [name + (" = None" if name in (fn.__kwdefaults__ or {}) else "") for name in names[n : n + k]]
    head += [f"**{double}"] if double else []
    values = ", ".join([*names[: n + k], *([star] if star else []), *([double] if double else [])])
    given = ", ".join(
        [
            *names[:n],
            *([f"*{star}"] if star else []),
            *(f"{m}={m}" for m in names[n : n + k]),
            *([f"**{double}"] if double else []),
        ]
    )
    comma = "," if values else ""
    scope: dict[str, Any] = {"F_first": captures.first.entries, "F_slow": captures, "F_fn": fn, "F_failed": Failed, "F_partial": Partial,
                             "F_type": type}  # fmt: skip
    safe = fn.__name__ if fn.__name__.isidentifier() else "function"
    text = (f"def {safe}({', '.join(head)}):\n"
            f"    if F_first:\n        F_result = F_first[0].run({values})\n"
            f"        if F_type(F_result) is not F_failed: return F_result if F_type(F_result) is not F_partial else F_slow.finish(F_result)\n"
            f"    return F_slow(({values}{comma}), lambda: F_fn({given}))\n")  # fmt: skip
    made = build(safe, text, scope)
    made.__defaults__, made.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
    source = made.__source__
    functools.update_wrapper(made, fn)
    made.__source__ = source
    made._torchdynamo_orig_callable = fn
    made._torchdynamo_inline = fn
    made._captures = captures
    return made


class OptimizedModule(flambeau.nn.Module):
    """A module whose forward is compiled; everything else is the module's own, under `_orig_mod`."""

    _orig_mod: Any
    _captures: Any
    _forward: Any

    def __init__(self, mod: Any, make: Callable[[Any], Any]) -> None:
        flambeau.nn.Module.__init__(self)
        self._orig_mod = mod
        self._make = make
        self._initialize()

    def _initialize(self) -> None:
        call = type(self._orig_mod).__call__
        if isinstance(call, types.FunctionType):
            inner = self._make(types.MethodType(call, self._orig_mod))
            object.__setattr__(self, "_forward", inner)
            object.__setattr__(self, "_captures", inner._captures)
        else:
            object.__setattr__(self, "_forward", self._orig_mod)

    @property
    def dynamo_ctx(self) -> Callable[[Any], Any]:
        """What compiles a function, or a bound method, as the module was compiled: Lightning compiles its steps so."""
        return self._make

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self._modules["_orig_mod"]
        return getattr(self._orig_mod, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            name in ("_orig_mod", "_make", "_forward", "_captures", "training")
            or name in type(self).__dict__
            or "_modules" not in self.__dict__
        ):
            if name == "training" and "_modules" in self.__dict__ and "_orig_mod" in self._modules:
                self._orig_mod.training = value
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __len__(self) -> int:
        return len(self._orig_mod)

    def __getitem__(self, i: Any) -> Any:
        return self._orig_mod[i]

    def __iter__(self) -> Any:
        return iter(self._orig_mod)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._orig_mod)})


OptimizedModule.__module__ = "torch._dynamo.eval_frame"


class ExplainOutput:
    """What `explain` found: how many programs, and why not one."""

    def __init__(self, captures: Function, result: Any) -> None:
        entries: list[Entry] = [e for s in captures.segments.values() for e in s.entries]
        self.graphs = [e.program.module for e in entries if e.program is not None][::1]
        self.graph_count = len(self.graphs)
        self.break_reasons = [BreakReason(b) for b in captures.breaks]
        self.graph_break_count = len(self.break_reasons)
        self.op_count = sum(e.program.count for e in entries if e.program is not None)
        self.ops_per_graph = [[n.target for n in g.graph.nodes if n.op == "call_function"] for g in self.graphs]
        self.out_guards = [line for e in entries for line in e.guards.splitlines() if " return " in line]
        self.compile_times = ""
        self.result = result

    def __str__(self) -> str:
        lines = [
            f"Graph Count: {self.graph_count}",
            f"Graph Break Count: {self.graph_break_count}",
            f"Op Count: {self.op_count}",
            "Break Reasons:",
        ]
        for i, reason in enumerate(self.break_reasons, 1):
            lines += [f"  Break Reason {i}:", f"    Reason: {reason.reason}", f"    User Stack: {reason.where}"]
            if reason.remedy:
                lines.append(f"    Remedy: {reason.remedy}")
        lines += ["Ops per Graph:"]
        for i, ops in enumerate(self.ops_per_graph, 1):
            lines += [f"  Ops {i}:", *(f"    {op}" for op in ops)]
        return "\n".join(lines)

    __repr__ = __str__


class BreakReason:
    """One place where capturing stopped."""

    def __init__(self, b: Any) -> None:
        self.reason, self.remedy = b.reason + b.note, b.remedy
        self.file, self.line, self.function = b.file, b.line, b.function
        self.where = f"{b.file}:{b.line} in {b.function}" if b.file else ""
        self.user_stack = [traceback.FrameSummary(*call) for call in b.calls]
        self.graph_break = True

    def __repr__(self) -> str:
        return f"GraphCompileReason(reason={self.reason!r}, {self.where})"


def explain(f: Any, *extra_args: Any, **extra_kwargs: Any) -> Any:
    """`explain(f)(*args)`: what capturing f with these arguments gives, and where and why it stops."""

    def inner(*args: Any, **kwargs: Any) -> ExplainOutput:
        if isinstance(f, OptimizedModule):
            target = f._orig_mod
        elif isinstance(f, types.MethodType):
            target = types.MethodType(getattr(f.__func__, "_torchdynamo_orig_callable", f.__func__), f.__self__)
        else:
            target = getattr(f, "_torchdynamo_orig_callable", f)
        made = optimized(target, "eager", False, None, {})
        result = made(*args, **kwargs)
        return ExplainOutput(made._captures, result)

    return inner(*extra_args, **extra_kwargs) if extra_args or extra_kwargs else inner

"""TorchScript: a typed part of Python, compiled from functions and modules, and the archives it is kept in."""

from __future__ import annotations

import importlib as _importlib
from typing import Any as _Any, Final as Final

from flambeau._jit_internal import (
    _Await as _Await,
    _drop as _drop,
    _IgnoreContextManager as _IgnoreContextManager,
    _isinstance as _isinstance,
    _overload as _overload,
    _overload_method as _overload_method,
    export,
    ignore,
    is_scripting as is_scripting,
    unused,
)
from flambeau.futures import Future

_importlib.import_module(
    "flambeau.jit.annotations"
)  # takes the place of what `from __future__` has left under its name

__all__ = ["Attribute", "CompilationUnit", "Error", "Future", "ScriptFunction", "ScriptModule", "annotate", "enable_onednn_fusion", "export",
           "export_opnames", "fork", "freeze", "ignore", "interface", "isinstance", "load", "onednn_fusion_enabled", "optimize_for_inference",
           "save", "script", "script_if_tracing", "set_fusion_strategy", "strict_fusion", "trace", "trace_module", "unused", "wait"]  # fmt: skip

_LATE = {
    **dict.fromkeys(("Attribute", "ScriptFunction", "ScriptModule", "RecursiveScriptModule", "RecursiveScriptClass",
                     "ScriptWarning", "interface", "script", "script_method", "_unwrap_optional", "CompilationUnit", "_python_cu",
                     "TopLevelTracedModule", "TracedModule"), "_script"),
    **dict.fromkeys(("fork", "wait"), "_async"), "_fork": "_async", "_wait": "_async",
    **dict.fromkeys(("load", "save"), "_serialization"),
    **dict.fromkeys(("TracerWarning", "TracingCheckError", "is_tracing", "_script_if_tracing", "script_if_tracing", "trace",
                     "trace_module"), "_trace"),
    "_get_trace_graph": "_trace_graph",
    **dict.fromkeys(("freeze", "optimize_for_inference", "run_frozen_optimizations"), "_freeze"),
    **dict.fromkeys(("set_fusion_strategy", "_set_fusion_strategy", "fuser", "optimized_execution", "enable_onednn_fusion",
                     "onednn_fusion_enabled", "strict_fusion"), "_fuser"),
    **dict.fromkeys(("_awaitable", "_awaitable_nowait", "_awaitable_wait"), "_await"),
}  # fmt: skip
_MODULES = (
    "annotations",
    "frontend",
    "_script",
    "_trace",
    "_trace_graph",
    "_await",
    "_state",
    "_serialization",
    "_recursive",
    "_freeze",
    "_fuser",
    "_async",
)


def __getattr__(name: str) -> _Any:
    if name in _LATE:
        made = getattr(
            _importlib.import_module(f"flambeau.jit.{_LATE[name]}"),
            name[1:] if name in ("_fork", "_wait", "_set_fusion_strategy") else name,
        )
        globals()[name] = made
        return made
    if name in _MODULES:
        return _importlib.import_module(f"flambeau.jit.{name}")
    if name == "ScriptObject":  # for `torch.ScriptObject`
        from flambeau.jit._language.run import ScriptObject

        return ScriptObject
    if name == "JITException":  # for `torch.JITException`
        return Error
    raise AttributeError(f"module 'torch.jit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE, *_MODULES})


def annotate(the_type: _Any, the_value: _Any) -> _Any:
    """The value; TorchScript takes the type for its own."""
    return the_value


def isinstance(obj: _Any, target_type: _Any) -> bool:
    """isinstance that looks at elements: `isinstance(x, List[int])`."""
    return _isinstance(obj, target_type)


class Error(Exception):
    """What a scripted program raises."""


def export_opnames(m: _Any) -> list[str]:
    """The operators that a compiled module uses, sorted."""
    from flambeau.jit._language.program import inline

    found = set()
    for fn in m._c._type().methods.values():
        for node in inline(fn.graph).block.walk():
            if node.schema is not None:
                found.add(node.schema.key)
    return sorted(found)

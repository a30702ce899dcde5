"""`save` and `load` of TorchScript archives."""

from __future__ import annotations

import io
import os
import pathlib
from typing import Any

from flambeau.jit._script import ScriptFunction, ScriptModule

__all__ = ["load", "save"]


def save(m: Any, f: Any, _extra_files: dict[str, Any] | None = None) -> None:
    """Write a compiled module or function to a file that PyTorch reads."""
    from flambeau.jit._language import archive

    if not isinstance(m, (ScriptModule, ScriptFunction)) and not hasattr(m, "_c"):
        raise AttributeError(f"'{type(m).__name__}' object has no attribute 'save'")
    if isinstance(m, ScriptFunction):
        m = _holder(m)
    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        name = os.path.splitext(os.path.basename(path))[0] or "archive"
        with open(path, "wb") as file:
            archive.write(m, file, name, _extra_files)
        return
    buffer = io.BytesIO()
    archive.write(m, buffer, "archive", _extra_files)
    f.write(buffer.getvalue())


def _holder(fn: ScriptFunction) -> Any:
    """A module whose forward is a function: how functions are saved."""
    from flambeau.jit._language import types as ty
    from flambeau.jit._language.graph import Value
    from flambeau.jit._language.program import Compiled
    from flambeau.jit._language.schema import Argument, Schema
    from flambeau.jit._script import new_module

    t = ty.Class("__torch__.PlaceholderModule", is_module=True)
    t.attributes["training"] = ty.BOOL
    graph = fn._fn.graph.copy()
    graph.block.params.insert(0, Value(t, "self"))
    made = Compiled(f"{t.qualified}.forward")
    made._graph, made.owner = graph, t
    made.schema = Schema("forward", "", [Argument("self", t), *fn._fn.schema.arguments], fn._fn.schema.returns)
    t.methods["forward"] = made
    module = new_module(t)
    module.__dict__["training"] = True
    return module


def load(
    f: Any, map_location: Any = None, _extra_files: dict[str, Any] | None = None, _restore_shapes: bool = False
) -> Any:
    """Read an archive that `save`, or PyTorch, wrote."""
    from flambeau.jit._language import archive

    if isinstance(f, (str, pathlib.Path, os.PathLike)):
        path = os.fspath(f)
        if not os.path.exists(path):
            raise ValueError(f"The provided filename {path} does not exist")
        if os.path.isdir(path):
            raise ValueError(f"The provided filename {path} is a directory")
        with open(path, "rb") as file:
            return archive.read(file, validate_map_location(map_location), _extra_files)
    return archive.read(io.BytesIO(f.read()), validate_map_location(map_location), _extra_files)


def validate_map_location(map_location: Any = None) -> Any:
    import flambeau

    if isinstance(map_location, str):
        map_location = flambeau.device(map_location)
    elif not (map_location is None or isinstance(map_location, flambeau.device)):
        raise ValueError(
            f"map_location should be either None, string or torch.device, but got type: {type(map_location)}"
        )
    if str(map_location).startswith("cuda") and not flambeau.cuda.is_available():
        raise RuntimeError("Attempting to deserialize object on CUDA device but torch.cuda.is_available() is False")
    return map_location

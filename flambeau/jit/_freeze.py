"""`freeze` and `optimize_for_inference`: a module with its parameters as constants of its program."""

from __future__ import annotations

from typing import Any

from flambeau.jit._language import operators, types as ty
from flambeau.jit._language.graph import Graph, Node, replace
from flambeau.jit._language.program import Compiled, inline, tidy
from flambeau.jit._script import RecursiveScriptModule, ScriptModule, new_module

__all__ = ["freeze", "optimize_for_inference", "run_frozen_optimizations"]


def freeze(mod: Any, preserved_attrs: list[str] | None = None, optimize_numerics: bool = True) -> Any:
    """The module with all it calls in one program, and attributes that do not change as its constants."""
    if not isinstance(mod, ScriptModule):
        raise RuntimeError(
            "Freezing expects a ScriptModule as input. Please use torch.jit.script or torch.jit.trace to script your 'nn.Module'."
        )
    if mod.training:
        raise RuntimeError(
            "Freezing is currently only implemented for modules in eval mode. Please call .eval() on your module before freezing."
        )
    kept = list(preserved_attrs or ())
    old = mod._c._type()
    t = ty.Class(old.qualified, is_module=True)
    made = new_module(t, RecursiveScriptModule)
    t.attributes["training"] = ty.BOOL
    made.__dict__["training"] = False
    changed = {n.attrs["name"] for m in old.methods.values() for n in inline(m.graph).findAllNodes("prim::SetAttr")}
    for name in kept:
        if name not in old.methods and name not in old.attributes:
            raise RuntimeError(f"Unknown name: {name}")
    for name in {*kept, *changed} - set(old.methods):
        t.attributes[name] = old.attributes[name]
        for box, names in (("_parameters", "parameters"), ("_buffers", "buffers"), ("_modules", "")):
            if name in getattr(mod, box):
                getattr(made, box)[name] = getattr(mod, box)[name]
                if names:
                    getattr(t, names).add(name)
                break
        else:
            made.__dict__[name] = mod.__dict__[name]
    for name in dict.fromkeys(["forward", *[k for k in kept if k in old.methods]]):
        if name not in old.methods:
            continue
        fn = Compiled(f"{t.qualified}.{name}")
        fn.owner, fn.schema = t, old.methods[name].schema
        fn._graph = _frozen(inline(old.methods[name].graph), mod, t)
        t.methods[name] = fn
    return made


def _frozen(graph: Graph, mod: Any, t: ty.Class) -> Graph:
    """The graph with reads of attributes as constants."""
    owners: dict[Any, Any] = {graph.block.params[0]: mod}
    graph.block.params[0].type = t
    _constants(graph.block, owners, mod, t)
    before = ""
    while before != str(graph):
        before = str(graph)
        _fold(graph.block)
        _static_branches(graph.block)
        tidy(graph)
    return graph


def _constants(block: Any, owners: dict[Any, Any], mod: Any, t: ty.Class) -> None:
    """Make constants of what is read from modules."""
    out: list[Any] = []
    for n in block.nodes:
        for b in n.blocks:
            _constants(b, owners, mod, t)
        if n.kind == "prim::GetAttr" and n.inputs[0] in owners:
            owner, name, v = owners[n.inputs[0]], n.attrs["name"], n.output()
            value = False if name == "training" else getattr(owner, name)
            if isinstance(v.type, ty.Class):
                owners[v] = value
            elif not (owner is mod and name in t.attributes and name != "training") and not isinstance(
                value, (dict, tuple)
            ):
                if isinstance(value, list):
                    made = [Node("prim::Constant", value=_bare(x)) for x in value]
                    out += made
                    n.kind, n.attrs, n.inputs = "prim::ListConstruct", {}, [m.output(v.type.contained[0]) for m in made]
                else:
                    n.kind, n.inputs = "prim::Constant", []
                    n.attrs = {"_none": True} if value is None else {"value": _bare(value)}
                v.name = ""
        out.append(n)
    block.nodes[:] = out


def _bare(value: Any) -> Any:
    return value.detach() if hasattr(value, "detach") else value


def _fold(block: Any) -> None:
    """Compute what follows from constants alone: numbers, strings, truth values."""
    for n in block.nodes:
        for b in n.blocks:
            _fold(b)
        known = [v.node for v in n.inputs]
        if len(n.outputs) != 1 or not known or any(m is None or m.kind != "prim::Constant" for m in known):
            continue
        values = [m.attrs.get("value") for m in known]
        if n.kind == "prim::unchecked_cast":
            result = values[0]
        elif (
            n.schema is not None
            and not n.schema.mutates
            and all(v is None or isinstance(v, (bool, int, float, str)) for v in values)
        ):
            text = operators.how(n.schema)
            if not isinstance(text, str) or n.output().type not in (ty.BOOL, ty.INT, ty.FLOAT):
                continue
            try:
                result = eval(text.format(*map(repr, values)), {"inf": float("inf"), "nan": float("nan")})
            except Exception:  # in a branch that is never taken
                continue
        else:
            continue
        n.kind, n.inputs, n.schema = "prim::Constant", [], None
        n.attrs = {"_none": True} if result is None else {"value": result}


def _static_branches(block: Any) -> None:
    """Take the branch of an If whose condition has become a constant."""
    renamed: dict[Any, Any] = {}
    out: list[Any] = []
    for n in block.nodes:
        for b in n.blocks:
            _static_branches(b)
        known = n.inputs[0].node if n.kind == "prim::If" else None
        if known is not None and known.kind == "prim::Constant":
            taken = n.blocks[0 if known.attrs.get("value") else 1]
            out += taken.nodes
            renamed.update(zip(n.outputs, taken.returns))
        else:
            out.append(n)
    block.nodes[:] = out
    replace(block, renamed)


def run_frozen_optimizations(
    mod: Any, optimize_numerics: bool = True, preserved_methods: list[str] | None = None
) -> None:
    """Frozen modules run as they are: fusion happens when operators run."""


def optimize_for_inference(mod: Any, other_methods: list[str] | None = None) -> Any:
    """The frozen module."""
    if not isinstance(mod, ScriptModule):
        raise RuntimeError(
            "optimize_for_inference expects a ScriptModule as input. Please use torch.jit.script or torch.jit.trace to script your 'nn.Module'."
        )
    return (
        freeze(mod.eval(), preserved_attrs=other_methods)
        if ("training" in mod._c._type().attributes and mod._modules) or mod._parameters
        else mod
    )

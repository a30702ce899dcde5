"""Archives' programs: `code/` read back into types and functions."""

from __future__ import annotations

import ast
import math
from typing import Any

import flambeau
from flambeau.jit._language import names, types as ty
from flambeau.jit._language.emit import Emitter
from flambeau.jit._language.program import Compiled
from flambeau.jit._language.schema import REQUIRED, Argument, Schema, overloads
from flambeau.jit._language.values import (
    Builtin,
    Constructor,
    EnumClass,
    Function,
    NamedTupleMaker,
    Special,
    Sugared,
    as_value,
)


class Unit:
    """The program of one archive: definitions by qualified name, read when they are first asked for."""

    def __init__(self, read: Any, constants: list[Any]) -> None:
        self.read, self.constants = read, constants
        self.sources: dict[str, dict[str, Any]] = {}
        self.found: dict[str, Any] = {}

    def definitions(self, module: str) -> dict[str, Any]:
        """The classes and functions of `code/<module>.py`."""
        if module not in self.sources:
            text = self.read(module)
            tree = ast.parse(text) if text is not None else ast.Module(body=[], type_ignores=[])
            lines = (text or "").split("\n")
            self.sources[module] = {
                d.name: (d, lines) for d in tree.body if isinstance(d, (ast.ClassDef, ast.FunctionDef))
            }
        return self.sources[module]

    def find(self, name: str) -> Any:
        """What a qualified name means: a type, a compiled function, or None."""
        if name in self.found:
            return self.found[name]
        module, _, short = name.rpartition(".")
        entry = self.definitions(module).get(short)
        if entry is None:
            return None
        tree, lines = entry
        if isinstance(tree, ast.FunctionDef):
            made: Any = Compiled(name, lambda fn: self.compile(tree, None, lines))
            self.found[name] = made
            made.schema = None
            return made
        return self.class_(name, tree, lines)

    def type_(self, node: Any, em: Any = None) -> ty.Type:
        return names.structural(node, lambda n: self.named(n), em or Emitter(Resolver(self)))

    def named(self, node: Any) -> Any:
        name = dotted(node)
        if name is None:
            return None
        if name.startswith("__torch__.torch.classes"):
            raise NotImplementedError(f"the compiled class {name} of an archive is not implemented")
        return self.find(name)

    def class_(self, name: str, tree: ast.ClassDef, lines: list[str]) -> ty.Type:
        base = dotted(tree.bases[0]) if tree.bases else ""
        if base == "NamedTuple":
            fields = [(s.target.id, s.annotation, s.value) for s in tree.body if isinstance(s, ast.AnnAssign)]  # type: ignore[union-attr]
            made: Any = ty.Tuple(
                *(self.type_(t) for _, t, _ in fields),
                name=name,
                fields=tuple(n for n, _, _ in fields),
                defaults=[ast.literal_eval(d) for _, _, d in fields if d is not None],
            )
            self.found[name] = made
            return made
        if base == "Enum":
            import enum

            members = [(s.targets[0].id, ast.literal_eval(s.value)) for s in tree.body if isinstance(s, ast.Assign)]  # type: ignore[union-attr]
            python = enum.Enum(tree.name, members)  # type: ignore[misc]
            kind = {int: ty.INT, float: ty.FLOAT, str: ty.STR}[type(members[0][1])]
            self.found[name] = ty.Enum(name, kind, members, python)
            return self.found[name]
        if base in ("Interface", "ModuleInterface"):
            face = ty.Interface(name, base == "ModuleInterface")
            self.found[name] = face
            for s in tree.body:
                if isinstance(s, ast.FunctionDef):
                    face.methods[s.name] = self.signature(s, face)
            return face
        made = ty.Class(name, is_module=base == "Module")
        self.found[name] = made
        for s in tree.body:
            self.member(made, s, lines)
        return made

    def member(self, t: ty.Class, s: Any, lines: list[str]) -> None:
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name):
            key, value = (
                s.targets[0].id,
                ast.literal_eval(s.value) if isinstance(s.value, (ast.List, ast.Constant)) else None,
            )
            if key == "__parameters__":
                t.parameters = set(value)
            elif key == "__buffers__":
                t.buffers = set(value)
        elif isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Subscript):
            t.attributes[s.targets[0].slice.value] = self.type_(s.value)  # __annotations__["0"] = T
        elif isinstance(s, ast.AnnAssign):
            if s.value is not None:
                t.constants[s.target.id] = self.literal(s.value)
            else:
                t.attributes[s.target.id] = self.type_(s.annotation)
        elif isinstance(s, ast.FunctionDef):
            fn = Compiled(f"{t.qualified}.{s.name}", lambda f: self.compile(s, t, lines))
            fn._schema = None
            fn.owner = t
            t.methods[s.name] = _Lazy(fn, lambda: self.signature(s, t))

    def literal(self, node: Any) -> Any:
        text = ast.unparse(node)
        try:
            return eval(text, {"inf": math.inf, "nan": math.nan, "torch": flambeau, "annotate": lambda t, v: v, "__builtins__": {},
                               **{k: k for k in ("List", "Dict", "int", "str", "float", "bool", "Tensor", "Optional", "Tuple")}})  # fmt: skip
        except Exception:
            return None

    def signature(self, tree: ast.FunctionDef, owner: Any) -> Schema:
        arguments = []
        params = [*tree.args.args, *tree.args.kwonlyargs]
        defaults: list[Any] = [REQUIRED] * (len(tree.args.args) - len(tree.args.defaults)) + [
            self.literal(d) for d in tree.args.defaults
        ]
        defaults += [REQUIRED if d is None else self.literal(d) for d in tree.args.kw_defaults]
        for i, (p, d) in enumerate(zip(params, defaults)):
            t = (
                owner
                if i == 0 and owner is not None
                else self.type_(p.annotation)
                if p.annotation is not None
                else ty.TENSOR
            )
            arguments.append(Argument(p.arg, t, d, keyword=i >= len(tree.args.args)))
        returns = [Argument("", self.type_(tree.returns))] if tree.returns is not None else []
        return Schema(tree.name, "", arguments, returns)

    def compile(self, tree: ast.FunctionDef, owner: Any, lines: list[str]) -> Any:
        schema = self.signature(tree, owner)
        em = Emitter(Resolver(self), "", 0, lines)
        result = schema.returns[0].type if schema.returns else None
        graph = em.function(tree, [(a.name, a.type) for a in schema.arguments], result)
        if not schema.returns:
            schema.returns = [Argument("", em.result)]
        return graph, schema


class _Lazy(Compiled):
    """A method whose signature is read before its body."""

    def __init__(self, fn: Compiled, signature: Any) -> None:
        super().__init__(fn.name, fn.make)
        self.owner, self.signature = fn.owner, signature

    def ensure(self) -> None:
        if self._schema is None:
            self._schema = self.signature()
            if not self._schema.returns:
                super().ensure()

    @property
    def graph(self) -> Any:
        super().ensure()
        return self._graph

    @graph.setter
    def graph(self, graph: Any) -> None:
        self._graph, self._run = graph, None


def dotted(node: Any) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left is not None else None
    return None


class Namespace(Sugared):
    """`__torch__.a.b`, `torch`, `ops`, `ops.prim`, `CONSTANTS`: names that only prefix others."""

    def __init__(self, unit: Unit, path: str) -> None:
        self.unit, self.path = unit, path

    def attr(self, em: Any, name: str, place: Any) -> Any:
        path = f"{self.path}.{name}"
        if self.path == "torch":
            if name in ("device", "dtype", "layout"):
                return Special(name, _device)
            if name in ("inf", "nan"):
                return em.constant(getattr(math, name))
            return Builtin(("aten::" if overloads("aten::" + name) else "prim::") + name)
        if self.path == "ops":
            return Namespace(self.unit, path)
        if self.path.startswith("ops."):
            full = f"{self.path[4:]}::{name}"
            if full == "prim::Uninitialized":
                return None
            return Builtin(full)
        if self.path == "CONSTANTS":
            return em.constant(self.unit.constants[int(name[1:])])
        found = self.unit.find(path)
        if found is None:
            return Namespace(self.unit, path)
        if isinstance(found, Compiled):
            return Function(found)
        if isinstance(found, ty.Class):
            return _Class(found)
        if isinstance(found, ty.Enum):
            return EnumClass(found)
        return NamedTupleMaker(found)  # type: ignore[arg-type]


def _device(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    vs = [as_value(em, a, place) for a in args]
    if all(v.node is not None and v.node.kind == "prim::Constant" for v in vs):
        return em.constant(flambeau.device(*(v.node.attrs["value"] for v in vs)))
    return em.op("aten::device", *vs, place=place)


class _Class(Constructor):
    def attr(self, em: Any, name: str, place: Any) -> Any:
        if name == "__new__":
            return Special("__new__", lambda em, a, k, p: em.node("prim::CreateObject", [], self.type, p))
        return super().attr(em, name, place)


class Resolver:
    """Looks names up in an archive."""

    archive = True

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    def name(self, name: str, em: Any, place: Any) -> Any:
        if name in ("torch", "ops", "CONSTANTS", "__torch__"):
            return Namespace(self.unit, name)
        if name in ("inf", "nan"):
            return em.constant(getattr(math, name))
        if name in ("infj", "nanj"):
            return em.constant(complex(0, getattr(math, name[:-1])))
        if name == "fork":
            return Special("fork", fork)
        return names.BUILTINS.get(name)

    def special(self, e: ast.Call, em: Any, hint: Any) -> Any:
        if isinstance(e.func, ast.Name) and e.func.id not in em.env:
            return names.form(e, e.func.id, em, hint)
        if dotted(e.func) == "ops.prim.tolist":
            return names.tolist(em, e)
        return None

    def type(self, node: Any, em: Any) -> ty.Type:
        return self.unit.type_(node, em)

    def types_of(self, node: Any, em: Any) -> list[ty.Type]:
        return [self.type(n, em) for n in (node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node])]

    def is_name(self, node: Any, name: str, em: Any) -> bool:
        return False

    def exception(self, name: str) -> str:
        return f"builtins.{name}"

    def may_define(self, t: ty.Class, name: str) -> bool:
        return False


def fork(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    """`fork(fn, *args)`: the call as a future."""
    fn, *rest = args
    if isinstance(fn, Function):
        fn.fn.ensure()
        vs = [as_value(em, a, place) for a in rest]
        return em.node("prim::fork", vs, ty.Future(fn.fn.schema.result), place, _function=fn.fn)
    mark = em.mark()
    v = as_value(em, fn.call(em, rest, kwargs, place), place) if isinstance(fn, Sugared) else as_value(em, em.lookup(fn, "forward", None).call(em, rest, kwargs, place), place)  # fmt: skip
    del mark
    return em.node("prim::fork", [v], ty.Future(v.type), place)

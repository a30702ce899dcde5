"""From syntax to graph: indexing and assignment."""

from __future__ import annotations

import ast
from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.express import _BINARY, _INPLACE, Expressions
from flambeau.jit._language.graph import Node, Value
from flambeau.jit._language.match import choose, convert
from flambeau.jit._language.schema import overloads
from flambeau.jit._language.values import Items, Slice, Special, Sugared, as_value


class Assignments(Expressions):
    """The part of the emitter that emits reads and writes of places."""

    def subscript(self, e: ast.Subscript) -> Any:
        box = self.expression(e.value)
        index: Any = self.slice_of(e.slice) or e.slice
        if isinstance(box, Sugared):
            if isinstance(index, (ast.Slice, Slice)):
                ends = [self.literal(x) for x in (index.lower, index.upper, index.step)]
                return box.getitem(self, slice(*ends), e)
            v = self.expression(index)
            return box.getitem(self, v, e)
        t = box.type
        if t is ty.TENSOR:
            return self.tensor_index(box, index, e)
        if isinstance(index, (ast.Slice, Slice)):
            return self.sliced(box, index, e)
        if isinstance(t, ty.Tuple):
            at = self.literal(index)
            if at is None:
                self.fail("tuple index must be an integer constant", e)
            if not -len(t.parts) <= at < len(t.parts):
                self.fail(f"Tuple index out of range. Tuple is length {len(t.parts)}", e)
            if box.node is not None and box.node.kind == "prim::TupleConstruct":
                return box.node.inputs[at]
            return self.node("prim::TupleIndex", [box, self.constant(at)], t.parts[at], e)
        i = as_value(self, self.expression(index), e)
        found = self.magic("__getitem__", [box, i], e)
        if found is not None:
            return found
        if isinstance(t, (ty.Optional, ty.Union)) or not (isinstance(t, (ty.List, ty.Dict)) or t is ty.STR):
            self.fail(f"'{t.annotation_str}' object is not subscriptable", e)
        return self.op("aten::__getitem__", box, i, place=e)

    def slice_of(self, index: Any) -> Slice | None:
        """The slice that a call of `slice`, or a name, stands for."""
        named = isinstance(index, ast.Call) and isinstance(index.func, ast.Name) and index.func.id == "slice"
        v = self.expression(index) if named or (isinstance(index, ast.Name) and index.id in self.env) else None
        return v if isinstance(v, Slice) else None

    def literal(self, e: Any) -> Any:
        if e is None:
            return None
        v = e if isinstance(e, Value) else self.expression(e)
        return (
            v.node.attrs.get("value")
            if isinstance(v, Value) and v.node is not None and v.node.kind == "prim::Constant"
            else None
        )

    def bounds(self, s: ast.Slice | Slice) -> list[Value]:
        ends = (s.lower, s.upper, s.step)
        if not isinstance(s, Slice):
            ends = tuple(as_value(self, self.expression(x), s) if x is not None else None for x in ends)
        lower, upper, step = ends
        return [lower or self.constant(None), upper or self.constant(None), step or self.constant(1)]

    def sliced(self, box: Value, s: ast.Slice | Slice, e: Any) -> Value:
        t = box.type
        if isinstance(t, ty.Tuple):
            lower, upper, step = (self.literal(x) for x in (s.lower, s.upper, s.step))
            return self.tuple_of(self.unpack(box)[slice(lower, upper, step)], self.at(e))
        return self.op("aten::slice", box, *self.bounds(s), place=e)

    def tensor_index(self, x: Value, index: Any, e: Any, for_store: bool = False) -> Any:
        """Indexing of a tensor as selects, slices and, where tensors index, one gather."""
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        values: list[Any] = []
        for p in parts:
            if isinstance(p, ast.Slice):
                values.append(p)
                continue
            v = p if isinstance(p, Slice) else self.expression(p)
            values += v.parts if isinstance(v, Items) else [v]
        flat: list[Any] = []
        for v in values:
            if isinstance(v, Value) and isinstance(v.type, ty.Tuple):
                flat += self.unpack(v)
            else:
                flat.append(v)
        values = flat

        dim, gathers = 0, {}
        seen_dots = False
        for i, v in enumerate(values):
            if isinstance(v, Special):  # ...
                rest = [w for w in values[i + 1 :]]
                dim = -sum(1 for w in rest if not isinstance(w, Special))
                seen_dots = True
                if dim == 0:
                    break
                continue
            at = lambda: self.constant(dim)  # noqa: B023
            if isinstance(v, (ast.Slice, Slice)):
                x = self.op("aten::slice", x, at(), *self.bounds(v), place=e)
                dim += 1
            elif v.type is ty.NONE:
                x = self.op("aten::unsqueeze", x, at(), place=e)
                dim += 1
            elif v.type is ty.INT:
                x = self.op("aten::select", x, at(), v, place=e)
                if seen_dots:
                    dim += 1
            elif v.type is ty.TENSOR or isinstance(v.type, (ty.List,)) or v.type is ty.BOOL or (isinstance(v.type, ty.Optional) and v.type.element is ty.TENSOR):  # fmt: skip
                if isinstance(v.type, ty.List) or v.type is ty.BOOL:
                    v = self.op("aten::tensor", v)
                if seen_dots:
                    self.fail("Ellipses followed by tensor indexing is currently not supported", e)
                gathers[dim] = v
                dim += 1
            else:
                self.fail(f"Unsupported operation: indexing tensor with unsupported index type '{v.type.annotation_str}'. Only ints, slices, lists and tensors are supported", e)  # fmt: skip
        if not gathers:
            return (x, None) if for_store else x
        listed = [gathers.get(i) or self.constant(None) for i in range(max(gathers) + 1)]
        indices = self.list_of(listed, ty.Optional(ty.TENSOR))
        return (x, indices) if for_store else self.op("aten::index", x, indices, place=e)

    def assign(self, target: Any, value: Any) -> None:
        match target:
            case ast.Name():
                if isinstance(value, Value):
                    outer, declared = self.enclosing.get(target.id), self.declared.get(target.id)
                    if isinstance(outer, Value) and (declared is not None or not self.resolver.archive):
                        old = declared or outer.type
                        value = convert(self, value, old, True)
                        if not ty.subtype(value.type, old) and (
                            declared or not isinstance(old, (ty.Optional, ty.Union))
                        ):
                            self.fail(f"Variable '{target.id}' previously had type {old.annotation_str} but is now being assigned to a value of type {value.type.annotation_str}\n", target)  # fmt: skip
                    elif declared is not None:
                        made = convert(self, value, declared, False)
                        if ty.subtype(made.type, declared):
                            value = made
                        else:  # in the block that it comes from, a variable may become anything
                            del self.declared[target.id]
                    if (
                        not value.name
                        and value.node is not None
                        and value.node.kind != "prim::Constant"
                        and any(m is value.node for m in reversed(self.block.nodes))
                    ):
                        name = target.id.rstrip("0123456789") if self.resolver.archive else target.id
                        value.name = "" if name == "_" else name
                self.env[target.id] = value
            case ast.Tuple() | ast.List():
                self.assign_many(target, value)
            case ast.Attribute():
                owner = self.expression(target.value)
                v = as_value(self, value, target)
                box = owner if isinstance(owner, Value) else owner.value(self, target)
                t = box.type
                if isinstance(t, ty.Class) and target.attr in t.attributes:
                    wanted = t.attributes[target.attr]
                    v = convert(self, v, wanted, False)
                    if not ty.subtype(v.type, wanted):
                        self.fail(f"Wrong type for attribute assignment. Expected {wanted} but got {v.type}", target)
                elif isinstance(t, ty.Class) and self.resolver.may_define(t, target.attr):
                    t.attributes[target.attr] = v.type
                else:
                    self.fail(
                        f"Tried to set nonexistent attribute: {target.attr}. Did you forget to initialize it in __init__()?",
                        target,
                    )
                self.node("prim::SetAttr", [box, v], None, target, name=target.attr)
            case ast.Subscript():
                self.store(target, value)
            case ast.Starred():
                self.assign(target.value, value)
            case _:
                self.fail("unexpected expression on left-hand side of assignment", target)

    def assign_many(self, target: Any, value: Any) -> None:
        parts = value.items(self, target) if isinstance(value, Sugared) else None
        targets = target.elts
        star = next((i for i, x in enumerate(targets) if isinstance(x, ast.Starred)), None)
        if parts is None:
            v = as_value(self, value, target)
            if isinstance(v.type, ty.Tuple):
                parts = self.unpack(v, self.at(target))
            elif isinstance(v.type, ty.List) or v.type is ty.TENSOR:
                if v.type is ty.TENSOR:
                    v = self.op("aten::unbind", v, place=target)
                n = self.block.add(Node("prim::ListUnpack", [v]))
                parts = [n.output(v.type.element) for _ in targets]
            else:
                self.fail(f"{v.type.annotation_str} cannot be used as a tuple", target)
        if star is not None:
            after = len(targets) - star - 1
            parts = [*parts[:star], self.tuple_of(parts[star : len(parts) - after]), *parts[len(parts) - after :]]
        if len(parts) != len(targets):
            few = len(parts) < len(targets)
            self.fail(f"need {len(targets)} values to unpack but found only {len(parts)}" if few else f"too many values to unpack: need {len(targets)} but found {len(parts)}", target)  # fmt: skip
        for t, p in zip(targets, parts):
            self.assign(t, p)

    def store(self, target: ast.Subscript, value: Any) -> None:
        place = self.statement or target
        box = as_value(self, self.expression(target.value), target)
        v = as_value(self, value, target)
        if box.type is not ty.TENSOR:
            i = as_value(self, self.expression(target.slice), target)
            if self.magic("__setitem__", [box, i, v], target) is None:
                self.op("aten::_set_item", box, i, v, place=place)
            return
        x, indices = self.tensor_index(box, target.slice, target, for_store=True)
        if v.type is not ty.TENSOR:
            d, t = self.op("prim::dtype", x), self.op("prim::device", x)
            v = choose(
                self, "aten::tensor", overloads("aten::tensor"), [v], {"dtype": d, "device": t}, None, self.at(place)
            )
        if indices is None:
            self.op("aten::copy_", x, v, place=place)
        else:
            self.op("aten::index_put_", x, indices, v, self.constant(False), place=place)

    def augmented(self, s: ast.AugAssign) -> None:
        load = ast.copy_location(ast.parse(ast.unparse(s.target), mode="eval").body, s.target)
        for n in ast.walk(load):
            ast.copy_location(n, s.target)
        if isinstance(s.target, ast.Subscript):
            box = as_value(self, self.expression(load.value), s)
            if box.type is ty.TENSOR:
                x, indices = self.tensor_index(box, load.slice, s, for_store=True)
                v = as_value(self, self.expression(s.value), s)
                if indices is None:
                    self.op("aten::" + _INPLACE[type(s.op)], x, v, place=s)
                else:
                    new = self.op("aten::" + _BINARY[type(s.op)][0], self.op("aten::index", x, indices), v, place=s)
                    self.op("aten::index_put_", x, indices, new, self.constant(False), place=s)
                return
        old = as_value(self, self.expression(load), s)
        v = as_value(self, self.expression(s.value), s)
        magic = "__i" + _BINARY[type(s.op)][1][2:]
        found = self.magic(magic, [old, v], s) or self.magic(_BINARY[type(s.op)][1], [old, v], s)
        if found is None:
            if old.type is ty.TENSOR or (isinstance(old.type, ty.List) and isinstance(s.op, ast.Add)):
                found = self.op("aten::" + _INPLACE[type(s.op)], old, v, place=s)
            else:
                name = _BINARY[type(s.op)][0]
                found = self.op("aten::" + name, old, v, place=s)
        self.assign(s.target, found)

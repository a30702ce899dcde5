"""From syntax to graph: expressions, conditions and what they prove about types, assignment."""

from __future__ import annotations

import ast
from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.graph import Node, Value
from flambeau.jit._language.match import choose, convert
from flambeau.jit._language.schema import Schema, overloads
from flambeau.jit._language.values import Items, Method, Special, Sugared, as_value, value_attr

_BINARY = {
    ast.Add: ("add", "__add__"), ast.Sub: ("sub", "__sub__"), ast.Mult: ("mul", "__mul__"), ast.Div: ("div", "__truediv__"),
    ast.FloorDiv: ("floordiv", "__floordiv__"), ast.Mod: ("remainder", "__mod__"), ast.Pow: ("pow", "__pow__"),
    ast.MatMult: ("matmul", "__matmul__"), ast.BitAnd: ("__and__", "__and__"), ast.BitOr: ("__or__", "__or__"),
    ast.BitXor: ("__xor__", "__xor__"), ast.LShift: ("__lshift__", "__lshift__"), ast.RShift: ("__rshift__", "__rshift__"),
}  # fmt: skip
_COMPARE = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Is: "__is__",
    ast.IsNot: "__isnot__",
}
_INPLACE = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_", ast.Mod: "remainder_", ast.Pow: "pow_", ast.FloorDiv: "floor_divide_",
            ast.BitAnd: "__iand__", ast.BitOr: "__ior__", ast.BitXor: "__ixor__", ast.LShift: "__ilshift__", ast.RShift: "__irshift__"}  # fmt: skip


class Condition:
    """A truth value, perhaps known while compiling, and the types it proves for names."""

    def __init__(
        self, value: Value | None = None, static: bool | None = None, when_true: Any = None, when_false: Any = None
    ) -> None:
        self.value, self.static = value, static
        self.when_true, self.when_false = when_true or {}, when_false or {}

    def as_value(self, em: Any) -> Value:
        return em.constant(self.static) if self.static is not None else self.value


def type_of(value: Any) -> ty.Type:
    """The type of a constant."""
    for kind, t in ((bool, ty.BOOL), (int, ty.INT), (float, ty.FLOAT), (complex, ty.COMPLEX), (str, ty.STR)):
        if isinstance(value, kind):
            return t
    if value is None:
        return ty.NONE
    if isinstance(value, list):
        return ty.List(type_of(value[0]) if value else ty.TENSOR)
    if isinstance(value, tuple):
        return ty.Tuple(*map(type_of, value))
    if isinstance(value, dict):
        return ty.Dict(*map(type_of, next(iter(value.items())))) if value else ty.Dict(ty.STR, ty.TENSOR)
    if type(value).__name__ == "device":
        return ty.DEVICE
    if hasattr(value, "requires_grad"):
        return ty.TENSOR
    raise TypeError(f"a {type(value).__name__} is no constant of TorchScript")


# What statements are called where TorchScript has none like them, and the length of the word that is marked.
_STATEMENTS = {
    "FunctionDef": ("function definitions", 3), "ClassDef": ("class definitions", 5), "Try": ("try blocks", 3), "Import": ("import statements", 6),
    "ImportFrom": ("import statements", 4), "Global": ("global variables", 6), "Nonlocal": ("nonlocal variables", 8), "Delete": ("del statements", 3),
    "AsyncFunctionDef": ("async function definitions", 9), "AsyncFor": ("async for loops", 9), "AsyncWith": ("async with statements", 10),
}  # fmt: skip


class Expressions:
    """The part of the emitter that emits expressions."""

    # ---- nodes ----

    def node(
        self, kind: str, inputs: list[Value], type: ty.Type | None, place: Any = None, out: str = "", **attrs: Any
    ) -> Any:
        n = self.block.add(Node(kind, inputs, place=self.at(place) if isinstance(place, ast.AST) else place, **attrs))
        return n.output(type, out) if type is not None else None

    def op(self, name: str, *values: Value, place: Any = None) -> Value:
        place = self.at(place) if isinstance(place, ast.AST) else place
        return choose(self, name, overloads(name), list(values), {}, None, place)

    def emit_schema(self, s: Schema, inputs: list[Value], bound: Any, place: Any) -> Value:
        n = self.block.add(Node(s.name, inputs, s, self.at(place) if isinstance(place, ast.AST) else place))
        outs = [n.output(self.substituted(r.type, bound)) for r in s.returns]
        if len(outs) == 1:
            return outs[0]
        return self.tuple_of(outs) if outs else self.constant(None)

    def substituted(self, t: ty.Type, bound: Any) -> ty.Type:
        return ty.substitute(t, bound) if any(isinstance(x, ty.Variable) for x in ty.walk(t)) else t

    def constant(self, value: Any, t: ty.Type | None = None, block: Any = None) -> Value:
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            inner = t.element if isinstance(t, ty.Optional) else t
            parts = [self.constant(v, inner.element if isinstance(inner, ty.List) else None) for v in value]
            if isinstance(value, tuple) and not isinstance(inner, ty.List):
                return self.tuple_of(parts)
            element = inner.element if isinstance(inner, ty.List) else parts[0].type if parts else ty.TENSOR
            return self.list_of(parts, element)
        actual = (
            t
            if t is not None and value is not None and not isinstance(t, (ty.Optional, ty.Union)) and t is not ty.NUMBER
            else type_of(value)
        )
        if actual is ty.FLOAT and isinstance(value, int):
            value = float(value)
        n = Node("prim::Constant", value=value)
        if value is None:
            n.attrs = {"_none": True}
        (block or self.block).add(n)
        return n.output(actual)

    def list_of(self, values: list[Value], element: ty.Type, place: Any = None) -> Value:
        return self.node("prim::ListConstruct", values, ty.List(element), place)

    def tuple_of(self, values: list[Value], place: Any = None) -> Value:
        return self.node("prim::TupleConstruct", values, ty.Tuple(*(v.type for v in values)), place)

    def unpack(self, v: Value, place: Any = None) -> list[Value]:
        if v.node is not None and v.node.kind == "prim::TupleConstruct":
            return v.node.inputs
        n = self.block.add(Node("prim::TupleUnpack", [v], place=place))
        return [n.output(p) for p in v.type.contained]

    def call_function(self, fn: Any, inputs: list[Value], place: Any) -> Value:
        return self.node("prim::CallFunction", inputs, fn.schema.result, place, _function=fn)

    def call_method(self, owner: Value, name: str, inputs: list[Value], result: ty.Type, place: Any) -> Value:
        return self.node("prim::CallMethod", inputs, result, place, name=name)

    def mark(self) -> tuple[Any, int]:
        return self.block, len(self.block.nodes)

    def rollback(self, mark: tuple[Any, int]) -> None:
        self.block = mark[0]
        del mark[0].nodes[mark[1] :]

    # ---- types ----

    def annotation(self, node: Any) -> ty.Type:
        return self.resolver.type(node, self)

    def refine(self, types: dict[str, ty.Type]) -> None:
        for name, t in types.items():
            v = self.env.get(name)
            if isinstance(v, Value) and v.type != t:
                self.env[name] = self.node("prim::unchecked_cast", [v], t, None, out=name, _refined=v)

    # ---- conditions ----

    def condition(self, e: Any) -> Condition:
        match e:
            case ast.UnaryOp(op=ast.Not()):
                c = self.condition(e.operand)
                value = None if c.static is not None else self.op("aten::__not__", c.value, place=e)
                return Condition(value, None if c.static is None else not c.static, c.when_false, c.when_true)
            case ast.BoolOp():
                return self.short_circuit(e.op, e.values, e)
            case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
                return self.is_none(e)
            case ast.Call(func=ast.Name(id="isinstance")) if "isinstance" not in self.env:
                return self.is_instance(e)
            case ast.Call() if self.resolver.is_name(e.func, "torch.jit.isinstance", self):
                return self.is_instance(e)
            case ast.Call(func=ast.Name(id="hasattr")):
                box = self.expression(e.args[0])
                has = self.has(box, e.args[1].value)
                return Condition(static=has)
        v = self.expression(e)
        v = as_value(self, v, e)
        if v.node is not None and v.node.kind == "prim::Constant" and v.type is ty.BOOL:
            return Condition(static=bool(v.node.attrs["value"]))
        return Condition(self.truth(v, e))

    def has(self, box: Any, name: str) -> bool:
        if hasattr(box, "has"):
            return box.has(name)
        t = box.type if isinstance(box, Value) else None
        if isinstance(t, ty.Class):
            return name in t.attributes or name in t.methods or name in t.constants or name in t.properties
        mark = self.mark()
        try:
            self.lookup(box, name, None)
        except self.Error:
            return False
        finally:
            self.rollback(mark)
        return True

    def truth(self, v: Value, e: Any) -> Value:
        t = v.type
        if t is ty.BOOL:
            return v
        if t in (ty.INT, ty.FLOAT, ty.TENSOR, ty.NUMBER):
            return self.op("aten::Bool", v, place=e)
        if isinstance(t, ty.Class) and "__bool__" in t.methods:
            return Method(v, "__bool__").call(self, [], {}, e)
        if isinstance(t, (ty.List, ty.Dict)) or t is ty.STR:
            pass
        self.fail(f"Could not cast value of type {t.annotation_str} to bool", e)
        raise AssertionError

    def short_circuit(self, op: Any, parts: list[Any], place: Any) -> Condition:
        is_or = isinstance(op, ast.Or)
        first = self.condition(parts[0])
        if len(parts) == 1:
            return first
        if first.static is not None:
            if first.static == is_or:
                return first
            saved = dict(self.env)
            self.refine(first.when_true if first.static else first.when_false)
            rest = self.short_circuit(op, parts[1:], place)
            self.env = saved
            both = {**first.when_true, **rest.when_true} if not is_or else rest.when_true
            return Condition(
                rest.value, rest.static, both, rest.when_false if not is_or else {**first.when_false, **rest.when_false}
            )
        node = Node("prim::If", [first.value], place=self.at(place))
        outer, env = self.block, dict(self.env)
        results: list[Value] = []
        rest: Any = None
        for i in range(2):
            self.block, self.env = node.block(), dict(env)
            if (i == 0) == is_or:
                results.append(self.constant(is_or))
            else:
                self.refine(first.when_false if is_or else first.when_true)
                rest = self.short_circuit(op, parts[1:], place)
                results.append(rest.as_value(self))
            node.blocks[i].returns = [results[i]]
        self.block, self.env = outer, env
        if rest.static is not None and rest.static == is_or:
            return Condition(static=rest.static)
        outer.add(node)
        out = node.output(ty.BOOL)
        if is_or:
            return Condition(out, None, {}, {**first.when_false, **rest.when_false})
        return Condition(out, None, {**first.when_true, **rest.when_true}, {})

    def is_none(self, e: ast.Compare) -> Condition:
        left, right = e.left, e.comparators[0]
        negated = isinstance(e.ops[0], ast.IsNot)
        if isinstance(left, ast.Constant) and left.value is None:
            left, right = right, left
        if not (isinstance(right, ast.Constant) and right.value is None):
            a, b = (as_value(self, self.expression(x), e) for x in (left, right))
            return Condition(self.op("aten::__isnot__" if negated else "aten::__is__", a, b, place=e))
        v = self.expression(left)
        if isinstance(v, Sugared) and not isinstance(v, Items):
            try:
                v = v.value(self, e)
            except self.Error:
                return Condition(static=negated)
        v = as_value(self, v, e)
        kinds = ty.alternatives(v.type)
        if v.type is ty.NONE:
            return Condition(static=not negated)
        if ty.NONE not in kinds and v.type is not ty.ANY:
            return Condition(static=negated)
        out = self.op("aten::__isnot__" if negated else "aten::__is__", v, self.constant(None), place=e)
        some: dict[str, ty.Type] = {}
        none: dict[str, ty.Type] = {}
        if isinstance(left, ast.Name) and v.type is not ty.ANY:
            some = {left.id: ty.union(k for k in kinds if k is not ty.NONE)}
            none = {left.id: ty.NONE}
        return Condition(out, None, some if negated else none, none if negated else some)

    def is_instance(self, e: ast.Call) -> Condition:
        box = self.expression(e.args[0])
        wanted = self.resolver.types_of(e.args[1], self)
        if isinstance(box, Sugared) and hasattr(box, "python_type"):
            return Condition(static=box.python_is(wanted, self.resolver.python_objects(e.args[1], self)))
        v = as_value(self, box, e)
        kinds = ty.alternatives(v.type)
        if v.type is ty.ANY:
            out = self.node("prim::isinstance", [v], ty.BOOL, e, types=wanted)
            proved = {e.args[0].id: ty.union(wanted)} if isinstance(e.args[0], ast.Name) else {}
            return Condition(out, None, proved, {})
        yes = [k for k in kinds if any(ty.subtype(k, w) for w in wanted)]
        no = [k for k in kinds if k not in yes]
        if not no or not yes:
            return Condition(static=not no)
        out = self.node("prim::isinstance", [v], ty.BOOL, e, types=wanted)
        if not isinstance(e.args[0], ast.Name):
            return Condition(out)
        return Condition(out, None, {e.args[0].id: ty.union(yes)}, {e.args[0].id: ty.union(no)})

    # ---- expressions ----

    def unsupported(self, e: Any) -> Any:
        from flambeau.jit.frontend import UnsupportedNodeError

        what, width = _STATEMENTS.get(type(e).__name__, (type(e).__name__, 1))
        place = self.at(e)
        if place is not None:
            place = place._replace(last=place.line, end=place.column + width)
        raise UnsupportedNodeError(f"{what} aren't supported:\n{place.highlight() if place else ''}")

    def expression(self, e: Any, hint: ty.Type | None = None) -> Any:
        match e:
            case ast.Constant():
                if e.value is Ellipsis:
                    return Special("ellipsis", None)
                return self.constant(e.value)
            case ast.Name():
                return self.name_(e)
            case ast.Attribute():
                return self.lookup(self.expression(e.value), e.attr, e)
            case ast.Call():
                return self.call(e, hint)
            case ast.BinOp():
                return self.binary(e)
            case ast.UnaryOp():
                return self.unary(e)
            case ast.BoolOp() | ast.Compare(ops=[ast.Is() | ast.IsNot()]):
                return self.condition(e).as_value(self)
            case ast.Compare():
                return self.compare(e)
            case ast.IfExp():
                return self.ternary(e, hint)
            case ast.List():
                return self.list_literal(e, hint)
            case ast.Tuple():
                return self.tuple_literal(e, hint)
            case ast.Dict():
                return self.dict_literal(e, hint)
            case ast.Subscript():
                return self.subscript(e)
            case ast.JoinedStr():
                return self.f_string(e)
            case ast.ListComp() | ast.DictComp():
                return self.comprehension(e, hint)
            case ast.Starred():
                self.fail("starred expressions are only supported in calls", e)
        return self.unsupported(e)

    def name_(self, e: ast.Name) -> Any:
        if e.id in self.env and e.id[0] != "$":
            return self.env[e.id]
        found = self.resolver.name(e.id, self, e)
        if found is None:
            why = self.env.get("$partial", {}).get(e.id)
            if isinstance(why, str):
                self.fail(f"{e.id} is not defined in the {why} branch", e)
            if why is not None:
                self.fail(f"Type mismatch: {e.id} is set to type {why[0].annotation_str} in the true branch and type {why[1].annotation_str} in the false branch", e)  # fmt: skip
            self.fail(f"undefined value {e.id}", e)
        return found

    def lookup(self, box: Any, name: str, e: Any) -> Any:
        return value_attr(self, box, name, self.at(e)) if isinstance(box, Value) else box.attr(self, name, self.at(e))

    def call(self, e: ast.Call, hint: ty.Type | None) -> Any:
        special = self.resolver.special(e, self, hint)
        if special is not None:
            return special
        fn = self.expression(e.func)
        args: list[Any] = []
        for a in e.args:
            if isinstance(a, ast.Starred):
                v = self.expression(a.value)
                parts = v.items(self, a) if isinstance(v, Sugared) else None
                if parts is None:
                    v = as_value(self, v, a)
                    if not isinstance(v.type, ty.Tuple):
                        self.fail("cannot use a starred expression of a type whose length is not known", a)
                    parts = self.unpack(v)
                args += parts
            else:
                args.append(self.expression(a))
        kwargs = {k.arg: self.expression(k.value) for k in e.keywords}
        if isinstance(fn, Value):
            if isinstance(fn.type, ty.Class):
                name = "forward" if fn.type.is_module else "__call__"
                if name in fn.type.methods:
                    return Method(fn, name).call(self, args, kwargs, self.at(e))
            if isinstance(fn.type, ty.Interface) and fn.type.is_module:
                return Method(fn, "forward").call(self, args, kwargs, self.at(e))
            self.fail(f"'{fn.type.annotation_str}' object is not callable", e)
        return fn.call(self, args, kwargs, self.at(e))

    def magic(self, name: str, values: list[Value], e: Any) -> Any:
        t = values[0].type
        if isinstance(t, ty.Class) and name in t.methods:
            return Method(values[0], name).call(self, list(values[1:]), {}, self.at(e))
        return None

    def binary(self, e: ast.BinOp) -> Any:
        a, b = as_value(self, self.expression(e.left), e), as_value(self, self.expression(e.right), e)
        name, magic = _BINARY[type(e.op)]
        found = self.magic(magic, [a, b], e)
        if found is not None:
            return found
        if name == "add" and isinstance(a.type, ty.Tuple) and isinstance(b.type, ty.Tuple):
            return self.tuple_of([*self.unpack(a), *self.unpack(b)], self.at(e))
        if ty.TENSOR in (a.type, b.type):
            name = {"floordiv": "floor_divide"}.get(name, name)
        if name == "remainder" and a.type is ty.STR:
            name = "percentFormat"
            return self.op("aten::percentFormat", a, b, place=e)
        if ty.TENSOR not in (a.type,) and b.type is ty.TENSOR and a.type in (ty.INT, ty.FLOAT, ty.BOOL) and name in ("sub", "div", "floor_divide"):  # fmt: skip
            if name == "sub":
                return self.op("aten::rsub", b, a, place=e)
            return self.op("aten::mul", self.op("aten::reciprocal", b, place=e), a, place=e) if name == "div" else self.op("aten::floor_divide", self.op("aten::tensor", a), b, place=e)  # fmt: skip
        if a.type in (ty.INT, ty.FLOAT) and b.type is ty.TENSOR and name in ("add", "mul"):
            return self.op("aten::" + name, b, a, place=e)
        if b.type is ty.TENSOR and a.type in (ty.INT, ty.FLOAT) and name in ("__and__", "__or__", "__xor__"):
            a, b = b, a
        return self.op("aten::" + name, a, b, place=e)

    def unary(self, e: ast.UnaryOp) -> Any:
        if isinstance(e.op, ast.Not):
            return self.condition(e).as_value(self)
        v = as_value(self, self.expression(e.operand), e)
        if isinstance(e.op, ast.USub):
            if v.node is not None and v.node.kind == "prim::Constant" and v.type in (ty.INT, ty.FLOAT):
                return self.constant(-v.node.attrs["value"])
            return self.magic("__neg__", [v], e) or self.op("aten::neg", v, place=e)
        return v if isinstance(e.op, ast.UAdd) else self.op("aten::bitwise_not", v, place=e)

    def compare(self, e: ast.Compare) -> Any:
        parts, left = [], e.left
        if len(e.ops) == 1:
            return self.compare_one(e.ops[0], e.left, e.comparators[0], e)
        for op, right in zip(e.ops, e.comparators):
            parts.append(ast.copy_location(ast.Compare(left=left, ops=[op], comparators=[right]), e))
            left = right
        return self.short_circuit(ast.And(), parts, e).as_value(self)

    def compare_one(self, op: Any, left: Any, right: Any, e: Any) -> Any:
        a, b = as_value(self, self.expression(left), e), as_value(self, self.expression(right), e)
        if isinstance(op, (ast.In, ast.NotIn)):
            if isinstance(b.type, ty.Tuple):
                b = self.list_of(self.unpack(b), b.type.parts[0])
            found = self.magic("__contains__", [b, a], e) or self.op("aten::__contains__", b, a, place=e)
            return found if isinstance(op, ast.In) else self.op("aten::__not__", found, place=e)
        name = _COMPARE[type(op)]
        found = self.magic(f"__{name}__", [a, b], e)
        if found is not None:
            return found
        if isinstance(a.type, ty.Tuple) and isinstance(b.type, ty.Tuple) and name in ("eq", "ne"):
            if len(a.type.parts) != len(b.type.parts):
                return self.constant(name == "ne")
            out: Any = None
            for x, y in zip(self.unpack(a), self.unpack(b)):
                one = self.op("aten::eq", x, y, place=e)
                out = one if out is None else self.op("aten::__and__", out, one, place=e)
            return out if name == "eq" else self.op("aten::__not__", out, place=e)
        if a.type in (ty.INT, ty.FLOAT) and b.type is ty.TENSOR:
            a, b = b, a
            name = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}.get(name, name)
        return self.op("aten::" + name, a, b, place=e)

    def ternary(self, e: ast.IfExp, hint: ty.Type | None) -> Any:
        c = self.condition(e.test)
        if c.static is not None:
            saved = dict(self.env)
            self.refine(c.when_true if c.static else c.when_false)
            out = self.expression(e.body if c.static else e.orelse, hint)
            self.env = saved
            return out
        node = Node("prim::If", [c.value], place=self.at(e))
        outer, env = self.block, dict(self.env)
        for body, proved in ((e.body, c.when_true), (e.orelse, c.when_false)):
            self.block, self.env = node.block(), dict(env)
            self.refine(proved)
            v = as_value(self, self.expression(body, hint), e)
            self.block.returns = [v]
        self.block, self.env = outer, env
        a, b = (x.returns[0].type for x in node.blocks)
        t = ty.unify(a, b) or (hint if hint is not None and ty.subtype(a, hint) and ty.subtype(b, hint) else None)
        if t is None:
            self.fail(
                f"Type mismatch: if-expression's true branch has type {a.annotation_str} but its false branch has type {b.annotation_str}",
                e,
            )
        outer.add(node)
        return node.output(t)

    def list_literal(self, e: ast.List, hint: ty.Type | None) -> Value:
        inner = hint.element if isinstance(hint, ty.Optional) else hint
        wanted = inner.element if isinstance(inner, ty.List) else None
        values = [as_value(self, self.expression(x, wanted), e) for x in e.elts]
        if not values:
            made = self.list_of([], wanted or ty.TENSOR, self.at(e))
            if wanted is None:
                made.node.attrs["_bare"] = True
            return made
        t = wanted if wanted is not None and all(ty.subtype(v.type, wanted) for v in values) else values[0].type
        for v in values:
            joined = ty.unify(t, v.type)
            if joined is None and ty.TENSOR in (t, v.type) and ty.INT in (t, v.type):
                joined = ty.INT
            if joined is None:
                if wanted is None and self.resolver.archive:
                    joined = ty.union((t, v.type))
                else:
                    joined = ty.union((t, v.type))
            t = joined
        if t is ty.INT:
            values = [convert(self, v, ty.INT, True) for v in values]
        return self.list_of(values, t, self.at(e))

    def tuple_literal(self, e: ast.Tuple, hint: ty.Type | None) -> Any:
        hints = hint.parts if isinstance(hint, ty.Tuple) and len(hint.parts) == len(e.elts) else [None] * len(e.elts)
        parts = [self.expression(x, h) for x, h in zip(e.elts, hints)]
        if all(isinstance(p, Value) for p in parts):
            values = [convert(self, p, h, False) if h is not None else p for p, h in zip(parts, hints)]
            return self.tuple_of(values, self.at(e))
        return Items(parts)

    def dict_literal(self, e: ast.Dict, hint: ty.Type | None) -> Value:
        k, v = hint.parts if isinstance(hint, ty.Dict) else (None, None)
        keys = [as_value(self, self.expression(x, k), e) for x in e.keys]
        values = [as_value(self, self.expression(x, v), e) for x in e.values]
        if not keys:
            return self.node(
                "prim::DictConstruct", [], hint if isinstance(hint, ty.Dict) else ty.Dict(ty.STR, ty.TENSOR), self.at(e)
            )
        kt, vt = k or keys[0].type, v or values[0].type
        for x in values if v is None else ():
            vt = ty.unify(vt, x.type) or ty.union((vt, x.type))
        flat = [x for pair in zip(keys, values) for x in pair]
        return self.node("prim::DictConstruct", flat, ty.Dict(kt, vt), self.at(e))

    def f_string(self, e: ast.JoinedStr) -> Value:
        template, values = "", []
        for part in e.values:
            if isinstance(part, ast.Constant):
                template += part.value.replace("{", "{{").replace("}", "}}")
            else:
                if part.format_spec is not None or part.conversion not in (-1, 0):
                    self.unsupported(part) if part.format_spec is None else self.fail(
                        "Format specifiers are not supported in f-strings", e
                    )
                template += "{}"
                values.append(as_value(self, self.expression(part.value), e))
        return self.op("aten::format", self.constant(template), *values, place=e)

    # ---- iteration ----

    def iterable(self, e: Any) -> Any:
        v = self.expression(e)
        if isinstance(v, Value):
            if isinstance(v.type, ty.Tuple):
                return Items(self.unpack(v))
            if v.type is ty.TENSOR:
                return self.op("aten::unbind", v, place=e)
            if v.type is ty.STR:
                return self.op("aten::list", v, place=e)
            if isinstance(v.type, ty.Dict):
                return self.op("aten::keys", v, place=e)
            if not isinstance(v.type, ty.List):
                self.fail(f"'{v.type.annotation_str}' object is not iterable", e)
        return v

    def iteration(self, source: Any, place: Any) -> tuple[Value, Any]:
        """How often a loop over something runs, and its element for an index."""
        if isinstance(source, Value):
            n = self.op("aten::len", source, place=place)
            return n, lambda i: self.op("aten::__getitem__", source, i, place=place)
        if isinstance(source, Range):
            return source.count(self, place), lambda i: source.element(self, i, place)
        if isinstance(source, Zipped):
            parts = [self.iteration(p, place) for p in source.sources]
            counts = [c for c, _ in parts]
            n = counts[0] if len(counts) == 1 else self.op("prim::min", self.list_of(counts, ty.INT), place=place)
            if source.first is not None:
                start = source.first
                return n, lambda i: Items([i if start is True else self.op("aten::add", i, start), parts[0][1](i)])
            return n, lambda i: Items([element(i) for _, element in parts])
        self.fail(f"{source.kind()} is not iterable", place)
        raise AssertionError

    def comprehension(self, e: Any, hint: ty.Type | None) -> Any:
        if len(e.generators) != 1:
            self.fail("Only a single generator is currently supported", e)
        hint = hint.element if isinstance(hint, ty.Optional) else hint
        g = e.generators[0]
        is_dict = isinstance(e, ast.DictComp)
        source = self.iterable(g.iter)
        parts = source.items(self, e) if isinstance(source, Sugared) else None
        saved = dict(self.env)
        if parts is not None and not is_dict:
            out = []
            for p in parts:
                self.assign(g.target, p)
                out.append(as_value(self, self.expression(e.elt), e))
            self.env = saved
            t = hint.element if isinstance(hint, ty.List) else out[0].type if out else ty.TENSOR
            return self.list_of(out, t, self.at(e))
        count, element = self.iteration(source, e)
        made = self.node("prim::DictConstruct" if is_dict else "prim::ListConstruct", [], hint or ty.List(ty.TENSOR), e)
        node = Node("prim::Loop", [count, self.constant(True)], place=self.at(e))
        outer = self.block
        self.block = node.block()
        self.assign(g.target, element(self.block.param(ty.INT)))
        body = self.block

        def add() -> str:
            if is_dict:
                k, v = (as_value(self, self.expression(x), e) for x in (e.key, e.value))
                if hint is None:
                    made.type = ty.Dict(k.type, v.type)
                self.op("aten::_set_item", made, k, v, place=e)
            else:
                v = as_value(self, self.expression(e.elt, hint.element if isinstance(hint, ty.List) else None), e)
                if hint is None:
                    made.type = ty.List(v.type)
                self.op("aten::append", made, v, place=e)
            return "fall"

        test = [self.condition(i) for i in g.ifs]
        if not test:
            add()
        elif test[0].static is None:
            self.branch(test[0].value, add, lambda: "fall", e)
        elif test[0].static:
            add()
        body.returns = [self.constant(True, block=body)]
        self.block, self.env = outer, saved
        outer.add(node)
        return made


class Range(Sugared):
    """`range(...)` in a loop."""

    def __init__(self, args: list[Value]) -> None:
        self.args = args

    def count(self, em: Any, place: Any) -> Value:
        if len(self.args) == 1:
            return self.args[0]
        return em.op("aten::__range_length", self.args[0], self.args[1], self.step(em), place=place)

    def step(self, em: Any) -> Value:
        return self.args[2] if len(self.args) > 2 else em.constant(1)

    def element(self, em: Any, i: Value, place: Any) -> Value:
        return i if len(self.args) == 1 else em.op("aten::__derive_index", i, self.args[0], self.step(em), place=place)

    def value(self, em: Any, place: Any) -> Value:
        made = em.list_of([], ty.INT)
        node = Node("prim::Loop", [self.count(em, place), em.constant(True)])
        outer = em.block
        em.block = node.block()
        em.op("aten::append", made, self.element(em, em.block.param(ty.INT), place))
        em.block.returns = [em.constant(True)]
        em.block = outer
        outer.add(node)
        return made


class Zipped(Sugared):
    """`zip(...)`, or `enumerate(...)` where `first` is True or the start."""

    def __init__(self, sources: list[Any], first: Any = None) -> None:
        self.sources, self.first = sources, first

    def items(self, em: Any, place: Any) -> list[Any] | None:
        known = [s.items(em, place) if isinstance(s, Sugared) else None for s in self.sources]
        if not any(k is not None for k in known):
            return None
        n = min(len(k) for k in known if k is not None)
        columns = [k if k is not None else [em.op("aten::__getitem__", s, em.constant(i)) if isinstance(s, Value) else s.element(em, em.constant(i), place) for i in range(n)] for s, k in zip(self.sources, known)]  # fmt: skip
        if self.first is not None:
            start = 0 if self.first is True else em.literal_of(self.first)
            return [Items([em.constant(i + start), p]) for i, p in enumerate(columns[0])]
        return [Items(list(row)) for row in zip(*columns)]

"""From graph to text: the Python in which PyTorch keeps compiled programs (`.code`, and `code/` in archives)."""

from __future__ import annotations

import keyword
from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.graph import Block, Graph, Node, Value, uses
from flambeau.jit._language.schema import Schema, quoted, written

_CASTS = {
    "aten::Int": "int",
    "aten::Float": "float",
    "aten::Bool": "bool",
    "aten::Complex": "complex",
    "aten::str": "str",
}
_IMPLICIT = {"aten::IntImplicit": "int", "aten::FloatImplicit": "float", "aten::ScalarImplicit": "number"}
_STATEMENTS = frozenset(
    (
        "prim::If",
        "prim::Loop",
        "prim::With",
        "prim::SetAttr",
        "prim::Enter",
        "prim::Exit",
        "prim::TupleUnpack",
        "prim::ListUnpack",
    )
)
_RESERVED = frozenset(["torch", "self", "ops", "CONSTANTS", "annotate", "uninitialized", "unchecked_cast", "getattr", "print", "int", "float", "bool", "str", "complex", "range", "inf", "nan", "infj", "nanj", "fork", "isinstance", "device"]) | frozenset(keyword.kwlist)  # fmt: skip
_LIMIT = 40  # an expression within another that is longer gets a line of its own


class Printer:
    """Prints one function."""

    def __init__(self, constants: list[Any], used: Any = None, reserved: set[str] | None = None) -> None:
        self.constants, self.used = constants, used or (lambda t: None)
        self.lines: list[str] = []
        self.names: dict[Value, str] = {}
        self.texts: dict[Value, str] = {}
        self.taken: set[str] = set(_RESERVED)
        self.serial = 0
        self.inline: set[Node] = set()  # nodes that are printed within an expression
        self.hoisted: dict[str, str] = {}  # functions that have been given a name
        self.splits: dict[Node, int] = {}  # up to which input a node's expressions have been given names
        self.ends: dict[Block, Node] = {}
        self.use: dict[Value, tuple[Node, int]] = {}

    # ---- names ----

    def fresh(self, v: Value | None = None) -> str:
        base = (v.name.partition(".")[0] if v is not None else "") or ""
        base = "".join(c if c.isalnum() or c == "_" else "_" for c in base)
        if base and base[0].isdigit():
            base = "_" + base
        if not base or base == "_":
            name = f"_{self.serial}"
            self.serial += 1
            while name in self.taken:
                name = f"_{self.serial}"
                self.serial += 1
        else:
            name, k = base, 0
            while name in self.taken:
                name, k = f"{base}{k}", k + 1
        self.taken.add(name)
        return name

    def declare(self, v: Value) -> str:
        name = self.fresh(v)
        self.names[v] = self.texts[v] = name
        return name

    def text(self, v: Value) -> str:
        if v not in self.texts:
            node = v.node
            if node is not None and node.kind == "prim::Constant":
                return self.constant(node, v)
            raise AssertionError(f"{v} is used before it is printed")
        return self.texts[v]

    def say(self, depth: int, line: str) -> None:
        self.lines.append("  " * depth + line)

    def annotated(self, t: ty.Type) -> str:
        for x in ty.walk(t):
            self.used(x)
        return t.annotation_str

    # ---- values ----

    def constant(self, node: Node, v: Value) -> str:
        value = node.attrs.get("value")
        if isinstance(v.type, ty.Enum):
            self.used(v.type)
            return f"{v.type.qualified}.{value.name}"
        if value is None:
            return "None"
        if v.type is ty.TENSOR:
            for i, c in enumerate(self.constants):
                if c is value or (
                    not c.ndim and not value.ndim and c.dtype == value.dtype and c.item() == value.item()
                ):
                    return f"CONSTANTS.c{i}"
            self.constants.append(value)
            return f"CONSTANTS.c{len(self.constants) - 1}"
        if v.type is ty.DEVICE:
            return f'torch.device("{value}")'
        if isinstance(value, float) and value != value:
            return "nan"
        return quoted(value) if isinstance(value, str) else written(value)

    def callee(self, fn: Any) -> str:
        self.used(fn)
        return self.hoisted.get(fn.name, fn.name)

    def hoist(self, block: Block, depth: int) -> None:
        """Give names to constants whose text is long, in the order of their use."""
        for n in block.nodes:
            for v in n.inputs:
                if v not in self.texts and v.node is not None and v.node.kind == "prim::Constant" and v.type is ty.STR:
                    text = self.constant(v.node, v)
                    if len(text) + 2 * depth >= _LIMIT:
                        self.say(depth, f"{self.declare(v)} = {text}")
            fn = n.attrs.get("_function")
            if fn is not None and fn.name not in self.hoisted and len(fn.name) + 2 * depth >= _LIMIT:
                name = self.fresh()
                self.say(depth, f"{name} = {self.callee(fn)}")
                self.hoisted[fn.name] = name
            for inner in n.blocks:
                self.hoist(inner, depth)

    def expression(self, n: Node) -> str:
        kind = n.kind
        a = [self.text(v) for v in n.inputs]
        match kind:
            case "prim::ListConstruct":
                t = n.output().type
                inner = f"[{', '.join(a)}]"
                same = all(v.type == t.element for v in n.inputs)
                tensors = (
                    isinstance(t.element, ty.Optional)
                    and t.element.element is ty.TENSOR
                    and any(v.type is ty.TENSOR for v in n.inputs)
                )
                if not a or not (same or tensors):
                    return (
                        inner
                        if not a and t.element is ty.TENSOR and n.attrs.get("_plain")
                        else f"annotate({self.annotated(t)}, {inner})"
                    )
                return inner
            case "prim::TupleConstruct":
                t = n.output().type
                if isinstance(t, ty.Tuple) and t.qualified:
                    self.used(t)
                    return f"{t.qualified}({', '.join(a)})"
                parts = [
                    f"annotate({self.annotated(p)}, {x})" if p != v.type else x
                    for x, v, p in zip(a, n.inputs, t.contained)
                ]
                return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
            case "prim::DictConstruct":
                pairs = ", ".join(f"{k}: {v}" for k, v in zip(a[::2], a[1::2]))
                t = n.output().type
                plain = a and all(v.type == t.parts[1] for v in n.inputs[1::2])
                return "{" + pairs + "}" if plain else f"annotate({self.annotated(t)}, {{{pairs}}})"
            case "prim::TupleIndex":
                return f"({a[0]})[{a[1]}]"
            case "prim::GetAttr":
                name = n.attrs["name"]
                if name.isidentifier() and not keyword.iskeyword(name):
                    return f"{a[0]}.{name}" if a[0].isidentifier() else f"({a[0]}).{name}"
                return f'getattr({a[0]}, "{name}")'
            case "prim::CallMethod":
                return f"({a[0]}).{n.attrs['name']}({''.join(x + ', ' for x in a[1:])})"
            case "prim::CallFunction":
                return f"{self.callee(n.attrs['_function'])}({''.join(x + ', ' for x in a)})"
            case "prim::unchecked_cast":
                return f"unchecked_cast({self.annotated(n.output().type)}, {a[0]})"
            case "prim::Uninitialized":
                return f"uninitialized({self.annotated(n.output().type)})"
            case "prim::isinstance":
                kinds = ", ".join(self.annotated(t) for t in n.attrs["types"])
                return f"isinstance({a[0]}, [{kinds}])" if len(n.attrs["types"]) > 1 else f"isinstance({a[0]}, {kinds})"
            case "prim::CreateObject":
                t = n.output().type
                self.used(t)
                return f"{t.qualified}.__new__({t.qualified})"
            case "prim::EnumName" | "prim::EnumValue":
                return f"{a[0]}.{kind[10:].lower()}"
            case "prim::Print":
                return f"print({', '.join(a)})"
            case "prim::tolist":
                return f"annotate({self.annotated(n.output().type)}, ops.prim.tolist({', '.join(a)}))"
            case "prim::fork":
                return (
                    f"fork({a[0]})"
                    if "_function" not in n.attrs
                    else f"fork({self.callee(n.attrs['_function'])}, {', '.join(a)})"
                )
            case "prim::PythonOp":
                raise RuntimeError(f"Could not export Python function call '{n.attrs['name']}'. Remove calls to Python functions before export. Did you forget to add @script or @script_method annotation? If this is a nn.ModuleList, add it to __constants__")  # fmt: skip
        if kind == "aten::__getitem__":
            return f"{a[0]}[{a[1]}]" if a[0].isidentifier() else f"({a[0]})[{a[1]}]"
        if kind in _CASTS and len(a) == 1:
            return f"{_CASTS[kind]}({a[0]})"
        if kind in _IMPLICIT:
            return f"annotate({_IMPLICIT[kind]}, {a[0]})"
        namespace, _, base = kind.partition("::")
        where = f"torch.{base}" if namespace == "aten" else f"ops.{namespace}.{base}"
        return f"{where}({', '.join(self.arguments(n, a))})"

    def arguments(self, n: Node, a: list[str]) -> list[str]:
        schema: Schema | None = n.schema
        if schema is None:
            return a
        last = len(a)
        from flambeau.jit._language.run import _Writer

        test = _Writer("")
        while (
            last
            and last <= len(schema.arguments)
            and test.is_default(n.inputs[last - 1], schema.arguments[last - 1])
            and not (n.inputs[last - 1].node and n.inputs[last - 1].node.attrs.get("_given"))
        ):
            last -= 1
        out = []
        for i in range(last):
            formal = schema.arguments[i] if i < len(schema.arguments) else None
            out.append(f"{formal.name}={a[i]}" if formal is not None and formal.keyword else a[i])
        return out

    # ---- statements ----

    def plan(self, block: Block, count: dict[Value, int]) -> set[Node]:
        """The nodes of a block that are printed within the expression that uses them: those just before it, in order."""
        inline: set[Node] = set()
        nodes = [n for n in block.nodes if n.kind != "prim::Constant"]
        at = len(nodes)

        def scan(n: Node) -> None:
            nonlocal at
            for v in reversed(n.inputs[:2] if n.kind == "prim::Loop" else n.inputs):
                m = v.node
                if m is None or m.kind == "prim::Constant" or at == 0 or nodes[at - 1] is not m:
                    continue
                single = len(m.outputs) == 1 and count.get(v) == 1 and not m.blocks
                # a name is kept, but not where the value is only handed out
                if single and (not v.name or n.kind == "prim::Return") and m.kind not in _STATEMENTS:
                    at -= 1
                    inline.add(m)
                    scan(m)

        scan(self.ends[block])
        while at:
            at -= 1
            scan(nodes[at])
        return inline

    def body(self, block: Block, depth: int) -> None:
        self.inline |= self.plan(block, self.count)
        for n in block.nodes:
            if n.kind == "prim::Constant":
                continue
            if n not in self.inline:
                self.statement(n, depth)
                continue
            self.texts[n.output()] = self.expression(n)
            if len(self.texts[n.output()]) + 2 * depth >= _LIMIT:
                self.split(n, depth)

    def split(self, n: Node, depth: int) -> None:
        """Give a long expression a name, and all that is evaluated before it in the statement that it is part of."""
        user, offset = self.use[n.output()]
        named: list[Node] = []
        while True:
            known = self.splits.get(user)
            for i in range(offset, -1 if known is None else known, -1):
                m = user.inputs[i].node
                if m is not None and m in self.inline:
                    named.append(m)
            self.splits[user] = offset
            if known is not None or user not in self.inline:
                break
            user, offset = self.use[user.output()]
            offset -= 1
        for m in reversed(named):
            text = self.texts[m.output()]
            self.inline.discard(m)
            self.say(depth, f"{self.declare(m.output())} = {text}")

    def look(self, block: Block) -> None:
        """Note where each value is used; what a block gives is used by a node at its end."""
        self.ends[block] = Node("prim::Return", block.returns)
        for n in (*block.nodes, self.ends[block]):
            for i, v in enumerate(n.inputs):
                self.use[v] = (n, i)
            for inner in n.blocks:
                self.look(inner)

    def statement(self, n: Node, depth: int) -> None:
        match n.kind:
            case "prim::If":
                self.if_(n, depth)
            case "prim::Loop":
                self.loop(n, depth)
            case "prim::SetAttr":
                box, value = map(self.text, n.inputs)
                name = n.attrs["name"]
                self.say(depth, f"{box}.{name} = {value}" if box.isidentifier() else f"({box}).{name} = {value}")
            case "prim::TupleUnpack" | "prim::ListUnpack":
                source = self.text(n.inputs[0])
                if n.outputs:
                    self.say(depth, f"{', '.join(map(self.declare, n.outputs))}, = {source}")
            case "prim::Enter":
                self.say(depth, f"with {self.text(n.inputs[0])}:")
                raise NotImplementedError("saving a TorchScript program that uses a context manager is not implemented")
            case "prim::With":
                from flambeau.autograd.grad_mode import enable_grad

                on = n.attrs["_python"] is enable_grad
                before = self.fresh()
                self.say(depth, f"{before} = torch.is_grad_enabled()")
                self.say(depth, f"_{before} = torch.set_grad_enabled({on})")
                self.body(n.blocks[0], depth)
                for o, v in zip(n.outputs, n.blocks[0].returns):
                    self.say(depth, f"{self.declare(o)} = {self.text(v)}")
                self.say(depth, f"_{before}0 = torch.set_grad_enabled({before})")
            case _:
                text = self.expression(n)
                if not n.outputs:
                    self.say(depth, text)
                    return
                left = ", ".join(map(self.declare, n.outputs))
                self.say(depth, f"{left} = {text}")

    def if_(self, n: Node, depth: int) -> None:
        cond = self.text(n.inputs[0])
        names = [self.fresh(o) for o in n.outputs]
        self.say(depth, f"if {cond}:")
        for word, b in zip(("", "else:"), n.blocks):
            if word:
                self.say(depth, word)
            before = len(self.lines)
            self.body(b, depth + 1)
            if names:
                values = []
                for v, o in zip(b.returns, n.outputs):
                    text = self.text(v)
                    odd = v.type != o.type and (
                        isinstance(o.type, (ty.Union,))
                        or o.type is ty.NUMBER
                        or (v.type is not ty.NONE and not isinstance(o.type, ty.Optional))
                    )
                    values.append(f"annotate({self.annotated(o.type)}, {text})" if odd else text)
                self.say(depth + 1, f"{', '.join(names)} = {', '.join(values)}")
            if len(self.lines) == before:
                self.say(depth + 1, "pass")
        for o, name in zip(n.outputs, names):
            self.names[o] = self.texts[o] = name

    def loop(self, n: Node, depth: int) -> None:
        trip, go, *start = n.inputs
        b = n.blocks[0]
        begin = [self.text(v) for v in start]
        names = []
        for p, o, text, v in zip(b.params[1:], n.outputs, begin, start):
            name = self.fresh(o if o.name else p)
            names.append(name)
            odd = v.type != o.type or isinstance(o.type, (ty.Optional, ty.Union))
            note = f": {self.annotated(o.type)}" if odd else ""
            self.say(depth, f"{name}{note} = {text}")
            self.texts[p] = self.texts[o] = self.names[p] = self.names[o] = name
        go_text, trip_text = self.text(go), self.text(trip)
        back = b.returns[0]
        forever = back.node is not None and back.node.kind == "prim::Constant" and back.node.attrs.get("value") is True
        if forever and go_text == "True":
            self.say(depth, f"for {self.declare(b.params[0])} in range({trip_text}):")
            self.body(b, depth + 1)
            values = [self.text(v) for v in b.returns[1:]]
            pairs = [(x, v) for x, v in zip(names, values) if x != v]
            if pairs:
                self.say(depth + 1, f"{', '.join(x for x, _ in pairs)} = {', '.join(v for _, v in pairs)}")
            if self.lines[-1].strip().endswith("):") and self.lines[-1].strip().startswith("for "):
                self.say(depth + 1, "pass")
            return
        counted = trip_text != str(2**63 - 1)
        going = self.fresh()
        if counted or self.count.get(b.params[0]):
            index = self.declare(b.params[0])
            self.say(depth, f"{index} = 0")
        self.say(
            depth,
            f"{going} = torch.__and__(torch.gt({trip_text}, 0), {go_text})" if counted else f"{going} = {go_text}",
        )
        self.say(depth, f"while {going}:")
        self.body(b, depth + 1)
        after = self.text(back)
        values = [self.text(v) for v in b.returns[1:]]
        if counted or self.count.get(b.params[0]):
            following = self.fresh()
            self.say(depth + 1, f"{following} = torch.add({index}, 1)")
            if counted:
                after = f"torch.__and__(torch.lt({following}, {trip_text}), {after})"
            names, values = [*names, index], [*values, following]
        self.say(depth + 1, f"{', '.join([going, *names])} = {', '.join([after, *values])}")

    # ---- the function ----

    def function(self, graph: Graph, name: str, schema: Schema, depth: int = 0, self_type: str | None = None) -> str:
        self.count = uses(graph.block)
        self.look(graph.block)
        params = []
        for i, (v, formal) in enumerate(zip(graph.block.params, schema.arguments)):
            if i == 0 and self_type is not None:
                self.texts[v] = self.names[v] = "self"
                params.append(f"self: {self_type}" if self_type else "self")
                continue
            self.taken.discard(formal.name)
            v.name = formal.name
            text = self.declare(v)
            default = "" if not formal.has_default_value() else "=" + written(formal.default)
            params.append(f"{text}: {self.annotated(formal.type)}{default}")
        joined = (",\n" + "  " * depth + "    ").join(params)
        head = f"def {name}({joined}) -> {self.annotated(schema.result)}:"
        self.hoist(graph.block, depth + 1)
        self.body(graph.block, depth + 1)
        v = graph.block.returns[0]
        text = self.text(v)
        self.say(depth + 1, f"return {text}")
        return "  " * depth + head + "\n" + "\n".join(self.lines) + "\n"

"""Execution: a graph becomes the source of one Python function over flambeau's operators."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau._ground import source
from flambeau.jit._async import fork
from flambeau.jit._language import operators, types as ty
from flambeau.jit._language.failures import PLACES
from flambeau.jit._language.graph import Block, Graph, Node, Value


class ScriptObject:
    """What objects of compiled classes are; Python makes none. Public as `torch.ScriptObject`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("torch._C.ScriptObject: No constructor defined!")


ScriptObject.__module__ = "torch"


class Object(ScriptObject):
    """An object of a compiled class, while a program runs."""

    def __init__(self, type: ty.Class) -> None:
        self.__dict__["_type"] = type


class _Writer:
    def __init__(self, name: str) -> None:
        self.lines: list[str] = []
        self.steps: dict[int, Node] = {}  # line -> the step that it belongs to
        self.scope: dict[str, Any] = {
            "unwrap": operators.unwrap,
            "quotient": operators.quotient,
            "Object": Object,
            "meant": operators.meant,
        }
        self.names: dict[Value, str] = {}
        self.label = name

    def bind(self, value: Any, hint: str) -> str:
        """A global name for a value."""
        hint = "".join(c if c.isalnum() else "_" for c in hint)
        for known, v in self.scope.items():
            if v is value:
                return known
        name = f"{hint}_{len(self.scope)}"
        self.scope[name] = value
        return name

    def name(self, v: Value) -> str:
        if v not in self.names:
            self.names[v] = f"v{len(self.names)}"
        return self.names[v]

    def read(self, v: Value) -> str:
        node = v.node
        if node is not None and node.kind == "prim::Constant":
            return self.constant(node)
        return self.name(v)

    def constant(self, node: Node) -> str:
        value = node.attrs.get("value")
        if value is None or isinstance(value, (bool, int, str)):
            return repr(value)
        if isinstance(value, float) and value == value and abs(value) != float("inf"):
            return repr(value)
        return self.bind(value, "c")

    def say(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def function(self, graph: Graph) -> Any:
        params = ", ".join(map(self.name, graph.block.params))
        self.say(0, f"def run({params}):")
        self.body(graph.block, 1)
        outs = [self.read(v) for v in graph.block.returns]
        self.say(1, f"return {outs[0] if len(outs) == 1 else '(' + ', '.join(outs) + ')' if outs else 'None'}")
        text = "\n".join(self.lines) + "\n"
        self.scope[PLACES] = (self.label.rpartition(".")[2], self.steps)
        made = source.build("run", text, self.scope)
        return made

    def body(self, block: Block, depth: int) -> None:
        for node in block.nodes:
            first = len(self.lines)
            self.node(node, depth)
            for line in range(first, len(self.lines)):
                self.steps.setdefault(line + 1, node)  # those of inner blocks are known already

    def assign(self, node: Node, depth: int, text: str) -> None:
        left = ", ".join(map(self.name, node.outputs))
        self.say(depth, f"{left} = {text}" if left else text)

    def node(self, n: Node, depth: int) -> None:
        kind = n.kind
        if kind == "prim::Constant":
            return
        special = getattr(self, "_" + kind.replace("::", "_"), None)
        if special is not None:
            special(n, depth)
            return
        if n.schema is None:
            raise NotImplementedError(f"TorchScript operator {kind} is not implemented")
        self.assign(n, depth, self.call(n))

    def call(self, n: Node) -> str:
        schema = n.schema
        assert schema is not None
        args: list[str] = []
        for i, v in enumerate(n.inputs):
            a = schema.arguments[i] if i < len(schema.arguments) else None
            if a is not None and a.kind:
                if v.node is not None and v.node.kind == "prim::Constant":
                    args.append(self.bind(operators.meant(a.kind, v.node.attrs.get("value")), "d"))
                else:
                    args.append(f"meant({a.kind!r}, {self.read(v)})")
            else:
                args.append(self.read(v))
        what = operators.how(schema)
        if what is None:
            raise NotImplementedError(f"TorchScript operator {schema.key} is not implemented")
        if isinstance(what, str):
            if "{*}" in what:
                return what.replace("{*}", ", ".join(args))
            return what.format(*args)
        formals = schema.arguments
        last = len(args)
        # Of a reduction Python's functions have another default than the schema.
        while last and last <= len(formals) and formals[last - 1].name != "reduction" and formals[last - 1].default is not ty_required and self.is_default(n.inputs[last - 1], formals[last - 1]):  # fmt: skip
            last -= 1
        parts = []
        for i in range(last):
            if i < len(formals) and formals[i].keyword:
                if not self.is_default(n.inputs[i], formals[i]):
                    parts.append(f"{formals[i].name}={args[i]}")
            else:
                parts.append(args[i])
        text = f"{self.bind(what, n.kind.partition('::')[2])}({', '.join(parts)})"
        if schema.returns and isinstance(schema.result, ty.List) and operators.plain(schema.result) is False:
            return f"list({text})"
        return text

    def is_default(self, v: Value, formal: Any) -> bool:
        node = v.node
        if node is None or formal.default is ty_required:
            return False
        if node.kind == "prim::Constant":
            value = node.attrs.get("value")
            return type(value) is type(formal.default) and value == formal.default
        if node.kind == "prim::ListConstruct" and isinstance(formal.default, list):
            inner = [
                i.node.attrs.get("value") if i.node is not None and i.node.kind == "prim::Constant" else ty_required
                for i in node.inputs
            ]
            return inner == formal.default
        return False

    # ---- nodes that are no operators ----

    def _prim_If(self, n: Node, depth: int) -> None:
        self.say(depth, f"if {self.read(n.inputs[0])}:")
        for word, b in zip(("", "else:"), n.blocks):
            if word:
                self.say(depth, word)
            before = len(self.lines)
            self.body(b, depth + 1)
            self.move(n.outputs, b.returns, depth + 1)
            if len(self.lines) == before:
                self.say(depth + 1, "pass")

    def move(self, targets: list[Value], values: list[Value], depth: int) -> None:
        pairs = [(self.name(t), self.read(v)) for t, v in zip(targets, values)]
        pairs = [p for p in pairs if p[0] != p[1]]
        if pairs:
            self.say(depth, f"{', '.join(p[0] for p in pairs)} = {', '.join(p[1] for p in pairs)}")

    def _prim_Loop(self, n: Node, depth: int) -> None:
        trip, go, *start = n.inputs
        b = n.blocks[0]
        for p, o in zip(b.params[1:], n.outputs):
            self.names[p] = self.name(o)
        self.move(n.outputs, start, depth)
        forever = self.read(go) == "True" and self.read(b.returns[0]) == "True"
        many = self.read(trip)
        if forever:
            self.say(depth, f"for {self.name(b.params[0])} in range({many}):")
        elif many == str(2**63 - 1):
            going = f"go{len(self.lines)}"
            self.say(depth, f"{going} = {self.read(go)}")
            self.say(depth, f"{self.name(b.params[0])} = -1")
            self.say(depth, f"while {going}:")
            self.say(depth + 1, f"{self.name(b.params[0])} += 1")
        else:
            going = f"go{len(self.lines)}"
            self.say(depth, f"{going} = {self.read(go)}")
            self.say(depth, f"for {self.name(b.params[0])} in range({many}):")
            self.say(depth + 1, f"if not {going}: break")
        before = len(self.lines)
        self.body(b, depth + 1)
        if not forever:
            self.say(depth + 1, f"{going} = {self.read(b.returns[0])}")
        self.move(b.params[1:], b.returns[1:], depth + 1)
        if len(self.lines) == before:
            self.say(depth + 1, "pass")

    def _prim_ListConstruct(self, n: Node, depth: int) -> None:
        self.assign(n, depth, f"[{', '.join(map(self.read, n.inputs))}]")

    def _prim_TupleConstruct(self, n: Node, depth: int) -> None:
        inner = ", ".join(map(self.read, n.inputs))
        t = n.output().type
        if isinstance(t, ty.Tuple) and t.qualified:
            self.assign(n, depth, f"{self.bind(named_tuple(t), 'Named')}({inner})")
        else:
            self.assign(n, depth, f"({inner}{',' if len(n.inputs) == 1 else ''})")

    def _prim_DictConstruct(self, n: Node, depth: int) -> None:
        pairs = zip(n.inputs[::2], n.inputs[1::2])
        self.assign(n, depth, "{" + ", ".join(f"{self.read(k)}: {self.read(v)}" for k, v in pairs) + "}")

    def _prim_TupleUnpack(self, n: Node, depth: int) -> None:
        if n.outputs:
            left = ", ".join(map(self.name, n.outputs))
            self.say(depth, f"{left}{',' if len(n.outputs) == 1 else ''} = {self.read(n.inputs[0])}")

    def _prim_ListUnpack(self, n: Node, depth: int) -> None:
        if n.outputs:
            left = ", ".join(map(self.name, n.outputs))
            check = self.bind(_exactly, "exactly")
            self.say(
                depth,
                f"{left}{',' if len(n.outputs) == 1 else ''} = {check}({self.read(n.inputs[0])}, {len(n.outputs)})",
            )

    def _prim_TupleIndex(self, n: Node, depth: int) -> None:
        self.assign(n, depth, f"{self.read(n.inputs[0])}[{self.read(n.inputs[1])}]")

    def _prim_TupleSlice(self, n: Node, depth: int) -> None:
        self.assign(n, depth, f"{self.read(n.inputs[0])}[{n.attrs['beg']}:{n.attrs['end']}]")

    def _prim_EnumName(self, n: Node, depth: int) -> None:
        self.assign(n, depth, f"{self.read(n.inputs[0])}.name")

    def _prim_EnumValue(self, n: Node, depth: int) -> None:
        self.assign(n, depth, f"{self.read(n.inputs[0])}.value")

    def _prim_unchecked_cast(self, n: Node, depth: int) -> None:
        self.names[n.output()] = self.read(n.inputs[0])
        name = f"v{len(self.names)}c"
        self.say(depth, f"{name} = {self.read(n.inputs[0])}")
        self.names[n.output()] = name

    def _prim_isinstance(self, n: Node, depth: int) -> None:
        fits = self.bind(holds, "holds")
        kinds = self.bind(tuple(n.attrs["types"]), "types")
        self.assign(n, depth, f"any({fits}({self.read(n.inputs[0])}, t) for t in {kinds})")

    def _prim_Uninitialized(self, n: Node, depth: int) -> None:
        self.assign(n, depth, "None")

    def _prim_Print(self, n: Node, depth: int) -> None:
        self.say(depth, f"{self.bind(operators._print, 'print')}({', '.join(map(self.read, n.inputs))})")

    def _prim_GetAttr(self, n: Node, depth: int) -> None:
        t, name = n.inputs[0].type, n.attrs["name"]
        box = self.read(n.inputs[0])
        if isinstance(t, ty.Class) and t.is_module:
            kind = t.attributes[name]
            place = "_parameters" if name in t.parameters else "_buffers" if name in t.buffers else ""
            if not place and isinstance(kind, (ty.Class, ty.Interface)) and kind.is_module:
                place = "_modules"
            self.assign(n, depth, f"{box}.{place}[{name!r}]" if place else f"{box}.__dict__[{name!r}]")
        elif name.isidentifier():
            self.assign(n, depth, f"{box}.{name}")
        else:
            self.assign(n, depth, f"getattr({box}, {name!r})")

    def _prim_SetAttr(self, n: Node, depth: int) -> None:
        t, name = n.inputs[0].type, n.attrs["name"]
        box, value = map(self.read, n.inputs)
        if isinstance(t, ty.Class) and t.is_module:
            place = "_parameters" if name in t.parameters else "_buffers" if name in t.buffers else "__dict__"
            self.say(depth, f"{box}.{place}[{name!r}] = {value}")
        else:
            self.say(depth, f"{box}.__dict__[{name!r}] = {value}")

    def _prim_CreateObject(self, n: Node, depth: int) -> None:
        self.assign(n, depth, f"Object({self.bind(n.output().type, 'Class')})")

    def _prim_CallFunction(self, n: Node, depth: int) -> None:
        fn = n.attrs["_function"]
        self.assign(n, depth, f"{self.bind(fn.run, fn.name)}({', '.join(map(self.read, n.inputs))})")

    def _prim_CallMethod(self, n: Node, depth: int) -> None:
        t, name = n.inputs[0].type, n.attrs["name"]
        args = ", ".join(map(self.read, n.inputs))
        if isinstance(t, ty.Class):
            fn = t.methods[name]
            self.assign(n, depth, f"{self.bind(fn.run, name)}({args})")
        else:
            box = self.read(n.inputs[0])
            self.assign(n, depth, f"{self.bind(_dispatch, 'dispatch')}({box}, {name!r})({args})")

    def _prim_PythonOp(self, n: Node, depth: int) -> None:
        self.assign(n, depth, f"{self.bind(n.attrs['_python'], 'python')}({', '.join(map(self.read, n.inputs))})")

    def _prim_fork(self, n: Node, depth: int) -> None:
        if "_function" in n.attrs:
            fn, args = self.bind(n.attrs["_function"].run, "fn"), ", ".join(map(self.read, n.inputs))
            self.assign(n, depth, f"{self.bind(fork, 'fork')}({fn}{', ' + args if args else ''})")
        else:
            self.assign(n, depth, f"{self.bind(fork, 'fork')}({self.read(n.inputs[0])})")

    def _prim_Enter(self, n: Node, depth: int) -> None:
        box = self.read(n.inputs[0])
        t = n.inputs[0].type
        enter = (
            f"{self.bind(t.methods['__enter__'].run, 'enter')}({box})"
            if isinstance(t, ty.Class)
            else f"{box}.__enter__()"
        )
        self.assign(n, depth, enter)

    def _prim_Exit(self, n: Node, depth: int) -> None:
        box, t = self.read(n.inputs[0]), n.inputs[0].type
        args = "None, None, None"
        self.say(depth, f"{self.bind(t.methods['__exit__'].run, 'exit')}({box}, {args})" if isinstance(t, ty.Class) else f"{box}.__exit__({args})")  # fmt: skip

    def _prim_With(self, n: Node, depth: int) -> None:
        """A block under a context manager of Python's: grad mode, a profiler's label."""
        self.say(depth, f"with {self.bind(n.attrs['_python'], 'manager')}({', '.join(map(self.read, n.inputs))}):")
        before = len(self.lines)
        self.body(n.blocks[0], depth + 1)
        self.move(n.outputs, n.blocks[0].returns, depth + 1)
        if len(self.lines) == before:
            self.say(depth + 1, "pass")

    def _prim_tolist(self, n: Node, depth: int) -> None:
        self.assign(n, depth, f"{self.read(n.inputs[0])}.tolist()")


def _exactly(values: Any, n: int) -> Any:
    if len(values) != n:
        raise RuntimeError(f"Expected {n} elements in a list but found {len(values)}")
    return values


def _dispatch(box: Any, name: str) -> Any:
    return (box._type if isinstance(box, Object) else box._c._type()).methods[name].run


_NAMED: dict[str, Any] = {}


def named_tuple(t: ty.Tuple) -> Any:
    """The Python class of a named tuple."""
    if t.python is not None:
        return t.python
    import collections

    key = f"{t.qualified}:{t.fields}"
    if key not in _NAMED:
        _NAMED[key] = collections.namedtuple(t.qualified.rpartition(".")[2], t.fields)  # type: ignore[union-attr, misc]
    return _NAMED[key]


def holds(value: Any, t: ty.Type) -> bool:
    """Whether a value is of a type."""
    if t is ty.ANY:
        return True
    if isinstance(t, (ty.Optional, ty.Union)) or t is ty.NUMBER:
        return any(holds(value, a) for a in ty.alternatives(t))
    if isinstance(t, ty.List):
        return isinstance(value, list) and all(holds(v, t.element) for v in value)
    if isinstance(t, ty.Dict):
        return isinstance(value, dict) and all(holds(k, t.parts[0]) and holds(v, t.parts[1]) for k, v in value.items())
    if isinstance(t, ty.Tuple):
        return isinstance(value, tuple) and len(value) == len(t.parts) and all(map(holds, value, t.parts))
    if isinstance(t, ty.Class):
        return (isinstance(value, Object) and value._type is t) or (hasattr(value, "_c") and value._c._type() is t)
    if isinstance(t, ty.Enum):
        return isinstance(value, t.python)
    if t is ty.ANY_LIST or t is ty.ANY_TUPLE:
        return isinstance(value, list if t is ty.ANY_LIST else tuple)
    kinds = {"int": int, "float": float, "bool": bool, "str": str, "complex": complex, "NoneType": type(None)}
    if t is ty.TENSOR:
        return isinstance(value, flambeau.Tensor)
    if t is ty.DEVICE:
        return isinstance(value, flambeau.device)
    return type(value) is kinds.get(str(t))


from flambeau.jit._language.schema import REQUIRED as ty_required  # noqa: E402


def compile_graph(graph: Graph, name: str) -> Any:
    """The Python function of a graph."""
    return _Writer(name).function(graph)

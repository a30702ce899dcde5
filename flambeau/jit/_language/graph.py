"""Graphs: values, the nodes that make them, blocks of nodes. What every stage of TorchScript works on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.schema import Schema, number, quoted


class Value:
    """What a node gives, or a parameter of a block."""

    __slots__ = ("name", "node", "seen", "type")

    def __init__(self, type: ty.Type, name: str = "", node: Node | None = None) -> None:
        self.type, self.name, self.node = type, name, node
        self.seen: ty.Type | None = None  # what it was when the program was traced

    def debugName(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"%{self.name} : {self.type}"


class Node:
    """One step: `aten::add`, `prim::If`, ...; blocks where it has bodies."""

    __slots__ = ("attrs", "blocks", "inputs", "kind", "outputs", "place", "schema", "scope")

    def __init__(self, kind: str, inputs: Iterable[Value] = (), schema: Schema | None = None, place: Any = None,
                 **attrs: Any) -> None:  # fmt: skip
        self.kind, self.inputs, self.schema, self.place, self.attrs = kind, list(inputs), schema, place, attrs
        self.outputs: list[Value] = []
        self.blocks: list[Block] = []
        self.scope = ""

    def output(self, type: ty.Type | None = None, name: str = "") -> Value:
        """The only result, or a new one."""
        if type is None:
            return self.outputs[0]
        self.outputs.append(Value(type, name, self))
        return self.outputs[-1]

    def block(self) -> Block:
        self.blocks.append(Block(self))
        return self.blocks[-1]

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class Block:
    """Nodes in order, with parameters and results."""

    __slots__ = ("nodes", "owner", "params", "returns")

    def __init__(self, owner: Node | None = None) -> None:
        self.owner = owner
        self.params: list[Value] = []
        self.nodes: list[Node] = []
        self.returns: list[Value] = []

    def param(self, type: ty.Type, name: str = "") -> Value:
        self.params.append(Value(type, name))
        return self.params[-1]

    def add(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    def walk(self) -> Iterator[Node]:
        """All nodes, those of inner blocks after their owner."""
        for node in self.nodes:
            yield node
            for b in node.blocks:
                yield from b.walk()


class Graph:
    """A whole function."""

    def __init__(self) -> None:
        self.block = Block()

    def inputs(self) -> list[Value]:
        return self.block.params

    def outputs(self) -> list[Value]:
        return self.block.returns

    def nodes(self) -> list[Node]:
        return self.block.nodes

    def findAllNodes(self, kind: str) -> list[Node]:
        return [n for n in self.block.walk() if n.kind == kind]

    def copy(self) -> Graph:
        made, seen = Graph(), {}
        made.block = copy_block(self.block, seen, None)
        return made

    def __str__(self) -> str:
        return show(self)

    __repr__ = __str__


def copy_block(block: Block, seen: dict[Value, Value], owner: Node | None) -> Block:
    """A block of new nodes; `seen` maps old values to new ones."""
    made = Block(owner)
    for p in block.params:
        seen[p] = made.param(p.type, p.name)
        seen[p].seen = p.seen
    for n in block.nodes:
        made.add(copy_node(n, seen))
    made.returns = [seen.get(v, v) for v in block.returns]
    return made


def copy_node(n: Node, seen: dict[Value, Value]) -> Node:
    m = Node(n.kind, [seen.get(v, v) for v in n.inputs], n.schema, n.place, **n.attrs)
    m.scope = n.scope
    m.blocks = [copy_block(b, seen, m) for b in n.blocks]
    for o in n.outputs:
        seen[o] = m.output(o.type, o.name)
        seen[o].seen = o.seen
    return m


def replace(block: Block, old: dict[Value, Value]) -> None:
    """Put other values where `old` says, in a block and all within."""
    if not old:
        return

    def find(v: Value) -> Value:
        while v in old:
            v = old[v]
        return v

    for n in block.walk():
        n.inputs = [find(v) for v in n.inputs]
        for b in n.blocks:
            b.returns = [find(v) for v in b.returns]
    block.returns = [find(v) for v in block.returns]


def uses(block: Block) -> dict[Value, int]:
    """How often each value is used."""
    count: dict[Value, int] = {}
    for n in block.walk():
        for v in n.inputs:
            count[v] = count.get(v, 0) + 1
        for b in n.blocks:
            for v in b.returns:
                count[v] = count.get(v, 0) + 1
    for v in block.returns:
        count[v] = count.get(v, 0) + 1
    return count


def attribute(name: str, value: Any) -> str:
    if isinstance(value, bool):
        text = str(int(value))
    elif isinstance(value, float):
        text = number(value)
    elif isinstance(value, str):
        text = quoted(value)
    elif hasattr(value, "numel"):
        text = f"{{{value.item()}}}" if value.numel() == 1 and not value.ndim else "<Tensor>"
    else:
        text = str(value)
    return f"{name}={text}"


def shown_type(v: Value) -> str:
    """How graphs print the type of a value: with the sizes that a trace saw."""
    if v.seen is not None:
        return v.seen.shown()
    n = v.node
    if n is not None and n.kind == "prim::TupleConstruct" and not getattr(v.type, "qualified", None):
        return f"({', '.join(map(shown_type, n.inputs))})"
    return v.type.shown()


def show(graph: Graph, names: dict[Value, str] | None = None) -> str:
    """The graph as PyTorch prints it; `names` is filled with what its values are called."""
    names = {} if names is None else names
    taken: set[str] = set()

    def name(v: Value) -> str:
        if v not in names:
            base = v.name.rstrip("0123456789").rstrip(".") if "." in v.name else v.name
            if not base or base.isdigit():
                text = str(counter[0])
                counter[0] += 1
            else:
                text, k = base, 1
                while text in taken:
                    text, k = f"{base}.{k}", k + 2
            taken.add(text)
            names[v] = text
        return "%" + names[v]

    counter = [0]
    lines: list[str] = []

    def typed(v: Value) -> str:
        return f"{name(v)} : {shown_type(v)}"

    def body(block: Block, indent: str) -> None:
        for n in block.nodes:
            shown = {k: v for k, v in n.attrs.items() if not k.startswith("_")}
            inner = f"[{', '.join(attribute(k, v) for k, v in shown.items())}]" if shown else ""
            where = f" # {n.place.file}:{n.place.line}:{n.place.column}" if n.place is not None and n.place.file else ""
            scope = f", scope: {n.scope}" if n.scope else ""
            left = ", ".join(map(typed, n.outputs))
            lines.append(f"{indent}{left} = {n.kind}{inner}({', '.join(map(name, n.inputs))}){scope}{where}")
            for i, b in enumerate(n.blocks):
                lines.append(f"{indent}  block{i}({', '.join(map(typed, b.params))}):")
                body(b, indent + "    ")
                lines.append(f"{indent}    -> ({', '.join(map(name, b.returns))})")

    head = ",\n      ".join(typed(p) for p in graph.block.params)
    lines.append(f"graph({head}):")
    body(graph.block, "  ")
    lines.append(f"  return ({', '.join(map(name, graph.block.returns))})\n")
    return "\n".join(lines)

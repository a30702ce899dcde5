"""Graphs as PyTorch's core gives them to programs: what they consist of is asked by calls (`node.kind()`, `value.type()`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.graph import Block, Graph, Node, Value, show


class View:
    """Something of a graph, as programs see it; equal where it is the same thing."""

    __slots__ = ("_of", "_within")

    def __init__(self, of: Any, within: Any = None) -> None:
        self._of, self._within = of, within

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and other._of is self._of

    def __hash__(self) -> int:
        return id(self._of)


class ValueView(View):
    """What a node gives, or a graph takes."""

    _of: Value

    def debugName(self) -> str:
        names = _names(self._within)
        return names.get(self._of, self._of.name)

    def setDebugName(self, name: str) -> ValueView:
        self._of.name = name
        return self

    def type(self) -> ty.Type:
        return self._of.type

    def setType(self, type: ty.Type) -> ValueView:
        self._of.type = type
        return self

    def node(self) -> NodeView | None:
        return None if self._of.node is None else NodeView(self._of.node, self._within)

    def isCompleteTensor(self) -> bool:
        return isinstance(self._of.type, ty.CompleteTensor)

    def requires_grad(self) -> bool:
        return isinstance(self._of.type, ty.CompleteTensor) and self._of.type.requiresGrad()

    def toIValue(self) -> Any:
        """The constant that this is; None where it is none."""
        node = self._of.node
        return node.attrs.get("value") if node is not None and node.kind == "prim::Constant" else None

    def uses(self) -> list[Any]:
        return [NodeView(n, self._within) for n in self._within.block.walk() if self._of in n.inputs]

    def __repr__(self) -> str:
        return (
            f"{self.debugName()} defined in ({'' if self._of.node is None else NodeView(self._of.node, self._within)})"
        )


class NodeView(View):
    """One step."""

    _of: Node

    def kind(self) -> str:
        return self._of.kind

    def inputs(self) -> Iterator[ValueView]:
        return (ValueView(v, self._within) for v in self._of.inputs)

    def outputs(self) -> Iterator[ValueView]:
        return (ValueView(v, self._within) for v in self._of.outputs)

    def inputsAt(self, i: int) -> ValueView:
        return ValueView(self._of.inputs[i], self._within)

    def outputsAt(self, i: int) -> ValueView:
        return ValueView(self._of.outputs[i], self._within)

    def inputsSize(self) -> int:
        return len(self._of.inputs)

    def outputsSize(self) -> int:
        return len(self._of.outputs)

    def input(self) -> ValueView:
        (only,) = self.inputs()
        return only

    def output(self) -> ValueView:
        (only,) = self.outputs()
        return only

    def hasMultipleOutputs(self) -> bool:
        return len(self._of.outputs) > 1

    def scopeName(self) -> str:
        return self._of.scope

    def schema(self) -> str:
        return "(no schema)" if self._of.schema is None else str(self._of.schema)

    def blocks(self) -> Iterator[BlockView]:
        return (BlockView(b, self._within) for b in self._of.blocks)

    def owningGraph(self) -> GraphView:
        return GraphView(self._within)

    def attributeNames(self) -> list[str]:
        return [n for n in self._of.attrs if n[0] != "_"]

    def hasAttribute(self, name: str) -> bool:
        return name in self.attributeNames()

    def hasAttributes(self) -> bool:
        return bool(self.attributeNames())

    def kindOf(self, name: str) -> str:
        value = self._of.attrs[name]
        many = isinstance(value, (list, tuple))
        kind = _kind(value[0] if many and value else value)
        return kind + "s" * many

    def _attribute(self, name: str) -> Any:
        if name not in self._of.attrs:
            raise RuntimeError(f"required keyword attribute '{name}' is undefined")
        return self._of.attrs[name]

    i = f = s = t = ss = fs = ts = ival = _attribute

    def findNode(self, kind: str) -> NodeView | None:
        return next((NodeView(n, self._within) for b in self._of.blocks for n in b.walk() if n.kind == kind), None)

    def sourceRange(self) -> str:
        p = self._of.place
        return "" if p is None or not p.file else f"{p.file}:{p.line}:{p.column}"

    def __repr__(self) -> str:
        lines = show(self._within).splitlines()
        outs = ", ".join(f"%{o.debugName()} : {o.type().shown()}" for o in self.outputs())
        return (
            next((line.strip() for line in lines if outs and line.strip().startswith(outs + " =")), self._of.kind)
            + "\n"
        )


# The name that PyTorch has for the indices of lists stands for the attribute, too.
setattr(NodeView, "is", NodeView._attribute)


class BlockView(View):
    """Nodes in order, with parameters and results."""

    _of: Block

    def nodes(self) -> Iterator[NodeView]:
        return (NodeView(n, self._within) for n in self._of.nodes)

    def inputs(self) -> Iterator[ValueView]:
        return (ValueView(v, self._within) for v in self._of.params)

    def outputs(self) -> Iterator[ValueView]:
        return (ValueView(v, self._within) for v in self._of.returns)

    def paramNode(self) -> NodeView:
        node = Node("prim::Param")
        node.outputs = list(self._of.params)
        return NodeView(node, self._within)

    def returnNode(self) -> NodeView:
        return NodeView(Node("prim::Return", self._of.returns), self._within)

    param_node, return_node = paramNode, returnNode

    def owningNode(self) -> NodeView | None:
        return None if self._of.owner is None else NodeView(self._of.owner, self._within)


class GraphView(BlockView):
    """A whole function."""

    def __init__(self, graph: Graph | None = None) -> None:
        graph = Graph() if graph is None else graph
        super().__init__(graph.block, graph)

    def findAllNodes(self, kind: str, recurse: bool = True) -> list[NodeView]:
        found = self._of.walk() if recurse else iter(self._of.nodes)
        return [NodeView(n, self._within) for n in found if n.kind == kind]

    def findNode(self, kind: str, recurse: bool = True) -> NodeView | None:
        return next(iter(self.findAllNodes(kind, recurse)), None)

    def copy(self) -> GraphView:
        return GraphView(self._within.copy())

    def str(self, print_source_ranges: bool = True) -> str_:
        return show(self._within)

    def __str__(self) -> str_:
        return show(self._within)

    __repr__ = __str__


str_ = str


def _kind(value: Any) -> str:
    for cls, name in ((bool, "i"), (int, "i"), (float, "f"), (str, "s")):
        if isinstance(value, cls):
            return name
    return "t" if hasattr(value, "numel") else "ival"


def _names(graph: Graph) -> dict[Value, str]:
    """How the values of a graph are printed."""
    names: dict[Value, str] = {}
    show(graph, names)
    return names

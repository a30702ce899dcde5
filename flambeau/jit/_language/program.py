"""Compiled functions, and the passes between a fresh graph and the one that is printed and run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.failures import failure
from flambeau.jit._language.graph import Block, Graph, Node, Value, copy_node, replace, uses
from flambeau.jit._language.run import compile_graph
from flambeau.jit._language.schema import Schema

_EFFECTS = frozenset(("prim::RaiseException", "prim::Print", "prim::SetAttr", "prim::CallFunction", "prim::CallMethod", "prim::PythonOp",
                      "prim::Enter", "prim::Exit", "prim::With", "aten::warn", "aten::manual_seed", "aten::backward", "prim::fork", "aten::set_grad_enabled"))  # fmt: skip
_RANDOM = ("rand", "dropout", "bernoulli", "multinomial", "normal", "poisson", "exponential")


class Compiled:
    """One function: its name and signature, its graph (made when first needed), what runs it."""

    def __init__(self, name: str, make: Callable[[Compiled], tuple[Graph, Schema]] | None = None) -> None:
        self.name, self.make = name, make
        self._graph: Graph | None = None
        self._schema: Schema | None = None
        self._run: Any = None
        self.busy = False
        self.owner: ty.Class | None = None

    def ensure(self) -> None:
        if self._graph is not None:
            return
        if self.busy:
            if self._schema is not None:
                return
            raise RuntimeError(
                f"function '{self.name.rpartition('.')[2]}' is called recursively. Recursive calls are not supported"
            )
        self.busy = True
        try:
            assert self.make is not None
            graph, schema = self.make(self)
            tidy(graph)
            self._graph, self._schema = graph, schema
        finally:
            self.busy = False

    @property
    def graph(self) -> Graph:
        self.ensure()
        return self._graph  # type: ignore[return-value]

    @graph.setter
    def graph(self, graph: Graph) -> None:
        self._graph, self._run = graph, None

    @property
    def schema(self) -> Schema:
        if self._schema is None:
            self.ensure()
        return self._schema  # type: ignore[return-value]

    @schema.setter
    def schema(self, schema: Schema) -> None:
        self._schema = schema

    @property
    def run(self) -> Any:
        if self._run is None:
            self._run = compile_graph(self.graph, self.name)
        return self._run

    def call(self, *args: Any) -> Any:  # hot: called once per call from Python
        """Runs it for Python; what fails is told with the place in the program."""
        try:
            return (self._run or self.run)(*args)
        except Exception as error:
            told = failure(error)
            if told is error:
                raise
            raise told from error

    @property
    def short(self) -> str:
        return self.name.rpartition(".")[2]


def effectful(n: Node) -> bool:
    if n.kind in _EFFECTS:
        return True
    if n.schema is not None and n.schema.mutates:
        return True
    if n.kind.startswith("aten::") and any(r in n.kind for r in _RANDOM):
        return True
    if n.schema is not None and not n.kind.startswith(("aten::", "prim::")):
        return True
    return any(effectful(m) for b in n.blocks for m in b.nodes)


def dead_code(block: Block) -> None:
    """Drop nodes whose results nobody uses and that do nothing else."""
    changed = True
    while changed:
        changed = False
        count = uses(block)

        def sweep(b: Block, count: dict[Value, int] = count) -> None:
            nonlocal changed
            kept = []
            for n in b.nodes:
                if not any(count.get(o) for o in n.outputs) and not effectful(n):
                    changed = True
                    continue
                if n.kind == "prim::If":
                    for i in reversed(range(len(n.outputs))):
                        if not count.get(n.outputs[i]):
                            del n.outputs[i]
                            for inner in n.blocks:
                                del inner.returns[i]
                            changed = True
                elif n.kind == "prim::Loop":
                    body = n.blocks[0]
                    for i in reversed(range(len(n.outputs))):
                        param = body.params[i + 1]
                        if not count.get(n.outputs[i]) and count.get(param, 0) == (body.returns[i + 1] is param):
                            del n.outputs[i], n.inputs[i + 2], body.params[i + 1], body.returns[i + 1]
                            changed = True
                for inner in n.blocks:
                    sweep(inner)
                kept.append(n)
            b.nodes[:] = kept

        sweep(block)


def pool_constants(block: Block) -> None:
    """One node for each constant, at the start of the function."""
    pooled: dict[Any, Value] = {}
    renamed: dict[Value, Value] = {}
    first: list[Node] = []

    def sweep(b: Block) -> None:
        kept = []
        for n in b.nodes:
            if n.kind == "prim::Constant":
                v = n.output()
                value = n.attrs.get("value")
                key = (str(v.type), type(value), repr(value) if not hasattr(value, "requires_grad") else id(value))
                if key in pooled:
                    renamed[v] = pooled[key]
                else:
                    pooled[key] = v
                    first.append(n)
                continue
            for inner in n.blocks:
                sweep(inner)
            kept.append(n)
        b.nodes[:] = kept

    sweep(block)
    block.nodes[:0] = first
    replace(block, renamed)


def forward_tuples(block: Block) -> None:
    """Unpack and index tuples that were made in sight."""
    renamed: dict[Value, Value] = {}
    for n in block.walk():
        if (
            n.kind == "prim::TupleUnpack"
            and n.inputs[0].node is not None
            and n.inputs[0].node.kind == "prim::TupleConstruct"
        ):
            renamed.update(zip(n.outputs, n.inputs[0].node.inputs))
    replace(block, renamed)


def tidy(graph: Graph) -> None:
    forward_tuples(graph.block)
    pool_constants(graph.block)
    dead_code(graph.block)


def inline(graph: Graph) -> Graph:
    """The graph with the bodies of all that it calls in place of the calls."""
    made = graph.copy()
    _inline(made.block)
    tidy(made)
    return made


def _inline(block: Block) -> None:
    out: list[Node] = []
    renamed: dict[Value, Value] = {}
    for n in block.nodes:
        for b in n.blocks:
            _inline(b)
        fn = None
        if n.kind == "prim::CallFunction":
            fn = n.attrs["_function"]
        elif n.kind == "prim::CallMethod" and isinstance(n.inputs[0].type, ty.Class):
            fn = n.inputs[0].type.methods[n.attrs["name"]]
        if fn is None:
            out.append(n)
            continue
        body = inline(fn.graph).block
        seen: dict[Value, Value] = dict(zip(body.params, n.inputs))
        out += [copy_node(m, seen) for m in body.nodes]
        results = [seen.get(v, v) for v in body.returns]
        renamed.update(zip(n.outputs, results))
    block.nodes[:] = out
    replace(block, renamed)

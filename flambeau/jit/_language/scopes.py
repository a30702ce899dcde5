"""From a trace to methods: what the parts of a traced module did becomes `forward` of each part.

While a module's part runs, its steps go to a block of their own. Afterwards each block reads its tensors through its own `self`; what it
takes from outside becomes arguments, what others take from it becomes its result, and the block becomes a method.
"""

from __future__ import annotations

from flambeau.jit._language import types as ty
from flambeau.jit._language.graph import Block, Graph, Node, Value
from flambeau.jit._language.program import Compiled, dead_code, forward_tuples
from flambeau.jit._language.schema import Argument, Schema

CALL = "prim::TracedModuleForward"  # a part's call, with the block of what it did; attrs["path"] says which part
MEMBER = "prim::TracedAttr"  # a tensor or part of the traced module, by its path; its node stands in no block


def settle(graph: Graph, of_module: bool) -> None:
    """Make methods of the blocks of a trace."""
    if of_module:
        members(graph.block, (), graph.block.params[0])
        _Lifting(graph.block)
        pack(graph.block)
        split(graph.block)
    clean(graph)


def clean(graph: Graph) -> None:
    """Leave out what nobody uses. Constants stay where they were met."""
    forward_tuples(graph.block)
    dead_code(graph.block)


def members(block: Block, prefix: tuple[str, ...], me: Value) -> list[Value]:
    """Read members of the module at `prefix` through `me`; gives those of other modules, which have become parameters of the block."""
    outside: list[Value] = []
    known: dict[Value, Value] = {}

    def here(v: Value) -> Value:
        if v.node is None or v.node.kind != MEMBER:
            return v
        if v not in known:
            path = v.node.attrs["path"]
            if path[: len(prefix)] == prefix:
                found, reads = me, []
                for name in path[len(prefix) :]:
                    read = Node("prim::GetAttr", [found], name=name)
                    found = read.output(found.type.attributes[name], name)  # type: ignore[attr-defined]
                    reads.append(read)
                block.nodes[:0] = reads
                known[v] = found
            else:
                known[v] = block.param(v.type, path[-1])
                outside.append(v)
        return known[v]

    for n in list(block.nodes):
        if n.kind == CALL:
            n.inputs += members(n.blocks[0], n.attrs["path"], n.blocks[0].params[0])
        n.inputs = [here(v) for v in n.inputs]
    block.returns = [here(v) for v in block.returns]
    return outside


class _Lifting:
    """What is used outside of the block that makes it is handed out, block by block."""

    def __init__(self, top: Block) -> None:
        self.home: dict[Value, Block] = {}
        self.around: dict[Block, tuple[Node, Block]] = {}
        self.handed: dict[Value, Value] = {}
        self.note(top)
        self.run(top)

    def note(self, block: Block) -> None:
        for v in block.params:
            self.home[v] = block
        for n in block.nodes:
            for v in n.outputs:
                self.home[v] = block
            for b in n.blocks:
                self.around[b] = (n, block)
                self.note(b)

    def run(self, block: Block) -> None:
        for n in block.nodes:
            n.inputs = [self.seen_from(v, block) for v in n.inputs]
            for b in n.blocks:
                self.run(b)
        block.returns = [self.seen_from(v, block) for v in block.returns]

    def seen_from(self, v: Value, block: Block) -> Value:
        found = self.handed.get(v, v)
        home = self.home[found]
        if home is block:
            return found
        enclosing = {block}
        b = block
        while b in self.around:
            b = self.around[b][1]
            enclosing.add(b)
        while home not in enclosing:
            call, outer = self.around[home]
            home.returns.append(found)
            found = call.output(found.type)
            self.home[found], home = outer, outer
        self.handed[v] = found
        return found


def pack(block: Block) -> None:
    """Give each block one result: a tuple of several, None for nothing."""
    for n in list(block.nodes):
        if n.kind != CALL:
            continue
        inner = n.blocks[0]
        pack(inner)
        if len(inner.returns) > 1:
            whole = inner.add(Node("prim::TupleConstruct", inner.returns)).output(ty.Tuple(*(v.type for v in inner.returns)))  # fmt: skip
            parts, n.outputs = n.outputs, []
            unpack = Node("prim::TupleUnpack", [n.output(whole.type)])
            unpack.outputs = parts
            for v in parts:
                v.node = unpack
            block.nodes.insert(block.nodes.index(n) + 1, unpack)
            inner.returns = [whole]
        elif not inner.returns:
            inner.returns = [inner.add(Node("prim::Constant", _none=True)).output(ty.NONE)]
            n.output(ty.NONE)


def split(block: Block) -> None:
    """Make a method of each block, the innermost first, and a call of it of the node."""
    for n in block.nodes:
        if n.kind != CALL:
            continue
        inner = n.blocks[0]
        split(inner)
        own = {*inner.params, *(v for m in inner.nodes for v in m.outputs)}
        taken: dict[Value, Value] = {}

        def within(v: Value, n: Node = n, inner: Block = inner, own: set[Value] = own, taken: dict[Value, Value] = taken) -> Value:  # fmt: skip
            if v in own:
                return v
            if v not in taken:
                taken[v] = inner.param(v.type, v.name)
                taken[v].seen = v.seen
                n.inputs.append(v)
            return taken[v]

        for m in inner.nodes:
            m.inputs = [within(v) for v in m.inputs]
        inner.returns = [within(v) for v in inner.returns]
        n.kind, n.attrs, n.blocks = "prim::CallMethod", {"name": _method(n.inputs[0].type, inner)}, []


def _method(owner: ty.Type, body: Block) -> str:
    """A block as a method of a class: its name, which is `forward` with a number where there is one already."""
    assert isinstance(owner, ty.Class)
    name, k = "forward", 0
    while name in owner.methods:
        k += 1
        name = f"forward{k}"
    graph = Graph()
    graph.block, body.owner = body, None
    clean(graph)
    arguments = [Argument("self", owner)]
    for i, v in enumerate(body.params[1:], 1):
        said = v.name or f"argument_{i}"
        while any(a.name == said for a in arguments):
            said += f"_{i}"
        arguments.append(Argument(said, v.type))
    made = owner.methods[name] = Compiled(f"{owner.qualified}.{name}")
    made._graph, made.owner = graph, owner
    made.schema = Schema(name, "", arguments, [Argument("", body.returns[0].type)])
    return name

"""A captured forward pass whose results need gradients outside -> two programs, forward and backward, as one node of autograd's graph.

The backward pass is traced through the written derivatives (`.vjp`) on copies of the example inputs. What it needs of the forward
pass is saved; views, and cheap results of what is saved anyway, are computed again instead: that moves less memory.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import flambeau
from flambeau._capture import logs, mistakes
from flambeau._capture.breaks import REFUSED
from flambeau._capture.expressions import Unsupported, everywhere
from flambeau._capture.lower import Compiled, Nodes
from flambeau._capture.place import span
from flambeau._eager.graph import TWICE, Node, as_tensor, node_of, serial, unpack
from flambeau._eager.modes import STATE
from flambeau._eager.views import memory_of
from flambeau._kernel.ir import COSTLY
from flambeau._kernel.loops import Layout
from flambeau._ops import OpOverload
from flambeau._tensor import Tensor, wrap
from flambeau.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.interpreter import Interpreter
from flambeau.fx.node import Node as Line, map_arg


class Joint:
    """Forward and backward of a graph. Called like the graph, it gives results with history."""

    writes = True  # without eager operators, which count versions

    def __init__(self, gm: GraphModule, examples: Sequence[Any]) -> None:
        self.gm = gm
        self.wanted = [i for i, x in enumerate(examples) if isinstance(x, Tensor) and x.requires_grad]
        if not self.wanted:
            raise Unsupported("results with a history of their own")
        places = gm.graph.find_nodes(op="placeholder")
        if any(n.users and not isinstance(x, Tensor) for n, x in zip(places, examples, strict=False)):
            raise Unsupported("a number that changes, in what has a history")  # the trace would keep what it is now
        if not STATE.grad:
            raise Unsupported("results with a history where none is recorded at the start")
        joint = self.trace(examples)
        forward, backward, self.saved_inputs = split(joint, len(examples), self.results, self.kept)
        self.follows = following(joint, len(examples), self.results)
        self.forward = Compiled(forward, list(examples))
        self.kernels, self.calls = self.forward.kernels, self.forward.calls
        self._backward = backward
        self._made: Compiled | ByNodes | None = None
        self.call = self

    def trace(self, examples: Sequence[Any]) -> GraphModule:
        """The graph of (inputs, gradients of results) -> (results, gradients of inputs)."""
        inputs = [x.detach().clone() if isinstance(x, Tensor) else x for x in examples]
        with flambeau.no_grad():
            shapes = _like(self.gm, inputs)
        self.results = len(shapes)

        def joint(*values: Any) -> Any:
            xs = list(values[: len(inputs)])
            leaves = {i: xs[i].detach().requires_grad_() for i in self.wanted}
            with flambeau.enable_grad():
                out = Marked(self.gm).run(*(leaves.get(i, x) for i, x in enumerate(xs)))
                out = list(out) if isinstance(out, (tuple, list)) else [out]
                self.kept = [n for n, t in enumerate(out) if isinstance(t, Tensor) and t.requires_grad]
                if any(isinstance(t, Tensor) and any(t._a is x._a for x in xs if isinstance(x, Tensor)) for t in out):
                    raise Unsupported("a result that is an input")
                given = [values[len(inputs) + n] for n in range(len(self.kept))]
                try:
                    grads = flambeau.autograd.grad([out[n] for n in self.kept], list(leaves.values()), given,
                                                   create_graph=True, allow_unused=True)  # fmt: skip
                except RuntimeError as problem:  # eager code is refused, too, if it comes to a backward pass
                    if mistakes.ours(problem):
                        raise
                    raise Unsupported(f"a backward pass that is refused: {problem}") from problem
            return (*out, *grads)

        self.kept = [n for n, t in enumerate(shapes) if isinstance(t, Tensor) and t.is_floating_point()]
        state = flambeau.get_rng_state()
        try:
            needs = _needing(self.gm, inputs, self.wanted)
            grads = [flambeau.zeros_like(shapes[n]) for n in needs]
            copies = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
            made = make_fx(joint)(*copies, *grads)
        finally:
            flambeau.set_rng_state(state)
        own = {id(memory_of(t._a)) for t in vars(self.gm).values() if isinstance(t, Tensor)}
        for name, t in vars(made).items():
            if isinstance(t, Tensor) and id(memory_of(t._a)) not in own and everywhere(t._a) is None:
                raise Unsupported(
                    f"{name} is a tensor of the trace whose origin is unknown"
                )  # it may hang on the inputs
        return made

    @property
    def backward(self) -> Compiled | ByNodes:
        """The backward program, compiled when it is first wanted; what programs have no form for runs operator by operator."""
        if self._made is None:
            vals = [n.meta["val"] for n in self._backward.graph.find_nodes(op="placeholder")]
            try:
                self._made = Compiled(self._backward, vals)
            except Exception as problem:  # a mistake of the compiler's is told, and costs speed only
                logs.refused(problem)
                self._made = ByNodes(self._backward)
        return self._made

    def __call__(self, *inputs: Any) -> Any:
        arrays = [x._a if isinstance(x, Tensor) else x for x in inputs]
        out = self.forward.run(*arrays)
        if out is REFUSED:
            return out
        results = [wrap(x) if hasattr(x, "dtype") and hasattr(x, "strides") else x for x in out[: self.results]]
        if not STATE.grad:
            return tuple(results)
        edges = [node_of(inputs[i]) for i in self.wanted]
        if not any(edges):
            return tuple(results)
        node = CompiledFunctionBackward()
        node.joint, node.inputs = self, inputs
        node.next, node.nrs = tuple(edges), tuple(inputs[i]._nr for i in self.wanted)
        node.outs = len(self.kept)
        node.metas = tuple((results[n]._a.shape, results[n]._a.dtype) for n in self.kept)
        held = [inputs[i] for i in self.saved_inputs]
        node.saved = (*held, *out[self.results :], None)
        node.versions = (*((0 if t._vc is None else t._vc[0]) if isinstance(t, Tensor) else -1 for t in held),
                         *(-1 for _ in out[self.results :]), -1)  # fmt: skip
        node.seq = next(serial)
        for nr, n in enumerate(self.kept):
            results[n]._node, results[n]._nr = node, nr
        return tuple(results)


class Marked(Interpreter):
    """A graph that is recorded node by node: which checkpointed part a node belongs to is known of what it becomes, too."""

    def __init__(self, gm: GraphModule) -> None:
        super().__init__(gm)
        self.extra_traceback = False

    def run_node(self, n: Line) -> Any:
        recording = get_proxy_mode()
        assert recording is not None
        last = next(iter(reversed(recording.graph.nodes)), None)
        made = super().run_node(n)
        for x in reversed(recording.graph.nodes):
            if x is last:
                break
            x.meta["part"] = n.meta.get("part")
        return made


class ByNodes:
    """A graph on arrays, operator by operator."""

    def __init__(self, gm: GraphModule) -> None:
        self.nodes = Nodes(gm)

    def run(self, *values: Any) -> tuple[Any, ...]:
        out = self.nodes(*(wrap(x) if isinstance(x, np.ndarray) else x for x in values))
        return tuple(x._a if isinstance(x, Tensor) else x for x in out)


class CompiledFunctionBackward(Node):
    """The whole graph, seen from outside."""

    joint: Joint
    inputs: Any = ()
    own_release = True

    def arrays(self, g: Any) -> Sequence[Any]:
        given = [g] if self.outs == 1 else g
        absent = {n for n, x in enumerate(given) if x is None}
        out = self.numbers(given)
        if not absent:
            return out
        return [
            None if follows and follows <= absent else x for x, follows in zip(out, self.joint.follows, strict=True)
        ]

    def numbers(self, given: Sequence[Any]) -> Sequence[Any]:
        """The gradients, where those that are absent count as zeros."""
        program = self.joint.backward
        values = [x._a if isinstance(x, Tensor) else x for x in unpack(self)[:-1]]
        for x, (shape, d) in zip(given, self.metas or (), strict=True):
            values.append(np.zeros(shape, d) if x is None else x if isinstance(x, np.ndarray) else as_tensor(x)._a)
        if isinstance(program, ByNodes):
            return program.run(*values)
        out = program.run(*(laid(x, program.layouts[n]) for n, x in enumerate(values)))
        return ByNodes(self.joint._backward).run(*values) if out is REFUSED else out

    def tensors(self, g: Any) -> Sequence[Any]:
        """With history: the graph runs once more, operator by operator."""
        if self.saved is None:
            raise RuntimeError(TWICE)
        given = [g] if self.outs == 1 else g
        there = [n for n, x in enumerate(given) if x is not None]
        gs = [x if isinstance(x, Tensor) else as_tensor(x) for x in given if x is not None]
        with flambeau.enable_grad():
            inputs = list(self.inputs)
            out = self.joint.gm(*inputs)
            out = out if isinstance(out, (tuple, list)) else (out,)
            wanted = [inputs[i] for i in self.joint.wanted]
            return flambeau.autograd.grad(
                [out[self.joint.kept[n]] for n in there], wanted, gs, create_graph=True, allow_unused=True
            )

    def release(self) -> None:
        self.saved, self.inputs = None, ()


def laid(x: Any, layout: Layout) -> Any:
    """An array as the program was made for it: it believes in strides."""
    if not isinstance(x, np.ndarray):
        return x
    strides = tuple(t * x.itemsize for t in layout.strides)
    if x.flags.aligned and all(n == 1 or s == t for n, s, t in zip(x.shape, x.strides, strides)):
        return x
    if any(t == 0 and n > 1 for n, t in zip(layout.shape, strides)):
        return np.broadcast_to(x, layout.shape)
    made = np.ndarray(
        layout.shape, x.dtype, np.empty(max(1, span(layout.shape, layout.strides)) * x.itemsize, np.uint8), 0, strides
    )
    np.copyto(made, x)
    return made


def _like(gm: GraphModule, inputs: Sequence[Any]) -> list[Any]:
    """What the graph returns, for copies of the inputs."""
    state = flambeau.get_rng_state()
    try:
        out = gm(*(x.clone() if isinstance(x, Tensor) else x for x in inputs))
    finally:
        flambeau.set_rng_state(state)
    return list(out) if isinstance(out, (tuple, list)) else [out]


def _needing(gm: GraphModule, inputs: Sequence[Any], wanted: Sequence[int]) -> list[int]:
    """Which results need gradients."""
    with flambeau.enable_grad():
        xs = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
        xs = [x.requires_grad_() * 1 if i in wanted else x for i, x in enumerate(xs)]
        before = [x._node if isinstance(x, Tensor) else None for x in xs]
        out = gm(*xs)
    if any(isinstance(x, Tensor) and x._node is not held for x, held in zip(xs, before, strict=True)):
        raise Unsupported("an input that is written, and has a history from then on")
    out = out if isinstance(out, (tuple, list)) else (out,)
    return [n for n, t in enumerate(out) if isinstance(t, Tensor) and t.requires_grad]


def split(
    joint: GraphModule, inputs: int, results: int, kept: Sequence[int]
) -> tuple[GraphModule, GraphModule, list[int]]:
    """(forward, backward, the inputs that backward reads). Forward gives the results and then what backward needs."""
    graph = joint.graph
    places = graph.find_nodes(op="placeholder")
    output = list(graph.output_node().args[0])
    outs, grads = output[:results], output[results:]
    tangents = set(places[inputs:])
    late: dict[Line, None] = {}
    for n in graph.nodes:
        if n in tangents or any(a in late for a in n.all_input_nodes):
            late[n] = None
    late.pop(graph.output_node(), None)
    early = [n for n in graph.nodes if n not in late and n.op not in ("placeholder", "output")]
    written = overwritten([*places[:inputs], *early])
    ends = [g for g in grads if isinstance(g, Line)]
    needed = {a: None for n in late for a in n.all_input_nodes if a not in late} | {
        g: None for g in ends if g not in late
    }
    wanted, parts = repeated(list(needed), dict.fromkeys(early), written, [*outs, *grads])
    saved, again = chosen(wanted, set(places), written)
    again |= parts
    if any(s in written and s.op == "placeholder" for s in saved):
        raise Unsupported("backward reads an input that forward overwrites")
    held = [n for n in saved if n.op == "placeholder"]
    made = [n for n in saved if n.op != "placeholder"]
    forward, env = Graph(), dict[Any, Any]()
    for n in [*places[:inputs], *early]:
        env[n] = forward.node_copy(n, lambda x: env[x])
    forward.output(tuple([*(env[o] if isinstance(o, Line) else o for o in outs), *(env[n] for n in made)]))
    backward, back = Graph(), {}
    for n in [*held, *made, *places[inputs:]]:
        back[n] = backward.placeholder(n.name)
        back[n].meta = dict(n.meta)

    def put(n: Line) -> None:
        """A line, after those that it reads: what is computed again waits until it is wanted."""
        stack = [n]
        while stack:
            x = stack[-1]
            wanted = [a for a in x.all_input_nodes if a not in back]
            stack += wanted
            if not wanted:
                stack.pop()
                if x not in back:
                    back[x] = backward.node_copy(x, lambda y: back[y])

    for n in graph.nodes:
        if n in late and n.op != "placeholder":
            put(n)
    for g in ends:
        put(g)
    backward.output(tuple(map_arg(g, lambda x: back[x]) if isinstance(g, Line) else g for g in grads))
    attributes = joint
    first, second = GraphModule(attributes, forward), GraphModule(attributes, backward)
    first.meta["live"] = second.meta["live"] = False
    return first, second, [places.index(n) for n in held]


def following(joint: GraphModule, inputs: int, results: int) -> list[set[int]]:
    """Of each gradient, the gradients of results that it is made of: where none of them is there, it is not, either."""
    tangents = joint.graph.find_nodes(op="placeholder")[inputs:]
    made: dict[Line, set[int]] = {n: {i} for i, n in enumerate(tangents)}
    for n in joint.graph.nodes:
        made.setdefault(n, set().union(*(made[a] for a in n.all_input_nodes)))
    grads = list(joint.graph.output_node().args[0])[results:]
    return [made[g] if isinstance(g, Line) else set() for g in grads]


def repeated(
    needed: list[Line], early: dict[Line, None], written: set[Line], results: Sequence[Any]
) -> tuple[list[Line], set[Line]]:
    """What is saved where checkpointed parts are computed again, and what is.

    What leaves a part is saved if backward needs it; within one, what is drawn or written is.
    """
    outermost: dict[Line, Any] = {}
    for n in early:
        if "part" not in n.meta:  # of a derivative, though no gradient is needed for it
            outermost[n] = next((outermost[a] for a in n.all_input_nodes if outermost.get(a) is not None), None)
        elif n.meta["part"] is not None:
            outermost[n] = n.meta["part"].path[0]
    leaves = {
        n
        for n in outermost
        if n in results or any(u in early and outermost.get(u) is not outermost[n] for u in n.users)
    }
    saved, again = dict[Line, None](), set[Line]()
    stack = [(n, outermost.get(n)) for n in reversed(needed)]
    while stack:
        n, part = stack.pop()
        kept = n in leaves or n in written or (isinstance(n.target, OpOverload) and n.target.is_random)
        if part is None or outermost.get(n) is not part or kept:
            saved[n] = None
        elif n not in again:
            again.add(n)
            stack += [(a, part) for a in n.all_input_nodes]
    return list(saved), again


def chosen(needed: list[Line], places: set[Line], written: set[Line]) -> tuple[list[Line], set[Line]]:
    """What is saved of what backward needs, and what is computed again from that."""
    saved, again = dict.fromkeys(needed), set()
    for n in reversed(needed):
        free = n.op == "get_attr" or _view(n)
        if n.op == "placeholder" or n in written or any(a in written for a in n.all_input_nodes):
            continue
        there = all(a in saved or a in again or a in places for a in n.all_input_nodes)
        if not (free or (there and _cheap(n))):
            continue
        stack, path = [n], set()
        while stack:  # a view of a view: down to what is saved
            x = stack.pop()
            if x in path or (x in saved and x is not n):
                continue
            path.add(x)
            for a in x.all_input_nodes:
                if a in saved or a in again or a in path:
                    continue
                if a.op != "placeholder" and (_view(a) or a.op == "get_attr"):
                    stack.append(a)
                else:
                    saved[a] = None
        del saved[n]
        again |= path
    return list(saved), again


def overwritten(nodes: Sequence[Line]) -> set[Line]:
    """What is written in place, and all that shares memory with it."""
    memory: dict[Line, Line] = {}
    changed: set[Line] = set()
    for n in nodes:
        first = n.args[0] if n.args else None
        writes = isinstance(n.target, OpOverload) and n.target.is_write
        alias = writes or _view(n) or n.op == "call_method" or n.target is operator.getitem
        memory[n] = memory.get(first, first) if alias and isinstance(first, Line) else n
        if writes:
            changed.add(memory[n])
    return {n for n in nodes if memory[n] in changed}


def _view(n: Line) -> bool:
    return isinstance(n.target, OpOverload) and n.target.is_view and not n.target.is_write


def _cheap(n: Line) -> bool:
    """Whether one more pass computes it from what is read anyway."""
    if not isinstance(n.target, OpOverload) or n.target.is_write or n.target.is_random:
        return False
    return n.target.op.kind == "pointwise" and n.target.op.name not in COSTLY

"""The joint graph of a forward and a backward pass as two graphs, and which values the first keeps for the second."""

from __future__ import annotations

import collections
import copy
import math
import operator
import os
from collections.abc import Iterable, Sequence
from typing import Any

from flambeau import Tensor
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node, nodes_in

__all__ = ["default_partition", "draw_graph", "min_cut_rematerialization_partition"]


def _is_primal(node: Node) -> bool:
    return node.op == "placeholder" and not str(node.target).startswith("tangents")


def _is_tangent(node: Node) -> bool:
    return node.op == "placeholder" and str(node.target).startswith("tangents")


def _writes(node: Node) -> bool:
    """Whether a node writes into one of its arguments."""
    return node.op == "call_function" and bool(getattr(getattr(node.target, "_schema", None), "is_mutable", False))


def _results(joint: GraphModule, count: int) -> tuple[list[Any], list[Any]]:
    """(the results of the forward pass, the gradients)."""
    output = next(n for n in reversed(list(joint.graph.nodes)) if n.op == "output")
    values = list(output.args[0])  # type: ignore[arg-type]
    return values[:count], values[count:]


def _extract(graph: Graph, inputs: Sequence[Node], outputs: Sequence[Any]) -> Graph:
    """What computes `outputs` from `inputs`: nodes that need anything else are left out."""
    made = Graph()
    env: dict[Node, Node] = {}
    for node in inputs:
        env[node] = made.placeholder(node.name)
        env[node].meta = node.meta
    for node in graph.nodes:
        if node in env or node.op in ("placeholder", "output"):
            continue
        if all(used in env for used in nodes_in((node.args, node.kwargs))):
            env[node] = made.node_copy(node, lambda n: env[n])
    for x in outputs:
        if isinstance(x, Node) and x not in env:
            raise AssertionError(f"Node {x} was invalid, but is output")
    made.output(tuple(env[x] if isinstance(x, Node) else x for x in outputs))
    made.eliminate_dead_code()
    made.lint()
    return made


def _modules(joint: GraphModule, saved: Iterable[Node], count: int) -> tuple[GraphModule, GraphModule]:
    """Both graphs, where the first hands `saved` on; of these, what the second uses."""
    outs, grads = _results(joint, count)
    primals = [n for n in joint.graph.nodes if _is_primal(n)]
    tangents = [n for n in joint.graph.nodes if _is_tangent(n)]
    saved = list(dict.fromkeys(saved))
    backward = _extract(joint.graph, [*saved, *tangents], grads)
    used = {n.name for n in backward.nodes if n.op == "placeholder" and n.users}
    saved = [n for n in saved if n.name in used]
    backward = _extract(joint.graph, [*saved, *tangents], grads)
    forward = _extract(joint.graph, primals, [*outs, *saved])
    return GraphModule(joint, forward, "GraphModule"), GraphModule(joint, backward, "GraphModule")


def _forward_nodes(joint: GraphModule, count: int) -> list[Node]:
    """The nodes of the forward pass, its inputs among them."""
    outs, _ = _results(joint, count)
    wanted = {n for n in joint.graph.nodes if _writes(n)}
    stack = [x for x in outs if isinstance(x, Node)] + list(wanted)
    while stack:
        for n in nodes_in((stack[-1].args, stack.pop().kwargs)):
            if n not in wanted:
                wanted.add(n)
                stack.append(n)
    wanted |= {x for x in outs if isinstance(x, Node)} | {n for n in joint.graph.nodes if _is_primal(n)}
    late = _after_tangents(joint.graph)
    return [n for n in joint.graph.nodes if n in wanted and n not in late]


def _after_tangents(graph: Graph) -> set[Node]:
    """What depends on gradients of results."""
    late: set[Node] = set()
    for n in graph.nodes:
        if _is_tangent(n) or any(used in late for used in nodes_in((n.args, n.kwargs))):
            late.add(n)
    return late


def default_partition(joint_module: GraphModule, _joint_inputs: Any, *, num_fwd_outputs: int, static_lifetime_input_indices: Any = None,
                      static_lifetime_input_nodes: Any = None, **_: Any) -> tuple[GraphModule, GraphModule]:  # fmt: skip
    """Everything that the results need is computed in the forward pass; what the backward pass takes from it is kept.

    Returns: the forward graph, which gives the results and what is kept; the backward graph, of what is kept and of the gradients.
    """
    nodes = _forward_nodes(joint_module, num_fwd_outputs)
    inside = set(nodes)
    saved: list[Node] = []
    for n in nodes:
        if n.op == "call_function" and any(u.target is operator.getitem for u in n.users):
            saved += [u for u in n.users if u.target is operator.getitem]  # of several results, those that are used
        elif n.op != "get_attr" and any(u not in inside for u in n.users):
            saved.append(n)
    return _modules(joint_module, saved, num_fwd_outputs)


# ---------------------------------------------------------------- less memory


def _cheap(node: Node) -> bool:
    """Whether computing a node again costs no more than reading what it gives."""
    op = getattr(node.target, "op", None)
    if node.op != "call_function" or op is None or _writes(node) or node.target.is_random:  # type: ignore[union-attr]
        return False
    return op.kind == "pointwise" or op.view or "factory" in op.variants


def _bytes(node: Node) -> float:
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return float(value.numel() * value.element_size())
    return math.inf if isinstance(value, (list, tuple)) else 0.0


def min_cut_rematerialization_partition(joint_module: GraphModule, _joint_inputs: Any, compiler: str = "inductor", *, num_fwd_outputs: int,
                                        static_lifetime_input_indices: Any = None, **_: Any) -> tuple[GraphModule, GraphModule]:  # fmt: skip
    """As few bytes as possible are kept for the backward pass: what is cheap to compute is computed again there.

    The values to keep are a minimal cut between the inputs and what the backward pass takes, in a network whose capacities are sizes;
    elementwise operators and views may stand behind the cut, nothing else.
    """
    nodes = _forward_nodes(joint_module, num_fwd_outputs)
    inside, late = set(nodes), _after_tangents(joint_module.graph)
    early = [n for n in joint_module.graph.nodes if n not in late and n.op != "output"]
    network: dict[Any, dict[Any, float]] = collections.defaultdict(dict)
    outs, grads = _results(joint_module, num_fwd_outputs)
    taken = {x for n in late for x in nodes_in((n.args, n.kwargs)) if x not in late}
    taken |= {g for g in grads if isinstance(g, Node) and g not in late}
    for n in early:
        if n.op == "get_attr":
            continue
        network[n, "in"][n, "out"] = _bytes(n)
        if _is_primal(n) or (n in inside and not _cheap(n)) or not _cheap(n):
            network["source"][n, "in"] = math.inf
        if n in taken:
            network[n, "out"]["sink"] = math.inf
        for used in nodes_in((n.args, n.kwargs)):
            network[used, "out"][n, "in"] = math.inf
    reached = _minimal_cut(network)
    saved = [n for n in early if (n, "in") in reached and (n, "out") not in reached]
    forward, backward = _modules(joint_module, saved, num_fwd_outputs)
    backward.graph = _put_off(backward.graph)
    return forward, backward


def _put_off(graph: Graph) -> Graph:
    """What is computed again stands just before its first use."""
    made, env = Graph(), dict[Node, Node]()
    late, place = _after_tangents(graph), {n: i for i, n in enumerate(graph.nodes)}

    def put(node: Node) -> None:
        waiting, needed = [node], set[Node]()
        while waiting:
            for used in nodes_in((waiting[-1].args, waiting.pop().kwargs)):
                if used not in env and used not in needed:
                    needed.add(used)
                    waiting.append(used)
        for n in sorted(needed, key=place.__getitem__) + [node]:
            env[n] = made.node_copy(n, lambda x: env[x])

    for node in graph.nodes:
        if node not in env and (node.op in ("placeholder", "output") or node in late):
            put(node)
    made.lint()
    return made


def _minimal_cut(network: dict[Any, dict[Any, float]]) -> set[Any]:
    """The side of the source of a minimal cut, by shortest augmenting paths."""
    left: dict[Any, dict[Any, float]] = collections.defaultdict(dict)
    for a, ends in network.items():
        for b, capacity in ends.items():
            left[a][b] = left[a].get(b, 0.0) + capacity
            left[b].setdefault(a, 0.0)
    while True:
        before: dict[Any, Any] = {"source": None}
        queue = collections.deque(["source"])
        while queue and "sink" not in before:
            a = queue.popleft()
            for b, capacity in left[a].items():
                if capacity > 0 and b not in before:
                    before[b] = a
                    queue.append(b)
        if "sink" not in before:
            return set(before)
        path, at = [], "sink"
        while before[at] is not None:
            path.append((before[at], at))
            at = before[at]
        flow = min(left[a][b] for a, b in path)
        if flow == math.inf:
            raise RuntimeError(
                "Nothing separates the inputs from the backward pass: a value of unknown size must be kept"
            )
        for a, b in path:
            left[a][b] -= flow
            left[b][a] += flow


def draw_graph(traced: Any, fname: str, figname: str = "fx_graph", clear_meta: bool = True, prog: Any = None, parse_stack_trace: bool = False,
               dot_graph_shape: str | None = None) -> None:  # fmt: skip
    """Write a picture of a graph, in the format that the file's name says (SVG where it says none); with the package pydot."""
    from flambeau.fx.passes.graph_drawer import FxGraphDrawer

    if clear_meta:
        traced = GraphModule(traced, copy.deepcopy(traced.graph))
        for node in traced.graph.nodes:
            node.meta = {}
    base, ext = os.path.splitext(fname)
    ext = ext or ".svg"
    picture = FxGraphDrawer(
        traced, figname, parse_stack_trace=parse_stack_trace, dot_graph_shape=dot_graph_shape
    ).get_main_dot_graph()
    if ext in (".dot", ".raw"):
        picture.write(base + ext)
    else:
        getattr(picture, "write_" + ext[1:])(base + ext, **({} if prog is None else {"prog": prog}))

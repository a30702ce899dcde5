"""A graph whose sizes change -> a function that makes, and keeps, one native program for each combination of sizes that it meets.

The capture, its guards and its graph serve all sizes. So does the plan of a program (`planner`): which kernels, how work is cut and where
results lie follow from the sizes alone, by comparisons that come out alike for all sizes of a kind. A new size of a known kind fills in
numbers. Kernels take sizes at run time, so it compiles nothing, and gives the same bits whatever came before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from flambeau._capture.shared import uncounted
from flambeau._capture.sizes import Atom, evaluate
from flambeau._eager import large
from flambeau._ground import dumps
from flambeau._ops import OpOverload
from flambeau._tensor import Tensor, wrap
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node, map_aggregate

KINDS = 16  # templates of one graph
KEPT = 64  # programs of one graph; the oldest goes first
_NUMERIC = frozenset(("Scalar", "float", "Scalar | None", "float | None"))


class Sized:
    """The programs of a graph, by sizes."""

    writes = True  # without eager operators, which count versions

    def __init__(self, gm: GraphModule, make: Callable[[GraphModule, Sequence[Any]], Callable[..., Any]]) -> None:
        self.gm, self.make = gm, make
        self.atoms: dict[Atom, tuple[int, int]] = gm.meta[
            "atoms"
        ]  # where a call's inputs tell each: (input, dim or -1)
        places = gm.graph.find_nodes(op="placeholder")
        self.places = {n: i for i, n in enumerate(places)}
        self.numbers = sorted({self.places[n] for n in _structural(gm) if n in self.places})
        self.sizes: dict[int, Any] = gm.meta["sizes"]  # inputs that are made of these
        self.keys = sorted({*self.atoms.values(), *((i, -1) for i in self.numbers if i not in self.sizes)})
        self.programs: OrderedDict[tuple[int, ...], Callable[..., Any]] = OrderedDict()
        self.templates: list[Any] | None = None if gm.meta["live"] or not large.available() else []

    def __call__(self, *inputs: Any) -> Any:
        key = tuple([inputs[i]._a.shape[d] if d >= 0 else inputs[i] for i, d in self.keys])
        program = self.programs.get(key)
        if program is None:
            program = self.programs[key] = self.program(key, inputs)
            if len(self.programs) > KEPT:
                self.programs.popitem(last=False)
        return program(*inputs)

    def program(self, key: Sequence[int], inputs: Sequence[Any]) -> Any:
        """The program for these sizes: by a template, or made for them alone."""
        made = self.by_template(key)
        if made is None and self.templates is not None and len(self.templates) < KINDS:
            self.plan(key)
            made = self.by_template(key)
        if made is not None:
            return made
        gm = self.concrete(inputs)
        run = self.make(gm, inputs)
        return run if getattr(run, "writes", False) else uncounted(run, gm)

    def by_template(self, key: Sequence[int]) -> Any:
        from flambeau._capture.lower import Compiled

        for t in self.templates or ():
            blueprint = t.at(key)
            if blueprint is not None:
                return Compiled(lambda: self.at(key), (), blueprint).call
        return None

    def plan(self, key: Sequence[int]) -> None:
        """One template more, for the kind that these sizes are of. Where there is none, programs are made for each size."""
        from flambeau._capture.lower import planned
        from flambeau._capture.planner import Planner

        assert self.templates is not None
        planner = Planner()
        low = {at: a.low for a, at in self.atoms.items()}
        given = {at: planner.argument(n, low.get(at), at[1] >= 0) for n, at in zip(key, self.keys, strict=True)}
        try:
            graph, standing = self.placed(given)
            self.templates.append(planned(self.gm, graph, standing, planner))
        except Exception as problem:
            if dumps.wanted("dynamic"):
                dumps.say(f"# a program for each size: {problem!r}")
            self.templates = None

    def concrete(self, inputs: Sequence[Any]) -> GraphModule:
        """The graph for the sizes of these inputs."""
        return self.at([inputs[i]._a.shape[d] if d >= 0 else inputs[i] for i, d in self.keys])

    def at(self, key: Sequence[int]) -> GraphModule:
        """The graph for these sizes."""
        made = GraphModule(self.gm, self.placed(dict(zip(self.keys, key, strict=True)))[0])
        made.meta["live"] = self.gm.meta["live"]
        return made

    def placed(self, given: dict[tuple[int, int], Any]) -> tuple[Graph, list[Any]]:
        """The graph for sizes, which may be expressions; and what stands for its inputs."""
        values = {a: given[at] for a, at in self.atoms.items()}
        graph, env = Graph(), dict[Node, Node]()
        known = {}
        for n, i in self.places.items():
            if i in self.numbers:
                known[n] = evaluate(self.sizes[i], values) if i in self.sizes else given[i, -1]
        for node in self.gm.graph.nodes:
            made = env[node] = graph.node_copy(node, lambda x: env[x])
            made.meta = {k: _at(v, values) if k == "val" else v for k, v in node.meta.items()}
            if node.op == "call_function" and known:
                numeric = _numeric(node)
                put = lambda a: map_aggregate(a, lambda x: known.get(x, env[x]) if isinstance(x, Node) else x)
                made.args = tuple(
                    a if i in numeric else b for i, (a, b) in enumerate(zip(made.args, put(node.args), strict=True))
                )
                made.kwargs = {k: made.kwargs[k] if k in numeric else v for k, v in put(node.kwargs).items()}
        return graph, [env[n].meta["val"] if "number" not in n.meta else n.meta["val"] for n in self.places]


def _numeric(node: Node) -> set[Any]:
    """The arguments (by place, or by name) in which a number is one that kernels are given."""
    target: Any = node.target
    if not isinstance(target, OpOverload):
        return set()
    found: set[Any] = set()
    counts = target.op.module.endswith(".create")  # arange and its kind: numbers say how many
    for i, p in enumerate(target.op.params):
        if p.is_tensor or (p.annotation in _NUMERIC and not (counts and p.name != "fill_value")):
            found |= {i, p.name}
    return found


def numbered(gm: GraphModule) -> bool:
    """Whether numbers among the inputs say which part of a tensor is meant, or how large one is."""
    return bool(_structural(gm))


def _structural(gm: GraphModule) -> set[Node]:
    """Inputs on which the graph's sizes depend."""
    found: set[Node] = set()
    for node in gm.graph.nodes:
        if node.op == "call_function":
            numeric = _numeric(node)
            for k, a in (*enumerate(node.args), *node.kwargs.items()):
                if k not in numeric:
                    map_aggregate(a, lambda x: found.add(x) if isinstance(x, Node) and "number" in x.meta else None)
    return found


def _at(val: Any, values: dict[Atom, int]) -> Any:
    """What a node gives, at other sizes."""
    from flambeau._backends.meta import MetaArray

    if isinstance(val, tuple):
        return tuple(_at(v, values) for v in val)
    if not isinstance(val, Tensor):
        return val
    a = val._a
    made = wrap(MetaArray(evaluate(tuple(a.shape), values), a.dtype, evaluate(tuple(a.strides), values)))
    if val._node is not None:
        made._node = val._node
    return made


__all__ = ["Sized"]

"""Makes a graph that fails smaller, as long as it fails."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flambeau
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.interpreter import Interpreter
from flambeau.fx.node import Node

__all__ = ["dump_state", "minifier"]

Failing = tuple[GraphModule, list[Any]]


def dump_state(fx_g: GraphModule, inps: Sequence[Any]) -> None:
    """Print a graph and the inputs with which it fails, as a program."""
    print(
        f"\n# Working Repro with {len(fx_g.graph.nodes)} nodes\ninps = {[(i.shape, i.dtype, i.device.type) for i in inps]}\n"
        f"inps = [torch.zeros(())] + [torch.ones(shape, dtype=dtype, device=device) for (shape, dtype, device) in inps]\n{fx_g.code}\n"
    )


def minifier(fail_f: GraphModule, inps: Sequence[Any], module_fails: Callable[[GraphModule, Sequence[Any]], bool],
             dump_state: Callable[..., Any] = dump_state, *, save_dir: str | None = None, offload_to_disk: bool = False,
             skip_offload: bool = False, skip_sanity: bool = False, max_granularity: int | None = None) -> Failing:  # fmt: skip
    """The smallest graph found in which `module_fails(graph, inputs)` still holds, and its inputs.

    Nodes are cut off at the end, results are left out, and nodes become inputs with the values that they have; each step is kept where the
    failure is still there.

    Raises:
        RuntimeError: the graph does not fail as it is.
    """
    for given in inps:
        if not isinstance(given, flambeau.Tensor):
            raise RuntimeError(f"the minifier takes tensors, not {type(given).__name__}")
    queries = 0

    def fails(graph: GraphModule, given: list[Any]) -> bool:
        nonlocal queries
        queries += 1
        try:
            return bool(module_fails(copy.deepcopy(graph), [x.clone() for x in given]))
        except Exception:  # another failure than the one that is looked for
            return False

    now, given = GraphModule(fail_f, copy.deepcopy(fail_f.graph)), list(inps)
    if not skip_sanity and not fails(now, given):
        raise RuntimeError("Input graph did not fail the tester")
    print(f"Started off with {len(fail_f.graph.nodes)} nodes")
    smaller = True
    while smaller:
        smaller = False
        for way in (_cut_off, _fewer_results, _unused_inputs, _into_inputs):
            for graph, values in way(now, given):
                if len(graph.graph.nodes) < len(now.graph.nodes) or len(_work(graph)) < len(_work(now)):
                    if fails(graph, values):
                        print(f"SUCCESS: Went from {len(now.graph.nodes)} to {len(graph.graph.nodes)} nodes")
                        now, given, smaller = graph, values, True
                        if save_dir is not None:
                            os.makedirs(save_dir, exist_ok=True)
                        break
            if smaller:
                break
    print(f"Made {queries} queries")
    dump_state(now, given)
    return now, given


def _work(gm: GraphModule) -> list[Node]:
    return [n for n in gm.graph.nodes if n.op not in ("placeholder", "output", "get_attr")]


def _copied(gm: GraphModule) -> tuple[GraphModule, dict[str, Node], Node]:
    made = GraphModule(gm, copy.deepcopy(gm.graph))
    named = {n.name: n for n in made.graph.nodes}
    return made, named, next(n for n in made.graph.nodes if n.op == "output")


def _done(gm: GraphModule) -> GraphModule:
    gm.graph.eliminate_dead_code()
    gm.graph.lint()
    gm.recompile()
    return gm


def _cut_off(gm: GraphModule, given: list[Any]) -> Iterator[Failing]:
    """What a node in the middle gives is the result."""
    nodes = _work(gm)
    for n in (
        nodes[k] for k in (len(nodes) // 4, len(nodes) // 2, 3 * len(nodes) // 4, -2) if -len(nodes) <= k < len(nodes)
    ):
        made, named, output = _copied(gm)
        output.args = ((named[n.name],),)
        yield _done(made), given


def _fewer_results(gm: GraphModule, given: list[Any]) -> Iterator[Failing]:
    """Some of the results."""
    results = next(n for n in gm.graph.nodes if n.op == "output").args[0]
    if isinstance(results, (tuple, list)) and len(results) > 1:
        half = len(results) // 2
        for kept in (range(half), range(half, len(results)), *([i] for i in range(len(results)))):
            made, _, output = _copied(gm)
            output.args = (tuple(output.args[0][i] for i in kept),)  # type: ignore[index, union-attr]
            yield _done(made), given


def _unused_inputs(gm: GraphModule, given: list[Any]) -> Iterator[Failing]:
    """Without inputs that nobody uses."""
    made, _, _ = _copied(gm)
    kept = []
    for n, x in zip([n for n in made.graph.nodes if n.op == "placeholder"], given, strict=True):
        if n.users:
            kept.append(x)
        else:
            made.graph.erase_node(n)
    if len(kept) < len(given):
        yield _done(made), kept


class _Values(Interpreter):
    """Runs a graph and keeps what its nodes give."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, garbage_collect_values=False)


def _into_inputs(gm: GraphModule, given: list[Any]) -> Iterator[Failing]:
    """Nodes, first many and then fewer, as inputs with the values that they have."""
    runner = _Values(gm)
    try:
        with flambeau.no_grad():
            runner.run(*(x.clone() for x in given))
    except Exception:  # the graph itself fails: then the values that are known
        pass
    known = {n.name: v for n, v in runner.env.items() if isinstance(v, flambeau.Tensor)}
    names = [n.name for n in _work(gm) if n.name in known]
    step = max(1, len(names) // 2)
    while step:
        for start in range(0, len(names), step):
            made, named, _ = _copied(gm)
            values = list(given)
            for name in names[start : start + step]:
                node = named[name]
                last = [n for n in made.graph.nodes if n.op == "placeholder"]
                with (
                    made.graph.inserting_after(last[-1])
                    if last
                    else made.graph.inserting_before(next(iter(made.graph.nodes)))
                ):
                    fresh = made.graph.placeholder(name + "_given")
                node.replace_all_uses_with(fresh)
                made.graph.erase_node(node)
                values.append(known[name].detach())
            yield _done(made), values
        step //= 2

"""torch.fx.passes: supports, partitions, matchers and managers; what splitting, rewriting and interpreting say and do."""

import importlib
import operator

import pytest


def passes(fl, name):
    return importlib.import_module(f"{fl.__name__}.fx.passes.{name}")


def net(fl):
    class Net(fl.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = fl.nn.Linear(3, 3)
            self.weight = fl.nn.Parameter(fl.ones(3))

        def forward(self, x):
            a = fl.relu(self.layer(x))
            b = fl.sigmoid(a + self.weight)
            d = fl.add(a, b.neg())
            e, f = fl.chunk(d, 2)
            return fl.relu(d) * e.sum() + f.sum()

    fl.manual_seed(0)
    return fl.fx.symbolic_trace(Net())


def shaped(fl):
    g = net(fl)
    passes(fl, "shape_prop").ShapeProp(g).propagate(fl.ones(2, 3))
    return g


def code(module):
    return module.code.replace("flambeau", "torch")


def test_what_is_supported(agree):
    def program(fl, support):
        g = shaped(fl)
        named = dict(g.named_modules())
        return [(n.name, support(passes(fl, "operator_support")).is_node_supported(named, n)) for n in g.graph.nodes]

    agree(
        lambda fl: [
            passes(fl, "tools_common").get_node_target(dict(g.named_modules()), n)
            for g in [net(fl)]
            for n in g.graph.nodes
            if n.op.startswith("call")
        ]
    )
    table = lambda fl: {
        "torch.relu": None,
        "_operator.add": ([[fl.float32], [fl.float64]], {}),
        "torch.nn.modules.linear.Linear": ([[fl.float32]], {}),
        "neg": None,
    }
    agree(lambda fl: program(fl, lambda s: s.OperatorSupport(table(fl))))
    functions = lambda s: s.create_op_support(lambda _, n: n.op == "call_function")
    agree(lambda fl: program(fl, functions))
    agree(lambda fl: program(fl, lambda s: s.chain(functions(s), s.OpSupports.decline_if_node_in_names({"add"}))))
    agree(lambda fl: program(fl, lambda s: s.any_chain(functions(s), s.OpSupports.decline_if_input_dtype(fl.float32))))


SUPPORTED = {
    "all": lambda n: True,
    "functions": lambda n: n.op == "call_function",
    "nothing": lambda n: False,
    "sums": lambda n: "add" in n.name or "relu" in n.name,
    "no sigmoid": lambda n: "sigmoid" not in n.name,
    "no chunk": lambda n: "chunk" not in n.name,
}


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("name", SUPPORTED)
def test_partitions(agree, name, alone):
    def program(fl):
        g, x = net(fl), fl.arange(6.0).reshape(2, 3)
        before = g(x)
        support = passes(fl, "operator_support").create_op_support(
            lambda _, n: n.op.startswith("call") and SUPPORTED[name](n)
        )
        made = passes(fl, "infra.partitioner").CapabilityBasedPartitioner(
            g, support, allows_single_node_partition=alone
        )
        groups = made.propose_partitions()
        nodes = [[n.name for n in passes(fl, "utils.fuser_utils").topo_sort(list(p.nodes))] for p in groups]
        fused = made.fuse_partitions(groups)
        fused.recompile()
        return (
            nodes,
            code(fused),
            {n: code(m) for n, m in fused.named_children() if hasattr(m, "code")},
            bool((fused(x) == before).all()),
        )

    agree(program)


def test_a_partition_that_is_none(agree):
    def program(fl):
        g = net(fl)
        passes(fl, "utils.fuser_utils").fuse_as_graphmodule(
            g, [n for n in g.graph.nodes if n.name in ("relu", "add_1")], "part"
        )

    agree(program, raises=AssertionError)


PATTERNS = {
    "each": (lambda fl, a: fl.relu(a), lambda fl, x: fl.relu(fl.relu(x)), {}),
    "two of three": (lambda fl, a: fl.relu(fl.relu(a)), lambda fl, x: fl.relu(fl.relu(fl.relu(x))), {}),
    "overlapping": (lambda fl, a: fl.relu(fl.relu(a)), lambda fl, x: fl.relu(fl.relu(fl.relu(x))), {"remove_overlapping_matches": False}),
    "used outside": (lambda fl, a: fl.relu(fl.neg(a)), lambda fl, x: fl.relu(fl.neg(x)) + x, {}),
    "other number": (lambda fl, a: a + 1, lambda fl, x: x + 2, {}),
    "any number": (lambda fl, a: a + 1, lambda fl, x: x + 2, {"ignore_literals": True}),
    "whole": (lambda fl, a: fl.relu(a), lambda fl, x: fl.neg(fl.relu(x)), {"match_output": True}),
    "keywords": (lambda fl, a: fl.sum(a, dim=1), lambda fl, x: fl.sum(x, dim=1) + fl.sum(x, dim=0), {}),
    "placeholders": (lambda fl, a: fl.relu(a), lambda fl, x: fl.relu(x.neg()), {"match_placeholder": True}),
}  # fmt: skip


def traced(fl, fn):
    return fl.fx.symbolic_trace(lambda x: fn(fl, x))


@pytest.mark.parametrize("name", PATTERNS)
def test_matches(agree, name):
    pattern, function, options = PATTERNS[name]

    def program(fl):
        matcher = passes(fl, "utils.matcher_utils").SubgraphMatcher(traced(fl, pattern).graph, **options)
        found = matcher.match(traced(fl, function).graph)
        return [
            (
                {str(p): str(n) for p, n in m.nodes_map.items()},
                *(list(map(str, ns)) for ns in (m.placeholder_nodes, m.returning_nodes, m.anchors)),
            )
            for m in found
        ]

    agree(program)


def test_graphs_that_are_alike_and_graphs_in_order(agree):
    def program(fl):
        common, tools = passes(fl, "utils.common"), passes(fl, "tools_common")
        lifted, names = common.lift_subgraph_as_module((g := net(fl)), g.graph, "part", "Part")
        return (
            common.compare_graphs(net(fl).graph, net(fl).graph),
            common.compare_graphs(traced(fl, lambda fl, x: x + 1).graph, traced(fl, lambda fl, x: x + 2).graph),
            (code(lifted), type(lifted).__name__, names),
            [n.name for n in tools.legalize_graph(net(fl)).graph.nodes],
            [n.name for n in tools.stable_topological_sort(net(fl)).graph.nodes],
        )

    agree(program)


def test_managers(agree):
    def program(fl):
        base, manager = passes(fl, "infra.pass_base"), passes(fl, "infra.pass_manager")

        class Negated(base.PassBase):
            def call(self, module):
                found = [n for n in module.graph.nodes if n.target is fl.relu]
                for n in found:
                    n.target = fl.neg
                return base.PassResult(module, bool(found))

        def nothing(module):
            return base.PassResult(module, False)

        def wrong(module):
            return module

        changed = manager.PassManager([Negated(), nothing], steps=3)(net(fl))
        sorted_ = manager.PassManager([nothing, wrong], [manager.this_before_that_pass_constraint(wrong, nothing)])
        sorted_.solve_constraints()
        facts = [
            changed.modified,
            code(changed.graph_module),
            [p.__name__ for p in sorted_.passes],
            manager.pass_result_wrapper(wrong)(net(fl)).modified,
        ]
        for passes_ in ([nothing, wrong], [nothing, lambda m: 1 / 0]):
            try:
                manager.PassManager(passes_)(net(fl))
            except Exception as error:
                facts.append((type(error).__name__, str(error), type(error.__cause__).__name__, str(error.__cause__)))
        return facts

    agree(program)


@pytest.mark.parametrize("options", [{}, {"keep_original_order": True}, {"partition_affix": "p"}], ids=str)
@pytest.mark.parametrize("size", [1, 3, 4])
def test_split_modules_take_parameters(agree, size, options):
    def program(fl):
        g, x = net(fl), fl.ones(2, 3)
        count, names = iter(range(1000)), {}
        made = passes(fl, "split_module").split_module(g, g, lambda n: next(count) // size, names, **options)
        return (
            {n: code(m) for n, m in made.named_modules() if hasattr(m, "code")},
            names,
            sorted(made.state_dict()),
            made(x),
        )

    agree(program)


def test_splits_in_a_circle(agree):
    def program(fl):
        g, count = net(fl), iter(range(1000))
        passes(fl, "split_module").split_module(g, g, lambda n: next(count) % 2)

    agree(program, raises=RuntimeError)


REWRITTEN = {
    "overlapping": (lambda fl, a: fl.relu(fl.relu(a)), lambda fl, a: fl.relu(a), lambda fl, x: fl.relu(fl.relu(fl.relu(x)))),
    "chained": (lambda fl, a: fl.neg(a), lambda fl, a: fl.abs(fl.neg(a)), lambda fl, x: fl.neg(fl.neg(x))),
    "absent": (lambda fl, a: fl.neg(a), lambda fl, a: a, lambda fl, x: fl.relu(x)),
    "numbers": (lambda fl, a: a + 1, lambda fl, a: a + 2, lambda fl, x: (x + 1) * (x + 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", REWRITTEN)
def test_rewritten(agree, name):
    pattern, new, function = REWRITTEN[name]

    def program(fl):
        g = traced(fl, function)
        found = fl.fx.replace_pattern(g, lambda a: pattern(fl, a), lambda a: new(fl, a))
        return code(g), [(str(m.anchor), {str(a): str(b) for a, b in m.nodes_map.items()}) for m in found]

    agree(program)


def test_an_interpreter_tells_the_node(agree):
    agree(lambda fl: fl.fx.Interpreter(net(fl)).run(fl.ones(2, 9)), raises=RuntimeError)
    agree(lambda fl: fl.fx.Interpreter(net(fl)).run(), raises=RuntimeError)

    def program(fl):
        class Lost(fl.fx.Interpreter):
            def call_function(self, target, args, kwargs):
                return {}["key"] if target is operator.add else super().call_function(target, args, kwargs)

        Lost(net(fl)).run(fl.ones(2, 3))

    agree(program, raises=RuntimeError)

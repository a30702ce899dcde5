"""Targets replaced, and the sizes of nodes."""

import importlib

from tests.agree import rand


def test_sizes_and_targets(agree):
    def run(fl, x):
        passes = importlib.import_module(f"{fl.__name__}.fx.passes.graph_manipulation")

        class Net(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = fl.nn.Linear(4, 3).double()

            def forward(self, x):
                return fl.relu(self.linear(x)).sum()

        gm = fl.fx.symbolic_trace(Net())
        passes.get_size_of_all_nodes(gm, [x])
        sizes = [(n.name, tuple(n.size_bytes)) for n in gm.graph.nodes if n.op != "output"]
        passes.replace_target_nodes_with(gm, "call_function", fl.relu, "call_function", fl.sigmoid)
        return sizes, [(n.op, n.name) for n in gm.graph.nodes], any(n.target is fl.sigmoid for n in gm.graph.nodes)

    agree(run, rand(5, 4))


def test_shapes_are_needed(agree):
    def run(fl, x):
        passes = importlib.import_module(f"{fl.__name__}.fx.passes.graph_manipulation")
        passes.get_size_of_all_nodes(fl.fx.symbolic_trace(lambda x: x + 1))

    agree(run, rand(2), raises=RuntimeError)

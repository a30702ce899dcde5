"""Pictures of graphs: what is asked of pydot."""

import importlib
import sys
import types

import pytest


class Box:
    """A thing of pydot's: what it was made with."""

    def __init__(self, *args, **given):
        self.made, self.nodes, self.edges = (args, given), [], []

    def add_node(self, node):
        self.nodes.append(node.made)

    def add_edge(self, edge):
        self.edges.append(edge.made)


@pytest.fixture
def pydot(monkeypatch):
    module = types.ModuleType("pydot")
    module.Dot = module.Node = module.Edge = module.Cluster = Box
    monkeypatch.setitem(sys.modules, "pydot", module)
    for name in ("torch", "flambeau"):
        monkeypatch.delitem(sys.modules, f"{name}.fx.passes.graph_drawer", raising=False)


def net(fl):
    class Scale(fl.nn.Module):
        __constants__ = ["by"]

        def __init__(self):
            super().__init__()
            self.by, self.w = 2, fl.nn.Parameter(fl.ones(3))
            self.register_buffer("seen", fl.zeros(2))

        def forward(self, x):
            return x * self.by * self.w

    class Leaves(fl.fx.Tracer):
        def is_leaf_module(self, m, name):
            return True

    class Net(fl.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = Scale()
            self.weight = fl.nn.Parameter(fl.ones(3))

        def forward(self, x):
            a = fl.relu(self.scale(x))
            b = fl.sigmoid(a + self.weight)
            return b.reshape(3, -1).sum(dim=0) + fl.cat([x.flatten()] * 10).sum(), b.max(1)

    m = Net()
    g = fl.fx.GraphModule(m, Leaves().trace(m))
    importlib.import_module(f"{fl.__name__}.fx.passes.shape_prop").ShapeProp(g).propagate(fl.ones(2, 3))
    return g


@pytest.mark.parametrize("how", [{}, {"ignore_getattr": True, "ignore_parameters_and_buffers": True}, {"skip_node_names_in_args": False, "dot_graph_shape": "box"}], ids=str)  # fmt: skip
def test_what_is_drawn(agree, pydot, how):
    def program(fl):
        drawer = importlib.import_module(f"{fl.__name__}.fx.passes.graph_drawer").FxGraphDrawer
        dot = drawer(net(fl), "net", **how).get_dot_graph()
        return [
            repr((a, sorted(k.items()))).replace("flambeau", "torch") for a, k in (dot.made, *dot.nodes, *dot.edges)
        ]

    agree(program, grads=0)


def test_without_pydot(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydot", None)
    import flambeau
    from flambeau.fx.passes.graph_drawer import FxGraphDrawer

    with pytest.raises(RuntimeError, match="requires the pydot package"):
        FxGraphDrawer(net(flambeau), "net")

"""Graphs of TorchScript as programs read them: what ran, with shapes and scopes; casts by methods."""

import pytest

from tests.agree import rand


def read(fl, graph):
    """What fvcore and its kin ask of a graph."""
    return [
        (
            n.kind(),
            n.scopeName(),
            len(list(n.inputs())),
            [v.type().sizes() for v in n.outputs() if v.isCompleteTensor()],
        )
        for n in graph.nodes()
        if not n.kind().startswith("prim::")
    ]


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of what its tracer does not see
def test_trace_graph(agree):
    """Outermost operators, parameters and buffers as inputs, modules that say where they begin."""

    def program(fl, x):
        nn = fl.nn
        net = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3)
        ).double()
        for name, module in net.named_modules():
            module.register_forward_pre_hook(lambda m, a, name=name: fl._C._get_tracing_state().push_scope(name))
            module.register_forward_hook(lambda m, a, out: fl._C._get_tracing_state().pop_scope())
        graph, out = fl.jit._get_trace_graph(net, (x.detach(),))
        convolution = graph.findAllNodes("aten::_convolution")[0]
        inputs = [
            (v.type().kind(), v.type().sizes() if v.isCompleteTensor() else v.toIValue()) for v in convolution.inputs()
        ]
        return (
            read(fl, graph), inputs, [v.type().sizes() for v in graph.inputs()], tuple(out.shape), fl._C._get_tracing_state() is None,
            [str(v.type()) for v in graph.outputs()], isinstance(graph, fl._C.Graph), convolution.output().node() == convolution,
        )  # fmt: skip

    agree(program, rand(2, 1, 4, 4), grads=0)


def test_trace_graph_of_a_function(agree):
    def program(fl, x):
        graph, out, given = fl.jit._get_trace_graph(
            lambda a: (a.chunk(2)[0] * 2 + 1).sum(), x.detach(), return_inputs=True
        )
        return [k for k, *_ in read(fl, graph)], out, len(given)

    agree(program, rand(4, 3), grads=0)


CASTS = ("float", "double", "half", "long", "int", "short", "char", "byte", "cfloat", "cdouble")


def cast(torch, name):
    """A function whose file is its own source."""
    import linecache

    text = f"def f(x: torch.Tensor):\n    return x.{name}()\n"
    scope = {"torch": torch, "__name__": __name__}
    path = f"<cast {name} of {torch.__name__}>"
    linecache.cache[path] = (len(text), None, text.splitlines(True), path)
    exec(compile(text, path, "exec"), scope)
    return scope["f"]


@pytest.mark.parametrize("name", CASTS)
def test_casts_by_methods(name):
    import flambeau as fl

    x = fl.tensor([1.5, -2.0, 3.0]).abs()
    scripted = fl.jit.script(cast(fl, name))
    assert fl.equal(scripted(x), getattr(x, name)())
    assert "torch.to(x, " in scripted.code
    node = scripted.graph.findNode("aten::to")
    assert node.inputsAt(0).debugName() == "x" and node.kind() == "aten::to" and node.outputsSize() == 1
    assert [type(v.toIValue()) for v in node.inputs()][1:4] == [int, bool, bool]

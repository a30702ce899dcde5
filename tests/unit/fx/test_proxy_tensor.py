"""Graphs that are run and recorded once more, with operators taken apart."""

import importlib

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")


def tools(fl):
    return importlib.import_module(f"{fl.__name__}.fx.experimental.proxy_tensor")


def example(fl):
    return tools(fl).make_fx(lambda x, y: (fl.ops.aten.silu(x) + fl.ops.aten.addcmul(x, y, y), y.sum()))(
        fl.ones(2, 3), fl.ones(3)
    )


def table(fl):
    aten = fl.ops.aten
    return {
        aten.silu.default: lambda x: x * aten.sigmoid(x),
        aten.addcmul.default: lambda x, a, b, value=1: x + value * a * b,
    }


@pytest.mark.parametrize("apart", [True, False])
def test_a_graph_is_written_into_another(agree, apart):
    def program(fl):
        made, graph = example(fl), fl.fx.Graph()
        again = tools(fl).DecompositionInterpreter(made, graph, table(fl) if apart else None)
        out = again.run(fl.full((2, 3), 0.5), fl.ones(3))
        graph.eliminate_dead_code()  # PyTorch makes tensors that nobody uses
        return str(graph), out, fl.fx.GraphModule(made, graph)(fl.full((2, 3), 0.5), fl.ones(3))

    agree(program)


@pytest.mark.parametrize("joint", [True, False])
def test_some_nodes_are_taken_apart(agree, joint):
    def program(fl):
        args = (fl.ones(2, 3), fl.ones(3))
        some = tools(fl).selective_decompose(example(fl), *args, decomposition=table(fl), trace_joint_graph=joint,
                                             should_decompose=lambda n: "silu" in n.name)  # fmt: skip
        return str(some.graph), some(*args)

    agree(program)


def test_tracing_through_modules(agree):
    def program(fl):
        class Net(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.w, self.k = fl.nn.Parameter(fl.ones(3)), 4

            def forward(self, x):
                unused = x * 2  # noqa: F841
                return fl.relu(x * self.w) * self.k + free

        free = fl.nn.Parameter(fl.ones(3))
        tracer = tools(fl).PythonKeyTracer()
        made = tools(fl).dispatch_trace(Net(), tracer)
        named = tools(fl).dispatch_trace(lambda x: x.sum() + 1, tools(fl).PythonKeyTracer())
        return str(made.graph), type(made).__name__, str(named.graph), tracer.unwrap_proxy(3)

    agree(program)


def test_functions_of_sizes_are_recorded_or_refused(agree):
    def program(fl):
        return tools(fl).handle_sym_dispatch(lambda n: n + 1, (2,), {})

    agree(program, raises=AssertionError)

    def inside(fl):
        found = []
        tools(fl).make_fx(lambda x: (found.append(tools(fl).handle_sym_dispatch(lambda n: n + 1, (2,), {})), x * 2)[1])(fl.ones(2))  # fmt: skip
        return found

    agree(inside)

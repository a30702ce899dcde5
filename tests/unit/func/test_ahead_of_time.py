"""functorch.compile: both passes of a function as graphs, cut in two and compiled."""

import importlib

import pytest

import flambeau
from tests.agree import rand

pytestmark = pytest.mark.filterwarnings("ignore")


def part(fl, name):
    return importlib.import_module(f"{fl.__name__}.{name}")


def keeps(fl, seen):
    """A compiler that notes the code of what it gets."""
    aot = part(fl, "_functorch.aot_autograd")

    def compiler(graph, examples):
        seen.append((graph.code.replace("flambeau", "torch"), [tuple(x.shape) for x in examples]))
        return aot.make_boxed_func(graph.forward)

    return compiler


def chain(a, b):
    x = a + b
    return x.cos().cos(), (x * 2).sum()


@pytest.mark.parametrize("cut", ["default_partition", "min_cut_rematerialization_partition"])
def test_graphs_of_both_passes(agree, cut):
    def program(fl, a, b):
        a, b, seen = a.detach().requires_grad_(), b.detach().requires_grad_(), []
        f = part(fl, "_functorch.aot_autograd").aot_function(
            chain, keeps(fl, seen), partition_fn=getattr(part(fl, "_functorch.partitioners"), cut)
        )
        one, two = f(a, b)
        grads = fl.autograd.grad(one.sum() + two, (a, b))
        return seen, one.detach(), grads

    agree(program, rand(2, 4), rand(2, 4, seed=1), grads=0)


def test_without_gradients(agree):
    def program(fl):
        seen = []
        f = part(fl, "_functorch.aot_autograd").aot_function(lambda x: (x.sin() + 1, {"a": x * 2}), keeps(fl, seen))
        return f(fl.ones(2)), f(fl.zeros(2)), seen

    agree(program, grads=0)


def test_modules_train():
    flambeau.manual_seed(0)
    net = flambeau.nn.Sequential(
        flambeau.nn.Linear(3, 4), flambeau.nn.LayerNorm(4), flambeau.nn.GELU(), flambeau.nn.Linear(4, 2)
    )
    compilers, aot = part(flambeau, "_functorch.compilers"), part(flambeau, "_functorch.aot_autograd")
    x = flambeau.randn(5, 3)
    net(x).square().sum().backward()
    want = [p.grad for p in net.parameters()]
    for made in (
        aot.aot_module(net, compilers.nop),
        compilers.memory_efficient_fusion(net),
        aot.aot_module(net, compilers.simple_ts_compile),
    ):
        net.zero_grad()
        flambeau.testing.assert_close(made(x), net(x))
        made(x).square().sum().backward()
        for p, g in zip(net.parameters(), want, strict=True):
            flambeau.testing.assert_close(p.grad, g)


def test_tensors_that_are_no_arguments():
    w = flambeau.ones(2, requires_grad=True)
    f = part(flambeau, "_functorch.aot_autograd").aot_function(
        lambda x: x * w, part(flambeau, "_functorch.compilers").nop
    )
    with pytest.raises(AssertionError, match="requires gradients"):
        f(flambeau.ones(2, requires_grad=True))


def test_backend_of_compile(agree):
    def program(fl, x):
        x, seen = x.detach().requires_grad_(), []
        backend = part(fl, "_dynamo.backends.common").aot_autograd(fw_compiler=keeps(fl, seen))
        f = fl.compile(lambda x, y: (x * y).sin().sum(), backend=backend)
        out = f(x, fl.ones(3, dtype=x.dtype))
        return out.detach(), fl.autograd.grad(out, x), [shapes for _, shapes in seen]

    agree(program, rand(2, 3), grads=0)


def test_less_is_kept():
    """Elementwise steps are computed again; a product is kept."""
    seen = {}
    parts = part(flambeau, "_functorch.partitioners")
    for name in ("default_partition", "min_cut_rematerialization_partition"):
        graphs = []
        f = part(flambeau, "_functorch.aot_autograd").aot_function(
            lambda x, w: ((x @ w).sin().cos().exp() * 2).sum(),
            keeps(flambeau, graphs),
            partition_fn=getattr(parts, name),
        )
        f(flambeau.rand(8, 8, requires_grad=True), flambeau.rand(8, 8, requires_grad=True)).backward()
        seen[name] = len(graphs[1][1])
    assert seen["min_cut_rematerialization_partition"] < seen["default_partition"]


def test_graphs_that_fail_are_made_smaller(capsys):
    def f(x, y):
        a = x.sin() + y
        b = (a * 2).tan()
        return (b.exp().sum(), a.cos())

    def fails(graph, inputs):
        return any(n.target is flambeau.ops.aten.tan.default for n in graph.graph.nodes)

    graph = part(flambeau, "fx.experimental.proxy_tensor").make_fx(f)(flambeau.ones(2), flambeau.ones(2))
    small, inputs = part(flambeau, "_functorch.fx_minifier").minifier(
        graph, [flambeau.ones(2), flambeau.ones(2)], fails
    )
    assert fails(small, inputs)
    assert sum(n.op == "call_function" for n in small.graph.nodes) == 1
    assert len(inputs) == 1
    assert "Started off with 10 nodes" in capsys.readouterr().out

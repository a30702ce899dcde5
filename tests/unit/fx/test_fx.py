"""fx: graphs print, run, change and come back as PyTorch's do."""

import copy
import operator
import pickle
import traceback

import pytest

import flambeau as fl
from tests.agree import rand


class Net:
    """The programs that are traced with both libraries."""

    @staticmethod
    def module(t):
        class M(t.nn.Module):
            def __init__(self):
                super().__init__()
                self.lin = t.nn.Linear(3, 4)
                self.p = t.nn.Parameter(t.ones(4))
                self.seq = t.nn.Sequential(t.nn.Linear(4, 4), t.nn.ReLU())
                self.register_buffer("b", t.ones(4))

            def forward(self, x, y: int = 3, *args, flag=True, **kw):
                z = self.lin(x) + self.p * y
                z = t.relu(z).clamp(min=0.0, max=1.0) + self.b
                z = self.seq(z)[..., 1:, None]
                a, b = z.shape[0], z.size(1)
                return {
                    "o": (z.view(a, b), t.cat([z, z], dim=-1)),
                    "l": [z.sum(), -z, z @ z.mT, z**2, 2 - z, z == z, z.mT],
                }

        return M()

    @staticmethod
    def functions(t):
        def f(z, q):
            a = t.softmax(z, 1) + t.sum(input=q, dim=0, keepdim=True) + t.add(z, q, alpha=2)
            return a + t.nn.functional.softmax(z, dim=-1) + t.nn.functional.gelu(z, approximate="none")

        return f

    @staticmethod
    def constants(t):
        return lambda x: x + t.ones(3) * float("inf")

    @staticmethod
    def inplace(t):
        def f(x):
            x += 1
            x.add_(x)
            return t.nn.functional.relu(x, inplace=True).to(t.float64), x.transpose(0, 1)

        return f

    @staticmethod
    def unpacking(t):
        def f(x):
            a, b = t.split(x, 2)
            return a + b

        return f


PROGRAMS = ["module", "functions", "constants", "inplace", "unpacking"]


def described(t, name):
    gm = t.fx.symbolic_trace(getattr(Net, name)(t))
    nodes = [
        (n.op, n.name, n.format_node(), repr(n.args), repr(n.kwargs), len(n.users), repr(n.all_input_nodes))
        for n in gm.graph.nodes
    ]
    return gm.code, str(gm.graph), nodes, str(gm), gm.print_readable(print_output=False)


@pytest.mark.parity
@pytest.mark.parametrize("name", PROGRAMS)
def test_prints_as_torch(torch, name):
    for ours, theirs in zip(described(fl, name), described(torch, name), strict=True):
        assert ours == theirs


def by_hand(t):
    g = t.fx.Graph()
    x = g.placeholder("x")
    y = g.placeholder("y", default_value=2)
    c = g.call_function(t.ops.aten.add.Tensor, (x, 1.0), {"alpha": 2})
    d = g.call_method("relu", (c,))
    e = g.call_function(getattr, (d, "shape"))
    f = g.call_function(operator.getitem, (e, 0))
    h = g.call_function(t.ops.aten.sum.dim_IntList, (d, [0, -1]), {"dtype": t.float64})
    h2 = g.call_function(operator.iadd, (h, float("inf")))
    h3 = g.call_function(slice, (1, None, f))
    g.call_function(operator.setitem, (d, slice(None, f, 2), y))
    g.call_function(t.nn.functional.gelu, (d,), {"approximate": "tanh"})
    g.call_function(t.nn.functional.pad, (d, (1, t.device("cpu"))))
    g.call_function(divmod, (f, 2))
    top = g.call_function(t.topk, (d, 2))
    first = g.call_function(operator.getitem, (top, 0))
    first.meta["val"] = t.ones(2, 3, device="meta")
    first.stack_trace = '  File "foo.py", line 3, in f\n    return x + 1\n'
    g.output((h2, {"a": h3}, first))
    return g


@pytest.mark.parity
def test_graphs_by_hand_print_as_torch(torch):
    ours, theirs = by_hand(fl), by_hand(torch)
    assert str(ours) == str(theirs)
    assert ours.python_code("self").src == theirs.python_code("self").src
    for options in ({}, {"include_stride": True, "include_device": True}):
        a = fl.fx.GraphModule({}, by_hand(fl), "Foo").print_readable(print_output=False, **options)
        b = torch.fx.GraphModule({}, by_hand(torch), "Foo").print_readable(print_output=False, **options)
        assert a == b


def failures(t):
    g = t.fx.Graph()
    x = g.placeholder("x")
    y = g.call_function(t.relu, ([x, x],))
    g.output(y)

    def branch(x):
        return x if x.sum() > 0 else -x

    for fails in (
        lambda: g.erase_node(x),
        lambda: g.create_node("foo", "x"),
        lambda: y.args[0].append(1),
        lambda: y.kwargs.update(a=1),
        lambda: t.fx.symbolic_trace(branch),
        lambda: t.fx.symbolic_trace(lambda x: [i for i in x]),
        lambda: t.fx.symbolic_trace(lambda x: len(x)),
        lambda: t.fx.GraphModule({}, t.fx.symbolic_trace(t.nn.Sequential(t.nn.ReLU())).graph),
        lambda: g.create_node("call_function", "x"),
    ):
        try:
            fails()
            yield "nothing"
        except Exception as error:
            yield type(error).__name__, str(error).partition(" [graph")[0]


@pytest.mark.parity
def test_refuses_in_the_same_words(torch):
    for ours, theirs in zip(failures(fl), failures(torch), strict=True):
        assert ours == theirs


def test_names_are_given_once():
    g = fl.fx.Graph()
    names = [g.placeholder(n).name for n in ("x", "x", "x_1", "sum", "for", "3d", "a.b-c", "torch", "x_7", "x_7")]
    assert names == ["x", "x_1", "x_2", "sum_1", "for_1", "_3d", "a_b_c", "torch_1", "x_7", "x_8"]


def test_runs_as_the_program_does():
    m = Net.module(fl)
    gm = fl.fx.symbolic_trace(m)
    x = fl.randn(4, 3)
    for ours in (gm, fl.fx.Interpreter(gm).run, fl.fx.Transformer(gm).transform(), copy.deepcopy(gm)):
        a, b = ours(x), m(x)
        assert fl.equal(a["o"][1], b["o"][1]) and fl.equal(a["l"][0], b["l"][0])


def test_deepcopy_shares_nothing():
    gm = fl.fx.symbolic_trace(Net.module(fl))
    other = copy.deepcopy(gm)
    assert other.lin.weight is not gm.lin.weight and other.graph is not gm.graph
    assert str(other.graph) == str(gm.graph) and type(other) is not type(gm)
    with fl.no_grad():
        other.lin.weight.zero_()
    assert not fl.equal(other.lin.weight, gm.lin.weight)


def test_pickle_keeps_code_and_state():
    gm = fl.fx.symbolic_trace(fl.nn.Sequential(fl.nn.Linear(3, 4), fl.nn.ReLU()))
    other = pickle.loads(pickle.dumps(gm))
    x = fl.randn(2, 3)
    assert other.code == gm.code and fl.equal(other(x), gm(x))


def test_generated_lines_show_in_tracebacks():
    gm = fl.fx.symbolic_trace(lambda x: fl.matmul(x, x))
    with pytest.raises(RuntimeError) as caught:
        gm(fl.ones(2, 3))
    shown = "".join(traceback.format_exception(caught.value))
    assert "matmul = torch.matmul(x, x)" in shown


def test_editing():
    g = fl.fx.Graph()
    x = g.placeholder("x")
    a = g.call_function(fl.sin, (x,))
    dead = g.call_function(fl.cos, (a,))
    out = g.output(a)
    with g.inserting_after(a):
        b = g.call_function(fl.exp, (a,))
    a.replace_all_uses_with(b, delete_user_cb=lambda u: u is out)
    assert out.args == (b,) and list(a.users) == [dead, b]
    assert (
        a < b < out
        and not b < a
        and [n.name for n in reversed(g.nodes)]
        == ["output", "cos", "exp", "sin", "x"][0:1] + ["cos", "exp", "sin", "x"]
    )
    assert g.find_nodes(op="call_function", target=fl.exp) == [b]
    assert g.eliminate_dead_code() and len(g.nodes) == 4 and dead._erased
    b.prepend(c := g.call_method("neg", (a,)))
    b.args = (c,)
    g.lint()
    gm = fl.fx.GraphModule({}, g)
    assert fl.equal(gm(fl.ones(2)), fl.exp(-fl.sin(fl.ones(2))))
    with pytest.raises(RuntimeError, match="before it has been defined"):
        a.prepend(c)
        g.lint()


def test_replace_pattern():
    gm = fl.fx.symbolic_trace(lambda x: fl.sigmoid(x) * x + fl.sigmoid(x + 1) * (x + 2))
    found = fl.fx.replace_pattern(gm, lambda x: fl.sigmoid(x) * x, lambda x: fl.nn.functional.silu(x))
    assert len(found) == 1 and found[0].anchor.name == "mul"
    assert "silu" in gm.code and len(gm.graph.find_nodes(op="call_function", target=fl.sigmoid)) == 1
    x = fl.randn(4)
    assert fl.allclose(gm(x), fl.sigmoid(x) * x + fl.sigmoid(x + 1) * (x + 2))


def test_chained_patterns_are_all_replaced():
    gm = fl.fx.symbolic_trace(lambda x: fl.relu(fl.relu(fl.relu(x))))
    assert len(fl.fx.replace_pattern(gm, lambda x: fl.relu(x), lambda x: x.clamp(min=0))) == 3
    assert "relu" not in gm.code and fl.equal(gm(fl.tensor([-1.0, 2.0])), fl.tensor([0.0, 2.0]))


def test_split_module():
    from flambeau.fx.passes.split_module import split_module

    m = Net.module(fl)
    gm = fl.fx.symbolic_trace(m)
    count = iter(range(100))
    parts = split_module(gm, m, lambda n: next(count) // 6)
    x = fl.randn(4, 3)
    assert fl.equal(parts(x)["o"][1], m(x)["o"][1]) and len(list(parts.named_children())) > 2


def test_shape_prop():
    from flambeau.fx.passes.shape_prop import ShapeProp

    gm = fl.fx.symbolic_trace(fl.nn.Sequential(fl.nn.Linear(3, 4), fl.nn.ReLU()))
    ShapeProp(gm).propagate(fl.ones(2, 3))
    last = gm.graph.output_node().args[0].meta["tensor_meta"]
    assert last.shape == (2, 4) and last.dtype is fl.float32 and last.stride == (4, 1) and last.requires_grad


def test_to_folder(tmp_path, torch_alias):
    gm = fl.fx.symbolic_trace(fl.nn.Sequential(fl.nn.Linear(3, 4), fl.nn.ReLU()))
    gm.to_folder(tmp_path / "made", "Made")
    text = (tmp_path / "made" / "module.py").read_text()
    scope = {}
    exec(torch_alias(text), scope)
    x = fl.randn(2, 3)
    assert fl.equal(scope["Made"]()(x), gm(x))


@pytest.fixture
def torch_alias():
    """Makes a written module importable without installing the alias in this process."""
    return lambda text: (
        text.replace("import torch\n", "import flambeau as torch\n")
        .replace("from torch", "from flambeau")
        .replace("import torch.", "import flambeau.")
    )


def test_concrete_args_become_constants():
    gm = fl.fx.symbolic_trace(lambda x, y: x + y["a"], concrete_args={"y": {"a": fl.fx.PH}})
    assert fl.equal(gm(fl.ones(2), {"a": 3}), fl.full((2,), 4.0))


def test_a_tracer_may_be_changed():
    class Leafless(fl.fx.Tracer):
        def is_leaf_module(self, m, qualified_name):
            return False

    m = fl.nn.Sequential(fl.nn.Linear(3, 4), fl.nn.ReLU())
    gm = fl.fx.GraphModule(m, Leafless().trace(m))
    assert not gm.graph.find_nodes(op="call_module") and {"linear", "relu"} <= {n.name for n in gm.graph.nodes}
    x = fl.randn(2, 3)
    assert fl.equal(gm(x), m(x))


def test_where_nodes_came_from():
    from flambeau.fx import traceback as where

    graph = fl.fx.symbolic_trace(lambda x: fl.relu(x) + 1).graph
    relu = next(n for n in graph.nodes if n.name == "relu")
    source = where.NodeSource(relu, "pass", where.NodeSourceAction.CREATE)
    relu.meta["from_node"] = [source]
    again = where.NodeSource(relu, "other", [where.NodeSourceAction.REPLACE, where.NodeSourceAction.CREATE])
    assert again.to_dict()["action"] == "replace+create"
    assert again.from_node == [source]
    assert where.NodeSource._from_dict(again.to_dict()) == again
    assert hash(where.NodeSource._from_dict(again.to_dict())) == hash(again)
    lines = str(again).splitlines()
    assert lines[0].startswith("(name=relu, pass_name=other, action=replace+create, graph_id=")
    assert lines[1].startswith("    (name=relu, pass_name=pass, action=create, graph_id=")
    assert where.get_graph_provenance_json(graph) == {"relu": [source.to_dict()], "add": []}


def test_meta_that_new_nodes_inherit():
    from flambeau.fx import traceback as where

    where.set_stack_trace(["lost"])
    assert "stack_trace" not in where.get_current_meta()
    with where.preserve_node_meta():
        where.set_stack_trace(["a", "b"])
        assert where.format_stack() == ["ab"]
        where.set_grad_fn_seq_nr(3)
        where.set_grad_fn_seq_nr(5)
        assert where.get_current_meta()["grad_fn_seq_nr"] == [3, 5]
        where.reset_grad_fn_seq_nr()
        where.reset_grad_fn_seq_nr()
        assert "in_grad_fn" not in where.get_current_meta()
        where.set_stack_trace([])
    with where.set_current_replay_node("n"):
        assert where.get_current_replay_node() == "n"
    assert where.get_current_replay_node() is None

    @where.annotate_fn({"stage": 1})
    def f():
        return where.get_current_meta()["custom"]

    assert f() == {"stage": 1}


def test_nodes_that_ask_for_sizes():
    graph = fl.fx.Graph()
    x = graph.placeholder("x")
    x.meta["val"] = fl.empty(2, 3)
    node = graph.create_stride_node(x, 0)
    assert (node.target, node.args, node.meta["val"]) == (fl.ops.aten.sym_stride.int, (x, 0), 3)
    graph.output((graph.create_size_node(x, 1), node, graph.create_storage_offset_node(x)))
    assert fl.fx.GraphModule({}, graph)(fl.ones(4, 5)[1:]) == (5, 5, 5)
    assert graph.materialize_symint(4) == 4


def test_a_graph_of_two_modules_is_owned_by_neither():
    graph = fl.fx.symbolic_trace(lambda x: x + 1).graph
    assert graph.owning_module is not None
    fl.fx.GraphModule({}, graph).graph = graph
    assert graph.owning_module is None


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch, of itself
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
def test_make_fx_sees_gradients_and_batches(agree):
    """Derivatives taken inside the function, and what vmap makes of it, are part of the graph: it gives right numbers elsewhere."""

    def program(fl, x):
        make_fx = __import__(f"{fl.__name__}.fx.experimental.proxy_tensor", fromlist=["make_fx"]).make_fx
        found = []
        for f in (
            lambda a: fl.func.grad(lambda b: (b.sin() * b).sum())(a),
            lambda a: fl.func.vjp(fl.sin, a)[1](a)[0],
            lambda a: fl.vmap(lambda b: b.sin().sum())(a),
            lambda a: fl.vmap(fl.func.grad(lambda b: (b * b.exp()).sum()))(a),
            lambda a: fl.func.jvp(fl.sin, (a,), (a,))[1],
        ):
            graph = make_fx(f)(x.detach())
            assert not any(n.op == "get_attr" for n in graph.graph.nodes)
            found.append(graph(x.detach() + 1))
        return found

    agree(program, rand(2, 3), grads=0)


def test_make_fx_refuses_data_dependence(agree):
    def program(fl, x):
        make_fx = __import__(f"{fl.__name__}.fx.experimental.proxy_tensor", fromlist=["make_fx"]).make_fx
        return make_fx(lambda a: a if a.sum() > 0 else -a)(x.detach())

    agree(program, rand(3), raises=RuntimeError)


def test_a_graph_module_is_shown_as_a_module(agree):
    def program(fl):
        return repr(fl.fx.symbolic_trace(fl.nn.Sequential(fl.nn.Linear(2, 2))))

    agree(program)


def test_assertions_are_recorded(agree):
    """`torch._assert` of what a trace does not know becomes a node; of what it knows, nothing."""

    def program(fl, x):
        def f(x):
            fl._assert(x.shape[-1] == 3, "three")
            fl._assert(True, "known")
            return x + 1

        traced = fl.fx.symbolic_trace(f)
        try:
            traced(fl.ones(2, 4))
        except AssertionError as e:
            return [n.name for n in traced.graph.nodes], str(e), traced(x)

    agree(program, rand(2, 3), grads=0)


def test_types_of_arguments_and_results(agree):
    """Each part of an annotation is a name that the text finds; the module runs."""
    import typing

    def program(fl, x):
        names = ("List", "Optional", "Tuple", "Callable", "Any")  # as programs before Python 3.9 write them
        old = {n: getattr(typing, n) for n in names}
        kinds = (old["List"][fl.Tensor], old["Optional"][fl.Tensor], old["Tuple"][int, ...], list[int], tuple[fl.Tensor, int], old["Any"],
                 old["Callable"], int | None)  # fmt: skip
        out = []
        for kind in kinds:
            graph = fl.fx.Graph()
            graph.output(graph.placeholder("x", kind), kind)
            module = fl.fx.GraphModule({}, graph)
            out.append((module.code.strip(), module(x)))
        return out

    agree(program, rand(2), grads=0)

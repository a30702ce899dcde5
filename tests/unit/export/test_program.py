"""torch.export: graphs of whole models, for one size and for many."""

import io

import pytest

import flambeau
from flambeau import nn
from flambeau._dynamo.exc import UserError
from flambeau.export import AdditionalInputs, Dim, ShapesCollection, dims, export


def models(fl):
    nn = fl.nn

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(4, 3)
            self.bn = nn.BatchNorm1d(3)
            self.register_buffer("k", fl.full((3,), 2.0))
            self.register_buffer("unsaved", fl.full((3,), 0.5), persistent=False)
            self.c = fl.full((3,), 2.0)

        def forward(self, x, y=None, *, z):
            h = self.bn(self.l(x)) * self.k + self.c - self.unsaved
            if y is not None:
                h = h + y[0] * y[1]
            return {"a": h.relu(), "b": (h.exp(), z)}

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.out = nn.Linear(8, 20)

        def forward(self, tokens):
            return self.out(self.block(self.embed(tokens)))

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(5, 6, 2, batch_first=True)
            self.out = nn.Linear(6, 2)

        def forward(self, x):
            return self.out(self.lstm(x)[0][:, -1])

    conv = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    )
    b, t = fl.export.Dim("b"), fl.export.Dim("t")
    ones = fl.ones
    return {
        "mixed": (Mixed(), (ones(2, 4), (ones(3), ones(3))), {"z": fl.zeros(1)}, None),
        "attention": (Attention().eval(), (fl.arange(10).reshape(2, 5),), {}, ({0: b, 1: t},)),
        "recurrent": (Recurrent().eval(), (ones(2, 3, 5),), {}, ({0: b},)),
        "conv": (conv.eval(), (ones(2, 3, 8, 8),), {}, {"input": {0: b}}),
    }


@pytest.mark.parametrize("name", ["mixed", "attention", "recurrent", "conv"])
def test_the_program_computes_what_the_model_does(name):
    flambeau.manual_seed(0)
    model, args, kwargs, dynamic = models(flambeau)[name]
    program = export(model, args, kwargs, dynamic_shapes=dynamic)
    module = program.module()
    same = {**module.state_dict(), **{k: v for k, v in program.constants.items() if k != "c"}}
    assert {k: v.data_ptr() for k, v in model.state_dict().items()} == {
        k: same[k].data_ptr() for k in model.state_dict()
    }
    for n in (1, 2) if dynamic is None else (1, 2, 3, 6):
        if dynamic is None:
            given = args
        else:
            given = tuple(flambeau.cat([a] * n) for a in args)
        flambeau.testing.assert_close(module(*given, **kwargs), model(*given, **kwargs), rtol=1e-6, atol=1e-6)


def test_the_signature():
    model, args, kwargs, _ = models(flambeau)["mixed"]
    program = export(model, args, kwargs)
    signature = program.graph_signature
    assert signature.parameters == ("l.weight", "l.bias", "bn.weight", "bn.bias")
    assert signature.non_persistent_buffers == {"unsaved"}
    assert signature.user_inputs == ("x", "y_0", "y_1", "z")
    assert signature.inputs_to_lifted_tensor_constants == {"c_c": "c"}
    assert set(program.state_dict) == set(model.state_dict())
    assert sorted(program.constants) == ["c", "unsaved"]
    assert "p_l_weight: PARAMETER target='l.weight'" in str(program)
    assert "b_unsaved: BUFFER target='unsaved' persistent=False" in str(program)


def test_sizes_are_read_and_computed():
    class M(nn.Module):
        def forward(self, x, y):
            h = flambeau.cat([x, y])
            return h.reshape(x.shape[0] + y.shape[0], -1).sum() + flambeau.arange(x.shape[0] * 2 + 1).sum() + x.shape[1]

    a, b = dims("a", "b", min=1, max=100)
    x, y = flambeau.ones(4, 3), flambeau.ones(2, 3)
    program = export(M(), (x, y), dynamic_shapes=({0: a}, {0: b}))
    assert str(program.range_constraints) == "{'a': VR[1, 100], 'b': VR[1, 100]}"
    for n, m in ((4, 2), (1, 1), (9, 30)):
        given = flambeau.rand(n, 3), flambeau.rand(m, 3)
        assert program.module()(*given) == M()(*given)
    with pytest.raises(AssertionError, match=r"y.size\(\)\[0\] <= 100"):
        program.module()(x, flambeau.ones(101, 3))
    with pytest.raises(AssertionError, match=r"x.size\(\)\[1\] == 3"):
        program.module()(flambeau.ones(4, 2), y)


def test_sizes_shared_and_collected():
    class Add(nn.Module):
        def forward(self, x, y):
            return x + y

    n = Dim("n")
    x, y = flambeau.ones(4), flambeau.ones(4)
    program = export(Add(), (x, y), dynamic_shapes={"x": (n,), "y": (n,)})
    assert program.module()(flambeau.ones(7), flambeau.ones(7)).shape == (7,)
    with pytest.raises(AssertionError, match=r"y.size\(\)\[0\] == x.size\(\)\[0\]"):
        program.module()(flambeau.ones(7), flambeau.ones(8))
    shapes = ShapesCollection()
    shapes[x], shapes[y] = {0: n}, {0: n}
    assert export(Add(), (x, y), dynamic_shapes=shapes).module()(flambeau.ones(3), flambeau.ones(3)).shape == (3,)


def test_shapes_by_example():
    class Add(nn.Module):
        def forward(self, x, y, *, scale):
            return x + y * scale

    def inputs(n, m=3, scale=2):
        return (flambeau.ones(n, m), flambeau.ones(n, m)), {"scale": scale}

    more = AdditionalInputs()
    more.add(*inputs(5))
    assert more.dynamic_shapes(Add(), *inputs(4)) == ((Dim.DYNAMIC, None), (Dim.DYNAMIC, None), None)
    args, kwargs = inputs(4)
    program = export(Add(), args, kwargs, dynamic_shapes=more)
    args, kwargs = inputs(9)
    assert program.module()(*args, **kwargs).shape == (9, 3)
    with pytest.raises(AssertionError, match="Guard failed"):
        program.module()(flambeau.ones(9, 4), flambeau.ones(9, 4), scale=2)
    more.add(*inputs(5, scale=3))
    with pytest.raises(NotImplementedError, match="numbers as inputs that vary"):
        args, kwargs = inputs(4)
        export(Add(), args, kwargs, dynamic_shapes=more)
    more = AdditionalInputs()
    more.add(*inputs(5, scale="a"))
    with pytest.raises(ValueError, match="differing types"):
        args, kwargs = inputs(4)
        export(Add(), args, kwargs, dynamic_shapes=more)
    with pytest.raises(AssertionError, match="must be a tuple"):
        more.add([flambeau.ones(1)])


def test_sizes_without_names_that_must_be_equal_are():
    class Add(nn.Module):
        def forward(self, x, y):
            return x + y

    for hint in (Dim.AUTO, Dim.DYNAMIC):
        module = export(Add(), (flambeau.ones(4), flambeau.ones(4)), dynamic_shapes=({0: hint}, {0: hint})).module()
        assert module(flambeau.ones(7), flambeau.ones(7)).shape == (7,)
        with pytest.raises(AssertionError, match="Guard failed"):
            module(flambeau.ones(7), flambeau.ones(6))


def test_what_depends_on_sizes_otherwise_is_refused():
    class Branch(nn.Module):
        def forward(self, x):
            return x.relu() if x.shape[0] > 4 else x.exp()

    class Root(nn.Module):
        def forward(self, x):
            return x.sum() * flambeau.ones(int(x.shape[0] ** 0.5) + 1)

    for model in (Branch(), Root()):
        with pytest.raises(RuntimeError, match="Constraints violated"):
            export(model, (flambeau.ones(4, 3),), dynamic_shapes=({0: Dim("n")},))
        export(model, (flambeau.ones(4, 3),))


def test_refusals():
    with pytest.raises(ValueError, match="Expected `mod` to be an instance"):
        export(lambda x: x, (flambeau.ones(1),))
    with pytest.raises(UserError, match="Expecting `args` to be a tuple"):
        export(nn.Linear(1, 1), [flambeau.ones(1)])
    program = export(nn.Linear(1, 1), (flambeau.ones(1),))
    with pytest.raises(RuntimeError, match="Unable to call ExportedProgram directly"):
        program(flambeau.ones(1))
    with pytest.raises(NotImplementedError, match="Calling eval"):
        program.module().eval()
    with pytest.raises(ValueError, match="input tree spec"):
        program.module()(flambeau.ones(1), flambeau.ones(1))
    with pytest.raises(AssertionError, match="valid identifier"):
        Dim("a b")


def test_exporting_leaves_the_model_as_it_was():
    conv = nn.BatchNorm1d(3)
    export(conv, (flambeau.randn(4, 3),), dynamic_shapes=({0: Dim("n")},))
    assert conv.num_batches_tracked == 0
    assert conv.running_mean.tolist() == [0, 0, 0]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:The tensor attributes")
@pytest.mark.parametrize("name", ["mixed", "conv"])
def test_the_same_operators_as_pytorch(torch, name):
    def operators(fl):
        import importlib

        importlib.import_module(f"{fl.__name__}.export")
        model, args, kwargs, _ = models(fl)[name]
        program = fl.export.export(model, args, kwargs)
        return [str(n.target) for n in program.graph.nodes if n.op == "call_function"], [
            str(s) for s in program.graph_signature.input_specs
        ]

    ours, theirs = operators(flambeau), operators(torch)
    assert ours[0] == [t.replace("alias.default", "") for t in theirs[0] if t]
    assert [s.replace("input_1", "input") for s in ours[1]] == theirs[1]


def test_control_flow_on_elements_is_refused():
    class Program(flambeau.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(RuntimeError, match="data-dependent"):
        flambeau.export.export(Program(), (flambeau.ones(3),))


class Twice(nn.Module):
    def forward(self, x):
        return x * 2


class AddThree(nn.Module):
    def forward(self, x):
        return x + flambeau.ones(3)


def test_sizes_that_do_not_fit():
    from flambeau.fx.experimental.symbolic_shapes import ConstraintViolationError

    x = flambeau.ones(3, 3)
    with pytest.raises(ConstraintViolationError, match=r"^3 not in range \[0, 2\]"):
        export(Twice(), (x,), dynamic_shapes=({0: Dim("b", max=2)},))
    with pytest.raises(ConstraintViolationError, match="Static shape constraint of 4 does not match input size of 3"):
        export(Twice(), (x,), dynamic_shapes=({0: 4},))
    with pytest.raises(UserError, match="its top-level keys must be the arg names"):
        export(Twice(), (x,), dynamic_shapes={"y": {0: Dim("b")}})
    with pytest.raises(UserError, match="`inputs` has 1 elements, but `dynamic_shapes` has 2 elements"):
        export(Twice(), (x,), dynamic_shapes=({0: Dim("b")}, None))
    with pytest.raises(UserError, match="Found different definitions"):
        export(Twice(), (x,), dynamic_shapes=({0: Dim("b", max=5), 1: Dim("b", max=6)},))
    with pytest.raises(UserError, match=r"^Constraints violated \(b\)!"):
        export(AddThree(), (flambeau.ones(3),), dynamic_shapes=({0: Dim("b")},))
    square = export(Twice(), (x,), dynamic_shapes=({0: Dim("b"), 1: Dim("b")},))  # one size, though two objects
    assert list(map(str, square.range_constraints)) == ["b"]


def test_sizes_that_may_vary_or_not():
    program = export(AddThree(), (flambeau.ones(3),), dynamic_shapes=({0: Dim.AUTO},))
    assert not program.range_constraints
    with pytest.raises(AssertionError, match="Guard failed"):
        program.module()(flambeau.ones(1))
    assert export(Twice(), (flambeau.ones(3),), dynamic_shapes=({0: Dim.AUTO},)).module()(flambeau.ones(5)).shape == (
        5,
    )


def test_branches_by_cond():
    class Branch(nn.Module):
        def forward(self, x):
            return flambeau.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))

    class BySize(nn.Module):
        def forward(self, x):
            return flambeau.cond(x.shape[0] > 2, lambda x: x + 1, lambda x: x - 1, (x,))

    branches = export(Branch(), (flambeau.ones(3),))
    with pytest.raises(NotImplementedError):
        flambeau.export.save(branches, io.BytesIO())
    assert export(BySize(), (flambeau.ones(3),)).module()(flambeau.ones(3)).tolist() == [2.0] * 3

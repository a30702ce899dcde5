"""Exported programs as modules again, and sizes that are derived from others."""

import io

import pytest

import flambeau
from flambeau.export import Dim, export, unflatten

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own


def model(fl):
    nn = fl.nn

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(fl.ones(3))

        def forward(self, x):
            return x + self.w, x * 2

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.two = nn.Linear(3, 3), Two()
            self.seq = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
            self.register_buffer("n", fl.zeros(1))
            self.register_buffer("m", fl.ones(3), persistent=False)

        def forward(self, x, y=None):
            self.n.add_(1)
            a, b = self.two(x)
            c = self.lin(a) + self.lin(b)
            d = self.seq(c) * self.n + self.m
            return {"d": d, "s": d.sum()}

    return Model()


def test_parts_and_their_graphs(agree):
    def program(fl):
        again = fl.export.unflatten(fl.export.export(model(fl), (fl.ones(2, 3),)))
        return (
            [(n, type(m).__name__, str(m.graph)) for n, m in again.named_modules()],
            repr(again),
            sorted(again.state_dict()),
        )

    agree(program, grads=0)


def test_it_computes_what_the_model_does():
    flambeau.manual_seed(0)
    m = model(flambeau)
    program = export(m, (flambeau.ones(2, 3),), dynamic_shapes=({0: Dim("b")},))
    for made in (unflatten(program), unflatten(program.run_decompositions())):
        fresh = model(flambeau)
        fresh.load_state_dict(m.state_dict())
        for n in (2, 5):
            x = flambeau.randn(n, 3)
            flambeau.testing.assert_close(made(x), fresh(x))
        assert made.n.item() == 2 and m.n.item() == 0
        assert made.lin.weight is not m.lin.weight
        made(flambeau.ones(2, 3))["s"].backward()
        assert made.seq.get_submodule("0").weight.grad is not None


CALLS = {
    "size": lambda fl: fl.ones(3, 3),
    "dims": lambda fl: fl.ones(2, 3, 1),
    "arguments": lambda fl: (fl.ones(2, 3), fl.ones(1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_inputs_that_do_not_fit(agree, name):
    def program(fl):
        given = CALLS[name](fl)
        fl.export.unflatten(fl.export.export(model(fl), (fl.ones(2, 3),)))(
            *(given if isinstance(given, tuple) else (given,))
        )

    agree(program, grads=0, raises=TypeError if name == "arguments" else RuntimeError)


def test_adapted_arguments():
    class Adapter(flambeau.export.FlatArgsAdapter):
        def adapt(self, target_spec, input_spec, input_args, metadata=None, obj=None):
            return input_args[:1]

    made = unflatten(export(model(flambeau), (flambeau.ones(2, 3),)), Adapter())
    assert made(flambeau.ones(2, 3), flambeau.ones(1))["d"].shape == (2, 3)


# ---------------------------------------------------------------- derived sizes


class Shifted(flambeau.nn.Module):
    def forward(self, x, y):
        return x + y[1:]


class Halved(flambeau.nn.Module):
    def forward(self, x):
        return x[::2] * x.shape[0], x.new_zeros(x.shape[0] + 1)


def test_names_and_bounds(agree):
    def program(fl):
        n = fl.export.Dim("n", min=2, max=10)
        made = [2 * n + 1, n - 1, 3 * (n + 1), n * 2, 1 + n, 2 * (3 * n - 1) + 1]
        return [(d.__name__, repr(d), int(d.min), int(d.max)) for d in made]

    agree(program, grads=0)


WRONG = {
    "zero": lambda n: n * 0, "negative": lambda n: n * -1, "fraction": lambda n: n + 1.5, "less": lambda n: n - 0.5, "from": lambda n: 3 - n,
    "half": lambda n: n // 2, "bounds": lambda n: (n - 5).min,
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_size(agree, name):
    kind = {"half": TypeError, "bounds": AssertionError}.get(name, NotImplementedError)
    agree(lambda fl: WRONG[name](fl.export.Dim("n", min=2, max=10)), grads=0, raises=kind)


@pytest.mark.parametrize("saved", [False, True])
def test_derived_sizes(saved):
    dx = Dim("dx", min=3, max=6)
    shifted = export(Shifted(), (flambeau.ones(5), flambeau.ones(6)), dynamic_shapes=({0: dx}, {0: dx + 1}))
    halved = export(Halved(), (flambeau.ones(7),), dynamic_shapes=({0: 2 * Dim("n", min=2, max=10) + 1},))
    assert sorted(map(str, shifted.range_constraints.items())) == ["('dx + 1', VR[4, 7])", "('dx', VR[3, 6])"]
    if saved:
        files = []
        for program in (shifted, halved):
            file = io.BytesIO()
            flambeau.export.save(program, file)
            file.seek(0)
            files.append(flambeau.export.load(file))
        shifted, halved = files
    for n in (3, 6):
        assert shifted.module()(flambeau.ones(n), flambeau.ones(n + 1)).shape == (n,)
    for n in (5, 9, 21):
        a, b = halved.module()(flambeau.ones(n))
        assert a.tolist() == [n] * (n // 2 + 1) and b.shape == (n + 1,)
    for args in ((flambeau.ones(4), flambeau.ones(6)), (flambeau.ones(7), flambeau.ones(8))):
        with pytest.raises(AssertionError, match="Guard failed"):
            shifted.module()(*args)
    for n in (8, 3, 23):
        with pytest.raises(AssertionError, match="Guard failed"):
            halved.module()(flambeau.ones(n))
    again = halved.run_decompositions().module()
    assert again(flambeau.ones(11))[0].shape == (6,)


def test_examples_that_do_not_fit():
    n = Dim("n")
    with pytest.raises(
        Exception, match=r"Expected shape\[0\] = 8 of input Tensor to be of the form 2\*n \+ 1, where n is an integer"
    ):
        export(Halved(), (flambeau.ones(8),), dynamic_shapes=({0: 2 * n + 1},))
    with pytest.raises(Exception, match=r"to be equal to n \+ 2, where n = 5, but got 6"):
        export(Shifted(), (flambeau.ones(5), flambeau.ones(6)), dynamic_shapes=({0: n}, {0: n + 2}))

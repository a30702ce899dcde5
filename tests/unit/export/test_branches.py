"""Branches that hang on elements of tensors: `torch.cond` in exported graphs."""

import pytest

import flambeau
from flambeau.export import Dim, export

pytestmark = pytest.mark.filterwarnings("ignore")


def models(fl):
    nn = fl.nn

    class Layered(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(3, 3)

        def forward(self, x):
            return fl.cond(x.sum() > 0, lambda x: self.l(x).sin(), lambda x: x.cos() + 1, (x,))

    class Two(nn.Module):
        def forward(self, x, y):
            a, b = fl.cond(x.sum() > 0, lambda x, y: (x + y, x * 2), lambda x, y: (x - y, x.clone()), [x, y])
            return a * b

    class Nested(nn.Module):
        def forward(self, x):
            def inner(x):
                return fl.cond(x.max() > 1, lambda x: x * 2, lambda x: x * 3, (x,))

            return fl.cond(x.sum() > 0, inner, lambda x: -x, (x,)) + 1

    return {
        "layered": (Layered(), (fl.ones(3, 3),)),
        "two": (Two(), (fl.ones(3), fl.ones(3))),
        "nested": (Nested(), (fl.ones(3),)),
    }


@pytest.mark.parametrize("name", ["layered", "two", "nested"])
def test_graphs(agree, name):
    def program(fl):
        module = fl.export.export(*models(fl)[name]).graph_module
        return [(n, m.code.replace("flambeau", "torch")) for n, m in module.named_modules()]

    agree(program, grads=0)


@pytest.mark.parametrize("name", ["layered", "two", "nested"])
def test_both_ways_are_kept(name):
    flambeau.manual_seed(0)
    model, args = models(flambeau)[name]
    program = export(model, args)
    for made in (program.module(), program.run_decompositions().module(), flambeau.export.unflatten(program)):
        for sign in (1, -1, 0.1):
            given = tuple(x * sign for x in args)
            flambeau.testing.assert_close(made(*given), model(*given))


def test_sizes_that_vary():
    model, args = models(flambeau)["two"]
    n = Dim("n")
    made = export(model, args, dynamic_shapes=({0: n}, {0: n})).module()
    x = flambeau.ones(7)
    assert made(-x, x).tolist() == model(-x, x).tolist()


def test_the_operator(agree):
    agree(lambda fl: (str(fl.ops.higher_order.cond), fl.ops.higher_order.cond(fl.tensor(True), lambda x: (x + 1,), lambda x: (x,), (fl.ones(1),))), grads=0)  # fmt: skip


def test_what_branches_give():
    class Alias(flambeau.nn.Module):
        def forward(self, x):
            return flambeau.cond(x.sum() > 0, lambda x: x, lambda x: x + 1, (x,))

    class Unlike(flambeau.nn.Module):
        def forward(self, x):
            return flambeau.cond(x.sum() > 0, lambda x: (x * 1, x * 2), lambda x: x + 1, (x,))

    with pytest.raises(RuntimeError, match="clone"):
        export(Alias(), (flambeau.ones(2),))
    with pytest.raises(RuntimeError, match="Unmatched output spec"):
        export(Unlike(), (flambeau.ones(2),))

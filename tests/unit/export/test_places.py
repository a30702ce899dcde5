"""Nodes of exported graphs say where in the model they come from; exporting leaves the model and its inputs as they were."""

import linecache

import pytest


def parts(fl):
    nn = fl.nn

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.l, self.bn = nn.Linear(3, 3), nn.BatchNorm1d(3)

        def forward(self, x):
            return self.bn(self.l(x))

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = Part(), Part()
            self.seq = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))

        def forward(self, x):
            z = self.a(x) + self.b(x)
            first, second = z.split([1, 2], 1)
            return self.seq(z), self.a.l(z), first + second

    return Whole()


def test_modules_and_lines(agree):
    def program(fl):
        found = []
        for n in fl.export.export(parts(fl), (fl.ones(4, 3),)).graph.nodes:
            if n.op == "call_function":
                own = [line.strip() for line in n.meta["stack_trace"].splitlines()[1::2]]
                stack = {k: (path, kind.rpartition(".")[2]) for k, (path, kind) in n.meta["nn_module_stack"].items()}
                found.append([n.name, list(map(list, stack.items())), own[0]])
        return found

    agree(program)


def test_printed_graphs_show_the_lines(agree):
    def program(fl):
        fl.manual_seed(0)
        text = str(fl.export.export(parts(fl).eval(), (fl.ones(4, 3),)))
        return [line.rpartition("code: ")[2] for line in text.splitlines() if "z = self" in line or "return self" in line][:2], text.count("# File")  # fmt: skip

    agree(program)
    assert linecache.getline(__file__, 1)


def test_defaults_are_left_out(agree):
    def program(fl):
        nn = fl.nn
        model = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.ConvTranspose2d(2, 1, 2)
        )
        return fl.export.export(model.eval(), (fl.ones(1, 1, 10, 10),)).graph_module.code

    agree(program)


class _Counting:
    def __new__(cls, fl):
        class Counting(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("count", fl.zeros(1))
                self.bn = fl.nn.BatchNorm1d(2)
                self.drop = fl.nn.Dropout(0.5)

            def forward(self, x):
                self.count.add_(1)
                x.mul_(1)
                return self.drop(self.bn(x)) * self.count

        return Counting()


def test_the_model_is_as_it_was(agree):
    def program(fl):
        fl.manual_seed(0)
        model, x = _Counting(fl), fl.arange(8.0).view(4, 2)
        found = fl.export.export(model, (x,))
        after = fl.rand(1)
        module = found.module()
        module(x)
        return after, x, {k: v for k, v in model.state_dict().items()}, module.count, str(found.graph_signature)

    agree(program)


@pytest.mark.parametrize(
    "call",
    [
        lambda fl, m, x: m(fl.ones(7, 3), fl.ones(7, 3)),
        lambda fl, m, x: m(fl.ones(4, 2), fl.ones(4, 3)),
        lambda fl, m, x: m(fl.ones(4, 3), fl.ones(5, 3)),
        lambda fl, m, x: m(fl.ones(65, 3), fl.ones(65, 3)),
        lambda fl, m, x: m(fl.ones(2, 3), fl.ones(2, 3)),
        lambda fl, m, x: m(fl.ones(4, 3)),
        lambda fl, m, x: fl.export.export(x, fl.ones(1)),
    ],
)
def test_what_a_program_refuses(agree, call):
    def program(fl):
        class Sum(fl.nn.Module):
            def forward(self, x, y):
                return x + y

        b = fl.export.Dim("b", min=3, max=64)
        dynamic = {"x": {0: b}, "y": {0: b}}
        model, x = Sum(), fl.ones(4, 3)
        try:
            call(fl, fl.export.export(model, (x, x), dynamic_shapes=dynamic).module(), model)
        except Exception as error:
            return type(error).__name__, str(error).splitlines()[0][:60]

    agree(program)


def test_keywords_must_be_those_of_the_example(agree):
    def program(fl):
        class Scaled(fl.nn.Module):
            def forward(self, x, *, by):
                return x * by

        module = fl.export.export(Scaled(), (fl.ones(2),), {"by": fl.ones(2)}).module()
        return module(fl.ones(2), unknown=fl.ones(2))

    agree(program, raises=ValueError)

"""Parts of a model whose way of being called is preserved through export, decompositions and files."""

import io

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own


def model(fl):
    nn = fl.nn

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.w = nn.Linear(3, 3), nn.Parameter(fl.ones(3))
            self.register_buffer("m", fl.ones(3))

        def forward(self, x, scale=2.0, *, flag=None):
            y = self.lin(x) * scale + self.w + self.m
            return {"a": y, "b": (y + 1, x, self.w)}

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.part, self.act, self.p = Part(), nn.SiLU(), nn.Parameter(fl.ones(3))

        def forward(self, x, pair):
            d = self.part(x + self.p, scale=3.0, flag=None)
            return self.act(d["a"] + pair[0]), self.act(d["b"][1] + d["b"][0])

    fl.manual_seed(0)
    return Model()


def exported(fl, *preserved, table=None):
    x = fl.ones(2, 3)
    program = fl.export.export(model(fl), (x, (x, x)), preserve_module_call_signature=preserved)
    return program if table is None else program.run_decompositions(table)


@pytest.mark.parametrize("preserved", [(), ("part",), ("part", "part.lin", "act")])
def test_entries(agree, preserved):
    def program(fl):
        made = exported(fl, *preserved)
        again = made.run_decompositions()
        return [[repr(e) for e in p.module_call_graph] for p in (made, again)], [
            str(n.meta.get("nn_module_stack")).split("Model'")[-1] for n in again.graph.nodes
        ]

    agree(program)


@pytest.mark.parametrize("taken_apart", [False, True])
@pytest.mark.parametrize("preserved", [("part",), ("part", "part.lin"), ("act",)])
def test_parts_are_called_as_the_model_calls_them(agree, preserved, taken_apart):
    def program(fl):
        made = exported(fl, *preserved)
        again = fl.export.unflatten(made.run_decompositions() if taken_apart else made)
        x = fl.ones(2, 3)
        called = again.part(x * 2, scale=3.0, flag=None) if "part" in preserved else None
        return str(again.graph), str(again.part.graph), str(again.part.lin.graph), again(x, (x, x)), called

    agree(program)


def test_a_file_keeps_them(agree):
    def program(fl):
        made, file = exported(fl, "part"), io.BytesIO()
        fl.export.save(made, file)
        file.seek(0)
        again = fl.export.load(file)
        return [repr(e) for e in again.module_call_graph], str(fl.export.unflatten(again).graph)

    agree(program)


def test_a_part_that_is_called_twice(agree):
    def program(fl, second):
        class Twice(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.lin, self.unused = fl.nn.Bilinear(3, 3, 3), fl.nn.ReLU()

            def forward(self, x):
                y = self.lin(x, x)
                return self.lin(y, x) if second == "alike" else self.lin(input1=y, input2=x)

        made = fl.export.export(Twice(), (fl.ones(2, 3),), preserve_module_call_signature=("lin", "unused"))
        return [repr(e) for e in made.module_call_graph]

    agree(lambda fl: program(fl, "alike"))
    agree(lambda fl: program(fl, "otherwise"), raises=AssertionError)


def test_names_of_parts_and_nodes(agree):
    def program(fl):
        e, g = fl.export, fl.export.graph_signature
        part = e.ModuleCallSignature(
            [g.TensorArgument("x"), g.ConstantArgument("", 3)], [g.TensorArgument("y")], None, None
        )

        class Named:
            def __init__(self, name):
                self.name = name

        part.replace_all_uses_with(Named("x"), Named("z"))
        kinds = [g.SymFloatArgument("a"), g.SymBoolArgument("b"), g.CustomObjArgument("c", "d"), g.TokenArgument("t")]
        return repr(e.ModuleCallEntry("a", part)), repr(e.ModuleCallEntry("b")), repr(kinds)

    agree(program)
    agree(lambda fl: fl.export.export(model(fl), (fl.ones(2, 3),) * 2, preserve_module_call_signature=("none",)), raises=AttributeError)  # fmt: skip

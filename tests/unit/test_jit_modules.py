"""Scripted and traced modules in use: containers, training, nesting, older forms."""

import io
import warnings

import pytest

import flambeau as torch
from flambeau import Tensor, nn


def again(m):
    file = io.BytesIO()
    torch.jit.save(m, file)
    file.seek(0)
    return torch.jit.load(file)


class Old(torch.jit.ScriptModule):
    __constants__ = ["k"]

    def __init__(self):
        super().__init__()
        self.k = 3
        self.l = nn.Linear(2, 2)

    @torch.jit.script_method
    def forward(self, x: Tensor) -> Tensor:
        return self.l(x) * self.k


def test_script_method():
    o, x = Old(), torch.ones(2)
    assert torch.allclose(o(x), o.l(x) * 3)
    assert torch.allclose(again(o)(x), o(x))
    assert "torch.mul" in o.code


def test_containers_and_state():
    s = torch.jit.script(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    other = torch.jit.script(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    other.load_state_dict(s.state_dict())
    x = torch.randn(4, 2)
    assert torch.equal(s(x), other(x))
    assert int(s[1].num_batches_tracked) == 1
    assert len(list(s)) == len(s) == 2
    read = again(s.eval())
    assert torch.equal(read[0].weight, s[0].weight)
    assert torch.equal(read(x), s(x))
    assert repr(s[0]) == "RecursiveScriptModule(original_name=Linear)"


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.i = torch.jit.script(nn.Linear(2, 2))
        self.j = torch.jit.trace(nn.ReLU(), torch.ones(2))

    def forward(self, x):
        return self.j(self.i(x))


def test_compiled_modules_within_one():
    m, x = torch.jit.script(Holder()), torch.randn(3, 2)
    assert torch.equal(m(x), m.i(x).relu())
    assert torch.equal(again(m)(x), m(x))


@torch.jit.script
def magnitude(x: Tensor):
    if x.sum() > 0:
        return x
    return -x


@torch.jit.script_if_tracing
def added(x: Tensor, n: int):
    for i in range(n):
        x = x + i
    return x


def test_traces_keep_compiled_calls():
    traced = torch.jit.trace(lambda x: magnitude(x) * 2, torch.ones(2))
    assert traced(-torch.ones(2)).tolist() == [2, 2]
    assert torch.jit.trace(lambda x: added(x, 3), torch.zeros(1))(torch.zeros(1)).item() == 3


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return x * self.w

    def other(self, x, y):
        return x + y * self.w


def test_trace_module_and_keywords():
    m = torch.jit.trace_module(Two(), {"forward": torch.ones(2), "other": (torch.ones(2), torch.ones(2))})
    assert m.other(torch.ones(2), torch.ones(2)).tolist() == [2, 2]
    k = torch.jit.trace(Two(), example_kwarg_inputs={"x": torch.ones(2)})
    assert k(x=torch.ones(2) * 2).tolist() == [2, 2]


def test_loaded_modules_train():
    m = again(torch.jit.script(nn.Linear(2, 1)))
    optimizer = torch.optim.SGD(m.parameters(), 0.1)
    before = m.weight.clone()
    m(torch.ones(2)).backward()
    optimizer.step()
    assert not torch.equal(before, m.weight)


def test_torch_load_sees_archives(tmp_path):
    torch.jit.script(nn.ReLU()).save(tmp_path / "m.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = torch.load(tmp_path / "m.pt", weights_only=False)
    assert m(torch.ones(1)).item() == 1


def test_compilation_unit():
    unit = torch.jit.CompilationUnit("def f(a: int) -> int:\n  return a + 1\n")
    assert unit.f(2) == 3


def tries(x: Tensor):
    try:
        return x
    except Exception:
        return x


def test_syntax_that_is_not_torchscript():
    with pytest.raises(torch.jit.frontend.UnsupportedNodeError, match="try blocks aren't supported"):
        torch.jit.script(tries)
    s = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="Can't set constant 'in_features' which has value:2"):
        s.in_features = 3
    with pytest.raises(RuntimeError, match="does not have a __getstate__ method defined"):
        torch.save(s, io.BytesIO())


def test_the_switch(monkeypatch):
    from flambeau.jit import _state

    monkeypatch.setattr(_state._enabled, "enabled", False)
    m = nn.ReLU()
    assert torch.jit.script(m) is m
    assert torch.jit.script(tries) is tries
    assert torch.jit.trace(m, torch.ones(1)) is m


class Recipe:
    def __init__(self, factor: int, shapes: dict[int, int]):
        self.factor: int = factor
        self.shapes: dict[int, int] = shapes

    def scale(self) -> int:
        return self.factor


class Recipes(nn.Module):
    def __init__(self):
        super().__init__()
        self.by_dims = {1: Recipe(2, {}), 2: Recipe(5, {0: 1})}
        self.listed, self.one, self.odd = [Recipe(3, {})], Recipe(7, {}), object()

    def forward(self, x: Tensor) -> Tensor:
        recipe = self.by_dims[x.ndim]
        for at, _ in recipe.shapes.items():  # keys are whole numbers, not texts
            x = x.unsqueeze(at)
        return x * recipe.scale() + self.listed[0].factor + self.one.factor


def test_objects_of_a_programs_own_classes_in_attributes():
    s = torch.jit.script(Recipes())
    assert s(torch.ones(2)).tolist() == [12, 12]
    assert s(torch.ones(1, 2)).shape == (1, 1, 2)


def test_a_graph_of_fx_is_scripted():
    class Cut(nn.Module):
        def forward(self, x):
            return x[..., :1] + x[..., 1:], x.shape[:-1]

    graph = torch.fx.symbolic_trace(Cut())
    x = torch.arange(6.0).reshape(3, 2)
    assert "slice(None, 1, None)" in graph.code
    found, size = torch.jit.script(graph)(x)
    assert torch.equal(found, x[:, :1] + x[:, 1:])
    assert size == [3]


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Counted(tuple):
    """A tuple that says of itself what it likes, as group representations do."""

    def __len__(self):
        raise NotImplementedError

    def __iter__(self):
        raise NotImplementedError


def test_attributes_that_are_tuples_with_manners_of_their_own():
    m = Double()
    m.pair = Counted((1, 2))
    assert torch.jit.script(m).pair == (1, 2)


def named_slices(x: Tensor, n: int):
    s = slice(1, n)
    x[slice(0, 1)] = 7
    return x[s], x[:, slice(1)], x[slice(n, None), None], x[(Ellipsis, slice(None, None, 2))], [1, 2, 3][slice(2)]


def test_slices_by_name():
    def x():
        return torch.arange(8.0).reshape(4, 2)

    s = torch.jit.script(named_slices)
    for a, b in zip(s(x(), 3), named_slices(x(), 3), strict=True):
        assert a == b if isinstance(a, list) else torch.equal(a, b)
    assert "torch.slice(x, 0, 1, n)" in s.code


def contracted(a: Tensor, b: Tensor):
    out = torch.empty(0)
    c = torch.functional.tensordot(a, b, ([0], [1]), out=None)
    return c, torch.tensordot(a, b, 1, out=out), out


def test_tensordot_takes_out():
    a, b = torch.randn(3, 3), torch.randn(3, 3)
    for x, y in zip(torch.jit.script(contracted)(a, b), contracted(a, b), strict=True):
        torch.testing.assert_close(x, y)

"""TorchScript: scripted and traced programs, and archives, against PyTorch."""

import copy
import io
import json
from pathlib import Path

import pytest

import flambeau
from tests.unit import jit_programs as programs

DATA = Path(__file__).parent.parent / "data" / "jit"


def plain(v):
    """Results as comparable values."""
    if hasattr(v, "detach"):
        return [str(v.dtype).rpartition(".")[2], v.detach().tolist()]
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    return v if isinstance(v, (int, float, str, bool, type(None))) else str(v)


def same(a, b, tolerance=1e-5):
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y, tolerance)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a:
            same(a[k], b[k], tolerance)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance)
    else:
        assert a == b


def ramp(t):
    def make(*sizes):
        n = 1
        for s in sizes:
            n *= s
        return t.arange(float(n)).reshape(*sizes)

    return make


@pytest.fixture
def ours():
    return programs.functions(flambeau)


def through(m, reader):
    file = io.BytesIO()
    flambeau.jit.save(m, file)
    file.seek(0)
    return reader.jit.load(file)


@pytest.mark.parametrize("name", programs.ARGUMENTS)
def test_functions_do_what_python_does(ours, name):
    scripted = flambeau.jit.script(ours[name])
    again = through(scripted, flambeau)
    count = len(programs.ARGUMENTS[name](flambeau, ramp(flambeau)))
    for i in range(count):
        runs = [programs.ARGUMENTS[name](flambeau, ramp(flambeau))[i] for _ in range(3)]
        want = plain(ours[name](*runs[0]))
        same(plain(scripted(*runs[1])), want)
        same(plain(again(*runs[2])), want)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", programs.ARGUMENTS)
def test_pytorch_runs_our_functions(torch, ours, name):
    theirs = through(flambeau.jit.script(ours[name]), torch)
    direct = torch.jit.script(programs.functions(torch)[name])
    for i in range(len(programs.ARGUMENTS[name](torch, ramp(torch)))):
        a, b = (programs.ARGUMENTS[name](torch, ramp(torch))[i] for _ in range(2))
        same(plain(theirs(*a)), plain(direct(*b)))


def ready(name):
    flambeau.manual_seed(0)
    return programs.modules(flambeau)[name]().eval()


@pytest.mark.parametrize("name", programs.INPUTS)
def test_modules_do_what_python_does(name):
    m = ready(name)
    x = programs.INPUTS[name](flambeau)
    want = plain(ready(name)(*x))
    scripted = flambeau.jit.script(m)
    assert isinstance(scripted, flambeau.jit.ScriptModule)
    same(plain(scripted(*x)), want)
    fresh = flambeau.jit.script(ready(name))
    same(plain(through(fresh, flambeau)(*x)), want)
    assert sorted(scripted.state_dict()) == sorted(m.state_dict())


@pytest.mark.parametrize("name", ["Mlp", "Conv", "Lstm", "Block", "TEnc"])
def test_traces_do_what_python_does(name):
    m = ready(name)
    x = programs.INPUTS[name](flambeau)
    traced = flambeau.jit.trace(m, x)
    more = tuple(flambeau.cat([i, i, i]) for i in x)  # another batch size than was traced
    for args in (x, more):
        same(plain(traced(*args)), plain(m(*args)))
    same(plain(through(traced, flambeau)(*more)), plain(m(*more)))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
@pytest.mark.parametrize("name", programs.INPUTS)
def test_pytorch_runs_our_modules(torch, name, how):
    if how != "script" and name in ("Control", "Dicts"):
        pytest.skip("has branches on values, or state")
    m = ready(name)
    x = programs.INPUTS[name](flambeau)
    made = flambeau.jit.trace(m, x) if how == "trace" else flambeau.jit.script(m)
    if how == "freeze":
        made = flambeau.jit.freeze(made)
        assert not list(made.parameters())
    want = plain(ready(name)(*x))
    same(plain(through(made, torch)(*programs.INPUTS[name](torch))), want, 1e-4)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("name", programs.INPUTS)
def test_we_run_pytorch_modules(torch, name, how):
    if how != "script" and name in ("Control", "Dicts"):
        pytest.skip("has branches on values, or state")
    torch.manual_seed(0)
    m = programs.modules(torch)[name]().eval()
    x = programs.INPUTS[name](torch)
    made = torch.jit.trace(m, x, check_trace=False) if how == "trace" else torch.jit.script(m)
    file = io.BytesIO()
    torch.jit.save(made, file)
    want = plain(made(*x))
    again = through(flambeau.jit.load(io.BytesIO(file.getvalue())), torch)
    file.seek(0)
    same(plain(flambeau.jit.load(file)(*programs.INPUTS[name](flambeau))), want, 1e-4)
    same(plain(again(*x)), want, 1e-4)


@pytest.mark.parametrize("file", sorted(DATA.glob("*.pt")), ids=lambda f: f.stem)
def test_archives_that_pytorch_wrote(file):
    """Written by PyTorch 2.13; the answer it gave stands in the archive."""
    extra = {"answer.json": ""}
    m = flambeau.jit.load(file, _extra_files=extra)
    name = file.stem.partition("-")[0]
    same(plain(m(*programs.INPUTS[name](flambeau))), json.loads(extra["answer.json"]), 1e-4)
    assert m.code.startswith("def forward(self")


def test_gradients_flow():
    def f(x, n: int):
        for i in range(n):
            x = x * x.sin()
        return x.sum()

    x = flambeau.randn(3, requires_grad=True)
    flambeau.jit.script(f)(x, 3).backward()
    y = x.detach().clone().requires_grad_()
    f(y, 3).backward()
    assert flambeau.equal(x.grad, y.grad)


def test_scripted_modules_train_copy_and_move():
    m = flambeau.nn.Sequential(flambeau.nn.Linear(3, 4), flambeau.nn.BatchNorm1d(4), flambeau.nn.Linear(4, 1))
    s = flambeau.jit.script(m)
    twin = copy.deepcopy(s)
    opt = flambeau.optim.SGD(s.parameters(), lr=0.1)
    x = flambeau.randn(8, 3)
    s(x).square().mean().backward()
    opt.step()
    assert m[0].weight is s.get_parameter("0.weight")  # shared with the module it was made from
    assert not flambeau.equal(twin.state_dict()["0.weight"], s.state_dict()["0.weight"])
    assert s.original_name == "Sequential"
    assert not s.eval().training
    assert s.double()(x.double()).dtype == flambeau.float64
    assert [n for n, _ in s.named_children()] == ["0", "1", "2"]
    assert len(s) == 3


class Point:
    def __init__(self, x: int, y: int):
        self.x = x
        self.y = y

    def norm(self) -> int:
        return self.x * self.x + self.y * self.y

    def __add__(self, other: "Point") -> "Point":
        return Point(self.x + other.x, self.y + other.y)


def use_points(a: int) -> int:
    p = Point(a, 2) + Point(1, 1)
    p.x += 1
    return p.norm()


def test_classes():
    assert flambeau.jit.script(use_points)(3) == 34


def test_graph_and_code_are_printed():
    def f(x: flambeau.Tensor, k: int = 2):
        return flambeau.relu(x) * k

    s = flambeau.jit.script(f)
    assert s.code == "def f(x: Tensor,\n    k: int=2) -> Tensor:\n  return torch.mul(torch.relu(x), k)\n"
    assert "aten::mul" in str(s.graph)
    assert flambeau.jit.export_opnames(flambeau.jit.script(flambeau.nn.ReLU())) == ["aten::relu", "aten::relu_"]


def wrong_return(x: int) -> str:
    return x


def wrong_name(x: int):
    return nowhere(x)  # noqa: F821


def wrong_argument(x: int):
    return flambeau.relu(x)


@pytest.mark.parametrize(
    "fn, message",
    [
        (wrong_return, "Return value was annotated as having type str but is actually of type int"),
        (wrong_name, "undefined value nowhere"),
        (wrong_argument, "Expected a value of type 'Tensor' for argument 'self' but instead found type 'int'"),
    ],
)
def test_type_errors(fn, message):
    with pytest.raises(RuntimeError, match=message):
        flambeau.jit.script(fn)


def test_calls_are_checked():
    s = flambeau.jit.script(use_points)
    with pytest.raises(
        RuntimeError,
        match=r"use_points\(\) Expected a value of type 'int' for argument 'a' but instead found type 'str'",
    ):
        s("x")
    with pytest.raises(RuntimeError, match=r"use_points\(\) is missing value for argument 'a'"):
        s()


def test_trace_warns_of_values_that_leave():
    def f(x):
        return x * 2 if x.sum() > 0 else x

    with pytest.warns(flambeau.jit.TracerWarning, match="Converting a tensor to a Python boolean"):
        traced = flambeau.jit.trace(f, flambeau.ones(2), check_trace=False)
    assert traced(-flambeau.ones(2)).tolist() == [-2, -2]

"""Parts of TorchScript's language, each under both libraries: enums, named tuples, interfaces, properties, strings, dicts, early returns."""

import importlib.util
import io
import math
import sys

import pytest

import flambeau
from tests.unit.test_jit import plain

SOURCE = """
import enum
from typing import *
class Color(enum.Enum):
    RED = 1
    BLUE = 2
class P(NamedTuple):
    a: Tensor
    n: int
def enums(c: Color) -> int:
    if c == Color.RED:
        return c.value
    return len(c.name)
def tuples(x: Tensor) -> P:
    p = P(x, 3)
    return P(p.a * p.n, n=p.n + 1)
@torch.jit.interface
class Face(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass
class Impl(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2
class Uses(nn.Module):
    f: Face
    def __init__(self):
        super().__init__(); self.f = Impl()
    def forward(self, x: Tensor) -> Tensor:
        return self.f.forward(x) + 1
class Acts(nn.Module):
    def __init__(self):
        super().__init__(); self.act = F.relu; self.l = nn.Linear(2,2); self.none = None; self.opt: Optional[int] = None
        self.const_list = [1, 2, 3]
    @property
    def total(self) -> int:
        return len(self.const_list)
    @torch.jit.unused
    def bad(self, x): return eval("x")
    @torch.jit.ignore
    def py(self, x: Tensor) -> Tensor: return x + 10
    @staticmethod
    def st(x: Tensor) -> Tensor: return x - 1
    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.l(x)).detach() * 0 + x
        if self.none is not None:
            y = self.none(y)
        if torch.jit.is_scripting():
            y = y + 1
        else:
            y = self.bad(y)
        y = self.py(y) + self.total
        n = self.opt
        if n is not None:
            y = y + n
        for i in self.const_list:
            y = y + i
        return self.st(y)
class Base(nn.Module):
    def forward(self, x): return x + 1
class Sub(Base):
    def __init__(self):
        super().__init__(); self.k = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])
    def forward(self, x):
        y = super().forward(x)
        for p in self.k: y = y * p
        return y
def forked(x: Tensor) -> Tensor:
    f = torch.jit.fork(inner, x)
    return torch.jit.wait(f) + 1
def inner(x: Tensor): return x * 3
def strs(s: str, n: int) -> List[str]:
    return [s[0:2], s.upper(), ",".join([s, str(n)]), "%s-%d" % (s, n), s.replace("a", "b"), s[-1], str(1.5), str([1, 2])]
def dicts(d: Dict[str, Tensor]) -> Tuple[List[str], Tensor, int]:
    t = torch.zeros(1)
    for k in d: t = t + d[k].sum()
    e = {k: 1 for k in d.keys()}
    e["q"] = 5
    return sorted(list(d.keys())), t, sum(list(e.values()))
def comment(x, n=2):
    # type: (Tensor, int) -> Tensor
    return x * n
def becomes(xs: List[Tensor]) -> Tuple[Tensor, str, int]:
    parts = [x.reshape(-1) for x in xs]
    parts = torch.cat(parts)
    n: int = 3
    n = "three"
    count = 1
    if parts.sum() > 0:
        local = 2
        local = parts
        count = int(local.sum())
        if local.numel() > 100: return local, "long", 0
        last = 1
        last = "one"
    xs = len(xs)
    return parts * xs, n, count
def nested(x: Tensor) -> Tensor:
    while x.sum() < 50:
        for i in range(10):
            if i > 5: return x
            x = x + i
    return x * 0
def opt(x: Optional[int] = None, y: Optional[List[int]] = None) -> int:
    if x is not None and y is not None and len(y) > x:
        return y[x]
    return -1 if x is None else x
def shapes(x: Tensor) -> Tensor:
    b, c = x.shape
    x = x.view(b, 1, c).permute(0, 2, 1).expand(-1, -1, 2)
    return torch.stack([x, x], 0).sum((0, 1)).to(torch.float64) + torch.arange(2)
def anyt(x: Tensor, dim: int = -1) -> Tuple[Tensor, Tensor]:
    v, i = torch.max(x, dim)
    m = torch.where(x > 1, x, torch.zeros_like(x))
    m[m == 2] = 7
    return v, m.clamp(min=0.5)
"""
NAMES = [
    "enums",
    "tuples",
    "Uses",
    "Acts",
    "Sub",
    "forked",
    "strs",
    "dicts",
    "comment",
    "becomes",
    "nested",
    "opt",
    "shapes",
    "anyt",
]
NOT_SAVED = ("Acts",)  # calls Python


def load(t, folder):
    """The source as a module of its own, written against one of the libraries."""
    file = folder / "jit_features.py"
    file.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("jit_features", file)
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(torch=t, nn=t.nn, F=t.nn.functional, Tensor=t.Tensor)
    sys.modules["jit_features"] = module
    spec.loader.exec_module(module)
    return module


def calls(t, m, name):
    def a(*sizes):
        return t.arange(1.0 * math.prod(sizes)).reshape(*sizes)

    return {
        "enums": [(m.Color.RED,), (m.Color.BLUE,)], "tuples": [(a(2),)], "Uses": [(a(2),)], "Acts": [(a(1, 2),)], "Sub": [(a(2),)],
        "forked": [(a(2),)], "strs": [("abc", 3)], "dicts": [({"b": a(2), "a": a(3)},)], "comment": [(a(2),)], "becomes": [([a(2), a(3)],), ([a(2) * 0],)], "nested": [(a(3),)],
        "opt": [(1, [5, 6, 7]), (None, None), (9, [1])], "shapes": [(a(2, 3),)], "anyt": [(a(2, 3),)],
    }[name]  # fmt: skip


def scripted(t, m, name):
    made = getattr(m, name)
    return t.jit.script(made() if isinstance(made, type) else made)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in NAMES if n != "Sub"])  # PyTorch has no super()
def test_as_pytorch(torch, tmp_path, name):
    theirs = load(torch, tmp_path)
    s = scripted(torch, theirs, name)
    want = [plain(s(*c)) for c in calls(torch, theirs, name)]
    ours = load(flambeau, tmp_path)
    f = scripted(flambeau, ours, name)
    assert [plain(f(*c)) for c in calls(flambeau, ours, name)] == want
    if name not in NOT_SAVED:
        file = io.BytesIO()
        flambeau.jit.save(f, file)
        file.seek(0)
        read = torch.jit.load(file)
        if name != "enums":  # an enum of an archive is another class
            assert [plain(read(*c)) for c in calls(torch, theirs, name)] == want


@pytest.mark.filterwarnings("ignore")
def test_variables_of_an_outer_block_keep_their_type(agree, tmp_path):
    (tmp_path / "outer.py").write_text("""
def branch(x):
    y = 1
    if x.sum() > 0:
        y = "s"
    return y
def loop(x):
    y = 1
    for i in range(3):
        y = [x]
    return y
def converted(x):
    y = 1
    if x.sum() > 0:
        y = x
    return y
""")
    spec = importlib.util.spec_from_file_location("outer", tmp_path / "outer.py")
    m = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(m)
    said = "Variable 'y' previously had type int but is now being assigned to a value of type "
    for name in ("branch", "loop"):
        with pytest.raises(RuntimeError, match=said):
            flambeau.jit.script(getattr(m, name))
    agree(lambda fl: fl.jit.script(m.converted)(fl.tensor(2)))


@pytest.mark.filterwarnings("ignore")
def test_an_error_shows_the_lines_around(agree):
    class Model:  # of either library, below
        def forward(self, x):
            y = x + 1
            # of the lines before, two
            if y.sum() > 0:
                y = y.unknown()
            else:
                y = x
            # of the lines after, two
            return y

    def said(fl):
        made = type("Model", (fl.nn.Module,), {"forward": Model.forward})()
        try:
            fl.jit.script(made)
        except RuntimeError as problem:
            return "\n".join(str(problem).split("\n")[3:])  # after the message, the file and the line

    agree(said)
    assert said(flambeau).split("\n")[3:5] == [20 * " " + "~~~~~~~~~ <--- HERE", 12 * " " + "else:"]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "Acts"])
def test_as_python(tmp_path, name):
    ours = load(flambeau, tmp_path)
    f = scripted(flambeau, ours, name)
    made = getattr(ours, name)
    python = made() if isinstance(made, type) else made
    for i in range(len(calls(flambeau, ours, name))):
        assert plain(f(*calls(flambeau, ours, name)[i])) == plain(python(*calls(flambeau, ours, name)[i]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_lists_for_tuples_and_no_trace_within_scripts(agree, tmp_path):
    """A list of the right length is a tuple where one is expected; scripts may ask for a trace, and there is none."""
    path = tmp_path / "program.py"
    source = """
def pair(a: Tuple[Tensor, Tensor], n: int) -> Tensor:
    if torch._C._get_tracing_state():
        return a[1]
    return a[0] + a[1] * n
"""

    def program(fl):
        path.write_text(
            f"from typing import Tuple\nimport {fl.__name__} as torch\nfrom {fl.__name__} import Tensor\n{source}"
        )
        spec = importlib.util.spec_from_file_location("program", path)
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        pair = fl.jit.script(made.pair)
        said = []
        for wrong in ([fl.ones(2)], [1, 2], "ab"):
            try:
                pair(wrong, 1)
            except RuntimeError as problem:
                said.append(str(problem).split("\n")[0])
        return [pair([fl.ones(2), fl.ones(2)], 3), pair((fl.ones(2), fl.ones(2)), 3), said]

    agree(program)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_functions_scripted_if_traced_are_called_from_scripts(agree, tmp_path):
    path = tmp_path / "program.py"
    source = """
@torch.jit.script_if_tracing
def halves(x: torch.Tensor) -> torch.Tensor:
    return x / 2
def uses(x: torch.Tensor) -> torch.Tensor:
    return halves(x) + 1
"""

    def program(fl):
        path.write_text(f"import {fl.__name__} as torch\n{source}")
        spec = importlib.util.spec_from_file_location("program", path)
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return fl.jit.script(made.uses)(fl.ones(2))

    agree(program)

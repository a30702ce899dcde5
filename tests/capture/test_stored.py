"""Programs on disk: a graph that was met before is neither lowered nor scheduled again, and computes the same."""

import importlib.util
import marshal
import os
import subprocess
import sys

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._backends.cpu.engine import engine
from flambeau._capture import backends, lower, program, recalled, stored
from flambeau._eager import large
from flambeau._ground import flags, source
from flambeau._ground.cache import Cache
from flambeau.fx.experimental.proxy_tensor import make_fx

F = nn.functional
pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(engine(), "store", Cache(tmp_path))
    return tmp_path


def _writes(x, y):
    x.mul_(2)
    y[1:3].add_(x[0, :2].sum())
    return x.t(), y * 1, None, x.sum()


CASES = {
    "pointwise": (lambda x, y: (x.sin() * y + 1, x.relu().sum(1)), [(5, 7), (7,)]),
    "rows": (lambda x: (torch.softmax(x, 1), F.layer_norm(x, (40,))), [(9, 40)]),
    "products": (lambda x, y: F.linear(x, y).relu() @ y, [(17, 10), (33, 10)]),
    "windows": (lambda x, w: F.max_pool2d(F.conv2d(x, w, padding=1).relu(), 2), [(2, 3, 8, 8), (4, 3, 3, 3)]),
    "writes": (_writes, [(4, 6), (5,)]),
    "parts": (lambda x: (x * 2).split(2, 1), [(4, 6)]),
    "sort": (lambda x: torch.sort(x * 2, 1)[0].exp() + x, [(4, 6)]),
    "no loops": (lambda x: torch.polygamma(2, x.abs() + 1) * x, [(4, 6)]),
    "dtypes": (lambda x: (x.to(torch.bfloat16).to(torch.float64), x > 0, torch.full_like(x, -0.0)), [(4, 6)]),
    "inverse": (lambda x: torch.linalg.inv(x @ x.t() + torch.eye(5)).sum(0), [(5, 5)]),
    "join": (lambda x, y: torch.cat([x, y, x * y], 1), [(4, 6), (4, 6)]),
}


def _met_again(f, args, monkeypatch):
    """Results of a program made now, and of the same one from the disk."""
    gm = make_fx(f)(*(a.clone() for a in args))
    first = lower.Compiled(gm, args)
    with monkeypatch.context() as m:
        m.setattr(lower, "drawn", lambda *_: pytest.fail("the program was made anew"))
        second = lower.Compiled(gm, args)
    return first, second


@pytest.mark.parametrize("name", CASES)
def test_found_programs_are_the_same(name, folder, monkeypatch):
    f, shapes = CASES[name]
    args = [torch.randn(s) for s in shapes]
    first, second = _met_again(f, args, monkeypatch)
    assert (second.kernels, second.calls, second.arena_size) == (first.kernels, first.calls, first.arena_size)
    assert marshal.loads(stored.packed(second.plan)) == marshal.loads(stored.packed(first.plan))
    for _ in range(2):
        one, two = ([a.clone() for a in args] for _ in range(2))
        for x, y in zip([*first(*one), *one], [*second(*two), *two], strict=True):
            assert (x is None) == (y is None)
            if x is not None:
                assert (x.shape, x.stride(), x.dtype) == (y.shape, y.stride(), y.dtype)
                assert torch.equal(x, y)


def test_random_numbers_of_a_found_program(folder, monkeypatch):
    first, second = _met_again(lambda x: F.dropout(x, 0.5) + torch.rand_like(x), [torch.ones(6, 7)], monkeypatch)
    out = []
    for made in (first, second):
        torch.manual_seed(3)
        out.append([made(torch.ones(6, 7))[0] for _ in range(2)])
    assert all(map(torch.equal, *out))


def _key(f, *args):
    return stored.key(make_fx(f)(*(a.clone() for a in args)), args)


def test_what_a_program_depends_on_is_in_its_key(folder):
    x = torch.randn(4, 4)
    base = _key(lambda x: (x + 1.0).sum(1), x)
    assert base == _key(lambda y: (y + 1.0).sum(1), x.clone())
    others = [
        _key(lambda x: (x + 2.0).sum(1), x),
        _key(lambda x: (x + 1).sum(1), x),
        _key(lambda x: (x + 1.0).sum(0), x),
        _key(lambda x: (x - 1.0).sum(1), x),
        _key(lambda x: (x + 1.0).sum(1), x.t()),
        _key(lambda x: (x + 1.0).sum(1), x.double()),
        _key(lambda x: (x + 1.0).sum(1), torch.randn(4, 5)),
        _key(lambda x: ((x + 1.0).sum(1), x), x),
    ]
    assert len({repr(k) for k in (base, *others)}) == 1 + len(others)


def test_damaged_entries_are_made_anew(folder):
    f, x = lambda x: x.exp().sum(1) * 2, torch.randn(5, 9)
    gm = make_fx(f)(x)
    lower.Compiled(gm, [x])
    path = engine().store.path(stored.key(gm, [x]))
    whole = path.read_bytes()
    for data in (b"", whole[:-9], whole[:60] + b"\xff\x00" + whole[62:]):
        path.write_bytes(data)
        assert torch.allclose(lower.Compiled(gm, [x])(x)[0], f(x))
        assert path.read_bytes() == whole
    engine().store.put(stored.key(gm, [x]), b"not a program")
    assert torch.allclose(lower.Compiled(gm, [x])(x)[0], f(x))


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(engine(), "store", Cache(tmp_path / "file"))
    x = torch.randn(5, 9)
    program = lower.Compiled(make_fx(lambda x: x.sin() + 1)(x), [x])
    assert torch.allclose(program(x)[0], x.sin() + 1)


def test_constants_are_part_of_the_key():
    def key(held):
        x = torch.randn(3)
        return stored.key(make_fx(lambda x: x / held)(x), [x])

    different = [
        [1.0, 2.0, 3.0],
        [1.0, 2.0, 4.0],
        [0.0, 0.0, 0.0],
        [-0.0, -0.0, -0.0],
        [0.0, -0.0, 0.0],
        [0.0, 0.0, -0.0],
    ]
    keys = [key(torch.tensor(held)) for held in different]
    assert None not in keys
    assert all(keys[i] != keys[j] for i in range(len(keys)) for j in range(i))
    assert key(torch.tensor(different[0])) == keys[0]
    for held in different[2:]:
        x = torch.ones(3)
        program = lower.Compiled(make_fx(lambda x, held=held: x / torch.tensor(held))(x), [x])
        assert program(x)[0].tolist() == (x / torch.tensor(held)).tolist()


def test_large_constants_have_no_key():
    held = torch.randn(100_000)
    gm = make_fx(lambda x: x + held)(torch.randn(100_000))
    assert stored.key(gm, [held]) is None


def test_a_mistake_in_lowering_is_told_and_the_program_runs(monkeypatch, capsys):
    """An exception of the compiler's own is no exception of the function."""

    def broken(*_):
        raise IndexError("a mistake")

    monkeypatch.setattr(lower, "Compiled", broken)
    calls = []

    def f(x):
        calls.append(1)
        return x * 2 + 1

    compiled = torch.compile(f)
    with flags.override("logs", "breaks"), flags.override("strict", False), pytest.warns(RuntimeWarning, match="a program runs operator by operator: IndexError: a mistake"):  # fmt: skip
        assert compiled(torch.ones(3)).tolist() == [3, 3, 3]
    told = capsys.readouterr().err
    assert "the compiler has made a mistake" in told
    assert "IndexError: a mistake" in told
    assert len(compiled._captures.first.entries) == 1  # captured all the same, once
    assert compiled(torch.zeros(3)).tolist() == [1, 1, 1]
    assert calls == [1, 1]
    assert backends.BACKENDS["inductor"] is backends.native


PROGRAM = """
import flambeau as torch
from flambeau import nn
from flambeau._capture import lower
from flambeau._ground import source
made = []
drawn = lower.drawn
lower.drawn = lambda *a: (made.append(1), drawn(*a))[1]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
opt = torch.optim.Adam(model.parameters())
x, y = torch.randn(256, 10), torch.randn(256, 1)
compiled = []
source.compile = lambda *a: (compiled.append(a), compile(*a))[1]
@torch.compile
def step():
    opt.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    opt.step()
    return loss.detach()
texts = len(compiled)
print([float(step()) for _ in range(4)])
print(len(made))
print(len(compiled) > texts)
"""


def test_a_second_process_schedules_nothing(tmp_path):
    out = []
    for sealed in ("0", "1"):
        env = os.environ | {"FLAMBEAU_CACHE_DIR": str(tmp_path), "FLAMBEAU_ASSERT_CACHED": sealed}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
        out.append(done.stdout.splitlines())
    assert out[0][0] == out[1][0]
    assert (out[0][1], out[1][1]) == ("2", "0")  # the first step is a program of its own: it makes the state
    assert (out[0][2], out[1][2]) == ("True", "False")  # whether a text was compiled


def _pieces(x, y):
    first, _ = torch.split(x, 2, 1)
    return first * torch.tensor([1.0, 2.0]), x[1:].sum(), torch.sort(y * 2, 0, descending=True)[0]


def _mixture(x, y):
    y.add_(x.sum(0))
    x[:, 1].mul_(3)
    return F.dropout(x, 0.25) + y, None


@pytest.mark.parametrize("f", [_pieces, _mixture, lambda x, y: (x.softmax(1).to(torch.float64), y > 0)])
def test_a_program_that_was_met_before_needs_no_graph(f, folder, monkeypatch):
    """Its key is read off the recorder's lines, and is that of the graph."""
    args = [torch.randn(5, 4), torch.randn(4)]
    first = torch.compile(f)
    torch.manual_seed(1)
    once = first(*(a.clone() for a in args))
    made = first._captures.first.entries[0].program
    assert recalled.key(made) == stored.key(made.module, args) is not None
    with monkeypatch.context() as m:
        m.setattr(program, "_module", lambda *_: pytest.fail("a graph is made"))
        second = torch.compile(f)
        torch.manual_seed(1)
        mine = [a.clone() for a in args]
        twice = second(*mine)
    for x, y in zip(once, twice, strict=True):
        assert (x is None) == (y is None)
        assert x is None or torch.equal(x, y)
    again = second._captures.first.entries[0].program
    assert str(again.module.graph) == str(made.module.graph)  # made where somebody asks for it
    for _ in range(2):  # arguments of another layout go node by node, where the capture serves them at all
        other = [torch.randn(4, 5).t(), torch.randn(4)]
        mine, theirs = ([a.clone(memory_format=torch.preserve_format) for a in other] for _ in range(2))
        torch.manual_seed(2)
        got = second(*mine)
        torch.manual_seed(2)
        wanted = f(*theirs)
        for x, y in zip([*got, *mine], [*wanted, *theirs], strict=True):
            assert (x is None) == (y is None)
            assert x is None or torch.allclose(x, y)


def test_versions_of_what_a_recalled_program_writes(folder):
    def f(x):
        x.add_(1)
        x.mul_(2)
        return x.sum()

    counts = []
    for _ in range(2):
        x = torch.ones(3)
        torch.compile(f)(x)
        counts.append(x._version)
    assert counts == [2, 2]


def test_damaged_facts_of_a_program_are_a_miss(folder):
    f, x = lambda x: x.exp().sum(1) * 2, torch.randn(5, 9)
    g = torch.compile(f)
    g(x)
    path = engine().store.path([*recalled.key(g._captures.first.entries[0].program), ("about", "writes")])
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    assert torch.allclose(torch.compile(f)(x), f(x))
    assert path.read_bytes() == whole
    for data in (b"", b"no facts", marshal.dumps(5)):
        engine().store.put([*recalled.key(g._captures.first.entries[0].program), ("about", "writes")], data)
        assert torch.allclose(torch.compile(f)(x), f(x))


def test_long_texts_are_compiled_once(tmp_path, monkeypatch):
    store = Cache(tmp_path)
    monkeypatch.setattr(source, "_store", lambda: store)
    text = "def f(x):\n" + "    x += 1\n" * 500 + "    def inner():\n        raise ValueError(x)\n    inner()\n"
    for _ in range(2):
        made = source.build("f", text, {}, kept=True)
        with pytest.raises(ValueError, match="500") as e:
            made(0)
        assert e.traceback[-1].path == made.__code__.co_filename or str(e.traceback[-1].path).endswith(
            made.__code__.co_filename
        )
        assert str(e.traceback[-1].statement).strip() == "raise ValueError(x)"  # linecache knows the file
    assert (store.hits, store.misses) == (1, 1)
    path = store.path([("python text", text), ("bytecode", importlib.util.MAGIC_NUMBER + b"\0")])
    path.write_bytes(path.read_bytes()[:-5])
    assert source.build("f", text, {}, kept=True).__code__.co_name == "f"
    assert store.damaged == 1
    store.put([("python text", text), ("bytecode", importlib.util.MAGIC_NUMBER + b"\0")], marshal.dumps(7))
    assert source.build("f", text, {}, kept=True).__code__.co_name == "f"


def test_texts_on_a_shelf_are_compiled_once(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(source, "compile", lambda *a: (compiled.append(a), compile(*a))[1], raising=False)
    parts = [("function", "f")]
    texts = [f"def f(x):\n    def inner():\n        raise ValueError(x + {i})\n    inner()\n" for i in range(3)]

    def build(store):
        compiled.clear()
        with source.shelf(store, parts):
            made = [source.build("f", text, {}) for text in texts]
        for i, f in enumerate(made):
            with pytest.raises(ValueError, match=f"^{i + 1}$") as e:
                f(1)
            assert str(e.traceback[-1].statement).strip() == f"raise ValueError(x + {i})"  # linecache knows the file
        return len(compiled)

    store = Cache(tmp_path)
    assert [build(store), build(store)] == [3, 0]
    texts.append(texts[0].replace("x + 0", "x + 3"))
    assert [build(store), build(store)] == [1, 0]
    assert build(Cache(tmp_path / "other")) == 4
    (path,) = (p for p in tmp_path.rglob("*") if len(p.parent.name) == 2 and "other" not in p.parts)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert [build(store), build(store)] == [4, 0]
    key = source.Shelf(store, parts).parts
    mark = next(iter(source.Shelf(store, parts).found))
    for damaged in (b"none", marshal.dumps(7), marshal.dumps({mark: marshal.dumps(7)}), marshal.dumps({mark: b""})):
        store.put(key, damaged)
        assert [build(store), build(store)] == [4, 0]
    monkeypatch.setattr(source, "MOST", 4)
    texts.append(texts[0].replace("x + 0", "x + 4"))
    assert [build(store), build(store)] == [1, 4]  # what has become too much begins anew


def test_a_shelf_in_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with source.shelf(Cache(tmp_path / "file"), [("function", "f")]):
        assert source.build("f", "def f():\n    return 5\n", {})() == 5

"""Captures on disk: a second process interprets nothing where all is as it was, and everything where something is not."""

import abc
import importlib
import marshal
import os
import pathlib
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest

import flambeau as torch
from flambeau import library, nn
from flambeau._backends.cpu.engine import engine
from flambeau._capture import described, entries, recalled, redrawn, remembered
from flambeau._eager import large
from flambeau._ground import flags
from flambeau._ground.cache import Cache
from flambeau._ground.once import Once

pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")
ROOT = pathlib.Path(__file__).parents[2]

TEXT = """
import enum

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F

SCALE = 2.0


class Mode(enum.Enum):
    LOW = 0.5
    HIGH = 4.0


def helper(x, k=3.0):
    return x * k


def twice(f):
    def called(*args):
        return f(*args) * 2

    return called


@twice
def decorated(x):
    return x + 1


class Base(nn.Module):
    factor = 1.5

    def tail(self, x):
        return x.sigmoid()


class Net(Base):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 3)
        self.gain = 2.0
        self.calls = 0.0

    @property
    def ratio(self):
        return 0.5

    def forward(self, x):
        self.calls = self.gain
        return self.tail(decorated(helper(F.gelu(self.lin(x))))) * SCALE * self.factor * self.gain * self.ratio * Mode.LOW.value


def make(shift=0.5, lr=0.01, dtype=None, rows=5):
    torch.manual_seed(0)
    net = Net().to(dtype or torch.float32)
    opt = torch.optim.Adam(net.parameters(), lr=lr)
    x = torch.randn(rows, 4, dtype=dtype)

    def step():
        opt.zero_grad()
        loss = (net(x) + shift).pow(2).mean()
        loss.backward()
        opt.step()
        return loss.detach()

    return net, opt, step
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(engine(), "store", Cache(tmp_path))
    for of, name in ((remembered, "DEFINED"), (library, "_owners"), (library, "_early"), (remembered, "CLASSES")):
        monkeypatch.setattr(of, name, {})  # what other tests defined, in this process
    with flags.override("remember", True):
        yield tmp_path
    sys.modules.pop("a_program", None)


def _loaded(text=TEXT):
    """The program as another process would have it: all of its objects are new ones."""
    made = types.ModuleType("a_program")
    sys.modules["a_program"] = made
    exec(compile(text, "a_program.py", "exec"), made.__dict__)
    return made


def _steps(text=TEXT, change=lambda m, net, opt: None, count=4, **options):
    """Losses and weights of some steps; how many captures were found, kept, and interpreted."""
    m = _loaded(text)
    net, opt, step = m.make(**options)
    change(m, net, opt)
    before = dict(remembered.COUNTS)
    compiled = torch.compile(step)
    losses = [compiled() for _ in range(count)]
    traced = sum(type(e) is entries.Entry for s in compiled._captures.segments.values() for e in s.entries)
    after = remembered.COUNTS
    values = [*losses, *net.parameters(), *(s[k] for s in opt.state.values() for k in sorted(s))]
    bits = [v.detach().numpy().tobytes() for v in values]
    return (bits, net.calls), after["found"] - before["found"], after["kept"] - before["kept"], traced


def test_a_second_process_interprets_nothing():
    first, found, kept, traced = _steps()
    assert (found, kept) == (0, 2)
    assert traced == 2
    assert _steps() == (first, 2, 0, 0)
    with flags.override("remember", False):
        assert _steps()[0] == first


@pytest.mark.parametrize(
    "name",
    [
        "distributed.fsdp.wrap",
        "package.importer",
        "utils._import_utils",
        "onnx",
        "utils.tensorboard",
        "utils.model_zoo",
    ],
)
def test_parts_of_the_library_that_are_rarely_loaded_are_its_own(name):
    try:
        importlib.import_module(f"flambeau.{name}")
    except ImportError as missing:
        pytest.skip(str(missing))
    assert not described.Library.now().foreign
    assert _steps()[1:] == (0, 2, 2)
    assert _steps()[1:] == (2, 0, 0)


def test_what_was_found_is_captured_again_when_it_changes():
    """The entry tells which numbers changed, as one that was captured here does."""

    def run(remember):
        with flags.override("remember", remember):
            m = _loaded()
            net, opt, step = m.make()
            compiled, out = torch.compile(step), []
            for n in range(8):
                opt.param_groups[0]["lr"] = 0.01 / (n + 1)
                out.append(float(compiled()))
            return out, len(compiled._captures.first.entries), sorted(compiled._captures.first.changing)

    fresh = run(False)
    run(True)
    found = remembered.COUNTS["found"]
    assert run(True) == fresh
    assert remembered.COUNTS["found"] - found == fresh[1]


def _patched(target, name, value):
    return lambda m, net, opt: _PATCH[0].setattr(target, name, value)


_PATCH = []


@pytest.fixture
def patch(monkeypatch):
    with monkeypatch.context() as p:
        _PATCH[:] = [p]
        yield p


def _other_linear(x, weight, bias=None):
    return x @ weight.t() + bias * 2


def _swap_class(m, net, opt):
    class Sub(m.Net):
        def tail(self, x):
            return x.tanh()

    net.__class__ = m.Sub = Sub
    Sub.__qualname__ = "Sub"


EDITS = {
    "the function": (".pow(2).mean()", ".pow(2).sum()"),
    "a helper": ("return x * k", "return x + k"),
    "a default": ("k=3.0", "k=4.0"),
    "a global number": ("SCALE = 2.0", "SCALE = 3.0"),
    "a class attribute": ("factor = 1.5", "factor = 2.5"),
    "a method of a base": ("return x.sigmoid()", "return x.tanh()"),
    "a property": ("return 0.5", "return 0.25"),
    "a decorator": ("f(*args) * 2", "f(*args) * 3"),
    "what is decorated": ("return x + 1", "return x + 2"),
    "an attribute": ("self.gain = 2.0", "self.gain = 2.5"),
    "an overridden method": ("    @property\n", "    def tail(self, x):\n        return x.cos()\n\n    @property\n"),
    "a __getattr__": (
        "    @property\n",
        "    def __getattribute__(self, name):\n        return 5.0 if name == 'gain' else super().__getattribute__(name)\n\n    @property\n",
    ),
    "a __setattr__": (
        "    @property\n",
        "    def __setattr__(self, name, value):\n        super().__setattr__(name, value + 1 if name == 'calls' else value)\n\n    @property\n",
    ),
    "a __call__": (
        "    @property\n",
        "    def __call__(self, x):\n        return super().__call__(x) * 3\n\n    @property\n",
    ),
    "one of an enumeration": ("LOW = 0.5", "LOW = 0.75"),
    "an imported function": ("F.gelu", "F.silu"),
}
CHANGES = {
    "a global number": lambda m, net, opt: setattr(m, "SCALE", 7.0),
    "a global that is another function": lambda m, net, opt: setattr(m, "helper", m.decorated),
    "a method": lambda m, net, opt: setattr(m.Net, "tail", lambda self, x: x * 2),
    "a method that another class has": lambda m, net, opt: setattr(m.Net, "tail", m.Net.forward) or setattr(m.Net, "forward", m.Base.tail),
    "a default": lambda m, net, opt: setattr(m.helper, "__defaults__", (5.0,)),
    "code": lambda m, net, opt: setattr(m.helper, "__code__", (lambda x, k: x - k).__code__),
    "a class": _swap_class,
    "an instance's forward": lambda m, net, opt: setattr(net, "forward", lambda x: net.lin(x)),
    "a hook": lambda m, net, opt: net.lin.register_forward_hook(lambda mod, args, out: out * 2),
    "a hook before": lambda m, net, opt: net.register_forward_pre_hook(lambda mod, args: (args[0] * 2,)),
    "a hook of a parameter": lambda m, net, opt: net.lin.weight.register_hook(lambda g: g * 2),
    "a hook of an optimizer": lambda m, net, opt: opt.register_step_pre_hook(lambda o, a, k: None),
    "a parameter without gradient": lambda m, net, opt: net.lin.bias.requires_grad_(False),
    "weight decay": lambda m, net, opt: opt.param_groups[0].update(weight_decay=0.1),
    "amsgrad": lambda m, net, opt: opt.param_groups[0].update(amsgrad=True),
    "betas": lambda m, net, opt: opt.param_groups[0].update(betas=(0.5, 0.9)),
    "a bias that is none": lambda m, net, opt: opt.param_groups[0]["params"].pop() is setattr(net.lin, "bias", None),
    "a module": lambda m, net, opt: setattr(net, "lin", nn.Sequential(nn.Linear(4, 3))),
    "the library's linear": _patched(nn.functional, "linear", _other_linear),
    "a class of the library": _patched(nn.Linear, "forward", lambda self, x: x @ self.weight.t()),
    "a method of tensors": _patched(torch.Tensor, "sigmoid", torch.Tensor.tanh),
    "a method that derivatives use": _patched(torch.Tensor, "__mul__", torch.Tensor.__add__),
    "a function of Python's for one of the library": _patched(nn.functional, "gelu", abs),
    "a default of the library's": lambda m, net, opt: _PATCH[0].setattr(nn.functional.gelu, "__kwdefaults__", {"approximate": "tanh"}),
}  # fmt: skip
OPTIONS = {
    "a closure's number": {"shift": 0.75},
    "a hyperparameter": {"lr": 0.02},
    "a dtype": {"dtype": torch.float64},
    "a shape": {"rows": 6},
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_program_is_captured_anew(what):
    old, new = EDITS[what]
    edited = TEXT.replace(old, new)
    assert edited != TEXT
    with flags.override("remember", False):
        fresh = _steps(edited)[0]
    first = _steps()[0]
    result, found, _, traced = _steps(edited)
    assert result == fresh != first
    assert found == 0 < traced


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_before_the_first_call_is_seen(what, patch):
    first = _steps()[0]
    with flags.override("remember", False):
        fresh = _ended(CHANGES[what])
    patch.undo()
    result = _ended(CHANGES[what])
    patch.undo()
    assert result[0] == fresh[0]
    assert result[1] == 0
    if what != "a method that derivatives use":  # which the library has written meanwhile
        assert _steps()[0] == first
        assert _steps()[:2] == (first, 2)


def _ended(change):
    """What the steps gave, or how they ended."""
    try:
        return _steps(change=change)
    except Exception as error:
        return repr(error), 0


@pytest.mark.parametrize("what", OPTIONS)
def test_other_values_are_captured_anew(what):
    with flags.override("remember", False):
        fresh = _steps(**OPTIONS[what])[0]
    first = _steps()[0]
    result, found, kept, _ = _steps(**OPTIONS[what])
    assert result == fresh != first
    assert found == 0 < kept
    assert _steps(**OPTIONS[what])[:2] == (fresh, 2)
    assert _steps()[:2] == (first, 2)


def test_switches_are_part_of_the_key():
    first = _steps()[0]
    with flags.override("num_threads", 3):
        assert _steps()[1] == 0
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False):
        assert _steps()[1] == 0
    torch.set_float32_matmul_precision("high")
    try:
        assert _steps()[1] == 0
    finally:
        torch.set_float32_matmul_precision("highest")
    torch.set_default_dtype(torch.float64)
    try:
        assert _steps(dtype=torch.float32)[1] == 0
    finally:
        torch.set_default_dtype(torch.float32)
    assert _steps()[:2] == (first, 2)


def test_with_operators_of_ones_own_nothing_is_looked_for():
    first = _steps()[0]
    lib = torch.library.Library("remembered_ns", "DEF")
    try:
        lib.define("twice(Tensor x) -> Tensor")
        lib.impl("twice", lambda x: x + x, "CPU")
        result, found, kept, _ = _steps()
        assert (result, found, kept) == (first, 0, 0)
    finally:
        lib._destroy()
        remembered.library._owners.pop("remembered_ns", None)
    assert _steps()[:2] == (first, 2)


def _kept(f, *args):
    """How many captures of a function were kept, when it was called."""
    before = remembered.COUNTS["kept"]
    torch.compile(f)(*args)
    return remembered.COUNTS["kept"] - before


class _Odd:
    def __get__(self, obj, kind):
        return 3.0


class _WithDescriptor(nn.Module):
    odd = _Odd()

    def forward(self, x):
        return x * self.odd


ARRAY = np.array([1.0, 2.0, 3.0], np.float32)


def _reads_an_array(x):
    return x * torch.tensor(ARRAY)


NAMES = {"a", "b"}


def _goes_through_a_set(x):
    for k in NAMES:
        x = x * len(k)
    return x


def _makes_a_set(x):
    for k in {"a", "bb"}:
        x = x * len(k) + 1
    return x


def _goes_through_common_keys(x):
    for k in {"a": 1, "bb": 2}.keys() & {"bb": 3, "a": 4}.keys():
        x = x * len(k) + 1
    return x


def _hashes(x):
    return x * (hash("a") % 7)


def _imports(x):
    import math

    return x * math.pi


def test_what_cannot_be_told_exactly_is_not_kept():
    x = torch.ones(3)
    assert _kept(lambda x: x * 2, x) == 1
    for f in (
        _goes_through_a_set,
        _makes_a_set,
        _goes_through_common_keys,
        _hashes,
        _imports,
        _reads_an_array,
        _WithDescriptor(),
    ):
        assert _kept(f, x) == 0

    class Local(nn.Module):
        def forward(self, x):
            return x * 2

    local = Local()
    assert _kept(lambda x: local(x), x) == 0
    marked = torch.ones(3)
    marked.note = 5
    assert _kept(lambda x: x * 3, marked) == 0


def test_random_numbers_are_those_of_a_capture():
    drop = nn.Dropout(0.5)

    def run():
        torch.manual_seed(3)
        f = torch.compile(lambda x: drop(x) + torch.rand_like(x))
        return [f(torch.ones(50)).numpy().tobytes() for _ in range(3)]

    first, found = run(), remembered.COUNTS["found"]
    assert run() == first
    assert remembered.COUNTS["found"] == found + 1


@pytest.mark.parametrize("how", ["cut", "flipped", "nothing", "other", "list"])
def test_damaged_entries_are_made_anew(how, folder):
    first = _steps()[0]
    store = engine().store
    for path in folder.glob("*/*"):
        raw = path.read_bytes()
        if how == "cut":
            path.write_bytes(raw[: len(raw) // 2])
        elif how == "flipped":
            path.write_bytes(raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])
        elif how == "nothing":
            path.write_bytes(b"")
    get = store.get
    if how in ("other", "list"):  # whole entries of something else

        def other(parts):
            data = get(parts)
            if data is None or parts[-1][0] != "capture":
                return data
            facts = marshal.loads(data)
            return marshal.dumps([1, 2] if how == "list" else {k: facts[k] for k in [*facts][:7]})

        store.get = other
    result, found, *_ = _steps()
    assert (result, found) == (first, 0)
    if how not in ("other", "list"):
        assert _steps()[:2] == (first, 2)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(engine(), "store", Cache(tmp_path / "file"))
    first = _steps()[0]
    result, found, kept, _ = _steps()
    assert (result, found, kept) == (first, 0, 0)


def test_captures_of_one_function_are_bounded():
    def run(n):
        return torch.compile(lambda x: x * n + 1)(torch.ones(3))

    assert all(float(run(n)[0]) == n + 1 for n in range(2, 14))
    found = remembered.COUNTS["found"]
    assert all(float(run(n)[0]) == n + 1 for n in range(13, 1, -1))
    assert remembered.MOST - 1 <= remembered.COUNTS["found"] - found <= 12


def test_the_graph_is_drawn_where_it_is_asked_for():
    def f(x, y):
        a, b = (x @ y).split(2, 1)
        return torch.cat([a * 2, b.relu()], 1)[:, 1:], torch.full_like(x, 2.0).sum() + torch.tensor([1, 2, 3]).sum()

    args = torch.randn(5, 4), torch.randn(4, 4)
    first = torch.compile(f)
    with flags.override("remember", False):
        want = first(*args)
    for _ in range(2):  # the library loads some of itself as the first one runs
        torch.compile(f)(*args)
    second = torch.compile(f)
    found = remembered.COUNTS["found"]
    got = second(*args)
    assert remembered.COUNTS["found"] == found + 1
    made = second._captures.first.entries[0].program
    given = first._captures.first.entries[0].program
    assert str(made.module.graph) == str(given.module.graph)
    for x, y, z in zip(want, got, made.module(*args), strict=True):
        assert torch.equal(x, y)
        assert torch.allclose(x, z)
    assert redrawn.graph(recalled.text(given), made.names).meta["lent"] == given.lent
    assert second._captures.first.entries[0].guards == first._captures.first.entries[0].guards


CASES = ("regression", "mlp", "lstm", "resnet", "gpt")
PROCESS = """
import importlib, sys
from flambeau import _alias
torch = _alias.install()
torch.manual_seed(0)
from flambeau._capture import remembered
sys.path.insert(0, sys.argv[1])
run = getattr(importlib.import_module("compiled"), sys.argv[2])()
made = [c.cell_contents for c in run._torchdynamo_orig_callable.__closure__]
for _ in range(3):
    run()
optimizer = next(x for x in made if isinstance(x, torch.optim.Optimizer))
held = [p for g in optimizer.param_groups for p in g["params"]]
import hashlib
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in held)).hexdigest())
print(sys.modules["flambeau._capture.entries"]._installed, remembered.COUNTS["found"], remembered.COUNTS["kept"])
"""


def _process(folder, case, remember="1"):
    env = os.environ | {"FLAMBEAU_CACHE_DIR": str(folder), "FLAMBEAU_REMEMBER": remember, "PYTHONPATH": str(ROOT)}
    args = [sys.executable, "-c", PROCESS, str(ROOT / "bench/cases"), case]
    return subprocess.Popen(args, env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("case", CASES)
def test_the_second_process_of_a_training_captures_nothing(case, tmp_path):
    out = [_process(tmp_path, case, r).communicate()[0].splitlines() for r in ("1", "1", "0")]
    assert out[0][1] == "[True] 0 2"
    assert out[1][1] == "[] 2 0"
    assert out[0][0] == out[1][0] == out[2][0]


def test_processes_share_a_folder(tmp_path):
    both = [_process(tmp_path, "regression") for _ in range(2)]
    out = [p.communicate()[0].splitlines() for p in both]
    assert out[0][0] == out[1][0]
    third = _process(tmp_path, "regression").communicate()[0].splitlines()
    assert third == [out[0][0], "[] 2 0"]


def test_a_class_that_goes_by_a_name_of_the_librarys_is_looked_into():
    text = TEXT.replace("class Net(Base):\n", 'class Net(Base):\n    __module__ = "torch.nn"\n')
    edited = text.replace(*EDITS["a __setattr__"])
    with flags.override("remember", False):
        fresh = _steps(edited)[0]
    first = _steps(text)[0]
    assert _steps(text)[:2] == (first, 2)
    result, found, *_ = _steps(edited)
    assert result == fresh != first
    assert found == 0


class Kind(abc.ABC):  # noqa: B024
    """What other classes are registered as."""


class Box:
    """One of them, by and by."""


def test_classes_that_are_registered_as_another_are_told():
    box = Box()

    def run():
        return torch.compile(lambda x: x * 2 if isinstance(box, Kind) else x * 3)(torch.ones(2)).tolist()

    assert run() == [3, 3]
    Kind.register(Box)
    assert run() == [2, 2]


def _padded(x):
    return nn.functional.conv1d(x, x[:1, :, :2], padding="same") * 2


@pytest.mark.parametrize("before", [False, True])
def test_what_is_said_once_is_said_by_what_is_found(before, monkeypatch):
    """Whether it had been said before the capture was kept or not; an error is met where the program meets it."""

    def run(f, before=False):
        monkeypatch.setattr(Once, "said", set())
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for g in [_padded] * before + [f]:
                g(torch.ones(2, 1, 5))
        return [(str(w.message), w.filename) for w in said]

    (said,) = run(_padded)
    assert said[1] == __file__
    for _ in range(2):  # the library loads some of itself as the first one runs
        assert run(torch.compile(_padded), before) == [said]
    found = remembered.COUNTS["found"]
    assert run(torch.compile(_padded)) == [said]
    assert remembered.COUNTS["found"] == found + 1
    torch.compile(_padded)(torch.ones(2, 1, 5))  # it was said
    assert remembered.COUNTS["found"] == found + 2
    monkeypatch.setattr(Once, "said", set())
    assert not remembered._said([said[0]])  # warnings are errors in these tests

"""Mistakes of the compiler's own: told, never taken for errors of the program, and never caught by its handlers."""

import warnings

import pytest

import flambeau as torch
from flambeau._capture import attributes, mistakes, tracer
from flambeau._ground import flags


class Held:
    def __init__(self):
        self.k = 2.0


@pytest.fixture
def forgiving():
    """What a user's process does: mistakes are a warning."""
    with flags.override("strict", False):
        mistakes._told.clear()
        yield
    mistakes._told.clear()


def misread(tr, obj, kind, name, *more):
    return tr.no_such_part


def unfound(tr, obj, kind, name, *more):
    return {}["no such entry"]


def unproven(tr, obj, kind, name, *more):
    raise AssertionError("never")


def renamed(tr, obj, kind, name, *more):
    return _no_such_name  # noqa: F821


for _fn in (misread, unfound, unproven, renamed):  # as if they stood in the compiler's own files
    _fn.__code__ = _fn.__code__.replace(co_filename=attributes.__file__)

MISTAKES = [(misread, AttributeError), (unfound, KeyError), (unproven, AssertionError), (renamed, NameError)]


@pytest.mark.parametrize(("wrong", "kind"), MISTAKES)
def test_a_mistake_that_leaves_the_function(monkeypatch, forgiving, wrong, kind):
    monkeypatch.setattr(attributes, "_instance", wrong)
    held = Held()
    f = torch.compile(lambda x: x * held.k)
    with pytest.warns(RuntimeWarning, match=f"runs eagerly: {kind.__name__}"):
        assert f(torch.ones(2)).tolist() == [2, 2]
    with warnings.catch_warnings():  # once
        warnings.simplefilter("error")
        assert f(torch.ones(2)).tolist() == [2, 2]


@pytest.mark.parametrize(("wrong", "kind"), MISTAKES)
def test_a_mistake_that_the_program_would_catch(monkeypatch, forgiving, wrong, kind):
    monkeypatch.setattr(attributes, "_instance", wrong)
    held = Held()

    def f(x):
        try:
            return x * held.k
        except Exception:
            return x * 100

    def asking(x):
        return x * (3 if hasattr(held, "k") else 100) + getattr(held, "k", 100)

    for program, want in ((f, 2), (asking, 5)):
        mistakes._told.clear()
        with pytest.warns(RuntimeWarning, match="a mistake of the compiler's"):
            assert torch.compile(program)(torch.ones(2)).tolist() == [want, want]


@pytest.mark.parametrize(("wrong", "kind"), MISTAKES)
def test_strictly_a_mistake_is_raised(monkeypatch, wrong, kind):
    assert flags.get("strict")
    monkeypatch.setattr(attributes, "_instance", wrong)
    held = Held()
    with pytest.raises(mistakes.CompilerError, match=kind.__name__):
        torch.compile(lambda x: x * held.k)(torch.ones(2))


def test_errors_of_programs_are_theirs():
    """What a program asks for and does not find, eager code does not find either."""
    table, numbers, held = {"a": 1}, [1, 2], Held()

    def f(x, n):
        caught = []
        for ask in (lambda: table["b"], lambda: numbers[7], lambda: held.missing, lambda: x.missing, lambda: x.view(7),
                    lambda: float("a"), lambda: torch.no_such, lambda: {}.pop("a"), lambda: unknown,  # noqa: F821
                    lambda: [][0], lambda: None + 1, lambda: len(3), lambda: [].index(2), lambda: table.popitem("a"),
                    lambda: x[5:, :, :], lambda: next(iter([])), lambda: "a" * "b", lambda: Held(1), lambda: x + "a"):  # fmt: skip
            try:
                ask()
            except Exception as e:
                caught.append(type(e).__name__)
        if n:
            return table["c"]
        return caught, x + 1

    g = torch.compile(f)
    for _ in range(2):
        assert g(torch.ones(2), 0)[0] == f(torch.ones(2), 0)[0]
        with pytest.raises(KeyError, match="c"):
            g(torch.ones(2), 1)


def test_what_a_capture_of_sizes_alone_meets_is_told(monkeypatch, forgiving):
    """The other ways to capture a function are no place to hide a mistake."""
    before = tracer.Tracer.examine

    def examine(self, t):
        if self.recorder.geometry is not None:
            raise ZeroDivisionError("elsewhere")
        before(self, t)

    monkeypatch.setattr(tracer.Tracer, "examine", examine)
    with pytest.warns(RuntimeWarning, match="captured in another way: ZeroDivisionError"):
        assert torch.compile(lambda x: x + 1)(torch.ones(2)).tolist() == [2, 2]


def test_the_class_of_an_argument_says_what_operators_do():
    """A capture does not run what a class says about operators: its effects are those of eager code."""
    log = []

    class Mine(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            log.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs or {})

    def f(t):
        return torch.sin(t) + 1

    m = torch.ones(3).as_subclass(Mine)
    f(m)
    want = list(log)
    compiled = torch.compile(f)
    for _ in range(3):
        log.clear()
        compiled(m)
        assert log == want


def test_backends_that_fail_and_are_forgiven(monkeypatch):
    def broken(module, examples):
        raise ValueError("not today")

    monkeypatch.setattr(torch._dynamo.config, "suppress_errors", True)
    f = torch.compile(lambda x: x + 1, backend=broken)
    assert f(torch.ones(2)).tolist() == [2, 2]
    assert "not today" in f._captures.first.skip


def test_layers_of_vectors_are_native():
    layer = torch.nn.Linear(3, 2)
    f = torch.compile(lambda x: layer(x) * 2)
    x = torch.ones(3)
    torch.testing.assert_close(f(x), layer(x) * 2)
    with torch.no_grad():
        torch.testing.assert_close(f(x), layer(x) * 2)
    weight = torch.compile(torch.nn.functional.linear)
    torch.testing.assert_close(weight(x, torch.arange(3.0)), torch.tensor(3.0))
    torch.testing.assert_close(weight(torch.ones(2, 3), torch.arange(3.0)), torch.full((2,), 3.0))


def test_operators_are_compiled_as_what_they_are():
    f = torch.compile(torch.nn.functional.linear, fullgraph=True)
    assert f(torch.ones(2, 3), torch.ones(4, 3)).tolist() == [[3.0] * 4] * 2
    assert torch.compile(torch.sin, fullgraph=True)(torch.zeros(2)).tolist() == [0, 0]
    assert f.__name__ == "linear"


def test_operators_of_users_whose_code_has_no_module():
    scope = {"__name__": None}
    exec("def double(x): return x * 2", scope)
    scope["double"].__annotations__ = {"x": torch.Tensor, "return": torch.Tensor}
    op = torch.library.custom_op("mistakes::double", mutates_args=())(scope["double"])
    torch.library.register_fake(op, lambda x: torch.empty_like(x))
    f = torch.compile(lambda x: op(x) + 1, fullgraph=True)
    assert f(torch.ones(2)).tolist() == [3, 3]

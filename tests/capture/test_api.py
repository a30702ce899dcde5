"""The public surface: options, errors, backends, explain, reset, limits, modules."""

import warnings

import pytest

import flambeau as torch
from flambeau import nn


def _breaking(x):
    y = x * 2
    n = y.sum().item()
    return y + n


def test_fullgraph_names_the_place_and_the_reason():
    f = torch.compile(_breaking, backend="eager", fullgraph=True)
    with pytest.raises(
        torch._dynamo.exc.Unsupported, match=r"test_api\.py:13 in _breaking: item\(\) reads a tensor \(.*\)"
    ):
        f(torch.ones(3))


def test_a_branch_on_elements_breaks_and_the_parts_are_programs():
    def f(x):
        y = x * 2
        return y + 1 if y.sum() > 0 else y - 1

    for backend in ("inductor", "eager"):
        with pytest.raises(torch._dynamo.exc.Unsupported, match="a branch depends on the elements of a tensor"):
            torch.compile(f, backend=backend, fullgraph=True)(torch.ones(3))
    found = torch._dynamo.explain(f)(torch.ones(3))
    assert (found.graph_count, found.graph_break_count) == (2, 1)
    assert [reason.reason for reason in found.break_reasons] == ["a branch depends on the elements of a tensor"]
    compiled = torch.compile(f)
    assert all(torch.equal(compiled(x), f(x)) for x in (torch.ones(3), -torch.ones(3)))


def test_fullgraph_leaves_nothing_changed():
    log, x = [], torch.ones(3)

    def f(t):
        log.append(1)
        t.add_(1)
        print(t)

    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(f, backend="eager", fullgraph=True)(x)
    assert log == []
    assert torch.equal(x, torch.ones(3))


def test_explain():
    found = torch._dynamo.explain(_breaking)(torch.ones(3))
    assert found.graph_count == 2
    assert found.graph_break_count == 1
    assert "item() reads a tensor" in found.break_reasons[0].reason
    assert "test_api.py:13" in str(found)


def test_a_backend_is_a_function_of_a_graph_and_inputs():
    seen = []

    def backend(gm, inputs):
        seen.append((gm, inputs))
        assert isinstance(gm, torch.fx.GraphModule)
        assert all(n.meta["val"].shape == (3,) for n in gm.graph.nodes if n.op == "placeholder")
        return gm.forward

    f = torch.compile(lambda a, b: (a + b).sin(), backend=backend)
    a, b = torch.ones(3), torch.arange(3.0)
    assert torch.equal(f(a, b), (a + b).sin())
    assert torch.equal(f(a, b), (a + b).sin())
    assert len(seen) == 1
    assert [str(n.target) for n in seen[0][0].graph.nodes if n.op == "call_function"] == [
        "aten.add.Tensor",
        "aten.sin.default",
    ]


def test_an_unknown_backend():
    with pytest.raises(torch._dynamo.exc.InvalidBackend, match="nothing"):
        torch.compile(lambda x: x, backend="nothing")


def test_decorator_and_disable():
    @torch.compile(backend="eager")
    def f(x):
        return x + 1

    assert f(torch.ones(1)).item() == 2
    assert f.__name__ == "f"

    def g(x):
        return x

    assert torch.compile(g, disable=True) is g
    with pytest.raises(RuntimeError, match="mode or options"):
        torch.compile(g, mode="default", options={})


def test_is_compiling():
    f = torch.compile(lambda x: x + (1 if torch.compiler.is_compiling() else 100), backend="eager")
    assert f(torch.zeros(1)).item() == 1
    assert not torch.compiler.is_compiling()


def test_reset_and_the_limit():
    f = torch.compile(lambda x, key: x + len(key), backend="eager")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for i in range(12):
            assert f(torch.zeros(1), "k" * i).item() == i
    assert len(f._captures.first.entries) == 8
    assert any("captured 8 times" in str(w.message) and "key ==" in str(w.message) for w in found)
    before = f._captures.first.entries[0]
    torch.compiler.reset()
    assert f(torch.zeros(1), "abc").item() == 3
    assert len(f._captures.first.entries) == 1
    assert f._captures.first.entries[0] is not before


def test_a_module_stays_a_module():
    m = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    c = torch.compile(m, backend="eager")
    assert isinstance(c, nn.Module)
    assert c._orig_mod is m
    assert list(c.state_dict()) == ["_orig_mod.0.weight", "_orig_mod.0.bias"]
    assert len(list(c.parameters())) == 2
    c.eval()
    assert not m.training
    assert not m[1].training
    x = torch.ones(1, 2)
    assert torch.equal(c(x), m(x))
    c.note = 5
    assert m.note == 5
    assert c[0] is m[0]


def test_module_compile_in_place():
    m = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = torch.ones(1, 2)
    expected = m(x)
    m.compile(backend="eager")
    assert torch.equal(m(x), expected)
    assert torch.equal(m(x), expected)


def test_stance():
    f = torch.compile(lambda x: x + 1, backend="eager")
    with torch.compiler.set_stance("force_eager"):
        assert f(torch.zeros(1)).item() == 1
    assert not f._captures.first.entries


def test_guards_print(golden):
    from flambeau._backends.cpu import watch

    m = nn.Linear(3, 2)
    f = torch.compile(m, backend="eager")
    with torch.no_grad():
        f(torch.ones(1, 3))
    golden(f._captures.first.entries[0].guards)
    assert watch.same() is None or "F_same(F_words)" in f._captures.first.entries[0].text


@pytest.mark.parametrize("training", [False, True])
def test_checks_of_each_call_do_not_grow_with_parameters(training):
    from flambeau._backends.cpu import watch

    if watch.same() is None:
        pytest.skip("nothing can be watched with this interpreter")

    def looked_at(layers):
        m = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
        o = torch.optim.SGD(m.parameters(), 1e-2)

        def step(x):
            if not training:
                return m(x)
            o.zero_grad()
            m(x).sum().backward()
            o.step()
            return None

        f, x = torch.compile(step), torch.ones(2, 4)
        with torch.set_grad_enabled(training):
            for _ in range(4):
                f(x)
        entry = f._captures.first.entries[0]
        quick = entry.text[entry.text.index("F_same(F_words)") : entry.text.index("        else:")]
        return quick.count("\n"), entry.run.__globals__["F_look"]

    few, many = looked_at(2), looked_at(10)
    assert few == many == (few[0], None)


def test_native_step_agrees_with_eager():
    def case(wrap):
        torch.manual_seed(0)
        m = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 1))
        o = torch.optim.Adam(m.parameters(), lr=1e-2)
        x, y = torch.randn(32, 6), torch.randn(32, 1)

        def step(x, y):
            o.zero_grad()
            loss = nn.functional.mse_loss(m(x), y)
            loss.backward()
            o.step()
            return loss

        step = wrap(step)
        return [step(x, y).item() for _ in range(30)]

    assert case(torch.compile) == pytest.approx(case(lambda f: f), rel=1e-4)


def test_bytecode_that_is_not_understood_runs_eagerly(monkeypatch):
    from flambeau._capture import bytecode, entries

    monkeypatch.setattr(bytecode, "TABLES", {})
    monkeypatch.setattr(entries, "_told", [])
    with pytest.warns(UserWarning, match="compiled functions run eagerly") as seen:
        f, g = torch.compile(lambda x: x + 1, backend="eager"), torch.compile(nn.Linear(2, 2))
    assert [w.filename for w in seen] == [__file__]  # once
    assert g(torch.zeros(1, 2)).shape == (1, 2)
    assert f(torch.zeros(1)).item() == 1
    torch.compiler.reset()
    assert f(torch.zeros(1)).item() == 1
    assert not f._captures.first.entries


def test_what_is_watched_is_seen_to_change():
    """Attributes of tensors, nodes and instances, cells, code and globals: changed between two calls, by any way."""
    from flambeau._backends.cpu import watch

    if watch.same() is None:
        pytest.skip("nothing is watched here")
    same = watch.same()[0]

    class Thing:
        pass

    def fresh():
        x = Thing()
        x.a, x.b = [1], [2]
        return x

    def combined():
        x = fresh()
        vars(x)["c"] = 3
        vars(x).pop("c")
        x.__dict__ = dict(vars(x))
        return x

    changes = (
        lambda x: setattr(x, "a", [1]), lambda x: delattr(x, "a"), lambda x: setattr(x, "late", 1), lambda x: vars(x).update(a=0),
        lambda x: vars(x).clear(), lambda x: setattr(x, "__dict__", {"a": x.a}), lambda x: vars(x).update(late=0),
        lambda x: [setattr(x, f"n{i}", i) for i in range(40)], lambda x: vars(x).update({f"m{i}": i for i in range(40)}),
    )  # fmt: skip
    for make in (fresh, combined, lambda: (x := fresh(), vars(x))[0]):
        for change in changes:
            x = make()
            words, left = watch.words([], [(x, "a late")])
            if left:
                continue
            assert same(words)
            x.b = [3]
            assert same(words)
            change(x)
            assert not same(words) or (x.a == [1] and not hasattr(x, "late"))
    x = combined()
    words, left = watch.words([(vars(x), "a")])
    x.late = 1
    assert same(words)
    x.a = 0
    assert not same(words)


def _helper(x):
    y = x * 2
    n = y.sum().item()
    return y + n


def test_a_break_in_a_called_function_splits_it():
    def f(x):
        return _helper(x + 1).cos() * 3

    found = torch._dynamo.explain(f)(torch.ones(3))
    assert [[str(t) for t in ops] for ops in found.ops_per_graph] == [
        ["aten.add.Tensor", "aten.mul.Tensor", "aten.sum.dim_IntList"],
        ["aten.add.Tensor", "aten.cos.default", "aten.mul.Tensor"],
    ]
    assert found.break_reasons[0].function == "_helper"
    assert [s.name for s in found.break_reasons[0].user_stack] == [f.__qualname__, "_helper"]


def test_a_call_that_cannot_be_split_is_named():
    def f(x):
        return sum(map(_helper, [x, x + 1])).cos()

    found = torch._dynamo.explain(f)(torch.ones(3))
    assert found.graph_count == 2
    assert "reads a tensor; the call of _helper runs eagerly: it is made by the instruction CALL" in str(found)

    def g(x):
        return sum(_helper(x + i) for i in range(3))

    found = torch._dynamo.explain(g)(torch.ones(3))
    assert found.graph_count == 0
    assert "reads a tensor; the function runs eagerly: a Generator that the function made leaves it" in str(found)


def test_stances():
    calls = []

    def f(x):
        calls.append(1)  # an effect, replayed; capturing itself runs it once
        return x * 2

    g = torch.compile(f, backend=count_calls(made := []))
    with torch.compiler.set_stance("eager_on_recompile"):
        assert g(torch.ones(2)).tolist() == [2.0, 2.0] and not made
    with (
        torch.compiler.set_stance("fail_on_recompile"),
        pytest.raises(RuntimeError, match="Detected recompile when"),
    ):
        g(torch.ones(2))
    with torch.compiler.set_stance("eager_then_compile"):
        g(torch.ones(2))
        assert not made
        g(torch.ones(2))
        assert len(made) == 1
    with torch.compiler.set_stance("fail_on_recompile"):
        assert g(torch.ones(2)).tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="non-default stance cannot have force_backend set"):
        torch.compiler.set_stance("force_eager", force_backend="eager")

    @torch.compiler.set_stance("fail_on_recompile")
    def within():
        return g(torch.ones(3, 3))

    with pytest.raises(RuntimeError, match="triggered by the following guard failure"):
        within()
    assert g(torch.ones(3, 3)).sum() == 18
    assert len(made) == 2 and len(calls) == 5


def count_calls(made):
    def backend(module, examples):
        made.append(module)
        return module.forward

    return backend


def test_default_backend_and_limits():
    made = []
    torch.compiler.set_default_backend(count_calls(made))
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2))
    finally:
        torch.compiler.set_default_backend(None)
    assert len(made) == 1 and torch.compiler.get_default_backend() == "inductor"
    f = torch.compile(lambda x, flag: x + 1 if flag else x - 1, fullgraph=True, recompile_limit=1, backend="eager")
    f(torch.ones(1), True)
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        f(torch.ones(1), False)


def test_wrap_numpy():
    import numpy as np

    f = torch.compiler.wrap_numpy(lambda a: np.sum(a * a))
    assert f(torch.arange(4.0)).item() == 14.0


def test_backends_that_fail(monkeypatch):
    def broken(module, examples):
        raise ValueError("not today")

    f = torch.compile(lambda x: x + 1, backend=broken)
    with pytest.raises(
        torch._dynamo.exc.BackendCompilerFailed, match=r"^backend='broken' raised:\nValueError: not today"
    ):
        f(torch.ones(2))
    with pytest.raises(
        torch._dynamo.exc.BackendCompilerFailed, match="AssertionError: compiler_fn did not return callable"
    ):
        torch.compile(lambda x: x + 1, backend=lambda module, examples: 3)(torch.ones(2))
    monkeypatch.setattr(torch._dynamo.config, "suppress_errors", True)
    assert torch.compile(lambda x: x + 1, backend=broken)(torch.ones(2)).tolist() == [2, 2]


def test_switches_of_the_compiler():
    f = torch.compile(lambda x: x * 2, backend="eager")
    with torch.compiler.config.patch(dynamic_sources="L['y'],x"):
        for n in (3, 4, 5):
            assert f(torch.ones(n)).tolist() == [2.0] * n
    assert len(f._captures.first.entries) == 1
    with torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True):
        g = torch.compile(lambda x, k: x * len(k), backend="eager")
        g(torch.ones(2), "a")
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            g(torch.ones(2), "ab")


def test_programs_are_kept_under_a_tag():
    from flambeau._capture import stored

    gm = torch.fx.symbolic_trace(lambda x: x)
    with torch.compiler.config.patch(force_disable_caches=True):
        assert stored.key(gm, [torch.ones(2)]) is None


def test_backends_that_count():
    from flambeau._dynamo.backends.registry import lookup_backend
    from flambeau._dynamo.testing import CompileCounter, CompileCounterWithBackend

    counter, other = CompileCounter(), CompileCounterWithBackend("inductor")
    for backend in (counter, other):
        f = torch.compile(lambda x: (x + 1) * 2, backend=backend)
        assert f(torch.ones(2)).tolist() == f(torch.ones(2)).tolist() == [4, 4]
        assert (backend.frame_count, backend.op_count) == (1, 2)
    assert len(other.graphs) == 1
    assert callable(lookup_backend("eager"))
    with torch._dynamo.patch_dynamo_config("verbose", True):
        assert torch._dynamo.config.verbose
    assert not torch._dynamo.config.verbose
    assert torch._dynamo.is_dynamo_disable_recursive(torch.compiler.disable(len, recursive=False)) is False


@pytest.mark.parametrize("extra", range(4))
def test_inputs_of_deep_modules_have_names_wherever_these_are_cut(extra):
    stage = nn.Sequential()
    stage.add_module("downsample" + "x" * extra, nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    model = nn.Sequential(nn.Sequential(*(nn.Sequential(stage) for _ in range(11))))
    x = torch.ones(1, 2)
    assert torch.allclose(torch.compile(model, fullgraph=True)(x), model(x))


def test_backends_get_the_overload_that_takes_what_is_given():
    seen = []

    def backend(gm, examples):
        seen.extend(str(n.target) for n in gm.graph.nodes if n.op == "call_function")
        return gm.forward

    def f(x):
        return (
            x.squeeze(-2),
            x.squeeze((1, 2)),
            x.squeeze(),
            (x > 0).all(1),
            (x > 0).any(),
            x.sort(dim=1, stable=True)[0],
        )

    x = torch.rand(2, 1, 1, 3)
    for got, want in zip(torch.compile(f, backend=backend)(x), f(x), strict=True):
        assert got.shape == want.shape
        assert torch.equal(got, want)
    assert {"aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze.default", "aten.all.dim", "aten.any.default"} <= set(
        seen
    )
    assert "aten.sort.stable" in seen


def test_an_overload_refuses_arguments_that_it_does_not_have():
    with pytest.raises(
        RuntimeError,
        match=r"^aten::squeeze\(\) expected at most 1 argument\(s\) but received 2 arg.* Declaration: aten::sq",
    ):
        torch.ops.aten.squeeze.default(torch.ones(2, 1), -1)


def test_steps_of_a_module_are_compiled_as_the_module_is():
    class Model(torch.nn.Module):
        def forward(self, x):
            return x + 1

        def training_step(self, x, scale=2):
            return self(x).sum() * scale

    model = Model()
    made = torch.compile(model, fullgraph=True)
    step = made.dynamo_ctx(model.training_step)
    x = torch.ones(3)
    assert step(x) == 12 and step(x, scale=3) == 18
    assert step._captures.fullgraph
    model.training_step = step
    assert made.training_step(x) == 12

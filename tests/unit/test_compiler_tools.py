"""Private modules of PyTorch's compiler that programs use: counters, logs, lists of pointwise steps, caches, the backward switch."""

import logging

import pytest

import flambeau as torch
from tests.agree import rand


def test_functions_of_lists(agree):
    def program(fl, x, y):
        from importlib import import_module

        foreach_map = import_module(f"{fl.__name__}._higher_order_ops.foreach_map").foreach_map
        return [
            foreach_map(fl.add, [x, y], 2),
            foreach_map(lambda a, b, c: a * b - c, [x, y], [y, x], (1.0, 2.0)),
            foreach_map(fl.add, [x, y], [x], alpha=3),
            foreach_map(fl.add, x, 3),
            foreach_map(fl.lerp, (x,), [y], 0.25),
        ]

    agree(program, rand(3), rand(3), grads=0)


def test_counters_of_what_was_compiled(agree):
    def program(fl):
        from importlib import import_module

        counters = import_module(f"{fl.__name__}._dynamo.utils").counters
        counters.clear()

        def f(x):
            x = x + 1
            fl._dynamo.graph_break()
            return x.sin().cos()

        for fn in (f, lambda x: x * 2):
            fl.compile(fn, backend="eager")(fl.ones(3))
        return [dict(counters["frames"]), dict(counters["stats"]), list(counters["graph_break"].values())]

    agree(program)


def test_the_switch_for_backward_passes(agree):
    def program(fl, x):
        from importlib import import_module

        switch = import_module(f"{fl.__name__}._dynamo.compiled_autograd")
        x = x.detach().requires_grad_()
        x.register_hook(lambda g: g + 10)
        y = fl.compile(lambda x: x.exp().sum(), backend="aot_eager")(x)
        with switch._enable(fl.compile(backend="aot_eager")):
            y.backward(retain_graph=True)
        with switch._disable():
            y.backward()
        return x.grad

    agree(program, rand(3), grads=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"graph": 3}, {"foo": True}, {"modules": {"foo": 10}}, {"dynamo": 7}, {"dynamo": None, "graph": False},
        {"graph_breaks": True, "dynamo": logging.ERROR, "modules": {"torch.fx": logging.DEBUG}}, {},
    ],
)  # fmt: skip
def test_logs_are_chosen(agree, settings):
    def program(fl):
        try:
            return [fl._logging.set_logs(**settings)]
        except (ValueError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            fl._logging.set_logs()

    agree(program)


def test_logs_are_printed(capfd):
    try:
        torch._logging.set_logs(graph_code=True, graph_breaks=True)
        torch.compile(lambda x: x + 1)(torch.ones(2))
    finally:
        torch._logging.set_logs()
    assert "add" in capfd.readouterr().err
    torch.compile(lambda x: x + 2)(torch.ones(2))
    assert not capfd.readouterr().err


def test_loggers_and_texts(agree):
    agree(lambda fl: [fl._logging.getArtifactLogger("x.y", "graph").name, str(fl._logging.LazyString(lambda a: a * 2, "q"))])  # fmt: skip
    agree(lambda fl: fl._logging.getArtifactLogger("x.y", "foo"), raises=ValueError)


def test_an_empty_cache(tmp_path):
    from flambeau._ground.cache import default_folder
    from flambeau._inductor.utils import fresh_inductor_cache

    before = default_folder()
    with fresh_inductor_cache(dir=str(tmp_path)):
        assert default_folder().parent == tmp_path
    assert default_folder() == before and not list(tmp_path.iterdir())


def test_modes_are_derived_from_one_that_does_nothing(agree):
    def program(fl, x, y):
        class Swap(fl.overrides.BaseTorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                return super().__torch_function__(fl.mul if func is fl.add else func, types, args, kwargs)

        with fl.overrides.BaseTorchFunctionMode():
            first = fl.add(x, y)
        with Swap():
            return first, fl.add(x, y), fl.sub(x, y, alpha=2)

    agree(program, rand(3), rand(3), grads=0)


def test_paths_and_switches(agree):
    def program(fl):
        from importlib import import_module

        m = import_module(f"{fl.__name__}._utils_internal")
        return [m.get_file_path("a", "b").endswith("a/b"), m.justknobs_check("x"), m.justknobs_check("x", False), m.justknobs_getval_int("y"),
                m.is_fb_unit_test(), m.get_writable_path("/tmp"), m.resolve_library_path("/proc/self/exe") != "/proc/self/exe"]  # fmt: skip

    agree(program)

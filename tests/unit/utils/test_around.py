"""Events and statistics, checks of texts, and small tools: C++ without PyTorch's headers, devices' names, throughput."""

import ctypes
import importlib
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta

import pytest

import flambeau
from flambeau import monitor

A = monitor.Aggregation


def sub(fl, name):
    return importlib.import_module(f"{fl.__name__}.{name}")


# ---- monitor -----------------------------------------------------------------------------------------------------
def test_events(agree):
    def program(fl):
        m, seen = sub(fl, "monitor"), []
        handle = m.register_event_handler(lambda e: seen.append((e.name, sorted(e.data.items()), e.timestamp.year)))
        m.log_event(m.Event("one", datetime(2020, 1, 1), {"a": 1, "b": 2.5, "c": "s"}))
        m.unregister_event_handler(handle)
        m.log_event(m.Event("two", datetime.now(), {}))
        return seen

    agree(program)


def test_statistics(agree):
    def program(fl):
        m, seen = sub(fl, "monitor"), []
        handle = m.register_event_handler(lambda e: seen.append((e.name, sorted(e.data.items()))))
        kinds = [m.Aggregation.SUM, m.Aggregation.COUNT, m.Aggregation.MEAN, m.Aggregation.MAX, m.Aggregation.MIN]
        stat = m.Stat("s", kinds, timedelta(days=100), 3)
        found = [stat.name, stat.count, sorted((int(k), v) for k, v in stat.get().items())]
        for x in (2, 3.5, 1):
            stat.add(x)
        stat.add(50)  # too many
        found += [stat.count, sorted((int(k), v) for k, v in stat.get().items())]
        other = m.Stat("o", (m.Aggregation.SUM,), timedelta(days=100))
        other.add(1)
        before = len(seen)
        del other
        m.unregister_event_handler(handle)
        return found, seen, before

    agree(program)


def test_windows():
    seen = []
    handle = monitor.register_event_handler(lambda e: seen.append(e.data))
    stat = monitor.Stat("s", [A.VALUE, A.SUM], timedelta(milliseconds=20))
    stat.add(1)
    time.sleep(0.03)
    stat.add(2)
    monitor.unregister_event_handler(handle)
    assert seen[0] == {"s.value": 1.0, "s.sum": 1.0}
    assert stat.count == 1


def test_handlers_may_take_each_other_away():
    seen = []
    first = monitor.register_event_handler(lambda e: monitor.unregister_event_handler(second))
    second = monitor.register_event_handler(seen.append)
    try:
        monitor.log_event(monitor.Event("x", datetime.now(), {}))
    finally:
        monitor.unregister_event_handler(first)
    assert not seen


def test_what_events_refuse():
    with pytest.raises(TypeError):
        monitor.Event("x", datetime.now(), {"a": [1]})
    with pytest.raises(TypeError):
        monitor.Event("x", 3, {})
    with pytest.raises(TypeError, match="No constructor defined"):
        monitor.EventHandlerHandle()


def test_statistics_in_tensorboard():
    class Writer:
        def add_scalar(self, tag, value, walltime):
            self.seen = tag, value, walltime > 1e9

    writer = Writer()
    handler = monitor.TensorboardEventHandler(writer)
    handler(monitor.Event("other", datetime.now(), {"x": 1.0}))
    handler(monitor.Event(monitor.STAT_EVENT, datetime.now(), {"s.sum": 2.0}))
    assert writer.seen == ("s.sum", 2.0, True)
    with monitor._WaitCounter("w").guard():
        pass


# ---- FileCheck ---------------------------------------------------------------------------------------------------
TEXT = "one\ntwo three\nfour two\nfive\n"
CHECKS = {
    "in order": lambda f: f.check("one").check("four"),
    "missing": lambda f: f.check("one").check("six"),
    "out of order": lambda f: f.check("four").check("one"),
    "same": lambda f: f.check("two").check_same("three"),
    "not the same": lambda f: f.check("two").check_same("four"),
    "next": lambda f: f.check("one").check_next("two"),
    "not next": lambda f: f.check("one").check_next("four"),
    "nowhere": lambda f: f.check("one").check_next("zzz"),
    "not": lambda f: f.check_not("four").check("five"),
    "not to the end": lambda f: f.check("one").check_not("five"),
    "not behind": lambda f: f.check("one").check_not("one"),
    "several not": lambda f: f.check("one").check_not("x").check_not("three").check("five"),
    "not beside": lambda f: f.check_not("o").check("one"),
    "count": lambda f: f.check_count("two", 2).check("five"),
    "count more": lambda f: f.check_count("two", 3),
    "exactly": lambda f: f.check_count("two", 2, exactly=True),
    "not exactly": lambda f: f.check_count("two", 1, exactly=True),
    "exactly none": lambda f: f.check_count("six", 0, exactly=True),
    "any order": lambda f: f.check_dag("four").check_dag("one").check("five"),
    "any order, missing": lambda f: f.check_dag("four").check_dag("nine"),
    "behind any order": lambda f: f.check_dag("four").check_dag("one").check("three"),
    "pattern": lambda f: f.check_regex("t.o").check_regex("f.*r"),
    "no pattern": lambda f: f.check_regex("z+"),
    "nothing": lambda f: f,
}


def outcome(run):
    try:
        run()
    except RuntimeError as error:
        lines = str(error).split("\n")
        return lines[0], (lines[-2] if lines[-1] == "" else lines[-1]).rpartition("From ")[2]


@pytest.mark.parametrize("name", CHECKS)
def test_checks(agree, name):
    agree(lambda fl: outcome(lambda: CHECKS[name](sub(fl, "testing").FileCheck()).run(TEXT)))


@pytest.mark.parametrize(
    "checks",
    [
        "# CHECK: one\n# CHECK-NEXT: two\n#CHECK-NOT: six\n", "# CHECK: one\n# CHECK-NEXT: six\n", "# CHECK-COUNT-2: two\n",
        "# CHECK-COUNT-EXACTLY-1: two\n", "# CHECK-DAG: four\n# CHECK-DAG: one", "# CHECK: two\n# CHECK-SAME: three",
        "# CHECK-REGEX: t.o\n", "nothing", "# CHECK-BAD: one",
        "# CHECK: one\n# CHECK : six", "# CHECKS: six", "# CHECK-COUNT-EXACTLY-1:one\n# CHECKS: two", "# CHECK: one ", "# # CHECK: six",
    ],
)  # fmt: skip
def test_checks_in_comments(agree, checks):
    def program(fl):
        found = outcome(lambda: sub(fl, "testing").FileCheck().run(checks, TEXT))
        return found and found[0]

    agree(program)


@pytest.mark.parametrize(
    "below",
    [
        "    ~~~~~ <--- HERE\n", "    ~~ <--- HERE\n", "    ~~~~~~ <--- HERE\n", "   ~~~~~~ <--- HERE\n", "    ~~~~~",
        "three\n~~~~~ <--- HERE\n",
    ],
)  # fmt: skip
def test_marks_below(agree, below):
    def program(fl):
        check = sub(fl, "testing").FileCheck().check_source_highlighted("three")
        return outcome(lambda: check.run("x\ntwo three\n" + below)) is None

    agree(program)


def test_what_is_shown():
    with pytest.raises(RuntimeError) as error:
        flambeau.testing.FileCheck().check_not("four").check("five").run(TEXT)
    assert str(error.value) == (
        'Expected to not find "four" but found it\none\ntwo three\nfour two\n~~~~ <--- HERE\nfive\nFrom CHECK-NOT: four\n'
    )


def test_how_checks_print():
    shown = repr(flambeau.testing.FileCheck().check("a").check_count("c", 2, True).check_next("d"))
    assert shown == (
        "You have not run this instance of FileCheck!\nFileCheck checks:\n\tCHECK: a\n\tCHECK-COUNT-2: c\n\tCHECK-NOT: c\n"
        "\tCHECK-NEXT: d"
    )


def test_graphs_are_checked():
    scripted = flambeau.jit.script(flambeau.nn.ReLU())
    flambeau.testing.FileCheck().check("graph(").check("return").run(scripted.graph)


# ---- utils -------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_native_frames():
    text = flambeau.utils.get_cpp_backtrace(maximum_number_of_frames=5)
    assert 1 <= text.count("frame #") <= 5
    assert text.startswith("frame #0: ")


def test_throughput(tmp_path):
    seen = []

    class Net(flambeau.nn.Module):
        def forward(self, x, y=None):
            seen.append(y)
            return x + 1

    bench = flambeau.utils.ThroughputBenchmark(Net())
    assert bench.run_once(flambeau.ones(1)).item() == 2
    with pytest.raises(RuntimeError, match="Did you forget to call add_input"):
        bench.benchmark()
    bench.add_input(flambeau.ones(1), y=1)
    bench.add_input(flambeau.ones(1), y=2)
    seen.clear()
    stats = bench.benchmark(
        num_calling_threads=3, num_warmup_iters=2, num_iters=40, profiler_output_path=str(tmp_path / "t.json")
    )
    assert stats.num_iters == 40
    assert len(seen) == 46
    assert set(seen) == {1, 2}
    assert stats.iters_per_second > 0
    assert "Average latency per example" in str(stats)
    assert (tmp_path / "t.json").exists()


def test_a_name_for_devices():
    code = """
import flambeau as torch
torch.utils.rename_privateuse1_backend("foo")
torch.utils.rename_privateuse1_backend("foo")
assert str(torch.device("foo:1")) == "foo:1"
assert torch._C._get_privateuse1_backend_name() == "foo"
try:
    torch.utils.rename_privateuse1_backend("bar")
except RuntimeError as error:
    print(error)
torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)
x = torch.ones(2)
print(x.is_foo, x.untyped_storage().is_foo, callable(torch.nn.Linear(1, 1).foo))
try:
    torch.utils.generate_methods_for_privateuse1_backend()
except RuntimeError as error:
    print("already been registered" in str(error))
try:
    x.foo()
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "Current backend: foo" in lines[0]
    assert lines[1:3] == ["False False True", "True"]
    assert lines[3] in ("RuntimeError", "NotImplementedError", "AssertionError")


def test_modules_for_phones():
    from flambeau.utils.mobile_optimizer import generate_mobile_module_lints, optimize_for_mobile

    nn = flambeau.nn
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).eval()
    scripted = flambeau.jit.script(net)
    x = flambeau.rand(1, 1, 4, 4)
    fast = optimize_for_mobile(scripted)
    assert flambeau.allclose(fast(x), net(x), atol=1e-6)
    assert {lint["name"] for lint in generate_mobile_module_lints(scripted)} >= {"BUNDLED_INPUT", "REQUIRES_GRAD"}
    with pytest.raises(TypeError, match="but ScriptModule is expected"):
        optimize_for_mobile(net)
    with pytest.raises(AttributeError, match="methods to preserve do not exist in script_module: x"):
        optimize_for_mobile(scripted, preserved_methods=["x"])
    with pytest.raises(TypeError, match="Unknown backend"):
        optimize_for_mobile(scripted, backend="z")
    with pytest.raises(NotImplementedError):
        optimize_for_mobile(scripted, backend="vulkan")


# ---- C++ ---------------------------------------------------------------------------------------------------------
needs_compiler = pytest.mark.skipif(
    shutil.which("c++") is None or sys.platform == "win32", reason="needs a C++ compiler"
)


def test_headers_of_pytorch_are_refused(tmp_path):
    from flambeau.utils import cpp_extension

    source = tmp_path / "a.cpp"
    source.write_text("#include <torch/extension.h>\n")
    with pytest.raises(NotImplementedError, match=r"torch.utils.cpp_extension.load of .*a.cpp, which includes <torch/"):
        cpp_extension.load("a", str(source), build_directory=str(tmp_path))
    with pytest.raises(NotImplementedError, match=r"torch.utils.cpp_extension.load_inline"):
        cpp_extension.load_inline("a", "int x;", functions=["f"])
    with pytest.raises(NotImplementedError, match=r"CUDAExtension"):
        cpp_extension.CUDAExtension("a", ["b.cu"])
    assert cpp_extension.include_paths() == []
    assert cpp_extension.get_default_build_root().endswith("torch_extensions")


@needs_compiler
def test_plain_sources(tmp_path):
    from flambeau.utils import cpp_extension

    text = 'extern "C" int twice(int x) { return 2 * x; }\n'
    options = {"build_directory": str(tmp_path), "is_python_module": False, "no_implicit_headers": True}
    path = cpp_extension.load_inline("plain", text, **options)
    assert ctypes.CDLL(path).twice(21) == 42
    assert cpp_extension.load_inline("plain", text, **options) == path
    with pytest.raises(RuntimeError, match="Error building extension 'bad'"):
        cpp_extension.load_inline("bad", "int f( {", **options)
    assert cpp_extension.check_compiler_ok_for_platform(cpp_extension.get_cxx_compiler())
    assert not cpp_extension.check_compiler_ok_for_platform("no-such-compiler")
    good, version = cpp_extension.get_compiler_abi_compatibility_and_version(cpp_extension.get_cxx_compiler())
    assert good
    assert str(version).count(".") == 2


@needs_compiler
def test_setuptools(tmp_path):
    setuptools = pytest.importorskip("setuptools")
    from flambeau.utils.cpp_extension import BuildExtension, CppExtension

    (tmp_path / "m.cpp").write_text("#include <torch/extension.h>\n")
    extension = CppExtension("m", [str(tmp_path / "m.cpp")])
    assert extension.language == "c++"
    distribution = setuptools.Distribution({"name": "m", "ext_modules": [extension]})
    command = BuildExtension.with_options(use_ninja=False)(distribution)
    command.build_lib = command.build_temp = str(tmp_path)
    with pytest.raises(NotImplementedError, match=r"torch.utils.cpp_extension.BuildExtension of"):
        command.ensure_finalized()
        command.run()

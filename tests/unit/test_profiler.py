"""torch.profiler: what is recorded, how it nests, tables, traces, schedules."""

import gzip
import json
import sys
import threading
from collections import defaultdict

import pytest

import flambeau
from flambeau import nn
from flambeau.profiler import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    tensorboard_trace_handler,
)
from tests.agree import rand


def step(fl):
    net = fl.nn.Sequential(fl.nn.Linear(4, 8), fl.nn.ReLU(), fl.nn.Linear(8, 2))
    optimizer = fl.optim.SGD(net.parameters(), 0.1)
    with fl.profiler.profile(activities=[fl.profiler.ProfilerActivity.CPU], record_shapes=True) as p:
        with fl.profiler.record_function("forward"):
            loss = net(fl.ones(3, 4)).sum()
        loss.backward()
        optimizer.step()
    return p


def test_what_is_recorded_and_how_it_nests():
    events = step(flambeau).events()
    names = [e.name for e in events]
    for name in ("forward", "aten::linear", "aten::relu", "aten::sum", "AddmmBackward0", "Optimizer.step#SGD.step"):
        assert name in names
    relu = events[names.index("aten::relu")]
    assert relu.cpu_parent.name == "forward"
    assert relu.input_shapes[0] == [3, 8]
    assert (
        events[names.index("AddmmBackward0")].cpu_parent.name == "autograd::engine::evaluate_function: AddmmBackward0"
    )
    for e in events:
        assert e.time_range.end >= e.time_range.start
        for child in e.cpu_children:
            assert e.time_range.start <= child.time_range.start <= child.time_range.end <= e.time_range.end
    assert [e.name for e in events if e.scope == 7] == ["forward", "Optimizer.step#SGD.step"]


@pytest.mark.parity
def test_top_level_names_are_pytorchs(torch, capfd):
    import torch.profiler

    def top(p):
        return [
            e.name
            for e in p.events()
            if e.cpu_parent is None and not e.name.startswith(("aten::", "autograd::", "Optimizer.zero"))
        ]

    def inside(p):
        return [e.name for e in p.events() if e.cpu_parent is not None and e.cpu_parent.name == "forward"]

    ours, theirs = step(flambeau), step(torch)
    assert top(ours) == top(theirs)
    assert inside(ours) == inside(theirs)


def test_nothing_is_left_behind():
    from flambeau import overrides
    from flambeau._eager import graph, modes

    before = list(modes.MODES), list(overrides.EXTRA), list(graph.WATCHERS)
    with pytest.raises(ZeroDivisionError), profile():
        flambeau.ones(2) + 1 / 0
    with pytest.raises(RuntimeError), profile() as p:
        flambeau.ones(2) @ flambeau.ones(3)
    assert "aten::matmul" in {e.name for e in p.events()}
    assert (list(modes.MODES), list(overrides.EXTRA), list(graph.WATCHERS)) == before


def test_results_are_the_same():
    x = flambeau.randn(5, 4, requires_grad=True)
    net = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.GELU())
    expected = flambeau.autograd.grad(net(x).square().sum(), x)[0]
    with profile():
        got = flambeau.autograd.grad(net(x).square().sum(), x, create_graph=True)[0]
        assert flambeau.equal(got, expected)
        got.sum().backward()


def test_large_composites_stay_one_kernel():
    pytest.importorskip("llvmlite")
    x, weight = flambeau.randn(1024, 1024), flambeau.ones(1024)
    expected = nn.functional.rms_norm(x, (1024,), weight, 1e-5), nn.functional.mse_loss(x, x * 2)
    with profile() as p:
        got = nn.functional.rms_norm(x, (1024,), weight, 1e-5), nn.functional.mse_loss(x, x * 2)
    assert all(map(flambeau.equal, got, expected))
    assert {
        c.name for e in p.events() if e.name in ("aten::rms_norm", "aten::mse_loss") for c in e.cpu_children
    } == set()


def test_the_table():
    measured = step(flambeau)
    averages = measured.key_averages(group_by_input_shape=True)
    again = measured.events().key_averages(group_by_input_shapes=True)  # the list's own word for it has an s
    assert [e.key for e in again] == [e.key for e in averages]
    text = averages.table(sort_by="cpu_time_total", row_limit=3)
    lines = text.splitlines()
    assert lines[1].split() == [
        "Name",
        "Self",
        "CPU",
        "%",
        "Self",
        "CPU",
        "CPU",
        "total",
        "%",
        "CPU",
        "total",
        "CPU",
        "time",
        "avg",
        "#",
        "of",
        "Calls",
        "Input",
        "Shapes",
    ]
    assert len(lines) == 3 + 3 + 2
    assert {len(line) for line in lines[:-1]} == {len(lines[0])}
    assert lines[-1].startswith("Self CPU time total: ")
    totals = [e.cpu_time_total for e in sorted(averages, key=lambda e: -e.cpu_time_total)]
    assert totals[0] >= totals[1]
    whole = step(flambeau).key_averages()
    assert {e.key: e.count for e in whole}["aten::linear"] == 2
    assert abs(sum(e.self_cpu_time_total for e in whole) - whole.self_cpu_time_total) < 1e-6
    assert whole.total_average().key == "Total"


def test_traces(tmp_path):
    p = step(flambeau)
    p.add_metadata_json("run", "[1, 2]")
    p.export_chrome_trace(str(tmp_path / "a.json"))
    p.export_chrome_trace(str(tmp_path / "b.json.gz"))
    trace = json.loads((tmp_path / "a.json").read_text())
    assert trace["run"] == [1, 2]
    complete = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert len(complete) == len(p.events())
    assert all(e["dur"] >= 0 for e in complete)
    assert {e["cat"] for e in complete} == {"cpu_op", "user_annotation"}
    assert json.loads(gzip.decompress((tmp_path / "b.json.gz").read_bytes()))["traceEvents"]


def test_stacks(tmp_path):
    with profile(with_stack=True) as p:
        flambeau.ones(3).exp()
    exp = next(e for e in p.events() if e.name == "aten::exp")
    assert exp.stack[0].startswith(__file__)
    p.export_stacks(str(tmp_path / "stacks"))
    assert "test_profiler" in (tmp_path / "stacks").read_text()


def test_schedules(tmp_path):
    ready = []
    plan = schedule(skip_first=1, wait=1, warmup=1, active=2, repeat=2)
    assert [plan(i) for i in range(5)] == [
        ProfilerAction.NONE,
        ProfilerAction.NONE,
        ProfilerAction.WARMUP,
        ProfilerAction.RECORD,
        ProfilerAction.RECORD_AND_SAVE,
    ]
    with profile(schedule=plan, on_trace_ready=lambda p: ready.append([e.name for e in p.events()])) as p:
        for _ in range(12):
            flambeau.ones(2).exp()
            p.step()
    assert len(ready) == 2
    assert ready[0].count("aten::exp") == 2
    assert [n for n in ready[0] if n.startswith("ProfilerStep")] == ["ProfilerStep#3", "ProfilerStep#4"]
    with profile(on_trace_ready=tensorboard_trace_handler(str(tmp_path / "logs"), "w")):
        flambeau.ones(1)
    assert [f.name.split(".")[0] for f in (tmp_path / "logs").iterdir()] == ["w"]
    with pytest.raises(AssertionError, match="Invalid profiler schedule"):
        schedule(wait=-1, warmup=0, active=1)


def test_marks_and_loaders():
    @record_function("marked")
    def f(x):
        return x + 1

    with profile() as p:
        f(flambeau.ones(1))
        list(flambeau.utils.data.DataLoader(flambeau.utils.data.TensorDataset(flambeau.arange(4)), batch_size=2))
    names = [e.name for e in p.events()]
    assert "marked" in names
    assert any(n.startswith("enumerate(DataLoader)") for n in names)
    f(flambeau.ones(1))  # no profile: nothing happens
    with pytest.raises(RuntimeError, match="CUDA build"), flambeau.autograd.profiler.emit_nvtx():
        pass
    assert flambeau.profiler.supported_activities() == {ProfilerActivity.CPU}


def test_names_load_when_they_are_asked_for():
    import subprocess
    import sys

    line = "import flambeau as t, sys; assert 'flambeau.autograd.profiler' not in sys.modules; print(t.autograd.profiler.record_function.__name__)"
    assert (
        subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout
        == "record_function\n"
    )


def trained(**options):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = flambeau.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    x = flambeau.ones(16, 4)
    with profile(**options) as p:
        net(x).sum().backward()
        optimizer.step()
    return p


def test_inside_of_backward_and_optimizers():
    events = trained().events()
    inside = [c.name for e in events if e.name == "AddmmBackward0" for c in e.cpu_children]
    assert inside.count("aten::mm") == 5
    arriving = [e for e in events if e.name == "torch::autograd::AccumulateGrad"]
    assert len(arriving) == 4
    assert {e.cpu_parent.name for e in arriving} == {
        "autograd::engine::evaluate_function: torch::autograd::AccumulateGrad"
    }
    x = flambeau.ones(3, 2, requires_grad=True)
    with profile(record_shapes=True) as p:
        (x * 2).sum().backward()
    assert [e.input_shapes for e in p.events() if e.name == arriving[0].name] == [[[3, 2]]]
    step = next(e for e in events if e.name == "Optimizer.step#SGD.step")
    assert step.cpu_children[-1].name == "aten::_fused_sgd_"


def test_the_same_bits_with_a_profile():
    def train():
        flambeau.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(18, 5), nn.LayerNorm(5))
        optimizer = flambeau.optim.Adam(net.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(flambeau.rand(4, 2, 8)), flambeau.tensor([0, 1, 2, 3])).backward()
            optimizer.step()
        return [p.detach().clone() for p in net.parameters()]

    expected = train()
    with profile(profile_memory=True):
        got = train()
    assert all(map(flambeau.equal, got, expected))


def test_memory():
    p = trained(profile_memory=True, record_shapes=True)
    found = {}
    for e in p.events():
        found.setdefault(e.name, []).append((e.cpu_memory_usage, e.self_cpu_memory_usage))
    assert found["aten::linear"] == [(512, 0), (128, 0)]
    assert found["aten::addmm"] == [(512, 512), (128, 128)]
    assert found["aten::relu"] == [(512, 512)]
    assert found["AddmmBackward0"][0] == (584, 0)
    assert sum(total for total, _ in found["Optimizer.step#SGD.step"]) == 4 * (32 + 8 + 16 + 2)
    assert all(total < 0 for total, _ in found["[memory]"])
    assert sum(total for total, _ in found["torch::autograd::AccumulateGrad"]) == 0
    averages = p.key_averages()
    lines = averages.table(sort_by="self_cpu_memory_usage").splitlines()
    assert "Self CPU Mem" in lines[1]
    assert "640 B" in next(line for line in lines if "aten::addmm" in line)
    kept = flambeau.ones(1024, 1024)
    with profile(profile_memory=True) as p:
        flambeau.autograd.profiler._profiler_enabled()
        with record_function("all"):
            y = kept * 2
            del y
    outer, mul = p.events()
    assert (outer.cpu_memory_usage, outer.self_cpu_memory_usage, mul.cpu_memory_usage) == (0, -(4 << 20), 4 << 20)
    assert "4.00 MB" in p.key_averages().table()


def test_execution_traces(tmp_path):
    observer = flambeau.profiler.ExecutionTraceObserver().register_callback(str(tmp_path / "t.json"))
    assert observer.is_registered
    p = trained(execution_trace_observer=observer)
    assert not observer.is_running()
    trace = json.loads((tmp_path / "t.json").read_text())
    by_name = {n["name"]: n for n in trace["nodes"]}
    relu = by_name["aten::relu"]
    assert relu["inputs"]["shapes"] == [[16, 8]]
    assert relu["outputs"]["types"] == ["Tensor(float32)"]
    numbers = {n["id"] for n in trace["nodes"]}
    assert all(n["ctrl_deps"] in numbers for n in trace["nodes"])
    assert len(p.get_trace_id()) == 32
    p.set_custom_trace_id_callback(lambda: "mine")
    p.start()
    assert p.get_trace_id() == "mine"
    p.stop()


def test_threads_keep_their_events_apart(tmp_path):
    """Threads that call at once: each event has a number of its own, and what its own call was given."""
    observer = flambeau.profiler.ExecutionTraceObserver().register_callback(str(tmp_path / "t.json"))
    inputs = [flambeau.ones(n) for n in range(2, 6)]
    inputs[0] + 1  # what is made at first use
    start = threading.Barrier(len(inputs))

    def work(x):
        start.wait()
        for _ in range(100):
            x + 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        observer.start()
        threads = [threading.Thread(target=work, args=(x,)) for x in inputs]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        observer.stop()
    finally:
        sys.setswitchinterval(interval)
    nodes = json.loads((tmp_path / "t.json").read_text())["nodes"]
    assert len({n["id"] for n in nodes}) == len(nodes) == 401
    shapes = defaultdict(set)
    for n in nodes[1:]:
        (thread,) = (a["value"] for a in n["attrs"] if a["name"] == "tid")
        shapes[thread].add(str(n["inputs"]["shapes"][0]))
    assert sorted(map(sorted, shapes.values())) == [["[2]"], ["[3]"], ["[4]"], ["[5]"]]


def test_events_of_other_devices():
    event = flambeau.autograd.profiler_util.FunctionEvent(
        1, "a", 0, 0, 1, device_type=flambeau.profiler.DeviceType.CUDA
    )
    assert "device_type=DeviceType.CUDA " in repr(event)


def test_steps_are_counted():
    tracker = flambeau.autograd.profiler.KinetoStepTracker
    start = tracker.current_step()
    tracker.init_step_count("a")
    tracker.init_step_count("b")
    assert [tracker.increment_step(n) - start for n in "aabab"] == [1, 2, 2, 3, 3]
    assert tracker.erase_step_count("a")
    assert tracker.erase_step_count("b")
    assert not tracker.erase_step_count("a")


def test_what_other_profilers_wrote(tmp_path):
    import sqlite3

    path = str(tmp_path / "nvprof.db")
    base = sqlite3.connect(path)
    base.executescript("""
        CREATE TABLE StringTable (_id_ INTEGER, value TEXT);
        CREATE TABLE CUPTI_ACTIVITY_KIND_MARKER (id INTEGER, name INTEGER, timestamp INTEGER);
        CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (_id_ INTEGER, cbid INTEGER, start INTEGER, end INTEGER, correlationId INTEGER);
        CREATE TABLE CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL (name INTEGER, start INTEGER, end INTEGER, correlationId INTEGER);
        INSERT INTO StringTable VALUES (1, 'add'), (2, 'mul');
        INSERT INTO CUPTI_ACTIVITY_KIND_MARKER VALUES (7, 2, 50), (7, 0, 90), (6, 1, 10), (6, 0, 40);
        INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (1, 211, 15, 20, 3);
        INSERT INTO CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL VALUES (1, 16, 30, 3);
    """)
    base.commit()
    base.close()
    events = flambeau.autograd.profiler.load_nvprof(path)
    assert [(e.name, e.cpu_time_total, [k.duration for k in e.kernels]) for e in events] == [
        ("add", 30, [14]),
        ("mul", 40, []),
    ]
    unique = flambeau.autograd.profiler.EnforceUnique()
    unique.see(1)
    with pytest.raises(RuntimeError, match="duplicate key"):
        unique.see(1)

    class Record:
        def __init__(self, start):
            self.start = start

        def start_ns(self):
            return self.start

    records = flambeau.autograd.profiler.MemRecordsAcc([(Record(n),) for n in (5, 1, 9)])
    assert [r[0].start for r in records.in_interval(2, 9)] == [5, 9]


def test_events_and_nodes_have_pytorchs_names(agree):
    """What does the work inside a layer, and what prints as `grad_fn`."""

    def program(fl, x):
        nn = fl.nn
        x = x.detach()
        layers = {
            "linear": (nn.Linear(4, 3), x[0, 0]), "plain": (nn.Linear(4, 3, bias=False), x[0, 0]), "conv": (nn.Conv2d(2, 3, 3), x),
            "norm": (nn.BatchNorm2d(2), x), "pool": (nn.MaxPool2d(2), x), "mean": (nn.AvgPool2d(2), x),
        }  # fmt: skip
        wanted = (
            "aten::addmm",
            "aten::mm",
            "aten::_convolution",
            "aten::native_batch_norm",
            "aten::max_pool2d_with_indices",
            "aten::avg_pool2d",
        )
        out = {}
        for name, (layer, given) in layers.items():
            layer, given = layer.double(), given.clone().requires_grad_()
            with fl.profiler.profile(activities=[fl.profiler.ProfilerActivity.CPU]) as p:
                y = layer(given)
            seen = {e.name for e in p.events()}
            out[name] = (y.grad_fn.name(), type(y.grad_fn).__name__, [n for n in wanted if n in seen])
        leaf = (x[0].clone().requires_grad_() * 2).grad_fn.next_functions[0][0]
        others = {n: f(x.requires_grad_()).grad_fn.name() for n, f in NAMED.items()}
        return list(out.items()), leaf.name(), type(leaf).__name__, list(others.items())

    NAMED = {
        "max": lambda x: x.log1p(), "clamp": lambda x: x.clamp(0, 1), "std": lambda x: x.std(), "prod": lambda x: x.prod(1), "mm": lambda x: x[0, 0] @ x[0, 1],
        "im2col": lambda x: x.deg2rad(), "div": lambda x: x.div(2, rounding_mode="floor"),
    }  # fmt: skip
    agree(program, rand(1, 2, 4, 4), grads=0)


def counted(fl):
    F = fl.nn.functional
    x, a, b = fl.ones(2, 4, 9, 8), fl.ones(2, 3, 4), fl.ones(2, 4, 5)
    with fl.profiler.profile(with_flops=True) as p:
        F.conv2d(x, fl.ones(6, 2, 3, 3), stride=2, padding=(1, 0), groups=2)
        F.conv2d(x, fl.ones(6, 4, 3, 3), dilation=2)
        F.conv2d(x, fl.ones(6, 4, 3, 3), padding="same")
        (
            a[0] @ b[0],
            a @ b,
            fl.addmm(fl.ones(5), a[0], b[0]),
            fl.baddbmm(fl.ones(2, 3, 5), a, b),
            a[0] * a,
            a + 1,
            a.add_(1),
        )
        F.linear(a[0], fl.ones(5, 4)), F.linear(a[0], fl.ones(5, 4), fl.ones(5)), F.linear(a, fl.ones(5, 4), fl.ones(5))
    return p


def test_floating_point_operations(agree):
    agree(lambda fl: [(e.name, e.flops) for e in counted(fl).events() if e.flops])
    agree(lambda fl: [(e.key, e.flops) for e in counted(fl).key_averages() if e.flops])
    agree(lambda fl: counted(fl).key_averages().table().splitlines()[1].split()[-2:])


def test_a_schedule_without_sense(agree):
    agree(lambda fl: fl.profiler.schedule(wait=-1, warmup=1, active=2), raises=AssertionError)


def test_a_profile_of_nothing_is_refused(agree):
    agree(lambda fl: fl.profiler.profile(activities=[]), raises=AssertionError)

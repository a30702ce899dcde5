"""Timers, tables of measurements, random inputs, instruction counts."""

import importlib
import shutil

import numpy as np
import pytest

import flambeau
from flambeau.utils.benchmark import (
    Compare,
    CopyIfCallgrind,
    FuzzedParameter,
    Fuzzer,
    Measurement,
    ParameterAlias,
    TaskSpec,
    Timer,
)


def module(fl):
    return importlib.import_module(f"{fl.__name__}.utils.benchmark")


def text(shown):
    """Without the line that says where the object lies."""
    return "\n".join(line for line in str(shown).splitlines() if " object at 0x" not in line)


TIMES = [
    [2e-6],
    [1e-3, 1.02e-3, 1.01e-3, 0.99e-3, 1.0e-3],
    [1.0, 1.2, 1.4, 0.9, 1.1],
    [3e-8, 1e-7, 4e-8, 5e-8, 9e-8, 3e-8],
]
TASKS = [
    {"stmt": "x + 1", "setup": "pass"},
    {"stmt": "x\ny", "setup": "a\nb", "sub_label": "sub"},
    {"stmt": "x", "setup": "a", "label": "lab", "sub_label": "sub", "description": "desc", "num_threads": 2},
]


@pytest.mark.parametrize("task", range(3))
@pytest.mark.parametrize("times", range(4))
def test_measurements(agree, task, times):
    def program(fl):
        b = module(fl)
        m = b.Measurement(3, TIMES[times], b.TaskSpec(**TASKS[task]))
        numbers = [m.median, m.mean, m.iqr, m.significant_figures, m.times, m.has_warnings, m.meets_confidence(0.01)]
        return numbers, text(repr(m)), m.title, m.as_row_name, m.stmt, m.num_threads, m.task_spec.setup_str()

    agree(program)


def test_merging(agree):
    def program(fl):
        b = module(fl)
        one, two = b.TaskSpec("x", ""), b.TaskSpec("y", "")
        found = b.Measurement.merge(
            [b.Measurement(2, [2.0], one), b.Measurement(1, [3.0], two), b.Measurement(1, [5.0], one)]
        )
        return [(m.number_per_run, m.times, m.stmt) for m in found]

    agree(program)


def test_units(agree):
    def program(fl):
        b = module(fl)
        numbers = [3.14159, 0.00123456, 98765.4, 10.0, 0.1]
        return (
            [b.select_unit(t) for t in (1e-9, 2e-8, 3e-6, 0.004, 0.5, 2.0, 500.0)],
            [b.unit_to_english(u) for u in ("ns", "us", "ms", "s")],
            [b.trim_sigfig(x, n) for x in numbers for n in (1, 2, 3, 4)],
            b.ordered_unique([3, 1, 3, 2, 1]),
        )

    agree(program)


OPTIONS, SHAPES = ["", "trim", "columns", "rows", "warn", "trim columns warn"], ["envs", "threads", "holes", "labels"]


@pytest.mark.parametrize(
    ("shape", "options"),
    [*(("plain", o) for o in OPTIONS), *((s, o) for s in SHAPES for o in (OPTIONS[0], OPTIONS[-1]))],
)
def test_tables(agree, options, shape):
    def program(fl):
        b = module(fl)
        results, rng = [], np.random.RandomState(0)
        for i, stmt in enumerate(("add", "multiply it")):
            for j, what in enumerate(("float", "half precision", "third")):
                for k in range(1 if shape == "plain" else 2):
                    if shape == "holes" and (i, j) == (1, 1):
                        continue
                    env = ("env one", "b")[k] if shape == "envs" else None
                    label = f"label {k}" if shape == "labels" else "all"
                    task = b.TaskSpec(
                        stmt,
                        "",
                        label=label,
                        description=what,
                        env=env,
                        num_threads=1 + (k if shape == "threads" else 0),
                    )
                    times = (10.0 ** (j - 4) * (1 + i) * (1 + rng.rand(9) * (0.6 if j == 1 else 0.01))).tolist()
                    results.append(b.Measurement(1, times, task))
        table = b.Compare(results)
        if "trim" in options:
            table.trim_significant_figures()
        if "columns" in options or "rows" in options:
            table.colorize(rowwise="rows" in options)
        if "warn" in options:
            table.highlight_warnings()
        return str(table)

    agree(program)


def test_tables_take_measurements_only(agree):
    agree(lambda fl: module(fl).Compare([1]), raises=ValueError)


def test_timers(capsys):
    calls = []
    x = flambeau.ones(2)
    timer = Timer(
        "run(x + torch.ones(1))", globals={"run": calls.append, "x": x}, num_threads=1, label="add", description="d"
    )
    m = timer.timeit(3)
    assert len(calls) == 5
    assert (m.number_per_run, len(m.times), m.label, m.description) == (3, 1, "add", "d")
    blocks = []
    m = timer.blocked_autorange(callback=lambda n, t: blocks.append(n), min_run_time=0.02)
    assert len(blocks) == len(m.times) >= 1
    assert sum(m.raw_times) >= 0.02
    assert set(blocks) == {m.number_per_run}
    m = timer.adaptive_autorange(threshold=10, min_run_time=0.001, max_run_time=1.0)
    assert len(m.times) > 3
    assert isinstance(m, Measurement)
    Compare([m]).print()
    assert "Times are in" in capsys.readouterr().out


def test_threads_are_put_back():
    before = flambeau.get_num_threads()
    seen = []
    Timer("seen(torch.get_num_threads())", globals={"seen": seen.append}, num_threads=1).timeit(1)
    assert set(seen) == {1}
    assert flambeau.get_num_threads() == before


def test_what_timers_refuse(agree):
    agree(lambda fl: module(fl).Timer(3), raises=ValueError)
    agree(lambda fl: module(fl).Timer("x", language="basic"), raises=ValueError)
    agree(lambda fl: module(fl).Timer("x", global_setup="y"), raises=ValueError)
    agree(lambda fl: module(fl).Timer("x").repeat(), raises=NotImplementedError)
    agree(lambda fl: module(fl).Timer("x").autorange(), raises=NotImplementedError)
    agree(lambda fl: module(fl).Timer("1").collect_callgrind(repeats=0), raises=ValueError)
    with pytest.raises(ValueError, match="`collect_callgrind` restricts globals to the following types"):
        CopyIfCallgrind([1])
    with pytest.raises(NotImplementedError, match=r"Timer\(language='c\+\+'\)"):
        Timer("x", language="c++")


@pytest.mark.parametrize("seed", range(4))
def test_random_inputs(agree, seed):
    def program(fl):
        b = module(fl)
        fuzzer = b.Fuzzer(
            [
                b.FuzzedParameter("dim", 1, 3, "uniform", strict=True),
                [b.FuzzedParameter(f"k{i}", 2, 40, "loguniform") for i in range(3)],
                b.FuzzedParameter("p", 0.0, 2.0, "uniform"),
            ],
            [
                b.FuzzedTensor("x", ("k0", "k1", "k2"), (2, 1), 0.3, 20, 2000, dim_parameter="dim"),
                b.FuzzedTensor("n", ("k0", 2), dtype=fl.int16, max_allocation_bytes=100),
            ],
            constraints=[lambda params: params["k0"] != 3],
            seed=seed,
        )
        found = []
        for tensors, properties, params in fuzzer.take(3):
            properties = {
                n: {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in p.items()}
                for n, p in properties.items()
            }
            found.append(
                (tensors, [t.stride() for t in tensors.values()], str(properties).replace("flambeau", "torch"), params)
            )
        return found, fuzzer.rejection_rate

    agree(program)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("coalesced", [True, False])
def test_random_sparse_inputs(agree, coalesced):
    def program(fl):
        fl.manual_seed(0)
        x = module(fl).FuzzedSparseTensor.sparse_tensor_constructor([4, 5, 2], fl.float32, 2, 3, coalesced)
        return x.is_coalesced(), x.sparse_dim(), x.to_dense()

    agree(program)


def test_distributions_and_aliases():
    parameters = [
        FuzzedParameter("a", distribution={1: 0.5, ParameterAlias("b"): 0.5}),
        FuzzedParameter("b", 5, 6, "uniform"),
    ]
    drawn = [params for _, _, params in Fuzzer(parameters, [], seed=0).take(40)]
    assert {p["a"] for p in drawn} == {1, 5, 6}
    assert all(p["a"] in (1, p["b"]) for p in drawn)
    with pytest.raises(ValueError, match="ParameterAlias cycle detected"):
        list(Fuzzer([FuzzedParameter("a", distribution={ParameterAlias("a"): 1.0})], [], seed=0).take(1))
    with pytest.raises(AssertionError, match="Distribution is not normalized"):
        FuzzedParameter("a", distribution={1: 0.5})
    with pytest.raises(ValueError, match="Failed to generate"):
        list(Fuzzer(parameters, [], [lambda params: False], seed=0).take(1))


# ---- instruction counts ------------------------------------------------------------------------------------------
def counts(fl, pairs, inclusive=False, **options):
    t = importlib.import_module(f"{fl.__name__}.utils.benchmark.utils.valgrind_wrapper.timer_interface")
    return t.FunctionCounts(tuple(t.FunctionCount(*p) for p in pairs), inclusive, **options)


ONE = [
    (120, "/a/Python/ceval.c:eval [lib.so]"),
    (30, "/a/Objects/dictobject.c:lookdict_unicode [lib.so]"),
    (7, "x:" + "y" * 90),
]
TWO = [(100, "/a/Python/ceval.c:eval [lib.so]"), (40, "z:z")]


def test_counts(agree):
    def program(fl):
        a, b = counts(fl, ONE, _linewidth=80), counts(fl, TWO)
        shown = [a, a + b, a - b, a * 3, a.filter(lambda f: "z" in f), a.transform(lambda f: f[:2]), a.denoise(), a[1:]]
        long = counts(fl, [(i, f"f{i}") for i in range(-3, 30)], True)
        return [(text(c), list(map(tuple, c)), len(c), c.sum()) for c in shown], text(long), tuple(a[0])

    agree(program)
    with pytest.raises(AssertionError, match="Cannot merge inclusive and exclusive counts"):
        counts(flambeau, ONE) + counts(flambeau, TWO, True)


def test_statistics(agree):
    def program(fl):
        b = module(fl)
        parts = [counts(fl, TWO, True), counts(fl, TWO), counts(fl, ONE, True), counts(fl, ONE)]
        stats = b.CallgrindStats(b.TaskSpec("x", "y", num_threads=2), 7, True, *parts, "text")
        short = stats.as_standardized()
        return (
            text(stats),
            stats.counts(denoise=True),
            text(stats.delta(short)),
            text(short.stats()),
            short.stmt_callgrind_out,
        )

    agree(program)


def test_globals_of_other_processes():
    assert CopyIfCallgrind(flambeau.nn.Linear(1, 1)).serialization.name == "TORCH"
    assert CopyIfCallgrind(3, setup="x").setup == "x"
    timer = Timer("x", globals={"x": 1})
    with pytest.raises((ValueError, OSError), match=r"requires that globals be wrapped|Missing|not supported"):
        timer.collect_callgrind()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("callgrind_annotate") is None, reason="needs Valgrind")
def test_callgrind():
    net = CopyIfCallgrind(flambeau.nn.Linear(2, 2))
    few, many = (Timer("net(x)", "x = torch.ones(1, 2)", globals={"net": net}).collect_callgrind(n) for n in (2, 150))
    assert 1.5 < many.counts() / few.counts() / 75 * 2 < 2.5 or many.counts() > 20 * few.counts()
    assert any("eval" in f for _, f in many.as_standardized().stats())
    assert isinstance(many.task_spec, TaskSpec)
    assert 0 < few.baseline_exclusive_stats.sum() < few.counts()

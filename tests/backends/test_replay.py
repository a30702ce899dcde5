"""Small calls of array readings: a builtin that does the loops that a reading does gives the reading's bits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau as torch
from flambeau._backends.cpu import replay, small
from flambeau._backends.cpu.arrays import K
from flambeau._backends.cpu.shadows import Tape, Unsuitable, folded
from flambeau._eager import replayed
from flambeau._eager.derive import SCOPE
from flambeau._operators import load
from flambeau._operators.op import REGISTRY

EDGES = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, 88.9, -104.0, 1e30]
DTYPES = [np.float32, np.float64]


@pytest.fixture(scope="module", autouse=True)
def _there():
    load()
    if replay.builtins() is None:
        pytest.skip("structs differ here")


def drawn(shape, dtype, seed=0):
    """Numbers of which some rows hold an edge, one is all edges, and the others none."""
    a = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    if a.ndim:
        rows = a.reshape(-1, a.shape[-1])
        for i, e in enumerate(EDGES):
            if 2 * i < len(rows):
                rows[2 * i, i % rows.shape[1]] = e
        if len(rows) > 20:
            rows[20] = np.resize(EDGES, rows.shape[1])
    return a


def built(run, values, arrays):
    """The builtin for arrays like those among these values, or None."""
    made = replay.Replay(run, arrays)
    return made.call if made.add(values) else None


def agrees(run, values, arrays, wanted=True):
    """Whether there is a builtin; it gives what the reading gives."""
    with np.errstate(all="ignore"):
        made = built(run, values, arrays)
        if made is None:
            assert not wanted
            return
        expected = run(K, *values)
    found = made(*(values[i] for i in arrays))
    several = isinstance(expected, tuple)
    assert isinstance(found, tuple) == several
    for f, e in zip(found, expected, strict=True) if several else [(found, expected)]:
        e = np.asarray(e)
        assert type(f) is np.ndarray
        assert (f.shape, f.dtype) == (e.shape, e.dtype)
        assert f.flags.carray
        assert f.tobytes() == np.ascontiguousarray(e).tobytes()


SHAPES = [
    (1, 1),
    (1, 7),
    (3, 1),
    (32, 10),
    (8, 64),
    (5, 33),
    (21, 129),
    (2, 3, 5),
    (4, 1, 6),
    (2, 3, 4, 5),
    (1, 2000),
    (300, 3),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["softmax.int", "log_softmax.int"])
def test_softmax_along_each_dim(name, shape, dtype):
    op = REGISTRY[name]
    for dim in range(len(shape)):
        agrees(op.run, (drawn(shape, dtype), dim, None), (0,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["sum.dim_IntList", "mean.dim", "amax", "amin", "prod.dim_int"])
def test_reductions_over_all_sets_of_dims(name, shape, dtype):
    op = REGISTRY[name]
    read = replayed.reading(op)
    for many in range(1, len(shape) + 1):
        for dims in itertools.combinations(range(len(shape)), many):
            if many > 1 and name == "prod.dim_int":
                continue
            for keep in (False, True):
                values = (drawn(shape, dtype), dims[0] if name == "prod.dim_int" else dims, keep)
                values += (None,) * (len(op.params) - 3)
                steps = [b - a for a, b in itertools.pairwise(dims)]
                near = all(s == 1 for s in steps) if name in ("amax", "amin") else len(shape) < 4
                agrees(read, values, (0,), wanted=near)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(n for n in ("native_layer_norm",)))
def test_normalisation_with_and_without_weights(name, dtype):
    for w, b in itertools.product((None, np.linspace(1, 2, 64)), (None, np.linspace(-1, 1, 64))):
        values = (drawn((30, 64), dtype), (64,), None if w is None else w.astype(dtype), None if b is None else b.astype(dtype), 1e-5)  # fmt: skip
        agrees(REGISTRY[name].run, values, (0, 2, 3))


def structured():
    load()
    for op in dict.fromkeys(REGISTRY.values()):
        if op.kind == "op" and not op.view and op.params and op.params[0].is_tensor and not op.draws:
            yield pytest.param(op, id=op.overload)


@pytest.mark.parametrize("op", list(structured()))
def test_every_reading_that_has_a_builtin_agrees_with_it(op):
    """Arguments are defaults and the like: what a reading refuses has no builtin."""
    given = {"dim": 1, "keepdim": True, "reduction": 1, "eps": 1e-5, "p": 2.0, "normalized_shape": (6,)}
    for shape, dtype in itertools.product([(24, 6), (2, 3, 4, 6)], DTYPES):
        values = []
        for i, p in enumerate(op.params):
            whole = p.is_tensor and not p.is_optional and not p.is_free
            default = None if p.default.__class__.__name__ == "Required" else p.default
            values.append(drawn(shape, dtype, i) if whole else None if p.is_tensor else given.get(p.name, default))
        agrees(replayed.reading(op), tuple(values), [i for i, p in enumerate(op.params) if p.is_tensor], wanted=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_of_extremes(name, shape, dtype):
    ties = np.round(drawn(shape, dtype) * 2) / 2
    for dim in range(len(shape)):
        for x in (drawn(shape, dtype), ties):
            agrees(REGISTRY[name].run, (x, dim, dim % 2 == 0), (0,), wanted=shape[dim] > 1)


# -- what is declined -------------------------------------------------------------------------------------------------


def test_arguments_of_other_kinds_are_declined():
    x = drawn((4, 6), np.float32)
    made = built(REGISTRY["softmax.int"].run, (x, 1, None), (0,))
    assert made(x) is not None
    assert made(x.astype(np.float64)) is None
    assert made(np.asfortranarray(x)) is None
    assert made(x[:, ::2]) is None
    assert made(x.reshape(6, 4)) is None
    assert made(x[0]) is None
    assert made(x[:0]) is None
    assert made(x[1:]) is None
    assert made(1.0) is None
    assert made(x, x) is None
    assert made() is None
    assert made(np.frombuffer(bytes(97), np.float32, 24, 1).reshape(4, 6)) is None  # not aligned


def test_readings_that_look_at_elements_have_none():
    x = drawn((4, 6), np.float32)
    assert built(lambda k, x: x + 1 if (x > 0).all() else x, (x,), (0,)) is None
    assert built(lambda k, x: x, (x,), (0,)) is None
    assert built(lambda k, x: k.library("sort", x, dim=0), (x,), (0,)) is None
    assert built(lambda k, x: np.sort(x), (x,), (0,)) is None
    assert built(lambda k, x: x.T + 1, (x,), (0,)) is None


def test_what_differs_on_numbers_of_chance_is_not_used():
    x = drawn((4, 6), np.float32)
    told = []

    def run(k, x):
        told.append(type(x))
        return x + 1 if type(x) is np.ndarray else x + 2

    assert built(run, (x,), (0,)) is None
    assert len(told) == 2


def test_a_sum_in_another_order_is_noticed():
    for n in (3, 4, 5, 9, 120):
        x = drawn((n,), np.float32)
        made = replay.Replay(lambda k, x: k.sum(x, (0,)), (0,), lambda k, x: k.xp.add.accumulate(x)[-1:])
        assert made.add((x,)) == (n < 9)


def test_results_own_their_memory_and_nothing_leaks():
    import gc
    import sys

    x = drawn((4, 6), np.float32)
    made = built(REGISTRY["native_layer_norm"].run, (x, (6,), None, None, 1e-5), (0, 2, 3))
    gc.collect()
    before = sys.getrefcount(x), sys.getrefcount(x.dtype), sys.getrefcount(None)
    for _ in range(1000):
        kept = made(x, None, None)
    assert all(r.flags.owndata and r.flags.writeable for r in kept)
    del kept
    gc.collect()
    after = sys.getrefcount(x), sys.getrefcount(x.dtype), sys.getrefcount(None)
    assert after[:2] == before[:2]
    assert abs(after[2] - before[2]) < 100


def test_values_between_steps_share_memory():
    def run(k, x):
        for _ in range(40):
            x = np.exp(-x) + x
        return x

    x = drawn((16, 100), np.float32)
    agrees(run, (x,), (0,))


def test_writes_in_place_and_views_are_followed():
    def run(k, x, y):
        out = k.xp.empty(x.shape, x.dtype)
        out[...] = 1
        out[:, 1:] = x[:, 1:]
        out *= y
        part = out[1]
        part += 2.0
        return out, k.xp.broadcast_to(y, x.shape).copy(), x.reshape(-1, 1) * y[:1]

    agrees(run, (drawn((4, 6), np.float32), drawn((6,), np.float32)), (0, 1))


def test_neighbouring_dims_become_one():
    assert folded((2, 1, 3), [(12, 99, 4)]) == ([6], [[4]])
    assert folded((2, 3), [(12, 4), (4, 0)]) == ([2, 3], [[12, 4], [4, 0]])
    assert folded((1, 1), [(12, 4)]) == ([1], [[0]])


def test_too_deep_a_walk_is_refused():
    tape = Tape()
    x, y = tape.argument(0, np.zeros((2, 3, 2, 3))), tape.argument(1, np.zeros((2, 1, 2, 1)))
    with pytest.raises(Unsuitable):
        x + y


# -- where they are used ----------------------------------------------------------------------------------------------


def test_calls_that_come_again_run_a_builtin(monkeypatch):
    monkeypatch.setattr(small, "worth", lambda: True)
    x = torch.arange(24.0).reshape(4, 6) / 7
    expected = x.softmax(1)
    names = [n for n, v in SCOPE.items() if n.startswith("REPLAYS_softmax_int") and isinstance(v, replayed.Replays)]
    for _ in range(replayed.AFTER):
        x.softmax(1)
    call = SCOPE[names[0]].get((1, None))
    assert type(call).__name__ == "builtin_function_or_method"
    assert call(x._a).tobytes() == expected._a.tobytes()
    assert torch.equal(x.softmax(1), expected)
    assert torch.equal(x.t().softmax(0), expected.t())
    with pytest.raises(IndexError):
        x.softmax(5)


def test_readings_without_a_builtin_are_not_asked_for_long(monkeypatch):
    monkeypatch.setattr(small, "worth", lambda: True)
    replays = replayed.Replays(lambda k, x: x, (0,))
    for n in range(1, 9):
        for _ in range(20):
            assert replays.met((), np.ones(n, np.float32)) is None
    assert not replays.calls
    assert replays.failed == replayed.TRIES
    assert len(replays.seen) == replayed.TRIES
    looking = replayed.Replays(lambda k, x: np.sort(x), (0,))
    for _ in range(replayed.AFTER):
        assert looking.met((), np.ones(3)) is None
    assert looking.failed == replayed.TRIES


def test_what_does_not_fit_some_shapes_may_fit_others(monkeypatch):
    monkeypatch.setattr(small, "worth", lambda: True)
    replays = replayed.Replays(lambda k, x: x.T + 1 if x.ndim > 1 else x + 1, (0,))
    for shape in [(2, 3), (3, 4), (5,)]:
        found = [replays.met((), np.ones(shape, np.float32)) for _ in range(replayed.AFTER)]
    assert found[-1].tolist() == [2] * 5
    assert replays.failed == 2


def test_a_builtin_takes_arrays_of_several_kinds(monkeypatch):
    made = replay.Replay(lambda k, x, y: x if y is None else x * y, (0, 1))
    monkeypatch.setattr(replay.Replay, "MOST", 6)
    kinds = [drawn(shape, d) for shape, d in itertools.product([(3, 4), (2, 2, 2), ()], DTYPES)]
    assert not made.add((kinds[0], None))
    for n, x in enumerate(kinds):
        assert made.call(x, x) is None
        assert made.add((x, x))
        for y in kinds[: n + 1]:
            assert made.call(y, y).tobytes() == np.multiply(y, y).tobytes()
            assert made.call(y, None) is None
    more = drawn((9,), np.float32)
    assert made.add((more, more))
    assert made.call(more, more) is not None
    assert made.call(kinds[0], kinds[0]) is None  # it began again


def test_checks_that_look_at_elements_or_warn_are_asked_each_time():
    import warnings

    x = np.ones((2, 3), np.float32)
    looks = replayed.Replays(lambda k, x: x + 1, (0,), lambda x: bool((x > 0).all()))
    warns = replayed.Replays(lambda k, x: x + 1, (0,), lambda x: warnings.warn("seen", stacklevel=1))
    plain = replayed.Replays(lambda k, x: x + 1, (0,), lambda x: x.shape[0] + x.ndim + x.numel() + x.dim())
    assert not looks.unseeing((x,))
    assert looks.failed == replayed.TRIES
    assert not warns.unseeing((x,))
    assert plain.unseeing((x,))


# -- classes ----------------------------------------------------------------------------------------------------------


def labels(n, classes, ignored):
    at = np.random.default_rng(n).integers(0, classes, n)
    at[: n // 3] = np.where(np.arange(n // 3) % 2, -100, at[: n // 3]) if ignored else at[: n // 3]
    return at


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_losses_and_their_derivatives(dtype, ignored, reduction, weighted):
    op = REGISTRY["_nll"]
    for n, classes in [(1, 1), (1, 5), (32, 10), (21, 3), (7, 100)]:
        x, at = drawn((n, classes), dtype), labels(n, classes, ignored)
        w = np.linspace(0.5, 2, classes).astype(dtype) if weighted else None
        agrees(op.run, (x, at, w, reduction, -100), (0, 1, 2))
        if classes > 2:
            agrees(op.run, (x, labels(n, classes, False), w, reduction, 1), (0, 1, 2))
        g = drawn((n,), dtype) if reduction == 0 else np.asarray(1.5, dtype)
        agrees(op.array_rules["input"], (g, x.shape, at, w, reduction, -100), (0, 2, 3))


def test_classes_out_of_bounds_are_for_the_reading_to_refuse():
    op = REGISTRY["_nll"]
    x, at = drawn((6, 4), np.float32), np.array([0, 1, 2, 3, 0, 1])
    made = built(op.run, (x, at, None, 1, -100), (0, 1, 2))
    for bad in (4, -1, -100):
        wrong = at.copy()
        wrong[3] = bad
        assert (made(x, wrong, None) is None) == (bad != -100)

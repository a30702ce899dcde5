"""The recurrent kernels against the same walk in NumPy: odd sizes, packed rows, both directions, any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import launch, library_recurrent as library, recurrent, recurrent_plan, recurrent_steps
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

CASES = [((5, 5, 5), 7), ((16,) * 6, 64), ((9, 7, 7, 3, 1), 33), ((1,), 1), ((3, 2, 1, 1), 40)]  # sizes, units


def arrays(kind, sizes, units, dtype):
    rng = np.random.default_rng(units)
    rows, lead = sum(sizes), recurrent.GATES[kind] * units
    shapes = {
        "x": (rows, lead),
        **dict.fromkeys(("h0", "c0", "gh", "gc"), (sizes[0], units)),
        "w": (lead, units),
        "b": (lead,),
    }
    made = {name: (rng.standard_normal(shape) / 3).astype(dtype) for name, shape in shapes.items()}
    return made | {"g": rng.standard_normal((rows, units)).astype(dtype)}


def both_ways(kind, sizes, a, reverse):
    """Results and gradients of the kernels."""
    places = library._places(sizes)
    out = recurrent.forward(kind, a["x"], a["h0"], a["c0"], a["w"], a["b"], *places, reverse)
    return out, recurrent.backward(kind, a["g"], a["gh"], a["gc"], *out, a["h0"], a["c0"], a["w"], *places, reverse)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
@pytest.mark.parametrize("kind", recurrent.GATES)
def test_against_the_array_reading(kind, dtype, tolerance):
    for sizes, units in CASES:
        a = arrays(kind, sizes, units, dtype)
        for reverse in (False, True):
            out, grads = both_ways(kind, sizes, a, reverse)
            want = library._forward(kind, a["x"], a["h0"], a["c0"], a["w"], a["b"], sizes, reverse)
            back = library._backward(kind, a["g"], a["gh"], a["gc"], *out, a["h0"], a["c0"], a["w"], sizes, reverse)
            pairs = [
                *zip(out, want, strict=True),
                *zip(grads, back if kind == "lstm" else back[:3], strict=kind == "lstm"),
            ]
            for x, y in pairs:
                assert x.shape == y.shape
                assert np.allclose(x, y, tolerance, tolerance)


def test_special_values():
    for kind in recurrent.GATES:
        a = arrays(kind, (4, 4), 20, "float32")
        a["x"][0, 3], a["x"][1, 5], a["x"][2, 7] = np.nan, np.inf, -np.inf
        out, _ = both_ways(kind, (4, 4), a, False)
        with np.errstate(all="ignore"):
            want = library._forward(kind, a["x"], a["h0"], a["c0"], a["w"], a["b"], (4, 4), False)
        assert np.allclose(out[0], want[0], 1e-5, 1e-5, equal_nan=True)


def test_same_bits_for_any_number_of_threads():
    a, even = arrays("lstm", (21, 21, 20, 4), 50, "float32"), arrays("lstm", (21,) * 4, 50, "float32")
    before, results = get_num_threads(), []
    how = dict(kind="lstm", sizes=(21,) * 4, reverse=False)
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            out, grads = both_ways("lstm", (21, 21, 20, 4), a, True)
            whole = library.recurrent_layer(*(even[name] for name in ("x", "h0", "c0", "w", "b")), **how)
            states = whole[0], *whole[3:], even["h0"], even["c0"], even["w"]
            back = library.recurrent_backward(even["g"], even["gh"], even["gc"], *states, **how)
            results.append([x.tobytes() for x in (*out, *grads, *whole, *back)])
    finally:
        set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_gradients_leave_blas_and_its_threads_alone(monkeypatch):
    def refuse(*args):
        raise AssertionError("an array library's product: its threads would spin beside the kernels'")

    sizes, units = (16,) * 6, 64
    a = arrays("lstm", sizes, units, "float32")
    out, _ = both_ways("lstm", sizes, a, False)
    monkeypatch.setattr(np, "matmul", refuse)
    grads = library.recurrent_backward(
        a["g"], a["gh"], a["gc"], *out, a["h0"], a["c0"], a["w"], kind="lstm", sizes=sizes, reverse=False
    )
    assert np.allclose(grads[4], grads[0].sum(0), 1e-4, 1e-4)
    x = np.ones((97, 96), np.float32)
    assert (library.product(x, np.ones((96, 1), np.float32)) == 96).all()


def test_gradients_that_no_rule_names_are_not_made(monkeypatch):
    import flambeau as fl

    made, zeros = [], np.zeros

    def counted(shape, *args, **kwargs):
        made.append(tuple(np.atleast_1d(shape)))
        return zeros(shape, *args, **kwargs)

    lstm = fl.nn.LSTM(12, 20)
    loss = lstm(fl.randn(6, 4, 12))[0].sum()
    monkeypatch.setattr(np, "zeros", counted)
    loss.backward()
    assert made and (24, 80) not in made and (24, 20) not in made  # of what is kept for the derivative


@pytest.mark.parametrize("kind", recurrent.GATES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_not_kept_changes_no_bit(kind, dtype):
    for sizes, units in CASES:
        a = arrays(kind, sizes, units, dtype)
        for reverse in (False, True):
            given = a["x"], a["h0"], a["c0"], a["w"], a["b"]
            how = {"kind": kind, "sizes": sizes, "reverse": reverse}
            kept = library.recurrent_layer(*given, **how)
            bare = library.recurrent_layer(*given, **how, keep=False)
            assert all((x == y).all() and x.shape == y.shape for x, y in zip(kept[:3], bare[:3], strict=True))
            assert bare[3].size == bare[4].size == 0
            out, _, cells = library._forward(kind, *given, sizes, reverse, False)
            assert np.allclose(out, bare[0], 1e-4, 1e-4)
            assert np.allclose(cells, bare[2], 1e-4, 1e-4)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_nothing_is_kept_where_there_is_no_derivative(kind, monkeypatch):
    import flambeau as fl

    seen, layer = [], recurrent_plan.layer
    monkeypatch.setattr(recurrent_plan, "layer", lambda *args: seen.append(args[3]) or layer(*args))
    rnn, x = getattr(fl.nn, kind)(5, 7), fl.randn(3, 2, 5)
    rnn(x)
    with fl.no_grad():
        rnn(x)
    with fl.inference_mode():
        rnn(x)
    rnn.requires_grad_(False)
    rnn(x)
    rnn(x.clone().requires_grad_())
    rnn.weight_hh_l0.requires_grad_()
    rnn(x)
    with fl.no_grad():
        rnn(x)
    assert seen == [True, False, False, False, True, True, False]


def test_a_derivative_of_what_was_not_kept_walks_forward_again():
    import flambeau as fl
    from flambeau._operators.rnn import _recurrent_layer

    a = arrays("lstm", (3, 3, 2), 6, "float64")
    for kind in recurrent.GATES:
        lead = recurrent.GATES[kind] * 6
        a = a | {"x": a["x"][:, :lead], "w": a["w"][:lead], "b": a["b"][:lead]}
        found = []
        for keep in (True, False):
            given = [fl.tensor(a[name]).requires_grad_() for name in ("x", "h0", "c0", "w", "b")]
            out, h, c, *_ = _recurrent_layer(*given, (3, 3, 2), kind, False, keep)
            (out.square().sum() + h.sum() + (c.sum() if kind == "lstm" else 0)).backward()
            found.append([t.grad for t in given if t.grad is not None])
        assert len(found[0]) == len(found[1]) == (5 if kind == "lstm" else 4)
        assert all(fl.allclose(x, y, 1e-12, 1e-12) for x, y in zip(*found, strict=True))


@pytest.mark.parametrize("kind", recurrent.GATES)
def test_a_layer_whole_is_its_walk_and_what_follows(kind, monkeypatch):
    for sizes, units in (((5,) * 3, 7), ((16,) * 6, 64), ((1,), 1), ((3,), 33)):
        a = arrays(kind, sizes, units, "float64")
        for reverse in (False, True):
            how = dict(kind=kind, sizes=sizes, reverse=reverse)

            def results(a=a, how=how):
                given = [a[name] for name in ("x", "h0", "c0", "w", "b")]
                kept, bare = (library.recurrent_layer(*given, **how, keep=keep) for keep in (True, False))
                out, _, _, saved, cells = kept
                grads = library.recurrent_backward(
                    a["g"], a["gh"], a["gc"], out, saved, cells, a["h0"], a["c0"], a["w"], **how
                )
                return [*kept, *bare, *grads]

            whole = results()
            with monkeypatch.context() as patch:
                patch.setattr(recurrent_plan, "layer", lambda *args: None)
                patch.setattr(recurrent_plan, "backward", lambda *args: None)
                parts = results()
            for x, y in zip(whole, parts, strict=True):
                assert x.shape == y.shape
                assert np.allclose(x, y, 1e-12, 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", recurrent.GATES)
def test_steps_that_are_launches_give_the_bits_of_the_walk(kind, dtype, monkeypatch):
    before = get_num_threads()
    try:
        for batch, times, units in ((5, 3, 70), (1, 1, 33), (7, 4, 64), (2, 5, 7)):
            a = arrays(kind, (batch,) * times, units, dtype)
            for reverse in (False, True):
                results = []
                for threads, fit in ((1, True), (2, True), (7, True), (2, False)):
                    set_num_threads(threads)
                    with monkeypatch.context() as patch:
                        patch.setattr(recurrent_steps, "fit", lambda *args, fit=fit: fit)
                        launch._tables.clear()
                        how = dict(kind=kind, sizes=(batch,) * times, reverse=reverse)
                        given = [a[name] for name in ("x", "h0", "c0", "w", "b")]
                        kept, bare = (library.recurrent_layer(*given, **how, keep=keep) for keep in (True, False))
                        states = kept[0], *kept[3:], a["h0"], a["c0"], a["w"]
                        grads = library.recurrent_backward(a["g"], a["gh"], a["gc"], *states, **how)
                        results.append([x.tobytes() for x in (*kept, *bare, *grads)])
                assert all(r == results[0] for r in results)
    finally:
        set_num_threads(before)
        launch._tables.clear()

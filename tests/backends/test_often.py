"""Small arrays go to kernels where a routine is called often with the same sizes: with the same bits, and the same refusals."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau
from flambeau._backends.cpu import launch, often
from flambeau._backends.cpu.entry import native_entry
from flambeau._backends.cpu.launch import Plan, Table

F = flambeau.nn.functional
CASES = {
    "rows": lambda x, i: x[i[:, 0]],
    "pairs": lambda x, i: x[i[:, 0], i[:, 1]],
    "columns": lambda x, i: x[:, i[0]],
    "take": lambda x, i: x.take(i),
    "index_select": lambda x, i: x.index_select(1, i[0]),
    "gather": lambda x, i: x.gather(1, i),
    "gather of a view": lambda x, i: x.T.gather(0, i.T),
    "scatter": lambda x, i: x.scatter(1, i[:, :1], 7),
    "scatter_add": lambda x, i: x.scatter_add(1, i, x),
    "index_add": lambda x, i: x.index_add(0, i[:, 0], x),
    "index_fill": lambda x, i: x.index_fill(0, i[:, 0], 3),
    "index_put": lambda x, i: x.index_put((i[:, 0],), x, accumulate=True),
    "embedding": lambda x, i: flambeau.nn.functional.embedding(i, x),
    "scatter_add along the first": lambda x, i: x.scatter_add(0, i, x),
    "scatter_add of a view": lambda x, i: x.T.scatter_add(1, i.T % 3, x.T),
    "index_add of one number": lambda x, i: x[0, 0].index_add(0, flambeau.tensor([0]), x[1, 1]),
    "index_reduce of one number": lambda x, i: (
        x[0, 0].index_reduce(0, flambeau.tensor([0]), x[1, 1], "mean") if x.dtype.is_floating_point else x
    ),
    "index_add along the last": lambda x, i: x.index_add(1, i[:, 0].repeat(2)[:6], x),
    "index_put of two": lambda x, i: x.index_put((i, i.flip(0) % 3), x[:, :4], accumulate=True),
    "index_put over the middle": lambda x, i: x.reshape(5, 2, 3).index_put((i[:, :2] % 2,), x[:1, :3], accumulate=True),
    "scatter_reduce": lambda x, i: x.scatter_reduce(1, i, x, "amax"),
    "index_reduce": lambda x, i: x.index_reduce(0, i[:, 0], x, "prod") if x.dtype.is_floating_point else x,
    "topk": lambda x, i: x.topk(3)[1] if not x.is_complex() else x,
    "sort": lambda x, i: x.sort(0, descending=True)[1] if not x.is_complex() else x,
    "max_pool": lambda x, i: F.max_pool2d(_images(x), 3, 2, 1),
    "max_pool with channels last": lambda x, i: F.max_pool2d(_images(x).to(memory_format=flambeau.channels_last), 2),
    "max_pool derivative": lambda x, i: _grad(lambda y: F.max_pool2d(y, 3, 2), _images(x)),
    "max_pool1d": lambda x, i: F.max_pool1d(_images(x)[0], 3, 1, dilation=2),
    "nearest": lambda x, i: F.interpolate(_images(x), scale_factor=2) if x.dtype.is_floating_point else x,
    "nearest, fewer": lambda x, i: F.interpolate(_images(x), size=(4, 7)) if x.dtype.is_floating_point else x,
    "nothing to pool": lambda x, i: F.max_pool2d(flambeau.zeros(0, 2, 4, 4), 2),
    "rows of itself": lambda x, i: _moved(x.clone(), i),
}


def _grad(f, x):
    """The derivative of a result's sum, each element by another weight."""
    x = x.clone().requires_grad_()
    y = f(x)
    y.backward((flambeau.arange(float(y.numel())).sin().reshape(y.shape)).to(y.dtype))
    return x.grad


def _images(x):
    return x.repeat(2, 3)[None, None].expand(1, 2, 10, 18) if x.dtype.is_floating_point else flambeau.zeros(1, 1, 6, 6)


def _moved(x, i):
    x[i[:, 0]] = x.flip(0)
    return x


@pytest.mark.parametrize("dtype", [flambeau.float32, flambeau.int64, flambeau.complex64, flambeau.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_same_bits_small_and_often(name, dtype, monkeypatch):
    x = ((flambeau.arange(30).reshape(5, 6) * 5.0).sin() * 100).to(dtype)  # sums are rounded
    i = flambeau.arange(20).reshape(5, 4) * 7 % 5
    monkeypatch.setattr(often, "_calls", {})
    monkeypatch.setattr(often, "MOST", 10**9)
    want = CASES[name](x, i)
    native_entry()
    monkeypatch.setattr(often, "MOST", 0)
    for _ in range(6):
        got = CASES[name](x, i)
        assert got.dtype is want.dtype and got.stride() == want.stride() and flambeau.equal(got, want)


@pytest.mark.parametrize("name", ["rows", "take", "index_select", "gather", "scatter_add", "index_add", "embedding"])
def test_same_words_small_and_often(name, monkeypatch):
    x, i = flambeau.arange(30.0).reshape(5, 6), flambeau.full((5, 4), 40)
    monkeypatch.setattr(often, "_calls", {})
    said = []
    for calls in (10**9, 0, 0, 0, 0, 0):
        monkeypatch.setattr(often, "MOST", calls)
        with pytest.raises((IndexError, RuntimeError)) as refused:
            CASES[name](x, i)
        said.append((refused.type, str(refused.value)))
    assert len(set(said)) == 1


def test_a_routine_waits_for_many_calls_and_for_more_where_there_is_no_native_code(monkeypatch):
    monkeypatch.setattr(often, "_calls", {})
    for name, loaded, calls in (("a", True, often.CALLS), ("b", False, often.MOST)):
        monkeypatch.setattr(often, "loaded", lambda loaded=loaded: loaded)
        answers = [often.often(name) for _ in range(calls + 1)]
        assert answers.index(True) == calls


def test_a_patient_call_waits_for_sizes_to_come_again():
    made = []

    def make(n):
        return lambda: made.append(n) or Plan((launch.Result(np.dtype("f8"), (n,)),), ())

    for n in (3, 4, 3, 4, 5):
        assert launch.planned(("patience",), (np.zeros(n),), make(n), True) is None
    assert not made
    assert launch.planned(("patience",), (np.zeros(3),), make(3), True).shape == (3,) and made == [3]


def test_sizes_that_never_come_again_are_soon_not_looked_at():
    table = Table("scarce")
    assert not any([table.again((np.zeros(n),)) for n in range(2 * launch.MISSES)])
    assert sum(table.waiting.values()) <= launch.MISSES + launch.MISSES // launch.SPARSE

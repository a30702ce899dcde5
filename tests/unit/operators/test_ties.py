"""The order among equal elements: PyTorch's, by generated code and without."""

import numpy as np
import pytest

import flambeau
from flambeau._backends.cpu import ties
from flambeau._backends.cpu.library_product import native


def few_values(*shape, kind="i8", values=5):
    return np.random.default_rng(len(shape) + shape[-1]).integers(0, values, shape).astype(kind)


@pytest.mark.parametrize("kind", ["i8", "?", "u1"])
@pytest.mark.parametrize("shape", [(9,), (17,), (60, 7), (3, 1500)])
def test_sort(agree, kind, shape):
    x = few_values(*shape, kind=kind, values=2 if kind == "?" else 5)
    for descending in (False, True):
        agree(lambda t, x, d=descending: t.sort(x, 0, descending=d)[1], x, grads=0)
        agree(lambda t, x, d=descending: t.argsort(x, -1, descending=d), x, grads=0)
        agree(lambda t, x, d=descending: t.sort(x, stable=True, dim=-1, descending=d)[1], x, grads=0)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_selection(agree, k):
    for shape in ((24,), (4, 100), (2, 1300)):
        x = few_values(*shape)
        for largest in (True, False):
            agree(lambda t, x, w=largest: t.topk(x, k, largest=w), x)
            agree(lambda t, x, w=largest: t.topk(x, k, largest=w, sorted=False), x)
        agree(lambda t, x: t.kthvalue(x, k), x)
        agree(lambda t, x: t.mode(x), x)


def test_nan(agree):
    x = few_values(3, 300, kind="f8")
    x[x == 3] = np.nan
    agree(lambda t, x: (t.topk(x, 9)[1], t.kthvalue(x, 290)[1]), x, grads=0)


@pytest.mark.parametrize("n", [2, 3, 5, 17, 64, 1000])
@pytest.mark.parametrize("values", [1, 3, 400])
def test_generated_code_does_what_python_does(n, values):
    if not native():
        pytest.skip("no code generator")
    r = np.random.default_rng(n * values)
    rank = r.integers(0, values, (4, n))
    rank[1].sort()
    rank[2] = np.minimum(np.arange(n), np.arange(n)[::-1])  # an organ pipe: the worst for pivots
    entries = (rank << 32) | np.arange(n)
    for routine in range(5):
        for count in sorted({1, 2, n // 2 or 1, n} if routine != ties.SORT else {n}):
            assert (ties.native(entries, count, routine) == ties.plain(entries, count, routine)).all(), (routine, count)


@pytest.mark.parametrize("least", [1, 10**9])  # elements from which a kernel finds them
def test_rows_with_equal_elements_are_as_pytorch_leaves_them_among_others_without(least, monkeypatch):
    from flambeau._backends.cpu import library_order

    monkeypatch.setattr(library_order, "NATIVE", least)
    r = np.random.default_rng(3)
    for shape in ((6, 30), (9, 200), (5, 300, 3), (12, 1300)):
        for kind in ("f4", "f8", "i8"):
            x = (r.standard_normal(shape) * 1e9).astype(kind)
            x[::3] = r.integers(0, 40, x[::3].shape)
            if kind != "i8":
                x[1, 3], x[4, :5] = np.nan, -np.inf
            n = shape[1]
            for count in (1, 2, n // 70 or 1, n // 3, n):
                few = count * 64 <= n
                for largest in (True, False):
                    left = library_order._as_left(x, count, 1, largest, ties.PARTIAL if few else ties.NTH)
                    values, index = (a.numpy() for a in flambeau.from_numpy(x).topk(count, 1, largest))
                    np.testing.assert_array_equal(index, left)
                    np.testing.assert_array_equal(values, np.take_along_axis(x, left, 1))
                left = library_order._as_left(x, count, 1, False, ties.SELECT)[:, count - 1]
                values, index = (a.numpy() for a in flambeau.from_numpy(x).kthvalue(count, 1))
                np.testing.assert_array_equal(index, left)
                np.testing.assert_array_equal(values, np.take_along_axis(x, left[:, None], 1)[:, 0])


def test_heaps_take_over_where_pivots_are_bad():
    """McIlroy's adversary: a row on which the median of three always splits badly."""
    n = 600
    rank, solid, candidate = [n] * n, 0, 0

    class Item:
        def __init__(self, i):
            self.i = i

        def __rshift__(self, _):
            return self

        def __lt__(self, other):
            nonlocal solid, candidate
            a, b = self.i, other.i
            if rank[a] == n and rank[b] == n:
                rank[a if a == candidate else b] = solid
                solid += 1
            if rank[a] == n:
                candidate = a
            elif rank[b] == n:
                candidate = b
            return rank[a] < rank[b]

        def __ge__(self, other):
            return not self < other

    ties._sort([Item(i) for i in range(n)], n)
    entries = (np.array([rank]) << 32) | np.arange(n)
    left = ties.plain(entries, n, ties.SORT)
    assert (np.diff(np.array(rank)[left[0]]) >= 0).all()
    if native():
        assert (ties.native(entries, n, ties.SORT) == left).all()


def test_descending_orders_lie_forwards(agree):
    agree(lambda fl: fl.arange(1).argsort(descending=True), strides=True)
    agree(lambda fl: tuple(fl.sort(fl.ones(3, 1), 1, True)), strides=True)


@pytest.mark.parity
@pytest.mark.parametrize("span", [5, 1000, 10**5, 2**31 - 2, 2**40, 2**62])
@pytest.mark.parametrize("n", [40, 300, 5000])
def test_integers_near_and_far_apart(torch, n, span):
    x = np.random.default_rng(n).integers(-(span // 2), span // 2, (20, n))
    x[:, n // 2], x[:, 3] = x[:, 0], x.max(1)
    ours, theirs = flambeau.from_numpy(x), torch.from_numpy(x)
    for k in (1, 5, n // 2):
        for largest in (True, False):
            found, want = (t.topk(k, largest=largest)[1].numpy() for t in (ours, theirs))
            np.testing.assert_array_equal(found, want)
        np.testing.assert_array_equal(*(t.kthvalue(k)[1].numpy() for t in (ours, theirs)))

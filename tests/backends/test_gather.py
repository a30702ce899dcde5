"""Gathered reads by kernels against the array library's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau as fl
from flambeau._backends.cpu import gather as kernels
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

DTYPES = [np.int8, np.float16, ml_dtypes.bfloat16, np.float32, np.int64, np.float64, np.complex64]


def values(rng, shape, dtype):
    return rng.integers(-100, 100, shape).astype(dtype)


def layouts(rng, x):
    """The same array as it is, transposed in memory, and with gaps."""
    yield x
    yield np.asfortranarray(x)
    wide = np.zeros([2 * n for n in x.shape], x.dtype)
    view = wide[tuple(slice(None, None, -2) for _ in x.shape)]
    view[...] = x
    yield view


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("kind", [np.int64, np.int32])
def test_gather_along_a_dim(dtype, kind):
    rng = np.random.default_rng(1)
    for shape in [(7,), (5, 67), (3, 1, 19), (2, 3, 5, 7), (1, 100)]:
        x = values(rng, shape, dtype)
        for dim in range(len(shape)):
            if not shape[dim]:
                continue
            size = [int(rng.integers(1, n + 1)) for n in shape]
            size[dim] = int(rng.integers(1, 90))
            index = rng.integers(0, shape[dim], size).astype(kind)
            part = x[tuple(slice(None) if d == dim else slice(0, n) for d, n in enumerate(size))]
            want = np.take_along_axis(part, index, dim)
            for a in layouts(rng, x):
                for i in layouts(rng, index):
                    got = kernels.gather(a, i, dim, False)
                    if got is not None:
                        assert got[0].dtype == x.dtype and np.array_equal(got[0], want) and not got[1][0]
                    else:
                        assert len(shape) > 3


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_index_by_arrays(dtype):
    rng = np.random.default_rng(2)
    x = values(rng, (6, 5, 4, 33), dtype)
    at = lambda n, *shape: rng.integers(-n, n, shape)
    cases = [
        [at(6, 9)],
        [at(6, 3, 4)],
        [None, at(5, 70)],
        [None, None, None, at(33, 65)],
        [at(6, 7), at(5, 7)],
        [at(6, 7, 1), at(5, 1, 40)],
        [at(6, 8), None, at(4, 8)],
        [None, at(5, 3, 1), at(4, 3), at(33, 1, 3)],
        [at(6, 20), at(5, 20), at(4, 20), at(33, 20)],
    ]
    for case in cases:
        where = tuple(slice(None) if i is None else i for i in case)
        for a in layouts(rng, x):
            got = kernels.read(a, case, True)
            if got is not None:
                assert got[0].shape == x[where].shape and np.array_equal(got[0], x[where]) and not got[1][0]
        assert kernels.read(x, case, True) is not None


def test_out_of_bounds_sets_the_flag_and_reads_nothing_else():
    x = np.arange(100.0)
    for bad in (-1, 100, 1 << 62, -(1 << 62)):
        for n, place in ((1, 0), (8, 7), (50, 49), (5000, 4095)):
            i = np.zeros(n, np.int64)
            i[place] = bad
            assert kernels.gather(x, i, 0, False)[1][0] == 1
            assert kernels.read(np.stack([x, x]).T.copy(), [i], False)[1][0] == 1
    assert kernels.read(x, [np.full(9, -101)], True)[1][0] == 1
    assert not kernels.read(x, [np.full(9, -100)], True)[1][0]
    assert kernels.read(np.zeros((0, 3)), [np.zeros(5, np.int64)], True) is None


def test_threads_change_nothing():
    rng = np.random.default_rng(3)
    x, i = rng.standard_normal((700, 300)), rng.integers(0, 300, (700, 150))
    before, got = get_num_threads(), []
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            got.append((kernels.gather(x, i, 1, False)[0], kernels.read(x, [i[:, 0]], False)[0]))
    finally:
        set_num_threads(before)
    for a, b in got[1:]:
        assert np.array_equal(a, got[0][0]) and np.array_equal(b, got[0][1])


LARGE = {  # each refuses a small tensor and a large one in the same words
    "index": lambda x, i: x[i],
    "index along dim 1": lambda x, i: x[:, i],
    "index_select": lambda x, i: x.index_select(0, i),
    "gather": lambda x, i: x.gather(0, i.reshape(-1, 1)),
    "embedding": lambda x, i: fl.embedding(x, i),
    "take": lambda x, i: x.take(i * 25),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("bad", [5, -6])
def test_errors_of_large_reads(name, bad):
    x = fl.arange(25.0).reshape(5, 5)
    said = []
    for n in (3, 9000):
        i = fl.zeros(n, dtype=fl.int64)
        i[n // 2] = bad
        with pytest.raises((IndexError, RuntimeError)) as error:
            LARGE[name](x, i)
        said.append((error.type, str(error.value)))
    assert said[0] == said[1]


@pytest.mark.parametrize("strides", ["dense", "turned", "apart"])
@pytest.mark.parametrize("where", [0, 31, 32, 70, 99])
@pytest.mark.parametrize("wrong", [50, -1, 2**40])
def test_an_index_out_of_bounds_is_found_wherever_it_is(wrong, where, strides):
    """Indices are checked by the dozen: all others of the dozen are read as ever."""
    rng = np.random.default_rng(5)
    x = {"dense": lambda x: x, "turned": np.asfortranarray, "apart": lambda x: np.repeat(x, 2, 1)[:, ::2]}[strides](
        rng.standard_normal((3, 50)).astype(np.float32)
    )
    index = rng.integers(0, 50, (3, 100))
    index[1, where] = wrong
    got, flag = kernels.gather(x, index, 1, False)
    want = np.take_along_axis(x, np.where(index == wrong, 0, index), 1)
    assert flag[0] and np.array_equal(got, want)

"""Reductions of segments, chunks side by side, masked indexing, hashes: against PyTorch."""

import numpy as np
import pytest

from tests.agree import rand


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("initial", [None, 1.5])
def test_segments(agree, reduce, initial):
    lengths = np.array([1, 0, 4, 2])
    agree(lambda t, x, n: t.segment_reduce(x, reduce, lengths=n, initial=initial), rand(7, 3), lengths)
    agree(
        lambda t, x, n: t.segment_reduce(x, reduce, offsets=n, initial=1, unsafe=True),
        rand(7, 3) + 2,
        np.array([0, 1, 3, 7]),
        grads=0 if initial is None else 1,
    )


def test_segments_of_a_later_dim(agree):
    agree(
        lambda t, x, n: t.segment_reduce(x, "sum", lengths=n, axis=1), rand(2, 5, 3), np.array([[2, 3, 0], [1, 1, 3]])
    )


def test_chunks(agree):
    agree(lambda t, x, y: t._chunk_cat([x, y], 0, 2), rand(3, 4), rand(5, 2, 2), grads=0)
    agree(lambda t, x, y: t._chunk_cat([x, y], 1, 3), rand(2, 4), rand(2, 5), grads=0)
    for chunks in (0, -1):
        agree(lambda t, x, n=chunks: t._chunk_cat([x], 0, n), rand(3), raises=RuntimeError)
    agree(lambda t, x, y: t._chunk_cat([x, y], -1, 3), rand(2, 3), rand(4), raises=RuntimeError)


def test_masked_indexing(agree):
    at = np.array([0, 7, 1])
    agree(
        lambda t, x, m, i: t._unsafe_masked_index(x, m, [i], -1.0),
        rand(2, 3),
        np.array([[True], [False], [True]]),
        at,
        grads=1,
    )
    agree(
        lambda t, x, m, i, v: t._unsafe_masked_index_put_accumulate(x, m, [i], v),
        rand(2, 3), np.array([[True], [False], [True]]), at, rand(3, 3),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i2", "?", "u1"])
def test_hashes(agree, dtype):
    x = (np.arange(12).reshape(3, 4) % 5 - 1).astype(dtype)
    agree(lambda t, x: (t.hash_tensor(x), t.hash_tensor(x, 1, keepdim=True), x.hash_tensor((0, 1))), x)

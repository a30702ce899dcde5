"""The attention kernels against the same sums in float64: odd sizes, several blocks, any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import attention, attention_backward
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

TOLERANCE = {"float32": 1e-5, "float64": 1e-13, "float16": 2e-2}
SHAPES = [  # batch, heads, heads of keys, queries, keys, width, width of values
    (1, 1, 1, 1, 1, 1, 1),
    (2, 3, 3, 5, 7, 8, 8),
    (1, 2, 1, 64, 64, 64, 64),
    (2, 4, 2, 100, 130, 40, 24),
    (1, 1, 1, 257, 300, 65, 33),
    (1, 2, 2, 70, 33, 16, 80),
    (1, 2, 1, 33, 700, 16, 16),
    (1, 2, 2, 128, 128, 32, 32),
]


def arrays(shape, dtype):
    b, h, hk, tq, tk, d, e = shape
    rng = np.random.default_rng(tq)
    q = rng.standard_normal((b, tq, h, d)).astype(dtype).transpose(0, 2, 1, 3)
    k, v = (rng.standard_normal((b, hk, tk, n)).astype(dtype) for n in (d, e))
    masks = {
        "causal": None,
        "": None,
        "bool": rng.random((h, tq, tk)) < 0.8,
        "float32": rng.standard_normal((b, 1, tq, tk)).astype("f4"),
    }
    masks["bool"][:, 0] = False
    return q, k, v, rng.standard_normal((b, h, tq, e)).astype(dtype), masks


def wanted(q, k, v, g, mask, causal, scale):
    """The results and gradients, in float64."""
    q, k, v, g = (x.astype("f8") for x in (q, k, v, g))
    group = q.shape[1] // k.shape[1]
    kk, vv = np.repeat(k, group, 1), np.repeat(v, group, 1)
    s = q @ kk.swapaxes(2, 3) * scale
    if causal:
        s = np.where(np.tri(*s.shape[2:], dtype=bool), s, -np.inf)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    top = s.max(-1, keepdims=True)
    p = np.exp(s - np.where(np.isinf(top), 0, top))
    p /= np.where(np.isinf(top), 1, p.sum(-1, keepdims=True))
    dp = p * (g @ vv.swapaxes(2, 3))
    ds = (dp - p * dp.sum(-1, keepdims=True)) * scale
    shared = lambda x: x.reshape(*k.shape[:2], group, *x.shape[2:]).sum(2)
    return p @ vv, ds @ kk, shared(ds.swapaxes(2, 3) @ q), shared(p.swapaxes(2, 3) @ g)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_float64(shape, dtype):
    q, k, v, g, masks = arrays(shape, dtype)
    for kind, mask in masks.items():
        how = (mask, kind == "causal", 0.3)
        out, lse = attention.attention(q, k, v, *how)
        found = out, *attention_backward.backward(g, q, k, v, out, lse, *how)
        for x, y in zip(found, wanted(q, k, v, g, *how), strict=True):
            assert x.dtype == q.dtype
            assert np.abs(x - y).max() <= TOLERANCE[dtype] * max(1.0, np.abs(y).max())


def test_same_bits_for_any_number_of_threads():
    q, k, v, g, masks = arrays((1, 3, 1, 150, 700, 24, 24), "float32")
    before, results = get_num_threads(), []
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            out, lse = attention.attention(q, k, v, masks["bool"], False, 0.2)
            grads = attention_backward.backward(g, q, k, v, out, lse, masks["bool"], False, 0.2)
            results.append([x.tobytes() for x in (out, lse, *grads)])
    finally:
        set_num_threads(before)
    assert results[0] == results[1] == results[2]

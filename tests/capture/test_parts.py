"""Writes to parts of inputs: they cost what the part costs, and tell what eager code tells."""

import pytest

import flambeau as torch
from flambeau._capture import lower


def one(cache, k, i):
    cache[:, :, i] = k
    return (cache * 2).sum(-1)


def two(cache, k, i):
    cache[:, :, i] = k * 2
    cache[:, :, i + 1] = cache[:, :, i] + 1
    return cache.sum()


def added(cache, k, i):
    cache[:, :, i] += k
    return cache[:, :, : i + 1].softmax(-1)


def shifted(cache, k, i):
    cache[:, :, 1:3] = cache[:, :, 0:2]
    return cache.sum()


def number(cache, k, i):
    cache[:, :, i] = 0.5
    return cache.mean()


def then_all(cache, k, i):
    cache[:, :, i] = k
    cache.mul_(2)


def all_then(cache, k, i):
    cache.mul_(2)
    cache[:, :, i] = k
    return cache + 1


def moved(cache, k, i):
    cache[:, :, i] = k.flip(0)
    cache[0].fill_(1.0)
    return cache[1] * 2


def steps(cache, k, i):
    cache[..., ::4] = k.sum()
    cache[:, 0, i, :] = cache[:, 1, i, :]
    return cache[:, :, i]


def before_and_after(cache, k, i):
    kept = cache.clone()
    cache[:, :, i] = k
    return kept + cache


def attention(cache, k, i):
    q = k[:, :, None]
    cache[:, :, i] = k
    seen = cache[:, :, : i + 1]
    return (q @ seen.transpose(-1, -2)).softmax(-1) @ seen


def both(cache, k, i):
    cache[:, :, i] = k
    k.add_(1)
    return cache.amax()


def swapped(cache, k, i):
    cache[:, :, i], k[:] = k.clone(), cache[:, :, i].clone()
    return k * 2


def through_views(cache, k, i):
    cache.transpose(1, 2)[:, i] = k
    cache[:, :, i : i + 1].copy_(k[:, :, None])
    cache[:, :, i].mul_(3)
    return cache.sum((0, 1))


def nothing(cache, k, i):
    cache[:, :, 3:3] = k[:, :, None][:, :, :0]
    return cache.sum()


CASES = (one, two, added, shifted, number, then_all, all_then, moved, steps, before_and_after, attention, both, swapped, through_views, nothing)  # fmt: skip


def values(layout, dtype=torch.float32):
    count = lambda *shape: torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype) * 0.125
    if layout == "dense":
        return count(2, 3, 8, 4), count(2, 3, 4) + 1
    if layout == "permuted":
        return count(2, 8, 3, 4).transpose(1, 2), count(2, 4, 3).transpose(1, 2) + 1
    return count(2, 3, 17, 4)[:, :, 1::2], count(2, 3, 8)[..., ::2] + 1


@pytest.mark.parametrize("layout", ["dense", "permuted", "strided"])
@pytest.mark.parametrize("fn", CASES, ids=lambda fn: fn.__name__)
def test_parts(fn, layout):
    compiled = torch.compile(fn)
    mine, theirs = values(layout), values(layout)
    for i in range(4):
        got, want = compiled(*mine, i), fn(*theirs, i)
        for a, b in zip((*mine, got), (*theirs, want), strict=True):
            if b is not None:
                torch.testing.assert_close(a, b)


def test_only_the_part_is_stored():
    """What a program needs beside its arguments is no larger than the part."""

    def step(cache, k):
        cache[:, 5] = k * 2

    seen = []
    drawn = lower.blueprint
    lower.blueprint = lambda laid, work: seen.append(drawn(laid, work)) or seen[-1]
    try:
        cache, k = torch.zeros(8, 1024, 13), torch.ones(8, 13)
        torch.compile(step)(cache, k)
    finally:
        lower.blueprint = drawn
    assert cache[:, 5].eq(2).all()
    assert cache.sum() == 2 * 8 * 13
    assert all(made.arena < 1 << 12 for made in seen)

"""Sets that a compiled function asks are watched: what is added or taken away is seen, and nothing else is checked anew."""

import pytest

import flambeau as torch
from flambeau._backends.cpu import watch


@pytest.mark.parametrize("n", [0, 1, 4, 5, 60])
def test_changes_are_seen(n):
    found = watch.same()
    if found is None:
        pytest.skip("nothing is watched here")
    same, s = found[0], {str(i) for i in range(n)}
    now = lambda: watch.words([(s, "content")])[0]
    words = now()
    assert same(words)
    s.add("new")
    assert not same(words)
    words = now()
    s.remove("new")
    assert not same(words)
    if n:
        words = now()
        s.remove("0")
        s.add("other")
        assert not same(words)
        words = now()
        s.clear()
        assert not same(words)


def test_an_argument_that_is_new_at_each_call_is_watched_less_and_less_often(monkeypatch):
    from flambeau._backends.cpu import watch

    if watch.same() is None:
        pytest.skip("nothing is watched here")

    class Batch:
        def __init__(self, x):
            self.x, self.scale = x, 2

    made = []
    words = watch.words
    monkeypatch.setattr(watch, "words", lambda *args: made.append(1) or words(*args))
    f = torch.compile(lambda batch: batch.x * batch.scale, fullgraph=True)
    x = torch.randn(3)
    for _ in range(40):
        batch = Batch(x)
        assert torch.equal(f(batch), 2 * x)
    assert 1 < len(made) < 9
    for _ in range(40):
        f(batch)
    settled = len(made)
    for _ in range(20):
        assert torch.equal(f(batch), 2 * x)
    assert len(made) == settled  # the same from now on: found out, and watched
    batch.scale = 3
    assert torch.equal(f(batch), 3 * x)

"""Sets that a compiled function asks are watched: what is added or taken away is seen, and nothing else is checked anew."""

import pytest

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

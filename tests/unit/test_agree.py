"""The comparison itself: it passes what agrees and catches what does not."""

import numpy as np
import pytest

from tests.agree import compare, freeze, rand, thaw


def part(array, dtype="torch.float32"):
    return ["tensor", dtype, list(array.shape), [1], False, array]


def check(found, expected, **options):
    compare(found, expected, "outcome", **{"exact": False, "strides": False, "rtol": None, "atol": None, **options})


def test_equal_outcomes_pass():
    check(["returns", part(np.ones(3, "f4"))], ["returns", part(np.ones(3, "f4") + np.float32(1e-6))])
    check(["raises", "IndexError", "out of range\nhint"], ["raises", "IndexError", "out of range"])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["returns", part(np.ones(3, "f4"))], ["returns", part(np.zeros(3, "f4"))]),
        (["returns", part(np.ones(3, "f4"))], ["returns", part(np.ones(4, "f4"))]),
        (["returns", part(np.ones(3), "torch.float64")], ["returns", part(np.ones(3))]),
        (["returns", ["int", "1"]], ["returns", ["float", "1.0"]]),
        (["returns", True], ["returns", ["int", "1"]]),
        (["raises", "IndexError", "a"], ["raises", "IndexError", "b"]),
        (["raises", "IndexError", "a"], ["raises", "RuntimeError", "a"]),
        (["returns", ["tuple", None]], ["returns", ["tuple", None, None]]),
    ],
)
def test_unequal_outcomes_fail(found, expected):
    with pytest.raises(AssertionError):
        check(found, expected)


def test_exact_and_strides():
    with pytest.raises(AssertionError):
        check(part(np.ones(3, "f4")), part(np.ones(3, "f4") + np.float32(1e-6)), exact=True)
    other = part(np.ones(3, "f4"))
    other[3] = [2]
    check(other, part(np.ones(3, "f4")))
    with pytest.raises(AssertionError):
        check(other, part(np.ones(3, "f4")), strides=True)


def test_arrays_survive_recording():
    for x in (rand(2, 3), np.arange(4), np.array(True), np.zeros((0, 2), "c8"), np.asfortranarray(rand(2, 3))):
        y = thaw(freeze(x))
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, x)

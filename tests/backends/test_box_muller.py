"""Native normal numbers have the bits of the NumPy text that defines them."""

import numpy as np
import pytest

from flambeau._backends.cpu import box_muller
from flambeau._backends.cpu.draws import draws
from flambeau._values import normal


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.25, 2.5), (-5.0, 0.02)])
def test_same_bits(mean, std):
    native = draws()
    if native is None:
        pytest.skip("no native code here")
    mean, std = float(np.float32(mean)), float(np.float32(std))
    words = np.random.default_rng(0).integers(0, 1 << 32, 16 * 5000, dtype=np.uint32)
    words[:64] = np.tile([0, 0xFFFFFF, 1, 0x800000], 16)  # the ends of the range, and quarters of the circle
    ours, theirs = np.empty(words.size, np.float32), np.empty(words.size, np.float32)
    native.normal(words, ours, mean, std)
    normal._fill(words, theirs, np.float64(mean), np.float64(std))
    assert np.array_equal(ours.view(np.int32), theirs.view(np.int32))


def test_text_is_a_function_of_nothing():
    assert box_muller.text() == box_muller.text()
    assert box_muller.text().count("@llvm.fma") > 20

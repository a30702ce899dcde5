"""Images of bytes are resized in fixed point, bit for bit as PyTorch does it."""

import numpy as np
import pytest


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(7, 5), (12, 30), (20, 9), (31, 17), (3, 2)])
def test_bytes(agree, mode, antialias, size):
    x = np.random.default_rng(3).integers(0, 256, (2, 3, 20, 17)).astype(np.uint8)
    agree(lambda fl, x: fl.nn.functional.interpolate(x, size=size, mode=mode, antialias=antialias), x, grads=0)


def test_other_integers_are_refused(agree):
    x = np.arange(16).reshape(1, 2, 2, 4)
    agree(lambda fl, x: fl.nn.functional.interpolate(x, size=3, mode="bicubic"), x, raises=NotImplementedError)

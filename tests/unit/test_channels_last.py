"""Convolutions and pooling keep channels last where an operand has them so, at every size."""

import pytest

import flambeau as torch
from flambeau.nn import functional as F


@pytest.mark.parametrize("size", [6, 40])
@pytest.mark.parametrize("which", ["input", "weight"])
def test_convolutions(size, which):
    x, w = torch.randn(2, 8, size, size), torch.randn(8, 8, 3, 3)
    moved = [t.contiguous(memory_format=torch.channels_last) if n == which else t for n, t in (("input", x), ("weight", w))]
    for f in (F.conv2d, F.conv_transpose2d):
        y = f(*moved, padding=1)
        assert y.is_contiguous(memory_format=torch.channels_last) and not y.is_contiguous()
        assert torch.allclose(y, f(x, w, padding=1), atol=1e-4)


def test_volumes():
    x, w = torch.randn(2, 4, 5, 6, 6), torch.randn(3, 4, 2, 2, 2)
    y = F.conv3d(x.contiguous(memory_format=torch.channels_last_3d), w)
    assert y.is_contiguous(memory_format=torch.channels_last_3d) and torch.allclose(y, F.conv3d(x, w), atol=1e-4)


@pytest.mark.parametrize("size", [6, 40])
@pytest.mark.parametrize("f", [F.max_pool2d, F.avg_pool2d])
def test_pooling(size, f):
    x = torch.randn(2, 8, size, size)
    y = f(x.contiguous(memory_format=torch.channels_last), 2)
    assert y.is_contiguous(memory_format=torch.channels_last) and torch.allclose(y, f(x, 2), atol=1e-6)


def test_one_channel_tells_nothing():
    x = torch.randn(2, 1, 6, 6).contiguous(memory_format=torch.channels_last)
    assert F.conv2d(x, torch.randn(4, 1, 3, 3)).is_contiguous()

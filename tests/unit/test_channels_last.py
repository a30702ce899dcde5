"""Convolutions and pooling keep channels last where an operand has them so, at every size."""

import pytest

import flambeau as torch
from flambeau.nn import functional as F


@pytest.mark.parametrize("size", [6, 40])
@pytest.mark.parametrize("which", ["input", "weight"])
def test_convolutions(size, which):
    x, w = torch.randn(2, 8, size, size), torch.randn(8, 8, 3, 3)
    moved = [
        t.contiguous(memory_format=torch.channels_last) if n == which else t for n, t in (("input", x), ("weight", w))
    ]
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


@pytest.mark.parametrize(
    "case",
    [((2, 16, 20, 20), (24, 16, 1, 1), 1), ((2, 24, 30, 30), (24, 1, 3, 3), 24), ((2, 3, 30, 30), (16, 3, 3, 3), 1)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients(case, dtype):
    x_shape, w_shape, groups = case
    found = []
    for last in (False, True):
        torch.manual_seed(0)
        x, w, b = (torch.randn(*s, dtype=dtype) for s in (x_shape, w_shape, w_shape[:1]))
        if last:
            x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
        leaves = [t.requires_grad_() for t in (x, w, b)]
        y = F.conv2d(x, w, b, groups=groups)
        y.sin().sum().backward()
        found.append([y, *(t.grad for t in leaves)])
    for plain, moved in zip(*found):
        assert torch.allclose(plain, moved, atol=1e-3)


@pytest.mark.parametrize("f", [F.max_pool2d, F.avg_pool2d])
def test_pooling_of_parts_of_wider_images(f):
    x = torch.randn(2, 20, 30, 40, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    parts = [x[:, 2:18, 1:, ::2].detach().requires_grad_(), x[:, 2:18, 1:, ::2].contiguous().requires_grad_()]
    found = [f(part, 2) for part in parts]
    g = torch.randn(2, 16, 14, 20, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    for y in found:
        y.backward(g[..., ::2])
    assert torch.allclose(*found) and torch.allclose(*(part.grad for part in parts))

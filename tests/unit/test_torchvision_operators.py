"""The operators of torchvision's library: by hand, since PyTorch's own are compiled (tests/ecosystem compares what can be)."""

import pytest

import flambeau as torch
from flambeau import _torchvision as vision


@pytest.fixture(autouse=True)
def registered():
    torch.ops.load_library("/somewhere/torchvision/_C.so")


def test_boxes_that_overlap_go():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 7, 7]])
    assert torch.ops.torchvision.nms(boxes, torch.tensor([0.1, 0.2, 0.05]), 0.5).tolist() == [1, 2]
    assert torch.ops.torchvision.nms(boxes[:0], torch.zeros(0), 0.5).tolist() == []


@pytest.mark.parametrize("aligned", [False, True])
def test_regions_on_whole_pixels_are_means(aligned):
    x = torch.arange(64.0).view(1, 1, 8, 8)
    shift = 0.5 if aligned else 0.0
    roi = torch.tensor([[0.0, shift, shift, 4 + shift, 4 + shift]])
    out = torch.ops.torchvision.roi_align(x, roi, 1.0, 2, 2, 2, aligned)
    # Of a linear image the mean of a cell is its value in the middle: rows and columns 1 and 3.
    assert out.flatten().tolist() == [9, 11, 25, 27]


def test_derivatives():
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0.0, 0.3, 0.7, 4.1, 5.0], [1, 1.2, 1.1, 5.5, 3.9]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: vision.roi_align(x, rois, 1.0, 2, 3, 2, True), (x,))
    out, at = vision.roi_pool(x, rois, 1.0, 2, 2)
    g = torch.randn_like(out)
    expected = torch.autograd.grad(out, x, g)[0]
    assert torch.allclose(vision.roi_pool_past(g, rois, at, 1.0, 2, 2, 2, 2, 6, 6), expected)
    past = vision.roi_align_past(torch.ones(2, 2, 2, 3), rois, 1.0, 2, 3, 2, 2, 6, 6, 2, True)
    assert past.sum().item() == pytest.approx(24)


@pytest.mark.parametrize("groups", [1, 2])
def test_deformed_convolution(groups):
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 4 // groups, 3, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    how = (2, 1, 1, 1, 1, 2, groups, 2)
    plain = torch.nn.functional.conv2d(x, weight, bias, (2, 1), (1, 1), (1, 2), groups)
    offset, mask = x.new_zeros(2, 2 * 2 * 6, *plain.shape[2:]), x.new_ones(2, 2 * 6, *plain.shape[2:])
    assert torch.allclose(vision.deform_conv2d(x, weight, offset, mask, bias, *how, True), plain)
    offset = (0.3 * torch.randn_like(offset) + 0.11).requires_grad_()
    mask = torch.rand_like(mask).requires_grad_()
    given = (x, weight, offset, mask, bias)
    out = vision.deform_conv2d(*given, *how, True)
    expected = torch.autograd.grad(out.sum(), given)
    found = vision.deform_conv2d_past(torch.ones_like(out), *given, *how, True)
    assert all(torch.allclose(a, b) for a, b in zip(expected, found, strict=True))
    step = 1e-6
    moved = torch.zeros_like(offset)
    moved[0, 3, 1, 2] = step
    change = vision.deform_conv2d(x, weight, offset + moved, mask, bias, *how, True).sum() - out.sum()
    assert (change / step).item() == pytest.approx(expected[2][0, 3, 1, 2].item(), abs=1e-4)


def test_what_has_no_body_says_so():
    with pytest.raises(NotImplementedError, match="ps_roi_pool"):
        torch.ops.torchvision.ps_roi_pool(torch.ones(1, 4, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]]), 1.0, 2, 2)
    with pytest.raises(OSError, match="Could not load this library"):
        torch.ops.load_library("/somewhere/else/_C.so")

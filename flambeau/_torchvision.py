"""The operators of torchvision's compiled library, in Python: that library is built against PyTorch's C++ and cannot be loaded.

`torch.ops.load_library` comes here where torchvision asks for it. Written over public operations, so that gradients follow.
What is declared without a body says NotImplementedError when it is called.
"""

from __future__ import annotations

from typing import Any

import flambeau as torch
from flambeau.library import Library

ROI = "Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
PAST = "Tensor grad, Tensor rois, {}float spatial_scale, SymInt pooled_height, SymInt pooled_width, {}SymInt batch_size, SymInt channels, SymInt height, SymInt width"
CONVOLUTION = "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, {}".format(", ".join(f"SymInt {n}" for n in (
    "stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "groups", "offset_groups"))) + ", bool use_mask"  # fmt: skip
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align({ROI}, int sampling_ratio, bool aligned) -> Tensor",
    f"qroi_align({ROI}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool({ROI}) -> (Tensor, Tensor)",
    f"ps_roi_align({ROI}, int sampling_ratio) -> (Tensor, Tensor)",
    f"ps_roi_pool({ROI}) -> (Tensor, Tensor)",
    f"deform_conv2d({CONVOLUTION}) -> Tensor",
    f"_roi_align_backward({PAST.format('', '')}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_pool_backward({PAST.format('Tensor argmax, ', '')}) -> Tensor",
    f"_ps_roi_align_backward({PAST.format('Tensor channel_mapping, ', 'int sampling_ratio, ')}) -> Tensor",
    f"_ps_roi_pool_backward({PAST.format('Tensor channel_mapping, ', '')}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, {CONVOLUTION}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "_cuda_version() -> int",
)
_library: Library | None = None


def register() -> None:
    """Declares the operators of the namespace torchvision, once."""
    global _library
    if _library is not None:
        return
    _library = Library("torchvision", "DEF")
    for schema in SCHEMAS:
        _library.define(schema)
    bodies = {"nms": nms, "roi_align": roi_align, "roi_pool": roi_pool, "deform_conv2d": deform_conv2d, "_roi_align_backward": roi_align_past,
              "_roi_pool_backward": roi_pool_past, "_deform_conv2d_backward": deform_conv2d_past}  # fmt: skip
    for name, body in bodies.items():
        _library.impl(name, body, "CPU")
    _library.impl("_cuda_version", lambda: -1, "CompositeImplicitAutograd")


def nms(dets: Any, scores: Any, iou_threshold: float) -> Any:
    """Which boxes stay, best first, when each takes away those of lower scores that overlap it too much."""
    order = scores.sort(stable=True, descending=True).indices
    boxes = dets.detach()[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool)
    keep = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        keep.append(i)
        rest = boxes[i + 1 :]
        width = (torch.minimum(boxes[i, 2], rest[:, 2]) - torch.maximum(boxes[i, 0], rest[:, 0])).clamp(min=0)
        height = (torch.minimum(boxes[i, 3], rest[:, 3]) - torch.maximum(boxes[i, 1], rest[:, 1])).clamp(min=0)
        both = width * height
        alive[i + 1 :] &= ~(both / (area[i] + area[i + 1 :] - both) > iou_threshold)
    return order[torch.tensor(keep, dtype=torch.int64)]


def _corners(y: Any, x: Any, height: int, width: int, clip: bool) -> Any:
    """For each place the four pixels around it, as (row, column, weight)."""
    if clip:
        y, x = y.clamp(min=0, max=height - 1), x.clamp(min=0, max=width - 1)
    top, left = y.detach().floor(), x.detach().floor()
    down, right = y - top, x - left
    for row, by in ((top, 1 - down), (top + 1, down)):
        for column, across in ((left, 1 - right), (left + 1, right)):
            there = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            yield row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long(), by * across * there


def roi_align(
    input: Any,
    rois: Any,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    """Means of regions over a grid of cells, read between the pixels."""
    height, width = input.shape[-2:]
    out = []
    for roi in rois:
        image = input[int(roi[0])]
        x1, y1, x2, y2 = roi[1:] * spatial_scale - (0.5 if aligned else 0.0)
        w, h = (x2 - x1, y2 - y1) if aligned else ((x2 - x1).clamp(min=1), (y2 - y1).clamp(min=1))
        cell_h, cell_w = h / pooled_height, w / pooled_width
        n_h = sampling_ratio if sampling_ratio > 0 else max(int(torch.ceil(cell_h)), 1)
        n_w = sampling_ratio if sampling_ratio > 0 else max(int(torch.ceil(cell_w)), 1)
        y = y1 + cell_h * (torch.arange(pooled_height * n_h).to(input.dtype) + 0.5) / n_h
        x = x1 + cell_w * (torch.arange(pooled_width * n_w).to(input.dtype) + 0.5) / n_w
        inside = ((y >= -1) & (y <= height))[:, None] & ((x >= -1) & (x <= width))[None]
        grid = torch.meshgrid(y, x, indexing="ij")
        value = sum(image[:, r, c] * weight for r, c, weight in _corners(*grid, height, width, clip=True)) * inside
        out.append(value.reshape(-1, pooled_height, n_h, pooled_width, n_w).mean((2, 4)))
    return torch.stack(out) if out else input.new_zeros(0, input.shape[1], pooled_height, pooled_width)


def roi_pool(input: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int) -> Any:
    """Maxima of regions over a grid of cells, and which pixel each came from."""
    height, width = input.shape[-2:]
    out, where = [], []
    for roi in rois:
        image = input[int(roi[0])]
        x1, y1, x2, y2 = (int(torch.floor(v * spatial_scale + 0.5)) for v in roi[1:])
        w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
        cells, places = [], []
        for i in range(pooled_height):
            top, bottom = (
                min(max(v + y1, 0), height) for v in (i * h // pooled_height, -(-(i + 1) * h // pooled_height))
            )
            for j in range(pooled_width):
                left, right = (
                    min(max(v + x1, 0), width) for v in (j * w // pooled_width, -(-(j + 1) * w // pooled_width))
                )
                if bottom <= top or right <= left:
                    cells.append(image.new_zeros(image.shape[0]))
                    places.append(torch.full((image.shape[0],), -1))
                    continue
                best, at = image[:, top:bottom, left:right].flatten(1).max(1)
                cells.append(best)
                places.append((at // (right - left) + top) * width + at % (right - left) + left)
        out.append(torch.stack(cells, 1).view(-1, pooled_height, pooled_width))
        where.append(torch.stack(places, 1).view(-1, pooled_height, pooled_width))
    if not out:
        empty = input.new_zeros(0, input.shape[1], pooled_height, pooled_width)
        return empty, empty.int()
    return torch.stack(out), torch.stack(where).int()


def deform_conv2d(input: Any, weight: Any, offset: Any, mask: Any, bias: Any, stride_h: int, stride_w: int, pad_h: int, pad_w: int,
                  dilation_h: int, dilation_w: int, groups: int, offset_groups: int, use_mask: bool) -> Any:  # fmt: skip
    """A convolution that reads each pixel of its window at an offset of its own (Dai and others, 2017; with a mask: Zhu and others, 2019)."""
    n, channels, height, width = input.shape
    o, _, kh, kw = weight.shape
    rows, columns = offset.shape[-2:]
    shifts = offset.view(n, offset_groups, kh * kw, 2, rows, columns)
    tap_y = torch.arange(kh).repeat_interleave(kw).view(1, 1, -1, 1, 1) * dilation_h
    tap_x = torch.arange(kw).repeat(kh).view(1, 1, -1, 1, 1) * dilation_w
    y = shifts[:, :, :, 0] + tap_y + (torch.arange(rows) * stride_h - pad_h).view(1, 1, 1, -1, 1)
    x = shifts[:, :, :, 1] + tap_x + (torch.arange(columns) * stride_w - pad_w).view(1, 1, 1, 1, -1)
    of = input.view(n, offset_groups, channels // offset_groups, height * width)
    value: Any = 0.0
    for r, c, by in _corners(y, x, height, width, clip=False):  # n offset_groups taps rows columns
        at = (r * width + c).flatten(2).unsqueeze(2).expand(-1, -1, of.shape[2], -1)
        value = value + of.gather(3, at).view(n, offset_groups, -1, kh * kw, rows, columns) * by.unsqueeze(2)
    if use_mask:
        value = value * mask.view(n, offset_groups, 1, kh * kw, rows, columns)
    value = value.reshape(n, groups, (channels // groups) * kh * kw, rows * columns)
    out = weight.view(1, groups, o // groups, -1) @ value
    return out.view(n, o, rows, columns) + bias.view(1, -1, 1, 1)


# ---- derivatives, which torchvision asks for by name ----


def roi_align_past(grad: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int, batch_size: int, channels: int, height: int,
                   width: int, sampling_ratio: int, aligned: bool) -> Any:  # fmt: skip
    """The gradient of the input, of which the result is a linear function."""
    with torch.enable_grad():
        input = grad.new_zeros(batch_size, channels, height, width).requires_grad_()
        out = roi_align(input, rois.detach(), spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned)
        return torch.autograd.grad(out, input, grad)[0]


def roi_pool_past(grad: Any, rois: Any, argmax: Any, spatial_scale: float, pooled_height: int, pooled_width: int, batch_size: int, channels: int,
                  height: int, width: int) -> Any:  # fmt: skip
    """The gradient of the input: each cell's goes to the pixel that it came from."""
    out = grad.new_zeros(batch_size, channels, height * width)
    for roi, g, at in zip(rois, grad, argmax, strict=True):
        there = (at >= 0).flatten(1)
        out[int(roi[0])].scatter_add_(1, at.clamp(min=0).long().flatten(1), g.flatten(1) * there)
    return out.view(batch_size, channels, height, width)


def deform_conv2d_past(grad: Any, input: Any, weight: Any, offset: Any, mask: Any, bias: Any, *how: Any) -> Any:
    """The gradients of input, weight, offset, mask and bias."""
    with torch.enable_grad():
        given = [x.detach().requires_grad_() for x in (input, weight, offset, mask, bias)]
        found = torch.autograd.grad(deform_conv2d(*given, *how), given, grad, allow_unused=True)
        return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(found, given, strict=True))

"""`torch.nn.functional` as TorchScript sees it: each function in operators alone, with types. Eager calls never come here."""

from __future__ import annotations

from typing import Union

import flambeau as torch
from flambeau import Tensor
from flambeau._jit_internal import BroadcastingList1, BroadcastingList2, BroadcastingList3


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        result = torch.relu_(input)
    else:
        result = torch.relu(input)
    return result


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        result = torch._C._nn.relu6_(input)
    else:
        result = torch._C._nn.relu6(input)
    return result


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if inplace:
        result = torch._C._nn.leaky_relu_(input, negative_slope)
    else:
        result = torch._C._nn.leaky_relu(input, negative_slope)
    return result


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    if inplace:
        result = torch._C._nn.elu_(input, alpha)
    else:
        result = torch._C._nn.elu(input, alpha)
    return result


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    if inplace:
        result = torch.celu_(input, alpha)
    else:
        result = torch.celu(input, alpha)
    return result


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        result = torch.selu_(input)
    else:
        result = torch.selu(input)
    return result


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return torch._C._nn.silu_(input)
    return torch._C._nn.silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return torch._C._nn.mish_(input)
    return torch._C._nn.mish(input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if inplace:
        result = torch._C._nn.hardtanh_(input, min_val, max_val)
    else:
        result = torch._C._nn.hardtanh(input, min_val, max_val)
    return result


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return torch._C._nn.hardswish_(input)
    return torch._C._nn.hardswish(input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return torch._C._nn.hardsigmoid_(input)
    return torch._C._nn.hardsigmoid(input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    if inplace:
        result = torch.threshold_(input, threshold, value)
    else:
        result = torch.threshold(input, threshold, value)
    return result


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    if inplace:
        result = torch.rrelu_(input, lower, upper, training)
    else:
        result = torch.rrelu(input, lower, upper, training)
    return result


def glu(input: Tensor, dim: int = -1) -> Tensor:
    if input.dim() == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    return torch._C._nn.glu(input, dim)


def softsign(input: Tensor) -> Tensor:
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    return input - input.tanh()


def tanh(input: Tensor) -> Tensor:
    return input.tanh()


def sigmoid(input: Tensor) -> Tensor:
    return input.sigmoid()


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: int | None = None) -> Tensor:
    if dim is None:
        dim = 0 if input.dim() == 0 or input.dim() == 1 or input.dim() == 3 else 1
    if dtype is None:
        ret = input.softmax(dim)
    else:
        ret = input.softmax(dim, dtype=dtype)
    return ret


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: int | None = None) -> Tensor:
    if dim is None:
        dim = 0 if input.dim() == 0 or input.dim() == 1 or input.dim() == 3 else 1
    if dtype is None:
        ret = input.log_softmax(dim)
    else:
        ret = input.log_softmax(dim, dtype=dtype)
    return ret


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: int | None = None) -> Tensor:
    return softmax(-input, dim, _stacklevel, dtype)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    denom = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return input / denom


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if inplace:
        result = torch.dropout_(input, p, training)
    else:
        result = torch.dropout(input, p, training)
    return result


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if inplace:
        result = torch.alpha_dropout_(input, p, training)
    else:
        result = torch.alpha_dropout(input, p, training)
    return result


def feature_dropout_(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if inplace:
        result = torch.feature_dropout_(input, p, training)
    else:
        result = torch.feature_dropout(input, p, training)
    return result


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    unbatched = input.dim() == 2
    if unbatched:
        input = input.unsqueeze_(0) if inplace else input.unsqueeze(0)
    result = feature_dropout_(input, p, training, inplace)
    if unbatched:
        result = result.squeeze_(0) if inplace else result.squeeze(0)
    return result


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return feature_dropout_(input, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return feature_dropout_(input, p, training, inplace)


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:  # fmt: skip
    if padding_idx is not None:
        if padding_idx > 0:
            assert padding_idx < weight.size(0), "Padding_idx must be within num_embeddings"
        elif padding_idx < 0:
            assert padding_idx >= -weight.size(0), "Padding_idx must be within num_embeddings"
            padding_idx = weight.size(0) + padding_idx
    else:
        padding_idx = -1
    if max_norm is not None:
        input = input.contiguous()
        torch.embedding_renorm_(weight, input, max_norm, norm_type)
    return torch.embedding(weight, input, padding_idx, scale_grad_by_freq, sparse)


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:  # fmt: skip
    return torch.batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, True)


def instance_norm(input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
                  bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:  # fmt: skip
    return torch.instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, True)


def layer_norm(
    input: Tensor,
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    return torch.layer_norm(input, normalized_shape, weight, bias, eps, True)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    return torch.group_norm(input, num_groups, weight, bias, eps, True)


def rms_norm(
    input: Tensor, normalized_shape: list[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    return torch.rms_norm(input, normalized_shape, weight, eps)


def pad(input: Tensor, pad: list[int], mode: str = "constant", value: float | None = None) -> Tensor:
    return torch._C._nn.pad(input, pad, mode, value)


def max_pool1d(input: Tensor, kernel_size: BroadcastingList1[int], stride: BroadcastingList1[int] | None = None, padding: BroadcastingList1[int] = (0,), dilation: BroadcastingList1[int] = (1,),
               ceil_mode: bool = False, return_indices: bool = False) -> Tensor:  # fmt: skip
    if stride is None:
        stride = torch.jit.annotate(list[int], [])
    return torch.max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(input: Tensor, kernel_size: BroadcastingList2[int], stride: BroadcastingList2[int] | None = None, padding: BroadcastingList2[int] = (0, 0), dilation: BroadcastingList2[int] = (1, 1),
               ceil_mode: bool = False, return_indices: bool = False) -> Tensor:  # fmt: skip
    if stride is None:
        stride = torch.jit.annotate(list[int], [])
    return torch.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(input: Tensor, kernel_size: BroadcastingList3[int], stride: BroadcastingList3[int] | None = None, padding: BroadcastingList3[int] = (0, 0, 0),
               dilation: BroadcastingList3[int] = (1, 1, 1), ceil_mode: bool = False, return_indices: bool = False) -> Tensor:  # fmt: skip
    if stride is None:
        stride = torch.jit.annotate(list[int], [])
    return torch.max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode)


def adaptive_avg_pool1d(input: Tensor, output_size: BroadcastingList1[int]) -> Tensor:
    return torch.adaptive_avg_pool1d(input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: BroadcastingList2[int | None]) -> Tensor:
    sizes: list[int] = []
    for i in range(len(output_size)):
        n = output_size[i]
        if n is None:
            sizes.append(input.size(i - len(output_size)))
        else:
            sizes.append(n)
    return torch._C._nn.adaptive_avg_pool2d(input, sizes)


def adaptive_avg_pool3d(input: Tensor, output_size: BroadcastingList3[int | None]) -> Tensor:
    sizes: list[int] = []
    for i in range(len(output_size)):
        n = output_size[i]
        if n is None:
            sizes.append(input.size(i - len(output_size)))
        else:
            sizes.append(n)
    return torch._C._nn.adaptive_avg_pool3d(input, sizes)


def interpolate(input: Tensor, size: Union[int, list[int]] | None = None, scale_factor: Union[float, list[float]] | None = None,
                mode: str = "nearest", align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:  # fmt: skip
    sizes: list[int] | None = None
    if size is not None:
        if isinstance(size, int):
            sizes = [size for _ in range(input.dim() - 2)]
        else:
            sizes = size
    scales: list[float] | None = None
    if scale_factor is not None:
        if isinstance(scale_factor, float):
            scales = [scale_factor for _ in range(input.dim() - 2)]
        else:
            scales = scale_factor
    corners = False
    if align_corners is not None:
        corners = align_corners
    if input.dim() == 3 and mode == "nearest":
        return torch._C._nn.upsample_nearest1d(input, sizes, scales)
    if input.dim() == 4 and mode == "nearest":
        return torch._C._nn.upsample_nearest2d(input, sizes, scales)
    if input.dim() == 5 and mode == "nearest":
        return torch._C._nn.upsample_nearest3d(input, sizes, scales)
    if input.dim() == 3 and mode == "linear":
        return torch._C._nn.upsample_linear1d(input, sizes, corners, scales)
    if input.dim() == 4 and mode == "bilinear":
        return torch._C._nn.upsample_bilinear2d(input, sizes, corners, scales)
    if input.dim() == 5 and mode == "trilinear":
        return torch._C._nn.upsample_trilinear3d(input, sizes, corners, scales)
    if input.dim() == 4 and mode == "bicubic":
        return torch._C._nn.upsample_bicubic2d(input, sizes, corners, scales)
    raise NotImplementedError(f"Input Error: {input.dim()}D input and mode {mode} do not go together")


def adaptive_max_pool1d(input: Tensor, output_size: BroadcastingList1[int], return_indices: bool = False) -> Tensor:
    return torch.adaptive_max_pool1d(input, output_size)[0]


def adaptive_max_pool2d(input: Tensor, output_size: BroadcastingList2[int], return_indices: bool = False) -> Tensor:
    return torch._C._nn.adaptive_max_pool2d(input, output_size)[0]


def adaptive_max_pool3d(input: Tensor, output_size: BroadcastingList3[int], return_indices: bool = False) -> Tensor:
    return torch._C._nn.adaptive_max_pool3d(input, output_size)[0]


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    if input.dim() < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)")
    shape = input.size()
    squares = (input * input).reshape([shape[0], 1, shape[1], -1])
    padded = torch._C._nn.pad(squares, [0, 0, size // 2, (size - 1) // 2])
    mean = torch._C._nn.avg_pool2d(padded, [size, 1], [1, 1]).squeeze(1).reshape(shape)
    return input / (mean * alpha + k).pow(beta)


def unfold(input: Tensor, kernel_size: BroadcastingList2[int], dilation: BroadcastingList2[int] = 1, padding: BroadcastingList2[int] = 0,
           stride: BroadcastingList2[int] = 1) -> Tensor:  # fmt: skip
    return torch._C._nn.im2col(input, kernel_size, dilation, padding, stride)


def fold(input: Tensor, output_size: BroadcastingList2[int], kernel_size: BroadcastingList2[int], dilation: BroadcastingList2[int] = 1,
         padding: BroadcastingList2[int] = 0, stride: BroadcastingList2[int] = 1) -> Tensor:  # fmt: skip
    return torch._C._nn.col2im(input, output_size, kernel_size, dilation, padding, stride)


def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2.0,
                  scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Tensor | None = None,
                  include_last_offset: bool = False, padding_idx: int | None = None) -> Tensor:  # fmt: skip
    code = 0
    if mode == "mean":
        code = 1
    elif mode == "max":
        code = 2
    if max_norm is not None:
        torch.embedding_renorm_(weight, input, max_norm, norm_type)
    if input.dim() == 2:
        starts = torch.arange(0, input.numel(), input.size(1), dtype=input.dtype, device=input.device)
        flat = input.reshape(-1)
        weights = per_sample_weights.reshape(-1) if per_sample_weights is not None else None
    else:
        assert offsets is not None, "offsets has to be a 1D Tensor but got None"
        starts = offsets
        flat = input
        weights = per_sample_weights
    return torch.embedding_bag(
        weight, flat, starts, scale_grad_by_freq, code, sparse, weights, include_last_offset, padding_idx
    )[0]


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    a, b = torch.broadcast_tensors([input, target])
    return torch._C._nn.huber_loss(a, b, reduction_code(reduction), delta)


def reduction_code(reduction: str) -> int:
    if reduction == "none":
        ret = 0
    elif reduction == "mean":
        ret = 1
    elif reduction == "sum":
        ret = 2
    else:
        ret = -1
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return ret


def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    a, b = torch.broadcast_tensors([input, target])
    return torch._C._nn.mse_loss(a, b, reduction_code(reduction))


def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    a, b = torch.broadcast_tensors([input, target])
    return torch._C._nn.l1_loss(a, b, reduction_code(reduction))


def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:  # fmt: skip
    a, b = torch.broadcast_tensors([input, target])
    return torch._C._nn.smooth_l1_loss(a, b, reduction_code(reduction), beta)


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
                  reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    return torch._C._nn.cross_entropy_loss(
        input, target, weight, reduction_code(reduction), ignore_index, label_smoothing
    )


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
             reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    return torch._C._nn.nll_loss_nd(input, target, weight, reduction_code(reduction), ignore_index)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                         reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    return torch._C._nn.binary_cross_entropy(input, target, weight, reduction_code(reduction))


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                                     reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None) -> Tensor:  # fmt: skip
    return torch.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction_code(reduction))


def kl_div(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
           log_target: bool = False) -> Tensor:  # fmt: skip
    code = 2 if reduction == "batchmean" else reduction_code(reduction)
    reduced = torch.kl_div(input, target, code, log_target=log_target)
    if reduction == "batchmean" and input.size()[0] != 0:
        reduced = reduced / input.size()[0]
    return reduced


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    return torch._C._nn.one_hot(tensor, num_classes)


def split_heads(x: Tensor, length: int, heads: int, size: int) -> Tensor:
    return x.contiguous().view(length, heads, size).transpose(0, 1)


def attention(query: Tensor, key: Tensor, value: Tensor, num_heads: int, weight: Tensor, bias: Tensor | None, out_weight: Tensor,
              out_bias: Tensor | None, dropout_p: float, training: bool, key_padding_mask: Tensor | None, need_weights: bool,
              attn_mask: Tensor | None, average: bool) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Multi-head attention, sequence first, with one packed projection."""
    length, batch, size = query.size(0), query.size(1), query.size(2)
    source = key.size(0)
    ws = weight.chunk(3, 0)
    q, k, v = torch.linear(query, ws[0]), torch.linear(key, ws[1]), torch.linear(value, ws[2])
    if bias is not None:
        bs = bias.chunk(3, 0)
        q, k, v = q + bs[0], k + bs[1], v + bs[2]
    each = size // num_heads
    q = split_heads(q, length, batch * num_heads, each)
    k = split_heads(k, source, batch * num_heads, each)
    v = split_heads(v, source, batch * num_heads, each)
    scores = torch.bmm(q * (1.0 / (float(each) ** 0.5)), k.transpose(-2, -1))
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(attn_mask, float("-inf"))
        else:
            scores = scores + attn_mask
    if key_padding_mask is not None:
        wide = scores.view(batch, num_heads, length, source)
        mask = key_padding_mask.view(batch, 1, 1, source)
        if key_padding_mask.dtype == torch.bool:
            wide = wide.masked_fill(mask, float("-inf"))
        else:
            wide = wide + mask
        scores = wide.view(batch * num_heads, length, source)
    scores = scores.softmax(-1)
    if training and dropout_p > 0.0:
        scores = torch.dropout(scores, dropout_p, True)
    out = torch.bmm(scores, v).transpose(0, 1).contiguous().view(length * batch, size)
    out = torch.linear(out, out_weight, out_bias).view(length, batch, size)
    weights: Tensor | None = None
    if need_weights:
        weights = scores.view(batch, num_heads, length, source)
        if average:
            weights = weights.mean(1)
    return out, weights


def tensordot_of_count(a: Tensor, b: Tensor, dims: int = 2, out: Tensor | None = None) -> Tensor:
    mine: list[int] = [i for i in range(a.dim() - dims, a.dim())]
    yours: list[int] = [i for i in range(dims)]
    made = torch.ops.aten.tensordot(a, b, mine, yours)
    return made if out is None else out.resize_(made.size()).copy_(made)


def tensordot_of_pair(a: Tensor, b: Tensor, dims: tuple[list[int], list[int]], out: Tensor | None = None) -> Tensor:
    made = torch.ops.aten.tensordot(a, b, dims[0], dims[1])
    return made if out is None else out.resize_(made.size()).copy_(made)


def tensordot_of_lists(a: Tensor, b: Tensor, dims: list[list[int]], out: Tensor | None = None) -> Tensor:
    made = torch.ops.aten.tensordot(a, b, dims[0], dims[1])
    return made if out is None else out.resize_(made.size()).copy_(made)


OVERLOADS = {torch.tensordot: (tensordot_of_count, tensordot_of_pair, tensordot_of_lists)}

__all__ = [
    n for n in dir() if not n.startswith("_") and n not in ("List", "Optional", "Tuple", "Union", "torch", "Tensor")
]

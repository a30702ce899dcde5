"""Convolutions in one to three dimensions, plain and transposed, and their derivatives.

Three operators close on one another: the correlation `_conv`, its derivative by the input `_conv_input` (which is also the
transposed convolution) and by the weight `_conv_weight`; so derivatives of every order exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._ground.once import warn_once
from flambeau._kernel.language import Kernel, Shape, Shape2, Shape3, Size, T
from flambeau._operators.op import composite, op
from flambeau._operators.pad import constant_pad_nd
from flambeau._operators.view import sizes
from flambeau._tensor import Tensor
from flambeau._values.dtype import C_NAMES, SPOKEN, bfloat16, class_name, float16

Ints = int | Sequence[int]


@op("_conv", variants=())
def _conv(
    k: Kernel[T],
    input: T,
    weight: T,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    bias: T | None = None,
) -> T:
    """Cross-correlates input (n, c, ...) with weight (o, c/groups, ...); adds bias (o)."""
    xs = (input, weight) if bias is None else (input, weight, bias)
    return k.library("conv_forward", *xs, stride=stride, padding=padding, dilation=dilation, groups=groups)


@op("_conv_input", variants=(), packed="channels")
def _conv_input(
    k: Kernel[T],
    grad: T,
    weight: T,
    size: Shape,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    bias: T | None = None,
) -> T:
    """What reaches an input of shape `size` when `grad` reaches the correlation's result; a bias for the transposed one."""
    xs = (grad, weight) if bias is None else (grad, weight, bias)
    return k.library("conv_input", *xs, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)


@op("_conv_weight", variants=())
def _conv_weight(
    k: Kernel[T], grad: T, input: T, size: Shape, stride: Shape, padding: Shape, dilation: Shape, groups: int
) -> T:
    """What reaches a weight of shape `size`."""
    return k.library(
        "conv_weight", grad, input, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def _c(x: Tensor) -> Tensor:
    return x.conj() if x.is_complex() else x


def _cropped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The leading part of x: output padding makes room for windows that the plain convolution would also visit."""
    for d in range(2, len(shape)):
        if x.shape[d] != shape[d]:
            x = x.narrow(d, 0, shape[d])
    return x


def _per_channel(g: Tensor) -> Tensor:
    """What reaches a bias."""
    return g.sum([0, *range(2, g.ndim)])


_conv.known_as("ConvolutionBackward0", event="_convolution").vjp(
    input=lambda g, input_shape, weight, stride, padding, dilation, groups: _conv_input(
        g, _c(weight), input_shape, stride, padding, dilation, groups),
    weight=lambda g, input, weight_shape, stride, padding, dilation, groups: _conv_weight(
        g, _c(input), weight_shape, stride, padding, dilation, groups),
    bias=lambda g: _per_channel(g),
)  # fmt: skip
_conv_input.known_as("ConvolutionBackward0", event="convolution_backward").vjp(
    grad=lambda g, grad_shape, weight, stride, padding, dilation, groups: _cropped(
        _conv(g, _c(weight), stride, padding, dilation, groups), grad_shape),
    weight=lambda g, grad, weight_shape, stride, padding, dilation, groups: _conv_weight(
        _c(grad), g, weight_shape, stride, padding, dilation, groups),
    bias=lambda g: _per_channel(g),
)  # fmt: skip
_conv_weight.known_as("ConvolutionBackwardBackward0", event="convolution_backward").vjp(
    grad=lambda g, grad_shape, input, stride, padding, dilation, groups: _cropped(
        _conv(_c(input) if input.is_complex() else input, g, stride, padding, dilation, groups), grad_shape),
    input=lambda g, grad, input_shape, stride, padding, dilation, groups: _conv_input(
        _c(grad), g, input_shape, stride, padding, dilation, groups),
)  # fmt: skip


def spread(value: Ints, n: int, name: str) -> tuple[int, ...]:
    """One number for every dim, or one for each."""
    value = sizes(value)
    if len(value) == 1:
        return value * n
    if len(value) != n:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {n} values to match the convolution dimensions, "
            f"but got {name}={list(value)}"
        )
    return value


def _same_rank(x: tuple[int, ...], w: tuple[int, ...]) -> None:
    if len(x) != len(w):
        raise RuntimeError(
            f"Expected {len(w)}-dimensional input for {len(w)}-dimensional weight {list(w)}, but got {len(x)}-dimensional input of "
            f"size {list(x)} instead"
        )


def _checks(input: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...],
            groups: int, transposed: bool) -> None:  # fmt: skip
    """PyTorch's refusals, in its order."""
    x, w = tuple(input.shape), tuple(weight.shape)
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if any(p < 0 for p in padding):
        raise RuntimeError("negative padding is not supported")
    if any(s <= 0 for s in stride):
        raise RuntimeError("non-positive stride is not supported")
    if any(d <= 0 for d in dilation):
        raise RuntimeError("dilation should be greater than zero")
    _same_rank(x, w)
    if w[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size {list(w)} instead"
        )
    if w[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size {list(w)} instead"
        )
    channels = w[0] if transposed else w[1] * groups
    if x[1] != channels:
        raise RuntimeError(
            f"Given {'transposed=1' if transposed else f'groups={groups}'}, weight of size {list(w)}, expected input{list(x)} to have "
            f"{channels} channels, but got {x[1]} channels instead"
        )
    outs = w[1] * groups if transposed else w[0]
    if bias is not None and tuple(bias.shape) != (outs,):
        raise RuntimeError(
            f"Given {'transposed=1' if transposed else f'weight of size {list(w)}'}, "
            + (f"weight of size {list(w)}, " if transposed else "")
            + f"expected bias to be 1-dimensional with {outs} elements, but got bias of size {list(bias.shape)} instead"
        )
    if not transposed:
        for e, p, d, kk in zip(x[2:], padding, dilation, w[2:], strict=True):
            if e + 2 * p < d * (kk - 1) + 1:
                have = " x ".join(str(a + 2 * b) for a, b in zip(x[2:], padding, strict=True))
                need = " x ".join(str(b * (a - 1) + 1) for a, b in zip(w[2:], dilation, strict=True))
                raise RuntimeError(
                    f"Calculated padded input size per channel: ({have}). Kernel size: ({need}). Kernel size can't be greater than actual "
                    "input size"
                )
    _same_dtypes(input, weight, None if transposed else bias)


def _same_dtypes(input: Any, weight: Any, bias: Any) -> None:
    a, w = input.dtype, weight.dtype
    if bias is not None and bias.dtype is not a:
        raise RuntimeError(f"Input type ({C_NAMES[a]}) and bias type ({C_NAMES[bias.dtype]}) should be the same")
    if w is a:
        return
    if a.kind != "c" and w.kind != "c" and a not in (bfloat16, float16):
        raise RuntimeError(f"expected scalar type {SPOKEN[a]} but found {SPOKEN[w]}")
    raise RuntimeError(
        f"Input type ({class_name(a)}) and weight type ({class_name(w)}) should be the same"
        + (
            " or input should be a MKLDNN tensor and weight is a dense tensor"
            if a.kind != "c" and w.kind != "c"
            else ""
        )
    )


@composite("convolution", variants=("function",), receiver="input")
def convolution(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Shape, padding: Shape, dilation: Shape, transposed: bool, output_padding: Shape,
                groups: Size) -> Tensor:  # fmt: skip
    """The convolution behind all others: any number of spatial dims, plain or transposed."""
    n = weight.ndim - 2
    stride, padding, dilation = (
        spread(stride, n, "stride"),
        spread(padding, n, "padding"),
        spread(dilation, n, "dilation"),
    )
    _checks(input, weight, bias, stride, padding, dilation, groups, transposed)
    if not transposed:
        return _conv(input, weight, stride, padding, dilation, groups, bias)
    extra = spread(output_padding, n, "output_padding")
    for e, s, d in zip(extra, stride, dilation, strict=True):
        if e >= s and e >= d:
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got output_padding_height: "
                f"{extra[0]} output_padding_width: {extra[-1]} stride_height: {stride[0]} stride_width: {stride[-1]} "
                f"dilation_height: {dilation[0]} dilation_width: {dilation[-1]}"
            )
    spatial = tuple((x - 1) * s - 2 * p + d * (kk - 1) + e + 1
                    for x, s, p, d, kk, e in zip(input.shape[2:], stride, padding, dilation, weight.shape[2:], extra, strict=True))  # fmt: skip
    size = (input.shape[0], weight.shape[1] * groups, *spatial)
    return _conv_input(input, weight, size, stride, padding, dilation, groups, bias)


@composite("_convolution", variants=("function",), receiver="input", autocast="lower")
def _convolution(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Shape, padding: Shape, dilation: Shape, transposed: bool, output_padding: Shape,
                 groups: Size, benchmark: bool, deterministic: bool, cudnn_enabled: bool, allow_tf32: bool) -> Tensor:  # fmt: skip
    """`convolution`, told of the ways of other devices as well."""
    return convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)


def _nd(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, n: int, name: str
) -> Any:
    single = input.ndim == n + 1
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: {list(input.shape)}"
        )
    x = input.unsqueeze(0) if single else input
    if isinstance(padding, str):
        _same_rank(tuple(x.shape), tuple(weight.shape))
        x, padding = _named_padding(x, weight, padding, spread(stride, n, "stride"), spread(dilation, n, "dilation"), n)
    out = convolution(
        x,
        weight,
        bias,
        spread(stride, n, "stride"),
        spread(padding, n, "padding"),
        spread(dilation, n, "dilation"),
        False,
        (0,) * n,
        groups,
    )
    return out.squeeze(0) if single else out


def _named_padding(
    x: Any, weight: Any, padding: str, stride: tuple[int, ...], dilation: tuple[int, ...], n: int
) -> tuple[Any, tuple[int, ...]]:
    if padding == "valid":
        return x, (0,) * n
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [d * (kk - 1) for d, kk in zip(dilation, weight.shape[2:], strict=True)]
    if any(t % 2 for t in total):  # the odd cell goes after
        warn_once(
            "Using padding='same' with even kernel lengths and odd dilation may require a zero-padded copy of the input be "
            "created"
        )
        x = constant_pad_nd(x, [v for t in reversed(total) for v in (0, t % 2)], 0)
    return x, tuple(t // 2 for t in total)


@composite(
    "conv1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], SymInt[1] padding=[0], SymInt[1] dilation=[1], SymInt groups=1)",
    'conv1d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], str padding="valid", SymInt[1] dilation=[1], SymInt groups=1)',
    variants=("function",),
    receiver="input",
    lacks=("bu", "slow_conv2d_cpu"),
    autocast="lower",
)
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Shape = 1,
    padding: Any = 0,
    dilation: Shape = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlates input (n, c, x) with weight (o, c/groups, t).

    >>> torch.nn.functional.conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 3))
    tensor([[[3., 3.]]])
    """
    return _nd(input, weight, bias, stride, padding, dilation, groups, 1, "conv1d")


@composite(
    "conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] dilation=[1, 1], SymInt groups=1)",
    'conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], str padding="valid", SymInt[2] dilation=[1, 1], SymInt groups=1)',
    variants=("function",),
    receiver="input",
    lacks=("bu", "slow_conv2d_cpu"),
    autocast="lower",
)
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Shape = 1,
    padding: Any = 0,
    dilation: Shape = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlates input (n, c, y, x) with weight (o, c/groups, t, u).

    >>> torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    return _nd(input, weight, bias, stride, padding, dilation, groups, 2, "conv2d")


@composite(
    "conv3d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], SymInt[3] padding=[0, 0, 0], SymInt[3] dilation=[1, 1, 1], SymInt groups=1)",
    'conv3d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], str padding="valid", SymInt[3] dilation=[1, 1, 1], SymInt groups=1)',
    variants=("function",),
    receiver="input",
    lacks=("bu", "slow_conv3d_cpu"),
    autocast="lower",
)
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Shape = 1,
    padding: Any = 0,
    dilation: Shape = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlates input (n, c, z, y, x) with weight (o, c/groups, t, u, v)."""
    return _nd(input, weight, bias, stride, padding, dilation, groups, 3, "conv3d")


def _sizes_made(x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, more: Any) -> None:
    """Refuse a transposed convolution that would make nothing; one dim is told as an image with one row."""
    if min(more) < 0:
        raise RuntimeError("negative output_padding is not supported")
    row = (1,) if x.ndim == 3 else ()
    if 0 in x.shape[2:] and 0 not in x.shape[:2]:
        shape = [*x.shape[:2], *row, *x.shape[2:]]
        raise RuntimeError(f"Only zero batch or zero channel inputs are supported, but got input shape: {shape}")
    made = tuple(
        (e - 1) * s - 2 * p + d * (k - 1) + m + 1
        for e, s, p, d, k, m in zip(x.shape[2:], stride, padding, dilation, weight.shape[2:], more, strict=True)
    )
    if min(made) < 1 and min(stride) > 0 and min(padding) >= 0:
        given, wrong = (" x ".join(map(str, (*row, *sizes))) for sizes in (x.shape[2:], made))
        raise RuntimeError(
            f"Given input size per channel: ({given}). Calculated output size per channel: ({wrong}). Output size is too small"
        )


def _transposed(
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    n: int,
    name: str,
) -> Any:
    single = input.ndim == n + 1
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: {list(input.shape)}"
        )
    x = input.unsqueeze(0) if single else input
    stride, padding, dilation = (
        spread(stride, n, "stride"),
        spread(padding, n, "padding"),
        spread(dilation, n, "dilation"),
    )
    more = spread(output_padding, n, "output_padding")
    if x.ndim == weight.ndim:
        _sizes_made(x, weight, stride, padding, dilation, more)
    out = convolution(x, weight, bias, stride, padding, dilation, True, more, groups)
    return out.squeeze(0) if single else out


@composite(
    "conv_transpose1d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[1] stride=[1], SymInt[1] padding=[0], SymInt[1] output_padding=[0], SymInt groups=1, SymInt[1] dilation=[1])",
    variants=("function",),
    receiver="input",
    lacks=("bsu", "slow_conv_transpose2d_out_cpu"),
    autocast="lower",
)
def conv_transpose1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Shape = 1, padding: Shape = 0, output_padding: Shape = 0, groups: int = 1,
                     dilation: Shape = 1) -> Tensor:  # fmt: skip
    """The transpose of `conv1d` as a linear map: weight is (c, o/groups, t)."""
    return _transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, 1, "conv_transpose1d")


@composite(
    "conv_transpose2d.input",
    variants=("function",),
    receiver="input",
    lacks=("bsu", "slow_conv_transpose2d_out_cpu"),
    autocast="lower",
)
def conv_transpose2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Shape2 = 1, padding: Shape2 = 0, output_padding: Shape2 = 0, groups: Size = 1,
                     dilation: Shape2 = 1) -> Tensor:  # fmt: skip
    """The transpose of `conv2d` as a linear map: weight is (c, o/groups, t, u).

    >>> torch.nn.functional.conv_transpose2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    return _transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, 2, "conv_transpose2d")


@composite(
    "conv_transpose3d.input",
    variants=("function",),
    receiver="input",
    lacks=("bsu", "slow_conv_transpose3d_out_cpu"),
    autocast="lower",
)
def conv_transpose3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Shape3 = 1, padding: Shape3 = 0, output_padding: Shape3 = 0, groups: Size = 1,
                     dilation: Shape3 = 1) -> Tensor:  # fmt: skip
    """The transpose of `conv3d` as a linear map: weight is (c, o/groups, t, u, v)."""
    return _transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, 3, "conv_transpose3d")


@composite("conv_tbc", variants=("function",), autocast="lower")
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution over time of input (time, batch, channels) with weight (taps, channels, outputs)."""
    out = convolution(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, (1,), (pad,), (1,), False, (0,), 1)
    return out.permute(2, 0, 1)

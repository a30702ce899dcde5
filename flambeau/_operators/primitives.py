"""PyTorch's graphs: which operators `__torch_dispatch__` and `make_fx` see, where they differ from those that run here.

Nothing here runs in an ordinary program. An operator that is one here and several in PyTorch names its parts; one that is a
composite here and a primitive there is marked so, with its derivative in operators that are seen in turn. A `*_backward` operator is
by definition the derivative of its forward operator: `_backward_of` writes it from that one's signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from flambeau._kernel.language import DType, Kernel, Scalar, Shape, Shape2, Size, T
from flambeau._operators import (
    activation,
    contract,
    conv,
    grid as grids,
    linear,
    loss,
    normalize,
    pad,
    pool,
    resample,
    select,
)
from flambeau._operators.op import REGISTRY, REQUIRED, Op, composite, op, pointwise
from flambeau._tensor import Tensor
from flambeau._values.device import (
    contiguous_format,
    device as Device,
    layout as Layout,
    memory_format as MemoryFormat,
)
from flambeau._values.dtype import float32, promote_types as _promote_types

HIDDEN: dict[str, Any] = {"variants": ()}


def _gradients(fn: Callable[..., Any], inputs: Sequence[Tensor | None], g: Any) -> list[Any]:
    return Op.gradients(fn, inputs, g)


def _head(source: Op, leave: tuple[str, ...], first: str, defaults: bool) -> tuple[str, str, list[str]]:
    """The parameters of a backward operator, those of its call as they are passed on, and the names."""
    parts, names, starred = [first], [], False
    for p in source.params:
        if p.name in leave:
            continue
        if p.keyword and not starred:
            parts.append("*")
            starred = True
        parts.append(p.name if (not defaults and not p.keyword) or p.default is REQUIRED else f"{p.name}={p.default!r}")
        names.append(p.name)
    given = ", ".join(f"{p.name}={p.name}" if p.keyword else p.name for p in source.params if p.name in names)
    return ", ".join(parts), given, names


def _backward_of(
    source: Op, name: str = "", leave: tuple[str, ...] = (), first: str = "grad_output", defaults: bool = False
) -> Op:
    """The operator `<name>_backward(grad_output, self, ...)`: what reaches the input; it is how graphs show the derivative."""
    head, given, names = _head(source, leave, first, defaults)
    required = {p.name: p.default for p in source.params if p.name in leave}
    scope: dict[str, Any] = {"source": source, "gradients": _gradients, "given": required}
    left = "".join(f", {n}=given[{n!r}]" for n in leave)
    exec(
        f"def backward({head}):\n    return gradients(lambda input: source({given}{left}), (input,), {first})[0]\n",
        scope,
    )
    made = scope["backward"]
    made.__annotations__ = {first: "T", **{p.name: p.note for p in source.params if p.name in names}}
    made.__doc__ = f"What reaches the input of `{source.name}`."
    backward = composite(name or f"{source.aten}_backward", **HIDDEN)(made)
    _seen(source, backward, names, given)
    return backward.primitive()


def _seen(source: Op, backward: Op, names: list[str], given: str) -> None:
    """The derivative by the input, shown as that operator; by other tensors, as it is."""
    scope: dict[str, Any] = {"backward": backward}
    rule = eval(f"lambda g, {', '.join(names)}: backward(g, {given})", scope)
    others = {n: r for n, r in source.rules.items() if n not in ("input", "_")}
    source.primitive(input=rule, **others)


# ---------------------------------------------------------------- activations

for _source in (activation.gelu, activation.silu, activation.mish, activation.softplus, activation.hardtanh,
                activation.hardswish, activation.hardsigmoid, activation.softshrink):  # fmt: skip
    _backward_of(_source)
_backward_of(activation.hardshrink, first="grad_out")


@pointwise("tanh_backward", **HIDDEN)
def tanh_backward(k: Kernel[T], grad_output: T, output: T) -> T:
    """What reaches the input of `tanh`."""
    return grad_output * (1.0 - output * output)


@pointwise("sigmoid_backward", **HIDDEN)
def sigmoid_backward(k: Kernel[T], grad_output: T, output: T) -> T:
    """What reaches the input of `sigmoid`."""
    return grad_output * (1.0 - output) * output


@pointwise("threshold_backward", **HIDDEN)
def threshold_backward(k: Kernel[T], grad_output: T, input: T, threshold: Scalar) -> T:
    """What reaches the input of `threshold`."""
    return k.where(k.le(input, k.like(threshold, input)), k.like(0, grad_output), grad_output)


@composite("leaky_relu_backward", **HIDDEN)
def leaky_relu_backward(grad_output: Tensor, input: Tensor, negative_slope: Scalar, self_is_result: bool) -> Tensor:
    """What reaches the input of `leaky_relu`."""
    return grad_output.where(input > 0, grad_output * negative_slope)


@composite("elu_backward", **HIDDEN)
def elu_backward(
    grad_output: Tensor, alpha: Scalar, scale: Scalar, input_scale: Scalar, is_result: bool, self_or_result: Tensor
) -> Tensor:
    """What reaches the input of `elu`."""
    x = self_or_result
    low = (x + alpha * scale) * input_scale if is_result else (x * input_scale).exp() * (alpha * scale * input_scale)
    return (grad_output * scale).where(x > 0, grad_output * low)


REGISTRY["tanh"].primitive(input=lambda g, out: tanh_backward(g, out))
REGISTRY["sigmoid"].primitive(input=lambda g, out: sigmoid_backward(g, out))
activation.relu.primitive(input=lambda g, out: threshold_backward(g, out, 0))
activation.threshold.primitive(input=lambda g, input, threshold: threshold_backward(g, input, threshold))
select.nan_to_num.primitive(input=lambda g, input: g * (input.abs().ne(float("inf")) * input.eq(input)))
leaky_relu_backward.primitive()
elu_backward.primitive()
activation.leaky_relu.primitive(
    input=lambda g, input, negative_slope: leaky_relu_backward(g, input, negative_slope, False)
)
activation.elu.primitive(
    input=lambda g, input, alpha, scale, input_scale: elu_backward(g, alpha, scale, input_scale, False, input)
)


@composite("_softmax", **HIDDEN)
def _softmax(input: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """`softmax`, as graphs show it."""
    return activation.softmax(input, dim, float32 if half_to_float else None)


@composite("_log_softmax", **HIDDEN)
def _log_softmax(input: Tensor, dim: int, half_to_float: bool) -> Tensor:
    """`log_softmax`, as graphs show it."""
    return activation.log_softmax(input, dim, float32 if half_to_float else None)


def _as(input: Tensor, dtype: DType | None) -> Tensor:
    return input if dtype is None or input.dtype is dtype else input.to(dtype)


activation._softmax_backward_data.primitive()
activation._log_softmax_backward_data.primitive()
_softmax.primitive(input=lambda g, out, dim, input_dtype: activation._softmax_backward_data(g, out, dim, input_dtype))
_log_softmax.primitive(
    input=lambda g, out, dim, input_dtype: activation._log_softmax_backward_data(g, out, dim, input_dtype)
)
activation.softmax.parts(lambda input, dim, dtype: _softmax(_as(input, dtype), dim, False))
activation.log_softmax.parts(lambda input, dim, dtype: _log_softmax(_as(input, dtype), dim, False))

# ---------------------------------------------------------------- losses

_backward_of(loss.mse_loss)
_backward_of(loss.smooth_l1_loss)
_backward_of(loss.huber_loss)
_backward_of(loss.binary_cross_entropy, defaults=True)


@composite("nll_loss_backward", **HIDDEN)
def nll_loss_backward(
    grad_output: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: Size,
    total_weight: Tensor,
) -> Tensor:
    """What reaches the input of `nll_loss_forward`."""
    return loss._nll_back(grad_output, tuple(input.shape), target, weight, total_weight, reduction, ignore_index)


@composite("nll_loss2d_backward", **HIDDEN)
def nll_loss2d_backward(
    grad_output: Tensor,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: Size,
    total_weight: Tensor,
) -> Tensor:
    """What reaches the input of `nll_loss2d_forward`."""
    return nll_loss_backward(grad_output, input, target, weight, reduction, ignore_index, total_weight)


@composite("nll_loss2d_forward", outputs=("output", "total_weight"), **HIDDEN)
def nll_loss2d_forward(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: Size
) -> Tensor:
    """`nll_loss_forward` of images."""
    return tuple(loss.nll_loss_forward(input, target, weight, reduction, ignore_index))  # type: ignore[return-value]


nll_loss_backward.primitive()
nll_loss2d_backward.primitive()
loss.nll_loss_forward.primitive(
    input=lambda g_output, input, target, weight, total_weight, reduction, ignore_index: nll_loss_backward(
        g_output, input, target, weight, reduction, ignore_index, total_weight
    )
)
nll_loss2d_forward.primitive(
    input=lambda g_output, input, target, weight, total_weight, reduction, ignore_index: nll_loss2d_backward(
        g_output, input, target, weight, reduction, ignore_index, total_weight
    )
)
loss._nll.parts(
    lambda input, target, weight, reduction, ignore_index: (
        nll_loss2d_forward if input.ndim == 4 else loss.nll_loss_forward
    )(input, target, weight, reduction, ignore_index)[0]
)

# ---------------------------------------------------------------- products


def _product(x: Tensor, y: Tensor) -> Tensor:
    """`matmul` in products of matrices and vectors, as PyTorch folds it."""
    if x.ndim == 1 and y.ndim == 1:
        return x.dot(y)
    if x.ndim == 2 and y.ndim == 1:
        return x.mv(y)
    if x.ndim == 1 and y.ndim == 2:
        return x.unsqueeze(0).mm(y).squeeze(0)
    if x.ndim == 2 and y.ndim == 2:
        return x.mm(y)
    if x.ndim >= 3 and y.ndim <= 2:  # one product for all leading dims
        flat = x.reshape(-1, x.shape[-1])
        return _unsafe_view(flat.mv(y) if y.ndim == 1 else flat.mm(y), (*x.shape[:-1], *y.shape[1:]))
    left, right = (x.unsqueeze(0) if x.ndim == 1 else x), (y.unsqueeze(1) if y.ndim == 1 else y)
    lead = _broadcast(tuple(left.shape[:-2]), tuple(right.shape[:-2]))
    n = prod(lead)
    a = left.expand(*lead, *left.shape[-2:]).reshape(n, *left.shape[-2:])
    b = right.expand(*lead, *right.shape[-2:]).reshape(n, *right.shape[-2:])
    last = (left.shape[-2],) * (x.ndim > 1) + (right.shape[-1],) * (y.ndim > 1)
    return _unsafe_view(a.bmm(b), (*lead, *last))


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    from flambeau._values.shape import broadcast

    return tuple(broadcast(a, b))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None or weight.ndim != 2 or input.ndim not in (2, 3):
        out = _product(input, weight.t())
        return out if bias is None else out + bias
    if input.ndim == 2:
        return bias.addmm(input, weight.t())
    rows = input.reshape(-1, input.shape[-1])
    return bias.addmm(rows, weight.t()).view(*input.shape[:-1], weight.shape[0])


@op("_unsafe_view", promote="none", **HIDDEN)
def _unsafe_view(k: Kernel[T], input: T, size: Shape) -> T:
    """`view` of a tensor that nothing else refers to."""
    return k.reshape(input, size)


_unsafe_view.vjp(input=lambda g, input_shape: g.reshape(input_shape))
contract.matmul.parts(_product)
linear.linear.parts(_linear)

# ---------------------------------------------------------------- convolutions, pools


@composite(
    "convolution_backward(Tensor grad_output, Tensor input, Tensor weight, SymInt[]? bias_sizes, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups, bool[3] output_mask)",
    receiver="input",
    **HIDDEN,
)
def convolution_backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    bias_sizes: Shape | None,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    transposed: bool,
    output_padding: Shape,
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """What reaches the input, the weight and the bias of `convolution`."""
    run = lambda x, w: conv.convolution(x, w, None, stride, padding, dilation, transposed, output_padding, groups)
    gx, gw = _gradients_of(run, (input, weight), output_mask, grad_output)
    gb = grad_output.sum([0, *range(2, grad_output.ndim)]) if output_mask[2] else None
    return gx, gw, gb  # type: ignore[return-value]


def _gradients_of(fn: Callable[..., Any], inputs: Sequence[Any], mask: Sequence[bool], g: Any) -> list[Any]:
    """The gradients of those inputs that the mask wants; None for the others."""
    at = [i for i, m in enumerate(mask[: len(inputs)]) if m and inputs[i] is not None]
    if not at:
        return [None] * len(inputs)

    def some(*given: Any) -> Any:
        full = list(inputs)
        for i, x in zip(at, given, strict=True):
            full[i] = x
        return fn(*full)

    found = dict(zip(at, _gradients(some, [inputs[i] for i in at], g), strict=True))
    return [found.get(i) for i in range(len(inputs))]


def _convolution_rule(g, input, weight, bias, stride, padding, dilation, transposed, output_padding, groups, needs):  # type: ignore[no-untyped-def]
    sizes = None if bias is None else tuple(bias.shape)
    return convolution_backward(
        g, input, weight, sizes, stride, padding, dilation, transposed, output_padding, groups, list(needs)
    )


convolution_backward.primitive()
conv.convolution.primitive(_=_convolution_rule)

pool.max_pool2d_with_indices_backward.primitive()
pool.max_pool2d_with_indices.primitive(
    input=lambda g_out, input, kernel_size, stride, padding, dilation, ceil_mode, indices: (
        pool.max_pool2d_with_indices_backward(
            g_out, input, kernel_size, stride or kernel_size, padding, dilation, ceil_mode, indices
        )
    )
)
pool.max_pool2d.parts(lambda *given: pool.max_pool2d_with_indices(*given)[0])
_backward_of(pool.avg_pool2d)
_backward_of(pool.avg_pool3d)


@composite("_adaptive_avg_pool2d", **HIDDEN)
def _adaptive_avg_pool2d(input: Tensor, output_size: Shape2) -> Tensor:
    """`adaptive_avg_pool2d`, as graphs show it."""
    return pool.adaptive_avg_pool2d(input, output_size)


@composite("_adaptive_avg_pool2d_backward", **HIDDEN)
def _adaptive_avg_pool2d_backward(grad_output: Tensor, input: Tensor) -> Tensor:
    """What reaches the input of `_adaptive_avg_pool2d`."""
    size = tuple(grad_output.shape[-2:])
    return _gradients(lambda x: pool.adaptive_avg_pool2d(x, size), (input,), grad_output)[0]


def _adaptive(input: Tensor, output_size: Any) -> Tensor:
    size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    return input.mean((-1, -2), keepdim=True) if size == (1, 1) else _adaptive_avg_pool2d(input, size)


_adaptive_avg_pool2d_backward.primitive()
_adaptive_avg_pool2d.primitive(input=lambda g, input: _adaptive_avg_pool2d_backward(g, input))
pool.adaptive_avg_pool2d.parts(_adaptive)

# ---------------------------------------------------------------- normalisation


@composite(
    "native_layer_norm_backward(Tensor grad_out, Tensor input, SymInt[] normalized_shape, Tensor mean, Tensor rstd, Tensor? weight, Tensor? bias, bool[3] output_mask)",
    receiver="input",
    **HIDDEN,
)
def native_layer_norm_backward(
    grad_out: Tensor,
    input: Tensor,
    normalized_shape: Shape,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """What reaches the input, the weight and the bias of `native_layer_norm`."""
    found = normalize._layer_norm_vjp(
        grad_out, None, None, input, normalized_shape, weight, bias, 0.0, mean, rstd, output_mask, False
    )
    return tuple(g if g is None or i == 0 else g.reshape(tuple(normalized_shape)) for i, g in enumerate(found))


native_layer_norm_backward.primitive()
normalize.native_layer_norm.primitive(
    _=lambda g_out, input, normalized_shape, mean, rstd, weight, bias, needs: native_layer_norm_backward(
        g_out, input, normalized_shape, mean, rstd, weight, bias, list(needs)
    )
)


@composite(
    "native_group_norm_backward(Tensor grad_out, Tensor input, Tensor mean, Tensor rstd, Tensor? weight, SymInt N, SymInt C, SymInt HxW, int group, bool[3] output_mask)",
    receiver="input",
    **HIDDEN,
)
def native_group_norm_backward(
    grad_out: Tensor,
    input: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    N: int,
    C: int,
    HxW: int,
    group: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """What reaches the input, the weight and the bias of `native_group_norm`."""
    g, x = grad_out.reshape(N, group, -1), input.reshape(N, group, -1)
    shown = (x - mean.unsqueeze(2)) * rstd.unsqueeze(2)
    gx = gw = gb = None
    if output_mask[0]:
        inner = g if weight is None else (grad_out.reshape(N, C, HxW) * weight.reshape(1, C, 1)).reshape(N, group, -1)
        rest = inner - inner.mean(2, keepdim=True) - shown * (inner * shown).mean(2, keepdim=True)
        gx = (rest * rstd.unsqueeze(2)).reshape(input.shape)
    if output_mask[1]:
        gw = (grad_out.reshape(N, C, HxW) * shown.reshape(N, C, HxW)).sum((0, 2))
    if output_mask[2]:
        gb = grad_out.reshape(N, C, HxW).sum((0, 2))
    return gx, gw, gb  # type: ignore[return-value]


def _group_norm_rule(g, input, weight, N, C, HxW, group, outs, needs):  # type: ignore[no-untyped-def]
    return native_group_norm_backward(
        g[0], input, outs[1].detach(), outs[2].detach(), weight, N, C, HxW, group, list(needs)
    )


def _grouped(input: Tensor, num_groups: int, weight: Any, bias: Any, eps: float, cudnn_enabled: bool) -> Tensor:
    n, c = input.shape[:2]
    return normalize.native_group_norm(input, weight, bias, n, c, prod(input.shape[2:]), num_groups, eps)[0]


native_group_norm_backward.primitive()
normalize.native_group_norm.primitive(_=_group_norm_rule)
normalize.group_norm.parts(_grouped)


@composite(
    "native_batch_norm_backward(Tensor grad_out, Tensor input, Tensor? weight, Tensor? running_mean, Tensor? running_var, Tensor? save_mean, Tensor? save_invstd, bool train, float eps, bool[3] output_mask)",
    receiver="input",
    **HIDDEN,
)
def native_batch_norm_backward(
    grad_out: Tensor,
    input: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    save_mean: Tensor | None,
    save_invstd: Tensor | None,
    train: bool,
    eps: float,
    output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """What reaches the input, the weight and the bias of `native_batch_norm`."""
    bias = None if not output_mask[2] else grad_out.new_zeros(input.shape[1])
    mean, var = (None, None) if train else (running_mean, running_var)
    run = lambda x, w, b: normalize.batch_norm(x, w, b, mean, var, train, 0.0, eps, False)
    return tuple(_gradients_of(run, (input, weight, bias), output_mask, grad_out))


def _batch_norm_rule(g, input, weight, running_mean, running_var, training, eps, outs, needs):  # type: ignore[no-untyped-def]
    saved = [o.detach() for o in outs[1:3]]
    return native_batch_norm_backward(
        g[0], input, weight, running_mean, running_var, *saved, training, eps, [needs[0], needs[1], needs[2]]
    )


native_batch_norm_backward.primitive()
normalize.native_batch_norm.primitive(_=_batch_norm_rule)
normalize.batch_norm.parts(
    lambda input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled: (
        normalize.native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]
    )
)

# ---------------------------------------------------------------- resampling, padding


def _resampling(name: str) -> None:
    """The backward operator of one that resamples, from sizes alone; and what the overload by scale factors shows."""
    source, by_scale = REGISTRY[name], REGISTRY[f"{name}.vec"]
    rest = [p for p in source.params if p.name not in ("input", "output_size")]
    given = ", ".join(p.name for p in rest)
    head = ", ".join(p.name if p.default is REQUIRED else f"{p.name}={p.default!r}" for p in rest)
    scope: dict[str, Any] = {"source": source, "gradients": _gradients}
    exec(
        f"def backward(grad_output, output_size, input_size, {head}):\n"
        f"    start = grad_output.new_zeros(input_size)\n"
        f"    return gradients(lambda input: source(input, output_size, {given}), (start,), grad_output)[0]\n",
        scope,
    )
    made = scope["backward"]
    size = next(p.note for p in source.params if p.name == "output_size")
    made.__annotations__ = {"grad_output": "T", "output_size": size, "input_size": f"Shape{int(size[-1]) + 2}"}
    made.__annotations__ |= {p.name: p.note for p in rest}
    made.__doc__ = f"What reaches the input of `{name}`."
    scope["backward"] = composite(f"{name}_backward", **HIDDEN)(made).primitive()
    rule = f"lambda g, input_shape, output_size, {given}: backward(g, tuple(output_size), tuple(input_shape), {given})"
    source.primitive(input=eval(rule, scope))
    n = sum(p.name.startswith("scales") for p in rest)

    def plain(input: Tensor, output_size: Any, *more: Any) -> Tensor:
        size, scales = resample._output_size(input, output_size, more[-1], n)
        return source(input, tuple(size), *more[:-1], *scales)

    by_scale.parts(plain)


for _name in [n for n in REGISTRY if n.lstrip("_").startswith("upsample_") and n + ".vec" in REGISTRY]:
    _resampling(_name)
for _prefix in ("reflection", "replication"):
    for _n in (1, 2, 3):
        _backward_of(REGISTRY[f"{_prefix}_pad{_n}d"])


def _padded(input: Tensor, widths: Any, mode: str, value: float | None) -> Tensor:
    kind = {"reflect": "reflection", "replicate": "replication"}.get(mode)
    if kind is None or len(widths) > 6:
        return pad.pad.body(input, widths, mode, value)
    return REGISTRY[f"{kind}_pad{len(widths) // 2}d"](input, tuple(widths))


pad.pad.parts(_padded)

# ---------------------------------------------------------------- copies


def _reshaped(input: Tensor, shape: Any) -> Tensor:
    return _unsafe_view(input.clone(memory_format=contiguous_format), tuple(shape))


REGISTRY["_reshape_copy"].parts(_reshaped)


# ---------------------------------------------------------------- what methods are called there


@op("detach", promote="none", view=True, differentiable=False, **HIDDEN)
def detach(k: Kernel[T], input: T) -> T:
    """The same memory, without history."""
    return k.reshape(input, input.shape)


@composite("lift_fresh", **HIDDEN, alias=True)
def lift_fresh(input: Tensor) -> Tensor:
    """A tensor that was just made from data: itself."""
    return input


@composite("_local_scalar_dense(Tensor self) -> Scalar", differentiable=False, **HIDDEN)
def _local_scalar_dense(input: Tensor) -> Any:
    """The only element, as a Python number."""
    return input.item()


@composite("item(Tensor self) -> Scalar", **HIDDEN)
def item(input: Tensor) -> Any:
    """The only element, as a Python number."""
    return input.item()


@composite("to.dtype", **HIDDEN, alias=True)
def to_dtype(
    input: Tensor,
    dtype: DType,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: MemoryFormat | None = None,
) -> Tensor:
    """The tensor in another dtype."""
    return input.to(dtype, non_blocking, copy, memory_format=memory_format)


@composite("to.device", **HIDDEN, alias=True)
def to_device(
    input: Tensor,
    device: Device,
    dtype: DType,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: MemoryFormat | None = None,
) -> Tensor:
    """The tensor on another device, in another dtype."""
    return input.to(device, dtype, non_blocking, copy, memory_format=memory_format)


@composite("to.dtype_layout", **HIDDEN, alias=True)
def to_dtype_layout(
    input: Tensor,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: Device | None = None,
    pin_memory: bool | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: MemoryFormat | None = None,
) -> Tensor:
    """The tensor in another dtype, on another device."""
    given = {"dtype": dtype, "device": device, "memory_format": memory_format}
    return input.to(copy=copy, **{n: v for n, v in given.items() if v is not None})


@composite("to.other", **HIDDEN, alias=True)
def to_other(
    input: Tensor,
    other: Tensor,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: MemoryFormat | None = None,
) -> Tensor:
    """The tensor in another's dtype, on its device."""
    return input.to(other, non_blocking, copy, memory_format=memory_format)


@composite("lift_fresh_copy", **HIDDEN)
def lift_fresh_copy(input: Tensor) -> Tensor:
    """A copy of a constant, as graphs start from it."""
    return input.clone()


@composite("_assert_tensor_metadata", **HIDDEN)
def _assert_tensor_metadata(
    a: Tensor,
    size: Shape | None = None,
    stride: Shape | None = None,
    dtype: DType | None = None,
    *,
    device: Device | None = None,
    layout: Layout | None = None,
) -> None:
    """Raise unless a tensor is what a graph was made for."""
    for what, given, found in (("sizes", size, tuple(a.shape)), ("strides", stride, tuple(a.stride())), ("dtype", dtype, a.dtype),
                               ("device", device, a.device), ("layout", layout, a.layout)):  # fmt: skip
        expected = tuple(given) if isinstance(given, (list, tuple)) else given
        if expected is not None and expected != found:
            raise RuntimeError(f"Tensor {what} mismatch! Expected: {given}, Got: {found}")


@composite("detach_(Tensor(a!) self) -> Tensor(a!)", **HIDDEN)
def detach_(input: Tensor) -> Tensor:
    """Forget the history."""
    return input.detach_()


@composite(
    "as_strided_(Tensor(a!) self, SymInt[] size, SymInt[] stride, SymInt? storage_offset=None) -> Tensor(a!)", **HIDDEN
)
def as_strided_(input: Tensor, size: Shape, stride: Shape, storage_offset: int | None = None) -> Tensor:
    """The tensor becomes a view of its memory."""
    return input.as_strided_(size, stride, storage_offset)


@composite("set_.source_Storage(Tensor(a!) self, Storage source) -> Tensor(a!)", **HIDDEN)
def set_source(input: Tensor, source: Any) -> Tensor:
    """The tensor becomes one over a storage."""
    return input.set_(source)


@composite(
    "set_.source_Storage_storage_offset(Tensor(a!) self, Storage source, SymInt storage_offset, SymInt[] size, SymInt[] stride=[]) -> Tensor(a!)",
    **HIDDEN,
)
def set_source_offset(input: Tensor, source: Any, storage_offset: int, size: Shape, stride: Shape = ()) -> Tensor:
    """The tensor becomes a part of a storage."""
    return input.set_(source, storage_offset, size, stride)


@composite("promote_types(ScalarType type1, ScalarType type2) -> ScalarType", **HIDDEN)
def promote_types(type1: DType, type2: DType) -> Any:
    """The dtype in which two meet."""
    return _promote_types(type1, type2)


@composite("_is_all_true", **HIDDEN)
def _is_all_true(input: Tensor) -> Tensor:
    """Whether every element is true."""
    return input.all()


@composite("_assert_async.msg", **HIDDEN)
def _assert_async(input: Tensor, assert_msg: str) -> None:
    """Raise unless the only element is nonzero."""
    if not bool(input):
        raise RuntimeError(assert_msg)


@composite("log_sigmoid_forward", outputs=("output", "buffer"), **HIDDEN)
def log_sigmoid_forward(input: Tensor) -> tuple[Tensor, Tensor]:
    """`log_sigmoid`, and what its derivative would keep: nothing."""
    return activation.log_sigmoid(input), input.new_empty((0,))


@composite("_cdist_forward", **HIDDEN)
def _cdist_forward(x1: Tensor, x2: Tensor, p: float, compute_mode: int | None) -> Tensor:
    """The distances between rows."""
    return REGISTRY["cdist"](x1, x2, p, compute_mode)


@composite("_cdist_backward", **HIDDEN)
def _cdist_backward(grad: Tensor, x1: Tensor, x2: Tensor, p: float, cdist: Tensor) -> Tensor:
    """What reaches the first rows of `_cdist_forward`."""
    return _gradients(lambda x: REGISTRY["cdist"](x, x2, p), (x1,), grad)[0]


@composite("_weight_norm_interface", **HIDDEN)
def _weight_norm_interface(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """`_weight_norm`, and the norms, through which no gradient goes."""
    return REGISTRY["_weight_norm"](v, g, dim), REGISTRY["norm_except_dim"](v.detach(), 2, dim)


@composite("_weight_norm_interface_backward", **HIDDEN)
def _weight_norm_interface_backward(
    grad_w: Tensor, saved_v: Tensor, saved_g: Tensor, saved_norms: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """What reaches direction and length of `_weight_norm_interface`."""
    return tuple(_gradients(lambda v, g: REGISTRY["_weight_norm"](v, g, dim), (saved_v, saved_g), grad_w))


@composite(
    "grid_sampler_2d_backward(Tensor grad_output, Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners, bool[2] output_mask)",
    receiver="input",
    **HIDDEN,
)
def grid_sampler_2d_backward(
    grad_output: Tensor,
    input: Tensor,
    grid: Tensor,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
    output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor]:
    """What reaches input and grid of `grid_sampler_2d`."""
    run = lambda x, where: grids.grid_sampler_2d(x, where, interpolation_mode, padding_mode, align_corners)
    return tuple(_gradients_of(run, (input, grid), output_mask, grad_output))


for _op in (lift_fresh, _local_scalar_dense, grid_sampler_2d_backward, _cdist_backward):
    _op.primitive()
grids.grid_sampler_2d.primitive(
    _=lambda g, input, grid, interpolation_mode, padding_mode, align_corners, needs: grid_sampler_2d_backward(
        g, input, grid, interpolation_mode, padding_mode, align_corners, list(needs)
    )
)

"""Normalisations: batch, instance, group, layer and RMS. The statistics are what the derivatives keep."""

from __future__ import annotations

from math import prod
from typing import Any

from flambeau._kernel.language import Kernel, Shape, ShapeList, T
from flambeau._operators.op import composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import FLOAT8, bfloat16, float16, float32, uint8

MIXED = "mixed dtype (CPU): "


def _same_dtypes(input: Tensor, *parameters: Tensor | None) -> None:
    """Parameters have the input's dtype; to a narrow one, and only to it, float32 parameters may be given."""
    given = [p for p in parameters if p is not None]
    if all(p.dtype is input.dtype for p in given):
        return
    if any(p.dtype is not float32 for p in given):
        raise RuntimeError(MIXED + "expect parameter to have scalar type of Float")
    if input.dtype is not float16 and input.dtype is not bfloat16:
        raise RuntimeError(MIXED + "all inputs must share same datatype.")


# ---------------------------------------------------------------- over trailing dims


@op(
    "native_layer_norm",
    variants=("function",),
    promote="default",
    receiver="input",
    outputs=("out", "mean", "rstd"),
    constants=("mean", "rstd"),
    native=True,
    packed=True,
    unnamed=True,
)
def native_layer_norm(
    k: Kernel[T], input: T, normalized_shape: Shape, weight: T | None, bias: T | None, eps: float
) -> tuple[T, T, T]:
    """(x - mean) / sqrt(var + eps) over the last dims, scaled and shifted; and the mean and 1/sqrt(var + eps)."""
    n = len(normalized_shape)
    dims = tuple(range(input.ndim - n, input.ndim))
    count = prod(normalized_shape)
    mean = k.sum(input, dims) / float(count) if count else k.sum(input, dims)
    centred = input - mean
    rstd = k.rsqrt(k.sum(centred * centred, dims) / float(max(count, 1)) + eps)
    out = centred * rstd
    if weight is not None:
        out = out * weight
    return (out if bias is None else out + bias), mean, rstd


def _layer_norm_vjp(
    g_out: Any, g_mean: Any, g_rstd: Any, input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float, mean: Any,
    rstd: Any, needs: Any, recorded: bool,
) -> Any:  # fmt: skip
    n = len(normalized_shape)
    dims = tuple(range(input.ndim - n, input.ndim))
    lead = tuple(range(input.ndim - n))
    if recorded:  # from the input, not the outputs: the derivative must itself be differentiable
        mean = input.mean(dims, keepdim=True)
        rstd = ((input - mean).pow(2).mean(dims, keepdim=True) + eps).rsqrt()
    mean, rstd = mean.to(input.dtype), rstd.to(input.dtype)
    x = (input - mean) * rstd
    gx = gw = gb = None
    if needs[0]:
        g = g_out if weight is None else g_out * weight
        gx = rstd * (g - g.mean(dims, keepdim=True) - x * (g * x).mean(dims, keepdim=True))
    if needs[1]:
        gw = (g_out * x).sum(lead) if lead else g_out * x
    if needs[2]:
        gb = g_out.sum(lead) if lead else g_out
    return gx, gw, gb


def _layer_norm_arrays(k: Any, g_out: Any, input: Any, normalized_shape: Any, weight: Any, mean: Any, rstd: Any, needs: Any) -> Any:  # fmt: skip
    """The same on arrays."""
    rank = input.ndim - len(normalized_shape)
    dims, lead = tuple(range(rank, input.ndim)), tuple(range(rank))
    count = input.dtype.type(max(1, prod(normalized_shape)))
    x = (input - mean) * rstd
    gx = None
    if needs[0]:
        g = g_out if weight is None else g_out * weight
        along = k.sum(g * x, dims) / count
        gx = rstd * (g - k.sum(g, dims) / count - x * along)
    gw = k.xp.add.reduce(g_out * x, lead) if needs[1] else None
    return gx, gw, k.xp.add.reduce(g_out, lead) if needs[2] else None


native_layer_norm.vjp(_=_layer_norm_vjp).vjp_arrays(_=_layer_norm_arrays)


@native_layer_norm.errors
def _(input: Tensor, normalized_shape: Shape, weight: Tensor | None, bias: Tensor | None, eps: float) -> None:
    shape = list(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            f"normalized_shape = {shape}"
        )
    for t, name in ((weight, "weight"), (bias, "bias")):
        if t is not None and list(t.shape) != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(t.shape)} and "
                f"normalized_shape = {shape}"
            )
    if list(input.shape)[-len(shape) :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={shape}, expected input with shape [*, {', '.join(map(str, shape))}], but got input of size"
            f"{list(input.shape)}"
        )
    if input.dtype.kind in "bic" or input.dtype in FLOAT8:
        from flambeau._values.dtype import SPOKEN

        raise NotImplementedError(f"\"LayerNormKernelImpl\" not implemented for '{SPOKEN[input.dtype]}'")
    _same_dtypes(input, weight, bias)


@composite("layer_norm", variants=("function",), receiver="input", again=True)
def layer_norm(
    input: Tensor,
    normalized_shape: ShapeList,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """Normalises over the last dims: (x - mean) / sqrt(var + eps) * weight + bias."""
    shape = normalized_shape if type(normalized_shape) is tuple else _tuple(normalized_shape)
    out = native_layer_norm(input, shape, weight, bias, eps)[0]
    return out if out._a.dtype is input._a.dtype else out.to(input.dtype)


def _tuple(shape: Shape) -> Shape:
    return (shape,) if isinstance(shape, int) else tuple(shape)


@composite(
    "rms_norm",
    variants=("function",),
    receiver="input",
    native=True,
    formats=True,
    lacks=("biC", "rms_norm"),
    packed="channels",
)
def rms_norm(
    input: Tensor, normalized_shape: ShapeList, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divides by the root mean square over the last dims: x / sqrt(mean(x^2) + eps) * weight."""
    shape = _tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            f"normalized_shape = {list(shape)}"
        )
    if list(input.shape)[-len(shape) :] != list(shape):
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{', '.join(map(str, shape))}], but got input of size"
            f"{list(input.shape)}"
        )
    x = input.float() if input.element_size() == 2 else input
    dims = tuple(range(-len(shape), 0))
    if eps is None:
        import ml_dtypes

        eps = float(ml_dtypes.finfo(x.dtype.to_real().np).eps)
    out = x * (x.pow(2).mean(dims, keepdim=True) + eps).rsqrt()
    out = out if weight is None else out * weight
    return out if out.dtype is input.dtype else out.to(input.dtype)


@composite(
    "group_norm",
    variants=("function",),
    receiver="input",
    native=True,
    formats=True,
    lacks=("bic", "GroupNormKernelImpl"),
)
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Normalises each of `num_groups` groups of channels of each sample."""
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise RuntimeError("Expected at least 2 dimensions for input tensor but received " + str(len(shape)))
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if shape[1] % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(shape)} and num_groups={num_groups}"
        )
    for t, name in ((weight, "weight"), (bias, "bias")):
        if t is not None and tuple(t.shape) != (shape[1],):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of shape "
                f"{list(t.shape)} and input of shape {list(shape)}"
            )
    _same_dtypes(input, weight, bias)
    if not input.numel():
        out = input * 1.0
    else:
        flat = input.reshape(shape[0], num_groups, -1)
        out = native_layer_norm(flat, (flat.shape[2],), None, None, eps)[0].reshape(shape).to(input.dtype)
    along = (1, shape[1], *(1,) * (len(shape) - 2))
    if weight is not None:
        out = out * weight.reshape(along)
    out = out if bias is None else out + bias.reshape(along)
    return out if out.dtype is input.dtype else out.to(input.dtype)


@composite(
    "native_group_norm(Tensor input, Tensor? weight, Tensor? bias, SymInt N, SymInt C, SymInt HxW, int group, float eps) -> (Tensor, Tensor, Tensor)",
    variants=("function",),
    receiver="input",
    lacks=("bic", "GroupNormKernelImpl"),
)
def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`group_norm` of sizes as given, and the mean and 1/sqrt(var + eps) of each group."""
    groups = input.reshape(N, group, C * HxW // group)
    mean = groups.mean(2)
    rstd = ((groups - mean.unsqueeze(2)).pow(2).mean(2) + eps).rsqrt()
    out = ((groups - mean.unsqueeze(2)) * rstd.unsqueeze(2)).reshape(N, C, HxW)
    if weight is not None:
        out = out * weight.reshape(1, C, 1)
    out = out if bias is None else out + bias.reshape(1, C, 1)
    return out.reshape(input.shape), mean, rstd


# ---------------------------------------------------------------- over the batch

_RUNNING = ("running_mean", "running_var")
_RUNNING_INSIDE = tuple(f"{name}:native_batch_norm" for name in _RUNNING)


@op(
    "native_batch_norm_statistics",
    variants=(),
    lacks=("8", "batch_norm"),
    outputs=("out", "mean", "rstd"),
    native=True,
    formats=True,
)
def _batch_norm(k: Kernel[T], input: T, weight: T | None, bias: T | None, eps: float) -> tuple[T, T, T]:
    """Normalises over all dims but the second, by the batch's own statistics; and the mean and biased variance."""
    dims = (0, *range(2, input.ndim))
    count = max(1, prod(input.shape[d] for d in dims))
    mean = k.sum(input, dims) / count
    centred = input - mean
    var = k.sum(centred * centred, dims) / count
    scale = k.rsqrt(var + eps)
    along = (1, input.shape[1], *(1,) * (input.ndim - 2))
    if weight is not None:
        scale = scale * k.reshape(weight, along)
    out = centred * scale
    return (
        (out if bias is None else out + k.reshape(bias, along)),
        k.reshape(mean, (input.shape[1],)),
        k.reshape(var, (input.shape[1],)),
    )


def _batch_norm_vjp(g_out, input, weight, bias, eps, mean, rstd, needs, recorded):  # type: ignore[no-untyped-def]
    dims = (0, *range(2, input.ndim))
    along = (1, input.shape[1], *(1,) * (input.ndim - 2))
    if recorded:  # from the input, not the outputs: the derivative must itself be differentiable
        m = input.mean(dims, keepdim=True)
        r = ((input - m).pow(2).mean(dims, keepdim=True) + eps).rsqrt()
    else:
        m, r = mean.reshape(along), (rstd.reshape(along) + eps).rsqrt()
    x = (input - m) * r
    gx = gw = gb = None
    total = g_out.sum(dims, keepdim=True)
    product = (g_out * x).sum(dims, keepdim=True)
    if needs[0]:
        n = max(1, input.numel() // max(1, input.shape[1]))
        w = r if weight is None else r * weight.reshape(along)
        gx = w * (g_out - total / n - x * (product / n))
    if needs[1]:
        gw = product.reshape(-1)
    if needs[2]:
        gb = total.reshape(-1)
    return gx, gw, gb


def _batch_norm_arrays(
    k: Any, g_out: Any, input: Any, weight: Any, eps: float, mean: Any, rstd: Any, needs: Any
) -> Any:
    """The same on arrays."""
    dims = (0, *range(2, input.ndim))
    along = (1, input.shape[1], *(1,) * (input.ndim - 2))
    m, r = mean.reshape(along), k.rsqrt(rstd.reshape(along) + eps)
    x = (input - m) * r
    total, product = k.sum(g_out, dims), k.sum(g_out * x, dims)
    gx = None
    if needs[0]:
        n = max(1, input.size // max(1, input.shape[1]))
        w = r if weight is None else r * weight.reshape(along)
        gx = w * (g_out - total / n - x * (product / n))
    return gx, product.reshape(-1) if needs[1] else None, total.reshape(-1) if needs[2] else None


_batch_norm.known_as("NativeBatchNormBackward0", event="native_batch_norm").vjp(_=_batch_norm_vjp).vjp_arrays(
    _=_batch_norm_arrays
)


@composite(
    "batch_norm",
    variants=("function",),
    receiver="input",
    native=True,
    formats=True,
    lacks=("bic", "batch_norm"),
    packed="channels",
    fixed=_RUNNING_INSIDE,
)
def batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None, training: bool, momentum: float, eps: float,
               cudnn_enabled: bool) -> Tensor:  # fmt: skip
    """Normalises each channel: by the batch's statistics when training (the running ones are updated), else by the running ones."""
    channels = input.shape[1] if input.ndim > 1 else input.shape[0]
    for t, name in ((running_mean, "running_mean"), (running_var, "running_var"), (weight, "weight"), (bias, "bias")):
        if t is not None and t.numel() != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {t.numel()}")
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
    _same_dtypes(input, weight, bias, running_mean, running_var)
    if input.ndim < 2:  # only an empty one is allowed
        return input * 1.0
    if training:
        out, mean, var = _batch_norm(input, weight, bias, eps)
        n = input.numel() // max(1, channels)
        if running_mean is not None and n:  # nothing is learned from an empty batch
            running_mean.detach().mul_(1 - momentum).add_(mean.detach(), alpha=momentum)
        if running_var is not None and n:
            running_var.detach().mul_(1 - momentum).add_(var.detach(), alpha=momentum * n / max(n - 1, 1))
        return out if out.dtype is input.dtype else out.to(input.dtype)
    assert running_mean is not None and running_var is not None
    along = (1, channels, *(1,) * (input.ndim - 2))
    x = input if running_mean.dtype is input.dtype else input.to(running_mean.dtype)
    scale: Tensor = (running_var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    out = x * scale.reshape(along) + shift.reshape(along)
    return out if out.dtype is input.dtype else out.to(input.dtype)


@composite(
    "native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    variants=("function", "out"),
    receiver="input",
    lacks=("bic", "batch_norm"),
    fixed=_RUNNING,
)
def native_batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None, training: bool, momentum: float,
                      eps: float) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`batch_norm`, and the mean and 1/sqrt(var + eps) that it used (empty outside training)."""
    if not training:
        empty = input.new_empty((0,))
        return batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps, False), empty, empty
    dims = (0, *range(2, input.ndim))
    out = batch_norm(input, weight, bias, running_mean, running_var, True, momentum, eps, False)
    x = input.detach()
    return out, x.mean(dims), (x.var(dims, unbiased=False) + eps).rsqrt()


@composite(
    "_native_batch_norm_legit(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!) running_mean, Tensor(b!) running_var, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    variants=("function", "out"),
    receiver="input",
    fixed=_RUNNING,
)
def _native_batch_norm_legit(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor, running_var: Tensor, training: bool, momentum: float,
                             eps: float) -> Tensor:  # fmt: skip
    """`native_batch_norm`, where there are running statistics."""
    return native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)


@composite(
    "_native_batch_norm_legit.no_stats(Tensor input, Tensor? weight, Tensor? bias, bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)",
    variants=("function", "out"),
    receiver="input",
)
def _native_batch_norm_legit_no_stats(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, training: bool, momentum: float, eps: float
) -> Tensor:
    """`native_batch_norm`, where there are none."""
    return native_batch_norm(input, weight, bias, None, None, training, momentum, eps)


@composite(
    "_batch_norm_with_update(Tensor input, Tensor? weight, Tensor? bias, Tensor(a!) running_mean, Tensor(b!) running_var, float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor)",
    variants=(),
    receiver="input",
    fixed=_RUNNING,
)
def _batch_norm_with_update(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`native_batch_norm` in training, and what a GPU's library would keep: nothing."""
    out = native_batch_norm(input, weight, bias, running_mean, running_var, True, momentum, eps)
    return (*out, input.detach().new_empty((0,), dtype=uint8))


@composite("instance_norm", variants=("function",), receiver="input", native=True, fixed=_RUNNING_INSIDE)
def instance_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None, use_input_stats: bool, momentum: float,
                  eps: float, cudnn_enabled: bool) -> Tensor:  # fmt: skip
    """Normalises each channel of each sample by its own statistics (or by the running ones)."""
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    n, c = input.shape[:2]
    x = input.reshape(1, n * c, *input.shape[2:])

    def each(t: Any) -> Any:
        return None if t is None else t.repeat(n)

    mean, var = each(running_mean), each(running_var)
    out = batch_norm(x, each(weight), each(bias), mean, var, use_input_stats, momentum, eps, cudnn_enabled)
    if use_input_stats and running_mean is not None:
        running_mean.detach().copy_(mean.reshape(n, c).mean(0))
    if use_input_stats and running_var is not None:
        running_var.detach().copy_(var.reshape(n, c).mean(0))
    return out.reshape(input.shape)

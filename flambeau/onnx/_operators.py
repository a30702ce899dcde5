"""What each ATen operator becomes in ONNX: one small function each, `(builder, node, *arguments)`, that answers a name (or several)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau.fx.node import Node

RULES: dict[str, Callable[..., Any]] = {}
I64 = flambeau.int64


def rule(*names: str) -> Callable[[Any], Any]:
    """Register what the operators of these names become."""

    def add(fn: Any) -> Any:
        RULES.update(dict.fromkeys(names, fn))
        return fn

    return add


def val(x: Any) -> Any:
    return x.meta["val"] if isinstance(x, Node) else x


def out_dtype(node: Node) -> Any:
    v = node.meta["val"]
    return (v[0] if isinstance(v, (list, tuple)) else v).dtype


def pair(x: Any, n: int = 2) -> list[int]:
    given = [x] * n if isinstance(x, int) else list(x)
    return given * n if len(given) == 1 else given


# ---- one operand, one ONNX operator ----

UNARY = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh", "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil",
    "cos": "Cos", "cosh": "Cosh", "erf": "Erf", "exp": "Exp", "floor": "Floor", "log": "Log", "neg": "Neg", "reciprocal": "Reciprocal",
    "relu": "Relu", "round": "Round", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan",
    "tanh": "Tanh", "isnan": "IsNaN", "isinf": "IsInf", "mish": "Mish", "softsign": "Softsign", "hardswish": "HardSwish",
}  # fmt: skip


def _unary(word: str) -> Callable[..., Any]:
    def become(b: Any, node: Node, x: Any) -> Any:
        d = val(x).dtype if word in ("IsNaN", "IsInf") else out_dtype(node)
        if not d.is_floating_point and word in ("Ceil", "Floor", "Round"):
            return b.name(x)
        return b.add(word, b.name(x, d))

    return become


RULES.update({name: _unary(word) for name, word in UNARY.items()})


@rule("alias", "detach", "clone", "contiguous", "dropout", "feature_dropout", "alpha_dropout", "lift_fresh", "positive", "resolve_conj",
      "feature_alpha_dropout")  # fmt: skip
def _same(b: Any, node: Node, x: Any, p: float = 0.0, train: bool = False, **ignored: Any) -> Any:
    if train and p:
        from flambeau.onnx._program import OnnxExporterError

        raise OnnxExporterError("the model is in training mode: dropout is not exported; call eval() first")
    return b.name(x)


def _composed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A rule written with `+ - * /` names: gets the builder, the operand's name and a maker of constants of its dtype."""

    def become(b: Any, node: Node, x: Any, *args: Any, **kwargs: Any) -> Any:
        d = out_dtype(node)
        return fn(b, b.name(x, d), lambda v: b.constant(v, d), *args, **kwargs)

    return become


RULES.update(
    rsqrt=_composed(lambda b, x, c: b.add("Reciprocal", b.add("Sqrt", x))),
    square=_composed(lambda b, x, c: b.add("Mul", x, x)),
    exp2=_composed(lambda b, x, c: b.add("Pow", c(2.0), x)),
    expm1=_composed(lambda b, x, c: b.add("Sub", b.add("Exp", x), c(1.0))),
    log1p=_composed(lambda b, x, c: b.add("Log", b.add("Add", x, c(1.0)))),
    log2=_composed(lambda b, x, c: b.add("Mul", b.add("Log", x), c(1 / math.log(2)))),
    log10=_composed(lambda b, x, c: b.add("Mul", b.add("Log", x), c(1 / math.log(10)))),
    erfc=_composed(lambda b, x, c: b.add("Sub", c(1.0), b.add("Erf", x))),
    trunc=_composed(lambda b, x, c: b.add("Mul", b.add("Sign", x), b.add("Floor", b.add("Abs", x)))),
    silu=_composed(lambda b, x, c: b.add("Mul", x, b.add("Sigmoid", x))),
    log_sigmoid=_composed(lambda b, x, c: b.add("Neg", b.add("Softplus", b.add("Neg", x)))),
    relu6=_composed(lambda b, x, c: b.add("Clip", x, c(0.0), c(6.0))),
    hardtanh=_composed(lambda b, x, c, low=-1.0, high=1.0: b.add("Clip", x, c(low), c(high))),
    hardsigmoid=_composed(lambda b, x, c: b.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    leaky_relu=_composed(lambda b, x, c, slope=0.01: b.add("LeakyRelu", x, alpha=float(slope))),
    celu=_composed(lambda b, x, c, alpha=1.0: b.add("Celu", x, alpha=float(alpha))),
    selu=_composed(lambda b, x, c: b.add("Selu", x)),
    softmax=_composed(lambda b, x, c, dim, dtype=None: b.add("Softmax", x, axis=dim)),
    _softmax=_composed(lambda b, x, c, dim, half: b.add("Softmax", x, axis=dim)),
    log_softmax=_composed(lambda b, x, c, dim, dtype=None: b.add("LogSoftmax", x, axis=dim)),
    glu=_composed(lambda b, x, c, dim=-1: (lambda halves: b.add("Mul", halves[0], b.add("Sigmoid", halves[1])))(
        b.add("Split", x, outputs=2, axis=dim, num_outputs=2))),
)  # fmt: skip


@rule("elu")
def _elu(b: Any, node: Node, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    if scale != 1 or input_scale != 1:
        raise TypeError("elu with scales")
    return b.add("Elu", b.name(x), alpha=float(alpha))


@rule("softplus")
def _softplus(b: Any, node: Node, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    d, name = out_dtype(node), b.name(x)
    scaled = b.add("Mul", name, b.constant(beta, d))
    soft = b.add("Div", b.add("Softplus", scaled), b.constant(beta, d))
    return b.add("Where", b.add("Greater", scaled, b.constant(threshold, d)), name, soft)


@rule("gelu")
def _gelu(b: Any, node: Node, x: Any, *, approximate: str = "none") -> Any:
    d, name = out_dtype(node), b.name(x)
    c = lambda v: b.constant(v, d)
    if approximate == "tanh":
        cubed = b.add("Mul", b.add("Mul", name, name), b.add("Mul", name, c(0.044715)))
        inner = b.add("Tanh", b.add("Mul", b.add("Add", name, cubed), c(math.sqrt(2 / math.pi))))
    else:
        inner = b.add("Erf", b.add("Mul", name, c(math.sqrt(0.5))))
    return b.add("Mul", b.add("Mul", name, c(0.5)), b.add("Add", inner, c(1.0)))


@rule("prelu")
def _prelu(b: Any, node: Node, x: Any, weight: Any) -> Any:
    w, n = b.name(weight), val(x).ndim
    if n > 1:
        w = b.add("Reshape", w, b.ints([-1] + [1] * (n - 2)))
    return b.add("PRelu", b.name(x), w)


@rule("logical_not", "bitwise_not")
def _not(b: Any, node: Node, x: Any) -> Any:
    return b.add("BitwiseNot", b.name(x)) if str(node.target).startswith("aten.bitwise") and val(x).dtype != flambeau.bool \
        else b.add("Not", b.name(x, flambeau.bool))  # fmt: skip


# ---- two operands ----


def _binary(word: str, boolean: str | None = None) -> Callable[..., Any]:
    def become(b: Any, node: Node, x: Any, y: Any, *, alpha: Any = 1) -> Any:
        d = b.met(x, y)
        if word == "Div" and not d.is_floating_point:
            d = out_dtype(node)
        if boolean is not None and d == flambeau.bool:
            return b.add(boolean, b.name(x, d), b.name(y, d))
        right = b.name(y, d)
        if alpha != 1:
            right = b.add("Mul", right, b.constant(alpha, d))
        return b.add(word, b.name(x, d), right)

    return become


BINARY = {"add": ("Add", "Or"), "sub": ("Sub", None), "mul": ("Mul", "And"), "minimum": ("Min", "And"), "maximum": ("Max", "Or"),
          "lt": ("Less", None), "le": ("LessOrEqual", None), "gt": ("Greater", None), "ge": ("GreaterOrEqual", None),
          "eq": ("Equal", None), "bitwise_and": ("BitwiseAnd", "And"), "bitwise_or": ("BitwiseOr", "Or"),
          "bitwise_xor": ("BitwiseXor", "Xor")}  # fmt: skip
RULES.update({name: _binary(*words) for name, words in BINARY.items()})


@rule("rsub")
def _rsub(b: Any, node: Node, x: Any, y: Any, alpha: Any = 1) -> Any:
    return RULES["sub"](b, node, y, x, alpha=alpha)


@rule("ne")
def _ne(b: Any, node: Node, x: Any, y: Any) -> Any:
    return b.add("Not", RULES["eq"](b, node, x, y))


@rule("logical_and", "logical_or", "logical_xor")
def _logical(b: Any, node: Node, x: Any, y: Any) -> Any:
    word = {"and": "And", "or": "Or", "xor": "Xor"}[str(node.target).split(".")[1].removeprefix("logical_").rstrip("_")]
    return b.add(word, b.name(x, flambeau.bool), b.name(y, flambeau.bool))


@rule("pow")
def _pow(b: Any, node: Node, x: Any, y: Any) -> Any:
    d = out_dtype(node)
    return b.add("Pow", b.name(x, d), b.name(y, d))


@rule("div", "divide")
def _div(b: Any, node: Node, x: Any, y: Any, *, rounding_mode: str | None = None) -> Any:
    d = out_dtype(node)
    q = b.add("Div", b.name(x, d), b.name(y, d))
    if rounding_mode is None or (rounding_mode == "trunc" and not d.is_floating_point):
        return q
    if rounding_mode == "floor" and d.is_floating_point:
        return b.add("Floor", q)
    if rounding_mode == "trunc":
        return b.add("Mul", b.add("Sign", q), b.add("Floor", b.add("Abs", q)))
    return _floor_divide(b, node, x, y)


@rule("floor_divide")
def _floor_divide(b: Any, node: Node, x: Any, y: Any) -> Any:
    d = out_dtype(node)
    a, c = b.name(x, d), b.name(y, d)
    if d.is_floating_point:
        return b.add("Floor", b.add("Div", a, c))
    return b.add(
        "Div", b.add("Sub", a, b.add("Mod", a, c)), c
    )  # ONNX's integer division cuts off; Mod has the divisor's sign


@rule("remainder")
def _remainder(b: Any, node: Node, x: Any, y: Any) -> Any:
    d = out_dtype(node)
    a, c = b.name(x, d), b.name(y, d)
    if not d.is_floating_point:
        return b.add("Mod", a, c)
    return b.add("Sub", a, b.add("Mul", c, b.add("Floor", b.add("Div", a, c))))


@rule("fmod")
def _fmod(b: Any, node: Node, x: Any, y: Any) -> Any:
    d = out_dtype(node)
    return b.add("Mod", b.name(x, d), b.name(y, d), fmod=1)


@rule("where")
def _where(b: Any, node: Node, condition: Any, x: Any, y: Any) -> Any:
    d = out_dtype(node)
    return b.add("Where", b.name(condition, flambeau.bool), b.name(x, d), b.name(y, d))


@rule("masked_fill")
def _masked_fill(b: Any, node: Node, x: Any, mask: Any, value: Any) -> Any:
    return _where(b, node, mask, value, x)


@rule("clamp", "clip")
def _clamp(b: Any, node: Node, x: Any, min: Any = None, max: Any = None) -> Any:
    d = out_dtype(node)
    out = b.name(x, d)
    if min is not None:
        out = b.add("Max", out, b.name(min, d))
    return out if max is None else b.add("Min", out, b.name(max, d))


@rule("clamp_min")
def _clamp_min(b: Any, node: Node, x: Any, min: Any) -> Any:
    return _clamp(b, node, x, min)


@rule("clamp_max")
def _clamp_max(b: Any, node: Node, x: Any, max: Any) -> Any:
    return _clamp(b, node, x, None, max)


@rule("addcmul", "addcdiv")
def _addc(b: Any, node: Node, x: Any, y: Any, z: Any, *, value: Any = 1) -> Any:
    d = out_dtype(node)
    part = b.add("Mul" if "mul" in str(node.target) else "Div", b.name(y, d), b.name(z, d))
    return b.add("Add", b.name(x, d), b.add("Mul", part, b.constant(value, d)) if value != 1 else part)


@rule("lerp")
def _lerp(b: Any, node: Node, x: Any, y: Any, weight: Any) -> Any:
    d = out_dtype(node)
    return b.add("Add", b.name(x, d), b.add("Mul", b.name(weight, d), b.add("Sub", b.name(y, d), b.name(x, d))))


# ---- dtypes ----


@rule("_to_copy", "to")
def _to(b: Any, node: Node, x: Any, *args: Any, **kwargs: Any) -> Any:
    return b.name(x, out_dtype(node))


RULES.update({f"_to_{str(d).removeprefix('torch.')}": _to for d in (
    flambeau.float32, flambeau.float64, flambeau.float16, flambeau.bfloat16, flambeau.int64, flambeau.int32, flambeau.int16, flambeau.int8,
    flambeau.uint8, flambeau.bool)})  # fmt: skip
RULES.update(type_as=_to)


# ---- products ----


@rule("matmul", "mm", "bmm", "mv", "dot")
def _matmul(b: Any, node: Node, x: Any, y: Any) -> Any:
    return b.add("MatMul", b.name(x), b.name(y))


@rule("outer")
def _outer(b: Any, node: Node, x: Any, y: Any) -> Any:
    return b.add("Mul", b.add("Unsqueeze", b.name(x), b.ints([1])), b.name(y))


@rule("linear")
def _linear(b: Any, node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    if val(x).ndim == 2 and bias is not None:
        return b.add("Gemm", b.name(x), b.name(weight), b.name(bias), transB=1)
    out = b.add("MatMul", b.name(x), b.add("Transpose", b.name(weight), perm=[1, 0]))
    return out if bias is None else b.add("Add", out, b.name(bias))


@rule("addmm", "baddbmm", "addbmm_", "addmv")
def _addmm(b: Any, node: Node, x: Any, y: Any, z: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    d, product = out_dtype(node), b.add("MatMul", b.name(y), b.name(z))
    if alpha != 1:
        product = b.add("Mul", product, b.constant(alpha, d))
    return b.add("Add", b.name(x) if beta == 1 else b.add("Mul", b.name(x), b.constant(beta, d)), product)


@rule("einsum")
def _einsum(b: Any, node: Node, equation: str, xs: Sequence[Any], **ignored: Any) -> Any:
    return b.add("Einsum", *map(b.name, xs), equation=equation)


@rule("scaled_dot_product_attention")
def _attention(b: Any, node: Node, q: Any, k: Any, v: Any, mask: Any = None, dropout: float = 0.0, causal: bool = False, *,
               scale: float | None = None, enable_gqa: bool = False) -> Any:  # fmt: skip
    if enable_gqa or dropout:
        raise TypeError("grouped heads or dropout")
    d, n = out_dtype(node), val(q).ndim
    scale = 1 / math.sqrt(val(q).shape[-1]) if scale is None else scale
    turned = b.add("Transpose", b.name(k), perm=[*range(n - 2), n - 1, n - 2])
    scores = b.add("MatMul", b.add("Mul", b.name(q), b.constant(scale, d)), turned)
    if causal:
        square = b.add("Shape", scores, start=-2)
        ones = b.add("Trilu", b.add("Expand", b.constant(1, I64), square), upper=0)
        scores = b.add("Where", b.cast(ones, flambeau.bool), scores, b.constant(-math.inf, d))
    if mask is not None:
        if val(mask).dtype == flambeau.bool:
            scores = b.add("Where", b.name(mask), scores, b.constant(-math.inf, d))
        else:
            scores = b.add("Add", scores, b.name(mask, d))
    return b.add("MatMul", b.add("Softmax", scores, axis=-1), b.name(v))


@rule("embedding")
def _embedding(b: Any, node: Node, weight: Any, index: Any, *ignored: Any, **also: Any) -> Any:
    return b.add("Gather", b.name(weight), b.name(index), axis=0)


# ---- convolutions, pooling, normalisation ----


@rule("conv1d", "conv2d", "conv3d")
def _conv(b: Any, node: Node, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
          groups: int = 1) -> Any:  # fmt: skip
    w = val(weight)
    n = w.ndim - 2
    dilation = pair(dilation, n)
    if padding == "valid":
        pads = [0] * (2 * n)
    elif padding == "same":
        totals = [(k - 1) * e for k, e in zip(w.shape[2:], dilation, strict=True)]
        pads = [t // 2 for t in totals] + [t - t // 2 for t in totals]
    else:
        pads = pair(padding, n) * 2
    return b.add("Conv", b.name(x), b.name(weight), None if bias is None else b.name(bias), strides=pair(stride, n), pads=pads,
                 dilations=dilation, group=groups, kernel_shape=list(w.shape[2:]))  # fmt: skip


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(b: Any, node: Node, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
                    groups: int = 1, dilation: Any = 1) -> Any:  # fmt: skip
    w = val(weight)
    n = w.ndim - 2
    return b.add("ConvTranspose", b.name(x), b.name(weight), None if bias is None else b.name(bias), strides=pair(stride, n),
                 pads=pair(padding, n) * 2, output_padding=pair(output_padding, n), dilations=pair(dilation, n), group=groups,
                 kernel_shape=list(w.shape[2:]))  # fmt: skip


@rule("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(b: Any, node: Node, x: Any, size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> Any:  # fmt: skip
    n = int(str(node.target).partition("pool")[2][0])
    return b.add("MaxPool", b.name(x), kernel_shape=pair(size, n), strides=pair(stride or size, n), pads=pair(padding, n) * 2,
                 dilations=pair(dilation, n), ceil_mode=int(ceil_mode))  # fmt: skip


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(b: Any, node: Node, x: Any, size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
              divisor_override: Any = None) -> Any:  # fmt: skip
    if divisor_override is not None:
        raise TypeError("divisor_override")
    n = int(str(node.target).partition("pool")[2][0])
    return b.add("AveragePool", b.name(x), kernel_shape=pair(size, n), strides=pair(stride or size, n), pads=pair(padding, n) * 2,
                 ceil_mode=int(ceil_mode), count_include_pad=int(count_include_pad))  # fmt: skip


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool2d")
def _adaptive(b: Any, node: Node, x: Any, size: Any) -> Any:
    n = int(str(node.target).partition("pool")[2][0])
    word = "Max" if "max" in str(node.target) else "Average"
    sizes, given = pair(size, n), val(x).shape[-n:]
    if all(s == 1 for s in sizes):
        out = b.add(f"Global{word}Pool", b.name(x))
    elif all(g % s == 0 for g, s in zip(given, sizes, strict=True)):
        step = [g // s for g, s in zip(given, sizes, strict=True)]
        out = b.add("MaxPool" if word == "Max" else "AveragePool", b.name(x), kernel_shape=step, strides=step)
    else:
        raise TypeError(f"adaptive pooling of {tuple(given)} to {tuple(sizes)}")
    return [out, None] if word == "Max" else out


@rule("batch_norm")
def _batch_norm(b: Any, node: Node, x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float,
                *ignored: Any) -> Any:  # fmt: skip
    if training:
        raise TypeError("training mode: call eval() first")
    d, n = out_dtype(node), val(x).shape[1]
    w = b.constant([1.0] * n, d) if weight is None else b.name(weight)
    c = b.constant([0.0] * n, d) if bias is None else b.name(bias)
    return b.add("BatchNormalization", b.name(x), w, c, b.name(mean), b.name(var), epsilon=float(eps))


@rule("instance_norm")
def _instance_norm(b: Any, node: Node, x: Any, weight: Any, bias: Any, mean: Any, var: Any, use_input: bool, momentum: float, eps: float,
                   *ignored: Any) -> Any:  # fmt: skip
    if not use_input:
        return _batch_norm(b, node, x, weight, bias, mean, var, False, momentum, eps)
    d, n = out_dtype(node), val(x).shape[1]
    w = b.constant([1.0] * n, d) if weight is None else b.name(weight)
    c = b.constant([0.0] * n, d) if bias is None else b.name(bias)
    return b.add("InstanceNormalization", b.name(x), w, c, epsilon=float(eps))


@rule("layer_norm")
def _layer_norm(b: Any, node: Node, x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *ignored: Any) -> Any:  # fmt: skip
    w = b.initializer(flambeau.ones(tuple(shape), dtype=out_dtype(node)), "ones") if weight is None else b.name(weight)
    return b.add(
        "LayerNormalization", b.name(x), w, None if bias is None else b.name(bias), axis=-len(shape), epsilon=float(eps)
    )


@rule("group_norm")
def _group_norm(
    b: Any, node: Node, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *ignored: Any
) -> Any:
    v, d = val(x), out_dtype(node)
    shape = b.add("Shape", b.name(x))
    flat = b.add("Reshape", b.name(x), b.ints([0, groups, -1]))
    ones, zeros = b.constant([1.0] * groups, d), b.constant([0.0] * groups, d)
    out = b.add("Reshape", b.add("InstanceNormalization", flat, ones, zeros, epsilon=float(eps)), shape)
    along = b.ints([-1] + [1] * (v.ndim - 2))
    if weight is not None:
        out = b.add("Mul", out, b.add("Reshape", b.name(weight), along))
    return out if bias is None else b.add("Add", out, b.add("Reshape", b.name(bias), along))


@rule("rms_norm")
def _rms_norm(b: Any, node: Node, x: Any, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    d, name = out_dtype(node), b.name(x)
    axes = b.ints([-i - 1 for i in range(len(shape))])
    mean = b.add("ReduceMean", b.add("Mul", name, name), axes, keepdims=1)
    eps = flambeau.finfo(d).eps if eps is None else eps
    out = b.add("Div", name, b.add("Sqrt", b.add("Add", mean, b.constant(eps, d))))
    return out if weight is None else b.add("Mul", out, b.name(weight))


@rule("upsample_nearest2d", "upsample_bilinear2d", "upsample_nearest1d", "upsample_linear1d", "upsample_bicubic2d")
def _upsample(b: Any, node: Node, x: Any, size: Any = None, *rest: Any, **named: Any) -> Any:
    name = str(node.target)
    mode = "nearest" if "nearest" in name else "cubic" if "cubic" in name else "linear"
    corners = mode != "nearest" and bool(named.get("align_corners", rest[0] if rest else False))
    lead = list(val(x).shape[:2])
    out = list(node.meta["val"].shape[2:])
    factors = named.get("scale_factors", rest[-1] if rest else None)
    how = "align_corners" if corners else "asymmetric" if mode == "nearest" else "half_pixel"
    options = dict(mode=mode, coordinate_transformation_mode=how, nearest_mode="floor" if mode == "nearest" else None,
                   cubic_coeff_a=-0.75 if mode == "cubic" else None)  # fmt: skip
    if factors is not None and size is None:
        scales = b.constant([1.0, 1.0, *map(float, factors)], flambeau.float32)
        return b.add("Resize", b.name(x), None, scales, **options)
    start = b.add("Shape", b.name(x), end=2) if lead else None
    return b.add("Resize", b.name(x), None, None, b.add("Concat", start, b.ints(size or out), axis=0), **options)


@rule("pixel_shuffle")
def _pixel_shuffle(b: Any, node: Node, x: Any, factor: int) -> Any:
    return b.add("DepthToSpace", b.name(x), blocksize=factor, mode="CRD")


@rule("pad", "constant_pad_nd")
def _pad(b: Any, node: Node, x: Any, pad: Sequence[int], mode: Any = "constant", value: Any = None) -> Any:
    if not isinstance(mode, str):
        mode, value = "constant", mode
    n, half = val(x).ndim, len(pad) // 2
    low, high = [0] * n, [0] * n
    for i in range(half):
        low[n - 1 - i], high[n - 1 - i] = pad[2 * i], pad[2 * i + 1]
    fill = b.constant(value or 0, out_dtype(node)) if mode == "constant" else None
    word = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    return b.add("Pad", b.name(x), b.ints([*low, *high]), fill, mode=word)


# ---- recurrent layers ----


def _gates(t: Any, order: Sequence[int]) -> Any:
    parts = t.chunk(len(order), 0)
    return flambeau.cat([parts[i] for i in order])


def _recurrent(word: str, order: Sequence[int], b: Any, x: Any, states: Sequence[Any], params: Sequence[Any], biases: bool, layers: int,
               bidirectional: bool, batch_first: bool, **attributes: Any) -> list[Any]:  # fmt: skip
    ways = 2 if bidirectional else 1
    out = b.name(x)
    if batch_first:
        out = b.add("Transpose", out, perm=[1, 0, 2])
    per, last = (4 if biases else 2), [[] for _ in states]  # type: ignore[var-annotated]
    hidden = val(params[1]).shape[1]
    for layer in range(layers):
        sets = [
            [b.tensors[p].detach() for p in params[(layer * ways + w) * per : (layer * ways + w + 1) * per]]
            for w in range(ways)
        ]
        stacked = [flambeau.stack([_gates(s[i], order) for s in sets]) for i in range(2)]
        w, r = (b.initializer(t, f"{word.lower()}_{layer}_{k}") for t, k in zip(stacked, "wr", strict=True))
        bias = None
        if biases:
            joined = flambeau.stack([flambeau.cat([_gates(s[2], order), _gates(s[3], order)]) for s in sets])
            bias = b.initializer(joined, f"{word.lower()}_{layer}_b")
        span = b.ints([layer * ways]), b.ints([layer * ways + ways])
        first = [b.add("Slice", b.name(s), *span, b.ints([0])) for s in states]
        results = b.add(word, out, w, r, bias, None, *first, outputs=1 + len(states), hidden_size=hidden,
                        direction="bidirectional" if bidirectional else "forward", **attributes)  # fmt: skip
        out = b.add("Reshape", b.add("Transpose", results[0], perm=[0, 2, 1, 3]), b.ints([0, 0, -1]))
        for held, name in zip(last, results[1:], strict=True):
            held.append(name)
    if batch_first:
        out = b.add("Transpose", out, perm=[1, 0, 2])
    return [out, *(h[0] if layers == 1 else b.add("Concat", *h, axis=0) for h in last)]


@rule("lstm")
def _lstm(b: Any, node: Node, x: Any, states: Any, params: Any, biases: bool, layers: int, dropout: float, train: bool, both: bool,
          batch_first: bool = False) -> Any:  # fmt: skip
    if isinstance(params, bool) or not isinstance(biases, bool):
        raise TypeError("packed sequences")
    return _recurrent("LSTM", (0, 3, 1, 2), b, x, states, params, biases, layers, both, batch_first)


@rule("gru")
def _gru(b: Any, node: Node, x: Any, state: Any, params: Any, biases: bool, layers: int, dropout: float, train: bool, both: bool,
         batch_first: bool = False) -> Any:  # fmt: skip
    return _recurrent("GRU", (1, 0, 2), b, x, [state], params, biases, layers, both, batch_first, linear_before_reset=1)


@rule("rnn_tanh", "rnn_relu")
def _rnn(b: Any, node: Node, x: Any, state: Any, params: Any, biases: bool, layers: int, dropout: float, train: bool, both: bool,
         batch_first: bool = False) -> Any:  # fmt: skip
    kind = "Tanh" if "tanh" in str(node.target) else "Relu"
    return _recurrent(
        "RNN", (0,), b, x, [state], params, biases, layers, both, batch_first, activations=[kind] * (2 if both else 1)
    )

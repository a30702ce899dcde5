"""What operators do: for each schema, the Python text of a call. Numbers, strings and lists are Python's own; tensors are flambeau's."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import flambeau
from flambeau._values import device as devices, dtype as dtypes
from flambeau.jit._language import types as ty
from flambeau.jit._language.failures import Raised
from flambeau.jit._language.schema import Schema

# dtypes, layouts and memory formats are ints in TorchScript

_ORDER = [
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex32",
    "complex64",
    "complex128",
    "bool",
    "qint8",
    "quint8",
    "qint32",
    "bfloat16",
    "quint4x2",
    "quint2x4",
    "bits1x8",
    "bits2x4",
    "bits4x2",
    "bits8",
    "bits16",
    "float8_e5m2",
    "float8_e4m3fn",
    "float8_e5m2fnuz",
    "float8_e4m3fnuz",
    "uint16",
    "uint32",
    "uint64",
]
_NAMED = {d.name: d for d in dtypes.ALL}
DTYPES: dict[int, Any] = {i: _NAMED[n] for i, n in enumerate(_ORDER) if n in _NAMED}
# Methods of tensors that compiled programs know as casts (`bool` and `bfloat16` are not among them).
CASTS = {
    "float": flambeau.float32, "double": flambeau.float64, "half": flambeau.float16, "long": flambeau.int64, "int": flambeau.int32,
    "short": flambeau.int16, "char": flambeau.int8, "byte": flambeau.uint8, "cfloat": flambeau.complex64, "cdouble": flambeau.complex128,
}  # fmt: skip
DTYPE_CODES = {d: i for i, d in DTYPES.items()}
LAYOUTS = dict(
    enumerate((devices.strided, devices.sparse_coo, devices.sparse_csr, devices.mkldnn, devices.sparse_csc, devices.sparse_bsr,
               devices.sparse_bsc, devices.jagged))
)  # fmt: skip
LAYOUT_CODES = {v: k for k, v in LAYOUTS.items()}
FORMATS = dict(
    enumerate((devices.contiguous_format, devices.preserve_format, devices.channels_last, devices.channels_last_3d))
)
FORMAT_CODES = {v: k for k, v in FORMATS.items()}
MEANING = {"ScalarType": DTYPES, "Layout": LAYOUTS, "MemoryFormat": FORMATS}


def meant(kind: str, value: Any) -> Any:
    """The dtype, layout or memory format that an int stands for."""
    return MEANING[kind].get(value, value)


def code_of(value: Any) -> Any:
    """The int that stands for a dtype, layout or memory format; other values as they are."""
    for table in (DTYPE_CODES, LAYOUT_CODES, FORMAT_CODES):
        try:
            if value in table:
                return table[value]
        except TypeError:
            return value
    return value


def quotient(a: Any, b: Any) -> Any:
    """A quotient by zero, as C has it; of complex numbers it is an error."""
    if isinstance(a, complex) or isinstance(b, complex):
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _as_c(fn: Callable[..., float]) -> Callable[..., Any]:
    """A function of numbers, with C's results where Python raises: infinite at a pole and beyond the largest number, NaN outside the domain."""

    def call(*xs: Any) -> Any:
        try:
            return fn(*xs)
        except ValueError:
            return _POLES.get((fn.__name__, xs[0]), math.inf if fn is math.lgamma else math.nan)
        except OverflowError:
            return math.inf if fn is math.cosh else math.copysign(math.inf, xs[0])

    return call


_POLES = {("log", 0): -math.inf, ("log2", 0): -math.inf, ("log10", 0): -math.inf, ("log1p", -1): -math.inf, ("atanh", 1): math.inf,
          ("atanh", -1): -math.inf}  # fmt: skip


def raise_exception(message: str, name: str | None = None) -> None:
    raise Raised(message, name)


_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "__and__": "&",
    "__or__": "|", "__xor__": "^", "__lshift__": "<<", "__rshift__": ">>", "floordiv": "//", "remainder": "%", "div": "/",
    "__is__": "is", "__isnot__": "is not",
}  # fmt: skip
_TEXT = {
    "neg": "(-{0})", "__not__": "(not {0})", "len": "len({0})", "__getitem__": "{0}[{1}]", "str": "str({0})", "ord": "ord({0})",
    "chr": "chr({0})", "Float": "float({0})", "Int": "int({0})", "Bool": "bool({0})", "FloatImplicit": "float({0})",
    "IntImplicit": "int({0})", "ScalarImplicit": "{0}.item()", "Complex": "complex({*})", "list": "list({0})", "keys": "list({0})",
    "values": "list({0}.values())", "items": "list({0}.items())", "abs": "abs({0})", "hex": "hex({0})", "oct": "oct({0})",
    "bin": "bin({0})", "min": "min({*})", "max": "max({*})", "sum": "sum({0})", "sorted": "sorted({0})", "any": "any({0})",
    "all": "all({0})", "StringIndex": "{0}[{1}]", "slice": "{0}[{1}:{2}:{3}]", "numel": "{0}.numel()", "dim": "{0}.dim()",
    "is_cuda": "{0}.is_cuda", "requires_grad": "{0}.requires_grad", "device": "{0}.device", "grad": "{0}.grad", "data": "{0}.data",
    "is_sparse": "{0}.is_sparse", "is_quantized": "{0}.is_quantized", "is_meta": "{0}.is_meta", "is_mkldnn": "False",
    "is_cpu": "({0}.device.type == 'cpu')", "is_mps": "False", "is_xpu": "False", "itemsize": "{0}.itemsize", "nbytes": "{0}.nbytes",
    "is_nested": "{0}.is_nested", "name": "None", "index": "{0}.index", "type": "{0}.type", "EnumName": "{0}.name",
    "EnumValue": "{0}.value", "copy": "{0}.copy()", "_unwrap_optional": "unwrap({0})", "divmod": "divmod({0}, {1})",
    "__round_to_zero_floordiv": "int({0} / {1})", "unchecked_unwrap_optional": "{0}", "AutogradZero": "None",
    "numpy_T": "{0}.T", "matrix_H": "{0}.H", "mT": "{0}.mT", "mH": "{0}.mH",
}  # fmt: skip
_METHODS = frozenset(
    [
        "capitalize",
        "center",
        "count",
        "endswith",
        "expandtabs",
        "find",
        "isalnum",
        "isalpha",
        "isdecimal",
        "isdigit",
        "isidentifier",
        "islower",
        "isnumeric",
        "isprintable",
        "isspace",
        "istitle",
        "isupper",
        "ljust",
        "lower",
        "lstrip",
        "partition",
        "replace",
        "rfind",
        "rindex",
        "rjust",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
        "zfill",
        "index",
        "clear",
        "popitem",
    ]
)


def _in_place(fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(target: Any, *args: Any) -> Any:
        fn(target, *args)
        return target

    return call


def unwrap(value: Any) -> Any:
    if value is None:
        raise RuntimeError("Unwrapping null optional")
    return value


def _set(target: Any, key: Any, value: Any) -> Any:
    target[key] = value
    return target


def _delete(target: Any, key: Any) -> None:
    del target[key]


def _format(template: str, *args: Any) -> str:
    return template.format(*(shown(a) for a in args))


def _percent(template: str, *args: Any) -> str:
    values = args[0] if len(args) == 1 and isinstance(args[0], tuple) else args
    return template % tuple(shown(a) for a in values)


def shown(value: Any) -> Any:
    """How TorchScript prints a value."""
    if isinstance(value, float):
        return (
            f"{value:g}"
            if value != int(value) or abs(value) > 1e5
            else f"{int(value)}."
            if math.isfinite(value)
            else value
        )
    return value


def _range_length(low: int, high: int, step: int) -> int:
    if step == 0:
        raise RuntimeError("range() arg 3 must not be zero")
    return len(range(low, high, step))


def _split(text: str, separator: str | None = None, most: int = -1) -> list[str]:
    return text.split(separator, most)


def _pop(target: Any, *key: Any) -> Any:
    return target.pop(*key)


def _tensor_from(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    return flambeau.tensor(data, dtype=dtype, device=device, requires_grad=requires_grad)


def _to(x: Any, *args: Any, **kw: Any) -> Any:
    return x.to(*(a for a in args if a is not None), **{k: v for k, v in kw.items() if v is not None})


def _number_to_tensor(x: Any) -> Any:
    return flambeau.tensor(x)


def _index(x: Any, indices: list[Any]) -> Any:
    return x[tuple(slice(None) if i is None else i for i in indices)]


def _index_put_sliced(x: Any, indices: list[Any], values: Any, accumulate: bool = False) -> Any:
    if any(i is None for i in indices):
        key = tuple(slice(None) if i is None else i for i in indices)
        x[key] = x[key] + values if accumulate else values
        return x
    return x.index_put_(tuple(indices), values, accumulate)


def _convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *_: Any) -> Any:
    rank = x.dim() - 2 if x.dim() == weight.dim() else x.dim() - 1
    F = flambeau.nn.functional
    if transposed:
        fn = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
        return fn(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return (F.conv1d, F.conv2d, F.conv3d)[rank - 1](x, weight, bias, stride, padding, dilation, groups)


def _convolution_mode(x, weight, bias, stride, padding, dilation, groups) -> Any:
    F = flambeau.nn.functional
    return (F.conv1d, F.conv2d, F.conv3d)[weight.dim() - 3](x, weight, bias, stride, padding, dilation, groups)


def _size(x: Any, *dim: int) -> Any:
    return x.size(*dim) if dim else list(x.shape)


def _strided(x: Any, *dim: int) -> Any:
    return x.stride(*dim) if dim else list(x.stride())


def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return x[(slice(None),) * (dim % x.dim()) + (slice(start, end, step),)]


def _attend(query, key, value, embed_dim, num_head, qkv_weight, qkv_bias, proj_weight, proj_bias, mask=None, need_weights=True,
            average_attn_weights=True, mask_type=None) -> Any:  # fmt: skip
    """Attention from projections packed in one matrix, batch first."""
    given: dict[str, Any] = {"key_padding_mask": mask} if mask_type == 1 else {"attn_mask": mask}
    args = (x.transpose(0, 1) for x in (query, key, value))
    out, weights = flambeau.nn.functional.multi_head_attention_forward(
        *args, embed_dim, num_head, qkv_weight, qkv_bias, None, None, False, 0.0, proj_weight, proj_bias, training=False,
        need_weights=need_weights, average_attn_weights=average_attn_weights, **given)  # fmt: skip
    return out.transpose(0, 1), weights


def _encoder_layer(src, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, use_gelu, norm_first, eps, w1, b1, w2, b2,
                   fw1, fb1, fw2, fb2, mask=None, mask_type=None) -> Any:  # fmt: skip
    """A whole layer of a transformer's encoder, as it is at inference."""
    F = flambeau.nn.functional

    def attend(x: Any) -> Any:
        return _attend(
            x, x, x, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, mask, False, True, mask_type
        )[0]

    def feed(x: Any) -> Any:
        return F.linear((F.gelu if use_gelu else F.relu)(F.linear(x, fw1, fb1)), fw2, fb2)

    def norm(x: Any, w: Any, b: Any) -> Any:
        return F.layer_norm(x, (embed_dim,), w, b, eps)

    if norm_first:
        src = src + attend(norm(src, w1, b1))
        return src + feed(norm(src, w2, b2))
    src = norm(src + attend(src), w1, b1)
    return norm(src + feed(src), w2, b2)


def _item(x: Any) -> Any:
    return x.item()


def _print(*args: Any) -> None:
    print(*(shown(a) for a in args))


def _warn(message: str, stacklevel: int = 2) -> None:
    warnings.warn(message, stacklevel=max(1, stacklevel))


def _no_grad_(name: str) -> Callable[..., Any]:
    def call(x: Any, *args: Any, **kw: Any) -> Any:
        with flambeau.no_grad():
            return getattr(x, name)(*args, **kw)

    return call


def _softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    return x.softmax(dim) if dtype is None else x.softmax(dim, dtype)


def _grad(
    outputs: Any, inputs: Any, grads: Any = None, retain: Any = None, create: bool = False, unused: bool = False
) -> Any:
    return list(flambeau.autograd.grad(outputs, inputs, grads, retain, create, allow_unused=unused))


def _sparse(name: str) -> Callable[..., Any]:
    """A constructor of sparse tensors; the layout is in its name."""

    def make(
        *parts: Any, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None, **facts: Any
    ) -> Any:
        facts = {k: v for k, v in facts.items() if v is not None}
        if name == "sparse_compressed_tensor":
            facts["layout"] = layout
        if len(parts) == 1:
            return getattr(flambeau, name)(size=parts[0], dtype=dtype, device=device, **facts)
        return getattr(flambeau, name)(*parts, dtype=dtype, device=device, **facts)

    return make


SPARSE = [f"sparse_{kind}_tensor" for kind in ("coo", "compressed", "csr", "csc", "bsr", "bsc")]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Size": list, "grad": _grad, "backward.TensorList": flambeau.autograd.backward, **{name: _sparse(name) for name in SPARSE},
    "append": _in_place(lambda t, e: t.append(e)), "extend": _in_place(lambda t, e: t.extend(e)),
    "insert": _in_place(lambda t, i, e: t.insert(i, e)), "reverse": _in_place(lambda t: t.reverse()),
    "remove": _in_place(lambda t, e: t.remove(e)), "sort.list": _in_place(lambda t, reverse=False: t.sort(reverse=reverse)),
    "update": _in_place(lambda t, o: t.update(o)), "add_.t": _in_place(lambda t, o: t.extend(o)), "_set_item": _set, "Delete": _delete,
    "format": _format, "percentFormat": _percent, "__range_length": _range_length,
    "__derive_index": lambda i, start, step: start + i * step, "setdefault": lambda d, k, v: d.setdefault(k, v),
    "get": lambda d, k, default=None: d.get(k, default), "pop": _pop, "split.str": _split, "tensor": _tensor_from,
    "as_tensor": _tensor_from, "to": _to, "NumToTensor": _number_to_tensor, "index.Tensor": _index, "index_put_": _index_put_sliced,
    "_convolution": _convolution, "_convolution_mode": _convolution_mode, "size": _size, "stride": _strided, "item": _item,
    "_native_multi_head_attention": _attend, "_transformer_encoder_layer_fwd": _encoder_layer, "slice.Tensor": _slice, "RaiseException": raise_exception, "warn": _warn, "manual_seed": lambda seed: (flambeau.manual_seed(seed), None)[1],
    "tensordot": lambda a, b, mine, yours: flambeau.tensordot(a, b, (mine, yours)), "dict": lambda *a: dict(*a), "join": lambda sep, parts: sep.join(parts), "rangelist": lambda n: list(range(n)),
    "__contains__": lambda box, item: item in box, "floor": math.floor, "ceil": math.ceil, "round": round,
    "sqrt": _as_c(math.sqrt), "log": _as_c(math.log), "exp": _as_c(math.exp), "sin": math.sin, "cos": math.cos, "tan": math.tan, "tanh": math.tanh,
    "pow": lambda a, b: a**b, "pow.int": lambda a, b: float(a**b), "dtype": lambda x: DTYPE_CODES[x.dtype], "gcd": math.gcd,
    "layout": lambda x: LAYOUT_CODES[x.layout], "device.str": lambda kind, *index: flambeau.device(kind, *index), "fmod": _as_c(math.fmod),
    "atan2": math.atan2, "copysign": math.copysign, "isnan": math.isnan, "isinf": math.isinf, "isfinite": math.isfinite,
    "_no_grad_uniform_": _no_grad_("uniform_"), "_no_grad_normal_": _no_grad_("normal_"), "_no_grad_fill_": _no_grad_("fill_"),
    "_no_grad_zero_": _no_grad_("zero_"), "_shape_as_tensor": lambda x: flambeau.tensor(list(x.shape)),
    "_get_tracing_state": lambda: False, "is_scripting": lambda: True, "has_torch_function": lambda x: False,
    "_list_to_tensor": lambda x: flambeau.tensor(x), "_tensor_to_list": lambda x: x.tolist(), "log2": _as_c(math.log2), "log10": _as_c(math.log10),
    "log1p": _as_c(math.log1p), "expm1": _as_c(math.expm1), "asin": _as_c(math.asin), "acos": _as_c(math.acos), "atan": math.atan, "sinh": _as_c(math.sinh),
    "cosh": _as_c(math.cosh), "asinh": math.asinh, "acosh": _as_c(math.acosh), "atanh": _as_c(math.atanh), "erf": math.erf, "erfc": math.erfc,
    "lgamma": _as_c(math.lgamma), "gamma": _as_c(math.gamma), "degrees": math.degrees, "radians": math.radians, "factorial": math.factorial,
    "fabs": math.fabs, "hash": hash, "modf": math.modf, "frexp": math.frexp, "ldexp": math.ldexp, "mathremainder": math.remainder,
    "_infer_size": lambda a, b: list(flambeau.broadcast_shapes(tuple(a), tuple(b))), "wait": lambda f: f.wait(),
    "awaitable_wait": lambda a: a.wait(), "set_grad_enabled": lambda on: flambeau._C._set_grad_enabled(on),
}  # fmt: skip
_FIRST = frozenset(  # tensors, but not by the operator of this name
    [
        "append",
        "extend",
        "insert",
        "reverse",
        "remove",
        "update",
        "_set_item",
        "Delete",
        "format",
        "percentFormat",
        "tensor",
        "as_tensor",
        "to",
        "NumToTensor",
        "index_put_",
        "_convolution",
        "_convolution_mode",
        "size",
        "stride",
        "item",
        "dtype",
        "layout",
        "_no_grad_uniform_",
        "_no_grad_normal_",
        "_no_grad_fill_",
        "_no_grad_zero_",
        "_shape_as_tensor",
        "__contains__",
        "setdefault",
        "get",
        "pop",
        "dict",
        "_tensor_to_list",
        "wait",
        "has_torch_function",
        "awaitable_wait",
        "tensordot",
    ]
)


@functools.cache
def tensor_function(name: str) -> Callable[..., Any] | None:
    """The public function, or method, that is the ATen operator of this name."""
    F = flambeau._C._nn
    for prefix, space in (("linalg_", flambeau.linalg), ("fft_", flambeau.fft), ("special_", flambeau.special)):
        if name.startswith(prefix) and hasattr(space, name.removeprefix(prefix)):
            return getattr(space, name.removeprefix(prefix))
    for space in (flambeau._VF, F, flambeau.nn.functional, flambeau.Tensor):
        found = getattr(space, name, None)
        if callable(found):
            return found
    return None


def plain(t: ty.Type) -> bool:
    return not any(x is ty.TENSOR for x in ty.walk(t))


def how(schema: Schema) -> str | Callable[..., Any] | None:
    """The text of a call, with places for the arguments, or the function to call; None where there is neither."""
    name = schema.name.partition("::")[2]
    first = schema.arguments[0].type if schema.arguments else None
    overload = f"{name}.{schema.overload_name}"
    if not schema.name.startswith(("aten::", "prim::")):
        namespace = schema.name.partition("::")[0]
        return getattr(getattr(flambeau.ops, namespace), name)
    if overload in FUNCTIONS:
        return FUNCTIONS[overload]
    tensors = any(
        a.type is ty.TENSOR or (isinstance(a.type, ty.Optional) and a.type.element is ty.TENSOR)
        for a in schema.arguments
    )
    if name == "sort" and isinstance(first, ty.List):
        return FUNCTIONS["sort.list"]
    if name == "device" and schema.name.startswith("aten"):
        return FUNCTIONS["device.str"]
    if name in _FIRST:
        return FUNCTIONS[name]
    if name in ("__is__", "__isnot__"):
        return f"({{0}} {_BINARY[name]} {{1}})"
    if name in (
        "Int",
        "Float",
        "Bool",
        "IntImplicit",
        "FloatImplicit",
        "ScalarImplicit",
        "Complex",
        "numel",
        "dim",
        "len",
    ) or (schema.name.startswith("prim::") and name in _TEXT):
        return _TEXT[name]
    if not tensors and (first is None or not isinstance(first, ty.List) or plain(first) or name in ("len", "__getitem__", "slice", "add", "mul", "eq", "ne", "list", "sum")):  # fmt: skip
        list_of_tensors = isinstance(first, ty.List) and first.element is ty.TENSOR
        if (
            name in ("div", "floordiv", "remainder") and not all(a.type is ty.INT for a in schema.arguments[:2])
        ) or name == "div":
            at_zero = "float('nan')" if name == "remainder" else "quotient({0}, {1})"
            return f"({{0}} {_BINARY[name]} {{1}} if {{1}} else {at_zero})"
        if name in _BINARY and not list_of_tensors:
            return f"({{0}} {_BINARY[name]} {{1}})"
        if first is ty.STR and name in _METHODS:
            return getattr(str, name)
        if first is ty.STR and name in ("split", "join", "slice"):
            return FUNCTIONS["split.str"] if name == "split" else FUNCTIONS[name] if name == "join" else _TEXT["slice"]
        if isinstance(first, (ty.List, ty.Dict)) and name in ("count", "index", "clear", "popitem"):
            return (lambda n: lambda box, *a: getattr(box, n)(*a))(name)
        if name in _TEXT and first is not None:
            return _TEXT[name]
        if name in FUNCTIONS and (first is not None or name in ("warn", "is_scripting", "_get_tracing_state")):
            return FUNCTIONS[name]
    if name in ("add", "mul") and isinstance(first, ty.List):
        return f"({{0}} {_BINARY[name]} {{1}})"
    found = tensor_function(name)
    return (
        found if found is not None else FUNCTIONS.get(name) or _TEXT.get(name) or getattr(flambeau.ops.aten, name, None)
    )

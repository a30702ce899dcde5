"""Tensors as text, character for character as PyTorch prints them, and the options of printing."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._backends.pending_arrays import settled
from flambeau._tensor import PLAIN
from flambeau._values import device as devices, dtype as dtypes

if TYPE_CHECKING:
    from collections.abc import Iterator

    Array = np.ndarray[Any, Any]

__all__ = ["get_printoptions", "printoptions", "set_printoptions"]


@dataclasses.dataclass
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PRINT_OPTS = _Options()
PROFILES = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
                     linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None) -> None:  # fmt: skip
    """Choose how tensors print.

    Args:
        precision: digits after the point (4).
        threshold: tensors of more elements than this are summarised (1000).
        edgeitems: how many items a summary shows at each end of a dimension (3).
        linewidth: characters per line (80).
        profile: "default", "short" or "full": sets the four above, before they are applied.
        sci_mode: scientific notation always (True), never (False), or where the numbers call for it (None).
    """
    chosen = dict(PROFILES.get(profile, {})) if profile is not None else {}
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    chosen |= {name: value for name, value in given.items() if value is not None}
    for name, value in chosen.items():
        setattr(PRINT_OPTS, name, value)
    PRINT_OPTS.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options of printing, as `set_printoptions` takes them."""
    return dataclasses.asdict(PRINT_OPTS)


@contextlib.contextmanager
def printoptions(**kwargs: Any) -> Iterator[None]:
    """Options of printing that hold in a `with` block."""
    before = get_printoptions()
    set_printoptions(**kwargs)
    try:
        yield
    finally:
        set_printoptions(**before)


# ---------------------------------------------------------------- numbers


class _Formatter:
    """One notation for all numbers of a tensor (or of its summary): how many characters each takes, and how it is written."""

    def __init__(self, values: Array, floating: bool) -> None:
        self.floating, self.integral, self.scientific, self.width = floating, True, False, 1
        if not floating:
            self.width = max((len(str(v)) for v in values.ravel().tolist()), default=1)
            return
        finite = values[np.isfinite(values) & (values != 0)].astype(np.float64)
        if finite.size == 0:
            return
        self.integral = bool((finite == np.ceil(finite)).all())
        largest, smallest = float(np.abs(finite).max()), float(np.abs(finite).min())
        self.scientific = (
            largest / smallest > 1000.0 or largest > 1.0e8 or smallest < 1.0e-4
            if PRINT_OPTS.sci_mode is None
            else PRINT_OPTS.sci_mode
        )
        self.width = max(map(len, map(self._write, finite.tolist())))

    def _write(self, value: Any) -> str:
        if not self.floating:
            return str(value)
        if self.scientific:
            return f"{value:.{PRINT_OPTS.precision}e}"
        if self.integral:
            return f"{value:.0f}" if math.isinf(value) or math.isnan(value) else f"{value:.0f}."
        return f"{value:.{PRINT_OPTS.precision}f}"

    def format(self, value: Any) -> str:
        """The number, padded to the common width."""
        return self._write(value).rjust(self.width)


class _ComplexFormatter:
    """Two notations: of the real parts and of the imaginary ones."""

    def __init__(self, values: Array) -> None:
        self.real, self.imag = _Formatter(values.real, True), _Formatter(values.imag, True)
        self.width = self.real.width + self.imag.width + 1

    def format(self, value: complex) -> str:
        """real+imagj, the real part padded."""
        imag = self.imag.format(value.imag).lstrip() + "j"
        return self.real.format(value.real) + ("" if imag[0] in "+-" else "+") + imag


def _edges(values: Array) -> Array:
    """What a summary shows of an array."""
    edge = PRINT_OPTS.edgeitems
    if values.ndim == 0:
        return values
    if values.ndim > 1 and not edge:
        return values[:0].reshape(0)
    for dim, size in enumerate(values.shape):
        if size > 2 * edge:
            values = np.take(values, [*range(edge), *range(size - edge, size)], axis=dim)
    return values


# ---------------------------------------------------------------- brackets


def _vector(values: Array, indent: int, summarize: bool, formatter: Any) -> str:
    edge = PRINT_OPTS.edgeitems
    per_line = max(1, math.floor((PRINT_OPTS.linewidth - indent) / (formatter.width + 2)))
    if summarize and not edge:
        words = ["..."]
    elif summarize and len(values) > 2 * edge:
        ends = (values[:edge].tolist(), values[len(values) - edge :].tolist())
        words = [*map(formatter.format, ends[0]), " ...", *map(formatter.format, ends[1])]
    else:
        words = [*map(formatter.format, values.tolist())]
    lines = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(values: Array, indent: int, summarize: bool, formatter: Any) -> str:
    if values.ndim == 0:
        return str(formatter.format(values.item()))
    if values.ndim == 1:
        return _vector(values, indent, summarize, formatter)
    edge, size = PRINT_OPTS.edgeitems, len(values)
    short = summarize and size > 2 * edge
    shown = [*range(edge), *range(size - edge, size)] if short else range(size)
    parts = [_nested(values[i], indent + 1, summarize, formatter) for i in shown]
    if short:
        parts.insert(edge, "...")
    return "[" + ("," + "\n" * (values.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _tensor_str(tensor: Any, indent: int) -> str:
    """The numbers of a tensor, without its name and suffixes."""
    if tensor.numel() == 0:
        return "[]"
    values, dtype = _plain(tensor), tensor.dtype
    summarize = values.size > PRINT_OPTS.threshold
    known = _edges(values) if summarize else values
    formatter = _ComplexFormatter(known) if dtype.is_complex else _Formatter(known, dtype.is_floating_point)
    return _nested(values, indent, summarize, formatter)


def _plain(tensor: Any) -> Array:
    """The elements in a dtype whose numbers Python knows."""
    dtype, array = tensor.dtype, settled(tensor._a) if tensor.device.type == "cpu" else tensor.detach().cpu()._a
    if dtype is dtypes.complex32:
        return np.asarray(array["real"].astype(np.float32) + 1j * array["imag"].astype(np.float32))
    if dtype is dtypes.float4_e2m1fn_x2:
        return np.asarray(array["x2"])
    wide: Array = array.astype(np.float32) if dtype.is_floating_point and dtype.itemsize < 4 else array
    return wide


# ---------------------------------------------------------------- the whole


def _str(tensor: Any, *, tensor_contents: str | None = None) -> str:
    """`repr` of a tensor; `tensor_contents` stands in for its numbers."""
    prefix = "tensor(" if type(tensor) in PLAIN else f"{type(tensor).__name__}("
    indent = len(prefix)
    suffixes = []
    device, dtype = tensor.device, tensor.dtype
    if device.type != "cpu":
        suffixes.append(f"device='{device}'")
    default = dtypes.get_default_dtype()
    shape = f"size={tuple(tensor.shape)}"
    if tensor.layout is not devices.strided:
        return _sparse(tensor, prefix, suffixes + _dtype_suffix(tensor))
    if tensor.is_quantized:
        return _quantized(tensor, prefix)
    if device.type == "meta" or tensor.numel() == 0:
        if device.type == "meta" or tensor.dim() != 1:
            suffixes.append(shape)
        if dtype is not default:
            suffixes.append(f"dtype={dtype}")
        numbers = "..." if device.type == "meta" else "[]"
    else:
        if not PRINT_OPTS.edgeitems:
            suffixes.append(shape)
        if dtype not in (default, dtypes.default_complex(), dtypes.int64, dtypes.bool_):
            suffixes.append(f"dtype={dtype}")
        numbers = _tensor_str(tensor, indent) if tensor_contents is None else tensor_contents
    numbers = numbers if tensor_contents is None else tensor_contents
    suffixes += _history(tensor)
    text = _add_suffixes(prefix + numbers, suffixes, indent)
    if type(tensor) not in PLAIN and getattr(tensor, "_is_param", False):
        return f"Parameter({text})"
    return text


def _dtype_suffix(tensor: Any) -> list[str]:
    known = (dtypes.get_default_dtype(), dtypes.default_complex(), dtypes.int64, dtypes.bool_)
    return [] if tensor.dtype in known else [f"dtype={tensor.dtype}"]


def _sparse(tensor: Any, prefix: str, dtype: list[str]) -> str:
    """A sparse tensor: its parts, each like a tensor of its own."""
    t = tensor.detach()
    coordinates = t.layout is devices.sparse_coo
    if coordinates:
        parts = {"indices": t._indices(), "values": t._values()}
        count = t._nnz()
    else:
        starts, plain = ("crow", "col") if t.layout in (devices.sparse_csr, devices.sparse_bsr) else ("ccol", "row")
        parts = {
            f"{starts}_indices": getattr(t, f"{starts}_indices")(),
            f"{plain}_indices": getattr(t, f"{plain}_indices")(),
            "values": t.values(),
        }
        count = t._nnz()
    text = prefix
    for i, (name, part) in enumerate(parts.items()):
        head = f"{name}=tensor("
        indent = len(prefix) + len(head)
        shown = _tensor_str(part, indent)
        if part.numel() == 0:
            shown += f", size={tuple(part.shape)}"
        text += (",\n" + " " * len(prefix) if i else "") + head + shown + ")"
    rest = [f"size={tuple(t.shape)}", f"nnz={count}", *dtype, f"layout={t.layout}", *_history(tensor)]
    if coordinates:
        return _add_suffixes(text + ",\n" + " " * len(prefix) + rest[0], rest[1:], len(prefix))
    return _add_suffixes(text, rest, len(prefix))


def _quantized(tensor: Any, prefix: str) -> str:
    """A quantized tensor: what its elements stand for, and how."""
    scheme = tensor.qscheme()
    suffixes = [f"size={tuple(tensor.shape)}", f"dtype={tensor.dtype}", f"quantization_scheme={scheme}"]
    if "tensor" in scheme.name:
        suffixes += [f"scale={tensor.q_scale()}", f"zero_point={tensor.q_zero_point()}"]
    else:
        suffixes += [f"scale={tensor.q_per_channel_scales()}", f"zero_point={tensor.q_per_channel_zero_points()}",
                     f"axis={tensor.q_per_channel_axis()}"]  # fmt: skip
    return _add_suffixes(prefix + _tensor_str(tensor.dequantize(), len(prefix)), suffixes, len(prefix))


def _history(tensor: Any) -> list[str]:
    """What the suffixes say of gradients."""
    out = []
    try:
        node = tensor.grad_fn
        name = None if node is None else type(node).__name__ if not hasattr(node, "name") else node.name()
    except RuntimeError:  # a view whose history cannot be rebased
        name = "Invalid"
    if name is not None:
        out.append(f"grad_fn=<{name}>")
    elif tensor.requires_grad:
        out.append("requires_grad=True")
    forward = sys.modules.get("flambeau.autograd.forward_ad")
    if forward is not None:
        tangent = forward.unpack_dual(tensor).tangent
        if tangent is not None:
            out.append(f"tangent={tangent}")
    return out


def _str_intern(tensor: Any, *, tensor_contents: str | None = None) -> str:
    """The text of a tensor, for subclasses that add to it."""
    return _str(tensor, tensor_contents=tensor_contents)


def _add_suffixes(text: str, suffixes: list[str], indent: int, force_newline: bool = False) -> str:
    """The text of a tensor, with what is said after its elements."""
    length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if force_newline or length + len(suffix) + 2 > PRINT_OPTS.linewidth:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"

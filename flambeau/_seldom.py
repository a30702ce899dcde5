"""Functions of `torch` that few programs call: tensors over files, old spellings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from flambeau import autograd
from flambeau._tensor import Tensor, wrap
from flambeau._values import dtype as dtypes

has_lapack, has_mkl, has_openmp, has_spectral = True, False, True, True
has_cuda = has_cudnn = has_mps = False


def from_file(
    filename: str,
    shared: bool | None = None,
    size: int = 0,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor over the bytes of a file: changes reach the file where it is shared."""
    d = (dtypes.get_default_dtype() if dtype is None else dtype).np
    if shared:
        with open(filename, "ab") as file:  # a file too short grows
            file.truncate(max(file.tell(), size * d.itemsize))
    if not size:
        return wrap(np.empty(0, d)).requires_grad_(requires_grad)  # type: ignore[attr-defined,no-any-return]
    a = np.memmap(filename, d, "r+" if shared else "c", shape=(size,))
    t = wrap(np.asarray(a)).to(device="cpu" if device is None else device)  # type: ignore[attr-defined]
    return t.requires_grad_(requires_grad)


def to_dlpack(tensor: Tensor, /) -> Any:
    """The tensor as a DLPack capsule."""
    return tensor.__dlpack__()


class Tag(IntEnum):
    """What may be said of an operator; `torch.ops.aten.sin.default.tags` lists what is."""

    core = 0
    cudagraph_unsafe = 1
    data_dependent_output = 2
    dynamic_output_shape = 3
    flexible_layout = 4
    generated = 5
    inplace = 6
    inplace_view = 7
    maybe_aliasing_or_mutating = 8
    needs_contiguous_strides = 9
    needs_exact_strides = 10
    needs_fixed_stride_order = 11
    nondeterministic_bitwise = 12
    nondeterministic_seeded = 13
    out = 14
    out_variant = 15
    pointwise = 16
    pt2_compliant_tag = 17
    reduction = 18
    view_copy = 19

    __str__ = Enum.__str__


class AggregationType(Enum):
    """How statistics over time become one number."""

    SUM = 0
    AVG = 1


SUM, AVG = AggregationType.SUM, AggregationType.AVG


def sym_fresh_size(expr: Any) -> Any:
    """Refused: sizes are numbers where this is called."""
    raise NotImplementedError("torch.sym_fresh_size")


def init_num_threads() -> None:
    """Threads are started when they are first needed: nothing to do."""


def sym_sqrt(a: Any) -> Any:
    """The square root, also of a size that changes."""
    return math.sqrt(a)


def is_anomaly_enabled() -> bool:
    """Whether `detect_anomaly` is in force."""
    return autograd.anomaly_mode.is_anomaly_enabled()


def is_anomaly_check_nan_enabled() -> bool:
    """Whether `detect_anomaly` looks for NaN in gradients."""
    return autograd.anomaly_mode.STATE.anomaly_nan


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Turn anomaly detection on or off, and its search for NaN."""
    autograd.anomaly_mode.set_detect_anomaly(enabled, check_nan)


def is_distributed(input: Tensor) -> bool:
    """False: no tensor is spread over processes."""
    return False


def slice_inverse(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """The tensor of src's shape that `input` is a slice of."""
    return input.as_strided(src.shape, src.stride(), src.storage_offset())  # type: ignore[attr-defined,no-any-return]


def sym_constrain_range(size: Any, *, min: int | None = None, max: int | None = None) -> None:
    """Refuse a number out of a range."""
    low, high = (-math.inf if min is None else min), (math.inf if max is None else max)
    if not low <= size <= high:
        raise RuntimeError(f"Invalid value range for {size} between [{min}, {max}].")


def sym_constrain_range_for_size(size: Any, *, min: int | None = None, max: int | None = None) -> None:
    """The same for a size: never negative."""
    sym_constrain_range(size, min=0 if min is None else min, max=max)


def _removed(name: str, instead: str) -> Callable[..., Any]:
    def gone(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"This function was deprecated since version 1.9 and is now removed. `torch.{name}` is deprecated in favor of `{instead}`."
        )

    gone.__name__ = name
    return gone


def _volatile(self: Any) -> bool:
    warnings.warn("volatile was removed (Variable.volatile is always False)", UserWarning, stacklevel=2)
    return False


def _module_load(self: Any, other: Any, assign: bool = False) -> Any:
    """What a module's parameter becomes when `other` is loaded: `other` itself, or a copy in place."""
    if assign:
        return other.detach()
    return self.copy_(other).detach()


def _reinforce(self: Any, reward: Any) -> None:
    raise RuntimeError(
        "reinforce() was removed.\nUse torch.distributions instead.\nSee https://pytorch.org/docs/main/distributions.html"
    )


def _elsewhere(kind: str) -> Callable[..., Any]:
    def move(self: Any, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
        raise AssertionError(f"Torch not compiled with {kind.upper()} enabled")

    move.__name__ = kind
    return move


def prepare_multiprocessing_environment(path: str) -> None:
    """Nothing: processes that are started here find what they need."""


def _record_stream(self: Any, s: Any) -> None:
    raise NotImplementedError("record_stream: only memory of an accelerator is used on streams")


METHODS: dict[str, Any] = {
    "record_stream": _record_stream,
    "eig": _removed("eig", "torch.linalg.eig"), "lstsq": _removed("lstsq", "torch.linalg.lstsq"),
    "solve": _removed("solve", "torch.linalg.solve"), "symeig": _removed("symeig", "torch.linalg.eigh"),
    "volatile": property(_volatile, lambda self, value: _volatile(self)), "name": property(lambda self: None),
    "module_load": _module_load, "reinforce": _reinforce, "is_distributed": is_distributed, "slice_inverse": slice_inverse,
    "__nonzero__": lambda self: bool(self), "__long__": lambda self: int(self),
    **{kind: _elsewhere(kind) for kind in ("xpu", "mtia", "ipu")},
}  # fmt: skip

eig, lstsq, solve, symeig = (METHODS[name] for name in ("eig", "lstsq", "solve", "symeig"))
matrix_rank = _removed("matrix_rank", "torch.linalg.matrix_rank")


def set_vital(name: str, attribute: str, value: str, force: bool = False) -> bool:
    """Would note a fact for PyTorch's vitals, which nothing reads here; whether it was noted."""
    return False


def read_vitals() -> str:
    """The facts that were noted: none."""
    return ""


def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Whether a tensor lies in memory that a device reads by itself."""
    return self.is_pinned()  # type: ignore[attr-defined,no-any-return]


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """A copy of a tensor in such memory."""
    return self.pin_memory()  # type: ignore[attr-defined,no-any-return]

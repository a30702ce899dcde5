"""The small functions and constants of the `torch` namespace that are no operators: tests of kind, switches, defaults."""

from __future__ import annotations

import math
import os
from typing import Any

from flambeau._eager import autocast as _autocast
from flambeau._eager.modes import STATE as _STATE
from flambeau._eager.promotion import result_type as _result_type
from flambeau._ground.once import Once as _Once
from flambeau._tensor import Tensor
from flambeau._values import default_device as _default_device, dtype as _dtypes
from flambeau._values.device import (
    contiguous_format as legacy_contiguous_format,  # noqa: F401
    device,
)
from flambeau._values.symbolic import SymBool, SymFloat, SymInt  # noqa: F401

e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None


def is_tensor(obj: Any, /) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any, /) -> bool:
    """Whether obj is a storage."""
    from flambeau import storage

    return isinstance(obj, (storage.UntypedStorage, storage.TypedStorage))


def typename(obj: Any, /) -> str:
    """The name of obj's type: `torch.FloatTensor` for a tensor."""
    if isinstance(obj, Tensor):
        return obj.type()
    module = getattr(obj, "__module__", "") or ""
    if hasattr(obj, "__qualname__"):
        name = obj.__qualname__
    elif hasattr(obj, "__name__"):
        name = obj.__name__
    else:
        module = type(obj).__module__ or ""
        name = type(obj).__qualname__
    return name if module in ("", "builtins") else f"{module}.{name}"


def result_type(tensor1: Any, tensor2: Any) -> _dtypes.dtype:
    """The dtype in which two operands (tensors or numbers) meet."""
    return _result_type([tensor1, tensor2])


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is floating."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input.is_complex()


def is_signed(input: Tensor) -> bool:
    """Whether the dtype of `input` has negative numbers."""
    return input.is_signed()


def is_conj(input: Tensor) -> bool:
    """Whether `input` is a conjugate whose elements are still to be conjugated."""
    return input.is_conj()


def is_neg(input: Tensor) -> bool:
    """Whether `input` is a negative whose elements are still to be negated."""
    return input.is_neg()


def is_inference(input: Tensor) -> bool:
    """Whether `input` was made in inference mode."""
    return input.is_inference()


def numel(input: Tensor) -> int:
    """How many elements there are."""
    return input.numel()


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether both tensors have the same shape."""
    return input.is_same_size(other)


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is nonzero."""
    if input.numel() != 1:
        raise RuntimeError(
            "Boolean value of Tensor with more than one value is ambiguous"
            if input.numel()
            else "Boolean value of Tensor with no values is ambiguous"
        )
    return bool(input)


def dsmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of a sparse matrix with a dense one."""
    return input.mm(mat2)


def detach(input: Tensor) -> Tensor:
    """`input` without history, on the same memory."""
    if not hasattr(type(input), "detach"):
        from flambeau._eager import signatures  # late: a program that is right needs no words

        raise TypeError(f"detach(): argument 'input' (position 1) must be Tensor, not {signatures.spoken_of(input)}")
    return input.detach()


def detach_(input: Tensor) -> Tensor:
    """Takes the history off `input` itself."""
    return input.detach_()


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that tensors of these shapes broadcast to."""
    from flambeau._values.shape import Size

    plain = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    for s in plain:
        for n in s:
            if n < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({n}): ({n})")
    out = [1] * max(map(len, plain), default=0)
    for at, s in enumerate(plain):
        for i in range(-1, -1 - len(s), -1):
            if s[i] in (1, out[i]):
                continue
            if out[i] != 1:
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {s[i]} at {i}! Mismatching argument at index {at} had {s}; but expected "
                    f"shape should be broadcastable to {out}"
                )
            out[i] = s[i]
    return Size(out)


def get_default_device() -> device:
    """Where new tensors go."""
    return _default_device.get()


def set_default_device(device: Any) -> None:
    """Make `device` where new tensors go; None restores the CPU."""
    _default_device.choose(None if device is None else _device(device))


_device = device


def set_default_tensor_type(t: Any, /) -> None:
    """Set the default dtype from an old-style tensor type."""
    name = t if isinstance(t, str) else f"torch.{t.__name__}"
    kinds = {"torch.FloatTensor": _dtypes.float32, "torch.DoubleTensor": _dtypes.float64, "torch.HalfTensor": _dtypes.float16,
             "torch.BFloat16Tensor": _dtypes.bfloat16}  # fmt: skip
    if name not in kinds:
        raise TypeError(f"invalid type object: only floating-point types are supported as the default type, got {name}")
    _dtypes.set_default_dtype(kinds[name])


class _Settings:
    deterministic = False
    warn_only = False
    precision = "highest"
    interop = max(1, (os.cpu_count() or 1) // 2)
    flush = False


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Results are deterministic here in any case; the switch is kept for programs that read it."""
    _Settings.deterministic, _Settings.warn_only = bool(mode), warn_only


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told; results here are always the same."""
    return _Settings.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether operators that are not deterministic would only warn."""
    return _Settings.warn_only


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Set what operators that are not deterministic do: "default" (0), "warn" (1) or "error" (2)."""
    level = {"default": 0, "warn": 1, "error": 2}.get(debug_mode, debug_mode)  # type: ignore[call-overload]
    if level not in (0, 1, 2):
        raise RuntimeError(f"invalid value for debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0 where operators that are not deterministic pass, 1 where they warn, 2 where they raise."""
    return 0 if not _Settings.deterministic else 1 if _Settings.warn_only else 2


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told: "highest", "high" or "medium"."""
    return _Settings.precision


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: products of float32 are computed in float32."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"expected precision to be one of 'highest', 'high' or 'medium', but got {precision}")
    _Settings.precision = precision


def set_flush_denormal(mode: bool) -> bool:
    """Denormals are kept: gives False, as PyTorch does where it cannot flush them."""
    return False


def set_warn_always(b: bool, /) -> None:
    """Whether warnings that come once are to come each time."""
    _Once.always = b


def is_warn_always_enabled() -> bool:
    """Whether warnings that come once would come each time."""
    return _Once.always


def get_num_threads() -> int:
    """How many threads large operations use."""
    from flambeau._backends.cpu import threads

    return threads.get_num_threads()


def set_num_threads(n: int, /) -> None:
    """Use n threads for large operations."""
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    from flambeau._backends.cpu import threads

    threads.set_num_threads(n)


def get_num_interop_threads() -> int:
    """What `set_num_interop_threads` was told."""
    return _Settings.interop


def set_num_interop_threads(n: int, /) -> None:
    """Noted, and asked for by `get_num_interop_threads`; operators run one after the other."""
    if n <= 0:
        raise RuntimeError("Expected positive number of threads")
    _Settings.interop = n


def compiled_with_cxx11_abi() -> bool:
    """True, as in the builds of PyTorch that extensions ask."""
    return True


def is_vulkan_available() -> bool:
    """False: there is no such backend."""
    return False


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for a type of device."""
    return _autocast.enabled(device_type)


def is_autocast_cpu_enabled() -> bool:
    """Whether autocast is on for the CPU."""
    return is_autocast_enabled("cpu")


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Turn autocast on or off for a type of device ("cuda" where only a truth value is given)."""
    kind, on = ("cuda", device_type) if enabled is None else (device_type, enabled)
    _autocast.switch(kind, get_autocast_dtype(kind) if on else None)


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """Turn autocast on the CPU on or off."""
    set_autocast_enabled("cpu", enabled)


def is_autocast_cache_enabled() -> bool:
    """Whether casts of parameters are remembered within an autocast block."""
    return _STATE.autocast_cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Whether autocast remembers the casts of parameters until its outermost block ends."""
    _STATE.autocast_cache = enabled


def clear_autocast_cache() -> None:
    """Forget the casts of parameters that autocast has remembered."""
    _autocast.clear()


def autocast_increment_nesting() -> int:
    """Enter a block of autocast: how many are open then."""
    return _autocast.nest(1)


def autocast_decrement_nesting() -> int:
    """Leave a block of autocast: how many are open then."""
    return _autocast.nest(-1)


def get_autocast_dtype(device_type: str) -> Any:
    """The lower dtype that autocast uses on a type of device."""
    return (_STATE.autocast_dtypes or {}).get(device_type) or (
        _dtypes.bfloat16 if device_type == "cpu" else _dtypes.float16
    )


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Set the lower dtype of autocast on a type of device."""
    if get_autocast_dtype(device_type) is not dtype:
        _STATE.autocast_dtypes = {**(_STATE.autocast_dtypes or {}), device_type: dtype}
    if _autocast.enabled(device_type):
        _autocast.switch(device_type, dtype)


def get_autocast_gpu_dtype() -> Any:
    """The lower dtype of autocast on CUDA devices."""
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: Any) -> None:
    """Set the lower dtype of autocast on CUDA devices."""
    set_autocast_dtype("cuda", dtype)


def get_autocast_cpu_dtype() -> Any:
    """The lower dtype of autocast on the CPU."""
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: Any) -> None:
    """Set the lower dtype of autocast on the CPU."""
    set_autocast_dtype("cpu", dtype)


def get_autocast_ipu_dtype() -> Any:
    """The lower dtype of autocast on IPUs."""
    return get_autocast_dtype("ipu")


def set_autocast_ipu_dtype(dtype: Any) -> None:
    """Set the lower dtype of autocast on IPUs."""
    set_autocast_dtype("ipu", dtype)


def is_autocast_ipu_enabled() -> bool:
    """Whether autocast is on for IPUs."""
    return is_autocast_enabled("ipu")


def set_autocast_ipu_enabled(enabled: bool) -> None:
    """Turn autocast on IPUs on or off."""
    set_autocast_enabled("ipu", enabled)


def get_autocast_xla_dtype() -> Any:
    """The lower dtype of autocast on XLA devices."""
    return get_autocast_dtype("xla")


def set_autocast_xla_dtype(dtype: Any) -> None:
    """Set the lower dtype of autocast on XLA devices."""
    set_autocast_dtype("xla", dtype)


def is_autocast_xla_enabled() -> bool:
    """Whether autocast is on for XLA devices."""
    return is_autocast_enabled("xla")


def set_autocast_xla_enabled(enabled: bool) -> None:
    """Turn autocast on XLA devices on or off."""
    set_autocast_enabled("xla", enabled)


def get_device(input: Tensor) -> int:
    """The index of the device that `input` lives on; -1 for the CPU."""
    return input.get_device()


def get_file_path(*path: str) -> str:
    """The path of a file of the package, from the names on the way to it."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), *path)


def _assert(condition: Any, message: str) -> None:
    """`assert` that tracing can see."""
    if type(condition) is not bool:
        from flambeau import overrides

        if overrides.has_torch_function((condition,)):
            overrides.handle_torch_function(_assert, (condition,), condition, message)
            return
    assert condition, message


def sym_int(a: Any) -> Any:
    """`a` as an integer, also where it is a size that changes."""
    return int(a)


def sym_float(a: Any) -> Any:
    """`a` as a float, also where it is a size that changes."""
    return float(a)


def sym_not(a: Any) -> Any:
    """The negation, also of comparisons of sizes that change."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The larger one, also of sizes that change."""
    return max(a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The smaller one, also of sizes that change."""
    return min(a, b)


def sym_sum(args: Any) -> Any:
    """The sum, also of sizes that change."""
    return sum(args)


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """`t` if `b` else `f`, also of sizes that change."""
    return t if b else f


__all__ = [
    n
    for n in dir()
    if not n.startswith("_") and n not in ("Tensor", "CPU", "Any", "math", "os", "annotations", "device")
] + ["_assert"]

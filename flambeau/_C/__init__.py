"""The names that programs take from PyTorch's compiled core: types, switches, and the functions behind the public ones."""

from __future__ import annotations

import sys
from typing import Any

from flambeau._C import _nn as _nn
from flambeau._eager.modes import STATE
from flambeau._eager.record import RETURN_TYPES
from flambeau._ground.errors import LinAlgError as _LinAlgError, OutOfMemoryError as OutOfMemoryError
from flambeau._tensor import Tensor as Tensor, Tensor as TensorBase, _TensorMeta as _TensorMeta
from flambeau._values.device import RENAMED, device as device, layout as layout, memory_format as memory_format
from flambeau._values.dtype import dtype as dtype
from flambeau._values.generator import Generator as Generator
from flambeau._values.shape import Size as Size
from flambeau.overrides import (
    DisableTorchFunction as DisableTorchFunction,
    DisableTorchFunctionSubclass as DisableTorchFunctionSubclass,
    _disabled_torch_function_impl as _disabled_torch_function_impl,
)

_TensorBase = TensorBase
_has_torch_function: Any = None
# What a build has: libraries look before they use it (bitsandbytes at `_has_xpu`, `_has_mps`).
_has_cuda = _has_cudnn = _has_cusparselt = _has_mps = _has_xpu = _has_magma = _has_mkldnn = False


def _get_tracing_state() -> Any:
    """What a TorchScript trace in progress keeps; None when there is none."""
    tracing = sys.modules.get("flambeau.jit._language.tracing")
    return None if tracing is None else tracing.STATE.current


def _log_api_usage_once(name: str) -> None:
    """PyTorch counts its users here; we do not."""


def _set_grad_enabled(mode: bool) -> None:
    STATE.grad = mode


def _current_graph_task_id() -> int:
    """The number of the backward pass that runs on this thread; -1 when none does."""
    return STATE.task


def _current_autograd_node() -> Any:
    """The node of the graph whose derivative is being computed; known in anomaly mode only, None otherwise."""
    return STATE.node


def _get_graph_exec_group() -> Any:
    return STATE.exec_group


def _set_graph_exec_group(group: Any) -> None:
    STATE.exec_group = group


def _is_tracing() -> bool:
    return _get_tracing_state() is not None


def _is_torch_function_mode_enabled() -> bool:
    return bool(STATE.function_modes)


def _is_any_autocast_enabled() -> bool:
    return bool(STATE.autocast)


def _get_default_device() -> str:
    from flambeau._values import default_device

    return str(default_device.get())


def _get_accelerator(check: bool | None = None) -> device:
    """The accelerator of this machine; the CPU where there is none."""
    import flambeau

    return device("cuda") if flambeau.cuda.is_available() else device("cpu")


def _get_privateuse1_backend_name() -> str:
    """The name of the type of device that extensions may add."""
    return RENAMED.get("privateuseone", "privateuseone")


def _rename_privateuse1_backend(name: str) -> None:
    """Give it a name, once."""
    known = RENAMED.setdefault("privateuseone", name)
    if known != name:
        raise RuntimeError(f"torch.register_privateuse1_backend() has already been set! Current backend: {known}")


def _is_alias_of(a: Any, b: Any) -> bool:
    """Whether two tensors lie in the same memory."""
    one, other = a.untyped_storage(), b.untyped_storage()
    return bool(one.data_ptr() == other.data_ptr() and one.nbytes() and other.nbytes())


def _are_functorch_transforms_active() -> bool:
    """Whether this runs inside `vmap` or forward-mode differentiation."""
    import sys

    batched, dual = sys.modules.get("flambeau.func._batched"), sys.modules.get("flambeau.autograd.forward_ad")
    return bool(batched is not None and batched.LEVELS.open) or bool(dual is not None and dual._current_level >= 0)


_jit_internal_types = RETURN_TYPES


class _VariableFunctionsMeta(type):
    def __getattr__(cls, name: str) -> Any:
        import flambeau

        return getattr(flambeau._VF, name)


class _VariableFunctions(metaclass=_VariableFunctionsMeta):
    """Where PyTorch keeps its generated functions."""


_LATE = {
    "PyTorchFileReader": "_archives", "PyTorchFileWriter": "_archives", "DispatchKey": "_dispatch", "DispatchKeySet": "_dispatch", "_ExcludeDispatchKeyGuard": "_dispatch",
    "_functorch": "_functorch", "_distributed_c10d": "_distributed_c10d", "_distributed_rpc": "_distributed_rpc", "ScriptObject": "_script", "_cpu": "_cpu", "_profiler": "_profiler", "_valgrind_supported_platform": "_valgrind", "_valgrind_toggle": "_valgrind",
    "_valgrind_toggle_and_dump_stats": "_valgrind", "ScriptMethod": "_script", "FunctionSchema": "_script", "Argument": "_script",
    **dict.fromkeys((
        "Graph", "Node", "Value", "Block", "Type", "ListType", "DictType", "TupleType", "OptionalType", "UnionType", "FutureType", "AwaitType",
        "ClassType", "EnumType", "InterfaceType", "AnyType", "BoolType", "ComplexType", "DeviceObjType", "FloatType", "IntType", "NoneType",
        "NumberType", "StreamObjType", "StringType", "TensorType", "_jit_set_profiling_mode", "_jit_set_profiling_executor", "_jit_set_autocast_mode",
        "_jit_set_texpr_fuser_enabled", "_jit_texpr_fuser_enabled", "_jit_override_can_fuse_on_cpu", "_jit_override_can_fuse_on_gpu",
        "_jit_can_fuse_on_cpu", "_jit_can_fuse_on_gpu", "_jit_clear_class_registry",
    ), "_script"),
}  # fmt: skip


def _switch(path: str, attribute: str) -> Any:
    """A function that reads a switch of a backend."""

    def read() -> Any:
        import importlib

        return getattr(importlib.import_module(f"flambeau.backends.{path}"), attribute)

    return read


_SWITCHES = {
    "_get_cudnn_enabled": _switch("cudnn", "enabled"),
    "_get_cudnn_benchmark": _switch("cudnn", "benchmark"),
    "_get_cudnn_deterministic": _switch("cudnn", "deterministic"),
    "_get_mkldnn_enabled": _switch("mkldnn", "enabled"),
}
_GLIBCXX_USE_CXX11_ABI = True


def _get_deterministic_algorithms() -> bool:
    import flambeau

    return flambeau.are_deterministic_algorithms_enabled()


def __getattr__(name: str) -> Any:
    if name in _LATE:
        import importlib

        found = importlib.import_module(f"flambeau._C.{_LATE[name]}")
        return found if name == _LATE[name] else getattr(found, name)
    if name in _SWITCHES:
        return _SWITCHES[name]
    if not name.startswith("_"):  # what is public of PyTorch's library is public there, too
        import flambeau

        found = getattr(flambeau, name, None)
        if found is not None:
            return found
    raise AttributeError(f"module 'torch._C' has no attribute '{name}'")


__all__ = ["TensorBase", "_LinAlgError"]

"""CUDA as programs ask for it: there is no device yet, and everything says so in PyTorch's words.

What is harmless without a device (seeds, caches, statistics) does nothing; what needs one raises.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, NoReturn

from flambeau import _absent

has_half = True
has_magma = False


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("Torch not compiled with CUDA enabled")


def _lazy_call(callable: Any, **_: Any) -> None:
    """Would wait for the device and then call."""


def _lazy_init() -> None:
    _refuse()


# ---- is there one? ----
def is_available() -> bool:
    """Whether there is a device to compute on.

    >>> is_available()
    False
    """
    return False


def device_count() -> int:
    """How many devices there are."""
    return 0


_initialized = False  # whether a device has been used


def is_initialized() -> bool:
    """Whether a device has been used."""
    return False


def init() -> None:
    """Gets the devices ready."""
    _refuse()


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the device computes in bfloat16."""
    return False


def is_tf32_supported() -> bool:
    """Whether the device computes in TensorFloat32."""
    return False


def get_gencode_flags() -> str:
    """The flags that kernels were compiled with."""
    return ""


def _is_compiled() -> bool:
    return False


def _is_in_bad_fork() -> bool:
    return False


def get_arch_list() -> list[str]:
    """The architectures that kernels were compiled for."""
    return []


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Whether one device reads another's memory."""
    _refuse()


# ---- which one ----
def current_device() -> int:
    """The number of the device in use."""
    _refuse()


def set_device(device: Any) -> None:
    """Chooses the device to use; None and negative numbers choose nothing."""
    if device is not None and not (isinstance(device, int) and device < 0):
        _refuse()


def get_device_name(device: Any = None) -> str:
    """The device's name."""
    _refuse()


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The device's compute capability."""
    _refuse()


def get_device_properties(device: Any = None) -> Any:
    """The device's name, memory and processors."""
    _refuse()


class device(_absent.Device):
    """Uses a device inside a ``with``; without one, a negative number or None is allowed."""

    refuse = _refuse


class device_of(device):
    """Uses a tensor's device inside a ``with``; a tensor on the CPU changes nothing."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if getattr(obj, "is_cuda", False) else -1)


# ---- queues ----
def synchronize(device: Any = None) -> None:
    """Waits for everything queued on a device."""
    _refuse()


def current_stream(device: Any = None) -> Any:
    """The queue in use."""
    _refuse()


def default_stream(device: Any = None) -> Any:
    """The queue used without asking for one."""
    _refuse()


@contextlib.contextmanager
def stream(stream: Any) -> Any:
    """Queues what is inside on a stream; None changes nothing."""
    if stream is not None:
        _refuse()
    yield


class StreamContext(_absent.StreamContext):
    """The block in which a stream is used; None changes nothing."""

    refuse = _refuse


def set_stream(stream: Any) -> None:
    """Uses a stream from now on; None changes nothing."""
    if stream is not None:
        _refuse()


class Stream(_absent.Dummy):
    """A queue of a device."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("torch.cuda.Stream requires CUDA support")


class ExternalStream(Stream):
    """A queue that another library made."""


class Event(_absent.Dummy):
    """A mark in a queue."""


class CUDAGraph(_absent.Dummy):
    """Recorded work of a device."""


class MemPool(_absent.Dummy):
    """A pool of a device's memory."""


class CUDAPluggableAllocator(_absent.Dummy):
    """An allocator from a compiled library."""


class GreenContext(_absent.Dummy):
    """Some of a device's processors."""


class graph(_absent.Recorded):
    """Records the work inside the block."""

    refuse = Stream

    def __init__(self, cuda_graph: Any, pool: Any = None, stream: Any = None, capture_error_mode: str = "global",
                 enable_annotations: bool = False, check_input_liveness: bool = False) -> None:  # fmt: skip
        super().__init__(cuda_graph, pool, stream)


graph_pool_handle = make_graphed_callables = _refuse


class CudaError(RuntimeError):
    """An error that the driver reports."""


class cudaStatus:
    """The numbers of the driver's answers that programs compare with."""

    SUCCESS: int = 0
    ERROR_NOT_READY: int = 34


class DeferredCudaCallError(Exception):
    """An error of a call that waited for the device."""


cudart = check_error = current_solver_handle = change_current_allocator = get_allocator_backend = _refuse
memory_snapshot = memory_summary = reset_accumulated_host_memory_stats = reset_peak_host_memory_stats = _refuse
current_blas_handle = set_per_process_memory_fraction = get_per_process_memory_fraction = _refuse
caching_allocator_alloc = caching_allocator_delete = get_sync_debug_mode = set_sync_debug_mode = (
    get_stream_from_external
) = _refuse

# ---- random numbers ----
default_generators: tuple[Any, ...] = ()


def manual_seed(seed: int) -> None:
    """Seeds the device in use."""


def manual_seed_all(seed: int) -> None:
    """Seeds all devices."""


def seed() -> None:
    """Seeds the device in use from the system."""


def seed_all() -> None:
    """Seeds all devices from the system."""


def initial_seed() -> int:
    """The seed of the device in use."""
    _refuse()


def get_rng_state(device: Any = "cuda") -> Any:
    """The state of a device's generator."""
    _refuse()


def get_rng_state_all() -> list[Any]:
    """The states of all devices' generators."""
    return []


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Sets the state of a device's generator."""
    _refuse()


def set_rng_state_all(new_states: Any) -> None:
    """Sets the states of all devices' generators."""
    for state in new_states:
        set_rng_state(state)


# ---- memory ----
def host_memory_stats() -> dict[str, Any]:
    """What the allocator of pinned memory counts."""
    return {}


host_memory_stats_as_nested_dict = host_memory_stats


def caching_allocator_enable(value: bool = True) -> None:
    """Whether freed memory is kept: there is none."""


@contextlib.contextmanager
def caching_allocator_disabled() -> Any:
    """Keeps no freed memory inside a ``with``."""
    yield


use_mem_pool = _absent.within(_refuse)


def _no_monitor() -> Exception:
    return ModuleNotFoundError("nvidia-ml-py does not seem to be installed or it can't be imported.")


utilization = memory_usage = device_memory_used = _absent.monitor("pynvml", _no_monitor, _refuse)
temperature = power_draw = clock_rate = utilization


def list_gpu_processes(device: Any = None) -> str:
    """The processes that use a device, as text."""
    import importlib.util

    if importlib.util.find_spec("pynvml") is None:
        return "pynvml module not found, please install nvidia-ml-py"
    _refuse()


def empty_cache() -> None:
    """Gives unused memory back."""


def ipc_collect() -> None:
    """Gives back memory that other processes have let go of."""


def reset_peak_memory_stats(device: Any = None) -> None:
    """Forgets the largest amounts so far."""


reset_max_memory_allocated = reset_max_memory_cached = reset_accumulated_memory_stats = reset_peak_memory_stats


def memory_allocated(device: Any = None) -> int:
    """Bytes in tensors."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_cached = max_memory_cached = memory_allocated


def memory_stats(device: Any = None) -> dict[str, Any]:
    """What the allocator counts."""
    return {}


memory_stats_as_nested_dict = memory_stats


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Free and total bytes of a device."""
    _refuse()


def is_current_stream_capturing() -> bool:
    """Whether a graph is being captured."""
    return False


# ---- rarely used ----
def __getattr__(name: str) -> Any:
    if name in ("amp", "graphs", "memory", "nvtx", "profiler", "random", "sparse", "streams"):
        return importlib.import_module(f"{__name__}.{name}")
    if name == "OutOfMemoryError":
        from flambeau._ground.errors import OutOfMemoryError

        return OutOfMemoryError
    if name.endswith(("Tensor", "Storage")):
        from flambeau import _legacy_types

        found = _legacy_types.elsewhere("cuda", name)
        if found is not None:
            return found
    raise AttributeError(f"module 'torch.cuda' has no attribute '{name}'")

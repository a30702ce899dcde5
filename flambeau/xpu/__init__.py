"""Intel GPUs, as programs ask for them: there are none here, and everything says so in PyTorch's words."""

from typing import Any, NoReturn

from flambeau import _absent

default_generators: tuple[Any, ...] = ()


def is_available() -> bool:
    """Whether there is a device to compute on."""
    return False


def device_count() -> int:
    """How many devices there are."""
    return 0


def is_initialized() -> bool:
    """Never: there are no such devices."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Never: there are no such devices."""
    return False


def is_current_stream_capturing() -> bool:
    """Never: there are no such devices."""
    return False


def _is_in_bad_fork() -> bool:
    return False


def manual_seed(seed: int) -> None:
    """Nothing: there is no device whose numbers it would set."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there is no device whose numbers it would set."""


def empty_cache() -> None:
    """Nothing: no memory is kept."""


def _refuse(*args: object, **kwargs: object) -> NoReturn:
    raise AssertionError("Torch not compiled with XPU enabled")


def memory_allocated(device: Any = None) -> int:
    """Bytes in tensors."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def memory_stats(device: Any = None) -> dict[str, Any]:
    """What the allocator counts."""
    return {}


def reset_peak_memory_stats(device: Any = None) -> None:
    """Forgets the largest amounts so far."""


reset_accumulated_memory_stats = reset_peak_memory_stats


def get_rng_state_all() -> list[Any]:
    """The states of all devices' generators."""
    return []


def set_rng_state(new_state: Any, device: Any = "xpu") -> None:
    """Nothing: it is set when the device is first used."""


def set_rng_state_all(new_states: Any) -> None:
    """The states of all devices' generators."""


def seed() -> None:
    """Nothing: there is no device whose numbers it would set."""


seed_all = seed


def _without_device(*args: object, **kwargs: object) -> NoReturn:
    raise NotImplementedError("PyTorch was compiled without XPU support")


class device(_absent.Device):
    """Uses a device inside a ``with``; a negative number or None is allowed."""

    refuse = _without_device


class device_of(device):
    """Uses a tensor's device inside a ``with``; a tensor on the CPU changes nothing."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if getattr(obj, "is_xpu", False) else -1)


class StreamContext(_absent.StreamContext):
    """The block in which a stream is used; None changes nothing."""

    refuse = _refuse


def stream(stream: Any) -> StreamContext:
    """Queues what is inside a ``with`` on a stream; None changes nothing."""
    return StreamContext(stream)


class Stream(_absent.Dummy):
    """A queue of a device."""


class Event(_absent.Dummy):
    """A mark in a queue."""


class XPUGraph(_absent.Dummy):
    """Recorded work of a device."""


class MemPool(_absent.Dummy):
    """A pool of a device's memory."""


class XPUPluggableAllocator(_absent.Dummy):
    """An allocator from a compiled library."""


class graph(_absent.Recorded):
    """Records the work inside the block."""

    refuse = XPUGraph


def get_arch_list() -> list[str]:
    """The architectures that kernels were compiled for."""
    return []


def get_gencode_flags() -> str:
    """The flags that kernels were compiled with."""
    return ""


def is_tf32_supported() -> bool:
    """Whether the device computes in TensorFloat32."""
    return False


def memory_snapshot(mempool_id: Any = None) -> list[dict[str, Any]]:
    """The segments of memory that are held."""
    return []


memory_stats_as_nested_dict = memory_stats
use_mem_pool = _absent.within(_refuse)


def _no_monitor() -> Exception:
    return ImportError("pyzes is required; install it with 'pip install pyzes'.")


utilization = memory_usage = device_memory_used = _absent.monitor("pyzes", _no_monitor, _refuse)
temperature = power_draw = clock_rate = utilization

init = initial_seed = get_rng_state = mem_get_info = get_device_capability = set_stream = _refuse
current_device = set_device = synchronize = current_stream = get_device_name = get_device_properties = _refuse
can_device_access_peer = change_current_allocator = get_stream_from_external = graph_pool_handle = _refuse
make_graphed_callables = get_per_process_memory_fraction = set_per_process_memory_fraction = _refuse

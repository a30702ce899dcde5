"""MTIA accelerators, as programs ask for them: there are none here."""

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
    """Whether a device has been used."""
    return False


def _is_in_bad_fork() -> bool:
    return False


def _is_compiled() -> bool:
    return False


def manual_seed(seed: int) -> None:
    """Nothing: there is no device whose numbers it would set."""


manual_seed_all = manual_seed


def seed() -> None:
    """Nothing: there is no device whose numbers it would set."""


seed_all = seed


def get_rng_state_all() -> list[Any]:
    """The states of all devices' generators."""
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Sets the states of all devices' generators."""


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether devices of this kind compute in bfloat16."""
    return True


def record_memory_history(enabled: str | None = "all", stacks: str = "python", max_entries: int = 0) -> None:
    """Nothing: there is no memory whose history could be kept."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError(
        "Torch not compiled with MTIA enabled. Ensure you have `import mtia.host_runtime.torch_mtia` in your python src file"
    )


init = synchronize = current_device = current_stream = default_stream = set_device = set_stream = empty_cache = (
    memory_stats
) = _refuse
get_device_capability = get_device_properties = memory_allocated = max_memory_allocated = reset_peak_memory_stats = (
    _refuse
)
get_rng_state = set_rng_state = initial_seed = _refuse
snapshot = graph_pool_handle = attach_out_of_memory_observer = _refuse


class MTIAGraph:
    """Recorded work of a device."""

    def __init__(self, keep_graph: bool = False) -> None:
        raise RuntimeError("Cannot execute mtiagraphCreate() without MTIA backend.")


class graph(_absent.Recorded):
    """Records the work inside the block."""

    refuse = MTIAGraph


class device(_absent.Device):
    """Uses a device inside a ``with``; a negative number or None is allowed."""

    refuse = _refuse


class StreamContext(_absent.StreamContext):
    """The block in which a stream is used; None changes nothing."""

    refuse = _refuse


def stream(stream: Any) -> StreamContext:
    """Queues what is inside a ``with`` on a stream; None changes nothing."""
    return StreamContext(stream)

"""The default generator's seed and state. The streams are `_values.generator`; what is drawn, `_operators.random` and `random_integers`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._tensor import Tensor, wrap
from flambeau._values import generator as _generator
from flambeau._values.generator import Generator, default_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state", "thread_safe_generator"]


def _state_bytes(state: Any) -> Any:
    if not isinstance(state, Tensor):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
    array = state._a
    if not isinstance(array, np.ndarray):
        raise TypeError("RNG state must be a torch.ByteTensor")
    return array


_generator.state_tensor, _generator.state_bytes = wrap, _state_bytes


def manual_seed(seed: int) -> Generator:
    """Seed the random numbers of every device; negative seeds count back from 2**64.

    >>> manual_seed(7).initial_seed()
    7
    """
    seed = int(seed)
    for device in _devices():
        device.manual_seed_all(seed)
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the random numbers of every device unpredictably; return the seed."""
    number = default_generator.seed()
    for device in _devices():
        device.manual_seed_all(number)
    return number


def initial_seed() -> int:
    """The seed that the default CPU generator started from."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default CPU generator: 5056 bytes."""
    state: Tensor = default_generator.get_state()
    return state


def set_rng_state(new_state: Tensor) -> None:
    """Continue the default CPU generator from a state of `get_rng_state`."""
    default_generator.set_state(new_state)


def _devices() -> list[Any]:
    """The modules of devices with random numbers of their own that are in use."""
    cuda = sys.modules.get("flambeau.cuda")
    return [cuda] if cuda is not None and hasattr(cuda, "manual_seed_all") else []


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str | None = None,
) -> Iterator[None]:
    """Random numbers drawn in the block leave the generators where they were before it."""
    if not enabled or device_type == "meta":
        yield
        return
    modules = [m for m in _devices() if device_type in (None, "cuda")]
    chosen = None if devices is None else list(devices)
    states = [
        (m, d, m.get_rng_state(d)) for m in modules for d in (range(m.device_count()) if chosen is None else chosen)
    ]
    cpu = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(cpu)
        for module, device, state in states:
            module.set_rng_state(state, device)


def thread_safe_generator() -> Generator | None:
    """The generator of this DataLoader worker thread, or None (the default one) anywhere else."""
    data = sys.modules.get("flambeau.utils.data")
    worker = data.get_worker_info() if data is not None else None
    if worker is not None and getattr(worker, "worker_method", None) == "thread" and worker.rng is not None:
        own: Generator = worker.rng.torch_generator
        return own
    return None

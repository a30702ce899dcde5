"""Generator: a random stream with PyTorch's seeding, state bytes and lock. What is drawn from it is in `sampling.py`.

A generator's state is a uint8 tensor; floor 4 says how to make one (`state_tensor`) and how to read one (`state_bytes`).
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

import numpy as np

from flambeau._values import device as devices
from flambeau._values.mt19937 import MT19937, N

DEFAULT_SEED = 67280421310721  # of a Generator that was not seeded (c10's default_rng_seed_val)

# The bytes of a state, as PyTorch lays them out (at::CPUGeneratorImplState).
LAYOUT = np.dtype([
    ("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("key", "<u8", N),
    ("normal_x", "<f8"), ("normal_y", "<f8"), ("normal_rho", "<f8"), ("normal_valid", "<i4"), ("_0", "<i4"),
    ("float_normal", "<f4"), ("float_valid", "u1"), ("_1", "u1", 3),
])  # fmt: skip


def _array_state(state: Any) -> np.ndarray[Any, Any]:
    if not isinstance(state, np.ndarray):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
    return state


# Replaced by floor 4, which knows tensors: bytes -> what users hold, and back.
state_tensor: Any = lambda array: array
state_bytes: Any = _array_state


def entropy() -> int:
    """64 bits that nobody can predict."""
    return int.from_bytes(os.urandom(8), "little")


_all: weakref.WeakSet[Any] = weakref.WeakSet()


def _unlock() -> None:
    """In a forked child: a lock that another thread held at that moment is held by nobody who could give it back."""
    for generator in list(_all):
        generator.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


class Generator:
    """A stream of random numbers, PyTorch's own number for number.

    >>> Generator().manual_seed(0).initial_seed()
    0
    """

    __slots__ = ("__weakref__", "_engine", "_seed", "device", "lock", "next_double", "next_float")

    device: devices.device
    next_double: float | None  # Box-Muller yields two normals: the second waits here
    next_float: float | None

    def __init__(self, device: Any = "cpu") -> None:
        self.device = devices.device(device)
        if self.device.type == "cuda":
            raise RuntimeError(
                "Cannot get CUDA generator without ATen_cuda library. PyTorch splits its backend into two shared "
                "libraries: a CPU library and a CUDA library; this error has occurred because you are trying to use some "
                "CUDA functionality, but the CUDA library has not been loaded by the dynamic linker for some reason. "
            )
        if self.device.type != "cpu":
            raise RuntimeError(f"{self.device.type.upper()} device type not an accelerator.")
        self.device = devices.CPU  # by no number
        self.lock = threading.RLock()
        _all.add(self)
        self._engine: MT19937 | None = None  # made at the first draw: NumPy's random module is not imported before
        self._seed: int = DEFAULT_SEED
        self.next_double = self.next_float = None

    @property
    def engine(self) -> MT19937:
        """The stream of words. Hold `lock` while drawing."""
        if self._engine is None:
            with self.lock:
                if self._engine is None:
                    self._engine = MT19937(self._seed)
        return self._engine

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of `seed`, a number of 64 bits, signed or not."""
        if not isinstance(seed, (int, np.integer)):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        seed = int(seed)
        if not -(1 << 63) <= seed < 1 << 64:
            raise ValueError("Overflow when unpacking long long")
        with self.lock:
            self._seed = seed & 0xFFFFFFFFFFFFFFFF
            self.next_double = self.next_float = None
            if self._engine is not None:
                self._engine.reseed(self._seed)
        return self

    def seed(self) -> int:
        """Start an unpredictable stream; return the seed it has."""
        number = entropy()
        self.manual_seed(number)
        return number

    def initial_seed(self) -> int:
        """The seed this stream started from."""
        return self._seed

    def get_state(self) -> Any:
        """All of the stream's state, as a uint8 tensor of 5056 bytes."""
        with self.lock:
            state = np.zeros(1, LAYOUT)
            record = state[0]
            record["seed"], record["seeded"] = self._seed, 1
            record["key"] = self.engine.key()
            record["left"], record["next"] = self.engine.place()
            if self.next_double is not None:
                record["normal_y"], record["normal_valid"] = self.next_double, 1
            if self.next_float is not None:
                record["float_normal"], record["float_valid"] = self.next_float, 1
        return state_tensor(state.view(np.uint8))

    def set_state(self, new_state: Any) -> None:
        """Continue from a state that `get_state` returned."""
        array = state_bytes(new_state)
        if array.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if array.size != LAYOUT.itemsize:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {LAYOUT.itemsize} but found the input RNG state size to be "
                f"{array.size}"
            )
        record = np.ascontiguousarray(array).reshape(-1).view(LAYOUT)[0]
        left, following = int(record["left"]), int(record["next"])
        if record["seeded"] != 1 or not 0 < left <= N or following > N:
            raise RuntimeError("Invalid mt19937 state")
        with self.lock:
            self._seed = int(record["seed"])
            self.engine.restore(record["key"].astype(np.uint32), left, following)
            self.next_double = float(record["normal_y"]) if record["normal_valid"] else None
            self.next_float = float(record["float_normal"]) if record["float_valid"] else None

    def clone_state(self) -> Generator:
        """Another generator that will draw the same numbers from here on."""
        other = Generator(self.device)
        other.set_state(self.get_state())
        return other

    def graphsafe_get_state(self) -> Generator:
        """For captured CUDA graphs only."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Generator) -> None:
        """For captured CUDA graphs only."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def get_offset(self) -> int:
        """Counter-based generators have an offset; this one does not."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """Counter-based generators have an offset; this one does not."""
        raise RuntimeError("CPU Generator does not use offset")

    def __reduce__(self) -> Any:
        return fresh, (self.device,), (self.initial_seed(), None, self.get_state())

    def __setstate__(self, state: tuple[int, int | None, Any]) -> None:
        self.manual_seed(state[0])
        self.set_state(state[2])


Generator.__module__ = "torch._C"


def fresh(device: Any) -> Generator:
    """A generator of that device: what pickles call, since the class itself answers to PyTorch's name."""
    return Generator(device)


default_generator = Generator().manual_seed(entropy())  # what is used when none is given

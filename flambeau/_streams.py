"""`torch.Stream` and `torch.Event` of any device: on the CPU calls have ended when they return, so that nothing waits."""

from __future__ import annotations

from typing import Any

from flambeau._values.device import device as _device


def _host(kind: Any) -> _device:
    d = kind if isinstance(kind, _device) else _device("cpu" if kind is None else kind)
    if d.type != "cpu":
        raise AssertionError(f"Torch not compiled with {d.type.upper()} enabled")
    return d


class Stream:
    """The order of calls on a device; on the CPU, the program's.

    >>> Stream().query()
    True
    """

    device_type = 0
    device_index = -1
    stream_id = 0

    def __init__(self, device: Any = None, *, priority: int = 0, **_: Any) -> None:
        self.device = _host(device)

    def query(self) -> bool:
        """Whether all calls have ended."""
        return True

    def synchronize(self) -> None:
        """Nothing is left to wait for."""

    def record_event(self, event: Any = None) -> Any:
        """The CPU has no events."""
        raise RuntimeError("cpu backend doesn't support events.")

    wait_event = wait_stream = record_event

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.device == self.device

    def __hash__(self) -> int:
        return hash(self.device)

    def __repr__(self) -> str:
        return (
            f"torch.Stream device_type={self.device.type}, device_index={self.device_index}, stream_id={self.stream_id}"
        )


class Event:
    """A mark in a stream; the CPU records none.

    >>> Event().query()
    True
    """

    event_id = 0

    def __init__(
        self, device: Any = None, *, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        self.device, self.timed = _host(device), enable_timing

    def query(self) -> bool:
        """Whether everything before the mark has ended."""
        return True

    def synchronize(self) -> None:
        """Nothing is left to wait for."""

    def record(self, stream: Any = None) -> None:
        """The CPU has no events."""
        raise RuntimeError("cpu backend doesn't support events.")

    wait = record

    def elapsed_time(self, other: Any) -> float:
        """Milliseconds between two marks."""
        if not (self.timed and other.timed):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        raise ValueError("Both events must be recorded before calculating elapsed time.")

    def __repr__(self) -> str:
        return f"torch.Event device_type={self.device.type}, device_index=-1, event_flag={int(self.timed)}, event_id={self.event_id}"

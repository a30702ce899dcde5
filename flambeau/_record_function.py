"""`torch.ops.profiler`: what `record_function` calls when a range begins and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._ops import OpOverload, OpOverloadPacket

HANDLE = "__torch__.torch.classes.profiler._RecordFunction"


class ProfilerOverload(OpOverload):
    """One of the two, called with no dispatch: it takes and gives what is no tensor."""

    def __init__(self, packet: OpOverloadPacket, overload: str, schema: str, does: Callable[..., Any]) -> None:
        self._overloadpacket, self._overloadname, self._fn, self._text = packet, overload, does, schema
        self.__name__ = self.__qualname__ = f"{packet.__name__}.{overload}"
        self.__module__, self.namespace = packet.__module__, packet.namespace

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)

    @property
    def _schema(self) -> Any:
        return self._text

    is_view = is_write = is_random = False  # type: ignore[assignment]


class ProfilerPacket(OpOverloadPacket):
    """`profiler::_record_function_enter_new` or `profiler::_record_function_exit`."""

    def __init__(self, name: str, overload: str, schema: str, does: Callable[..., Any]) -> None:
        super().__init__("profiler", name, {})
        self._made[overload] = ProfilerOverload(self, overload, f"profiler::{name}{schema}", does)

    def __getattr__(self, key: str) -> Any:
        made = self.__dict__.get("_made", {})
        return made[key] if key in made else super().__getattr__(key)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        (only,) = self._made.values()
        return only(*args, **kwargs)

    def overloads(self) -> list[str]:
        return list(self._made)


def enter(name: str, args: str | None = None) -> Any:
    """Begin a range of that name in every profile that is being made; what is returned ends it."""
    from flambeau.autograd.profiler import record_function

    return record_function(name, args).__enter__()


def leave(record: Any) -> None:
    """End the range."""
    record.__exit__(None, None, None)


PACKETS = {
    p.__name__: p
    for p in (
        ProfilerPacket("_record_function_enter_new", "default", f"(str name, str? args=None) -> {HANDLE}", enter),
        ProfilerPacket("_record_function_exit", "_RecordFunction", f"._RecordFunction({HANDLE} record) -> ()", leave),
    )
}

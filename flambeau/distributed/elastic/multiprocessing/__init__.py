"""Several processes that run a program or a function, ended together when one of them fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .api import (
    DefaultLogsSpecs,
    LogsDest,
    LogsSpecs,
    MultiprocessContext,
    PContext,
    RunProcsResult,
    SignalException,
    Std,
    SubprocessContext,
    to_map,
)
from .errors import ProcessFailure

__all__ = [
    "start_processes", "MultiprocessContext", "PContext", "ProcessFailure", "RunProcsResult", "SignalException", "Std", "LogsDest",
    "LogsSpecs", "DefaultLogsSpecs", "SubprocessContext", "to_map",
]  # fmt: skip


def start_processes(
    name: str,
    entrypoint: Callable[..., Any] | str,
    args: dict[int, tuple[Any, ...]],
    envs: dict[int, dict[str, str]],
    logs_specs: LogsSpecs,
    log_line_prefixes: dict[int, str] | None = None,
    start_method: str = "spawn",
    numa_options: Any = None,
    duplicate_stdout_filters: list[str] | None = None,
    duplicate_stderr_filters: list[str] | None = None,
) -> PContext:
    """Start a process for each local rank of `args` and `envs`: a program where `entrypoint` is text, else a function."""
    if numa_options is not None or duplicate_stdout_filters or duplicate_stderr_filters:
        raise NotImplementedError(
            "start_processes(numa_options=, duplicate_stdout_filters=, duplicate_stderr_filters=)"
        )
    context: PContext
    if isinstance(entrypoint, str):
        context = SubprocessContext(name, entrypoint, args, envs, logs_specs, log_line_prefixes)
    else:
        context = MultiprocessContext(name, entrypoint, args, envs, start_method, logs_specs, log_line_prefixes)
    try:
        context.start()
    except BaseException:
        context.close()
        raise
    return context

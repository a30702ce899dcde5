"""Errors of processes: a worker writes the one that ended it into a file, and who started it tells that one first."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["ChildFailedError", "ErrorHandler", "ProcessFailure", "get_error_handler", "record"]

_NO_FILE = "<N/A>"
_NO_TRACEBACK = "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html"


@dataclass
class ProcessFailure:
    """A process that ended badly. A negative exit code is the signal that killed it."""

    local_rank: int
    pid: int
    exitcode: int
    error_file: str
    error_file_data: dict[str, Any] = field(init=False)
    message: Any = field(init=False)
    timestamp: int = field(init=False)

    def __post_init__(self) -> None:
        self.error_file_data, self.message, self.timestamp = {}, "", int(time.time())
        try:
            with open(self.error_file) as file:
                self.error_file_data = json.load(file)
        except (OSError, ValueError):
            self.error_file = _NO_FILE
        else:
            self.message = self.error_file_data["message"]
            if isinstance(self.message, dict):
                self.timestamp = int(self.message["extraInfo"]["timestamp"])
                self.message = self.message["message"]
        if not self.message:
            if self.exitcode < 0:
                self.message = f"Signal {-self.exitcode} ({self.signal_name()}) received by PID {self.pid}"
            else:
                self.message = _NO_TRACEBACK

    def signal_name(self) -> str:
        """The name of the signal that killed it."""
        if self.exitcode >= 0:
            return _NO_FILE
        try:
            return signal.Signals(-self.exitcode).name
        except ValueError:
            return _NO_FILE

    def timestamp_isoformat(self) -> str:
        """When it ended."""
        return datetime.fromtimestamp(self.timestamp).isoformat(sep="_")


class ChildFailedError(Exception):
    """Processes failed: by their ranks, the first one being the cause."""

    def __init__(self, name: str, failures: dict[int, ProcessFailure]) -> None:
        if not failures:
            raise AssertionError("failures cannot be empty")
        self.name, self.failures = name, failures
        super().__init__(self.format_msg())

    def get_first_failure(self) -> tuple[int, ProcessFailure]:
        """The rank that failed first, and how."""
        rank = min(self.failures, key=lambda r: self.failures[r].timestamp)
        return rank, self.failures[rank]

    def format_msg(self, boundary_delim: str = "=", section_delim: str = "-") -> str:
        """A table of what failed."""
        title, (root, _) = f"{self.name} FAILED", self.get_first_failure()
        others = [self._describe(i, r, f) for i, (r, f) in enumerate(self.failures.items()) if r != root]
        cause = [self._describe(i, r, f) for i, (r, f) in enumerate(self.failures.items()) if r == root]
        width = 60
        body = "\n".join(others) if others else "  <NO_OTHER_FAILURES>"
        return "\n".join(
            ["", boundary_delim * width, title, section_delim * width, "Failures:", body, section_delim * width,
             "Root Cause (first observed failure):", *cause, boundary_delim * width]
        )  # fmt: skip

    @staticmethod
    def _describe(index: int, rank: int, failure: ProcessFailure) -> str:
        message = str(failure.message).replace("\n", "\n  ")
        killed = f"({failure.signal_name()})" if failure.exitcode < 0 else ""
        return (
            f"[{index}]:\n  time      : {failure.timestamp_isoformat()}\n  host      : {socket.getfqdn()}\n"
            f"  rank      : {rank} (local_rank: {failure.local_rank})\n  exitcode  : {failure.exitcode} (pid: {failure.pid}) {killed}\n"
            f"  error_file: {failure.error_file}\n  traceback : {message}"
        )


class ErrorHandler:
    """Writes an exception into the file that `TORCHELASTIC_ERROR_FILE` names."""

    def initialize(self) -> None:
        """Let crashes of native code print where they were."""
        import faulthandler

        try:
            faulthandler.enable(all_threads=True)
        except Exception as problem:  # where stderr is no file
            print(f"Unable to enable fault handler. {type(problem).__name__}: {problem}", file=sys.stderr)

    def record_exception(self, e: BaseException) -> None:
        """Write an exception."""
        path = os.environ.get("TORCHELASTIC_ERROR_FILE")
        if not path:
            return
        text = "".join(traceback.format_exception(type(e), e, e.__traceback__))
        data = {
            "message": {
                "message": f"{type(e).__name__}: {e}",
                "extraInfo": {"py_callstack": text, "timestamp": str(int(time.time()))},
            }
        }
        with open(path, "w") as file:
            json.dump(data, file)

    def dump_error_file(self, rootcause_error_file: str, error_code: int = 0) -> None:
        """Hand on the error of a process as one's own."""
        path = os.environ.get("TORCHELASTIC_ERROR_FILE")
        if not path:
            return
        with open(rootcause_error_file) as source:
            data = json.load(source)
        if error_code and isinstance(data.get("message"), dict):
            data["message"]["errorCode"] = error_code
        with open(path, "w") as file:
            json.dump(data, file)


def get_error_handler() -> ErrorHandler:
    """What writes errors."""
    return ErrorHandler()


def record(fn: Callable[..., Any], error_handler: ErrorHandler | None = None) -> Callable[..., Any]:
    """A function whose exceptions are written down for whoever started the process.

    >>> @record
    ... def main():
    ...     return 1
    >>> main()
    1
    """
    handler = error_handler or get_error_handler()

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        handler.initialize()
        try:
            return fn(*args, **kwargs)
        except SystemExit as stop:
            if stop.code not in (0, None):
                handler.record_exception(stop)
            raise
        except ChildFailedError as failed:
            _, failure = failed.get_first_failure()
            if failure.error_file != _NO_FILE:
                handler.dump_error_file(failure.error_file, failure.exitcode)
            raise
        except Exception as problem:
            handler.record_exception(problem)
            raise

    return wrapper

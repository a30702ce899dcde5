"""Several processes that run a program or a function: their output, their results, their end."""

from __future__ import annotations

import abc
import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntFlag
from types import FrameType
from typing import Any

from .errors import ProcessFailure, record

__all__ = [
    "DefaultLogsSpecs", "LogsDest", "LogsSpecs", "MultiprocessContext", "PContext", "RunProcsResult", "SignalException", "Std",
    "SubprocessContext", "to_map",
]  # fmt: skip

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


class SignalException(Exception):
    """A signal came that asks for the end: `sigval`."""

    def __init__(self, msg: str, sigval: signal.Signals) -> None:
        super().__init__(msg)
        self.sigval = sigval


def _on_signal(number: int, frame: FrameType | None) -> None:
    raise SignalException(f"Process {os.getpid()} got signal: {number}", sigval=signal.Signals(number))


def _signals() -> list[int]:
    names = os.environ.get("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT").split(",")
    return [getattr(signal, name.strip()) for name in names if hasattr(signal, name.strip())]


class Std(IntFlag):
    """Standard streams.

    >>> Std.from_str("3") == Std.OUT | Std.ERR
    True
    """

    NONE, OUT, ERR = 0, 1, 2
    ALL = OUT | ERR

    @classmethod
    def from_str(cls, vm: str) -> Any:
        """Of text: `3` for all ranks, or `0:1,1:2` by local rank."""
        names = {"0": cls.NONE, "1": cls.OUT, "2": cls.ERR, "3": cls.ALL}
        if re.match("^[0-3]$", vm):
            return names[vm]
        if re.match("^[0-9]:[0-3],?", vm):
            return {int(part.split(":")[0]): names[part.split(":")[1]] for part in vm.split(",") if part}
        raise ValueError(f"{vm} does not match: <^[0-9]:[0-3],?|^[0-3]$>")


def to_map(val_or_map: Any, local_world_size: int) -> dict[int, Std]:
    """A value for every local rank.

    >>> to_map({1: Std.OUT}, 2) == {0: Std.NONE, 1: Std.OUT}
    True
    """
    if isinstance(val_or_map, Std):
        return dict.fromkeys(range(local_world_size), val_or_map)
    return {rank: val_or_map.get(rank, Std.NONE) for rank in range(local_world_size)}


@dataclass
class LogsDest:
    """The files of each local rank's output, and of its error."""

    stdouts: dict[int, str] = field(default_factory=dict)
    stderrs: dict[int, str] = field(default_factory=dict)
    tee_stdouts: dict[int, str] = field(default_factory=dict)
    tee_stderrs: dict[int, str] = field(default_factory=dict)
    error_files: dict[int, str] = field(default_factory=dict)
    filtered_stdout: str = field(default_factory=str)
    filtered_stderr: str = field(default_factory=str)


class LogsSpecs(abc.ABC):
    """Where output goes: `redirects` into files, `tee` into files and here."""

    def __init__(self, log_dir: str | None = None, redirects: Any = Std.NONE, tee: Any = Std.NONE, local_ranks_filter: set[int] | None = None) -> None:  # fmt: skip
        self._root_log_dir, self._redirects, self._tee = log_dir, redirects, tee
        self._local_ranks_filter = local_ranks_filter

    @abc.abstractmethod
    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """The files for processes with these environments."""

    @property
    @abc.abstractmethod
    def root_log_dir(self) -> str:
        """The folder of all files."""


class DefaultLogsSpecs(LogsSpecs):
    """Files `LOG_DIR/RUN_ID/attempt_N/LOCAL_RANK/{stdout,stderr}.log` and `error.json`."""

    def __init__(self, log_dir: str | None = None, redirects: Any = Std.NONE, tee: Any = Std.NONE, local_ranks_filter: set[int] | None = None) -> None:  # fmt: skip
        if log_dir and log_dir != os.devnull:
            if os.path.exists(log_dir) and not os.path.isdir(log_dir):
                raise NotADirectoryError(f"log_dir: {log_dir} is a file")
            os.makedirs(log_dir, exist_ok=True)
        super().__init__(log_dir, redirects, tee, local_ranks_filter)
        self._run_log_dir: str | None = None

    @property
    def root_log_dir(self) -> str:
        """The folder of all files."""
        return str(self._root_log_dir)

    def _folder(self, run_id: str) -> str:
        if self._run_log_dir is None:
            kept = self._root_log_dir not in (None, os.devnull)
            base = self._root_log_dir if kept else tempfile.mkdtemp(prefix="torchelastic_")
            self._run_log_dir = tempfile.mkdtemp(prefix=f"{run_id}_", dir=base)
        return self._run_log_dir

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """The files for processes with these environments."""
        if not envs:
            return LogsDest()
        run_id = envs[0].get("TORCHELASTIC_RUN_ID", "test_run_id")
        folder = os.path.join(self._folder(run_id), f"attempt_{envs[0].get('TORCHELASTIC_RESTART_COUNT', '0')}")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        found = LogsDest(
            filtered_stdout=os.path.join(folder, "filtered_stdout.log"),
            filtered_stderr=os.path.join(folder, "filtered_stderr.log"),
        )
        redirects, tee = to_map(self._redirects, len(envs)), to_map(self._tee, len(envs))
        for rank in envs:
            place = os.path.join(folder, str(rank))
            os.makedirs(place)
            to_file = redirects[rank] | tee[rank]
            hidden = self._local_ranks_filter and rank not in self._local_ranks_filter
            for flag, name, files, tees in (
                (Std.OUT, "stdout.log", found.stdouts, found.tee_stdouts),
                (Std.ERR, "stderr.log", found.stderrs, found.tee_stderrs),
            ):
                path = os.path.join(place, name)
                files[rank] = path if to_file & flag else os.devnull if hidden else ""
                tees[rank] = path if tee[rank] & flag and not hidden else ""
            found.error_files[rank] = os.path.join(place, "error.json")
        return found


@dataclass
class RunProcsResult:
    """How processes ended: what functions returned, what failed, where output is."""

    return_values: dict[int, Any] = field(default_factory=dict)
    failures: dict[int, ProcessFailure] = field(default_factory=dict)
    stdouts: dict[int, str] = field(default_factory=dict)
    stderrs: dict[int, str] = field(default_factory=dict)

    def is_failed(self) -> bool:
        """Whether any failed."""
        return bool(self.failures)


class _Tail:
    """Copies files to a stream while they grow, each line behind a prefix."""

    def __init__(
        self, files: dict[int, str], prefixes: dict[int, str], to: Any, keep: Callable[[str], bool] | None = None
    ) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._copy, args=(path, prefixes.get(rank, ""), to, keep), daemon=True)
            for rank, path in files.items()
            if path
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(10)

    def _copy(self, path: str, prefix: str, to: Any, keep: Callable[[str], bool] | None) -> None:
        while not os.path.exists(path):
            if self._stop.wait(0.05):
                return
        rest = ""
        with open(path, errors="replace") as file:
            while True:
                ended = self._stop.is_set()
                rest += file.read()
                *lines, rest = rest.split("\n")
                for line in [*lines, rest] if ended and rest else lines:
                    if keep is None or keep(line):
                        to.write(f"{prefix}{line}\n")
                to.flush()
                if ended:
                    return
                self._stop.wait(0.05)


class PContext(abc.ABC):
    """Processes that were started together: `start`, then `wait`, and `close` in any case."""

    def __init__(
        self, name: str, entrypoint: Callable[..., Any] | str, args: dict[int, tuple[Any, ...]], envs: dict[int, dict[str, str]],
        logs_specs: LogsSpecs, log_line_prefixes: dict[int, str] | None = None, duplicate_stdout_filters: list[str] | None = None,
        duplicate_stderr_filters: list[str] | None = None,
    ) -> None:  # fmt: skip
        if set(args) != set(envs) or set(args) != set(range(len(args))):
            raise RuntimeError(
                f"args and envs must have the same local ranks 0, 1, ...: {sorted(args)} and {sorted(envs)}"
            )
        self.name, self.entrypoint, self.args, self.envs, self.nprocs = name, entrypoint, args, envs, len(args)
        dest = logs_specs.reify(envs)
        self.stdouts, self.stderrs, self.error_files = dest.stdouts, dest.stderrs, dest.error_files
        prefixes = log_line_prefixes or {rank: f"[{name}{rank}]:" for rank in args}
        self._tails = [_Tail(dest.tee_stdouts, prefixes, sys.stdout), _Tail(dest.tee_stderrs, prefixes, sys.stderr)]
        self._processes: dict[int, Any] = {}
        self._failed_at: dict[int, float] = {}
        self._handlers: dict[int, Any] = {}  # those that were there before

    def start(self) -> None:
        """Start them. Signals that ask for the end become a SignalException here."""
        if threading.current_thread() is threading.main_thread():
            for number in _signals():
                self._handlers[number] = signal.signal(number, _on_signal)
        self._start()
        for tail in self._tails:
            tail.start()

    @abc.abstractmethod
    def _start(self) -> None: ...

    @abc.abstractmethod
    def _codes(self) -> dict[int, int | None]:
        """The exit code of each, None while it runs."""

    @abc.abstractmethod
    def _results(self) -> dict[int, Any]:
        """What they returned."""

    def pids(self) -> dict[int, int]:
        """Their ids."""
        return {rank: process.pid for rank, process in self._processes.items()}

    def _signal(self, rank: int, number: int) -> None:
        with contextlib.suppress(OSError):
            os.kill(self._processes[rank].pid, number)

    def _poll(self) -> RunProcsResult | None:
        codes = self._codes()
        failed = {rank: code for rank, code in codes.items() if code}
        for rank in failed:
            self._failed_at.setdefault(rank, time.time())
        if failed:
            self.close()
            codes = {rank: code for rank, code in self._codes().items() if code}
            pids = self.pids()
            failures = {}
            # The first to fail comes first, and those that were ended on its account last.
            for rank in sorted(codes, key=lambda r: self._failed_at.get(r, float("inf"))):
                failures[rank] = ProcessFailure(rank, pids[rank], codes[rank] or 0, self.error_files[rank])
                failures[rank].timestamp = int(self._failed_at.get(rank, time.time()))
            return RunProcsResult({}, failures, self.stdouts, self.stderrs)
        if all(code == 0 for code in codes.values()):
            results = self._results()
            self.close()
            return RunProcsResult(results, {}, self.stdouts, self.stderrs)
        return None

    def wait(self, timeout: float = -1, period: float = 1) -> RunProcsResult | None:
        """Wait for their end, `timeout` seconds at most (0: only look); None if they still run."""
        if timeout == 0:
            return self._poll()
        end = time.monotonic() + timeout if timeout > 0 else float("inf")
        while time.monotonic() < end:
            found = self._poll()
            if found is not None:
                return found
            time.sleep(min(period, max(end - time.monotonic(), 0)))
        return None

    def close(self, death_sig: signal.Signals | None = None, timeout: int = 30) -> None:
        """End those that still run: by a signal, and by force after `timeout` seconds."""
        self._close(death_sig or signal.SIGTERM, timeout)
        for tail in self._tails:
            tail.stop()
        if threading.current_thread() is threading.main_thread():
            while self._handlers:
                signal.signal(*self._handlers.popitem())

    def _close(self, death_sig: signal.Signals, timeout: int = 30) -> None:
        running = [rank for rank, code in self._codes().items() if code is None]
        for rank in running:
            self._signal(rank, death_sig)
        end = time.monotonic() + timeout
        while any(self._codes()[rank] is None for rank in running) and time.monotonic() < end:
            time.sleep(0.02)
        for rank in running:
            if self._codes()[rank] is None:
                self._signal(rank, _KILL)
        while any(self._codes()[rank] is None for rank in running):
            time.sleep(0.02)


class SubprocessContext(PContext):
    """Processes that run a program."""

    def __init__(
        self, name: str, entrypoint: str, args: dict[int, tuple[Any, ...]], envs: dict[int, dict[str, str]], logs_specs: LogsSpecs,
        log_line_prefixes: dict[int, str] | None = None, numa_options: Any = None, duplicate_stdout_filters: list[str] | None = None,
        duplicate_stderr_filters: list[str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, entrypoint, args, envs, logs_specs, log_line_prefixes, duplicate_stdout_filters, duplicate_stderr_filters)  # fmt: skip

    def _start(self) -> None:
        if self._processes:
            raise ValueError(
                "The subprocess handlers already initialized. Most likely the start method got called twice."
            )
        for rank in range(self.nprocs):
            with contextlib.ExitStack() as files:
                out, err = (
                    files.enter_context(open(paths[rank], "wb")) if paths.get(rank) else None
                    for paths in (self.stdouts, self.stderrs)
                )
                self._processes[rank] = subprocess.Popen(
                    [str(self.entrypoint), *map(str, self.args[rank])],
                    env={**os.environ, **self.envs[rank], "TORCHELASTIC_ERROR_FILE": self.error_files[rank]},
                    stdout=out,
                    stderr=err,
                )

    def _codes(self) -> dict[int, int | None]:
        return {rank: process.poll() for rank, process in self._processes.items()}

    def _results(self) -> dict[int, Any]:
        return {}


def _run_function(rank: int, fn: Any, args: Any, env: dict[str, str], out: str, err: str, results: Any) -> None:
    os.environ.update(env)
    for number in _signals():  # a forked process has its parent's handlers
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        if path:
            stream.flush()
            with open(path, "wb") as file:
                os.dup2(file.fileno(), stream.fileno())
    results.put((rank, record(fn)(*args)))


class MultiprocessContext(PContext):
    """Processes that run a function; what it returns is in `return_values`."""

    def __init__(
        self, name: str, entrypoint: Callable[..., Any], args: dict[int, tuple[Any, ...]], envs: dict[int, dict[str, str]], start_method: str,
        logs_specs: LogsSpecs, log_line_prefixes: dict[int, str] | None = None, numa_options: Any = None,
        duplicate_stdout_filters: list[str] | None = None, duplicate_stderr_filters: list[str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, entrypoint, args, envs, logs_specs, log_line_prefixes, duplicate_stdout_filters, duplicate_stderr_filters)  # fmt: skip
        self.start_method = start_method
        self._context: Any = multiprocessing.get_context(start_method)
        self._queue = self._context.SimpleQueue()
        self._returned: dict[int, Any] = {}

    def _start(self) -> None:
        if self._processes:
            raise ValueError("The process context already initialized. Most likely the start method got called twice.")
        for rank in range(self.nprocs):
            env = {**self.envs[rank], "TORCHELASTIC_ERROR_FILE": self.error_files[rank]}
            given = (rank, self.entrypoint, self.args[rank], env, self.stdouts[rank], self.stderrs[rank], self._queue)
            process = self._context.Process(target=_run_function, args=given, daemon=False)
            process.start()
            self._processes[rank] = process

    def _codes(self) -> dict[int, int | None]:
        self._drain()  # a process does not end before what it returned is taken
        return {rank: process.exitcode for rank, process in self._processes.items()}

    def _drain(self) -> None:
        while not self._queue.empty():
            rank, value = self._queue.get()
            self._returned[rank] = value

    def _results(self) -> dict[int, Any]:
        self._drain()
        return dict(sorted(self._returned.items()))

"""`spawn`: several processes that run one function, ended together when one of them fails."""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from warnings import warn

__all__ = [
    "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException", "spawn", "SpawnContext",
    "start_processes",
]  # fmt: skip

ENV_VAR_PARALLEL_START = "TORCH_MP_PARALLEL_START"
log = logging.getLogger(__name__)


class ProcessException(Exception):
    """Base: a process ended with an error; `error_index` is its number, `error_pid` its id."""

    def __init__(self, msg: str, error_index: int, error_pid: int):
        super().__init__(msg)
        self.msg = msg
        self.error_index = error_index
        self.error_pid = error_pid

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.error_pid)


class ProcessRaisedException(ProcessException):
    """A process raised an exception; the message has its traceback."""


class ProcessExitedException(ProcessException):
    """A process exited with a code or was killed by a signal."""

    def __init__(self, msg, error_index, error_pid, exit_code, signal_name=None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code = exit_code
        self.signal_name = signal_name

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.error_pid, self.exit_code, self.signal_name)


def _end_with_parent():
    """Asks the kernel to interrupt this process when its parent ends."""
    if sys.platform != "linux":
        return
    import ctypes

    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _wrap(fn, i, args, error_file):
    _end_with_parent()
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass  # the parent was interrupted, or has ended
    except Exception:
        with open(error_file, "wb") as file:
            pickle.dump(traceback.format_exc(), file)
        sys.exit(1)


class ProcessContext:
    """Processes that were started together."""

    def __init__(self, processes, error_files):
        self.error_files = error_files
        self.processes = processes
        self.sentinels = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self):
        """Their ids."""
        return [int(process.pid) for process in self.processes]

    def _join_procs_with_timeout(self, timeout: float):
        end = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0, end - time.monotonic()))

    def join(self, timeout: float | None = None, grace_period: float | None = None):
        """Waits until some process ends (or `timeout` seconds); True if all have ended.

        When one has failed the others are ended, after `grace_period` seconds, and its error is raised here.
        """
        if not self.sentinels:
            return True
        failed = None
        for sentinel in wait(list(self.sentinels), timeout):
            i = self.sentinels.pop(sentinel)
            self.processes[i].join()
            if self.processes[i].exitcode != 0:
                failed = i
                break
        if failed is None:
            return not self.sentinels
        self._end(grace_period)
        self._raise(failed)

    def _end(self, grace_period):
        if grace_period is not None:
            self._join_procs_with_timeout(grace_period)
        for process in self.processes:
            if process.is_alive():
                log.warning("Terminating process %s via signal SIGTERM", process.pid)
                process.terminate()
        self._join_procs_with_timeout(30 if grace_period is None else grace_period)
        for process in self.processes:
            if process.is_alive():
                log.warning("Unable to shutdown process %s via SIGTERM , forcefully exiting via SIGKILL", process.pid)
                process.kill()
            process.join()

    def _raise(self, i):
        pid, code = self.processes[i].pid, self.processes[i].exitcode
        if os.access(self.error_files[i], os.R_OK):
            with open(self.error_files[i], "rb") as file:
                text = pickle.load(file)
            os.unlink(self.error_files[i])
            message = f"\n\n-- Process {i:d} terminated with the following error:\n{text}"
            raise ProcessRaisedException(message, i, pid)
        if code >= 0:
            message = f"process {i:d} terminated with exit code {code:d}"
            raise ProcessExitedException(message, error_index=i, error_pid=pid, exit_code=code)
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"<Unknown signal {-code}>"
        message = f"process {i:d} terminated with signal {name}"
        raise ProcessExitedException(message, error_index=i, error_pid=pid, exit_code=code, signal_name=name)


class SpawnContext(ProcessContext):
    """An older name of `ProcessContext`."""

    def __init__(self, processes, error_files):
        warn("SpawnContext is renamed to ProcessContext since 1.4 release.", stacklevel=2)
        super().__init__(processes, error_files)


def start_processes(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """Runs `fn(i, *args)` in process `i` of `nprocs`; waits for all if `join`, else returns a `ProcessContext`."""
    context = multiprocessing.get_context(start_method)
    directory = tempfile.gettempdir()
    stem = f"flambeau-error-{os.getpid()}-{os.urandom(6).hex()}"
    files = [os.path.join(directory, f"{stem}-{i}.pickle") for i in range(nprocs)]

    def start(i):
        process = context.Process(target=_wrap, args=(fn, i, args, files[i]), daemon=daemon)
        process.start()
        return process

    if start_method == "forkserver" and os.environ.get(ENV_VAR_PARALLEL_START, "0") == "1":
        with ThreadPoolExecutor(max_workers=nprocs) as executor:
            processes = list(executor.map(start, range(nprocs)))
    else:
        processes = [start(i) for i in range(nprocs)]
    started = ProcessContext(processes, files)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """Runs `fn(i, *args)` in process `i` of `nprocs` fresh processes.

    If one fails the others are ended, and its error is raised here with its traceback.
    """
    if start_method != "spawn":
        warn(
            f"This method only supports start_method=spawn (got: {start_method}).\n"
            "To use a different start_method use:\n\t\t torch.multiprocessing.start_processes(...)",
            FutureWarning,
            stacklevel=2,
        )
    return start_processes(fn, args, nprocs, join, daemon, start_method="spawn")

"""Tells at once when a worker of a loader dies, for loaders that others wrote (torchdata's); this library's own waits on the processes."""

import os
import signal
import sys
import threading

IS_WINDOWS = sys.platform == "win32"

_workers: dict[int, tuple[int, ...]] = {}
_SIGCHLD_handler_set = False


def _set_worker_signal_handlers(*args):
    """In a worker: nothing is needed, an end by a signal is reported by the parent."""


def _set_worker_pids(loader, pids):
    """The processes that belong to a loader."""
    if loader in _workers:
        raise ValueError("_set_worker_pids should be called only once for each _BaseDataLoaderIter.")
    _workers[loader] = tuple(pids)


def _remove_worker_pids(loader):
    """Those of a loader end, and nobody need hear of it."""
    if loader not in _workers:
        raise ValueError(f"Cannot find worker information for _BaseDataLoaderIter with id {loader}.")
    del _workers[loader]


def _error_if_any_worker_fails():
    """Raises RuntimeError where a worker has died; it stays to be waited for."""
    if IS_WINDOWS:
        return
    for loader, pids in list(_workers.items()):
        for pid in pids:
            try:
                gone = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                continue
            if gone is None or (gone.si_code == os.CLD_EXITED and gone.si_status == 0):
                continue
            _workers[loader] = ()  # told once
            if gone.si_code == os.CLD_EXITED:
                how = f"exited unexpectedly with exit code {gone.si_status}"
                raise RuntimeError(
                    f"DataLoader worker (pid {pid}) {how}. Details are lost due to multiprocessing. "
                    "Rerunning with num_workers=0 may give better error trace."
                )
            raise RuntimeError(
                f"DataLoader worker (pid {pid}) is killed by signal: {signal.strsignal(gone.si_status)}. "
            )


def _set_SIGCHLD_handler():
    """From now on the death of a worker interrupts the main thread with an error."""
    global _SIGCHLD_handler_set
    if IS_WINDOWS or _SIGCHLD_handler_set or not isinstance(threading.current_thread(), threading._MainThread):
        return
    before = signal.getsignal(signal.SIGCHLD)

    def handler(signum, frame):
        _error_if_any_worker_fails()
        if callable(before):
            before(signum, frame)

    signal.signal(signal.SIGCHLD, handler)
    _SIGCHLD_handler_set = True

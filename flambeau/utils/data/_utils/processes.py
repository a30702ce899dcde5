"""`_MultiProcessingDataLoaderIter`: one pass over a dataset by worker processes.

Batches are numbered.  Each worker has its channel, over which it is asked for batches ahead of time and sends them back;
the loader waits on all channels at once and gives the batches out in order.
"""

import os
import signal
import sys
import time
from itertools import cycle
from multiprocessing.connection import wait
from pickle import PicklingError
from warnings import warn

import flambeau.multiprocessing
from flambeau._utils import ExceptionWrapper

from . import MP_STATUS_CHECK_INTERVAL, parcel, worker
from .channel import pair
from .iterator import _BaseDataLoaderIter


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Gives out the batches that worker processes make."""

    def __init__(self, loader) -> None:
        super().__init__(loader)
        self._prefetch_factor = loader.prefetch_factor
        self._in_order = loader.in_order
        if self._num_workers <= 0:
            raise AssertionError("num_workers must be greater than 0 for MultiProcessingDataLoaderIter")
        if self._prefetch_factor <= 0:
            raise AssertionError("prefetch_factor must be greater than 0 for MultiProcessingDataLoaderIter")
        self._worker_init_fn = loader.worker_init_fn
        self._shutdown = False
        self._owner = os.getpid()
        self._channels, self._workers = [], []
        self._arena = parcel.Arena()
        context = loader.multiprocessing_context or flambeau.multiprocessing
        parcel.warm()
        try:
            for i in range(self._num_workers):
                self._start(context, i)
        except BaseException:
            self._shutdown_workers()
            raise
        self._reset(loader, first_iter=True)

    def _start(self, context, i):
        task = worker.Task(
            self._dataset_kind,
            self._dataset,
            self._auto_collation,
            self._collate_fn,
            self._drop_last,
            self._base_seed,
            self._worker_init_fn,
            i,
            self._num_workers,
            self._shared_seed,
        )
        ours, theirs = pair()
        self._channels.append(ours)
        process = context.Process(target=worker._worker_loop, args=(theirs, task), daemon=True)
        try:
            process.start()
        except (TypeError, AttributeError, PicklingError):
            warn(
                "Got pickle error when attempting to start a worker Process. This might be because the worker Process "
                "arguments are not picklable. Python 3.14+ changed the multiprocessing start method in non-Mac POSIX "
                "platforms to 'forkserver', which requires the worker Process arguments to be picklable. You can also "
                "try multiprocessing.set_start_method('fork').",
                stacklevel=5,
            )
            raise
        finally:
            theirs.close()
        self._workers.append(process)

    def _reset(self, loader, first_iter=False) -> None:
        super()._reset(loader, first_iter)
        if not first_iter:
            self._resume()
        self._send_idx = 0  # the number of the next batch to ask for
        self._rcvd_idx = 0  # the number of the next batch to give out
        self._task_info = {}  # number -> (worker,), or (worker, batch) if it came before its turn
        self._tasks_outstanding = 0
        self._workers_status = [True] * self._num_workers
        self._workers_num_tasks = [0] * self._num_workers
        self._worker_queue_idx_cycle = cycle(range(self._num_workers))
        for _ in range(self._prefetch_factor * self._num_workers):
            self._try_put_index()

    def _resume(self):
        """Begins another epoch with the same workers; what is left of the last one is dropped."""
        for i in range(self._num_workers):
            self._send(i, worker._ResumeIteration(self._shared_seed))
        missing = self._num_workers
        self._workers_status = [True] * self._num_workers
        while missing:
            number, _ = self._get_data()
            missing -= isinstance(number, worker._ResumeIteration)

    # ---- talking to the workers ----------------------------------------------------------------------------------
    def _send(self, i, message):
        try:
            self._channels[i].send(*parcel.pack(message, self._arena), block=False)
        except (BrokenPipeError, ConnectionResetError):
            self._report([i])

    def _get_data(self):
        """What some worker sends next."""
        deadline = time.monotonic() + self._timeout if self._timeout > 0 else None
        while True:
            alive = [i for i, status in enumerate(self._workers_status) if status or self._persistent_workers]
            channels = {self._channels[i]: i for i in alive}
            for channel in channels:
                channel.flush()
            blocked = any(channel.waiting for channel in channels)
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            if blocked:  # a worker must read before it can be sent more: look again soon
                left = 0.01 if left is None else min(left, 0.01)
            # Fair: of several that are ready, the one whose turn is next is read first.
            ready = [channels[channel] for channel in wait(list(channels), left)]
            if not ready:
                continue
            turn = self._task_info.get(self._rcvd_idx, (ready[0],))[0]
            i = turn if turn in ready else ready[0]
            try:
                return self._channels[i].recv()
            except EOFError:
                self._report([i])
            except OSError as error:
                if error.errno == 24:
                    raise RuntimeError(
                        "Too many open files. Communication with the workers is no longer possible. Please increase the "
                        "limit using `ulimit -n` in the shell or change the sharing strategy by calling "
                        "`torch.multiprocessing.set_sharing_strategy('file_system')` at the beginning of your code"
                    ) from None
                raise

    def _report(self, failed):
        """Ends the other workers, and raises what is known about those that ended unasked."""
        workers = [self._workers[i] for i in failed]
        for process in workers:
            process.join(MP_STATUS_CHECK_INTERVAL)
        self._shutdown_workers()
        pids = ", ".join(str(process.pid) for process in workers)
        cause = RuntimeError(_last_words(workers[0].pid, workers[0].exitcode))
        raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly") from cause

    # ---- giving out batches --------------------------------------------------------------------------------------
    def _next_data(self):
        while True:
            if self._skip_lost():
                if not self._persistent_workers:
                    self._shutdown_workers()
                raise StopIteration
            info = self._task_info[self._rcvd_idx]
            if len(info) == 2:  # it came early
                del self._task_info[self._rcvd_idx]
                self._rcvd_idx += 1
                return self._process_data(info[1], info[0])
            if self._shutdown or self._tasks_outstanding <= 0:
                raise AssertionError("Invalid iterator state: shutdown or no outstanding tasks when fetching next data")
            number, data = self._get_data()
            self._tasks_outstanding -= 1
            if isinstance(data, worker._IterableDatasetStopIteration):
                self._finish(data.worker_id)
                self._try_put_index()
            elif number == self._rcvd_idx:
                self._rcvd_idx += 1
                return self._process_data(data, self._task_info.pop(number)[0])
            elif self._in_order:
                self._task_info[number] += (data,)
            else:
                return self._process_data(data, self._task_info.pop(number)[0])

    def _skip_lost(self):
        """Goes past the batches that workers without further items were asked for; is there nothing left?"""
        while self._rcvd_idx < self._send_idx:
            info = self._task_info.get(self._rcvd_idx)
            if info is not None:
                if len(info) == 2 or self._workers_status[info[0]]:
                    return False
                del self._task_info[self._rcvd_idx]
            self._rcvd_idx += 1
        return True

    def _finish(self, i):
        """A worker's dataset has no more items."""
        self._workers_status[i] = False
        # It answers the first request after the end only; the others are lost.
        lost = sum(info == (i,) for info in self._task_info.values()) - 1
        self._tasks_outstanding -= max(0, lost)
        if not self._persistent_workers:
            self._send(i, None)

    def _try_put_index(self) -> None:
        """Asks for one more batch, of the worker whose turn it is (or, out of order, that has least to do)."""
        most = self._prefetch_factor * self._num_workers
        try:
            index = self._next_index()
        except StopIteration:
            return
        for _ in range(self._num_workers):
            i = next(self._worker_queue_idx_cycle)
            if not self._workers_status[i]:
                continue
            if self._in_order or self._workers_num_tasks[i] < most // sum(self._workers_status):
                break
        else:
            return
        self._send(i, (self._send_idx, index))
        self._task_info[self._send_idx] = (i,)
        self._workers_num_tasks[i] += 1
        self._tasks_outstanding += 1
        self._send_idx += 1

    def _process_data(self, data, i):
        self._workers_num_tasks[i] -= 1
        self._try_put_index()
        if isinstance(data, ExceptionWrapper):
            data.reraise()
        if self._pin_memory:
            from .pin_memory import pin_memory

            data = pin_memory(data, self._pin_memory_device)
        return data

    # ---- the end -------------------------------------------------------------------------------------------------
    def _shutdown_workers(self) -> None:
        """Ends the workers: they see their channels end; those that are too busy to look are ended."""
        if self._shutdown or sys.is_finalizing() or os.getpid() != self._owner:
            return
        self._shutdown = True
        for channel in self._channels:
            channel.close()
        deadline = time.monotonic() + MP_STATUS_CHECK_INTERVAL
        for process in self._workers:
            process.join(max(0, deadline - time.monotonic()))
        for end in ("terminate", "kill"):
            for process in self._workers:
                if process.is_alive():
                    getattr(process, end)()
                    process.join(MP_STATUS_CHECK_INTERVAL)

    def __del__(self) -> None:
        if hasattr(self, "_workers"):
            self._shutdown_workers()


def _last_words(pid, exitcode):
    """What is known about a worker that ended unasked."""
    if exitcode is None or exitcode >= 0:
        return (
            f"DataLoader worker (pid {pid}) exited unexpectedly with exit code {exitcode}. Details are lost due to "
            "multiprocessing. Rerunning with num_workers=0 may give better error trace."
        )
    text = f"DataLoader worker (pid {pid}) is killed by signal: {signal.strsignal(-exitcode)}. "
    if -exitcode == signal.SIGBUS:
        text += (
            "It is possible that dataloader's workers are out of shared memory. "
            "Please try to raise your shared memory limit."
        )
    return text

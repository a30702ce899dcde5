"""Runs a function on several ranks, each a process of its own, and collects what they answer."""

import traceback
from datetime import timedelta

from flambeau import distributed as dist, multiprocessing as mp


def run(fn, size=3, seconds=30, expected=None):
    """fn(rank, size) on every rank; the results by rank. `expected`: how many answer, where some are killed."""
    context = mp.get_context("fork")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = store.port
    results = context.Queue()
    # Rank 0 keeps the store in the program; here this process does, so that no port has to be guessed.
    processes = [context.Process(target=_joined, args=(fn, r, size, port, results, seconds)) for r in range(size)]
    for p in processes:
        p.start()
    answers = {}
    for _ in range(size if expected is None else expected):
        rank, value, error = results.get(timeout=2 * seconds)
        assert error is None, error
        answers[rank] = value
    for p in processes:
        p.join(10)
    store.close()
    results.close()
    return answers


def _joined(fn, rank, size, port, results, seconds):
    try:
        store = dist.TCPStore("127.0.0.1", port, wait_for_workers=False)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=seconds))
        value = fn(rank, size)
        dist.destroy_process_group()
        results.put((rank, value, None))
    except BaseException:
        results.put((rank, None, traceback.format_exc()))

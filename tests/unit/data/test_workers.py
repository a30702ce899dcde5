"""Worker processes when things go wrong, and when they go on for long: nothing hangs, nothing is left behind."""

import gc
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest

import flambeau
from flambeau.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from tests.unit.data import cases

ROOT = pathlib.Path(__file__).parents[3]
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


class Items(Dataset):
    """`fetch(i)` for i below n."""

    def __init__(self, fetch, n=20):
        self.fetch, self.n = fetch, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.fetch(i)


def at(i, event):
    """Items that count, until `event()` happens at the i-th."""
    return Items(lambda j: event() if j == i else j)


def children():
    gc.collect()
    return len(multiprocessing.active_children())


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def shared_files():
    return {name for name in os.listdir("/dev/shm") if "flambeau" in name or "torch" in name}


def raising(error):
    def event():
        raise error

    return event


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV"])
def test_a_killed_worker_is_reported_at_once(name):
    number = getattr(signal, name)

    def die():
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # not the test runner's
        os.kill(os.getpid(), number)
        time.sleep(9)

    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly") as caught:
        list(DataLoader(at(7, die), num_workers=2, batch_size=2))
    assert time.monotonic() - start < 4
    assert f"is killed by signal: {signal.strsignal(number)}. " in str(caught.value.__cause__)
    assert children() == 0


def test_a_worker_that_exits_is_reported():
    with pytest.raises(RuntimeError, match="exited unexpectedly") as caught:
        list(DataLoader(at(3, lambda: os._exit(3)), num_workers=1))
    assert "exited unexpectedly with exit code 3. Details are lost" in str(caught.value.__cause__)


def test_a_persistent_worker_that_was_killed_is_reported():
    loader = DataLoader(range(10), num_workers=2, persistent_workers=True)
    list(loader)
    os.kill(loader._iterator._workers[1].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(loader)
    assert len(list(loader)) == 10  # with new workers


class Custom(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("broken"), ValueError), (KeyError("broken"), KeyError), (Custom("broken", 2), RuntimeError)],
)
def test_an_exception_arrives_with_the_workers_traceback(error, kind):
    with pytest.raises(kind) as caught:
        list(DataLoader(at(5, raising(error)), num_workers=2))
    text = str(caught.value)
    assert text.startswith(f"Caught {type(error).__name__} in DataLoader worker process 1.\nOriginal Traceback")
    assert "in event\n    raise error\n" in text
    assert "broken" in text


def test_the_loader_goes_on_after_an_exception():
    iterator = iter(DataLoader(at(2, raising(ValueError("once"))), num_workers=2, batch_size=None))
    found = []
    while True:
        try:
            found.append(next(iterator))
        except ValueError:
            found.append("error")
        except StopIteration:
            break
    assert found == [0, 1, "error", *range(3, 20)]


def test_an_exception_in_the_init_function():
    def init(worker):
        raise RuntimeError(f"no {worker}")

    with pytest.raises(RuntimeError, match="no 0"):
        list(DataLoader(range(4), num_workers=1, worker_init_fn=init))


def test_stop_iteration_in_a_dataset_by_index_is_an_error():
    with pytest.raises(StopIteration, match="Caught StopIteration in DataLoader worker process 0"):
        next(iter(DataLoader(at(0, raising(StopIteration())), num_workers=1)))


def test_what_cannot_be_pickled_is_reported():
    with pytest.raises(Exception, match="lambda"):
        list(DataLoader(Items(lambda i: lambda: i), num_workers=1, batch_size=None))


def test_a_graph_cannot_travel():
    def item(i):
        return flambeau.ones(1, requires_grad=True) * i

    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
        list(DataLoader(Items(item), num_workers=1, batch_size=None))


def test_timeout():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.5 seconds"):
        list(DataLoader(at(3, lambda: time.sleep(30)), num_workers=1, timeout=0.5))
    assert time.monotonic() - start < 9  # the worker is busy: it is given five seconds, then ended


def test_an_abandoned_iterator_ends_its_workers():
    iterator = iter(DataLoader(range(1000), num_workers=2))
    next(iterator)
    workers = iterator._workers
    assert all(w.is_alive() for w in workers)
    del iterator
    gc.collect()
    assert not any(w.is_alive() for w in workers)


def test_workers_of_several_loaders_end_apart():
    """A worker that was started later holds no end of the channels of an earlier loader."""
    first = iter(DataLoader(range(1000), num_workers=2))
    second = iter(DataLoader(range(1000), num_workers=2))
    assert (next(first).item(), next(second).item()) == (0, 0)
    workers = first._workers
    start = time.monotonic()
    del first
    gc.collect()
    assert not any(w.is_alive() for w in workers)
    assert time.monotonic() - start < 4
    assert next(second).item() == 1


@pytest.mark.parametrize("persistent", [False, True])
def test_many_epochs_leave_nothing_behind(persistent):
    dataset = Items(lambda i: {"x": flambeau.full((64, 64), float(i)), "y": np.zeros(9000, np.int16)}, n=16)
    loader = DataLoader(dataset, batch_size=4, num_workers=2, persistent_workers=persistent)
    seen = shared_files()

    def run(epochs):
        for _ in range(epochs):
            total = sum(float(batch["x"].sum()) for batch in loader)
            assert total == 64 * 64 * 120
        gc.collect()
        resident = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096
        return resident, descriptors(), shared_files()

    before = run(10)
    after = run(40)
    assert after[0] - before[0] < 4 << 20
    assert after[1] <= before[1] + 2
    assert after[2] == seen


def test_batches_do_not_travel_through_pipes():
    """What a worker sends besides shared memory is small, whatever the size of the batch."""
    sizes = []
    iterator = iter(DataLoader(Items(lambda i: flambeau.zeros(1 << 20), n=3), num_workers=1))
    channel = iterator._channels[0]
    receive = channel.socket.recvmsg

    class Spy:
        def recvmsg(self, *args):
            found = receive(*args)
            sizes.append(len(found[0]))
            return found

        def __getattr__(self, name):
            return getattr(Spy.real, name)

    Spy.real, channel.socket = channel.socket, Spy()
    assert [batch.shape[1] for batch in iterator] == [1 << 20] * 3
    assert max(sizes) < 2000


def test_every_kind_of_tensor_travels():
    fl = flambeau
    kinds = [
        fl.arange(600).view(20, 30).t(),
        fl.arange(600)[::2],
        fl.zeros(2, 3, 5, 7).contiguous(memory_format=fl.channels_last),
        fl.zeros(0, 3),
        fl.tensor(3, dtype=fl.int8),
        fl.ones(300, dtype=fl.bfloat16),
        fl.ones(3, dtype=fl.bool),
        fl.ones(300, dtype=fl.complex64),
        fl.ones(300).expand(20, 300),
        fl.ones(4, requires_grad=True),
        fl.nn.Parameter(fl.ones(500)),
    ]
    loader = DataLoader(Items(kinds.__getitem__, len(kinds)), batch_size=None, num_workers=1)
    for kind, found in zip(kinds, loader, strict=True):
        assert type(found) is type(kind)
        assert found.dtype == kind.dtype
        assert found.requires_grad == kind.requires_grad
        assert fl.equal(found, kind)
        if kind.stride() != (0, 1):
            assert found.stride() == kind.stride() or not kind.is_contiguous()
        with fl.no_grad():
            found += 1 if kind.dtype != fl.bool else True  # it is the receiver's own


@pytest.mark.parametrize("packets", [True, False])
def test_large_and_small_tensors_of_one_item(monkeypatch, packets):
    """Large ones are written from where they lie, between small ones that were gathered."""
    monkeypatch.setattr("flambeau.utils.data._utils.channel.PACKETS", packets)
    sizes = [3, 300_000, 700, 1 << 19, 5, 1000, 400_000, 2]

    def item(i):
        first = flambeau.arange(float(sizes[1])) + i
        return [first] + [flambeau.full((n,), i + n) for n in sizes] + [first[1:], first]

    for i, found in enumerate(DataLoader(Items(item, 4), batch_size=None, num_workers=2)):
        for given, arrived in zip(item(i), found, strict=True):
            assert flambeau.equal(given, arrived)


def test_large_lists_of_indices_and_large_pickles():
    batches = [list(range(60_000))] * 6
    loader = DataLoader(range(60_000), batch_sampler=batches, num_workers=2, collate_fn=lambda items: items)
    assert [len(batch) for batch in loader] == [60_000] * 6


def test_slow_readers_and_many_batches_ahead():
    loader = DataLoader(Items(lambda i: "x" * 9000, n=400), batch_size=1, num_workers=2, prefetch_factor=100)
    iterator = iter(loader)
    time.sleep(0.5)
    assert sum(len(batch[0]) for batch in iterator) == 400 * 9000


def test_order_is_kept_unless_it_need_not_be():
    def slow(i):
        time.sleep(0.2 if i == 0 else 0.0)
        return i

    kept = [b.item() for b in DataLoader(Items(slow), num_workers=2)]
    free = [b.item() for b in DataLoader(Items(slow), num_workers=2, in_order=False)]
    assert kept == list(range(20))
    assert sorted(free) == kept
    assert free != kept


def test_worker_info():
    def info(i):
        found = get_worker_info()
        return found.id, found.num_workers, found.seed, len(found.dataset)

    assert get_worker_info() is None
    rows = list(DataLoader(Items(info, 4), batch_size=None, num_workers=2))
    assert [(r[0], r[1], r[3]) for r in rows] == [(0, 2, 4), (1, 2, 4), (0, 2, 4), (1, 2, 4)]
    assert rows[1][2] == rows[0][2] + 1


def test_unequal_workers_of_an_iterable_dataset():
    class Uneven(IterableDataset):
        def __iter__(self):
            return iter(range(get_worker_info().id * 5))

    for persistent in (False, True):
        loader = DataLoader(Uneven(), batch_size=None, num_workers=3, persistent_workers=persistent)
        for _ in range(3):
            assert sorted(loader) == sorted([*range(5), *range(10)])


def test_an_epoch_may_be_left_early():
    loader = DataLoader(range(100), num_workers=2, persistent_workers=True, batch_size=5)
    for _ in range(5):
        for batch in loader:
            assert batch.tolist() == [0, 1, 2, 3, 4]
            break
    assert sum(len(batch) for batch in loader) == 100


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method):
    expected = [b["noise"] for b in DataLoader(cases.Random(9), batch_size=4, num_workers=1, generator=seeded())]
    loader = DataLoader(
        cases.Random(9), batch_size=4, num_workers=1, multiprocessing_context=method, generator=seeded()
    )
    found = list(loader)
    assert all(flambeau.equal(a["noise"], b) for a, b in zip(found, expected, strict=True))


def seeded():
    return flambeau.Generator().manual_seed(3)


def test_what_cannot_be_started_is_reported():
    loader = DataLoader(Items(lambda i: i), num_workers=1, multiprocessing_context="spawn")
    with pytest.warns(UserWarning, match="Got pickle error"), pytest.raises((AttributeError, TypeError)):
        iter(loader)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_draws_though_another_thread_was_drawing_when_it_was_forked():
    import threading

    generators = [flambeau.default_generator, flambeau.Generator()]
    held, done = threading.Event(), threading.Event()

    def hold():
        with generators[0].lock, generators[1].lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads, from 3.12 on
        child = os.fork()
    if not child:
        signal.alarm(10)
        for generator in generators:
            generator.manual_seed(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert status == 0


def test_loaders_inside_workers_and_threads():
    import threading

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(sum(b.item() for b in DataLoader(range(20), num_workers=1))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [190] * 3


PROGRAM = """
import os, sys, time
import flambeau
from flambeau.utils.data import DataLoader

class Slow:
    def __len__(self):
        return 10_000
    def __getitem__(self, i):
        time.sleep(0.01)
        return i

iterator = iter(DataLoader(Slow(), num_workers=2))
next(iterator)
print(*[w.pid for w in iterator._workers], flush=True)
"""


def start(rest):
    program = textwrap.dedent(PROGRAM + textwrap.dedent(rest))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    return process, [int(pid) for pid in process.stdout.readline().split()]


def finish(process):
    """What it still writes; `communicate` would miss what is in the buffer of its first line."""
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(20)
    process.stdout.close()
    process.stderr.close()
    return out, err


def gone(pids, seconds=12.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_interrupted_from_the_keyboard():
    process, pids = start("""
        try:
            for batch in iterator:
                pass
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            raise
    """)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the loader and its workers
    out, err = finish(process)
    assert process.returncode in (-signal.SIGINT, 130, 1)
    assert "interrupted" in out
    assert err.count("Traceback") == 1  # the loader's; the workers leave without a word
    assert gone(pids)


def test_a_loader_that_is_killed_takes_its_workers_along():
    process, pids = start("for batch in iterator: pass")
    time.sleep(0.2)
    process.kill()
    assert gone(pids)
    finish(process)


def test_even_while_another_process_holds_its_channels():
    process, pids = start("""
        if os.fork() == 0:
            os.close(1), os.close(2)
            time.sleep(25)
            os._exit(0)
        for batch in iterator: pass
    """)
    time.sleep(0.2)
    process.kill()
    assert gone(pids)
    finish(process)


def test_a_program_may_end_in_the_middle():
    process, pids = start("print('done')")
    out, err = finish(process)
    assert (process.returncode, out, err) == (0, "done\n", "")
    assert gone(pids)

"""Tensors between processes: by reference, whichever way they travel, and nothing left behind."""

import gc
import os
import signal
import sys

import pytest

import flambeau
import flambeau.multiprocessing as mp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_share_memory():
    t = flambeau.arange(6.0).view(2, 3)
    assert not t.is_shared()
    assert t.share_memory_() is t
    assert t.is_shared()
    assert t[1].is_shared()
    assert t.untyped_storage().is_shared()
    assert t.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert flambeau.zeros(0).share_memory_().is_shared()


def test_all_views_move_along():
    base = flambeau.arange(6.0)
    storage, row, column = base.untyped_storage(), base[2:], base.view(2, 3)[:, 1]
    row.share_memory_()
    base += 1
    assert row.tolist() == [3, 4, 5, 6]
    assert column.tolist() == [2, 5]
    assert storage.data_ptr() == base.data_ptr()
    assert base.untyped_storage() is storage
    assert storage.is_shared()


def test_shared_from_the_start():
    storage = flambeau.UntypedStorage._new_shared(16)
    assert storage.is_shared()
    assert storage.tolist() == [0] * 16
    storage = flambeau.UntypedStorage(8).fill_(3).share_memory_()
    assert storage.is_shared()
    assert storage.tolist() == [3] * 8


def test_a_model_shares_its_parameters():
    net = flambeau.nn.Linear(3, 2).share_memory()
    assert all(p.is_shared() and p.requires_grad for p in net.parameters())
    net(flambeau.ones(3)).sum().backward()
    assert net.bias.grad.tolist() == [1, 1]


def add(queue, done, tensor, received_back):
    received = queue.get()
    received += 1
    with flambeau.no_grad():
        tensor.add_(1)
    done.put((received, received[1:]))
    received_back.wait(60)  # whoever sends a descriptor must live until it has arrived


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_queues_send_references(method):
    context = mp.get_context(method)
    queue, done, event = context.Queue(), context.Queue(), context.Event()
    given, parameter = flambeau.zeros(3), flambeau.nn.Parameter(flambeau.ones(2)).share_memory_()
    process = context.Process(target=add, args=(queue, done, parameter, event))
    process.start()
    queue.put(given)
    back, part = done.get(timeout=60)
    event.set()
    process.join()
    assert given.tolist() == [1, 1, 1]  # the other process changed it
    assert parameter.tolist() == [2, 2]
    assert back.data_ptr() == given.data_ptr()  # and what came back is the same memory
    part += 5
    assert given.tolist() == [1, 6, 6]


def through_pipe(tensor):
    ours, theirs = mp.Pipe()
    ours.send(tensor)
    return theirs.recv()


def test_what_a_tensor_is_survives():
    fl = flambeau
    for t in (
        fl.arange(6).view(2, 3).t(),
        fl.ones(3, dtype=fl.bfloat16),
        fl.tensor(True),
        fl.zeros(0, 2),
        fl.ones(2, requires_grad=True),
        fl.nn.Parameter(fl.ones(2), requires_grad=False),
        fl.ones(4)[::2],
    ):
        found = through_pipe(t)
        assert type(found) is type(t)
        assert (found.dtype, found.shape, found.stride()) == (t.dtype, t.shape, t.stride())
        assert found.requires_grad == t.requires_grad
        assert fl.equal(found, t)


def test_storages_travel():
    storage = flambeau.UntypedStorage(4).fill_(7)
    found = through_pipe(storage)
    found[0] = 1
    assert storage.tolist() == [1, 7, 7, 7]


def test_a_graph_does_not_travel():
    with pytest.raises(RuntimeError, match="Cowardly refusing"):
        through_pipe(flambeau.ones(2, requires_grad=True) * 2)


def test_nothing_is_left_behind():
    for _ in range(3):
        through_pipe(flambeau.ones(1000))
    gc.collect()
    before = descriptors()
    for _ in range(50):
        through_pipe(flambeau.ones(1000))
    gc.collect()
    assert descriptors() <= before + 2


def test_strategies():
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    with pytest.raises(AssertionError, match="invalid sharing strategy"):
        mp.set_sharing_strategy("pigeon")
    mp.set_sharing_strategy("file_system")
    mp.set_sharing_strategy("file_descriptor")


def work(i, results):
    results[i] += i + 1


def fail(i):
    if i == 1:
        raise ValueError("broken")
    signal.pause()


def die(i):
    os.kill(os.getpid(), signal.SIGKILL) if i == 0 else signal.pause()


def test_start_processes():
    results = flambeau.zeros(3).share_memory_()
    mp.start_processes(work, (results,), nprocs=3, start_method="fork")
    assert results.tolist() == [1, 2, 3]


def test_errors_end_all_processes():
    context = mp.start_processes(fail, nprocs=3, join=False, start_method="fork")
    with pytest.raises(mp.ProcessRaisedException, match=r"(?s)-- Process 1 terminated.*ValueError: broken") as caught:
        while not context.join():
            pass
    assert caught.value.error_index == 1
    assert not any(p.is_alive() for p in context.processes)
    with pytest.raises(mp.ProcessExitedException, match="process 0 terminated with signal SIGKILL") as killed:
        mp.start_processes(die, nprocs=2, start_method="fork")
    assert killed.value.signal_name == "SIGKILL"


@pytest.mark.slow
def test_spawn():
    results = flambeau.zeros(2).share_memory_()
    mp.spawn(work, (results,), nprocs=2)
    assert results.tolist() == [1, 2]


def hog(net, steps):
    optimizer = flambeau.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        ((net(flambeau.ones(4, 2)) - 3) ** 2).mean().backward()
        optimizer.step()


def test_processes_train_one_model_together():
    net = flambeau.nn.Linear(2, 1).share_memory()
    processes = [mp.get_context("fork").Process(target=hog, args=(net, 40)) for _ in range(2)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    assert abs(net(flambeau.ones(2)).item() - 3) < 0.05

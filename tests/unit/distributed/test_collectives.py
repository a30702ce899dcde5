"""torch.distributed on three processes: collectives, messages, groups, objects; a rank that is killed; stores."""

import contextlib
import os
import pickle
import signal
import socket
import struct
import threading
import time
from datetime import timedelta

import numpy as np
import pytest

import flambeau as torch
from flambeau import distributed as dist

from .ranks import run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="ranks are forked")


def collectives(rank, size):
    out = {}
    x = torch.arange(5.0) + rank
    dist.all_reduce(x)
    out["all_reduce"] = x.tolist()
    large = torch.ones(50_003, dtype=torch.float64) * (rank + 1)
    dist.all_reduce(large, op=dist.ReduceOp.MAX)
    out["large"] = large.sum().item()
    y = torch.full((3,), float(rank)).t()
    dist.broadcast(y, 1)
    out["broadcast"] = y.tolist()
    strided = torch.zeros(4, 6)[:, ::2]
    strided += rank
    dist.all_reduce(strided)
    out["strided"] = strided.sum().item()
    parts = [torch.zeros(2, dtype=torch.bfloat16) for _ in range(size)]
    dist.all_gather(parts, torch.full((2,), rank, dtype=torch.bfloat16))
    out["all_gather"] = [p[0].item() for p in parts]
    whole = torch.zeros(size, 2)
    dist.all_gather_into_tensor(whole, torch.full((2,), float(rank)))
    out["all_gather_into_tensor"] = whole.tolist()
    mine = torch.zeros(2)
    dist.reduce_scatter_tensor(mine, torch.arange(2.0 * size))
    out["reduce_scatter_tensor"] = mine.tolist()
    dist.reduce_scatter(mine, [torch.full((2,), float(i + rank)) for i in range(size)])
    out["reduce_scatter"] = mine.tolist()
    total = torch.full((2,), float(rank + 1))
    dist.reduce(total, 2, op=dist.ReduceOp.PRODUCT)
    out["reduce"] = total.tolist() if rank == 2 else None
    got = [torch.zeros(1) for _ in range(size)] if rank == 1 else None
    dist.gather(torch.tensor([float(rank)]), got, dst=1)
    out["gather"] = [t.item() for t in got] if got else None
    part = torch.zeros(1)
    dist.scatter(part, [torch.tensor([10.0 + i]) for i in range(size)] if rank == 0 else None, src=0)
    out["scatter"] = part.item()
    received = [torch.zeros(1) for _ in range(size)]
    dist.all_to_all(received, [torch.tensor([10.0 * rank + i]) for i in range(size)])
    out["all_to_all"] = [t.item() for t in received]
    single = torch.zeros(size)
    dist.all_to_all_single(single, torch.arange(float(size)) + 10 * rank)
    out["all_to_all_single"] = single.tolist()
    a, b = torch.ones(3), torch.full((2, 2), float(rank))
    dist.all_reduce_coalesced([a, b])
    out["coalesced"] = [a.tolist(), b.sum().item()]
    works = [dist.all_reduce(torch.full((1000,), float(i)), async_op=True) for i in range(8)]
    out["async"] = [w.wait() and w.result()[0][0].item() for w in works]
    future = dist.all_reduce(torch.ones(1), async_op=True).get_future().then(lambda f: f.value()[0] * 2)
    out["future"] = future.wait().item()
    bits = torch.tensor([1 << rank])
    dist.all_reduce(bits, op=dist.ReduceOp.BOR)
    out["bits"] = bits.item()
    dist.barrier()
    return out


def test_collectives():
    for rank, out in run(collectives).items():
        assert out == {
            "all_reduce": [3.0, 6.0, 9.0, 12.0, 15.0],
            "large": 3 * 50_003,
            "broadcast": [1.0] * 3,
            "strided": 36.0,
            "all_gather": [0.0, 1.0, 2.0],
            "all_gather_into_tensor": [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]],
            "reduce_scatter_tensor": [6.0 * rank, 6.0 * rank + 3],
            "reduce_scatter": [3.0 + 3 * rank] * 2,
            "reduce": [6.0, 6.0] if rank == 2 else None,
            "gather": [0.0, 1.0, 2.0] if rank == 1 else None,
            "scatter": 10.0 + rank,
            "all_to_all": [float(rank), 10.0 + rank, 20.0 + rank],
            "all_to_all_single": [float(rank), 10.0 + rank, 20.0 + rank],
            "coalesced": [[3.0] * 3, 12.0],
            "async": [3.0 * i for i in range(8)],
            "future": 6.0,
            "bits": 7,
        }


def messages(rank, size):
    out = {}
    if rank == 0:
        dist.send(torch.arange(3.0), 1, tag=5)
        dist.send(torch.arange(3.0) + 10, 1)
    if rank == 1:
        t = torch.zeros(3)
        first = dist.recv(t, tag=0), t.tolist()
        second = dist.recv(t, 0, tag=5), t.tolist()
        out["received"] = first, second
    r = torch.zeros(1)
    ops = [
        dist.P2POp(dist.irecv, r, (rank - 1) % size),
        dist.P2POp(dist.isend, torch.tensor([float(rank)]), (rank + 1) % size),
    ]
    for w in dist.batch_isend_irecv(ops):
        w.wait()
    out["ring"] = r.item()
    objects = [None] * size
    dist.all_gather_object(objects, {"rank": rank, "t": torch.ones(2) * rank})
    out["objects"] = [o["t"].sum().item() for o in objects]
    box = ["from", rank] if rank == 2 else [None, None]
    dist.broadcast_object_list(box, 2)
    out["box"] = box
    mine = [None]
    dist.scatter_object_list(mine, ["a", "b", "c"] if rank == 0 else None, 0)
    out["mine"] = mine[0]
    listed = [None] * size if rank == 1 else []  # as good as None
    dist.gather_object(rank, listed, 1)
    out["listed"] = listed
    if rank == 2:
        dist.send_object_list([1, {"x": 2}], 0)
    if rank == 0:
        two = [None, None]
        out["sender"] = dist.recv_object_list(two), two
    some = dist.new_group([0, 2])
    out["group"] = dist.get_rank(some), dist.get_world_size(some)
    if rank != 1:
        y = torch.ones(1) * rank
        dist.all_reduce(y, group=some)
        dist.broadcast(z := torch.tensor([float(rank)]), group=some, group_src=1)
        out["in it"] = y.item(), z.item(), dist.get_global_rank(some, 1), dist.get_group_rank(some, 2)
    own, every = dist.new_subgroups_by_enumeration([[0, 1], [2]])
    out["subgroups"] = dist.get_process_group_ranks(own), len(every)
    dist.monitored_barrier(timeout=timedelta(seconds=20))
    return out


def test_messages_objects_and_groups():
    answers = run(messages)
    for rank, out in answers.items():
        assert out["ring"] == (rank - 1) % 3
        assert out["objects"] == [0.0, 2.0, 4.0]
        assert out["box"] == ["from", 2]
        assert out["mine"] == "abc"[rank]
        assert out["listed"] == ([0, 1, 2] if rank == 1 else [])
        assert out["group"] == {0: (0, 2), 1: (-1, -1), 2: (1, 2)}[rank]
        assert out["subgroups"] == ([0, 1] if rank < 2 else [2], 3 - 1)
    assert answers[1]["received"] == ((0, [10.0, 11.0, 12.0]), (0, [0.0, 1.0, 2.0]))
    assert answers[0]["sender"] == (2, [1, {"x": 2}])
    assert answers[2]["in it"] == (2.0, 2.0, 2, 1)


def killed(rank, size):
    dist.barrier()
    if rank == 2:
        os._exit(9)
    start = time.monotonic()
    with pytest.raises(dist.DistBackendError, match="rank 2"):
        dist.all_reduce(torch.ones(100_000))
    with pytest.raises(RuntimeError):
        dist.all_reduce(torch.ones(1))
    return time.monotonic() - start


def test_a_killed_rank_is_an_error_for_all_at_once():
    answers = run(killed, seconds=60, expected=2)
    assert sorted(answers) == [0, 1]
    assert max(answers.values()) < 20


def disagreeing(rank, size):
    with pytest.raises(RuntimeError, match=r"do not agree on sizes|bytes came for"):
        parts = [torch.zeros(2 + rank) for _ in range(size)]
        dist.all_gather(parts, torch.zeros(2 + rank))
    return True


def test_ranks_that_do_not_agree_are_told():
    assert all(run(disagreeing, size=2).values())


def gradients(rank, size):
    import flambeau.distributed.nn.functional as F

    x = torch.ones(2, requires_grad=True)
    F.all_reduce(x * (rank + 1)).sum().backward()
    first = x.grad.tolist()
    x.grad = None
    parts = F.all_gather(x * (rank + 1))
    (parts[0] * 2 + parts[1] * 3).sum().backward()
    return first, x.grad.tolist()


def test_gradients_flow_through_collectives():
    answers = run(gradients, size=2)
    assert answers == {0: ([2.0, 2.0], [4.0, 4.0]), 1: ([4.0, 4.0], [12.0, 12.0])}


def same_bits(rank, size):
    torch.manual_seed(rank)
    x = torch.randn(20_000)
    dist.all_reduce(x)
    return x.numpy().tobytes()


def test_every_rank_and_every_run_has_the_same_bits():
    first, second = run(same_bits), run(same_bits)
    assert len({*first.values(), *second.values()}) == 1


# ---------------------------------------------------------------- one process


def test_refusals():
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        dist.get_rank()
    with pytest.raises(ValueError, match="environment variable RANK expected, but not set"):
        dist.init_process_group("gloo")
    with pytest.raises(RuntimeError, match="Distributed package doesn't have NCCL built in"):
        dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(RuntimeError, match="No rendezvous handler for nothing"):
        dist.init_process_group("gloo", init_method="nothing://x")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="the default process group twice"):
            dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        with pytest.raises(TypeError, match="Expected parameter `tensor` of type"):
            dist.all_reduce([1])
        with pytest.raises(ValueError, match="Invalid destination rank"):
            dist.send(torch.ones(1), 0)
        with pytest.raises(ValueError, match="gather_list"):
            dist.gather(torch.ones(1))
        with pytest.raises(ValueError, match="gather_list`` must be specified on destination rank"):
            dist.gather_object(1, [])
        assert dist.get_backend() == "gloo"
        assert dist.distributed_c10d._get_default_group() is dist.group.WORLD
        assert repr(dist.ReduceOp.SUM) == "<RedOpType.SUM: 0>"
        with pytest.raises(RuntimeError, match="BAND with non-integral dtype"):
            dist.all_reduce(torch.ones(2), op=dist.ReduceOp.BAND)
    finally:
        dist.destroy_process_group()
    assert not dist.is_initialized()


def stores(tmp_path):
    yield dist.HashStore()
    yield dist.FileStore(str(tmp_path / "store"), 1)
    yield dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    yield dist.PrefixStore("part", dist.HashStore())


def test_stores(tmp_path):
    for store in stores(tmp_path):
        store.set_timeout(timedelta(seconds=5))
        store.set("a", "1")
        assert store.get("a") == b"1"
        assert store.add("n", 2) == 2
        assert store.add("n", 3) == 5
        store.append("a", "23")
        assert store.get("a") == b"123"
        assert store.compare_set("a", "x", "y") == b"123"
        assert store.compare_set("a", "123", "y") == b"y"
        assert store.compare_set("new", "", "z") == b"z"
        assert store.check(["a", "n"])
        assert not store.check(["a", "nothing"])
        assert store.num_keys() == 3
        assert store.delete_key("n")
        assert not store.delete_key("n")
        store.multi_set(["p", "q"], ["1", "2"])
        assert store.multi_get(["p", "q"]) == [b"1", b"2"]
        store.queue_push("line", "x")
        assert store.queue_len("line") == 1
        assert store.queue_pop("line") == b"x"
        with pytest.raises(dist.QueueEmptyError):
            store.queue_pop("line", block=False)
        with pytest.raises(dist.DistStoreError, match="wait timeout after"):
            store.wait(["never"], timedelta(milliseconds=20))
        other = store.clone() if isinstance(store, dist.TCPStore) else store
        timer = threading.Timer(0.05, other.set, ("late", b"here"))
        timer.start()
        assert store.get("late") == b"here"
        timer.join()
        for s in {store, other}:
            getattr(s, "close", int)()


def test_a_message_to_the_store_runs_nothing():
    from flambeau.distributed import _store, _wire

    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    client = _store._connected("127.0.0.1", store.port, timedelta(seconds=5))
    _wire.send(client, 0, 0, 0, pickle.dumps((os.getpid, ())))
    client.settimeout(5)
    with pytest.raises(OSError):
        _wire.receive(client)
    store.set("a", "1")
    assert store.get("a") == b"1"
    client.close()
    store.close()


class Runs:
    def __reduce__(self):
        return os.mkdir, (str(self.where),)


def test_what_others_put_into_a_store_runs_nothing(tmp_path):
    from flambeau.distributed._transport import Transport

    program = Runs()
    program.where = tmp_path / "ran"
    store = dist.HashStore()
    store.set("address/0", pickle.dumps(program))
    with contextlib.suppress(Exception):
        Transport(store, 1, 2, timedelta(seconds=2), "127.0.0.1")
    record = pickle.dumps(("set", ("a", program)))
    (tmp_path / "store").write_bytes(struct.pack("<I", len(record)) + record)
    with contextlib.suppress(pickle.UnpicklingError):
        dist.FileStore(str(tmp_path / "store"))
    assert not program.where.exists()


def test_keys_of_a_part_of_a_store(tmp_path):
    for whole in (dist.HashStore(), dist.FileStore(str(tmp_path / "store"), 1), dist.TCPStore("127.0.0.1", 0, 1, True)):
        part = dist.PrefixStore("part", dist.PrefixStore("inner", whole))
        whole.set("a", "1")
        part.set("b", "2")
        assert sorted(whole.list_keys()) == ["a", "inner/part/b"]
        assert part.list_keys() == ["b"]
        assert part.num_keys() == whole.num_keys() == 2
        getattr(whole, "close", int)()


def joined_among_strays():
    """Somebody else finds a rank's port first: nothing that it says makes it one of the ranks."""
    from flambeau.distributed import _wire
    from flambeau.distributed._transport import Transport

    store = dist.HashStore()
    made = []
    waiting = threading.Thread(target=lambda: made.append(Transport(store, 0, 2, timedelta(seconds=20), "127.0.0.1")))
    waiting.start()
    host, port = _transport_address(store.get("address/0"))
    silent, wrong = socket.create_connection((host, port)), socket.create_connection((host, port))
    _wire.send(wrong, 0, 0, 7, b"")
    gone = socket.create_connection((host, port))
    gone.close()
    other = Transport(store, 1, 2, timedelta(seconds=20), "127.0.0.1")
    waiting.join(20)
    silent.close()
    wrong.close()
    other.send(0, (0, 1), b"here")
    return bytes(made[0].receive([1], (0, 1), 5)[1])


def _transport_address(value):
    host, _, port = value.decode().rpartition(" ")
    return host, int(port)


def test_strays_are_no_ranks():
    assert joined_among_strays() == b"here"


def promised(rank, size):
    if rank:
        time.sleep(0.3)
        dist.send(torch.arange(3.0), 0)
        return None
    t = torch.zeros(3)
    start = time.monotonic()
    work = dist.irecv(t, 1)
    future = work.get_future().then(lambda f: f.value()[0].sum().item())
    asked = time.monotonic() - start
    return asked < 0.2, future.wait(), work.source_rank(), work.get_future().wait()[0].tolist()


def test_the_future_of_a_message():
    assert run(promised, size=2)[0] == (True, 3.0, 1, [0.0, 1.0, 2.0])


def left_early(rank, size):
    time.sleep(0.3 * rank)
    tensors = [torch.full((100_000,), float(i)) for i in range(6)]
    for t in tensors:
        dist.all_reduce(t, async_op=True)
    dist.destroy_process_group()
    assert not dist.is_initialized()
    values = [t[-1].item() for t in tensors]
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return values


def test_what_goes_on_is_finished_before_a_group_is_left():
    assert run(left_early, size=2) == {r: [2.0 * i for i in range(6)] for r in range(2)}


class Stop(BaseException):
    pass


def test_an_answer_that_nobody_waited_for_is_not_anothers():
    def stop(*_):
        raise Stop

    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Stop):
            store.get("late")
    finally:
        signal.signal(signal.SIGALRM, before)
    store.set("late", "1")
    store.set("a", "2")
    assert store.get("a") == b"2"
    store.close()


def test_numbers_are_added_in_the_order_of_ranks():
    from flambeau.distributed._reduce_op import combine

    parts = [np.array([1e8], np.float32), np.array([1.0], np.float32), np.array([-1e8], np.float32)]
    assert combine(parts, dist.ReduceOp.SUM)[0] == (np.float32(1e8) + np.float32(1)) - np.float32(1e8)
    assert combine(parts, dist.ReduceOp.AVG).dtype == np.float32


def hooked(rank, size):
    def again(future):
        y = future.value()[0].clone()
        return dist.all_reduce(y, async_op=True).get_future().wait()[0] * 10

    return dist.all_reduce(torch.tensor([float(rank + 1)]), async_op=True).get_future().then(again).wait().item()


def test_callbacks_may_wait_for_collectives():
    assert set(run(hooked, size=2).values()) == {60.0}


def refused(rank, size):
    op = dist.ReduceOp
    found = []
    for f in (
        lambda: dist.new_group([0, 7]),
        lambda: dist.new_group([0, 0]),
        lambda: dist.all_reduce(torch.ones(2), op.BAND),
        lambda: dist.all_reduce(torch.ones(2, dtype=torch.int64), op.AVG),
        lambda: dist.all_reduce(torch.ones(2, dtype=torch.complex64), op.MAX),
        lambda: dist.all_gather([torch.ones(1)], torch.ones(1)),
        lambda: dist.all_gather([torch.ones(1), torch.ones(1, dtype=torch.int64)], torch.ones(1)),
        lambda: dist.broadcast(torch.ones(1)),
    ):
        try:
            f()
        except (RuntimeError, ValueError) as problem:
            found.append((type(problem).__name__, str(problem)))
    dist.barrier()  # whatever is refused here breaks nothing for the others
    return found


def test_refusals_in_pytorchs_words():
    expected = [  # of PyTorch 2.13's gloo, by two ranks
        ("ValueError", "Rank 7 is out of range. Valid ranks are 0 to 1 (world_size=2)"),
        ("ValueError", "ranks list must not contain duplicate entries, got [0, 0]"),
        ("RuntimeError", "Cannot use ReduceOp.BAND with non-integral dtype"),
        ("RuntimeError", "result type Float can't be cast to the desired output type Long"),
        ("ValueError", "all_reduce does not support RedOpType.MAX on complex tensors"),
        (
            "RuntimeError",
            "ProcessGroupGloo::allgather: invalid output tensor list at index 0 (expected length 2, got 1)",
        ),
        ("ValueError", "Invalid usage of tensors with different dtypesFound torch.float32 and  torch.int64"),
        ("ValueError", "Must specify global_rank or group_rank"),
    ]
    assert run(refused, size=2) == {0: expected, 1: expected}

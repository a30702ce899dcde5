"""DistributedDataParallel: the numbers of one process with the whole batch; unused parameters, no_sync, hooks, refusals."""

import contextlib
import os

import pytest

import flambeau as torch
from flambeau import distributed as dist, nn
from flambeau.nn.parallel import DistributedDataParallel

from .ranks import run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="ranks are forked")


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def batches(size):
    g = torch.Generator().manual_seed(5)
    return [torch.randn(4 * size, 4, generator=g) for _ in range(4)]


def trained(rank, size):
    m = model()
    if rank:
        with torch.no_grad():
            for p in m.parameters():
                p.zero_()  # rank 0's are taken over
    d = DistributedDataParallel(m, bucket_cap_mb=0.0001)
    o = torch.optim.SGD(d.parameters(), lr=0.1, momentum=0.9)
    assert len(d.reducer.buckets) > 2
    for x in batches(size):
        part = x[4 * rank : 4 * rank + 4]
        o.zero_grad()
        nn.functional.mse_loss(d(part), part[:, :2]).backward()
        o.step()
    assert next(iter(d.state_dict())) == "module.0.weight"
    return [p.detach().numpy().copy() for p in m.parameters()]


def test_the_same_as_one_process_with_the_whole_batch():
    answers = run(trained, size=2)
    m = model()
    o = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)
    for x in batches(2):
        o.zero_grad()
        nn.functional.mse_loss(m(x), x[:, :2]).backward()
        o.step()
    for p, a, b in zip(m.parameters(), answers[0], answers[1], strict=True):
        assert (a == b).all()
        torch.testing.assert_close(torch.from_numpy(a), p.detach(), rtol=1e-5, atol=1e-6)


class Choosing(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x, k):
        return (self.a if k == 0 else self.b)(x)


def unused(rank, size):
    d = DistributedDataParallel(Choosing(), find_unused_parameters=True)
    for _ in range(2):
        d.zero_grad()
        d(torch.ones(3, 2), rank).sum().backward()
    grads = [
        m.weight.grad.tolist() if m.weight.grad is not None else None for m in (d.module.a, d.module.b, d.module.c)
    ]
    strict = DistributedDataParallel(Choosing())
    strict(torch.ones(3, 2), 0).sum().backward()
    with pytest.raises(RuntimeError, match="Expected to have finished reduction in the prior iteration"):
        strict(torch.ones(3, 2), 0)
    return grads


def test_unused_parameters():
    half = [[1.5, 1.5], [1.5, 1.5]]
    assert run(unused, size=2) == {0: [half, half, None], 1: [half, half, None]}


def accumulated(rank, size):
    d = DistributedDataParallel(nn.Linear(2, 1, bias=False))
    with d.no_sync():
        d(torch.full((1, 2), float(rank + 1))).sum().backward()
    alone = d.module.weight.grad.tolist()
    d(torch.full((1, 2), 10.0 * (rank + 1))).sum().backward()
    buffered = DistributedDataParallel(nn.BatchNorm1d(2))
    buffered.module.running_mean.fill_(float(rank))
    buffered(torch.ones(4, 2)).sum().backward()
    hooked = DistributedDataParallel(nn.Linear(2, 1, bias=False))

    def hook(state, bucket):
        state.append((bucket.index(), bucket.is_last()))
        return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda f: f.value()[0] * 100)

    seen = []
    hooked.register_comm_hook(seen, hook)
    hooked(torch.ones(1, 2)).sum().backward()
    return alone, d.module.weight.grad.tolist(), buffered.module.running_mean.tolist(), hooked.module.weight.grad.tolist(), seen  # fmt: skip


def test_accumulation_buffers_and_hooks():
    answers = run(accumulated, size=2)
    for rank, (alone, both, mean, hooked, seen) in answers.items():
        assert alone == [[rank + 1.0] * 2]
        assert both == [[16.5, 16.5]]
        assert mean == pytest.approx([0.1, 0.1])
        assert hooked == [[200.0, 200.0]]
        assert seen == [(0, True)]


def told(rank, size):
    return DistributedDataParallel(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))._get_ddp_logging_data()


def test_what_it_tells_of_itself():
    facts = {"backend_name": "gloo", "bucket_sizes": "104", "num_parameter_tensors": 4, "world_size": 2}
    for rank, data in run(told, size=2).items():
        assert data == {**facts, "total_parameter_size_bytes": 104, "rank": rank}
        assert data.get("can_set_static_graph") is None


def other_models(rank, size):
    with pytest.raises(RuntimeError, match="DDP expects same model across all ranks, but Rank 0 has 2 params"):
        DistributedDataParallel(nn.Sequential(*[nn.Linear(2, 2) for _ in range(rank + 1)]))
    with pytest.raises(RuntimeError, match="doesn't have any parameter that requires a gradient"):
        DistributedDataParallel(nn.ReLU())
    return True


def test_refusals():
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        DistributedDataParallel(nn.Linear(1, 1))
    assert len(run(other_models, size=2)) == 2


def checkpointed(rank, size):
    import tempfile

    import flambeau.distributed.checkpoint as dcp

    box = [tempfile.mkdtemp()] if rank == 0 else [None]
    dist.broadcast_object_list(box, 0)
    dcp.save({"shared": torch.arange(4.0), "own": rank}, checkpoint_id=box[0])
    state = {"shared": torch.zeros(4), "own": -1}
    dcp.load(state, checkpoint_id=box[0])
    dist.barrier()
    with pytest.raises(dcp.CheckpointException, match="Missing key"):
        dcp.load({"nothing" if rank == 1 else "shared": torch.zeros(4)}, checkpoint_id=box[0])
    return state["shared"].tolist(), state["own"], sorted(f for f in os.listdir(box[0]) if f.endswith("distcp"))


def test_checkpoints_of_several_ranks():
    for shared, own, files in run(checkpointed, size=2).values():
        assert shared == [0.0, 1.0, 2.0, 3.0]
        assert own == 0 or own == 1
        assert files == ["__0_0.distcp", "__1_0.distcp"]


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.l, self.bn, self.spare = nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(1, 1)

    def forward(self, x):
        return self.bn(self.l(x))


def uneven(rank, size):
    """Rank 0 has five batches, rank 1 three."""
    out = []
    for initially in (True, False):
        d = DistributedDataParallel(Normed(), find_unused_parameters=True, bucket_cap_mb=0.00001)
        o = torch.optim.SGD(d.parameters(), lr=0.1)
        g = torch.Generator().manual_seed(rank)
        with d.join(divide_by_initial_world_size=initially):
            for i in range(5 - 2 * rank):
                o.zero_grad()
                x = torch.randn(6, 4, generator=g)
                with d.no_sync() if i == 1 else contextlib.nullcontext():
                    nn.functional.mse_loss(d(x), x[:, :3]).backward()
                o.step()
        out += [d.module.l.weight.tolist(), d.module.bn.running_mean.tolist(), d.module.spare.weight.grad]
    return out


# PyTorch's, to five digits: weights and running means, for both ways to divide; no gradient for what no rank used.
UNEVEN = [
    [
        [0.114912, 0.317031, -0.389075, -0.341658],
        [-0.134182, 0.335256, -0.038721, 0.320244],
        [0.048055, 0.209103, 0.266608, -0.053608],
    ],
    [-0.234464, -0.15153, -0.083439],
    None,
    [
        [0.132349, 0.313655, -0.400715, -0.327091],
        [-0.148855, 0.375878, -0.041284, 0.276113],
        [0.039597, 0.157018, 0.325276, -0.04304],
    ],
    [-0.233397, -0.154642, -0.07803],
    None,
]


def stopped(rank, size):
    d = DistributedDataParallel(nn.Linear(2, 2))
    done = 0
    with pytest.raises(
        RuntimeError,
        match="Rank 1 exhausted all inputs." if rank else "Detected at least one rank that exhausted inputs",
    ):
        with d.join(throw_on_early_termination=True):
            for _ in range(3 - rank):
                d(torch.ones(1, 2)).sum().backward()
                done += 1
    return done


def test_unequal_numbers_of_batches():
    answers = run(uneven, size=2)
    assert answers[0] == answers[1]
    for mine, pytorchs in zip(answers[0], UNEVEN, strict=True):
        if pytorchs is None:
            assert mine is None
        else:
            torch.testing.assert_close(torch.tensor(mine), torch.tensor(pytorchs), rtol=1e-4, atol=2e-6)
    assert run(stopped, size=2) == {0: 2, 1: 2}

"""Optimizers of several ranks: the numbers of one process; state that is gathered; communication hooks."""

import os

import pytest

import flambeau as torch
from flambeau import distributed as dist, nn
from flambeau.distributed.algorithms.ddp_comm_hooks import DDPCommHookType, default_hooks, register_ddp_comm_hook
from flambeau.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
from flambeau.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from flambeau.distributed.optim import PostLocalSGDOptimizer, ZeroRedundancyOptimizer, as_functional_optim
from flambeau.nn.parallel import DistributedDataParallel

from .ranks import run

forks = pytest.mark.skipif(os.name != "posix", reason="ranks are forked")


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def trained(m, optimizer, steps=4, scheduler=None):
    g = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(6, 3, generator=g)
        optimizer.zero_grad()
        m(x).square().mean().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return [p.detach().tolist() for p in m.parameters()]


def zero(rank, size):
    m = model()
    o = ZeroRedundancyOptimizer(m.parameters(), torch.optim.Adam, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(o, 2)
    first = trained(m, o, scheduler=scheduler)
    owned = len(o.optim.state)
    with pytest.raises(RuntimeError, match="has not been consolidated on this rank"):
        o.state_dict()
    o.consolidate_state_dict(to=1)
    whole = [o.state_dict()] if rank == 1 else [None]
    dist.broadcast_object_list(whole, 1)
    other = ZeroRedundancyOptimizer(m.parameters(), torch.optim.Adam, lr=9.0)
    other.load_state_dict(whole[0])
    numbers = {i: s["exp_avg"].tolist() for i, s in whole[0]["state"].items()}
    return first, owned, numbers, trained(m, other, 2), other.param_groups[0]["lr"]


@forks
def test_zero_is_the_optimizer_itself():
    m = model()
    o = torch.optim.Adam(m.parameters(), lr=0.1)
    first = trained(m, o, scheduler=torch.optim.lr_scheduler.StepLR(o, 2))
    state = {i: s["exp_avg"].tolist() for i, s in o.state_dict()["state"].items()}
    second = trained(m, o, 2)
    answers = run(zero, size=2)
    for found in answers.values():
        assert found[0] == first
        assert found[2] == state
        assert found[3] == second
        assert found[4] == o.param_groups[0]["lr"]
    assert sum(found[1] for found in answers.values()) == 4
    assert all(found[1] for found in answers.values())


def averaged(rank, size):
    m = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        m.weight.fill_(rank)
    o = PostLocalSGDOptimizer(torch.optim.SGD(m.parameters(), lr=1.0), PeriodicModelAverager(2, warmup_steps=1))
    weights = []
    for _ in range(4):
        o.zero_grad()
        m(torch.ones(1, 2)).sum().backward()
        o.step()
        weights.append(m.weight[0, 0].item())
    state = o.state_dict()
    o.load_state_dict(state)
    return weights, state["step"], o.averager.step


@forks
def test_models_are_averaged_now_and_then():
    for rank, found in run(averaged, size=2).items():
        assert found == ([rank - 1.0, -1.5, -2.5, -3.5], 4, 4)


def hooked(rank, size):
    found = {}
    for name in ("ALLREDUCE", "FP16_COMPRESS", "BF16_COMPRESS", "NOOP", "wrapped", "local"):
        m = nn.Linear(2, 1, bias=False)
        d = DistributedDataParallel(m)
        if name == "wrapped":
            d.register_comm_hook(None, default_hooks.bf16_compress_wrapper(default_hooks.allreduce_hook))
        elif name == "local":
            alone = dist.new_subgroups_by_enumeration([[r] for r in range(size)])[0]
            d.register_comm_hook(PostLocalSGDState(None, alone, 1), post_localSGD_hook)
        else:
            register_ddp_comm_hook(DDPCommHookType[name], d)
        for _ in range(2):
            d.zero_grad()
            d(torch.full((1, 2), rank + 1.0)).sum().backward()
            found.setdefault(name, []).append(m.weight.grad[0, 0].item())
    return found


@forks
def test_hooks():
    for rank, found in run(hooked, size=2).items():
        for name in ("ALLREDUCE", "FP16_COMPRESS", "BF16_COMPRESS", "wrapped"):
            assert found[name] == [1.5, 1.5]
        assert found["NOOP"] == [rank + 1, rank + 1]
        assert found["local"] == [1.5, rank + 1]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "Adamax", "Adadelta", "Rprop"])
def test_gradients_that_are_given(name):
    kind = getattr(torch.optim, name)
    a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    o, functional = kind([a], lr=0.1), as_functional_optim(kind, lr=0.1)
    for i in range(3):
        a.grad = torch.tensor([1.0, -2.0, i])
        o.step()
        functional.step_param(b, a.grad)
    assert a.tolist() == b.tolist()
    assert b.grad is None
    with pytest.raises(ValueError, match="functional counterpart"):
        as_functional_optim(torch.optim.LBFGS)

"""Meshes of ranks, functional collectives, joins, placements, wrappers of modules."""

import os

import pytest

import flambeau as torch
from flambeau import distributed as dist, nn
from flambeau.distributed import _functional_collectives as funcol
from flambeau.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    CheckpointWrapper,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from flambeau.distributed.algorithms.join import Join, Joinable, JoinHook
from flambeau.distributed.fsdp.wrap import CustomPolicy, ModuleWrapPolicy, enable_wrap, wrap
from flambeau.distributed.tensor import Partial, Replicate, Shard
from flambeau.distributed.tensor._utils import _compute_local_shape_and_global_offset

from .ranks import run

forks = pytest.mark.skipif(os.name != "posix", reason="ranks are forked")


def meshes(rank, size):
    mesh = dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    x = torch.tensor([float(rank)])
    dist.all_reduce(x, group=mesh.get_group("dp"))
    y = torch.tensor([float(rank)])
    dist.all_reduce(y, group=mesh["tp"].get_group())
    with pytest.raises(KeyError, match="Invalid mesh_dim_name"):
        mesh["pp"]
    with pytest.raises(KeyError, match="ascending order"):
        mesh["tp", "dp"]
    with pytest.raises(RuntimeError, match="bigger than default world size"):
        dist.init_device_mesh("cpu", (8,))
    gathered = funcol.all_gather_tensor(torch.tensor([[float(rank)]]), 1, mesh["tp"])
    scattered = funcol.reduce_scatter_tensor(torch.arange(4.0), "sum", 0, dist.group.WORLD)
    return {
        "repr": repr(mesh),
        "place": (mesh.get_coordinate(), mesh.get_local_rank("tp"), mesh["dp"].size()),
        "sums": (x.item(), y.item()),
        "gathered": gathered.tolist(),
        "scattered": scattered.tolist(),
    }


@forks
def test_meshes():
    for rank, out in run(meshes, size=4).items():
        assert out == {
            "repr": "DeviceMesh((dp=2, tp=2), 'cpu', stride=(2, 1))",
            "place": ((rank // 2, rank % 2), rank % 2, 2),
            "sums": ((rank % 2) * 2.0 + 2, 4.0 * (rank // 2) + 1),
            "gathered": [[2.0 * (rank // 2), 2.0 * (rank // 2) + 1]],
            "scattered": [4.0 * rank],
        }


class Adding(Joinable):
    """Every step adds up a number over all ranks; done, it adds nothing."""

    def __init__(self):
        super().__init__()
        self.total, self.last = 0.0, None

    def step(self, value):
        Join.notify_join_context(self)
        x = torch.tensor([value])
        dist.all_reduce(x)
        self.total += x.item()

    def join_hook(self, **kwargs):
        outer = self

        class Hook(JoinHook):
            def main_hook(self):
                dist.all_reduce(torch.zeros(1))

            def post_hook(self, is_last_joiner):
                outer.last = is_last_joiner

        return Hook()

    @property
    def join_device(self):
        return torch.device("cpu")

    @property
    def join_process_group(self):
        return dist.group.WORLD


def uneven(rank, size):
    a = Adding()
    with Join([a]):
        for _ in range(1 + 2 * rank):
            a.step(1.0)
    return a.total, a.last


@forks
def test_ranks_with_unequal_numbers_of_steps():
    assert run(uneven, size=2) == {0: (2.0, False), 1: (4.0, True)}


def test_placements_are_pytorchs(agree):
    def case(t):
        from importlib import import_module

        p = import_module(f"{t.__name__}.distributed.tensor.placement_types")
        shapes = import_module(f"{t.__name__}.distributed.tensor._utils")._compute_local_shape_and_global_offset
        out = [str(x) + repr(x) for x in (p.Shard(1), p.Replicate(), p.Partial(), p.Partial("max"))]
        for at in ([0, 0], [1, 2], [1, 1]):
            out.append(tuple(map(tuple, shapes((5, 7), (2, 3), at, [p.Shard(0), p.Shard(1)]))))
            out.append(tuple(map(tuple, shapes((5, 7), (2, 3), at, [p.Replicate(), p.Shard(0)]))))
        return out

    agree(case)


def test_placements_answer():
    assert Shard(1).is_shard(1)
    assert not Shard(1).is_shard(0)
    assert Replicate().is_replicate()
    assert Partial().is_partial("sum")
    assert _compute_local_shape_and_global_offset((5,), (3,), None, [Shard(0)]) == ((0,), (0,))
    parts, pads = Shard(0)._split_tensor(torch.arange(5.0), 3)
    assert [p.tolist() for p in parts] == [[0, 1], [2, 3], [4, 0]]
    assert pads == [0, 0, 1]


@pytest.mark.parametrize("form", list(CheckpointImpl))
def test_modules_that_compute_again(form):
    runs = []

    class Block(nn.Linear):
        def forward(self, x):
            runs.append(1)
            return super().forward(x).tanh()

    torch.manual_seed(0)
    model = nn.Sequential(Block(3, 3), nn.Sequential(Block(3, 3), nn.ReLU()))
    names = list(model.state_dict())
    x = torch.randn(2, 3, requires_grad=True)
    (expected,) = torch.autograd.grad(model(x).sum(), x)
    runs.clear()
    apply_activation_checkpointing(model, lambda m: checkpoint_wrapper(m, form), lambda m: isinstance(m, Block))
    assert isinstance(model[0], CheckpointWrapper)
    assert list(model.state_dict()) == names
    assert [n for n, _ in model[0].named_parameters()] == ["weight", "bias"]
    model.load_state_dict(model.state_dict())
    model(x).sum().backward()
    assert len(runs) == 4
    torch.testing.assert_close(x.grad, expected)


def test_policies():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))
    assert list(ModuleWrapPolicy({nn.Linear})._run_policy(model, set(), {"a": 1})) == [model[0], model[1][1]]
    chosen = CustomPolicy(lambda m: {"b": 2} if m is model[0] else False)._run_policy(model, set(), {"a": 1})
    assert chosen == {model[0]: {"a": 1, "b": 2}}
    assert wrap(model) is model
    with enable_wrap(wrapper_cls=checkpoint_wrapper):
        assert isinstance(wrap(model), CheckpointWrapper)

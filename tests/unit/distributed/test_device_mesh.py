"""Ranks in a grid: places, groups along dimensions, parts; texts are PyTorch 2.13's."""

import os

import pytest

import flambeau as torch
from flambeau import distributed as dist
from flambeau.distributed.device_mesh import DeviceMesh, init_device_mesh

from .ranks import run


def grid(rank, size):
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b"))
    sums = []
    for name in ("a", "b"):
        x = torch.tensor([float(rank)])
        dist.all_reduce(x, group=mesh[name].get_group())
        sums.append(x.item())
    flat = mesh["a", "b"]._flatten("ab")
    y = torch.ones(1)
    dist.all_reduce(y, group=flat.get_group())
    row = init_device_mesh("cpu", (size,))
    return {
        "sums": sums, "place": mesh.get_coordinate(), "mesh": [mesh.mesh.tolist(), mesh["a"].mesh.tolist(), mesh["b"].mesh.tolist()],
        "ranks": [dist.get_process_group_ranks(g) for g in mesh.get_all_groups()], "local": mesh["b"].get_local_rank(),
        "flat": [y.item(), flat.mesh.tolist(), repr(flat)], "world": row.get_group() is dist.group.WORLD,
        "from": repr(DeviceMesh.from_group(dist.group.WORLD, "cpu")),
    }  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="ranks are forked")
def test_four_ranks():
    for rank, found in run(grid, size=4).items():
        a, b = divmod(rank, 2)
        assert found["place"] == (a, b)
        assert found["sums"] == [2 * b + 2, 4 * a + 1]
        assert found["mesh"] == [[[0, 1], [2, 3]], [b, b + 2], [2 * a, 2 * a + 1]]
        assert found["ranks"] == [[b, b + 2], [2 * a, 2 * a + 1]]
        assert found["local"] == b
        assert found["flat"] == [4.0, [0, 1, 2, 3], "DeviceMesh((ab=4), 'cpu', stride=(1,))"]
        assert found["world"]
        assert found["from"] == "DeviceMesh((4,), 'cpu', stride=(1,))"


def cube():
    return DeviceMesh(
        "cpu", torch.arange(8).view(2, 2, 2), mesh_dim_names=("a", "b", "c"), _init_backend=False, _rank=5
    )


def test_places_and_parts():
    m = cube()
    assert repr(m) == "DeviceMesh((a=2, b=2, c=2), 'cpu', stride=(4, 2, 1))"
    assert (m.shape, m.ndim, m.size(), m.size(1)) == ((2, 2, 2), 3, 8, 2)
    assert m.get_coordinate() == (1, 0, 1)
    assert m.mesh.dtype == torch.int32
    assert m["a"].mesh.tolist() == [1, 5]
    assert m["b", "c"].mesh.tolist() == [[4, 5], [6, 7]]
    assert m["a", "c"].get_coordinate() == (1, 1)
    assert m["a", "b"]["b"].mesh.tolist() == [5, 7]
    assert m["a"] == m["a"]
    assert hash(m["a"]) == hash(m["a"])
    assert m == cube()
    assert m["a"]._get_root_mesh() is m
    assert repr(m["a", "b"]._flatten()) == "DeviceMesh((a_b=4), 'cpu', stride=(2,))"
    assert m["a", "b"]._flatten("ab").mesh.tolist() == [1, 3, 5, 7]
    assert repr(m["ab", "c"]) == "DeviceMesh((ab=4, c=2), 'cpu', stride=(2, 1))"
    assert m["a", "c"]._flatten("ac").mesh.tolist() == [0, 1, 4, 5]
    assert DeviceMesh("cpu", [0, 1], _init_backend=False, _rank=5).get_coordinate() is None


@pytest.mark.parametrize("ask, error, text", [
    (lambda m: m["zz"], KeyError, "Invalid mesh_dim_names ('zz',) specified. Valid mesh_dim_names are ['a', 'b', 'c']."),
    (lambda m: m["c", "a"], KeyError, "Invalid mesh_dim_names ('c', 'a') specified. Mesh dim indices should be in ascending order."),
    (lambda m: m["a", "a"], RuntimeError, "Slicing overlapping dim_names ('a', 'a') is not allowed."),
    (lambda m: m.get_local_rank(), RuntimeError, "Found the DeviceMesh have 3 dimensions"),
    (lambda m: m.get_local_rank("q"), KeyError, "Mesh dimension 'q' does not exist."),
    (lambda m: m.get_group(), RuntimeError, "DeviceMesh process groups not initialized!"),
    (lambda m: init_device_mesh("cpu", (2, 4), mesh_dim_names=("a",)), RuntimeError,
     "mesh_shape and mesh_dim_names should have same length! Found len(mesh_dim_names): 1 and len(mesh_shape):2."),
    (lambda m: init_device_mesh("cpu", (2, 4), mesh_dim_names=("a", "a")), RuntimeError,
     "Each mesh_dim_name must be unique. Found repeated mesh_dim_name in mesh_dim_names ('a', 'a')"),
    (lambda m: init_device_mesh("cuda:0", (8,)), RuntimeError, "Device type with index is not supported but got cuda:0. "),
])  # fmt: skip
def test_refusals(ask, error, text):
    with pytest.raises(error) as caught:
        ask(cube())
    assert caught.value.args[0] == text

"""torch.distributed.checkpoint by one process: folders that PyTorch reads and writes, states by names, refusals."""

import os
import pickle

import pytest

import flambeau as torch
import flambeau.distributed.checkpoint as dcp
from flambeau import distributed as dist
from flambeau.distributed.checkpoint import format_utils
from flambeau.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)

from .ranks import run


def trained(t):
    t.manual_seed(0)
    m = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.BatchNorm1d(4))
    o = t.optim.Adam(m.parameters(), lr=0.01)
    m(t.randn(5, 3)).square().sum().backward()
    o.step()
    return m, o


def state(t):
    m, o = trained(t)
    return {
        "model": m.state_dict(),
        "opt": o.state_dict(),
        "step": 7,
        "cfg": {"a": [1, 2, t.ones(2)], "b": [1, 2], "half": t.ones(3, dtype=t.bfloat16), "scalar": t.tensor(2.5)},
    }


def emptied(t, tree):
    return t.utils._pytree.tree_map(lambda x: t.zeros_like(x) if isinstance(x, t.Tensor) else 0 if isinstance(x, int) else x, tree)  # fmt: skip


def check(t, expected, got):
    for a, b in zip(t.utils._pytree.tree_leaves(expected), t.utils._pytree.tree_leaves(got), strict=True):
        assert t.equal(a, b) if isinstance(a, t.Tensor) else a == b


def test_a_state_comes_back(tmp_path):
    before = state(torch)
    metadata = dcp.save(before, checkpoint_id=tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".metadata", "__0_0.distcp"]
    assert metadata.state_dict_metadata["model.0.weight"].size == (4, 3)
    after = emptied(torch, before)
    weight = after["model"]["0.weight"]
    dcp.load(after, checkpoint_id=tmp_path)
    check(torch, before, after)
    assert after["model"]["0.weight"] is weight  # tensors are filled in place
    chosen = dcp.state_dict_loader._load_state_dict_from_keys("model", checkpoint_id=tmp_path)
    assert list(chosen) == ["model"]
    assert torch.equal(chosen["model"]["0.bias"], before["model"]["0.bias"])


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("direction", ["written here", "written there"])
def test_folders_are_pytorchs(request, direction, tmp_path):
    real = pytest.importorskip("torch")
    import torch.distributed.checkpoint as real_dcp

    ours, theirs = state(torch), state(real)
    if direction == "written here":
        dcp.save(ours, checkpoint_id=tmp_path)
        after = emptied(real, theirs)
        real_dcp.load(after, checkpoint_id=tmp_path)
        assert plain(torch, ours) == plain(real, after)
    else:
        real_dcp.save(theirs, checkpoint_id=tmp_path)
        after = emptied(torch, ours)
        dcp.load(after, checkpoint_id=tmp_path)
        assert plain(real, theirs) == plain(torch, after)


def plain(t, tree):
    return [x.tolist() if isinstance(x, t.Tensor) else x for x in t.utils._pytree.tree_leaves(tree)]


def test_objects_with_a_state(tmp_path):
    m, o = trained(torch)
    dcp.save({"model": m, "optimizer": o}, checkpoint_id=tmp_path)
    other, other_o = trained(torch)
    with torch.no_grad():
        other[0].weight.zero_()
    dcp.load({"model": other, "optimizer": other_o}, checkpoint_id=tmp_path)
    assert torch.equal(other[0].weight, m[0].weight)


def test_parts_of_a_tensor_are_read_from_any_chunks(tmp_path):
    from flambeau.distributed.checkpoint.default_planner import create_read_items
    from flambeau.distributed.checkpoint.metadata import (
        ChunkStorageMetadata,
        TensorProperties,
        TensorStorageMetadata,
    )

    chunks = [ChunkStorageMetadata(torch.Size((r, 0)), torch.Size((2, 6))) for r in (0, 2, 4)]
    entry = TensorStorageMetadata(TensorProperties(torch.float32), torch.Size((6, 6)), chunks)

    class Part:
        def __create_chunk_list__(self):
            return [ChunkStorageMetadata(torch.Size((1, 2)), torch.Size((4, 3)))]

    items = create_read_items("x", entry, Part())
    assert [(i.storage_index.offset, i.storage_offsets, i.dest_offsets, i.lengths) for i in items] == [
        ((0, 0), (1, 2), (0, 0), (1, 3)),
        ((2, 0), (0, 2), (1, 0), (2, 3)),
        ((4, 0), (0, 2), (3, 0), (1, 3)),
    ]


def test_what_several_ranks_have_is_written_once():
    plans = []
    for _ in range(3):
        p = dcp.DefaultSavePlanner()
        p.set_up_planner({"a": torch.ones(4), "b": torch.ones(4), "c": torch.ones(4), "n": 1})
        plans.append(p.create_local_plan())
    shared, metadata = dcp.DefaultSavePlanner().create_global_plan(plans)
    assert sorted(i.index.fqn for plan in shared for i in plan.items) == ["a", "b", "c", "n"]
    assert all(plan.items for plan in shared)
    lowest, _ = dcp.DefaultSavePlanner(dedup_save_to_lowest_rank=True).create_global_plan(plans)
    assert [len(plan.items) for plan in lowest] == [4, 0, 0]
    assert len(metadata.state_dict_metadata["a"].chunks) == 1


def test_refusals(tmp_path):
    dcp.save({"a": torch.ones(3)}, checkpoint_id=tmp_path)
    with pytest.raises(dcp.CheckpointException, match="Missing key in checkpoint state_dict: b"):
        dcp.load({"b": torch.ones(3)}, checkpoint_id=tmp_path)
    with pytest.raises(dcp.CheckpointException, match="Size mismatch between saved"):
        dcp.load({"a": torch.ones(4)}, checkpoint_id=tmp_path)
    with pytest.raises(RuntimeError, match="`checkpoint_id` must be specificed"):
        dcp.save({"a": torch.ones(1)})
    with pytest.raises(dcp.CheckpointException, match="Checkpoint already exists"):
        dcp.save({"a": torch.ones(1)}, storage_writer=dcp.FileSystemWriter(tmp_path, overwrite=False))
    partly = {"a": torch.zeros(3), "b": torch.zeros(2)}
    dcp.load(partly, checkpoint_id=tmp_path, planner=dcp.DefaultLoadPlanner(allow_partial_load=True))
    assert partly["a"].sum() == 3
    (tmp_path / ".metadata").write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(dcp.CheckpointException, match="is no part of one"):
        dcp.load({"a": torch.ones(3)}, checkpoint_id=tmp_path)


def test_a_save_that_fails_leaves_the_checkpoint_that_was_there(tmp_path):
    dcp.save({"a": torch.ones(3)}, checkpoint_id=tmp_path)
    with pytest.raises(dcp.CheckpointException):
        dcp.save({"a": torch.zeros(3), "f": lambda: None}, checkpoint_id=tmp_path)
    after = {"a": torch.zeros(3)}
    dcp.load(after, checkpoint_id=tmp_path)
    assert after["a"].tolist() == [1, 1, 1]
    assert sorted(os.listdir(tmp_path)) == [".metadata", "__0_0.distcp"]


def test_saving_while_the_program_goes_on(tmp_path):
    x = torch.ones(3)
    future = dcp.async_save({"x": x}, checkpoint_id=tmp_path)
    x.zero_()
    future.result(10)
    after = {"x": torch.zeros(3)}
    dcp.load(after, checkpoint_id=tmp_path)
    assert after["x"].tolist() == [1, 1, 1]


def test_hugging_faces_layout(tmp_path):
    m, _ = trained(torch)
    before = {**m.state_dict(), "half": torch.ones(2, 3, dtype=torch.bfloat16)}
    places = {k: 1 + (k > "1") for k in before}
    dcp.save(before, storage_writer=dcp.HuggingFaceStorageWriter(str(tmp_path), places))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]  # fmt: skip
    after = {k: torch.zeros_like(v) for k, v in before.items()}
    dcp.load(after, storage_reader=dcp.HuggingFaceStorageReader(str(tmp_path)))
    check(torch, before, after)
    with pytest.raises(dcp.CheckpointException, match="holds tensors only"):
        dcp.save({"n": 1}, storage_writer=dcp.HuggingFaceStorageWriter(str(tmp_path)))


def saved_by_two(rank, size):
    import tempfile

    state = {"a": torch.ones(4), "b": torch.full((4,), 2.0)}
    folder = [tempfile.mkdtemp()]
    dist.broadcast_object_list(folder, 0)
    writer = dcp.HuggingFaceStorageWriter(folder[0])
    with pytest.raises(dcp.CheckpointException, match="written by several ranks"):
        dcp.save(state, storage_writer=writer)
    dcp.save(state, storage_writer=writer, planner=dcp.DefaultSavePlanner(dedup_save_to_lowest_rank=True))
    after = {k: torch.zeros(4) for k in state}
    dcp.load(after, storage_reader=dcp.HuggingFaceStorageReader(folder[0]))
    return after["a"].sum().item(), after["b"].sum().item()


@pytest.mark.skipif(os.name != "posix", reason="ranks are forked")
def test_one_rank_writes_a_file_of_hugging_faces_layout():
    assert set(run(saved_by_two, size=2).values()) == {(4.0, 8.0)}


def test_files_of_torch_save(tmp_path):
    torch.save({"a": torch.arange(3), "n": 2}, tmp_path / "one.pt")
    format_utils.torch_save_to_dcp(tmp_path / "one.pt", tmp_path / "folder")
    format_utils.dcp_to_torch_save(tmp_path / "folder", tmp_path / "two.pt")
    again = torch.load(tmp_path / "two.pt")
    assert again["a"].tolist() == [0, 1, 2]
    assert again["n"] == 2


def test_states_by_names():
    m, o = trained(torch)
    model_state, optim_state = get_state_dict(m, o)
    assert list(optim_state["state"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert optim_state["param_groups"][0]["params"] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    fresh = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    weight = fresh[0].weight.detach().clone()
    fresh_o = torch.optim.Adam(fresh.parameters(), lr=5.0)
    get_optimizer_state_dict(fresh, fresh_o)  # makes the state, and changes nothing
    assert torch.equal(fresh[0].weight, weight)
    assert fresh_o.param_groups[0]["lr"] == 5.0
    set_state_dict(fresh, fresh_o, model_state_dict=model_state, optim_state_dict=optim_state)
    assert torch.equal(fresh[0].weight, m[0].weight)
    assert fresh_o.param_groups[0]["lr"] == 0.01
    assert torch.equal(fresh_o.state[fresh[0].bias]["exp_avg"], o.state[m[0].bias]["exp_avg"])
    flat = get_optimizer_state_dict(m, o, options=StateDictOptions(flatten_optimizer_state_dict=True))
    assert "state.0.weight.exp_avg" in flat
    assert flat["param_groups.1.bias.lr"] == 0.01
    set_optimizer_state_dict(fresh, fresh_o, flat)
    m[0].weight.requires_grad_(False)
    assert "0.weight" not in get_model_state_dict(m, options=StateDictOptions(ignore_frozen_params=True))
    assert next(iter(get_model_state_dict(m, submodules={m[1]}))) == "1.weight"
    assert list(get_model_state_dict(torch.compile(m))) == list(m.state_dict())


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_states_by_names_are_pytorchs():
    real = pytest.importorskip("torch")
    from torch.distributed.checkpoint import state_dict as theirs

    for options in ({}, {"flatten_optimizer_state_dict": True}):
        a = get_state_dict(*trained(torch), options=StateDictOptions(**options))
        b = theirs.get_state_dict(*trained(real), options=theirs.StateDictOptions(**options))
        assert list(a[0]) == list(b[0])
        assert sorted(a[1]) == sorted(b[1])

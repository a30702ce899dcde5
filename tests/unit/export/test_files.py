"""`.pt2` files: programs come back as they were, PyTorch reads them, and its files are read."""

import io
import json
import zipfile

import numpy as np
import pytest

import flambeau
from flambeau import nn
from flambeau.export import export, load, save
from flambeau.utils import _pytree as pytree

from .test_program import models


def changing(fl):
    class Changing(fl.nn.Module):
        def forward(self, x, *, scale=None):
            b, t = x.shape[:2]
            z = fl.zeros(b, t * 2 + 1, dtype=fl.int32)
            e = x.reshape(b * t, -1)
            y, i = fl.max(fl.nn.functional.max_pool1d(x, 2), 1)
            u = x[:, fl.arange(t)]
            w = x.clone()
            w[:, 0] = 3.0
            return {"sizes": (z, e, b), "values": [y, i, u, w], "mean": x.mean() * 2.5 + x.sum(1).std()}

    return Changing()


def program(fl=flambeau):
    shapes = {"x": {0: fl.export.Dim("batch"), 1: fl.export.Dim("time", max=100)}, "scale": None}
    return fl.export.export(changing(fl), (fl.ones(5, 4, 6),), {"scale": None}, dynamic_shapes=shapes)


def arrays(tree):
    return [x.detach().numpy() if hasattr(x, "detach") else x for x in pytree.tree_leaves(tree)]


@pytest.mark.parametrize("name", ["mixed", "attention", "recurrent", "conv"])
def test_a_program_comes_back(name):
    model, args, kwargs, shapes = models(flambeau)[name]
    before = export(model, args, kwargs, dynamic_shapes=shapes)
    file, extra = io.BytesIO(), {"note.txt": ""}
    save(before, file, extra_files={"note.txt": "hello"})
    file.seek(0)
    after = load(file, extra_files=extra)
    assert extra == {"note.txt": "hello"}
    assert str(after.graph_signature) == str(before.graph_signature)
    assert list(after.state_dict) == list(before.state_dict)
    assert str(after.range_constraints) == str({str(k): v for k, v in before.range_constraints.items()})
    for a, b in zip(arrays(before.module()(*args, **kwargs)), arrays(after.module()(*args, **kwargs)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_sizes_stay_dynamic(tmp_path):
    save(program(), tmp_path / "p.pt2")
    again = load(tmp_path / "p.pt2")
    assert 'zeros: "i32[batch, 2*time + 1]"' in str(again)
    x = flambeau.randn(3, 7, 6)
    for a, b in zip(arrays(again.module()(x, scale=None)), arrays(changing(flambeau)(x)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(AssertionError, match=r"Guard failed: x.size\(\)\[1\] <= 100"):
        again.module()(flambeau.ones(1, 101, 6), scale=None)


def test_shared_storages_are_written_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, x):
            return self.out(self.embed(x))

    save(export(Tied(), (flambeau.arange(3),)), tmp_path / "tied.pt2")
    names = zipfile.ZipFile(tmp_path / "tied.pt2").namelist()
    assert [n for n in names if n.endswith("weight_0")]
    assert not [n for n in names if n.endswith("weight_1")]
    state = load(tmp_path / "tied.pt2").state_dict
    assert state["embed.weight"].data_ptr() == state["out.weight"].data_ptr()


def renamed(part, old, new):
    """Another name for a value, everywhere in a graph."""
    text = json.dumps(part)
    assert json.dumps(old) in text
    part.clear()
    part.update(json.loads(text.replace(json.dumps(old), json.dumps(new))))


def structured(model, module, name):
    """The outputs come in a dictionary whose default factory is a function of a module."""
    whole = model["graph_module"]["module_call_graph"][0]["signature"]
    context = {"default_factory_module": module, "default_factory_name": name, "dict_context": []}
    whole["out_spec"] = json.dumps([1, {"type": "collections.defaultdict", "context": context, "children_spec": []}])


def test_refusals(tmp_path):
    with pytest.raises(
        TypeError, match="The 'ep' parameter must be an instance of 'ExportedProgram', got 'int' instead"
    ):
        save(3, tmp_path / "x.pt2")
    flambeau.save({"a": 1}, tmp_path / "other.pt")
    with pytest.raises(RuntimeError, match="Unable to load package"):
        load(tmp_path / "other.pt")
    save(program(), tmp_path / "p.pt2")
    old = zipfile.ZipFile(tmp_path / "p.pt2")
    evil = "y=__import__('flambeau.not_there')"
    for change, error, words in (
        (lambda m: renamed(m["graph_module"], "x", evil), RuntimeError, "which is no identifier"),
        (lambda m: renamed(m["graph_module"], m["graph_module"]["graph"]["nodes"][0]["name"], evil), RuntimeError, "which is no identifier"),
        (lambda m: m["graph_module"]["graph"]["nodes"][0]["inputs"][0].update(name=evil, kind=2), RuntimeError, "which is no identifier"),
        (lambda m: structured(m, "antigravity", "geohash"), RuntimeError, "reading a file imports nothing"),
        (lambda m: structured(m, "os", "abort"), RuntimeError, "which is no class"),
        (lambda m: m["schema_version"].update(major=7), RuntimeError, "does not match our current schema version"),
        (lambda m: m["graph_module"]["graph"]["nodes"][0].update(target="os.system"), NotImplementedError, "calls os.system"),
        (lambda m: m["graph_module"]["graph"]["nodes"][0].update(target="torch.ops.aten.nothing.default"), NotImplementedError, "not here"),
    ):  # fmt: skip
        with zipfile.ZipFile(tmp_path / "changed.pt2", "w") as new:
            for name in old.namelist():
                data = old.read(name)
                if name.endswith("models/model.json"):
                    model = json.loads(data)
                    change(model)
                    data = json.dumps(model)
                new.writestr(name, data)
        with pytest.raises(error, match=words):
            load(tmp_path / "changed.pt2")
    before = (tmp_path / "p.pt2").read_bytes()
    half = io.BytesIO(before[: len(before) // 2])
    with pytest.raises(RuntimeError):
        load(half)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mixed", "attention", "recurrent", "conv", "changing"])
def test_pytorch_reads_what_is_written(torch, name, tmp_path):
    if name == "changing":
        before, args, kwargs = program(), (flambeau.randn(3, 7, 6),), {"scale": None}
    else:
        model, args, kwargs, shapes = models(flambeau)[name]
        before = export(model.eval(), args, kwargs, dynamic_shapes=shapes)
    save(before, tmp_path / "p.pt2")
    there = torch.export.load(tmp_path / "p.pt2")
    given = pytree.tree_map_only(flambeau.Tensor, lambda t: torch.from_numpy(t.numpy().copy()), (args, kwargs))
    expected, got = arrays(before.module()(*args, **kwargs)), arrays(there.module()(*given[0], **given[1]))
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mixed", "attention", "conv", "changing"])
def test_what_pytorch_writes_is_read(torch, name, tmp_path):
    if name == "changing":
        there, args, kwargs = program(torch), (torch.randn(3, 7, 6),), {"scale": None}
    else:
        model, args, kwargs, shapes = models(torch)[name]
        there = torch.export.export(model.eval(), args, kwargs, dynamic_shapes=shapes)
    torch.export.save(there, tmp_path / "p.pt2")
    here = load(tmp_path / "p.pt2")
    given = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: flambeau.from_numpy(t.numpy().copy()), (args, kwargs))  # fmt: skip
    expected, got = arrays(there.module()(*args, **kwargs)), arrays(here.module()(*given[0], **given[1]))
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

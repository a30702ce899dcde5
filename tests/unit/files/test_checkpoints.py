"""save and load: what PyTorch wrote is read, what we write PyTorch reads, and what is shared stays shared."""

import copy
import io
import os
import pathlib
import pickle
import stat
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import flambeau
from flambeau import nn

DATA = pathlib.Path(__file__).parents[2] / "data" / "checkpoints"


def saved(obj, **options):
    file = io.BytesIO()
    flambeau.save(obj, file, **options)
    file.seek(0)
    return file


def cycled(obj, load=None, **options):
    return flambeau.load(saved(obj, **options), **(load or {}))


def everything():
    whole = flambeau.arange(20.0).reshape(4, 5)
    return {
        "whole": whole,
        "view": whole[1:3, ::2],
        "turned": whole.t(),
        "parameter": nn.Parameter(flambeau.full((2, 2), 0.5, dtype=flambeau.float64)),
        "half": flambeau.tensor([1.5, -2.0], dtype=flambeau.float16),
        "bfloat16": flambeau.tensor([1.5, -2.0], dtype=flambeau.bfloat16),
        "complex": flambeau.tensor([1 + 2j, 3 - 4j]),
        "bool": flambeau.tensor([True, False]),
        "int8": flambeau.tensor([-1, 2], dtype=flambeau.int8),
        "scalar": flambeau.tensor(7),
        "empty": flambeau.empty(0, 3),
        "size": whole.shape,
        "dtype": flambeau.bfloat16,
        "device": flambeau.device("cpu"),
        "layout": flambeau.strided,
        "plain": [1, 2.5, "three", None, True, (4, {5: "six"}), {7, 8}, 2**70, -3],
        "ordered": OrderedDict(b=1, a=flambeau.ones(2)),
    }


def check(found):
    """Whether `found` is `everything()`, shared memory included."""
    expected = everything()
    for name, e in expected.items():
        f = found[name]
        assert type(f) is type(e), name
        if isinstance(e, flambeau.Tensor):
            same(f, e, name)
        elif name == "ordered":
            assert list(f) == list(e)
            same(f["a"], e["a"], name)
        else:
            assert f == e, name
    assert found["view"].untyped_storage() is found["whole"].untyped_storage()
    assert found["turned"].data_ptr() == found["whole"].data_ptr()
    assert found["parameter"].requires_grad
    assert found["parameter"].is_leaf


def same(f, e, name=""):
    assert (f.dtype, f.shape, f.stride(), f.requires_grad) == (e.dtype, e.shape, e.stride(), e.requires_grad), name
    assert np.array_equal(f.detach()._a, e.detach()._a), name


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("file", ["everything.pt", "legacy.pt"])
def test_what_pytorch_wrote(file, weights_only):
    found = flambeau.load(DATA / file, weights_only=weights_only)
    check(found)
    assert found["conjugate"].tolist() == [1 - 2j, 3 + 4j]
    if file == "everything.pt":
        assert found["uint16"].tolist() == [1, 65535]
        assert found["float8"].float().tolist() == [1.5, -2.0]
        assert (found["meta"].device.type, found["meta"].shape) == ("meta", (2, 3))


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_there_and_back(zipped, weights_only):
    check(cycled(everything(), {"weights_only": weights_only}, _use_new_zipfile_serialization=zipped))


@pytest.mark.parity
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_reads_what_we_write(torch, zipped):
    obj = everything()
    for weights_only in (True, False):
        found = torch.load(saved(obj, _use_new_zipfile_serialization=zipped), weights_only=weights_only)
        for name, e in obj.items():
            f = found[name]
            if isinstance(e, flambeau.Tensor):
                assert (str(f.dtype), tuple(f.shape), f.stride()) == (str(e.dtype), tuple(e.shape), e.stride()), name
                assert f.tolist() == e.tolist(), name
                assert f.requires_grad == e.requires_grad, name
            elif name in ("dtype", "device", "layout"):
                assert str(f) == str(e)
            elif name != "ordered":
                assert f == e, name
        assert found["view"].untyped_storage().data_ptr() == found["whole"].untyped_storage().data_ptr()


@pytest.mark.parity
def test_the_archive_is_pytorchs(torch):
    """Same records in the same order, with the same flags and alignment, but for checksums of names."""
    ours, theirs = saved({"a": flambeau.arange(9)}), io.BytesIO()
    torch.save({"a": torch.arange(9)}, theirs)
    reader = torch._C.PyTorchFileReader(ours)
    assert reader.get_all_records() == torch._C.PyTorchFileReader(io.BytesIO(theirs.getvalue())).get_all_records()
    a, b = (zipfile.ZipFile(io.BytesIO(f.getvalue())) for f in (ours, theirs))
    for x, y in zip(a.infolist(), b.infolist(), strict=True):
        assert (x.filename, x.flag_bits, x.file_size, x.header_offset, x.compress_type) == (
            y.filename, y.flag_bits, y.file_size, y.header_offset, y.compress_type)  # fmt: skip
        if "serialization_id" not in x.filename:
            assert a.read(x) == b.read(y), x.filename


@pytest.mark.parity
def test_state_dicts_travel_both_ways(torch, tmp_path):
    flambeau.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(27, 2)
    )
    flambeau.save(ours.state_dict(), tmp_path / "model.pt")
    theirs.load_state_dict(torch.load(tmp_path / "model.pt"))
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert a.tolist() == b.tolist()
    optimizer = torch.optim.Adam(theirs.parameters())
    theirs(torch.ones(4, 1, 5, 5)).sum().backward()
    optimizer.step()
    torch.save({"model": theirs.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "back.pt")
    back = flambeau.load(tmp_path / "back.pt")
    ours.load_state_dict(back["model"])
    flambeau.optim.Adam(ours.parameters()).load_state_dict(back["optimizer"])
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert a.tolist() == b.tolist()


def test_whole_modules():
    with pytest.raises(
        pickle.UnpicklingError, match=r"GLOBAL torch.nn.modules.container.Sequential was not an allowed"
    ):
        flambeau.load(DATA / "module.pt")
    model = flambeau.load(DATA / "module.pt", weights_only=False)
    assert type(model) is nn.Sequential
    flambeau.manual_seed(0)
    again = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    x = flambeau.ones(2, 3)
    assert (model(x) == again(x)).all(), "same seed, same parameters"
    assert (cycled(model, {"weights_only": False})(x) == again(x)).all()
    with flambeau.serialization.safe_globals([nn.Sequential, nn.Linear, nn.ReLU, set]):
        names = flambeau.serialization.get_unsafe_globals_in_checkpoint(DATA / "module.pt")
        assert (flambeau.load(DATA / "module.pt")(x) == again(x)).all()
    assert names == []
    assert "torch.nn.modules.linear.Linear" in flambeau.serialization.get_unsafe_globals_in_checkpoint(
        DATA / "module.pt"
    )


@pytest.mark.parity
def test_pytorch_reads_our_modules(torch):
    flambeau.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    read = torch.load(saved(model), weights_only=False)
    assert type(read) is torch.nn.Sequential
    ours, theirs = model.eval()(flambeau.ones(2, 3)), read.eval()(torch.ones(2, 3))
    assert np.allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.TransformerEncoderLayer(8, 2),
        lambda nn: nn.LSTM(3, 4, 2),
        lambda nn: nn.MultiheadAttention(8, 2),
        lambda nn: nn.Conv2d(2, 3, 3, padding="same"),
        lambda nn: nn.ModuleDict({"a": nn.Dropout(0.3), "b": nn.ModuleList([nn.BatchNorm1d(2)])}),
        lambda nn: nn.Sequential(nn.Embedding(5, 3), nn.GELU(), nn.LayerNorm(3), nn.CrossEntropyLoss()),
    ],
)
def test_whole_modules_travel_both_ways(torch, make):
    for ours, theirs in ((flambeau, torch), (torch, flambeau)):
        module, file = make(ours.nn), io.BytesIO()
        ours.save(module, file)
        file.seek(0)
        found = theirs.load(file, weights_only=False)
        assert repr(found) == repr(module)
        for a, b in zip(found.state_dict().values(), module.state_dict().values(), strict=True):
            assert a.tolist() == b.tolist()


def test_only_the_storage_of_what_is_saved_is_written():
    big = flambeau.zeros(10000)
    assert len(saved(big[:3]).getvalue()) > 40000, "a view brings its storage, as in PyTorch"
    assert len(saved(big[:3].clone()).getvalue()) < 3000


def test_map_location():
    obj = {"a": flambeau.arange(3.0)}
    for where in ("cpu", flambeau.device("cpu"), {"cpu": "cpu"}, lambda storage, location: storage, lambda *_: None):
        for zipped in (True, False):
            assert cycled(obj, {"map_location": where}, _use_new_zipfile_serialization=zipped)["a"].tolist() == [
                0,
                1,
                2,
            ]
    seen = []
    cycled(
        obj, {"map_location": lambda storage, location: seen.append((type(storage).__name__, len(storage), location))}
    )
    assert seen == [("UntypedStorage", 12, "cpu")]
    on_meta = cycled(obj, {"map_location": "meta"})["a"]
    assert (on_meta.device.type, on_meta.shape, on_meta.dtype) == ("meta", (3,), flambeau.float32)
    with pytest.raises(RuntimeError, match=r"don't know how to restore data location of torch.storage.UntypedStorage"):
        cycled(obj, {"map_location": "nowhere"})


def test_mmap(tmp_path):
    path = tmp_path / "model.pt"
    flambeau.save(everything(), path)
    found = flambeau.load(path, mmap=True)
    check(found)
    found["whole"][0] = 99
    check(flambeau.load(path)), "writing to what was mapped leaves the file alone"
    with pytest.raises(ValueError, match="f must be a file path in order to use the mmap argument"):
        flambeau.load(saved({}), mmap=True)
    flambeau.save({}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="mmap can only be used with files saved with"):
        flambeau.load(path, mmap=True)


def test_saving_is_all_or_nothing(tmp_path):
    path = tmp_path / "model.pt"
    flambeau.save({"a": 1}, path)
    path.chmod(0o640)

    class Stubborn:
        def __reduce__(self):
            raise ValueError("not me")

    with pytest.raises(ValueError, match="not me"):
        flambeau.save({"a": flambeau.ones(100), "b": Stubborn()}, path)
    assert flambeau.load(path) == {"a": 1}
    flambeau.save({"a": 2}, path)
    assert flambeau.load(path) == {"a": 2}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert os.listdir(tmp_path) == ["model.pt"]
    (tmp_path / "link.pt").symlink_to(path)
    flambeau.save({"a": 3}, tmp_path / "link.pt")
    assert flambeau.load(path) == {"a": 3}
    assert (tmp_path / "link.pt").is_symlink()
    flambeau.save({"a": 4}, os.devnull)
    with pytest.raises(RuntimeError, match=r"Parent directory .*missing does not exist"):
        flambeau.save({}, tmp_path / "missing" / "model.pt")


def test_places_to_write_and_read(tmp_path):
    class Sink:
        def __init__(self):
            self.parts = []

        def write(self, data):
            self.parts.append(bytes(data))

    sink = Sink()
    flambeau.save({"a": flambeau.arange(5)}, sink)
    data = b"".join(sink.parts)
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    assert flambeau.load(file)["a"].tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "x.pt").write_bytes(data)
    with open(tmp_path / "x.pt", "rb") as f:
        assert flambeau.load(f)["a"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(AttributeError, match="expected 'f' to be string, path, or a file-like object with a 'write'"):
        flambeau.save({}, 3)
    with pytest.raises(AttributeError, match=r"You can only torch.load from a file that is seekable"):
        flambeau.load(3)
    with pytest.raises(FileNotFoundError):
        flambeau.load(tmp_path / "missing.pt")


def test_skip_data(tmp_path):
    path = tmp_path / "model.pt"
    with flambeau.serialization.skip_data():
        flambeau.save({"a": flambeau.ones(1000)}, path)
    assert flambeau.load(path)["a"].sum() == 0
    with flambeau.serialization.skip_data():
        assert flambeau.load(path)["a"].shape == (1000,)


def test_byte_order():
    swapped = flambeau.from_numpy(np.arange(5, dtype="f4").byteswap().view("f4"))
    content = saved({"a": swapped}).getvalue()
    assert content.count(b"little") == 1
    big = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(big, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"big" if name.endswith("byteorder") else old.read(name))
    big.seek(0)
    if sys.byteorder == "little":
        assert flambeau.load(big)["a"].tolist() == [0, 1, 2, 3, 4]


def test_protocols_and_modules():
    obj = {"a": flambeau.arange(3), "b": [flambeau.float16, flambeau.Size([2])]}
    for protocol in (2, 3, 4, 5):
        found = cycled(obj, {"weights_only": False}, pickle_protocol=protocol)
        assert found["a"].tolist() == [0, 1, 2]
        assert found["b"] == obj["b"]
    found = flambeau.load(saved(obj, pickle_module=pickle), pickle_module=pickle)
    assert found["b"] == obj["b"]
    with pytest.raises(RuntimeError, match="Can not safely load weights when explicit pickle_module is specified"):
        flambeau.load(saved(obj), pickle_module=pickle, weights_only=True)


def test_environment(monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(pickle.UnpicklingError):
        flambeau.load(DATA / "module.pt", weights_only=False)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(RuntimeError, match="Only one of"):
        flambeau.load(DATA / "module.pt")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    with pytest.warns(UserWarning, match="forcing weights_only=False"):
        assert type(flambeau.load(DATA / "module.pt")) is nn.Sequential


def test_one_storage_has_one_dtype():
    a = flambeau.zeros(4)
    with pytest.raises(
        RuntimeError, match="Cannot save multiple tensors or storages that view the same data as different"
    ):
        saved([a, a.view(flambeau.int32)])


def test_attributes_and_subclasses_travel():
    a = flambeau.ones(2)
    a.note = "kept"
    a.grad = flambeau.zeros(2)
    found = cycled(a)
    assert found.note == "kept"
    assert found.grad is None, "gradients are not saved"
    p = nn.Parameter(flambeau.ones(2))
    p.note = "kept"
    found = cycled(p)
    assert type(found) is nn.Parameter
    assert found.note == "kept"


def test_hooks_stay_behind():
    from flambeau.utils.hooks import unserializable_hook

    x = flambeau.ones(2, requires_grad=True)
    x.register_hook(unserializable_hook(lambda g: g))
    saved(x)
    x.register_hook(print)
    assert len(x._backward_hooks) == 2
    with pytest.warns(UserWarning, match="backward hook <built-in function print> on tensor will not be serialized"):
        assert cycled(x)._backward_hooks is None


def test_tar_files():
    """What PyTorch wrote before its version 0.1.10: three files in a tar archive."""
    import struct
    import tarfile

    def pickles(*objects):
        return b"".join(pickle.dumps(o, 2) for o in objects)

    numbers = np.arange(6, dtype="f4")
    cls = b"\x80\x02K\x07X\x03\x00\x00\x00cpuctorch\nFloatStorage\n\x87."  # (7, "cpu", torch.FloatStorage)
    storages = pickles(1) + cls + struct.pack("<q", 6) + numbers.tobytes() + pickles([])
    place = struct.pack("<i4x2q2qq", 2, 2, 2, 3, 1, 1)  # two dims: sizes 2, 2; strides 3, 1; from the second element on
    tensors = pickles(1) + b"\x80\x02K\x09K\x07ctorch\nFloatTensor\n\x87." + place
    root = b"\x80\x02}U\x01aX\x01\x00\x00\x009Qs."  # {"a": persistent id "9"}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (("storages", storages), ("tensors", tensors), ("pickle", root)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    file.seek(0)
    with pytest.raises(
        RuntimeError, match=r"Cannot use ``weights_only=True`` with files saved in the legacy \.tar format"
    ):
        flambeau.load(file)
    file.seek(0)
    assert flambeau.load(file, weights_only=False)["a"].tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_pickles(protocol):
    check(pickle.loads(pickle.dumps(everything(), protocol)))
    model = nn.Linear(3, 2)
    again = pickle.loads(pickle.dumps(model, protocol))
    assert (again.weight == model.weight).all()


def test_deep_copies():
    obj = everything()
    again = copy.deepcopy(obj)
    check(again)
    again["whole"].zero_()
    assert again["view"].sum() == 0
    check(obj)
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(obj["parameter"] * 2)
    p = nn.Parameter(flambeau.ones(2))
    p.grad = flambeau.ones(2)
    assert copy.deepcopy([p, p])[0] is not p
    t = flambeau.ones(2, requires_grad=True)
    t.grad = flambeau.full((2,), 3.0)
    assert copy.deepcopy(t).grad.tolist() == [3, 3]


def test_memory_is_streamed(tmp_path):
    import tracemalloc

    n = 30_000_000
    big = flambeau.zeros(n, dtype=flambeau.uint8)
    path = tmp_path / "big.pt"
    tracemalloc.start()
    flambeau.save({"a": big}, path)
    writing = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    found = flambeau.load(path)
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert writing < 0.1 * n
    assert reading < 1.1 * n
    assert found["a"].shape == (n,)


def test_large_archives():
    """Records beyond 4 GB take zip64 fields; the writer is told that everything is large."""
    from flambeau._ground import archive

    before = archive._LARGE
    archive._LARGE = 1000
    try:
        content = saved({"a": flambeau.arange(1000), "b": flambeau.arange(3)})
    finally:
        archive._LARGE = before
    assert zipfile.ZipFile(content).testzip() is None
    content.seek(0)
    found = flambeau.load(content)
    assert (found["a"] == flambeau.arange(1000)).all()


DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "complex128",
    "complex64",
    "complex32",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
]


def of_every_dtype(fl):
    """For each dtype a tensor with every byte pattern of interest, a part of it and another shape of it, on one storage."""
    found = {}
    for name in DTYPES:
        dtype = getattr(fl, name)
        plain = fl.arange(1, 97, dtype=fl.uint8) if dtype != fl.bool else fl.arange(96, dtype=fl.uint8) % 2
        whole = plain.view(dtype)
        found[name] = [whole, whole[1:4], whole[:4].view(2, 2).t(), fl.zeros(0, 2, dtype=dtype)]
    return found


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("ours_writes", [True, False])
def test_every_dtype_travels_both_ways(torch, ours_writes, zipped, weights_only):
    writer, reader = (flambeau, torch) if ours_writes else (torch, flambeau)
    file = io.BytesIO()
    writer.save(of_every_dtype(writer), file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    found = reader.load(file, weights_only=weights_only)
    expected = of_every_dtype(reader)
    assert list(found) == DTYPES
    for name, tensors in expected.items():
        for e, f in zip(tensors, found[name], strict=True):
            assert (f.dtype, f.shape, f.stride(), f.storage_offset()) == (e.dtype, e.shape, e.stride(), e.storage_offset())  # fmt: skip
            if e.is_contiguous():
                assert f.contiguous().view(reader.uint8).tolist() == e.contiguous().view(reader.uint8).tolist(), name
        assert found[name][1].untyped_storage().data_ptr() == found[name][0].untyped_storage().data_ptr(), name
        assert found[name][2].untyped_storage().data_ptr() == found[name][0].untyped_storage().data_ptr(), name

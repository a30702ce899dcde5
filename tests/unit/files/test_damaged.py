"""Truncated, corrupted and malicious checkpoints: a clear error in PyTorch's words, and nothing that they name is executed."""

import io
import os
import pathlib
import pickle
import random
import zipfile

import pytest

import flambeau

DATA = pathlib.Path(__file__).parents[2] / "data" / "checkpoints"


def good():
    file = io.BytesIO()
    flambeau.save({"a": flambeau.arange(100.0)}, file)
    return file.getvalue()


def load(data, **options):
    return flambeau.load(io.BytesIO(data), **options)


def rewritten(without=(), **changes):
    """The archive without some records, or with others in their place (`data__0` is data/0, `data_pkl` data.pkl)."""
    changes = {{"data_pkl": "data.pkl"}.get(k, k.replace("__", "/")): v for k, v in changes.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good())) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            record = name.split("/", 1)[1]
            if record not in without:
                new.writestr(name, changes.get(record, old.read(name)))
    return out.getvalue()


DIRECTORY = "PytorchStreamReader failed reading zip archive: failed finding central directory"


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (lambda: b"", EOFError, "Ran out of input"),
        (lambda: good()[:1500], RuntimeError, DIRECTORY),
        (lambda: good()[:-1], RuntimeError, DIRECTORY),
        (lambda: good()[:4], RuntimeError, "PytorchStreamReader failed reading zip archive: not a ZIP archive"),
        (lambda: rewritten(without=["data.pkl"]), RuntimeError, "failed locating file data.pkl: file not found"),
        (lambda: rewritten(without=["data/0"]), RuntimeError, "failed locating file data/0: file not found"),
        (lambda: rewritten(without=["version"]), RuntimeError, r'Expected hasRecord\("version"\) to be true'),
        (lambda: rewritten(data__0=b"123"), RuntimeError, r"record size \(3 bytes\) does not match expected size \(400"),
        (lambda: rewritten(version=b"99"), RuntimeError, "with version 99, but the maximum supported version for reading is 10"),
        (lambda: rewritten(version=b"0"), RuntimeError, "with version 0, but the minimum supported version"),
        (lambda: rewritten(version=b"abc"), RuntimeError, "Couldn't parse the version abc as Long Long"),
        (lambda: rewritten(byteorder=b"middle"), ValueError, "Unknown endianness type: middle"),
        (lambda: pickle.dumps(3, 2), RuntimeError, r"Invalid magic number; corrupt file\?"),
        (lambda: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(7, 2), RuntimeError, "Invalid protocol version: 7"),
        (lambda: b"hello world this is text", pickle.UnpicklingError, "Weights only load failed"),
        (lambda: b"ab", pickle.UnpicklingError, "Weights only load failed"),
    ],
)  # fmt: skip
def test_damage(data, error, words):
    with pytest.raises(error, match=words):
        load(data())


def test_a_flipped_bit_is_noticed():
    data = bytearray(good())
    at = bytes(data).index(flambeau.arange(100.0).numpy().tobytes()[4:40])
    data[at] ^= 1
    with pytest.raises(RuntimeError, match="failed reading file data/0: CRC-32 check failed"):
        load(bytes(data))


def test_a_truncated_legacy_file():
    data = (DATA / "legacy.pt").read_bytes()
    with pytest.raises(RuntimeError, match=r"unexpected EOF, expected 5 more bytes. The file might be corrupted."):
        load(data[:-5])


class Evil:
    """Leaves a trace if it is ever called."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_is_executed(tmp_path):
    trace = str(tmp_path / "executed")
    attack = pickle.dumps({"a": Evil(trace)}, 2)
    for data in (rewritten(data_pkl=attack), attack, attack * 3):
        with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL posix\.mkdir whose module posix is blocked"):
            load(data)
    allowed = flambeau.serialization.safe_globals([os.mkdir, (os.mkdir, "posix.mkdir")])
    with pytest.raises(pickle.UnpicklingError, match="blocked"), allowed:
        load(rewritten(data_pkl=attack))
    assert not os.path.exists(trace)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.", "GLOBAL eval was not an allowed global by default"),
        (b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81.", "GLOBAL torch.nn.modules.linear.Linear was not an allowed"),
        (b"\x80\x02ctorch.serialization\nload\nX\x01\x00\x00\x00a\x85R.", "GLOBAL torch.serialization.load was not an allowed"),
        (b"\x80\x02cflambeau._utils\n_public\nX\x01\x00\x00\x00a\x85R.", "GLOBAL flambeau._utils._public was not an allowed"),
        (b"\x80\x02R.", "stack underflow"),
        (b"\x80\x02h\x05.", "Memo value not found at index 5"),
        (b"\x80\x02\xff.", "Unsupported operand 255"),
        (b"\x80\x04\x95\x00.", "Unsupported operand 149"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "persistent_load id must be tuple or int, but got <class 'str'>"),
        (b"\x80\x02X\x01\x00\x00\x00a\x85Q.", "Only persistent_load of storage is allowed"),
        (b"\x80\x02}X\x01\x00\x00\x00a\x85b.", "Can only build Tensor, Parameter, OrderedDict or types allowlisted"),
        (b"\x80\x02K\x01)R.", "Trying to call reduce for unrecognized function 1"),
        (b"\x80\x02}K\x01a.", "Can only append to lists, but got <class 'dict'>"),
        (b"\x80\x02]K\x01K\x02s.", "Can only SETITEM for dict"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "truncated"),
        (b"\x80\x02(", "Ran out of input"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_refused_pickles(text, words):
    with pytest.raises((pickle.UnpicklingError, EOFError), match=words):
        load(rewritten(data_pkl=text))


@pytest.mark.parametrize(
    "arguments",
    [(0, (200,), (1,)), (90, (20,), (1,)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (-2,), (1,)), (0, (2, 2), (1,)),
     (0, (2,), (1 << 62,))],
)  # fmt: skip
def test_a_tensor_stays_within_its_storage(arguments):
    storage = flambeau.arange(100.0).untyped_storage()
    typed = flambeau.storage.TypedStorage(wrap_storage=storage, dtype=flambeau.float32)
    with pytest.raises(RuntimeError, match=r"out of bounds|Negative strides|mismatch in length"):
        flambeau._utils._rebuild_tensor(typed, *arguments)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", ["everything.pt", "legacy.pt"])
def test_random_damage(file):
    """Whatever is damaged, what comes out is a tensor file's content or an error that says so."""
    data = (DATA / file).read_bytes()
    rng = random.Random(0)
    outcomes = set()
    for _ in range(1000):
        broken = bytearray(data)
        for _ in range(rng.choice((1, 1, 3, 10))):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        if rng.random() < 0.3:
            del broken[rng.randrange(len(broken)) :]
        try:
            load(bytes(broken))
            outcomes.add("loaded")
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as e:
            outcomes.add(type(e).__name__)
    assert {"UnpicklingError", "RuntimeError"} <= outcomes

"""Storages: bytes that views share, under the names that libraries and old programs use."""

import copy
import pickle

import numpy as np
import pytest

import flambeau


def test_views_share_their_storage():
    a = flambeau.arange(6.0)
    b = a[2:5]
    assert a.untyped_storage() is b.untyped_storage()
    assert len(b.untyped_storage()) == 24
    assert b.untyped_storage().data_ptr() == a.data_ptr()
    assert b.storage_offset() == 2
    assert a.clone().untyped_storage() is not a.untyped_storage()
    b.untyped_storage().fill_(0)
    assert a.tolist() == [0] * 6


def test_a_tensor_of_a_storage_shares_it():
    """So safetensors reads files: `asarray(storage[a:b], dtype=uint8).view(dtype)`; not even `tensor` copies."""
    a = flambeau.arange(6.0)
    s = a.untyped_storage()
    for make in (flambeau.asarray, flambeau.as_tensor, flambeau.tensor):
        assert make(s, dtype=flambeau.float32).equal(a)
        assert make(s).dtype is flambeau.int64
        assert make(s[0:7], dtype=flambeau.float32).tolist() == [0]
        assert make(flambeau.UntypedStorage(0), dtype=flambeau.uint8).shape == (0,)
        assert make(a.storage()).dtype is flambeau.float32
        with pytest.raises(RuntimeError, match="Expected a Storage of type Long or an UntypedStorage, but got Float"):
            make(a.storage(), dtype=flambeau.int64)
    part = flambeau.asarray(s[4:12], dtype=flambeau.uint8)
    assert part.data_ptr() == a.data_ptr() + 4
    part.view(flambeau.float32)[0] = 7
    assert a.tolist() == [0, 7, 2, 3, 4, 5]
    whole = flambeau.asarray(s, dtype=flambeau.uint8, copy=True)
    assert whole.untyped_storage() is s
    with pytest.raises(ValueError, match="can't alias arbitrary sequence"):
        flambeau.asarray(s, copy=False)


def test_untyped():
    s = flambeau.UntypedStorage(4)
    s[0], s[1], s[2], s[3] = 1, 2, 3, 255
    assert s.tolist() == [1, 2, 3, 255] == list(s)
    assert (s[-1], len(s), s.nbytes(), s.size(), s.element_size()) == (255, 4, 4, 4, 1)
    part = s[1:3]
    part[0] = 9
    assert s[1] == 9
    assert flambeau.UntypedStorage([1, 2]).tolist() == [1, 2]
    assert s.clone() is not s
    assert s.device == flambeau.device("cpu")
    assert not s.is_cuda
    assert flambeau.UntypedStorage(2).copy_(part).tolist() == [9, 3]
    assert flambeau.is_storage(s)
    with pytest.raises(IndexError):
        s[4]
    with pytest.raises(TypeError, match="can't index"):
        s["a"]
    with pytest.raises(RuntimeError, match="step of 2"):
        s[::2]


def test_typed():
    s = flambeau.arange(3.0).storage()
    assert isinstance(s, flambeau.FloatStorage)
    assert isinstance(s, flambeau.TypedStorage)
    assert not isinstance(s, flambeau.LongStorage)
    assert (s.tolist(), s[1], len(s), s.dtype, s.nbytes()) == ([0, 1, 2], 1, 3, flambeau.float32, 12)
    s[1] = 7
    assert s.tolist() == [0, 7, 2]
    assert s.double().dtype is flambeau.float64
    assert s.long().tolist() == [0, 7, 2]
    assert s.type() == "torch.FloatStorage"
    assert repr(s) == " 0.0\n 7.0\n 2.0\n[torch.FloatStorage of size 3]"
    assert flambeau.FloatStorage([1, 2]).tolist() == [1, 2]
    assert flambeau.HalfStorage.dtype is flambeau.float16
    with pytest.raises(RuntimeError, match="slices are only supported in UntypedStorage"):
        s[0:2]


def test_text():
    assert repr(flambeau.UntypedStorage([1, 2])) == " 1\n 2\n[torch.storage.UntypedStorage(device=cpu) of size 2]"


def test_files(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(np.arange(4, dtype="f4").tobytes())
    private = flambeau.UntypedStorage.from_file(str(path), False, 16)
    private.fill_(0)
    assert path.read_bytes() == np.arange(4, dtype="f4").tobytes()
    shared = flambeau.FloatStorage.from_file(str(path), True, 4)
    assert shared.tolist() == [0, 1, 2, 3]
    shared[0] = 9
    assert np.frombuffer(path.read_bytes(), "f4")[0] == 9
    with pytest.raises(RuntimeError, match="unable to mmap"):
        flambeau.UntypedStorage.from_file(str(path), False, 1000)


def test_copies_and_pickles():
    a = flambeau.arange(4)
    s = a.untyped_storage()
    for other in (copy.copy(s), copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert other.tolist() == s.tolist()
        assert other.data_ptr() != s.data_ptr()
    typed = pickle.loads(pickle.dumps(a.storage()))
    assert typed.tolist() == [0, 1, 2, 3]
    assert typed.dtype is flambeau.int64


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_pickles_of_pytorch(torch):
    name, arguments = torch.arange(4.0).untyped_storage().__reduce__()
    assert name.__name__ == "_load_from_bytes"
    found = flambeau.storage._load_from_bytes(*arguments)
    assert found.tolist() == torch.arange(4.0).untyped_storage().tolist()
    _, arguments = torch.storage.TypedStorage([1.0, 2.5], dtype=torch.float32).__reduce__()
    assert flambeau.storage._load_from_bytes(*arguments).tolist() == [1.0, 2.5]


def test_buffers():
    s = flambeau.UntypedStorage.from_buffer(b"\x01\x02\x03\x04", "big", dtype=flambeau.int16)
    assert s.tolist() == [2, 1, 4, 3]
    s.byteswap(flambeau.int16)
    assert s.tolist() == [1, 2, 3, 4]

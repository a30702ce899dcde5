"""Functions of torch that few programs call."""

import numpy as np
import pytest

import flambeau as fl


def test_tensors_over_files(tmp_path):
    path = str(tmp_path / "x")
    np.arange(4, dtype="f4").tofile(path)
    x = fl.from_file(path, shared=True, size=4)
    x.mul_(2)
    assert np.fromfile(path, "f4").tolist() == [0, 2, 4, 6]
    assert fl.from_file(path, size=2).tolist() == [0, 2]


def test_old_names():
    x = fl.ones(2)
    assert x.name is None and not fl.is_distributed(x) and fl.get_device_module("cpu") is fl.cpu
    with pytest.raises(RuntimeError, match="removed"):
        x.eig()
    with pytest.raises(AssertionError, match="not compiled with"):
        x.xpu()
    assert fl.from_dlpack(fl.to_dlpack(x)).tolist() == [1, 1] if hasattr(fl.to_dlpack(x), "__dlpack__") else True


def test_opaque_dtypes(agree):
    for name in ("int4", "uint2", "bits8"):
        x = fl.zeros(3, dtype=fl.uint8).view(getattr(fl, name))
        assert x.dtype is getattr(fl, name) and x.view(fl.uint8).tolist() == [0, 0, 0]
    assert fl.bits16.itemsize == 2 and repr(fl.int4) == "torch.int4"


def test_splits_by_name(agree):
    agree(lambda t, x: t.tensor_split(x, sections=3), np.arange(7.0))
    agree(lambda t, x: t.tensor_split(x, indices=(1, 4)), np.arange(7.0))
    agree(lambda t, x: t.linalg.norm(input=x), np.arange(7.0))

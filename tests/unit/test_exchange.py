"""Memory shared with other libraries: DLPack with real PyTorch and NumPy in every dtype, and NumPy's arrays in expressions."""

import numpy as np
import pytest

import flambeau
from tests.agree import rand

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16", "float32", "float64",
          "complex64", "complex128", "float8_e4m3fn", "float8_e5m2")  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("outward", [False, True], ids=["in", "out"])
def test_with_pytorch(torch, name, outward):
    """No copy either way: same address, dtype, sizes and strides, and what one writes the other reads."""
    source, target = (flambeau, torch) if outward else (torch, flambeau)
    x = source.ones(2, 3).to(getattr(source, name)).t()
    y = target.from_dlpack(x)
    assert (y.data_ptr(), str(y.dtype).partition(".")[2]) == (x.data_ptr(), name)
    assert (tuple(y.shape), tuple(y.stride())) == ((3, 2), tuple(x.stride()))
    y.zero_()
    assert not x.to(source.complex128).abs().sum().item()


def test_with_itself(agree):
    agree(lambda fl, x: fl.from_dlpack(x.detach(), copy=True).data_ptr() == x.data_ptr(), rand(3), grads=0)
    agree(lambda fl, x: fl.from_dlpack(x.detach()).data_ptr() == x.data_ptr(), rand(3), grads=0)
    agree(lambda fl, x: tuple(int(i) for i in x.detach().__dlpack_device__()), rand(3), grads=0)

    def twice(fl, x):
        exchange = __import__(f"{fl.__name__}.utils.dlpack", fromlist=["to_dlpack"])
        capsule = exchange.to_dlpack(x.detach())
        exchange.from_dlpack(capsule)
        exchange.from_dlpack(capsule)

    agree(twice, rand(3), raises=RuntimeError)
    agree(lambda fl, x: x.__dlpack__(), rand(3), raises=BufferError)
    agree(lambda fl, x: x.detach().__dlpack__(stream=1), rand(3), raises=AssertionError)
    agree(lambda fl, x: fl.ones(2, device="meta").__dlpack__(), rand(1), raises=BufferError)
    agree(lambda fl, x: fl.eye(2).to_sparse().__dlpack__(), rand(1), raises=BufferError)


def test_bfloat16_comes_back():
    x = flambeau.arange(4).to(flambeau.bfloat16)
    capsule = flambeau.utils.dlpack.to_dlpack(x)
    y = flambeau.utils.dlpack.from_dlpack(capsule)
    assert y.dtype is flambeau.bfloat16 and y.tolist() == [0, 1, 2, 3] and y.data_ptr() == x.data_ptr()


def test_arrays_in_comparisons(agree):
    agree(lambda fl, x: x.detach() == np.ones(3), rand(3), grads=0)


def test_numbers_of_mixed_kinds(agree):
    agree(lambda fl: fl.tensor([np.float32(1), np.int64(2)]))
    agree(lambda fl: fl.tensor([np.int32(1), np.float64(2)]))
    agree(
        lambda fl: (
            fl.tensor(-1, dtype=fl.uint8),
            fl.tensor(2**63, dtype=fl.uint64),
            fl.tensor(1e40),
            fl.tensor([1e40]),
        )
    )
    agree(lambda fl: fl.tensor(300, dtype=fl.uint8), raises=RuntimeError)
    agree(lambda fl: fl.tensor(2**63), raises=ValueError)
    agree(lambda fl: fl.tensor(2**70), raises=ValueError)
    agree(lambda fl: fl.tensor(None), raises=RuntimeError)
    agree(lambda fl: fl.Tensor(2.5), raises=TypeError)

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


@pytest.mark.parametrize("extra", [(2, 3), (0, 3), (2, 0)])
@pytest.mark.parametrize("size", [4, 24])
def test_output_padding_beyond_the_stride(agree, size, extra):
    from tests.agree import rand

    def run(t, x, w):
        return t.nn.functional.conv_transpose2d(x, w, None, 1, (1, 2), extra, 2, 4)

    agree(run, rand(2, 4, size, size), rand(4, 2, 3, 3, seed=1))


@pytest.mark.parametrize("alpha", [-1, -2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "float32"])
def test_negative_factors(agree, dtype, alpha):
    def run(t):
        x = t.tensor([1, 2, 200 if dtype != "int8" else 100]).to(getattr(t, dtype))
        return (
            t.add(x, x, alpha=alpha),
            t.sub(x, x, alpha=alpha),
            t.rsub(x, x, alpha=alpha),
            x.clone().sub_(1, alpha=alpha),
        )

    agree(run)


@pytest.mark.filterwarnings("ignore")
def test_lu_into_tensors(agree):
    def run(t, x, n):
        out = (t.zeros(2, 3, 3), t.zeros(2, 3, dtype=t.int32), t.zeros(2, dtype=t.int32))[:n]
        found = t.lu(x, get_infos=n == 3, out=out)
        return found[0] is out[0], out

    x = np.random.default_rng(0).normal(size=(2, 3, 3)).astype("f4")
    for n in (2, 3):
        agree(lambda t, n=n: run(t, t.tensor(x.tolist()), n))
    agree(lambda t: run(t, t.eye(3).expand(2, 3, 3), 1), raises=TypeError)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "float32"])
def test_masked_running_sums_keep_their_dtype(agree, dtype):
    def run(t):
        x, m = t.tensor([100, 100, 100]).to(getattr(t, dtype)), t.tensor([True, False, True])
        return t.masked.cumsum(x, 0, mask=m), t.masked.cumprod(x, 0, mask=m), t.masked.cumsum(x, 0, dtype=t.int64)

    agree(run)


def test_differences_of_order_zero(agree):
    agree(lambda t, x: t.diff(x, 0, prepend=x, append=x), np.arange(6.0).reshape(2, 3))


def test_spread_into_a_tensor(agree):
    def run(t, x):
        out = t.zeros(3, 1, dtype=x.dtype)
        return [f(x, 1, True, True, out=out) is out for f in (t.var, t.std)], out

    agree(lambda t: run(t, t.arange(12.0).reshape(3, 4)))


@pytest.mark.filterwarnings("ignore")
def test_dense_gradients_of_sparse_leaves(agree):
    def run(t, x):
        a = x.detach().to_sparse_csr().requires_grad_()
        o = t.sparse.sampled_addmm(a, x.detach(), x.detach())
        o.backward(t.ones(3, 3, dtype=x.dtype))
        return a.grad.layout == t.strided, a.grad.to_dense()

    agree(lambda t: run(t, t.arange(9.0, dtype=t.float64).reshape(3, 3)))


def test_joined_into_a_part(agree):
    for n in (0, 4):
        agree(lambda t, n=n: t.cat((x := t.zeros(n), t.zeros(3)), out=x), raises=RuntimeError)

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


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32"])
@pytest.mark.parametrize("number", [-1, 200, -300, 70000, 2**40])
def test_numbers_beyond_a_dtype_wrap_in_arithmetic(agree, dtype, number):
    def run(t):
        x = t.tensor([5, 1, 0]).to(getattr(t, dtype))
        return (
            x + number,
            number - x,
            x * number,
            x == number,
            x < number,
            x & number,
            x.clone().add_(number),
            t.maximum(x, t.tensor(3)),
        )

    agree(run)


STORED = {
    "fill": lambda t, x, v: x.fill_(v),
    "full": lambda t, x, v: t.full((2,), v, dtype=x.dtype),
    "full_like": lambda t, x, v: t.full_like(x, v),
    "new_full": lambda t, x, v: x.new_full((2,), v),
    "clamp": lambda t, x, v: (x.clamp(max=v), x.clamp_min(v), x.clamp_max(v)),
    "index_fill": lambda t, x, v: x.index_fill(0, t.tensor([0]), v),
    "masked_fill": lambda t, x, v: x.masked_fill(x > 0, v),
    "where": lambda t, x, v: t.where(x > 0, x, v),
    "setitem": lambda t, x, v: x.__setitem__(0, v),
    "part": lambda t, x, v: x.__setitem__(slice(0, 2), v),
    "tensor": lambda t, x, v: t.tensor([v, 1], dtype=x.dtype),
    "scatter": lambda t, x, v: x.scatter(0, t.tensor([0]), v),
    "alpha": lambda t, x, v: t.add(x, x, alpha=v),
    "addcmul": lambda t, x, v: t.addcmul(x, x, x, value=v),
}


@pytest.mark.parametrize("name", STORED)
def test_numbers_beyond_a_dtype_are_not_stored(agree, name):
    for dtype in ("uint8", "int8", "int32"):
        for number in (3, 300, -300, 2**40):

            def run(t, dtype=dtype, number=number):
                try:
                    return STORED[name](t, t.tensor([5, 1, 0]).to(getattr(t, dtype)), number)
                except RuntimeError as error:
                    return str(error)

            agree(run)


def test_truth_of_bytes_is_a_byte(agree):
    def run(t):
        x = t.tensor([[255, 0], [0, 0]]).to(t.uint8)
        return (
            x.any(),
            x.all(),
            x.any(1),
            t.all(x, 0, keepdim=True),
            t.any(x, out=t.zeros((), dtype=t.uint8)),
            x.bool().any(1),
        )

    agree(run)


def test_distances_of_order_zero(agree):
    def run(t, x):
        return [t.cdist(x, x.roll(1, 0), 0.0), t.nn.functional.pdist(x, 0.0)]

    agree(run, np.arange(12.0).reshape(4, 3) % 5)


def test_lists_hold_tensors(agree):
    agree(lambda t: t.cat((t.ones(2), None)), raises=TypeError)
    agree(lambda t: t.cat(t.ones(2, 2)), raises=TypeError)
    agree(lambda t: t.cat(t.ones(2, 2), dim=0), raises=TypeError)


@pytest.mark.filterwarnings("ignore")
def test_fields_of_lu(agree):
    agree(lambda t: (t.lu(t.eye(2), get_infos=True).pivots, type(t.lu(t.eye(2))).__name__))

"""Conjugate and negative views: memory that holds other numbers than the tensor's elements."""

import copy
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest

import flambeau
from tests.agree import rand


def z(*shape):
    return rand(*shape) + 1j * rand(*shape, seed=1)


def facts(t, *tensors):
    """What tells a view from a copy, and its elements."""
    return [(x.is_conj(), x.is_neg(), x._is_view(), x.storage_offset(), x.is_contiguous(), x) for x in tensors]


VIEWS = {
    "conj": lambda t, x: facts(t, x.conj(), x.conj().conj(), t._neg_view(x), t._neg_view(x).conj(), x.conj_physical()),
    "adjoint": lambda t, x: facts(t, x.mH, x.H, x.adjoint(), x.mH.mH, x.conj().mT),
    "parts": lambda t, x: facts(t, x.conj().real, x.conj().imag, t._neg_view(x).imag, t._neg_view(x.conj()).imag),
    "pairs": lambda t, x: facts(t, t.view_as_real(t._neg_view(x)), t.view_as_real(x.conj().resolve_conj())),
    "selected": lambda t, x: facts(t, x.conj()[1], x.conj()[:, 1:], x.conj()[..., None, ::2], x.conj().imag[0]),
    "moved": lambda t, x: facts(t, x.conj().reshape(3, 2), x.conj().view(6), x.conj().mT.reshape(6), x.mH.expand(2, 3, 2)),
    "split": lambda t, x: facts(t, *x.conj().split(1), *x.conj().unbind(1), *x.conj().chunk(2, 1)),
    "windows": lambda t, x: facts(t, x.conj().diagonal(), x.conj().unfold(1, 2, 1), x.conj().as_strided((2,), (1,), 1)),
    "copies": lambda t, x: facts(t, x.conj().clone(), x.mH.contiguous(), x.conj().imag.contiguous(), x.conj().repeat(1, 2)),
    "no copies": lambda t, x: facts(t, x.conj().contiguous(), x.conj().to(x.dtype), x.conj().detach(), x.conj().data),
    "like": lambda t, x: facts(t, t.zeros_like(x.conj()), x.conj().new_ones(2), t.full_like(x.conj().imag, 2.0)),
    "resolved": lambda t, x: facts(t, x.conj().resolve_conj(), x.mH.resolve_neg(), x.conj().imag.resolve_neg(), x.resolve_conj()),
    "met": lambda t, x: facts(t, x.conj() + x, x.conj() @ x.mT, x.conj().imag * x.real, t.where(x.real > 0, x.conj(), x)),
    "joined": lambda t, x: facts(t, t.cat([x.conj(), x]), t.stack([x.conj().imag, x.real])),
    "picked": lambda t, x: facts(t, x.conj()[t.tensor([1])], x.conj()[x.real > 0], x.conj().gather(1, t.tensor([[0], [1]]))),
    "reduced": lambda t, x: facts(t, x.conj().sum(0), x.conj().abs(), x.conj().imag.sum(), x.conj().imag.amax(1)),
    "converted": lambda t, x: facts(t, x.conj().to(t.complex64), x.conj().imag.float()),
    "taken apart": lambda t, x: [x.conj()[0, 1].item(), x.conj().tolist(), x.conj().imag.tolist(), bool(x.conj()[0, 0] == 0)],
    "same": lambda t, x: [t.equal(x.conj(), x.conj()), t.equal(x.conj(), x), x.conj().data_ptr() == x.data_ptr(), x.real.conj().is_conj()],
    "printed": lambda t, x: [repr(x.conj()), repr(x.conj().imag)],
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_views(agree, name):
    agree(VIEWS[name], z(2, 3), strides=True, grads=0)


def written(fn):
    """Both the source and the view after a write through the view."""

    def run(t, x):
        x = x.clone()
        v = x.conj()
        fn(t, v)
        return facts(t, x, v)

    return run


WRITES = {
    "arithmetic": lambda t, v: v.mul_(2j).add_(1 + 1j).sub_(v.clone()),
    "filled": lambda t, v: v[0].fill_(3j),
    "zero": lambda t, v: v[:, 1].zero_(),
    "copied": lambda t, v: v.copy_(v.clone() * 1j),
    "assigned": lambda t, v: v.__setitem__((0, 1), 5j),
    "assigned rows": lambda t, v: v.__setitem__(0, v[1].clone()),
    "assigned by mask": lambda t, v: v.__setitem__(v.real > 0, 1j),
    "assigned by index": lambda t, v: v.__setitem__(t.tensor([1]), v[:1].clone()),
    "masked": lambda t, v: v.masked_fill_(t.tensor([True, False, True]), 2j),
    "scattered": lambda t, v: v.scatter_(1, t.tensor([[0], [1]]), 3j),
    "added by index": lambda t, v: v.index_add_(1, t.tensor([0]), t.ones(2, 1, dtype=v.dtype) * 1j),
    "out": lambda t, v: t.add(v.clone(), 1j, out=v),
    "product": lambda t, v: t.mm(v.clone(), t.eye(3, dtype=v.dtype) * 1j, out=v),
    "imaginary part": lambda t, v: v.imag.mul_(3),
    "real part": lambda t, v: v.real.fill_(1),
    "attribute": lambda t, v: setattr(v, "imag", t.ones(2, 3, dtype=t.float64)),
    "transposed": lambda t, v: v.transpose_(0, 1),
    "adjoint": lambda t, v: v.mH.add_(1j),
    "resized": lambda t, v: v.resize_(2, 2),
    "physical": lambda t, v: v.conj_physical_(),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_reach_the_source(agree, name):
    agree(written(WRITES[name]), z(2, 3), strides=True, grads=0)


def test_sources_are_written_from_views(agree):
    agree(lambda t, x: (x := x.clone(), x.__setitem__(0, x.conj()[1]), x.copy_(x.mH.mT.conj() * 2), x)[-1], z(2, 3))
    agree(lambda t, x: (x := x.clone(), x.conj().copy_(x.conj()), x)[-1], z(2, 3))


REFUSED = {
    "pairs": lambda t, x: t.view_as_real(x.conj()),
    "numpy": lambda t, x: x.conj().numpy(),
    "numpy of a negative": lambda t, x: x.conj().imag.numpy(),
    "array": lambda t, x: np.asarray(x.mH),
    "other dtype": lambda t, x: x.conj().view(t.float64),
    "other dtype of a negative": lambda t, x: x.conj().imag.view(t.int64),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(agree, name):
    agree(REFUSED[name], z(2, 3), raises=RuntimeError)


def test_numpy_by_force(agree):
    agree(lambda t, x: [x.conj().numpy(force=True), x.conj().imag.numpy(force=True)], z(2, 3))


def test_dlpack(agree):
    agree(lambda t, x: x.conj().__dlpack__(), z(2, 3), raises=BufferError, grads=0)
    agree(lambda t, x: t.from_dlpack(x.conj()), z(2, 3), raises=BufferError, grads=0)
    with pytest.raises(BufferError, match="negative bit"):
        flambeau.ones(2, dtype=flambeau.complex64).conj().imag.__dlpack__()


GRADS = {
    "conj": lambda t, x: x.conj() * (1 + 2j),
    "adjoint": lambda t, x: x.mH @ x,
    "imag": lambda t, x: x.conj().imag[0] * 3,
    "neg": lambda t, x: t._neg_view(x).exp(),
    "resolved": lambda t, x: t.view_as_real(x.conj().resolve_conj()),
    "in place": lambda t, x: (y := x * 1, y.conj().mul_(2j), y)[-1],
    "in place, of a part": lambda t, x: (y := x * 1, y.mH[0].mul_(2j), y)[-1],
    "in place, then the view": lambda t, x: (y := x * 1, v := y.conj(), v.mul_(2j), v)[-1],
    "in place, then a view from before": lambda t, x: (y := x * 1, v := y.conj(), y.mul_(2j), v)[-1],
    "imaginary part in place": lambda t, x: (y := x * 1, y.conj().imag.mul_(3), y)[-1],
    "real part in place": lambda t, x: (y := x * 1, y.real.mul_(y.imag * 2), y)[-1],
    "pairs in place": lambda t, x: (y := x * 1, t.view_as_real(y)[..., 0].mul_(2), y)[-1],
    "assigned": lambda t, x: (y := x * 1, y.conj().__setitem__(0, x[1]), y)[-1],
    "assigned by index": lambda t, x: (y := x * 1, y.conj().__setitem__(t.tensor([0]), x[1].conj()), y)[-1],
    "attribute": lambda t, x: (y := x * 1, setattr(y, "imag", x.real * 2), y)[-1],
}


def test_the_first_use_is_an_assignment():
    text = "import flambeau as t; x = t.tensor([1 + 2j]); x.imag = t.tensor([5.0]); print(x.tolist(), vars(x))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.stdout == "[(1+5j)] {}\n", done.stderr


@pytest.mark.parametrize("name", GRADS)
def test_gradients(agree, name):
    agree(GRADS[name], z(2, 2), grads=2)


def test_complex_numbers_as_pairs_written_in_place(agree):
    agree(lambda t, x: (y := x * 1, t.view_as_complex(y).mul_(1j), y)[-1], rand(3, 2), grads=2)


def test_what_was_saved_is_watched(agree):
    def run(t, x):
        y = x * 1
        v = y.conj()
        out = v * v
        y.mul_(2)
        return out.sum().abs().backward()

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run(flambeau, flambeau.ones(2, dtype=flambeau.complex64, requires_grad=True))


def test_names_of_nodes(agree):
    agree(lambda t, x: [type(v.grad_fn).__name__ for v in (x.requires_grad_().conj(), t._neg_view(x), x.mH)], z(2, 2))


def test_kept(agree):
    agree(lambda t, x: facts(t, *pickle.loads(pickle.dumps((x.conj(), x.conj().imag)))), z(2, 3), strides=True, grads=0)
    agree(
        lambda t, x: facts(t, copy.copy(x.conj()), copy.deepcopy(x.conj()), copy.deepcopy(x.conj().imag)),
        z(2, 3),
        grads=0,
    )

    def saved(t, x):
        file = io.BytesIO()
        t.save([x.conj(), x.mH[1:]], file)
        file.seek(0)
        return facts(t, *t.load(file))

    agree(saved, z(2, 3), strides=True, grads=0)
    agree(lambda t, x: facts(t, x.conj().share_memory_(), t.nn.Parameter(x.conj()).data), z(2, 3), grads=0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_transforms(agree):
    agree(lambda t, x: t.vmap(lambda y: y.conj() * y.mH.conj())(x), z(2, 3, 3), grads=0)
    agree(lambda t, x: (x := x.clone(), t.vmap(lambda y: y.conj().mul_(1j))(x), x)[-1], z(2, 3), grads=0)
    agree(lambda t, x: t.func.jvp(lambda y: y.conj().imag, (x,), (x * 1j,)), z(2, 3), grads=0)
    agree(lambda t, x: t.func.grad(lambda y: (y.conj() * y).sum().real)(x), z(2, 3), grads=0)
    agree(lambda t, x: t.autograd.gradcheck(lambda y: y.conj().mH @ y, (x.requires_grad_(),)), z(2, 2))


def test_meta(agree):
    def run(t):
        x = t.zeros(2, 3, dtype=t.complex64, device="meta")
        return [
            x.conj().is_conj(),
            x.conj().imag.is_neg(),
            x.mH.is_conj(),
            (x.conj() + 1).is_conj(),
            x.conj()._is_view(),
        ]

    agree(run)


def test_compiled(agree):
    agree(lambda t, x: t.compile(lambda y: (y.conj() * y, y.mH @ y), backend="eager")(x), z(2, 3), grads=0)
    agree(lambda t, x: t.compile(lambda y: y.abs() + 1, backend="eager")(x.conj()), z(2, 3), grads=0)
    x = flambeau.tensor([1 + 2j, 3j])
    assert flambeau.compile(lambda y: y.conj().mul_(1j))(x).tolist() == [2 + 1j, 3 + 0j] and x.tolist() == [
        2 - 1j,
        3 - 0j,
    ]


def test_numbers_keep_their_digits(agree):
    value, index = 4.826984902407649, [0]
    for fill in (
        lambda t, x: x.index_fill(0, t.tensor(index), value),
        lambda t, x: x.masked_fill(t.tensor([True, False]), value),
        lambda t, x: x.scatter(0, t.tensor(index), value),
        lambda t, x: (x * 1).masked_fill_(t.tensor([True, False]), value),
        lambda t, x: (x * 1).fill_(value),
    ):
        agree(fill, rand(2), grads=1, exact=True)

"""Sparse tensors: construction, conversion, arithmetic, products, gradients, files; each program runs under PyTorch too."""

import io

import numpy as np
import pytest

from tests.agree import rand

PLACES = np.array([[0, 1, 1, 3], [2, 0, 0, 1]])  # with a duplicate
pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch calls its support of CSR a beta
LAYOUTS = ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")


def parts(t):
    """What a sparse tensor is made of."""
    if str(t.layout) == "torch.sparse_coo":
        return "coo", t._indices(), t._values(), t.size(), t.is_coalesced()
    if str(t.layout) in ("torch.sparse_csr", "torch.sparse_bsr"):
        return str(t.layout), t.crow_indices(), t.col_indices(), t.detach().values(), t.size()
    if str(t.layout) == "torch.strided":
        return t
    return str(t.layout), t.ccol_indices(), t.row_indices(), t.detach().values(), t.size()


def holed(*shape, seed=0, dtype="float64"):
    """An array most of whose elements are zero."""
    x = rand(*shape, seed=seed, dtype=dtype)
    return np.where(np.abs(x) < 0.6, 0, x).astype(dtype)


def as_layout(fl, x, layout):
    return x.to_sparse(layout=getattr(fl, layout), blocksize=(2, 2) if layout[-3] == "b" else None)


@pytest.mark.parametrize("dense", [(), (3,), (2, 0)])
def test_coordinates(agree, dense):
    def program(fl, i, v):
        t = fl.sparse_coo_tensor(i, v, (4, 3, *dense))
        c = t.coalesce()
        return (
            parts(t),
            parts(c),
            t.to_dense(),
            t.sparse_dim(),
            t.dense_dim(),
            t._nnz(),
            c.indices(),
            repr(t.detach()),
            str(c.detach()),
            t.layout,
            t.is_sparse,
        )

    agree(program, PLACES, rand(4, *dense))
    agree(program, PLACES, rand(4, *dense).astype("float32"))
    agree(lambda fl, i, v: parts(fl.sparse_coo_tensor(i, v)), PLACES, rand(4, *dense), grads=0)


def test_empty(agree):
    agree(lambda fl: [parts(fl.sparse_coo_tensor(size=s)) for s in ((2, 3), (0,), (2, 0))])
    agree(lambda fl: [parts(fl.zeros(2, 3, layout=getattr(fl, n))) for n in LAYOUTS[:3]])
    agree(
        lambda fl, x: [parts(x.to_sparse()), parts(x.to_sparse_csr()), x.to_sparse().to_dense()],
        np.zeros((3, 2)),
        grads=0,
    )
    agree(
        lambda fl, x: [parts(fl.zeros_like(x.to_sparse())), fl.zeros_like(x.to_sparse(), layout=fl.strided)],
        holed(3, 2),
        grads=0,
    )
    agree(lambda fl, x: fl.sparse.mm(x.to_sparse(), fl.ones(2, 4).double()), np.zeros((3, 2)), grads=0)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float16", "float32", "complex128"])
def test_dtypes(agree, dtype):
    x = (holed(4, 4) * 5).astype(dtype)
    agree(
        lambda fl, x: [parts(as_layout(fl, x, n)) for n in LAYOUTS] + [as_layout(fl, x, n).to_dense() for n in LAYOUTS],
        x,
        grads=0,
    )
    agree(lambda fl, x: repr(x.to_sparse()) + repr(x.to_sparse_csr()), x, grads=0)


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
def test_conversion(agree, source, target):
    if source[-3] == "b" and target in ("sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc") and source != target:
        return
    agree(lambda fl, x: parts(as_layout(fl, as_layout(fl, x, source), target)), holed(4, 6), grads=0)
    agree(lambda fl, x: as_layout(fl, x, source).to_dense(), holed(4, 6))


def test_batches(agree):
    x = np.stack([np.eye(4), np.eye(4)[::-1]])
    agree(lambda fl, x: [parts(as_layout(fl, x, n)) for n in LAYOUTS[1:3]], x, grads=0)
    agree(lambda fl, x: [as_layout(fl, x, n).to_dense() for n in LAYOUTS], x, grads=0)
    agree(lambda fl, x: [parts(x.to_sparse_csr(dense_dim=1)), parts(x.to_sparse(1)), parts(x.to_sparse(2))], x, grads=0)
    agree(lambda fl, x: x.to_sparse_csr(), holed(2, 4, 3), grads=0, raises=RuntimeError)


@pytest.mark.parametrize("text", [
    "fl.sparse_coo_tensor([[0, 5], [2, 0]], [1, 2], (2, 3), check_invariants=True)",
    "fl.sparse_coo_tensor([[0, -1], [2, 0]], [1, 2])",
    "fl.sparse_coo_tensor([[0, 1], [2, 0]], [1, 2, 3], (2, 3))",
    "fl.sparse_coo_tensor([[0, 1], [2, 0]], [1, 2], (2,))",
    "fl.sparse_coo_tensor([0, 1], [1, 2])",
    "fl.sparse_coo_tensor([[1, 0]], [1., 2.], (4,), is_coalesced=True, check_invariants=True)",
    "fl.sparse_csr_tensor([0, 1, 3], [0, 1], [1., 2.], (2, 3), check_invariants=True)",
    "fl.sparse_csr_tensor([1, 1, 2], [0, 1], [1., 2.], (2, 3), check_invariants=True)",
    "fl.sparse_csr_tensor([0, 1, 2], [0, 7], [1., 2.], (2, 3), check_invariants=True)",
    "fl.sparse_csr_tensor([0, 2, 2], [1, 0], [1., 2.], (2, 3), check_invariants=True)",
    "fl.sparse_csr_tensor([0, 1], [0, 1], [1., 2.], (2, 3), check_invariants=True)",
    "fl.sparse_bsr_tensor([0, 1, 2], [0, 1], [1., 2.], (2, 3), check_invariants=True)",
    "fl.sparse_compressed_tensor([0, 1, 2], [0, 1], fl.ones(2))",
    "fl.ones(2).values()", "fl.ones(2).coalesce()", "fl.ones(2, 2).to_sparse(3)", "fl.ones(2, 2).to_sparse(0)", "fl.ones(2, 3).to_sparse_bsr((2, 2))",
    "x.values()", "x.indices()", "x.crow_indices()", "x.numpy()", "x.storage()", "x.data_ptr()", "x.nbytes", "x.reshape(6)", "x.contiguous()",
    "x + 1", "x + fl.ones(2, 3)", "x / x", "x ** 0", "x.relu_()", "x.copy_(fl.ones(2, 3))", "x.sparse_resize_((1, 1), 2, 0)", "x.mm(fl.ones(2, 2))",
    "fl.cat([x, fl.ones(2, 3)])", "x.to_dense(fl.float64)", "x.stack if False else x.to_sparse(1)", "x.to_sparse_csr().stride()",
    "x.to_sparse_csr().exp()", "fl.sparse.spdiags(fl.ones(2, 2), fl.tensor([0, 0]), (2, 2))",
])  # fmt: skip
def test_refusals(agree, text):
    agree(lambda fl: eval(text, {"fl": fl, "x": fl.sparse_coo_tensor([[0, 1, 1], [2, 0, 0]], [3.0, 4.0, 5.0], (2, 3))}), raises=None if "raise" in text else _kind(text))  # fmt: skip


def _kind(text):
    return TypeError if "numpy" in text else NotImplementedError if "storage" in text else RuntimeError


@pytest.mark.parametrize("name", ["exp", "cos", "flip", "sigmoid", "cumsum", "nonzero", "max", "eq", "gather"])
def test_what_has_no_kernel(agree, name):
    def program(fl, x):
        rest = {"flip": ([0],), "cumsum": (0,), "eq": (2,), "gather": (0, fl.tensor([[0]]))}.get(name, ())
        try:
            getattr(x.to_sparse(), name)(*rest)
        except NotImplementedError as error:
            return str(error).split(". ")[0]

    agree(program, holed(3, 4), grads=0)


def test_invariants_switch(agree):
    def program(fl):
        check, found = fl.sparse.check_sparse_tensor_invariants, []
        found.append(check.is_enabled())
        with check():
            found.append(check.is_enabled())
            try:
                fl.sparse_coo_tensor([[5]], [1.0], (2,))
            except RuntimeError as error:
                found.append(str(error))
            with check(False):
                found.append(check.is_enabled())
        found.append(check(True)(check.is_enabled)())
        return [*found, check.is_enabled()]

    agree(program)


UNARY = ["abs", "asin", "asinh", "atan", "atanh", "ceil", "deg2rad", "erf", "erfinv", "expm1", "floor", "frac", "isnan", "isinf", "log1p", "neg", "rad2deg", "relu", "round", "sgn", "sign", "signbit", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "nan_to_num"]  # fmt: skip


def test_unary(agree):
    agree(
        lambda fl, i, v: [parts(getattr(fl.sparse_coo_tensor(i, v.detach(), (4, 3)), n)()) for n in UNARY],
        PLACES,
        rand(4, low=0.0) / 4,
        grads=0,
    )
    agree(
        lambda fl, x: [parts(getattr(x.detach().to_sparse_csr(), n)()) for n in UNARY if n != "nan_to_num"],
        holed(4, 3),
        grads=0,
    )
    for n in ("abs", "neg", "relu", "sign", "floor", "ceil", "round", "trunc"):
        agree(lambda fl, x, n=n: getattr(x.to_sparse(), n)().to_dense(), holed(4, 3))


def test_arithmetic(agree):
    def program(fl, i, v, x, y):
        s, c, d, e = fl.sparse_coo_tensor(i, v, (4, 3)), x.to_sparse(), y, y.to_sparse()
        out = [
            s + s,
            c + e,
            c - e,
            d + s,
            d - c,
            c * e,
            s * 2,
            c / 2,
            c * d,
            d * c,
            c * d[0],
            c // 0.5,
            c**2,
            c.add(e, alpha=3),
            -s,
            s * fl.tensor(3),
        ]
        return [parts(t.detach()) for t in out]

    agree(program, PLACES, rand(4), holed(4, 3), holed(4, 3, seed=1), grads=0)
    for form in ("a + b", "a - b", "a * b", "a * 2", "a / 2", "a.add(b, alpha=3)"):
        agree(
            lambda fl, x, y, form=form: eval(form, {"a": x.to_sparse(), "b": y.to_sparse()}).to_dense(),
            holed(4, 3),
            holed(4, 3, seed=1),
        )
    agree(lambda fl, x, y: [parts(t) for t in (x.to_sparse_csr() + y.to_sparse_csr(), x.to_sparse_csr() * y, x.to_sparse_csr() * 2)], holed(4, 3), holed(4, 3, seed=1), grads=0)  # fmt: skip


def test_in_place(agree):
    def program(fl, i, v, y):
        s, d = fl.sparse_coo_tensor(i, v, (4, 3)), y.clone()
        d.add_(s, alpha=2).sub_(s)
        t = s.clone().add_(s).mul_(3)
        z = s.clone().zero_()
        c = s.clone().copy_(y.to_sparse())
        w = s.clone().sparse_resize_((5, 3), 2, 0)
        w2 = fl.sparse_coo_tensor(size=(2, 2)).double().resize_as_sparse_(s)
        return d, parts(t), parts(z), parts(c), parts(w), parts(w2), parts(s)

    agree(program, PLACES, rand(4), holed(4, 3), grads=0)


def test_moves(agree):
    def program(fl, x):
        s = x.detach().to_sparse()
        h = x.detach().to_sparse(1)
        i = fl.tensor([2, 0, 2, 3])
        found = [s.t(), s.transpose(0, 1).coalesce(), s.permute(1, 0), s.unsqueeze(0), s.unsqueeze(2), h.unsqueeze(-1), s[1], s[:, 2], h[:, 1], h[1],
                 s.select(1, 0), s.index_select(0, i), h.index_select(1, i[1:2]), s.narrow_copy(1, 1, 2), fl.cat([s, s]), fl.cat([s, s], 1),
                 fl.cat([h, h], 1), fl.stack([s, s]), *s.unbind(), s.to_sparse_csr().t(), s.to_sparse_csr()[1], s[None], s[1, 2], s.T]  # fmt: skip
        return [parts(t) for t in found]

    agree(program, holed(4, 3))
    agree(lambda fl, x: [parts(x.to_sparse_bsr((2, 1)).t()), parts(x.to_sparse().clone()), parts(x.to_sparse().to(fl.float32)), parts(x.to_sparse().half())], holed(4, 3), grads=0)  # fmt: skip
    for form in ("s.t()", "fl.stack([s, s])", "s.clone()", "s.to(fl.float64)", "s.coalesce()", "s.to_sparse_csr()"):
        agree(lambda fl, x, form=form: eval(form, {"fl": fl, "s": x.to_sparse()}).to_dense(), holed(4, 3))


@pytest.mark.parametrize("layout", ["sparse_coo", "sparse_csr"])
def test_products(agree, layout):
    def run(form, *arrays, grads=1):
        agree(
            lambda fl, x, *rest: eval(form, {"fl": fl, "s": as_layout(fl, x, layout), "r": rest}),
            holed(5, 7),
            *arrays,
            grads=grads,
        )

    for form in (
        "s @ r[0]",
        "fl.sparse.mm(s, r[0])",
        "fl.sparse.mm(r[0].t(), s.t()) if s.is_sparse else r[0].t() @ s.t()",
        "s.mm(r[0])",
    ):
        run(form, rand(7, 3))
    for form in ("fl.addmm(r[1], s, r[0], beta=2, alpha=3)", "fl.sparse.addmm(r[1], s, r[0], beta=2, alpha=3)"):
        run(form, rand(7, 3), rand(5, 3))
    run("s.mv(r[0])", rand(7))
    run("s @ r[0]", rand(7))
    run("fl.nn.functional.linear(r[0], s)", rand(2, 7))
    run("fl.sparse.mm(s, r[0])", rand(7, 0))


def test_products_of_sparse(agree):
    agree(
        lambda fl, x, y: [
            fl.sparse.mm(x.to_sparse(), y.to_sparse()).to_dense(),
            (x.to_sparse() @ y.to_sparse()).to_dense(),
        ],
        holed(5, 7),
        holed(7, 4),
    )
    agree(lambda fl, x, y: (x.to_sparse_csr() @ y.to_sparse_csr()).to_dense(), holed(5, 7), holed(7, 4))
    agree(lambda fl, x, y: [parts(t) for t in (fl.smm(x.to_sparse(), y), fl.hspmm(x.to_sparse(), y), fl.dsmm(x.to_sparse(), y),
                            fl.sspaddmm(fl.eye(5, 4).double().to_sparse(), x.to_sparse(), y, beta=2, alpha=3))], holed(5, 7), rand(7, 4), grads=0)  # fmt: skip
    agree(lambda fl, x, y: fl.bmm(x.to_sparse(), y), holed(2, 3, 4), rand(2, 4, 5), grads=0)
    agree(
        lambda fl, x, a, b: fl.sparse.sampled_addmm(x.to_sparse_csr(), a, b, beta=2, alpha=3).to_dense(),
        holed(5, 7),
        rand(5, 2),
        rand(2, 7),
    )
    for reduce in ("sum", "mean", "amax", "amin"):
        agree(lambda fl, x, y, reduce=reduce: fl.sparse.mm(x.to_sparse_csr(), y, reduce), holed(5, 7), rand(7, 3))


def test_sums_and_softmax(agree):
    for dim in (None, 0, 1, (0, 1), -1):
        agree(
            lambda fl, x, dim=dim: (lambda t: t if str(t.layout) == "torch.strided" else t.to_dense())(
                fl.sparse.sum(x.to_sparse(), dim)
            ),
            holed(4, 3, 2),
        )
        agree(
            lambda fl, x, dim=dim: (lambda t: t if str(t.layout) == "torch.strided" else t.to_dense())(
                fl.sparse.sum(x.to_sparse(1), dim)
            ),
            holed(4, 3, 2),
        )
    agree(lambda fl, x: [parts(t) for t in (x.to_sparse().sum(), x.to_sparse().sum(0), x.to_sparse().sum(1, keepdim=True), x.to_sparse().norm(), x.to_sparse_csr().sum())], holed(4, 3), grads=0)  # fmt: skip
    for dim in (0, 1):
        for n in ("softmax", "log_softmax"):
            agree(lambda fl, x, dim=dim, n=n: getattr(fl.sparse, n)(x.to_sparse(), dim).to_dense(), holed(4, 3))
            agree(lambda fl, x, dim=dim, n=n: getattr(fl.sparse, n)(x.to_sparse(1), dim).to_dense(), holed(4, 3))
    agree(
        lambda fl, x: [parts(fl.sparse.spdiags(x, fl.tensor([0, -1, 2]), s)) for s in ((4, 4), (3, 5))],
        rand(3, 4),
        grads=0,
    )


def test_masks(agree):
    agree(lambda fl, x, y: [parts(t) for t in (y.sparse_mask(x.to_sparse()), y.to_sparse().sparse_mask(x.to_sparse()), y.sparse_mask(x.to_sparse_csr()))], holed(4, 3), holed(4, 3, seed=2), grads=0)  # fmt: skip
    agree(lambda fl, x, y: y.sparse_mask(x.detach().to_sparse()).to_dense(), holed(4, 3), rand(4, 3))


def test_gradients_keep_their_layout(agree):
    def program(fl, i, v, y):
        found = []
        for make in (lambda: fl.sparse_coo_tensor(i, v.detach(), (4, 3)), lambda: y.detach().to_sparse_csr()):
            for use in (
                lambda s: s.to_dense(),
                lambda s: fl.sparse.mm(s, fl.ones(3, 2).double()),
                lambda s: s * 2 if s.is_sparse else -s,
            ):
                s = make().requires_grad_()
                out = use(s)
                (out if str(out.layout) == "torch.strided" else out.to_dense()).sum().backward()
                found.append(parts(s.grad.coalesce() if s.grad.is_sparse else s.grad))
        s = fl.sparse_coo_tensor(i, v.detach(), (4, 3)).coalesce().requires_grad_()
        s.to_dense(masked_grad=False).sum().backward()
        return [*found, parts(s.grad.coalesce())]

    agree(program, PLACES, rand(4), holed(4, 3), grads=0)


def test_sparse_gradients_of_embeddings(agree):
    def program(fl, i, w):
        f, found = fl.nn.functional, []
        for use in (lambda w: f.embedding(i, w, sparse=True), lambda w: f.embedding(i, w * 2, sparse=True), lambda w: f.embedding(i, w, padding_idx=1, sparse=True),
                    lambda w: f.embedding_bag(i, w, sparse=True), lambda w: f.embedding_bag(i, w, sparse=True, mode="sum", padding_idx=1),
                    lambda w: fl.gather(w, 1, i[:, :2], sparse_grad=True),
                    lambda w: f.embedding(i, w, sparse=True).sum() + w.sum()):  # fmt: skip
            p = w.detach().clone().requires_grad_()
            for _ in range(2):
                use(p).sin().sum().backward()
            found.append(parts(p.grad.coalesce() if p.grad.is_sparse else p.grad))
        return found

    agree(program, np.array([[0, 1, 1], [2, 0, 1]]), rand(5, 3), grads=0)


@pytest.mark.parametrize("name", ["SparseAdam", "SGD", "Adagrad"])
def test_optimizers(agree, name):
    def program(fl, i, w):
        layer = fl.nn.Embedding(5, 3, sparse=True, _weight=w.detach().clone())
        optimizer = getattr(fl.optim, name)(layer.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            layer(i).pow(2).sum().backward()
            optimizer.step()
        return layer.weight.detach()

    agree(program, np.array([[0, 1, 1], [2, 0, 1]]), rand(5, 3).astype("float32"), grads=0)


def test_files(agree):
    def program(fl, x):
        import copy
        import pickle

        found = []
        for n in LAYOUTS:
            t = as_layout(fl, x.detach(), n)
            file = io.BytesIO()
            fl.save({"t": t}, file)
            file.seek(0)
            found += [
                parts(fl.load(file)["t"]),
                parts(copy.deepcopy(t) if t.is_sparse else t),
                parts(pickle.loads(pickle.dumps(t))),
            ]
        return found

    agree(program, holed(4, 6))


def test_parameters_and_modules(agree):
    def program(fl, x):
        m = fl.nn.Module()
        m.w = fl.nn.Parameter(x.detach().to_sparse())
        m.register_buffer("b", x.detach().to_sparse_csr())
        m.to(fl.float32)
        return type(m.w).__name__, parts(m.w), parts(m.b), list(m.state_dict()), m.w.requires_grad, repr(m.w.detach())

    agree(program, holed(4, 6))


@pytest.mark.parametrize("masked", [True, False])
def test_gradcheck(agree, masked):
    def program(fl, x):
        s = x.detach().to_sparse().requires_grad_()
        return fl.autograd.gradcheck(lambda t: t.to_dense(masked_grad=masked), s, masked=masked)

    agree(program, holed(3, 4))


def test_gradients_of_sampled_products(agree):
    """A dense gradient counts where the result has elements."""

    def program(fl, x, a, b):
        s, a, b = x.detach().to_sparse_csr().requires_grad_(), a.detach().requires_grad_(), b.detach().requires_grad_()
        out = fl.sparse.sampled_addmm(s, a, b, beta=2, alpha=3)
        return fl.autograd.grad(out, [a, b], fl.ones(*x.shape).double())

    agree(program, holed(5, 7), rand(5, 2), rand(2, 7), grads=0)
    agree(program, holed(0, 3), rand(0, 2), rand(2, 3), grads=0)


def test_semi_structured_is_for_gpus(agree):
    agree(lambda fl: fl.sparse.to_sparse_semi_structured(fl.ones(32, 32)), raises=RuntimeError)
    agree(lambda fl: fl.sparse.SparseSemiStructuredTensorCUTLASS.from_dense(fl.ones(4)), raises=RuntimeError)
    agree(lambda fl: fl.sparse.SparseSemiStructuredTensor.from_dense(fl.ones(4)), raises=NotImplementedError)


def test_batches_are_transposed_by_mT(agree):
    def program(fl, values):
        s = fl.sparse_coo_tensor(fl.tensor([[0, 0, 1], [0, 1, 1], [2, 0, 1]]), values, (2, 2, 3))
        return s.mT.to_dense(), s.mH.to_dense()

    agree(program, rand(3))


@pytest.mark.parametrize("layout", ["sparse_coo", "sparse_csr", "sparse_csc"])
def test_complex_numbers_are_conjugated_where_they_lie(agree, layout):
    def program(fl, x):
        s = fl.complex(x, 2 * x).detach().to_sparse(layout=getattr(fl, layout))
        return s.conj_physical().to_dense(), s.conj().resolve_conj().to_dense(), s.conj_physical().layout == s.layout

    agree(program, holed(3, 4))

"""Products and sums over named dimensions, as PyTorch has them."""

import pytest

from tests.agree import rand

PRODUCTS = {
    "matmul": lambda t, x, y: [
        x @ y.mT,
        x[0] @ y[0, 0],
        x[0, 0] @ y[0].mT,
        x[0, 0] @ y[0, 0],
        x @ y[0].T,
        x[0, 0] @ y.mT,
    ],
    "mm": lambda t, x, y: [
        t.mm(x[0], y[0].T),
        x[0].mv(y[0, 0]),
        x[0, 0].dot(y[0, 0]),
        t.bmm(x, y.mT),
        t.inner(x, y),
        t.outer(x[0, 0], y[0, 0]),
    ],
    "addmm": lambda t, x, y: [
        t.addmm(x[0, 0], x[0].T, y[0], beta=2, alpha=-0.5),
        t.addmm(x[0, :, :3], x[0], y[0].T),
        x[0, :, 0].addmv(x[0], y[0, 0], alpha=3),
    ],
    "baddbmm": lambda t, x, y: [
        t.baddbmm(x[:, :, :1], x, y.mT, beta=0.5),
        t.addbmm(x[0, :, :3], x, y.mT),
        t.addr(x[0, :3, :3], x[0, 0, :3], y[0, 0, :3]),
    ],
    "linear": lambda t, x, y: [
        t.nn.functional.linear(x, y[0]),
        t.nn.functional.linear(x, y[0], x[0, :, 0]),
        t.nn.functional.linear(x[0, 0], y[0], x[0, :, 0]),
    ],
    "bilinear": lambda t, x, y: t.nn.functional.bilinear(
        x[0], y[0], x[:, :, None].expand(2, 3, 4, 4)[:, 0], x[0, 0, :2]
    ),
    "einsum": lambda t, x, y: [
        t.einsum("bij,bkj->bik", x, y),
        t.einsum("bij,bij->", x, y),
        t.einsum("...j,kj", x, y[0]),
        t.einsum("ii->i", x[0, :, :3]),
    ],
    "einsum of three": lambda t, x, y: [
        t.einsum("bij,bkj,bil->bkl", x, y, x),
        t.einsum("i,j->ji", x[0, 0], y[0, 0]),
        t.einsum("b...->...b", x),
    ],
    "einsum by numbers": lambda t, x, y: [
        t.einsum(x, [0, 1, 2], y, [0, 3, 2], [0, 1, 3]),
        t.einsum(x, [..., 1], [..., 1]),
    ],
    "tensordot": lambda t, x, y: [t.tensordot(x, y, ([0, 2], [0, 2])), t.tensordot(x, y.mT, ([2], [1]))],
    "kron": lambda t, x, y: [t.kron(x[0], y[0, :2]), t.kron(x[0, 0], y[0])],
    "multi_dot": lambda t, x, y: [t.linalg.multi_dot([x[0], y[0].T, x[1]]), t.chain_matmul(x[0], y[0].T, x[1])],
}


@pytest.mark.filterwarnings("ignore:torch.chain_matmul")
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(agree, name):
    agree(PRODUCTS[name], rand(2, 3, 4), rand(2, 3, 4, seed=1), grads=2)


@pytest.mark.parametrize("name", ["matmul", "mm", "einsum", "kron"])
def test_complex_products(agree, name):
    x, y = rand(2, 3, 4) + 1j * rand(2, 3, 4, seed=2), rand(2, 3, 4, seed=1) - 1j * rand(2, 3, 4, seed=3)
    agree(PRODUCTS[name], x, y)


def test_whole_numbers(agree):
    def program(t):
        x = t.arange(6).view(2, 3)
        return [
            x @ x.T,
            t.addmm(t.ones(2, 2, dtype=t.int64), x, x.T),
            x.half() @ x.T.half(),
            (x.bfloat16() @ x.T.bfloat16()).float(),
            t.einsum("ij->j", x),
        ]

    agree(program)


REFUSED = {
    "mm": (RuntimeError, lambda t, x: t.mm(x[0], x[0])),
    "mm rank": (RuntimeError, lambda t, x: t.mm(x, x[0])),
    "matmul": (RuntimeError, lambda t, x: x @ x),
    "matmul scalar": (RuntimeError, lambda t, x: x @ x[0, 0, 0]),
    "matmul vectors": (RuntimeError, lambda t, x: x[0, 0] @ x[0, 0, :2]),
    "matmul dtype": (RuntimeError, lambda t, x: x @ x.mT.float()),
    "linear": (RuntimeError, lambda t, x: t.nn.functional.linear(x, x[0].T)),
    "bmm": (RuntimeError, lambda t, x: t.bmm(x, x)),
    "dot": (RuntimeError, lambda t, x: t.dot(x[0, 0], x[0, 0, :2])),
    "mv": (RuntimeError, lambda t, x: x[0].mv(x[0, 0, :2])),
    "addmm": (RuntimeError, lambda t, x: t.addmm(x[0], x[0], x[0])),
    "einsum count": (RuntimeError, lambda t, x: t.einsum("ij,jk", x[0])),
    "einsum rank": (RuntimeError, lambda t, x: t.einsum("ij->i", x)),
    "einsum size": (RuntimeError, lambda t, x: t.einsum("ij,jk->ik", x[0], x[0])),
    "einsum output": (RuntimeError, lambda t, x: t.einsum("ij->k", x[0])),
    "einsum letters": (RuntimeError, lambda t, x: t.einsum("i2->i", x[0])),
    "tensordot": (RuntimeError, lambda t, x: t.tensordot(x, x, 2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(agree, name):
    error, program = REFUSED[name]
    agree(program, rand(2, 3, 4), raises=error, grads=0)


def test_column_by_row(agree):
    """Products of a column and a row: one multiplication an element, of any size and layout."""
    for m, n in ((1, 1), (3, 5), (33, 31), (40, 70), (257, 64)):
        agree(lambda fl, x, y: x @ y, rand(m, 1), rand(1, n), grads=1)
        agree(lambda fl, x, y: x.T @ y.T, rand(1, m), rand(n, 1))
    agree(
        lambda fl: fl.tensor([[float("inf")], [float("nan")], [0.0]] * 30) @ fl.tensor([[0.0, 2.0, float("-inf")] * 15])
    )


@pytest.mark.parametrize("bias", [(3,), (4,), (1,), (1, 4), (2, 4), (), (2, 2, 4)], ids=str)
@pytest.mark.parametrize("weight", [(4, 3), (1, 3), (3,), (0, 3)], ids=str)
@pytest.mark.parametrize("input", [(2, 3), (3,), (2, 2, 3), (0, 3)], ids=str)
def test_linear_takes_what_its_bias_expands_to(agree, input, weight, bias):
    """A bias of other sizes is added where it expands to the product's sizes, and refused where it does not."""

    def program(fl, x, w, b):
        try:
            return fl.nn.functional.linear(x, w, b)
        except RuntimeError as error:
            return str(error)

    agree(program, rand(*input), rand(*weight), rand(*bias), grads=0)


def test_linear_of_two_dtypes(agree):
    for kinds in (
        ("float32", "float64", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float64", "float32"),
        ("int64", "float32", "float32"),
    ):
        agree(lambda fl, k=kinds: fl.nn.functional.linear(*(fl.ones(2 if i != 1 else 3, 2, dtype=getattr(fl, d)) if i < 2 else fl.ones(3, dtype=getattr(fl, d))
                                                            for i, d in enumerate(k))), raises=RuntimeError)  # fmt: skip

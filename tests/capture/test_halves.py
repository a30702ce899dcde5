"""Products of bfloat16 and float16 in compiled functions are rounded where eager code rounds them, and nowhere else."""

import pytest

import flambeau as torch
from flambeau.nn import functional as F

PROGRAMS = {
    "a product, then a row": lambda x, w, v, b, c: x @ v + b,
    "a turned product, then a row": lambda x, w, v, b, c: x @ w.t() + b,
    "a layer": lambda x, w, v, b, c: F.linear(x, w, b),
    "a product, then relu and a row": lambda x, w, v, b, c: (x @ v).relu() + b,
    "a layer and another array": lambda x, w, v, b, c: F.linear(x, w, b) + c,
    "addmm": lambda x, w, v, b, c: torch.addmm(c, x, v),
    "addmm with factors": lambda x, w, v, b, c: torch.addmm(c, x, v, beta=0.5, alpha=2),
    "a product that is wanted, too": lambda x, w, v, b, c: (lambda y: (y, y + b, y.float()))(x @ v),
    "a layer that is wanted, too": lambda x, w, v, b, c: (lambda y: (y, y * 2, y.float()))(F.linear(x, w, b)),
    "baddbmm": lambda x, w, v, b, c: torch.baddbmm(c[None], x[None], v[None]),
    "a product times a row": lambda x, w, v, b, c: (x @ w.t()) * b + 1,
    "a product as it is in memory": lambda x, w, v, b, c: (x @ v).float() + b.float(),
    "layer after layer": lambda x, w, v, b, c: F.linear(F.relu(F.linear(x, w, b)), v, x[0]),
}


def arguments(n, k, m, dtype):
    torch.manual_seed(0)
    shapes = (n, k), (m, k), (k, m), (m,), (n, m)
    return [torch.randn(shape).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_bits_of_eager_code(name, dtype):
    for sizes in ((4, 3, 3), (5, 16, 8), (64, 64, 64), (128, 96, 256)):
        f, given = PROGRAMS[name], arguments(*sizes, dtype)
        found, expected = torch.compile(f)(*given), f(*given)
        for x, y in zip(*((r if isinstance(r, tuple) else (r,)) for r in (found, expected)), strict=True):
            assert torch.equal(x, y), sizes


@pytest.mark.parametrize("sizes", [(4, 3, 3), (5, 16, 8), (64, 64, 64), (128, 96, 256)])
def test_a_layer_under_autocast(sizes):
    x, w, _, b, _ = arguments(*sizes, torch.float32)

    def f(x, w, b):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.linear(x, w, b)

    assert torch.equal(torch.compile(f)(x, w, b), f(x, w, b))


@pytest.mark.parametrize("sizes", [(4, 3, 3), (64, 64, 64)])
def test_gradients_of_what_autocast_has_narrowed(sizes):
    def gradients(f):
        x, w, _, b, _ = (t.requires_grad_() for t in arguments(*sizes, torch.float32))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = f(x, w, b)
        out.float().square().sum().backward()
        return x.grad, w.grad, b.grad

    for found, expected in zip(gradients(torch.compile(F.linear)), gradients(F.linear), strict=True):
        assert found.dtype is torch.float32
        assert torch.equal(found, expected)

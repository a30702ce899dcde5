"""What operators refuse because of what tensors hold, compiled programs refuse: in a `try`, too."""

import pytest

import flambeau as torch
from flambeau.nn import functional as F


def T(*values):
    return torch.tensor(values)


EYE, ONES = torch.eye(3), torch.ones(3)
CASES = {
    "cholesky": (lambda a: torch.linalg.cholesky(a).sum(), (EYE,), (-EYE,)),
    "older cholesky": (lambda a: torch.cholesky(a) * 2, (EYE,), (-EYE,)),
    "inverse": (lambda a: torch.linalg.inv(a) * 2, (EYE,), (EYE * 0,)),
    "solve": (lambda a: torch.linalg.solve(a, ONES) * 2, (EYE,), (EYE * 0,)),
    "index": (lambda a, i: a[i] * 2, (ONES, T(0, 1)), (ONES, T(0, 7))),
    "gather": (lambda a, i: a.gather(0, i) * 2, (ONES, T(0, 1)), (ONES, T(0, 7))),
    "embedding": (lambda a, i: F.embedding(i, a) * 2, (EYE, T(0, 1)), (EYE, T(0, 7))),
    "floor": (lambda a, b: a // b + 1, (T(1, 2), T(1, 2)), (T(1, 2), T(1, 0))),
    "remainder": (lambda a, b: a % b + 1, (T(1, 2), T(1, 2)), (T(1, 2), T(1, 0))),
    "probability": (lambda a, t: F.binary_cross_entropy(a * 2, t), (ONES / 4, ONES), (ONES, ONES)),
    "repeats": (lambda a, i: a.repeat_interleave(i, output_size=6) * 2, (ONES, T(1, 2, 3)), (ONES, T(1, 2, 4))),
    "trunc": (lambda a, b: torch.div(a, b, rounding_mode="trunc"), (T(1, 2), T(1, 2)), (T(1, 2), T(1, 0))),
}  # fmt: skip


def told(fn, args):
    try:
        return fn(*args)
    except Exception as e:
        return type(e), str(e)


@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_refusals(name, caught):
    inner, good, bad = CASES[name]

    def f(*args):
        if not caught or name in ("index", "gather", "embedding", "probability", "repeats") or args[0].dim() < 2:
            return inner(*args)
        try:
            return inner(*args)
        except RuntimeError:
            return args[0] + 100

    for order in ((good, bad, good), (bad, good, bad)):
        compiled = torch.compile(f)
        for args in order:
            got, want = told(compiled, args), told(f, args)
            if isinstance(want, torch.Tensor):
                torch.testing.assert_close(got, want)
            else:
                assert got == want


def test_ignored_targets_are_no_refusal():
    compiled = torch.compile(lambda a, i: F.cross_entropy(a, i, ignore_index=-100))
    target = T(0, -100, 2)
    torch.testing.assert_close(compiled(EYE, target), F.cross_entropy(EYE, target))


DEPENDS = {
    "repeats": (lambda a, i: a.repeat_interleave(i) * 2, (ONES, T(1, 2, 3)), (ONES, T(1, 2, 4))),
    "repeats of a size": (lambda a, i: a.repeat_interleave(i, output_size=6) * 2, (ONES, T(1, 2, 3)), (ONES, T(4, 0, 2))),
    "labels": (lambda a, i: F.multilabel_margin_loss(a * 2, i), (EYE, T([2, -1, 0], [1, -1, 2], [-1, 0, 1])), (EYE, T([1, 0, -1], [2, 1, 0], [2, -1, 0]))),
    "runs": (lambda i: torch.unique_consecutive(i, return_counts=True), (T(1, 2, 3),), (T(1, 1, 1),)),
    "runs of rows": (lambda i: torch.unique_consecutive(i, dim=0) * 2, (T([1, 2], [3, 4]),), (T([1, 1], [1, 1]),)),
    "probabilities": (lambda a, t: F.binary_cross_entropy(a.sigmoid(), t), (ONES, ONES), (ONES * 2, ONES * 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", DEPENDS)
def test_what_depends_on_elements_is_not_as_in_the_first_call(name):
    f, first, second = DEPENDS[name]
    for order in ((first, second, first), (second, first)):
        compiled = torch.compile(f)
        for args in order:
            torch.testing.assert_close(compiled(*args), f(*args))


def test_the_derivative_of_a_determinant_where_it_is_zero():
    def f(a):
        a = a.detach().requires_grad_()
        torch.linalg.det(a * 2).backward()
        return a.grad

    regular, singular = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    for order in ((regular, singular, regular), (singular, regular)):
        compiled = torch.compile(f)
        for a in order:
            torch.testing.assert_close(compiled(a), f(a))


def test_quantized_tensors_inside_of_a_function():
    functions = (
        lambda a: torch.quantize_per_tensor(a, 0.1, 0, torch.qint8).dequantize(),
        lambda a: torch.quantize_per_tensor(a, 0.1, 0, torch.qint8).int_repr() * 2,
        lambda a: torch.quantize_per_channel(a, torch.tensor([0.1, 0.2, 0.3]), T(0, 0, 0), 0, torch.qint8).dequantize(),
        lambda a: torch.quantize_per_tensor(a * 2, 0.1, 0, torch.qint8),
    )
    for f in functions:
        compiled = torch.compile(f)
        for a in (EYE, EYE * 3):
            got, want = compiled(a), f(a)
            assert got.is_quantized is want.is_quantized
            torch.testing.assert_close(got.dequantize(), want.dequantize())

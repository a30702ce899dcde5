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
        if not caught or name in ("index", "gather", "embedding") or args[0].dim() < 2:
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

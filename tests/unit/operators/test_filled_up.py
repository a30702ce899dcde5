"""Sequences filled up to one length, numbers instead of NaN, losses over few classes, triangles and pairs: as PyTorch has them."""

import pytest

from tests.agree import in_bits, rand


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("first", [True, False])
def test_pad_sequence(agree, side, first):
    def program(fl, *xs):
        pad = fl.nn.utils.rnn.pad_sequence
        mixed = pad([xs[0], xs[1].float()], first, 2.5, side)
        narrow = [pad([x.to(kind) for x in xs], first, -3.0, side) for kind in (fl.bfloat16, fl.int64)]
        return pad(xs, first, -1.5, side), mixed, *narrow, pad(xs[:1], first, 0.0, side)

    agree(program, rand(3, 2), rand(1, 2), rand(5, 2), rand(0, 2), grads=2)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("n", [9, 9001])
def test_nan_to_num(agree, kind, n):
    def program(fl, x):
        y = x.detach().clone().to(getattr(fl, kind))
        y[0], y[3], y[5] = float("nan"), float("inf"), float("-inf")
        z = y.clone()
        z.nan_to_num_(posinf=5)
        found = fl.nan_to_num(y), fl.nan_to_num(y, 1.0, 2.0, 3.0), z, fl.nan_to_num(x.requires_grad_(), 1.0)
        return found if n < 1000 else in_bits(fl, found, x)

    agree(program, rand(n), grads=int(n < 1000))


def test_multilabel_margin_loss(agree):
    def program(fl, x):
        loss = fl.nn.functional.multilabel_margin_loss
        target = fl.tensor([[1, 2, -1, 0, 5, 5, 5], [-1] * 7, [3, 3, 0, 1, -1, -1, 2], [6, 5, 4, 3, 2, 1, 0]])
        each = loss(x, target, reduction="none")
        return each, loss(x, target), loss(x[0], target[0]), (each * each).sum()

    agree(program, rand(4, 7))


@pytest.mark.parametrize("shape", [(50, 7), (3, 7, 60, 30), (7,)])
@pytest.mark.parametrize("ignored", [-100, 2])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_nll_loss(agree, shape, ignored, reduction):
    large = reduction == "none" and len(shape) > 2

    def program(fl, x, weight):
        target = fl.arange(x.numel() // 7).reshape(shape[:1] + shape[2:] if len(shape) > 1 else ()) % 7
        loss = fl.nn.functional.nll_loss
        how = {"ignore_index": ignored, "reduction": reduction}
        found = loss(x.requires_grad_(), target, **how), loss(x, target, weight.detach().abs(), **how)
        return in_bits(fl, found, x) if large else found

    agree(program, rand(*shape), rand(7), grads=int(not large))


def test_what_is_ignored_may_be_infinite(agree):
    def program(fl, x):
        x = x.clone()
        x[0, 0] = float("inf")
        return fl.nn.functional.nll_loss(x, fl.tensor([1, 1]), ignore_index=1, reduction="sum")

    agree(program, rand(2, 2), grads=0)


def test_triangles_and_pairs(agree):
    def program(fl, x):
        out = []
        for row, col, offset in (
            (3, 5, 0),
            (5, 3, 1),
            (5, 3, -2),
            (0, 3, 0),
            (3, 0, 0),
            (4, 4, 9),
            (4, 4, -9),
            (7, 7, 3),
        ):
            out += [fl.tril_indices(row, col, offset), fl.triu_indices(row, col, offset, dtype=fl.int32)]
        return *out, fl.combinations(x), fl.combinations(x, 2, True), fl.combinations(x[:1]), fl.combinations(x, 3)

    agree(program, rand(5))


def test_filled_with_narrow_numbers(agree):
    def program(fl, x):
        x = x.detach().to(fl.bfloat16)
        wide, turned = x.clone(), x.clone()
        turned.t().fill_(3.3)
        wide[:, 1:3].zero_()
        return wide, turned, fl.full((3, 4), 2.5, dtype=fl.float16), fl.full_like(x, 7), x.clone().copy_(fl.arange(5.0))

    agree(program, rand(4, 5))


@pytest.mark.parametrize("kind", ["float32", "int64", "bool", "complex64"])
def test_powers_as_columns(agree, kind):
    def program(fl, x):
        x = (x.detach() * 3).to(getattr(fl, kind))
        return [fl.vander(x, n, increasing) for n in (None, 0, 1, 4) for increasing in (False, True)]

    agree(program, rand(6))

"""Dropout's functions in place: what is written, and when nothing is."""

import pytest

from tests.agree import rand

FORMS = ("dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d")


@pytest.mark.parametrize("name", FORMS)
def test_in_place_writes_nothing_where_nothing_drops(agree, name):
    shape = {"dropout1d": (2, 3, 4), "dropout3d": (2, 3, 2, 2, 2)}.get(name, (2, 3, 2, 2))

    def program(t, x):
        answers = []
        for p, training in ((0.0, True), (0.5, False), (1.0, True)):
            y = x * 1
            before = y._version
            answers += [getattr(t.nn.functional, name)(y, p, training, inplace=True) is y, y._version - before, y]
        return answers

    agree(program, rand(*shape))


def test_in_place_on_what_softmax_saved(agree):
    def program(t, x):
        weights = t.softmax(x, -1)
        weights = t.nn.Dropout(0.0, inplace=True)(weights)
        return weights @ x

    agree(program, rand(3, 4, 4), grads=1)


def test_in_place_on_a_leaf(agree):
    def program(t, x):
        x = x.detach().requires_grad_()
        t.nn.functional.dropout(x, 0.5, training=False, inplace=True).sum().backward()
        t.nn.functional.dropout(x, 0.5, training=True, inplace=True)

    agree(program, rand(3), raises=RuntimeError)

"""Layers over a batch of samples by `vmap`: what they write into their weights, and where maxima go back to."""

import numpy as np
import pytest

from tests.agree import rand

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")


@pytest.mark.parametrize("name", ["embedding", "embedding_bag"])
def test_rows_that_are_too_long_are_scaled_in_each_sample(agree, name):
    def program(fl, w):
        w, i = w.detach().clone(), fl.tensor([[0, 3], [3, 1]])
        lookup = getattr(fl.nn.functional, name)
        args = (i,) if name == "embedding" else (i.reshape(-1), None)
        found = fl.vmap(
            lambda w: (
                lookup(args[0], w, offsets=fl.tensor([0, 1]), max_norm=0.5) if args[1:] else lookup(i, w, max_norm=0.5)
            )
        )(w)
        return found, w

    agree(program, rand(2, 4, 3), grads=0)


def test_maxima_go_back_in_each_sample(agree):
    def program(fl, x):
        i = fl.arange(3).expand(2, 2, 1, 3)
        return fl.vmap(lambda x: fl.nn.functional.max_unpool2d(x, i, 3, 2, output_size=(2, 2, 3, 8)))(x)

    agree(program, np.asarray(rand(2, 2, 2, 1, 3)))

"""What is given away without a copy has one owner: `owners.LONE` counts as this CPython does."""

import sys

import flambeau
from flambeau._ground.owners import LONE


def test_one_and_two_owners():
    held = [0]
    assert sys.getrefcount(held) == LONE
    other = held
    assert sys.getrefcount(held) == LONE + 1
    del other


def test_a_gradient_that_a_hook_keeps_is_not_accumulated_into():
    x, kept = flambeau.ones(3, requires_grad=True), []
    x.register_hook(kept.append)
    for _ in range(2):
        (x * 2).sum().backward()
    assert x.grad.tolist() == [4, 4, 4] and [k.tolist() for k in kept] == [[2, 2, 2], [2, 2, 2]]

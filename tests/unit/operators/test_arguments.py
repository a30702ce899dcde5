"""Arguments of the wrong kind are refused before an operator does anything."""

import numpy as np
import pytest

from tests.agree import rand

REFUSED = {
    "an integer for a boolean": lambda fl, x: x.sum(dim=0, keepdim=1),
    "a tensor for a boolean": lambda fl, x: x.sum(dim=0, keepdim=fl.tensor(True)),
    "a number of NumPy's for a boolean": lambda fl, x: x.sum(dim=0, keepdim=np.int64(1)),
    "truth for an integer": lambda fl, x: fl.softmax(x, True),
    "a fraction for an integer": lambda fl, x: fl.softmax(x, 1.5),
    "a tensor of truth for an integer": lambda fl, x: fl.softmax(x, fl.tensor(True)),
    "two numbers for one": lambda fl, x: fl.softmax(x, fl.ones(2)),
    "text for an integer": lambda fl, x: fl.topk(x, "a"),
    "text for a number": lambda fl, x: fl.full((2,), "a"),
    "text for sizes": lambda fl, x: fl.zeros("a"),
    "truth for sizes": lambda fl, x: fl.permute(x, True),
    "one integer for dims": lambda fl, x: fl.permute(x, 0),
    "nothing for dims": lambda fl, x: fl.permute(x, None),
    "fractions among dims": lambda fl, x: fl.flip(x, [0, 1.0]),
    "nothing for a tensor": lambda fl, x: fl.relu(None),
    "a list for a tensor": lambda fl, x: fl.nn.functional.conv2d([1], x),
    "a tensor for a list": lambda fl, x: fl.cat(x),
    "a number for a dtype": lambda fl, x: x.sum(dtype=1),
    "in place": lambda fl, x: x.cumsum_("a"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_kinds(agree, case):
    agree(REFUSED[case], rand(2, 3), raises=TypeError, grads=0)


def test_whole_numbers_of_other_kinds(agree):
    agree(lambda fl, x: x.sum(np.int64(1)), rand(2, 3))
    agree(lambda fl, x: x.sum(fl.tensor(1)), rand(2, 3))
    agree(lambda fl, x: fl.softmax(x, fl.tensor(1)), rand(2, 3))
    agree(lambda fl, x: fl.nn.functional.max_pool2d(x, np.int64(2), stride=fl.tensor(1)), rand(1, 1, 4, 4))

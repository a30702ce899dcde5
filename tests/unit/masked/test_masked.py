"""torch.masked and torch.signal.windows against PyTorch."""

import numpy as np
import pytest

from tests.agree import rand

X, MASK = rand(3, 4), np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=bool)
NAMES = [
    "sum",
    "prod",
    "mean",
    "amax",
    "amin",
    "var",
    "std",
    "logsumexp",
    "softmax",
    "log_softmax",
    "softmin",
    "cumsum",
    "cumprod",
    "median",
]


@pytest.mark.parametrize("name", NAMES)
def test_over_a_dim(agree, name):
    agree(lambda fl, x: getattr(fl.masked, name)(x, 1, mask=fl.tensor(MASK)), X, grads=0)


@pytest.mark.parametrize(
    "name", ["hann", "hamming", "blackman", "bartlett", "nuttall", "kaiser", "gaussian", "exponential", "cosine"]
)
def test_windows(agree, name):
    make = lambda fl: [
        getattr(fl.signal.windows, name)(n, sym=sym, dtype=fl.float64) for n in (0, 1, 2, 7) for sym in (True, False)
    ]
    agree(lambda fl: make(fl))


def test_windows_refuse(agree):
    agree(lambda fl: fl.signal.windows.hann(-1), raises=ValueError)
    agree(lambda fl: fl.signal.windows.gaussian(3, std=-1.0), raises=ValueError)


@pytest.mark.parametrize("mask", [None, [True, True, False], [False, False, False]])
def test_median_of_integers(agree, mask):
    def run(t, x):
        m = None if mask is None else t.tensor(mask)
        try:
            return [t.masked.median(x, 0, mask=m), t.masked.median(x, 0, mask=m, dtype=t.float64)]
        except ValueError as refused:
            return str(refused)

    agree(run, np.array([1, 3, 2]))

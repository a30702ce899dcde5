"""Tables of CTC by kernels, step by step, beside the array library's."""

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau._backends.cpu import library_ctc


@pytest.mark.parametrize("dtype", [flambeau.float32, flambeau.float64], ids=str)
@pytest.mark.parametrize("steps, batch, classes, longest", [(40, 12, 20, 15), (5, 3, 4, 2), (60, 9, 3, 40)])
def test_both_ways_agree(monkeypatch: Any, dtype: Any, steps: int, batch: int, classes: int, longest: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((steps, batch, classes)) * 3
    scores[:, 0, -1] = -np.inf  # a label that cannot be
    x = flambeau.from_numpy(scores).to(dtype).log_softmax(2).detach().requires_grad_()
    targets = flambeau.from_numpy(rng.integers(1, classes, (batch, longest)))
    inputs = flambeau.from_numpy(rng.integers(steps // 2, steps + 1, batch))
    lengths = flambeau.from_numpy(rng.integers(0, longest + 1, batch))
    found = []
    for by_kernels in (True, False):
        if not by_kernels:
            monkeypatch.setattr(library_ctc, "native", lambda: False)
        loss = flambeau.nn.functional.ctc_loss(x, targets, inputs, lengths, reduction="none")
        (g,) = flambeau.autograd.grad(loss[loss.isfinite()].sum(), x)
        found.append((loss.detach().numpy(), g.numpy()))
    t = 1e-5 if dtype is flambeau.float32 else 1e-11
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=t, atol=t)

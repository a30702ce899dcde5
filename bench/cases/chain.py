"""ten operators on 8x8, forward and backward"""

import torch

GOAL = 2.0


def setup():
    x, w = torch.randn(8, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)

    def run():
        y = x
        y = y * w
        y = y + x
        y = y.tanh()
        y = y - w
        y = y * 0.5
        y = y.exp()
        y = y + 1.0
        y = y * y
        y = y.sigmoid()
        y.sum().backward()
        x.grad = w.grad = None

    return run

"""`a + b` on 8x8 float32, recording the graph"""

import torch

GOAL = 1.0


def setup():
    a, b = torch.randn(8, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)
    return lambda: a + b

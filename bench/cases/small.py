"""Small arrays: what a call costs"""

import torch

GOAL = 1.0


def add():
    """`a + b` on 8x8"""
    a, b = torch.randn(8, 8), torch.randn(8, 8)
    return lambda: a + b


def add_grad():
    """`a + b` on 8x8, recording the graph"""
    a, b = torch.randn(8, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)
    return lambda: a + b


def chain():
    """ten operators on 8x8, forward and backward; goal 2"""
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


def index():
    """`x[2]`, `x[1, 3]`, `x[:, 1:3]` of 8x8"""
    x = torch.randn(8, 8)

    def run():
        x[2]
        x[1, 3]
        x[:, 1:3]

    return run

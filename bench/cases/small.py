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


def layer():
    """a linear layer from 64 to 32 on 8 rows, then relu"""
    x, w, b = torch.randn(8, 64), torch.randn(32, 64), torch.randn(32)
    return lambda: torch.relu(torch.nn.functional.linear(x, w, b))


def normed():
    """layer_norm of 8x64"""
    x, w, b = torch.randn(8, 64), torch.ones(64), torch.zeros(64)
    return lambda: torch.nn.functional.layer_norm(x, (64,), w, b)


def classes():
    """cross_entropy of 32x10"""
    x, y = torch.randn(32, 10), torch.randint(0, 10, (32,))
    return lambda: torch.nn.functional.cross_entropy(x, y)


def mask():
    """`x[mask]` of 8x8"""
    x = torch.randn(8, 8)
    chosen = x > 0
    return lambda: x[chosen]

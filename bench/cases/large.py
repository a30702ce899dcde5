"""Pointwise operations, reductions and norms"""

import torch
from torch import nn
from torch.nn import functional as F

GOAL = 1.0
N = 4 * 1024 * 1024


def add():
    """`a + b`, 4M"""
    a, b = torch.randn(N), torch.randn(N)
    return lambda: a + b


def exp():
    """exp, 4M"""
    x = torch.randn(N)
    return lambda: torch.exp(x)


def gelu():
    """gelu, 4M"""
    x = torch.randn(N)
    return lambda: F.gelu(x)


def gelu_1m():
    """gelu, 1M"""
    x = torch.randn(1_000_000)
    return lambda: F.gelu(x)


def mul_transposed():
    """`x.T * y` with `x` 2048x2048, `y` a row of 2048"""
    x, y = torch.randn(2048, 2048), torch.randn(2048)
    return lambda: x.T * y


def sum_all():
    """sum of 4M"""
    x = torch.randn(N)
    return lambda: x.sum()


def sum_dim0():
    """sum over dim 0 of 2048x2048"""
    x = torch.randn(2048, 2048)
    return lambda: x.sum(0)


def sum_dim1():
    """sum over dim 1 of 2048x2048"""
    x = torch.randn(2048, 2048)
    return lambda: x.sum(1)


def sum_dim_middle():
    """sum over dim 1 of 128x256x128"""
    x = torch.randn(128, 256, 128)
    return lambda: x.sum(1)


def softmax():
    """softmax over the last dim of 4096x1024"""
    x = torch.randn(4096, 1024)
    return lambda: torch.softmax(x, -1)


def layer_norm():
    """layer_norm over the last dim of 4096x1024"""
    x, w, b = torch.randn(4096, 1024), torch.randn(1024), torch.randn(1024)
    return lambda: F.layer_norm(x, (1024,), w, b)


def batch_norm():
    """batch_norm in training, 32x64x56x56"""
    x, layer = torch.randn(32, 64, 56, 56), nn.BatchNorm2d(64)
    return lambda: layer(x)


def cross_entropy():
    """cross_entropy 1024x8192"""
    x, y = torch.randn(1024, 8192), torch.randint(0, 8192, (1024,))
    return lambda: F.cross_entropy(x, y)


def cross_entropy_backward():
    """cross_entropy 1024x8192 with its backward"""
    x, y = torch.randn(1024, 8192, requires_grad=True), torch.randint(0, 8192, (1024,))

    def run():
        x.grad = None
        F.cross_entropy(x, y).backward()

    return run


def cumsum():
    """cumsum over dim 1 of 1024x4096"""
    x = torch.randn(1024, 4096)
    return lambda: x.cumsum(1)

"""Chains of operations on 4M floats as one program (a copy, and what should take no more than 1.2 times as long)"""

import models
import torch

GOAL = 1


def _program(fn, *shape):
    x = torch.randn(*shape)
    call = models.program(fn)
    return lambda: call(x)


def copy():
    """a copy of 4M, no program"""
    x = torch.randn(4096, 1024)
    return x.clone


def pointwise():
    """`relu(2 * x + 1) * (x - 3)`"""
    return _program(lambda x: torch.relu(2 * x + 1) * (x - 3), 4096, 1024)


def sigmoids():
    """`x * sigmoid(1.7 * x) + tanh(x)`"""
    return _program(lambda x: x * torch.sigmoid(1.7 * x) + torch.tanh(x), 4096, 1024)


def total():
    """`((2 * x + 1) ** 2).mean()`"""
    return _program(lambda x: ((2 * x + 1) ** 2).mean(), 4096, 1024)


def rows():
    """`(x - x.mean(1)) / (x.var(1) + eps).sqrt()`, then relu"""
    return _program(
        lambda x: torch.relu((x - x.mean(1, keepdim=True)) * torch.rsqrt(x.var(1, keepdim=True) + 1e-5)), 4096, 1024
    )


def attention_scores():
    """softmax of `x / 8` where `x > -1`, over rows"""
    return _program(lambda x: torch.softmax((x / 8).masked_fill(x < -1, -torch.inf), 1), 4096, 1024)

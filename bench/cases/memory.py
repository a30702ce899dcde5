"""Gathering, scattering, sorting, random numbers, libraries"""

import torch
from torch.nn import functional as F

GOAL = 1.0


def gather():
    """gather over dim 1, 2048x1024 from 2048x2048"""
    x, i = torch.randn(2048, 2048), torch.randint(0, 2048, (2048, 1024))
    return lambda: torch.gather(x, 1, i)


def index_add():
    """index_add_ of 16384 rows of 128 into 4096 rows"""
    x, i, s = torch.zeros(4096, 128), torch.randint(0, 4096, (16384,)), torch.randn(16384, 128)
    return lambda: x.index_add_(0, i, s)


def embedding():
    """embedding, 16x512 of 32000x256"""
    w, i = torch.randn(32000, 256), torch.randint(0, 32000, (16, 512))
    return lambda: F.embedding(i, w)


def embedding_backward():
    """embedding, 16x512 of 32000x256, with its backward"""
    w, i = torch.randn(32000, 256, requires_grad=True), torch.randint(0, 32000, (16, 512))
    g = torch.randn(16, 512, 256)

    def run():
        w.grad = None
        F.embedding(i, w).backward(g)

    return run


def sort():
    """sort over the last dim of 256x4096"""
    x = torch.randn(256, 4096)
    return lambda: torch.sort(x, -1)


def sort_long():
    """sort of 1M"""
    x = torch.randn(1_000_000)
    return lambda: torch.sort(x)


def topk():
    """the 10 largest of each row of 256x4096"""
    x = torch.randn(256, 4096)
    return lambda: torch.topk(x, 10)


def randn():
    """randn of 4M"""
    return lambda: torch.randn(4 * 1024 * 1024)


def rfft():
    """rfft of 1024x1024"""
    x = torch.randn(1024, 1024)
    return lambda: torch.fft.rfft(x)


def solve():
    """linalg.solve 256x256, 256 right sides"""
    a, b = torch.randn(256, 256) + 16 * torch.eye(256), torch.randn(256, 256)
    return lambda: torch.linalg.solve(a, b)

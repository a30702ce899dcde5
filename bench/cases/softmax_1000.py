"""softmax of 1000x1000 float32"""

import torch


def setup():
    x = torch.randn(1000, 1000)
    return lambda: torch.softmax(x, 1)

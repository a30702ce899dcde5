"""matrix product 512x512 float32"""

import torch


def setup():
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    return lambda: a @ b

"""gelu of 1M float32"""

import torch
from torch.nn import functional as F


def setup():
    x = torch.randn(1_000_000)
    return lambda: F.gelu(x)

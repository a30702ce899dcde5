"""Matrix products, convolutions, pooling, attention"""

import torch
from torch.nn import functional as F

GOAL = 1.0


def _matmul(n, dtype=torch.float32):
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    return lambda: a @ b


def matmul_128():
    """matrix product 128"""
    return _matmul(128)


def matmul_256():
    """matrix product 256"""
    return _matmul(256)


def matmul_512():
    """matrix product 512"""
    return _matmul(512)


def matmul_1024():
    """matrix product 1024"""
    return _matmul(1024)


def matmul_2048():
    """matrix product 2048"""
    return _matmul(2048)


def matmul_128_bfloat16():
    """matrix product 128, bfloat16"""
    return _matmul(128, torch.bfloat16)


def matmul_512_bfloat16():
    """matrix product 512, bfloat16"""
    return _matmul(512, torch.bfloat16)


def matmul_2048_bfloat16():
    """matrix product 2048, bfloat16"""
    return _matmul(2048, torch.bfloat16)


def bmm():
    """bmm 64 times 128x64 by 64x128"""
    a, b = torch.randn(64, 128, 64), torch.randn(64, 64, 128)
    return lambda: torch.bmm(a, b)


def _conv(x, w, backward=False, **how):
    x, w = torch.randn(x), torch.randn(w)
    if not backward:
        return lambda: F.conv2d(x, w, **how)
    x.requires_grad_(), w.requires_grad_()
    g = torch.randn(F.conv2d(x, w, **how).shape)

    def run():
        x.grad = w.grad = None
        F.conv2d(x, w, **how).backward(g)

    return run


def conv_3x3():
    """conv2d 3x3 64->64, 16x64x32x32"""
    return _conv((16, 64, 32, 32), (64, 64, 3, 3), padding=1)


def conv_3x3_backward():
    """conv2d 3x3 64->64, 16x64x32x32, with its backward"""
    return _conv((16, 64, 32, 32), (64, 64, 3, 3), True, padding=1)


def conv_7x7():
    """conv2d 7x7 stride 2, 3->64, 8x3x112x112"""
    return _conv((8, 3, 112, 112), (64, 3, 7, 7), stride=2, padding=3)


def conv_7x7_backward():
    """conv2d 7x7 stride 2, 3->64, 8x3x112x112, with its backward"""
    return _conv((8, 3, 112, 112), (64, 3, 7, 7), True, stride=2, padding=3)


def conv_1x1():
    """conv2d 1x1 64->256, 16x64x32x32"""
    return _conv((16, 64, 32, 32), (256, 64, 1, 1))


def conv_1x1_backward():
    """conv2d 1x1 64->256, 16x64x32x32, with its backward"""
    return _conv((16, 64, 32, 32), (256, 64, 1, 1), True)


def conv_depthwise():
    """conv2d depthwise 3x3, 16x64x56x56"""
    return _conv((16, 64, 56, 56), (64, 1, 3, 3), padding=1, groups=64)


def conv_depthwise_backward():
    """conv2d depthwise 3x3, 16x64x56x56, with its backward"""
    return _conv((16, 64, 56, 56), (64, 1, 3, 3), True, padding=1, groups=64)


def max_pool():
    """max_pool2d 3 stride 2, 16x64x56x56"""
    x = torch.randn(16, 64, 56, 56)
    return lambda: F.max_pool2d(x, 3, 2, 1)


def max_pool_backward():
    """max_pool2d 3 stride 2, 16x64x56x56, with its backward"""
    x = torch.randn(16, 64, 56, 56, requires_grad=True)
    g = torch.randn(16, 64, 28, 28)

    def run():
        x.grad = None
        F.max_pool2d(x, 3, 2, 1).backward(g)

    return run


def attention():
    """causal attention 4x8x256x64"""
    q, k, v = (torch.randn(4, 8, 256, 64) for _ in range(3))
    return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)


def attention_backward():
    """causal attention 4x8x256x64 with its backward"""
    q, k, v = (torch.randn(4, 8, 256, 64, requires_grad=True) for _ in range(3))
    g = torch.randn(4, 8, 256, 64)

    def run():
        q.grad = k.grad = v.grad = None
        F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(g)

    return run

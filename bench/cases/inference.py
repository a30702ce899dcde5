"""Inference as one program"""

import models
import torch

GOAL = 1.5


def _program(model, x):
    call = models.program(model.eval())

    @torch.no_grad()
    def run():
        return call(x)

    return run


def mlp():
    """MLP 784-512-512-10, batch 128"""
    return _program(models.mlp(), torch.randn(128, 784))


def resnet():
    """residual convnet on 32x3x32x32"""
    return _program(models.resnet(), torch.randn(32, 3, 32, 32))


def lstm():
    """2-layer LSTM language model, 16x64 of 2000 words, width 256"""
    return _program(models.Lstm(2000, 256), torch.randint(0, 2000, (16, 64)))


def gpt():
    """4-layer GPT, d=256, T=128, batch 8, 1000 words"""
    return _program(models.Gpt(1000, 128, 256, 4, 8), torch.randint(0, 1000, (8, 128)))

"""Training steps as one program"""

import models
import torch
import training

GOAL = 1.5


def _step(name):
    return models.program(getattr(training, name)())


def regression():
    """Linear(10, 64), ReLU, Linear(64, 1), batch 256, Adam; goal 25"""
    return _step("regression")


def mlp():
    """MLP 784-512-512-10, batch 128, Adam"""
    return _step("mlp")


def resnet():
    """residual convnet on 32x3x32x32, SGD with momentum"""
    return _step("resnet")


def lstm():
    """2-layer LSTM language model, 16x64 of 2000 words, width 256, Adam"""
    return _step("lstm")


def gpt():
    """4-layer GPT, d=256, T=128, batch 8, 1000 words, AdamW"""
    return _step("gpt")


def layers():
    """10 layers Linear(4, 4) on 2 rows, without gradients: what a call costs; goal 5"""
    model, x = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(10))), torch.randn(2, 4)
    call = models.program(model)

    def run():
        with torch.no_grad():
            call(x)

    return run

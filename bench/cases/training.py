"""Training steps, eager"""

import models
import torch
from torch import nn, optim
from torch.nn import functional as F

GOAL = 1.2


def _step(model, optimizer, loss):
    def run():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return run


def regression():
    """Linear(10, 64), ReLU, Linear(64, 1), batch 256, Adam; goal 3"""
    X, y = torch.randn(256, 10), torch.randn(256, 1)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
    return _step(model, optim.Adam(model.parameters(), lr=1e-3), lambda: F.mse_loss(model(X), y))


def mlp():
    """MLP 784-512-512-10, batch 128, Adam"""
    X, y = torch.randn(128, 784), torch.randint(0, 10, (128,))
    model = models.mlp()
    return _step(model, optim.Adam(model.parameters(), lr=1e-3), lambda: F.cross_entropy(model(X), y))


def conv_tiny():
    """two convolutions on 64x1x8x8, SGD with momentum"""
    X, y = torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,))
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 16, 10),
    )  # fmt: skip
    optimizer = optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    return _step(model, optimizer, lambda: F.cross_entropy(model(X), y))


def resnet():
    """residual convnet on 32x3x32x32, SGD with momentum"""
    X, y = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    model = models.resnet()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    return _step(model, optimizer, lambda: F.cross_entropy(model(X), y))


def lstm():
    """2-layer LSTM language model, 16x64 of 2000 words, width 256, Adam"""
    X, y = torch.randint(0, 2000, (16, 64)), torch.randint(0, 2000, (16, 64))
    model = models.Lstm(2000, 256)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    return _step(model, optimizer, lambda: F.cross_entropy(model(X).flatten(0, 1), y.flatten()))


def gpt():
    """4-layer GPT, d=256, T=128, batch 8, 1000 words, AdamW"""
    X, y = torch.randint(0, 1000, (8, 128)), torch.randint(0, 1000, (8, 128))
    model = models.Gpt(1000, 128, 256, 4, 8)
    optimizer = optim.AdamW(model.parameters(), lr=3e-4)
    return _step(model, optimizer, lambda: F.cross_entropy(model(X).flatten(0, 1), y.flatten()))

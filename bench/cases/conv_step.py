"""one training step of a small convolutional network, batch 64 of 1x8x8"""

import torch
from torch import nn, optim


def setup():
    X, y = torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,))
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 16, 10),
    )  # fmt: skip
    optimizer = optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()

    def run():
        optimizer.zero_grad()
        loss_fn(model(X), y).backward()
        optimizer.step()

    return run

"""Saves a model's parameters and loads them into another model."""

import torch
from torch import nn


def build():
    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))


torch.manual_seed(0)
model = build()
X = torch.randn(5, 10)
expected = model(X)
torch.save(model.state_dict(), "model.pt")

model = build()
model.load_state_dict(torch.load("model.pt"))
model.eval()
with torch.no_grad():
    found = model(X)
print("same predictions:", torch.equal(found, expected))

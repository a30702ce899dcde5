"""Fits a small network to noise: the shortest complete training loop."""

import torch
from torch import nn, optim

torch.manual_seed(0)
X = torch.randn(256, 10)
y = torch.randn(256, 1)

model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = optim.Adam(model.parameters(), lr=1e-3)
loss_fn = nn.MSELoss()

losses = []
for step in range(200):
    pred = model(X)
    loss = loss_fn(pred, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if step % 50 == 49:
        print(f"step {step + 1}: loss {loss.item():.4f}")

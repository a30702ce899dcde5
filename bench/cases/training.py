"""Training steps, eager"""

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


def _mlp():
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def mlp():
    """MLP 784-512-512-10, batch 128, Adam"""
    X, y = torch.randn(128, 784), torch.randint(0, 10, (128,))
    model = _mlp()
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


class _Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.short = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.short(x))


def _resnet():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        _Residual(32, 32, 1), _Residual(32, 64, 2), _Residual(64, 128, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def resnet():
    """residual convnet on 32x3x32x32, SGD with momentum"""
    X, y = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    model = _resnet()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    return _step(model, optimizer, lambda: F.cross_entropy(model(X), y))


class _Lstm(nn.Module):
    def __init__(self, words, width):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, 2, batch_first=True)
        self.head = nn.Linear(width, words)

    def forward(self, x):
        return self.head(self.lstm(self.embed(x))[0])


def lstm():
    """2-layer LSTM language model, 16x64 of 2000 words, width 256, Adam"""
    X, y = torch.randint(0, 2000, (16, 64)), torch.randint(0, 2000, (16, 64))
    model = _Lstm(2000, 256)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    return _step(model, optimizer, lambda: F.cross_entropy(model(X).flatten(0, 1), y.flatten()))


class _Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (p.view(b, t, self.heads, -1).transpose(1, 2) for p in self.qkv(self.norm1(x)).split(d, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class _Gpt(nn.Module):
    def __init__(self, words, t, d, layers, heads):
        super().__init__()
        self.embed, self.place = nn.Embedding(words, d), nn.Embedding(t, d)
        self.blocks = nn.ModuleList(_Block(d, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, words, bias=False)

    def forward(self, x):
        x = self.embed(x) + self.place(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def gpt():
    """4-layer GPT, d=256, T=128, batch 8, 1000 words, AdamW"""
    X, y = torch.randint(0, 1000, (8, 128)), torch.randint(0, 1000, (8, 128))
    model = _Gpt(1000, 128, 256, 4, 8)
    optimizer = optim.AdamW(model.parameters(), lr=3e-4)
    return _step(model, optimizer, lambda: F.cross_entropy(model(X).flatten(0, 1), y.flatten()))

"""opacus: private training: gradients of single samples, clipping, noise and accounting."""

import torch
from opacus import GradSampleModule, PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def samples():
    net = GradSampleModule(
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4))
    )
    nn.functional.cross_entropy(net(torch.randn(5, 1, 8, 8)), torch.arange(5) % 4).backward()
    return {n: p.grad_sample for n, p in net.named_parameters()}


def training():
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loader = DataLoader(TensorDataset(torch.randn(32, 6), torch.randint(0, 3, (32,))), batch_size=8)
    engine = PrivacyEngine()
    net, optimizer, loader = engine.make_private(
        module=net,
        optimizer=optimizer,
        data_loader=loader,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        poisson_sampling=True,
        noise_generator=torch.Generator().manual_seed(1),
    )
    losses = []
    for x, y in loader:
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "epsilon": engine.get_epsilon(1e-5), "weight": net._module[0].weight}


def layers():
    from opacus.layers import DPLSTM, DPMultiheadAttention

    lstm, attention = DPLSTM(4, 5, batch_first=True), DPMultiheadAttention(8, 2)
    x = torch.randn(3, 2, 8)
    return {
        "lstm": lstm(torch.randn(2, 3, 4))[0],
        "attention": attention(x, x, x)[0],
        "functorch": GradSampleModule(nn.Linear(3, 2), force_functorch=True)(torch.ones(2, 3)),
    }

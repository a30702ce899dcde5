"""zuko, nflows and normflows: normalizing flows fitted to two moons, sampled and inverted."""

import nflows.distributions
import nflows.flows
import nflows.transforms
import torch
from torch import optim

torch.set_default_dtype(torch.float64)


def _moons(n=128):
    t = torch.rand(n) * 3.1416
    up = torch.stack([t.cos(), t.sin()], 1)
    down = torch.stack([1 - t.cos(), 0.5 - t.sin()], 1)
    return torch.where(torch.rand(n, 1) < 0.5, up, down) + 0.05 * torch.randn(n, 2), (t > 1.57).float()[:, None]


def _fit(parameters, loss, steps=4, lr=1e-2):
    optimizer, losses = optim.Adam(parameters, lr=lr), []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def nflows_flows():
    x, _ = _moons()
    transforms = []
    for _ in range(2):
        transforms += [
            nflows.transforms.ReversePermutation(features=2),
            nflows.transforms.MaskedAffineAutoregressiveTransform(features=2, hidden_features=8),
            nflows.transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                2, 8, tails="linear", tail_bound=3.0
            ),
            nflows.transforms.LULinear(2),
            nflows.transforms.BatchNorm(2),
        ]
    flow = nflows.flows.Flow(nflows.transforms.CompositeTransform(transforms), nflows.distributions.StandardNormal([2]))
    losses = _fit(flow.parameters(), lambda: -flow.log_prob(inputs=x).mean())
    flow.eval()
    with torch.no_grad():
        sample, density = flow.sample_and_log_prob(6)
        noise = flow.transform_to_noise(x[:4])
    return {"losses": losses, "sample": sample, "density": density, "noise": noise}

"""zuko: normalizing flows, their likelihoods, gradients and samples."""

import torch
import zuko


def flows():
    kinds = {
        "spline": lambda: zuko.flows.NSF(3, 2, transforms=2, hidden_features=(16,)),
        "autoregressive": lambda: zuko.flows.MAF(3, 2, transforms=2, hidden_features=(16,)),
        "neural": lambda: zuko.flows.NAF(3, 2, transforms=1, hidden_features=(8,)),
        "continuous": lambda: zuko.flows.CNF(3, 2, hidden_features=(8,)),
        "polynomial": lambda: zuko.flows.SOSPF(3, 2, transforms=1, hidden_features=(8,)),
        "circular": lambda: zuko.flows.NCSF(3, 2, transforms=1, hidden_features=(8,)),
        "additive": lambda: zuko.flows.NICE(3, 2, transforms=2, hidden_features=(8,)),
    }
    results = {}
    for name, make in kinds.items():
        flow, context, x = make(), torch.randn(2), torch.rand(5, 3) * 2 - 1
        loss = -flow(context).log_prob(x).mean()
        loss.backward()
        norms = sum(float(p.grad.norm()) for p in flow.parameters() if p.grad is not None)
        results[name] = [loss, norms, flow(context).sample((2,))]
    return results

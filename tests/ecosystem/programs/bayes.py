"""laplace-torch and backpack: posteriors over weights, individual gradients and curvature."""

import torch
from backpack import backpack, extend
from backpack.extensions import (
    KFAC,
    KFLR,
    BatchDiagHessian,
    BatchGrad,
    BatchL2Grad,
    DiagGGNExact,
    DiagHessian,
    SumGradSquared,
    Variance,
)
from laplace import Laplace, marglik_training
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def curvature():
    x, y = torch.randn(12, 1, 8, 8), torch.randint(3, (12,))
    net = extend(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3)))
    loss = extend(nn.CrossEntropyLoss())
    extensions = [BatchGrad(), BatchL2Grad(), SumGradSquared(), Variance(), DiagGGNExact(), KFAC(), KFLR()]
    with backpack(*extensions):
        loss(net(x), y).backward()
    results = {}
    for name, p in net.named_parameters():
        results[name] = [
            p.grad,
            p.grad_batch,
            p.batch_l2,
            p.sum_grad_squared,
            p.variance,
            p.diag_ggn_exact,
            *p.kfac,
            *p.kflr,
        ]
    flat = extend(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)))
    with backpack(DiagHessian(), BatchDiagHessian()):
        extend(nn.MSELoss())(flat(x.flatten(1)[:, :4]), x.flatten(1)[:, :2]).backward()
    results["hessian"] = [[p.diag_h, p.diag_h_batch] for p in flat.parameters()]
    return results


def regression():
    x = torch.linspace(0, 8, 40)[:, None]
    y = x.sin() + 0.3 * torch.randn_like(x)
    loader = DataLoader(TensorDataset(x, y), batch_size=10)
    net = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(10):
        for a, b in loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(net(a), b).backward()
            optimizer.step()
    results = {}
    for structure in ("full", "kron", "diag"):
        la = Laplace(net, "regression", subset_of_weights="all", hessian_structure=structure)
        la.fit(loader)
        prior, sigma = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
        hyper, values = torch.optim.Adam([prior, sigma], lr=1e-1), []
        for _ in range(4):
            hyper.zero_grad()
            value = -la.log_marginal_likelihood(prior.exp(), sigma.exp())
            value.backward()
            hyper.step()
            values.append(value.item())
        mean, variance = la(x[:5])
        results[structure] = {"values": values, "mean": mean, "variance": variance}
    return results


def classification():
    x, y = torch.randn(30, 4), torch.randint(3, (30,))
    loader = DataLoader(TensorDataset(x, y), batch_size=10)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    la = Laplace(net, "classification", subset_of_weights="last_layer", hessian_structure="kron")
    la.fit(loader)
    la.optimize_prior_precision(method="marglik")
    results = {link: la(x[:4], link_approx=link) for link in ("probit", "mc", "bridge")}
    la, model, margliks, losses = marglik_training(
        net, loader, "classification", hessian_structure="kron", n_epochs=2, optimizer_kwargs={"lr": 1e-2}
    )
    return {**results, "margliks": margliks, "losses": losses}

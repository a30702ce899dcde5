"""Solvers that step every sample by itself, liquid networks, molecules' features."""

import torch
import torchani
import torchode
from ncps.torch import LTC, CfC
from ncps.wirings import AutoNCP


def solved():
    y0, rate = torch.tensor([[0.5, -1.0], [2.0, 0.1]], requires_grad=True), torch.tensor([1.5, 0.5], requires_grad=True)
    times, found = torch.linspace(0, 2, 8).repeat(2, 1), {}
    for name, kind in {"dopri5": torchode.Dopri5, "tsit5": torchode.Tsit5, "heun": torchode.Heun}.items():
        term = torchode.ODETerm(lambda t, y: -rate * y + torch.sin(t)[:, None])
        method = kind(term=term)
        solver = torchode.AutoDiffAdjoint(method, torchode.IntegralController(atol=1e-6, rtol=1e-4, term=term))
        solution = solver.solve(torchode.InitialValueProblem(y0=y0, t_eval=times))
        found[name] = [
            solution.ys,
            solution.stats["n_steps"],
            *torch.autograd.grad(solution.ys.pow(2).sum(), (y0, rate)),
        ]
    return found


def liquid():
    found = {}
    for name, net in (
        ("cfc", CfC(4, AutoNCP(12, 2), batch_first=True)),
        ("ltc", LTC(4, AutoNCP(12, 2), batch_first=True)),
        ("plain", CfC(4, 8, mode="no_gate")),
    ):
        optimizer, losses, x = torch.optim.Adam(net.parameters(), 1e-2), [], torch.randn(3, 6, 4)
        for _ in range(3):
            out, _ = net(x)
            loss = out.pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        found[name] = [losses, out]
    return found


def molecules():
    species = torch.tensor([[6, 1, 1, 1, 1], [8, 1, 1, -1, -1]])
    places = torch.randn(2, 5, 3) * 1.2
    places.requires_grad_()
    found = {}
    for name, kind in (("ani1x", torchani.AEVComputer.like_1x), ("ani2x", torchani.AEVComputer.like_2x)):
        computer = kind()
        ids = torchani.nn.SpeciesConverter(["H", "C", "N", "O"])(species)
        out = computer(ids, places)
        found[name] = [out, *torch.autograd.grad(out.pow(2).sum(), places)]
    return found

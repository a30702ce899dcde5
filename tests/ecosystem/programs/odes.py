"""torchdiffeq and torchsde: solutions of differential equations and their gradients."""

import torch
import torchsde
from torchdiffeq import odeint, odeint_adjoint, odeint_event


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

    def forward(self, t, y):
        return self.net(y**3)


def solved():
    field, y, t = Field(), torch.tensor([[2.0, 0.0]]), torch.linspace(0, 1, 5)
    out = {
        method: odeint(field, y, t, method=method)
        for method in ("dopri5", "rk4", "euler", "midpoint", "bosh3", "adaptive_heun", "explicit_adams", "dopri8")
    }
    return out


def adjoint():
    field, y, t = Field(), torch.tensor([[2.0, 0.0]], requires_grad=True), torch.linspace(0, 1, 5)
    odeint_adjoint(field, y, t, method="dopri5").square().mean().backward()
    return {"y": y.grad, "weights": [p.grad for p in field.parameters()]}


def event():
    t, y = odeint_event(
        lambda t, y: torch.stack([y[1], torch.full_like(y[1], -9.8)]),
        torch.tensor([10.0, 0.0]),
        torch.tensor(0.0),
        event_fn=lambda t, y: y[0],
        odeint_interface=odeint,
        method="dopri5",
    )
    return {"t": t, "y": y[-1]}


class Noisy(torch.nn.Module):
    noise_type, sde_type = "diagonal", "ito"

    def __init__(self):
        super().__init__()
        self.mu, self.sigma = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

    def f(self, t, y):
        return self.mu(y)

    def g(self, t, y):
        return self.sigma(y).sigmoid()


def stochastic():
    sde, y, t = Noisy(), torch.full((4, 3), 0.1, requires_grad=True), torch.linspace(0, 1, 5)
    path = torchsde.BrownianInterval(0.0, 1.0, size=(4, 3), entropy=3, levy_area_approximation="space-time")
    out = torchsde.sdeint(sde, y, t, bm=path, method="srk", dt=0.1)
    out.mean().backward()
    return {"out": out, "grad": y.grad}


def stochastic_adjoint():
    sde, y, t = Noisy(), torch.full((4, 3), 0.1), torch.linspace(0, 1, 3)
    out = torchsde.sdeint_adjoint(
        sde,
        y,
        t,
        bm=torchsde.BrownianInterval(0.0, 1.0, size=(4, 3), entropy=3, levy_area_approximation="space-time"),
        method="euler",
        dt=0.1,
    )
    out.mean().backward()
    return {"out": out, "grad": sde.mu.weight.grad}

"""PINA: an equation learned by a network, its derivatives taken of tensors with labels (a subclass with a constructor of its own)."""

import torch
from pina import Condition, LabelTensor, Trainer
from pina.domain import CartesianDomain
from pina.equation import Equation, FixedValue
from pina.model import FeedForward
from pina.operator import grad, laplacian
from pina.problem import SpatialProblem
from pina.solver import PINN


def _poisson(points, output):
    return laplacian(output, points, components=["u"], d=["x", "y"]) + torch.sin(points.extract(["x"]) * torch.pi)


class _Poisson(SpatialProblem):
    output_variables = ["u"]
    spatial_domain = CartesianDomain({"x": [0, 1], "y": [0, 1]})
    domains = {"inside": spatial_domain, "edge": CartesianDomain({"x": [0, 1], "y": 0})}
    conditions = {
        "inside": Condition(domain="inside", equation=Equation(_poisson)),
        "edge": Condition(domain="edge", equation=FixedValue(0.0)),
    }


def equation():
    problem = _Poisson()
    problem.discretise_domain(n=4, mode="grid", domains=["inside", "edge"])
    model = FeedForward(2, 1, layers=[8, 8])
    solver = PINN(problem, model)
    Trainer(
        solver, max_epochs=3, accelerator="cpu", enable_model_summary=False, enable_progress_bar=False, logger=False
    ).train()
    points = LabelTensor(torch.rand(5, 2), ["x", "y"])
    return {"weights": list(model.parameters()), "answers": solver(points).as_subclass(torch.Tensor)}


def operators():
    points = LabelTensor(torch.rand(5, 2), ["x", "y"]).requires_grad_()
    x, y = points.extract(["x"]), points.extract(["y"])
    field = LabelTensor(torch.cat([x**2 * y, torch.sin(y)], 1), ["u", "v"])
    slopes = grad(field, points)
    return {
        "labels": slopes.labels,
        "slopes": slopes.as_subclass(torch.Tensor),
        "laplacian": laplacian(field, points).as_subclass(torch.Tensor),
    }

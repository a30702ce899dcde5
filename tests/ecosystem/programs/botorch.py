"""botorch: a Gaussian process fitted, acquisition functions evaluated and optimized, quasirandom samples."""

import torch
from botorch.acquisition import LogExpectedImprovement, UpperConfidenceBound, qExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.sampling import draw_sobol_samples
from gpytorch.mlls import ExactMarginalLogLikelihood

_bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


def _model():
    x = torch.rand(12, 2, dtype=torch.float64)
    y = (x - 0.4).square().sum(-1, keepdim=True).neg()
    return SingleTaskGP(x, y), y


def fitted():
    model, y = _model()
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    posterior = model.posterior(torch.tensor([[0.4, 0.4], [0.9, 0.1]], dtype=torch.float64))
    return {"mean": posterior.mean.round(decimals=3), "small": bool((posterior.variance < 1e-2).all())}


def acquired():
    model, y = _model()
    x = torch.rand(4, 1, 2, dtype=torch.float64)
    sampler = SobolQMCNormalSampler(torch.Size([16]), seed=1)
    return {
        "ucb": UpperConfidenceBound(model, beta=0.2)(x),
        "ei": LogExpectedImprovement(model, y.max())(x),
        "qei": qExpectedImprovement(model, y.max(), sampler)(x),
    }


def optimized():
    model, y = _model()
    best, value = optimize_acqf(UpperConfidenceBound(model, beta=0.1), _bounds, q=1, num_restarts=2, raw_samples=8)
    return {"best": best.round(decimals=2), "value": value.round(decimals=3)}


def sobol():
    plain = torch.quasirandom.SobolEngine(3)
    mixed = torch.quasirandom.SobolEngine(5, scramble=True, seed=7)
    return {"plain": plain.draw(6), "next": plain.draw(3), "mixed": mixed.draw(8), "far": torch.quasirandom.SobolEngine(3).fast_forward(5).draw(2),
            "samples": draw_sobol_samples(_bounds, 4, 2, seed=3), "text": repr(plain)}  # fmt: skip

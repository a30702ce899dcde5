"""pyro: inference by SVI with guides of several kinds, and by NUTS, on small models."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import HMC, MCMC, NUTS, SVI, Predictive, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDiagonalNormal, AutoMultivariateNormal
from torch.distributions import constraints


def _coin(data):
    p = pyro.sample("p", dist.Beta(2.0, 2.0))
    with pyro.plate("data", len(data)):
        pyro.sample("x", dist.Bernoulli(p), obs=data)


def svi():
    pyro.clear_param_store()
    pyro.set_rng_seed(1)

    def guide(data):
        a = pyro.param("a", torch.tensor(3.0), constraint=constraints.positive)
        b = pyro.param("b", torch.tensor(3.0), constraint=constraints.positive)
        pyro.sample("p", dist.Beta(a, b))

    data = torch.tensor([1.0, 1, 1, 0, 1, 0, 1, 1])
    run = SVI(_coin, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO(num_particles=2))
    losses = [run.step(data) for _ in range(10)]
    return {"losses": losses, "a": pyro.param("a"), "b": pyro.param("b")}


def autoguides():
    x = torch.linspace(-1, 1, 20)
    y = 2 * x + 0.3 + 0.1 * torch.randn(20)

    def model(x, y=None):
        w, b = pyro.sample("w", dist.Normal(0.0, 1.0)), pyro.sample("b", dist.Normal(0.0, 1.0))
        s = pyro.sample("s", dist.HalfNormal(1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(w * x + b, s), obs=y)

    out = {}
    for kind in (AutoDiagonalNormal, AutoMultivariateNormal):
        pyro.clear_param_store()
        pyro.set_rng_seed(2)
        guide = kind(model)
        run = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.05}), Trace_ELBO())
        out[kind.__name__] = [run.step(x, y) for _ in range(8)]
    samples = Predictive(model, guide=guide, num_samples=3)(x)
    return {**out, "y": samples["y"].squeeze(1).mean(0)}


def nuts():
    pyro.set_rng_seed(3)
    mcmc = MCMC(NUTS(_coin, max_tree_depth=3), num_samples=5, warmup_steps=5, disable_progbar=True)
    mcmc.run(torch.tensor([1.0, 1, 0, 1]))
    hmc = MCMC(HMC(_coin, step_size=0.1, num_steps=3), num_samples=5, warmup_steps=2, disable_progbar=True)
    hmc.run(torch.tensor([1.0, 1, 0, 1]))
    return {"p": mcmc.get_samples()["p"], "hmc": hmc.get_samples()["p"]}


def enumerated():
    pyro.clear_param_store()
    pyro.set_rng_seed(4)
    data = torch.tensor([0.1, 0.2, 3.1, 2.9])

    @config_enumerate
    def model():
        weights = pyro.param("weights", torch.tensor([0.5, 0.5]), constraint=constraints.simplex)
        means = pyro.param("means", torch.tensor([0.0, 2.0]))
        with pyro.plate("data", 4):
            k = pyro.sample("k", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(means[k], 0.5), obs=data)

    run = SVI(model, lambda: None, pyro.optim.Adam({"lr": 0.1}), TraceEnum_ELBO(max_plate_nesting=1))
    return {"losses": [run.step() for _ in range(6)], "means": pyro.param("means")}

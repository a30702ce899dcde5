"""gpytorch and linear_operator: exact and variational Gaussian processes trained for some steps, and what they predict."""

import gpytorch
import torch


def _data():
    x = torch.linspace(0, 1, 20)
    return x, torch.sin(x * 6) + 0.1 * torch.randn(20)


class Exact(gpytorch.models.ExactGP):
    def __init__(self, x, y, likelihood):
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(
            gpytorch.kernels.RBFKernel() + gpytorch.kernels.MaternKernel(nu=2.5)
        )

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def exact():
    x, y = _data()
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = Exact(x, y, likelihood)
    model.train(), likelihood.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    mll, losses = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model), []
    for _ in range(6):
        optimizer.zero_grad()
        loss = -mll(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval(), likelihood.eval()
    with torch.no_grad(), gpytorch.settings.fast_pred_var():
        out = likelihood(model(torch.linspace(0, 1.2, 7)))
    return {"losses": losses, "mean": out.mean, "variance": out.variance, "state": list(model.state_dict())}


def variational():
    class Sparse(gpytorch.models.ApproximateGP):
        def __init__(self, points):
            distribution = gpytorch.variational.CholeskyVariationalDistribution(points.size(0))
            super().__init__(
                gpytorch.variational.VariationalStrategy(self, points, distribution, learn_inducing_locations=True)
            )
            self.mean_module, self.covar_module = (
                gpytorch.means.ZeroMean(),
                gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel()),
            )

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    x, y = _data()
    model, likelihood = Sparse(x[::4].unsqueeze(-1).clone()), gpytorch.likelihoods.GaussianLikelihood()
    optimizer = torch.optim.Adam([*model.parameters(), *likelihood.parameters()], lr=0.05)
    mll, losses = gpytorch.mlls.VariationalELBO(likelihood, model, num_data=20), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = -mll(model(x.unsqueeze(-1)), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}


def operators():
    from linear_operator.operators import (
        DenseLinearOperator,
        DiagLinearOperator,
        KroneckerProductLinearOperator,
        ToeplitzLinearOperator,
    )

    a = torch.randn(5, 5, dtype=torch.float64)
    a = a @ a.T + 5 * torch.eye(5, dtype=torch.float64)
    lo = DenseLinearOperator(a) + DiagLinearOperator(torch.ones(5, dtype=torch.float64))
    b = torch.randn(5, 2, dtype=torch.float64)
    k = KroneckerProductLinearOperator(DenseLinearOperator(a[:2, :2]), DenseLinearOperator(a[:3, :3]))
    t = ToeplitzLinearOperator(torch.tensor([4.0, 1, 0.5], dtype=torch.float64))
    return {
        "solve": lo.solve(b),
        "logdet": lo.logdet(),
        "product": lo @ b,
        "cholesky": lo.cholesky().to_dense(),
        "kronecker": k.to_dense(),
        "toeplitz": t.to_dense(),
        "diagonal": lo.diagonal(),
    }

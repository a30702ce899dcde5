"""The generalised Pareto distribution."""

from __future__ import annotations

from numbers import Number
from typing import Any

import flambeau as torch
from flambeau.distributions import constraints
from flambeau.distributions.distribution import Distribution
from flambeau.distributions.utils import broadcast_all

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """Survival function (1 + c (x - loc) / scale)^(-1 / c) for `concentration` c; exp(-(x - loc) / scale) for c = 0."""

    has_rsample = True
    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        numbers = all(isinstance(v, Number) for v in (loc, scale, concentration))
        super().__init__(torch.Size() if numbers else self.loc.size(), validate_args=validate_args)

    def _near_zero(self) -> Any:
        return torch.isclose(self.concentration, torch.zeros_like(self.concentration))

    def rsample(self, sample_shape: Any = torch.Size()) -> Any:
        return self.icdf(torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        z = self._z(value)
        zero = self._near_zero()
        safe = torch.where(zero, torch.ones_like(self.concentration), self.concentration)
        y = 1 / safe + torch.ones_like(z)
        where_nonzero = torch.where(y == 0, y, -y * torch.log1p(safe * z))  # c = -1: uniform, to its very end
        return torch.where(zero, -z, where_nonzero) - torch.log(self.scale)

    def _z(self, x: Any) -> Any:
        return (x - self.loc) / self.scale

    def log_survival_function(self, value: Any) -> Any:
        self._checked(value)
        z, zero = self._z(value), self._near_zero()
        safe = torch.where(zero, torch.ones_like(self.concentration), self.concentration)
        return torch.where(zero, -z, -torch.log1p(safe * z) / safe)

    def log_cdf(self, value: Any) -> Any:
        return torch.log1p(-torch.exp(self.log_survival_function(value)))

    def cdf(self, value: Any) -> Any:
        return torch.exp(self.log_cdf(value))

    def icdf(self, value: Any) -> Any:
        zero = self._near_zero()
        safe = torch.where(zero, torch.ones_like(self.concentration), self.concentration)
        log_survival = torch.log1p(-value)
        where_nonzero = self.loc + self.scale / safe * torch.expm1(-safe * log_survival)
        return torch.where(zero, self.loc - self.scale * log_survival, where_nonzero)

    @property
    def mean(self) -> Any:
        c = self.concentration
        valid = c < 1
        safe = torch.where(valid, c, 0.5)
        return torch.where(valid, self.loc + self.scale / (1 - safe), torch.nan)

    @property
    def variance(self) -> Any:
        c = self.concentration
        valid = c < 0.5
        safe = torch.where(valid, c, 0.25)
        return torch.where(
            valid, self.scale**2 / ((1 - safe) ** 2 * (1 - 2 * safe)) + torch.zeros_like(self.loc), torch.nan
        )

    def entropy(self) -> Any:
        return (torch.log(self.scale) + self.concentration + 1).broadcast_to(self._batch_shape)

    mode = property(lambda self: self.loc)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        upper = torch.where(self.concentration < 0, self.loc - self.scale / self.concentration, torch.inf)
        return constraints.interval(self.loc, upper)

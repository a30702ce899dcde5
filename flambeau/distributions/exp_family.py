"""Exponential families: densities exp(<t(x), theta> - F(theta) + k(x))."""

from __future__ import annotations

from typing import Any

import flambeau as torch
from flambeau.distributions.distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """A distribution that knows its natural parameters and its log-normaliser F: entropy and divergences follow from F's gradient."""

    @property
    def _natural_params(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Any) -> Any:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        """E[k(x)]."""
        raise NotImplementedError

    def entropy(self) -> Any:
        """F - <theta, grad F> - E[k(x)]."""
        theta = [p.detach().requires_grad_() for p in self._natural_params]
        normaliser = self._log_normalizer(*theta)
        gradients = torch.autograd.grad(normaliser.sum(), theta, create_graph=True)
        result = -self._mean_carrier_measure + normaliser
        for p, g in zip(theta, gradients, strict=True):
            result = result - (p * g).reshape(self._batch_shape + (-1,)).sum(-1)
        return result

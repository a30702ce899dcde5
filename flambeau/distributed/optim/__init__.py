"""Optimizers of several ranks: state spread over them, models averaged now and then; optimizers that are given gradients."""

from .functional import as_functional_optim
from .post_localSGD_optimizer import PostLocalSGDOptimizer
from .zero_redundancy_optimizer import ZeroRedundancyOptimizer

__all__ = ["as_functional_optim", "PostLocalSGDOptimizer", "ZeroRedundancyOptimizer"]

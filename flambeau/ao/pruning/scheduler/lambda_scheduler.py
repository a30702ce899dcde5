"""Levels that are a function of the epoch."""

from .base_scheduler import BaseScheduler

__all__ = ["LambdaSL"]


class LambdaSL(BaseScheduler):
    """The initial level times ``sl_lambda(epoch)``: one function, or one for each group."""

    def __init__(self, sparsifier, sl_lambda, last_epoch=-1, verbose=False):
        self.sparsifier = sparsifier
        if not isinstance(sl_lambda, (list, tuple)):
            sl_lambda = [sl_lambda] * len(sparsifier.groups)
        elif len(sl_lambda) != len(sparsifier.groups):
            raise ValueError(f"Expected {len(sparsifier.groups)} lr_lambdas, but got {len(sl_lambda)}")
        self.sl_lambdas = list(sl_lambda)
        super().__init__(sparsifier, last_epoch, verbose)

    def get_sl(self):
        self._warn_outside_step()
        return [level * factor(self.last_epoch) for factor, level in zip(self.sl_lambdas, self.base_sl)]

r"""Levels that rise with the cube of what is left of the time: Zhu and Gupta, "To prune, or not to prune", 2017."""

from .base_scheduler import BaseScheduler

__all__ = ["CubicSL"]


class CubicSL(BaseScheduler):
    r"""From ``init_sl`` to the sparsifier's own level :math:`s_f`.

    .. math::
        s_t = s_f + (s_0 - s_f) \left(1 - \frac{t - t_0}{n \Delta t}\right)^3

    :math:`t_0` is ``init_t``, :math:`\Delta t` ``delta_t``, :math:`n` ``total_t``; before :math:`t_0` the level is
    zero where ``initially_zero``. Each is one value, or one for each group.
    """

    def __init__(
        self,
        sparsifier,
        init_sl=0.0,
        init_t=0,
        delta_t=10,
        total_t=100,
        initially_zero=False,
        last_epoch=-1,
        verbose=False,
    ):
        self.sparsifier = sparsifier
        self.init_sl = self._make_sure_a_list(init_sl)
        self.init_t = self._make_sure_a_list(init_t)
        self.delta_t = self._make_sure_a_list(delta_t)
        self.total_t = self._make_sure_a_list(total_t)
        self.initially_zero = self._make_sure_a_list(initially_zero)
        super().__init__(sparsifier, last_epoch, verbose)

    @staticmethod
    def sparsity_compute_fn(s_0, s_f, t, t_0, dt, n, initially_zero=False):
        """The level at ``t``."""
        if initially_zero and t < t_0:
            return 0
        return max(s_0, min(s_f, s_f + (s_0 - s_f) * (1.0 - (t - t_0) / (dt * n)) ** 3))

    def get_sl(self):
        self._warn_outside_step()
        groups = zip(self.init_sl, self.base_sl, self.init_t, self.delta_t, self.total_t, self.initially_zero)
        return [
            self.sparsity_compute_fn(s_0, s_f, self.last_epoch, t_0, dt, n, zero)
            for s_0, s_f, t_0, dt, n, zero in groups
        ]

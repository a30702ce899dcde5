"""SparseAdam: Adam for gradients that name few rows, as those of large embeddings do."""

import flambeau
from flambeau import Tensor

from . import _functional as F
from .optimizer import Optimizer, ParamsT, _check_betas, _evaluate, _expect, _to_scalar, _zeros

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    r"""Adam that moves only the entries of parameter and state that a sparse gradient names.

    Args:
        params: dense parameters with sparse gradients
        lr: learning rate
        betas: how much of the two means is kept at each step
        eps: keeps the division finite
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        _expect(not isinstance(lr, Tensor) or lr.numel() == 1, "Tensor lr must be 1-element")
        _expect(lr > 0.0, f"Invalid learning rate: {lr}")
        _expect(eps > 0.0, f"Invalid epsilon value: {eps}")
        _check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        where = [(i, j, p) for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"])]
        sparse = [[i, j] for i, j, p in where if p.is_sparse]
        _expect(not sparse, f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        complexes = [[i, j] for i, j, p in where if p.is_complex()]
        _expect(not complexes, f"Complex params at indices {complexes}: SparseAdam does not support complex parameters")

    def _new_state(self, p, group):
        return {"step": 0, "exp_avg": _zeros(p), "exp_avg_sq": _zeros(p)}

    def _check_sparse(self, group):
        """Sparse gradients are what this is for."""

    @flambeau.no_grad()
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            if any(p.grad is not None and not p.grad.is_sparse for p in group["params"]):
                raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
            params, grads, means, squares, _ = self._collect(group, "exp_avg", "exp_avg_sq", "step")
            for p in params:
                self.state[p]["step"] += 1
            beta1, beta2 = group["betas"]
            F.sparse_adam(
                params,
                grads,
                means,
                squares,
                [self.state[p]["step"] for p in params],
                eps=group["eps"],
                beta1=beta1,
                beta2=beta2,
                lr=_to_scalar(group["lr"]),
                maximize=group.get("maximize", False),
            )
        return loss

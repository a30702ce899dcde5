"""torchsurv: what a model says of times to events: losses, what they teach, and measures of what was learned."""

import torch
from torchsurv.loss import cox
from torchsurv.loss.momentum import Momentum
from torchsurv.metrics.auc import Auc
from torchsurv.metrics.cindex import ConcordanceIndex
from torchsurv.stats.ipcw import get_ipcw
from torchsurv.stats.kaplan_meier import KaplanMeierEstimator


def _patients(n=48):
    x = torch.randn(n, 6)
    return x, torch.randint(0, 2, (n,), dtype=torch.bool), torch.randint(1, 100, (n,), dtype=torch.float)


def _learned(model, loss):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        losses.append(loss())
        losses[-1].backward()
        optimizer.step()
    return losses, list(model.parameters())


def proportional():
    x, event, time = _patients()
    found = {}
    for ties in ("efron", "breslow"):
        model = torch.nn.Linear(6, 1)
        found[ties] = _learned(
            model, lambda m=model, t=ties: cox.neg_partial_log_likelihood(m(x), event, time, ties_method=t)
        )
    hazard = model(x).detach()
    concordance, auc = ConcordanceIndex(), Auc()
    found["concordance"] = concordance(hazard, event, time), concordance.confidence_interval(), concordance.p_value()
    found["auc"] = auc(hazard, event, time, new_time=torch.tensor(50.0))
    return found


def others():
    x, event, time = _patients()
    backbone = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    momentum = Momentum(backbone=backbone, loss=cox.neg_partial_log_likelihood, steps=2, rate=0.99)
    curve = KaplanMeierEstimator()
    curve(event, time)
    return {
        "learned": _learned(backbone, lambda: momentum(x, event, time)),
        "curve": curve.km_est,
        "weights": get_ipcw(event, time),
        "inferred": momentum.infer(x),
    }

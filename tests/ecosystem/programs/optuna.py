"""optuna: a search over rates and widths with pruning, each trial a small training."""

import optuna
import torch
from torch import nn


def search():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(40, 3, generator=g)
    y = x.prod(1, keepdim=True)

    def trial(trial):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(3, trial.suggest_int("width", 4, 12)),
            getattr(nn, trial.suggest_categorical("activation", ["ReLU", "Tanh"]))(),
            nn.LazyLinear(1),
        )
        optimizer = getattr(torch.optim, trial.suggest_categorical("optimizer", ["Adam", "RMSprop", "SGD"]))(
            [*net[0].parameters()], lr=trial.suggest_float("rate", 1e-3, 1e-1, log=True)
        )
        for step in range(5):
            loss = nn.functional.mse_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trial.report(loss.item(), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss.item()

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=2), pruner=optuna.pruners.MedianPruner(n_startup_trials=2)
    )
    study.optimize(trial, n_trials=8)
    return {"values": [t.value for t in study.trials], "best": study.best_params["width"]}

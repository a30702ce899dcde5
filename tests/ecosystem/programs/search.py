"""Evolution, further agents, factor graphs."""

import funsor
import gymnasium
import torch
from evotorch import Problem
from evotorch.algorithms import CEM, CMAES, PGPE, SNES
from funsor import ops
from sb3_contrib import ARS, QRDQN, TQC, TRPO, RecurrentPPO


def evolution():
    found = {}
    for name, cls, options in (("snes", SNES, {"stdev_init": 1.0}), ("cmaes", CMAES, {"stdev_init": 1.0}), ("cem", CEM, {"popsize": 20, "parenthood_ratio": 0.5, "stdev_init": 1.0}),
                               ("pgpe", PGPE, {"popsize": 20, "center_learning_rate": 0.1, "stdev_learning_rate": 0.1, "stdev_init": 1.0})):  # fmt: skip
        problem = Problem(
            "min", lambda x: (x**2).sum(-1), solution_length=4, initial_bounds=(-3, 3), vectorized=True, seed=1
        )
        searcher = cls(problem, **options)
        searcher.run(10)
        found[name] = [searcher.status["best_eval"], searcher.status["mean_eval"]]
    return found


def agents():
    found = {}
    for name, cls, env, options in (("qrdqn", QRDQN, "CartPole-v1", {"learning_starts": 20, "train_freq": 4}), ("tqc", TQC, "Pendulum-v1", {"learning_starts": 20, "policy_kwargs": {"net_arch": [16]}}),
                                    ("trpo", TRPO, "CartPole-v1", {"n_steps": 64}), ("recurrent", RecurrentPPO, "CartPole-v1", {"n_steps": 32}), ("ars", ARS, "CartPole-v1", {"n_delta": 2})):  # fmt: skip
        policy = {"recurrent": "MlpLstmPolicy", "ars": "LinearPolicy"}.get(name, "MlpPolicy")
        model = cls(policy, gymnasium.make(env), seed=3, device="cpu", **options)
        model.learn(96 if name != "ars" else 200)
        weights = [p.detach().double().norm() for p in model.policy.parameters()]
        found[name] = [weights[:12], model.predict(model.get_env().reset(), deterministic=True)[0]]
    return found


def factors():
    funsor.set_backend("torch")
    a, b = funsor.Tensor(torch.randn(3, 4))["i", "j"], funsor.Tensor(torch.randn(4))["j"]
    summed = (a + b).reduce(ops.logaddexp, "j")
    product = (a.exp() * b).reduce(ops.add)
    return {"summed": summed.data, "product": product.data}

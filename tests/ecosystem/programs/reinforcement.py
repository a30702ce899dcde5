"""stable-baselines3: agents of each kind learn for a few hundred steps, predict, are saved and loaded."""

import gymnasium as gym
import numpy as np
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecNormalize


def _weights(model):
    return {k: v.double().abs().sum().item() for k, v in model.policy.state_dict().items()}


def on_policy():
    results = {}
    for kind, more in ((PPO, {"n_steps": 64, "batch_size": 32, "n_epochs": 2}), (A2C, {})):
        env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
        model = kind("MlpPolicy", env, seed=0, device="cpu", **more)
        model.learn(256)
        model.save("agent")
        again = kind.load("agent", env=env, device="cpu")
        actions, _ = again.predict(np.linspace(-0.1, 0.1, 12).reshape(3, 4), deterministic=True)
        results[kind.__name__] = {
            "weights": _weights(model),
            "actions": actions,
            "reward": evaluate_policy(again, env, 2)[0],
        }
    return results


def value_based():
    env = gym.make("CartPole-v1")
    model = DQN(
        "MlpPolicy",
        env,
        seed=0,
        learning_starts=50,
        buffer_size=500,
        batch_size=16,
        train_freq=2,
        target_update_interval=40,
        device="cpu",
    )
    model.learn(240)
    return _weights(model)


def off_policy():
    results = {}
    for kind, more in (
        (SAC, {}),
        (TD3, {"action_noise": NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))}),
        (DDPG, {}),
    ):
        model = kind(
            "MlpPolicy",
            "Pendulum-v1",
            seed=0,
            learning_starts=30,
            batch_size=16,
            buffer_size=500,
            policy_kwargs={"net_arch": [32, 32]},
            device="cpu",
            **more,
        )
        model.learn(80)
        results[kind.__name__] = _weights(model)
    return results


def images():
    class Grid(gym.Env):
        observation_space = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)
        action_space = gym.spaces.Discrete(3)

        def reset(self, seed=None, options=None):
            super().reset(seed=seed)
            self.n = 0
            return self.np_random.integers(0, 255, (36, 36, 1), dtype=np.uint8), {}

        def step(self, action):
            self.n += 1
            return (
                self.np_random.integers(0, 255, (36, 36, 1), dtype=np.uint8),
                float(action == self.n % 3),
                self.n > 20,
                False,
                {},
            )

    model = PPO("CnnPolicy", Grid(), n_steps=32, batch_size=16, n_epochs=1, seed=0, device="cpu")
    model.learn(32)
    return _weights(model)


def normalized():
    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=1))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=2, use_sde=True, seed=0, device="cpu")
    model.learn(64)
    return _weights(model)

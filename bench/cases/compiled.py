"""Training steps as one program"""

import os
import pathlib
import runpy

import torch

GOAL = 1.5
_EAGER = runpy.run_path(str(pathlib.Path(__file__).with_name("training.py")))


def _compiled(fn):
    """The function compiled by flambeau; by PyTorch too, where it is asked for in the environment."""
    return torch.compile(fn) if "flambeau" in torch.__file__ or os.environ.get("BENCH_COMPILED") else fn


def _program(name):
    return _compiled(_EAGER[name]())


def regression():
    """Linear(10, 64), ReLU, Linear(64, 1), batch 256, Adam; goal 25"""
    return _program("regression")


def mlp():
    """MLP 784-512-512-10, batch 128, Adam"""
    return _program("mlp")


def resnet():
    """residual convnet on 32x3x32x32, SGD with momentum"""
    return _program("resnet")


def lstm():
    """2-layer LSTM language model, 16x64 of 2000 words, width 256, Adam"""
    return _program("lstm")


def gpt():
    """4-layer GPT, d=256, T=128, batch 8, 1000 words, AdamW"""
    return _program("gpt")


def layers():
    """10 layers Linear(4, 4) on 2 rows, without gradients: what a call costs; goal 5"""
    model, x = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(10))), torch.randn(2, 4)
    call = torch.compile(model) if "flambeau" in torch.__file__ or os.environ.get("BENCH_COMPILED") else model

    def run():
        with torch.no_grad():
            call(x)

    return run

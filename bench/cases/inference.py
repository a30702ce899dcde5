"""Inference as one program"""

import pathlib
import runpy

import torch

GOAL = 1.5
_COMPILED = runpy.run_path(str(pathlib.Path(__file__).with_name("compiled.py")))
_MODELS = _COMPILED["_EAGER"]


def _program(model, x):
    call = _COMPILED["_compiled"](model.eval())

    @torch.no_grad()
    def run():
        return call(x)

    return run


def mlp():
    """MLP 784-512-512-10, batch 128"""
    return _program(_MODELS["_mlp"](), torch.randn(128, 784))


def resnet():
    """residual convnet on 32x3x32x32"""
    return _program(_MODELS["_resnet"](), torch.randn(32, 3, 32, 32))


def lstm():
    """2-layer LSTM language model, 16x64 of 2000 words, width 256"""
    return _program(_MODELS["_Lstm"](2000, 256), torch.randint(0, 2000, (16, 64)))


def gpt():
    """4-layer GPT, d=256, T=128, batch 8, 1000 words"""
    return _program(_MODELS["_Gpt"](1000, 128, 256, 4, 8), torch.randint(0, 1000, (8, 128)))

"""Whether there is a GPU whose gradients could be scaled."""

import importlib.util

import flambeau as torch

__all__ = ["amp_definitely_not_available"]


def amp_definitely_not_available() -> bool:
    """Whether there is surely nothing to scale gradients for: neither CUDA nor a TPU."""
    return not (torch.cuda.is_available() or importlib.util.find_spec("torch_xla"))

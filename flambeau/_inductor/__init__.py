"""The names of PyTorch's compiler that programs set before they compile. Kernels here are chosen by fixed rules."""

from flambeau._inductor import config as config


def cudagraph_mark_step_begin() -> None:
    """Where a new step begins, for CUDA graphs; there are none here."""

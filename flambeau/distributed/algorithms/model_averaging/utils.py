"""Parameters averaged over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import flambeau
from flambeau import distributed as dist

__all__ = ["average_parameters", "average_parameters_or_parameter_groups", "get_params_to_average"]


def average_parameters(params: Iterator[Any], process_group: Any) -> None:
    """Every parameter becomes the mean of all ranks'."""
    group = dist.group.WORLD if process_group is None else process_group
    tensors = [p.detach() for p in params]
    if not tensors or dist.get_rank(group) < 0:
        return
    with flambeau.no_grad():
        for dtype in dict.fromkeys(t.dtype for t in tensors):
            same = [t for t in tensors if t.dtype == dtype]
            flat = flambeau.cat([t.reshape(-1) for t in same]) / dist.get_world_size(group)
            dist.all_reduce(flat, group=group)
            for tensor, part in zip(same, flat.split([t.numel() for t in same]), strict=True):
                tensor.copy_(part.view(tensor.shape))


def get_params_to_average(params: Iterable[Any]) -> list[Any]:
    """The parameters, of groups of an optimizer or by themselves, that have gradients."""
    found = []
    for entry in params:
        if isinstance(entry, dict):
            found += [p for p in entry["params"] if p.grad is not None]
        elif isinstance(entry, flambeau.nn.Parameter):
            if entry.grad is not None:
                found.append(entry)
        else:
            raise NotImplementedError(f"Parameter input of type {type(entry)} is not supported")
    return found


def average_parameters_or_parameter_groups(params: Iterable[Any], process_group: Any) -> None:
    """Average the parameters that have gradients."""
    average_parameters(iter(get_params_to_average(params)), process_group)

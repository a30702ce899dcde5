"""Nests of tensors split over devices and brought together again."""

import flambeau
from flambeau import Tensor

__all__ = ["scatter", "scatter_kwargs", "gather"]


def _rebuilt(like, items):
    return type(like)(*items) if hasattr(like, "_fields") else type(like)(items)


def scatter(inputs, target_gpus, dim=0):
    """One nest per device, with every tensor in it split along ``dim``; anything else is repeated."""
    n = len(target_gpus)

    def split(x):
        if isinstance(x, Tensor):
            parts = zip(x.chunk(n, dim), target_gpus, strict=False)
            return [
                part.to(device if isinstance(device, flambeau.device) else f"cuda:{device}") for part, device in parts
            ]
        if isinstance(x, (list, tuple)) and x:
            return [_rebuilt(x, items) for items in zip(*map(split, x), strict=False)]
        if isinstance(x, dict) and x:
            return [type(x)(zip(x, items, strict=True)) for items in zip(*map(split, x.values()), strict=False)]
        return [x] * n

    return split(inputs)


def scatter_kwargs(inputs, kwargs, target_gpus, dim=0):
    """Positional and named arguments, scattered to equally many devices."""
    inputs = scatter(inputs, target_gpus, dim) if inputs else []
    kwargs = scatter(kwargs, target_gpus, dim) if kwargs else []
    n = max(len(inputs), len(kwargs))
    inputs += [()] * (n - len(inputs))
    kwargs += [{}] * (n - len(kwargs))
    return tuple(inputs), tuple(kwargs)


def gather(outputs, target_device, dim=0):
    """One nest with the tensors of all joined along ``dim`` on one device (-1 is the CPU)."""
    if target_device == -1:
        target_device = "cpu"
    first = outputs[0]
    if isinstance(first, Tensor):
        parts = [out.to(target_device) for out in outputs]
        return flambeau.stack(parts) if first.dim() == 0 else flambeau.cat(parts, dim)
    if first is None:
        return None
    if isinstance(first, dict):
        if any(len(out) != len(first) for out in outputs):
            raise ValueError("All dicts must have the same number of keys")
        return type(first)((k, gather([out[k] for out in outputs], target_device, dim)) for k in first)
    return _rebuilt(first, [gather(items, target_device, dim) for items in zip(*outputs, strict=True)])

"""A tensor of a model by its dotted name, and the mask that parametrizes it."""

from itertools import chain

from flambeau import nn
from flambeau.nn.utils.parametrize import is_parametrized, type_before_parametrizations

__all__ = [
    "module_contains_param",
    "swap_module",
    "module_to_fqn",
    "fqn_to_module",
    "get_arg_info_from_tensor_fqn",
    "FakeSparsity",
]


class FakeSparsity(nn.Module):
    """The parametrization that multiplies by a mask; the mask is not part of any state dict."""

    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, x):
        if self.mask.shape != x.shape:
            raise AssertionError(f"mask shape ({self.mask.shape}) must match x shape ({x.shape})")
        return self.mask * x

    def state_dict(self, *args, **kwargs):
        """Nothing: the sparsifier saves the masks."""
        return {}


def module_contains_param(module, parametrization):
    """Whether a tensor of the module has a parametrization of this type."""
    return is_parametrized(module) and any(
        isinstance(p, parametrization) for p in chain.from_iterable(module.parametrizations.values())
    )


def swap_module(mod, mapping):
    """The module that ``mapping`` names for the type of ``mod``, made by its ``from_dense``, with the hooks of ``mod``."""
    target = mapping.get(type_before_parametrizations(mod))
    if target is None:
        return mod
    new = target.from_dense(mod)
    for hook in mod._forward_pre_hooks.values():
        new.register_forward_pre_hook(hook)
    for hook in mod._forward_hooks.values():
        new.register_forward_hook(hook)
    devices = {p.device for p in chain(mod.parameters(), mod.buffers())}
    if len(devices) > 1:
        raise AssertionError(
            f"swap_module only works with cpu or single-device CUDA modules, but got devices {devices}"
        )
    for device in devices:
        new.to(device)
    return new


def module_to_fqn(model, module, prefix=""):
    """The dotted name of a module within a model, ``None`` where it is not part of it."""
    if module is model:
        return ""
    for name, child in model.named_children():
        below = module_to_fqn(child, module, ".")
        if below is not None:
            return prefix + name + below
    return None


def fqn_to_module(model, path):
    """The module or tensor at a dotted name, ``None`` where there is none."""
    for name in path.split(".") if path else ():
        model = getattr(model, name, None)
    return model


def get_arg_info_from_tensor_fqn(model, tensor_fqn):
    """The parts of a tensor's dotted name: ``module_fqn``, ``module``, ``tensor_name``, ``tensor_fqn``."""
    module_fqn, _, tensor_name = tensor_fqn.rpartition(".")
    return {
        "module_fqn": module_fqn,
        "module": fqn_to_module(model, module_fqn),
        "tensor_name": tensor_name,
        "tensor_fqn": tensor_fqn,
    }

"""Calling a module with other parameters and buffers than its own."""

import contextlib
import sys
import warnings

import flambeau

from ._named_member_accessor import NamedMemberAccessor

__all__ = ["functional_call"]


def _untie_named_tensors_map(module, parameters_and_buffers):
    """The given tensors under every name that the module has for the same tensor."""
    names_of = {}
    for named in (module.named_parameters, module.named_buffers):
        for name, tensor in named(remove_duplicate=False):
            names_of.setdefault(tensor, set()).add(name)
    given, out = set(parameters_and_buffers), dict(parameters_and_buffers)
    for names in names_of.values():
        named = names & given
        if len(names) == 1 or not named:
            continue
        values = {id(parameters_and_buffers[name]): parameters_and_buffers[name] for name in named}
        if len(values) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. Consider using "
                "tie_weights=False"
            )
        out.update(dict.fromkeys(names, next(iter(values.values()))))
    return out


@contextlib.contextmanager
def _reparametrize_module(module, parameters_and_buffers, tie_weights=False, strict=False, stack_weights=False):
    """Puts the given tensors into the module, and takes them out again at the end."""
    given = parameters_and_buffers
    if tie_weights:
        given = _untie_named_tensors_map(module, given)
    accessor = NamedMemberAccessor(module)
    if strict:
        missing, unexpected = accessor.check_keys(given)
        errors = [
            f"{kind} key(s): {', '.join(map(repr, keys))}."
            for kind, keys in (("Unexpected", unexpected), ("Missing", missing))
            if keys
        ]
        if errors:
            raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(errors))
    own = {}
    try:
        own, _ = accessor.swap_tensors_dict(given, allow_missing=True)
        yield
    finally:
        if stack_weights:  # the same tensor may have been put in under several names: undo in reverse
            own = dict(reversed(own.items()))
        after, _ = accessor.swap_tensors_dict(own, allow_missing=True)
        # the call may have replaced tensors, which are then the caller's
        parameters_and_buffers.update({k: after[k] for k in parameters_and_buffers if k in after})


def functional_call(module, parameters_and_buffers, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """The old place of :func:`torch.func.functional_call`."""
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future "
        "version of PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return _functional_call(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)


def _functional_call(module, parameters_and_buffers, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """Calls ``module(*args, **kwargs)`` with the given tensors in place of its own of these names."""
    from ..parallel import DataParallel

    if isinstance(module, DataParallel):
        raise RuntimeError("The stateless API can't be used with nn.DataParallel module")
    scripted = sys.modules.get(f"{flambeau.__name__}.jit._script")  # where there are scripted modules, it is loaded
    if scripted is not None and isinstance(module, scripted.ScriptModule):
        raise RuntimeError("The stateless API can't be used with Jitted modules")
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _reparametrize_module(module, parameters_and_buffers, tie_weights=tie_weights, strict=strict):
        return module(*args, **(kwargs or {}))

"""States of models and optimizers by the names of parameters: the same for a model however it is wrapped, and for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import flambeau
from flambeau import nn
from flambeau.distributed.checkpoint._ranks import Ranks
from flambeau.optim import Optimizer

__all__ = [
    "DictValueType",
    "FQNS_T",
    "ListDictValueType",
    "OptimizerStateType",
    "PrimitiveType",
    "StateDictOptions",
    "ValueType",
    "get_model_state_dict",
    "get_optimizer_state_dict",
    "get_state_dict",
    "set_model_state_dict",
    "set_optimizer_state_dict",
    "set_state_dict",
]

FQNS_T = set[str]
PrimitiveType = flambeau.Tensor | int | float | str
ValueType = PrimitiveType | list[Any] | tuple[Any, ...] | dict[str, Any]
DictValueType = dict[str, ValueType]
ListDictValueType = list[DictValueType]
OptimizerStateType = dict[str, DictValueType | ListDictValueType]
_WRAPPERS = (
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)  # submodules that stand for their owner
_PG = "param_groups"


@dataclass
class StateDictOptions:
    """How states are given and taken.

    full_state_dict: whole tensors, where parameters are spread over ranks. cpu_offload: on the CPU. ignore_frozen_params: without parameters
    that need no gradient. strict: as for `load_state_dict`. broadcast_from_rank0: rank 0 has the state, the others get it from there.
    flatten_optimizer_state_dict: `state.<name>.<entry>` and `param_groups.<name>.<entry>` instead of nested dicts.
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False
    dsd_fqn_modifiers: str = "_fqn_modifiers"


def _plain_name(model: Any, name: str) -> str:
    """A parameter's name without the wrappers on the way to it."""
    parts, out, place = name.split("."), [], model
    for i, part in enumerate(parts):
        inner = getattr(place, part, None) if i < len(parts) - 1 else None
        wraps = part in _WRAPPERS and isinstance(inner, nn.Module) and _is_wrapper(place, part)
        if not wraps:
            out.append(part)
        place = inner
    return ".".join(out)


def _is_wrapper(owner: Any, part: str) -> bool:
    return part != "module" or isinstance(owner, (nn.DataParallel, nn.parallel.DistributedDataParallel))


def _parameters(model: Any, options: StateDictOptions) -> dict[str, Any]:
    """Plain name -> parameter, tied ones under their first name."""
    return {_plain_name(model, n): p for n, p in model.named_parameters() if p.requires_grad or not options.ignore_frozen_params}  # fmt: skip


def _given(value: Any, options: StateDictOptions) -> Any:
    """A value as the options want it."""
    if isinstance(value, flambeau.Tensor):
        if options.full_state_dict and hasattr(value, "full_tensor"):
            value = value.full_tensor()
        return value.cpu() if options.cpu_offload else value
    if isinstance(value, dict):
        return {k: _given(v, options) for k, v in value.items()}
    return type(value)(_given(v, options) for v in value) if isinstance(value, (list, tuple)) and not hasattr(value, "_fields") else value  # fmt: skip


def _sent(value: Any, options: StateDictOptions) -> Any:
    """Rank 0's value, where it is to be sent."""
    return Ranks().from_coordinator(value) if options.broadcast_from_rank0 else value


def get_model_state_dict(model: Any, *, submodules: set[Any] | None = None, options: StateDictOptions | None = None) -> dict[str, Any]:  # fmt: skip
    """The model's parameters and buffers by plain names.

    Args:
        model: the module, wrapped or not.
        submodules: only of these.
        options: `StateDictOptions`.

    >>> import flambeau as torch
    >>> list(get_model_state_dict(torch.compile(torch.nn.Linear(2, 1))))
    ['weight', 'bias']
    """
    options = options or StateDictOptions()
    state = {_plain_name(model, n): v for n, v in model.state_dict().items()}
    if options.ignore_frozen_params:
        frozen = {_plain_name(model, n) for n, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}  # fmt: skip
        state = {n: v for n, v in state.items() if n not in frozen}
    if submodules:
        prefixes = {_plain_name(model, n) + "." for n, m in model.named_modules() if m in submodules}
        state = {(n if options.keep_submodule_prefixes else n.removeprefix(p)): v for n, v in state.items() for p in prefixes if n.startswith(p)}  # fmt: skip
    return {n: _given(v, options) for n, v in state.items()}


def set_model_state_dict(model: Any, model_state_dict: dict[str, Any], *, options: StateDictOptions | None = None) -> Any:  # fmt: skip
    """Load a state of plain names into the model; what `load_state_dict` answers."""
    options = options or StateDictOptions()
    given = _sent(model_state_dict, options)
    if not given:
        return nn.modules.module._IncompatibleKeys([], [])
    own = {_plain_name(model, n): n for n in model.state_dict()}
    return model.load_state_dict({own.get(n, n): v for n, v in given.items()}, strict=options.strict)


def _optimizers(optimizers: Any) -> tuple[Any, ...]:
    return (optimizers,) if isinstance(optimizers, Optimizer) else tuple(optimizers)


def _state_of(optimizer: Any) -> dict[str, Any]:
    """The optimizer's state, with an entry for every parameter: made by a step that changes nothing, if there is none yet."""
    if not optimizer.state:
        parameters = [p for g in optimizer.param_groups for p in g["params"]]
        if any(p.grad is not None for p in parameters):
            raise RuntimeError("state_dict can only be used if the optimizer states are initialized (usually after one step() with gradients) or gradients are None.")  # fmt: skip
        rates = [g.get("lr") for g in optimizer.param_groups]
        before = [p.detach().clone() for p in parameters]
        for p in parameters:
            if p.requires_grad:
                p.grad = flambeau.zeros_like(p)
        for g in optimizer.param_groups:
            if "lr" in g:
                g["lr"] = g["lr"] * 0 if isinstance(g["lr"], flambeau.Tensor) else 0.0
        optimizer.step(closure=None)
        with flambeau.no_grad():
            for p, old in zip(parameters, before, strict=True):
                p.copy_(old)
        for g, rate in zip(optimizer.param_groups, rates, strict=True):
            if rate is not None:
                g["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
    return optimizer.state_dict()


def get_optimizer_state_dict(model: Any, optimizers: Any, *, submodules: set[Any] | None = None, options: StateDictOptions | None = None) -> dict[str, Any]:  # fmt: skip
    """The states of optimizers with parameters by plain names instead of numbers."""
    options = options or StateDictOptions()
    names = {id(p): n for n, p in _parameters(model, options).items()}
    out: dict[str, Any] = {"state": {}, _PG: []}
    for optimizer in _optimizers(optimizers):
        state = _state_of(optimizer)
        order = [p for g in optimizer.param_groups for p in g["params"]]
        called = {i: names[id(p)] for i, p in enumerate(order) if id(p) in names}
        out["state"] |= {called[i]: _given(entry, options) for i, entry in state["state"].items() if i in called}
        out[_PG] += [{**g, "params": [called[i] for i in g["params"] if i in called]} for g in state[_PG]]
    if submodules:
        prefixes = tuple(_plain_name(model, n) + "." for n, m in model.named_modules() if m in submodules)
        out["state"] = {n: v for n, v in out["state"].items() if n.startswith(prefixes)}
        for g in out[_PG]:
            g["params"] = [n for n in g["params"] if n.startswith(prefixes)]
    return _flattened(out) if options.flatten_optimizer_state_dict else out


def _init_optim_state(optim: Optimizer) -> None:
    """Make an optimizer's state, where it has none and there are no gradients, by a step that changes nothing."""
    groups = optim.param_groups
    if optim.state or any(p.grad is not None for g in groups for p in g["params"]):
        return
    for p in (p for g in groups for p in g["params"] if p.requires_grad):
        p.grad = flambeau.zeros_like(p)
    rates = [g.get("lr") for g in groups]
    for g, rate in zip(groups, rates, strict=True):
        if rate is not None:
            g["lr"] = flambeau.tensor(0.0) if isinstance(rate, flambeau.Tensor) else 0.0
    optim.step(closure=None)
    for g, rate in zip(groups, rates, strict=True):
        if rate is not None:
            g["lr"] = rate
    optim.zero_grad(set_to_none=True)


def _flattened(state: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {f"state.{n}.{k}": v for n, entry in state["state"].items() for k, v in entry.items()}
    for group in state[_PG]:
        flat |= {f"{_PG}.{n}.{k}": v for n in group["params"] for k, v in group.items() if k != "params"}
    return flat


def _nested(flat: dict[str, Any], optimizers: tuple[Any, ...], names: dict[int, str]) -> dict[str, Any]:
    out: dict[str, Any] = {"state": {}, _PG: []}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            called = [names[id(p)] for p in group["params"] if id(p) in names]
            for n in called:
                entry = {k.removeprefix(f"state.{n}."): v for k, v in flat.items() if k.startswith(f"state.{n}.")}
                if entry:
                    out["state"][n] = entry
            made: dict[str, Any] = {"params": called}
            for k in group:
                if k != "params" and called and f"{_PG}.{called[0]}.{k}" in flat:
                    made[k] = flat[f"{_PG}.{called[0]}.{k}"]
            out[_PG].append(made)
    return out


def set_optimizer_state_dict(model: Any, optimizers: Any, optim_state_dict: dict[str, Any], *, options: StateDictOptions | None = None) -> None:  # fmt: skip
    """Load states by plain names into optimizers."""
    options = options or StateDictOptions()
    given = _sent(optim_state_dict, options)
    if not given:
        return
    all_of = _optimizers(optimizers)
    names = {id(p): n for n, p in _parameters(model, options).items()}
    if "state" not in given or _PG not in given:
        given = _nested(given, all_of, names)
    groups_of = {n: g for g in given[_PG] for n in g["params"]}
    for optimizer in all_of:
        state = _state_of(optimizer)
        numbers = iter(range(sum(len(g["params"]) for g in optimizer.param_groups)))
        new_state, new_groups = {}, []
        for own, saved in zip(optimizer.param_groups, state[_PG], strict=True):
            first: dict[str, Any] = {}
            for p in own["params"]:
                i, name = next(numbers), names.get(id(p))
                if name is None:
                    continue
                if name in given["state"]:
                    new_state[i] = given["state"][name]
                elif options.strict and i in state["state"] and p.requires_grad:
                    raise RuntimeError(f"Missing optimizer state for parameter '{name}' in checkpoint.")
                first = first or groups_of.get(name, {})
            new_groups.append({**saved, **{k: v for k, v in first.items() if k != "params"}})
        optimizer.load_state_dict({"state": new_state, _PG: new_groups})


def get_state_dict(model: Any, optimizers: Any, *, submodules: set[Any] | None = None, options: StateDictOptions | None = None) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """The states of a model and of its optimizers."""
    return (
        get_model_state_dict(model, submodules=submodules, options=options),
        get_optimizer_state_dict(model, optimizers, submodules=submodules, options=options),
    )


def set_state_dict(model: Any, optimizers: Optimizer | Iterable[Optimizer], *, model_state_dict: dict[str, Any], optim_state_dict: dict[str, Any],
                   options: StateDictOptions | None = None) -> Any:  # fmt: skip
    """Load the states of a model and of its optimizers."""
    set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return set_model_state_dict(model, model_state_dict, options=options)

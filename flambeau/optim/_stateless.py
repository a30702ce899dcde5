"""Lending an optimizer other parameters and another state for the length of a `with` block."""

from collections import defaultdict
from contextlib import contextmanager

from flambeau import Tensor

__all__ = ["swap_in_optimizer_params_and_state"]

_NAME = "swap_in_optimizer_params_and_state"
_STYLE = f"{_NAME} requires optimizer.state_dict()-style"


@contextmanager
def swap_in_optimizer_params_and_state(optimizer, swapin_parameters, swapin_optim_state):
    """Inside the block, `optimizer` works on the given parameters and the given state (as `state_dict()` writes it).

    Args:
        optimizer: an optimizer that has a state
        swapin_parameters: name to tensor, in the order of the optimizer's parameters
        swapin_optim_state: what `state_dict()` of a like optimizer gave
    """
    state, groups = _check(optimizer, swapin_parameters, swapin_optim_state)
    before, options = optimizer.state, [dict(group) for group in optimizer.param_groups]
    try:
        lent = defaultdict(dict)
        for group, given, params in groups:
            group.update({**given, "params": params})
            for p, number in zip(params, given["params"], strict=True):
                lent[p] = dict(state.get(number, {}))
        optimizer.state = lent
        yield
    finally:
        for group, saved in zip(optimizer.param_groups, options, strict=True):
            group.clear()
            group.update(saved)
        optimizer.state = before


def _fail(message):
    raise RuntimeError(message)


def _check(optimizer, parameters, given):
    """The given state, and (group, given group, its parameters) for each group; or an error that says what is wrong."""
    if not optimizer.state:
        _fail(f"{_NAME} requires initialized optimizer state.")
    if not isinstance(given, dict):
        _fail(f"{_NAME} requires a DCP-style optimizer state_dict.")
    state, groups = given.get("state"), given.get("param_groups")
    if not isinstance(state, dict):
        _fail(
            f"{_NAME} requires swapin_optim_state['state'] to be a dict mapping packed parameter ids to per-param "
            f"state dicts, got {type(state).__name__}."
        )
    if any(isinstance(key, Tensor) for key in state):
        _fail(f"{_STYLE} state keyed by packed parameter ids.")
    if any(isinstance(key, int) and not isinstance(value, dict) for key, value in state.items()):
        _fail(f"{_NAME} requires per-parameter optimizer state entries to be dictionaries.")
    if not isinstance(groups, list):
        _fail(
            f"{_NAME} requires swapin_optim_state['param_groups'] to be a list of param-group dicts, "
            f"got {type(groups).__name__}."
        )
    if len(groups) != len(optimizer.param_groups):
        _fail("swapin_optim_state has a different number of parameter groups than the live optimizer.")
    rest, numbers, swaps = list(parameters.values()), set(), []
    for i, (group, other) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        ids = _check_group(i, group, other)
        numbers.update(ids)
        if len(ids) > len(rest):
            _fail(f"{_NAME} requires the explicit parameter state to match optimizer.param_groups ordering.")
        swaps.append((group, other, rest[: len(ids)]))
        rest = rest[len(ids) :]
    if extra := [key for key in state if key not in numbers]:
        _fail(
            f"{_NAME} requires swapin_optim_state['state'] to be keyed only by packed parameter ids from "
            f"param_groups[*]['params']; got extra keys {extra!r}."
        )
    return state, swaps


def _check_group(i, group, other):
    if not isinstance(other, dict):
        _fail(f"{_NAME} requires each optimizer param group to be a dictionary.")
    ids = other.get("params")
    if not isinstance(ids, list) or not all(isinstance(number, int) for number in ids):
        _fail(f"{_STYLE} param_groups[*]['params'] entries keyed by packed parameter ids.")
    if len(group["params"]) != len(ids):
        _fail(
            f"swapin_optim_state param group {i} has a different number of params than the live optimizer param group."
        )
    only_there, only_here = [k for k in other if k not in group], [k for k in group if k not in other]
    if only_there or only_here:
        _fail(
            f"{_STYLE} param group keys to exactly match the live optimizer group keys for group {i}. "
            f"Keys only in swap-in: {only_there}. Keys only in live: {only_here}."
        )
    return ids

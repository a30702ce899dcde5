"""What is in force: grad mode, inference mode, and the modes that stand between a call and its operator.

The flat functions ask two things only: `MODES`, which is empty unless some thread has a mode active (then the general lane asks
the rest), and, where an input has history, `STATE.grad`.
"""

from __future__ import annotations

import threading
from typing import Any

from flambeau._tensor import MODES as MODES


class State(threading.local):
    """One thread's switches."""

    grad = True
    inference = False
    anomaly = False
    anomaly_nan = True
    function_modes: tuple[Any, ...] = ()  # __torch_function__ modes, outermost first
    dispatch_modes: tuple[Any, ...] = ()  # __torch_dispatch__ modes, outermost first
    below: bool = False  # inside a `__torch_dispatch__`, where nobody asks about histories
    no_dispatch: bool = False  # inside DisableTorchDispatch
    autocast: Any = None  # type of device -> the lower dtype, where autocast is on
    autocast_dtypes: Any = None  # the same, as set for where none is given
    autocast_cache = True
    saved_hooks: tuple[Any, ...] = ()  # (pack, unpack) pairs for saved tensors
    no_function: bool = False  # inside DisableTorchFunctionSubclass
    members: bool = True  # whether attributes and methods that are no operators ask `__torch_function__`
    skip_function: bool = False  # the next question whether an argument takes over is answered with no
    grad_layout: bool = True  # gradients of leaves are laid out as the leaves
    readers: tuple[Any, ...] = ()  # told where Python asks for elements of a tensor: fn(tensor, what)
    transforms: int = 0  # how many of torch.func's transforms are running
    tracing: bool = False  # calls are recorded as expressions: see traced
    partial: bool = False  # a backward pass towards some inputs only is running
    task: int = -1  # the number of the backward pass that is running
    node: Any = None  # whose derivative is being computed: kept in anomaly mode only
    exec_group: Any = None  # what joins several backward passes: see utils.checkpoint.GraphExecGroup
    recorder: Any = None  # what notes the operators of a capture
    copied: Any = None  # told of the copy that a derivative needs of what is overwritten: fn(tensor, copy)
    known: Any = None  # what knows how results lie, so that they need not be computed: see _capture.geometry
    deferred: Any = (
        None  # where a capture follows what custom operators keep for their derivatives: what is to be called then
    )
    stand: Any = None  # what runs operators' bodies where arrays have no elements and sizes are expressions


STATE = State()
_lock = threading.Lock()


def enter(name: str) -> None:
    """Send calls through the general lane until `leave`."""
    with _lock:
        MODES.append(name)


def leave(name: str) -> None:
    with _lock:
        MODES.remove(name)


class _Disabled:
    """The `__torch_function__` of classes that take no part: runs the function as if its arguments were plain tensors.

    An object rather than a function, because as an attribute of a class it must not be bound.
    """

    __name__ = "_disabled_torch_function_impl"

    def __call__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, STATE.no_function = STATE.no_function, True
        try:
            return func(*args, **(kwargs or {}))
        finally:
            STATE.no_function = before


disabled = _Disabled()

"""Which modules' forward or backward is running, and functions to be called when one starts or ends."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from typing import Any

import flambeau
from flambeau.autograd.graph import register_multi_grad_hook
from flambeau.autograd.variable import Variable
from flambeau.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from flambeau.utils._pytree import tree_flatten

__all__ = ["ModTracker"]

_HOOKS = ("pre_fw_hook", "post_fw_hook", "pre_bw_hook", "post_bw_hook")


class ModTracker:
    """Inside this context, `parents` holds the dotted names of all modules that run now, and "Global".

    In the backward pass a module runs from the first gradient of its results to the last of its inputs, or, where none of
    its inputs asks for a gradient, to the end of the pass.

    >>> import flambeau as torch
    >>> net, tracker = torch.nn.Sequential(torch.nn.ReLU()), ModTracker()
    >>> tracker.register_user_hooks(pre_fw_hook=lambda module, inputs: print(tracker.get_known_fqn(module)))
    >>> with tracker:
    ...     _ = net(torch.ones(1))
    Sequential
    Sequential.0
    """

    def __init__(self) -> None:
        self.parents = {"Global"}
        self._active: Counter[str] = Counter()
        self._names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()
        self._at_end: list[Any] = []  # ends of modules, for when the backward pass is over
        self._waits = False  # whether the pass has been asked to call back
        self._hooks: dict[str, Any] = dict.fromkeys(_HOOKS)

    @property
    def is_bw(self) -> bool:
        """Whether a backward pass runs."""
        return flambeau._C._current_graph_task_id() != -1

    def get_known_fqn(self, mod: Any) -> str | None:
        """The module's dotted name, once it or one above it has run."""
        return self._names.get(mod)

    def register_user_hooks(self, pre_fw_hook: Any = None, post_fw_hook: Any = None, pre_bw_hook: Any = None, post_bw_hook: Any = None) -> None:  # fmt: skip
        """Call these where a module's forward or backward starts or ends: `hook(module, inputs[, outputs])`, `hook(module, gradients)`."""
        for name, hook in zip(_HOOKS, (pre_fw_hook, post_fw_hook, pre_bw_hook, post_bw_hook), strict=True):
            if hook is not None and self._hooks[name] is not None:
                raise AssertionError(
                    f"Only one {name} can be registered at a time Clear the existing hook by calling ``clear_user_hooks`` before registering a new one"
                )
            self._hooks[name] = hook

    def clear_user_hooks(self) -> None:
        """Forget the registered functions."""
        self._hooks = dict.fromkeys(_HOOKS)

    def _get_mod_name(self, mod: Any) -> str:
        name = self._names.setdefault(mod, type(mod).__name__)
        if mod not in self._seen:
            for child_name, child in mod.named_children():
                self._names[child] = f"{name}.{child_name}"
                self._get_mod_name(child)
            self._seen.add(mod)
        return name

    def _tell(self, hook: str, *args: Any) -> None:
        if self._hooks[hook] is not None:
            self._hooks[hook](*args)

    def _backward_runs(self) -> None:
        if self._waits:
            return
        self._waits = True
        for end in reversed(self._at_end):
            Variable._execution_engine.queue_callback(end)
        self._at_end.clear()

        def over() -> None:
            self.parents = {"Global"}
            self._waits = False

        Variable._execution_engine.queue_callback(over)

    def _start(self, mod: Any, name: str, backward: bool) -> Any:
        def start(*gradients: Any) -> None:
            if backward:
                self._backward_runs()
            if name in self.parents and not self.is_bw:
                warnings.warn(
                    "The module hierarchy tracking maybe be messed up. Please file a bug to PyTorch, if it is the case.",
                    stacklevel=2,
                )
            self._active[name] = self._active[name] + 1 if name in self.parents else 1
            self.parents.add(name)
            if backward:
                self._tell("pre_bw_hook", mod(), gradients)

        return start

    def _end(self, mod: Any, name: str, backward: bool) -> Any:
        def end(*gradients: Any) -> None:
            if backward:
                self._tell("post_bw_hook", mod(), gradients)
            if name in self.parents:
                self._active[name] -= 1
                if self._active[name] == 0:
                    self.parents.remove(name)
            elif not self.is_bw:  # in a backward pass, modules need not nest
                raise RuntimeError("The Module hierarchy tracking is wrong. Report a bug to PyTorch")

        return end

    def _before(self, mod: Any, inputs: Any) -> None:
        name, ref = self._get_mod_name(mod), weakref.ref(mod)
        self._start(ref, name, False)()
        self._tell("pre_fw_hook", mod, inputs)
        if self.is_bw:
            return
        tensors = [t for t in tree_flatten(inputs)[0] if isinstance(t, flambeau.Tensor) and t.requires_grad]
        if tensors:
            register_multi_grad_hook(tensors, self._end(ref, name, True))
        else:
            self._at_end.append(self._end(ref, name, True))

    def _after(self, mod: Any, inputs: Any, outputs: Any) -> None:
        name, ref = self._get_mod_name(mod), weakref.ref(mod)
        self._tell("post_fw_hook", mod, inputs, outputs)
        self._end(ref, name, False)()
        tensors = [t for t in tree_flatten(outputs)[0] if isinstance(t, flambeau.Tensor) and t.requires_grad]
        if tensors and not self.is_bw:
            register_multi_grad_hook(tensors, self._start(ref, name, True), mode="any")

    def __enter__(self) -> ModTracker:
        self._registered = (
            register_module_forward_pre_hook(self._before),
            register_module_forward_hook(self._after, always_call=True),
        )
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._registered:
            handle.remove()

"""Which modules' forward or backward is running."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

import flambeau
from flambeau.autograd.graph import register_multi_grad_hook
from flambeau.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from flambeau.utils._pytree import tree_flatten

__all__ = ["ModuleTracker"]


class ModuleTracker:
    """Inside this context, `parents` holds the dotted names of all modules that run now, and "Global".

    In the backward pass a module runs from the first gradient of its results to the last of its inputs.

    >>> import flambeau as torch
    >>> net, seen = torch.nn.Sequential(torch.nn.ReLU()), []
    >>> with ModuleTracker() as tracker:
    ...     _ = net[0].register_forward_pre_hook(lambda *_: seen.extend(sorted(tracker.parents)))
    ...     _ = net(torch.ones(1))
    >>> seen
    ['Global', 'Sequential', 'Sequential.0']
    """

    def __init__(self) -> None:
        self.parents = {"Global"}
        self._known: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._seen: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._hooks: list[Any] = []

    @property
    def is_bw(self) -> bool:
        """Whether a backward pass runs."""
        return flambeau._C._current_graph_task_id() != -1

    def _name(self, mod: Any) -> str:
        if mod not in self._known:
            self._known[mod] = type(mod).__name__
        name = self._known[mod]
        if mod not in self._seen:
            for child_name, child in mod.named_children():
                self._known[child] = f"{name}.{child_name}"
                self._name(child)
            self._seen[mod] = True
        return name

    def _enter(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            if name in self.parents:
                warnings.warn(f"The module hierarchy tracking is messed up: {name} runs already", stacklevel=2)
            self.parents.add(name)

        return hook

    def _leave(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            self.parents.discard(name)

        return hook

    def _before(self, mod: Any, inputs: Any) -> None:
        name = self._name(mod)
        self._enter(name)()
        tensors = [t for t in tree_flatten(inputs)[0] if isinstance(t, flambeau.Tensor) and t.requires_grad]
        if tensors and flambeau.is_grad_enabled():
            self._hooks.append(register_multi_grad_hook(tensors, self._leave(name)))

    def _after(self, mod: Any, inputs: Any, outputs: Any) -> None:
        name = self._name(mod)
        self._leave(name)()
        tensors = [t for t in tree_flatten(outputs)[0] if isinstance(t, flambeau.Tensor) and t.requires_grad]
        if tensors and flambeau.is_grad_enabled():
            self._hooks.append(register_multi_grad_hook(tensors, self._again(name), mode="any"))

    def _again(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            self.parents.add(name)

        return hook

    def __enter__(self) -> ModuleTracker:
        self._registered = (
            register_module_forward_pre_hook(self._before),
            register_module_forward_hook(self._after, always_call=True),
        )
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in (*self._registered, *self._hooks):
            handle.remove()
        self._hooks.clear()
        self.parents = {"Global"}

"""Which submodules are to be wrapped: policies, as functions and objects."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flambeau import nn

__all__ = ["CustomPolicy", "ModuleWrapPolicy", "always_wrap_policy", "enable_wrap", "lambda_auto_wrap_policy", "size_based_auto_wrap_policy",
           "transformer_auto_wrap_policy", "wrap"]  # fmt: skip


def always_wrap_policy(*args: Any, **kwargs: Any) -> bool:
    """Every module."""
    return True


class _Policy(ABC):
    @abstractmethod
    def _run_policy(self, root_module: Any, ignored_modules: set[Any], root_kwargs: dict[str, Any]) -> dict[Any, dict[str, Any]]:  # fmt: skip
        """Module -> arguments of its wrapper, for those to be wrapped."""


class ModuleWrapPolicy(_Policy):
    """Modules of some classes."""

    def __init__(self, module_classes: Iterable[type[Any]]) -> None:
        self._module_classes = set(module_classes)
        self._module_classes_str = str(self._module_classes)

    def _run_policy(self, root_module: Any, ignored_modules: set[Any], root_kwargs: dict[str, Any]) -> dict[Any, dict[str, Any]]:  # fmt: skip
        classes = tuple(self._module_classes)
        return {m: dict(root_kwargs) for m in root_module.modules() if m not in ignored_modules and isinstance(m, classes)}  # fmt: skip

    def __call__(self, module: Any, recurse: bool, *args: Any, **kwargs: Any) -> bool:
        return transformer_auto_wrap_policy(module, recurse, -1, self._module_classes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._module_classes_str})"


class CustomPolicy(_Policy):
    """Modules that a function chooses: it answers a bool, or a dict of arguments."""

    def __init__(self, lambda_fn: Callable[[Any], bool | dict[str, Any]]) -> None:
        self._lambda_fn = lambda_fn

    def _run_policy(self, root_module: Any, ignored_modules: set[Any], root_kwargs: dict[str, Any]) -> dict[Any, dict[str, Any]]:  # fmt: skip
        out = {}
        for m in root_module.modules():
            answer = self._lambda_fn(m) if m not in ignored_modules else False
            if not isinstance(answer, (dict, bool)):
                raise ValueError(f"The lambda_fn passed to CustomPolicy should return False/True or a kwarg dict, but it returned {answer}")  # fmt: skip
            if answer:
                out[m] = {**root_kwargs, **(answer if isinstance(answer, dict) else {})}
        return out


def lambda_auto_wrap_policy(module: Any, recurse: bool, nonwrapped_numel: int, lambda_fn: Callable[[Any], bool]) -> bool:  # fmt: skip
    """Modules that a function chooses."""
    return True if recurse else lambda_fn(module)


def transformer_auto_wrap_policy(module: Any, recurse: bool, nonwrapped_numel: int, transformer_layer_cls: set[type[Any]]) -> bool:  # fmt: skip
    """Modules of some classes."""
    return True if recurse else isinstance(module, tuple(transformer_layer_cls))


def size_based_auto_wrap_policy(module: Any, recurse: bool, nonwrapped_numel: int, min_num_params: int = int(1e8),
                                force_leaf_modules: set[type[Any]] | None = None, exclude_wrap_modules: set[type[Any]] | None = None) -> bool:  # fmt: skip
    """Modules with many parameters."""
    leaves = force_leaf_modules or {nn.MultiheadAttention}
    excluded = exclude_wrap_modules or {nn.ModuleList, nn.ModuleDict}
    large = nonwrapped_numel >= min_num_params
    return large and not isinstance(module, tuple(leaves)) if recurse else large and not isinstance(module, tuple(excluded))  # fmt: skip


_active: list[tuple[Any, dict[str, Any]]] = []


@contextlib.contextmanager
def enable_wrap(*, wrapper_cls: Any, **wrapper_kwargs: Any) -> Iterator[None]:
    """Within the block, `wrap` wraps modules in this class."""
    _active.append((wrapper_cls, wrapper_kwargs))
    try:
        yield
    finally:
        _active.pop()


def wrap(module: Any, **wrap_overrides: Any) -> Any:
    """The module, wrapped where `enable_wrap` is in force."""
    if not _active:
        return module
    cls, options = _active[-1]
    return cls(module, **{**options, **wrap_overrides})

"""Tools around the library: data loading, checkpointing, pytrees; submodules load when first used."""

import importlib as _importlib
from typing import Any as _Any

from flambeau._tensor import space as _space


def set_module(obj, mod) -> None:
    """Says that `obj` belongs to the module named `mod`."""
    if not isinstance(mod, str):
        raise TypeError("The mod argument should be a string")
    obj.__module__ = mod


def swap_tensors(t1, t2) -> None:
    """Exchanges what two tensors are; whoever holds one of them now has the other.

    >>> a, b = flambeau.zeros(1), flambeau.ones(2)
    >>> flambeau.utils.swap_tensors(a, b)
    >>> a
    tensor([1., 1.])
    """
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    one, other = _space(t1), _space(t2)
    first, second = dict(one), dict(other)
    for into, what in ((one, second), (other, first)):
        into.clear()
        into.update(what)
    for t in (t1, t2):
        if t.is_leaf and t.requires_grad:  # the node that collects its gradient is the other's
            t.requires_grad_(False).requires_grad_(True)


_LATE = {
    "ThroughputBenchmark": "throughput_benchmark", "get_cpp_backtrace": "cpp_backtrace",
    "generate_methods_for_privateuse1_backend": "backend_registration", "rename_privateuse1_backend": "backend_registration",
}  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _LATE:
        return getattr(_importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    if not name.startswith("__"):
        try:
            return _importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as missing:
            if missing.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

"""The named tuples that operators with several results return: `torch.return_types.max`."""

from __future__ import annotations

from typing import Any

from flambeau import _operators
from flambeau._eager.record import RETURN_TYPES, named
from flambeau._ground.tree_nodes import register_pytree_node
from flambeau._operators.op import REGISTRY


def _all() -> dict[str, type]:
    """Every class, by name; `max_out` is `max`."""
    _operators.load()
    for op in list(REGISTRY.values()):
        if op.outputs:
            named(op)
    return RETURN_TYPES


def pytree_register_structseq(cls: Any) -> None:
    """Make trees look into a class of result tuples."""

    def flatten(x: Any) -> tuple[list[Any], None]:
        return list(x), None

    def unflatten(values: Any, context: Any) -> Any:
        return cls(values)

    register_pytree_node(cls, flatten, unflatten)


def __getattr__(name: str) -> Any:
    if name == "all_return_types":
        return list(_all().values())
    found = _all().get(name.removesuffix("_out")) if not name.startswith("__") else None
    if found is None:
        raise AttributeError(f"module 'torch.return_types' has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    return [*_all(), "all_return_types", "pytree_register_structseq"]

"""The older interface for user-defined operators: names for what is in `torch.library`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import library

__all__ = ["custom_op", "impl", "impl_abstract", "get_ctx"]

get_ctx = library.get_ctx


def custom_op(qualname: str, func_or_schema: Any = None) -> Any:
    """Declares an operator: from its schema, or as a decorator, from the annotations of a function."""
    if isinstance(func_or_schema, str):
        return library.define(qualname, func_or_schema)

    def declare(func: Callable[..., Any]) -> Callable[..., Any]:
        library.define(qualname, library.infer_schema(func, mutates_args=()))
        return func

    return declare if func_or_schema is None else declare(func_or_schema)


def impl(qualname: str, *, device_types: Any = ("cpu", "cuda"), func: Any = None) -> Any:
    """Registers what an operator does on some types of device."""
    return library.impl(qualname, device_types, func)


def impl_abstract(qualname: str, *, func: Any = None) -> Any:
    """Registers the shapes and dtypes of an operator's results."""
    return library.register_fake(qualname, func)

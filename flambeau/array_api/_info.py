"""What this namespace can do."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau import dtype as DType
from flambeau.array_api._types import DTYPES, isdtype


class __array_namespace_info__:
    """Capabilities, devices and dtypes, as the standard asks for them.

    >>> import flambeau
    >>> sorted(flambeau.array_api.__array_namespace_info__().dtypes(kind="real floating"))
    ['float32', 'float64']
    """

    __module__ = "flambeau.array_api"

    def capabilities(self) -> dict[str, Any]:
        """Boolean masks index, shapes may depend on data, and there may be 64 dimensions."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> flambeau.device:
        """Where arrays are made."""
        return flambeau.get_default_device()

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """Dtypes of what is made without naming one."""
        real = flambeau.get_default_dtype()
        return {
            "real floating": real,
            "complex floating": real.to_complex(),
            "integral": flambeau.int64,
            "indexing": flambeau.int64,
        }

    def devices(self) -> list[flambeau.device]:
        """Devices at hand."""
        return [flambeau.device("cpu")]

    def dtypes(self, *, device: Any = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The standard's dtypes (of a kind), by name."""
        return {name: d for name, d in DTYPES.items() if kind is None or isdtype(d, kind)}

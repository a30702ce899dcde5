"""`torch._VF`: the generated functions, under the name that old code takes them from."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import flambeau
    from flambeau.functional import LISTED

    return LISTED.get(name) or getattr(flambeau, name)

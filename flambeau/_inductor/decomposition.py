"""How operators are taken apart for the compiler: a table to which libraries add."""

from __future__ import annotations

import functools
from typing import Any

from flambeau import _decomp

decompositions: dict[Any, Any] = {}
register_decomposition = functools.partial(_decomp.register_decomposition, registry=decompositions)

"""Flattening as fx does it: by a spec, which decides how many leaves there are."""

from __future__ import annotations

from typing import Any

from flambeau.utils import _pytree as pytree


def tree_flatten_spec(tree: Any, spec: Any, exact_structural_match: bool = False) -> list[Any]:
    """The leaves of a tree where the spec has leaves."""
    return spec.flatten_up_to(tree) if spec.num_leaves or spec.num_children else []


def register_pytree_flatten_spec(cls: type, flatten_fn_spec: Any, flatten_fn_exact_match_spec: Any = None) -> None:
    """Accepted: containers are flattened as `utils._pytree` says."""


TreeSpec = pytree.TreeSpec

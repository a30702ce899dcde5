"""Pytrees: nested containers flattened to a list of leaves and a `TreeSpec` that rebuilds them.

Not here: which types are containers (`tree_nodes.py`), the JSON form of a spec (`treespec_json.py`).  Public path:
`flambeau.utils._pytree`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .tree_nodes import (
    BUILTIN_TYPES,
    STANDARD_DICT_TYPES,
    SUPPORTED_NODES,
    ConstantNode,
    Context,
    IsLeaf,
    KeyPath,
    PyTree,
    _get_node_type,
)


# ---- the structure of a tree -------------------------------------------------------------------------------------
class TreeSpec:
    """The structure of a pytree without its leaves: a node's type and context, and the specs of its children."""

    __slots__ = ("_children", "_context", "num_children", "num_leaves", "num_nodes", "type")

    def __init__(self, type: Any, context: Context, children_specs: list[TreeSpec]) -> None:
        self.type = type
        self._context = context
        self._children = children_specs
        self.num_children = len(children_specs)
        self.num_nodes: int = 1 + sum(child.num_nodes for child in children_specs)
        self.num_leaves: int = 1 if type is None else sum(child.num_leaves for child in children_specs)

    def __repr__(self, indent: int = 0) -> str:
        if self.type is None:
            return "*"
        indent += 2
        children = (",\n" + " " * indent).join(child.__repr__(indent) for child in self._children)
        return f"TreeSpec({self.type.__name__}, {self._context}, [{children}])"

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TreeSpec):
            return NotImplemented
        # Types compare by name: a class defined twice (a reloaded module) is the same structure.
        return (
            str(self.type) == str(other.type) and self._context == other._context and self._children == other._children
        )

    def __hash__(self) -> int:
        context = self._context
        if self.type is defaultdict:
            context = (context[0], tuple(context[1]))
        elif self.type in (dict, OrderedDict):
            context = tuple(context)
        elif isinstance(context, ConstantNode):
            context = context.value
        elif self.type is not None and self.type not in BUILTIN_TYPES:
            context = None  # a user's context need not be hashable
        return hash((self.type, context, tuple(self._children)))

    def __reduce__(self) -> Any:
        return (_leaf, ()) if self.type is None else (TreeSpec, (self.type, self._context, self._children))

    @property
    def context(self) -> Context:
        """What the root's flatten function said beside its children."""
        return self._context

    @property
    def children_specs(self) -> list[TreeSpec]:
        """Deprecated: use `children()` or `child(index)`."""
        _deprecated(
            "`treespec.children_specs` is deprecated. Use `treespec.child(index)` to access a single child, "
            "or `treespec.children()` to get all children."
        )
        return self._children

    def is_leaf(self) -> bool:
        """Is the whole tree one leaf?"""
        return self.num_nodes == 1 and self.num_leaves == 1

    def children(self) -> list[TreeSpec]:
        """The specs of the root's children."""
        return self._children.copy()

    def child(self, index: int) -> TreeSpec:
        """The spec of one child of the root."""
        return self._children[index]

    def flatten_up_to(self, tree: PyTree) -> list[PyTree]:
        """The subtrees of `tree` that stand where this structure has leaves."""
        subtrees: list[PyTree] = []
        self._collect(tree, subtrees)
        return subtrees

    def _collect(self, node: PyTree, subtrees: list[PyTree]) -> None:
        if self.type is None:
            subtrees.append(node)
            return
        children = self._match(node)
        for child, spec in zip(children, self._children, strict=True):
            spec._collect(child, subtrees)

    def _match(self, node: PyTree) -> list[PyTree]:
        """The children of `node`, which must be a node like this spec's root."""
        node_type = _get_node_type(node)
        builtin = self.type in BUILTIN_TYPES
        dicts = self.type in STANDARD_DICT_TYPES and node_type in STANDARD_DICT_TYPES
        if node_type is not self.type and not dicts:
            kind = "Node type" if builtin else "Type"
            raise ValueError(f"{kind} mismatch; expected {self.type!r}, but got {node_type!r}.")
        if dicts:
            children, context = list(node.values()), None
        else:
            children, context = SUPPORTED_NODES[node_type].flatten_fn(node)
        if len(children) != self.num_children:
            raise ValueError(f"Node arity mismatch; expected {self.num_children}, but got {len(children)}.")
        if dicts:  # dictionaries of different kinds and orders match if their keys do
            keys = self._context[1] if self.type is defaultdict else self._context
            _check_keys(set(keys), set(node))
            return [node[key] for key in keys]
        if not builtin and context != self._context:
            raise ValueError(f"Node context mismatch for custom node type {self.type!r}.")
        if node_type is not deque and context != self._context:
            raise ValueError(
                f"Node context mismatch for node type {self.type!r}; expected {self._context!r}, but got {context!r}."
            )
        return children

    def unflatten(self, leaves: Iterable[Any]) -> PyTree:
        """The tree of this structure with the given leaves."""
        leaves = leaves if isinstance(leaves, (list, tuple)) else list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree that "
                f"holds {self.num_leaves} items ({self})."
            )
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> PyTree:
        if self.type is None:
            return next(leaves)
        children = [child._build(leaves) for child in self._children]
        return SUPPORTED_NODES[self.type].unflatten_fn(children, self._context)


def _check_keys(expected: set[Any], given: set[Any]) -> None:
    if expected == given:
        return
    missing, extra = expected - given, given - expected
    message = f"; missing key(s): {missing}" if missing else ""
    message += f"; extra key(s): {extra}" if extra else ""
    raise ValueError(f"Node keys mismatch{message}.")


class LeafSpec(TreeSpec):
    """The structure of a single leaf; made by `treespec_leaf()`."""

    __slots__ = ()

    def __init__(self) -> None:
        if "_LEAF_SPEC" in globals():
            _deprecated(
                "`isinstance(treespec, LeafSpec)` is deprecated, "
                "use `isinstance(treespec, TreeSpec) and treespec.is_leaf()` instead."
            )
        super().__init__(None, None, [])


PyTreeSpec = TreeSpec
_LEAF_SPEC = LeafSpec()


def _leaf() -> TreeSpec:
    return _LEAF_SPEC


treespec_leaf = _leaf


def _deprecated(message: str) -> None:
    import warnings

    warnings.warn(message, FutureWarning, stacklevel=3)


def treespec_tuple(iterable: Iterable[TreeSpec] = (), /) -> TreeSpec:
    """The spec of a tuple whose entries have the given specs."""
    children = list(iterable)
    if any(not isinstance(child, TreeSpec) for child in children):
        raise ValueError(f"Expected a tuple of TreeSpec values, got: {children!r}.")
    return TreeSpec(tuple, None, children)


def treespec_dict(mapping: Any = (), /, **kwargs: TreeSpec) -> TreeSpec:
    """The spec of a dictionary whose values have the given specs."""
    specs = dict(mapping, **kwargs)
    if any(not isinstance(child, TreeSpec) for child in specs.values()):
        raise ValueError(f"Expected a dictionary of TreeSpec values, got: {specs!r}.")
    return TreeSpec(dict, list(specs), list(specs.values()))


# ---- flattening --------------------------------------------------------------------------------------------------
def tree_is_leaf(tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Is `tree` of no registered container type (or declared a leaf by `is_leaf`)?"""
    return (is_leaf is not None and is_leaf(tree)) or _get_node_type(tree) not in SUPPORTED_NODES


def tree_flatten(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves, left to right, and the structure that `tree_unflatten` puts them back into."""
    leaves: list[Any] = []
    return leaves, _flatten_into(tree, leaves, is_leaf)


def _flatten_into(node: PyTree, leaves: list[Any], is_leaf: IsLeaf) -> TreeSpec:
    node_type = _get_node_type(node)
    definition = SUPPORTED_NODES.get(node_type)
    if definition is None or (is_leaf is not None and is_leaf(node)):
        leaves.append(node)
        return _LEAF_SPEC
    children, context = definition.flatten_fn(node)
    return TreeSpec(node_type, context, [_flatten_into(child, leaves, is_leaf) for child in children])


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The tree of structure `treespec` with the given leaves."""
    if not isinstance(treespec, TreeSpec):
        if not isinstance(leaves, TreeSpec):
            raise TypeError(
                f"Expected `treespec` to be an instance of PyTreeSpec but got item of type {type(treespec)}."
            )
        leaves, treespec = treespec, leaves  # an older order of the arguments
    return treespec.unflatten(leaves)


def tree_iter(tree: PyTree, is_leaf: IsLeaf = None) -> Iterator[Any]:
    """Yields the leaves, left to right."""
    definition = SUPPORTED_NODES.get(_get_node_type(tree))
    if definition is None or (is_leaf is not None and is_leaf(tree)):
        yield tree
        return
    for child in definition.flatten_fn(tree)[0]:
        yield from tree_iter(child, is_leaf)


def tree_leaves(tree: PyTree, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves, left to right."""
    return list(tree_iter(tree, is_leaf))


def tree_structure(tree: PyTree, is_leaf: IsLeaf = None) -> TreeSpec:
    """The structure without the leaves."""
    return tree_flatten(tree, is_leaf)[1]


def arg_tree_leaves(*args: PyTree, **kwargs: PyTree) -> list[Any]:
    """The leaves of a call's arguments."""
    return [leaf for tree in (*args, *kwargs.values()) for leaf in tree_iter(tree)]


# ---- with paths --------------------------------------------------------------------------------------------------
def tree_leaves_with_path(tree: PyTree, is_leaf: IsLeaf = None) -> list[tuple[KeyPath, Any]]:
    """The leaves, each with the path that leads to it."""
    return list(_generate_key_paths((), tree, is_leaf))


def tree_flatten_with_path(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[tuple[KeyPath, Any]], TreeSpec]:
    """`tree_flatten`, with the path to each leaf."""
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


def _generate_key_paths(key_path: KeyPath, tree: PyTree, is_leaf: IsLeaf = None) -> Iterator[tuple[KeyPath, Any]]:
    node_type = _get_node_type(tree)
    definition = SUPPORTED_NODES.get(node_type)
    if definition is None or (is_leaf is not None and is_leaf(tree)):
        yield key_path, tree
        return
    if definition.flatten_with_keys_fn is None:
        raise ValueError(
            f"Did not find a flatten_with_keys_fn for type: {node_type}. "
            "Please pass a flatten_with_keys_fn argument to register_pytree_node."
        )
    for key, child in definition.flatten_with_keys_fn(tree)[0]:
        yield from _generate_key_paths((*key_path, key), child, is_leaf)


# ---- mapping -----------------------------------------------------------------------------------------------------
def tree_map(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """The tree whose leaves are `func` of the leaves of `tree` (and of what stands there in `rests`)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    return spec._build(iter([func(*xs) for xs in zip(leaves, *map(spec.flatten_up_to, rests), strict=True)]))


def tree_map_(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """Calls `func` on each leaf for its effect and returns `tree`."""
    leaves, spec = tree_flatten(tree, is_leaf)
    for xs in zip(leaves, *map(spec.flatten_up_to, rests), strict=True):
        func(*xs)
    return tree


def tree_map_with_path(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """`tree_map` whose function is also given the path, first."""
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    others = zip(pairs, *map(spec.flatten_up_to, rests), strict=True)
    return spec._build(iter([func(path, leaf, *rest) for (path, leaf), *rest in others]))


def map_only(type_or_types_or_pred: Any, /) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Decorates a function so that it leaves alone what is not of the given type (or fails the given test)."""
    from types import UnionType

    if isinstance(type_or_types_or_pred, (type, tuple, UnionType)):

        def test(x: Any) -> bool:
            return isinstance(x, type_or_types_or_pred)

    elif callable(type_or_types_or_pred):
        test = type_or_types_or_pred
    else:
        raise TypeError("Argument must be a type, a tuple of types, or a callable.")
    return lambda func: lambda x: func(x) if test(x) else x


def tree_map_only(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: PyTree, is_leaf: IsLeaf = None
) -> PyTree:
    """`tree_map` over the leaves of the given type; the others stay."""
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: PyTree, is_leaf: IsLeaf = None
) -> PyTree:
    """`tree_map_` over the leaves of the given type."""
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Does `pred` hold for every leaf?"""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Does `pred` hold for some leaf?"""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(type_or_types: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Does `pred` hold for every leaf of the given type?"""
    return all(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


def tree_any_only(type_or_types: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Does `pred` hold for some leaf of the given type?"""
    return any(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


def _broadcast_to_and_flatten(tree: PyTree, treespec: TreeSpec, is_leaf: IsLeaf = None) -> list[Any] | None:
    """The leaves of `tree` repeated over the subtrees of `treespec` that they stand for; None if it is no prefix."""
    leaves, prefix = tree_flatten(tree, is_leaf)
    try:
        subtrees = prefix.flatten_up_to(treespec.unflatten([0] * treespec.num_leaves))
    except ValueError:
        return None
    return [leaf for leaf, subtree in zip(leaves, subtrees, strict=True) for _ in tree_iter(subtree, is_leaf)]


class _Asterisk(str):
    """A leaf that prints as a bare asterisk."""

    def __repr__(self) -> str:
        return "*"


def treespec_pprint(treespec: TreeSpec) -> str:
    """The tree with an asterisk in place of each leaf, as Python prints it."""
    return repr(treespec.unflatten([_Asterisk("*")] * treespec.num_leaves))

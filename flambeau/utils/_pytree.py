"""Pytrees under PyTorch's path; everything is defined in `_ground/tree.py` and `_ground/treespec_json.py`."""
# ruff: noqa: F401, F822 (a list of names)

from .._ground.tree import (
    _LEAF_SPEC,
    LeafSpec,
    PyTreeSpec,
    TreeSpec,
    _broadcast_to_and_flatten,
    _generate_key_paths,
    arg_tree_leaves,
    map_only,
    tree_all,
    tree_all_only,
    tree_any,
    tree_any_only,
    tree_flatten,
    tree_flatten_with_path,
    tree_is_leaf,
    tree_iter,
    tree_leaves,
    tree_leaves_with_path,
    tree_map,
    tree_map_,
    tree_map_only,
    tree_map_only_,
    tree_map_with_path,
    tree_structure,
    tree_unflatten,
    treespec_dict,
    treespec_leaf,
    treespec_pprint,
    treespec_tuple,
)
from .._ground.tree_nodes import (
    BUILTIN_TYPES,
    CONSTANT_NODES,
    NO_SERIALIZED_TYPE_NAME_FOUND,
    SERIALIZED_TYPE_TO_PYTHON_TYPE,
    STANDARD_DICT_TYPES,
    SUPPORTED_NODES,
    SUPPORTED_SERIALIZED_TYPES,
    ConstantNode,
    Context,
    FlattenFn,
    FlattenWithKeysFn,
    GetAttrKey,
    KeyEntry,
    KeyPath,
    MappingKey,
    NodeDef,
    PyTree,
    SequenceKey,
    UnflattenFn,
    _defaultdict_flatten,
    _defaultdict_unflatten,
    _deque_flatten,
    _deque_unflatten,
    _deregister_pytree_node,
    _dict_flatten,
    _dict_flatten_with_keys,
    _dict_unflatten,
    _get_node_type,
    _list_flatten,
    _list_flatten_with_keys,
    _list_unflatten,
    _namedtuple_flatten,
    _namedtuple_unflatten,
    _odict_flatten,
    _odict_unflatten,
    _ordereddict_flatten,
    _ordereddict_flatten_with_keys,
    _ordereddict_unflatten,
    _private_register_pytree_node,
    _register_namedtuple,
    _tuple_flatten,
    _tuple_flatten_with_keys,
    _tuple_unflatten,
    is_constant_class,
    is_namedtuple,
    is_namedtuple_class,
    is_namedtuple_instance,
    is_structseq,
    is_structseq_class,
    is_structseq_instance,
    key_get,
    keystr,
    register_constant,
    register_dataclass,
    register_pytree_node,
)

__all__ = [
    "PyTree", "Context", "FlattenFn", "UnflattenFn", "DumpableContext", "ToDumpableContextFn", "FromDumpableContextFn",
    "PyTreeSpec", "TreeSpec", "LeafSpec", "keystr", "key_get", "register_pytree_node", "tree_is_leaf", "tree_flatten",
    "tree_flatten_with_path", "tree_unflatten", "tree_iter", "tree_leaves", "tree_leaves_with_path", "tree_structure",
    "tree_map", "tree_map_with_path", "tree_map_", "tree_map_only", "tree_map_only_", "tree_all", "tree_any",
    "tree_all_only", "tree_any_only", "treespec_dumps", "treespec_loads", "treespec_pprint", "is_namedtuple",
    "is_namedtuple_class", "is_namedtuple_instance", "is_structseq", "is_structseq_class", "is_structseq_instance",
]  # fmt: skip

DumpableContext = object
ToDumpableContextFn = FromDumpableContextFn = FlattenFn
FlattenFunc, UnflattenFunc, FlattenWithKeysFunc = FlattenFn, UnflattenFn, FlattenWithKeysFn
_cxx_pytree_exists = _cxx_pytree_dynamo_traceable = False  # there is one implementation, in Python

_JSON = ("treespec_dumps", "treespec_loads", "EnumEncoder", "enum_object_hook",
         "DEFAULT_TREESPEC_SERIALIZATION_PROTOCOL")  # fmt: skip
_RENAMED = {
    "_is_leaf": tree_is_leaf,
    "_is_namedtuple_instance": is_namedtuple_instance,
    "_register_pytree_node": _private_register_pytree_node,
}

for _name, _function in list(globals().items()):
    if _name.startswith("tree_"):
        _function.__module__ = "flambeau.utils._pytree"  # as graphs name it that call one


def __getattr__(name):
    if name in _JSON:  # on demand: json is not needed to import the library
        from .._ground import treespec_json

        return getattr(treespec_json, name)
    if name in _RENAMED:  # PyTorch's names before 2.1 and 2.4
        import warnings

        new = _RENAMED[name].__name__.removeprefix("_private_")
        message = f"`torch.utils._pytree.{name}` is deprecated. Please use `torch.utils._pytree.{new}` instead."
        warnings.warn(message, FutureWarning, stacklevel=2)
        return _RENAMED[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

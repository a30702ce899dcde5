"""Lists and dicts that refuse to change: what a node's arguments are made of, so that uses stay what they were counted to be."""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau.utils._pytree import register_pytree_node

_REFUSAL = """{name!r} object does not support mutation. If you are attempting to modify the kwargs or args of a torch.fx.Node object,
instead create a new copy of it and assign the copy to the node:

    new_args = ...  # copy and mutate args
    node.args = new_args"""


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(_REFUSAL.format(name=type(self).__name__))


class immutable_list(list):
    """A list that cannot be changed."""

    append = clear = extend = insert = pop = remove = reverse = sort = _refuse
    __delitem__ = __setitem__ = __iadd__ = __imul__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> Any:
        return type(self), (tuple(self),)


class immutable_dict(dict):
    """A dict that cannot be changed."""

    clear = pop = popitem = setdefault = update = _refuse
    __delitem__ = __setitem__ = __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


register_pytree_node(
    immutable_list,
    lambda x: (list(x), None),
    lambda xs, _: immutable_list(xs),
    serialized_type_name="torch.fx.immutable_collections.immutable_list",
)
register_pytree_node(
    immutable_dict,
    lambda x: (list(x.values()), list(x)),
    lambda xs, keys: immutable_dict(zip(keys, xs)),
    serialized_type_name="torch.fx.immutable_collections.immutable_dict",
)

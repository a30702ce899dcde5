"""`torch.func`'s transforms inside a captured function.

`grad`, `vjp` and what is made of them are the captured backward pass, for variables of their own: what the library does to tell one
transform's history from another's (`autograd._dual`) is done here for tensors of a capture. `vmap` and `jvp` are the library's own: the
operators that it makes of those that meet a batch, or a tangent, are what the recorder notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flambeau import overrides
from flambeau._capture import backward, recorder
from flambeau._capture.breaks import Break
from flambeau._eager import create
from flambeau._eager.graph import Node, node_of
from flambeau._ground.tree import tree_leaves
from flambeau._tensor import Tensor, bare, twin
from flambeau.autograd import _dual
from flambeau.func import _batched, _transforms, _vmap


def seen(tr: Any, t: Any) -> Node | None:
    """`node_of`: whether an outside tensor has a history is assumed."""
    tr.examine(t)
    return node_of(t)


def variable(tr: Any, t: Any) -> Any:
    """What derivatives are taken with respect to; behind it lies t's history."""
    tr.examine(t)
    if node_of(t) is not None:
        return t.view_as(t)
    if t.dtype.kind not in "fcV":
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    made = twin(t) if recorder.lifted(t) else tr.recorder.detach(t)
    made._base = None
    made._node = _dual.Variable(made)
    tr.keep(made)
    tr.transforms = True
    return made


def enter(tr: Any, block: Any) -> None:
    tr.variables.append(frozenset(block.own))


def leave(tr: Any, block: Any, *exc: Any) -> None:
    tr.variables.pop()


def closed(tr: Any, t: Any, own: set[Node], recorded: bool) -> Any:
    """t without history that leads to `own` alone."""
    tr.examine(t)
    value = getattr(t, "_value", None)
    if value is not None:  # a batch: what is the same for all samples may have left history in it
        inner = closed(tr, value, own, recorded)
        if inner is not value:
            t = twin(t)
            t._value = inner
    if t._tangents:
        t = twin(t)
        t._tangents = {k: closed(tr, v, own, recorded) for k, v in t._tangents.items()}
    node = node_of(t)
    if node is None or (recorded and beyond(tr, [node], own)):
        return t
    return bare(t) if recorder.lifted(t) else tr.recorder.detach(t)


def beyond(tr: Any, nodes: Iterable[Any], own: set[Node]) -> bool:
    """Whether history leads to something else than `own`, or through that to what is older."""
    todo = [n for n in nodes if n is not None]
    met = set(todo)
    while todo:
        node = todo.pop()
        if id(node) in tr.outside_nodes:
            return True
        if node in own:
            if not node.leaf and any(n is not None for n in node.next):
                return True
            continue
        if node.leaf:
            if type(node) is not _dual.Variable or any(node in v for v in tr.variables):
                return True
            continue
        for child in node.next:
            if child is not None and child not in met:
                met.add(child)
                todo.append(child)
    return False


def reaches(node: Node, marked: set[int]) -> bool:
    """Whether history leads to one of the nodes with these ids."""
    todo, met = [node], {node}
    while todo:
        n = todo.pop()
        if id(n) in marked:
            return True
        fresh = [c for c in n.next if c is not None and c not in met]
        met.update(fresh)
        todo += fresh
    return False


def lost(tr: Any, node: Node) -> bool:
    """Whether a program cannot give a tensor its history: it is of transforms' variables alone."""
    return type(node) is _dual.Variable or not beyond(tr, [node], set())


def gradients(tr: Any, outputs: Any, inputs: Any, grads: Any, keep: bool, create: bool, recorded: bool) -> list[Any]:
    """`autograd.gradients`."""
    return backward._captured(tr, backward._roots(tr, outputs, grads), inputs, keep, create)


# ---------------------------------------------------------------- batches and tangents


def mapped(tr: Any, func: Any, size: Any, dims: Any, flat: Any, *how: Any) -> Any:
    """What `vmap` does with one batch."""
    if tr.symbols is not None:
        raise Break("vmap() while sizes are expressions")
    _batched._install()
    for hooks, mine in ((overrides.EXTRA, recorder._operator), (create.HOOKS, recorder._creation)):
        if hooks[-1] is not mine:  # the recorder notes what becomes of a batch
            hooks.remove(mine)
            hooks.append(mine)
    known(tr, flat)
    return _vmap.run(followed(tr, func), size, dims, flat, *how)


def directional(tr: Any, func: Any, primals: Any, tangents: Any, **how: Any) -> Any:
    """`jvp`."""
    known(tr, (primals, tangents))
    tr.recorder.transforming += 1
    try:
        return _transforms.jvp(followed(tr, func), primals, tangents, **how)
    finally:
        tr.recorder.transforming -= 1


def known(tr: Any, tree: Any) -> None:
    """Tensors that go to code that is not followed, and comes back with others of the same memory."""
    tr.deep(tree)
    for t in tree_leaves(tree):
        if isinstance(t, Tensor) and not recorder.lifted(t):
            tr.recorder.value(t)


def followed(tr: Any, func: Any) -> Callable[..., Any]:
    """A function for code that is not followed: what it does is captured."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return tr.deep(tr.call(func, args, kwargs))

    call.__name__ = getattr(func, "__name__", None) or repr(func)
    return call

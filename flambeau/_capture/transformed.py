"""`torch.func.grad`, `vjp` and what is made of them, inside a captured function: the captured backward pass, for variables of their own.

What the library does to tell one transform's history from another's (`autograd._dual`) is done here for tensors of a capture.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau._capture import backward
from flambeau._eager.graph import Node, node_of
from flambeau.autograd import _dual


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
    made = tr.recorder.detach(t)
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
    node = node_of(t)
    return t if node is None or (recorded and beyond(tr, [node], own)) else tr.recorder.detach(t)


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


def lost(tr: Any, node: Node) -> bool:
    """Whether a program cannot give a tensor its history: it is of transforms' variables alone."""
    return type(node) is _dual.Variable or not beyond(tr, [node], set())


def gradients(tr: Any, outputs: Any, inputs: Any, grads: Any, keep: bool, create: bool, recorded: bool) -> list[Any]:
    """`autograd.gradients`."""
    return backward._captured(tr, backward._roots(tr, outputs, grads), inputs, keep, create)

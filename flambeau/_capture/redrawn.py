"""The graph of a captured program, from the text that it is kept under: for those who ask for it though the program was found on the disk."""

from __future__ import annotations

import marshal
import operator
from typing import Any

import numpy as np

from flambeau._capture.program import described, placed
from flambeau._capture.stored import made
from flambeau._tensor import wrap
from flambeau._values.dtype import BY_NAME
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule


def graph(text: bytes, names: list[str]) -> GraphModule:
    """The module; `names` are those of its inputs."""
    lines, _, lent = marshal.loads(text)
    drawn, nodes, constants = Graph(), list[Any](), dict[str, Any]()
    spoken = iter(placed(names))
    for kind, target, args, kwargs, val in lines:
        args, kwargs = _words(args, nodes), {k: _words(v, nodes) for k, v in kwargs}
        match kind:
            case "placeholder":
                node = drawn.placeholder(next(spoken))
            case "get_attr":
                name = f"_tensor_constant{len(constants)}"
                constants[name] = wrap(_array(*target))
                node = drawn.create_node("get_attr", name)
            case "call_method":
                node = drawn.call_method(target, args, kwargs)
            case "call_function":
                node = drawn.call_function(operator.getitem if target == "getitem" else made(target), args, kwargs)
            case _:
                drawn.output(args[0])
                break
        if kind == "placeholder" and not (type(val) is tuple and len(val) == 5):
            node.meta["val"], node.meta["number"] = val, type(val)
        else:
            node.meta["val"] = _val(val)
        nodes.append(node)
    drawn._late = True
    module = GraphModule(constants, drawn)
    module.meta["lent"], module.meta["live"] = lent, False
    return module


def _words(v: Any, nodes: list[Any]) -> Any:
    """What `stored.words` says, with nodes."""
    if type(v) is tuple:
        return (tuple if v[0] == "tuple" else list)(_words(x, nodes) for x in v[1:])
    if type(v) is dict:
        ((tag, x),) = v.items()
        if tag == "node":
            return nodes[x]
        if tag == "slice":
            return slice(*(_words(y, nodes) for y in x))
    return made(v)


def _val(v: Any) -> Any:
    if v is None:
        return None
    if type(v[0]) is str:
        name, shape, strides, _, needs = v
        return described((shape, BY_NAME[name].np, strides, needs))
    return tuple(map(_val, v))


def _array(name: str, shape: tuple[int, ...], held: Any) -> Any:
    """A constant: all of its elements, or the number that they are."""
    d = BY_NAME[name].np
    if isinstance(held, bytes):
        return np.frombuffer(held, d).reshape(shape).copy()
    return np.full(shape, held == "True" if d.kind == "b" else int(held) if d.kind in "iu" else float(held), d)

"""Pictures of graphs: a node for each step, coloured by what it calls. The package pydot draws."""

from __future__ import annotations

import hashlib
from typing import Any

import flambeau
from flambeau.fx.codegen import _last_frame
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node, _format_arg, _get_qualified_name
from flambeau.fx.operator_schemas import normalize_function
from flambeau.fx.passes.shape_prop import TensorMetadata

__all__ = ["FxGraphDrawer"]

_COLORS = {"placeholder": '"AliceBlue"', "call_module": "LemonChiffon1", "get_param": "Yellow2", "get_attr": "LightGrey", "output": "PowderBlue"}  # fmt: skip
_BY_NAME = ("CadetBlue1", "Coral", "DarkOliveGreen1", "DarkSeaGreen1", "GhostWhite", "Khaki1", "LavenderBlush1", "LightSkyBlue", "MistyRose1",
            "MistyRose2", "PaleTurquoise2", "PeachPuff1", "Salmon", "Thistle1", "Thistle3", "Wheat1")  # fmt: skip
_LINE = r"\n"  # as the language of Graphviz has it


class FxGraphDrawer:
    """A picture of a graph, and of the graphs that it calls: `FxGraphDrawer(module, "name").get_dot_graph().write_svg(file)`."""

    def __init__(self, graph_module: Any, name: str, ignore_getattr: bool = False, ignore_parameters_and_buffers: bool = False,
                 skip_node_names_in_args: bool = True, parse_stack_trace: bool = False, dot_graph_shape: str | None = None,
                 normalize_args: bool = False) -> None:  # fmt: skip
        try:
            import pydot
        except ModuleNotFoundError:
            raise RuntimeError(
                "FXGraphDrawer requires the pydot package to be installed. Please install pydot through your favorite Python package manager."
            ) from None
        self.pydot, self._name = pydot, name
        self.dot_graph_shape = "record" if dot_graph_shape is None else dot_graph_shape
        self.normalize_args = normalize_args
        self.ignore_getattr, self.ignore_state = ignore_getattr, ignore_parameters_and_buffers
        self.skip_names, self.with_lines = skip_node_names_in_args, parse_stack_trace
        self._dot_graphs = {name: self._picture(graph_module, name)}
        for node in graph_module.graph.nodes:
            if node.op == "call_module" and isinstance(part := _part(graph_module, node), GraphModule):
                full = f"{name}_{node.target}"
                self._dot_graphs[full] = self._picture(part, full)

    def get_dot_graph(self, submod_name: str | None = None) -> Any:
        """The picture of the graph, or of one that it calls."""
        return self.get_main_dot_graph() if submod_name is None else self.get_submod_dot_graph(submod_name)

    def get_main_dot_graph(self) -> Any:
        """The picture of the graph."""
        return self._dot_graphs[self._name]

    def get_submod_dot_graph(self, submod_name: str) -> Any:
        """The picture of a graph that it calls."""
        return self._dot_graphs[f"{self._name}_{submod_name}"]

    def get_all_dot_graphs(self) -> dict[str, Any]:
        """All pictures by name."""
        return self._dot_graphs

    def _picture(self, module: Any, name: str) -> Any:
        dot = self.pydot.Dot(name, rankdir="TB")
        nodes = [n for n in module.graph.nodes if not (self.ignore_getattr and n.op == "get_attr")]
        for node in nodes:
            dot.add_node(self.pydot.Node(node.name, label=self._label(module, node), **self._style(node)))
            if node.op == "call_module" and not self.ignore_state:
                self._state(dot, node, _part(module, node))
        for node in nodes:
            for user in node.users:
                dot.add_edge(self.pydot.Edge(node.name, user.name))
        return dot

    def _state(self, dot: Any, node: Node, part: Any) -> None:
        """Parameters and buffers of a part that is called, with edges to it."""
        if isinstance(part, GraphModule):
            return
        for name, t in (*part.named_parameters(), *part.named_buffers()):
            full = f"{node.name}.{name}"
            kind = f"{full}|op_code=get_parameter" if isinstance(t, flambeau.nn.Parameter) else r"buffer\l"
            style = {
                "fillcolor": "Salmon",
                "style": '"filled,rounded"',
                "fontcolor": "#000000",
                "shape": self.dot_graph_shape,
            }
            dot.add_node(self.pydot.Node(full, label="{" + f"{kind}{t.dtype}{list(t.shape)}{_LINE}" + "}", **style))
            dot.add_edge(self.pydot.Edge(full, node.name))

    def _style(self, node: Node) -> dict[str, str]:
        color = _COLORS.get(node.op)
        if color is None:  # one that stays the same for what is called
            said = node._pretty_print_target(node.target)
            digest = hashlib.md5(said.encode(), usedforsecurity=False).hexdigest()[:8]
            color = _BY_NAME[int(digest, 16) % len(_BY_NAME)]
        return {"shape": self.dot_graph_shape, "fillcolor": color, "style": '"filled,rounded"', "fontcolor": "#000000"}

    def _label(self, module: Any, node: Node) -> str:
        text = "{" + f"name=%{node.name}|op_code={node.op}\n"
        if node.op == "call_module":
            part = _part(module, node)
            facts = [f"{c}: {getattr(part, c)}" for c in getattr(part, "__constants__", ())]
            text += _LINE + _escaped(flambeau.typename(part)) + _LINE + "|" + _LINE.join(facts) + _LINE
        else:
            target = node.target if isinstance(node.target, str) else _get_qualified_name(node.target)
            if getattr(node.target, "__module__", None) == "_operator":
                target = f"_operator.{node.target.__name__}"  # type: ignore[union-attr]
            text += f"|target={_escaped(target)}{_LINE}"
            args, kwargs = self._arguments(node)
            text += self._shown(r"|args=(\l", [_format_arg(a, max_list_len=8) for a in args], r",\n)\l")
            text += self._shown(
                r"|kwargs={\l", [f"{k}: {_format_arg(v, max_list_len=8)}" for k, v in kwargs.items()], r",\n}\l"
            )
            text += f"|num_users={len(node.users)}{_LINE}"
        text += _facts(node.meta.get("tensor_meta"))
        if self.with_lines and node.stack_trace and (place := _last_frame(node.stack_trace)):
            where, _, code = place.removeprefix("File: ").partition(", code: ")
            file, _, rest = where.partition(" in ")[0].rpartition(":")
            text += f"|file={'/'.join(file.split('/')[-2:])}:{rest} {code}{_LINE}"
        return text + "}"

    def _arguments(self, node: Node) -> tuple[Any, Any]:
        if self.normalize_args:
            try:
                found = normalize_function(node.target, node.args, node.kwargs, normalize_to_only_use_kwargs=True)  # type: ignore[arg-type]
            except Exception:  # some need to be told which overload is meant
                found = None
            if found is not None:
                return found.args, found.kwargs
        return node.args, node.kwargs

    def _shown(self, head: str, parts: list[str], tail: str) -> str:
        parts = [p for p in parts if not (self.skip_names and "%" in p)]
        if not parts:
            return ""
        text = head + r",\n".join(parts) + tail
        return _escaped(text.replace(r"\l", "").replace(r"\n", "") if len(parts) == 1 else text)


def _part(module: Any, node: Node) -> Any:
    for name in str(node.target).split("."):
        if not hasattr(module, name):
            raise RuntimeError(f"{module} does not have attribute {name}!")
        module = getattr(module, name)
    return module


def _escaped(text: str) -> str:
    return text.replace("{", r"\{").replace("}", r"\}")


def _facts(meta: Any) -> str:
    """What `ShapeProp` noted of a node's tensors."""
    if meta is None:
        return ""
    if isinstance(meta, TensorMetadata):
        facts = {
            "dtype": meta.dtype,
            "shape": tuple(meta.shape),
            "requires_grad": meta.requires_grad,
            "stride": meta.stride,
        }
        return "".join(f"|{k}={v}{_LINE}" for k, v in facts.items())
    if isinstance(meta, (list, tuple, dict)):
        return "".join(map(_facts, meta.values() if isinstance(meta, dict) else meta))
    raise RuntimeError(f"Unsupported tensor meta type {type(meta)}")

"""fx: Python programs as graphs that Python programs can change.

A `Graph` is a list of `Node`s; a `GraphModule` runs one as generated Python; `symbolic_trace` gets one from a module or function.
"""

from flambeau._ground.submodules import on_demand
from flambeau.fx import (
    _compatibility,
    _pytree,
    graph,
    graph_module,
    immutable_collections,
    interpreter,
    node,
    proxy,
    traceback,
)
from flambeau.fx._symbolic_trace import PH, ProxyableClassMeta, Tracer, symbolic_trace, wrap
from flambeau.fx.graph import CodeGen, Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.interpreter import Interpreter, Transformer
from flambeau.fx.node import Node, has_side_effect, map_arg
from flambeau.fx.proxy import Proxy
from flambeau.fx.subgraph_rewriter import replace_pattern

__getattr__ = on_demand(__name__, "experimental", "passes")

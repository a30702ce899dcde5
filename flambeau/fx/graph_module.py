"""GraphModule: a module whose `forward` is written from its graph."""

from __future__ import annotations

import copy
import itertools
import linecache
from pathlib import Path
from typing import Any

import flambeau
from flambeau import nn
from flambeau.fx.graph import Graph, PythonCode, _custom_builtins, _PyTreeCodeGen

_serial = itertools.count()
_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"


def _forward_from_src(src: str, scope: dict[str, Any], co_fields: Any = None) -> Any:
    """The function that a text defines, registered so that tracebacks and pdb show its lines."""
    name = f"<eval_with_key>.{next(_serial)}"
    if co_fields:
        name += f" from {co_fields['co_filename']}:{co_fields['co_firstlineno']} in {co_fields['co_name']}"
    linecache.cache[name] = (len(src), None, src.splitlines(True), name)
    own = dict(scope)
    exec(compile(src, name, "exec", dont_inherit=True), own)
    return own["forward"]


def _copy_attr(source: nn.Module, target: nn.Module, path: str) -> None:
    """Bring the attribute at a dotted path over, with empty modules for the way there."""
    *prefix, name = path.split(".")
    for item in prefix:
        inner = getattr(source, item, None)
        if inner is None:
            return
        if not hasattr(target, item):
            setattr(target, item, nn.Module())
        source, target = inner, getattr(target, item)
    value = getattr(source, name)
    if isinstance(value, flambeau.Tensor) and not isinstance(value, nn.Parameter):
        target.register_buffer(name, value)
    else:
        setattr(target, name, value)


def _assign_attr(value: Any, target: nn.Module, path: str) -> None:
    """Put a value at a dotted path, with empty modules for the way there."""
    *prefix, name = path.split(".")
    for item in prefix:
        if getattr(target, item, None) is None:
            setattr(target, item, nn.Module())
        target = getattr(target, item)
    if isinstance(value, flambeau.Tensor) and not isinstance(value, nn.Parameter):
        target.register_buffer(name, value)
    else:
        setattr(target, name, value)


def _get_attr(module: nn.Module, path: str) -> Any:
    """The attribute at a dotted path."""
    for item in path.split("."):
        module = getattr(module, item)
    return module


def _has_attr(module: nn.Module, path: str) -> bool:
    """Whether there is an attribute at a dotted path."""
    try:
        _get_attr(module, path)
    except AttributeError:
        return False
    return True


class _Late:
    """`forward` of a module whose code is written when it is asked for: many captured graphs never run as Python."""

    def __get__(self, module: Any, cls: type) -> Any:
        if module is None:
            return self
        module.recompile()
        return module.forward


class GraphModule(nn.Module):
    """A module made of a graph and of the attributes that the graph refers to; `forward` is generated from the graph.

    Each instance has a class of its own, because the generated `forward` is a method.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> GraphModule:
        for base in cls.__mro__:
            own = base.__qualname__.split(".")[-1]
            if own != "GraphModuleImpl":
                cls = base
                break
        impl = type("GraphModuleImpl", (cls,), {"__module__": cls.__module__})
        return object.__new__(impl)

    def __init__(self, root: nn.Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__()
        self.__class__.__name__ = class_name
        if isinstance(root, nn.Module):
            if hasattr(root, "training"):
                self.training = root.training
            for node in graph.nodes:
                if node.op in ("get_attr", "call_module"):
                    _copy_attr(root, self, str(node.target))
        elif isinstance(root, dict):
            nodes = [n for n in graph.nodes if n.op in ("get_attr", "call_module")]
            targets = [str(n.target) for n in nodes]
            for node, target in zip(nodes, targets):
                if target not in root:
                    raise RuntimeError(
                        f"Node {node} referenced target {target} but that target was not provided in ``root``!"
                    )
            for target in sorted(dict.fromkeys(targets), key=lambda t: t.count(".")):
                _assign_attr(root[target], self, target)
        else:
            raise RuntimeError(f"Unsupported type {root} passed for root!")
        self.graph = graph
        self._tracer_cls = None
        if graph._tracer_cls and "<locals>" not in graph._tracer_cls.__qualname__:
            self._tracer_cls = graph._tracer_cls
        self._tracer_extras = graph._tracer_extras or {}
        self.meta: dict[str, Any] = {}
        self._replace_hooks: list[Any] = []
        self._create_node_hooks: list[Any] = []
        self._erase_node_hooks: list[Any] = []
        self._deepcopy_hooks: list[Any] = []

    __jit_unused_properties__ = ["graph"]

    @property
    def graph(self) -> Graph:
        """The graph; assigning one makes the code anew."""
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        assert isinstance(graph, Graph), f"Expected a Graph instance, but got {type(graph)}"
        self._graph = graph
        graph.owning_module = self
        if graph._late:
            type(self).forward = _Late()  # type: ignore[assignment, method-assign]
        else:
            self.recompile()

    @property
    def code(self) -> str:
        """The text of `forward`."""
        if isinstance(vars(type(self)).get("forward"), _Late):
            self.recompile()
        if not hasattr(self, "_code"):
            raise RuntimeError("Code has not been generated! Please report a bug to PyTorch")
        return self._code

    def recompile(self) -> PythonCode:
        """Write `forward` from the graph as it is now. To be called after changing the graph."""
        codegen = self._graph._codegen
        if isinstance(codegen, _PyTreeCodeGen):
            self._in_spec, self._out_spec = codegen.pytree_info.in_spec, codegen.pytree_info.out_spec
        code = self._graph.python_code(root_module="self")
        self._code = code.src
        self._lineno_map = code._lineno_map
        fields = getattr(self._graph, "_co_fields", None)
        type(self).forward = _forward_from_src(code.src, code.globals, fields)  # type: ignore[method-assign]
        return code

    # ---- submodules ----

    def add_submodule(self, target: str, m: nn.Module) -> bool:
        """Put a module at a dotted path; False where something else is in the way."""
        *prefix, name = target.split(".")
        module: nn.Module = self
        for item in prefix:
            inner = getattr(module, item, None)
            if inner is None:
                inner = nn.Module()
                setattr(module, item, inner)
            if not isinstance(inner, nn.Module):
                return False
            module = inner
        module.add_module(name, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Remove the module at a dotted path; False where there is none."""
        *prefix, name = target.split(".")
        module: Any = self
        for item in prefix:
            module = getattr(module, item, None)
            if not isinstance(module, nn.Module):
                return False
        if not isinstance(getattr(module, name, None), nn.Module):
            return False
        delattr(module, name)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Remove every module that no node refers to."""
        used: set[str] = set()
        for node in self.graph.nodes:
            if node.op not in ("call_module", "get_attr"):
                continue
            parts = str(node.target).split(".")
            used.update(".".join(parts[:i]) for i in range(1, len(parts) + 1))
            if node.op == "call_module":
                try:
                    inner = self.get_submodule(str(node.target))
                except AttributeError:
                    continue
                used.update(f"{node.target}.{name}" for name, _ in inner.named_modules() if name)
        for name in [name for name, _ in self.named_modules() if name and name not in used]:
            self.delete_submodule(name)

    # ---- hooks of those who watch changes ----

    def _register_replace_node_hook(self, f: Any) -> None:
        self._replace_hooks.append(f)

    def _unregister_replace_node_hook(self, f: Any) -> None:
        self._replace_hooks.remove(f)

    def _register_create_node_hook(self, f: Any) -> None:
        self._create_node_hooks.append(f)

    def _unregister_create_node_hook(self, f: Any) -> None:
        self._create_node_hooks.remove(f)

    def _register_erase_node_hook(self, f: Any) -> None:
        self._erase_node_hooks.append(f)

    def _unregister_erase_node_hook(self, f: Any) -> None:
        self._erase_node_hooks.remove(f)

    # ---- printing, writing, copying ----

    def print_readable(self, print_output: bool = True, include_stride: bool = False, include_device: bool = False, colored: bool = False,
                       *, fast_sympy_print: bool = False, expanded_def: bool = False, additional_meta: Any = None) -> str:  # fmt: skip
        """The code as a class, with dtypes, shapes and the lines of the program; nested GraphModules too."""
        text = self._readable(include_stride, include_device, expanded_def)
        if print_output:
            print(text)
        return text

    def _readable(self, stride: bool, device: bool, expanded: bool) -> str:
        return readable(self, self._get_name(), stride, device, expanded)

    def __str__(self) -> str:
        hint = "# To see more debug info, please use `graph_module.print_readable()`"
        return "\n".join([super().__repr__(), self.code, hint])

    def to_folder(self, folder: str | Path, module_name: str = "FxModule") -> None:
        """Write the module as a Python package with its state beside it."""
        folder = Path(folder)
        folder.mkdir(exist_ok=True)
        flambeau.save(self.state_dict(), folder / "state_dict.pt")
        imports = "\n".join(b.import_str for b in _custom_builtins.values())
        body = "".join("    " + line if line.strip() else line for line in self.code.rstrip(" ").splitlines(True))
        text = [f"\nimport torch\n{imports}\n", "from torch.nn import *", f"class {module_name}(torch.nn.Module):",
                "    def __init__(self):", "        super().__init__()"]  # fmt: skip
        known = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        for name, module in self.named_children():
            if type(module) in known:
                shown = module.__repr__()
            else:
                file = folder / f"{name}.pt"
                flambeau.save(module, file)
                shown = f"torch.load(r'{file}', weights_only=False)"
            note = "" if type(module) in known else f"  # {' '.join(repr(module).split())}"
            text.append(f"        setattr(self, '{name}', {shown}){note}")
        for name, buffer in self._buffers.items():
            if buffer is not None:
                text.append(
                    f"        self.register_buffer('{name}', torch.empty({list(buffer.shape)}, dtype={buffer.dtype}))"
                )
        for name, p in self._parameters.items():
            if p is not None:
                text.append(
                    f"        setattr(self, '{name}', torch.nn.Parameter(torch.empty({list(p.shape)}, dtype={p.dtype})))"
                )
        text += [f"        self.load_state_dict(torch.load(r'{folder}/state_dict.pt'))", body]
        (folder / "module.py").write_text("\n".join(text) + "\n")
        (folder / "__init__.py").write_text("from .module import *")

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModule:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        holder = nn.Module()
        state = {
            k: v for k, v in self.__dict__.items() if k not in ("_graph", "_code", "_lineno_map", "_deepcopy_hooks")
        }
        holder.__dict__ = copy.deepcopy(state, memo)
        GraphModule.__init__(made, holder, copy.deepcopy(self._graph, memo), type(self).__name__)
        for key, value in holder.__dict__.items():
            if key not in made.__dict__ or key in ("_parameters", "_buffers", "_modules", "meta", "training"):
                made.__dict__[key] = value
        for hook in self._deepcopy_hooks:
            hook(made)
        return made

    def __copy__(self) -> GraphModule:
        made = GraphModule(self, self._graph_copy(), type(self).__name__)
        made.meta = getattr(self, "meta", {})
        return made

    def _graph_copy(self) -> Graph:
        return copy.deepcopy(self._graph)

    def __reduce__(self) -> Any:
        state = self.__dict__.copy()
        del state["_graph"]
        code = self._graph.python_code("self")
        names = {k: _import_of(k, v) for k, v in code.globals.items() if k not in _custom_builtins}
        state["_code"] = code.src
        return _rebuild, (state, names, type(self).__name__)


def readable(module: Any, name: str, stride: bool, device: bool, expanded: bool) -> str:
    """The code of a module with a graph as a class, and that of its parts with graphs."""
    code = module.graph.python_code(
        "self", verbose=True, include_stride=stride, include_device=device, expanded_def=expanded
    )
    lines = [f"class {name}(torch.nn.Module):"]
    lines += ["    " + line if line.strip() else "" for line in code.src.lstrip("\n").rstrip().split("\n")]
    text = "\n".join(lines) + "\n"
    for child in module.children():
        if isinstance(child, GraphModule):
            inner = child._readable(stride, device, expanded)
            text += "\n" + "\n".join("    " + line if line else "" for line in inner.rstrip("\n").split("\n")) + "\n"
    return text


def _import_of(name: str, obj: Any) -> str:
    """A statement that makes a global of the code exist again."""
    if obj.__class__.__name__ == "module":
        return f"import {obj.__name__} as {name}"
    module = getattr(obj, "__module__", "builtins")
    return f"from {module} import {getattr(obj, '__qualname__', name)} as {name}"


class _CodeOnlyModule(nn.Module):
    """The attributes of a GraphModule that is being loaded; its forward is traced again."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self.__dict__ = body


def _rebuild(body: dict[str, Any], imports: dict[str, str], class_name: str) -> GraphModule:
    """A GraphModule from its attributes and the text of its forward, which is traced to get the graph back."""
    from flambeau.fx._symbolic_trace import Tracer

    scope: dict[str, Any] = {name: b.obj for name, b in _custom_builtins.items()}
    for statement in imports.values():
        exec(statement, scope)
    forward = _forward_from_src(body["_code"], scope)
    shell = _CodeOnlyModule(body)
    shell.__class__ = type("_CodeOnly", (_CodeOnlyModule,), {"forward": forward})

    class Keep(Tracer):
        def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
            return True

    made = GraphModule(shell, Keep().trace(shell), class_name)
    for key, value in body.items():
        if key not in made.__dict__:
            made.__dict__[key] = value
    return made


def reduce_graph_module(body: dict[str, Any], import_block: str) -> GraphModule:
    """A GraphModule from PyTorch's own pickled form."""
    scope: dict[str, Any] = {}
    exec(import_block.replace("import torch", "import flambeau as torch"), scope)
    return _rebuild(body, {}, body.get("_graphmodule_cls_name", "GraphModule"))


def _print_readable(module: nn.Module, module_name: str, print_output: bool = True, **options: Any) -> str:
    """`GraphModule.print_readable` for any module that has a graph."""
    return GraphModule.print_readable(module, print_output, **options)  # type: ignore[arg-type]

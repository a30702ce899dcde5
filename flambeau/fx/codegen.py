"""A graph as Python text: one line for each node, and the names that the text needs. Public as `torch.fx.graph.CodeGen`."""

from __future__ import annotations

import enum
import inspect
import keyword
import math
import re
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import flambeau
from flambeau._ops import OpOverload, OpOverloadPacket
from flambeau.fx import _pytree as fx_pytree
from flambeau.fx.node import Node, _get_qualified_name, _type_repr, nodes_in
from flambeau.utils import _pytree as pytree

EMPTY = inspect.Signature.empty
ABBREVIATIONS = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "complex64": "c64", "complex128": "c128", "complex32": "c32",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "bool": "b8",
    "float8_e4m3fn": "f8e4m3fn", "float8_e5m2": "f8e5m2", "float8_e4m3fnuz": "f8e4m3fnuz", "float8_e5m2fnuz": "f8e5m2fnuz",
}  # fmt: skip
magic_methods = {
    "eq": "{} == {}", "ne": "{} != {}", "lt": "{} < {}", "gt": "{} > {}", "le": "{} <= {}", "ge": "{} >= {}", "pos": "+{}", "neg": "-{}",
    "invert": "~{}", "add": "{} + {}", "mul": "{} * {}", "sub": "{} - {}", "mod": "{} % {}", "floordiv": "{} // {}", "truediv": "{} / {}",
    "lshift": "{} << {}", "rshift": "{} >> {}", "and_": "{} & {}", "or_": "{} | {}", "pow": "{} ** {}", "getitem": "{}[{}]",
    "matmul": "{} @ {}", "xor": "{} ^ {}",
}  # fmt: skip
reflectable_magic_methods = {n: magic_methods[n] for n in (
    "add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "lshift", "rshift", "and_", "or_", "xor", "getitem", "matmul")}  # fmt: skip
inplace_methods = {
    "iadd": "{} += {}", "iand": "{} &= {}", "ifloordiv": "{} //= {}", "ilshift": "{} <<= {}", "imod": "{} %= {}", "imul": "{} *= {}",
    "imatmul": "{} @= {}", "ior": "{} |= {}", "ipow": "{} **= {}", "irshift": "{} >>= {}", "isub": "{} -= {}", "itruediv": "{} /= {}",
    "ixor": "{} ^= {}", "setitem": "{}[{}] = {}",
}  # fmt: skip


# How `typing` spells the classes of Python: `typing.List[int].__origin__` is `list`.
_SPOKEN = {list: typing.List, tuple: typing.Tuple, dict: typing.Dict, set: typing.Set, frozenset: typing.FrozenSet}  # noqa: UP006


class _ParsedStackTrace(NamedTuple):
    """The last line of a trace."""

    file: str
    lineno: str
    name: str
    code: str


def _parse_stack_trace(
    stack_trace: str, filter_fn: Callable[[str, str, str], bool] | None = None
) -> _ParsedStackTrace | None:
    """The innermost place in the text of a trace that `filter_fn(file, name, code)` lets pass."""
    lines = (stack_trace or "").strip().split("\n")
    for line, code in zip(lines[-2::-1], lines[:0:-1], strict=True):
        place = re.match(r"^File \"(.+)\", line (\d+), in (.+)$", line.strip())
        if place and (filter_fn is None or filter_fn(place[1], place[3], code.strip())):
            return _ParsedStackTrace(*place.groups(), code.strip())
    return None


class _CustomBuiltin(NamedTuple):
    """A name that generated code may always use, and how a written file imports it."""

    import_str: str
    obj: Any


_custom_builtins = {
    "inf": _CustomBuiltin("from math import inf", math.inf),
    "nan": _CustomBuiltin("from math import nan", math.nan),
    "NoneType": _CustomBuiltin("NoneType = type(None)", type(None)),
    "torch": _CustomBuiltin("import torch", flambeau),
    "device": _CustomBuiltin("from torch import device", flambeau.device),
    "fx_pytree": _CustomBuiltin("import torch.fx._pytree as fx_pytree", fx_pytree),
    "pytree": _CustomBuiltin("import torch.utils._pytree as pytree", pytree),
}


@dataclass
class PythonCode:
    """The text of a function, the globals it refers to, and which line each node is on."""

    src: str
    globals: dict[str, Any]
    _lineno_map: dict[int, int | None] | None = field(default=None)
    _prologue_start: int = 0


def _is_from_torch(obj: Any) -> bool:
    """Whether generated code reaches an object through the name `torch`."""
    if isinstance(obj, (OpOverload, OpOverloadPacket)):
        return True
    module = getattr(obj, "__module__", None)
    if module is None or module.partition(".")[0] not in ("flambeau", "torch"):  # classes say torch, as they do there
        return False
    try:
        path = _get_qualified_name(obj).split(".")[1:]
        found: Any = flambeau
        for name in path:
            found = getattr(found, name)
    except AttributeError:
        return False
    return found is obj


def _format_target(base: str, target: str) -> str:
    """The text that reads a dotted attribute."""
    for name in target.split("."):
        base = f"{base}.{name}" if name.isidentifier() else f'getattr({base}, "{name}")'
    return base


class CodeGen:
    """How a graph becomes text. Subclasses change the calling convention."""

    _body_transformer: Any = None

    def __init__(self, body_transformer: Any = None) -> None:
        self._body_transformer = body_transformer
        self._func_name = "forward"

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        """The `def` line; free variables become arguments."""
        if not free_vars or free_vars[0] != "self":
            free_vars.insert(0, "self")
        if expanded_def:
            inside = "".join(f"\n    {v}," for v in free_vars)
            return f"def {self._func_name}({inside}\n){maybe_return_annotation}:"
        return f"def {self._func_name}({', '.join(free_vars)}){maybe_return_annotation}:"

    def generate_output(self, output_args: Any, *, descs: Any = None) -> str:
        """The `return` line."""
        return f"return {_argument(output_args)}"

    def process_inputs(self, *args: Any) -> Any:
        """The placeholders' values, from a call's arguments."""
        return args

    def process_outputs(self, outputs: Any) -> Any:
        """A call's result, from the output node's value."""
        return outputs

    def additional_globals(self) -> list[tuple[str, Any]]:
        """Names that the text needs beside those of its nodes."""
        return []

    def _gen_python_code(self, nodes: Iterable[Node], root_module: str, namespace: Any, *, verbose: bool = False, include_stride: bool = False,
                         include_device: bool = False, colored: bool = False, expanded_def: bool = False) -> PythonCode:  # fmt: skip
        writer = _Writer(self, root_module, namespace, verbose, include_stride, include_device)
        nodes = list(nodes)
        for name, value in self.additional_globals():
            writer.add_global(name, value)
        last = last_uses(nodes)
        for i, node in enumerate(nodes):
            if verbose:
                writer.provenance(node)
            writer.body.append(f"# COUNTER: {i}\n")
            writer.emit(node)
            writer.forget(node, last.get(node, []))
        if not writer.body:
            writer.body.append("pass\n")
        body = writer.body if self._body_transformer is None else self._body_transformer(writer.body)
        for name, value in self.additional_globals():
            writer.add_global(name, value)
        head = self.gen_fn_def(writer.free, writer.returns, expanded_def=expanded_def)
        wraps = [f'{writer.wrap}("{name}")' for name in writer.wrapped]
        code, where, at = [], {}, 5 + head.count("\n") + max(len(wraps) - 1, 0)
        text = "".join(body)
        current: int | None = None
        for line in text.split("\n"):
            found = re.match(r"^# COUNTER: (\d+)", line)
            if found:
                current = int(found.group(1))
                continue
            if not line.strip() and not code:  # no blank line below the head
                continue
            where[at] = current
            at += 1
            code.append("    " + line)
        src = "\n".join(["", *(wraps or [""]), "", head, *code])
        return PythonCode(src, writer.globals, where, 4 + max(len(wraps) - 1, 0))


class _Writer:
    """Writes the lines of one function."""

    def __init__(self, codegen: CodeGen, root: str, namespace: Any, verbose: bool, stride: bool, device: bool) -> None:
        self.codegen, self.root, self.namespace = codegen, root, namespace
        self.verbose, self.stride, self.device = verbose, stride, device
        self.free: list[str] = []
        self.body: list[str] = []
        self.globals: dict[str, Any] = {}
        self.returns = ""
        self.shown: str | None = ""
        self.wrapped: dict[str, None] = {}  # functions that a trace of the text is to record, too
        self.wrap = ""
        for name, builtin in _custom_builtins.items():
            self.add_global(name, builtin.obj)

    def add_global(self, hint: str, obj: Any) -> str:
        """The name under which the text finds an object."""
        if _is_from_torch(obj) and obj is not flambeau.device:
            return _get_qualified_name(obj)
        name = hint.replace(".", "_")
        if name in self.globals and self.globals[name] is obj:
            return name
        name = self.namespace.create_name(name, obj)
        self.globals[name] = obj
        return name

    def type_of(self, t: Any) -> str:
        """A type, each of its parts a name that the text finds."""
        if t is None:
            return "None"
        if t is ...:
            return self.add_global("_", t)
        inner = getattr(t, "__args__", ())
        if isinstance(t, types.UnionType):
            return "|".join(map(self.type_of, inner))
        origin = getattr(t, "__origin__", None)
        if origin is None:
            return self.add_global(_type_repr(t), t)
        if not isinstance(t, types.GenericAlias):
            origin = _SPOKEN.get(origin, origin)
        name = self.add_global(_type_repr(origin), origin)
        return f"{name}[{','.join(map(self.type_of, inner))}]" if inner else name

    def provenance(self, node: Node) -> None:
        """A comment where the following lines come from another line of the program."""
        if node.op in ("placeholder", "output"):
            return
        trace = node.stack_trace
        summary = (_last_frame(trace) or "") if trace else "No stacktrace found for following nodes"
        if summary != self.shown:
            self.shown = summary
            self.body.append(f"\n# {summary}\n")

    def annotation(self, node: Node) -> str:
        """The node's type, or in verbose text its dtype and shape."""
        if node.type is not None:
            return f" : {self.type_of(node.type)}"
        if self.verbose:
            value = node.meta.get("val", node.meta.get("tensor_meta", node.meta.get("example_value")))
            if isinstance(value, flambeau.Tensor):
                return f': "{self.tensor(value, node.meta)}"'
            if "size" in node.meta:  # a number computed from dynamic sizes
                return f': "Sym({node.meta["size"]})"'
            if hasattr(value, "dtype") and hasattr(value, "shape"):
                return f': "{ABBREVIATIONS[value.dtype.name]}{_shape(value.shape)}"'
            if type(value) in (int, float, bool):
                return f': "{type(value).__name__}"' if node.op != "placeholder" else ""
        return ""

    def tensor(self, t: Any, meta: dict[str, Any]) -> str:
        """dtype and sizes; dynamic ones by what they depend on."""
        stride = _shape(meta.get("stride", t.stride())) if self.stride else ""
        return f"{ABBREVIATIONS[t.dtype.name]}{_shape(meta.get('shape', t.shape))}{stride}{t.device if self.device else ''}"

    def forget(self, node: Node, last: list[Node]) -> None:
        """Drop the names that are used for the last time here."""
        if node.op == "placeholder":
            return
        if node.op == "output":
            self.body.append("\n")
            return
        gone = last if node.users else [*last, node]
        self.body.append(f";  {' = '.join([repr(n) for n in gone])} = None\n" if gone else "\n")

    def emit(self, node: Node) -> None:
        kind = self.annotation(node)
        args, kwargs = node.args, node.kwargs
        out = self.body.append
        match node.op:
            case "placeholder":
                default = f" = {_argument(args[0])}" if args else ""
                self.free.append(f"{node.target}{kind}{default}")
                raw = str(node.target).replace("*", "")
                if raw != repr(node):
                    out(f"{node!r} = {raw}\n")
            case "call_method":
                called = _format_target(_argument(args[0]), str(node.target))
                out(f"{node!r}{kind} = {called}({self.arguments(args[1:], kwargs)})")
            case "call_function":
                self.function(node, kind)
            case "call_module":
                called = _format_target(self.root, str(node.target))
                out(f"{node!r}{kind} = {called}({self.arguments(args, kwargs)})")
            case "get_attr":
                out(f"{node!r}{kind} = {_format_target(self.root, str(node.target))}")
            case "output":
                if node.type is not None:
                    self.returns = f" -> {self.type_of(node.type)}"
                out(self.codegen.generate_output(args[0]))
            case _:
                raise NotImplementedError(f"node: {node.op} {node.target}")

    def function(self, node: Node, kind: str) -> None:
        target: Any = node.target
        args, out = node.args, self.body.append
        name = getattr(target, "__name__", "")
        if getattr(target, "__module__", None) == "_operator" and not node.kwargs:
            if name in magic_methods:
                out(f"{node!r}{kind} = {magic_methods[name].format(*(_argument(a) for a in args))}")
                return
            if name in inplace_methods:
                done = inplace_methods[name].format(*(_argument(a) for a in args))
                out(f"{done};  {node!r}{kind} = {_argument(args[0])}")
                return
        called = self.add_global(_get_qualified_name(target), target)
        owner, _, last = called.rpartition(".")
        if keyword.iskeyword(last):  # torch.ops.aten.random_.from
            called = f'getattr({owner}, "{last}")'
        if called == "getattr" and len(args) == 2 and isinstance(args[1], str) and args[1].isidentifier():
            out(f"{node!r}{kind} = {_format_target(_argument(args[0]), args[1])}")
            return
        out(f"{node!r}{kind} = {called}({self.arguments(args, node.kwargs)})")
        if node.meta.get("is_wrapped"):
            self.wrap = self.wrap or self.add_global("wrap", flambeau.fx.wrap)
            self.wrapped.setdefault(called)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        shown = [_argument(a, self) for a in args]
        return ", ".join([*shown, *(f"{k} = {_argument(v, self)}" for k, v in kwargs.items())])


def _argument(a: Any, writer: _Writer | None = None) -> str:
    """An argument as code."""
    if isinstance(a, tuple):
        if hasattr(a, "_fields"):
            name = _type_repr(type(a)) if writer is None else writer.add_global(_type_repr(type(a)), type(a))
            return f"{name}({', '.join(_argument(x, writer) for x in a)})"
        if type(a) is flambeau.Size:
            return f"torch.Size({_argument(list(a), writer)})"
        inside = ", ".join(_argument(x, writer) for x in a)
        return f"({inside}{',' if len(a) == 1 else ''})"
    if isinstance(a, list):
        return f"[{', '.join(_argument(x, writer) for x in a)}]"
    if isinstance(a, dict):
        return "{" + ", ".join(f"{k!r}: {_argument(v, writer)}" for k, v in a.items()) + "}"
    if isinstance(a, slice):
        return f"slice({_argument(a.start, writer)}, {_argument(a.stop, writer)}, {_argument(a.step, writer)})"
    if isinstance(a, Node):
        return repr(a)
    if isinstance(a, (OpOverload, OpOverloadPacket)):
        return _get_qualified_name(a)
    if isinstance(a, enum.Enum):
        name = _type_repr(type(a)) if writer is None else writer.add_global(_type_repr(type(a)), type(a))
        return f"{name}.{a.name}"
    if inspect.isfunction(a) or inspect.isbuiltin(a) or isinstance(a, type):
        name = _get_qualified_name(a) if not isinstance(a, type) else _type_repr(a)
        return name if writer is None else writer.add_global(name, a)
    return repr(a)


def _shape(sizes: Iterable[int]) -> str:
    return f"[{', '.join(str(n) for n in sizes)}]"


def _last_frame(trace: str) -> str | None:
    """`File: foo.py:3 in f, code: return x` for the innermost frame of a stack trace."""
    lines = trace.strip().split("\n")
    for i in range(len(lines) - 2, -1, -1):
        found = re.match(r'^\s*File "(.+)", line (\d+), in (.+)$', lines[i])
        if found:
            return f"File: {found.group(1)}:{found.group(2)} in {found.group(3)}, code: {lines[i + 1].strip()}"
    return None


def last_uses(nodes: list[Node]) -> dict[Node, list[Node]]:
    """For each node, the nodes that nobody uses after it."""
    seen: set[Node] = set()
    out: dict[Node, list[Node]] = {}
    for node in reversed(nodes):
        for used in nodes_in((node.args, node.kwargs)):
            if used not in seen:
                seen.add(used)
                out.setdefault(node, []).append(used)
    return out


class _BoxedCodeGen(CodeGen):
    """All inputs come as one list, which is emptied, so that nothing keeps them alive."""

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        names = [v.split(":")[0].split("=")[0].strip() for v in free_vars]
        head = f"def {self._func_name}(self, args_list : list){maybe_return_annotation}:"
        if names:
            head += f"\n    {', '.join(names)}{',' if len(names) == 1 else ''} = args_list"
        return head + "\n    args_list.clear()"


class _PyTreeInfo(NamedTuple):
    """How nested inputs and outputs are flattened."""

    orig_args: list[str]
    in_spec: Any
    out_spec: Any


class _PyTreeCodeGen(CodeGen):
    """Inputs and outputs are nested containers; the graph sees their leaves."""

    def __init__(self, pytree_info: _PyTreeInfo) -> None:
        super().__init__()
        self.pytree_info = pytree_info

    def process_inputs(self, *inputs: Any) -> Any:
        return fx_pytree.tree_flatten_spec(list(inputs), self.pytree_info.in_spec)

    def process_outputs(self, out: Any) -> Any:
        if self.pytree_info.out_spec is None:
            return out
        return pytree.tree_unflatten(out if isinstance(out, (list, tuple)) else [out], self.pytree_info.out_spec)

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        names = list(self.pytree_info.orig_args)
        if not names or names[0] != "self":
            names.insert(0, "self")
        head = super().gen_fn_def(names, maybe_return_annotation, expanded_def=expanded_def)
        if free_vars:
            left = [v.split(":")[0].split("=")[0].strip() for v in free_vars]
            given = ", ".join(names[1:])
            head += f"\n    {', '.join(left)}, = fx_pytree.tree_flatten_spec([{given}], self._in_spec)"
        return head

    def generate_output(self, output_args: Any, *, descs: Any = None) -> str:
        if self.pytree_info.out_spec is None:
            return super().generate_output(output_args)
        return f"return pytree.tree_unflatten({_argument(output_args)}, self._out_spec)"


TransformCodeFunc = Callable[[list[str]], list[str]]

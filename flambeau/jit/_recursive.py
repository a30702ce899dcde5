"""Python to TorchScript: functions, classes and modules with all that they use."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import enum
import inspect
import math
import re
import textwrap
import types as python_types
import typing
from typing import Any

import flambeau
from flambeau import _jit_internal as marks
from flambeau._ground.source import build
from flambeau.jit._language import names, operators, types as ty
from flambeau.jit._language.emit import Emitter
from flambeau.jit._language.graph import Value
from flambeau.jit._language.program import Compiled
from flambeau.jit._language.reader import fork
from flambeau.jit._language.schema import REQUIRED, Argument, Schema, overloads, registered
from flambeau.jit._language.values import (
    Builtin,
    Constructor,
    EnumClass,
    Function,
    Items,
    Method,
    NamedTupleMaker,
    Overloaded,
    PythonModule,
    Special,
    as_value,
)
from flambeau.nn import Module, Parameter

_KINDS = {int: ty.INT, float: ty.FLOAT, bool: ty.BOOL, str: ty.STR, complex: ty.COMPLEX, type(None): ty.NONE, None: ty.NONE, Any: ty.ANY,
          flambeau.Tensor: ty.TENSOR, Parameter: ty.TENSOR, flambeau.device: ty.DEVICE, flambeau.dtype: ty.INT, flambeau.Size: ty.List(ty.INT),
          flambeau.Generator: ty.GENERATOR, list: ty.ANY_LIST, tuple: ty.ANY_TUPLE, flambeau.layout: ty.INT,
          flambeau.memory_format: ty.INT, typing.List: ty.ANY_LIST, typing.Tuple: ty.ANY_TUPLE}  # noqa: UP006  # fmt: skip


def from_python(obj: Any, scope: Any = None) -> ty.Type | None:
    """The type that a Python annotation means."""
    try:
        if obj in _KINDS:
            return _KINDS[obj]
    except TypeError:
        pass
    origin, inner = typing.get_origin(obj), typing.get_args(obj)
    if origin is list:
        return ty.List(need(inner[0], scope))
    if origin is dict:
        return ty.Dict(need(inner[0], scope), need(inner[1], scope))
    if origin is tuple:
        return ty.Tuple(*(need(i, scope) for i in inner))
    if origin is typing.Union or isinstance(obj, python_types.UnionType):
        return ty.union(need(i, scope) for i in inner)
    if origin is typing.Final:
        return need(inner[0], scope)
    if origin is not None and getattr(origin, "__name__", "") in ("Future", "_Await"):
        return (ty.Future if origin.__name__ == "Future" else ty.Await)(need(inner[0], scope))
    if isinstance(obj, str):
        em = Emitter(PythonResolver(scope or {}))
        return names.structural(ast.parse(obj, mode="eval").body, lambda n: em.resolver.find_type(n), em)
    if isinstance(obj, typing.ForwardRef):
        return from_python(obj.__forward_arg__, scope)
    if inspect.isclass(obj):
        return class_type(obj)
    return None


def need(obj: Any, scope: Any = None) -> ty.Type:
    t = from_python(obj, scope)
    if t is None:
        raise RuntimeError(f"Unknown type annotation: '{obj}'")
    return t


_types: dict[Any, ty.Type] = {}
_taken: dict[str, int] = {}


def class_type(cls: type) -> ty.Type | None:
    """The type of a Python class: enum, named tuple, interface, plain class."""
    if cls in _types:
        return _types[cls]
    if issubclass(cls, enum.Enum):
        members = [(m.name, m.value) for m in cls]
        kinds = {type(v) for _, v in members}
        if len(kinds) != 1 or not kinds <= {int, float, str}:
            raise RuntimeError(f"No type to unify to for members of enum '{cls.__name__}'")
        _types[cls] = ty.Enum(marks._qualified_name(cls), _KINDS[kinds.pop()], members, cls)
        return _types[cls]
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        notes = typing.get_type_hints(cls) if cls.__annotations__ or hasattr(cls, "__orig_bases__") else {}
        fields = tuple(cls._fields)
        made = ty.Tuple(*(need(notes[f]) if f in notes else ty.TENSOR for f in fields), name=marks._qualified_name(cls), fields=fields,
                        defaults=[cls._field_defaults[f] for f in fields if f in cls._field_defaults])  # fmt: skip
        made.python = cls
        _types[cls] = made
        return made
    if getattr(cls, "__torch_script_interface__", False):
        face = ty.Interface(marks._qualified_name(cls), issubclass(cls, Module))
        _types[cls] = face
        for name, fn in vars(cls).items():
            if inspect.isfunction(fn):
                face.methods[name] = signature(fn, face)[1]
        return face
    if issubclass(cls, (Module, BaseException)) or cls.__module__ == "builtins" or not marks.can_compile_class(cls):
        return None
    return script_class_type(cls)


def source_of(fn: Any) -> tuple[ast.FunctionDef, str, int, list[str]]:
    """The syntax tree of a function, its file, the line before its first, its lines."""
    lines, first = inspect.getsourcelines(fn)
    file = inspect.getsourcefile(fn) or ""
    text = "".join(lines)
    tree = ast.parse(textwrap.dedent(text)).body[0]
    if isinstance(tree, ast.Assign) or not isinstance(tree, ast.FunctionDef):
        raise RuntimeError(f"Expected a single top-level function: {file}:{first}")
    return tree, file, first - 1, text.splitlines()


def signature(fn: Any, owner: Any = None) -> tuple[ast.FunctionDef, Schema, Emitter, Any]:
    """What a Python function takes and gives as TorchScript, with an emitter for it."""
    fn = inspect.unwrap(fn) if not hasattr(fn, "__code__") else fn
    tree, file, first, lines = source_of(fn)
    em = Emitter(PythonResolver(marks.get_closure(fn)), file, first, lines)
    if tree.args.vararg is not None or tree.args.kwarg is not None:
        from flambeau.jit.frontend import NotSupportedError

        many = tree.args.kwarg or tree.args.vararg
        place = em.at(many)
        place = place._replace(column=place.column - 1)  # with the last star
        raise NotSupportedError(None, "Compiled functions can't take variable number of arguments or use keyword-only arguments with defaults:\n"
                                + place.highlight())  # fmt: skip
    given = {
        k: p.default for k, p in inspect.signature(fn).parameters.items() if p.default is not inspect.Parameter.empty
    }
    comment = type_comment(lines)
    params = [*tree.args.args, *tree.args.kwonlyargs]
    arguments = []
    for i, p in enumerate(params):
        if i == 0 and owner is not None:
            t: ty.Type = owner
        elif comment is not None:
            t = em.annotation(comment[0][i - (owner is not None)])
        elif p.annotation is not None:
            t = em.annotation(p.annotation)
        else:
            t = ty.TENSOR
        found = re.search(r"BroadcastingList(\d)", ast.unparse(p.annotation)) if p.annotation is not None else None
        length = int(found[1]) if found is not None else None
        default = given.get(p.arg, REQUIRED)
        if default is not REQUIRED:
            default = operators.code_of(default)
            inner = t.element if isinstance(t, ty.Optional) else t
            if isinstance(inner, ty.List) and isinstance(default, (tuple, list)):
                default = list(default)
            if length is not None and isinstance(default, (int, float)):
                default = [default] * length
            if inner is ty.FLOAT and isinstance(default, int):
                default = float(default)
            if isinstance(given[p.arg], (list, dict)):
                place = em.at(tree)._replace(column=em.margin, end=len(lines[-1]), last=first + len(lines))
                raise RuntimeError(
                    "\nMutable default parameters are not supported because Python binds them to the function and they persist across "
                    "function calls.\n As a workaround, make the default None and instantiate the default parameter within the body of the "
                    f"function. Found {type(given[p.arg])} on parameter {p.arg}:\n{place.highlight()}"
                )
        arguments.append(Argument(p.arg, t, default, keyword=i >= len(tree.args.args), length=length))
        arguments[-1].inferred = p.annotation is None and comment is None and t is ty.TENSOR
    note = comment[1] if comment is not None else tree.returns
    returns = [Argument("", em.annotation(note))] if note is not None else []
    return tree, Schema(fn.__name__, "", arguments, returns), em, fn


def type_comment(lines: list[str]) -> Any:
    """A signature written as a comment: `# type: (Tensor, int) -> Tensor`."""
    for line in lines:
        _, mark, text = line.partition("# type:")
        if mark and "->" in text:
            left, _, right = text.rpartition("->")
            parts = ast.parse(left.strip(), mode="eval").body
            elements = parts.elts if isinstance(parts, ast.Tuple) else [parts] if ast.unparse(parts) != "()" else []
            return elements, ast.parse(right.strip(), mode="eval").body
    return None


def compile_python(fn: Any, compiled: Compiled, owner: Any = None, sugar: Any = None) -> Any:
    tree, schema, em, _ = signature(fn, owner)
    if schema.returns:
        compiled._schema = schema
    graph = em.function(
        tree, [(a.name, a.type) for a in schema.arguments], schema.returns[0].type if schema.returns else None, sugar
    )
    if not schema.returns:
        schema.returns = [Argument("", em.result)]
    return graph, schema


_functions: dict[Any, Compiled] = {}


def function(fn: Any, name: str | None = None) -> Compiled:
    """The compiled form of a Python function; made when it is first called or looked at."""
    if fn not in _functions:
        _functions[fn] = Compiled(unique(name or marks._qualified_name(fn)), lambda c: compile_python(fn, c))
    return _functions[fn]


def unique(name: str) -> str:
    """A name that no other definition has, made as PyTorch makes it."""
    n = _taken.get(name)
    _taken[name] = 0 if n is None else n + 1
    if n is None:
        return name
    module, _, short = name.rpartition(".")
    serial[0] += 1
    return f"{module}.___torch_mangle_{serial[0] - 1}.{short}"


serial = [0]


def script_function(fn: Any) -> Any:
    from flambeau.jit._script import ScriptFunction

    known = _scripted.get(fn)
    if known is None:
        overloaded = marks._get_fn_overloads(marks._qualified_name(fn)) if not inspect.ismethod(fn) else None
        if overloaded:
            raise RuntimeError(f"Function {fn.__name__} cannot be directly compiled because it is overloaded. It must be used in a context of a function where its inputs can determine which overload to call.")  # fmt: skip
        compiled = function(fn)
        try:
            compiled.ensure()
        except BaseException:
            _functions.pop(fn, None)
            raise
        known = _scripted[fn] = ScriptFunction(compiled, fn)
    return known


_scripted: dict[Any, Any] = {}


def define_functions(text: str, scope: dict[str, Any]) -> dict[str, Compiled]:
    text = textwrap.dedent(text)
    made: dict[str, Compiled] = {}
    for tree in ast.parse(text).body:
        if isinstance(tree, ast.FunctionDef):
            made[tree.name] = _defined(tree, {**scope, **{n: _Ready(f) for n, f in made.items()}}, text, None)
            made[tree.name].ensure()
    return made


class _Ready:
    def __init__(self, fn: Compiled) -> None:
        self.compiled = fn


def _defined(tree: ast.FunctionDef, scope: dict[str, Any], text: str, owner: Any) -> Compiled:
    def make(c: Compiled) -> Any:
        em = Emitter(PythonResolver(scope), "", 0, text.split("\n"))
        defaults = [REQUIRED] * (len(tree.args.args) - len(tree.args.defaults)) + [
            ast.literal_eval(d) for d in tree.args.defaults
        ]
        arguments = [Argument(p.arg, owner if i == 0 and owner is not None else em.annotation(p.annotation) if p.annotation else ty.TENSOR, d)
                     for i, (p, d) in enumerate(zip(tree.args.args, defaults))]  # fmt: skip
        returns = [Argument("", em.annotation(tree.returns))] if tree.returns is not None else []
        graph = em.function(
            tree,
            [(a.name, a.type) for a in arguments],
            returns[0].type if returns else None,
            _self_of(owner) if owner is not None else None,
        )
        return graph, Schema(tree.name, "", arguments, returns or [Argument("", em.result)])

    made = Compiled(f"{owner.qualified}.{tree.name}" if owner is not None else "__torch__." + tree.name, make)
    made.owner = owner
    return made


# ---------------------------------------------------------------- names


_MATH = {"pi": math.pi, "inf": math.inf, "nan": math.nan, "e": math.e, "tau": math.tau}
_NO_GRAD = (flambeau.no_grad, flambeau.enable_grad)


class PythonResolver:
    """Looks names up where a function was written."""

    archive = False

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope

    def python(self, node: Any, em: Any) -> Any:
        """The Python object that an expression of names means; None where a local name is part of it."""
        if isinstance(node, ast.Name):
            if em is not None and node.id in em.env:
                return None
            return self.scope.get(node.id, getattr(builtins, node.id, None))
        if isinstance(node, ast.Attribute):
            left = self.python(node.value, em)
            return getattr(left, node.attr, None) if left is not None else None
        return None

    def name(self, name: str, em: Any, place: Any) -> Any:
        if name in self.scope:
            return self.sugar(self.scope[name], em, place, name)
        if name in names.BUILTINS:
            return names.BUILTINS[name]
        obj = getattr(builtins, name, None)
        return None if obj is None else self.sugar(obj, em, place, name)

    def member(self, module: Any, name: str, em: Any, place: Any) -> Any:
        if module.__name__ == "math":
            if name in _MATH:
                return em.constant(_MATH[name])
            if overloads("aten::" + name):
                return Builtin("aten::" + name)
        where = module.__name__
        if where.startswith("flambeau"):
            if where == "flambeau.nn.functional":
                return self.functional(name, em, place, module)
            if (
                where in ("flambeau", "flambeau._C._nn", "flambeau._VF")
                and overloads("aten::" + name)
                and name not in ("device", "Generator", "tensordot")
            ):
                return Builtin("aten::" + name)
            last = where.rpartition(".")[2]
            if last in ("linalg", "fft", "special") and overloads(f"aten::{last}_{name}"):
                return Builtin(f"aten::{last}_{name}")
        if not hasattr(module, name):
            return None
        return self.sugar(getattr(module, name), em, place, name)

    def functional(self, name: str, em: Any, place: Any, module: Any) -> Any:
        from flambeau.jit._language import functional

        text = getattr(functional, name, None)
        if inspect.isfunction(text) and text.__module__ == functional.__name__:
            return Function(function(text, f"__torch__.torch.nn.functional.{name}"))
        if overloads("aten::" + name):
            return Builtin("aten::" + name)
        obj = getattr(module, name, None)
        return None if obj is None else self.sugar(obj, em, place, name, plain=True)

    def sugar(self, obj: Any, em: Any, place: Any, name: str, plain: bool = False) -> Any:
        """What a Python object means in a program."""
        from flambeau.jit._script import RecursiveScriptModule, ScriptFunction

        if isinstance(obj, _Ready):
            return Function(obj.compiled)
        if obj is None or (isinstance(obj, (bool, int, float, str, complex)) and not isinstance(obj, enum.Enum)):
            return em.constant(obj)
        code = operators.code_of(obj)
        if isinstance(code, int) and not isinstance(obj, enum.Enum):
            return em.constant(code)
        if isinstance(obj, flambeau.device):
            return em.constant(obj)
        if isinstance(obj, python_types.ModuleType):
            return PythonModule(obj, self)
        if isinstance(obj, enum.Enum):
            return em.constant(obj, class_type(type(obj)))
        if isinstance(obj, ScriptFunction):
            return Function(obj._fn)
        if isinstance(obj, tuple) and not hasattr(obj, "_fields"):
            return Items([self.sugar(o, em, place, name) for o in obj])
        if isinstance(obj, flambeau.Tensor):
            em.fail("python value of type 'Tensor' cannot be used as a value. Perhaps it is a closed over global variable? If so, please consider passing it in as an argument or use a local variable instead.", place)  # fmt: skip
        if isinstance(obj, (RecursiveScriptModule, Module)):
            em.fail(
                f"module '{type(obj).__name__}' cannot be used as a value: it must be an attribute of the module that is compiled",
                place,
            )
        if inspect.isclass(obj):
            return self.class_(obj, em, place)
        if callable(obj):
            called = self.callable_(obj, em, place, name, plain)
            if called is not None:
                return called
        if isinstance(obj, list):
            return em.constant(obj)
        if obj is Ellipsis:
            return Special("ellipsis", None)
        if inspect.isbuiltin(obj):
            em.fail(f"Python builtin {obj!r} is currently not supported in Torchscript", place)
        em.fail(f"python value of type '{type(obj).__name__}' cannot be used as a value. Perhaps it is a closed over global variable? If so, please consider passing it in as an argument or use a local variable instead.", place)  # fmt: skip

    def callable_(self, obj: Any, em: Any, place: Any, name: str, plain: bool) -> Any:
        """What calls of a Python callable mean in a program; None of one that has no meaning there."""
        from flambeau.jit._language import functional

        dispatched = marks._try_get_dispatched_fn(obj)
        if dispatched is not None:
            return Special(name, lambda em, a, k, p: self.dispatch(dispatched, em, a, k, p))
        if marks.should_drop(obj):
            return Special(name, lambda em, a, k, p: dropped(em, name, p))
        if marks.is_ignored_fn(obj):
            return Special(name, lambda em, a, k, p: python_call(em, obj, name, a, k, p))
        if getattr(obj, "__script_if_tracing_wrapper", False):
            obj = vars(obj)["__original_fn"]  # as an attribute its name would be mangled
        own = getattr(obj, "__name__", "")
        if not plain and getattr(flambeau.nn.functional, own, None) is obj and hasattr(functional, own):
            return self.functional(own, em, place, flambeau.nn.functional)
        texts = functional.OVERLOADS.get(obj) if inspect.isfunction(obj) else None
        if texts is not None:
            return Overloaded([Function(function(t, f"__torch__.torch.functional.{t.__name__}")) for t in texts])
        aten = _aten(obj, own or name, name)
        if aten:
            return Builtin(aten)
        kind = type(obj).__name__
        if kind in ("OpOverloadPacket", "OpOverload"):
            full = str(obj._qualified_op_name if kind == "OpOverloadPacket" else obj.name().partition(".")[0])
            return Builtin(full, known=None if overloads(full) else registered(obj))
        if kind == "_OpNamespace":
            return PythonModule(obj, self)
        if kind == "partial":  # what it takes and gives are tensors
            return Special(name, lambda em, a, k, p: python_call(em, obj, name, a, k, p))
        if inspect.isfunction(obj):
            declared = marks._get_fn_overloads(marks._qualified_name(obj)) if "." not in own else None
            if declared:
                return Overloaded([Function(overload_of(obj, d)) for d in declared])
            return Function(function(obj))
        return None

    def class_(self, obj: Any, em: Any, place: Any) -> Any:
        if obj in _NO_GRAD:
            return Special("no_grad", lambda em, a, k, p: Special("python manager", (obj, [])))
        if obj is flambeau.device:
            from flambeau.jit._language.reader import _device

            return Special("device", _device)
        if obj is flambeau.Size:
            return Builtin("aten::Size")  # a list of integers there
        if obj.__name__ in names.BUILTINS and obj.__module__ == "builtins":
            return names.BUILTINS[obj.__name__]
        t = class_type(obj)
        if isinstance(t, ty.Enum):
            return EnumClass(t)
        if isinstance(t, ty.Tuple):
            return NamedTupleMaker(t)
        if isinstance(t, ty.Class):
            return Constructor(t)
        if getattr(obj, "__name__", "") == "record_function":
            return Special(
                "record_function", lambda em, a, k, p: Special("python manager", (obj, [as_value(em, x, p) for x in a]))
            )
        em.fail(f"Python class '{obj.__name__}' cannot be used in TorchScript", place)

    def dispatch(self, table: dict[str, Any], em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        flag: Any = table["default"]
        if table["arg_name"] in kwargs:
            flag = kwargs[table["arg_name"]]
        elif table["index"] < len(args):
            flag = args[table["index"]]
        if isinstance(flag, Value):
            flag = flag.node.attrs["value"] if flag.node is not None else None
        return self.sugar(table["if_true" if flag else "if_false"], em, place, "").call(em, args, kwargs, place)

    def is_name(self, node: Any, name: str, em: Any) -> bool:
        if not isinstance(node, (ast.Name, ast.Attribute)):
            return False
        obj = self.python(node, em)
        return obj is not None and obj in (flambeau.jit.isinstance, marks._isinstance)

    def special(self, e: ast.Call, em: Any, hint: Any) -> Any:
        """Calls that the compiler itself understands, by the Python object that is called."""
        fn = self.python(e.func, em)
        if fn is None:
            if isinstance(e.func, ast.Attribute) and isinstance(e.func.value, ast.Call) and isinstance(e.func.value.func, ast.Name) and e.func.value.func.id == "super":  # fmt: skip
                return self.super_(e, em)
            return None
        jit = flambeau.jit
        if fn is jit.annotate or fn is typing.cast:
            return names.form(e, "annotate", em, hint)
        if fn in (getattr, hasattr, isinstance) if not isinstance(fn, (list, dict)) else False:
            return names.form(e, fn.__name__, em, hint)
        if fn in (jit.isinstance,) if callable(fn) else False:
            return em.condition(e).as_value(em)
        if fn is jit.is_scripting:
            return em.constant(True)
        if fn is flambeau._C._get_tracing_state:
            return em.constant(False)
        if fn is jit.is_tracing or getattr(fn, "__name__", "") in (
            "is_compiling",
            "is_dynamo_compiling",
            "is_exporting",
        ):
            return em.constant(False)
        if fn is jit._unwrap_optional:
            return em.op("aten::_unwrap_optional", as_value(em, em.expression(e.args[0]), e), place=e)
        if fn is jit.fork:
            args = [em.expression(a) for a in e.args]
            return fork(em, args, {k.arg: em.expression(k.value) for k in e.keywords}, em.at(e))
        if fn is jit.wait:
            v = as_value(em, em.expression(e.args[0]), e)
            return (
                em.op("aten::wait", v, place=e)
                if overloads("aten::wait")
                else em.node("aten::wait", [v], v.type.element, e)
            )
        if fn is flambeau._assert:
            em.assertion(ast.copy_location(ast.Assert(test=e.args[0], msg=e.args[1] if len(e.args) > 1 else None), e))
            return em.constant(None)
        if getattr(fn, "__name__", "") in (
            "has_torch_function",
            "has_torch_function_unary",
            "has_torch_function_variadic",
        ):
            return em.constant(False)
        return None

    def super_(self, e: ast.Call, em: Any) -> Any:
        self_value = em.env.get("self")
        t = self_value.type if isinstance(self_value, Value) else self_value.v.type
        name = e.func.attr  # type: ignore[attr-defined]
        owner = self.scope.get("__class__") or t.python
        mro = t.python.__mro__
        for base in mro[mro.index(owner) + 1 :]:
            if name in vars(base):
                key = f"__super_{base.__name__}_{name}"
                if key not in t.methods:
                    t.methods[key] = method_of(t, vars(base)[name], key)
                box = self_value if isinstance(self_value, Value) else self_value.v
                args = [em.expression(a) for a in e.args]
                return Method(box, key).call(em, args, {k.arg: em.expression(k.value) for k in e.keywords}, em.at(e))
        em.fail(f"super() has no method '{name}'", e)

    # ---- types ----

    def type(self, node: Any, em: Any) -> ty.Type:
        return names.structural(node, self.find_type, em)

    def find_type(self, node: Any) -> ty.Type | None:
        try:
            obj = eval(
                compile(ast.Expression(node), "<annotation>", "eval"), {**vars(typing), **vars(builtins)}, self.scope
            )
        except Exception:  # annotations are evaluated, and may raise anything
            return None
        return from_python(obj, self.scope)

    def types_of(self, node: Any, em: Any) -> list[ty.Type]:
        obj = self.python(node, em)
        if isinstance(obj, tuple):
            return [t for o in obj if (t := from_python(o)) is not None]
        if isinstance(node, (ast.Tuple, ast.List)):
            return [t for n in node.elts for t in self.types_of(n, em)]
        if inspect.isclass(obj) and issubclass(obj, Module):
            return []
        return [self.type(node, em)]

    def python_objects(self, node: Any, em: Any) -> tuple[Any, ...]:
        obj = self.python(node, em)
        if isinstance(node, ast.Tuple):
            return tuple(o for n in node.elts for o in self.python_objects(n, em))
        return obj if isinstance(obj, tuple) else (obj,)

    def exception(self, name: str) -> str | None:
        obj = self.scope.get(name, getattr(builtins, name, None))
        return f"{obj.__module__}.{obj.__name__}" if inspect.isclass(obj) else None

    def may_define(self, t: ty.Class, name: str) -> bool:
        return getattr(t, "in_init", False)


_MATH_FUNCTIONS = frozenset(f for n, f in vars(math).items() if callable(f) and overloads("aten::" + n))

# Where public functions lie that are operators, and what the operators' names begin with.
_SPACES = (
    (flambeau, ""),
    (flambeau._C._nn, ""),
    (flambeau.nn.functional, ""),
    (flambeau.linalg, "linalg_"),
    (flambeau.special, "special_"),
    (flambeau.fft, "fft_"),
    (flambeau.autograd, ""),
)


def _aten(obj: Any, own: str, called: str) -> str:
    """The operator that a Python callable is, by its own name or the one it is called by here; empty if it is none."""
    for name in (own, called):
        for space, prefix in _SPACES:
            if getattr(space, name, None) is obj and overloads(f"aten::{prefix}{name}"):
                return f"aten::{prefix}{name}"
    return f"aten::{own}" if obj in _MATH_FUNCTIONS else ""


def overload_of(fn: Any, declaration: Any) -> Compiled:
    """One compiled form of an overloaded function: the body of `fn` under the signature of a declaration."""
    key = (fn, declaration)
    if key not in _functions:

        def make(c: Compiled) -> Any:
            tree, _, em, _ = signature(fn)
            _, schema, _, _ = signature(declaration)
            graph = em.function(
                tree, [(a.name, a.type) for a in schema.arguments], schema.returns[0].type if schema.returns else None
            )
            if not schema.returns:
                schema.returns = [Argument("", em.result)]
            return graph, schema

        _functions[key] = Compiled(unique(marks._qualified_name(fn)), make)
    return _functions[key]


def dropped(em: Any, name: str, place: Any) -> Any:
    em.raise_(ast.parse(f"raise RuntimeError({'Cannot run a function that was marked as unused: ' + name!r})").body[0])
    return em.node("prim::Uninitialized", [], ty.TENSOR, place)


def python_call(
    em: Any, fn: Any, name: str, args: list[Any], kwargs: dict[str, Any], place: Any, owner: Any = None
) -> Any:
    """A call that goes back to Python."""
    try:
        notes = typing.get_type_hints(fn)
    except Exception:  # annotations are evaluated, and may raise anything
        notes = {}
    result = need(notes["return"]) if "return" in notes else ty.TENSOR
    try:
        order = [p for p in inspect.signature(fn).parameters if owner is None or p != "self"]
    except ValueError:  # a partial application of a builtin function
        order = []
    vs = [as_value(em, a, place) for a in args] + [as_value(em, kwargs[k], place) for k in order if k in kwargs]
    inputs = [owner, *vs] if owner is not None else vs
    out = em.node("prim::PythonOp", inputs, result, place, name=name, _python=fn)
    return out


# ---------------------------------------------------------------- classes


def _self_of(t: ty.Class) -> Any:
    """What `self` means in methods of a class."""
    if not t.is_module:
        return None
    from flambeau.jit._language.modules import ModuleValue

    return ModuleValue


def method_of(t: ty.Class, fn: Any, name: str | None = None, sugar: Any = None) -> Compiled:
    name = name or fn.__name__
    made = Compiled(
        f"{t.qualified}.{name}",
        lambda c: compile_python(fn, c, t, sugar if sugar is not None else _self_of(t)),
    )
    made.owner = t
    return made


def script_class_type(cls: type) -> ty.Class:
    """A plain class: its attributes are what `__init__` assigns."""
    t = ty.Class(unique(marks._qualified_name(cls)))
    t.python = cls
    _types[cls] = t
    try:
        for name, fn in vars(cls).items():
            if isinstance(fn, staticmethod):
                t.static[name] = function(fn.__func__)
            elif isinstance(fn, property):
                if marks.is_ignored_fn(fn.fget):
                    continue
                t.methods[f"__{name}_getter"] = method_of(t, fn.fget, f"__{name}_getter")
                t.properties[name] = (f"__{name}_getter", None)
            elif inspect.isfunction(fn) and not marks.is_ignored_fn(fn):
                file = inspect.unwrap(fn).__code__.co_filename
                if dataclasses.is_dataclass(cls) and (file.startswith("<") or file == dataclasses.__file__):
                    # generated: there is no source, or none of its own
                    if name != "__init__":
                        continue
                    fn = _fields_init(cls)
                t.methods[name] = method_of(t, fn)
        for name, note in inspect.get_annotations(cls).items():
            t.attributes[name] = need(note, vars(inspect.getmodule(cls) or builtins))
        t.in_init = True  # type: ignore[attr-defined]
        if "__init__" in t.methods:
            t.methods["__init__"].ensure()
        t.in_init = False  # type: ignore[attr-defined]
        for fn in list(t.methods.values()):
            fn.ensure()
    except BaseException:
        _types.pop(cls, None)
        raise
    return t


def _fields_init(cls: type) -> Any:
    """The `__init__` that a dataclass has, with a source."""
    scope: dict[str, Any] = {}
    heads, lines = [], []
    notes = inspect.get_annotations(cls)
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        if f.default_factory is not dataclasses.MISSING:
            raise NotImplementedError("Default factory initializers are not supported in TorchScript dataclasses")
        scope[f"T_{f.name}"], scope[f"D_{f.name}"] = notes.get(f.name, f.type), f.default
        if f.init:
            heads.append(f"{f.name}: T_{f.name}" + ("" if f.default is dataclasses.MISSING else f" = D_{f.name}"))
            lines.append(f"    self.{f.name} = {f.name}")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()")
    return build(
        "__init__",
        "\n".join([f"def __init__(self, {', '.join(heads)}) -> None:", *(lines or ["    pass"])]) + "\n",
        scope,
    )


def script_class(cls: type) -> Any:
    if class_type(cls) is None:
        raise RuntimeError(f"Cannot instantiate class '{cls.__name__}' in a script function" if not issubclass(cls, Module) else f"Type '{cls}' cannot be compiled since it inherits from nn.Module, consider passing an instance instead")  # fmt: skip
    return cls


def script_class_instance(obj: Any) -> Any:
    from flambeau.jit._language.call import into
    from flambeau.jit._script import RecursiveScriptClass

    return RecursiveScriptClass(into(obj, need(type(obj))))


def script_module(module: Any) -> Any:
    """The compiled form of a module; parameters and buffers are shared with it."""
    from flambeau.jit._language import modules

    return modules.script_module(module)


def wrap_cpp_module(cpp_module: Any) -> Any:
    """The module of a compiled handle."""
    return cpp_module.module


class ConcreteTypeStore:
    """Where PyTorch keeps the types of modules that were compiled. They are compiled one by one here, and nothing is kept."""

    def __init__(self) -> None:
        self.type_store: dict[Any, Any] = {}
        self.methods_compiled: set[Any] = set()


concrete_type_store = ConcreteTypeStore()

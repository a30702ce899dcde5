"""Marks and tests that TorchScript reads, usable without loading it: `export`, `ignore`, `unused`, overloads, `isinstance` with element types."""

from __future__ import annotations

import ast
import builtins
import collections
import contextlib
import enum
import inspect
import textwrap
import types
import typing
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final, Optional, Union, get_args, get_origin

from flambeau._awaits import _Await as _Await
from flambeau.futures import Future

F = typing.TypeVar("F", bound=Callable[..., Any])
BuiltinUnionType = types.UnionType
FAKE_FILENAME_PREFIX = "__torch_jit_dataclass"


class FunctionModifiers:
    """What TorchScript does with a function: the values of `_torchscript_modifier`."""

    UNUSED = "unused (ignored and replaced with raising of an exception)"
    IGNORE = "ignore (leave as a call to Python, cannot be torch.jit.save'd)"
    EXPORT = "export (compile this function even if nothing calls it)"
    DEFAULT = "default (compile if called from an exported function / forward)"
    COPY_TO_SCRIPT_WRAPPER = "if this method is not scripted, copy the python method onto the scripted model"
    _DROP = "_drop (function is fully ignored, declaration can be unscriptable)"


def is_scripting() -> bool:
    """False in Python; TorchScript compiles it as True."""
    return False


def _mark(fn: Any, modifier: str) -> Any:
    fn._torchscript_modifier = modifier
    return fn


def export(fn: F) -> F:
    """Compile this method along with `forward`."""
    return _mark(fn, FunctionModifiers.EXPORT)


def unused(fn: F) -> F:
    """Do not compile this method or property: a call of it raises in TorchScript."""
    if isinstance(fn, property):
        for accessor, name in ((fn.fget, "fget"), (fn.fset, "fset")):
            if accessor is not None:
                _mark(accessor, FunctionModifiers.UNUSED)
        return fn
    return _mark(fn, FunctionModifiers.UNUSED)


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """Leave this function to Python: TorchScript calls back into the interpreter, and cannot save what does."""
    if callable(drop):
        return _mark(drop, FunctionModifiers.IGNORE)
    if not isinstance(drop, bool):
        raise RuntimeError(f"Argument to @torch.jit.ignore must be a bool or a function but got {drop}")
    on_export = kwargs.pop("drop_on_export", None)
    if on_export or drop:
        spelled = "ignore(drop_on_export=True)" if on_export else "ignore(True)"
        warnings.warn(
            f"{spelled} has been deprecated. TorchScript will now drop the function call on compilation. "
            "Use torch.jit.unused now. {}",
            category=FutureWarning,
            stacklevel=2,
        )
        drop = True
    return lambda fn: _mark(fn, FunctionModifiers.UNUSED if drop else FunctionModifiers.IGNORE)


def _drop(fn: F) -> F:
    """Do not look at this function at all, its declaration included."""
    return _mark(fn, FunctionModifiers._DROP)


def _copy_to_script_wrapper(fn: F) -> F:
    """Give this method to the scripted module as it is, where it was not compiled."""
    return _mark(fn, FunctionModifiers.COPY_TO_SCRIPT_WRAPPER)


class _IgnoreContextManager(contextlib.AbstractContextManager):  # type: ignore[type-arg]
    """A block that TorchScript leaves to Python; its keywords declare what goes in and out."""

    def __init__(self, **kwargs: Any) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def get_torchscript_modifier(fn: Any) -> str | None:
    """The mark on a function, None for what cannot be called."""
    if not callable(fn):
        return None
    return getattr(getattr(fn, "__func__", fn), "_torchscript_modifier", FunctionModifiers.DEFAULT)


def copy_torchscript_modifier(orig: Any, new: Any) -> None:
    modifier = get_torchscript_modifier(orig)
    if modifier is not None:
        new._torchscript_modifier = modifier


def should_drop(fn: Any) -> bool:
    return get_torchscript_modifier(fn) in (FunctionModifiers.UNUSED, FunctionModifiers._DROP)


def _is_drop_fn(fn: Any) -> bool:
    return get_torchscript_modifier(fn) == FunctionModifiers._DROP


def is_ignored_fn(fn: Any) -> bool:
    return get_torchscript_modifier(fn) in (FunctionModifiers.UNUSED, FunctionModifiers._DROP, FunctionModifiers.IGNORE)


def module_has_exports(mod: Any) -> bool:
    return any(get_torchscript_modifier(getattr(mod, n, None)) == FunctionModifiers.EXPORT for n in dir(mod))


def is_static_fn(cls: Any, fn: str) -> bool:
    return isinstance(inspect.getattr_static(cls, fn, default=None), staticmethod)


def get_static_fn(cls: Any, fn: str) -> Any:
    return inspect.getattr_static(cls, fn).__func__


class BroadcastingListCls:
    """Annotates a list that a single number may stand for: `BroadcastingList2[int]`."""

    def __getitem__(self, types: Any) -> None:
        return None


BroadcastingList1 = BroadcastingListCls()
BroadcastingList2 = BroadcastingList3 = BroadcastingList4 = BroadcastingList5 = BroadcastingList6 = BroadcastingList1

boolean_dispatched: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()


def boolean_dispatch(
    arg_name: str, arg_index: int, default: Any, if_true: Any, if_false: Any, module_name: str | None, func_name: str | None
) -> Any:  # fmt: skip
    """One function of two: a truth argument chooses, at compile time in TorchScript."""

    def fn(*args: Any, **kwargs: Any) -> Any:
        flag = kwargs[arg_name] if arg_name in kwargs else args[arg_index] if arg_index < len(args) else default
        return (if_true if flag else if_false)(*args, **kwargs)

    if if_true.__doc__ is not None and if_false.__doc__ is not None:
        raise RuntimeError("only one function can have a docstring")
    fn.__doc__ = if_true.__doc__ = if_false.__doc__ = if_true.__doc__ or if_false.__doc__
    fn.__module__ = module_name or fn.__module__
    fn.__name__ = func_name or fn.__name__
    boolean_dispatched[fn] = {
        "if_true": if_true, "if_false": if_false, "index": arg_index, "default": default, "arg_name": arg_name,
    }  # fmt: skip
    return fn


def _try_get_dispatched_fn(fn: Any) -> dict[str, Any] | None:
    return boolean_dispatched.get(fn) if callable(fn) else None


def _qualified_name(obj: Any, mangle_name: bool = True) -> str:
    """The name of a class or function in TorchScript: `__torch__.package.module.Name`."""
    given = getattr(obj, "_jit_override_qualname", None) or (
        obj.qualified_name if type(obj).__name__ == "ScriptFunction" else None
    )
    if given is not None:
        return given
    name = getattr(obj, "__name__", None) or (obj.name if isinstance(obj, enum.Enum) else None)
    if not name:
        raise RuntimeError("Could not get name of python class object")
    if name == "<lambda>":
        name = "_lambda"
    module = obj.__module__
    if module is None:
        raise RuntimeError(f"Could not get qualified name for class '{name}': __module__ can't be None.")
    if module.partition(".")[0] == "flambeau":
        module = "torch" + module[len("flambeau") :]
    if module == "torch._classes":
        return obj.qualified_name
    module = module.replace("<", "_").replace(">", "_")
    if mangle_name:
        module = "__torch__" if module == "__main__" else "__torch__." + module
    if "." in name:
        raise RuntimeError(f"Could not get qualified name for class '{name}': '{name}' is not a valid identifier")
    return f"{module}.{name}"


# Overloads: several declarations with an empty body, then the implementation, which is compiled once for each.

_OVERLOAD_EXAMPLE = """
Example usage of overload function:
@torch.jit._overload
def my_function(x: type0) -> type0: # decl 1
    pass

@torch.jit._overload
def my_function(x: type1) -> type1: # decl 2
    pass

def my_function(x):                 # implementation
    if isinstance(x, type0):
        return x
    elif isinstance(x, type1):
        return x
"""
_overloaded_fns: dict[str, list[Any]] = {}  # qualified name -> declarations
_overloaded_methods: dict[str, dict[str, list[Any]]] = {}  # qualified name of the method -> class -> declarations
_overloaded_method_class_fileno: dict[tuple[str, str], int] = {}  # (the same, class) -> the line where the class begins


def _check_overload_body(func: Any) -> None:
    try:
        source = textwrap.dedent(inspect.getsource(func))
    except OSError:
        warnings.warn(f"Unable to retrieve source for @torch.jit._overload function: {func}.", stacklevel=2)
        return
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    if len(body) == 1 and (
        isinstance(body[0], ast.Pass) or (isinstance(body[0], ast.Expr) and getattr(body[0].value, "value", 0) is ...)
    ):
        return
    raise RuntimeError(
        "Only `pass` statement or `...` can be the body of overload declaration:\n"
        + "\n".join(source.split("\n")[:3])
        + " <- Expecting `pass` or `...` here!\n"
        + _OVERLOAD_EXAMPLE
    )


def _overload(func: F) -> F:
    """Declare one signature of a function that is implemented below."""
    _check_overload_body(func)
    _overloaded_fns.setdefault(_qualified_name(func), []).append(func)
    return func


def _get_fn_overloads(qual_name: str) -> list[Any] | None:
    return _overloaded_fns.get(qual_name)


def _clear_fn_overloads(qual_name: str) -> None:
    del _overloaded_fns[qual_name]


def get_overload_no_implementation_error_message(kind: str, obj: Any) -> str:
    lines, first = inspect.getsourcelines(obj)
    return (
        f'Implementation for the {kind} "{_qualified_name(obj)}" is missing. Please make sure a definition is provided and '
        f'defined after all overload declarations.\nFile "{inspect.getsourcefile(obj)}", line {first}:\n'
        + "".join(lines)
        + "\n"
        + _OVERLOAD_EXAMPLE
    )


def get_class_name_lineno(method: Any) -> tuple[str, int]:
    """The class whose body is being run two frames up, and its line."""
    body = inspect.currentframe().f_back.f_back  # type: ignore[union-attr]
    return body.f_code.co_name, body.f_code.co_firstlineno  # type: ignore[union-attr]


def _overload_method(func: F) -> F:
    """Declare one signature of a method that is implemented below in the class."""
    _check_overload_body(func)
    name = _qualified_name(func)
    owner, line = get_class_name_lineno(func)
    declared = _overloaded_methods.setdefault(name, {}).setdefault(owner, [])
    if _overloaded_method_class_fileno.setdefault((name, owner), line) != line:
        raise RuntimeError(
            "Cannot currently overload the same method name in two different classes with the same name in the same module"
        )
    declared.append(func)
    return func


def _get_overloaded_methods(method: Any, mod_class: Any) -> list[Any] | None:
    """The declarations for a method of a class."""
    if not hasattr(method, "__name__"):
        return None
    declared = _overloaded_methods.get(_qualified_name(method), {}).get(mod_class.__name__)
    if declared is None:
        return None
    lines, first = inspect.getsourcelines(mod_class)
    if not first <= inspect.getsourcelines(method)[1] <= first + len(lines):
        raise AssertionError(f"Overloads are not usable when a module is redeclared within the same file: {method}")
    return declared


# Names of a function's surroundings, for what it and its annotations mention.


def createResolutionCallbackFromEnv(lookup_base: Any) -> Callable[[str], Any]:
    """A function from an expression of names (`List[mod.Name]`) to what it means where `lookup_base` has the names."""

    class Scope(dict):  # type: ignore[type-arg]
        def __missing__(self, key: str) -> Any:
            return getattr(lookup_base, key)

    def find(expression: str) -> Any:
        try:
            return eval(expression.strip(), {"__builtins__": {}}, Scope())
        except Exception:  # whatever an annotation's text may raise: it is not known here
            return None

    return find


class _Names:
    def __init__(self, *scopes: Any) -> None:
        self.__dict__["scopes"] = scopes

    def __getattr__(self, name: str) -> Any:
        for scope in self.__dict__["scopes"]:
            if name in scope:
                return scope[name]
        return None


def createResolutionCallbackFromFrame(frames_up: int = 0) -> Callable[[str], Any]:
    """Looks names up in the frame of the caller's caller, and `frames_up` further."""
    frame = inspect.currentframe()
    for _ in range(frames_up + 1):
        frame = frame.f_back  # type: ignore[union-attr]
    return createResolutionCallbackFromEnv(_Names(frame.f_locals, frame.f_globals, vars(builtins)))  # type: ignore[union-attr]


def get_closure(fn: Any) -> dict[str, Any]:
    """The globals of a function and what it closes over."""
    captured = dict(fn.__globals__)
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or ()):
        try:
            captured[name] = cell.cell_contents
        except ValueError:  # not yet assigned
            pass
    return captured


def createResolutionCallbackFromClosure(fn: Any) -> Callable[[str], Any]:
    """Looks names up where a function was written."""
    return createResolutionCallbackFromEnv(_Names(get_closure(fn), vars(typing), vars(builtins)))


def get_annotation_str(annotation: Any) -> str | None:
    """The text of an annotation's syntax tree."""
    if isinstance(annotation, (ast.Name, ast.Attribute, ast.Subscript, ast.Tuple)):
        text = ast.unparse(annotation)
        return (text[1:-1] if isinstance(annotation, ast.Tuple) else text).replace(", ", ",")
    return str(annotation.value) if isinstance(annotation, ast.Constant) else None


def get_type_hint_captures(fn: Any) -> dict[str, Any]:
    """From the annotations of a function as they are written to what they mean."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(fn)))
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise RuntimeError(f"Expected {fn} to be a function")
    signature = inspect.signature(fn)
    pairs = [
        (a.annotation, signature.parameters[a.arg].annotation)
        for a in tree.body[0].args.args
        if a.arg in signature.parameters
    ]
    pairs.append((tree.body[0].returns, signature.return_annotation))
    return {
        text: meaning
        for node, meaning in pairs
        if meaning is not inspect.Parameter.empty
        and not isinstance(meaning, str)
        and (text := get_annotation_str(node)) is not None
    }


def createResolutionCallbackForClassMethods(cls: type) -> Callable[[str], Any]:
    """Looks names up where any method of a class was written."""
    captured: dict[str, Any] = {}
    for name in cls.__dict__:
        fn = getattr(cls, name)
        if inspect.isroutine(fn) and hasattr(fn, "__globals__") and fn.__name__ != "__annotate__":
            captured.update(get_closure(fn))
            captured.update(get_type_hint_captures(fn))
    return lambda key: captured[key] if key in captured else getattr(builtins, key, None)


def can_compile_class(cls: type) -> bool:
    """Whether all routines of a class are written in Python."""
    from flambeau.nn import Module

    if is_ignored_fn(cls) or issubclass(cls, (Module, tuple, list, Exception)):
        return False
    members = [getattr(cls, name, None) for name in cls.__dict__]
    return all(hasattr(m, "__code__") for m in members if inspect.isroutine(m))


def get_callable_argument_names(fn: Any) -> list[str]:
    """The names of the parameters that may be given by position or keyword."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]


# Annotations: what kind of type one is.


def raise_error_container_parameter_missing(target_type: str) -> None:
    if target_type.endswith("ict"):
        missing, remedy = "contained types", f"contained type, e.g. {target_type}[int, int]"
    else:
        missing, remedy = "a contained type", f"a contained type, e.g. {target_type}[int]"
    raise RuntimeError(f"Attempted to use {target_type} without {missing}. Please add {remedy}")


_RAW_TYPE_NAME_MAPPING = {
    dict: "dict", list: "list", tuple: "tuple", typing.Dict: "Dict", typing.List: "List",  # noqa: UP006
    typing.Optional: "Optional", typing.Tuple: "Tuple",  # noqa: UP006
}  # fmt: skip


def check_args_exist(target_type: Any) -> None:
    name = _RAW_TYPE_NAME_MAPPING.get(target_type)
    if name:
        raise_error_container_parameter_missing(name)


def _is_container(ann: Any, origin: type, bare: Any, name: str) -> bool:
    if ann is bare:
        raise_error_container_parameter_missing(name)
    return getattr(ann, "__module__", None) in ("builtins", "typing") and get_origin(ann) is origin


def is_tuple(ann: Any) -> bool:
    return _is_container(ann, tuple, typing.Tuple, "Tuple")  # noqa: UP006


def is_list(ann: Any) -> bool:
    return _is_container(ann, list, typing.List, "List")  # noqa: UP006


def is_dict(ann: Any) -> bool:
    return _is_container(ann, dict, typing.Dict, "Dict")  # noqa: UP006


def is_union(ann: Any) -> bool:
    if ann is Union:
        raise_error_container_parameter_missing("Union")
    return isinstance(ann, BuiltinUnionType) or get_origin(ann) is Union


def is_optional(ann: Any) -> bool:
    if ann is Optional:
        raise_error_container_parameter_missing("Optional")
    return is_union(ann) and len(get_args(ann)) == 2 and type(None) in get_args(ann)


def is_future(ann: Any) -> bool:
    if ann is Future:
        raise RuntimeError(
            "Attempted to use Future without a contained type. Please add a contained type, e.g. Future[int]"
        )
    return get_origin(ann) is Future


def is_await(ann: Any) -> bool:
    return ann is _Await or get_origin(ann) is _Await


def is_final(ann: Any) -> bool:
    return get_origin(ann) is Final or ann is Final


def _is_exception(obj: Any) -> bool:
    return inspect.isclass(obj) and issubclass(obj, Exception)


# isinstance that looks at elements.


def check_empty_containers(obj: Any) -> None:
    if obj == [] or obj == {} or obj == ():
        warnings.warn(
            "The inner type of a container is lost when calling torch.jit.isinstance in eager mode. For example, List[int] "
            "would become list and therefore falsely return True for List[float] or List[str].",
            stacklevel=2,
        )


def _element(obj: Any, target_type: Any) -> bool:
    return container_checker(obj, target_type) if get_origin(target_type) else isinstance(obj, target_type)


def container_checker(obj: Any, target_type: Any) -> bool:
    """Whether `obj` is a list, dict, tuple or union as `target_type` says, elements included."""
    origin, inner = get_origin(target_type), get_args(target_type)
    check_args_exist(target_type)
    if origin is None:
        return False
    if origin is list:
        check_empty_containers(obj)
        return isinstance(obj, list) and all(_element(e, inner[0]) for e in obj)
    if origin is dict:
        check_empty_containers(obj)
        return isinstance(obj, dict) and all(isinstance(k, inner[0]) and _element(v, inner[1]) for k, v in obj.items())
    if origin is tuple:
        check_empty_containers(obj)
        return isinstance(obj, tuple) and len(obj) == len(inner) and all(_element(e, t) for e, t in zip(obj, inner))
    if origin is Union or origin is BuiltinUnionType:
        return obj is None or any(_element(obj, t) for t in inner)
    return False


def _isinstance(obj: Any, target_type: Any) -> bool:
    """`torch.jit.isinstance`: isinstance that understands `List[int]`, `Optional[...]` and their kind."""
    if isinstance(target_type, collections.abc.Container):
        if not isinstance(target_type, tuple):
            raise RuntimeError("The second argument to `torch.jit.isinstance` must be a type or a tuple of types")
        return any(_isinstance(obj, t) for t in target_type)
    if get_origin(target_type):
        return container_checker(obj, target_type)
    check_args_exist(target_type)
    return isinstance(obj, target_type)


def _create_named_tuple(t: Any, unqual_name: str, field_names: list[str], defaults: tuple[Any, ...]) -> Any:
    return collections.namedtuple(unqual_name, field_names, defaults=defaults)(*t)  # type: ignore[misc]


@contextlib.contextmanager
def _disable_emit_hooks() -> Iterator[None]:
    """PyTorch's own tests watch what is compiled; nothing does here."""
    yield


def _get_model_id(obj: Any) -> str | None:
    """The name of a script module's type or of a script function."""
    from flambeau import jit

    if isinstance(obj, jit.ScriptModule):
        return str(obj._c._type())
    return obj.qualified_name if isinstance(obj, jit.ScriptFunction) else None


for _name in ("__new__", "__format__", "__repr__", "__str__"):  # Enum's own methods are Python's business
    _drop(getattr(enum.Enum, _name))

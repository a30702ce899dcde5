"""`PackageExporter`: writes objects, resources, and the sources of the modules that they need."""

import importlib.machinery
import io
import linecache
import os
import pickletools
import platform
import sys
import types
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import flambeau
from flambeau._pickling import Storages
from flambeau.package import _mock
from flambeau.package._digraph import DiGraph
from flambeau.package._importlib import _normalize_path
from flambeau.package._mangling import demangle, is_mangled
from flambeau.package._package_pickler import create_pickler
from flambeau.package.find_file_dependencies import find_files_source_depends_on
from flambeau.package.glob_group import GlobGroup, GlobPattern
from flambeau.package.importer import Importer, OrderedImporter, sys_importer
from flambeau.utils.hooks import RemovableHandle

__all__ = ["PackagingErrorReason", "EmptyMatchError", "PackagingError", "PackageExporter"]

_gate_torchscript_serialization = True


class _ModuleProviderAction(Enum):
    """Where a module comes from when the package is loaded."""

    INTERN = 1  # the package
    EXTERN = 2  # the environment
    MOCK = 3  # nowhere: a stand-in that may be named, not used
    DENY = 4
    REPACKAGED_MOCK_MODULE = 5
    SKIP = 6


_INTERN, _EXTERN, _MOCK = _ModuleProviderAction.INTERN, _ModuleProviderAction.EXTERN, _ModuleProviderAction.MOCK


class PackagingErrorReason(Enum):
    """Why a module cannot be packaged."""

    def __repr__(self):
        return f"<{type(self).__name__}.{self.name}>"

    IS_EXTENSION_MODULE = "Module is a C extension module. torch.package supports Python modules only."
    NO_DUNDER_FILE = "Module had no __file__ defined."
    SOURCE_FILE_NOT_FOUND = "Module had a __file__, but we could not find it in your filesystem."
    DEPENDENCY_RESOLUTION_FAILED = "Dependency resolution failed."
    NO_ACTION = "Module did not match against any action pattern. Extern, mock, or intern it."
    DENIED = "Module was denied by a pattern."
    MOCKED_BUT_STILL_USED = (
        "Module was mocked out, but is still being used in the package. Please intern or extern the mocked modules if objects "
        "are supposed to be in the package."
    )


_DISALLOWED_MODULES = ["sys", "io"]  # of the standard library: they reach too far to be taken silently
_DISALLOWED_NOTE = (
    "      Note: While we usually use modules in the python standard library from the local environment, `{0}` has a lot of "
    "system level access and therefore can pose a security risk. We heavily recommend removing `{0}` from your packaged code. "
    'However, if that is not possible, add it to the extern list by calling PackageExporter.extern("`{0}`")\n'
)
_MOCK_IMPL = """\
from _mock import MockedObject
def __getattr__(attr: str):
    return MockedObject(__name__ + '.' + attr, _suppress_err=True)
"""


@dataclass
class _PatternInfo:
    action: _ModuleProviderAction
    allow_empty: bool
    was_matched: bool = False


class EmptyMatchError(Exception):
    """A pattern that must match something matched nothing."""


class PackagingError(Exception):
    """Modules that cannot be packaged, by reason."""

    def __init__(self, dependency_graph: DiGraph, debug=False):
        reasons: dict[Any, list[str]] = {}
        for name, facts in dependency_graph.nodes.items():
            if facts.get("error") is not None:
                reasons.setdefault(facts["error"], []).append(name)
        text = ["\n"]
        for reason, names in reasons.items():
            text.append(f"* {reason.value}\n")
            for name in names:
                text.append(f"    {name}\n")
                context = dependency_graph.nodes[name].get("error_context")
                text.append("" if context is None else f"      Context: {context}\n")
                text.append(_DISALLOWED_NOTE.format(name) if name in _DISALLOWED_MODULES else "")
                if debug:
                    text.append(f"      A path to {name}: {' -> '.join(dependency_graph.first_path(name))}\n")
        if not debug:
            text.append(
                "\nSet debug=True when invoking PackageExporter for a visualization of where broken modules are coming from!\n"
            )
        self.dependency_graph = dependency_graph
        super().__init__("".join(text))


class PackageExporter:
    """Writes a package; a context manager.

    Modules that what is saved depends on are looked at in turn: `intern` patterns put their source into the package, `extern`
    leaves them to the environment that loads it, `mock` leaves them out, `deny` refuses them. The standard library and this
    one are external without being asked for.

    Args:
        f: a path or an open binary file
        importer: where modules and names of objects are looked up; several, if they come from packages themselves
        debug: errors tell how modules came in

    >>> import io
    >>> file = io.BytesIO()
    >>> with PackageExporter(file) as package:
    ...     package.save_source_string("m", "def f(): return 3")
    ...     package.save_text("data", "greeting.txt", "hello")
    >>> _ = file.seek(0)
    >>> flambeau.package.PackageImporter(file).import_module("m").f()
    3
    """

    importer: Importer

    def __init__(self, f, importer: Importer | Sequence[Importer] = sys_importer, debug: bool = False) -> None:
        self.debug = debug
        self.buffer = None if isinstance(f, (str, os.PathLike)) else f
        self.zip_file: Any = flambeau._C.PyTorchFileWriter(f)
        self.zip_file.set_min_version(6)
        self._written_files: set[str] = set()
        self.serialized_reduces: dict[int, Any] = {}
        self.dependency_graph = DiGraph()
        self._storages = Storages()
        self._hooks: dict[Any, OrderedDict] = {a: OrderedDict() for a in (_INTERN, _EXTERN, _MOCK)}
        if isinstance(importer, Importer):
            self.importer = importer
        elif isinstance(importer, Sequence):
            self.importer = OrderedImporter(*importer)
        else:
            raise TypeError(
                f"importer arg should be an Importer or a sequence of Importers, got {type(importer)} instead."
            )
        self.patterns: dict[GlobGroup, _PatternInfo] = {}
        self._unique_id = 0

    # ---- what is saved ----

    def save_source_file(self, module_name: str, file_or_directory: str, dependencies=True):
        """The source in a file as a module, or those below a directory as a package."""
        path = Path(file_or_directory)
        if not path.is_dir():
            self.save_source_string(module_name, _read_file(path), path.name == "__init__.py", dependencies)
            return
        found = []
        for file in path.glob("**/*.py"):
            name = f"{module_name}.{'.'.join(file.relative_to(path).with_suffix('').parts)}"
            package = file.name == "__init__.py"
            found.append((name.removesuffix(".__init__") if package else name, _read_file(file), package, dependencies))
        for item in found:
            self.save_source_string(*item)

    def save_source_string(self, module_name: str, src: str, is_package: bool = False, dependencies: bool = True):
        """A source as a module."""
        self.dependency_graph.add_node(module_name, source=src, is_package=is_package, provided=True, action=_INTERN)
        if dependencies:
            self._depend(module_name, src, is_package)

    def save_module(self, module_name: str, dependencies=True):
        """A module of the environment."""
        if not isinstance(module_name, str):
            raise TypeError("save_module() expects a string input, did you perhaps mean to pass `__name__`?")
        self._intern_module(module_name, dependencies)

    def save_text(self, package: str, resource: str, text: str):
        """A text as a resource of a package."""
        return self.save_binary(package, resource, text.encode("utf-8"))

    def save_binary(self, package, resource, binary: bytes):
        """Bytes as a resource of a package."""
        self._write(self._filename(package, resource), binary)

    def save_pickle(self, package: str, resource: str, obj: Any, dependencies: bool = True, pickle_protocol: int = 3):
        """An object as a resource of a package, and what it needs."""
        if pickle_protocol not in (3, 4):
            raise AssertionError(f"torch.package only supports pickle protocols 3 and 4, got {pickle_protocol}")
        filename, buffer = self._filename(package, resource), io.BytesIO()
        create_pickler(buffer, self.importer, pickle_protocol, self._persistent_id).dump(obj)
        data = buffer.getvalue()
        node = f"<{package}.{resource}>"
        self.dependency_graph.add_node(node, action=_INTERN, provided=True, is_pickle=True)
        if dependencies:
            for module, fields in _names_in(data).items():
                self.dependency_graph.add_edge(node, module)
                if self._is_mocked(module):
                    self.dependency_graph.add_node(
                        module,
                        action=_MOCK,
                        error=PackagingErrorReason.MOCKED_BUT_STILL_USED,
                        error_context=f"Object(s) '{fields}' from module `{module}` was mocked out during packaging but is being "
                        f"used in resource - `{resource}` in package `{package}`. ",
                        provided=True,
                    )
                else:
                    self.add_dependency(module)
        self._write(filename, data)

    def get_unique_id(self) -> str:
        """A number that this package has not used."""
        self._unique_id += 1
        return str(self._unique_id - 1)

    # ---- patterns and hooks ----

    def _pattern(self, include, exclude, action, allow_empty):
        self.patterns[GlobGroup(include, exclude=exclude)] = _PatternInfo(action, allow_empty)

    def intern(self, include: GlobPattern, *, exclude: GlobPattern = (), allow_empty: bool = True):
        """Modules whose source goes into the package."""
        self._pattern(include, exclude, _INTERN, allow_empty)

    def mock(self, include: GlobPattern, *, exclude: GlobPattern = (), allow_empty: bool = True):
        """Modules that are left out; stand-ins may be named, not used."""
        self._pattern(include, exclude, _MOCK, allow_empty)

    def extern(self, include: GlobPattern, *, exclude: GlobPattern = (), allow_empty: bool = True):
        """Modules that the environment has when the package is loaded."""
        self._pattern(include, exclude, _EXTERN, allow_empty)

    def deny(self, include: GlobPattern, *, exclude: GlobPattern = ()):
        """Modules that must not be needed."""
        self._pattern(include, exclude, _ModuleProviderAction.DENY, True)

    def _hook(self, action, hook):
        hooks = self._hooks[action]
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    def register_extern_hook(self, hook) -> RemovableHandle:
        """Called with (exporter, name) for each external module."""
        return self._hook(_EXTERN, hook)

    def register_mock_hook(self, hook) -> RemovableHandle:
        """Called with (exporter, name) for each module left out."""
        return self._hook(_MOCK, hook)

    def register_intern_hook(self, hook) -> RemovableHandle:
        """Called with (exporter, name) for each module taken in."""
        return self._hook(_INTERN, hook)

    # ---- dependencies ----

    def _depend(self, module_name, source, is_package):
        for name in self._get_dependencies(source, module_name, is_package):
            self.dependency_graph.add_edge(module_name, name)
            self.add_dependency(name)

    def _get_dependencies(self, src: str, module_name: str, is_package: bool) -> list[str]:
        package = module_name if is_package else module_name.rpartition(".")[0] or module_name
        try:
            pairs = find_files_source_depends_on(src, package)
        except Exception as e:
            reason = PackagingErrorReason.DEPENDENCY_RESOLUTION_FAILED
            self.dependency_graph.add_node(module_name, error=reason, error_context=str(e))
            return []
        found = {}
        for module, name in pairs:
            if name is not None and self._module_exists(f"{module}.{name}"):
                found[f"{module}.{name}"] = True
            elif self._module_exists(module):
                found[module] = True
        return list(found)

    def add_dependency(self, module_name: str, dependencies=True):
        """Notes that a module is needed, and what the patterns say about it."""
        graph = self.dependency_graph
        if graph.nodes.get(module_name, {}).get("provided") is True:
            return
        own = {
            "torch_package_importer": _ModuleProviderAction.SKIP,
            "_mock": _ModuleProviderAction.REPACKAGED_MOCK_MODULE,
        }
        if module_name in own or self._can_implicitly_extern(module_name):
            graph.add_node(module_name, action=own.get(module_name, _EXTERN), provided=True)
            return
        for pattern, info in self.patterns.items():
            if pattern.matches(module_name):
                info.was_matched = True
                graph.add_node(module_name, action=info.action, provided=True)
                if info.action is _ModuleProviderAction.DENY:
                    graph.add_node(module_name, error=PackagingErrorReason.DENIED)
                if info.action is _INTERN:
                    self._intern_module(module_name, dependencies)
                return
        graph.add_node(module_name, error=PackagingErrorReason.NO_ACTION)

    def _intern_module(self, module_name: str, dependencies: bool):
        module = self._import_module(module_name)
        module_name = demangle(module_name)
        is_package, source = hasattr(module, "__path__"), self._get_source_of_module(module)
        facts: dict[str, Any] = {"action": _INTERN, "is_package": is_package, "provided": True}
        if source is not None:
            self.dependency_graph.add_node(module_name, source=source, **facts)
            if dependencies:
                self._depend(module_name, source, is_package)
            return
        file, context = getattr(module, "__file__", None), None
        if file is None:
            reason = PackagingErrorReason.NO_DUNDER_FILE
        elif file.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
            reason = PackagingErrorReason.IS_EXTENSION_MODULE
        else:
            reason, context = PackagingErrorReason.SOURCE_FILE_NOT_FOUND, f"filename: {file}"
        self.dependency_graph.add_node(module_name, error=reason, error_context=context, **facts)

    def _import_module(self, module_name: str):
        try:
            return self.importer.import_module(module_name)
        except ModuleNotFoundError:
            if not is_mangled(module_name):
                raise
            raise ModuleNotFoundError(
                f"Module not found: '{module_name}'. Make sure the PackageImporter that created this module is present in "
                "`self.importer`"
            ) from None

    def _module_exists(self, module_name: str) -> bool:
        try:
            self._import_module(module_name)
            return True
        except Exception:  # importing runs the module
            return False

    def _get_source_of_module(self, module: types.ModuleType) -> str | None:
        loader, file = getattr(getattr(module, "__spec__", None), "loader", None), None
        if isinstance(loader, SourceFileLoader):
            try:
                file = loader.get_filename(module.__name__)
            except ImportError:
                pass
        file = file or getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py"):
            return "".join(linecache.getlines(file, module.__dict__))
        return None

    def _can_implicitly_extern(self, module_name: str):
        top = module_name.partition(".")[0]
        return top in ("torch", "flambeau") or (top not in _DISALLOWED_MODULES and top in sys.stdlib_module_names)

    def _is_mocked(self, module_name: str):
        if self._can_implicitly_extern(module_name):
            return False
        first = next((info for pattern, info in self.patterns.items() if pattern.matches(module_name)), None)
        return first is not None and first.action is _MOCK

    # ---- writing ----

    def _persistent_id(self, obj):
        facts = self._storages.identify(obj)
        if facts is not None:
            cls, key, location, numel = facts
            if f".data/{key}.storage" not in self._written_files:
                self._write(f".data/{key}.storage", memoryview(self._storages.kept[key].cpu()._data))
            return "storage", cls, int(key), location, numel
        if isinstance(obj, flambeau.jit.RecursiveScriptModule):
            if _gate_torchscript_serialization:
                raise Exception(
                    "Serializing ScriptModules directly into a package is a beta feature. To use, set global "
                    "`torch.package.package_exporter._gate_torchscript_serialization` to `False`."
                )
            raise NotImplementedError("torch.package.PackageExporter.save_pickle of a ScriptModule")
        if hasattr(obj, "__reduce_package__"):
            if id(obj) not in self.serialized_reduces:
                self.serialized_reduces[id(obj)] = ("reduce_package", id(obj), *obj.__reduce_package__(self))
            return self.serialized_reduces[id(obj)]
        return None

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        if exc_type is None:
            self.close()
        else:
            self._finalize_zip()

    def _write(self, filename, data):
        if filename in self._written_files:
            raise AssertionError(
                f"Tried to write file '{filename}', but it already exists in this archive. Please file a bug."
            )
        self._written_files.add(filename)
        if is_mangled(filename):
            raise AssertionError(
                f"Tried to save a torch.package'd module as '{filename}'. Directly saving torch.package'd modules is not allowed."
            )
        data = data.encode("utf-8") if isinstance(data, str) else data
        self.zip_file.write_record(filename, data, len(data))

    def _write_source_string(self, module_name: str, src: str, is_package: bool = False):
        self._write(module_name.replace(".", "/") + ("/__init__.py" if is_package else ".py"), src)

    def _write_mock_file(self):
        if "_mock.py" not in self._written_files:
            self._write_source_string("_mock", _read_file(_mock.__file__))

    def _validate_dependency_graph(self):
        if any("error" in facts for facts in self.dependency_graph.nodes.values()):
            raise PackagingError(self.dependency_graph, debug=self.debug)
        for pattern, info in self.patterns.items():
            if not info.allow_empty and not info.was_matched:
                raise EmptyMatchError(
                    f"Exporter did not match any modules to {pattern}, which was marked as allow_empty=False"
                )

    def _execute_dependency_graph(self):
        self._validate_dependency_graph()
        external = []
        for name, facts in self.dependency_graph.nodes.items():
            action = facts["action"]
            for hook in self._hooks.get(action, {}).values():
                hook(self, name)
            if action is _EXTERN:
                external.append(name)
            elif action is _MOCK:
                self._write_mock_file()
                self._write_source_string(name, _MOCK_IMPL, hasattr(self._import_module(name), "__path__"))
            elif action is _INTERN and not facts.get("is_pickle"):
                self._write_source_string(name, facts["source"], facts["is_package"])
            elif action is _ModuleProviderAction.REPACKAGED_MOCK_MODULE:
                self._write_mock_file()
        self._write(".data/extern_modules", "\n".join(external) + "\n")

    def close(self):
        """Writes the modules and ends the file."""
        self._execute_dependency_graph()
        self._write(".data/python_version", platform.python_version())
        self._finalize_zip()

    def _finalize_zip(self):
        self.zip_file.write_end_of_file()
        del self.zip_file  # nothing can be written any more
        if self.buffer:
            self.buffer.flush()

    def _filename(self, package, resource):
        return f"{package.replace('.', '/')}/{_normalize_path(resource)}"

    # ---- what it is made of ----

    def dependency_graph_string(self) -> str:
        """The graph of dependencies, in Graphviz's language."""
        return self.dependency_graph.to_dot()

    def _with_action(self, action) -> list[str]:
        nodes = self.dependency_graph.nodes.items()
        return sorted(name for name, facts in nodes if facts.get("action") is action and "is_pickle" not in facts)

    def externed_modules(self) -> list[str]:
        """The external modules so far."""
        return self._with_action(_EXTERN)

    def interned_modules(self) -> list[str]:
        """The modules taken in so far."""
        return self._with_action(_INTERN)

    def mocked_modules(self) -> list[str]:
        """The modules left out so far."""
        return self._with_action(_MOCK)

    def denied_modules(self) -> list[str]:
        """The modules refused so far."""
        return self._with_action(_ModuleProviderAction.DENY)

    def get_rdeps(self, module_name: str) -> list[str]:
        """What needs a module."""
        return list(self.dependency_graph._pred.get(module_name, {}))

    def all_paths(self, src: str, dst: str) -> str:
        """The graph between two modules, in Graphviz's language."""
        return self.dependency_graph.all_paths(src, dst)


def _names_in(data: bytes) -> dict[str, list[str]]:
    """{module: names} that a pickle (of protocol 3 or 4) takes from modules."""
    found: dict[str, list[str]] = {}
    strings: list[Any] = [None, None]  # the last two strings that were pushed
    memo: dict[int, Any] = {}
    for opcode, arg, _ in pickletools.genops(data):
        name = opcode.name
        if "BINUNICODE" in name:
            strings = [strings[1], arg]
        elif name == "MEMOIZE":
            memo[len(memo)] = strings[1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            strings = [strings[1], memo.get(arg)]
        elif name == "GLOBAL":
            module, field = arg.split(" ")
            found.setdefault(module, []).append(field)
        elif name == "STACK_GLOBAL" and strings[0] is not None:
            found.setdefault(strings[0], []).append(strings[1])
    return found


def _read_file(path) -> str:
    return Path(path).read_bytes().decode("utf-8")

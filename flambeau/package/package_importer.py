"""`PackageImporter`: loads the modules, resources and objects of a package, apart from the environment's own modules."""

import builtins
import importlib
import importlib.machinery
import importlib.util
import inspect
import io
import linecache
import os
import types
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any
from weakref import WeakValueDictionary

import flambeau
from flambeau._locations import _restorer
from flambeau._pickling import _text
from flambeau.package._directory_reader import DirectoryReader
from flambeau.package._importlib import _calc___package__, _normalize_line_endings, _normalize_path, _resolve_name
from flambeau.package._mangling import PackageMangler, demangle
from flambeau.package._package_unpickler import PackageUnpickler
from flambeau.package.file_structure_representation import _create_directory_from_file_list
from flambeau.package.importer import Importer, environment

__all__ = ["PackageImporter"]

IMPLICIT_IMPORT_ALLOWLIST = ["numpy", "numpy.core", "numpy.core._multiarray_umath", "builtins"]
EXTERN_IMPORT_COMPAT_NAME_MAPPING = {"numpy": {"str": str, "bool": bool}}  # names that pickles of old NumPy mention


class PackageImporter(Importer):
    """The modules of a package; code in it imports from it, or what it says is external.

    Opening a package runs nothing of it. Importing a module runs its source, loading a text or bytes that of the package they
    lie in, and unpickling an object calls what the file names: that is for packages that one trusts. `module_allowed` is asked
    for what the file says that it needs; it does not hold code back.

    Args:
        file_or_buffer: a path to an archive or an unpacked directory, or an open binary file
        module_allowed: which external modules it may use
    """

    modules: dict[str, Any]

    def __init__(self, file_or_buffer, module_allowed=lambda module_name: True):
        reader: Any = flambeau._C.PyTorchFileReader
        self.filename, self.zip_reader = "<binary>", None
        if isinstance(file_or_buffer, reader):
            self.filename, self.zip_reader = "<pytorch_file_reader>", file_or_buffer
        elif isinstance(file_or_buffer, (os.PathLike, str)):
            self.filename = os.fspath(file_or_buffer)
            if os.path.isdir(self.filename):
                self.zip_reader = DirectoryReader(self.filename)
        if self.zip_reader is None:
            self.zip_reader = reader(file_or_buffer)
        self.root = _Node()
        self.modules = {}
        self.extern_modules = self.zip_reader.get_record(".data/extern_modules").decode("utf-8").splitlines()
        for name in self.extern_modules:
            if not module_allowed(name):
                raise ImportError(
                    f"package '{file_or_buffer}' needs the external module '{name}' but that module has been disallowed"
                )
            self._add_extern(name)
        for name in self.zip_reader.get_all_records():
            self._add_file(name)
        self.patched_builtins = {**builtins.__dict__, "__import__": self.__import__}
        self.modules["torch_package_importer"] = self
        self._mangler = PackageMangler()
        self.storage_context: Any = None
        self.last_map_location = None
        self.Unpickler = lambda *args, **kwargs: PackageUnpickler(self, *args, **kwargs)

    def import_module(self, name: str, package=None):
        """A module of the package, or an external one."""
        return self._gcd_import(self._mangler.demangle(name))

    def load_binary(self, package: str, resource: str) -> bytes:
        """The bytes of a resource."""
        return self.zip_reader.get_record(self._zipfile_path(package, resource))

    def load_text(self, package: str, resource: str, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text of a resource."""
        return self.load_binary(package, resource).decode(encoding, errors)

    def load_pickle(self, package: str, resource: str, map_location=None) -> Any:
        """The object in a resource; `map_location` as of `torch.load`."""
        unpickler = self.Unpickler(io.BytesIO(self.load_binary(package, resource)))
        unpickler.persistent_load = _Objects(self, map_location).load
        with self._loading(map_location):
            return unpickler.load()

    @contextmanager
    def _loading(self, map_location):
        self.storage_context, self.last_map_location = {}, map_location
        try:
            yield
        finally:
            self.storage_context = self.last_map_location = None

    def id(self):
        """The name that this importer's modules begin with."""
        return self._mangler.parent_name()

    def file_structure(self, *, include="**", exclude=()):
        """What lies in the package, as a tree."""
        return _create_directory_from_file_list(self.filename, self.zip_reader.get_all_records(), include, exclude)

    def python_version(self):
        """The version of Python that wrote it; None if it does not say."""
        record = ".data/python_version"
        return (
            self.zip_reader.get_record(record).decode("utf-8").strip() if self.zip_reader.has_record(record) else None
        )

    # ---- modules ----

    def _make_module(self, name: str, filename: str | None, is_package: bool, parent: str):
        mangled = self._mangler.mangle(filename) if filename else None
        spec = importlib.machinery.ModuleSpec(name, self, origin="<package_importer>", is_package=is_package)  # type: ignore[arg-type]
        module = self.modules[name] = importlib.util.module_from_spec(spec)
        module.__name__ = self._mangler.mangle(name)
        module.__dict__.update(__spec__=spec, __loader__=self, __file__=mangled, __cached__=None,
                               __builtins__=self.patched_builtins, __torch_package__=True)  # fmt: skip
        _package_imported_modules[module.__name__] = module
        self._install_on_parent(parent, name, module)
        if filename is not None:
            linecache.lazycache(mangled, module.__dict__)  # type: ignore[arg-type]
            source = _normalize_line_endings(self.zip_reader.get_record(filename))
            exec(compile(source, mangled, "exec", dont_inherit=True), module.__dict__)  # type: ignore[arg-type]
        return module

    def create_module(self, spec):
        """Nothing special."""
        return None

    def exec_module(self, module):
        """`_make_module` has run it."""

    def _load_module(self, name: str, parent: str):
        node = self.root
        for part in name.split("."):
            found = node.children.get(part) if node.children is not None else None
            if found is None:
                if name in IMPLICIT_IMPORT_ALLOWLIST:
                    return self._external(name)
                raise ModuleNotFoundError(
                    f'No module named "{name}" in self-contained archive "{self.filename}" and the module is also not in the '
                    f"list of allowed external modules: {self.extern_modules}",
                    name=name,
                )
            node = found
            if node.external:
                return self._external(name)
        return self._make_module(name, node.source_file, node.children is not None, parent)

    def _external(self, name):
        module = self.modules[name] = environment(name)
        for old, new in EXTERN_IMPORT_COMPAT_NAME_MAPPING.get(name, {}).items():
            module.__dict__.setdefault(old, new)
        return module

    def get_source(self, module_name) -> str:
        """The source of a module, for `linecache` and `inspect`."""
        module = self.import_module(demangle(module_name))
        return self.zip_reader.get_record(demangle(module.__file__)).decode("utf-8")

    def get_resource_reader(self, fullname):
        """What `importlib.resources` asks for."""
        try:
            package = self._get_package(fullname)
        except ImportError:
            return None
        return _PackageResourceReader(self, fullname) if package.__loader__ is self else None

    def _install_on_parent(self, parent: str, name: str, module):
        if parent and getattr(self.modules[parent], "__loader__", None) is self:
            setattr(self.modules[parent], name.rpartition(".")[2], module)

    def _find_and_load(self, name):
        if name in self.modules:
            module = self.modules[name]
            if module is None:
                raise ModuleNotFoundError(f"import of {name} halted; None in sys.modules", name=name)
            return module
        parent = name.rpartition(".")[0]
        if parent:
            above = self._gcd_import(parent)
            if name in self.modules:  # importing the parent imported it
                return self.modules[name]
            if not hasattr(above, "__path__"):
                if isinstance(getattr(above, name.rpartition(".")[2], None), types.ModuleType):  # `os.path`
                    module = self.modules[name] = getattr(above, name.rpartition(".")[2])
                    return module
                raise ModuleNotFoundError(f"No module named {name!r}; {parent!r} is not a package", name=name)
        module = self._load_module(name, parent)
        self._install_on_parent(parent, name, module)
        return module

    def _gcd_import(self, name, package=None, level=0):
        if not isinstance(name, str):
            raise TypeError(f"module name must be str, not {type(name)}")
        if level > 0:
            if not package:
                raise ImportError("attempted relative import with no known parent package")
            name = _resolve_name(name, package, level)
        elif level < 0:
            raise ValueError("level must be >= 0")
        elif not name:
            raise ValueError("Empty module name")
        return self._find_and_load(name)

    def _handle_fromlist(self, module, fromlist, recursive=False):
        """Imports the submodules that `from module import ...` names."""
        if not hasattr(module, "__path__"):
            return module
        module_name = demangle(module.__name__)
        for x in fromlist:
            if not isinstance(x, str):
                where = module_name + ".__all__" if recursive else "``from list''"
                raise TypeError(f"Item in {where} must be str, not {type(x).__name__}")
            if x == "*":
                if not recursive and hasattr(module, "__all__"):
                    self._handle_fromlist(module, module.__all__, recursive=True)
            elif not hasattr(module, x):
                try:
                    self._gcd_import(f"{module_name}.{x}")
                except ModuleNotFoundError as missing:
                    if missing.name != f"{module_name}.{x}":
                        raise
        return module

    def __import__(self, name, globals=None, locals=None, fromlist=(), level=0):
        module = self._gcd_import(name, _calc___package__(globals or {}) if level else None, level)
        if fromlist:
            return self._handle_fromlist(module, fromlist)
        if not level:
            return self._gcd_import(name.partition(".")[0])
        if not name:
            return module
        whole = demangle(module.__name__)
        return self.modules[whole[: len(whole) - (len(name) - len(name.partition(".")[0]))]]

    def _get_package(self, package):
        found = package if hasattr(package, "__spec__") else self.import_module(package)
        if found.__spec__.submodule_search_locations is None:
            raise TypeError(f"{found.__spec__.name if found is package else package!r} is not a package")
        return found

    def _zipfile_path(self, package, resource=None):
        package = self._get_package(package)
        if package.__loader__ is not self:
            raise AssertionError(f"package.__loader__ must be self, got {package.__loader__}")
        path = demangle(package.__name__).replace(".", "/")
        return path if resource is None else f"{path}/{_normalize_path(resource)}"

    # ---- the tree of modules ----

    def _get_or_create_package(self, parts):
        node = self.root
        for i, part in enumerate(parts):
            node = node.children.setdefault(part, _Node())
            if node.external:
                return node
            if node.children is None:
                raise ImportError(
                    f"inconsistent module structure. module {'.'.join(parts[:i])} is not a package, but has submodules"
                )
        return node

    def _add_file(self, filename: str):
        *prefix, last = filename.split("/")
        if len(prefix) > 1 and prefix[0] == ".data":
            return
        package = self._get_or_create_package(prefix)
        if package.external:
            raise ImportError(
                f"inconsistent module structure. package contains a module file {filename} that is a subpackage of a module "
                "marked external."
            )
        if last == "__init__.py":
            package.source_file = filename
        elif last.endswith(".py"):
            package.children[last.removesuffix(".py")] = _Node(filename, children=False)

    def _add_extern(self, extern_name: str):
        *prefix, last = extern_name.split(".")
        package = self._get_or_create_package(prefix)
        if not package.external:
            package.children[last] = _Node(external=True)


class _Node:
    """A package (with children), a module, or something external."""

    __slots__ = ("children", "external", "source_file")

    def __init__(self, source_file=None, children=True, external=False):
        self.source_file, self.external = source_file, external
        self.children: Any = {} if children else None


class _Objects:
    """Gives what a pickle names by number: storages, and objects that brought their own way of being loaded."""

    def __init__(self, importer, map_location):
        self.importer, self.restore = importer, _restorer(map_location)
        self.storages: dict[Any, Any] = {}
        self.reduces: dict[Any, Any] = {}

    def load(self, saved_id):
        if not isinstance(saved_id, tuple):
            raise AssertionError(f"saved_id must be a tuple, got {type(saved_id).__name__}")
        kind, *data = saved_id
        if _text(kind) == "storage":
            return self.storage(*data)
        if _text(kind) != "reduce_package":
            raise AssertionError(
                f"Unknown typename for persistent_load, expected 'storage' or 'reduce_package' but got '{_text(kind)}'"
            )
        number, function, args = data if len(data) == 3 else (None, *data)
        if number is None:
            return function(self.importer, *args)
        if number not in self.reduces:
            self.reduces[number] = function(self.importer, *args)
        return self.reduces[number]

    def storage(self, cls, key, location, numel):
        dtype = flambeau.uint8 if cls is flambeau.UntypedStorage else cls.dtype
        if key not in self.storages:
            tensor = self.importer.zip_reader.get_storage_from_record(f".data/{key}.storage", numel, dtype)
            found = self.restore(tensor.untyped_storage(), _text(location))
            self.storages[key] = getattr(found, "_untyped_storage", found)
        return flambeau.storage.TypedStorage(wrap_storage=self.storages[key], dtype=dtype)


class _PackageResourceReader:
    """Resources of a package, for `importlib.resources`."""

    def __init__(self, importer, fullname):
        self.importer, self.fullname = importer, fullname

    def open_resource(self, resource):
        """A resource as an open file."""
        return io.BytesIO(self.importer.load_binary(self.fullname, resource))

    def resource_path(self, resource):
        """The path of a resource, of packages that are directories."""
        reader, path = self.importer.zip_reader, os.path.join(self.fullname, resource)
        if isinstance(reader, DirectoryReader) and reader.has_record(path):
            return os.path.join(reader.directory, path)
        raise FileNotFoundError

    def is_resource(self, name):
        """Whether there is such a resource."""
        return self.importer.zip_reader.has_record(self.importer._zipfile_path(self.fullname, name))

    def contents(self):
        """The names of what lies in the package."""
        inside, seen = PurePosixPath(self.importer._zipfile_path(self.fullname)), set()
        for record in self.importer.zip_reader.get_all_records():
            path = PurePosixPath(record)
            if inside in path.parents:
                name = path.relative_to(inside).parts[0]
                if name not in seen:
                    seen.add(name)
                    yield name


_package_imported_modules: WeakValueDictionary[str, Any] = WeakValueDictionary()
_orig_getfile = inspect.getfile


def _patched_getfile(object):
    if inspect.isclass(object) and object.__module__ in _package_imported_modules:
        return _package_imported_modules[object.__module__].__file__
    return _orig_getfile(object)


inspect.getfile = _patched_getfile  # classes of packages have sources, too

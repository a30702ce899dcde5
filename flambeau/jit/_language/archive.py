"""Archives: modules and functions to PyTorch's zip files and back."""

from __future__ import annotations

import io
import pickle
import struct
import sys
from typing import Any

import flambeau
from flambeau._ground import archive
from flambeau.jit._language import types as ty
from flambeau.jit._language.printer import Printer
from flambeau.jit._language.program import Compiled
from flambeau.jit._language.reader import Unit
from flambeau.jit._language.run import Object
from flambeau.jit._language.schema import written

# ---------------------------------------------------------------- read


class _Class:
    """Stands for a class of the archive while its objects are unpickled."""

    def __init__(self, t: Any) -> None:
        self.type = t


class _Loaded:
    """An object of the archive: its type and its state."""

    def __init__(self, t: Any) -> None:
        self.type = t
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    dispatch = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(
        self, data: bytes, reader: Any, folder: str, unit: Unit | None, move: Any, storages: dict[str, Any]
    ) -> None:
        super().__init__(io.BytesIO(data))
        self.reader, self.folder, self.unit, self.move, self.storages = reader, folder, unit, move, storages

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            assert self.unit is not None
            return _Class(self.unit.find(f"{module}.{name}"))
        if module == "torch.jit._pickle":
            return _PICKLED[name]
        if module == "torch._utils" and name.startswith("_rebuild"):
            from flambeau import _utils

            return getattr(_utils, name)
        if module == "collections" and name == "OrderedDict":
            import collections

            return collections.OrderedDict
        if module == "torch" and name == "device":
            return flambeau.device
        if module == "torch" and name.endswith("Storage"):
            from flambeau._weights_only_unpickler import StorageType

            return StorageType(name)
        if module == "builtins" and name == "complex":
            return complex
        raise pickle.UnpicklingError(f"{module}.{name} is not part of TorchScript's archives")

    def load_newobj(self) -> None:
        self.stack.pop()
        cls = self.stack.pop()
        self.stack.append(_Loaded(cls.type))

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_reduce(self) -> None:
        args = self.stack.pop()
        fn = self.stack[-1]
        if isinstance(fn, _Class):
            if isinstance(fn.type, ty.Enum):
                self.stack[-1] = fn.type.python(args[0])
                return
            from flambeau.jit._language.run import named_tuple

            self.stack[-1] = named_tuple(fn.type)(*args)
            return
        self.stack[-1] = fn(*args)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def persistent_load(self, pid: Any) -> Any:
        from flambeau import storage as storages
        from flambeau._locations import _restorer
        from flambeau._values import dtype as dtypes

        _, kind, key, location, numel = pid
        dtype = getattr(kind, "dtype", None) or dtypes.uint8
        full = f"{self.folder}/{key}"
        if full not in self.storages:
            untyped = storages.UntypedStorage(self.reader.size(full))
            if self.reader.size(full):
                self.reader.read(full, into=untyped._data)
            self.storages[full] = _restorer(self.move)(untyped, location)
        return storages.TypedStorage(wrap_storage=self.storages[full], dtype=dtype)


def _tag(value: Any, tag: str) -> Any:
    return value


_PICKLED: dict[str, Any] = {
    "build_intlist": list, "build_doublelist": list, "build_boollist": list, "build_tensorlist": list, "build_complexlist": list,
    "restore_type_tag": _tag,
}  # fmt: skip


def read(file: Any, map_location: Any = None, extra: dict[str, Any] | None = None) -> Any:
    """The module of an archive."""
    reader = archive.Reader(file)
    records = set(reader.records())
    if "constants.pkl" not in records or "data.pkl" not in records:
        raise archive.failure("locating file constants.pkl", "file not found")
    if extra is not None:
        for name in extra:
            if f"extra/{name}" in records:
                extra[name] = bytes(reader.read(f"extra/{name}"))
    shared: dict[str, Any] = {}
    constants: list[Any] = []

    texts = {n[5:-3]: bytes(reader.read(n)).decode() for n in records if n.startswith("code/") and n.endswith(".py")}

    def code(module: str) -> str | None:
        return texts.get(module.replace(".", "/"))

    unit = Unit(code, constants)
    constants += list(
        _Unpickler(bytes(reader.read("constants.pkl")), reader, "constants", unit, map_location, shared).load()
    )
    loaded = _Unpickler(bytes(reader.read("data.pkl")), reader, "data", unit, map_location, shared).load()
    return build(loaded, {})


def build(value: Any, seen: dict[int, Any]) -> Any:
    """Objects of the archive as modules and objects that run."""
    if isinstance(value, list):
        return [build(v, seen) for v in value]
    if isinstance(value, dict):
        return {build(k, seen): build(v, seen) for k, v in value.items()}
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(build(v, seen) for v in value)
    if not isinstance(value, _Loaded):
        return value
    if id(value) in seen:
        return seen[id(value)]
    t = value.type
    if not t.is_module:
        made = Object(t)
        seen[id(value)] = made
        if "__setstate__" in t.methods:
            t.methods["__setstate__"].run(made, build(value.state, seen))
            return made
        for k, v in value.state.items():
            made.__dict__[k] = build(v, seen)
        return made
    from flambeau.jit._script import new_module

    module = new_module(t)
    seen[id(value)] = module
    if "__setstate__" in t.methods:
        for k in t.attributes:
            module.__dict__.setdefault(k, None)
        t.methods["__setstate__"].run(module, build(value.state, seen))
        return module
    for k, v in value.state.items():
        put(module, t, k, build(v, seen))
    return module


def put(module: Any, t: ty.Class, name: str, value: Any) -> None:
    """Set an attribute of a module that is being made."""
    kind = t.attributes.get(name)
    if name in t.parameters:
        if value is not None and not isinstance(value, flambeau.nn.Parameter):
            value = flambeau.nn.Parameter(value, requires_grad=value.requires_grad)
        module._parameters[name] = value
    elif name in t.buffers:
        module._buffers[name] = value
    elif isinstance(kind, (ty.Class, ty.Interface)) and kind.is_module:
        module._modules[name] = value
    else:
        module.__dict__[name] = value


# ---------------------------------------------------------------- write


class _Pickler:
    """Pickles values as PyTorch's C++ reads them: protocol 2, classes of the archive by their qualified names."""

    def __init__(self, storages: Any, rename: Any) -> None:
        self.out = bytearray(b"\x80\x02")
        self.storages, self.rename = storages, rename
        self.memo: dict[int, int] = {}
        self.kept: list[Any] = []

    def done(self) -> bytes:
        return bytes(self.out + b".")

    def glob(self, module: str, name: str) -> None:
        self.out += f"c{module}\n{name}\n".encode()

    def save(self, v: Any, t: ty.Type) -> None:
        out = self.out
        if isinstance(t, ty.Optional):
            t = t.element if v is not None else ty.NONE
        if v is None:
            out += b"N"
        elif isinstance(v, bool):
            out += b"\x88" if v else b"\x89"
        elif isinstance(t, ty.Enum):
            self.glob(*self.rename(t).rsplit(".", 1))
            self.save(v.value, t.value)
            out += b"\x85R"
        elif isinstance(v, int):
            if -(2**31) <= v < 2**31:
                out += b"J" + struct.pack("<i", v)
            else:
                out += b"\x8a\x08" + struct.pack("<q", v)
        elif isinstance(v, float):
            out += b"G" + struct.pack(">d", v)
        elif isinstance(v, complex):
            self.glob("builtins", "complex")
            self.save(v.real, ty.FLOAT)
            self.save(v.imag, ty.FLOAT)
            out += b"\x86R"
        elif isinstance(v, str):
            data = v.encode()
            out += b"X" + struct.pack("<I", len(data)) + data
        elif isinstance(v, flambeau.Tensor):
            self.tensor(v)
        elif isinstance(v, flambeau.device):
            self.glob("torch", "device")
            self.save(str(v), ty.STR)
            out += b"\x85R"
        elif isinstance(v, list):
            self.list_(v, t)
        elif isinstance(v, dict):
            kt, vt = t.contained
            self.glob("torch.jit._pickle", "restore_type_tag")
            out += b"}("
            for k, x in v.items():
                self.save(k, kt)
                self.save(x, vt)
            out += b"u"
            self.save(self.written(t), ty.STR)
            out += b"\x86R"
        elif isinstance(v, tuple):
            if isinstance(t, ty.Tuple) and t.qualified:
                self.glob(*self.rename(t).rsplit(".", 1))
            kinds = t.contained if isinstance(t, ty.Tuple) else [flambeau_type(x) for x in v]
            out += b"("
            for x, k in zip(v, kinds):
                self.save(x, k)
            out += b"t"
            if isinstance(t, ty.Tuple) and t.qualified:
                out += b"R"
        elif isinstance(t, (ty.Class, ty.Interface)):
            self.object_(v)
        else:
            raise RuntimeError(f"a value of type {t} cannot be saved in an archive")

    def written(self, t: ty.Type) -> str:
        return t.annotation_str

    def list_(self, v: list[Any], t: Any) -> None:
        element = t.element
        kinds = {
            "int": "build_intlist",
            "float": "build_doublelist",
            "bool": "build_boollist",
            "Tensor": "build_tensorlist",
        }
        special = kinds.get(str(element))
        self.glob("torch.jit._pickle", special or "restore_type_tag")
        self.out += b"]("
        for x in v:
            self.save(x, element)
        self.out += b"e"
        if special:
            self.out += b"\x85R"
        else:
            self.save(self.written(t), ty.STR)
            self.out += b"\x86R"

    def tensor(self, v: Any) -> None:
        facts = self.storages.identify(v._typed_storage())
        self.glob("torch._utils", "_rebuild_tensor_v2")
        self.out += b"(("
        cls, key, location, numel = facts
        self.save("storage", ty.STR)
        self.glob("torch", cls.__name__)
        self.save(key, ty.STR)
        self.save(location, ty.STR)
        self.save(numel, ty.INT)
        self.out += b"tQ"
        self.save(v.storage_offset(), ty.INT)
        for sizes in (v.size(), v.stride()):
            self.out += b"("
            for n in sizes:
                self.save(int(n), ty.INT)
            self.out += b"t"
        self.save(bool(v.requires_grad), ty.BOOL)
        self.glob("collections", "OrderedDict")
        self.out += b")RtR"
        self.kept.append(v)

    def object_(self, v: Any) -> None:
        if id(v) in self.memo:
            self.out += b"j" + struct.pack("<I", self.memo[id(v)])
            return
        t = class_of(v)
        self.glob(*self.rename(t).rsplit(".", 1))
        self.out += b")\x81"
        self.memo[id(v)] = len(self.memo)
        self.out += b"r" + struct.pack("<I", self.memo[id(v)])
        if "__getstate__" in t.methods:
            state = t.methods["__getstate__"].run(v)
            self.save(state, t.methods["__getstate__"].schema.result)
            self.out += b"b"
            return
        self.out += b"}("
        for name, kind in t.attributes.items():
            self.save(name, ty.STR)
            self.save(get(v, t, name), kind)
        self.out += b"ub"


def flambeau_type(v: Any) -> ty.Type:
    from flambeau.jit._language.express import type_of

    return type_of(v)


def class_of(v: Any) -> ty.Class:
    return v._type if isinstance(v, Object) else v._c._type()


def get(v: Any, t: ty.Class, name: str) -> Any:
    """An attribute of an object."""
    if not t.is_module:
        return v.__dict__[name]
    for box in (v._parameters, v._buffers, v._modules, v.__dict__):
        if name in box:
            return box[name]
    raise AttributeError(name)


class _Program:
    """The text of all that a module needs, by the file it goes to."""

    def __init__(self) -> None:
        self.constants: list[Any] = []
        self.files: dict[str, list[str]] = {}
        self.seen: set[int] = set()
        self.queue: list[Any] = []
        self.known: dict[str, Any] = {}

    def named(self, t: Any) -> str:
        """The name of a type whose object is pickled: its text goes along."""
        self.use(t)
        return self.rename(t)

    def rename(self, t: Any) -> str:
        return t.qualified if not isinstance(t, Compiled) else t.name

    def use(self, what: Any) -> None:
        if isinstance(what, (ty.Class, ty.Enum, ty.Interface, Compiled)) or (
            isinstance(what, ty.Tuple) and what.qualified
        ):
            name = self.rename(what)
            if name not in self.known:
                self.known[name] = what
                self.write(what)

    def write(self, what: Any) -> None:
        name = self.rename(what)
        module = name.rpartition(".")[0]
        if isinstance(what, Compiled):
            text = Printer(self.constants, self.use).function(what.graph, what.short, what.schema)
        elif isinstance(what, ty.Class):
            text = self.class_(what)
        elif isinstance(what, ty.Enum):
            text = f"class {name.rpartition('.')[2]}(Enum):\n" + "".join(
                f"  {n} = {written(v)}\n" for n, v in what.members
            )
        elif isinstance(what, ty.Interface):
            base = "ModuleInterface" if what.is_module else "Interface"
            text = f"class {name.rpartition('.')[2]}({base}):\n"
            for n, s in what.methods.items():
                params = ", ".join(["self", *(f"{a.name}: {self.note(a.type)}" for a in s.arguments[1:])])
                text += f"  def {n}({params}) -> {self.note(s.result)}:\n    pass\n"
        else:
            lines = [f"  {f} : {self.note(p)}\n" for f, p in zip(what.fields, what.parts)]
            text = f"class {name.rpartition('.')[2]}(NamedTuple):\n" + "".join(lines)
        self.files.setdefault(module, []).append(text)

    def note(self, t: ty.Type) -> str:
        for x in ty.walk(t):
            self.use(x)
        return t.annotation_str

    def class_(self, t: ty.Class) -> str:
        out = [f"class {t.name()}{'(Module)' if t.is_module else ''}:\n"]
        if t.is_module:
            for key, kept in (("__parameters__", t.parameters), ("__buffers__", t.buffers)):
                listed = "".join(f'"{n}", ' for n in t.attributes if n in kept)
                out.append(f"  {key} = [{listed}]\n")
        for name, kind in t.attributes.items():
            out.append(
                f"  {name} : {self.note(kind)}\n"
                if name.isidentifier()
                else f'  __annotations__["{name}"] = {self.note(kind)}\n'
            )
        for name, value in t.constants.items():
            try:
                out.append(f"  {name} : Final[{flambeau_type(value).annotation_str}] = {written(value)}\n")
            except TypeError:
                continue
        for name, fn in t.methods.items():
            if name in ("__enter__", "__exit__") and t.is_module:
                continue
            out.append(Printer(self.constants, self.use).function(fn.graph, name, fn.schema, 1, t.qualified))
        return "".join(out)


def write(module: Any, file: Any, name: str, extra: dict[str, Any] | None = None) -> None:
    """Write a module's archive."""
    from flambeau._pickling import Storages

    program = _Program()
    program.use(class_of(module))
    writer = archive.Writer(file, name)
    for key, value in (extra or {}).items():
        writer.add(f"extra/{key}", value.encode() if isinstance(value, str) else value)
    storages = Storages()
    pickler = _Pickler(storages, program.named)
    pickler.object_(module)
    for key, storage in storages.kept.items():
        writer.add(f"data/{key}", storage.cpu()._data)
    writer.add("data.pkl", pickler.done())
    for path, texts in program.files.items():
        writer.add(f"code/{path.replace('.', '/')}.py", "".join(texts).encode())
    storages = Storages()
    constants = _Pickler(storages, program.rename)
    constants.save(tuple(program.constants), ty.Tuple(*(ty.TENSOR for _ in program.constants)))
    for key, storage in storages.kept.items():
        writer.add(f"constants/{key}", storage.cpu()._data)
    writer.add("constants.pkl", constants.done())
    writer.add("version", b"3\n")
    writer.add("byteorder", sys.byteorder.encode())
    writer.add(".data/serialization_id", f"{writer.summed:020d}{len(writer.directory):020d}".encode())
    writer.close()

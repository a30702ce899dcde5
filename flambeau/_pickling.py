"""The pickles within checkpoints: written under PyTorch's names, with storages as references, and read back under ours."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import IO, Any

from flambeau import _weights_only_unpickler, storage as storages
from flambeau._locations import location_tag
from flambeau._values import device as devices, dtype as dtypes
from flambeau._values.generator import Generator
from flambeau._values.qscheme import qscheme
from flambeau._weights_only_unpickler import StorageType, _get_layout

_PythonPickler: Any = pickle._Pickler


class Pickler(_PythonPickler):  # type: ignore[misc]
    """Pickles under PyTorch's names. Python's own pickler, since the C one insists on importing what it names."""

    dispatch: dict[Any, Any] = dict(_PythonPickler.dispatch)

    def __init__(self, file: Any, protocol: int, persistent: Callable[[Any], Any]) -> None:
        super().__init__(file, protocol=protocol)
        self.persistent_id = persistent

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is dtypes.dtype or kind is qscheme:
            return obj.name  # a global: torch.float32
        if kind is devices.device:
            return devices.device, (obj.type,) if obj.index is None else (obj.type, obj.index)
        if kind is devices.layout:
            return _get_layout, (f"torch.{obj.name}",)
        if kind is Generator:
            return Generator, (obj.device,), (obj.initial_seed(), None, obj.get_state())
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        name = name or getattr(obj, "__qualname__", None) or obj.__name__
        module = pickle.whichmodule(obj, name)  # type: ignore[attr-defined]
        if isinstance(obj, (dtypes.dtype, qscheme)) or obj is devices.device:
            module = "torch"
        elif obj is _get_layout:
            module = "torch.serialization"
        elif obj is Generator:
            module = "torch._C"
        top, _, rest = module.partition(".")
        if top not in ("flambeau", "torch") or "." in name or "<" in name:
            super().save_global(obj, name)
            return
        if name == "_rebuild_from_type_v2":
            rest = "_tensor"
        module = f"torch.{rest}" if rest else "torch"
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch[type(location_tag)] = save_global


def _pickler(module: Any, file: Any, protocol: int, persistent: Callable[[Any], Any]) -> Any:
    if module is pickle:
        return Pickler(file, protocol, persistent)

    class Foreign(module.Pickler):  # type: ignore[misc]
        def persistent_id(self, obj: Any) -> Any:
            return persistent(obj)

    return Foreign(file, protocol=protocol)


class Storages:
    """The storages met while pickling: their keys, in order, and what the pickle says of them."""

    def __init__(self) -> None:
        self.kept: dict[str, storages.UntypedStorage] = {}
        self.keys: dict[int, str] = {}
        self.dtypes: dict[int, dtypes.dtype] = {}

    def identify(self, obj: Any) -> tuple[Any, str, str, int] | None:
        """(class, key, location, number of elements) of a storage, None for anything else."""
        if isinstance(obj, storages.TypedStorage):
            untyped, dtype, numel = obj._untyped_storage, obj.dtype, len(obj)
            cls: type = storages.LEGACY_CLASSES[obj.pickle_storage_type()]
        elif isinstance(obj, storages.UntypedStorage):
            untyped, dtype, numel = obj, dtypes.uint8, obj.nbytes()
            cls = storages.UntypedStorage
        else:
            return None
        address = untyped.data_ptr()
        if address and self.dtypes.setdefault(address, dtype) is not dtype:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as different types")
        key = self.keys.setdefault(untyped._cdata, str(len(self.keys)))
        self.kept[key] = untyped  # alive until written, so that no address is used twice
        return cls, key, location_tag(untyped), numel


def _text(value: Any) -> Any:
    """Strings of Python 2 pickles may arrive as bytes."""
    return value.decode("ascii") if isinstance(value, bytes) else value


def _unpickler(file: IO[bytes], persistent: Callable[[Any], Any], module: Any, weights_only: bool,
               arguments: dict[str, Any]) -> Any:  # fmt: skip
    """A reader of one pickle: the one that knows only data, or Python's, with PyTorch's names led to ours."""
    if weights_only:
        machine = _weights_only_unpickler.Unpickler(file, encoding=arguments["encoding"])
        machine.persistent_load = persistent  # type: ignore[method-assign,assignment]
        return machine

    # Who looks at names before letting them in (lists of what is allowed) knows PyTorch's, as long as those lead here.
    own = module.Unpickler.find_class not in (pickle.Unpickler.find_class, vars(pickle)["_Unpickler"].find_class)
    as_written = own and sys.modules.get("torch") is sys.modules["flambeau"]

    class Machine(module.Unpickler):  # type: ignore[misc]
        def persistent_load(self, pid: Any) -> Any:
            return persistent(pid)

        def find_class(self, module_name: str, name: str) -> Any:
            if name in storages.LEGACY_CLASSES:
                return StorageType(name)
            if (module_name, name) == ("torch._tensor", "_rebuild_from_type_v2"):
                module_name = "torch._utils"
            return super().find_class(module_name if as_written else _our_module(module_name), name)

    return Machine(file, **arguments)


def _our_module(name: str) -> str:
    """Where flambeau keeps what PyTorch keeps in that module."""
    if name == "torch.tensor":  # before PyTorch 1.8
        return "flambeau._tensor"
    return "flambeau" + name.removeprefix("torch") if name == "torch" or name.startswith("torch.") else name

"""Reads pickles that hold data only: tensors, numbers, strings and containers. Nothing that a file names is looked up or called
unless it stands in a list of what is harmless, or the user put it there.

The opcodes understood are those that a pickle of protocol 2 of a checkpoint needs. Everything else is refused.
"""

from __future__ import annotations

import functools
import struct
import warnings
from _codecs import encode
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from pickle import UnpicklingError, decode_long
from typing import IO, Any

from flambeau import _utils, storage as storages
from flambeau._tensor import Tensor
from flambeau._values import device as devices, dtype as dtypes, qscheme as qschemes
from flambeau._values.shape import Size

BLOCKED = ("sys", "os", "posix", "nt")  # never, whatever the user says
_allowed_by_user: set[Any] = set()


def _add_safe_globals(safe_globals: list[Any]) -> None:
    _allowed_by_user.update(safe_globals)


def _get_safe_globals() -> list[Any]:
    return list(_allowed_by_user)


def _clear_safe_globals() -> None:
    _allowed_by_user.clear()


def _remove_safe_globals(globals_to_remove: list[Any]) -> None:
    _allowed_by_user.difference_update(globals_to_remove)


class _safe_globals:
    def __init__(self, safe_globals: list[Any]) -> None:
        self.safe_globals = safe_globals

    def __enter__(self) -> None:
        _add_safe_globals(self.safe_globals)

    def __exit__(self, *exc: object) -> None:
        _remove_safe_globals(self.safe_globals)


def _get_user_allowed_globals() -> dict[str, Any]:
    out: dict[str, Any] = {}
    for item in _allowed_by_user:
        if isinstance(item, tuple):
            if len(item) != 2:
                raise ValueError(
                    "Expected tuple of length 2 (global, str of callable full path), but got tuple of length: "
                    f"{len(item)}"
                )
            if type(item[1]) is not str:
                raise TypeError(
                    f"Expected second item in tuple to be str of callable full path, but got: {type(item[1])}"
                )
            out[item[1]] = item[0]
        else:
            path = f"{item.__module__}.{item.__qualname__}"
            out[path] = item
            if path.startswith("flambeau."):
                out["torch" + path.removeprefix("flambeau")] = item  # what files call it
    return out


REBUILDERS = (
    "_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_qtensor", "_rebuild_tensor", "_rebuild_tensor_v2",
    "_rebuild_tensor_v3", "_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor",
    "_rebuild_wrapper_subclass", "_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor",
)  # fmt: skip


class StorageType:
    """Stands for FloatStorage and its like: what a file says about a storage is its dtype."""

    def __init__(self, name: str) -> None:
        self.dtype = storages.LEGACY_CLASSES[name].dtype  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"StorageType(dtype={self.dtype})"


def _get_layout(name: str) -> Any:
    """The layout of that name, such as "torch.strided"."""
    layout = getattr(devices, name.removeprefix("torch."), None)
    if not isinstance(layout, devices.layout):
        raise KeyError(name)
    return layout


@functools.cache
def _get_allowed_globals() -> dict[str, Any]:
    out: dict[str, Any] = {
        "collections.OrderedDict": OrderedDict,
        "collections.Counter": Counter,
        "torch.nn.parameter.Parameter": _utils._public("flambeau.nn.parameter.Parameter"),
        "torch.serialization._get_layout": _get_layout,
        "torch.Size": Size,
        "torch.Tensor": Tensor,
        "torch.device": devices.device,
        "_codecs.encode": encode,
        "builtins.bytearray": bytearray,
        "builtins.set": set,
        "builtins.complex": complex,
        "torch.storage.TypedStorage": storages.TypedStorage,
        "torch.storage.UntypedStorage": storages.UntypedStorage,
        "torch._tensor._rebuild_from_type_v2": _utils._rebuild_from_type_v2,
    }
    out |= {str(d): d for d in (*dtypes.ALL, *qschemes.ALL)}
    out |= {f"torch.{name}": StorageType(name) for name in storages.LEGACY_CLASSES}
    out |= {f"torch._utils.{name}": getattr(_utils, name) for name in REBUILDERS}
    return out


def _path(module: str, name: str) -> tuple[str, str]:
    """A global's name today: pickles of protocol 2 use Python 2's."""
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


class Unpickler:
    """A pickle machine that knows no code.

    >>> import io, pickle
    >>> Unpickler(io.BytesIO(pickle.dumps({"a": [1, 2.5]}, 2))).load()
    {'a': [1, 2.5]}
    """

    def __init__(self, file: IO[bytes], *, encoding: str = "bytes") -> None:
        self.encoding = encoding
        self.file = file
        self.memo: dict[int, Any] = {}
        self.marks: list[list[Any]] = []
        self.stack: list[Any] = []
        self.foreign = False  # whether something that the user allowed takes part

    def persistent_load(self, pid: Any) -> Any:
        """What a persistent id stands for; replaced by whoever knows."""
        raise UnpicklingError("unsupported persistent id encountered")

    def load(self) -> Any:
        """Read one pickle."""
        operations = OPERATIONS
        while True:
            code = self.file.read(1)
            if not code:
                raise EOFError("Ran out of input")
            if code == b".":
                return self.pop()
            operation = operations.get(code[0])
            if operation is None:
                raise UnpicklingError(f"Unsupported operand {code[0]}")
            try:
                operation(self)
            except (TypeError, KeyError, IndexError, AttributeError, OverflowError, UnicodeDecodeError) as error:
                if self.foreign or operation is Unpickler.persistent_id:  # somebody else's code may have raised it
                    raise
                raise UnpicklingError(f"the pickle is corrupted: {type(error).__name__}: {error}") from error

    def read(self, n: int) -> bytes:
        data = self.file.read(n)
        if len(data) != n:
            raise UnpicklingError("pickle data was truncated")
        return data

    def unpack(self, layout: str) -> Any:
        return struct.unpack(layout, self.read(struct.calcsize(layout)))[0]

    def pop(self) -> Any:
        if not self.stack:
            raise UnpicklingError("unexpected MARK found or stack underflow: the pickle is corrupted")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            raise UnpicklingError("unexpected MARK found or stack underflow: the pickle is corrupted")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise UnpicklingError("could not find MARK: the pickle is corrupted")
        items, self.stack = self.stack, self.marks.pop()
        return items

    # ---- names and calls: the only places where a file could reach code ----

    def global_(self) -> None:
        lines = [self.file.readline() for _ in range(2)]
        if not all(line.endswith(b"\n") for line in lines):
            raise UnpicklingError("pickle data was truncated")
        module, name = _path(*(line[:-1].decode("utf-8") for line in lines))
        path = f"{module}.{name}"
        if module in BLOCKED:
            raise UnpicklingError(f"Trying to load unsupported GLOBAL {path} whose module {module} is blocked.")
        if path.startswith("torch.nested._internal.") or path == "torch._dynamo.decorators._DimRange":
            _utils._public("flambeau.nested.nested_tensor")  # which allows what it needs
        known, allowed = _get_allowed_globals(), _get_user_allowed_globals()
        if path in known or path in allowed:
            self.foreign |= path not in known
            self.stack.append(known[path] if path in known else allowed[path])
            return
        path = path.removeprefix("builtins.")
        raise UnpicklingError(
            f"Unsupported global: GLOBAL {path} was not an allowed global by default. "
            f"Please use `torch.serialization.add_safe_globals([{path}])` or the "
            f"`torch.serialization.safe_globals([{path}])` context manager to allowlist this global "
            "if you trust this class/function."
        )

    @staticmethod
    def allowed(obj: Any) -> bool:
        tables = (_get_allowed_globals(), _get_user_allowed_globals())
        return any(obj is item for table in tables for item in table.values())

    def newobj(self) -> None:
        args, cls = self.pop(), self.pop()
        if not isinstance(cls, type) or not self.allowed(cls):
            raise UnpicklingError(
                "Can only create new object for nn.Parameter or classes allowlisted via `add_safe_globals` but got "
                f"{cls}"
            )
        self.stack.append(cls.__new__(cls, *args))

    def reduce(self) -> None:
        args, function = self.pop(), self.top()
        if not callable(function) or not self.allowed(function):
            message = f"Trying to call reduce for unrecognized function {function}"
            if hasattr(function, "__self__"):
                message += f" which belongs to {function.__self__}"
            raise UnpicklingError(message)
        self.stack[-1] = function(*args)

    def build(self) -> None:
        state, obj = self.pop(), self.top()
        if isinstance(obj, Tensor):
            if type(obj) is not Tensor and not self.allowed(type(obj)):
                raise UnpicklingError(self._cannot_build(obj))
            obj.__setstate__(state)
        elif type(obj) is OrderedDict:
            obj.__dict__.update(state)
        elif self.allowed(type(obj)):
            if hasattr(obj, "__setstate__"):
                obj.__setstate__(state)
                return
            slots = None
            if isinstance(state, tuple) and len(state) == 2:
                state, slots = state
            if state:
                obj.__dict__.update(state)
            for name, value in (slots or {}).items():
                setattr(obj, name, value)
        else:
            raise UnpicklingError(self._cannot_build(obj))

    @staticmethod
    def _cannot_build(obj: Any) -> str:
        return (
            "Can only build Tensor, Parameter, OrderedDict or types allowlisted via `add_safe_globals`, but got "
            f"{type(obj)}"
        )

    def persistent_id(self) -> None:
        pid = self.pop()
        if type(pid) not in (tuple, int):
            raise UnpicklingError(f"persistent_load id must be tuple or int, but got {type(pid)}")
        if type(pid) is tuple and pid and pid[0] not in ("storage", b"storage"):
            raise UnpicklingError(f"Only persistent_load of storage is allowed, but got {type(pid[0])}")
        self.stack.append(self.persistent_load(pid))

    # ---- containers ----

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def tuple_(self) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def tuple_of(self, n: int) -> None:
        if len(self.stack) < n:
            raise UnpicklingError("unexpected MARK found or stack underflow: the pickle is corrupted")
        self.stack[-n:] = [tuple(self.stack[-n:])]

    def extend(self, items: list[Any], word: str) -> None:
        target = self.top()
        if type(target) is not list:
            raise UnpicklingError(f"Can only {word} lists, but got {type(target)}")
        target.extend(items)

    def set_items(self, items: list[Any], code: str) -> None:
        target = self.top()
        if type(target) not in (dict, OrderedDict, Counter):
            raise UnpicklingError(
                f"Can only {code} for dict, collections.OrderedDict, collections.Counter, but got {type(target)}"
            )
        if len(items) % 2:
            raise UnpicklingError("odd number of items for SETITEMS")
        for i in range(0, len(items), 2):
            target[items[i]] = items[i + 1]

    # ---- atoms ----

    def text(self) -> None:
        self.stack.append(str(self.read(self.unpack("<I")), "utf-8", "surrogatepass"))

    def short_string(self) -> None:
        data = self.read(self.unpack("<B"))
        self.stack.append(data if self.encoding == "bytes" else data.decode(self.encoding, "strict"))

    def get(self, layout: str) -> None:
        index = self.unpack(layout)
        if index not in self.memo:
            raise UnpicklingError(f"Memo value not found at index {index}")
        self.stack.append(self.memo[index])

    def put(self, layout: str) -> None:
        self.memo[self.unpack(layout)] = self.top()

    def protocol(self) -> None:
        number = self.unpack("<B")
        if number != 2:
            warnings.warn(
                f"Detected pickle protocol {number} in the checkpoint, which was not the default pickle protocol used by "
                "`torch.load` (2). The weights_only Unpickler might not support all instructions implemented by this "
                "protocol, please file an issue for adding support if you encounter this.",
                stacklevel=2,
            )


OPERATIONS: dict[int, Any] = {
    ord(code): operation
    for code, operation in {
        "\x80": Unpickler.protocol,
        "c": Unpickler.global_,
        "\x81": Unpickler.newobj,
        "R": Unpickler.reduce,
        "b": Unpickler.build,
        "Q": Unpickler.persistent_id,
        "(": Unpickler.mark,
        "t": Unpickler.tuple_,
        "\x85": lambda m: m.tuple_of(1),
        "\x86": lambda m: m.tuple_of(2),
        "\x87": lambda m: m.tuple_of(3),
        ")": lambda m: m.stack.append(()),
        "]": lambda m: m.stack.append([]),
        "}": lambda m: m.stack.append({}),
        "\x8f": lambda m: m.stack.append(set()),
        "a": lambda m: m.extend([m.pop()], "append to"),
        "e": lambda m: m.extend(m.pop_mark(), "extend"),
        "s": lambda m: m.set_items([m.pop(), m.pop()][::-1], "SETITEM"),
        "u": lambda m: m.set_items(m.pop_mark(), "SETITEMS"),
        "N": lambda m: m.stack.append(None),
        "\x88": lambda m: m.stack.append(True),
        "\x89": lambda m: m.stack.append(False),
        "J": lambda m: m.stack.append(m.unpack("<i")),
        "K": lambda m: m.stack.append(m.unpack("<B")),
        "M": lambda m: m.stack.append(m.unpack("<H")),
        "G": lambda m: m.stack.append(m.unpack(">d")),
        "\x8a": lambda m: m.stack.append(decode_long(m.read(m.unpack("<B")))),
        "X": Unpickler.text,
        "U": Unpickler.short_string,
        "h": lambda m: m.get("<B"),
        "j": lambda m: m.get("<I"),
        "q": lambda m: m.put("<B"),
        "r": lambda m: m.put("<I"),
    }.items()
}


def load(file: IO[bytes], *, encoding: str = "ASCII") -> Any:
    """Read one pickle of data."""
    return Unpickler(file, encoding=encoding).load()


def get_globals_in_pkl(file: IO[bytes]) -> set[str]:
    """The names that a pickle uses, without doing anything it says."""
    import pickletools

    found = set()
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            found.add(".".join(_path(*argument.split(" ", 1))))
        elif ord(operation.code) not in OPERATIONS and operation.code != ".":
            raise UnpicklingError(f"Unsupported operand {ord(operation.code)}")
    return found

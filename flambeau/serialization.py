"""save and load: checkpoints in PyTorch's zip format, both ways. The formats before it are in `_legacy_checkpoint.py`.

A checkpoint is an archive (`_ground.archive`) of one pickle, `data.pkl`, and the bytes of each storage, `data/0`, `data/1`, ...
The pickle names modules as PyTorch does (`torch._utils`, `torch.nn...`), so that either library reads what the other wrote.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from enum import Enum
from typing import IO, Any

from flambeau import _weights_only_unpickler, storage as storages
from flambeau._ground import archive
from flambeau._locations import (
    _restorer,
    default_restore_location,
    location_tag,
    register_package,
    validate_cuda_device,
    validate_hpu_device,
)
from flambeau._pickling import Storages, _pickler, _text, _unpickler
from flambeau._utils import _public
from flambeau._values import device as devices, dtype as dtypes
from flambeau._weights_only_unpickler import StorageType, _get_layout  # noqa: F401 - pickles name torch.serialization._get_layout

__all__ = ["LoadEndianness", "SourceChangeWarning", "StorageType", "add_safe_globals", "check_module_version_greater_or_equal",
           "clear_safe_globals", "default_restore_location", "get_crc32_options", "get_default_load_endianness",
           "get_default_mmap_options", "get_safe_globals", "get_unsafe_globals_in_checkpoint", "load", "location_tag",
           "mkdtemp", "normalize_storage_type", "register_package", "safe_globals", "save", "set_crc32_options",
           "set_default_load_endianness", "set_default_mmap_options", "skip_data", "storage_to_tensor_type",
           "validate_cuda_device", "validate_hpu_device"]  # fmt: skip

DEFAULT_PROTOCOL = 2
MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
LONG_SIZE, INT_SIZE, SHORT_SIZE = 8, 4, 2
FORMAT_VERSION, OLDEST_FORMAT, NEWEST_FORMAT = b"3\n", 1, 10  # of the archive
ADVICE = (
    "In PyTorch 2.6, we changed the default value of the `weights_only` argument in `torch.load` from `False` to `True`. "
    "Re-running `torch.load` with `weights_only` set to `False` will likely succeed, but it can result in arbitrary code "
    "execution. Do it only if you got the file from a trusted source."
)


MAP_LOCATION = Callable[[Any, str], Any] | devices.device | str | dict[str, str] | None  # what `map_location` may be


class SourceChangeWarning(Warning):
    """The source of a class changed since a checkpoint was written."""


class LoadEndianness(Enum):
    """The byte order of checkpoints that do not say theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


class _Options(threading.local):
    """What `skip_data` and the setters below change."""

    def __init__(self) -> None:
        self.skip_data = False
        self.endianness: LoadEndianness | None = None
        self.crc32 = True
        self.mmap_flags: int | None = None


_options = _Options()


def get_default_load_endianness() -> LoadEndianness | None:
    """The byte order assumed of checkpoints that do not say theirs; None means little."""
    return _options.endianness


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Set the byte order assumed of checkpoints that do not say theirs."""
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    _options.endianness = endianness


def get_crc32_options() -> bool:
    """Whether `save` computes checksums."""
    return _options.crc32


def set_crc32_options(compute_crc32: bool) -> None:
    """Choose whether `save` computes checksums; without them, damage goes unnoticed."""
    _options.crc32 = compute_crc32


def get_default_mmap_options() -> int | None:
    """The flags with which `load(mmap=True)` maps a file: MAP_PRIVATE or MAP_SHARED."""
    if _options.mmap_flags is None and sys.platform != "win32":
        import mmap

        _options.mmap_flags = mmap.MAP_PRIVATE
    return _options.mmap_flags


class set_default_mmap_options:
    """Sets the flags with which `load(mmap=True)` maps a file, for good or in a `with` block."""

    def __init__(self, flags: int) -> None:
        if sys.platform == "win32":
            raise RuntimeError("Changing the default mmap options is currently not supported for Windows")
        import mmap

        if flags not in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            raise ValueError(
                f"Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE or "
                f"mmap.MAP_SHARED, but got {flags}"
            )
        self.before = get_default_mmap_options()
        _options.mmap_flags = flags

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _options.mmap_flags = self.before


class skip_data:
    """In this context `save` leaves room for the bytes of storages without writing them, and `load` does not read them."""

    def __init__(self, materialize_fake_tensors: bool = False) -> None:
        self.materialize_fake_tensors = materialize_fake_tensors

    def __enter__(self) -> None:
        self.before, _options.skip_data = _options.skip_data, True

    def __exit__(self, *exc: object) -> None:
        _options.skip_data = self.before


# ---------------------------------------------------------------- what a file may name


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Allow functions and classes (or pairs of one and its path in files) in checkpoints loaded with `weights_only=True`."""
    _weights_only_unpickler._add_safe_globals(safe_globals)


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` allowed."""
    return _weights_only_unpickler._get_safe_globals()


def clear_safe_globals() -> None:
    """Allow nothing any more beyond what is harmless."""
    _weights_only_unpickler._clear_safe_globals()


class safe_globals(_weights_only_unpickler._safe_globals):
    """In this context, more functions and classes are allowed in checkpoints."""


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The names in a checkpoint that `weights_only=True` would refuse. Nothing in it is executed."""
    known = set(_weights_only_unpickler._get_allowed_globals()) | set(
        _weights_only_unpickler._get_user_allowed_globals()
    )
    with _opened(f) as file:
        if not _is_zipfile(file):
            raise ValueError("Expected input to be a checkpoint returned by torch.save")
        reader = archive.Reader(file)
        if _is_torchscript(reader):
            raise ValueError(
                "Expected input to be a checkpoint returned by torch.save but got a torchscript checkpoint"
            )
        found = _weights_only_unpickler.get_globals_in_pkl(io.BytesIO(reader.read("data.pkl")))
    return sorted(found - known)


# ---------------------------------------------------------------- devices

# ---------------------------------------------------------------- files


def _is_path(f: object) -> bool:
    return isinstance(f, (str, os.PathLike))


def _is_zipfile(file: IO[bytes]) -> bool:
    start = file.tell()
    head = file.read(4)
    file.seek(start)
    return head == b"PK\3\4"


def _is_torchscript(reader: archive.Reader) -> bool:
    return "constants.pkl" in reader


@contextlib.contextmanager
def _opened(f: Any) -> Iterator[IO[bytes]]:
    if _is_path(f):
        with open(f, "rb") as file:
            yield file
        return
    for name in ("seek", "tell"):
        try:
            getattr(f, name)
        except AttributeError as e:
            raise AttributeError(
                f"{e}. You can only torch.load from a file that is seekable. Please pre-load the data into a buffer like "
                "io.BytesIO and try to load from it instead."
            ) from None
    try:
        f.seek(f.tell())
    except io.UnsupportedOperation as e:
        raise io.UnsupportedOperation(
            f"{e}. You can only torch.load from a file that is seekable. Please pre-load the data into a buffer like "
            "io.BytesIO and try to load from it instead."
        ) from None
    yield f


def _check_folder(path: Any) -> None:
    if not os.path.isdir(os.path.dirname(os.path.realpath(os.fspath(path)))):
        raise RuntimeError(f"Parent directory {os.path.dirname(os.fspath(path))} does not exist.")


@contextlib.contextmanager
def _replacing(path: Any) -> Iterator[IO[bytes]]:
    """A new file that takes the place of an old one when it is complete: a crash leaves the old one untouched."""
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    _check_folder(path)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:  # a device or a pipe
            yield file
        return
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{threading.get_ident():x}.tmp")
    try:
        file = open(temporary, "xb")
    except (PermissionError, FileExistsError):
        with open(target, "wb") as file:
            yield file
        return
    try:
        with file:
            yield file
        if os.path.exists(target):
            with contextlib.suppress(OSError):
                os.chmod(temporary, os.stat(target).st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def mkdtemp() -> Iterator[str]:
    """A folder that is gone afterwards."""
    import tempfile

    with tempfile.TemporaryDirectory() as path:
        yield path


def check_module_version_greater_or_equal(module: Any, req_version_tuple: tuple[int, ...],
                                          error_if_malformed: bool = True) -> bool:  # fmt: skip
    """Whether a module's `__version__` is at least the given one."""
    try:
        parts = module.__version__.split(".")
        have = tuple(type(part)(field) for part, field in zip(req_version_tuple, parts, strict=False))
    except Exception as e:
        message = (
            f"'{module.__name__}' module version string is malformed '{module.__version__}' and cannot be compared with "
            f"tuple {req_version_tuple}"
        )
        if error_if_malformed:
            raise RuntimeError(message) from e
        warnings.warn(message + ", but continuing assuming that requirement is met", stacklevel=2)
        return True
    return have >= req_version_tuple


def normalize_storage_type(storage_type: type) -> type:
    """The public storage class of that name."""
    found: type = _public(f"flambeau.{storage_type.__name__}")
    return found


def storage_to_tensor_type(storage: Any) -> Any:
    """The legacy tensor class that goes with a storage class."""
    return _public(f"flambeau.{type(storage).__name__.replace('Storage', 'Tensor')}")


# ---------------------------------------------------------------- save


def save(
    obj: object,
    f: Any,
    pickle_module: Any = pickle,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write an object (usually a `state_dict`) to a file; tensors that share storage will share it when they are loaded.

    A path is replaced only when the new file is complete.

    >>> import io
    >>> file = io.BytesIO()
    >>> save({"epoch": 3}, file)
    >>> _ = file.seek(0)
    >>> load(file)
    {'epoch': 3}
    """
    if not _is_path(f) and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    if _is_path(f):
        _check_folder(f)
    if not _use_new_zipfile_serialization:
        from flambeau import _legacy_checkpoint  # rarely needed

        with _replacing(f) if _is_path(f) else contextlib.nullcontext(f) as file:
            _legacy_checkpoint.save(obj, file, pickle_module, pickle_protocol)
        return
    met = Storages()

    def persistent(item: Any) -> Any:
        facts = met.identify(item)
        return None if facts is None else ("storage", *facts)

    text = io.BytesIO()
    _pickler(pickle_module, text, pickle_protocol, persistent).dump(obj)
    name = os.path.splitext(os.path.basename(os.fspath(f)))[0] if _is_path(f) else "archive"
    with _replacing(f) if _is_path(f) else contextlib.nullcontext(f) as file:
        writer = archive.Writer(file, name or "archive", checked=_options.crc32)
        writer.add("data.pkl", text.getbuffer())
        writer.add(".format_version", b"1")
        writer.add(".storage_alignment", str(archive.ALIGNMENT).encode())
        if not _disable_byteorder_record:
            writer.add("byteorder", sys.byteorder.encode())
        for key, storage in met.kept.items():
            if _options.skip_data:
                writer.skip(f"data/{key}", storage.nbytes())
            else:
                writer.add(f"data/{key}", storage.cpu()._data)
        writer.add("version", FORMAT_VERSION)
        writer.add(".data/serialization_id", f"{writer.summed:020d}{len(writer.directory):020d}".encode())
        writer.close()
        if hasattr(file, "flush"):
            file.flush()


# ---------------------------------------------------------------- load


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save` wrote.

    Unless `weights_only=False`, only tensors, containers and plain data are accepted, and nothing that the file says is
    executed. `map_location` (a device, a dict of locations, or a function of storage and location) says where storages go;
    `mmap=True` maps the file and reads storages when they are used.
    """
    weights_only = _decide(weights_only, pickle_module)
    if not weights_only and pickle_module is None:
        pickle_module = pickle
    if pickle_load_args and weights_only:
        warnings.warn("pickle_load_args only works if `weights_only=False`.", stacklevel=2)
    pickle_load_args.setdefault("encoding", "utf-8")
    if _is_path(f) and os.fspath(f).endswith(".safetensors"):
        raise NotImplementedError("torch.load of a safetensors file: use safetensors' own load_file")
    with _opened(f) as file:
        try:
            if _is_zipfile(file):
                return _load_archive(f, file, map_location, pickle_module, weights_only, bool(mmap), pickle_load_args)
            if mmap:
                name = f"{f}, " if isinstance(f, str) else ""
                raise RuntimeError(
                    f"mmap can only be used with files saved with `torch.save({name}_use_new_zipfile_serialization=True), "
                    "please torch.save your checkpoint with this option in order to use mmap."
                )
            from flambeau import _legacy_checkpoint  # rarely needed

            return _legacy_checkpoint.load(file, map_location, pickle_module, weights_only, pickle_load_args)
        except pickle.UnpicklingError as e:
            if not weights_only:
                raise
            raise pickle.UnpicklingError(_refusal(str(e))) from None


def _decide(weights_only: bool | None, pickle_module: Any) -> bool:
    """Whether only data is accepted, from the argument and the environment."""
    truths = ("1", "y", "yes", "true")
    force = os.getenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0").lower() in truths
    force_not = os.getenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in truths
    if force and force_not:
        raise RuntimeError(
            "Only one of `TORCH_FORCE_WEIGHTS_ONLY_LOAD` or `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD` should be set, but both were set."
        )
    if force:
        decided = True
    elif weights_only is None and force_not:
        warnings.warn(
            "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD detected, since the`weights_only` argument was not "
            "explicitly passed to `torch.load`, forcing weights_only=False.",
            UserWarning,
            stacklevel=3,
        )
        decided = False
    else:
        decided = pickle_module is None if weights_only is None else bool(weights_only)
    if decided and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    return decided


def _refusal(message: str) -> str:
    """What PyTorch says when it refuses a file, around the reason."""
    docs = (
        "\n\nCheck the documentation of torch.load to learn more about types accepted by default with weights_only "
        "https://pytorch.org/docs/stable/generated/torch.load.html."
    )
    if re.search(r"GLOBAL (\S+) was not an allowed global by default.", message):
        return (
            "Weights only load failed. This file can still be loaded, to do so you have two options, \033[1mdo those steps only "
            f"if you trust the source of the checkpoint\033[0m. \n\t(1) {ADVICE}\n\t(2) Alternatively, to load with "
            "`weights_only=True` please check the recommended steps in the following error message.\n\tWeightsUnpickler error: "
            + message
            + docs
        )
    ask = (
        "Please file an issue with the following so that we can make `weights_only=True` compatible with your use case: "
        "WeightsUnpickler error: "
    )
    blocked = re.search(r"whose module (\S+) is blocked", message)
    return f"Weights only load failed. {ADVICE}\n{'' if blocked else ask}\n\n{message}{docs}"


def _load_archive(f: Any, file: IO[bytes], map_location: Any, pickle_module: Any, weights_only: bool, mapped: bool,
                  pickle_load_args: dict[str, Any]) -> Any:  # fmt: skip
    start = file.tell()
    reader = archive.Reader(file)
    if _is_torchscript(reader):
        warnings.warn(
            "'torch.load' received a zip file that looks like a TorchScript archive dispatching to 'torch.jit.load' (call "
            "'torch.jit.load' directly to silence this warning)",
            UserWarning,
            stacklevel=3,
        )
        if weights_only:
            raise RuntimeError(
                f"Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``. {ADVICE}"
            )
        file.seek(start)
        return _public("flambeau.jit.load")(file, map_location=map_location)
    if mapped and not _is_path(f):
        raise ValueError("f must be a file path in order to use the mmap argument")
    _check_version(reader)
    loader = _Loader(reader, map_location, os.fspath(f) if mapped else None)
    data = io.BytesIO(reader.read("data.pkl"))
    return _unpickler(data, loader.persistent_load, pickle_module, weights_only, pickle_load_args).load()


def _check_version(reader: archive.Reader) -> None:
    if "version" not in reader:
        raise RuntimeError('Expected hasRecord("version") to be true, but got false.  (Could this error message be improved?  If '
                           "so, please report an enhancement request to PyTorch.)")  # fmt: skip
    text = bytes(reader.read("version")).decode("ascii", "replace").strip()
    if not text.isdigit():
        raise RuntimeError(f"Couldn't parse the version {text} as Long Long.")
    version = int(text)
    if version > NEWEST_FORMAT:
        raise RuntimeError(
            f"Attempted to read a PyTorch file with version {version}, but the maximum supported version for reading is "
            f"{NEWEST_FORMAT}. The version of your PyTorch installation may be too old, please upgrade PyTorch to latest "
            "version to mitigate this issue."
        )
    if version < OLDEST_FORMAT:
        raise RuntimeError(
            f"Attempted to read a PyTorch file with version {version}, but the minimum supported version for reading is "
            f"{OLDEST_FORMAT}. Your PyTorch script module file is too old. Please regenerate it with latest version of "
            "PyTorch to mitigate this issue."
        )


class _Loader:
    """Reads the storages that a pickle asks for, each once."""

    def __init__(self, reader: archive.Reader, map_location: Any, path: str | None) -> None:
        self.reader, self.path = reader, path
        self.restore = _restorer(map_location)
        self.to_meta = str(map_location) == "meta" if isinstance(map_location, (str, devices.device)) else False
        self.loaded: dict[str, storages.TypedStorage] = {}
        self.order = _byte_order(reader)

    def persistent_load(self, pid: Any) -> storages.TypedStorage:
        if not isinstance(pid, tuple) or len(pid) != 5:
            raise pickle.UnpicklingError(f"saved_id must be a tuple of five, got {type(pid).__name__}")
        kind, cls, key, location, numel = pid
        if _text(kind) != "storage":
            raise AssertionError(f"Unknown typename for persistent_load, expected 'storage' but got '{_text(kind)}'")
        dtype: Any = dtypes.uint8 if cls is storages.UntypedStorage else getattr(cls, "dtype", None)
        location, facts = _text(location), isinstance(dtype, dtypes.dtype) and isinstance(key, str)
        if not facts or not isinstance(numel, int) or numel < 0 or not isinstance(location, str):
            raise pickle.UnpicklingError("the description of a storage is corrupted")
        if key not in self.loaded:
            storage = self._read(f"data/{key}", numel, dtype)
            if not self.to_meta:
                storage = self.restore(storage, location)
            if isinstance(storage, storages.TypedStorage):  # a map_location function may return one
                storage = storage._untyped_storage
            self.loaded[key] = storages.TypedStorage(wrap_storage=storage, dtype=dtype)
        return self.loaded[key]

    def _read(self, record: str, numel: int, dtype: dtypes.dtype) -> storages.UntypedStorage:
        nbytes = numel * dtype.itemsize
        if self.to_meta:
            return storages.UntypedStorage(nbytes, device="meta")
        have = self.reader.size(record)
        if have != nbytes:
            raise RuntimeError(
                f"record size ({have} bytes) does not match expected size ({nbytes} bytes = {nbytes} elements * 1 "
                "bytes/element) for dtype Byte"
            )
        if _options.skip_data:
            return storages.UntypedStorage(nbytes)
        if self.path is not None and nbytes:
            storage = _map(self.path, self.reader.offset(record), nbytes)
        else:
            storage = storages.UntypedStorage(nbytes)
            if nbytes:
                self.reader.read(record, into=storage._data)
        if self.order not in (None, sys.byteorder):
            storage.byteswap(dtype)
        return storage


def _map(path: str, offset: int, nbytes: int) -> storages.UntypedStorage:
    """Part of a file as a storage. Writes stay in memory, unless MAP_SHARED was chosen."""
    import mmap

    import numpy as np

    shared = get_default_mmap_options() == getattr(mmap, "MAP_SHARED", None)
    if offset + nbytes > os.path.getsize(path):
        raise archive.failure("reading file", "file read failed")
    start = offset - offset % mmap.ALLOCATIONGRANULARITY
    with open(path, "r+b" if shared else "rb") as file:
        access = mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY
        mapped = mmap.mmap(file.fileno(), offset + nbytes - start, access=access, offset=start)
    return storages.UntypedStorage._around(np.frombuffer(mapped, np.uint8, nbytes, offset - start))


def _byte_order(reader: archive.Reader) -> str | None:
    if "byteorder" in reader:
        order = bytes(reader.read("byteorder")).decode("ascii", "replace")
        if order not in ("little", "big"):
            raise ValueError(f"Unknown endianness type: {order}")
        return order
    if _options.endianness is LoadEndianness.NATIVE:
        return None
    return "big" if _options.endianness is LoadEndianness.BIG else "little"

"""Checkpoints in a folder: per rank one file (`__0_0.distcp`) of tensors and objects one after the other, and `.metadata`.

Each thing is an archive of its own, as `torch.save` writes it; `.metadata` says where in which file it lies. PyTorch reads and writes the same.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import os
import pickle
import uuid
from enum import Enum
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any

import flambeau
from flambeau import _pickling, serialization
from flambeau.distributed.checkpoint import metadata as described
from flambeau.distributed.checkpoint.default_planner import narrow
from flambeau.distributed.checkpoint.metadata import Metadata, MetadataIndex, StorageMeta
from flambeau.distributed.checkpoint.planner import (
    LoadItemType,
    LoadPlan,
    LoadPlanner,
    SavePlan,
    SavePlanner,
    WriteItemType,
)
from flambeau.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from flambeau.futures import _done

__all__ = ["FileSystemReader", "FileSystemWriter", "SerializationFormat"]

CURRENT_DCP_VERSION = "1.0.0"


class SerializationFormat(Enum):
    """How things are written."""

    TORCH_SAVE = "torch_save"
    SAFETENSORS = "safetensors"


@dataclasses.dataclass
class _StorageInfo:
    """Where a thing lies."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: list[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if v is not None}


@dataclasses.dataclass
class _StoragePrefix:
    """What a rank's files are called."""

    prefix: str


class FileSystemWriter(StorageWriter):
    """Writes checkpoints to a folder. The metadata comes last, by a rename: before that there is no checkpoint.

    Args:
        path: the folder; made if need be.
        sync_files: wait until the disk has the data.
        overwrite: whether a checkpoint that is there may be replaced.
        single_file_per_rank: otherwise each thing has a file of its own.
    """

    def __init__(self, path: str | os.PathLike[str], single_file_per_rank: bool = True, sync_files: bool = True, thread_count: int = 1,
                 per_thread_copy_ahead: int = 10_000_000, cache_staged_state_dict: bool = False, overwrite: bool = True, _extensions: Any = None,
                 serialization_format: SerializationFormat = SerializationFormat.TORCH_SAVE) -> None:  # fmt: skip
        if _extensions or serialization_format is not SerializationFormat.TORCH_SAVE:
            raise NotImplementedError("torch.distributed.checkpoint.FileSystemWriter with extensions or serialization_format")  # fmt: skip
        self.path = Path(path)
        self.single_file_per_rank, self.sync_files, self.overwrite = single_file_per_rank, sync_files, overwrite
        self.save_id = str(uuid.uuid4())

    @property
    def checkpoint_id(self) -> Path:
        """The folder."""
        return self.path

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        if checkpoint_id:
            self.path = Path(checkpoint_id)
        self.save_id = str(uuid.uuid4())

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self.rank = kwargs.get("rank")

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / ".metadata").exists() and not self.overwrite:
            raise RuntimeError(f"Checkpoint already exists and self.overwrite={self.overwrite}.")
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return [dataclasses.replace(p, storage_data=_StoragePrefix(f"__{i}_")) for i, p in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Any:
        prefix = plan.storage_data.prefix
        # objects first, they are small
        items = sorted(plan.items, key=lambda item: item.type is not WriteItemType.BYTE_IO)
        groups = [items] if self.single_file_per_rank else [[item] for item in items]
        results: list[WriteResult] = []
        for number, group in enumerate(g for g in groups if g):
            name = f"{prefix}{number}.distcp"
            with serialization._replacing(self.path / name) as file:
                for item in group:
                    start = file.tell()
                    data = planner.resolve_data(item)
                    if item.type is WriteItemType.BYTE_IO:
                        file.write(data.getbuffer())
                    else:
                        data = data.detach().cpu()
                        serialization.save(data.clone() if _shares(data) else data, file)
                    length = file.tell() - start
                    results.append(WriteResult(item.index, length, _StorageInfo(name, start, length)))
                if self.sync_files:
                    file.flush()
                    os.fsync(file.fileno())
        return _done(results)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        metadata.version = CURRENT_DCP_VERSION
        metadata.storage_data = {r.index: r.storage_data for rank in results for r in rank}
        metadata.storage_meta = self.storage_meta()
        with serialization._replacing(self.path / ".metadata") as file:
            _pickling.Pickler(file, 4, lambda obj: None).dump(metadata)
            if self.sync_files:
                file.flush()
                os.fsync(file.fileno())

    def storage_meta(self) -> StorageMeta | None:
        return StorageMeta(checkpoint_id=self.checkpoint_id, save_id=self.save_id)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return not isinstance(checkpoint_id, str) or "://" not in checkpoint_id


def _shares(t: Any) -> bool:
    """Whether a tensor's storage holds more than the tensor: it would be written whole."""
    return t.untyped_storage().nbytes() != t.numel() * t.element_size()


class FileSystemReader(StorageReader):
    """Reads checkpoints from a folder. What is in it is read as `weights_only`; `.metadata` may name nothing but what checkpoints consist of."""

    def __init__(self, path: str | os.PathLike[str], _extension_registry: Any = None) -> None:
        self.path = Path(path)
        self.storage_data: dict[MetadataIndex, _StorageInfo] = {}
        self.load_id = str(uuid.uuid4())

    @property
    def checkpoint_id(self) -> Path:
        """The folder."""
        return self.path

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        self.storage_data = {}
        if checkpoint_id:
            self.path = Path(checkpoint_id)
        self.load_id = str(uuid.uuid4())

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with open(self.path / ".metadata", "rb") as file:
            metadata: Metadata = _Metadata(file).load()
        if getattr(metadata, "storage_meta", None) is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id  # type: ignore[union-attr]
        return metadata

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        self.storage_data = metadata.storage_data
        assert self.storage_data is not None

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Any:
        by_file: dict[str, list[Any]] = {}
        for item in plan.items:
            by_file.setdefault(self.storage_data[item.storage_index].relative_path, []).append(item)
        for name, items in by_file.items():
            with open(self.path / name, "rb") as file:
                for item in sorted(items, key=lambda i: self.storage_data[i.storage_index].offset):
                    info = self.storage_data[item.storage_index]
                    file.seek(info.offset)
                    data = io.BytesIO(file.read(info.length))
                    if item.type is LoadItemType.BYTE_IO:
                        planner.load_bytes(item, data)
                        continue
                    tensor = serialization.load(data, map_location="cpu", weights_only=True)
                    tensor = narrow(tensor, item.storage_offsets, item.lengths)
                    target = planner.resolve_tensor(item).detach()
                    if target.size() != tensor.size():
                        raise AssertionError(f"req {item.storage_index} mismatch sizes {target.size()} vs {tensor.size()}")  # fmt: skip
                    target.copy_(tensor)
                    planner.commit_tensor(item, target)
        return _done(None)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        return FileSystemWriter.validate_checkpoint_id(checkpoint_id)


_PATHS = {"PosixPath": PosixPath, "WindowsPath": WindowsPath, "Path": Path, "PurePosixPath": PurePosixPath, "PureWindowsPath": PureWindowsPath}  # fmt: skip


class _Metadata(pickle.Unpickler):
    """Reads `.metadata`: its classes are a checkpoint's own, and none of them does anything when it is made."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("pathlib") and name in _PATHS:
            return _PATHS[name] if os.name == "posix" and name != "WindowsPath" else PurePosixPath
        if module == "torch.distributed.checkpoint.metadata" and hasattr(described, name) and isinstance(getattr(described, name), type):  # fmt: skip
            return getattr(described, name)
        if module == "torch.distributed.checkpoint.filesystem" and name == "_StorageInfo":
            return _StorageInfo
        if (module, name) == ("torch.serialization", "_get_layout"):
            return serialization._get_layout
        if (module, name) in (("torch", "Size"), ("torch", "device")):
            return getattr(flambeau, name)
        if module == "torch" and isinstance(getattr(flambeau, name, None), (flambeau.dtype, flambeau.layout)):
            return getattr(flambeau, name)
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("builtins", "set"):
            return set
        raise pickle.UnpicklingError(f"a checkpoint's metadata names {module}.{name}, which is no part of one")

"""Checkpoints in Hugging Face's layout: `.safetensors` files of whole tensors, and an index of which name is in which."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from typing import Any

import numpy as np

import flambeau
from flambeau import serialization
from flambeau.distributed.checkpoint.default_planner import narrow
from flambeau.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from flambeau.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from flambeau.distributed.checkpoint.planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner, WriteItemType
from flambeau.distributed.checkpoint.storage import WriteResult
from flambeau.futures import _done

__all__ = ["HuggingFaceStorageReader", "HuggingFaceStorageWriter"]

INDEX = "model.safetensors.index.json"
_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "complex64": "C64",
}  # fmt: skip
_DTYPES = {short: name for name, short in _NAMES.items()}


@dataclasses.dataclass
class _Place:
    """Where in which file a tensor's bytes are."""

    relative_path: str
    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]


class HuggingFaceStorageWriter(FileSystemWriter):
    """Writes `model-00001-of-00002.safetensors` and the index, from the rank that has the tensors.

    Args:
        path: the folder.
        fqn_to_index_mapping: name -> number of the file (from 1) it goes to; all into one otherwise.
    """

    def __init__(self, path: str, fqn_to_index_mapping: dict[str, int] | None = None, thread_count: int = 1, save_distributed: bool = False,
                 enable_consolidation: bool = False, thread_count_consolidation: int = 1) -> None:  # fmt: skip
        if save_distributed or enable_consolidation:
            raise NotImplementedError("torch.distributed.checkpoint.HuggingFaceStorageWriter with save_distributed")
        super().__init__(path)
        self.fqn_to_index_mapping = fqn_to_index_mapping

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        writer: dict[int, int] = {}
        for rank, plan in enumerate(plans):
            for number in self._files(plan):
                if writer.setdefault(number, rank) != rank:
                    raise ValueError(f"file {number} would be written by several ranks: save by a planner with dedup_save_to_lowest_rank=True")  # fmt: skip
        return plans

    def _files(self, plan: SavePlan) -> dict[int, list[Any]]:
        """What goes into which file."""
        mapping = self.fqn_to_index_mapping
        files: dict[int, list[Any]] = {}
        for item in plan.items:
            if item.type is WriteItemType.BYTE_IO:
                raise ValueError(f"a .safetensors file holds tensors only, and {item.index.fqn!r} is none")
            files.setdefault(1 if mapping is None else mapping[item.index.fqn], []).append(item)
        return files

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Any:
        mapping = self.fqn_to_index_mapping
        last = 1 if mapping is None else max(mapping.values())
        results = []
        for number, items in self._files(plan).items():
            name = f"model-{number:05d}-of-{last:05d}.safetensors"
            tensors = {i.index.fqn: planner.resolve_data(i).detach().cpu().contiguous() for i in items}
            with serialization._replacing(self.path / name) as file:
                _write(file, tensors)
            results += [
                WriteResult(i.index, t.nbytes, _Place(name, 0, t.nbytes, t.dtype.name, tuple(t.shape)))
                for i, t in zip(items, tensors.values(), strict=True)
            ]
        return _done(results)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        written = [r for rank in results for r in rank]
        index = {
            "metadata": {"total_size": sum(r.size_in_bytes for r in written)},
            "weight_map": {r.index.fqn: r.storage_data.relative_path for r in written},
        }
        with serialization._replacing(self.path / INDEX) as file:
            file.write(json.dumps(index, indent=2).encode())


class HuggingFaceStorageReader(FileSystemReader):
    """Reads the `.safetensors` files of a folder, of each tensor only what is asked for."""

    def __init__(self, path: str, thread_count: int = 1) -> None:
        super().__init__(path)

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        entries: dict[str, Any] = {}
        places: dict[MetadataIndex, Any] = {}
        for file in sorted(self.path.glob("*.safetensors")):
            header, start = _header(file)
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                if name in entries:
                    raise ValueError(f"{name!r} is in several files of {self.path}")
                size = flambeau.Size(entry["shape"])
                chunk = ChunkStorageMetadata(flambeau.Size([0] * len(size)), size)
                dtype = getattr(flambeau, _DTYPES[entry["dtype"]])
                entries[name] = TensorStorageMetadata(TensorProperties(dtype), size, [chunk])
                first, end = entry["data_offsets"]
                places[MetadataIndex(name, chunk.offsets)] = _Place(file.name, start + first, end - first, dtype.name, tuple(size))  # fmt: skip
        return Metadata(entries, storage_data=places, storage_meta=StorageMeta(self.path, load_id=self.load_id))

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Any:
        for item in plan.items:
            place: Any = self.storage_data[item.storage_index]
            data = np.memmap(self.path / place.relative_path, np.uint8, "r", place.offset, (place.length,)) if place.length else np.empty(0, np.uint8)  # fmt: skip
            dtype = getattr(flambeau, place.dtype)
            whole = np.asarray(data).view(dtype.np).reshape(place.shape)
            box = tuple(slice(o, o + n) for o, n in zip(item.storage_offsets, item.lengths, strict=True))
            target = planner.resolve_tensor(item)
            narrow(target, [0] * target.ndim, target.shape).copy_(flambeau.from_numpy(np.array(whole[box])))
            planner.commit_tensor(item, target)
        return _done(None)


def _write(file: Any, tensors: dict[str, Any]) -> None:
    """The format: eight bytes for the length of the table, the table, and the tensors' bytes, widest elements first."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    for name, t in ordered:
        start, end = end, end + t.nbytes
        header[name] = {"dtype": _NAMES[t.dtype.name], "shape": list(t.shape), "data_offsets": [start, end]}
    table = json.dumps(header).encode()
    table += b" " * (-len(table) % 8)
    file.write(len(table).to_bytes(8, "little") + table)
    for _, t in ordered:
        file.write(t.reshape(-1).view(flambeau.uint8).numpy().data)


def _header(file: Any) -> tuple[dict[str, Any], int]:
    """A file's table of tensors, and where their bytes begin."""
    with open(file, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        size = os.fstat(f.fileno()).st_size
        if not 2 <= length <= size - 8:
            raise ValueError(f"{file} is no safetensors file")
        header = json.loads(f.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            first, end = entry["data_offsets"]
            width = getattr(flambeau, _DTYPES[entry["dtype"]]).itemsize
            if not (0 <= first <= end <= size - 8 - length and end - first == math.prod(entry["shape"]) * width):
                raise ValueError(f"{file} is damaged: the bytes of {name!r} are not where it says")
    return header, 8 + length

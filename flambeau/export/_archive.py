"""`.pt2` files: an exported program's graph as JSON, its tensors as records of their bytes. PyTorch reads and writes the same.

models/model.json                           the graph, its signature, the bounds of sizes
data/weights/weight_0 ...                   parameters and buffers, one record for each storage
data/weights/model_weights_config.json      which record a name has, and how the tensor lies in it
data/constants/...                          the same for constants
data/sample_inputs/model.pt                 the example inputs, as `torch.save` writes them
extra/NAME                                  what the caller adds
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import IO, Any

import flambeau
from flambeau import serialization
from flambeau._ground import archive
from flambeau.export import _schema_json as schema
from flambeau.export.exported_program import ExportedProgram


def save(ep: ExportedProgram, f: Any, *, extra_files: dict[str, Any] | None = None, opset_version: dict[str, int] | None = None,
         pickle_protocol: int = 2) -> None:  # fmt: skip
    """Write an exported program to a file (a path, or a binary file to write to).

    Args:
        extra_files: name -> text (or bytes) to put beside it.
        opset_version: versions of sets of operators to note, besides ATen's.

    Raises:
        TypeError: `ep` is no exported program.
        NotImplementedError: the graph holds a value that the format has no place for.
    """
    if not isinstance(ep, ExportedProgram):
        raise TypeError(f"The 'ep' parameter must be an instance of 'ExportedProgram', got '{type(ep).__name__}' instead.")  # fmt: skip
    graph = schema.to_json(ep, opset_version)
    is_path = isinstance(f, (str, os.PathLike))
    name = os.path.splitext(os.path.basename(os.fspath(f)))[0] if is_path else "archive"
    with serialization._replacing(f) if is_path else contextlib.nullcontext(f) as file:
        writer = archive.Writer(file, name or "archive")
        _tensors(writer, ep.state_dict, "weights", "weight_")
        _tensors(writer, ep.constants, "constants", "tensor_")
        writer.add("models/model.json", json.dumps(graph).encode())
        sample = io.BytesIO()
        serialization.save(ep.example_inputs, sample, pickle_protocol=pickle_protocol)
        writer.add("data/sample_inputs/model.pt", sample.getvalue())
        for key, content in (extra_files or {}).items():
            writer.add(f"extra/{key}", content if isinstance(content, bytes) else str(content).encode())
        writer.add("archive_format", b"pt2")
        writer.add("archive_version", b"0")
        writer.add(".data/version", b"6\n")
        writer.add("byteorder", b"little")
        writer.close()


def _tensors(writer: archive.Writer, tensors: dict[str, Any], folder: str, prefix: str) -> None:
    """Each storage once, and where each tensor lies in which."""
    records: dict[int, str] = {}
    config: dict[str, Any] = {}
    for key, t in tensors.items():
        if not isinstance(t, flambeau.Tensor):
            raise NotImplementedError(f"torch.export.save of a program with a constant of type {type(t).__name__}")
        storage = t.untyped_storage()
        pointer = storage.data_ptr() or id(storage)
        if pointer not in records:
            records[pointer] = f"{prefix}{len(records)}"
            writer.add(f"data/{folder}/{records[pointer]}", storage._data)
        config[key] = {
            "path_name": records[pointer],
            "is_param": isinstance(t, flambeau.nn.Parameter),
            "use_pickle": False,
            "tensor_meta": schema.tensor_meta(t),
        }
    writer.add(f"data/{folder}/model_{folder}_config.json", json.dumps({"config": config}).encode())


def load(f: Any, *, extra_files: dict[str, Any] | None = None, expected_opset_version: dict[str, int] | None = None) -> ExportedProgram:  # fmt: skip
    """Read an exported program from a file. Nothing in it is executed: example inputs are read as `weights_only`.

    Args:
        f: a path, or a binary file that can seek.
        extra_files: a dict whose keys name what to read beside it; the values are filled in.

    Raises:
        RuntimeError: the file is no such archive, is damaged, or has another version of the format.
        NotImplementedError: the graph calls an operator that is not here.
    """
    with open(f, "rb") if isinstance(f, (str, os.PathLike)) else contextlib.nullcontext(f) as file:
        return _load(file, extra_files)


def _load(file: IO[bytes], extra_files: dict[str, Any] | None) -> ExportedProgram:
    reader = archive.Reader(file)
    if "archive_format" not in reader or bytes(reader.read("archive_format")) != b"pt2":
        raise RuntimeError(
            "Unable to load package. f must be a buffer or a file ending in .pt2: this is no archive of that format"
        )
    version = bytes(reader.read("archive_version")).decode() if "archive_version" in reader else "0"
    if version != "0":
        raise RuntimeError(f"Saved archive version {version} does not match our current archive version 0.")
    model = next((r for r in reader.records() if r.startswith("models/") and r.endswith(".json")), None)
    if model is None:
        raise RuntimeError("the archive holds no exported program")
    name = model[len("models/") : -len(".json")]
    state, constants = _read(reader, "weights", name), _read(reader, "constants", name)
    sample = f"data/sample_inputs/{name}.pt"
    example: Any = ((), {})
    if sample in reader and reader.size(sample):
        example = serialization.load(io.BytesIO(bytes(reader.read(sample))), weights_only=True)
    for key in extra_files or ():
        assert extra_files is not None
        extra_files[key] = bytes(reader.read(f"extra/{key}")).decode()
    program = schema.from_json(json.loads(bytes(reader.read(model))), state, constants, example)
    for s in program.graph_signature.input_specs:  # buffers that no `state_dict` holds are among the constants
        if s.kind is s.kind.BUFFER and str(s.target) in constants:
            state[str(s.target)] = constants.pop(str(s.target))
    return program


def _read(reader: archive.Reader, folder: str, name: str) -> dict[str, Any]:
    record = f"data/{folder}/{name}_{folder}_config.json"
    if record not in reader:
        return {}
    storages: dict[str, Any] = {}
    out: dict[str, Any] = {}
    for key, entry in json.loads(bytes(reader.read(record)))["config"].items():
        path, meta = f"data/{folder}/{entry['path_name']}", entry["tensor_meta"]
        if entry["use_pickle"] or meta is None:
            raise NotImplementedError(f"torch.export.load of the pickled object {key!r}")
        if path not in storages:
            storages[path] = flambeau.UntypedStorage(reader.size(path))
            if reader.size(path):
                reader.read(path, into=storages[path]._data)
        sizes, strides = ([schema._one(n)[1] for n in meta[k]] for k in ("sizes", "strides"))
        t = flambeau.empty(0, dtype=getattr(flambeau, schema._DTYPES[meta["dtype"]]))
        t.set_(storages[path], schema._one(meta["storage_offset"])[1], sizes, strides)
        out[key] = flambeau.nn.Parameter(t, bool(meta["requires_grad"])) if entry["is_param"] else t
    return out

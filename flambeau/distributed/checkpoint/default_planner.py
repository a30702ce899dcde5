"""The planners used where none is given: states are flattened, every tensor is written once, and read from whatever chunks it was saved in."""

from __future__ import annotations

import dataclasses
import io
import math
from collections import ChainMap
from typing import Any

import flambeau
from flambeau import serialization
from flambeau.distributed.checkpoint._nested import flatten_state_dict, set_element
from flambeau.distributed.checkpoint.metadata import (
    STATE_DICT_TYPE,
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from flambeau.distributed.checkpoint.planner import (
    LoadItemType,
    LoadPlan,
    LoadPlanner,
    ReadItem,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)

__all__ = [
    "DefaultLoadPlanner",
    "DefaultSavePlanner",
    "create_default_global_load_plan",
    "create_default_global_save_plan",
    "create_default_local_load_plan",
    "create_default_local_save_plan",
]


class DefaultSavePlanner(SavePlanner):
    """Plans a save: nested states are flattened; what several ranks have alike is written by one of them.

    Args:
        flatten_state_dict: make `{"a": {"b": x}}` one entry `a.b`.
        dedup_save_to_lowest_rank: of several ranks the first writes; otherwise they share the bytes evenly.
        enable_plan_caching: accepted; plans are made anew for every save.
    """

    def __init__(self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True, dedup_replicated_tensors: bool | None = None,
                 dedup_save_to_lowest_rank: bool = False, enable_plan_caching: bool = False) -> None:  # fmt: skip
        self.flatten_state_dict, self.flatten_sharded_tensors = flatten_state_dict, flatten_sharded_tensors
        self.dedup_save_to_lowest_rank = dedup_save_to_lowest_rank
        self.mappings: dict[str, Any] = {}

    def set_up_planner(self, state_dict: STATE_DICT_TYPE, storage_meta: StorageMeta | None = None, is_coordinator: bool = False) -> None:  # fmt: skip
        if self.flatten_state_dict:
            state_dict, self.mappings = flatten_state_dict(state_dict)
        self.state_dict, self.is_coordinator = state_dict, is_coordinator

    def create_local_plan(self) -> SavePlan:
        plan = create_default_local_save_plan(self.state_dict, self.is_coordinator)
        self.plan = dataclasses.replace(plan, planner_data=self.mappings) if self.flatten_state_dict else plan
        return self.plan

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        self.global_plan, self.metadata = create_default_global_save_plan(
            dedup_save_plans(all_plans, self.dedup_save_to_lowest_rank)
        )
        if self.flatten_state_dict:
            merged = dict(ChainMap(*(p.planner_data for p in self.global_plan)))
            self.metadata = dataclasses.replace(self.metadata, planner_data=merged)
        problems = _problems(self.global_plan, self.metadata)
        if problems:
            raise ValueError(f"Failed to validate global plan: {'; '.join(problems)[:500]}")
        return self.global_plan, self.metadata

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        self.plan = new_plan
        return new_plan

    def resolve_data(self, write_item: WriteItem) -> Any:
        return self.transform_object(write_item, self.lookup_object(write_item.index))

    def lookup_object(self, index: MetadataIndex) -> Any:
        """The object of an index, for planners that build on this one."""
        return find_state_dict_object(self.state_dict, index)

    def transform_object(self, write_item: WriteItem, object: Any) -> Any:
        """What is written of an object: bytes of what is no tensor."""
        if write_item.type is not WriteItemType.BYTE_IO:
            return object
        data = io.BytesIO()
        serialization.save(object, data)
        return data


class DefaultLoadPlanner(LoadPlanner):
    """Plans a load: fills the tensors of a state in place, from whatever chunks they were saved in, and replaces other values.

    Args:
        flatten_state_dict: as when saving.
        allow_partial_load: leave alone what the checkpoint does not have, instead of raising.
    """

    def __init__(self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True, allow_partial_load: bool = False) -> None:  # fmt: skip
        self.flatten_state_dict, self.flatten_sharded_tensors = flatten_state_dict, flatten_sharded_tensors
        self.allow_partial_load = allow_partial_load
        self.original_state_dict: dict[str, Any] = {}
        self.mappings: dict[str, Any] = {}

    def set_up_planner(self, state_dict: STATE_DICT_TYPE, metadata: Metadata | None = None, is_coordinator: bool = False) -> None:  # fmt: skip
        self.original_state_dict = state_dict
        if self.flatten_state_dict:
            state_dict, self.mappings = flatten_state_dict(state_dict)
        self.state_dict, self.metadata, self.is_coordinator = state_dict, metadata, is_coordinator

    def create_local_plan(self) -> LoadPlan:
        assert self.metadata is not None
        return create_default_local_load_plan(self.state_dict, self.metadata, not self.allow_partial_load)

    def create_global_plan(self, global_plan: list[LoadPlan]) -> list[LoadPlan]:
        return create_default_global_load_plan(global_plan)

    def finish_plan(self, new_plan: LoadPlan) -> LoadPlan:
        return new_plan

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        loaded = serialization.load(value, weights_only=True)
        name = read_item.dest_index.fqn
        if self.flatten_state_dict:
            set_element(self.original_state_dict, self.mappings[name], loaded)
        else:
            self.state_dict[name] = loaded

    def resolve_tensor(self, read_item: ReadItem) -> Any:
        return self.transform_tensor(read_item, self.lookup_tensor(read_item.dest_index))

    def commit_tensor(self, read_item: ReadItem, tensor: Any) -> None:
        pass

    def lookup_tensor(self, index: MetadataIndex) -> Any:
        """The tensor of an index, for planners that build on this one."""
        return find_state_dict_object(self.state_dict, index)

    def transform_tensor(self, read_item: ReadItem, tensor: Any) -> Any:
        """The part of it that is read."""
        return narrow(tensor, read_item.dest_offsets, read_item.lengths)


class _EmptyStateDictLoadPlanner(DefaultLoadPlanner):
    """Loads into an empty state, which is made after the checkpoint; `keys` chooses names, or what they start with."""

    def __init__(self, keys: set[str] | None = None, *args: Any, **kwargs: Any) -> None:
        self.keys = keys
        super().__init__(*args, **kwargs)

    def _wanted(self, name: str, metadata: Metadata) -> bool:
        if self.keys is None or name in self.keys:
            return True
        path = (metadata.planner_data or {}).get(name, (name,))
        return any(".".join(map(str, path[: n + 1])) in self.keys for n in range(len(path)))

    def set_up_planner(self, state_dict: STATE_DICT_TYPE, metadata: Metadata | None = None, is_coordinator: bool = False) -> None:  # fmt: skip
        assert not state_dict
        assert metadata is not None
        for name, entry in metadata.state_dict_metadata.items():
            if self._wanted(name, metadata):
                value = flambeau.empty(entry.size, dtype=entry.properties.dtype) if isinstance(entry, TensorStorageMetadata) else entry  # fmt: skip
                set_element(state_dict, (metadata.planner_data or {}).get(name, (name,)), value)
        super().set_up_planner(state_dict, metadata, is_coordinator)


# ---------------------------------------------------------------- objects and their chunks


def chunks_of(obj: Any) -> list[ChunkStorageMetadata]:
    """The chunks of a tensor that this rank holds: all of it, unless the tensor says otherwise (`__create_chunk_list__`)."""
    if hasattr(obj, "__create_chunk_list__"):
        return list(obj.__create_chunk_list__())
    return [ChunkStorageMetadata(flambeau.Size([0] * obj.ndim), obj.size())]


def write_items(name: str, obj: Any) -> list[WriteItem]:
    """What this rank writes of an object."""
    if hasattr(obj, "__create_write_items__"):
        return list(obj.__create_write_items__(name, obj))
    if not isinstance(obj, flambeau.Tensor):
        return [WriteItem(MetadataIndex(name), WriteItemType.BYTE_IO)]
    (chunk,) = chunks_of(obj)
    data = TensorWriteData(chunk, TensorProperties.create_from_tensor(obj), obj.size())
    return [WriteItem(MetadataIndex(name, chunk.offsets), WriteItemType.TENSOR, tensor_data=data)]


def find_state_dict_object(state_dict: STATE_DICT_TYPE, index: MetadataIndex) -> Any:
    """The object of an index; of a tensor spread over ranks, this rank's chunk."""
    if index.fqn not in state_dict:
        raise ValueError(f"Could not find FQN: '{index.fqn}'")
    obj = state_dict[index.fqn]
    if hasattr(obj, "__get_tensor_shard__"):
        return obj.__get_tensor_shard__(index)
    if isinstance(obj, flambeau.Tensor) and index.offset is not None and any(index.offset):
        raise ValueError(f"FQN: '{index.fqn}' is not a ShardedTensor, can't find by offset: '{index.offset}'")
    return obj


def narrow(tensor: Any, offsets: Any, lengths: Any) -> Any:
    """A box of a tensor, as a view."""
    tensor = tensor.detach()
    for dim, (start, length) in enumerate(zip(offsets, lengths, strict=True)):
        if length < tensor.size(dim):
            tensor = tensor.narrow(dim, start, length)
    return tensor


def _overlap(saved: ChunkStorageMetadata, wanted: ChunkStorageMetadata) -> tuple[list[int], list[int], list[int]] | None:  # fmt: skip
    """Where two boxes meet: its start in the one, in the other, and its sizes."""
    in_saved, in_wanted, lengths = [], [], []
    for a, n, b, m in zip(saved.offsets, saved.sizes, wanted.offsets, wanted.sizes, strict=True):
        low, high = max(a, b), min(a + n, b + m)
        if low >= high:
            return None
        in_saved.append(low - a)
        in_wanted.append(low - b)
        lengths.append(high - low)
    return in_saved, in_wanted, lengths


def create_read_items(name: str, entry: Any, obj: Any) -> list[ReadItem]:
    """What has to be read for an object."""
    if isinstance(entry, BytesStorageMetadata):
        index, zero = MetadataIndex(name), flambeau.Size((0,))
        return [ReadItem(LoadItemType.BYTE_IO, index, zero, index, zero, zero)]
    out = []
    for i, wanted in enumerate(chunks_of(obj)):
        for j, saved in enumerate(entry.chunks):
            if (box := _overlap(saved, wanted)) is not None:
                here, there, lengths = map(flambeau.Size, box)
                dest, source = MetadataIndex(name, wanted.offsets, i), MetadataIndex(name, saved.offsets, j)
                out.append(ReadItem(LoadItemType.TENSOR, dest, there, source, here, lengths))
    return out


# ---------------------------------------------------------------- plans


def create_default_local_save_plan(state_dict: dict[str, Any], is_coordinator: bool) -> SavePlan:
    """Everything in the state."""
    return SavePlan([item for name, obj in state_dict.items() for item in write_items(name, obj)])


def dedup_save_plans(all_plans: list[SavePlan], save_to_lowest_rank: bool = False) -> list[SavePlan]:
    """The same plans, with each thing written by one rank: the first, or the one that has least to write."""
    holders: dict[MetadataIndex, list[int]] = {}
    for rank, plan in enumerate(all_plans):
        for item in plan.items:
            holders.setdefault(item.index, []).append(rank)
    load = [0] * len(all_plans)
    keeper: dict[MetadataIndex, int] = {}
    sizes = {item.index: item.tensor_storage_size() or 1 for plan in all_plans for item in plan.items}
    for index, ranks in holders.items():
        rank = ranks[0] if save_to_lowest_rank else min(ranks, key=load.__getitem__)
        keeper[index] = rank
        load[rank] += sizes[index]
    return [dataclasses.replace(p, items=[i for i in p.items if keeper[i.index] == rank]) for rank, p in enumerate(all_plans)]  # fmt: skip


def create_default_global_save_plan(all_plans: list[SavePlan], rewrite_index_hints: bool = True) -> tuple[list[SavePlan], Metadata]:  # fmt: skip
    """All plans, each item numbered among its tensor's chunks, and the metadata of the whole."""
    entries: dict[str, Any] = {}
    plans = []
    for plan in all_plans:
        items = []
        for item in plan.items:
            name, data = item.index.fqn, item.tensor_data
            assert item.type is WriteItemType.SHARD or name not in entries
            if data is None:
                entries[name] = BytesStorageMetadata()
                items.append(item)
                continue
            entry = entries.setdefault(name, TensorStorageMetadata(data.properties, data.size, []))
            if rewrite_index_hints:
                item = dataclasses.replace(item, index=dataclasses.replace(item.index, index=len(entry.chunks)))
            items.append(item)
            entry.chunks.append(data.chunk)
        plans.append(dataclasses.replace(plan, items=items))
    return plans, Metadata(entries)


def _problems(plans: list[SavePlan], metadata: Metadata) -> list[str]:
    """Chunks that reach beyond their tensor, overlap, or leave some of it out."""
    found = []
    for name, entry in metadata.state_dict_metadata.items():
        if isinstance(entry, BytesStorageMetadata) or not entry.size:
            continue
        for chunk in entry.chunks:
            if any(o < 0 or n < 0 or o + n > size for o, n, size in zip(chunk.offsets, chunk.sizes, entry.size, strict=True)):  # fmt: skip
                found.append(f"key:{name} has out of bounds chunk: tensor-size:{entry.size} chunk: {chunk}")
        ordered = sorted(entry.chunks, key=lambda c: tuple(c.offsets))
        for i, a in enumerate(ordered):
            for b in ordered[i + 1 :]:
                if b.offsets[0] >= a.offsets[0] + a.sizes[0]:
                    break
                if _overlap(a, b) is not None:
                    found.append(f"key:{name} has overlapping chunks: {a} {b}")
        volume, filled = math.prod(entry.size), sum(math.prod(c.sizes) for c in entry.chunks)
        if len(plans) > 1 and filled != volume:
            found.append(f"key:{name} invalid fill tensor-volume: {volume} chunks-volume: {filled}")
    return found


def create_default_local_load_plan(state_dict: dict[str, Any], metadata: Metadata, strict: bool = True) -> LoadPlan:
    """What has to be read for everything in the state.

    Raises:
        RuntimeError: the checkpoint lacks a name, and `strict`.
        ValueError: a tensor has another size.
    """
    items: list[ReadItem] = []
    for name, obj in state_dict.items():
        entry = metadata.state_dict_metadata.get(name)
        if entry is None:
            if strict:
                raise RuntimeError(f"Missing key in checkpoint state_dict: {name}.")
            continue
        if isinstance(entry, TensorStorageMetadata) and hasattr(obj, "size") and entry.size != obj.size():
            raise ValueError(f"Size mismatch between saved {entry.size} and current: {obj.size()} for {name}")
        items += create_read_items(name, entry, obj)
    return LoadPlan(items)


def create_default_global_load_plan(all_plans: list[LoadPlan]) -> list[LoadPlan]:
    """All plans as they are."""
    return all_plans

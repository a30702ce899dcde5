"""`save` and `async_save`: states as checkpoints, by all ranks together."""

from __future__ import annotations

import concurrent.futures
import copy
import os
from dataclasses import dataclass
from enum import Enum
from typing import Any

import flambeau
from flambeau.distributed.checkpoint._ranks import Ranks
from flambeau.distributed.checkpoint.default_planner import DefaultSavePlanner
from flambeau.distributed.checkpoint.filesystem import FileSystemWriter
from flambeau.distributed.checkpoint.metadata import STATE_DICT_TYPE, Metadata
from flambeau.distributed.checkpoint.planner import SavePlanner
from flambeau.distributed.checkpoint.stateful import Stateful
from flambeau.distributed.checkpoint.storage import StorageWriter
from flambeau.utils import _pytree as pytree

__all__ = ["AsyncCheckpointerType", "AsyncSaveResponse", "async_save", "save", "save_state_dict"]


class AsyncCheckpointerType(Enum):
    """Who saves while the program goes on."""

    THREAD = "thread"
    PROCESS = "process"


@dataclass
class AsyncSaveResponse:
    """Futures of an asynchronous save: the state has been copied; the checkpoint is there."""

    staging_completion: Any
    upload_completion: Any


def save(state_dict: STATE_DICT_TYPE, *, checkpoint_id: str | os.PathLike[str] | None = None, storage_writer: StorageWriter | None = None,
         planner: SavePlanner | None = None, process_group: Any = None, no_dist: bool = False, use_collectives: bool = True) -> Metadata:  # fmt: skip
    """Save a state, from all ranks of a group into one checkpoint.

    Args:
        state_dict: names to tensors, plain values, nested dicts and lists, and objects with `state_dict` and `load_state_dict`.
        checkpoint_id: the folder, if no `storage_writer` is given.
        no_dist: this process alone, even where there are others.

    Returns:
        what was saved.

    Raises:
        CheckpointException: it failed on some rank.

    >>> import flambeau as torch, tempfile
    >>> import flambeau.distributed.checkpoint as dcp
    >>> folder = tempfile.mkdtemp()
    >>> _ = dcp.save({"x": torch.arange(3)}, checkpoint_id=folder)
    >>> state = {"x": torch.zeros(3, dtype=torch.int64)}
    >>> dcp.load(state, checkpoint_id=folder)
    >>> state["x"]
    tensor([0, 1, 2])
    """
    if not use_collectives:
        raise NotImplementedError("torch.distributed.checkpoint.save with use_collectives=False")
    writer = _writer(storage_writer, checkpoint_id)
    return _save(_states(state_dict), writer, Ranks(process_group, no_dist), planner or DefaultSavePlanner())


def save_state_dict(state_dict: STATE_DICT_TYPE, storage_writer: StorageWriter, process_group: Any = None, coordinator_rank: int = 0,
                    no_dist: bool = False, planner: SavePlanner | None = None) -> Metadata:  # fmt: skip
    """The older name of `save`."""
    storage_writer.reset()
    return _save(state_dict, storage_writer, Ranks(process_group, no_dist, coordinator_rank), planner or DefaultSavePlanner())  # fmt: skip


def async_save(state_dict: STATE_DICT_TYPE, *, checkpoint_id: str | os.PathLike[str] | None = None, storage_writer: StorageWriter | None = None,
               planner: SavePlanner | None = None, process_group: Any = None, async_checkpointer_type: AsyncCheckpointerType = AsyncCheckpointerType.THREAD,
               async_stager: Any = None, no_dist: bool = False, use_collectives: bool = True) -> Any:  # fmt: skip
    """Copy a state now, and save the copy in a thread; a future of `save`'s result.

    Where there are several ranks, `process_group` must be one that nothing else uses meanwhile.
    """
    if async_checkpointer_type is not AsyncCheckpointerType.THREAD:
        raise NotImplementedError("torch.distributed.checkpoint.async_save in a process")
    state_dict = _states(state_dict)
    state_dict = pytree.tree_map(_copied, state_dict) if async_stager is None else async_stager.stage(state_dict)
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="flambeau-checkpoint")
    future = pool.submit(save, state_dict, checkpoint_id=checkpoint_id, storage_writer=storage_writer, planner=planner, process_group=process_group,
                         no_dist=no_dist, use_collectives=use_collectives)  # fmt: skip
    pool.shutdown(wait=False)
    return future


def _states(state_dict: STATE_DICT_TYPE) -> STATE_DICT_TYPE:
    """The states of objects that have one, and the rest as it is."""
    return {k: v.state_dict() if isinstance(v, Stateful) else v for k, v in state_dict.items()}


def _copied(x: Any) -> Any:
    return x.detach().clone() if isinstance(x, flambeau.Tensor) else copy.deepcopy(x)


def _writer(writer: StorageWriter | None, checkpoint_id: Any) -> StorageWriter:
    if writer is None:
        if not checkpoint_id:
            raise RuntimeError("`checkpoint_id` must be specificed if storage_reader/storage_writer is None.")
        if not FileSystemWriter.validate_checkpoint_id(checkpoint_id):
            raise RuntimeError("Cannot detect which StorageReader or StorageWriter to use. Please specify the storage_reader/storage_writer.")  # fmt: skip
        writer = FileSystemWriter(checkpoint_id)
    writer.reset(checkpoint_id)
    return writer


def _save(state_dict: STATE_DICT_TYPE, writer: StorageWriter, ranks: Ranks, planner: SavePlanner) -> Metadata:
    described: list[Metadata] = []

    def local() -> Any:
        planner.set_up_planner(state_dict, writer.storage_meta(), ranks.is_coordinator)
        writer.set_up_storage_writer(ranks.is_coordinator, rank=ranks.rank)
        return writer.prepare_local_plan(planner.create_local_plan())

    local_plans = ranks.each(local)

    def together() -> Any:
        plans, metadata = planner.create_global_plan(local_plans)
        described.append(metadata)
        return writer.prepare_global_plan(plans)

    plans = ranks.one(together)

    def write() -> Any:
        future = writer.write_data(planner.finish_plan(plans[ranks.rank]), planner)
        future.wait()
        return future.value()

    results = ranks.each(write)

    def finish() -> Metadata:
        writer.finish(described[0], results)
        return described[0]

    return ranks.one(finish)

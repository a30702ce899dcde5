"""`load`: states filled from checkpoints, by all ranks together."""

from __future__ import annotations

import os
from typing import Any

from flambeau.distributed.checkpoint._ranks import Ranks
from flambeau.distributed.checkpoint.default_planner import DefaultLoadPlanner, _EmptyStateDictLoadPlanner
from flambeau.distributed.checkpoint.filesystem import FileSystemReader
from flambeau.distributed.checkpoint.metadata import STATE_DICT_TYPE
from flambeau.distributed.checkpoint.planner import LoadPlanner
from flambeau.distributed.checkpoint.stateful import Stateful
from flambeau.distributed.checkpoint.storage import StorageReader

__all__ = ["load", "load_state_dict"]


def load(state_dict: STATE_DICT_TYPE, *, checkpoint_id: str | os.PathLike[str] | None = None, storage_reader: StorageReader | None = None,
         planner: LoadPlanner | None = None, process_group: Any = None, no_dist: bool = False) -> None:  # fmt: skip
    """Fill a state from a checkpoint: tensors in place, whatever number of ranks saved them; other values are replaced.

    Args:
        state_dict: the names to load, with tensors of the saved sizes.
        checkpoint_id: the folder, if no `storage_reader` is given.
        no_dist: this process alone, even where there are others.

    Raises:
        CheckpointException: it failed on some rank: a name or file is missing, a size differs.
    """
    if storage_reader is None:
        if not checkpoint_id:
            raise RuntimeError("`checkpoint_id` must be specificed if storage_reader/storage_writer is None.")
        storage_reader = FileSystemReader(checkpoint_id)
    storage_reader.reset(checkpoint_id)
    ranks = Ranks(process_group, no_dist)
    keys = sorted({k for names in ranks.gathered(list(state_dict)) for k in names})
    stateful = {k: state_dict[k] for k in keys if isinstance(state_dict.get(k), Stateful)}
    flat = {k: state_dict[k].state_dict() if k in stateful else state_dict[k] for k in keys if k in state_dict}
    _load(flat, storage_reader, ranks, planner or DefaultLoadPlanner())
    for key in keys:
        if key in stateful:
            stateful[key].load_state_dict(flat[key])
        elif key in state_dict:
            state_dict[key] = flat[key]


def load_state_dict(state_dict: dict[str, Any], storage_reader: StorageReader, process_group: Any = None, coordinator_rank: int = 0,
                    no_dist: bool = False, planner: LoadPlanner | None = None) -> None:  # fmt: skip
    """The older name of `load`."""
    storage_reader.reset()
    _load(state_dict, storage_reader, Ranks(process_group, no_dist, coordinator_rank), planner or DefaultLoadPlanner())


def _load(state_dict: STATE_DICT_TYPE, reader: StorageReader, ranks: Ranks, planner: LoadPlanner) -> None:
    def local() -> Any:
        metadata = reader.read_metadata()
        planner.set_up_planner(state_dict, metadata, ranks.is_coordinator)
        reader.set_up_storage_reader(metadata, ranks.is_coordinator, rank=ranks.rank)
        return reader.prepare_local_plan(planner.create_local_plan())

    local_plans = ranks.each(local)
    plans = ranks.one(lambda: reader.prepare_global_plan(planner.create_global_plan(local_plans)))

    def read() -> None:
        reader.read_data(planner.finish_plan(plans[ranks.rank]), planner).wait()

    ranks.each(read)


def _load_state_dict_from_keys(keys: set[str] | str | None = None, *, checkpoint_id: str | os.PathLike[str] | None = None,
                               storage_reader: StorageReader | None = None, process_group: Any = None) -> dict[str, Any]:  # fmt: skip
    """Some names of a checkpoint (or all) as a new state."""
    state: dict[str, Any] = {}
    reader = storage_reader or FileSystemReader(checkpoint_id or "")
    reader.reset(checkpoint_id)
    wanted = {keys} if isinstance(keys, str) else keys
    _load(state, reader, Ranks(process_group, process_group is None), _EmptyStateDictLoadPlanner(wanted))
    return state


def _load_state_dict(state_dict: dict[str, Any], storage_reader: StorageReader, process_group: Any = None, coordinator_rank: int = 0,
                     no_dist: bool = False, planner: LoadPlanner | None = None) -> None:  # fmt: skip
    """Fill a state from a checkpoint, as a planner says: with one for empty states, a new state is made of all that is there."""
    _load(state_dict, storage_reader, Ranks(process_group, no_dist, coordinator_rank), planner or DefaultLoadPlanner())

"""Checkpoints as files of `torch.save`, and back."""

from __future__ import annotations

import os
from typing import Any

from flambeau import serialization
from flambeau.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner as _EmptyStateDictLoadPlanner
from flambeau.distributed.checkpoint.filesystem import FileSystemWriter
from flambeau.distributed.checkpoint.state_dict_loader import (
    _load_state_dict as _load_state_dict,
    _load_state_dict_from_keys,
)
from flambeau.distributed.checkpoint.state_dict_saver import save

__all__ = ["dcp_to_torch_save", "torch_save_to_dcp"]


def dcp_to_torch_save(dcp_checkpoint_dir: str | os.PathLike[str], torch_save_path: str | os.PathLike[str]) -> None:
    """Write all of a checkpoint into one file for `torch.load`."""
    serialization.save(_load_state_dict_from_keys(checkpoint_id=dcp_checkpoint_dir), torch_save_path)


def torch_save_to_dcp(torch_save_path: str | os.PathLike[str], dcp_checkpoint_dir: str | os.PathLike[str]) -> None:
    """Write what is in a file of `torch.save` as a checkpoint."""
    state: Any = serialization.load(torch_save_path, weights_only=True)
    save(state, storage_writer=FileSystemWriter(dcp_checkpoint_dir), no_dist=True)

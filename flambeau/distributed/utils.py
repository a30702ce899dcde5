"""Small things that distributed programs take from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau
from flambeau import distributed as dist


def _sync_module_states(module: Any, process_group: Any, broadcast_bucket_size: int, src: int, params_and_buffers_to_ignore: Any = (),
                        broadcast_buffers: bool = True) -> None:  # fmt: skip
    """Parameters (and buffers) of rank `src`, on all ranks."""
    tensors = [p.detach() for n, p in module.named_parameters() if n not in params_and_buffers_to_ignore]
    if broadcast_buffers:
        tensors += [b.detach() for n, b in module.named_buffers() if n not in params_and_buffers_to_ignore]
    _sync_params_and_buffers(process_group, tensors, broadcast_bucket_size, src)


def _sync_params_and_buffers(process_group: Any, module_states: Sequence[Any], broadcast_bucket_size: int, src: int) -> None:  # fmt: skip
    """Tensors of rank `src`, on all ranks."""
    with flambeau.no_grad():
        for t in module_states:
            dist.broadcast(t.detach(), group=process_group, group_src=src)

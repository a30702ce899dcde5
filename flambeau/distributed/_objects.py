"""Collectives and messages of objects. They are pickled: the other ranks must be trusted."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from flambeau.distributed._collectives import check_given, root_or_first
from flambeau.distributed._group import ProcessGroup
from flambeau.distributed._groups import member
from flambeau.distributed._messages import peer_of, sources_of

__all__ = [
    "all_gather_object", "broadcast_object_list", "gather_object", "recv_object_list", "scatter_object_list",
    "send_object_list",
]  # fmt: skip


def _pickled(obj: Any) -> bytes:
    return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)


def all_gather_object(object_list: list[Any], obj: Any, group: ProcessGroup | None = None) -> None:
    """Every rank's object, on all ranks. Objects are pickled: the other ranks must be trusted."""
    if (g := member(group)) is None:
        return
    g.run(lambda turn: _put_all(object_list, g.gathered(turn, _pickled(obj))), None, False).wait()


def _put_all(into: list[Any], parts: Sequence[Any]) -> None:
    for i, p in enumerate(parts):
        into[i] = pickle.loads(p)


def gather_object(obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: ProcessGroup | None = None, group_dst: int | None = None) -> None:  # fmt: skip
    """Every rank's object, on rank `dst`."""
    if (g := member(group)) is None:
        return
    root = root_or_first(g, dst, group_dst, "gather")
    check_given(g, root, object_gather_list, "gather_list", "destination")
    g.run(lambda turn: _put_all(object_gather_list or [], g.gathered_to(turn, _pickled(obj), root) or ()), None, False).wait()  # fmt: skip


def broadcast_object_list(object_list: list[Any], src: int | None = None, group: ProcessGroup | None = None, device: Any = None, group_src: int | None = None) -> None:  # fmt: skip
    """Rank `src`'s objects, on all ranks."""
    if (g := member(group)) is None:
        return
    root = root_or_first(g, src, group_src, "broadcast")

    def step(turn: int) -> None:
        data = g.broadcast_bytes(turn, _pickled(list(object_list)) if g.rank() == root else None, root)
        if g.rank() != root:
            object_list[:] = pickle.loads(data)

    g.run(step, None, False).wait()


def scatter_object_list(scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None, src: int | None = None,
                        group: ProcessGroup | None = None, group_src: int | None = None) -> None:  # fmt: skip
    """One of rank `src`'s objects for each rank: it becomes the first entry of the output list."""
    if (g := member(group)) is None:
        return
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    root = root_or_first(g, src, group_src, "scatter")

    def step(turn: int) -> None:
        parts = [_pickled(o) for o in scatter_object_input_list or ()] if g.rank() == root else None
        scatter_object_output_list[0] = pickle.loads(g.scattered(turn, parts, root))

    g.run(step, None, False).wait()


_OBJECTS = 1 << 41


def send_object_list(object_list: list[Any], dst: int | None = None, group: ProcessGroup | None = None, device: Any = None, group_dst: int | None = None, use_batch: bool = False) -> None:  # fmt: skip
    """Send objects to rank `dst`."""
    if (g := member(group)) is None:
        return
    g.transport.send(g.ranks[peer_of(g, dst, group_dst, "dst")], g.channel(_OBJECTS), _pickled(list(object_list)))


def recv_object_list(object_list: list[Any], src: int | None = None, group: ProcessGroup | None = None, device: Any = None, group_src: int | None = None, use_batch: bool = False) -> int:  # fmt: skip
    """Receive objects from rank `src`, or from whichever sends some; the sender's rank."""
    if (g := member(group)) is None:
        return -1
    peers = [g.ranks[r] for r in sources_of(g, src, group_src)]
    peer, data = g.transport.receive(peers, g.channel(_OBJECTS), g.timeout.total_seconds())
    object_list[:] = pickle.loads(data)
    return peer

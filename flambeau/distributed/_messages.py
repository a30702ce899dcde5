"""Messages from one rank to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._tensor import Tensor
from flambeau.distributed._collectives import checked
from flambeau.distributed._group import ProcessGroup, Work, _Receipt, array_of, bytes_of
from flambeau.distributed._groups import get_global_rank, member, place_of, the_group

__all__ = [
    "P2POp", "batch_isend_irecv", "irecv", "isend", "recv", "send",
]  # fmt: skip


def peer_of(g: ProcessGroup, whole: int | None, own: int | None, name: str) -> int:
    """The other rank of a message."""
    peer = place_of(g, whole, own)
    if not 0 <= peer < g.size():
        raise ValueError(f"Rank {peer} is not part of group {g}")
    if peer == g.rank():
        raise ValueError("Invalid destination rank: destination rank should not be the same as the rank of the current process." if name == "dst" else "Invalid source rank: source rank should not be the same as the rank of the current process.")  # fmt: skip
    return peer


def sources_of(g: ProcessGroup, whole: int | None, own: int | None) -> list[int]:
    """From whom a message may come: one rank, or any other."""
    return [r for r in range(g.size()) if r != g.rank()] if whole is None and own is None else [peer_of(g, whole, own, "src")]  # fmt: skip


_TAGS = 1 << 40  # tags of messages, above those of collectives


def isend(tensor: Tensor, dst: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_dst: int | None = None) -> Work | None:  # fmt: skip
    """Send a tensor to rank `dst`."""
    checked(tensor, "tensor")
    if (g := member(group)) is None:
        return None
    peer = peer_of(g, dst, group_dst, "dst")
    g.transport.send(g.ranks[peer], g.channel(_TAGS + tag), bytes_of(array_of(tensor)))
    work = Work([tensor])
    work._finish()
    return work


def irecv(tensor: Tensor, src: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_src: int | None = None) -> Work | None:  # fmt: skip
    """Receive a tensor from rank `src`, or from whichever sends one."""
    checked(tensor, "tensor")
    if (g := member(group)) is None:
        return None
    return _Receipt(g, tensor, sources_of(g, src, group_src), _TAGS + tag)


def send(tensor: Tensor, dst: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_dst: int | None = None) -> None:  # fmt: skip
    """Send a tensor to rank `dst`."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(tensor: Tensor, src: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_src: int | None = None) -> int:  # fmt: skip
    """Receive a tensor from rank `src`, or from whichever sends one; the sender's rank."""
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return get_global_rank(the_group(group), work.source_rank())


class P2POp:
    """One message of a batch: `isend` or `irecv`, the tensor, the other rank."""

    def __init__(self, op: Callable[..., Any], tensor: Tensor, peer: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_peer: int | None = None) -> None:  # fmt: skip
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or ``torch.distributed.irecv``.")  # fmt: skip
        self.op, self.tensor, self.group, self.tag = op, checked(tensor, "tensor"), group, tag
        g = the_group(group)
        self.group_peer = place_of(g, peer, group_peer)
        self.peer = get_global_rank(g, self.group_peer)


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Work]:
    """Start several messages."""
    if not p2p_op_list or not all(isinstance(p, P2POp) for p in p2p_op_list):
        raise ValueError("Invalid ``op_list``. Each op is expected to to be of type ``torch.distributed.P2POp``.")
    made = [p.op(p.tensor, p.peer, p.group, p.tag) for p in p2p_op_list]
    return [w for w in made if w is not None]

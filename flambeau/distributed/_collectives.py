"""Collectives of tensors. Each checks what it is given before any rank is asked, so that a refusal breaks nothing for the others."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

import flambeau
from flambeau._tensor import Tensor
from flambeau.distributed._errors import DistBackendError
from flambeau.distributed._group import ProcessGroup, Work, array_of, arrays_of, bytes_of, fill, store
from flambeau.distributed._groups import get_global_rank, get_rank, member, place_of
from flambeau.distributed._reduce_op import ReduceOp, check, combine

__all__ = [
    "all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_single", "all_reduce",
    "all_reduce_coalesced", "all_to_all", "all_to_all_single", "barrier", "breakpoint", "broadcast", "gather",
    "monitored_barrier", "record_comm", "reduce", "reduce_scatter", "reduce_scatter_single", "reduce_scatter_tensor",
    "scatter",
]  # fmt: skip


def checked(t: Any, name: str) -> Tensor:
    """A tensor; refuses all else."""
    if not isinstance(t, Tensor):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n             but got {type(t)} instead.")  # fmt: skip
    return t


def _list_checked(ts: Any, name: str) -> Sequence[Tensor]:
    if not isinstance(ts, (list, tuple)) or not all(isinstance(t, Tensor) for t in ts):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n             but got {type(ts)} instead.")  # fmt: skip
    return ts


def _one_dtype(ts: Sequence[Tensor]) -> None:
    for t in ts:
        if t.dtype != ts[0].dtype:
            raise ValueError(f"Invalid usage of tensors with different dtypesFound {ts[0].dtype} and  {t.dtype}")


def _root(g: ProcessGroup, whole: int | None, own: int | None, what: str) -> int:
    """The rank of the group from which a collective starts, or to which it goes."""
    root = place_of(g, whole, own)
    if not 0 <= root < g.size():
        raise RuntimeError(f"ProcessGroupGloo::{what}: invalid root rank: {root}")
    return root


def root_or_first(g: ProcessGroup, whole: int | None, own: int | None, what: str) -> int:
    """The same; without one, the first."""
    return _root(g, get_global_rank(g, 0) if whole is None and own is None else whole, own, what)


def check_given(g: ProcessGroup, root: int, given: Any, name: str, side: str) -> None:
    """Refuses a list that the root does not give, or another rank does."""
    if g.rank() == root and not given:
        raise ValueError(f"Argument ``{name}`` must be specified on {side} rank.")
    if g.rank() != root and given:
        raise ValueError(f"Argument ``{name}`` must NOT be specified on non-{side} ranks.")


def _started(work: Work, async_op: bool) -> Work | None:
    if async_op:
        return work
    work.wait()
    return None


def broadcast(tensor: Tensor, src: int | None = None, group: ProcessGroup | None = None, async_op: bool = False, group_src: int | None = None) -> Work | None:  # fmt: skip
    """Rank `src`'s tensor, on all ranks."""
    checked(tensor, "tensor")
    if (g := member(group)) is None:
        return None
    root = _root(g, src, group_src, "broadcast")

    def step(turn: int) -> None:
        data = g.broadcast_bytes(turn, bytes_of(array_of(tensor)) if g.rank() == root else None, root)
        if g.rank() != root:
            fill(tensor, data)

    return _started(g.run(step, [tensor], async_op), async_op)


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """All ranks' tensors combined, on all ranks: the same bits everywhere, and in every run."""
    checked(tensor, "tensor")
    if (g := member(group)) is None:
        return None
    check(op, tensor, "all_reduce")
    return _started(g.run(lambda turn: store(tensor, g.reduced(turn, array_of(tensor), op)), [tensor], async_op), async_op)  # fmt: skip


def all_reduce_coalesced(tensors: Sequence[Tensor], op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """`all_reduce` of several tensors of one dtype at once."""
    _list_checked(tensors, "tensors")
    _one_dtype(tensors)
    if (g := member(group)) is None:
        return None
    for t in tensors:
        check(op, t, "all_reduce")

    def step(turn: int) -> None:
        flat = g.reduced(turn, np.concatenate([array_of(t).reshape(-1) for t in tensors]), op)
        at = 0
        for t in tensors:
            store(t, flat[at : at + t.numel()])
            at += t.numel()

    return _started(g.run(step, list(tensors), async_op), async_op)


def reduce(tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False, group_dst: int | None = None) -> Work | None:  # fmt: skip
    """All ranks' tensors combined, on rank `dst`."""
    checked(tensor, "tensor")
    if (g := member(group)) is None:
        return None
    check(op, tensor, "reduce")
    root = _root(g, dst, group_dst, "reduce")

    def step(turn: int) -> None:
        a = array_of(tensor)
        parts = g.gathered_to(turn, bytes_of(a), root)
        if parts is not None:
            store(tensor, combine(arrays_of(parts, a.dtype), op))

    return _started(g.run(step, [tensor], async_op), async_op)


def all_gather(tensor_list: Sequence[Tensor], tensor: Tensor, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Every rank's tensor, on all ranks."""
    _list_checked(tensor_list, "tensor_list")
    checked(tensor, "tensor")
    _one_dtype([*tensor_list, tensor])
    if (g := member(group)) is None:
        return None
    if len(tensor_list) != g.size():
        raise RuntimeError(f"ProcessGroupGloo::allgather: invalid output tensor list at index 0 (expected length {g.size()}, got {len(tensor_list)})")  # fmt: skip

    def step(turn: int) -> None:
        for t, data in zip(tensor_list, g.gathered(turn, bytes_of(array_of(tensor))), strict=True):
            fill(t, data)

    return _started(g.run(step, list(tensor_list), async_op), async_op)


def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Every rank's tensor one after the other in one tensor, on all ranks."""
    checked(output_tensor, "output_tensor")
    checked(input_tensor, "input_tensor")
    if (g := member(group)) is None:
        return None
    if output_tensor.numel() != input_tensor.numel() * g.size():
        raise ValueError("output tensor size must be equal to world_size times input tensor size")

    def step(turn: int) -> None:
        parts = g.gathered(turn, bytes_of(array_of(input_tensor)))
        store(output_tensor, np.concatenate(arrays_of(parts, input_tensor._a.dtype)))

    return _started(g.run(step, [output_tensor], async_op), async_op)


all_gather_single = _all_gather_base = all_gather_into_tensor


def all_gather_coalesced(output_tensor_lists: Any, input_tensor_list: Sequence[Tensor], group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """`all_gather` of several tensors."""
    works = [all_gather([ts[i] for ts in output_tensor_lists], t, group, True) for i, t in enumerate(input_tensor_list)]
    if not works or works[-1] is None:
        return None
    return _started(works[-1], async_op)


def gather(tensor: Tensor, gather_list: Sequence[Tensor] | None = None, dst: int | None = None, group: ProcessGroup | None = None,
           async_op: bool = False, group_dst: int | None = None) -> Work | None:  # fmt: skip
    """Every rank's tensor, on rank `dst`."""
    checked(tensor, "tensor")
    if (g := member(group)) is None:
        return None
    root = root_or_first(g, dst, group_dst, "gather")
    check_given(g, root, gather_list, "gather_list", "destination")

    def step(turn: int) -> None:
        parts = g.gathered_to(turn, bytes_of(array_of(tensor)), root)
        for t, data in zip(gather_list or (), parts or (), strict=True):
            fill(t, data)

    return _started(g.run(step, list(gather_list or ()), async_op), async_op)


def scatter(tensor: Tensor, scatter_list: Sequence[Tensor] | None = None, src: int | None = None, group: ProcessGroup | None = None,
            async_op: bool = False, group_src: int | None = None) -> Work | None:  # fmt: skip
    """One of rank `src`'s tensors for each rank."""
    checked(tensor, "tensor")
    if (g := member(group)) is None:
        return None
    root = root_or_first(g, src, group_src, "scatter")
    check_given(g, root, scatter_list, "scatter_list", "source")

    def step(turn: int) -> None:
        fill(tensor, g.scattered(turn, [bytes_of(array_of(t)) for t in scatter_list] if scatter_list else None, root))  # fmt: skip

    return _started(g.run(step, [tensor], async_op), async_op)


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """All ranks' lists combined entry by entry: each rank its entry."""
    checked(output, "output")
    _list_checked(input_list, "input_list")
    if (g := member(group)) is None:
        return None
    check(op, output, "reduce_scatter")
    return _started(g.run(lambda turn: store(output, g.scatter_reduced(turn, [array_of(t) for t in input_list], op)), [output], async_op), async_op)  # fmt: skip


def reduce_scatter_tensor(output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """All ranks' tensors combined: each rank its part of the result."""
    checked(output, "output")
    checked(input, "input")
    if (g := member(group)) is None:
        return None
    check(op, output, "reduce_scatter")
    if input.numel() != output.numel() * g.size():
        raise ValueError("input tensor must be the same size as output size times world size")
    return _started(g.run(lambda turn: store(output, g.scatter_reduced(turn, np.split(array_of(input).reshape(-1), g.size()), op)), [output], async_op), async_op)  # fmt: skip


reduce_scatter_single = _reduce_scatter_base = reduce_scatter_tensor


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Each rank's r-th tensor goes to rank r."""
    _list_checked(output_tensor_list, "output_tensor_list")
    _list_checked(input_tensor_list, "input_tensor_list")
    if (g := member(group)) is None:
        return None

    def step(turn: int) -> None:
        for t, data in zip(output_tensor_list, g.exchange(turn, [bytes_of(array_of(t)) for t in input_tensor_list]), strict=True):  # fmt: skip
            fill(t, data)

    return _started(g.run(step, list(output_tensor_list), async_op), async_op)


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: Sequence[int] | None = None, input_split_sizes: Sequence[int] | None = None,
                      group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Each rank's tensor in parts along dimension 0 (equal ones, or of the given sizes): the r-th goes to rank r."""
    checked(output, "output")
    checked(input, "input")
    if (g := member(group)) is None:
        return None
    if not input_split_sizes and input.shape[0] % g.size():
        raise ValueError("Tensor's dim 0 does not divide equally across group size")

    def step(turn: int) -> None:
        a = array_of(input)
        cuts = np.cumsum(input_split_sizes)[:-1] if input_split_sizes else g.size()
        got = g.exchange(turn, [bytes_of(p) for p in np.split(a, cuts)])
        store(output, np.concatenate(arrays_of(got, a.dtype)))

    return _started(g.run(step, [output], async_op), async_op)


def barrier(group: ProcessGroup | None = None, async_op: bool = False, device_ids: Any = None, timeout: timedelta | None = None) -> Work | None:  # fmt: skip
    """Wait until all ranks have come here."""
    if (g := member(group)) is None:
        return None
    return _started(g.run(lambda turn: g.gathered(turn, b""), None, async_op), async_op)


def monitored_barrier(group: ProcessGroup | None = None, timeout: timedelta | None = None, wait_all_ranks: bool = False) -> None:  # fmt: skip
    """A barrier that says which ranks did not come in time.

    Raises:
        RuntimeError: on rank 0, with their numbers; on the others, that rank 0 did not answer.
    """
    if (g := member(group)) is None:
        return
    patience = timeout or g.timeout

    def step(turn: int) -> None:
        if g.rank():
            g.put(0, turn, b"")
            g.get(0, turn)
            return
        missing = []
        for r in range(1, g.size()):
            try:
                g.get(r, turn, patience)
            except DistBackendError:
                missing.append(g.ranks[r])
                if not wait_all_ranks:
                    break
        if missing:
            what = f"Ranks {', '.join(map(str, missing))}" if wait_all_ranks else f"Rank {missing[0]}"
            raise RuntimeError(
                f"[Rank 0]: {what} failed to pass monitoredBarrier in {int(patience.total_seconds() * 1000)} ms"
            )
        for r in range(1, g.size()):
            g.put(r, turn, b"")

    g.run(step, None, False).wait()


@contextlib.contextmanager
def record_comm(name: str) -> Any:
    """A name for the communication inside the block, in profiles."""
    with flambeau.profiler.record_function(name):
        yield


def breakpoint(rank: int = 0, skip: int = 0, timeout_s: int = 3600) -> None:
    """Stop one rank in the debugger; the others wait for it."""
    if get_rank() == rank:
        import pdb

        pdb.set_trace()
    barrier()

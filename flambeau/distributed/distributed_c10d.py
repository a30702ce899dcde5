"""`torch.distributed`'s functions: process groups, collectives of tensors and objects, messages."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pickle
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NewType

import numpy as np

import flambeau
from flambeau._tensor import Tensor
from flambeau.distributed._errors import DistBackendError
from flambeau.distributed._group import ProcessGroup, Work, _bytes_of, _Receipt, array_of, store as _store
from flambeau.distributed._reduce_op import ReduceOp, check
from flambeau.distributed._store import PrefixStore, Store
from flambeau.distributed._transport import Transport
from flambeau.distributed.rendezvous import rendezvous

default_pg_timeout = timedelta(minutes=30)
GroupName = NewType("GroupName", str)


class Backend(str):
    """What carries messages: "gloo" names the one there is, over sockets."""

    UNDEFINED, GLOO, NCCL, UCC, MPI, XCCL, FAKE = "undefined", "gloo", "nccl", "ucc", "mpi", "xccl", "fake"
    backend_list = [UNDEFINED, GLOO, NCCL, XCCL, UCC, MPI, FAKE]
    default_device_backend_map = {"cpu": GLOO, "cuda": NCCL, "xpu": XCCL, "mps": GLOO}

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return str.__new__(cls, getattr(Backend, name.upper(), Backend.UNDEFINED) if "_" not in name else name.lower())  # fmt: skip

    @classmethod
    def register_backend(cls, name: str, func: Callable[..., Any], extended_api: bool = False, devices: Any = None) -> None:  # fmt: skip
        """Refused: there is one way of carrying messages."""
        raise NotImplementedError("torch.distributed.Backend.register_backend")


class BackendConfig:
    """Which backend serves which kind of device: "cpu:gloo,cuda:nccl"."""

    def __init__(self, backend: Backend) -> None:
        text = str(backend)
        if ":" in text:
            self.device_backend_map = {d.strip(): Backend(b.strip()) for d, b in (p.split(":") for p in text.split(","))}  # fmt: skip
        elif text == Backend.UNDEFINED:
            self.device_backend_map = {d: Backend(b) for d, b in Backend.default_device_backend_map.items()}
        else:
            self.device_backend_map = {d: Backend(text) for d in Backend.default_device_backend_map}

    def __repr__(self) -> str:
        return ",".join(f"{d}:{b}" for d, b in self.device_backend_map.items())

    def get_device_backend_map(self) -> dict[str, Backend]:
        """Device -> backend."""
        return self.device_backend_map


class GroupMember:
    """Marks: not in a group; the group of all (once it is there)."""

    NON_GROUP_MEMBER = -100
    WORLD: ProcessGroup | None = None


class _GroupMeta(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        return GroupMember.WORLD

    @WORLD.setter
    def WORLD(cls, group: ProcessGroup | None) -> None:
        GroupMember.WORLD = group


class group(metaclass=_GroupMeta):
    """`group.WORLD`: the group of all ranks."""


class _World:
    """What there is in this process."""

    def __init__(self) -> None:
        self.transport: Transport | None = None
        self.store: Store | None = None
        self.groups: dict[int, ProcessGroup] = {}
        self.backend = ""
        self.counter = itertools.count(1)


_world = _World()


# ---------------------------------------------------------------- groups


def is_initialized() -> bool:
    """Whether this process has joined others."""
    return GroupMember.WORLD is not None


def is_gloo_available() -> bool:
    """Whether messages can go over sockets."""
    return True


def _is_absent() -> bool:
    """No: it needs a library that is not used here."""
    return False


is_mpi_available = is_nccl_available = is_ucc_available = is_xccl_available = _is_absent


def is_backend_available(backend: str) -> bool:
    """Whether a backend is there."""
    return backend.lower() == Backend.GLOO


def is_torchelastic_launched() -> bool:
    """Whether `torch.distributed.run` started this process."""
    return os.environ.get("TORCHELASTIC_RUN_ID") is not None


def supports_complex(reduceOp: Any) -> bool:
    """Whether complex numbers can be combined so."""
    return reduceOp not in (ReduceOp.MAX, ReduceOp.MIN, ReduceOp.PRODUCT, ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)


def init_process_group(backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None, world_size: int = -1,
                       rank: int = -1, store: Store | None = None, group_name: str = "", pg_options: Any = None, device_id: Any = None,
                       _ranks: list[int] | None = None) -> None:  # fmt: skip
    """Join all ranks of a program.

    Args:
        backend: "gloo", or None.
        init_method: where they meet: "env://" (the default: MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE), "tcp://host:port", "file:///path".
        timeout: how long operations wait for other ranks.
        world_size, rank: how many there are, and which this is.
        store: a store they share, instead of `init_method`.

    Raises:
        ValueError: already joined, or arguments that do not go together.
        DistNetworkError, DistBackendError: the others do not come.

    >>> import flambeau as torch
    >>> torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    >>> x = torch.ones(2)
    >>> torch.distributed.all_reduce(x)
    >>> x, torch.distributed.get_world_size()
    (tensor([1., 1.]), 1)
    >>> torch.distributed.destroy_process_group()
    """
    if GroupMember.WORLD is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None and init_method is not None:
        raise AssertionError("Cannot specify both init_method and store.")
    name = Backend(backend) if backend and ":" not in backend else backend or Backend.GLOO
    names = {str(b) for b in BackendConfig(name).device_backend_map.values()} if ":" in name else {str(name)}  # type: ignore[arg-type]
    if Backend.GLOO not in names:
        raise RuntimeError(f"Distributed package doesn't have {str(name).upper()} built in")
    wait = default_pg_timeout if timeout is None else timeout
    if not isinstance(wait, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {wait}")
    if store is not None:
        if world_size <= 0:
            raise AssertionError("world_size must be positive if using store")
        if rank < 0:
            raise AssertionError("rank must be non-negative if using store")
    else:
        store, rank, world_size = next(rendezvous(init_method or "env://", rank, world_size, timeout=wait))
        store.set_timeout(wait)
    shared = PrefixStore("default_pg", store)
    _world.transport = Transport(shared, rank, world_size, wait, _own_address(store))
    _world.store, _world.backend = shared, str(name)
    made = ProcessGroup(_world.transport, 0, range(world_size), wait, group_name or "0", Backend.GLOO, "default_pg")
    _world.groups = {0: made}
    _world.counter = itertools.count(1)
    GroupMember.WORLD = made
    _register_exit()


def _own_address(store: Any) -> str:
    """The address under which the others reach this process: the one by which it reaches the store."""
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    host, port = getattr(store, "host", None), getattr(store, "port", None)
    if host is None or host in ("localhost", "127.0.0.1", "::1"):
        return "127.0.0.1"
    if "GLOO_SOCKET_ADDRESS" in os.environ:
        return os.environ["GLOO_SOCKET_ADDRESS"]
    for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
        with contextlib.suppress(OSError), socket.socket(family, kind, proto) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    return "127.0.0.1"


_registered: list[bool] = []


def _register_exit() -> None:
    """Say goodbye when the program ends, so that the others know that nothing went wrong."""
    if not _registered:
        import atexit

        _registered.append(True)
        atexit.register(lambda: _world.transport is not None and _world.transport.close())


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Leave a group; without one, all of them."""
    if group == GroupMember.NON_GROUP_MEMBER:
        return
    if GroupMember.WORLD is None:
        raise AssertionError("Process group cannot be None")
    if group is not None and group is not GroupMember.WORLD:
        _world.groups.pop(_the(group).number, None)
        _the(group).shutdown()
        return
    for g in _world.groups.values():
        g.shutdown()
    if _world.transport is not None:
        _world.transport.close()
    _world.groups, _world.transport, _world.store = {}, None, None
    GroupMember.WORLD = None


def _the(group: Any) -> ProcessGroup:
    """A group; all ranks, where none is given."""
    if group is not None:
        if hasattr(group, "get_group"):  # a mesh of one dimension
            return group.get_group()  # type: ignore[no-any-return]
        return group  # type: ignore[no-any-return]
    if GroupMember.WORLD is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return GroupMember.WORLD


_get_default_group = _the
_resolve_process_group = lambda name: next(g for g in _world.groups.values() if g.name_ == name)


def _outside(g: Any) -> bool:
    """Whether this process is no member of a group: calls do nothing then."""
    return g == GroupMember.NON_GROUP_MEMBER or _the(g)._rank < 0


def get_rank(group: ProcessGroup | None = None) -> int:
    """This process's rank in a group; -1 outside of it."""
    return -1 if _outside(group) else _the(group).rank()


def get_world_size(group: ProcessGroup | None = None) -> int:
    """How many ranks a group has; -1 outside of it."""
    return -1 if _outside(group) else _the(group).size()


def get_backend(group: ProcessGroup | None = None) -> Backend:
    """A group's backend."""
    if _outside(group):
        raise ValueError("Invalid process group specified")
    return Backend(_the(group).backend_)


def get_backend_config(group: ProcessGroup | None = None) -> str:
    """A group's backends by device."""
    return str(BackendConfig(get_backend(group)))


def get_default_backend_for_device(device: Any) -> str:
    """The backend for a kind of device."""
    kind = device.type if isinstance(device, flambeau.device) else str(device).partition(":")[0]
    found = Backend.default_device_backend_map.get(kind)
    if found is None:
        raise ValueError(f"Default backend not registered for device : {device}")
    return found


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """A rank of the whole as a rank of a group."""
    if _the(group) is GroupMember.WORLD:
        return global_rank
    if global_rank not in _the(group).ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return _the(group).ranks.index(global_rank)


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """A rank of a group as a rank of the whole."""
    if _the(group) is GroupMember.WORLD:
        return group_rank
    if not 0 <= group_rank < len(_the(group).ranks):
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return _the(group).ranks[group_rank]


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """A group's ranks, as the whole program counts them."""
    return list(_the(group).ranks)


def get_pg_count() -> int:
    """How many groups there are."""
    return len(_world.groups)


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """Which process of its machine this is."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is not None:
        return int(fallback_rank)
    raise RuntimeError("LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to work, assuming you are not running in a multi-device context and want the code to run locally instead.")  # fmt: skip


def new_group(ranks: Sequence[int] | None = None, timeout: timedelta | None = None, backend: Any = None, pg_options: Any = None,
              use_local_synchronization: bool = False, group_desc: str | None = None, device_id: Any = None, sort_ranks: bool = True) -> Any:  # fmt: skip
    """A group of some ranks. All ranks call this, in the same order, also those that are not in it."""
    world = _the(None)
    chosen = list(range(world.size())) if ranks is None else [int(r) for r in ranks]
    for r in chosen:
        if not 0 <= r < world.size():
            raise ValueError(f"Rank {r} is out of range. Valid ranks are 0 to {world.size() - 1} (world_size={world.size()})")  # fmt: skip
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"ranks list must not contain duplicate entries, got {chosen}")
    if sort_ranks:
        chosen.sort()
    if backend is not None and Backend(backend) not in (Backend.GLOO, Backend.UNDEFINED) and ":" not in str(backend):
        raise RuntimeError(f"Distributed package doesn't have {str(backend).upper()} built in")
    number = next(_world.counter)
    if world.rank() not in chosen:
        return GroupMember.NON_GROUP_MEMBER
    made = ProcessGroup(
        world.transport, number, chosen, timeout or world.timeout, str(number), Backend.GLOO, group_desc or ""
    )
    _world.groups[number] = made
    return made


def new_subgroups(group_size: int | None = None, group: ProcessGroup | None = None, timeout: timedelta | None = None, backend: Any = None,
                  pg_options: Any = None, group_desc: str | None = None) -> tuple[Any, list[Any]]:  # fmt: skip
    """All ranks in groups of one size: this process's, and all of them."""
    n = get_world_size()
    if group_size is None:
        raise ValueError("Default group size only takes effect when CUDA is available.If your subgroup using a backend that does not depend on CUDA,please pass in 'group_size' correctly.")  # fmt: skip
    if group_size <= 0:
        raise ValueError(f"The arg 'group_size' ({group_size}) must be positive")
    if n < group_size:
        raise ValueError(f"The arg 'group_size' ({group_size}) must not exceed the world size ({n})")
    if n % group_size:
        raise ValueError(f"The world size ({n}) must be divisible by 'group_size={group_size}'")
    lists = [list(range(start, start + group_size)) for start in range(0, n, group_size)]
    return new_subgroups_by_enumeration(lists, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(ranks_per_subgroup_list: Sequence[Sequence[int]], timeout: timedelta | None = None, backend: Any = None,
                                 pg_options: Any = None, group_desc: str | None = None) -> tuple[Any, list[Any]]:  # fmt: skip
    """Groups of the given ranks, which must not overlap: this process's, and all of them."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    flat = [r for ranks in ranks_per_subgroup_list for r in ranks]
    if len(set(flat)) < len(flat):
        raise ValueError("rank has appeared in more than one subgroup")
    made = [new_group(ranks, timeout, backend, group_desc=group_desc) for ranks in ranks_per_subgroup_list]
    return next((g for g in made if g != GroupMember.NON_GROUP_MEMBER), None), made


def split_group(parent_pg: ProcessGroup | None = None, split_ranks: list[list[int]] | None = None, timeout: timedelta | None = None,
                pg_options: Any = None, group_desc: str | None = None, backend: Any = None) -> Any:  # fmt: skip
    """This process's part of a group that is split: its lists are ranks of the group."""
    if not split_ranks:
        raise ValueError("split_ranks cannot be None or empty")
    parent = _the(parent_pg)
    lists = [[parent.ranks[r] for r in ranks] for ranks in split_ranks]
    made = [new_group(ranks, timeout, backend, group_desc=group_desc) for ranks in lists]
    return next((g for g in made if g != GroupMember.NON_GROUP_MEMBER), None)


def shrink_group(ranks_to_exclude: list[int], group: ProcessGroup | None = None, shrink_flags: int = 0, pg_options: Any = None) -> Any:  # fmt: skip
    """A group without some of its ranks; the others call this, and those may be gone."""
    old = _the(group)
    left = [r for i, r in enumerate(old.ranks) if i not in ranks_to_exclude]
    return new_group(left, old.timeout)


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


# ---------------------------------------------------------------- collectives of tensors


def _checked(t: Any, name: str) -> Tensor:
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


def _place(g: ProcessGroup, whole: int | None, own: int | None) -> int:
    """A rank given as of the whole, or as of the group."""
    if whole is not None and own is not None:
        raise ValueError("Can't specify both group_rank and global_rank")
    if own is not None:
        return own
    if whole is None:
        raise ValueError("Must specify global_rank or group_rank")
    return get_group_rank(g, whole)


def _root(g: ProcessGroup, whole: int | None, own: int | None, what: str) -> int:
    """The rank of the group from which a collective starts, or to which it goes."""
    root = _place(g, whole, own)
    if not 0 <= root < g.size():
        raise RuntimeError(f"ProcessGroupGloo::{what}: invalid root rank: {root}")
    return root


def _root_or_first(g: ProcessGroup, whole: int | None, own: int | None, what: str) -> int:
    return _root(g, get_global_rank(g, 0) if whole is None and own is None else whole, own, what)


def _started(work: Work, async_op: bool) -> Work | None:
    if async_op:
        return work
    work.wait()
    return None


def broadcast(tensor: Tensor, src: int | None = None, group: ProcessGroup | None = None, async_op: bool = False, group_src: int | None = None) -> Work | None:  # fmt: skip
    """Rank `src`'s tensor, on all ranks."""
    _checked(tensor, "tensor")
    if _outside(group):
        return None
    g = _the(group)
    root = _root(g, src, group_src, "broadcast")

    def step(turn: int) -> None:
        data = g.broadcast_bytes(turn, _bytes_of(array_of(tensor)) if g.rank() == root else None, root)
        if g.rank() != root:
            _received(tensor, data)

    return _started(g.run(step, [tensor], async_op), async_op)


def _received(t: Tensor, data: Any) -> None:
    if len(data) != t._a.nbytes:
        raise DistBackendError(f"{len(data)} bytes came for a tensor of {t._a.nbytes} bytes: ranks do not agree on sizes")  # fmt: skip
    _store(t, np.frombuffer(data, t._a.dtype))


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """All ranks' tensors combined, on all ranks: the same bits everywhere, and in every run."""
    _checked(tensor, "tensor")
    if _outside(group):
        return None
    check(op, tensor, "all_reduce")
    g = _the(group)
    return _started(g.run(lambda turn: _store(tensor, g.reduced(turn, array_of(tensor), op)), [tensor], async_op), async_op)  # fmt: skip


def all_reduce_coalesced(tensors: Sequence[Tensor], op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """`all_reduce` of several tensors of one dtype at once."""
    _list_checked(tensors, "tensors")
    _one_dtype(tensors)
    if _outside(group):
        return None
    for t in tensors:
        check(op, t, "all_reduce")
    g = _the(group)

    def step(turn: int) -> None:
        flat = g.reduced(turn, np.concatenate([array_of(t).reshape(-1) for t in tensors]), op)
        at = 0
        for t in tensors:
            _store(t, flat[at : at + t.numel()])
            at += t.numel()

    return _started(g.run(step, list(tensors), async_op), async_op)


def reduce(tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False, group_dst: int | None = None) -> Work | None:  # fmt: skip
    """All ranks' tensors combined, on rank `dst`."""
    _checked(tensor, "tensor")
    if _outside(group):
        return None
    check(op, tensor, "reduce")
    g = _the(group)
    root = _root(g, dst, group_dst, "reduce")

    def step(turn: int) -> None:
        a = array_of(tensor)
        parts = g.gathered_to(turn, _bytes_of(a), root)
        if parts is not None:
            from flambeau.distributed._reduce_op import combine

            _store(tensor, combine([np.frombuffer(p, a.dtype) for p in parts], op))

    return _started(g.run(step, [tensor], async_op), async_op)


def all_gather(tensor_list: Sequence[Tensor], tensor: Tensor, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Every rank's tensor, on all ranks."""
    _list_checked(tensor_list, "tensor_list")
    _checked(tensor, "tensor")
    _one_dtype([*tensor_list, tensor])
    if _outside(group):
        return None
    g = _the(group)
    if len(tensor_list) != g.size():
        raise RuntimeError(f"ProcessGroupGloo::allgather: invalid output tensor list at index 0 (expected length {g.size()}, got {len(tensor_list)})")  # fmt: skip

    def step(turn: int) -> None:
        for t, data in zip(tensor_list, g.gathered(turn, _bytes_of(array_of(tensor))), strict=True):
            _received(t, data)

    return _started(g.run(step, list(tensor_list), async_op), async_op)


def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Every rank's tensor one after the other in one tensor, on all ranks."""
    _checked(output_tensor, "output_tensor")
    _checked(input_tensor, "input_tensor")
    if _outside(group):
        return None
    g = _the(group)
    if output_tensor.numel() != input_tensor.numel() * g.size():
        raise ValueError("output tensor size must be equal to world_size times input tensor size")

    def step(turn: int) -> None:
        parts = g.gathered(turn, _bytes_of(array_of(input_tensor)))
        _store(output_tensor, np.concatenate([np.frombuffer(p, input_tensor._a.dtype) for p in parts]))

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
    _checked(tensor, "tensor")
    if _outside(group):
        return None
    g = _the(group)
    root = _root_or_first(g, dst, group_dst, "gather")
    if g.rank() == root and not gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    if g.rank() != root and gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")

    def step(turn: int) -> None:
        parts = g.gathered_to(turn, _bytes_of(array_of(tensor)), root)
        for t, data in zip(gather_list or (), parts or (), strict=True):
            _received(t, data)

    return _started(g.run(step, list(gather_list or ()), async_op), async_op)


def scatter(tensor: Tensor, scatter_list: Sequence[Tensor] | None = None, src: int | None = None, group: ProcessGroup | None = None,
            async_op: bool = False, group_src: int | None = None) -> Work | None:  # fmt: skip
    """One of rank `src`'s tensors for each rank."""
    _checked(tensor, "tensor")
    if _outside(group):
        return None
    g = _the(group)
    root = _root_or_first(g, src, group_src, "scatter")
    if g.rank() == root and not scatter_list:
        raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
    if g.rank() != root and scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")

    def step(turn: int) -> None:
        _received(tensor, g.scattered(turn, [_bytes_of(array_of(t)) for t in scatter_list] if scatter_list else None, root))  # fmt: skip

    return _started(g.run(step, [tensor], async_op), async_op)


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """All ranks' lists combined entry by entry: each rank its entry."""
    _checked(output, "output")
    _list_checked(input_list, "input_list")
    if _outside(group):
        return None
    check(op, output, "reduce_scatter")
    g = _the(group)
    return _started(g.run(lambda turn: _store(output, g.scatter_reduced(turn, [array_of(t) for t in input_list], op)), [output], async_op), async_op)  # fmt: skip


def reduce_scatter_tensor(output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """All ranks' tensors combined: each rank its part of the result."""
    _checked(output, "output")
    _checked(input, "input")
    if _outside(group):
        return None
    check(op, output, "reduce_scatter")
    g = _the(group)
    if input.numel() != output.numel() * g.size():
        raise ValueError("input tensor must be the same size as output size times world size")
    return _started(g.run(lambda turn: _store(output, g.scatter_reduced(turn, np.split(array_of(input).reshape(-1), g.size()), op)), [output], async_op), async_op)  # fmt: skip


reduce_scatter_single = _reduce_scatter_base = reduce_scatter_tensor


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Each rank's r-th tensor goes to rank r."""
    _list_checked(output_tensor_list, "output_tensor_list")
    _list_checked(input_tensor_list, "input_tensor_list")
    if _outside(group):
        return None
    g = _the(group)

    def step(turn: int) -> None:
        for t, data in zip(output_tensor_list, g.exchange(turn, [_bytes_of(array_of(t)) for t in input_tensor_list]), strict=True):  # fmt: skip
            _received(t, data)

    return _started(g.run(step, list(output_tensor_list), async_op), async_op)


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: Sequence[int] | None = None, input_split_sizes: Sequence[int] | None = None,
                      group: ProcessGroup | None = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Each rank's tensor in parts along dimension 0 (equal ones, or of the given sizes): the r-th goes to rank r."""
    _checked(output, "output")
    _checked(input, "input")
    if _outside(group):
        return None
    g = _the(group)
    if not input_split_sizes and input.shape[0] % g.size():
        raise ValueError("Tensor's dim 0 does not divide equally across group size")

    def step(turn: int) -> None:
        a = array_of(input)
        cuts = np.cumsum(input_split_sizes)[:-1] if input_split_sizes else g.size()
        got = g.exchange(turn, [_bytes_of(p) for p in np.split(a, cuts)])
        _store(output, np.concatenate([np.frombuffer(p, a.dtype) for p in got]))

    return _started(g.run(step, [output], async_op), async_op)


def barrier(group: ProcessGroup | None = None, async_op: bool = False, device_ids: Any = None, timeout: timedelta | None = None) -> Work | None:  # fmt: skip
    """Wait until all ranks have come here."""
    if _outside(group):
        return None
    g = _the(group)
    return _started(g.run(lambda turn: (g.gathered(turn, b""), None)[1], None, async_op), async_op)


def monitored_barrier(group: ProcessGroup | None = None, timeout: timedelta | None = None, wait_all_ranks: bool = False) -> None:  # fmt: skip
    """A barrier that says which ranks did not come in time.

    Raises:
        RuntimeError: on rank 0, with their numbers; on the others, that rank 0 did not answer.
    """
    if _outside(group):
        return
    g = _the(group)
    seconds = (timeout or g.timeout).total_seconds()

    def step(turn: int) -> None:
        if g.rank():
            g._put(0, turn, b"")
            g.transport.receive([g.ranks[0]], (g.number, -turn), g.timeout.total_seconds())
            return
        missing = []
        for r in range(1, g.size()):
            try:
                g.transport.receive([g.ranks[r]], (g.number, -turn), seconds)
            except DistBackendError:
                missing.append(g.ranks[r])
                if not wait_all_ranks:
                    break
        if missing:
            what = f"Ranks {', '.join(map(str, missing))}" if wait_all_ranks else f"Rank {missing[0]}"
            raise RuntimeError(f"[Rank 0]: {what} failed to pass monitoredBarrier in {int(seconds * 1000)} ms")
        for r in range(1, g.size()):
            g._put(r, turn, b"")

    g.run(step, None, False).wait()


# ---------------------------------------------------------------- messages


def _peer(g: ProcessGroup, whole: int | None, own: int | None, name: str) -> int:
    peer = _place(g, whole, own)
    if not 0 <= peer < g.size():
        raise ValueError(f"Rank {peer} is not part of group {g}")
    if peer == g.rank():
        raise ValueError("Invalid destination rank: destination rank should not be the same as the rank of the current process." if name == "dst" else "Invalid source rank: source rank should not be the same as the rank of the current process.")  # fmt: skip
    return peer


_TAGS = 1 << 40  # tags of messages, above those of collectives


def isend(tensor: Tensor, dst: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_dst: int | None = None) -> Work | None:  # fmt: skip
    """Send a tensor to rank `dst`."""
    _checked(tensor, "tensor")
    if _outside(group):
        return None
    g = _the(group)
    peer = _peer(g, dst, group_dst, "dst")
    g.transport.send(g.ranks[peer], g.channel(_TAGS + tag), _bytes_of(array_of(tensor)))
    work = Work([tensor])
    work._finish()
    return work


def irecv(tensor: Tensor, src: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_src: int | None = None) -> Work | None:  # fmt: skip
    """Receive a tensor from rank `src`, or from whichever sends one."""
    _checked(tensor, "tensor")
    if _outside(group):
        return None
    g = _the(group)
    peers = [r for r in range(g.size()) if r != g.rank()] if src is None and group_src is None else [_peer(g, src, group_src, "src")]  # fmt: skip
    return _Receipt(g, tensor, peers, _TAGS + tag)


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
    return get_global_rank(_the(group), work.source_rank())


class P2POp:
    """One message of a batch: `isend` or `irecv`, the tensor, the other rank."""

    def __init__(self, op: Callable[..., Any], tensor: Tensor, peer: int | None = None, group: ProcessGroup | None = None, tag: int = 0, group_peer: int | None = None) -> None:  # fmt: skip
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or ``torch.distributed.irecv``.")  # fmt: skip
        self.op, self.tensor, self.group, self.tag = op, _checked(tensor, "tensor"), group, tag
        g = _the(group)
        self.group_peer = _place(g, peer, group_peer)
        self.peer = get_global_rank(g, self.group_peer)


def batch_isend_irecv(p2p_op_list: Sequence[P2POp]) -> list[Work]:
    """Start several messages."""
    if not p2p_op_list or not all(isinstance(p, P2POp) for p in p2p_op_list):
        raise ValueError("Invalid ``op_list``. Each op is expected to to be of type ``torch.distributed.P2POp``.")
    made = [p.op(p.tensor, p.peer, p.group, p.tag) for p in p2p_op_list]
    return [w for w in made if w is not None]


# ---------------------------------------------------------------- objects


def _pickled(obj: Any) -> bytes:
    data = io.BytesIO()
    pickle.Pickler(data, pickle.HIGHEST_PROTOCOL).dump(obj)
    return data.getvalue()


def all_gather_object(object_list: list[Any], obj: Any, group: ProcessGroup | None = None) -> None:
    """Every rank's object, on all ranks. Objects are pickled: the other ranks must be trusted."""
    if _outside(group):
        return
    g = _the(group)
    g.run(lambda turn: _put_all(object_list, g.gathered(turn, _pickled(obj))), None, False).wait()


def _put_all(into: list[Any], parts: Sequence[Any]) -> None:
    for i, p in enumerate(parts):
        into[i] = pickle.loads(p)


def gather_object(obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: ProcessGroup | None = None, group_dst: int | None = None) -> None:  # fmt: skip
    """Every rank's object, on rank `dst`."""
    if _outside(group):
        return
    g = _the(group)
    root = _root_or_first(g, dst, group_dst, "gather")
    if (g.rank() == root) != (object_gather_list is not None):
        raise ValueError("Argument ``gather_list`` must be specified on destination rank." if g.rank() == root else "Argument ``gather_list`` must NOT be specified on non-destination ranks.")  # fmt: skip
    g.run(lambda turn: _put_all(object_gather_list or [], g.gathered_to(turn, _pickled(obj), root) or ()), None, False).wait()  # fmt: skip


def broadcast_object_list(object_list: list[Any], src: int | None = None, group: ProcessGroup | None = None, device: Any = None, group_src: int | None = None) -> None:  # fmt: skip
    """Rank `src`'s objects, on all ranks."""
    if _outside(group):
        return
    g = _the(group)
    root = _root_or_first(g, src, group_src, "broadcast")

    def step(turn: int) -> None:
        data = g.broadcast_bytes(turn, _pickled(list(object_list)) if g.rank() == root else None, root)
        if g.rank() != root:
            object_list[:] = pickle.loads(data)

    g.run(step, None, False).wait()


def scatter_object_list(scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None, src: int | None = None,
                        group: ProcessGroup | None = None, group_src: int | None = None) -> None:  # fmt: skip
    """One of rank `src`'s objects for each rank: it becomes the first entry of the output list."""
    if _outside(group):
        return
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    g = _the(group)
    root = _root_or_first(g, src, group_src, "scatter")

    def step(turn: int) -> None:
        parts = [_pickled(o) for o in scatter_object_input_list or ()] if g.rank() == root else None
        scatter_object_output_list[0] = pickle.loads(g.scattered(turn, parts, root))

    g.run(step, None, False).wait()


_OBJECTS = 1 << 41


def send_object_list(object_list: list[Any], dst: int | None = None, group: ProcessGroup | None = None, device: Any = None, group_dst: int | None = None, use_batch: bool = False) -> None:  # fmt: skip
    """Send objects to rank `dst`."""
    if _outside(group):
        return
    g = _the(group)
    g.transport.send(g.ranks[_peer(g, dst, group_dst, "dst")], g.channel(_OBJECTS), _pickled(list(object_list)))


def recv_object_list(object_list: list[Any], src: int | None = None, group: ProcessGroup | None = None, device: Any = None, group_src: int | None = None, use_batch: bool = False) -> int:  # fmt: skip
    """Receive objects from rank `src`, or from whichever sends some; the sender's rank."""
    if _outside(group):
        return -1
    g = _the(group)
    peers = [r for r in g.ranks if r != g.transport.rank] if src is None and group_src is None else [g.ranks[_peer(g, src, group_src, "src")]]  # fmt: skip
    peer, data = g.transport.receive(peers, g.channel(_OBJECTS), g.timeout.total_seconds())
    object_list[:] = pickle.loads(data)
    return peer


_lock = threading.Lock()

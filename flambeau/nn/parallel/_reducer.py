"""Gradients averaged over ranks while the backward pass still runs: parameters in buckets, one collective for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau import distributed as dist
from flambeau._tensor import Tensor
from flambeau.futures import _done

UNFINISHED = (
    "Expected to have finished reduction in the prior iteration before starting a new one. This error indicates that your module has parameters that "
    "were not used in producing loss. You can enable unused parameter detection by passing the keyword argument `find_unused_parameters=True` to "
    "`torch.nn.parallel.DistributedDataParallel`, and by making sure all `forward` function outputs participate in calculating loss. "
)  # fmt: skip


class GradBucket:
    """The gradients of some parameters one after the other in one tensor."""

    def __init__(self, index: int, parameters: Sequence[Tensor], last: bool) -> None:
        self._index, self._parameters, self._last = index, list(parameters), last
        self._starts = [0]
        for p in parameters:
            self._starts.append(self._starts[-1] + p.numel())
        self._buffer: Any = flambeau.zeros(self._starts[-1], dtype=parameters[0].dtype)

    def index(self) -> int:
        """The bucket's number; 0 is filled first."""
        return self._index

    def buffer(self) -> Tensor:
        """All gradients."""
        return self._buffer

    def set_buffer(self, tensor: Tensor) -> None:
        """Replace them."""
        self._buffer = tensor

    def gradients(self) -> list[Tensor]:
        """Each parameter's part, in its shape."""
        return [self._part(i) for i in range(len(self._parameters))]

    def _part(self, i: int) -> Tensor:
        return self._buffer[self._starts[i] : self._starts[i + 1]].view(self._parameters[i].shape)

    def parameters(self) -> list[Tensor]:
        """The parameters."""
        return list(self._parameters)

    def is_last(self) -> bool:
        """Whether no bucket follows."""
        return self._last


GradBucket.__module__ = "torch.distributed"


def assigned(parameters: Sequence[Tensor], first: int, cap: int) -> list[list[Tensor]]:
    """Parameters in buckets of at most so many bytes (the first one smaller), last ones first, as gradients come; one dtype in each."""
    buckets: list[list[Tensor]] = []
    open_: dict[Any, list[Tensor]] = {}
    sizes: dict[Any, int] = {}
    for p in reversed(parameters):
        key = p.dtype
        limit = cap if buckets else first
        if key in open_ and sizes[key] + p.nbytes > limit:
            buckets.append(open_.pop(key))
        if key not in open_:
            open_[key], sizes[key] = [], 0
        open_[key].append(p)
        sizes[key] += p.nbytes
        if sizes[key] >= limit:
            buckets.append(open_.pop(key))
    return [*buckets, *open_.values()]


class Reducer:
    """Averages the gradients of parameters: each bucket goes to the other ranks when its last gradient is there."""

    def __init__(self, parameters: Sequence[Tensor], group: Any, first: int = 1 << 20, cap: int = 25 << 20) -> None:
        self.group, self.size = group, dist.get_world_size(group)
        self.divisor = self.size
        lists = assigned(parameters, first, cap)
        self.buckets = [GradBucket(i, ps, i == len(lists) - 1) for i, ps in enumerate(lists)]
        self.place = {id(p): (b, i) for b in self.buckets for i, p in enumerate(b._parameters)}
        self.hook: tuple[Any, Callable[..., Any]] | None = None
        self.expecting = False  # whether a backward pass is to come, or runs
        self.left: list[int] = []
        self.next = 0
        self.futures: list[Any] = []
        self.used: set[int] = set()
        self.unused_everywhere: set[int] = set()
        for p in parameters:
            p.register_post_accumulate_grad_hook(self._ready)  # type: ignore[attr-defined]

    def prepare(self, unused: Sequence[Tensor]) -> None:
        """A forward pass has run; parameters that no gradient will reach count as ready."""
        self.expecting = True
        self.left = [len(b._parameters) for b in self.buckets]
        self.next, self.futures, self.used = 0, [], set()
        for p in unused:
            self._mark(p, None)

    def answer(self) -> None:
        """The collectives of a backward pass, with zeros: for a rank that has no batch."""
        futures = []
        for bucket in self.buckets:
            bucket.buffer().zero_()
            futures.append(self._started(bucket))
        for future in futures:
            future.wait()

    def check_finished(self) -> None:
        """Raise where a backward pass ended and some gradients never came."""
        if self.expecting and self.used:
            missing = [i for b in self.buckets for i, p in enumerate(b._parameters) if id(p) not in self.used]
            raise RuntimeError(UNFINISHED + f"Parameter indices which did not receive grad for rank {dist.get_rank()}: {' '.join(map(str, missing))}")  # fmt: skip

    def _ready(self, p: Tensor) -> None:
        if self.expecting:
            self._mark(p, p.grad)  # type: ignore[attr-defined]

    def _mark(self, p: Tensor, grad: Any) -> None:
        if id(p) in self.used:
            if grad is None:
                return
            raise RuntimeError("Expected to mark a variable ready only once. This error is caused by a parameter that is used in several reentrant backward passes, or by a module wrapped twice.")  # fmt: skip
        self.used.add(id(p))
        bucket, i = self.place[id(p)]
        with flambeau.no_grad():
            part: Any = bucket._part(i)
            part.zero_() if grad is None else part.copy_(grad)
        self.left[bucket._index] -= 1
        while self.next < len(self.buckets) and self.left[self.next] == 0:
            self.futures.append(self._started(self.buckets[self.next]))
            self.next += 1
        if self.next == len(self.buckets):
            self._finish()

    def _started(self, bucket: GradBucket) -> Any:
        if self.hook is not None:
            state, fn = self.hook
            return fn(state, bucket)
        buffer = bucket.buffer()
        work: Any = dist.all_reduce(buffer, group=self.group, async_op=True)

        def averaged(_: Any) -> Any:
            return buffer.div_(self.divisor)  # type: ignore[attr-defined]

        return work.get_future().then(averaged) if work is not None else _done(buffer)

    def _finish(self) -> None:
        """Wait for all buckets, and give each parameter its part."""
        self.expecting = False
        with flambeau.no_grad():
            for bucket, future in zip(self.buckets, self.futures, strict=True):
                result = future.wait()
                bucket.set_buffer(result[0] if isinstance(result, (list, tuple)) else result)
                for p, g in zip(bucket._parameters, bucket.gradients(), strict=True):
                    grad = p.grad  # type: ignore[attr-defined]
                    if grad is not None:
                        grad.copy_(g)
                    elif id(p) not in self.unused_everywhere:
                        p.grad = g.clone()  # type: ignore[attr-defined]


class Logger:
    """What DistributedDataParallel tells of itself."""

    def __init__(self, reducer: Reducer) -> None:
        self.reducer = reducer

    def _get_ddp_logging_data(self) -> Any:
        buckets = [sum(p.nbytes for p in b._parameters) for b in self.reducer.buckets]
        data = type("DDPLoggingData", (), {})()
        data.strs_map = {"backend_name": "gloo", "bucket_sizes": ", ".join(map(str, buckets))}
        data.ints_map = {
            "num_parameter_tensors": len(self.reducer.place),
            "rank": dist.get_rank(self.reducer.group),
            "total_parameter_size_bytes": sum(buckets),
            "world_size": self.reducer.size,
        }
        return data


Reducer.__module__ = Logger.__module__ = "torch.distributed"


def reached(outputs: Any) -> set[int]:
    """The leaves (by id) that gradients of these outputs flow to."""
    from flambeau._eager.graph import node_of
    from flambeau.utils import _pytree as pytree

    found: set[int] = set()
    seen: set[int] = set()
    stack = [node_of(t) for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)]
    while stack:
        node: Any = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.leaf:
            variable = node.variable
            if variable is not None:
                found.add(id(variable))
        else:
            stack.extend(node.next)
    return found

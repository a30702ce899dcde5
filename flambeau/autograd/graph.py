"""Looking at and hooking into the recorded graph: nodes, edges, saved tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flambeau._eager import modes
from flambeau._eager.graph import AccumulateGrad, Node as Node, Removable, node_of
from flambeau._eager.modes import STATE
from flambeau._tensor import Tensor


class GradientEdge(NamedTuple):
    """Where a gradient flows: a node, and which of its outputs."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge along which the gradient of a tensor travels."""
    node = node_of(tensor)
    if node is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(node, tensor._nr)


class saved_tensors_hooks:
    """Every tensor that is saved for backward inside the block goes through `pack_hook`, and through `unpack_hook` when it is needed."""

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if _disabled:
            raise RuntimeError(_disabled[-1])
        STATE.saved_hooks = (*STATE.saved_hooks, (self.pack_hook, self.unpack_hook))
        modes.enter("saved_hooks")

    def __exit__(self, *exc: object) -> None:
        STATE.saved_hooks = STATE.saved_hooks[:-1]
        modes.leave("saved_hooks")


class save_on_cpu(saved_tensors_hooks):
    """Saved tensors wait in main memory."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0]))


_disabled: list[str] = []


class disable_saved_tensors_hooks:
    """Inside the block, entering `saved_tensors_hooks` is an error with this message."""

    def __init__(self, error_message: str) -> None:
        self.message = error_message

    def __enter__(self) -> None:
        if STATE.saved_hooks:
            raise RuntimeError(self.message)
        _disabled.append(self.message)

    def __exit__(self, *exc: object) -> None:
        _disabled.pop()


class Packed:
    """A saved value behind a pair of hooks."""

    __slots__ = ("node", "nr", "unpack", "value")

    def __init__(self, source: Tensor, pack: Any, unpack: Any) -> None:
        self.value, self.unpack = pack(source), unpack
        self.node, self.nr = node_of(source), source._nr

    def restore(self) -> Any:
        """What the hook gives back, with the history of what was saved: derivatives of derivatives need it."""
        found = self.unpack(self.value)
        if self.node is None or not isinstance(found, Tensor) or node_of(found) is not None:
            return found
        made = found.detach()
        made._node, made._nr = self.node, self.nr
        return made


def pack_saved(node: Any) -> tuple[Any, ...]:
    """Send what a node saved through the hooks in force; the node then unpacks it when it runs."""
    pack, unpack = STATE.saved_hooks[-1]
    saved = tuple(Packed(s, pack, unpack) if isinstance(s, Tensor) else s for s in node.saved)
    node.versions = tuple(-2 if isinstance(s, Packed) else v for s, v in zip(saved, node.versions, strict=True))
    return saved


class register_multi_grad_hook:
    """Call fn with the gradients of several tensors when all ("all") or the first ("any") of them are known."""

    def __init__(self, tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all") -> None:
        if mode not in ("all", "any"):
            raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
        self.handles: list[Removable] = []
        self.found: dict[int, Any] = {}
        live = [t for t in tensors if node_of(t) is not None]

        def make(i: int) -> Callable[[Tensor], None]:
            def hook(g: Tensor) -> None:
                if mode == "any":
                    if not self.found:
                        self.found[i] = True
                        fn(g)
                    return
                self.found[i] = g
                if len(self.found) == len(live):
                    grads = [self.found.get(j) for j in range(len(live))]
                    self.found = {}
                    fn(grads)

            return hook

        self.handles = [t.register_hook(make(i)) for i, t in enumerate(live)]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


class allow_mutation_on_saved_tensors:
    """Accepted only where nothing is mutated; see `docs/compat.md`."""

    def __enter__(self) -> Any:
        raise NotImplementedError("torch.autograd.graph.allow_mutation_on_saved_tensors is not implemented")

    def __exit__(self, *exc: object) -> None:
        pass


def increment_version(tensor: Any) -> None:
    """Note that the memory of a tensor (or of several) was written behind autograd's back."""
    from flambeau._eager.graph import bump

    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        bump(t)


__all__ = ["AccumulateGrad", "GradientEdge", "Node", "disable_saved_tensors_hooks", "get_gradient_edge", "increment_version",
           "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks"]  # fmt: skip

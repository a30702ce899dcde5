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


class _Kept:
    """What was saved in an `allow_mutation_on_saved_tensors` block, as it was then."""

    def __init__(self) -> None:
        self.values: dict[object, Tensor] = {}

    def clear(self) -> None:
        """Forget all of it: nothing recorded in the block can be differentiated any more."""
        self.values.clear()


class allow_mutation_on_saved_tensors:
    """Inside the block, what is saved for backward is a copy, and tensors may be written to after that.

    >>> import flambeau as torch
    >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
    ...     a = torch.ones(2, requires_grad=True)
    ...     b = a.clone()
    ...     out = (b**2).sum()
    ...     _ = b.sin_()
    ...     out.backward()
    >>> a.grad
    tensor([2., 2.])
    """

    _open = 0

    def __enter__(self) -> Any:
        cls = allow_mutation_on_saved_tensors
        if cls._open:
            raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
        cls._open += 1
        self.kept = kept = _Kept()

        def pack(t: Tensor) -> object:
            key = object()
            kept.values[key] = t.detach().clone()
            return key

        def unpack(key: object) -> Tensor:
            if not cls._open or key not in kept.values:
                raise AssertionError(
                    "Trying to backward outside of the 'allow_mutation_on_saved_tensors' contextin which the graph was originally recorded."
                )
            return kept.values[key]

        self.hooks = saved_tensors_hooks(pack, unpack)
        self.hooks.__enter__()
        return kept

    def __exit__(self, *exc: object) -> None:
        self.hooks.__exit__(*exc)
        allow_mutation_on_saved_tensors._open -= 1
        self.kept.clear()


# Streams are CUDA's: these settings are kept, and nothing on a CPU asks for them.
_streams = {"warn_on_accumulate_grad_mismatch": True, "override_stale_capture": False}


def set_warn_on_accumulate_grad_stream_mismatch(enabled: bool) -> None:
    """Whether to warn where a gradient arrives on another stream than it is accumulated on."""
    _streams["warn_on_accumulate_grad_mismatch"] = bool(enabled)


def set_override_stale_capture_stream(enabled: bool) -> None:
    """Whether a stale stream is replaced while a CUDA graph is captured."""
    _streams["override_stale_capture"] = bool(enabled)


def increment_version(tensor: Any) -> None:
    """Note that the memory of a tensor (or of several) was written behind autograd's back."""
    from flambeau._eager.graph import bump

    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        bump(t)


__all__ = ["AccumulateGrad", "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
           "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks", "set_override_stale_capture_stream",
           "set_warn_on_accumulate_grad_stream_mismatch"]  # fmt: skip

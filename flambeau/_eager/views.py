"""What shares memory with what: making views, and giving a base (and its other views) the history of a write through one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from flambeau._backends import pending_arrays
from flambeau._backends.meta import MetaArray
from flambeau._eager.graph import UNRECORDED, Node, bump, inferred, node_of, serial, spoken_name, unwrap
from flambeau._eager.modes import STATE
from flambeau._tensor import LAYOUTS, Tensor, new
from flambeau._values import dtype as dtypes


def view(source: Tensor, array: Any) -> Tensor:
    """A tensor over `array`, which lies in source's memory: shares the version, knows its base."""
    t = new(Tensor)
    t._a = array
    base = source._base
    if base is None:
        base = source
    vc = base._vc
    if vc is None:
        vc = base._vc = [0]
    t._vc = vc
    try:
        t._seen = vc[0]
    except RuntimeError:
        return inferred(t)
    t._base = base
    if source._created and source._created in ("multi", "custom"):  # hot: most have no word
        t._created = source._created
    if not STATE.grad and not STATE.below:
        t._created = "inference" if STATE.inference else "no_grad"
        if source._inference:  # no view as far as history goes
            t._base, t._inference = None, True
    return t


def views(source: Tensor, arrays: Sequence[Any]) -> tuple[Tensor, ...]:
    """Tensors over arrays that lie in source's memory, as `view` makes each."""
    out = [view(source, a) for a in arrays[:1]]
    base = out[0]._base if out else None
    if base is None:  # none at all, or made in inference mode
        return (*out, *[view(source, a) for a in arrays[1:]])
    vc, seen, created = out[0]._vc, out[0]._seen, out[0]._created
    for array in arrays[1:]:  # hot: a loop over rows
        t = new(Tensor)
        t._a, t._base, t._vc, t._seen = array, base, vc, seen
        if created:
            t._created = created
        out.append(t)
    return tuple(out)


def belongs(t: Tensor, source: Tensor) -> Tensor:
    """t, whose memory is source's, as the view of it that it is: writes to one are seen by the histories of the others."""
    base = source if source._base is None else source._base
    if base._vc is None:
        base._vc = [0]
    t._base, t._vc, t._seen = base, base._vc, base._vc[0]
    if not STATE.grad:
        t._created = "inference" if STATE.inference else "no_grad"
    return t


def signed(array: Any, signs: tuple[bool, bool]) -> Any:
    """The array over the same memory whose numbers stand for their conjugates, their negatives, or both."""
    LAYOUTS[pending_arrays.PendingArray] = ""  # strided memory, but not for the flat functions
    return pending_arrays.signed(array, signs)


def alias(source: Tensor, array: Any) -> Tensor:
    """Shares memory and version, but is no view of it as far as history goes (detach)."""
    t = new(Tensor)
    t._a = array
    if source._vc is None:
        source._vc = [0]
    t._vc = source._vc
    t._inference = source._inference
    return t


def geometry(t: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """(shape, strides in bytes, byte address) of a tensor's array."""
    a = t._a
    return a.shape, a.strides, address(a)


def address(a: Any) -> int:
    """Where an array's first element lies."""
    return a.__array_interface__["data"][0]


def over(buffer: Any, like: Any, base: Any) -> Any:
    """The part of `buffer` (laid out as `base`) that corresponds to the view `like` of `base`."""
    offset = address(like) - address(base)
    signs = pending_arrays.between(like, base)
    if signs != pending_arrays.NONE:
        return signed(over(buffer, pending_arrays.memory(like), pending_arrays.memory(base)), signs)
    if buffer.dtype.itemsize == base.dtype.itemsize and buffer.strides == base.strides:
        memory = memory_of(buffer)
        if not memory.flags.forc:  # dense all the same, with its dims in another order
            memory = memory.transpose(np.argsort(memory.strides)[::-1])
        same = like.dtype.itemsize == base.dtype.itemsize  # else a part of complex numbers, or pairs as complex numbers
        return np.ndarray(
            like.shape,
            buffer.dtype if same else like.dtype,
            memory,
            offset + address(buffer) - address(memory),
            like.strides,
        )
    raise RuntimeError("the gradient of a written view is laid out unlike its base")


def memory_of(a: Any) -> Any:
    """The array that owns a's memory."""
    while isinstance(a.base, (np.ndarray, MetaArray)):
        a = a.base
    return a


class AsStridedBackward0(Node):
    """The history of a view after its base was written: what reaches the view reaches that part of the base."""

    saved = ()

    def __init__(self, base: Tensor, t: Tensor) -> None:
        self.next, self.seq = (node_of(base),), next(serial)
        self.nrs = (base._nr,) if base._nr else None
        self.base, self.view = base._a, t._a

    def arrays(self, g: Any) -> Sequence[Any]:
        out = _zeros_laid_out_as(self.base, g.dtype)
        over(out, self.view, self.base)[...] = g
        return (out,)

    def tensors(self, g: Any) -> Sequence[Any]:
        return (Part(self.view, self.base).written(blank(self.base, g).zero_(), g),)


class Part:
    """Where a view lies in its base, for a tensor that is laid out as the base is."""

    def __init__(self, like: Any, base: Any) -> None:
        n = like.dtype.itemsize
        self.shape, self.strides, self.offset = (
            like.shape,
            tuple(s // n for s in like.strides),
            (address(like) - address(base)) // n,
        )
        self.conjugate, self.negative = pending_arrays.between(like, base)
        self.halves = n < base.dtype.itemsize  # real numbers within complex ones
        self.pairs = n > base.dtype.itemsize  # and the other way round
        if self.pairs:
            self.shape, self.strides, self.offset = (
                (*self.shape, 2),
                (*(2 * s for s in self.strides), 1),
                2 * self.offset,
            )

    def read(self, g: Any) -> Any:
        """The part of g."""
        g = _public("view_as_real")(g) if self.halves else g
        part = g.as_strided(self.shape, self.strides, self.offset)
        return self._meant(_public("view_as_complex")(part) if self.pairs else part)

    def written(self, out: Any, part: Any) -> Any:
        """A tensor that nobody else has, with another part: a write through a view, so that it has derivatives of any order."""
        part = self._meant(part)
        if self.pairs:
            part = _public("view_as_real")(part.resolve_conj())
        whole = _public("view_as_real")(out) if self.halves else out
        whole.as_strided(self.shape, self.strides, self.offset).copy_(part)
        return out

    def _meant(self, part: Any) -> Any:
        part = part.conj() if self.conjugate else part
        return -part if self.negative else part


def _public(name: str) -> Any:
    from flambeau._eager.names import public

    return public(name)


def _zeros_laid_out_as(base: Any, dtype: Any) -> Any:
    return np.zeros_like(base, dtype=dtype)


def refresh(t: Tensor) -> None:
    """A view's base was written since its history was made: make it anew from the base's."""
    base = cast(Tensor, t._base)
    if t._created in UNRECORDED:
        if STATE.grad and base._node is not None:
            refuse_unrecorded(t)
        return
    t._seen = 0 if base._vc is None else base._vc[0]
    if node_of(base) is not None:
        if t._created == "multi":
            _refuse(t, "its base or another view of its base has been modified inplace")
        t._node, t._nr = AsStridedBackward0(base, t), 0
    elif t._node is not None and not t._node.leaf:  # a leaf over memory without history stays one
        t._node, t._nr = None, 0


class CopySlices(Node):
    """The history of a base that was written through a view: the written part goes through `fn`, the rest straight on."""

    own_release = True

    def name(self) -> str:
        return "torch::autograd::CopySlices"

    def __init__(self, base: Tensor, t: Tensor, fn: Node) -> None:
        # Edge 0 is the base's earlier history; the others are those of fn, but for its own edge to the written view.
        self.fn, self.seq = fn, next(serial)
        self.next = (node_of(base), *fn.next[1:])
        self.nrs = (base._nr, *(fn.nrs[1:] if fn.nrs else (0,) * (len(fn.next) - 1)))
        self.base, self.view = base._a, t._a

    def release(self) -> None:
        self.fn.release()

    saved = ()

    def arrays(self, g: Any) -> Sequence[Any]:
        g = g.copy("K") if g.strides == self.base.strides else _copied_as(g, self.base)
        part = over(g, self.view, self.base)
        into, *others = self.fn.arrays(part.copy())  # fn says so if it was released
        part[...] = 0 if into is None else into
        return (g, *others)

    def tensors(self, g: Any) -> Sequence[Any]:
        place = Part(self.view, self.base)
        whole = blank(self.base, g).copy_(g)
        part = place.read(whole)
        into, *others = self.fn.tensors(part)
        if into is None:
            into = part.new_zeros(part.shape)
        elif type(into) is not type(part):
            into = into + part.new_zeros(part.shape)  # a batch, where either is one
        return (place.written(blank(self.base, into).copy_(whole), into), *others)


def _copied_as(g: Any, base: Any) -> Any:
    out = np.empty_like(base, dtype=g.dtype)
    out[...] = g
    return out


def blank(base: Any, like: Tensor) -> Any:
    """Memory of its own that is laid out as the base is: for each sample, where `like` is batched."""
    a = pending_arrays.memory(base)
    strides = tuple(s // a.dtype.itemsize for s in a.strides)
    return like.new_empty_strided(a.shape, strides, dtype=dtypes.of(a.dtype))


# ---------------------------------------------------------------- writing in place


def check_writable(t: Tensor, name: str = "") -> None:
    """Raise where autograd forbids an in-place write to t (called in grad mode, when the write would be recorded or t has history)."""
    node = node_of(t)
    base = t._base
    if node is not None and node.leaf and base is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if base is not None:
        top = node_of(base)
        if (
            (node is not None) if top is None else top.leaf
        ):  # a base without a history is a leaf, too: only the view was asked for gradients
            if t._created in UNRECORDED:
                _refuse(t)
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
        if t._created:
            _refuse(t)


def refuse_unrecorded(t: Tensor) -> None:
    """Raise where a view that was made while nothing was recorded is asked for its history, and its memory was written since."""
    base = t._base
    if base is not None and t._created in UNRECORDED and base._node is not None and base._vc and t._seen != base._vc[0]:
        _refuse(t, "its base or another view of its base has been modified inplace")


def _refuse(t: Tensor, what: str = "is being modified inplace") -> None:
    node = t._node
    if t._created in UNRECORDED:
        where = "inference_mode" if t._created == "inference" else "no_grad"
        how = (
            ("inference mode", "in normal mode")
            if t._created == "inference"
            else ("no_grad mode", "with grad mode enabled")
        )
        raise RuntimeError(
            f"A view was created in {how[0]} and {what} {how[1]}. Given that this use case is "
            f"ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view and the inplace either "
            f"both inside the {where} block (if you don't want the inplace to be tracked) or both outside (if you want the inplace "
            "to be tracked).")  # fmt: skip
    head = f"Output {t._nr} of {spoken_name(node)} is a view and {what}. " if node is not None else f"A view {what}. "
    if t._created == "multi":
        raise RuntimeError(
            head + "This view is the output of a function that returns multiple views. Such functions do not allow the "
            "output views to be modified inplace. You should replace the inplace operation by an out-of-place one."
        )
    raise RuntimeError(
        head
        + "This view was created inside a custom Function (or because an input was returned as-is) and the autograd "
        "logic to handle view+inplace would override the custom backward associated with the custom Function, leading "
        "to incorrect gradients. This behavior is forbidden. You can fix this by cloning the output of the custom "
        "Function."
    )


def rebase(t: Tensor, node: Node | None) -> None:
    """After an in-place write (version already bumped): `node` is t's new history; its first edge is t's old one."""
    base = t._base
    if base is None:
        t._node, t._nr = node, 0
        return
    if node is None:
        return
    base._node, base._nr = CopySlices(base, t, node), 0
    t._seen = 0 if base._vc is None else base._vc[0]
    t._node, t._nr = AsStridedBackward0(base, t), 0


__all__ = ["alias", "belongs", "bump", "check_writable", "rebase", "refresh", "unwrap", "view"]

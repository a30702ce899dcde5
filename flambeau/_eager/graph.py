"""The graph that a program leaves behind while it runs, and the engine that walks it backwards.

A Node stands for one recorded call. `next` are the nodes of its differentiable inputs (None where no gradient is wanted), `nrs`
says which output of each (None: output 0 of all). `saved` are the tensors that its derivative names, with the versions they
had. Gradients travel as bare arrays; only `create_graph=True` makes them tensors, because then they have history too.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Callable, Sequence
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._backends.cpu import small
from flambeau._backends.cpu.arrays import QUIET, loud, quiet
from flambeau._backends.pending_arrays import settled
from flambeau._eager.large import LARGE, Native, available
from flambeau._eager.modes import STATE
from flambeau._ground.owners import LONE
from flambeau._kernel.record import parameter
from flambeau._tensor import LAYOUTS, Tensor, around, bare, new, wrap
from flambeau._values import dtype as dtypes

F32, F64 = np.dtype("f4"), np.dtype("f8")
serial = count()
_BY_SERIAL = attrgetter("seq")
Array = Any
HINT = ("Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True, check_nan=False).")  # fmt: skip
TWICE = ("Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
         "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
         "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
         "after calling backward.")  # fmt: skip


class Node:
    """One recorded call. Subclasses say how a gradient passes through it: `arrays` at once, `tensors` with history."""

    next: tuple[Node | None, ...] = ()
    nrs: tuple[int, ...] | None = None
    saved: tuple[Any, ...] | None = ()
    versions: tuple[int, ...] = ()
    seq: int = 0
    outs: int = 1
    leaf: bool = False
    watched: bool = False  # whether it has hooks of any kind, or a tensor that retains its gradient
    forgets: bool = True  # whether tensors are among what is `saved`: sizes and numbers serve again
    own_release: bool = False  # whether `release` does more than forget `saved`
    hooks: dict[int, dict[int, Any]] | None = None  # output number -> hooks of that tensor
    retained: dict[int, Any] | None = None  # output number -> weak reference to a tensor that retains its gradient
    pre: dict[int, Any] | None = None
    post: dict[int, Any] | None = None
    trace: str | None = None  # where it was recorded, in anomaly mode
    metas: tuple[Any, ...] | None = None  # (shape, dtype) of each output
    _metadata: dict[Any, Any] | None = None
    into: Any  # (shape, dtype) of each input, for those who ask what a gradient must be like
    index: Any

    def arrays(self, g: Any) -> Sequence[Any]:
        """Gradients of the inputs, as arrays; `g` is the output's gradient, or a list where there are several outputs."""
        raise NotImplementedError

    def tensors(self, g: Any) -> Sequence[Any]:
        """The same, as tensors with history."""
        raise NotImplementedError

    def release(self) -> None:
        """Forget what was saved; a second backward then says so."""
        if self.saved and self.forgets:
            self.saved = None

    # ---- PyTorch's public face of a node ----

    if not TYPE_CHECKING:  # else every attribute would be one

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_saved_"):
                names = saved_names(type(self))
                if name[7:] in names:
                    return seen(self, names[name[7:]])
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(f"_saved_{n}" for n in saved_names(type(self)))]

    def name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        return tuple((n, self.nrs[i] if self.nrs else 0) for i, n in enumerate(self.next))

    @property
    def metadata(self) -> dict[Any, Any]:
        if self._metadata is None:
            self._metadata = {}
        return self._metadata

    def _sequence_nr(self) -> int:
        return self.seq

    def register_hook(self, fn: Callable[..., Any]) -> Any:
        """Call fn(grad_inputs, grad_outputs) after this node has run; what it returns replaces grad_inputs."""
        if self.post is None:
            self.post, self.watched = {}, True
        return Removable(self.post, fn)

    def register_prehook(self, fn: Callable[..., Any]) -> Any:
        """Call fn(grad_outputs) before this node runs; what it returns replaces grad_outputs."""
        if self.pre is None:
            self.pre, self.watched = {}, True
        return Removable(self.pre, fn)


class Removable:
    """A hook's place in its dictionary, and how to take it out again."""

    _serial = count()

    def __init__(self, hooks: dict[int, Any], fn: Any) -> None:
        self.hooks, self.id = weakref.ref(hooks) if type(hooks) is not dict else (lambda: hooks), next(self._serial)
        hooks[self.id] = fn

    def remove(self) -> None:
        hooks = self.hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> Removable:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class AccumulateGrad(Node):
    """A leaf: adds what reaches it to the `.grad` of its tensor."""

    leaf = True
    seq = sys.maxsize

    def __init__(self, tensor: Tensor) -> None:
        self.ref = weakref.ref(tensor)

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    @property
    def variable(self) -> Tensor | None:
        return self.ref()


UNRECORDED = ("no_grad", "inference")  # how views came about whose base does not know of them


class Nowhere(AccumulateGrad):
    """A view that was made while nothing was recorded, of what requires gradients: so does the view, but nobody takes them."""

    def __init__(self, tensor: Tensor) -> None:
        self.ref = _GONE


_GONE = weakref.ref(new(Tensor))  # to what is no more


class Undifferentiable(Node):
    """An operator whose derivative does not exist here: says so when a gradient reaches it."""

    def __init__(self, what: str) -> None:
        self.what = what

    def arrays(self, g: Any) -> Sequence[Any]:
        raise RuntimeError(f"derivative for {self.what} is not implemented")

    tensors = arrays


# ---------------------------------------------------------------- versions and history


def version(t: Tensor) -> int:
    """How often the memory of t was written in place."""
    return 0 if t._vc is None else t._vc[0]


class Unversioned(list[int]):
    """The version of tensors made in inference mode: not counted. Who asks for it elsewhere is about to save one for backward."""

    def __getitem__(self, i: Any) -> Any:
        if STATE.inference:
            return 0
        raise RuntimeError(
            "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation tracked by "
            "autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` "
            "instead of `torch.inference_mode()`."
        )

    def __setitem__(self, i: Any, value: Any) -> None:
        pass


UNVERSIONED = Unversioned()


def inferred(t: Any) -> Any:
    """t as a tensor made in inference mode."""
    t._inference, t._vc = True, UNVERSIONED
    return t


def check_inferred(t: Any) -> None:
    """Raise where a tensor made in inference mode is written outside of it."""
    if t._inference and not STATE.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal tensor before "
            "doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details."
        )


def bump(t: Tensor) -> None:
    """Note that t's memory was written."""
    vc = t._vc
    if vc is None:
        t._vc = [1]
    else:
        vc[0] += 1


def describe(t: Tensor) -> str:
    return f"[{dtypes.class_name(t.dtype)} {list(t._a.shape)}]"


def spoken_name(node: Node) -> str:
    """A node's name as errors give it: without the `Backward0`."""
    return node.name().partition("Backward")[0]


def stale(node: Node, i: int, t: Tensor, expected: int, output: int | None = None) -> RuntimeError:
    """The error for a saved tensor, perhaps one of the node's outputs, that was written after it was saved."""
    if output is None and i in getattr(node, "output_saved", ()):
        output = 0
    where, nr = (node_of(t), t._nr) if output is None else (node, output)
    which = f", which is output {nr} of {spoken_name(where)}," if where is not None and not where.leaf else ""
    if t._a.dtype.kind not in "fcV":
        which = ""
    what = describe(t) + (which or "")
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"{what} is at version {version(t)}; expected version {expected} instead. {HINT}"
    )


def saved_names(cls: type[Node]) -> dict[str, int]:
    """What a node saves, by the names that PyTorch gives it (`_saved_self`, `_saved_result`), and where."""
    op, names = getattr(cls, "op", None), getattr(cls, "names", ())
    if op is None:
        return {}
    fields = op.outputs or ("out",)
    spoken = {"input": op.receiver} | {n: "result" if len(fields) == 1 else f"result{i}" for i, n in enumerate(fields)}
    found = {}
    for i, n in enumerate(names):
        base = n.removesuffix("_shape")
        if base == n:
            found[spoken.get(n, n)] = i
        elif n not in spoken:
            found[f"{spoken.get(base, base)}_sym_sizes"] = i
    return found


def seen(node: Node, i: int) -> Any:
    """A saved value, as users see it: a result has the history that it was given."""
    value = unpack(node)[i]
    if isinstance(value, Tensor) and i in getattr(node, "output_saved", ()):
        value = saved_alias(value)
        value._node, value._nr = node, 0
        value.requires_grad = True
    return value


def unpack(node: Node) -> tuple[Any, ...]:
    """The saved values of a node, after checking that none was overwritten."""
    saved = node.saved
    if saved is None:
        raise RuntimeError(TWICE)
    for i, v in enumerate(node.versions):
        if v >= 0:
            t = saved[i]
            if (0 if t._vc is None else t._vc[0]) != v:
                raise stale(node, i, t, v)
        elif v == -2:  # behind saved-tensor hooks
            return tuple(s.restore() if w == -2 else s for s, w in zip(saved, node.versions, strict=True))
    return saved


def node_of(t: Tensor) -> Node | None:
    """What computes t's gradient; for a view whose base was written since, the history that the write gave it."""
    base = t._base
    if base is not None and t._seen != (0 if base._vc is None else base._vc[0]):
        from flambeau._eager.views import refresh  # the floor's one cycle: a view's history is made from its base's

        refresh(t)
    if base is not None and t._node is None and t._created in UNRECORDED and base._node is not None:
        return Nowhere(t) if t._a.dtype.kind in "fcV" else None
    return t._node


def saved_alias(out: Tensor) -> Tensor:
    """An output as its own node may hold it: same memory and version, no history, hence no cycle."""
    if out._vc is None:
        out._vc = [0]
    if type(out) is Tensor and out._tangents is None:  # hot: once per call that saves its result
        t = new(Tensor)
        t._a = out._a
    else:
        t = bare(out)
    t._vc = out._vc
    return t


# ---------------------------------------------------------------- the engine


DISPATCHED: weakref.WeakSet[Node] = weakref.WeakSet()  # calls that a subclass with a `__torch_dispatch__` had part in
WATCHERS: list[Any] = []  # asked to run a node of a backward pass: fn(node, gradient, how)
_tasks = itertools.count()
_AFTER: dict[int, list[Any]] = {}  # what is called when a backward pass has run


def queue_callback(fn: Any) -> None:
    """Have the backward pass that runs now call a function when it has run: averages of gradients that all arrived."""
    if STATE.task < 0:
        raise RuntimeError("Final callbacks can only be installed during backward pass.")
    _AFTER.setdefault(STATE.task, []).append(fn)


def execute(roots: Sequence[tuple[Node, int, Any]], keep: bool, create: bool,
            targets: dict[Node, dict[int, Any]] | None = None, recorded: bool | None = None) -> None:  # fmt: skip
    """Send gradients from the roots to the leaves, or to `targets` (node -> output number -> None, filled in) alone.

    They travel as tensors where `create` says so, and what happens to them is recorded, unless `recorded` says otherwise.
    Nodes run in the reverse of the order in which they were recorded, each once, when everything that uses it has run.
    """
    if STATE.recorder is not None:
        STATE.recorder.walked(create)
    buffer: dict[Node, Any] = {}
    order: list[Node] = []
    waiting: dict[Node, int] = {}  # how many edges a leaf still waits for
    seen: set[Node] = set()
    see, follow = seen.add, order.append
    bare_leaves = False
    for node, nr, g in roots:
        _put(buffer, node, nr, g, _add_tensors if create else _add_arrays)
        if node not in seen:
            see(node)
            if node.leaf:
                waiting[node], bare_leaves = 0, True
            else:
                follow(node)
    for node in order:  # it grows meanwhile
        for child in node.next:
            if child is not None:
                if child in seen:
                    if child in waiting:
                        waiting[child] += 1
                else:
                    see(child)
                    if child.leaf:
                        waiting[child] = 1
                    else:
                        follow(child)
    order.sort(key=_BY_SERIAL, reverse=True)
    if bare_leaves:
        for leaf in [leaf for leaf, n in waiting.items() if n == 0]:
            _finish(leaf, buffer, create, targets)
    grad_mode, STATE.grad = STATE.grad, create if recorded is None else recorded
    token = None if create else quiet(QUIET)
    task = next(_tasks)
    outer, STATE.task = STATE.task, task
    try:
        if targets is None and not create and not STATE.anomaly and not WATCHERS:
            _flow(order, buffer, waiting, keep)
        else:
            _flow_watched(order, buffer, waiting, keep, create, targets)
    finally:
        STATE.grad, STATE.task = grad_mode, outer
        if token is not None:
            loud(token)
        after = _AFTER.pop(task, None) if _AFTER else None
    if after:
        _call_back(task, after)


def _call_back(task: int, after: list[Any]) -> None:
    """What was to be called when a pass has run: the pass counts as running, and may be given more."""
    outer, STATE.task, _AFTER[task] = STATE.task, task, after
    try:
        for fn in after:  # it grows meanwhile
            fn()
    finally:
        STATE.task = outer
        del _AFTER[task]


def _flow(order: list[Node], buffer: dict[Node, Any], waiting: dict[Node, int], keep: bool) -> None:
    """The usual pass: arrays only, to every leaf. `_flow_watched` says what it means."""
    take, held, leaves = buffer.pop, buffer.get, waiting.get
    for node in order:  # hot: once per recorded call
        g = take(node, None)
        if g is None:
            grads: Any = (None,) * len(node.next)
        else:
            saved = node.saved
            if saved is None:
                raise RuntimeError(TWICE)
            if node.watched:
                g = _run_hooks(node, g, False)
                grads = node.arrays(g) if type(g) not in LAYOUTS else by_tensors(node, g)
                if node.post:
                    grads = _run_post_hooks(node, grads, g, False)
            else:
                grads = node.arrays(g) if type(g) not in LAYOUTS else by_tensors(node, g)
            if not keep:
                if saved:
                    if node.forgets:
                        node.saved = None
                elif node.own_release:
                    node.release()
        ready = None
        i = 0
        for child in node.next:
            if child is not None:
                gi = grads[i]
                left = leaves(child)
                if left is None:
                    if gi is not None:
                        if child.outs == 1:
                            before = held(child)
                            buffer[child] = gi if before is None else _add_arrays(before, gi)
                        else:
                            nrs = node.nrs
                            _put(buffer, child, nrs[i] if nrs else 0, gi, _add_arrays)
                else:
                    if gi is not None:
                        before = held(child)
                        buffer[child] = gi if before is None else _add_arrays(before, gi)
                    waiting[child] = left - 1
                    if left == 1:
                        ready = [child] if ready is None else [*ready, child]
            i += 1
        if ready is not None:
            g = gi = grads = before = None
            for leaf in ready:
                _finish(leaf, buffer, False, None)


def _flow_watched(order: list[Node], buffer: dict[Node, Any], waiting: dict[Node, int], keep: bool, create: bool,
                  targets: dict[Node, dict[int, Any]] | None) -> None:  # fmt: skip
    """A pass that records itself, or ends at targets, or looks for anomalies."""
    needed = _needed(order, targets) if targets is not None else None
    add = _add_tensors if create else _add_arrays
    for node in order:
        g = buffer.pop(node, None)
        watched = node.watched
        if watched and g is not None:
            g = _run_hooks(node, g, create)
        if targets is not None and _capture(node, g, targets, add) and node not in needed:  # type: ignore[operator]
            for child in node.next:
                if child is not None and child.leaf:
                    waiting[child] -= 1
                    if not waiting[child]:
                        _finish(child, buffer, create, targets)
            continue
        if g is None:
            grads: Any = (None,) * len(node.next)
        else:
            saved = node.saved
            if saved is None:
                raise RuntimeError(TWICE)
            if STATE.anomaly:
                grads = _watched(node, g, create)
            elif WATCHERS:
                grads = WATCHERS[-1](node, g, node.tensors if create else node.arrays)
            else:
                grads = node.tensors(g) if create else node.arrays(g) if type(g) not in LAYOUTS else by_tensors(node, g)
            if watched and node.post:
                grads = _run_post_hooks(node, grads, g, create)
            if not keep:
                if saved:
                    if node.forgets:
                        node.saved = None
                elif node.own_release:
                    node.release()
        ready = []
        for i, child in enumerate(node.next):
            if child is None:
                continue
            if grads[i] is not None:
                _put(buffer, child, node.nrs[i] if node.nrs else 0, grads[i], add)
            if child.leaf:
                waiting[child] -= 1
                if not waiting[child]:
                    ready.append(child)
        g = grads = None
        for leaf in ready:
            _finish(leaf, buffer, create, targets)


def _capture(node: Node, g: Any, targets: dict[Node, Any], add: Any) -> bool:
    """Keep the gradient that reaches a target; always True."""
    wanted = targets.get(node)
    if wanted is not None and g is not None:
        for nr in wanted:
            gi = g if node.outs == 1 else g[nr]
            if gi is not None:
                wanted[nr] = gi if wanted[nr] is None else add(wanted[nr], gi)
    return True


def _needed(order: list[Node], targets: dict[Node, Any]) -> set[Node]:
    """The nodes below which a target lies."""
    out: set[Node] = set()
    for node in reversed(order):
        if any(child is not None and (child in targets or child in out) for child in node.next):
            out.add(node)
    return out


def _put(buffer: dict[Node, Any], node: Node, nr: int, g: Any, add: Any) -> None:
    if node.outs == 1:
        before = buffer.get(node)
        buffer[node] = g if before is None else add(before, g)
        return
    slots = buffer.get(node)
    if slots is None:
        slots = buffer[node] = [None] * node.outs
    slots[nr] = g if slots[nr] is None else add(slots[nr], g)


def _add_arrays(x: Array, y: Array) -> Array:
    if LAYOUTS and (type(x) in LAYOUTS or type(y) in LAYOUTS):
        return (around(x) + around(y) if type(x) not in LAYOUTS else around(y) + around(x))._a
    out = _SUM["small"](x, y) if x.size < LARGE else _SUM["large"](x, y) if x.dtype in (F32, F64) else None
    return (
        out if out is not None else x + y if x.ndim else np.asarray(x + y)
    )  # a sum of 0-d arrays is a number to NumPy


_SUM: dict[str, Any] = {"large": Native(lambda x, y: x + y)}
small.install(_SUM, "small", parameter(0, (), dtypes.float64) + parameter(1, (), dtypes.float64),
              [parameter(i, (), dtypes.float64) for i in range(2)], available)  # fmt: skip


def _add_tensors(x: Tensor, y: Tensor) -> Tensor:
    return x + y if type(x._a) not in LAYOUTS else y + x


def as_tensor(g: Any) -> Tensor:
    """The tensor that a travelling gradient is."""
    return around(g)


def unwrap(t: Any) -> Any:
    """A gradient as the engine carries it: the array."""
    return None if t is None else settled(t._a)


def by_tensors(node: Node, g: Any) -> list[Any]:
    """The gradients of a node's inputs where its derivative over bare arrays would not do: sparse arrays have no operations of their own."""
    given = (
        [None if x is None else around(x) for x in g]
        if type(g) is list and not (g and isinstance(g[0], Tensor))
        else around(g)
    )
    return [unwrap(x) for x in node.tensors(given)]


_by_tensors: dict[type[Node], type[Node]] = {}


def differentiate_by_tensors(node: Node) -> None:
    """Make a node of a call on sparse tensors take its derivative in tensor operations always."""
    cls = type(node)
    found = _by_tensors.get(cls)
    if found is None:
        found = _by_tensors[cls] = type(cls.__name__, (cls,), {"arrays": by_tensors, "__module__": cls.__module__})
    node.__class__ = found


def _finish(leaf: Node, buffer: dict[Node, Any], create: bool, targets: Any) -> None:
    """Every contribution has come: run the hooks of a leaf and add its gradient."""
    if leaf not in buffer:
        return
    t = leaf.ref()  # type: ignore[attr-defined]
    if leaf.watched:
        buffer[leaf] = _run_hooks(leaf, buffer[leaf], create)
    if targets is not None:
        if leaf in targets:
            targets[leaf][0] = buffer.pop(leaf)
        return
    if t is None or t._node is None:  # it may have been detached since
        return
    if WATCHERS:
        WATCHERS[-1](leaf, buffer, lambda b: accumulate(t, b.pop(leaf), create))
    else:
        accumulate(t, buffer.pop(leaf), create)
    if leaf.watched and leaf.post:
        for fn in list(leaf.post.values()):
            fn((), (t._grad,))
    if t._post_hooks:
        for fn in list(t._post_hooks.values()):
            fn(t)


def accumulate(t: Tensor, g: Any, create: bool) -> None:
    """t.grad += g: in place where nobody can see the difference."""
    old = t._grad
    if t._grad_dtype:
        g = g.to(t._grad_dtype) if create else g.astype(t._grad_dtype.np)
    if create:
        t._grad = (g if old is None else old + g) if g._node is not None or old is not None else g.clone()
        return
    if LAYOUTS and (type(g) in LAYOUTS or type(t._a) in LAYOUTS or (old is not None and type(old._a) in LAYOUTS)):
        if old is None:
            t._grad = around(g if type(g) in LAYOUTS else g.copy())
        elif type(old._a) in LAYOUTS and type(g) not in LAYOUTS:
            t._grad = around(g) + old
        else:
            old += around(g)
        return
    if old is None:
        a = t._a
        alone = sys.getrefcount(g) <= LONE  # else somebody may see it change
        fits = (g.flags.c_contiguous and a.flags.c_contiguous) or _lie_alike(g, a) or not STATE.grad_layout
        if alone and fits and g.base is None:
            t._grad = wrap(g)
            return
        copy = g.copy("C") if a.flags.c_contiguous else _laid_out_as(a, g)
        t._grad = wrap(copy)
        if not (alone and fits) and _lie_alike(copy, a):  # PyTorch writes it into memory laid out so
            bump(t._grad)
    else:
        a = old._a
        a += g
        bump(old)


def _laid_out_as(a: Array, g: Array) -> Array:
    """A copy of g with the strides of a, where a has no gaps and no overlaps; else contiguous. PyTorch's rule for gradients of leaves."""
    like = np.empty_like(a, dtype=g.dtype, subok=False)
    out = like if _lie_alike(like, a) else np.empty(a.shape, g.dtype)
    out[...] = g
    return out


def _lie_alike(x: Array, y: Array) -> bool:
    """Whether arrays of one shape have their elements in one order, without regard to dimensions of one element."""
    if x.strides == y.strides:
        return True
    return all(
        n == 1 or s * y.itemsize == t * x.itemsize for n, s, t in zip(x.shape, x.strides, y.strides, strict=True)
    )


def _run_hooks(node: Node, g: Any, create: bool) -> Any:
    """Hooks of the node's outputs, in the order they were registered, then its pre-hooks; retained gradients last."""
    slots = [g] if node.outs == 1 else g
    if not create:
        slots = [None if s is None else as_tensor(s) for s in slots]
    before = STATE.grad
    STATE.grad = create and before  # gradients may travel as tensors and yet not be recorded
    try:
        if node.hooks is not None:
            for nr, hooks in node.hooks.items():
                for fn in list(hooks.values()):
                    if slots[nr] is None:
                        continue
                    result = fn(slots[nr])
                    if result is not None:
                        _check_hook(slots[nr], result, fn)
                        slots[nr] = result
        if node.pre:
            for fn in list(node.pre.values()):
                result = fn(tuple(slots))
                if result is not None:
                    slots = list(result) if isinstance(result, (tuple, list)) else [result]
    finally:
        STATE.grad = before
    if node.retained is not None:
        for nr, ref in node.retained.items():
            t = ref()
            if t is not None and slots[nr] is not None:
                t._grad = slots[nr] if t._grad is None else t._grad + slots[nr]
    if not create:
        slots = [unwrap(s) for s in slots]
    return slots[0] if node.outs == 1 else slots


def _check_hook(before: Tensor, after: Any, fn: Any) -> None:
    if not isinstance(after, Tensor):
        raise TypeError(
            f"expected Tensor, but hook returned '{type(after).__module__}.{type(after).__name__}'"
            if type(after).__module__ != "builtins"
            else f"expected Tensor, but hook returned '{type(after).__name__}'"
        )
    if after._a.shape != before._a.shape:
        raise RuntimeError(f"hook '{getattr(fn, '__name__', '<unknown>')}' has changed the size of value")
    if after._a.dtype is not before._a.dtype:
        raise RuntimeError(f"hook '{getattr(fn, '__name__', '<unknown>')}' has changed the type of value")


def _run_post_hooks(node: Node, grads: Any, g: Any, create: bool) -> Any:
    outs = (g,) if node.outs == 1 else tuple(g)
    ins = tuple(grads)
    if not create:
        outs = tuple(None if x is None else as_tensor(x) for x in outs)
        ins = tuple(None if x is None else as_tensor(x) for x in ins)
    for fn in list(node.post.values()):  # type: ignore[union-attr]
        result = fn(ins, outs)
        if result is not None:
            result = result if isinstance(result, (tuple, list)) else (result,)
            if len(result) != len(ins):
                raise RuntimeError(
                    f"hook '{getattr(fn, '__name__', '<unknown>')}' has returned an incorrect number of values "
                    f"(got {len(result)}, but expected {len(ins)})"
                )
            ins = tuple(result)
    return ins if create else tuple(unwrap(x) for x in ins)


def _watched(node: Node, g: Any, create: bool) -> Any:
    """Anomaly mode: an error names the forward call, and a NaN that appears here is an error."""
    outer, STATE.node = STATE.node, node
    try:
        grads = node.tensors(g) if create else node.arrays(g)
    except Exception:
        _print_trace(node)
        raise
    finally:
        STATE.node = outer
    if STATE.anomaly_nan:
        for i, gi in enumerate(grads):
            a = gi._a if isinstance(gi, Tensor) else gi
            if a is not None and hasattr(a, "dtype") and a.dtype.kind in "fc" and (a != a).any():
                _print_trace(node)
                raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")
    return grads


def _print_trace(node: Node) -> None:
    import warnings

    if node.trace is None:
        warnings.warn(f"Error detected in {node.name()}. No forward pass information available. Enable detect anomaly during "
                      "forward pass for more information.", stacklevel=2)  # fmt: skip
    else:
        warnings.warn(f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n{node.trace}",
                      stacklevel=2)  # fmt: skip

"""Batched tensors: what `vmap` gives the function that it maps. An operator on them is its batch rule on what they hold.

A batched tensor holds a value with one dimension more, which no operator sees; what it shows (`_a`) is a meta array of the shape
of one sample. Its history is that of the sample (a gradient taken inside the mapped function), its value's history that of the
batch (a gradient taken outside).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from flambeau import overrides
from flambeau._backends.meta import MetaArray
from flambeau._eager import call, create, modes, promotion, record, views, writes
from flambeau._eager.getitem import through_operators
from flambeau._eager.graph import bump, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.names import public
from flambeau._ground.errors import DynamicShape, NeedsElements, Unbatched
from flambeau._operators.op import Op
from flambeau._tensor import Tensor, new, twin
from flambeau._values.dtype import bool_
from flambeau._values.shape import broadcast
from flambeau.autograd._dual import mapped, set_tangent, tensors_of
from flambeau.autograd.function import FORWARDS
from flambeau.func import _batch_rules as rules
from flambeau.func._samples import by_samples
from flambeau.overrides import _disabled_torch_function_impl


class SampleArray(MetaArray):
    """The meta array of a batched tensor: it tells what is asked of it that a batch cannot answer. Where the first sample lies, it knows."""

    __slots__ = ("batch",)

    def __init__(self, batch: Any) -> None:
        super().__init__(batch.shape[1:], batch.dtype, batch.strides[1:])
        self.batch, self.signs = batch, getattr(batch, "signs", self.signs)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.batch.__array_interface__  # type: ignore[no-any-return]

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise NeedsElements("Cannot access data pointer of Tensor that doesn't have storage")

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __array__ = __getitem__ = __setitem__ = _refuse  # type: ignore[assignment]
    __len__ = __bool__ = __iter__ = __add__ = __sub__ = __mul__ = __and__ = __or__ = __invert__ = item = tolist = (
        copy
    ) = astype = _refuse  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._refuse()


class Level:
    """One `vmap` that is running."""

    def __init__(self, depth: int, size: int, randomness: str) -> None:
        self.depth, self.size, self.randomness = depth, size, randomness


class _Levels(threading.local):
    open: tuple[Level, ...] = ()


LEVELS = _Levels()


class BatchedTensor(Tensor):
    """A tensor of one sample; `_value` has all samples along its first dimension."""

    __torch_function__ = _disabled_torch_function_impl
    _value: Tensor
    _level: int

    device = property(lambda self: self._value.device)
    is_cpu = property(lambda self: self._value.is_cpu)
    is_meta = property(lambda self: self._value.is_meta)

    def stride(self, dim: Any = None) -> Any:
        strides = self._value.stride()[1:]
        return strides if dim is None else strides[dim]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        return self._value.is_contiguous() if memory_format is None else self._value[0].is_contiguous(memory_format)  # type: ignore[attr-defined,index]

    def contiguous(self, memory_format: Any = None) -> Any:
        if memory_format is not None and memory_format.name.startswith("channels"):
            raise RuntimeError(
                "NYI: querying is_contiguous inside of vmap for memory_format other than torch.contiguous_format"
            )
        return Tensor.contiguous(self)  # type: ignore[attr-defined]

    def is_conj(self) -> bool:
        return self._value.is_conj()  # type: ignore[attr-defined,no-any-return]

    def is_neg(self) -> bool:
        return self._value.is_neg()  # type: ignore[attr-defined,no-any-return]

    def storage_offset(self) -> int:
        return self._value.storage_offset()  # type: ignore[attr-defined,no-any-return]

    def data_ptr(self) -> int:
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    def detach(self) -> Any:
        return batched(self._value.detach(), self._level)  # type: ignore[attr-defined]

    @property
    def data(self) -> Any:
        raise RuntimeError("accessing `data` under vmap transform is not allowed")

    @data.setter
    def data(self, value: Any) -> None:
        raise RuntimeError("mutating directly with `.data` under vmap transform is not allowed.")

    def storage(self, *args: Any) -> Any:
        raise NotImplementedError("Cannot access storage of BatchedTensorImpl")

    untyped_storage = storage
    __reduce_ex__ = storage

    def resize_(self, *size: Any, memory_format: Any = None) -> Any:
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        self._value.resize_(self._value.shape[0], *shape)
        self._a = SampleArray(self._value._a)
        return self

    def item(self) -> Any:
        raise NeedsElements(
            "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, please "
            "try to rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch internals, "
            "please file a bug report."
        )

    def __bool__(self) -> bool:
        raise NeedsElements(
            "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that yet, "
            "please file an issue at https://github.com/pytorch/pytorch/issues ."
        )

    def __index__(self) -> int:
        return int(self.item())

    def numpy(self, *, force: bool = False) -> Any:
        raise NeedsElements("Cannot access data pointer of Tensor that doesn't have storage")

    tolist = numpy
    __array__ = numpy

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from textwrap import indent

        value = indent(repr(self._value), "    ")
        return f"BatchedTensor(lvl={self._level}, bdim=0, value=\n{value}\n)"

    def __deepcopy__(self, memo: Any) -> Any:
        return self.storage()


def batched(value: Tensor, level: int) -> BatchedTensor:
    """A tensor of one sample of `value`, whose first dimension is the batch."""
    t = new(BatchedTensor)
    t._a = SampleArray(value._a)
    t._value, t._level = value, level
    return t


def value_at(t: Any, level: int) -> Any:
    """What a tensor holds at a level, or None where it is no batch there."""
    return t._value if type(t) is BatchedTensor and t._level == level else None


class vmap_level:
    """The block in which a new innermost batch dimension of a size exists."""

    def __init__(self, size: int, randomness: str) -> None:
        self.level = Level(LEVELS.open[-1].depth + 1 if LEVELS.open else 1, size, randomness)

    def __enter__(self) -> Level:
        _install()
        LEVELS.open = (*LEVELS.open, self.level)
        STATE.transforms += 1
        modes.enter("vmap")
        return self.level

    def __exit__(self, *exc: object) -> None:
        self.leave()

    @staticmethod
    def leave() -> None:
        """Closes the innermost level."""
        LEVELS.open = LEVELS.open[:-1]
        STATE.transforms -= 1
        modes.leave("vmap")


def close(kept: int) -> None:
    """Closes levels until so many transforms run: a capture that is given up within `vmap` leaves its own open."""
    while STATE.transforms > kept and LEVELS.open:
        vmap_level.leave()


class outside:
    """The block in which a level does not exist: what its batch rules run in."""

    def __init__(self, level: Level) -> None:
        self.level = level

    def __enter__(self) -> None:
        self.before = LEVELS.open
        LEVELS.open = tuple(x for x in self.before if x.depth < self.level.depth)
        STATE.transforms -= len(self.before) - len(LEVELS.open)

    def __exit__(self, *exc: object) -> None:
        STATE.transforms += len(self.before) - len(LEVELS.open)
        LEVELS.open = self.before


def unwrap(t: Any, level: Level, dim: int) -> Any:
    """What leaves the mapped function: the batch, its dimension where it is wanted."""
    value = value_at(t, level.depth)
    if value is None:
        at = dim if dim >= 0 else dim + t.ndim + 1
        return t.unsqueeze(at).expand(*t.shape[:at], level.size, *t.shape[at:])
    if t._tangents:
        value = twin(value)
        for k, v in t._tangents.items():
            set_tangent(value, k, unwrap(v, level, 0))
    return value if dim == 0 else value.movedim(0, dim)


# ---------------------------------------------------------------- operators

_DROPOUT = "flambeau._operators.dropout"
_SAME = (
    "Vmap does not currently support same randomness with a batched tensor input. Please file an issue with functorch"
)
_MODE = ("vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' randomness "
         "flags on vmap or perform the randomness operation out of vmap")  # fmt: skip


def _operator(op: Op, values: Any, out: Any, into: bool) -> Any:
    """What the general lane asks: the operator over the batch, or NotImplemented where nothing is batched."""
    if not LEVELS.open:
        return NotImplemented
    depths = [t._level for t in tensors_of(op, values) if type(t) is BatchedTensor]
    random = op.draws
    if not depths:
        if op.module == _DROPOUT and LEVELS.open[-1].randomness == "different":
            x, *rest = values
            level = LEVELS.open[-1]
            return call.general(op, (batched(x.expand(level.size, *x.shape).contiguous(), level.depth), *rest))
        if not random or op.kind == "composite" or "factory" in op.variants:
            return NotImplemented
        return _random_factory(op, values, out, into)
    depth = max(depths)
    level = next((x for x in LEVELS.open if x.depth == depth), None)
    if level is None:
        raise RuntimeError(f"vmap: a tensor of level {depth} is used after its vmap has ended")
    if out is not None:
        raise RuntimeError(
            f"Batching rule not implemented for aten::{op.overload.split('.')[0]}.out; the fallback path doesn't work on out= or view ops."
        )
    rules.check(op, values)
    if op.kind == "composite":
        return _composite(op, values, into, level)
    if random and level.randomness == "error":
        raise RuntimeError(_MODE)
    if into:
        return _in_place(op, values, level)
    inner = mapped(op, values, lambda t: held(t, depth))
    if random and level.randomness == "same":
        raise RuntimeError(_SAME)
    with outside(level):
        result = rules.apply(op, inner, level)
    return finish(op, values, result, level)


def _composite(op: Op, values: Any, into: bool, level: Level) -> Any:
    """Its parts are mapped; where it looks at elements, it runs sample by sample."""
    try:
        return call.composite(op, values, None, into)
    except NeedsElements as problem:
        if isinstance(problem, DynamicShape) and op.overload != "nonzero_static":
            raise
        result = by_samples(lambda *given: call.general(op, given), values)
        return writes.store(op, values[op.receiver_at], result, into) if into else result
    except Unbatched as problem:  # made inside, it may as well be a batch
        given = tensors_of(op, values)
        if any(_same_memory(problem.target, t) for t in given):
            raise
        if all(value_at(t, level.depth) is not None for t in given):
            raise
        return call.general(op, mapped(op, values, lambda t: spread(t, level)), None, into)


def _same_memory(t: Any, other: Any) -> bool:
    return t is other or (t._vc is not None and t._vc is other._vc)


def spread(t: Any, level: Level) -> Any:
    """t as a batch, the same for all samples."""
    if value_at(t, level.depth) is not None:
        return t
    with outside(level):
        nowhere = public("zeros")((level.size,), dtype=bool_, device=t.device)
    return t.masked_fill(batched(nowhere, level.depth), 0)


def held(t: Tensor, depth: int) -> Any:
    """A tensor as a batch rule sees it: `rules.Batch` around what it holds, or as it is."""
    value = value_at(t, depth)
    return t if value is None else rules.Batch(value)


def finish(op: Op, values: Sequence[Any], result: Any, level: Level) -> Any:
    """Results of a batch rule as batched tensors, with the history that one sample has."""

    def one(r: Any) -> Any:
        if not isinstance(r, Tensor):
            return r.value if type(r) is rules.Same else r
        t = batched(r, level.depth)
        return views.belongs(t, values[op.receiver_at]) if op.view else t

    listed = type(result) is list
    if isinstance(result, (tuple, list)):
        outs = tuple(one(r) for r in result)
    else:
        outs = (one(result),)
    if STATE.grad and op.differentiable:
        record.record(op, outs, values, listed)
    if listed:
        return list(outs) if not op.view else outs
    if isinstance(result, tuple):
        return record.named(op)(outs) if op.outputs else outs
    return outs[0]


# How PyTorch comes to refuse what is written into a tensor that is not batched: by a rule for arithmetic, by one of the operator's own, or
# where the result of a plain call does not fit; the others take its fallback.
_ARITHMETIC = frozenset(("sub", "mul", "div", "copy", "logical_and", "logical_or", "logical_xor"))
_RULED = frozenset(("index_put", "index_fill", "index_add", "fill", "scatter_add"))
_PLAIN = frozenset(("add", "atan2", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "copysign", "gcd",
                    "lcm"))  # fmt: skip


def _unbatched(op: Op, values: Any, target: Any, level: Level) -> str:
    where = "in a vmap"
    if op.name in _ARITHMETIC or op.overload == "masked_fill.Scalar":
        what = "inplace arithmetic"
    elif op.name in _RULED:
        what = f"{op.name}_"
    elif op.name in _PLAIN:
        shape = broadcast(*(t.shape for t in tensors_of(op, values)))
        sizes = [x.size for x in LEVELS.open if x.depth <= level.depth]
        return f"output with shape {list(target.shape)} doesn't match the broadcast shape {[*sizes, *shape]}"
    else:
        what, where = f"aten::{op.name}_", f"at level {level.depth}"
    return (
        f"vmap: {what}(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args that has more elements than "
        f"`self`. This happened due to `other` being vmapped over but `self` not being vmapped over {where}. Please try to use "
        f"out-of-place operators instead of {what}. If said operator is being called inside the PyTorch framework, please file a bug "
        "report instead."
    )


def _in_place(op: Op, values: Any, level: Level) -> Any:
    target = values[op.receiver_at]
    if value_at(target, level.depth) is None:
        raise Unbatched(_unbatched(op, values, target, level), target)
    if op.draws and level.randomness == "same":
        return _same_numbers(op, values, target, level)
    tracked = STATE.grad and op.leaves_trace and record.any_history(op, values)
    if STATE.grad and (tracked or node_of(target) is not None):
        views.check_writable(target)
    old = None
    if tracked:
        old = twin(target)
        old._node, old._nr, old._base, old._vc = node_of(target), target._nr, None, None
        old._value = target._value.clone()
    inner = mapped(op, values, lambda t: held(t, level.depth))
    with outside(level):
        if op.view:
            made = rules.apply(op, inner, level)
            fresh = batched(made, level.depth)
            target._a, target._value = fresh._a, fresh._value
        else:
            rules.write(op, inner, level)
    bump(target)
    if tracked and op.view:
        target._node, target._nr = record.record_write(op, target, values, old), 0
    elif tracked:
        views.rebase(target, record.record_write(op, target, values, old))
    if op.view and target._base is not None:
        target._seen = target._vc[0]
    return target


def _same_numbers(op: Op, values: Any, target: Any, level: Level) -> Any:
    """Fill every sample with the same random numbers."""
    if sum(type(t) is BatchedTensor for t in tensors_of(op, values)) > 1:
        raise RuntimeError(_SAME)
    at = op.receiver_at
    with outside(level):
        one = call.general(op, (*values[:at], target._value[0].clone(), *values[at + 1 :]), None, True)
    return target.copy_(one)


def _random_factory(op: Op, values: Any, out: Any, into: bool) -> Any:
    """Random numbers that depend on no batched tensor: the same for all samples, or different ones, as vmap was told."""
    level = LEVELS.open[-1]
    if level.randomness == "error":
        raise RuntimeError(_MODE)
    if level.randomness == "same" or out is not None:
        return NotImplemented
    if into:
        raise RuntimeError(
            "vmap: Cannot ask for different inplace randomness on an unbatched tensor. This will appear like same randomness. If this "
            "is necessary for your usage, please file an issue with functorch."
        )
    with outside(level):
        made = rules.stacked([call.general(op, values) for _ in range(max(level.size, 1))])
        return finish(op, values, made if level.size else made.narrow(0, 0, 0), level)


def _create(op: Op, values: Any, out: Any, extra: Any) -> Any:
    """Creation operators: like a batched tensor, or random."""
    if not LEVELS.open:
        return NotImplemented
    like = values[0] if values and type(values[0]) is BatchedTensor else None
    random = op.draws
    ends = [v for v, p in zip(values, op.params, strict=True) if type(v) is BatchedTensor and not p.is_tensor]
    if ends and not any(p.name == "steps" for p in op.params):  # a range would have another size for each sample
        ends[0].item()
    if ends and out is None:  # numbers given as tensors (linspace)
        level = next(x for x in LEVELS.open if x.depth == max(t._level for t in ends))
        given = [held(v, level.depth) if isinstance(v, Tensor) else v for v in values]
        at = next(i for i, p in enumerate(op.params) if p.name == "dtype")
        if given[at] is None:  # ends that are batched count as tensors with dimensions, which meet
            met = promotion.result_type(
                [
                    v._value[:1] if type(v) is BatchedTensor else v.reshape(1) if isinstance(v, Tensor) else v
                    for v in values[:2]
                ]
            )
            given[at] = met if met.kind in "fc" else None
        with outside(level):
            return batched(
                rules.stacked([create.create(op, tuple(one), None, **extra) for one in rules.each(given, level)]),
                level.depth,
            )
    if like is None and not random:
        return NotImplemented
    level = LEVELS.open[-1] if like is None else next(x for x in LEVELS.open if x.depth == like._level)
    if random and level.randomness == "error":
        raise RuntimeError(_MODE)
    wanted = extra["requires_grad"]
    extra = {**extra, "requires_grad": False}
    with outside(level):
        if like is None:
            if level.randomness == "same":
                return create.create(op, values, out, **extra)
            result = rules.stacked([create.create(op, values, None, **extra) for _ in range(max(level.size, 1))])
            result = result if level.size else result.narrow(0, 0, 0)
        elif random and level.randomness == "same":
            return create.create(op, (like._value[0], *values[1:]), None, **extra)  # type: ignore[index]
        else:
            given = [like._value, *values[1:]]
            sizes = [i for i, p in enumerate(op.params) if p.name == "size"]
            for i in sizes:
                given[i] = (level.size, *values[i])
            for i, p in enumerate(op.params):
                if p.name == "stride":
                    span = 1 + sum((n - 1) * s for n, s in zip(values[i - 1], values[i], strict=True))
                    given[i] = (span, *values[i])
                if p.name == "memory_format" and given[i] is not None and given[i].name.startswith("channels"):
                    needed = 5 if given[i].name.endswith("3d") else 4
                    if given[0]._a.ndim != needed:
                        raise RuntimeError(f"required rank {needed} tensor to use {given[i].name} format")
            result = create.create(op, tuple(given), None, **extra)
    t = batched(result, level.depth)
    if wanted:
        t.requires_grad = True  # type: ignore[attr-defined]
    return t


# ---------------------------------------------------------------- indexing


def _method(fn: Any, args: Any, kwargs: Any) -> Any:
    """`x[i]` and `x[i] = y` where x, or a tensor in i, is batched."""
    name = getattr(fn, "__name__", "").strip("_")
    if not LEVELS.open or name not in ("getitem", "setitem"):
        return NotImplemented
    index = args[1]
    items = list(index) if isinstance(index, tuple) else [index]
    if not any(type(a) is BatchedTensor for a in (args[0], *items, *args[2:])):
        return NotImplemented
    return through_operators(name, *args)


def _install() -> None:
    if _operator not in overrides.EXTRA:  # behind forward mode, which may be inside or outside of a batch
        overrides.EXTRA.append(_operator)
        overrides.EXTRA_METHODS.append(_method)
        create.HOOKS.append(_create)
        from flambeau.func._functions import mapped_forward

        FORWARDS.append(mapped_forward)

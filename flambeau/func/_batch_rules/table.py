"""The table of rules, what a rule is given, and the rule of those that have none: sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flambeau._eager import call
from flambeau._operators.op import Op
from flambeau._tensor import Tensor

Rule = Callable[[Op, list[Any], Any], Any]
RULES: dict[str, Rule] = {}


class VmapInfo(NamedTuple):
    """What users' batch rules are told of the `vmap` that is running."""

    batch_size: int
    randomness: str


class Batch:
    """The value of a batched tensor: a sample has one dimension less."""

    __slots__ = ("value",)

    def __init__(self, value: Tensor) -> None:
        self.value = value

    @property
    def ndim(self) -> int:
        """The rank of one sample."""
        return self.value._a.ndim - 1


class Same:
    """A result that is the same for all samples."""

    __slots__ = ("value",)

    def __init__(self, value: Tensor) -> None:
        self.value = value


def rule(*overloads: str) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        for name in overloads:
            RULES[name] = fn
        return fn

    return register


def rank(v: Any) -> int:
    """The rank of one sample."""
    return v.ndim if type(v) is Batch else v._a.ndim


def full(v: Any, size: int) -> Any:
    """A tensor with the batch first, whether it is batched or not."""
    return v.value if type(v) is Batch else v.unsqueeze(0).expand(size, *v.shape)


def run(op: Op, values: Sequence[Any]) -> Any:
    return call.general(op, tuple(values))


def position(op: Op, name: str) -> int:
    return next(i for i, p in enumerate(op.params) if p.name == name)


def behind(v: Any, n: int) -> Any:
    """A value that broadcasts with samples of rank n."""
    if type(v) is not Batch:
        return v
    t = v.value
    return t.reshape(t.shape[0], *(1,) * (n - v.ndim), *t.shape[1:])


# ---------------------------------------------------------------- sample by sample


def one_by_one(op: Op, values: list[Any], level: Any) -> Any:
    """Every sample on its own; none, of a batch of nothing, looks as one of zeros would."""
    if level.size:
        return stacked(samples(op, values, level))
    one = [Batch(v.value.new_zeros((1, *v.value.shape[1:]))) if type(v) is Batch else v for v in values]
    return each_result(stacked([run(op, each(one, level, 1)[0])]), lambda t: t.narrow(0, 0, 0))


def samples(op: Op, values: Sequence[Any], level: Any) -> list[Any]:
    """The results of each sample."""
    return [run(op, given) for given in each(values, level)]


def each(values: Sequence[Any], level: Any, size: int | None = None) -> list[list[Any]]:
    """The arguments of each sample."""

    def sample(v: Any, i: int) -> Any:
        if type(v) is Batch:
            return v.value.select(0, i)
        if isinstance(v, (list, tuple)) and any(type(x) is Batch for x in v):
            return type(v)(sample(x, i) for x in v)
        return v

    return [[sample(v, i) for v in values] for i in range(level.size if size is None else size)]


def stacked(results: list[Any]) -> Any:
    """Results of the samples, put together."""
    first = results[0]
    if isinstance(first, Tensor):
        from flambeau._eager.names import public

        return public("stack")(results)
    if isinstance(first, (tuple, list)):
        parts = [stacked([r[i] for r in results]) for i in range(len(first))]
        return parts if isinstance(first, list) else tuple(parts)
    return first


def each_result(result: Any, fn: Any) -> Any:
    if isinstance(result, Tensor):
        return fn(result)
    return type(result)(fn(r) for r in result) if type(result) in (list, tuple) else tuple(fn(r) for r in result)

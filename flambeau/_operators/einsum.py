"""Products summed over named or numbered dimensions: einsum, tensordot, kron, chains of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from flambeau._kernel.language import IntList
from flambeau._operators._factors import same_dtypes
from flambeau._operators.contract import bmm, mm
from flambeau._operators.op import composite
from flambeau._tensor import Tensor
from flambeau._values.dtype import C_NAMES
from flambeau._values.shape import wrap_dim


def _prod(ns: Any) -> int:
    out = 1
    for n in ns:
        out *= n
    return out


# ---------------------------------------------------------------- einsum


@composite("einsum", variants=(), autocast="open")
def einsum(equation: str, tensors: Sequence[Tensor], *, path: IntList | None = None) -> Tensor:
    """Products of elements of several tensors, summed over the dimensions that the equation names on the left only."""
    return contracted(*labelled(equation, tuple(t.ndim for t in tensors)), tensors)


@lru_cache(1024)
def labelled(equation: str, ranks: tuple[int, ...]) -> tuple[list[list[Any]], list[Any]]:
    """The labels of each operand's dimensions and of the result's: letters, and numbers (from the back) for those under `...`."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    for i, c in enumerate(left):
        if not (c.isascii() and c.isalpha()) and c not in ".,":
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {i} in the equation string, subscripts must be in [a-zA-Z]"
            )
    terms = left.split(",")
    if len(terms) > len(ranks):
        raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
    if len(terms) < len(ranks):
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    ins: list[list[Any]] = []
    widest = 0
    for i, (term, rank) in enumerate(zip(terms, ranks, strict=True)):
        head, dots, tail = _dots(term, i)
        have = len(head) + len(tail)
        if not dots and have != rank:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({have}) does not match the "
                f"number of dimensions ({rank}) "
                f"for operand {i} and no ellipsis was given"
            )
        if have > rank:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({have}) is more than the "
                f"number of dimensions ({rank}) "
                f"for operand {i}"
            )
        under = rank - have
        widest = max(widest, under)
        ins.append([*head, *range(under - 1, -1, -1), *tail])
    letters = [c for term in ins for c in term if isinstance(c, str)]
    dims = list(range(widest - 1, -1, -1))
    if not arrow:
        return ins, dims + sorted(c for c in set(letters) if letters.count(c) == 1)
    head, dots, tail = _dots(right, None)
    for c in head + tail:
        if c not in letters:
            raise RuntimeError(f"einsum(): output subscript {c} does not appear in the equation for any input operand")
        if (head + tail).count(c) > 1:
            raise RuntimeError(f"einsum(): output subscript {c} appears more than once in the output")
    return ins, [*head, *(dims if dots else []), *tail]


def _dots(term: str, operand: int | None) -> tuple[str, bool, str]:
    if "." not in term:
        return term, False, ""
    head, dots, tail = term.partition("...")
    if not dots or "." in head or "." in tail:
        where = f"for operand {operand}" if operand is not None else "in the output"
        again = dots and term.count(".") == 6
        what = "for which an ellipsis was already found" if again else "that is not part of any ellipsis"
        raise RuntimeError(f"einsum(): found '.' {where} {what}")
    return head, True, tail


def contracted(ins: list[list[Any]], out: list[Any], tensors: Sequence[Any]) -> Any:
    """The operands multiplied from left to right, each label summed as soon as nobody needs it any more."""
    sizes: dict[Any, int] = {}
    xs = []
    for i, (labels, x) in enumerate(zip(ins, tensors, strict=True)):
        x, labels = _once(x, labels)
        for n, c in zip(x.shape, labels, strict=True):
            if sizes.get(c, 1) == 1:
                sizes[c] = n
            elif n not in (1, sizes[c]):
                raise RuntimeError(
                    f"einsum(): subscript {c} has size {n} for operand {i} which does not broadcast "
                    "with previously seen size "
                    f"{sizes[c]}"
                    if isinstance(c, str)
                    else "einsum(): operands do not broadcast with remapped shapes "
                    f"[original->remapped]: {[list(t.shape) for t in tensors]}"
                )
        xs.append((x, labels))
    x, labels = xs[0]
    for i, (y, more) in enumerate(xs[1:], 1):
        later = set(out).union(*(set(ls) for _, ls in xs[i + 1 :]))
        x, labels = _pair(x, labels, y, more, later, sizes)
    gone = [i for i, c in enumerate(labels) if c not in out]
    if gone:
        x = x.sum(gone)
        labels = [c for c in labels if c in out]
    missing = [c for c in out if c not in labels]
    for c in missing:  # only where `...` of the output stands for dimensions that no operand has
        x = x.unsqueeze(-1)
        labels = [*labels, c]
    order = [labels.index(c) for c in out]
    return x if order == list(range(len(order))) else x.permute(order)


def _once(x: Any, labels: list[Any]) -> tuple[Any, list[Any]]:
    """A label that an operand has twice means the diagonal."""
    labels = list(labels)
    for c in dict.fromkeys(labels):
        while labels.count(c) > 1:
            a = labels.index(c)
            b = labels.index(c, a + 1)
            if x.shape[a] != x.shape[b]:
                raise RuntimeError(
                    f"einsum(): subscript {c} is repeated for operand 0 but the sizes don't match, "
                    f"{x.shape[b]} != {x.shape[a]}"
                )
            x = x.diagonal(0, a, b)
            labels = [l for i, l in enumerate(labels) if i not in (a, b)] + [c]
    return x, labels


def _pair(x: Any, a: list[Any], y: Any, b: list[Any], later: set[Any], sizes: dict[Any, int]) -> tuple[Any, list[Any]]:
    """The product of two labelled tensors, summed over what is not needed later: one batched matrix product."""
    x, a = _summed(x, a, later.union(b))
    y, b = _summed(y, b, later.union(a))
    both = [c for c in a if c in b]
    # A dimension of size 1 that the other has larger is as good as absent.
    for c in both:
        n, m = x.shape[a.index(c)], y.shape[b.index(c)]
        if n != m:
            if n == 1:
                x, a = x.squeeze(a.index(c)), [l for l in a if l != c]
            else:
                y, b = y.squeeze(b.index(c)), [l for l in b if l != c]
    x, a = _summed(x, a, later.union(b))
    y, b = _summed(y, b, later.union(a))
    batch = [c for c in a if c in b and c in later]
    over = [c for c in a if c in b and c not in later]
    mine, yours = [c for c in a if c not in b], [c for c in b if c not in a]
    size = {**dict(zip(b, y.shape, strict=True)), **dict(zip(a, x.shape, strict=True))}
    labels = batch + mine + yours
    if over and not batch:
        left, right = _arranged(x, a, (mine, over), size), _arranged(y, b, (over, yours), size)
        same_dtypes(left, right)
        return mm(left, right).reshape([size[c] for c in labels]), labels
    left = _arranged(x, a, (batch, mine, over), size)
    right = _arranged(y, b, (batch, over, yours), size)
    if not over:  # no sum: a plain product is cheaper
        out = left.reshape(left.shape[0], -1, 1) * right.reshape(right.shape[0], 1, -1)
    else:
        same_dtypes(left, right)
        out = bmm(left, right)
    return out.reshape([size[c] for c in labels]), labels


def _summed(x: Any, labels: list[Any], needed: set[Any]) -> tuple[Any, list[Any]]:
    gone = [i for i, c in enumerate(labels) if c not in needed]
    return (x.sum(gone), [c for c in labels if c in needed]) if gone else (x, labels)


def _arranged(x: Any, labels: list[Any], groups: Sequence[list[Any]], size: dict[Any, int]) -> Any:
    order = [labels.index(c) for group in groups for c in group]
    if order != list(range(len(order))):
        x = x.permute(order)
    if all(len(group) == 1 for group in groups):
        return x
    return x.reshape([_prod(size[c] for c in group) for group in groups])


def from_sublists(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """einsum(x, [0, 1], y, [1, 2], [0, 2]) as an equation and its operands."""

    def text(sublist: Any) -> str:
        out = ""
        for s in sublist:
            if s is Ellipsis:
                out += "..."
            elif isinstance(s, int) and 0 <= s < 52:
                out += chr(ord("A") + s) if s < 26 else chr(ord("a") + s - 26)
            else:
                raise ValueError(
                    "einsum() sublist: each subscript must be an integer in the range [0, 52) or an Ellipsis"
                )
        return out

    equation = ",".join(text(s) for s in operands[1::2][: len(operands) // 2])
    if len(operands) % 2:
        equation += "->" + text(operands[-1])
    return equation, list(operands[: len(operands) // 2 * 2 : 2])


# ---------------------------------------------------------------- tensordot, kron, chains


@composite("tensordot", variants=(), autocast="open")
def tensordot(input: Tensor, other: Tensor, dims_self: IntList, dims_other: IntList) -> Tensor:
    """Products summed over pairs of dimensions, one of each tensor."""
    if len(dims_self) != len(dims_other):
        raise RuntimeError("both dimension lists should have same length")
    if input._a.dtype != other._a.dtype:
        raise RuntimeError("both inputs should have same dtype")
    mine, yours = [wrap_dim(d, input.ndim) for d in dims_self], [wrap_dim(d, other.ndim) for d in dims_other]
    for i, (p, q) in enumerate(zip(mine, yours, strict=True)):
        n, m = input.shape[p] if input.ndim else 1, other.shape[q] if other.ndim else 1
        if n == m:
            continue
        if m == 1:
            input = input.sum(p, keepdim=True, dtype=input.dtype)
        elif n == 1:
            other = other.sum(q, keepdim=True, dtype=other.dtype)
        else:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {n} in dim {dims_self[i]} "
                f"and second has size {m} in dim "
                f"{dims_other[i]}"
            )
    if not input.ndim or not other.ndim:
        return input.reshape(()) * other if not input.ndim else input * other.reshape(())
    keep, keep2 = [d for d in range(input.ndim) if d not in mine], [d for d in range(other.ndim) if d not in yours]
    n = _prod(input.shape[d] for d in mine)
    left = input.permute(keep + mine).reshape(_prod(input.shape[d] for d in keep), n)
    right = other.permute(yours + keep2).reshape(n, _prod(other.shape[d] for d in keep2))
    return mm(left, right).reshape([input.shape[d] for d in keep] + [other.shape[d] for d in keep2])


@composite("kron", variants=("function", "method", "out"), autocast="open")
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every element of `input` times all of `other`, as blocks."""
    rank = max(input.ndim, other.ndim)
    a, b = (1,) * (rank - input.ndim) + tuple(input.shape), (1,) * (rank - other.ndim) + tuple(other.shape)
    left = input.reshape([m for n in a for m in (n, 1)])
    right = other.reshape([m for n in b for m in (1, n)])
    return (left * right).reshape([n * m for n, m in zip(a, b, strict=True)])


def cheapest(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Where to split each chain of matrices (sizes[i] x sizes[i+1]) for the fewest multiplications."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            costs = [(cost[i, m] + cost[m + 1, j] + sizes[i] * sizes[m + 1] * sizes[j + 1], m) for m in range(i, j)]
            cost[i, j], split[i, j] = min(costs)
    return split


@composite("linalg_multi_dot", namespace="linalg", variants=("function", "out"), autocast="open")
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices, in the cheapest order (the first and last may be vectors).

    >>> torch.linalg.multi_dot([torch.ones(2, 3), torch.ones(3, 4), torch.ones(4)])
    tensor([12., 12.])
    """
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for i, t in enumerate(tensors):
        if i not in (0, len(tensors) - 1) and t.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {t.ndim}D")
    for i, where in ((0, "the first"), (-1, "the last")):
        if tensors[i].ndim not in (1, 2):
            raise RuntimeError(f"multi_dot(): {where} tensor must be 1D or 2D but got {tensors[i].ndim}D")
    for i, t in enumerate(tensors):
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError(
                f"multi_dot(): all tensors must have be the same dtype but tensor 0 is {C_NAMES[tensors[0].dtype]} "
                f"and tensor {i} {C_NAMES[t.dtype]}"
            )
    xs = list(tensors)
    shape = [*xs[0].shape[:1]] * (xs[0].ndim == 2) + [*xs[-1].shape[1:]]
    xs[0] = xs[0].unsqueeze(0) if xs[0].ndim == 1 else xs[0]
    xs[-1] = xs[-1].unsqueeze(1) if xs[-1].ndim == 1 else xs[-1]
    for i, (x, y) in enumerate(pairwise(xs)):
        if x.shape[1] != y.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(tensors[i].shape)} and "
                f"{list(tensors[i + 1].shape)} cannot be "
                "multiplied"
            )
    return _chain(xs).reshape(shape)


def _chain(xs: Sequence[Any]) -> Any:
    split = cheapest([x.shape[0] for x in xs] + [xs[-1].shape[1]])

    def product(i: int, j: int) -> Any:
        if i == j:
            return xs[i]
        return mm(product(i, split[i, j]), product(split[i, j] + 1, j))

    return product(0, len(xs) - 1)


@composite("chain_matmul", variants=(), autocast="open")
def chain_matmul(matrices: Sequence[Tensor]) -> Tensor:
    """The product of several matrices, in the cheapest order. Deprecated: use `linalg.multi_dot`."""
    for t in matrices:
        if t.ndim != 2:
            raise RuntimeError(f"Tensor dimension is {t.ndim}, expected 2 instead.")
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    return matrices[0] if len(matrices) == 1 else _chain(matrices)

"""The grammar of kernels, checked: run after every pass in tests (`verify(kernel, after="fuse")`). It changes nothing."""

from __future__ import annotations

from flambeau._kernel import language
from flambeau._kernel.index import Axis, Index, Span, atoms
from flambeau._kernel.ir import (
    FLOAT_WORDS,
    FLOATS,
    FOLDS,
    HALVES,
    INTS,
    LOGIC,
    MEMORY,
    WORDS,
    Kernel,
    Scalar,
    Store,
    Update,
    indices,
    result,
    walk,
)
from flambeau._kernel.show import index as text, scalar, show

ARITY = dict.fromkeys(language.BINARY, 2) | dict.fromkeys(language.TERNARY, 3)


class BrokenInvariant(AssertionError):
    """A pass wrote a kernel outside the grammar: names the invariant, the pass and the kernel."""


def verify(kernel: Kernel, after: str) -> Kernel:
    """Re-derives every fact of the kernel from its own rule; returns it, or says what broke."""
    try:
        Checker(kernel).run()
    except AssertionError as error:
        raise BrokenInvariant(f"after {after}: {error}\n{show(kernel)}") from None
    return kernel


class Checker:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.roles = {b.name: b for b in kernel.buffers}
        self.accs: dict[str, str] = {}

    def run(self) -> None:
        k = self.kernel
        assert len(self.roles) == len(k.buffers), "buffer names are unique"
        for x in k.buffers:
            assert x.dtype in MEMORY, f"{x.name} has a dtype that kernels know, not {x.dtype}"
            assert x.role in ("out", "in", "scalar", "row"), f"{x.name} has a role"
        order = [b.role == "out" for b in k.arguments]
        assert order == sorted(order, reverse=True), "outputs come first"
        names = [a.name for a in k.outer]
        assert len(set(names)) == len(names), "outer axes are distinct"
        assert k.vector in ("", *(a.name for a in k.axes)), f"the vector axis {k.vector} exists"
        assert k.tile in ("", *names) and (not k.tile or k.tile != k.vector), (
            f"the tile axis {k.tile} is another outer one"
        )
        for a in k.outer:
            assert not isinstance(a.extent, Span), "outer axes have plain extents"
        for s in k.stages:
            seen = {*names, *(a.name for a in s.axes)}
            assert len(seen) == len(names) + len(s.axes), "inner axes are distinct from outer ones"
            own = {b.acc: b.value.dtype for b in s.body if isinstance(b, Update)}
            assert not own.keys() & self.accs.keys(), "an accumulator is updated by one stage"
            for b in s.body:
                self.expression(b.value, seen, own)
                if isinstance(b, Store):
                    self.index(b.index, seen, own)
                    role = self.roles[b.buffer]
                    assert role.role in ("out", "row"), f"{b.buffer} may be written"
                    want = "float32" if role.dtype in HALVES else role.dtype
                    assert b.value.dtype == want, f"{b.buffer} stores {want}, not {b.value.dtype}"
                else:
                    assert b.op in FOLDS, f"{b.op} folds"
            self.accs |= own
        self.axes_agree()

    def axes_agree(self) -> None:
        """Every axis inside an index is the very axis that is looped over."""
        for s in self.kernel.stages:
            axes = {a.name: a for a in (*self.kernel.outer, *s.axes)}
            found = [i for b in s.body for e in walk(b.value) for i in indices(e)]
            found += [b.index for b in s.body if isinstance(b, Store)]
            for i in found:
                for a in atoms(i):
                    assert not isinstance(a, Axis) or axes.get(a.name) == a, f"{a} is an axis of the stage"

    def index(self, i: Index, seen: set[str], own: dict[str, str]) -> None:
        loose = {v for v in i.variables if v not in seen and v not in self.accs and v not in own}
        assert not loose, f"{text(i)} uses {loose}"
        for n in (i.const, *(c for _, c in i.terms)):
            assert isinstance(n, int) or n in self.kernel.sizes, f"{n} is a size"

    def expression(self, root: Scalar, seen: set[str], own: dict[str, str]) -> None:
        for e in walk(root):
            for i in indices(e):
                self.index(i, seen, own)
            self.node(e, own)

    def node(self, e: Scalar, own: dict[str, str]) -> None:
        match e.op:
            case "const":
                assert e.dtype in FLOATS or e.dtype in INTS or e.dtype == "bool", f"{scalar(e)} is a number of a dtype"
            case "load":
                b = self.roles.get(e.arg[0])
                assert b is not None, f"{e.arg[0]} is a buffer"
                assert e.dtype == ("float32" if b.dtype in HALVES else b.dtype), f"{scalar(e)} has its buffer's dtype"
            case "acc":
                known = own | self.accs
                assert known.get(e.arg) == e.dtype, f"{e.arg} is an accumulator of {e.dtype}"
            case "index":
                assert e.dtype == "int64", "an index is int64"
            case "guard":
                assert e.src[0].dtype == e.src[1].dtype == e.dtype, f"{e.op} chooses between equals"
            case _:
                assert e.op in WORDS, f"{e.op} is a word"
                assert len(e.src) == ARITY.get(e.op, 1), f"{e.op} has its number of operands"
                if e.op == "cast":
                    assert e.arg in MEMORY, f"{e.arg} is a dtype"
                    assert e.dtype == ("float32" if e.arg in HALVES else e.arg), "a cast yields its dtype"
                else:
                    same = e.src[1:] if e.op == "where" else e.src
                    free = e.op in ("ldexp", "lshift", "rshift")
                    assert free or len({s.dtype for s in same}) == 1, f"{e.op} takes operands of one dtype"
                    assert e.dtype == result(e.op, e.src), f"{e.op} yields {result(e.op, e.src)}"
                if e.op in FLOAT_WORDS:
                    assert e.dtype in FLOATS, f"{e.op} is for floating dtypes, not {e.dtype}"
                if e.op in LOGIC:
                    assert all(s.dtype == "bool" for s in e.src), f"{e.op} is for truth values"

"""Writes random programs: a function of tensors and of Python state, and the calls that are made of it.

A line is written, run at once by flambeau, and kept if it ran: so that a program goes on with what earlier lines made, whatever their
shapes and dtypes are, and no line needs a rule of its own for what fits. A few of those that failed are kept, too, as the last thing that
a program does. Which operators there are, and what they are called with, is read off the registry; what has a grammar of its own (views,
writes, layers, control flow, gradients) stands below, a function for each way to write a line.

Not a test: `tests.fuzz.readings` runs what is written here, `tests/fuzz/test_programs.py` some of it, `python -m tests.fuzz` as much as is wanted.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz import world

SIZES = (0, 1, 1, 2, 3, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33)  # empty, single, odd, and around the width of vectors
LARGE = (96, 127, 200, 260)  # two of these go native by the size rule
DTYPES = (
    ("float64",) * 4
    + ("float32",) * 8
    + ("int64", "int64", "bool", "float16", "bfloat16", "int32", "uint8", "complex64")
)
NUMBERS = ("0.5", "2.0", "-1.25", "3", "-2", "0", "1.5e-3", "s.scale", "s.calls", "k", "float('inf')")


@dataclass
class Program:
    """A function, statement by statement, and its calls: what stands for its arguments."""

    seed: int
    lines: list[str]
    results: list[str]
    calls: list[str]
    setup: str = "s = State(fl, {seed})"
    exact: bool = True  # whether no line adds in an order that readings may choose
    traits: set[str] = field(default_factory=set)

    def text(self, lines: Sequence[str] | None = None) -> str:
        body = "\n".join(self.lines if lines is None else lines)
        inner = "\n".join("    " + line for line in body.splitlines())
        return f"def f(a, b, c, i, k, s):\n{inner}\n    return {', '.join([*self.results, ''])}".rstrip() + "\n"

    def __str__(self) -> str:
        return f"# seed {self.seed}\n{self.text()}\n" + "".join(f"# call: {c}\n" for c in self.calls)


class Writer:
    """The lines of one program, the names that live so far, and the means to write the next line."""

    def __init__(self, seed: int) -> None:
        import flambeau

        self.fl = flambeau
        self.r = random.Random(seed)
        self.seed = seed
        self.lines: list[str] = []
        self.scope: dict[str, Any] = world.scope(flambeau)
        self.exact = True
        self.made = 0

    # ---- what a line is made of

    def pick(self, things: Any) -> Any:
        return self.r.choice(list(things))

    def chance(self, p: float) -> bool:
        return self.r.random() < p

    def names(self, want: Callable[[Any], bool] = lambda t: True) -> list[str]:
        return [n for n, t in self.scope.items() if n in self.live and want(t)]

    @property
    def live(self) -> set[str]:
        return {n for n, t in self.scope.items() if type(t) is self.fl.Tensor and not n.startswith("_")}

    def any(self, want: Callable[[Any], bool] = lambda t: True) -> str:
        """A name, rather a late one."""
        found = self.names(want)
        if not found:
            raise NothingFits
        return found[max(self.r.randrange(len(found)), self.r.randrange(len(found)))]

    def floating(self, low: int = 0, high: int = 9) -> str:
        return self.any(lambda t: t.is_floating_point() and low <= t.dim() <= high)

    def numeric(self, low: int = 0, high: int = 9) -> str:
        return self.any(lambda t: t.dtype is not self.fl.bool and low <= t.dim() <= high)

    def whole(self) -> str:
        return self.any(lambda t: not t.is_floating_point() and not t.is_complex())

    def mask(self, x: str) -> str:
        """A mask for x."""
        found = self.names(lambda t: t.dtype is self.fl.bool and fits(t.shape, self.scope[x].shape))
        return (
            self.pick(found) if found and self.chance(0.5) else f"({x} {self.pick(('>', '<=', '!='))} {self.number(x)})"
        )

    def beside(self, x: str) -> str:
        """A name, or a number, that meets x."""
        shape = self.scope[x].shape
        found = self.names(lambda t: fits(t.shape, shape))
        return self.number(x) if self.chance(0.15) or not found else self.pick(found)

    def same(self, x: str) -> str:
        """A name that lies over x, element by element."""
        return self.pick(self.names(lambda t: t.shape == self.scope[x].shape))

    def number(self, x: str = "") -> str:
        d = self.scope[x].dtype if x else None
        return self.pick(
            NUMBERS if d is None or d.is_floating_point or self.chance(0.1) else ("2", "-1", "3", "s.calls", "i")
        )

    def size(self, x: str, d: int) -> str:
        """A size of x: read off it, or the number."""
        return f"{x}.shape[{d}]" if self.chance(0.7) else str(self.scope[x].shape[d])

    def dim(self, x: str) -> int:
        n = max(self.scope[x].dim(), 1)
        return self.r.randrange(-n, n)

    def dims(self, x: str) -> str:
        n = self.scope[x].dim()
        some = self.r.sample(range(n), self.r.randint(0 if self.chance(0.05) else min(n, 1), n))
        return f"({''.join(f'{d if self.chance(0.6) else d - n}, ' for d in some)})"

    def within(self, n: int) -> int:
        """An index below n, mostly."""
        return self.r.randint(-n, n - 1) if n else 0

    def cut(self, n: int) -> str:
        """A slice of n elements."""
        low, high = sorted((self.r.randint(0, n), self.r.randint(0, n)))
        step = self.pick((1, 1, 1, 2, 3))
        form = self.pick(("{0}:{1}", "{0}:", ":{1}", "::{2}", "{0}:{1}:{2}", "i:", ":-1", "1:", f":{n}//2"))
        return form.format(low, high, step)

    def indices(self, n: str, shape: str) -> str:
        """Indices below n, of a shape (both as expressions): some that live, or new ones."""
        found = self.names(lambda t: t.dtype is self.fl.int64 and t.dim() > 0)
        if found and self.chance(0.15):
            return f"{self.pick(found)} % max({n}, 1)"
        return f"places({shape}, {n}, {self.pick((1, 3, 5))})"

    def along(self, x: str, d: int, count: int = 3) -> str:
        """Some indices along a dim of x."""
        return self.indices(self.size(x, d), f"({count},)")

    # ---- lines

    def ran(self, text: str) -> bool:
        """Whether a text runs here; what it does is done."""
        from flambeau._eager import large  # nothing is compiled for a line that may not be kept

        on, large._state["on"] = large.available(), False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile(text, "<line>", "exec"), self.scope)
        except Exception:
            return False
        finally:
            large._state["on"] = on
        return True

    def value(self, expression: str) -> bool:
        """Assigns an expression to a name, or several to theirs."""
        fl, name = self.fl, f"v{self.made}"
        before = dict(self.scope)
        if not self.ran(f"_ = {expression}"):
            return False
        found = self.scope.pop("_")
        if isinstance(found, (tuple, list)) and 0 < len(found) < 9 and all(type(t) is fl.Tensor for t in found):
            names = [f"{name}_{n}" for n in range(len(found))]
            left, found = ", ".join(names) + ("," if len(names) == 1 else ""), list(found)
        elif type(found) is fl.Tensor:
            names, left, found = [name], name, [found]
        else:
            return False
        good = all(t.layout is fl.strided and t.numel() <= world.MOST and t.dim() < 6 and bounded(t) for t in found)
        self.scope.clear()
        self.scope.update(before)
        if not good:
            return False
        self.scope.update(zip(names, found, strict=True))
        self.lines.append(f"{left} = {expression}")
        self.made += 1
        return True

    def statement(self, text: str) -> bool:
        if not self.ran(text):
            return False
        self.lines.append(text)
        return all(bounded(t) or self.chance(0.3) for n, t in self.scope.items() if n in self.live)

    def line(self) -> bool:
        """Writes a line; False where none came about."""
        kind = self.r.choices(FORMS, [form.weight for form in FORMS])[0]
        try:
            text = kind(self)
        except (NothingFits, IndexError, ValueError):
            return False
        if text is None:
            return False
        done = self.value(text) if kind.makes else self.statement(text)
        if done and kind.ordered:
            self.exact = False
        if not done and self.chance(0.004):
            return self.failure(text if not kind.makes else f"_ = {text}")
        return done

    def failure(self, text: str) -> bool:
        """A line that fails, and what the program makes of it."""
        inner = "\n".join("    " + line for line in text.splitlines())
        self.lines.append(
            f"try:\n{inner}\nexcept Exception as e:\n    s.items.append((type(e).__name__, str(e)))"
            if self.chance(0.5)
            else text
        )
        return True


class NothingFits(Exception):
    """No name lives that the line could be about."""


def fits(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether a shape broadcasts to another."""
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(reversed(small), reversed(large)))


def bounded(t: Any) -> bool:
    """Numbers that say something: no NaN, nothing that only grows."""
    if t.numel() == 0 or t.dtype.itemsize == 1:
        return True
    return bool((t.detach().abs() < 1e6).all())


FORMS: list[Any] = []


def form(weight: float, makes: bool = True, ordered: bool = False) -> Callable[[Any], Any]:
    """A way to write a line: an expression if it makes a value; ordered, where sums may be taken in more than one order."""

    def add(fn: Any) -> Any:
        fn.weight, fn.makes, fn.ordered = weight, makes, ordered
        FORMS.append(fn)
        return fn

    return add


# ---- operators of the registry

LEFT_OUT = {
    "empty_like", "new_empty", "new_empty_strided", "empty", "empty_strided", "empty_permuted", "set_data", "resize", "resize_as",  # no numbers
    "data", "eig", "eigvals", "svd", "eigh", "geqrf", "qr", "linalg_qr", "lu", "lstsq", "pinverse", "matrix_rank", "ormqr", "orgqr",  # signs, ranks
    "poisson", "binomial", "multinomial", "from_file", "is_set_to", "nextafter", "polygamma", "zeta", "lgamma", "digamma", "mvlgamma",
    "histogramdd", "hash_tensor", "nuclear_norm", "logdet", "matrix_power", "matrix_exp", "inverse", "cholesky", "cholesky_solve", "record_stream",
    "cdist", "pdist", "corrcoef", "cov", "erfinv", "igamma", "igammac", "logit", "renorm", "tan", "slogdet", "det", "cond", "triangular_solve",
}  # fmt: skip
ROOMS = ("sparse", "quantize", "quantized", "fake_quantize", "nested", "foreach", "create", "internal", "fft", "linalg", "linalg_older", "solve", "special",
         "random", "rnn", "dropout", "grouped", "segment", "complex", "view_copies", "flat", "copy", "older_quantized", "rnn_quantized", "grid", "matrix")  # fmt: skip
ORDERED = ("reduce", "contract", "conv", "normalize", "norm", "statistics", "scan", "loss", "pool", "einsum", "embed", "attention", "resample", "histogram",
           "scatter", "rows", "sequence", "part", "grid", "activation", "index", "join", "select", "")  # fmt: skip
BY_NAME: dict[str, Callable[[Writer, str], str]] = {
    "index": lambda w, x: str(w.within(min(w.scope[x].shape or (1,)))),
    "start": lambda w, x: w.pick(("0", "1", "None")),
    "end": lambda w, x: w.pick(("2", "-1", "None")),
    "length": lambda w, x: "1",
    "reduction": lambda w, x: str(w.pick((0, 1, 2))),
    "reduce": lambda w, x: repr(w.pick(("sum", "prod", "mean", "amax", "amin"))),
    "rounding_mode": lambda w, x: repr(w.pick((None, "trunc", "floor"))),
    "equation": lambda w, x: repr(w.pick(("ij->ji", "ij,jk->ik", "ij->i", "ii->i", "bij,bjk->bik", "ij,ij->j"))),
    "kernel_size": lambda w, x: str(w.pick((1, 2, 3))),
    "output_size": lambda w, x: str(w.pick((1, 2, (2, 3)))),
    "approximate": lambda w, x: repr(w.pick(("none", "tanh"))),
    "p": lambda w, x: w.pick(("2.0", "1.0", "0.5", "float('inf')", "3")),
    "eps": lambda w, x: "1e-5",
    "train": lambda w, x: "False",
    "training": lambda w, x: "False",
    "size": lambda w, x: str(tuple(w.scope[x].shape)),
}
BY_KIND: dict[str, Callable[[Writer, str], str]] = {
    "Dim": lambda w, x: str(w.dim(x)),
    "Dims": lambda w, x: w.dims(x),
    "int": lambda w, x: w.pick(("1", "2", "3", "i", "0")),
    "float": lambda w, x: w.pick(("0.5", "1.5", "0.1")),
    "Scalar": lambda w, x: w.number(x),
    "bool": lambda w, x: w.pick(("True", "False")),
    "Shape": lambda w, x: w.pick(("(2, 2)", "(1, 1)", "(-1,)", "(3,)", str(tuple(w.scope[x].shape)))),
    "Ints": lambda w, x: w.dims(x),
    "N": lambda w, x: w.beside(x),
    "T": lambda w, x: w.beside(x) if w.chance(0.7) else w.any(),
    "Mask": lambda w, x: w.mask(x),
    "Index": lambda w, x: w.indices(f"min({x}.shape)", w.pick((f"{x}.shape", "(3,)"))),
    "DType": lambda w, x: f"torch.{w.pick(DTYPES)}",
}


def registered() -> tuple[list[Any], list[Any]]:
    """Pointwise operators, and the others that can be called with what the tables above know."""
    from flambeau import _operators
    from flambeau._operators.op import REGISTRY, REQUIRED

    _operators.load()
    pointwise, others = [], []
    for op in {id(o): o for o in REGISTRY.values()}.values():
        room = op.module.removeprefix("flambeau._operators.").removeprefix("flambeau._operators")
        if (
            op.overload.startswith("_")
            or op.aten in LEFT_OUT
            or op.name in LEFT_OUT
            or op.by_data
            or op.layouts in ("quantized", "nested")
        ):
            continue
        if (
            not {"function", "method"} & op.variants
            or op.namespace not in ("", "nn")
            or op.overload.endswith("backward")
            or op.custom
        ):
            continue
        if not op.params or not (op.params[0].is_tensor or op.params[0].is_list) or op.params[0].is_free:
            continue
        if any(
            p.default is REQUIRED
            and not p.is_list
            and p.name not in BY_NAME
            and p.annotation.removesuffix(" | None") not in BY_KIND
            for p in op.params
        ):
            continue
        if op.kind == "pointwise":
            pointwise.append(op)
        elif room.split(".")[0] not in ROOMS:
            others.append(op)
    key = lambda op: op.overload
    return sorted(pointwise, key=key), sorted(others, key=key)


KNOWN: list[tuple[list[Any], list[Any]]] = []


def operators() -> tuple[list[Any], list[Any]]:
    if not KNOWN:
        KNOWN.append(registered())
    return KNOWN[0]


def called(w: Writer, op: Any, inplace: bool = False) -> str:
    """A call of an operator, as a function or as a method."""
    from flambeau._operators.op import REQUIRED

    first = op.params[0]
    x = w.any() if op.kind != "pointwise" or w.chance(0.3) else w.numeric()
    args, later = [], False
    for n, p in enumerate(op.params):
        kind = p.annotation.removesuffix(" | None")
        if p.default is not REQUIRED and w.chance(0.75 if not p.is_tensor else 0.3):
            later = True
            continue
        if n == 0 and not p.is_list:
            text = x
        elif p.is_list:
            text = f"[{', '.join([x, *(w.same(x) if w.chance(0.8) else w.any() for _ in range(w.r.randint(0, 2)))])}]"
        else:
            make = BY_NAME.get(p.name) or BY_KIND.get(kind)
            if make is None:
                later = True
                continue
            text = make(w, x)
        args.append(f"{p.name}={text}" if p.keyword or later else text)
    if inplace:
        return f"{x}.{op.name}_({', '.join(args[1:])})"
    if "function" not in op.variants or (w.chance(0.4) and "method" in op.variants and not first.is_list):
        return f"{x}.{op.name}({', '.join(args[1:])})"
    space = {"": "torch", "nn": "torch._C._nn"}[op.namespace]
    return f"{space}.{op.name}({', '.join(args)})"


@form(16)
def pointwise(w: Writer) -> str:
    return called(w, w.pick(operators()[0]))


@form(12)
def usual_arithmetic(w: Writer) -> str:
    x = w.numeric()
    text = w.pick(("{x} + {y}", "{x} * {y}", "{x} - {y}", "{x} / ({y} + 3)", "{x} * {k} + {y}", "({x} * {y}).tanh()", "{x}.sin()", "-{x}", "{x} ** 2", "{y} - {x}",
                   "torch.where({m}, {x}, {y})", "{x}.exp().clamp(max=50)", "{x}.sigmoid()", "{x}.abs().sqrt()", "{x}.relu()", "torch.maximum({x}, {x2})"))  # fmt: skip
    return text.format(x=x, y=w.beside(x), k=w.number(x), m=w.mask(x), x2=w.same(x))


@form(10, ordered=True)
def operator(w: Writer) -> str:
    return called(w, w.pick(operators()[1]))


@form(3)
def comparison(w: Writer) -> str:
    x = w.any()
    return w.pick(
        (f"{x} {w.pick(('<', '>', '==', '!='))} {w.beside(x)}", f"~{w.mask(x)}", f"{w.mask(x)} & {w.mask(x)}")
    )


@form(4)
def cast(w: Writer) -> str:
    x = w.any()
    return w.pick((f"{x}.to(torch.{w.pick(DTYPES)})", f"{x}.double()", f"{x}.float()", f"{x}.long()", f"{x}.bool()"))


# ---- reductions, scans, order


@form(7, ordered=True)
def reduction(w: Writer) -> str:
    x = w.floating() if w.chance(0.8) else w.any()
    name = w.pick(
        ("sum", "mean", "amax", "amin", "logsumexp", "var", "std", "norm", "nansum", "any", "all", "count_nonzero")
    )
    where = w.pick((w.dims(x), str(w.dim(x)), w.dims(x)))
    keep = "" if name == "count_nonzero" else w.pick(("", ", keepdim=True"))
    if name in ("var", "std"):
        keep += w.pick(("", ", correction=0"))
    return (
        f"{x}.{name}({'dim=' if name == 'norm' or w.chance(0.3) else ''}{where}{keep})"
        if w.chance(0.85)
        else f"{x}.{name}()"
    )


@form(5, ordered=True)
def rows(w: Writer) -> str:
    x, d = w.floating(1), 0
    d = w.dim(x)
    last = w.scope[x].shape[-1]
    return w.pick((
        f"torch.softmax({x}, {d})", f"F.log_softmax({x}, {d})", f"F.layer_norm({x}, {x}.shape[-1:])", f"F.normalize({x}, dim={d})", f"F.rms_norm({x}, ({last},))",
        f"{x} - {x}.mean({d}, keepdim=True)", f"{x} / ({x}.std({d}, keepdim=True) + 1)", f"{x} * {x}.amax({d}, keepdim=True)", f"F.softmin({x}, {d})",
        f"{x}.cumsum({d})", f"{x}.cumprod({d})", f"{x}.logcumsumexp({d})", f"{x}.cummax({d})", f"{x}.prod({d})", f"torch.diff({x}, dim={d})",
        f"F.group_norm({x}, 1)", f"F.gelu({x})", f"F.glu({x}, {d})",
    ))  # fmt: skip


@form(3)
def order(w: Writer) -> str:
    x = w.numeric(1)
    d, n = w.dim(x), w.pick((1, 2, 3))
    return w.pick((f"torch.sort({x}, {d})", f"{x}.sort({d}, descending=True)", f"{x}.topk({n}, {d})", f"{x}.argsort({d})", f"{x}.max({d})", f"{x}.min({d}, keepdim=True)",
                   f"{x}.argmax({d})", f"{x}.kthvalue({n}, {d})", f"{x}.median({d})", f"torch.searchsorted({x}.sort(-1)[0], {x})"))  # fmt: skip


# ---- products and windows


@form(6, ordered=True)
def product(w: Writer) -> str:
    x = w.floating(1)
    t = w.scope[x]
    y = w.any(lambda o: o.dtype is t.dtype and o.dim() > 0 and t.shape[-1] in o.shape[-2:])
    o = w.scope[y]
    if o.dim() > 1 and o.shape[-1] == t.shape[-1] and (o.shape[-2] != t.shape[-1] or w.chance(0.5)):
        y = f"{y}.mT"
    return w.pick((f"{x} @ {y}", f"torch.matmul({x}, {y}) * 0.3", f"{x}.matmul({y}).relu()", f"F.linear({x}, {y.removesuffix('.mT')})", f"torch.tensordot({x}, {x}, {w.scope[x].dim()})",
                   f"torch.einsum('...i,...i->...', {x}, {x})", f"torch.addmm({x} @ {y}, {x}, {y}, beta=0.5)", f"torch.outer({x}.reshape(-1)[:9], {x}.reshape(-1)[:7])"))  # fmt: skip


@form(4, ordered=True)
def window(w: Writer) -> str:
    x = w.floating(2)
    t = w.scope[x]
    n = w.pick((1, 2, 3))
    image = x if t.dim() in (3, 4) else f"{x}.reshape(1, -1, {x}.shape[-2], {x}.shape[-1])"
    channels = f"{image}.shape[-3]" if w.chance(0.7) else t.shape[-3] if t.dim() > 2 else 1
    out = w.pick((1, 2, 8, 17))
    weight = f"weights(({out}, {channels}, {n}, {n}), {x}.dtype)"
    return w.pick((
        f"F.conv2d({image}, {weight}, padding={w.pick((0, 1))}, stride={w.pick((1, 2))})",
        f"F.conv2d({image}, {weight}, weights(({out},), {x}.dtype), padding=1).relu()",
        f"F.conv2d({image}, weights(({channels}, 1, {n}, {n}), {x}.dtype), padding=1, groups={channels})",
        f"F.max_pool2d({image}, {n}, stride={w.pick((1, 2))})", f"F.avg_pool2d({image}, {n}, padding={n // 2})", f"F.adaptive_avg_pool2d({image}, {w.pick((1, 2, 3))})",
        f"F.interpolate({image}, scale_factor=2)", f"F.pad({x}, ({w.pick((0, 1, -1))}, {w.pick((0, 2))}))", f"F.pad({image}, (1, 1), mode='reflect')",
        f"F.interpolate({x}.reshape(1, 1, {x}.shape[-2], -1), size=(5, 6), mode='bilinear')", f"F.batch_norm({x}, None, None, training=True)",
        f"F.unfold({x}.reshape(1, 1, {x}.shape[-2], -1), {n})", f"F.conv1d({x}.reshape(1, 1, -1), weights((3, 1, {n}), {x}.dtype))",
        f"F.conv_transpose2d({image}, weights(({channels}, 2, {n}, {n}), {x}.dtype), stride={w.pick((1, 2))})",
    ))  # fmt: skip


@form(2, ordered=True)
def loss(w: Writer) -> str:
    x = w.floating(1)
    y = w.same(x)
    return w.pick((f"F.mse_loss({x}, {y})", f"F.smooth_l1_loss({x}, {y}, reduction='none')", f"F.l1_loss({x}, {y}, reduction='sum')", f"F.binary_cross_entropy_with_logits({x}, {y}.sigmoid())",
                   f"F.cross_entropy({x}.flatten(0, -2) if {x}.dim() > 1 else {x}[None], places(({x}.numel() // max({x}.shape[-1], 1),), {x}.shape[-1], 1))", f"F.kl_div({x}.log_softmax(-1), {y}.softmax(-1), reduction='sum')",
                   f"F.huber_loss({x}, {y})", f"F.cosine_similarity({x}, {y}, dim=-1)", f"F.nll_loss({x}.log_softmax(0), {x}.shape[0] // 2 * torch.ones((), dtype=torch.int64))"))  # fmt: skip


# ---- views and what moves


def viewed(w: Writer, x: str) -> str:
    """A view of x."""
    t = w.scope[x]
    n = t.dim()
    shape = list(t.shape)
    if n == 0:
        return w.pick((f"{x}[None]", f"{x}.view(1)", f"{x}.expand(3)", f"{x}.unsqueeze(0)"))
    d, e = w.r.randrange(n), w.r.randrange(n)
    at = ", ".join(w.cut(m) if w.chance(0.6) else ":" for m in shape[: w.r.randint(1, n)])
    forms = [f"{x}.transpose({d}, {e})", f"{x}[{at}]", f"{x}[..., {w.cut(shape[-1])}]", f"{x}.select({d}, {w.within(shape[d])})", f"{x}.unsqueeze({d})", f"{x}.squeeze()",
             f"{x}.mT", f"{x}.permute({w.r.sample(range(n), n)})", f"{x}.diagonal()", f"{x}.narrow({d}, {shape[d] // 3}, {shape[d] // 2})", f"{x}.unfold({d}, {min(2, shape[d])}, 1)",
             f"{x}.view(-1)", f"{x}.flatten()", f"{x}.reshape(-1)[{w.cut(t.numel())}]", f"{x}.split({max(1, shape[d] // 2)}, {d})[{w.pick((0, -1))}]", f"{x}.chunk(2, {d})[0]",
             f"{x}[{w.within(shape[0])}]", f"{x}.unbind({d})[0]", f"{x}.movedim({d}, {e})", f"{x}[None]", f"{x}.view_as({x})", f"{x}.unflatten({d}, (1, -1))",
             f"{x}.reshape({w.size(x, 0)}, -1)", f"{x}.view({x}.shape[0], -1)", f"{x}[i]", f"{x}.detach()", f"{x}.swapaxes({d}, {e})[{w.cut(shape[e])}]"]  # fmt: skip
    if t.is_contiguous() and t.numel() > 6:
        forms.append(f"{x}.as_strided(({w.pick((2, 3))}, 2), ({w.pick((1, 2))}, {w.pick((1, 2))}), {w.pick((0, 1))})")
    if 1 in shape:
        forms += [f"{x}.expand({', '.join(str(m if m != 1 else 3) for m in shape)})"] * 3
    return w.pick(forms)


@form(13)
def view(w: Writer) -> str:
    return viewed(w, w.any())


@form(5)
def move(w: Writer) -> str:
    x = w.any()
    n = max(w.scope[x].dim(), 1)
    d = w.r.randrange(-n, n)
    return w.pick((f"torch.cat([{x}, {w.same(x)}], {d})", f"torch.stack([{x}, {w.same(x)}, {x}], {d})", f"{x}.flip({d})", f"{x}.roll({w.pick((1, -2, 'i'))}, {d})", f"{x}.repeat({', '.join(['2'] * n)})",
                   f"{x}.repeat_interleave(2, {d})", f"{x}.clone()", f"{x}.contiguous()", f"{x}.tile(2)", f"{x}.tril()", f"{x}.triu(1)", f"{x}.rot90()", f"{x}.t().contiguous()",
                   f"{x}.contiguous(memory_format=torch.channels_last)", f"torch.zeros_like({x})", f"{x}.new_full(({n}, {w.pick(('2', 'i'))}), {w.number()})", f"torch.cat([{x}, {x}[:1]])",
                   f"torch.arange({w.size(x, d)}, dtype={x}.dtype)", f"torch.ones({w.size(x, d)}, {w.size(x, 0)})", f"torch.eye({w.size(x, d)})", f"torch.full_like({x}, {w.number(x)})",
                   f"torch.linspace(0, 1, {w.size(x, d)}, dtype=torch.float64)", f"torch.meshgrid({x}.reshape(-1)[:4], {x}.reshape(-1)[:3], indexing='ij')"))  # fmt: skip


# ---- elements


@form(6)
def element(w: Writer) -> str:
    x = w.any(lambda t: t.dim() > 0)
    t = w.scope[x]
    d = w.r.randrange(t.dim())
    m = t.shape[d]
    several = w.along(x, d, w.pick((1, 3, 5)))
    like = w.indices(f"{x}.shape[{d}]", f"{x}.shape")
    m = w.size(x, d)
    return w.pick((f"{x}.gather({d}, {like})", f"{x}.index_select({d}, {several})", f"{x}[{w.indices(w.size(x, 0), '(2, 2)')}]", f"{x}[{w.mask(x)}]", f"{x}.masked_fill({w.mask(x)}, {w.number(x)})",
                   f"{x}.scatter({d}, {like}, {x})", f"{x}.scatter_add({d}, {like}, {w.same(x)})", f"{x}.index_add({d}, torch.arange({m}), {w.same(x)})", f"{x}.take({w.indices(x + '.numel()', '(4,)')})",
                   f"torch.take_along_dim({x}, {like}, {d})", f"{x}.index_fill({d}, {several}, {w.number(x)})", f"{x}.index_copy({d}, torch.arange({m}), {w.same(x)})", f"{x}[..., {w.along(x, -1)}]",
                   f"{x}.scatter({d}, {like}, {w.number(x)})", f"{x}.index_put(({w.along(x, 0)},), {x}[:1], accumulate=True)", f"F.one_hot({w.indices('5', '(4,)')}, 5)", f"F.embedding({w.indices(w.size(x, 0), '(2, 3)')}, {x})",
                   f"{x}.select_scatter({x}.select({d}, 0), {d}, 0)", f"{x}.slice_scatter({x}.narrow({d}, 0, 1), {d}, 0, 1)", f"torch.nonzero({x})", f"{x}.masked_select({w.mask(x)})",
                   f"{x}.scatter_reduce({d}, {like}, {w.same(x)}, {w.pick(('sum', 'amax', 'mean'))!r}, include_self={w.pick((True, False))})", f"torch.bincount({x}.long().abs().reshape(-1) % 7)", f"torch.unique({x})"))  # fmt: skip


# ---- random numbers


@form(2)
def drawn(w: Writer) -> str:
    x = w.floating()
    return w.pick((f"torch.rand_like({x})", f"torch.randn({w.size(x, 0)}, 3)", f"F.dropout({x}, 0.4)", f"torch.bernoulli(torch.sigmoid({x}))", f"torch.randint(0, 5, {x}.shape)",
                   f"torch.randperm({w.size(x, 0)})", f"torch.normal({x}, 0.5)", f"torch.rand({x}.shape, dtype=torch.float64)", f"torch.randn_like({x}) * 0.1 + {x}"))  # fmt: skip


# ---- writes


@form(10, makes=False)
def written(w: Writer) -> str:
    x = w.any()
    target = viewed(w, x) if w.chance(0.4) else x
    y = w.beside(x)
    if w.chance(0.35):
        op = w.pick(
            [o for o in operators()[0] if "inplace" in o.variants and "method" in o.variants and not o.namespace]
        )
        return called(w, op, inplace=True)
    return w.pick((f"{target}.add_({y})", f"{target}.mul_({w.number(x)})", f"{target}.zero_()", f"{target}.fill_({w.number(x)})", f"{target}.copy_({y})", f"{x}[{w.mask(x)}] = {w.number(x)}", f"{target}.sub_({y}, alpha=2)",
                   f"{x}[{w.within((w.scope[x].shape or (1,))[0])}] = {w.number(x)}", f"{x}[..., {w.cut((w.scope[x].shape or (1,))[-1])}] = {y}", f"{x} += {y}", f"{target}.clamp_(-2, 2)", f"{x}.masked_fill_({w.mask(x)}, {w.number(x)})",
                   f"{x}[{w.along(x, 0, 2)}] = {w.number(x)}", f"{x}.index_add_(0, torch.arange({x}.shape[0]), {w.same(x)})", f"{target}.uniform_()", f"{target}.normal_()", f"{target}.bernoulli_(0.5)",
                   f"{x}.t_()", f"{x}.unsqueeze_(0)", f"{x}.squeeze_()", f"torch.add({x}, {y}, out={w.same(x)})", f"torch.mul({x}, 2, out={viewed(w, x)})", f"{x}.scatter_(0, {w.indices(w.size(x, 0), x + '.shape')}, {w.number(x)})",
                   f"{target}.lerp_({w.same(x)}, 0.5)", f"{target}.addcmul_({w.same(x)}, {w.same(x)}, value=0.5)", f"{x}.index_put_(({w.along(x, 0)},), {x}[:1] * 1, accumulate=True)", f"{x} *= {y}"))  # fmt: skip


# ---- Python around it


@form(6, makes=False)
def state(w: Writer) -> str:
    x = w.any()
    return w.pick(("s.calls += 1", "s.scale = s.scale * 0.5 + 0.1", f"s.items.append({x})", f"s.items.append({x}.shape)", f"s.table['last'] = {x}", f"s.table[s.calls] = {x}.dim()", "s.table['n'] = s.table.get('n', 0) + 1",
                   "s.items.append(s.calls)", "del s.items[:-2]", f"s.kept = {x}.detach()", "COUNT[0] += 1", f"s.buffer.add_({w.number()})", f"s.buffer[:3] += {w.floating(1)}.reshape(-1)[:3].detach()", "s.net.train(not s.net.training)", f"s.items.append({x}.numel() > 20)",
                   f"s.items.append(tuple({x}.stride()))", f"s.items.append(str({x}.dtype))", f"s.table.setdefault('first', {x})", f"s.items.append({x}.is_contiguous())", f"s.items.append({x}.storage_offset())"))  # fmt: skip


@form(2)
def remembered(w: Writer) -> str:
    x = w.floating(1)
    return w.pick((f"{x} * s.scale", f"{x} + s.calls", f"{x} * len(s.items)", "s.table.get('last', a) * 1", "s.buffer * 2", f"twice({x})", f"scaled(s)({x})", f"{x} + COUNT[0]", f"s.shifted({x})", f"sum([{x}, {x}], 0)", f"[t * 2 for t in {x}.unbind(0)][0]",
                   f"torch.stack([t.sum() for t in {x}])", f"sorted([{x}, {x} + 1], key=lambda t: float(t.sum()))[0]", f"{x} * {x}.sum().item()", f"{x} if {x}.sum() > 0 else -{x}", f"max(({x}, {x} + 1), key=lambda t: t.shape[0])", f"s.net({x}.reshape(-1)[:6].float())"))  # fmt: skip


@form(3, makes=False)
def block(w: Writer) -> str:
    """Some lines under a condition, in a loop, or without a graph."""
    x = w.any(lambda t: t.dim() > 0)
    head = w.pick(("if s.calls % 2 == 0:", f"if {x}.shape[0] > 4:", f"for j in range({w.r.randint(0, 3)}):", f"for j in range(min({x}.shape[0], 4)):", "with torch.no_grad():", "if i > 1:", f"if {x}.sum() > 0:", "while s.calls < 2:\n    s.calls += 1", f"for t in {x}.unbind(0)[:3]:",
                   "with torch.enable_grad():", f"if {x}.numel() % 2:", "if len(s.items) < 2:", "for j, t in enumerate(s.items[:2]):"))  # fmt: skip
    bodies = [write(w) for write in (w.pick((written, state)) for _ in range(w.r.randint(1, 2)))]
    return head + "\n" + "\n".join("    " + line for body in bodies for line in body.splitlines())


@form(2.5, makes=False, ordered=True)
def gradient(w: Writer) -> str:
    """A backward pass within the function."""
    x = w.any(lambda t: t.requires_grad and t.is_floating_point())
    leaf = w.names(lambda t: t.requires_grad and t.is_leaf) or ["a"]
    return w.pick((f"({x} * {x}).sum().backward(retain_graph=True)", f"s.items.append(torch.autograd.grad(({x} * 0.5).sum(), {w.pick(leaf)}, retain_graph=True, allow_unused=True)[0])", f"{w.pick(leaf)}.grad = None",
                   f"{x}.mean().backward(retain_graph=True)", f"g = torch.autograd.grad({x}.sin().sum(), {w.pick(leaf)}, create_graph=True, allow_unused=True)[0]", f"with torch.no_grad():\n    {w.pick(leaf)}.mul_(0.5)", f"{x}.detach_()"))  # fmt: skip


@form(1.5, makes=False, ordered=True)
def training(w: Writer) -> str:
    x = w.floating(1)
    return (f"o = s.net({x}.reshape(-1)[:6].float().detach())\nloss = {w.pick(('(o * o).mean()', 'F.mse_loss(o, torch.ones_like(o))', 'o.logsumexp(-1)'))}\n"
            + w.pick(("s.opt.zero_grad()\nloss.backward()\ns.opt.step()", "loss.backward()\ns.opt.step()\ns.opt.zero_grad(set_to_none=False)", "loss.backward()", "loss.backward()\ntorch.nn.utils.clip_grad_norm_(s.net.parameters(), 0.1)\ns.opt.step()"))
            + "\ns.items.append(loss.detach())")  # fmt: skip


# ---- whole programs


def inputs(r: random.Random, large: bool) -> list[tuple[tuple[str, ...], str, str, bool]]:
    """Three tensors, as shapes in names of sizes, dtypes, layouts, and whether they need gradients."""
    ranks = r.choice(
        ((2, 2, 2), (2, 1, 2), (3, 2, 1), (2, 2, 1), (4, 1, 2), (1, 1, 1), (3, 3, 2), (2, 0, 2), (4, 4, 1))
    )
    if large:
        ranks = r.choice(((2, 2, 1), (2, 1, 2), (1, 2, 2)))
    main = r.choice(DTYPES[:12])
    training = r.random() < 0.45
    found = []
    for rank in ranks:
        names = (
            tuple(r.choice(("1",) if r.random() < 0.12 else (f"n{j}",)) for j in range(3 - rank if rank < 3 else 0, 3))
            if rank < 4
            else ("n0", "n2", "n1", "n1")
        )
        if rank == 3 and r.random() < 0.3:
            names = ("2", "n1", "n2")
        dtype = main if r.random() < 0.7 else r.choice(DTYPES)
        layout = r.choice(("plain", "plain", "plain", "turned", "gaps", "offset", "last", "expanded", "reversed"))
        found.append((names, dtype, layout, training and dtype.startswith("float") and r.random() < 0.6))
    return found


def call(what: list[Any], sizes: dict[str, int], seed: int, i: int, k: float, alias: bool) -> str:
    args = []
    for n, (names, dtype, layout, grad) in enumerate(what):
        shape = tuple(sizes.get(s) if s in sizes else int(s) for s in names)
        args.append(f"world.tensor(torch, {shape}, {dtype!r}, {layout!r}, {grad}, {seed * 3 + n})")
    if alias:
        args[1] = "A"  # the same object twice: memory that is written may be that of another input
    return f"(A := {args[0]}, {args[1]}, {args[2]}, {i}, {k}, s)"


def write(seed: int) -> Program:
    """The program of a seed: always the same one, while operators are the same."""
    w = Writer(seed)
    r = w.r
    large = r.random() < 0.08
    sizes = {f"n{j}": r.choice(LARGE if large and j > 0 else SIZES) for j in range(3)}
    what = inputs(r, large)
    other = {n: max(0, m + r.choice((0, 0, 1, 2, -1, 5))) for n, m in sizes.items()}
    alias = r.random() < 0.04
    k = r.choice((0.5, -1.5, 2.0))
    calls = [
        call(what, sizes, 1, 2, k, alias),
        call(what, sizes, 2, 2, k, alias),
        call(what, other, 3, 3, k * 1.5, False),
        call(what, other, 4, 1, k, False),
        call(what, sizes, 5, 2, k, alias),
    ]
    w.scope["s"] = world.State(w.fl, seed)
    exec(f"a, b, c, i, k, s = {calls[0]}", w.scope)
    w.scope.pop("A", None)
    wanted, tries = r.randint(2, 14), 0
    while len(w.lines) < wanted and tries < 150:
        tries += 1
        before = len(w.lines)
        w.line()
        if len(w.lines) > before and (w.lines[-1].startswith("_ =")):
            break
    names = [n for n in w.live if n != "g"]
    names.sort()
    late = [n for n in names if n.startswith("v")] or names
    results = list(
        dict.fromkeys([*w.r.sample(late, min(len(late), r.randint(1, 4))), *(["a"] if r.random() < 0.1 else [])])
    )
    return Program(seed, w.lines, results, calls, exact=w.exact)

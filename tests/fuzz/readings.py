"""Runs random programs by every reading, each in a process of its own, and tells where what came of them differs.

    array     flambeau with FLAMBEAU_NATIVE=0: NumPy computes
    native    kernels for small tensors, too, on one thread, then on two
    compiled  eager by flambeau's own rules, then under `compile`
    torch     real PyTorch, where it is installed

What comes of a program: for each call its results (values, dtypes, shapes, strides, versions, whose memory they are, whether they need gradients,
what reaches the inputs), or the error with its words; then what it left in inputs, in Python's objects, and in the random generator.
"""

from __future__ import annotations

import contextlib
import hashlib
import linecache
import os
import pickle
import select
import struct
import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.fuzz import world
from tests.fuzz.grammar import Program

READINGS = {
    "array": ("array",),
    "native": ("native", "threads"),
    "compiled": ("eager", "compiled"),
    "torch": ("torch",),
}  # by process
SECONDS = 120.0


@dataclass
class Fact:
    """A tensor as it was left."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    needs: bool
    version: int | None  # of what was given: how often a result counts as written while it is made is nobody's matter
    memory: str  # whose memory it is, and where in it
    value: Any
    grad: Any = None


# ---- in a process of its own


def outcomes(fl: Any, program: Program, reading: str, noise: float) -> list[Any]:
    """What comes of a program."""
    world.NOISE[0] = noise
    scope = world.scope(fl)
    text = program.text()
    name = f"<random {program.seed} {hash(text):x}>"
    linecache.cache[name] = len(text), None, text.splitlines(True), name
    exec(compile(text, name, "exec"), scope)
    f = scope["f"]
    if reading == "compiled":
        fl._dynamo.reset()
        f = fl.compile(f)
    scope["s"] = s = world.State(fl, program.seed)
    found = []
    for call in program.calls:
        scope.pop("A", None)
        args = list(eval(call, scope))
        known: dict[Any, str] = {}
        for n, t in zip("abc", args, strict=False):
            known.setdefault(t.untyped_storage().data_ptr() if t.numel() else object(), n)
        given = [t.detach() for t in args[:3]]
        results, error = (), None
        try:
            results = f(*args)
        except Exception as problem:
            error = type(problem).__name__, words(problem)
        slopes = []
        if error is None:
            slopes = derivatives(
                fl, [r for r in results if isinstance(r, fl.Tensor)], [t for t in args[:3] if t.requires_grad]
            )
        known = dict(known)
        found.append({"error": error, "results": [fact(fl, r, known, n) for n, r in enumerate(results)], "slopes": slopes,
                      "inputs": [fact(fl, t, known, f"in{n}", True) for n, t in enumerate(args[:3])], "given": [fact(fl, t, known, f"given{n}").value for n, t in enumerate(given)],
                      "state": stated(fl, s, scope, known), "random": hashlib.sha256(fl.get_rng_state().numpy().tobytes()).hexdigest()[:12]})  # fmt: skip
        for t in args[:3]:
            if t.is_leaf:
                t.grad = None
    return found


def words(problem: BaseException) -> str:
    return " ".join(str(problem).split())


def derivatives(fl: Any, results: list[Any], leaves: list[Any]) -> list[Any]:
    """What reaches the inputs from a sum of the results with small weights; or the error."""
    results = [r for r in results if r.requires_grad]
    leaves = [t for t in leaves if t.is_leaf]
    if not results or not leaves:
        return []
    weights = [((fl.arange(r.numel()) % 7 - 3).to(r.dtype) * 0.25).reshape(r.shape) for r in results]
    try:
        slopes = fl.autograd.grad(results, leaves, weights, allow_unused=True)
    except Exception as problem:
        return [(type(problem).__name__, words(problem))]
    return [None if g is None else fact(fl, g, {}, "slope") for g in slopes]


def fact(fl: Any, x: Any, known: dict[Any, str], name: Any, given: bool = False) -> Any:
    if isinstance(x, fl.Tensor):
        memory = known.setdefault(x.untyped_storage().data_ptr(), f"r{name}") if x.numel() else ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            grad = x.grad if x.is_leaf else None
        return Fact(str(x.dtype), tuple(x.shape), tuple(x.stride()), x.requires_grad, x._version if given else None, f"{memory}+{x.storage_offset()}" if x.numel() else "", plain(fl, x),
                    None if grad is None else fact(fl, grad, {}, "grad"))  # fmt: skip
    if isinstance(x, (tuple, list)):
        return [
            type(x).__name__ if type(x) in (list, tuple) else "tuple",
            *(fact(fl, y, known, f"{name}.{n}") for n, y in enumerate(x)),
        ]
    if isinstance(x, dict):
        return {str(n): fact(fl, y, known, f"{name}.{n}") for n, y in x.items()}
    return x if x is None or isinstance(x, (bool, int, float, complex, str)) else f"{type(x).__name__} {x}"


def plain(fl: Any, t: Any) -> Any:
    t = t.detach()
    if t.layout is not fl.strided:
        return str(t)
    if t.dtype is fl.bfloat16:
        t = t.float()
    t = t.resolve_conj().resolve_neg() if t.is_complex() or t.is_floating_point() else t
    return np.array(t.numpy())


def stated(fl: Any, s: Any, scope: dict[str, Any], known: dict[Any, str]) -> dict[str, Any]:
    """What a program left in its state."""
    left = {n: getattr(s, n) for n in ("calls", "scale", "items", "table", "buffer", "kept")}
    left["net"] = [*s.net.parameters(), s.net.training]
    left["opt"] = [{n: v for n, v in entry.items()} for entry in s.opt.state.values()]
    left["count"] = scope["COUNT"][0]
    return {n: fact(fl, x, known, n) for n, x in left.items()}


def go_native() -> None:
    """From sixteen elements on everything that has a kernel runs as one: the sizes of random programs are small."""
    import importlib
    import pkgutil

    from flambeau._backends import cpu
    from flambeau._eager import derived, large

    for module in pkgutil.iter_modules(cpu.__path__, cpu.__name__ + "."):
        found = importlib.import_module(module.name)
        if type(getattr(found, "LARGE", None)) is int:
            found.LARGE = 16
    large.LARGE = 16
    for place in vars(derived).values():
        if isinstance(place, dict) and type(place.get("LARGE")) is int:
            place["LARGE"] = 16


def serve(process: str) -> None:
    """Answers programs from standard input, until there are no more."""
    stream, sys.stdout = sys.stdout.buffer, sys.stderr
    warnings.simplefilter("ignore")
    if process == "torch":
        import torch as fl

        fl.set_num_threads(1)
    else:
        import flambeau as fl  # type: ignore[no-redef]
    if process == "native":
        go_native()
    while head := sys.stdin.buffer.read(8):
        program, noise = pickle.loads(sys.stdin.buffer.read(struct.unpack("q", head)[0]))
        answer = {}
        for reading in READINGS[process]:
            if process != "torch":
                fl.set_num_threads(1 if reading in ("array", "native") else 2)
            with np.errstate(all="ignore"):
                try:
                    answer[reading] = outcomes(fl, program, reading, noise)
                except BaseException as problem:  # of the compiler, under FLAMBEAU_STRICT, or of a reading
                    import traceback

                    answer[reading] = f"{type(problem).__name__}: {problem}\n{traceback.format_exc()[-1500:]}"
        data = pickle.dumps(answer)
        stream.write(struct.pack("q", len(data)) + data)
        stream.flush()


# ---- in the process that asks


class Reading:
    """A process that runs programs."""

    def __init__(self, name: str, python: str = sys.executable) -> None:
        self.name, self.python = name, python
        self.process: Any = None

    def start(self) -> None:
        environment = {
            **os.environ,
            "FLAMBEAU_NATIVE": "0" if self.name == "array" else "1",
            "FLAMBEAU_STRICT": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [self.python, "-c", "import sys; from tests.fuzz import readings; readings.serve(sys.argv[1])", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def send(self, program: Program, noise: float = 0.0) -> None:
        if self.process is None or self.process.poll() is not None:
            self.start()
        data = pickle.dumps((program, noise))
        self.process.stdin.write(struct.pack("q", len(data)) + data)
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            self.stop()
            return dict.fromkeys(READINGS[self.name], f"no answer after {SECONDS} seconds")
        head = self.process.stdout.read(8)
        if len(head) < 8:
            code = self.process.wait()
            self.process = None
            return dict.fromkeys(READINGS[self.name], f"the process ended with {code}")
        return pickle.loads(self.process.stdout.read(struct.unpack("q", head)[0]))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


class Readings(contextlib.ExitStack):
    """The processes of some readings."""

    def __init__(self, names: Any, torch_python: str = sys.executable) -> None:
        super().__init__()
        self.all = [Reading(name, torch_python if name == "torch" else sys.executable) for name in names]
        for reading in self.all:
            self.callback(reading.stop)

    def run(self, program: Program, noise: float = 0.0) -> dict[str, Any]:
        for reading in self.all:
            reading.send(program, noise)
        return {name: found for reading in self.all for name, found in reading.receive().items()}

    def differences(self, program: Program) -> list[str]:
        """Where readings differ by more than what moving the inputs by their last places moves results."""
        found = self.run(program)
        wrong = compared(program, found)
        for noise in (1.0, 1.0001):
            if not wrong or any(isinstance(f, str) for f in found.values()):
                break
            moved = self.run(program, noise)
            if any(isinstance(f, str) for f in moved.values()):
                break
            wrong = compared(program, found, moved)
        return wrong


PAIRS = (
    ("native", "threads", "bits"),
    ("eager", "compiled", ""),
    ("array", "eager", ""),
    ("array", "native", ""),
    ("torch", "array", ""),
    ("torch", "eager", ""),
)
CLOSE = {
    "torch.float64": 1e-7,
    "torch.float32": 1e-4,
    "torch.complex64": 1e-4,
    "torch.float16": 4e-2,
    "torch.bfloat16": 2e-1,
    "torch.complex128": 1e-7,
}


def compared(program: Program, found: dict[str, Any], moved: dict[str, Any] | None = None) -> list[str]:
    """Each pair of readings that should agree and does not, with the first place where."""
    wrong = []
    for x, y, how in PAIRS:
        if x not in found or y not in found:
            continue
        for name in (x, y):
            if isinstance(found[name], str):
                wrong.append(f"{name}: {found[name]}")
                break
        else:
            difference = Compare(x, y, how == "bits").programs(found[x], found[y], moved and (moved[x], moved[y]))
            if difference:
                wrong.append(f"{x} and {y}: {difference}")
    return list(dict.fromkeys(wrong))


class Compare:
    """Two outcomes, part by part; an answer is the first difference, or ""."""

    def __init__(self, x: str, y: str, bits: bool) -> None:
        self.bits, self.torch, self.compiled, self.names = bits, x == "torch", y == "compiled", f"{x} {y}"

    def programs(self, x: Any, y: Any, moved: Any) -> str:
        for n, (p, q) in enumerate(zip(x, y, strict=True)):
            m = moved and (moved[0][n], moved[1][n])
            if m and any(a["error"] != b["error"] for a, b in ((p, m[0]), (q, m[1]))):
                return ""  # whether it fails hangs on last places
            if difference := self.parts(p, q, m, f"call {n}"):
                return difference
            if p["error"] and not self.bits:
                return ""  # what was done before an error may hang on the reading
        return ""

    def parts(self, x: Any, y: Any, m: Any, path: str) -> str:
        if type(x) is not type(y):
            if self.torch and isinstance(x, tuple) and "modified by an inplace" in str(x[1:]):
                return ""  # PyTorch keeps more than the derivative needs
            return f"{path}: {brief(x)} is not {brief(y)}"
        if isinstance(x, Fact):
            return self.facts(x, y, m if m and isinstance(m[0], Fact) and isinstance(m[1], Fact) else None, path)
        if isinstance(x, np.ndarray):
            return self.values(x, y, m, str(x.dtype), path)
        if isinstance(x, dict):
            if list(x) != list(y):
                return f"{path}: {list(x)} is not {list(y)}"
            for n in x:
                if difference := self.parts(x[n], y[n], m and tuple(part(z, n) for z in m), f"{path}.{n}"):
                    return difference
            return ""
        if isinstance(x, (list, tuple)):
            if path.endswith("error"):
                same = x[0] == y[0] and (y[1].startswith(x[1]) or x[1].startswith(y[1]))
                return "" if same else f"{path}: {x} is not {y}"
            if len(x) != len(y):
                return f"{path}: {len(x)} parts are not {len(y)}"
            for n, (a, b) in enumerate(zip(x, y, strict=True)):
                if difference := self.parts(a, b, m and tuple(part(z, n) for z in m), f"{path}[{n}]"):
                    return difference
            return ""
        if isinstance(x, float) and isinstance(y, float):
            return self.values(np.asarray(x), np.asarray(y), m, "float64", path)
        if m and x != y and any(a != b for a, b in ((x, m[0]), (y, m[1]))):
            return ""
        return "" if x == y else f"{path}: {brief(x)} is not {brief(y)}"

    def facts(self, x: Fact, y: Fact, m: Any, path: str) -> str:
        if m and (m[0].shape != x.shape or m[1].shape != y.shape):
            return ""  # how many there are hangs on last places
        for n in ("dtype", "shape", "needs", "version", "memory", "strides"):
            a, b = getattr(x, n), getattr(y, n)
            if n == "strides":
                a, b = (
                    tuple(s if k > 1 else 0 for s, k in zip(z, x.shape)) if 0 not in x.shape else () for z in (a, b)
                )
            if (
                self.compiled and n == "strides" and "slopes" in path
            ):  # a program is made for gradients that lie as results do
                continue
            if n == "version" and (".state" in path or "slopes" in path):  # PyTorch counts the steps of its own work
                continue
            if self.compiled and n in ("memory", "version") and (not y.memory or y.memory.startswith("r")):
                a, b = (
                    z.partition("+")[0] if type(z) is str else z for z in (a, b)
                )  # where new memory begins is nobody's affair
            if a != b:
                return f"{path}: {n} {a} is not {b}"
        dtype = x.dtype
        if isinstance(x.value, str):
            return ""
        return self.values(x.value, y.value, m and (m[0].value, m[1].value), dtype, path) or (
            self.parts(x.grad, y.grad, m and (m[0].grad, m[1].grad), f"{path}.grad")
            if x.grad is not None or y.grad is not None
            else ""
        )

    def values(self, x: Any, y: Any, m: Any, dtype: str, path: str) -> str:
        if x.shape != y.shape:
            return f"{path}: shape {x.shape} is not {y.shape}"
        same = (x == y) | ((x != x) & (y != y))
        if same.all():
            return ""
        close = 0.0 if self.bits else CLOSE.get(dtype if "torch" in dtype else f"torch.{dtype}", 0.0)
        with np.errstate(all="ignore"):
            wide = "complex128" if x.dtype.kind == "c" else "float64"
            p, q = x.astype(wide), y.astype(wide)
            size = np.abs(np.where(np.isfinite(p), p, 0)).max(initial=0)
            allowed = close * (np.abs(p) + 0.01 * size + 1e-3)
            if m is not None and not self.bits:
                if any(not isinstance(z, (np.ndarray, float)) or np.shape(z) != x.shape for z in m):
                    return ""
                moved = np.maximum(np.abs(p - np.asarray(m[0]).astype(wide)), np.abs(q - np.asarray(m[1]).astype(wide)))
                allowed = allowed + np.where(
                    moved == moved, 300 * np.max(moved, initial=0, where=moved == moved), np.inf
                )
            bad = ~same & ~(np.abs(p - q) <= allowed)
        if not bad.any():
            return ""
        at = tuple(int(i[0]) for i in np.nonzero(bad)) if x.ndim else ()
        return f"{path}: {bad.sum()} of {x.size} values of {dtype}, at {at} {x[at]!r} is not {y[at]!r}"


def part(z: Any, n: Any) -> Any:
    try:
        return z[n]
    except (KeyError, IndexError, TypeError):
        return None


def brief(x: Any) -> str:
    return str(x)[:300]


# ---- what is left of a program that fails


def shrunk(program: Program, fails: Any, tries: int = 60) -> Program:
    """A part of a program that still fails."""
    from dataclasses import replace

    changed = True
    while changed and tries > 0:
        changed = False
        for smaller in parts(program):
            tries -= 1
            if tries <= 0:
                break
            if fails(smaller):
                program, changed = smaller, True
                break
    del replace
    return program


def parts(program: Program) -> Any:
    """Programs with a call, a result, or a statement less; or with a block's statements without it."""
    import dataclasses

    n = len(program.lines)
    size = n // 2
    while size > 1:
        for at in range(n - size, -1, -size):
            yield pruned(dataclasses.replace(program, lines=program.lines[:at] + program.lines[at + size :]))
        size //= 2
    for at in range(len(program.calls) - 1, -1, -1):
        if len(program.calls) > 1:
            yield dataclasses.replace(program, calls=program.calls[:at] + program.calls[at + 1 :])
    for at in range(len(program.results) - 1, -1, -1):
        if len(program.results) > 1:
            yield dataclasses.replace(program, results=program.results[:at] + program.results[at + 1 :])
    for at in range(n - 1, -1, -1):
        yield pruned(dataclasses.replace(program, lines=program.lines[:at] + program.lines[at + 1 :]))
    for at, line in enumerate(program.lines):
        if "\n" in line:
            inner = [part[4:] for part in line.splitlines()[1:] if part.startswith("    ")]
            yield dataclasses.replace(program, lines=[*program.lines[:at], *inner, *program.lines[at + 1 :]])


def pruned(program: Program) -> Program:
    """Results that no line makes any more are left out."""
    import dataclasses
    import re

    made = {"a", "b", "c"} | set(re.findall(r"\bv\w+", " ".join(line.partition(" = ")[0] for line in program.lines)))
    return dataclasses.replace(program, results=[r for r in program.results if r in made] or ["a"])

"""Instruction counts: a statement is run by a script under Callgrind, and what `callgrind_annotate` prints is read."""

import dataclasses
import enum
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import flambeau
from flambeau.utils.benchmark.utils import common

__all__ = ["FunctionCount", "FunctionCounts", "CallgrindStats", "CopyIfCallgrind"]


# ---- results -----------------------------------------------------------------------------------------------------
class FunctionCount(NamedTuple):
    """How many instructions a function took."""

    count: int
    function: str


@dataclasses.dataclass(repr=False, eq=False, frozen=True)
class FunctionCounts:
    """Counts of functions, most first: a sequence that can be added, subtracted, filtered and renamed."""

    _data: tuple[FunctionCount, ...]
    inclusive: bool
    truncate_rows: bool = True
    _linewidth: int | None = None

    def __iter__(self):
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, item):
        found = self._data[item]
        return FunctionCounts(found, self.inclusive, truncate_rows=False) if isinstance(item, slice) else found

    def __repr__(self) -> str:
        width = max((len(str(c)) + (c < 0) for c, _ in self), default=0)  # the sign counts twice, as there
        room = max((self._linewidth or flambeau._tensor_str.PRINT_OPTS.linewidth) - width - 4, 40)
        lines = []
        for c, fn in self:
            if len(fn) > room:
                left = (room - 5) // 2
                fn = f"{fn[:left]} ... {fn[left + 5 - room :]}"
            lines.append(f"  {c:>{width}}  {fn}")
        if self.truncate_rows and len(lines) > 18:
            lines = [*lines[:9], "...".rjust(width + 2), *lines[-9:]]
        total = [] if self.inclusive else ["", f"Total: {self.sum()}"]
        return "\n".join([super().__repr__(), *lines, *total])

    def __add__(self, other):
        return self._merge(other, 1)

    def __sub__(self, other):
        return self._merge(other, -1)

    def __mul__(self, other):
        return self._of({fn: int(c * other) for c, fn in self}, self.inclusive)

    def transform(self, map_fn):
        """Renames functions; counts of the same new name are added."""
        counts: dict[str, int] = {}
        for c, fn in self:
            name = map_fn(fn)
            counts[name] = counts.get(name, 0) + c
        return self._of(counts, self.inclusive)

    def filter(self, filter_fn):
        """Only the functions whose name passes."""
        return FunctionCounts(tuple(i for i in self if filter_fn(i.function)), self.inclusive)

    def sum(self) -> int:
        """All counts together."""
        return sum(c for c, _ in self)

    def denoise(self):
        """Without Python's look-up of names, which differs from run to run."""
        return self.filter(lambda fn: "dictobject.c:lookdict_unicode" not in fn)

    def _merge(self, other, sign):
        if self.inclusive != other.inclusive:
            raise AssertionError("Cannot merge inclusive and exclusive counts.")
        counts: dict[str, int] = {}
        for part, factor in ((self, 1), (other, sign)):
            for c, fn in part:
                counts[fn] = counts.get(fn, 0) + factor * c
        return self._of(counts, self.inclusive)

    @staticmethod
    def _of(counts, inclusive):
        found = (FunctionCount(c, fn) for fn, c in counts.items() if c)
        return FunctionCounts(tuple(sorted(found, reverse=True)), inclusive)


# Where a library was built says nothing about it.
_PREFIXES = (
    (r"^.+build/\.\./", "build/../"),
    (r"^.+/build/aten/", "build/aten/"),
    (r"^.+/Python/", "Python/"),
    (r"^.+/Objects/", "Objects/"),
    (r"\s\[.+\]$", ""),
)


@dataclasses.dataclass(repr=False, eq=False, frozen=True)
class CallgrindStats:
    """What a statement took, and what an empty one (the baseline) took."""

    task_spec: common.TaskSpec
    number_per_run: int
    built_with_debug_symbols: bool
    baseline_inclusive_stats: FunctionCounts
    baseline_exclusive_stats: FunctionCounts
    stmt_inclusive_stats: FunctionCounts
    stmt_exclusive_stats: FunctionCounts
    stmt_callgrind_out: str | None

    def __repr__(self) -> str:
        base, n = self.baseline_exclusive_stats, self.task_spec.num_threads
        lines = [
            super().__repr__(),
            self.task_spec.summarize(),
            f"{'':>27}All{'':>10}Noisy symbols removed",
            f"    Instructions: {self.counts():>12}{'':>15}{self.counts(denoise=True):>12}",
            f"    Baseline:     {base.sum():>12}{'':>15}{base.denoise().sum():>12}",
            f"{self.number_per_run} runs per measurement, {n} thread{'s' if n > 1 else ''}",
        ]
        if not self.built_with_debug_symbols:
            lines += [
                "Warning: PyTorch was not built with debug symbols.",
                "         Source information may be limited. Rebuild with",
                "         REL_WITH_DEB_INFO=1 for more detailed results.",
            ]
        return "\n".join(lines)

    def stats(self, inclusive: bool = False) -> FunctionCounts:
        """The counts by function; inclusive ones count what a function calls, too."""
        return self.stmt_inclusive_stats if inclusive else self.stmt_exclusive_stats

    def counts(self, *, denoise: bool = False) -> int:
        """All instructions."""
        return (self.stmt_exclusive_stats.denoise() if denoise else self.stmt_exclusive_stats).sum()

    def delta(self, other, inclusive: bool = False) -> FunctionCounts:
        """What this took more than another, by function."""
        return self.stats(inclusive) - other.stats(inclusive)

    def as_standardized(self):
        """The same, without the names of directories and libraries in the names of functions."""

        def short(fn):
            for before, after in _PREFIXES:
                fn = re.sub(before, after, fn)
            return fn

        names = [n + "clusive_stats" for n in ("baseline_in", "baseline_ex", "stmt_in", "stmt_ex")]
        counts = {name: getattr(self, name).transform(short) for name in names}
        return dataclasses.replace(self, **counts, stmt_callgrind_out=None)


# ---- what the script gets ----------------------------------------------------------------------------------------
class Serialization(enum.Enum):
    """How a value reaches the other process."""

    PICKLE = 0
    TORCH = 1
    TORCH_JIT = 2


def _allowed():
    jit = flambeau.jit
    return {
        Serialization.PICKLE: (str, bytes, bool, int, float, complex),
        Serialization.TORCH_JIT: (jit.ScriptFunction, jit.ScriptModule),
        Serialization.TORCH: (flambeau.nn.Module,),
    }


class CopyIfCallgrind:
    """A value among `globals` of which another process may get a copy; `setup` runs there before it is loaded."""

    def __init__(self, value: Any, *, setup: str | None = None) -> None:
        plain = isinstance(value, (str, bytes, bool, int, float, complex))  # TorchScript is loaded for other ones only
        kinds = {Serialization.PICKLE: (object,)} if plain else _allowed()
        found = [how for how, types in kinds.items() if isinstance(value, types)]
        if not found:
            names = "\n".join(t.__name__ for types in kinds.values() for t in types)
            raise ValueError(
                f"Unsupported type: {type(value)}\n`collect_callgrind` restricts globals to the following types:\n"
                f"{textwrap.indent(names, '  ')}"
            )
        self._value, self._setup, self._serialization = value, setup, found[0]

    @property
    def value(self) -> Any:
        """The value."""
        return self._value

    @property
    def setup(self) -> str | None:
        """What runs before."""
        return self._setup

    @property
    def serialization(self) -> Serialization:
        """How it travels."""
        return self._serialization

    @staticmethod
    def unwrap_all(globals: dict[str, Any]) -> dict[str, Any]:
        """The values themselves."""
        return {k: v.value if isinstance(v, CopyIfCallgrind) else v for k, v in globals.items()}


def _loading(names: dict[str, Any], directory: str) -> str:
    """Writes the globals to files; statements that read them."""
    if names.get("torch", flambeau) is not flambeau:
        raise ValueError("`collect_callgrind` does not support mocking out `torch`.")
    lines = []
    for name, wrapped in names.items():
        if name in ("torch", "__builtins__"):
            continue
        if not isinstance(wrapped, CopyIfCallgrind):
            raise ValueError(
                "`collect_callgrind` requires that globals be wrapped in `CopyIfCallgrind` so that serialization is explicit."
            )
        path = os.path.join(directory, f"{name}.value")
        if wrapped.setup is not None:
            lines.append(textwrap.dedent(wrapped.setup))
        if wrapped.serialization == Serialization.PICKLE:
            with open(path, "wb") as file:
                pickle.dump(wrapped.value, file)
            lines.append(f"with open({path!r}, 'rb') as f:\n    {name} = pickle.load(f)")
        elif wrapped.serialization == Serialization.TORCH:
            flambeau.save(wrapped.value, path)
            lines.append(f"{name} = torch.load({path!r}, weights_only=False)")
        else:
            flambeau.jit.save(wrapped.value, path)
            lines.append(f"{name} = torch.jit.load({path!r})")
    return "\n".join(lines)


# ---- the script --------------------------------------------------------------------------------------------------
_SCRIPT = """
import gc, pickle, sys, time
import flambeau as torch
from flambeau._C import _valgrind
torch.set_num_threads({threads})
{load}
{setup}
for _ in range({warm}):
{stmt}
gc.collect()
_valgrind._valgrind_start()
for _ in range({warm}):
{stmt}
time.sleep(0.01)
for _ in range({repeats}):
    _valgrind._valgrind_toggle()
{block}
    _valgrind._valgrind_toggle_and_dump_stats()
    gc.collect()
{baseline}
"""

_BASELINE = """
_valgrind._valgrind_toggle()
{block}
_valgrind._valgrind_toggle_and_dump_stats()
"""


def _unrolled(stmt: str, number: int, indent: int) -> str:
    """The statement `number` times; a loop costs instructions itself, so that a hundred stand in a row."""
    loops, rest = divmod(number, 100)
    if loops == 1:
        loops, rest = 0, number
    text = f"for _ in range({loops}):\n" + textwrap.indent("\n".join([stmt] * 100), "    ") + "\n" if loops else ""
    return textwrap.indent(text + "\n".join([stmt] * rest), " " * indent)


def _read(command_output: str, inclusive: bool) -> FunctionCounts:
    """The counts in what `callgrind_annotate` prints."""
    lines = iter(command_output.splitlines())
    total = next(int(m[1].replace(",", "")) for m in (re.match(r"([0-9,]+)\s+PROGRAM TOTALS", l) for l in lines) if m)
    counts = []
    for line in lines:
        if re.match(r"Ir\s+file:function", line):
            break
    for line in lines:
        found = re.match(r"\s*([0-9,]+)\s+(.+:.+)$", line)
        if found:
            count = int(found[1].replace(",", ""))
            if count != total:  # a program that dumps more than once has lines for itself
                counts.append(FunctionCount(count, found[2]))
        elif not line.startswith("-"):
            break
    return FunctionCounts(tuple(sorted(counts, reverse=True)), inclusive)


def _check() -> None:
    if not flambeau._C._valgrind_supported_platform():
        raise OSError("Valgrind is not supported on this platform.")
    missing = [c for c in ("valgrind", "callgrind_control", "callgrind_annotate") if shutil.which(c) is None]
    if missing:
        raise OSError("Missing: " + ", ".join(missing))


def _run(task: common.TaskSpec, names: dict[str, Any], number: int, repeats: int, baseline: bool, keep: bool) -> Any:
    """The (inclusive, exclusive, file's text) of each repetition; those of an empty statement last, if asked for."""
    directory = common._make_temp_dir(prefix="callgrind")
    out, script = os.path.join(directory, "callgrind.out"), os.path.join(directory, "timer_callgrind.py")
    environment = dict(os.environ)
    here = os.path.dirname(flambeau.__path__[0])
    environment["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [environment.get("PYTHONPATH")])])
    try:
        with open(script, "w") as file:
            file.write(
                _SCRIPT.format(
                    threads=task.num_threads, load=_loading(names, directory), setup=task.setup, warm=min(number, 10),
                    stmt=textwrap.indent(task.stmt, "    "), repeats=repeats, block=_unrolled(task.stmt, number, 4),
                    baseline=_BASELINE.format(block=_unrolled("pass", number, 0)) if baseline else "",
                )
            )  # fmt: skip
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-line=yes", "--dump-instr=yes",
                   "--instr-atstart=no", "--collect-atstart=no", sys.executable, script]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        if done.returncode:
            raise OSError(f"Failed to collect callgrind profile:\nUnknown error.\n{done.stdout}")

        def counts(path, inclusive):
            command = ["callgrind_annotate", f"--inclusive={'yes' if inclusive else 'no'}", "--threshold=100",
                       "--show-percs=no", path]  # fmt: skip
            text = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
            ).stdout
            return _read(text, inclusive)

        results = []
        for i in range(repeats + baseline):
            path = f"{out}.{i + 1}"
            with open(path) as file:
                text = file.read() if keep else None
            results.append((counts(path, True), counts(path, False), text))
        return results
    finally:
        shutil.rmtree(directory)


_BASELINES: dict[tuple[int, int], Any] = {}  # (number, threads) -> counts of an empty statement


def collect(task: common.TaskSpec, names: dict[str, Any], number: int, repeats: int, baseline: bool, keep: bool) -> Any:
    """The statistics of each repetition."""
    _check()
    key = (number, task.num_threads)
    results = _run(task, names, number, repeats, baseline and key not in _BASELINES, keep)
    if len(results) > repeats:
        _BASELINES[key] = results.pop()[:2]
    empty = (FunctionCounts((), True), FunctionCounts((), False))
    base = _BASELINES[key] if baseline else empty
    return tuple(CallgrindStats(task, number, True, *base, *result) for result in results)

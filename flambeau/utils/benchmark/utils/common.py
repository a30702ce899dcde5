"""What is measured and what came out: `TaskSpec`, `Measurement`."""

import contextlib
import dataclasses
import os
import tempfile
import textwrap
from typing import Any

import flambeau

__all__ = [
    "TaskSpec",
    "Measurement",
    "select_unit",
    "unit_to_english",
    "trim_sigfig",
    "ordered_unique",
    "set_torch_threads",
]

_MAX_SIGNIFICANT_FIGURES = 4
_MIN_CONFIDENCE_INTERVAL = 25e-9  # seconds: no clock is better
_IQR_WARN_THRESHOLD, _IQR_GROSS_WARN_THRESHOLD = 0.1, 0.25
_UNITS = {"s": ("second", 1), "ms": ("millisecond", 1e-3), "us": ("microsecond", 1e-6), "ns": ("nanosecond", 1e-9)}


@dataclasses.dataclass(init=True, repr=False, eq=True, frozen=True)
class TaskSpec:
    """What a timer runs, and what it is called."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label, or else the statement."""
        name = self.stmt if self.label is None else self.label
        if self.label is None and "\n" in self.stmt:
            return f"stmt:{f' ({self.sub_label})' if self.sub_label else ''}\n{textwrap.indent(self.stmt, '  ')}"
        return f"{name}: {self.sub_label}" if self.sub_label else name

    def setup_str(self) -> str:
        """The setup, if there is one."""
        if not self.setup or self.setup == "pass":
            return ""
        return f"setup:\n{textwrap.indent(self.setup, '  ')}" if "\n" in self.setup else f"setup: {self.setup}"

    def summarize(self) -> str:
        """All of that, as text."""
        parts = (part for part in (self.title, self.description, self.setup_str()) if part)
        return "\n".join(f"{part}\n" if "\n" in part else part for part in parts)


_TASKSPEC_FIELDS = tuple(field.name for field in dataclasses.fields(TaskSpec))


@dataclasses.dataclass(init=True, repr=False)
class Measurement:
    """Times of a statement; each is that of `number_per_run` runs. Fields of the task are fields of it, too."""

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    def __post_init__(self) -> None:
        self._sorted_times: tuple[float, ...] = ()
        self._warnings: tuple[str, ...] = ()
        self._median = self._mean = self._p25 = self._p75 = -1.0

    def __getattr__(self, name: str) -> Any:
        if name in _TASKSPEC_FIELDS:
            return getattr(self.task_spec, name)
        return super().__getattribute__(name)

    @property
    def times(self) -> list[float]:
        """Seconds per run."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self) -> float:
        """The middle time."""
        self._lazy_init()
        return self._median

    @property
    def mean(self) -> float:
        """The average time."""
        self._lazy_init()
        return self._mean

    @property
    def iqr(self) -> float:
        """How far the middle half of the times spreads."""
        self._lazy_init()
        return self._p75 - self._p25

    @property
    def significant_figures(self) -> int:
        """How many digits of the median mean something: from the spread of the middle half, as if it were normal."""
        self._lazy_init()
        n = len(self._sorted_times)
        middle = flambeau.tensor(self._sorted_times[n // 4 : -(-3 * n // 4)])
        interval = max(1.645 * middle.std(unbiased=False).item() / len(middle) ** 0.5, _MIN_CONFIDENCE_INTERVAL)
        figures = int(flambeau.tensor(self._median / interval).log10().floor())
        return min(max(figures, 1), _MAX_SIGNIFICANT_FIGURES)

    @property
    def has_warnings(self) -> bool:
        """Whether the times spread too much."""
        self._lazy_init()
        return bool(self._warnings)

    def _lazy_init(self) -> None:
        if not self.raw_times or self._sorted_times:
            return
        self._sorted_times = tuple(sorted(self.times))
        times = flambeau.tensor(self._sorted_times, dtype=flambeau.float64)
        self._p25, self._median, self._p75 = (times.quantile(q).item() for q in (0.25, 0.5, 0.75))
        self._mean = times.mean().item()
        for threshold, meaning in (
            (_IQR_GROSS_WARN_THRESHOLD, "This suggests significant environmental influence."),
            (_IQR_WARN_THRESHOLD, "This could indicate system fluctuation."),
        ):
            if not self.meets_confidence(threshold):
                spread = self.iqr / self.median * 100
                text = (
                    f"  WARNING: Interquartile range is {spread:.1f}% of the median measurement.\n           {meaning}"
                )
                self._warnings = (text,)
                break

    def meets_confidence(self, threshold: float = _IQR_WARN_THRESHOLD) -> bool:
        """Whether the times spread less than this part of the median."""
        return self.iqr / self.median < threshold

    @property
    def title(self) -> str:
        """The task's title."""
        return self.task_spec.title

    @property
    def env(self) -> str:
        """Where it ran, if that was said."""
        return "Unspecified env" if self.task_spec.env is None else self.task_spec.env

    @property
    def as_row_name(self) -> str:
        """The name in tables."""
        return self.sub_label or self.stmt or "[Unknown]"

    def __repr__(self) -> str:
        self._lazy_init()
        n = len(self._sorted_times)
        unit, scale = select_unit(self._median)
        many = n > 1
        lines = [super().__repr__(), self.task_spec.summarize()]
        lines.append(f"  {'Median: ' if many else ''}{self._median / scale:.2f} {unit}")
        if n >= 4:
            ends = f"{self._p25 / scale:.2f} to {self._p75 / scale:.2f}"
            lines.append(f"  IQR:    {self.iqr / scale:.2f} {unit} ({ends})")
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        runs = f"{self.number_per_run} runs {'per measurement,' if many else ','}"
        lines.append(f"  {n} measurement{'s' if many else ''}, {runs} {threads}")
        return "\n".join([*lines, *self._warnings])

    @staticmethod
    def merge(measurements):
        """One measurement per task, of all its times, each as of one run."""
        groups: dict[TaskSpec, list[float]] = {}
        for m in measurements:
            groups.setdefault(m.task_spec, []).extend(m.times)
        return [Measurement(1, times, task) for task, times in groups.items()]


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time is a handy number, and its seconds.

    >>> select_unit(3e-5)
    ('us', 1e-06)
    """
    unit = {-3: "ns", -2: "us", -1: "ms"}.get(int(flambeau.tensor(t).log10().item() // 3), "s")
    return unit, _UNITS[unit][1]


def unit_to_english(u: str) -> str:
    """The unit's name."""
    return _UNITS[u][0]


def trim_sigfig(x: float, n: int) -> float:
    """A number, rounded to n figures (in single precision)."""
    if n != int(n):
        raise AssertionError("Number of significant figures must be an integer")
    scale = 10 ** (int(flambeau.tensor(x).abs().log10().ceil().item()) - n)
    return float(flambeau.tensor(x / scale).round() * scale)


def ordered_unique(elements) -> list[Any]:
    """Each element once, in the order in which they came."""
    return list(dict.fromkeys(elements))


@contextlib.contextmanager
def set_torch_threads(n: int):
    """Inside, operators use n threads."""
    before = flambeau.get_num_threads()
    try:
        flambeau.set_num_threads(n)
        yield
    finally:
        flambeau.set_num_threads(before)


def _make_temp_dir(prefix: str | None = None, gc_dev_shm: bool = False) -> str:
    """A new directory; in memory where $BENCHMARK_USE_DEV_SHM says so. Who asks removes it."""
    in_memory = (os.getenv("BENCHMARK_USE_DEV_SHM") or "").lower() in ("1", "true")
    root = "/dev/shm/pytorch_benchmark_utils" if in_memory else tempfile.gettempdir()
    os.makedirs(root, exist_ok=True)
    return tempfile.mkdtemp(prefix=f"{prefix or tempfile.gettempprefix()}__", dir=root)

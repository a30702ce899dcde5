"""`Timer`: `timeit.Timer` that knows about threads, warm-up and repetition."""

import enum
import textwrap
import timeit
from typing import Any

import flambeau
from flambeau.utils.benchmark.utils import common
from flambeau.utils.benchmark.utils.valgrind_wrapper import timer_interface

__all__ = ["Timer", "timer", "Language"]


def timer() -> float:
    """Now, in seconds, when all that was asked for is done."""
    if flambeau.accelerator.is_available():
        flambeau.accelerator.synchronize()
    return timeit.default_timer()


class Language(enum.Enum):
    """What a statement is written in."""

    PYTHON = 0
    CPP = 1


def _dedent(text: str) -> str:
    return textwrap.dedent(text).removeprefix("\n").rstrip()


class Timer:
    """Times a statement.

    Args:
        stmt: the statement, as text
        setup: runs once before
        timer: gives the time
        globals: what both can name; `torch` is always there
        label, sub_label, description, env: names, for tables (`Compare`) and printing
        num_threads: for operators; one if not given
        language: Python; C++ says NotImplementedError, since it would need PyTorch's C++ library

    >>> t = flambeau.utils.benchmark.Timer("x + 1", globals={"x": flambeau.ones(3)})
    >>> t.timeit(5).number_per_run
    5
    """

    _timer_cls: Any = timeit.Timer

    def __init__(self, stmt: str = "pass", setup: str = "pass", global_setup: str = "", timer: Any = timer,
                 globals: dict[str, Any] | None = None, label: str | None = None, sub_label: str | None = None,
                 description: str | None = None, env: str | None = None, num_threads: int = 1,
                 language: Language | str = Language.PYTHON) -> None:  # fmt: skip
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        self._globals = dict(globals or {})
        if language in (Language.CPP, "cpp", "c++"):
            raise NotImplementedError("torch.utils.benchmark.Timer(language='c++')")
        if language not in (Language.PYTHON, "py", "python"):
            raise ValueError(f"Invalid language `{language}`.")
        if global_setup:
            raise ValueError(
                f"global_setup is C++ only, got `{global_setup}`. Most likely this code can simply be moved to `setup`."
            )
        self._language = Language.PYTHON
        self._globals.setdefault("torch", flambeau)
        stmt, setup = _dedent(stmt), _dedent(setup)
        names = timer_interface.CopyIfCallgrind.unwrap_all(self._globals)
        self._timer = self._timer_cls(stmt=stmt, setup=setup, timer=timer, globals=names)
        self._task_spec = common.TaskSpec(stmt, setup, global_setup, label, sub_label, description, env, num_threads)

    def _timeit(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)  # nothing takes less; nobody divides by zero

    def timeit(self, number: int = 1000000) -> common.Measurement:
        """The time of `number` runs, after a hundredth of them unmeasured."""
        with common.set_torch_threads(self._task_spec.num_threads):
            self._timeit(max(int(number // 100), 2))
            return common.Measurement(number, [self._timeit(number)], self._task_spec)

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Not there: see `blocked_autorange`."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Any = None) -> None:
        """Not there: see `blocked_autorange`."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _measure(self, number: int, enough: Any, least: float, most: float | None, callback: Any) -> common.Measurement:
        """Blocks of `number` runs until they took the least time and are enough, or took the most."""
        times: list[float] = []
        total, stop = 0.0, False
        with common.set_torch_threads(self._task_spec.num_threads):
            while total < least or not stop:
                times.append(self._timeit(number))
                total += times[-1]
                if callback:
                    callback(number, times[-1])
                stop = enough(times)
                if most and total > most:
                    break
        return common.Measurement(number, times, self._task_spec)

    def _estimate_block_size(self, min_run_time: float) -> int:
        """How many runs make the clock's own time negligible. Warms up, too."""
        with common.set_torch_threads(self._task_spec.num_threads):
            overhead = sorted(self._timeit(0) for _ in range(5))[2]
            number = 1
            while True:
                taken = self._timeit(number)
                enough = overhead / taken <= 1e-4 and taken >= min_run_time / 1000
                if enough or taken > min_run_time or number * 10 > 2147483647:
                    return number
                number *= 10

    def blocked_autorange(self, callback: Any = None, min_run_time: float = 0.2) -> common.Measurement:
        """Times of blocks, each long enough for the clock, until `min_run_time` seconds have passed."""
        number = self._estimate_block_size(min_run_time)
        return self._measure(number, lambda times: True, min_run_time, None, callback)

    def adaptive_autorange(self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
                           callback: Any = None) -> common.Measurement:  # fmt: skip
        """The same, until the spread of the times is below `threshold` of their median, or `max_run_time` has passed."""
        number = self._estimate_block_size(0.05)

        def enough(times):
            return len(times) > 3 and common.Measurement(number, times, self._task_spec).meets_confidence(threshold)

        return self._measure(number, enough, min_run_time, max_run_time, callback)

    def collect_callgrind(self, number: int = 100, *, repeats: int | None = None, collect_baseline: bool = True,
                          retain_out_file: bool = False) -> Any:  # fmt: skip
        """How many instructions `number` runs take, by function: runs them in a new process under Valgrind.

        Needs `valgrind`, `callgrind_control` and `callgrind_annotate`. `globals` must be wrapped in `CopyIfCallgrind`.
        """
        if repeats is not None and repeats < 1:
            raise ValueError("If specified, `repeats` must be >= 1")
        self._timeit(1)  # an error shows here, not there
        result = timer_interface.collect(
            self._task_spec, self._globals, number, repeats or 1, collect_baseline, retain_out_file
        )
        return result[0] if repeats is None else result

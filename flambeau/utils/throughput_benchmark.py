"""How many inputs a module serves, called from several threads at once."""

import threading
import time
from dataclasses import dataclass

import flambeau
from flambeau.autograd.profiler import profile
from flambeau.autograd.profiler_util import _time


def format_time(time_us=None, time_ms=None, time_s=None) -> str:
    """A time, given in one of three units, in a handy one.

    >>> format_time(time_ms=1.5)
    '1.500ms'
    """
    given = [t * scale for t, scale in ((time_us, 1), (time_ms, 1e3), (time_s, 1e6)) if t is not None]
    if len(given) != 1:
        raise AssertionError("Expected only one of time_us, time_ms, time_s is given.")
    return _time(given[0])


@dataclass
class _Config:
    num_calling_threads: int
    num_warmup_iters: int
    num_iters: int
    profiler_output_path: str


class ExecutionStats:
    """What came out."""

    def __init__(self, latency_avg_ms, num_iters, benchmark_config) -> None:
        self.latency_avg_ms, self.num_iters, self.benchmark_config = latency_avg_ms, num_iters, benchmark_config

    @property
    def total_time_seconds(self):
        """How long the threads ran."""
        return self.num_iters * (self.latency_avg_ms / 1000.0) / self.benchmark_config.num_calling_threads

    @property
    def iters_per_second(self):
        """Calls per second, of all threads together."""
        return self.num_iters / self.total_time_seconds

    def __str__(self) -> str:
        return "\n".join(
            [
                "Average latency per example: " + format_time(time_ms=self.latency_avg_ms),
                f"Total number of iterations: {self.num_iters}",
                f"Total number of iterations per second (across all threads): {self.iters_per_second:.2f}",
                "Total time: " + format_time(time_s=self.total_time_seconds),
            ]
        )


class ThroughputBenchmark:
    """Calls a module from several threads, each with one of the inputs that were added, at random.

    >>> bench = flambeau.utils.ThroughputBenchmark(flambeau.nn.ReLU())
    >>> bench.add_input(flambeau.ones(2))
    >>> bench.benchmark(num_calling_threads=2, num_warmup_iters=1, num_iters=4).num_iters
    4
    """

    def __init__(self, module) -> None:
        self._module, self._inputs = module, []

    def run_once(self, *args, **kwargs):
        """The module's result."""
        return self._module(*args, **kwargs)

    def add_input(self, *args, **kwargs) -> None:
        """Adds an input."""
        self._inputs.append((args, kwargs))

    def benchmark(self, num_calling_threads=1, num_warmup_iters=10, num_iters=100, profiler_output_path=""):
        """Calls the module `num_iters` times in all, after `num_warmup_iters` calls per thread that do not count."""
        if not self._inputs:
            raise RuntimeError("Please provide benchmark inputs.Did you forget to call add_input()? ")
        config = _Config(num_calling_threads, num_warmup_iters, num_iters, profiler_output_path)
        left, lock = [num_iters], threading.Lock()
        start = threading.Barrier(num_calling_threads + 1)
        order = flambeau.randint(len(self._inputs), (num_calling_threads, 997)).tolist()
        problems = []

        def work(picks):
            try:
                for i in range(num_warmup_iters):
                    self._call(picks[i % 997])
                start.wait()
                i = 0
                while True:
                    with lock:
                        if not left[0]:
                            return
                        left[0] -= 1
                    self._call(picks[i % 997])
                    i += 1
            except threading.BrokenBarrierError:
                return
            except Exception as problem:
                problems.append(problem)
                start.abort()

        threads = [threading.Thread(target=work, args=(picks,)) for picks in order]
        for thread in threads:
            thread.start()
        try:
            start.wait()
        except threading.BrokenBarrierError:
            pass
        begin = time.perf_counter()
        with profile(bool(profiler_output_path)) as profiling:
            for thread in threads:
                thread.join()
            seconds = time.perf_counter() - begin
        if profiling is not None:
            profiling.export_chrome_trace(profiler_output_path)
        if problems:
            raise problems[0]
        return ExecutionStats(seconds * num_calling_threads / max(num_iters, 1) * 1e3, num_iters, config)

    def _call(self, which):
        args, kwargs = self._inputs[which]
        self._module(*args, **kwargs)

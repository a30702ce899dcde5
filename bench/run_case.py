"""Times one case in this process under one library, and prints the result as JSON; `scripts/bench` starts it.

Not for direct use, except to try a case: `python bench/run_case.py small.add flambeau`.
"""

import importlib
import json
import pathlib
import resource
import sys
import time

CASES = pathlib.Path(__file__).parent / "cases"


def bind(library):
    """Make `import torch` in the case give the library."""
    if library == "flambeau":
        sys.path.insert(0, str(CASES.parents[1]))
        from flambeau import _alias

        return _alias.install()
    return importlib.import_module("torch")


def measure(run, repeats=9, least=0.05):
    """Seconds per call of `run`: the median of several repeats, each of at least `least` seconds."""
    number, spent = 1, 0.0
    while spent < least:
        number *= 1 if not spent else max(2, min(10, int(1.2 * least / spent)))
        started = time.perf_counter()
        for _ in range(number):
            run()
        spent = time.perf_counter() - started
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(number):
            run()
        taken.append((time.perf_counter() - started) / number)
    return sorted(taken)[repeats // 2]


def main(case, library):
    torch = bind(library)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    suite, _, name = case.partition(".")
    sys.path.insert(0, str(CASES))
    run = getattr(importlib.import_module(suite), name)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    run()
    first = time.perf_counter() - started
    seconds = measure(run)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "first": first, "peak": peak * 1024, "grown": (peak - before) * 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])

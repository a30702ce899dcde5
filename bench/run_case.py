"""Times one case in this process under one library, and prints the result as JSON; `scripts/bench` starts it.

Not for direct use, except to try a case: `python bench/run_case.py add_8x8 flambeau`.
"""

import importlib
import json
import pathlib
import runpy
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


def measure(run, number=None, repeats=7, least=0.05):
    """Seconds per call of `run`: the best of several repeats, each of at least `least` seconds."""
    if number is None:
        number, spent = 1, 0.0
        while spent < least:
            number *= 1 if not spent else max(2, min(10, int(1.2 * least / spent)))
            started = time.perf_counter()
            for _ in range(number):
                run()
            spent = time.perf_counter() - started
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(number):
            run()
        best = min(best, (time.perf_counter() - started) / number)
    return best


def main(case, library):
    torch = bind(library)
    torch.set_num_threads(2)
    names = runpy.run_path(str(CASES / f"{case}.py"))
    run = names["setup"]()
    run()
    print(json.dumps({"seconds": measure(run), "per": names.get("PER", 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])

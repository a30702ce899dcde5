"""`python -m tests.fuzz --seeds 0:1000`: runs random programs and prints, shortened, those that readings disagree about."""

from __future__ import annotations

import argparse
import collections
import pathlib
import re
import sys
import time

from tests.fuzz import grammar
from tests.fuzz.readings import READINGS, Readings, shrunk

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
parser.add_argument("--seeds", default="0:200", help="first:last")
parser.add_argument("--readings", default="array,native,compiled", help=f"of {', '.join(READINGS)}")
parser.add_argument("--torch", help="the Python that has PyTorch, for the reading torch", default=sys.executable)
parser.add_argument("--minutes", type=float, default=1e9, help="stop then")
parser.add_argument("--keep", help="a file that what was found is added to")
parser.add_argument("--show", action="store_true", help="print programs")
options = parser.parse_args()

unknown = set(options.readings.split(",")) - set(READINGS)
if unknown:
    parser.error(f"no reading is called {', '.join(sorted(unknown))}: they are {', '.join(READINGS)}")
first, last = map(int, options.seeds.split(":"))
started = time.time()
kinds: collections.Counter[str] = collections.Counter()
ran = 0
with Readings(options.readings.split(","), options.torch) as readings:
    for seed in range(first, last):
        if time.time() - started > options.minutes * 60:
            break
        program = grammar.write(seed)
        if options.show:
            print(program, flush=True)
        ran += 1
        wrong = readings.differences(program)
        if not wrong:
            continue

        def same(smaller: grammar.Program, start: str = wrong[0].partition(":")[0]) -> bool:
            return any(w.startswith(start) for w in readings.differences(smaller))

        kind = re.sub(r"\d+", "#", wrong[0].splitlines()[0])[:60]
        kinds[kind] += 1
        report = f"==== seed {seed}\n" + "\n".join(wrong)
        if kinds[kind] < 12:
            small = shrunk(program, same)
            report += f"\n---- shortened\n{small}" + "\n".join(readings.differences(small))
        print(report, flush=True)
        if options.keep:
            with pathlib.Path(options.keep).open("a") as file:
                file.write(report + "\n")
print(f"{ran} programs in {time.time() - started:.0f} s")
for kind, n in kinds.most_common():
    print(f"{n:5} {kind}")

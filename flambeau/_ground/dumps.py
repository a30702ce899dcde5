"""FLAMBEAU_LOGS: which stages of a program are printed, and the one place that prints them, on standard error."""

from __future__ import annotations

import sys

from flambeau._ground import flags

STAGES = {
    "expression": "an operator's body as it was recorded, a program in the kernel language",
    "loops": "a kernel, a program in plain Python",
    "llvm": "LLVM IR as the generators write it",
    "assembly": "the machine code of this processor",
    "graph": "what a compiled function does, as a program of operators",
    "guards": "what a compiled function assumes",
    "source": "the Python function that checks this and runs the program",
    "breaks": "where and why a capture stops, and what has no native form",
    "recompiles": "which assumption failed",
    "dynamic": "which sizes are fixed, and by what",
}


def wanted(stage: str) -> bool:
    """Whether a stage is to be printed."""
    return stage in flags.get("logs").split(",")


def anything() -> bool:
    """Whether any stage is to be printed."""
    return bool(flags.get("logs"))


def dump(stage: str, title: str, text: str) -> None:
    """Print a text under its title, if its stage is wanted."""
    if wanted(stage):
        say(f"# {title}\n{text}")


def say(text: str) -> None:
    """Print a text."""
    print(text, file=sys.stderr)


unknown = [stage for stage in flags.get("logs").split(",") if stage and stage not in STAGES]
if unknown:  # a misspelt stage would silently print nothing
    raise RuntimeError(f"FLAMBEAU_LOGS={','.join(unknown)}: no such stage; there are {', '.join(STAGES)}")

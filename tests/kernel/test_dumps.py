"""What FLAMBEAU_LOGS prints: expressions that parse back, and every stage down to machine code."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from flambeau._backends.cpu import engine
from flambeau._backends.cpu.compile import recorded
from flambeau._kernel.body import body, read
from flambeau._kernel.record import Record
from tests.kernel.corpus import CORPUS, arguments

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = "import flambeau as torch; torch.ones(16, 1000).softmax(1)"


@pytest.mark.parametrize("name", CORPUS)
def test_expressions_parse_back(name: str) -> None:
    case = CORPUS[name]
    params = [recorded(x, i) for i, x in enumerate(arguments(case))]
    out = case.body(*params)
    roots = out if isinstance(out, tuple) else (out,)
    found = read(body(roots, name), Record(), *params)
    for got, want in zip(found if isinstance(found, tuple) else (found,), roots, strict=True):
        assert got is want


def test_a_readable_body(golden: Any) -> None:
    case = CORPUS["softmax"]
    golden(body([case.body(*(recorded(x, i) for i, x in enumerate(arguments(case))))], "softmax"))


def run(stages: str) -> Any:
    env = {**os.environ, "FLAMBEAU_LOGS": stages, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True)


@pytest.mark.skipif(not engine.available(), reason="llvmlite is not installed")
def test_every_stage_of_softmax() -> None:
    said = run("expression,loops,llvm,assembly").stderr
    marks = ["def softmax(k, p0: ", "def kernel(out0: ", "define void @k(ptr %args", ".globl\tk"]
    places = [said.index(mark) for mark in marks]
    assert places == sorted(places)


def test_an_unknown_stage_is_an_error() -> None:
    assert "FLAMBEAU_LOGS=lops: no such stage; there are expression, loops," in run("loops,lops").stderr

"""A few random programs, kept as `tests.fuzz.grammar` once wrote them for their seeds: native code and compiled functions make the same of them."""

import json
import pathlib

import pytest

from tests.fuzz.grammar import Program
from tests.fuzz.readings import Readings

KEPT = [Program(**p) for p in json.loads(pathlib.Path(__file__).with_name("programs.json").read_text())]


@pytest.fixture(scope="module")
def readings():
    with Readings(("native", "compiled")) as found:
        yield found


@pytest.mark.parametrize("program", KEPT, ids=lambda p: f"seed {p.seed}")
def test_native_and_compiled(readings, program):
    assert not readings.differences(program), str(program)

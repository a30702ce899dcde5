"""A few random programs, kept as `tests.fuzz.grammar` once wrote them for their seeds: native code, compiled functions and PyTorch make the same of them."""

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


@pytest.fixture(scope="module")
def others():
    with Readings(("array", "torch")) as found:
        yield found


@pytest.mark.parity
@pytest.mark.parametrize("program", KEPT, ids=lambda p: f"seed {p.seed}")
def test_pytorch(others, program):
    assert not others.differences(program), str(program)

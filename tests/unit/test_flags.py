"""Switches: one table, short, documented; an unknown one is an error."""

import os
import pathlib
import subprocess
import sys

import pytest

from flambeau._ground import flags

ROOT = pathlib.Path(__file__).parents[2]


def test_the_table_is_short_and_says_what_each_does():
    assert len(flags.TABLE) < 30
    for name, flag in flags.TABLE.items():
        assert name == flag.name
        assert flag.doc.endswith(".")
        assert type(flag.default) is flag.kind


def test_override_lasts_as_long_as_its_block():
    before = flags.get("assert_cached")
    with flags.override("assert_cached", not before):
        assert flags.get("assert_cached") is not before
    assert flags.get("assert_cached") is before


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("on", True), ("0", False), ("", False)])
def test_the_environment_sets_them(value, expected):
    code = "from flambeau._ground import flags; print(flags.get('assert_cached'))"
    env = {**os.environ, "FLAMBEAU_ASSERT_CACHED": value, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)


def test_an_unknown_variable_is_an_error():
    env = {**os.environ, "FLAMBEAU_NO_SUCH_SWITCH": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", "import flambeau"], env=env, capture_output=True, text=True)
    assert done.returncode
    assert "FLAMBEAU_NO_SUCH_SWITCH" in done.stderr

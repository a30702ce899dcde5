"""Every module of PyTorch's module database, ours on PyTorch's tensors: repr, state, initial values, outputs, errors."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.parity
@pytest.mark.slow
def test_module_database():
    program = pathlib.Path(__file__).with_name("compare_modules.py")
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, cwd=program.parent)
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
    assert "114 modules, 0 differences" in run.stdout

"""Programs as people write them, under `scripts/`: run whole, in a process of their own, they print what PyTorch's prints."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).parent / "scripts"


def printed(fl, path):
    """What a program prints under one of the libraries; what differs from run to run is left out."""
    words = [sys.executable, str(path)] if fl.__name__ == "torch" else [sys.executable, "-m", "flambeau", "run", str(path)]  # fmt: skip
    done = subprocess.run(words, cwd=SCRIPTS.parents[2], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return re.sub(r" at 0x[0-9a-f]+", "", done.stdout)


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_scripts_print_what_they_print_under_pytorch(agree, name):
    if name == "event_files" and importlib.util.find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed")
    agree(lambda fl: printed(fl, SCRIPTS / f"{name}.py"))

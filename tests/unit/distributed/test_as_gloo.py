"""Programs of several processes under PyTorch and under flambeau: one outcome on every rank."""

import os
import pathlib
import pickle
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def run(library, program, size, folder):
    """What every rank gave."""
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(HERE / "either.py"), library, program]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(size), str(folder)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(size)
    ]
    try:
        for rank, process in enumerate(ranks):
            _, errors = process.communicate(timeout=90)
            assert process.returncode == 0, f"rank {rank} of {library}: {errors[-3000:]}"
    finally:
        for process in ranks:
            process.kill()
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(size)]


def differences(a, b, path=()):
    """Where two outcomes differ: (path, one, other)."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for k in a for d in differences(a[k], b[k], (*path, k))]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, (*path, i))]
    same = a == pytest.approx(b, rel=1e-5) if isinstance(a, float) and isinstance(b, float) else a == b
    return [] if same else [(path, a, b)]


@pytest.mark.parity
@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("size", [2, 3])
def test_as_gloo(size, tmp_path):
    theirs, ours = (run(library, "everything", size, tmp_path / library) for library in ("torch", "flambeau"))
    assert differences(theirs, ours) == []

"""The typical programs: files under examples/ that PyTorch runs too, with the same numbers."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests import program
from tests.program import EXAMPLES

ROOT = pathlib.Path(__file__).parents[2]
PYTORCH_FILE = (
    pathlib.Path(__file__).parents[1] / "data" / "model.pt"
)  # written by PyTorch 2.13 running examples/save.py


def test_initial_parameters_are_pytorchs_to_the_bit(agree):
    def initial(fl):
        fl.manual_seed(0)
        X = fl.randn(256, 10), fl.randn(256, 1)
        model = fl.nn.Sequential(fl.nn.Linear(10, 64), fl.nn.ReLU(), fl.nn.Linear(64, 1))
        return X, dict(model.named_parameters())

    agree(initial, exact=True)


def test_training_has_pytorchs_losses(agree):
    def train(fl):
        names = program.run(fl, EXAMPLES / "train.py")
        return np.array(names["losses"])

    agree(train, rtol=1e-5, atol=0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_come_in_pytorchs_order(agree, num_workers):
    def walk(fl):
        names = program.run(fl, EXAMPLES / "data.py", name="data")
        batches = names["walk"](num_workers)
        return [len(batches), batches[0], batches[-1], [X.sum(dtype=fl.float64) for X, y in batches]]

    agree(walk, rtol=1e-7, atol=1e-9)


def test_a_saved_model_predicts_the_same(agree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save(fl):
        names = program.run(fl, EXAMPLES / "save.py")
        assert bool((names["found"] == names["expected"]).all())
        return names["expected"].detach()

    agree(save)


def test_a_transformer_learns_as_pytorchs(agree):
    def train(fl):
        names = program.run(fl, EXAMPLES / "characters.py", name="characters")
        return names["train"](6, False)[1]

    agree(train, rtol=1e-4, atol=0)


def test_pytorchs_file_is_read():
    import flambeau

    state = flambeau.load(PYTORCH_FILE)
    flambeau.manual_seed(0)
    model = flambeau.nn.Sequential(flambeau.nn.Linear(10, 64), flambeau.nn.ReLU(), flambeau.nn.Linear(64, 1))
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for name, parameter in model.state_dict().items():
        assert flambeau.equal(state[name], parameter), name


@pytest.mark.parity
def test_pytorch_reads_our_file(torch, tmp_path, monkeypatch):
    import flambeau

    monkeypatch.chdir(tmp_path)
    names = program.run(flambeau, EXAMPLES / "save.py")
    state = torch.load("model.pt")
    for name, parameter in names["model"].state_dict().items():
        np.testing.assert_array_equal(state[name].numpy(), parameter.numpy())


@pytest.mark.parametrize("name", ["train", "data", "save"])
@pytest.mark.parametrize("command", [["run"], []])
def test_the_files_run(name, command, tmp_path):
    words = [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore::DeprecationWarning",
        "-m",
        "flambeau",
        *command,
        str(EXAMPLES / f"{name}.py"),
    ]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == OUTPUT[name]


WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):  # finds everything but what is blocked, as if that were not installed
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
from flambeau.cli import main
main(["run", sys.argv[1]])
"""


@pytest.mark.parametrize("name", ["train", "data", "save"])
def test_the_files_run_with_numpy_and_ml_dtypes_alone(name, tmp_path):
    blocked = ("scipy", "llvmlite", "cupy", "sklearn", "matplotlib", "tqdm", "mpmath")
    words = [sys.executable, "-c", WITHOUT.format(blocked=blocked), str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == OUTPUT[name]


def environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


# What PyTorch 2.13 prints.
OUTPUT = {
    "train": "step 50: loss 0.8287\nstep 100: loss 0.7484\nstep 150: loss 0.6524\nstep 200: loss 0.5609\n",
    "data": "0 workers: 16 batches, first (64, 32) with 31 positive, last (40, 32)\n"
    "2 workers: 16 batches, first (64, 32) with 31 positive, last (40, 32)\n",
    "save": "same predictions: True\n",
}


@pytest.mark.skipif(sys.platform == "win32", reason="sockets of processes that were spawned")
def test_two_processes_have_pytorchs_losses():
    command = [sys.executable, "-m", "flambeau", "run", str(EXAMPLES / "ddp.py")]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    assert [line.split()[-1] for line in out.splitlines()] == [
        "0.3790",
        "0.3267",
        "0.3091",
        "0.2860",
        "0.2649",
    ]  # PyTorch's

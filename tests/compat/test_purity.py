"""The library floors know only the public interface: over real PyTorch, in place of flambeau, they work all the same."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

PRELUDE = """
import importlib, importlib.util, pathlib, sys, warnings
from importlib.machinery import ModuleSpec
warnings.simplefilter("ignore")
import torch, torch.optim, torch.utils.data

ROOM, ROOT = {room!r}, pathlib.Path({root!r})
theirs = importlib.import_module(ROOM.replace("flambeau", "torch", 1))

class Finder:  # flambeau.x is torch.x, but for the room
    def find_spec(self, name, path=None, target=None):
        if name == ROOM or name.startswith(ROOM + "."):
            file, spec = ROOT.joinpath(*name.split(".")), importlib.util.spec_from_file_location
            if file.is_dir():
                return spec(name, file / "__init__.py", submodule_search_locations=[str(file)])
            return spec(name, file.with_suffix(".py")) if file.with_suffix(".py").exists() else None
        if name.startswith("flambeau."):
            return ModuleSpec(name, self)

    def create_module(self, spec):
        module = importlib.import_module("torch" + spec.name[8:])
        self.kept = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = self.kept

sys.meta_path.insert(0, Finder())
sys.modules["flambeau"] = torch
ours = importlib.import_module(ROOM)
assert ours is not theirs and str(ROOT) in ours.__file__
"""

OPTIM = """
def train(optim, name):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.GELU(), torch.nn.Linear(12, 3))
    x, y = torch.randn(40, 6), torch.randn(40, 3)
    optimizer = getattr(optim, name)(model.parameters(), lr=1e-2)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    losses = []
    for step in range(10):
        def closure():
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            return loss
        losses.append(optimizer.step(closure).item())
        schedule.step()
    return losses

for name in "SGD Adam AdamW RMSprop Adagrad Adadelta NAdam RAdam Adamax LBFGS".split():
    torch.testing.assert_close(train(ours, name), train(theirs, name), rtol=1e-4, atol=1e-6)
"""

DATA = """
class Squares(ours.Dataset):
    def __len__(self):
        return 50
    def __getitem__(self, i):
        return {"x": torch.tensor([float(i)]), "y": i * i, "name": str(i)}

def batches(data, workers):
    torch.manual_seed(0)
    return list(data.DataLoader(Squares(), batch_size=8, shuffle=True, num_workers=workers))

for workers in (0, 2):
    for a, b in zip(batches(ours, workers), batches(theirs, workers), strict=True):
        assert torch.equal(a["x"], b["x"]) and torch.equal(a["y"], b["y"]) and a["name"] == b["name"]
"""


@pytest.mark.parity
@pytest.mark.parametrize(("room", "program"), [("flambeau.optim", OPTIM), ("flambeau.utils.data", DATA)])
def test_it_works_over_pytorch(torch, room, program):
    if not ROOT.joinpath(*room.split("."), "__init__.py").exists():
        pytest.skip("not there yet")
    code = PRELUDE.format(room=room, root=str(ROOT)) + program
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

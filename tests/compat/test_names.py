"""PyTorch's public names: each is present, or listed in missing.txt; and no others leak, but for additions.txt.

names.json holds the names (facts, written from PyTorch 2.13 by `pytest --update-golden` where it is installed). The same
option rewrites missing.txt and additions.txt (names that PyTorch does not have) from what is there now; the review
reads the difference.
"""

import json
import pathlib
import subprocess
import sys
import types

import pytest

HERE = pathlib.Path(__file__).parent
SPACES = [
    "torch", "torch.Tensor", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.nn.Module",
    "torch.nn.utils.rnn", "torch.nn.utils.parametrizations", "torch.optim", "torch.optim.lr_scheduler", "torch.autograd",
    "torch.autograd.functional", "torch.autograd.graph", "torch.utils.data", "torch.linalg", "torch.fft", "torch.special",
    "torch.random", "torch.serialization", "torch.Generator", "torch.Size", "torch.dtype", "torch.device",
]  # fmt: skip

INTERNAL = (
    "torch.autograd",
    "torch.serialization",
    "torch.random",
    "torch.dtype",
    "torch.Generator",
)  # theirs leak too


def find(library, space):
    """The module or class that is `torch.x.y` in a library, or None."""
    found = library
    for part in space.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def has(found, name):
    try:
        return hasattr(found, name)
    except ModuleNotFoundError:
        return False


def names_of(library, space):
    """Public names of `torch.x.y` in a library, without the foreign modules that are visible by accident."""
    found, names = find(library, space), set()
    for name in dir(found) if found else ():
        if name.startswith("_"):
            continue
        try:
            value = getattr(found, name)
        except AttributeError:  # listed by `dir` for completion, but not there yet
            continue
        if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] not in ("torch", "flambeau"):
            continue
        origin = getattr(value, "__module__", None) or type(value).__module__
        if isinstance(found, types.ModuleType) and origin.partition(".")[0] in ("typing", "__future__", "collections"):
            continue
        names.add(name)
    return names


def listed():
    return set((HERE / "missing.txt").read_text().split())


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_the_facts_are_pytorchs(torch, request):
    # In a process of its own: what other tests make PyTorch import adds names.
    code = "import json, torch; from tests.compat.test_names import *; print(json.dumps({s: sorted(names_of(torch, s)) for s in SPACES}))"
    facts = json.loads(
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            check=True,
            text=True,
            cwd=HERE.parents[1],
        ).stdout
    )
    path = HERE / "names.json"
    if request.config.getoption("--update-golden"):
        path.write_text(json.dumps(facts, indent=0) + "\n")
    assert json.loads(path.read_text()) == facts


@pytest.mark.filterwarnings("ignore")
def test_every_public_name_is_there_or_listed(request):
    import flambeau

    absent = set()
    for space, names in json.loads((HERE / "names.json").read_text()).items():
        ours = find(flambeau, space)
        absent |= {space} if ours is None else {f"{space}.{name}" for name in names if not has(ours, name)}
    if request.config.getoption("--update-golden"):
        (HERE / "missing.txt").write_text("".join(f"{name}\n" for name in sorted(absent)))
    lost = {name for name in absent - listed() if name.rpartition(".")[0] not in listed()}
    assert not lost, f"these names of PyTorch are gone: {sorted(lost)}"


@pytest.mark.filterwarnings("ignore")
def test_no_other_name_leaks(request):
    import flambeau

    leaked, facts = set(), json.loads((HERE / "names.json").read_text())
    for space, names in facts.items():
        if space.startswith(INTERNAL):
            continue
        more = names_of(flambeau, space) - set(names)
        # An in-place form that PyTorch has as a method only is derived as a function too.
        too = (
            {name for name in more if name.endswith("_") and hasattr(flambeau.Tensor, name)}
            if space != "torch.Tensor"
            else set()
        )
        leaked |= {f"{space}.{name}" for name in more - too}
    if request.config.getoption("--update-golden"):
        (HERE / "additions.txt").write_text("".join(f"{name}\n" for name in sorted(leaked)))
    additions = set((HERE / "additions.txt").read_text().split())
    assert not leaked - additions, f"public names that PyTorch does not have: {sorted(leaked - additions)}"

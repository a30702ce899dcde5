"""PyTorch's public names: each is present, or listed in missing.txt; and no others leak.

names.json holds the names (facts, written from PyTorch 2.13 by `pytest --update-golden` where it is installed). The same
option rewrites missing.txt from what is absent now; the review reads the difference.
"""

import importlib
import json
import pathlib
import types

import pytest

HERE = pathlib.Path(__file__).parent
SPACES = [
    "torch", "torch.Tensor", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.nn.Module",
    "torch.nn.utils.rnn", "torch.nn.utils.parametrizations", "torch.optim", "torch.optim.lr_scheduler", "torch.autograd",
    "torch.autograd.functional", "torch.autograd.graph", "torch.utils.data", "torch.linalg", "torch.fft", "torch.special",
    "torch.random", "torch.serialization", "torch.Generator", "torch.Size", "torch.dtype", "torch.device",
]  # fmt: skip


def names_of(library, space):
    """Public names of `torch.x.y` in a library, without the foreign modules that are visible by accident."""
    found = library
    for part in space.split(".")[1:]:
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(f"{found.__name__}.{part}")
            except (ModuleNotFoundError, AttributeError):
                return None
    names = set()
    for name in dir(found):
        if name.startswith("_"):
            continue
        try:
            value = getattr(found, name)
        except AttributeError:  # listed by `dir` for completion, but not there yet
            continue
        if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] not in ("torch", "flambeau"):
            continue
        if isinstance(found, types.ModuleType) and getattr(value, "__module__", "").partition(".")[0] == "typing":
            continue
        names.add(name)
    return names


def listed():
    return set((HERE / "missing.txt").read_text().split())


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_the_facts_are_pytorchs(torch, request):
    facts = {space: sorted(names_of(torch, space)) for space in SPACES}
    path = HERE / "names.json"
    if request.config.getoption("--update-golden"):
        path.write_text(json.dumps(facts, indent=0) + "\n")
    assert json.loads(path.read_text()) == facts


@pytest.mark.filterwarnings("ignore")
def test_every_public_name_is_there_or_listed(request):
    import flambeau

    absent = set()
    for space, names in json.loads((HERE / "names.json").read_text()).items():
        ours = names_of(flambeau, space)
        absent |= {space} if ours is None else {f"{space}.{name}" for name in names if name not in ours}
    if request.config.getoption("--update-golden"):
        (HERE / "missing.txt").write_text("".join(f"{name}\n" for name in sorted(absent)))
    lost = {name for name in absent - listed() if name.rpartition(".")[0] not in listed()}
    assert not lost, f"these names of PyTorch are gone: {sorted(lost)}"


@pytest.mark.filterwarnings("ignore")
def test_no_other_name_leaks():
    import flambeau

    leaked = []
    for space, names in json.loads((HERE / "names.json").read_text()).items():
        leaked += [f"{space}.{name}" for name in sorted((names_of(flambeau, space) or set()) - set(names))]
    additions = set((HERE / "additions.txt").read_text().split())
    assert not set(leaked) - additions, f"public names that PyTorch does not have: {sorted(set(leaked) - additions)}"

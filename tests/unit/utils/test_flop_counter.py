"""Operations counted by module and operator, as PyTorch counts them."""

import importlib

import pytest

import flambeau
from flambeau.utils.flop_counter import FlopCounterMode, register_flop_formula
from flambeau.utils.module_tracker import ModuleTracker


def counted(fl, build, *shapes):
    counter = importlib.import_module(f"{fl.__name__}.utils.flop_counter").FlopCounterMode(display=False)
    model = build(fl.nn)
    with counter:
        out = model(*(fl.ones(s) for s in shapes))
        (out[0] if isinstance(out, tuple) else out).sum().backward()
    return {
        name: {str(k): v for k, v in found.items()} for name, found in counter.get_flop_counts().items()
    }, counter.get_total_flops()


MODELS = {
    "convolutions": (
        lambda nn: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2), nn.Flatten(), nn.Linear(162, 5)),
        (2, 3, 8, 8),
    ),
    "nested": (lambda nn: nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))), (5, 3)),
    "attention": (lambda nn: nn.MultiheadAttention(8, 2), (5, 2, 8), (5, 2, 8), (5, 2, 8)),
    "grouped": (lambda nn: nn.Conv1d(4, 6, 3, groups=2), (2, 4, 9)),
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("name", MODELS)
def test_counts(torch, name):
    assert counted(flambeau, *MODELS[name]) == counted(torch, *MODELS[name])


def test_the_table(capsys):
    net = flambeau.nn.Sequential(flambeau.nn.Linear(3, 4), flambeau.nn.Linear(4, 500))
    with FlopCounterMode() as counter:
        net(flambeau.ones(2, 3))
    shown = capsys.readouterr().out
    assert shown == counter.get_table() + "\n"
    assert shown == (
        "Module              FLOP  % Total\n"
        "--------------  --------  -------\n"
        "Sequential      8048.000  100.00%\n"
        " - aten.addmm   8048.000  100.00%\n"
        " Sequential.0     48.000    0.60%\n"
        "  - aten.addmm    48.000    0.60%\n"
        " Sequential.1   8000.000   99.40%\n"
        "  - aten.addmm  8000.000   99.40%\n"
    )


def test_formulas_of_ones_own():
    with FlopCounterMode(
        display=False, custom_mapping={flambeau.ops.aten.sin: lambda x, out_shape=None: 7 * x.numel()}
    ) as counter:
        flambeau.ones(3).sin()
    assert counter.get_total_flops() == 21
    with pytest.raises(RuntimeError, match="duplicate registrations"):
        register_flop_formula(flambeau.ops.aten.mm)(lambda *a, **k: 0)
    with pytest.raises(ValueError, match="OpOverloadPacket"):
        register_flop_formula(len)(lambda *a, **k: 0)


def test_modules_are_tracked_in_both_directions():
    net, seen = flambeau.nn.Sequential(flambeau.nn.Linear(2, 2), flambeau.nn.ReLU()), []
    x = flambeau.ones(1, 2, requires_grad=True)
    with ModuleTracker() as tracker:
        net[0].register_forward_pre_hook(lambda *_: seen.append(sorted(tracker.parents)))
        net[0].register_forward_hook(
            lambda m, i, o: o.register_hook(lambda g: seen.append(sorted(tracker.parents))) and None
        )
        out = net(x)
        assert tracker.parents == {"Global"}
        out.sum().backward()
    assert seen[0] == ["Global", "Sequential", "Sequential.0"]
    assert "Sequential.0" in seen[1]

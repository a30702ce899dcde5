"""Compiled functions tell what eager ones tell, whatever changes between their calls."""

import importlib

import pytest

import flambeau as torch
from tests.capture import world

for _topic in (
    "names",
    "containers",
    "objects",
    "modules",
    "tensors",
    "modes",
    "python",
    "breaks",
    "libraries",
    "functions",
    "classes",
    "generators",
    "contexts",
    "hooks",
    "aliases",
    "autocast",
    "warnings",
    "indices",
    "transforms",
    "changes",
    "checks",
    "programs",
    "designs",
    "training",
    "states",
):
    importlib.import_module(f"tests.capture.cases_{_topic}")


@pytest.mark.parametrize("case", world.CASES, ids=lambda c: f"{c.__module__.rpartition('_')[2]}-{c.__name__}")
def test_case(case):
    torch.manual_seed(0)
    expected = case(lambda fn, **options: fn)
    torch.manual_seed(0)
    options = {"fullgraph": True} if getattr(case, "whole", False) else {}
    found = case(lambda fn, **more: torch.compile(fn, backend="eager", **options, **more))
    assert world.same(expected, found, getattr(case, "within", 0.0)), f"eager: {expected!r}\ncompiled: {found!r}"


NATIVE = (
    "aliases",
    "autocast",
    "changes",
    "checks",
    "indices",
    "transforms",
    "tensors",
    "modes",
    "breaks",
    "hooks",
    "programs",
    "designs",
    "training",
    "states",
)  # what programs could get wrong that graphs do not


@pytest.mark.parametrize(
    "case", [c for c in world.CASES if c.__module__.endswith(NATIVE)], ids=lambda c: f"{c.__module__.rpartition('_')[2]}-{c.__name__}"
)  # fmt: skip
def test_native(case):
    torch.manual_seed(0)
    expected = case(lambda fn, **options: fn)
    torch.manual_seed(0)
    found = case(torch.compile)
    assert world.same(expected, found, getattr(case, "within", 1e-6)), f"eager: {expected!r}\ncompiled: {found!r}"


def test_there_are_many():
    assert len(world.CASES) >= 200

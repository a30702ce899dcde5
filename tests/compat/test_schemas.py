"""Schemas of operators against PyTorch's.

schemas.json holds PyTorch's texts (facts) for the overloads that exist here.
`pytest --update-golden` rewrites the file where PyTorch is installed; the review reads the difference.
"""

import json
import pathlib

import pytest

from flambeau import _operators
from flambeau._operators._schema import schema
from flambeau._operators.op import REGISTRY

HERE = pathlib.Path(__file__).parent
FACTS = json.loads((HERE / "schemas.json").read_text())
_operators.load()


@pytest.mark.parametrize("name", sorted(FACTS))
def test_schema(name):
    assert schema(REGISTRY[name], name) == FACTS[name]


@pytest.mark.parity
def test_the_facts_are_pytorchs(torch, request):
    facts = {
        s.name + (f".{s.overload_name}" if s.overload_name else ""): str(s) for s in torch._C._jit_get_all_schemas()
    }
    facts = {n: facts[f"aten::{n}"] for n in sorted(REGISTRY) if f"aten::{n}" in facts}
    if request.config.getoption("--update-golden"):
        (HERE / "schemas.json").write_text(json.dumps(facts, indent=0) + "\n")
    assert all(facts[n] == text for n, text in FACTS.items() if n in facts)


def test_parameters_are_pytorchs():
    """What every schema calls a parameter, the operator does too."""
    assert (
        schema(REGISTRY["add.Tensor"], "add.Tensor")
        == "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"
    )
    assert schema(REGISTRY["sort"]).endswith("-> (Tensor values, Tensor indices)")

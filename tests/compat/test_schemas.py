"""Schemas of operators against PyTorch's.

schemas.json holds PyTorch's texts (facts) for the overloads that exist here. Compared up to what the signatures do not say: the lengths
of lists, which integers are symbolic, and names of results.
`pytest --update-golden` rewrites the file where PyTorch is installed; the review reads the difference.
"""

import json
import pathlib
import re

import pytest

from flambeau import _operators
from flambeau._operators._schema import schema
from flambeau._operators.op import REGISTRY

HERE = pathlib.Path(__file__).parent
FACTS = json.loads((HERE / "schemas.json").read_text())
_operators.load()


def plain(text: str) -> str:
    """A schema without what signatures do not say."""
    head, _, result = text.partition(") -> ")
    head = re.sub(r"\[\d\]", "[]", head.replace("SymInt", "int")).replace("(a)", "")
    head = re.sub(r"=\[(\d)(, \1)*\]", r"=\1", head)
    return head + ") -> " + re.sub(r"(Tensor(\[\])?) \w+", r"\1", result.replace("(a)", ""))


@pytest.mark.parametrize("name", sorted(FACTS))
def test_schema(name):
    assert plain(schema(REGISTRY[name], name)) == plain(FACTS[name])


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

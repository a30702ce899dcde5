"""Schemas of operators against PyTorch's.

schemas.json holds PyTorch's texts (facts) for the overloads that exist here; schemas_differ.txt lists those whose printed schema
is another, mostly because one body serves several overloads with optional parameters. Compared up to what the signatures do not
say: the lengths of lists, which integers are symbolic, whether the first tensor is called self or input, and names of results.
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
DIFFER = frozenset((HERE / "schemas_differ.txt").read_text().split())
_operators.load()


def plain(text: str) -> str:
    """A schema without what signatures do not say."""
    head, _, result = text.partition(") -> ")
    head = re.sub(r"\[\d\]", "[]", head.replace("SymInt", "int")).replace("Tensor input", "Tensor self").replace("(a)", "")
    head = re.sub(r"=\[(\d)\]", r"=\1", head)
    return head + ") -> " + re.sub(r"(Tensor(\[\])?) \w+", r"\1", result.replace("(a)", ""))


@pytest.mark.parametrize("name", sorted(set(FACTS) - DIFFER))
def test_schema(name):
    assert plain(schema(REGISTRY[name], name)) == plain(FACTS[name])


def test_the_list_of_differences_is_current():
    stale = [n for n in sorted(DIFFER) if n not in REGISTRY or plain(schema(REGISTRY[n], n)) == plain(FACTS[n])]
    assert not stale


def test_parameters_are_pytorchs():
    """What every schema calls a parameter, the operator does too."""
    assert schema(REGISTRY["add.Tensor"], "add.Tensor") == "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"
    assert schema(REGISTRY["sort"]).endswith("-> (Tensor values, Tensor indices)")

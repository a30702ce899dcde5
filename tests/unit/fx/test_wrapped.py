"""Functions that a trace records by name, as code; functions that make tensors of traced sizes."""

from math import sqrt

import pytest


def helper(x, n):
    return x + n


def doubled(x):
    return x * 2


def program(x):
    return doubled(helper(x, len(x)) + sqrt(x.size(0)))


def traced(fl, fn):
    """As if `fx.wrap` had been called at the top of this module."""
    from importlib import import_module

    trace = import_module(f"{fl.__name__}.fx._symbolic_trace")
    names = ("len", "sqrt", "helper", "doubled")
    if fl.__name__ == "torch":
        added = {(id(globals()), n): globals() for n in names}
        trace._wrapped_fns_to_patch.update(added)
    else:
        added = [(globals(), n) for n in names]
        trace._wrapped.extend(added)
    try:
        return fl.fx.symbolic_trace(fn)
    finally:
        for a in added:
            trace._wrapped_fns_to_patch.pop(a) if fl.__name__ == "torch" else trace._wrapped.remove(a)


@pytest.mark.parametrize("fn", [program, helper], ids=lambda f: f.__name__)
def test_wrapped_functions_are_written(agree, fn):
    def run(fl):
        made = traced(fl, fn)
        again = fl.fx.symbolic_trace(made)
        return [g.code.replace("flambeau", "torch") for g in (made, again)], made.print_readable(False).replace(
            "flambeau", "torch"
        )

    agree(run, grads=0)


def test_lines_of_nodes():
    import flambeau

    made = traced(flambeau, program)
    lines = made.code.split("\n")
    nodes = list(made.graph.nodes)
    for line, at in made._lineno_map.items():
        if at is not None and nodes[at].op == "call_function":
            assert nodes[at].name in lines[line - 1]


MAKERS = {
    "zeros": lambda fl: lambda x: fl.zeros(x.shape[0]),
    "of a tensor": lambda fl: lambda x: fl.zeros(x),
    "ones": lambda fl: lambda x: fl.ones(3, x.size(0)),
    "full": lambda fl: lambda x: fl.full((x.size(0),), 1.0),
    "arange": lambda fl: lambda x: fl.arange(x.size(0)),
    "empty": lambda fl: lambda x: fl.empty((2, x.size(0)), dtype=x.dtype),
    "rand": lambda fl: lambda x: fl.rand(x.size(0)),
    "like": lambda fl: lambda x: fl.zeros_like(x),
    "new": lambda fl: lambda x: x.new_zeros(x.size(0)),
    "eye": lambda fl: lambda x: fl.eye(x.size(0)),
    "linspace": lambda fl: lambda x: fl.linspace(0, 1, x.size(0)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_tensors_of_traced_sizes(agree, name):
    agree(lambda fl: fl.fx.symbolic_trace(MAKERS[name](fl)).code.replace("flambeau", "torch"), grads=0)

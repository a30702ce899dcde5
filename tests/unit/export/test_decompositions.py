"""Graphs whose operators are taken apart: programs as core ATen, make_fx with a table."""

import pytest

import flambeau
from flambeau import nn
from flambeau._decomp import core_aten_decompositions, get_decompositions, register_decomposition
from flambeau._decomp.core import CORE
from flambeau.export import default_decompositions, export
from flambeau.export.graph_signature import OutputKind
from flambeau.fx.experimental.proxy_tensor import make_fx

from .test_program import models

F = nn.functional
aten = flambeau.ops.aten


def targets(module):
    return [node.target for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", ["mixed", "attention", "recurrent", "conv"])
def test_a_program_computes_the_same_when_it_is_taken_apart(name):
    flambeau.manual_seed(0)
    model, args, kwargs, dynamic = models(flambeau)[name]
    program = export(model, args, kwargs, dynamic_shapes=dynamic)
    before = {k: v.clone() for k, v in program.state_dict.items()}
    apart = program.run_decompositions()
    assert all(flambeau.equal(before[k], v) for k, v in program.state_dict.items()), "tracing left the state as it was"
    assert not {aten.linear.default, aten.batch_norm.default} & set(targets(apart.graph_module))
    for n in (1,) if dynamic is None else (1, 2, 3, 6):
        given = args if dynamic is None else tuple(flambeau.cat([a] * n) for a in args)
        expected = model(*given, **kwargs)
        stored = {k: v.clone() for k, v in model.state_dict().items()}
        for k, v in model.state_dict().items():
            v.copy_(before[k])
        module = apart.module()
        flambeau.testing.assert_close(module(*given, **kwargs), expected, rtol=1e-5, atol=1e-5)
        for k, v in stored.items():
            flambeau.testing.assert_close(module.state_dict()[k], v, rtol=1e-5, atol=1e-5)


def test_what_a_program_writes_it_returns_first():
    model, args, kwargs, _ = models(flambeau)["mixed"]
    program = export(model, args, kwargs).run_decompositions()
    assert [(s.kind, s.target) for s in program.graph_signature.output_specs[:3]] == [
        (OutputKind.BUFFER_MUTATION, f"bn.{name}") for name in ("running_mean", "running_var", "num_batches_tracked")
    ]
    assert not any(str(t).split(".")[1].endswith("_") for t in targets(program.graph_module) if "aten" in str(t))


def test_write_into_a_view_is_refused():
    class Model(nn.Module):
        def forward(self, x):
            y = x * 2
            y[0].add_(1)
            return y

    program = export(Model(), (flambeau.ones(2, 3),))
    with pytest.raises(NotImplementedError, match="run_decompositions of a model that writes into a view"):
        program.run_decompositions()


def test_a_table_of_ones_own():
    class Model(nn.Module):
        def forward(self, x):
            return F.silu(x) + F.gelu(x)

    table = default_decompositions()
    table[aten.gelu.default] = lambda x, approximate="none": x * 3
    table.pop(aten.silu.default)
    program = export(Model(), (flambeau.ones(3),)).run_decompositions(table)
    assert targets(program.graph_module) == [aten.silu.default, aten.mul.Tensor, aten.add.Tensor]


@pytest.mark.parametrize(
    "f",
    [
        F.silu,
        F.gelu,
        F.hardswish,
        lambda x: flambeau.addcmul(x, x, x, value=2),
        lambda x: F.smooth_l1_loss(x, x * 2),
        lambda x: x.std(0),
        lambda x: flambeau.logsumexp(x, 1),
        lambda x: F.layer_norm(x, (4,)),
        lambda x: F.softmax(x.half(), 1),
        lambda x: F.cross_entropy(x, flambeau.tensor([0, 1, 2])),
        lambda x: flambeau.linalg.svd(x)[1],
    ],
    ids=[
        "silu",
        "gelu",
        "hardswish",
        "addcmul",
        "smooth_l1",
        "std",
        "logsumexp",
        "layer_norm",
        "half",
        "cross_entropy",
        "svd",
    ],
)
def test_make_fx_with_the_core_table_computes_the_same(f):
    x = flambeau.randn(3, 4, generator=flambeau.Generator().manual_seed(0))
    traced = make_fx(f, core_aten_decompositions())(x)
    flambeau.testing.assert_close(traced(x), f(x), rtol=1e-4, atol=1e-5)


def test_a_call_comes_apart_into_its_definition():
    x = flambeau.ones(3)
    table = get_decompositions([aten.addcmul])
    assert [str(t) for t in targets(make_fx(lambda x: flambeau.addcmul(x, x, x, value=2), table)(x))] == [
        "aten.mul.Tensor", "aten.mul.Tensor", "aten.add.Tensor",
    ]  # fmt: skip
    assert targets(make_fx(flambeau.sin, table)(x)) == [aten.sin.default]


def test_registering():
    registry = {}

    @register_decomposition(aten.sin, registry)
    def sin(x):
        return x.cos()

    assert set(registry) >= {aten.sin.default}
    assert targets(make_fx(flambeau.sin, registry)(flambeau.ones(2))) == [aten.cos.default]
    with pytest.raises(RuntimeError, match="duplicate registrations for"):
        register_decomposition(aten.sin, registry)(sin)


def test_core_operators_are_no_decompositions():
    assert not CORE & {str(t).removeprefix("aten.").removesuffix(".default") for t in core_aten_decompositions()}

"""Recurrent networks as PyTorch has them: layers, directions, packed sequences, dropout between layers, derivatives of both orders."""

import pytest

import flambeau
from tests.agree import rand

FORMS = {
    "plain": {},
    "two layers both ways": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "dropout": {"num_layers": 2, "dropout": 0.4},
    "no bias": {"bias": False},
}
KINDS = {
    "LSTM": FORMS | {"projected": {"proj_size": 3, "bidirectional": True}},
    "GRU": FORMS,
    "RNN": FORMS | {"relu": {"nonlinearity": "relu"}},
}
CASES = [(kind, form) for kind, forms in KINDS.items() for form in forms]


def run(t, kind, form, x, pack):
    layer = getattr(t.nn, kind)(5, 7, **KINDS[kind][form]).to(x.dtype)
    if pack:
        first = layer.batch_first
        x = t.nn.utils.rnn.pack_padded_sequence(x, t.tensor([4, 2, 1]), batch_first=first)
    out, states = layer(x)
    out = out.data if pack else out
    results = (out, *(states if isinstance(states, tuple) else (states,)))
    loss = sum((r * r.cos()).sum() for r in results)
    return *results, t.autograd.grad(loss, list(layer.parameters()), retain_graph=True)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("pack", [False, True], ids=["dense", "packed"])
@pytest.mark.parametrize(("kind", "form"), CASES)
def test_layers(agree, kind, form, pack):
    shape = (3, 4, 5) if KINDS[kind][form].get("batch_first") else (4, 3, 5)
    agree(lambda t, x: run(t, kind, form, x, pack), rand(*shape), grads=2 if form == "plain" and not pack else 1)
    agree(lambda t, x: run(t, kind, form, x, pack), rand(*shape, dtype="float32"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_derivatives(kind):
    import flambeau as torch

    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(2, 3).double()
    x, h = torch.randn(3, 2, 2, dtype=torch.float64), torch.randn(1, 2, 3, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (x, h, *layer.parameters())]
    f = lambda x, h, *_: layer(x, (h, h * 2) if kind == "LSTM" else h)[0]
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs[:2])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_sequences_of_no_length_are_refused(agree, kind):
    def program(fl):
        return getattr(fl.nn, kind)(8, 2, batch_first=True)(fl.zeros(2, 0, 8))[0]

    agree(program, raises=RuntimeError)


@pytest.mark.parametrize("count", [3, 5, 8])
def test_other_numbers_of_parameters_are_refused(count):
    net = flambeau.nn.LSTM(8, 2)
    state = [flambeau.zeros(1, 2, 2)] * 2
    params = (list(net.parameters()) * 2)[:count]
    with pytest.raises(RuntimeError, match="got an incorrect number of RNN parameters"):
        flambeau.lstm(flambeau.zeros(3, 2, 8), state, params, True, 1, 0.0, False, False, False)


def test_an_lstm_has_two_states(agree):
    def program(fl):
        net = fl.nn.LSTM(8, 2)
        return fl.lstm(
            fl.zeros(3, 2, 8), [fl.zeros(1, 2, 2)], list(net.parameters()), True, 1, 0.0, False, False, False
        )

    agree(program, raises=RuntimeError)

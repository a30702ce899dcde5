"""LSTMs and attention taken apart compute what the whole ones do."""

import pytest

from tests.agree import rand


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
def test_lstm(agree, split, directions):
    def program(fl, x, h, c):
        fl.manual_seed(0)
        lstm = fl.ao.nn.quantizable.LSTM(
            3, 4, 2 if directions == 1 else 1, batch_first=True, bidirectional=directions == 2, split_gates=split
        )
        found = (
            lstm(x.float()),
            lstm(x.float(), (h.float(), c.float())),
            repr(lstm),
            list(lstm.state_dict()),
            lstm.training,
        )
        return [*found, next(iter(lstm.named_parameters()))[1]]

    n = 2
    agree(program, rand(2, 5, 3), rand(n, 2, 4, seed=1), rand(n, 2, 4, seed=2), grads=0)


@pytest.mark.parametrize("split", [False, True])
def test_lstm_of_a_whole_one(agree, split):
    """What one layer computes is what `nn.LSTM` computes."""

    def program(fl, x):
        fl.manual_seed(0)
        whole = fl.nn.LSTM(3, 4, 1, bidirectional=True)
        whole.qconfig = None
        layer = fl.ao.nn.quantizable.modules.rnn._LSTMLayer.from_float(whole, 0, split_gates=split)
        found = layer(x.float())
        assert fl.allclose(found[0], whole(x.float())[0], atol=1e-6)
        return found, list(layer.state_dict())

    agree(program, rand(5, 2, 3), grads=0)


def test_cell(agree):
    def program(fl, x):
        fl.manual_seed(0)
        whole = fl.nn.LSTMCell(3, 4)
        whole.qconfig = "told"
        cell = fl.ao.nn.quantizable.LSTMCell.from_float(whole, split_gates=True)
        state = fl.ones(2, 4), fl.zeros(2, 4)
        return cell(x.float(), state), whole(x.float(), state), cell(x.float()), repr(cell), cell.hgates["cell"].qconfig

    agree(program, rand(2, 3), grads=0)
    agree(lambda fl: fl.ao.nn.quantizable.LSTMCell.from_float(fl.nn.LSTMCell(2, 2)), raises=AssertionError)
    agree(lambda fl: fl.ao.nn.quantizable.LSTM(2, 2, dropout=2.0), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantizable.LSTM.from_observed(None), raises=NotImplementedError)


def test_dropout_is_told_to_be_ignored():
    import flambeau

    with pytest.warns(UserWarning, match="dropout option") as told:
        flambeau.ao.nn.quantizable.LSTM(2, 2, dropout=0.5)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("options", "masks"),
    [
        ({}, ()),
        ({"batch_first": True}, ("attn_mask",)),
        ({"add_bias_kv": True, "kdim": 5, "vdim": 7}, ("key_padding_mask",)),
        ({"add_zero_attn": True, "bias": False}, ("key_padding_mask", "heads")),
        ({"add_zero_attn": True, "add_bias_kv": True}, ("key_padding_mask", "float")),
    ],
)
def test_attention(agree, options, masks):
    def program(fl, q, k, v):
        fl.manual_seed(0)
        q, k, v = q.float(), k.float(), v.float()
        made = fl.ao.nn.quantizable.MultiheadAttention(8, 2, **options)
        given = {}
        if "key_padding_mask" in masks:
            given["key_padding_mask"] = fl.tensor([[False, False, True], [False, True, False]])
        if "attn_mask" in masks:
            given["attn_mask"] = fl.ones(4, 3).triu(2).bool()
        if "float" in masks:
            given["attn_mask"] = fl.ones(4, 3)
        if "heads" in masks:
            given["attn_mask"] = fl.arange(48).view(4, 4, 3) % 5 == 1
        if options.get("batch_first"):
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        first = made(q, k, v, **given)
        return (
            first,
            made(q, k, v, need_weights=False),
            made(q, k, v, average_attn_weights=False)[1],
            repr(made),
            list(made.state_dict()),
        )

    agree(
        program,
        rand(4, 2, 8),
        rand(3, 2, options.get("kdim", 8), seed=1),
        rand(3, 2, options.get("vdim", 8), seed=2),
        grads=0,
    )


def test_attention_refuses(agree):
    def program(fl, **given):
        made = fl.ao.nn.quantizable.MultiheadAttention(8, 2)
        return made(fl.ones(4, 2, 8), fl.ones(3, 2, 8), fl.ones(3, 2, 8), **{k: v(fl) for k, v in given.items()})

    agree(lambda fl: program(fl, attn_mask=lambda fl: fl.ones(2, 2)), raises=RuntimeError)
    agree(lambda fl: program(fl, attn_mask=lambda fl: fl.ones(2, 2, 2)), raises=RuntimeError)
    agree(lambda fl: program(fl, attn_mask=lambda fl: fl.ones(3)), raises=RuntimeError)
    agree(lambda fl: program(fl, attn_mask=lambda fl: fl.ones(4, 3).int()), raises=AssertionError)
    agree(lambda fl: program(fl, key_padding_mask=lambda fl: fl.ones(1, 3).bool()), raises=AssertionError)
    agree(lambda fl: program(fl, key_padding_mask=lambda fl: fl.ones(2, 4).bool()), raises=AssertionError)
    agree(lambda fl: program(fl, is_causal=lambda fl: True), raises=AssertionError)
    agree(
        lambda fl: fl.ao.nn.quantizable.MultiheadAttention.from_float(fl.nn.MultiheadAttention(4, 2)),
        raises=AssertionError,
    )
    agree(lambda fl: fl.ao.nn.quantizable.MultiheadAttention.from_observed(None), raises=NotImplementedError)

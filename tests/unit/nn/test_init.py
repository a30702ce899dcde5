"""nn.init: the same numbers from the same seed, and PyTorch's errors."""

import pytest


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("uniform_", (-1, 2)),
        ("normal_", (1, 0.5)),
        ("trunc_normal_", ()),
        ("trunc_normal_", (0.0, 1.0, 2.0, 3.0)),
        ("trunc_normal_", (0.0, 0.02, -0.04, 0.04)),
        ("constant_", (3,)),
        ("ones_", ()),
        ("zeros_", ()),
        ("eye_", ()),
        ("xavier_uniform_", (2.0,)),
        ("xavier_normal_", ()),
        ("kaiming_uniform_", (0.1, "fan_out")),
        ("kaiming_normal_", (0, "fan_in", "relu")),
        ("sparse_", (0.3,)),
    ],
)
def test_values(agree, name, args):
    agree(lambda fl: getattr(fl.nn.init, name)(fl.nn.Parameter(fl.empty(6, 5)), *args))


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (5, 3), (2, 3, 2)])
def test_orthogonal(agree, size):
    agree(lambda fl: fl.nn.init.orthogonal_(fl.empty(size), 2.0), atol=1e-5)


@pytest.mark.parametrize("size", [(4, 3, 3), (4, 2, 3, 3), (2, 4, 1, 2, 3)])
def test_dirac(agree, size):
    agree(lambda fl: fl.nn.init.dirac_(fl.empty(size), groups=2))


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gain(agree, name):
    agree(lambda fl: float(fl.nn.init.calculate_gain(name)))


@pytest.mark.parametrize(
    "use",
    [
        lambda fl: fl.nn.init.eye_(fl.empty(2)),
        lambda fl: fl.nn.init.dirac_(fl.empty(2, 2)),
        lambda fl: fl.nn.init.dirac_(fl.empty(3, 2, 2), groups=2),
        lambda fl: fl.nn.init.xavier_uniform_(fl.empty(2)),
        lambda fl: fl.nn.init.kaiming_uniform_(fl.empty(2, 2), mode="fan"),
        lambda fl: fl.nn.init.calculate_gain("none"),
        lambda fl: fl.nn.init.calculate_gain("leaky_relu", True),
        lambda fl: fl.nn.init.orthogonal_(fl.empty(2)),
        lambda fl: fl.nn.init.sparse_(fl.empty(2), 0.5),
    ],
)
def test_errors(agree, use):
    agree(use, raises=ValueError)


LAYERS = [
    lambda nn: nn.Linear(7, 5),
    lambda nn: nn.Bilinear(3, 4, 2),
    lambda nn: nn.Conv2d(4, 6, 3, groups=2),
    lambda nn: nn.ConvTranspose1d(4, 6, 3),
    lambda nn: nn.Embedding(7, 3, padding_idx=2),
    lambda nn: nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2),
    lambda nn: nn.GRUCell(3, 4),
    lambda nn: nn.MultiheadAttention(6, 2, kdim=3, add_bias_kv=True),
    lambda nn: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
    lambda nn: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0),
]


@pytest.mark.parametrize("make", LAYERS)
def test_layers_start_with_pytorchs_numbers(agree, make):
    agree(lambda fl: dict(make(fl.nn).state_dict()), exact=True)


def test_what_is_asked_first(agree):
    agree(lambda fl: fl.nn.init.kaiming_normal_(fl.empty(3), nonlinearity="gelu"), raises=ValueError)
    agree(lambda fl: fl.nn.init.kaiming_normal_(fl.empty(3, 3), nonlinearity="gelu"), raises=ValueError)

"""Every module of nn, scripted and traced, against itself."""

import io

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.utils._pytree import tree_leaves

torch.manual_seed(0)
x2, x3, x4, x5 = torch.randn(2, 4), torch.randn(2, 4, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 4, 4, 4, 4)
CASES = [
    (nn.Linear(4, 3), x2),
    (nn.Conv1d(4, 2, 3), x3),
    (nn.Conv2d(4, 2, 3, padding="same"), x4),
    (nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), x4),
    (nn.Conv3d(4, 2, 2), x5),
    (nn.ConvTranspose2d(4, 2, 3, stride=2), x4),
    (nn.BatchNorm1d(4), x2),
    (nn.BatchNorm2d(4), x4),
    (nn.BatchNorm2d(4, affine=False, track_running_stats=False), x4),
    (nn.InstanceNorm2d(4), x4),
    (nn.LayerNorm(4), x2),
    (nn.GroupNorm(2, 4), x4),
    (nn.RMSNorm(4), x2),
    (nn.LocalResponseNorm(2), x4),
    (nn.MaxPool1d(2), x3),
    (nn.MaxPool2d(2), x4),
    (nn.MaxPool2d((2, 1), stride=(1, 2)), x4),
    (nn.MaxPool3d(2), x5),
    (nn.AvgPool1d(2), x3),
    (nn.AvgPool2d(2), x4),
    (nn.AvgPool3d(2), x5),
    (nn.AdaptiveAvgPool1d(2), x3),
    (nn.AdaptiveAvgPool2d((2, None)), x4),
    (nn.AdaptiveAvgPool2d(1), x4),
    (nn.AdaptiveMaxPool2d(2), x4),
    *[
        (getattr(nn, a)(), x2)
        for a in [
            "ReLU",
            "ReLU6",
            "GELU",
            "SiLU",
            "Mish",
            "ELU",
            "CELU",
            "SELU",
            "Hardtanh",
            "Hardswish",
            "Hardsigmoid",
            "LeakyReLU",
            "PReLU",
            "RReLU",
            "Softplus",
            "Softsign",
            "Softshrink",
            "Hardshrink",
            "Tanh",
            "Sigmoid",
            "LogSigmoid",
            "Tanhshrink",
            "Identity",
        ]
    ],
    (nn.GLU(), x2),
    (nn.Threshold(0.1, 1.0), x2),
    (nn.Softmax(1), x2),
    (nn.LogSoftmax(1), x2),
    (nn.Softmin(1), x2),
    (nn.Dropout(), x2),
    (nn.Dropout2d(), x4),
    (nn.AlphaDropout(), x2),
    (nn.Flatten(), x4),
    (nn.Unflatten(1, (2, 2)), x2),
    (nn.PixelShuffle(2), x4),
    (nn.Upsample(scale_factor=2), x4),
    (nn.Upsample(size=(4, 4), mode="bilinear"), x4),
    (nn.ZeroPad2d(1), x4),
    (nn.ReflectionPad2d(1), x4),
    (nn.ConstantPad1d(1, 2.0), x3),
    (nn.Embedding(5, 3, padding_idx=1), torch.tensor([1, 2])),
    (nn.LSTM(8, 3), x3),
    (nn.GRU(8, 3), x3),
    (nn.RNN(8, 3), x3),
    (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), x3),
    (nn.Transformer(8, 2, 1, 1, 16, batch_first=True), (x3, x3)),
    (nn.MultiheadAttention(8, 2), (x3, x3, x3)),
    (nn.TransformerDecoderLayer(8, 2, 16), (x3, x3)),
    (nn.MSELoss(), (x2, x2)),
    (nn.L1Loss(), (x2, x2)),
    (nn.CrossEntropyLoss(), (x2, torch.tensor([0, 1]))),
    (nn.NLLLoss(), (x2, torch.tensor([0, 1]))),
    (nn.BCELoss(), (x2.sigmoid(), x2.sigmoid())),
    (nn.BCEWithLogitsLoss(), (x2, x2.sigmoid())),
    (nn.SmoothL1Loss(), (x2, x2)),
    (nn.KLDivLoss(reduction="batchmean"), (x2, x2.sigmoid())),
    (nn.HuberLoss(), (x2, x2)),
    (nn.CosineSimilarity(), (x2, x2)),
    (nn.PairwiseDistance(), (x2, x2)),
    (nn.Bilinear(4, 4, 2), (x2, x2)),
    (nn.LSTMCell(4, 3), x2),
    (nn.GRUCell(4, 3), x2),
    (nn.RNNCell(4, 3), x2),
    (nn.EmbeddingBag(5, 3), torch.tensor([[1, 2]])),
    (nn.Unfold(2), x4),
    (nn.Fold((4, 4), 2), torch.randn(1, 4, 9)),
    (nn.ChannelShuffle(2), x4),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("case", CASES, ids=[f"{type(m).__name__}{i}" for i, (m, _) in enumerate(CASES)])
def test_module(case, how):
    m, args = case
    args = args if isinstance(args, tuple) else (args,)
    m.eval()
    made = torch.jit.script(m) if how == "script" else torch.jit.trace(m, args)
    file = io.BytesIO()
    torch.jit.save(made, file)
    file.seek(0)
    for f in (made, torch.jit.load(file)):
        for got, want in zip(tree_leaves(f(*args)), tree_leaves(m(*args)), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)

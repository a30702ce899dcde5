"""torchinfo, torchsummary, fvcore, thop, ptflops, torchviz: what networks are made of and what they cost."""

import contextlib
import io

import torch
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis, flop_count_table, parameter_count
from ptflops import get_model_complexity_info
from thop import clever_format, profile
from torch import nn
from torchinfo import summary
from torchsummary import summary as short


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, groups=2),
            nn.GELU(),
        )
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.lstm = nn.LSTM(16, 8, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.features(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x)[0]
        return self.head(self.lstm(x)[0][:, -1])


def tables():
    info = summary(
        _Net(),
        (2, 3, 12, 12),
        verbose=0,
        device="cpu",
        col_names=("input_size", "output_size", "num_params", "kernel_size", "mult_adds"),
        depth=3,
    )
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        short(_Net().features, (3, 12, 12), device="cpu")
    return {"info": str(info), "short": out.getvalue()}


def costs():
    net, x = _Net().features, torch.randn(1, 3, 12, 12)
    flops = FlopCountAnalysis(net, x)
    acts = ActivationCountAnalysis(net, x)
    macs, params = profile(net, (x,), verbose=False)
    complexity = get_model_complexity_info(
        net, (3, 12, 12), as_strings=False, print_per_layer_stat=False, verbose=False
    )
    return {"flops": flops.total(), "modules": dict(flops.by_module()), "operators": dict(flops.by_operator()), "activations": acts.total(), "parameters": dict(parameter_count(net)),
            "thop": [macs, params, *clever_format([macs, params])], "ptflops": list(complexity), "table": flop_count_table(flops)}  # fmt: skip

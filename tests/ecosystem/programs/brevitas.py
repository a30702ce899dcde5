"""brevitas: layers with few bits trained, calibrated models, modules of integers exported as traces."""

import brevitas.nn as qnn
import torch
from brevitas.export import export_torch_qcdq
from brevitas.graph.calibrate import calibration_mode
from brevitas.graph.quantize import preprocess_for_quantize, quantize
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Int8WeightPerTensorFloat
from torch import nn


def _gradients(model):
    return [p.grad.norm() for p in model.parameters() if p.grad is not None]


def training():
    model = nn.Sequential(
        qnn.QuantConv2d(3, 8, 3, weight_bit_width=4),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        nn.Flatten(),
        qnn.QuantLinear(288, 5, bias=True, weight_bit_width=3),
    )
    step, losses = torch.optim.SGD(model.parameters(), 0.1), []
    for _ in range(4):
        x = torch.randn(4, 3, 8, 8)
        step.zero_grad()
        losses.append(model(x).pow(2).mean())
        losses[-1].backward()
        step.step()
    return {"losses": losses, "gradients": _gradients(model), "out": model.eval()(x), "state": len(model.state_dict())}


def numbers():
    act = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=True)
    y = act(torch.randn(4, 6))
    layer = qnn.QuantLinear(6, 3, bias=True, weight_quant=Int8WeightPerChannelFloat, input_quant=Int8ActPerTensorFloat,
                            output_quant=Int8ActPerTensorFloat, return_quant_tensor=True)  # fmt: skip
    z = layer(torch.randn(4, 6))
    layer.eval()
    return {"value": y.value, "scale": y.scale, "int": y.int(), "out": z.value, "step": z.scale, "weights": layer.quant_weight().int()}  # fmt: skip


def recurrent():
    model = qnn.QuantLSTM(4, 6, weight_bit_width=4)
    out, (hidden, _) = model(torch.randn(5, 2, 4))
    out.sum().backward()
    attention, x = qnn.QuantMultiheadAttention(8, 2, packed_in_proj=False), torch.randn(5, 2, 8)
    return {"out": out, "hidden": hidden, "gradients": _gradients(model), "attention": attention(x, x, x)[0]}


def calibrated():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act, self.head = (
                nn.Conv2d(3, 4, 3),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.Linear(4, 2),
            )

        def forward(self, x):
            return self.head(torch.mean(self.act(self.norm(self.conv(x))), (2, 3)))

    model, x = quantize(preprocess_for_quantize(Net().eval())), torch.randn(4, 3, 8, 8)
    with torch.no_grad(), calibration_mode(model):
        model(x)
    return {"out": model(x)}


def exported():
    layer = qnn.QuantLinear(6, 3, bias=True, weight_quant=Int8WeightPerTensorFloat, input_quant=Int8ActPerTensorFloat)
    model = nn.Sequential(layer)
    model(torch.randn(4, 6))
    traced = export_torch_qcdq(model.eval(), torch.randn(4, 6))
    return {"out": traced(torch.ones(4, 6))}

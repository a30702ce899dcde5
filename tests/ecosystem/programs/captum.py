"""captum: attributions of several kinds for a small network."""

import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    GradientShap,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerConductance,
    LayerGradCam,
    NeuronConductance,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
)
from torch import nn


def _net():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4)).eval()


def gradients():
    net, x, base = _net(), torch.randn(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    target = torch.tensor([1, 3])
    return {"saliency": Saliency(net).attribute(x, target), "product": InputXGradient(net).attribute(x, target), "integrated": IntegratedGradients(net).attribute(x, base, target, n_steps=8),
            "deeplift": DeepLift(net).attribute(x, base, target), "guided": GuidedBackprop(net).attribute(x, target), "shap": GradientShap(net).attribute(x, base, target=target, n_samples=3),
            "noise": NoiseTunnel(Saliency(net)).attribute(x, nt_samples=2, target=target)}  # fmt: skip


def perturbations():
    net, x = _net(), torch.randn(1, 1, 8, 8)
    groups = (torch.arange(64) // 16).view(1, 1, 8, 8)
    return {"ablation": FeatureAblation(net).attribute(x, target=1, feature_mask=groups), "occlusion": Occlusion(net).attribute(x, (1, 4, 4), target=1, strides=(1, 2, 2)),
            "shapley": ShapleyValueSampling(net).attribute(x, target=1, feature_mask=groups, n_samples=3)}  # fmt: skip


def layers():
    net, x = _net(), torch.randn(1, 1, 8, 8)
    return {
        "gradcam": LayerGradCam(net, net[0]).attribute(x, target=2),
        "conductance": LayerConductance(net, net[1]).attribute(x, target=2, n_steps=5),
        "neuron": NeuronConductance(net, net[1]).attribute(x, (0, 1, 1), target=2, n_steps=5),
    }

"""monai: networks, losses, transforms, sliding windows and metrics of medical images."""

import torch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss, DiceLoss, FocalLoss
from monai.metrics import DiceMetric, compute_hausdorff_distance
from monai.networks.nets import DenseNet121, UNet, ViT
from monai.transforms import Compose, NormalizeIntensity, RandFlip, RandGaussianNoise, Resize, ScaleIntensity


def unet():
    net = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    loss_of, optimizer = DiceCELoss(to_onehot_y=True, softmax=True), torch.optim.AdamW(net.parameters(), lr=1e-2)
    x, y, losses = torch.randn(2, 1, 16, 16, 16), torch.randint(0, 2, (2, 1, 16, 16, 16)), []
    for _ in range(3):
        loss = loss_of(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}


def nets():
    x = torch.randn(1, 1, 32, 32)
    return {
        "densenet": DenseNet121(spatial_dims=2, in_channels=1, out_channels=3).eval()(x),
        "vit": ViT(1, (32, 32), (8, 8), hidden_size=24, mlp_dim=32, num_layers=2, num_heads=3, spatial_dims=2).eval()(
            x
        )[0],
    }


def losses():
    a, b = torch.randn(2, 3, 8, 8), torch.randint(0, 2, (2, 3, 8, 8)).float()
    metric = DiceMetric(include_background=True)
    metric(y_pred=(a > 0).float(), y=b)
    return {
        "dice": DiceLoss(sigmoid=True)(a, b),
        "focal": FocalLoss()(a, b),
        "metric": metric.aggregate(),
        "hausdorff": compute_hausdorff_distance((a > 0).float(), b, include_background=True),
    }


def windows():
    net = torch.nn.Conv2d(1, 2, 3, padding=1)
    return {"out": sliding_window_inference(torch.randn(1, 1, 20, 20), (8, 8), 4, net, overlap=0.25, mode="gaussian")}


def transforms():
    steps = Compose(
        [
            ScaleIntensity(),
            NormalizeIntensity(),
            RandFlip(prob=1.0, spatial_axis=0),
            Resize((6, 6)),
            RandGaussianNoise(prob=1.0),
        ]
    )
    steps.set_random_state(seed=1)
    return {"out": torch.as_tensor(steps(torch.arange(64.0).view(1, 8, 8)))}

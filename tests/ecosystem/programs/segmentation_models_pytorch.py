"""segmentation-models-pytorch: an encoder-decoder of each family, untrained, a training step, losses and metrics."""

import segmentation_models_pytorch as smp
import torch


def nets():
    x = torch.randn(1, 3, 64, 64)
    out = {}
    for name in ("Unet", "FPN", "Linknet", "PSPNet", "DeepLabV3Plus", "MAnet"):
        torch.manual_seed(1)
        out[name] = getattr(smp, name)("resnet18", encoder_weights=None, classes=2).eval()(x)
    return out


def training():
    net = smp.Unet("resnet18", encoder_weights=None, classes=1, decoder_channels=(32, 16, 8, 8, 4)).double()
    loss_of, optimizer = smp.losses.DiceLoss("binary"), torch.optim.Adam(net.parameters(), lr=1e-3)
    x, y, losses = torch.randn(2, 3, 32, 32).double(), torch.randint(0, 2, (2, 1, 32, 32)), []
    for _ in range(2):
        loss = loss_of(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {
        "losses": losses,
        "stats": [s.sum() for s in smp.metrics.get_stats(net(x).sigmoid(), y, mode="binary", threshold=0.5)],
    }

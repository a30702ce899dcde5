"""timm: models of its families made untrained, a training step, its layers, losses, optimizers and schedules."""

import timm
import torch


def _step(name, size=32, **options):
    model = timm.create_model(
        name, pretrained=False, num_classes=5, **options
    ).double()  # norms over few numbers magnify what float32 rounds
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(2, 3, size, size).double(), torch.tensor([1, 3])
    losses = []
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "out": model.eval()(x)}


def resnet():
    return _step("resnet18")


def mobilenet():
    return _step("mobilenetv3_small_050")


def efficientnet():
    model = timm.create_model("efficientnet_b0", pretrained=False, num_classes=5).eval()
    return {"out": model(torch.randn(2, 3, 64, 64))}


def vit():
    return _step("vit_tiny_patch16_224", img_size=32, depth=2)


def swin():
    return _step(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, depths=(1, 1), num_heads=(2, 4), embed_dim=16
    )


def convnext():
    return _step("convnext_atto", depths=(1, 1, 1, 1))


def features():
    model = timm.create_model("resnet18", features_only=True, out_indices=(1, 2), pretrained=False).eval()
    return {"maps": model(torch.randn(1, 3, 64, 64)), "channels": model.feature_info.channels()}


def training():
    from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils import ModelEmaV3

    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 3))
    out = {
        "smooth": LabelSmoothingCrossEntropy(0.1)(torch.randn(3, 4), torch.tensor([0, 1, 2])),
        "soft": SoftTargetCrossEntropy()(torch.randn(3, 4), torch.rand(3, 4).softmax(-1)),
    }
    ema = ModelEmaV3(net, decay=0.9)
    for name in ("adamw", "lamb", "lion", "adabelief", "nadamw", "madgrad", "lookahead_radam"):
        optimizer = create_optimizer_v2(net, name, lr=1e-3, weight_decay=0.05)
        schedule = CosineLRScheduler(optimizer, t_initial=5, warmup_t=2, warmup_lr_init=1e-5)
        for epoch in range(2):
            loss = net(torch.randn(6, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step(epoch + 1)
            ema.update(net)
        out[name] = loss
    return {**out, "ema": ema.module[0].weight}

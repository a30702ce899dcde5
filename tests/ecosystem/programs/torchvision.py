"""torchvision: models, transforms (both versions), and operators that do not need its compiled library."""

import torch
import torchvision
from torchvision.transforms import v2


def models():
    x, out = torch.randn(1, 3, 64, 64), {}
    for name in (
        "resnet18",
        "mobilenet_v3_small",
        "squeezenet1_1",
        "shufflenet_v2_x0_5",
        "efficientnet_b0",
        "densenet121",
        "regnet_y_400mf",
        "mnasnet0_5",
    ):
        torch.manual_seed(1)
        out[name] = torchvision.models.get_model(name, weights=None, num_classes=4).eval()(x)
    return out


def training():
    net = torchvision.models.resnet18(num_classes=3).double()  # norms over few numbers magnify what float32 rounds
    optimizer, losses = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9), []
    x, y = torch.randn(4, 3, 32, 32).double(), torch.tensor([0, 1, 2, 1])
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}


def transforms():
    x = (torch.rand(3, 20, 20) * 255).to(torch.uint8)
    steps = v2.Compose(
        [
            v2.RandomResizedCrop(12, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.2, 0.2),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.2] * 3),
        ]
    )
    old = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(10),
            torchvision.transforms.RandomRotation(20),
            torchvision.transforms.GaussianBlur(3),
        ]
    )
    return {"new": steps(x), "old": old(x.float()), "grid": torchvision.utils.make_grid(torch.rand(4, 3, 5, 5))}


def boxes():
    b = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    return {"iou": torchvision.ops.box_iou(b, b), "area": torchvision.ops.box_area(b), "giou": torchvision.ops.generalized_box_iou(b, b), "convert": torchvision.ops.box_convert(b, "xyxy", "cxcywh"),
            "focal": torchvision.ops.sigmoid_focal_loss(torch.randn(4), torch.tensor([0.0, 1, 1, 0])).sum()}  # fmt: skip

"""einops: rearrange, reduce, repeat, einsum, pack, and its layers in a trained network."""

import torch
from einops import einsum, pack, parse_shape, rearrange, reduce, repeat, unpack
from einops.layers.torch import EinMix, Rearrange, Reduce
from torch import nn


def functions():
    x = torch.randn(2, 6, 4, 8, requires_grad=True)
    y = rearrange(x, "b (c k) h w -> b h w (k c)", k=2)
    z = reduce(y, "b (h 2) (w 2) c -> b c h w", "mean") + repeat(torch.arange(6.0), "c -> b c h w", b=2, h=2, w=4)
    z.square().mean().backward()
    packed, shapes = pack([x.detach(), torch.ones(2, 3, 8)], "b * w")
    parts = unpack(packed, shapes, "b * w")
    return {
        "z": z,
        "grad": x.grad,
        "product": einsum(y, x, "b h w c, b k h w -> b c k"),
        "packed": packed,
        "part": parts[1],
        "shape": parse_shape(x, "b c _ w"),
    }


def layers():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), Reduce("b c (h 2) (w 2) -> b c h w", "max"), Rearrange("b c h w -> b (h w) c"),
        EinMix("b t c -> b t d", weight_shape="c d", bias_shape="d", c=4, d=5), nn.ReLU(), Rearrange("b t d -> b (t d)"), nn.Linear(80, 3),
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x, y, losses = torch.randn(8, 1, 8, 8), torch.arange(8) % 3, []
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses, "text": str(net)}

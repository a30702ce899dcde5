"""pytorch_msssim, lpips and piq: distances between images, as losses."""

import lpips
import piq
import torch
from pytorch_msssim import MS_SSIM, SSIM, ms_ssim, ssim


def _pair(size=176, n=2):
    x = torch.rand(n, 3, size, size)
    return x, (x + 0.1 * torch.randn_like(x)).clamp(0, 1).requires_grad_()


def structural():
    x, y = _pair()
    value = 1 - ms_ssim(x, y, data_range=1.0)
    value.backward()
    return {
        "ssim": ssim(x, y.detach(), data_range=1.0, size_average=False),
        "ms": value,
        "grad": y.grad,
        "module": SSIM(data_range=1.0, channel=3)(x, y.detach()),
        "modules": MS_SSIM(data_range=1.0)(x, y.detach()),
    }


def learned():
    x, y = _pair(64)
    net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    value = net(x * 2 - 1, y * 2 - 1)
    value.mean().backward()
    return {"value": value, "grad": y.grad}


def piqs():
    x, y = _pair(176)
    results = {}
    for name in (
        "ssim",
        "multi_scale_ssim",
        "psnr",
        "vif_p",
        "fsim",
        "gmsd",
        "multi_scale_gmsd",
        "vsi",
        "haarpsi",
        "mdsi",
        "srsim",
        "dss",
    ):
        y.grad = None
        value = getattr(piq, name)(y, x, data_range=1.0)
        value.backward()
        results[name] = [value, y.grad.abs().sum()]
    results["tv"] = piq.total_variation(y)
    a, b = torch.randn(20, 16), torch.randn(20, 16)
    results["fid"] = piq.FID()(a, b)
    results["kid"] = piq.KID()(a, b)
    results["is"] = piq.IS()(a, b)
    return results

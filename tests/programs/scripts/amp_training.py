"""Automatic mixed precision: autocast, GradScaler, clipping, accumulation, after the AMP examples."""

import warnings

import torch
from torch import nn

warnings.simplefilter("always")
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(2),
    nn.Flatten(),
    nn.Linear(32, 10),
)
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=3)
x, y = torch.randn(16, 3, 8, 8), torch.randint(10, (16,))
for step in range(8):
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        out = net(x)
        loss = nn.functional.cross_entropy(out, y)
    if step == 0:
        print(out.dtype, loss.dtype, type(scaler).__name__)
    scaler.scale(loss).backward()
    scaler.unscale_(opt)
    if step == 4:
        net[0].weight.grad[0, 0, 0, 0] = float("inf")
    norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    scaler.step(opt)
    scaler.update()
    opt.zero_grad(set_to_none=True)
    print(step, f"{loss.item():.1f}", scaler.get_scale(), bool(torch.isfinite(norm)), scaler.state_dict())
for dtype in (torch.bfloat16, torch.float16):
    with torch.autocast("cpu", dtype=dtype):
        a = torch.randn(4, 4)
        print(
            torch.mm(a, a).dtype,
            torch.exp(a).dtype,
            (a @ a).sum().dtype,
            torch.softmax(a @ a, 0).dtype,
            nn.Linear(4, 4)(a).dtype,
            nn.functional.layer_norm(a, (4,)).dtype,
            torch.cat([a, a.to(dtype)]).dtype,
            nn.functional.mse_loss(a.to(dtype), a).dtype,
        )
        with torch.autocast("cpu", enabled=False):
            print(torch.mm(a, a).dtype, torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))
        print(torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled())
try:
    scaler.unscale_(opt)
    scaler.unscale_(opt)
except Exception as e:
    print(type(e).__name__, e)
try:
    scaler.step(opt)
    scaler.step(opt)
except Exception as e:
    print(type(e).__name__, e)
for f in (
    lambda: torch.autocast("cpu", dtype=torch.float32),
    lambda: torch.autocast("nope"),
    lambda: torch.amp.GradScaler("cuda"),
    lambda: torch.cuda.amp.GradScaler(),
    lambda: torch.cuda.amp.autocast(),
    lambda: torch.cpu.amp.autocast(),
):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            with f() as c:
                print(type(c).__name__)
        except Exception as e:
            print(type(e).__name__, e)
    print([f"{w.category.__name__}: {w.message}" for w in seen])


class Op(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, x):
        ctx.save_for_backward(x)
        print("forward", x.dtype, torch.is_autocast_enabled("cpu"))
        return x * x

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, g):
        print("backward", g.dtype, torch.is_autocast_enabled("cpu"))
        return 2 * g * ctx.saved_tensors[0]


with torch.autocast("cpu", dtype=torch.bfloat16):
    z = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    Op.apply(z).sum().backward()
print(z.grad)


@torch.autocast("cpu", dtype=torch.bfloat16)
def decorated(a):
    return a @ a


print(
    decorated(torch.ones(2, 2)).dtype,
    scaler.is_enabled(),
    scaler.get_growth_factor(),
    scaler.get_backoff_factor(),
    scaler.get_growth_interval(),
)

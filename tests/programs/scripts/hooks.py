"""Hooks for features and gradients, state_dict hooks, parametrizations, lazy modules."""

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 4 * 4, 3))
features, grads = {}, {}
handles = [
    m.register_forward_hook(lambda m, i, o, n=n: features.__setitem__(n, tuple(o.shape)))
    for n, m in net.named_children()
]
handles += [
    net[0].register_full_backward_hook(
        lambda m, gi, go: grads.__setitem__("conv", [None if g is None else tuple(g.shape) for g in (*gi, *go)])
    )
]
handles += [net[3].register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))]
handles += [net[3].register_forward_pre_hook(lambda m, args, kwargs: ((args[0] * 1.0,), kwargs), with_kwargs=True)]
net(torch.randn(2, 1, 6, 6, requires_grad=True)).sum().backward()
print(features, grads, net[3].bias.grad)
for h in handles:
    h.remove()
print(len(net[0]._forward_hooks), len(net[3]._backward_pre_hooks))


class Versioned(nn.Module):
    _version = 2

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))
        self.register_buffer("tmp", torch.zeros(1), persistent=False)
        self._register_state_dict_hook(lambda m, sd, prefix, meta: print("state_dict hook", list(sd), prefix, meta))
        self._register_load_state_dict_pre_hook(
            lambda sd, prefix, meta, strict, missing, unexpected, errors: print("pre", prefix, meta, strict)
        )
        self.register_load_state_dict_post_hook(lambda m, keys: print("post", keys))
        self.register_state_dict_pre_hook(lambda m, prefix, keep: print("sd pre", prefix, keep))

    def _load_from_state_dict(self, sd, prefix, meta, *rest):
        if meta.get("version", 1) < 2:
            sd[prefix + "w"] = sd.pop(prefix + "weight")
        super()._load_from_state_dict(sd, prefix, meta, *rest)

    def get_extra_state(self):
        return {"calls": 3}

    def set_extra_state(self, state):
        print("extra", state)


m = nn.ModuleDict({"a": Versioned()})
sd = m.state_dict()
print(sd, sd._metadata)
print(m.load_state_dict(sd))
old = {"a.weight": torch.zeros(2), "a._extra_state": {"calls": 1}}
print(m.load_state_dict(old, strict=True), m["a"].w)


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, a):
        return a.triu()


layer = nn.Linear(3, 3)
parametrize.register_parametrization(layer, "weight", Symmetric())
print(
    layer,
    torch.allclose(layer.weight, layer.weight.mT),
    parametrize.is_parametrized(layer),
    [n for n, _ in layer.named_parameters()],
)
with parametrize.cached():
    print(layer.weight is layer.weight)
layer.weight = torch.arange(9.0).view(3, 3)
print(layer.weight, layer.parametrizations.weight.original)
parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
print(layer, layer.weight.requires_grad)
for make in (parametrizations.orthogonal, parametrizations.spectral_norm, parametrizations.weight_norm):
    torch.manual_seed(1)
    l = make(nn.Linear(4, 3))
    l(torch.ones(2, 4)).sum().backward()
    print(make.__name__, sorted(l.state_dict()), [tuple(p.grad.shape) for p in l.parameters()])
    print(f"{l.weight.norm():.4f}", type(l).__name__, l)
try:
    parametrize.register_parametrization(nn.Linear(2, 2), "weight", nn.Linear(2, 3))
except Exception as e:
    print(type(e).__name__, e)
try:
    parametrize.remove_parametrizations(nn.Linear(2, 2), "weight")
except Exception as e:
    print(type(e).__name__, e)

lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
print(lazy, lazy[0].weight, lazy[3].has_uninitialized_params())
for f in (
    lambda: lazy[3].weight.shape,
    lambda: torch.optim.SGD(lazy.parameters(), 0.1).step(),
    lambda: lazy[0].weight.grad,
):
    try:
        print(f())
    except Exception as e:
        print(type(e).__name__, e)
print(lazy(torch.ones(2, 3, 5, 5)).shape, lazy, sum(p.numel() for p in lazy.parameters()))
fresh = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
print(fresh.load_state_dict(lazy.state_dict()), fresh[0])
x = torch.randn(3, requires_grad=True)
y = x * 2
y.retain_grad()
y.register_hook(lambda g: g * 10)
x.register_post_accumulate_grad_hook(lambda p: print("accumulated", p.grad))
y.sum().backward()
print(y.grad, x.grad)


class M2(nn.Module):
    def forward(self, x, *, scale=1):
        return {"out": x * scale}


m2 = M2()
m2.register_forward_hook(lambda m, a, k, o: {"out": o["out"] + k.get("scale", 0)}, with_kwargs=True, always_call=True)
print(m2(torch.ones(2), scale=3))
with (
    torch.autograd.graph.save_on_cpu(),
    torch.autograd.graph.saved_tensors_hooks(lambda t: (print("pack", tuple(t.shape)), t)[1], lambda t: t),
):
    (x * x).sum().backward()

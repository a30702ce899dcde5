"""Per-sample gradients, ensembles, Jacobians, forward mode, tangent kernels: the functorch tutorials."""

import torch
import torch.autograd.forward_ad as fwAD
from torch import nn
from torch.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)

torch.manual_seed(0)


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.fc1 = nn.Conv2d(1, 4, 3), nn.Linear(4 * 3 * 3, 5)

    def forward(self, x):
        x = nn.functional.max_pool2d(nn.functional.relu(self.conv1(x)), 2)
        return nn.functional.log_softmax(self.fc1(torch.flatten(x, 1)), dim=1)


data, targets = torch.randn(6, 1, 8, 8), torch.randint(0, 5, (6,))
model = CNN()
params = {k: v.detach() for k, v in model.named_parameters()}
buffers = {k: v.detach() for k, v in model.named_buffers()}


def loss(params, buffers, sample, target):
    out = functional_call(model, (params, buffers), (sample.unsqueeze(0),))
    return nn.functional.nll_loss(out, target.unsqueeze(0))


per_sample = vmap(grad(loss), in_dims=(None, None, 0, 0))(params, buffers, data, targets)
for i in range(6):
    model.zero_grad()
    nn.functional.nll_loss(model(data[i : i + 1]), targets[i : i + 1]).backward()
    assert all(torch.allclose(p.grad, per_sample[n][i], atol=1e-5) for n, p in model.named_parameters())
print({k: tuple(v.shape) for k, v in per_sample.items()}, *(f"{v.norm():.4f}" for v in per_sample.values()))
g, v = grad_and_value(loss)(params, buffers, data[0], targets[0])
print(f"{v:.4f}", {k: f"{t.abs().sum():.4f}" for k, t in g.items()})
models = [nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)) for _ in range(3)]
p, b = stack_module_state(models)
base = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).to("meta")
x = torch.randn(3, 5, 4)
out = vmap(lambda p, b, x: functional_call(base, (p, b), (x,)))(p, b, x)
print(
    out.shape,
    torch.allclose(out[1], models[1](x[1]), atol=1e-6),
    vmap(lambda p, b, x: functional_call(base, (p, b), (x,)), in_dims=(0, 0, None))(p, b, x[0]).shape,
)
print({k: tuple(v.shape) for k, v in p.items()}, p["0.weight"].requires_grad)
w, bias, z = torch.randn(3, 4), torch.randn(3), torch.randn(4)
predict = lambda w, b, x: nn.functional.linear(x, w, b).tanh()
print(
    torch.allclose(jacrev(predict, argnums=2)(w, bias, z), jacfwd(predict, argnums=2)(w, bias, z)),
    [j.shape for j in jacrev(predict, argnums=(0, 1))(w, bias, z)],
)
print(
    hessian(lambda x: (x**3).sum())(torch.tensor([1.0, 2.0])),
    vmap(jacrev(predict, 2), in_dims=(None, None, 0))(w, bias, torch.randn(7, 4)).shape,
)
_, push = linearize(torch.sin, torch.tensor([0.0, 1.0]))
print(
    push(torch.ones(2)),
    jvp(torch.sin, (torch.zeros(2),), (torch.ones(2),)),
    vjp(torch.cos, torch.ones(2))[1](torch.ones(2)),
)


def ntk(f, params, x1, x2):
    j1 = vmap(jacrev(f), (None, 0))(params, x1)
    j2 = vmap(jacrev(f), (None, 0))(params, x2)
    parts = [torch.einsum("Naf,Mbf->NMab", a.flatten(2), b.flatten(2)) for a, b in zip(j1.values(), j2.values())]
    return torch.stack(parts).sum(0)


f = lambda p, x: functional_call(models[0], p, (x.unsqueeze(0),)).squeeze(0)
mp = {k: v.detach() for k, v in models[0].named_parameters()}
print(ntk(f, mp, x[0, :2], x[1, :3]).shape)
with fwAD.dual_level():
    dual = fwAD.make_dual(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]))
    print(dual, fwAD.unpack_dual(dual * dual), fwAD.unpack_dual(dual.exp()).tangent)
    lin = nn.Linear(2, 2)
    tangents = {n: torch.ones_like(q) for n, q in lin.named_parameters()}
    for n, q in list(lin.named_parameters()):
        delattr(lin, n)
        setattr(lin, n, fwAD.make_dual(q, tangents[n]))
    print(fwAD.unpack_dual(lin(torch.ones(1, 2))).tangent.detach())
print(fwAD.unpack_dual(dual).tangent)
print(
    vmap(lambda a, b: a @ b, in_dims=(0, 1))(torch.ones(3, 4), torch.ones(4, 3)),
    vmap(torch.sum, chunk_size=2)(torch.arange(12.0).view(3, 4)),
)
for bad in (
    lambda: vmap(lambda x: x.item())(torch.ones(2)),
    lambda: vmap(torch.dot)(torch.ones(2, 3), torch.ones(3, 3)),
    lambda: grad(lambda x: x)(torch.ones(2)),
    lambda: vmap(lambda x: x, in_dims=3)(torch.ones(2)),
    lambda: vmap(torch.rand_like)(torch.ones(2)),
    lambda: vmap(lambda x: x if x > 0 else -x)(torch.ones(2)),
    lambda: jacrev(lambda x: 3)(torch.ones(2)),
    lambda: fwAD.make_dual(torch.ones(1), torch.ones(1)),
    lambda: vmap(lambda x: 1)(torch.ones(2)),
    lambda: functional_call(model, {"q": torch.ones(1)}, (data,), strict=True),
    lambda: stack_module_state([]),
    lambda: vmap(torch.nonzero)(torch.ones(2, 2)),
    lambda: vmap(lambda x: x, out_dims=(0, 0))(torch.ones(2)),
    lambda: jvp(torch.sin, torch.ones(1), torch.ones(1)),
    lambda: vmap(torch.add)(1, 2),
):
    try:
        print(bad())
    except Exception as e:
        print(type(e).__name__, e)
print(
    vmap(lambda x: x + torch.randn(1), randomness="different")(torch.zeros(2)).shape,
    vmap(torch.nn.functional.dropout, randomness="same")(torch.ones(2, 3)),
)

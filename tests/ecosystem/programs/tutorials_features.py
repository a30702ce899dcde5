# ruff: noqa: RUF015
"""What the tutorials of PyTorch show of its tools: mixed precision, scripts, transforms, hooks, export, operators of one's own."""

import copy
import math

import torch
import torch.nn.functional as F
import torch.nn.utils.parametrize as parametrize
import torch.nn.utils.prune as prune
from torch import nn, optim


def mixed_precision():
    net = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(24, 24), nn.ReLU())])
    optimizer, losses = optim.SGD(net.parameters(), lr=0.01), []
    scaler = torch.amp.GradScaler("cpu")
    for _ in range(4):
        with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
            out = net(torch.ones(8, 24))
            assert out.dtype is torch.bfloat16
            loss = F.mse_loss(out.float(), torch.zeros(8, 24))
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(net.parameters(), max_norm=0.1)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        losses.append(round(loss.item(), 2))
    return {"losses": losses, "scale": scaler.get_scale()}


def script():
    """TorchScript: traced and scripted modules, saved and loaded (Intro_to_TorchScript)."""

    class Gate(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                return x
            else:
                return -x

    class Cell(nn.Module):
        def __init__(self, gate):
            super().__init__()
            self.dg, self.linear = gate, nn.Linear(4, 4)

        def forward(self, x, h):
            new = torch.tanh(self.dg(self.linear(x)) + h)
            return new, new

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = torch.jit.trace(Cell(torch.jit.script(Gate())), (torch.rand(3, 4), torch.rand(3, 4)))

        def forward(self, xs):
            h, y = torch.zeros(3, 4), torch.zeros(3, 4)
            for i in range(xs.size(0)):
                y, h = self.cell(xs[i], h)
            return y, h

    loop, x = torch.jit.script(Loop()), torch.rand(5, 3, 4)
    loop.save("loop.pt")
    return {"out": loop(x), "again": torch.jit.load("loop.pt")(x)}


def fused():
    """FX: convolution and normalization become one (fx_conv_bn_fuser)."""
    from torch import fx

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.wrapped = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.bn(self.conv(self.wrapped(x)))

    net = Net()
    for _ in range(3):
        net(torch.randn(8, 1, 8, 8))
    net.eval()
    traced = fx.symbolic_trace(copy.deepcopy(net))
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        if (
            node.op == "call_module"
            and isinstance(modules[node.target], nn.BatchNorm2d)
            and isinstance(modules[node.args[0].target], nn.Conv2d)
        ):
            conv, bn = modules[node.args[0].target], modules[node.target]
            merged = nn.utils.fusion.fuse_conv_bn_eval(conv, bn)
            parent, _, name = node.args[0].target.rpartition(".")
            setattr(modules[parent] if parent else traced, name, merged)
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.graph.lint()
    traced.recompile()
    x = torch.randn(2, 1, 8, 8)
    return {
        "code": traced.code,
        "close": torch.allclose(traced(x), net(x), atol=1e-5),
        "out": traced(x),
        "graph": str(traced.graph),
    }


def parametrizations():
    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, a):
            return a.triu()

    class Exponential(nn.Module):
        def forward(self, x):
            return torch.matrix_exp(x)

    class Skew(nn.Module):
        def forward(self, x):
            a = x.triu(1)
            return a - a.transpose(-1, -2)

    class Cayley(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.register_buffer("Id", torch.eye(n))

        def forward(self, x):
            return torch.linalg.solve(self.Id - x, self.Id + x)

    one, two, three = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(4, 4)
    parametrize.register_parametrization(one, "weight", Symmetric())
    parametrize.register_parametrization(two, "weight", Skew())
    parametrize.register_parametrization(two, "weight", Exponential())
    parametrize.register_parametrization(three, "weight", nn.Sequential(Skew(), Cayley(4)))
    nn.utils.parametrizations.spectral_norm(four := nn.Linear(4, 4))
    nn.utils.parametrizations.weight_norm(five := nn.Linear(4, 4))
    nn.utils.parametrizations.orthogonal(six := nn.Linear(4, 4))
    nets = [one, two, three, four, five, six]
    with parametrize.cached():
        sum(net(torch.ones(2, net.in_features)).square().sum() for net in nets).backward()
    one.weight = torch.arange(9.0).view(3, 3)
    results = {
        "text": [str(net) for net in nets],
        "weights": [net.weight for net in nets],
        "grads": [p.grad for net in nets for p in net.parameters()],
        "keys": [list(net.state_dict()) for net in nets],
    }
    parametrize.remove_parametrizations(
        two, "weight", leave_parametrized=False
    ) if False else parametrize.remove_parametrizations(two, "weight")
    return {**results, "removed": str(two), "left": two.weight}


def custom_function():
    """The Legendre polynomial by hand, a double backward, and a fused convolution with normalization."""
    from torch.autograd import Function, gradcheck, gradgradcheck

    class Legendre(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return 0.5 * (5 * x**3 - 3 * x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 1.5 * (5 * x**2 - 1)

    class Sinh(Function):
        @staticmethod
        def forward(ctx, x):
            e, n = torch.exp(x), torch.exp(-x)
            ctx.save_for_backward(e, n)
            return (e - n) / 2, e, n

        @staticmethod
        def backward(ctx, g, ge, gn):
            e, n = ctx.saved_tensors
            return g * (e + n) / 2 + ge * e - gn * n

    x = torch.linspace(-math.pi, math.pi, 200)
    y = torch.sin(x)
    a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.0, -1.0, 0.0, 0.3))
    losses = []
    for _ in range(20):
        loss = (a + b * Legendre.apply(c + d * x) - y).pow(2).sum()
        losses.append(loss.item())
        loss.backward()
        with torch.no_grad():
            for p in (a, b, c, d):
                p -= 5e-6 * p.grad
                p.grad = None
    z = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    return {
        "losses": losses,
        "checks": [gradcheck(Sinh.apply, z), gradgradcheck(Sinh.apply, z), gradcheck(Legendre.apply, z)],
    }


def transforms():
    """Per-sample gradients, ensembles, jacobians, hessians and vector products (torch.func)."""
    from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap

    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    x, y = torch.randn(6, 1, 8, 8), torch.randint(3, (6,))
    params, buffers = (
        {k: v.detach() for k, v in net.named_parameters()},
        {k: v.detach() for k, v in net.named_buffers()},
    )

    def loss(params, buffers, sample, target):
        return F.cross_entropy(functional_call(net, (params, buffers), (sample.unsqueeze(0),)), target.unsqueeze(0))

    each = vmap(grad(loss), in_dims=(None, None, 0, 0))(params, buffers, x, y)
    nets = [nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)) for _ in range(4)]
    stacked, more = stack_module_state(nets)
    base = copy.deepcopy(nets[0]).to("meta")
    ensemble = vmap(lambda p, b, v: functional_call(base, (p, b), (v,)))(stacked, more, torch.randn(4, 7, 5))
    shared = vmap(lambda p, b, v: functional_call(base, (p, b), (v,)), in_dims=(0, 0, None))(
        stacked, more, torch.randn(7, 5)
    )
    weight, bias, point = torch.randn(4, 4), torch.randn(4), torch.randn(4)

    def predict(weight, bias, x):
        return F.linear(x, weight, bias).tanh()

    rows, columns = (
        jacrev(predict, argnums=(0, 1, 2))(weight, bias, point),
        jacfwd(predict, argnums=2)(weight, bias, point),
    )
    out, pull = vjp(lambda v: predict(weight, bias, v), point)
    _, push = jvp(lambda v: predict(weight, bias, v), (point,), (torch.ones(4),))
    curves = vmap(hessian(predict, argnums=2), in_dims=(None, None, 0))(weight, bias, torch.randn(3, 4))
    chunks = vmap(lambda v: v.sin().sum(), chunk_size=2)(torch.randn(5, 3))
    noisy = (
        vmap(lambda v: v + torch.randn(3), randomness="different")(torch.zeros(4, 3)),
        vmap(lambda v: v + torch.randn(3), randomness="same")(torch.zeros(4, 3)),
    )
    return {
        "each": each,
        "ensemble": ensemble,
        "shared": shared,
        "jacobians": [*rows, columns],
        "products": [*pull(torch.ones(4)), push],
        "hessians": curves,
        "chunks": chunks,
        "noisy": noisy,
    }


def pruned():
    net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Flatten(), nn.Linear(288, 10))
    prune.random_unstructured(net[0], name="weight", amount=0.3)
    prune.l1_unstructured(net[0], name="bias", amount=3)
    prune.ln_structured(net[0], name="weight", amount=0.5, n=2, dim=0)
    results = {
        "buffers": [n for n, _ in net[0].named_buffers()],
        "history": [type(h).__name__ for h in net[0]._forward_pre_hooks.values() if h._tensor_name == "weight"][0],
        "keys": list(net.state_dict()),
    }
    prune.remove(net[0], "weight")
    prune.global_unstructured([(net[2], "weight"), (net[4], "weight")], pruning_method=prune.L1Unstructured, amount=0.2)

    class Foobar(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.view(-1)[::2] = 0
            return mask

    Foobar.apply(net[4], "bias")
    return {
        **results,
        "sparsity": [float((m.weight == 0).sum()) for m in (net[0], net[2], net[4])],
        "mask": net[4].bias_mask,
        "out": net(torch.randn(2, 1, 12, 12)),
        "is": prune.is_pruned(net),
    }


def hooks():
    """Forward, pre-forward and backward hooks, saved-tensor hooks, and hooks of tensors."""
    seen = []
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    net[0].register_forward_hook(lambda m, a, out: seen.append(("forward", a[0].shape, out.sum().item())))
    net[1].register_forward_pre_hook(lambda m, a: (a[0] * 2,))
    net[2].register_full_backward_hook(
        lambda m, gi, go: seen.append(("backward", gi[0].sum().item(), go[0].sum().item()))
    )
    net[2].register_full_backward_pre_hook(lambda m, go: (go[0] * 0.5,))
    net[0].weight.register_hook(lambda g: g * 3)
    net[0].weight.register_post_accumulate_grad_hook(lambda p: seen.append(("accumulated", p.grad.sum().item())))
    handle = nn.modules.module.register_module_forward_hook(lambda m, a, out: seen.append((type(m).__name__,)))
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: packed.append(t.shape) or t.numpy(force=True), lambda a: torch.from_numpy(a)
    ):
        out = net(torch.randn(5, 3))
    handle.remove()
    out.sum().backward()
    with torch.autograd.graph.save_on_cpu():
        net(torch.randn(5, 3)).sum().backward()
    return {
        "seen": [[str(v) if isinstance(v, torch.Size) else v for v in s] for s in seen],
        "packed": len(packed),
        "grads": [p.grad for p in net.parameters()],
    }


def forward_mode():
    import torch.autograd.forward_ad as fwAD

    net = nn.Linear(5, 5)
    x, t = torch.randn(16, 5), torch.randn(16, 5)
    with fwAD.dual_level():
        dual = fwAD.make_dual(x, t)
        out = (dual**2).cos()
        jvp = fwAD.unpack_dual(out).tangent
        for name, p in list(net.named_parameters()):
            delattr(net, name)
            setattr(net, name, fwAD.make_dual(p, torch.ones_like(p)))
        second = fwAD.unpack_dual(net(x)).tangent

    class Fn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, foo):
            result = torch.exp(foo)
            ctx.result = result
            return result

        @staticmethod
        def jvp(ctx, gI):
            g = gI * ctx.result
            del ctx.result
            return g

    primal = torch.randn(4, dtype=torch.double, requires_grad=True)
    with fwAD.dual_level():
        third = fwAD.unpack_dual(Fn.apply(fwAD.make_dual(primal, torch.ones(4, dtype=torch.double)))).tangent
    return {
        "jvp": jvp,
        "second": second,
        "third": third,
        "check": torch.autograd.gradcheck(
            Fn.apply,
            (primal,),
            check_forward_ad=True,
            check_backward_ad=False,
            check_undefined_grad=False,
            check_batched_grad=False,
        ),
    }


def nested():
    nt = torch.nested.nested_tensor([torch.arange(12.0).reshape(2, 6), torch.arange(18.0).reshape(3, 6)])
    padded = torch.nested.to_padded_tensor(nt, padding=-1.0)
    query = torch.nested.nested_tensor([torch.randn(i, 8) for i in (2, 4, 3)], layout=torch.jagged, requires_grad=True)
    heads = query.unflatten(-1, [2, 4]).transpose(1, 2)
    out = F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(-2)
    out.values().sum().backward() if False else out.sum(
        -1
    ).values().sum().backward() if False else torch.nested.to_padded_tensor(out, 0.0).sum().backward()
    return {
        "padded": padded,
        "linear": torch.nested.to_padded_tensor(F.linear(nt, torch.ones(4, 6)), 0.0),
        "out": [t for t in out.unbind()],
        "grad": query.grad.values() if query.grad.is_nested else query.grad,
    }


def distilled():
    """A light network learns from a deep one, by soft targets, cosine of hidden states, and feature maps."""
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 5))
    student = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 5))
    x, y, losses = torch.randn(24, 3, 4, 4), torch.arange(24) % 5, []
    teacher.eval()
    optimizer = optim.Adam(student.parameters(), lr=0.001)
    for inputs, labels in torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True):
        optimizer.zero_grad()
        with torch.no_grad():
            soft = F.softmax(teacher(inputs) / 2, dim=-1)
        out = student(inputs)
        log = F.log_softmax(out / 2, dim=-1)
        distill = torch.sum(soft * (soft.log() - log)) / log.size()[0] * 4
        cosine = nn.CosineEmbeddingLoss()(out, teacher(inputs).detach(), target=torch.ones(inputs.size(0)))
        loss = 0.25 * distill + 0.75 * F.cross_entropy(out, labels) + 0.1 * cosine
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def step_in_backward():
    net = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 1))
    optimizers = {p: optim.Adam([p], foreach=False, lr=0.01) for p in net.parameters()}

    def hook(p):
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in net.parameters():
        p.register_post_accumulate_grad_hook(hook)
    losses, x = [], torch.randn(10, 8)
    for _ in range(4):
        loss = net(x).square().sum()
        loss.backward()
        losses.append(loss.item())
    return {"losses": losses, "freed": all(p.grad is None for p in net.parameters())}


def exported():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 2)
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x, *, scale=None):
            self.count.add_(1)
            y = F.relu(self.norm(self.conv(x))).mean((2, 3))
            if scale is not None:
                y = y * scale
            return self.linear(y)

    net = Net().eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(
        net, (torch.randn(4, 3, 8, 8),), {"scale": torch.tensor(2.0)}, dynamic_shapes={"x": {0: batch}, "scale": None}
    )
    torch.export.save(program, "net.pt2")
    again = torch.export.load("net.pt2").module()
    x = torch.randn(7, 3, 8, 8)

    return {
        "out": again(x, scale=torch.tensor(3.0)),
        "signature": list(program.graph_signature.parameters),
        "targets": [str(n.target) for n in program.graph.nodes if n.op == "call_function"],
    }


def custom_operator():
    """A Python operator with a fake kernel and a derivative, checked, compiled and in a graph (custom python operators)."""
    import numpy as np

    @torch.library.custom_op("tutorial::numpy_sin", mutates_args=())
    def numpy_sin(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.sin(x.numpy(force=True)))

    @numpy_sin.register_fake
    def _(x):
        return torch.empty_like(x)

    numpy_sin.register_autograd(
        lambda ctx, g: g * ctx.saved_tensors[0].cos(),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )

    @torch.library.custom_op("tutorial::double_", mutates_args={"x"})
    def double(x: torch.Tensor) -> None:
        x.numpy()[:] *= 2

    @numpy_sin.register_vmap
    def _(info, in_dims, x):
        return numpy_sin(x), in_dims[0]

    x = torch.randn(4, requires_grad=True)
    y = numpy_sin(x)
    y.sum().backward()
    checks = torch.library.opcheck(numpy_sin, (torch.randn(3, requires_grad=True),))
    z = torch.ones(3)
    double(z)
    compiled = torch.compile(lambda v: numpy_sin(v * 2) + 1, fullgraph=True, backend="eager")
    return {
        "grad": x.grad,
        "checks": checks["test_schema"],
        "doubled": z,
        "compiled": compiled(x.detach()),
        "mapped": torch.vmap(torch.ops.tutorial.numpy_sin)(torch.randn(2, 3)),
        "schema": str(torch.ops.tutorial.numpy_sin.default._schema),
    }

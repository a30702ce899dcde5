# ruff: noqa: RUF015
"""Programs in the style of PyTorch's tutorials, small: custom operators, transforms of functions, hooks, pruning, parametrizations, export, and others."""

import copy
import io
import math

import torch
import torch.nn.functional as F
import torch.nn.utils.parametrize as parametrize
import torch.nn.utils.prune as prune
from torch import nn, optim


def char_rnn():
    """Names classified by letters, one at a time (char_rnn_classification)."""
    letters = "abcdefghijklmnopqrstuvwxyz .,;'"
    names = {
        "Scottish": ["smith", "brown", "wilson"],
        "Irish": ["o'neal", "duffy", "kelly"],
        "Greek": ["pappas", "nikas", "kouros"],
    }

    def tensor(line):
        t = torch.zeros(len(line), 1, len(letters))
        for i, c in enumerate(line):
            t[i][0][letters.find(c)] = 1
        return t

    class RNN(nn.Module):
        def __init__(self, input_size, hidden_size, output_size):
            super().__init__()
            self.hidden_size = hidden_size
            self.i2h, self.h2h, self.h2o = (
                nn.Linear(input_size, hidden_size),
                nn.Linear(hidden_size, hidden_size),
                nn.Linear(hidden_size, output_size),
            )
            self.softmax = nn.LogSoftmax(dim=1)

        def forward(self, input, hidden):
            hidden = F.tanh(self.i2h(input) + self.h2h(hidden))
            return self.softmax(self.h2o(hidden)), hidden

    rnn, losses = RNN(len(letters), 16, 3), []
    for k, words in enumerate(names.values()):
        for word in words:
            hidden = torch.zeros(1, rnn.hidden_size)
            rnn.zero_grad()
            for letter in tensor(word):
                output, hidden = rnn(letter, hidden)
            loss = nn.NLLLoss()(output, torch.tensor([k]))
            loss.backward()
            for p in rnn.parameters():
                p.data.add_(p.grad.data, alpha=-0.05)
            losses.append(loss.item())
    return losses


def seq2seq():
    """Translation with additive attention and teacher forcing (seq2seq_translation_tutorial)."""

    class Encoder(nn.Module):
        def __init__(self, size, hidden):
            super().__init__()
            self.embedding, self.gru, self.dropout = (
                nn.Embedding(size, hidden),
                nn.GRU(hidden, hidden, batch_first=True),
                nn.Dropout(0.1),
            )

        def forward(self, x):
            return self.gru(self.dropout(self.embedding(x)))

    class Attention(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.Wa, self.Ua, self.Va = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)

        def forward(self, query, keys):
            scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys))).squeeze(2).unsqueeze(1)
            weights = F.softmax(scores, dim=-1)
            return torch.bmm(weights, keys), weights

    class Decoder(nn.Module):
        def __init__(self, hidden, size):
            super().__init__()
            self.embedding, self.attention, self.gru = (
                nn.Embedding(size, hidden),
                Attention(hidden),
                nn.GRU(2 * hidden, hidden, batch_first=True),
            )
            self.out, self.dropout = nn.Linear(hidden, size), nn.Dropout(0.1)

        def forward(self, keys, hidden, target=None):
            x = torch.empty(keys.size(0), 1, dtype=torch.long).fill_(0)
            outputs = []
            for i in range(5):
                embedded = self.dropout(self.embedding(x))
                context, _ = self.attention(hidden.permute(1, 0, 2), keys)
                output, hidden = self.gru(torch.cat((embedded, context), dim=2), hidden)
                output = self.out(output)
                outputs.append(output)
                x = target[:, i].unsqueeze(1) if target is not None else output.topk(1)[1].squeeze(-1).detach()
            return F.log_softmax(torch.cat(outputs, dim=1), dim=-1)

    encoder, decoder = Encoder(12, 16), Decoder(16, 12)
    optimizers = [optim.Adam(m.parameters(), lr=0.01) for m in (encoder, decoder)]
    x, losses = torch.randint(1, 12, (8, 5)), []
    for _ in range(5):
        for o in optimizers:
            o.zero_grad()
        keys, hidden = encoder(x)
        out = decoder(keys, hidden, x.flip(1))
        loss = nn.NLLLoss()(out.view(-1, out.size(-1)), x.flip(1).reshape(-1))
        loss.backward()
        for o in optimizers:
            o.step()
        losses.append(loss.item())
    with torch.no_grad():
        encoder.eval(), decoder.eval()
        return {"losses": losses, "out": decoder(*encoder(x))}


def dqn():
    """Deep Q-learning of a small corridor, with replay and a soft target (reinforcement_q_learning)."""
    import random
    from collections import deque, namedtuple

    Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))
    memory = deque(maxlen=200)
    net = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    target = copy.deepcopy(net)
    optimizer, losses = optim.AdamW(net.parameters(), lr=1e-3, amsgrad=True), []
    for _ in range(4):
        state = torch.tensor([[0.0, 1.0]])
        for t in range(20):
            if random.random() > 0.5:
                with torch.no_grad():
                    action = net(state).max(1).indices.view(1, 1)
            else:
                action = torch.tensor([[random.randrange(2)]], dtype=torch.long)
            place = state[0, 0].item() + (0.2 if action.item() else -0.2)
            done = place > 0.9
            following = None if done else torch.tensor([[place, 1 - place]])
            memory.append(Transition(state, action, following, torch.tensor([1.0 if done else -0.1])))
            state = following
            if len(memory) >= 16:
                batch = Transition(*zip(*random.sample(memory, 16)))
                mask = torch.tensor(tuple(s is not None for s in batch.next_state), dtype=torch.bool)
                others = torch.cat([s for s in batch.next_state if s is not None])
                values = net(torch.cat(batch.state)).gather(1, torch.cat(batch.action))
                following_values = torch.zeros(16)
                with torch.no_grad():
                    following_values[mask] = target(others).max(1).values
                loss = nn.SmoothL1Loss()(values, (following_values * 0.99 + torch.cat(batch.reward)).unsqueeze(1))
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_value_(net.parameters(), 100)
                optimizer.step()
                state_dict, own = target.state_dict(), net.state_dict()
                for key in own:
                    state_dict[key] = own[key] * 0.005 + state_dict[key] * 0.995
                target.load_state_dict(state_dict)
                losses.append(loss.item())
            if done:
                break
    return losses


def style():
    """Neural style transfer: the image itself is optimized by L-BFGS."""
    net = (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        .eval()
        .requires_grad_(False)
    )
    content, picture = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)

    def gram(x):
        a, b, c, d = x.size()
        features = x.view(a * b, c * d)
        return torch.mm(features, features.t()).div(a * b * c * d)

    wanted, image = gram(net(picture)), content.clone().requires_grad_(True)
    optimizer, losses = optim.LBFGS([image]), []
    while len(losses) < 25:

        def closure():
            with torch.no_grad():
                image.clamp_(0, 1)
            optimizer.zero_grad()
            out = net(image)
            loss = 1e4 * F.mse_loss(gram(out), wanted) + F.mse_loss(out, net(content))
            loss.backward()
            losses.append(loss.item())
            return loss

        optimizer.step(closure)
    return losses[:12]


def gat():
    """A graph attention network over a dense adjacency (examples/gat)."""

    class Layer(nn.Module):
        def __init__(self, inputs, outputs, heads, concat=True):
            super().__init__()
            self.heads, self.concat, self.hidden = heads, concat, outputs // heads if concat else outputs
            self.W = nn.Parameter(torch.empty(inputs, self.hidden * heads))
            self.a = nn.Parameter(torch.empty(heads, 2 * self.hidden, 1))
            nn.init.xavier_normal_(self.W), nn.init.xavier_normal_(self.a)

        def forward(self, h, adjacency):
            n = h.shape[0]
            h = F.dropout(
                torch.mm(h, self.W).view(n, self.heads, self.hidden).permute(1, 0, 2), 0.1, training=self.training
            )
            e = F.leaky_relu(
                torch.matmul(h, self.a[:, : self.hidden]) + torch.matmul(h, self.a[:, self.hidden :]).mT, 0.2
            )
            e = F.softmax(torch.where(adjacency > 0, e, -9e16 * torch.ones_like(e)), dim=-1)
            h = torch.matmul(e, h)
            return h.permute(1, 0, 2).contiguous().view(n, -1) if self.concat else h.mean(0)

    n = 14
    adjacency = (torch.rand(n, n) < 0.3).float() + torch.eye(n)
    index = torch.stack(torch.where(adjacency > 0))
    adjacency = torch.sparse_coo_tensor(index, torch.ones(index.shape[1]), (n, n)).to_dense()
    x, y = torch.randn(n, 6), torch.arange(n) % 3
    first, second = Layer(6, 16, 4), Layer(16, 3, 1, concat=False)
    optimizer, losses = optim.Adam([*first.parameters(), *second.parameters()], lr=0.01, weight_decay=5e-4), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.nll_loss(F.log_softmax(second(F.elu(first(x, adjacency)), adjacency), dim=1), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def forward_forward():
    """Layers trained greedily, each by its own goodness (examples/mnist_forward_forward)."""

    class Layer(nn.Linear):
        def __init__(self, a, b):
            super().__init__(a, b)
            self.relu, self.opt, self.threshold = nn.ReLU(), optim.Adam(self.parameters(), lr=0.02), 1.5

        def forward(self, x):
            x = x / (x.norm(2, 1, keepdim=True) + 1e-4)
            return self.relu(torch.mm(x, self.weight.T) + self.bias.unsqueeze(0))

        def train_once(self, pos, neg):
            for _ in range(3):
                loss = torch.log(
                    1
                    + torch.exp(
                        torch.cat(
                            [-self(pos).pow(2).mean(1) + self.threshold, self(neg).pow(2).mean(1) - self.threshold]
                        )
                    )
                ).mean()
                self.opt.zero_grad()
                loss.backward()
                self.opt.step()
            return self(pos).detach(), self(neg).detach(), loss.item()

    pos, neg, losses = torch.rand(20, 30), torch.rand(20, 30), []
    for layer in (Layer(30, 20), Layer(20, 20)):
        pos, neg, loss = layer.train_once(pos, neg)
        losses.append(loss)
    return losses


def vision_transformer():
    class Block(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.n1, self.n2, self.att = nn.LayerNorm(d), nn.LayerNorm(d), nn.MultiheadAttention(d, 4, dropout=0.1)
            self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * d, d))

        def forward(self, x):
            y = self.n1(x)
            x = x + self.att(y, y, y)[0]
            return x + self.mlp(self.n2(x))

    class ViT(nn.Module):
        def __init__(self, d=16):
            super().__init__()
            self.embed, self.blocks, self.head = nn.Linear(48, d), nn.Sequential(Block(d), Block(d)), nn.Linear(d, 3)
            self.cls, self.pos = nn.Parameter(torch.randn(1, 1, d)), nn.Parameter(torch.randn(1, 17, d))

        def forward(self, x):
            b, c, h, w = x.shape
            x = x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2, 4)
            x = self.embed(x)
            x = torch.cat([self.cls.repeat(b, 1, 1), x], dim=1) + self.pos[:, : x.shape[1] + 1]
            return self.head(self.blocks(x.transpose(0, 1))[0])

    net = ViT()
    optimizer = optim.AdamW(net.parameters(), lr=3e-3)
    schedule = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4], gamma=0.1)
    x, y, losses = torch.randn(12, 3, 16, 16), torch.arange(12) % 3, []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


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


def profiled():
    from torch.profiler import ProfilerActivity, profile, record_function, schedule

    net, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.randn(4, 8)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof:
        with record_function("model_inference"):
            net(x)
    names = {e.key for e in prof.key_averages()}
    steps = []
    with profile(
        activities=[ProfilerActivity.CPU],
        schedule=schedule(wait=1, warmup=1, active=2, repeat=1),
        on_trace_ready=lambda p: steps.append(p.step_num),
    ) as p:
        for _ in range(5):
            net(x)
            p.step()
    prof.export_chrome_trace("trace.json")
    with torch.autograd.profiler.profile() as old:
        net(x).sum().backward()
    return {
        "has": [n in names for n in ("model_inference", "aten::linear", "aten::addmm", "aten::relu")],
        "steps": steps,
        "table": "aten::addmm"
        in prof.key_averages(group_by_input_shape=True).table(sort_by="cpu_time_total", row_limit=10),
        "old": "aten::addmm" in str(old.key_averages()),
    }


def loading():
    """A data set of files with transforms, a collate function, a sampler and workers (data_tutorial)."""
    from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler, random_split

    class Faces(Dataset):
        def __init__(self, transform=None):
            self.data, self.transform = torch.randn(20, 3, 10, 10), transform

        def __len__(self):
            return len(self.data)

        def __getitem__(self, i):
            sample = {"image": self.data[i], "landmarks": torch.arange(4.0).view(2, 2) * i, "name": f"{i}.png"}
            return self.transform(sample) if self.transform else sample

    class Crop:
        def __call__(self, sample):
            top, left = (torch.randint(0, 3, (1,)).item() for _ in range(2))
            return {
                **sample,
                "image": sample["image"][:, top : top + 8, left : left + 8],
                "landmarks": sample["landmarks"] - torch.tensor([left, top]),
            }

    a, b = random_split(Faces(Crop()), [0.8, 0.2])
    results = {"names": [n for batch in DataLoader(a, batch_size=4, shuffle=True) for n in batch["name"]]}
    loader = DataLoader(
        a,
        batch_size=4,
        sampler=WeightedRandomSampler(torch.rand(16), 8),
        num_workers=2,
        worker_init_fn=_seeded,
        collate_fn=_joined,
        persistent_workers=True,
    )
    results["workers"] = [list(loader) for _ in range(2)]
    return results


def _seeded(worker):
    torch.manual_seed(worker)


def _joined(samples):
    return torch.stack([s["image"].sum() for s in samples]), [s["name"] for s in samples]


def distributed():
    """DistributedDataParallel over gloo in two processes (ddp_tutorial)."""
    import torch.multiprocessing as mp

    mp.start_processes(_rank, args=(2,), nprocs=2, start_method="fork")
    return torch.load("weights.pt")


def _rank(rank, size):
    import os

    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel as DDP

    dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/meeting", rank=rank, world_size=size)
    torch.manual_seed(0)
    net = DDP(nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 5)))
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    torch.manual_seed(rank)
    for _ in range(3):
        optimizer.zero_grad()
        nn.MSELoss()(net(torch.randn(20, 10)), torch.randn(20, 5)).backward()
        optimizer.step()
    if rank == 0:
        torch.save(net.module.state_dict(), "weights.pt")
    dist.barrier()
    dist.destroy_process_group()


def swa_and_ema():
    net, x = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)), torch.randn(32, 4)
    loader = torch.utils.data.DataLoader(x, batch_size=8)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    averaged, ema = (
        optim.swa_utils.AveragedModel(net),
        optim.swa_utils.AveragedModel(net, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9)),
    )
    schedule = optim.swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)
    rates = []
    for _ in range(3):
        for batch in loader:
            optimizer.zero_grad()
            (net(batch) - batch.sum(1, keepdim=True)).square().mean().backward()
            optimizer.step()
            ema.update_parameters(net)
        averaged.update_parameters(net)
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    optim.swa_utils.update_bn(loader, averaged)
    averaged.eval(), ema.eval()
    return {"rates": rates, "averaged": averaged(x[:5]), "ema": ema(x[:5])}


def compiled():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(10, 10)

        def forward(self, x):
            return F.relu(self.lin(x)) if x.sum() > -1000 else x

    net = Net()
    fast = torch.compile(net)
    optimizer, losses = optim.Adam(net.parameters(), lr=0.01), []
    for i in range(4):
        optimizer.zero_grad()
        loss = fast(torch.randn(4 + i, 10)).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    explained = torch._dynamo.explain(lambda x: x.sin() + 1)(torch.randn(3))
    return {"losses": losses, "breaks": explained.graph_break_count, "graphs": explained.graph_count}


def checkpoints():
    from torch.utils.checkpoint import checkpoint, checkpoint_sequential

    net, x = (
        nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 1)),
        torch.randn(5, 6, requires_grad=True),
    )
    results = []
    for run in (
        lambda: checkpoint(net, x, use_reentrant=False),
        lambda: checkpoint(net, x, use_reentrant=True),
        lambda: checkpoint_sequential(net, 2, x, use_reentrant=False),
    ):
        net.zero_grad()
        x.grad = None
        out = run()
        out.sum().backward()
        results.append([out, x.grad, net[0].weight.grad])
    optimizer = optim.Adam(net.parameters())
    optimizer.step()
    buffer = io.BytesIO()
    torch.save({"epoch": 5, "model": net.state_dict(), "optimizer": optimizer.state_dict(), "net": None}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    with torch.device("meta"):
        blank = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 1))
    blank.load_state_dict(saved["model"], assign=True)
    return {
        "results": results,
        "again": blank.eval()(x),
        "moments": [s["exp_avg"] for s in saved["optimizer"]["state"].values()],
    }


def quantized():
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    small = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    return {"text": str(small), "out": small(torch.randn(3, 16))}


def adversarial():
    """A spatial transformer, its grid by affine_grid and grid_sample (spatial_transformer_tutorial)."""
    loc = nn.Sequential(
        nn.Conv2d(1, 4, 7), nn.MaxPool2d(2, stride=2), nn.ReLU(True), nn.Flatten(), nn.Linear(4 * 7 * 7, 6)
    )
    loc[4].weight.data.zero_()
    loc[4].bias.data.copy_(torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float))
    head = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    optimizer, losses = optim.SGD([*loc.parameters(), *head.parameters()], lr=0.05), []
    x, y = torch.randn(8, 1, 20, 20), torch.arange(8) % 3
    for _ in range(4):
        optimizer.zero_grad()
        grid = F.affine_grid(loc(x).view(-1, 2, 3), x.size(), align_corners=False)
        loss = F.cross_entropy(head(F.grid_sample(x, grid, align_corners=False)), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

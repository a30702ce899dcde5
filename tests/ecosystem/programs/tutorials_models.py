"""What the tutorials of PyTorch build: recurrent, convolutional, graph and attention networks."""

import copy

import torch
import torch.nn.functional as F
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

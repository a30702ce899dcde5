"""Training programs in the style of PyTorch's official examples, small: the same losses step by step."""

import math

import torch
import torch.nn.functional as F
from torch import nn, optim


def _digits(n=64):
    """Blurred squares at ten places stand for digits."""
    y = torch.arange(n) % 10
    x = 0.1 * torch.randn(n, 1, 28, 28)
    for i, k in enumerate(y.tolist()):
        x[i, 0, 4 + 10 * (k // 5) : 12 + 10 * (k // 5), 2 + 5 * (k % 5) : 7 + 5 * (k % 5)] += 1
    return x, y


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, 1), nn.Conv2d(8, 16, 3, 1)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(2304, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = torch.flatten(self.dropout1(F.max_pool2d(x, 2)), 1)
        return F.log_softmax(self.fc2(self.dropout2(F.relu(self.fc1(x)))), dim=1)


def mnist():
    x, y = _digits()
    net = _Net()
    optimizer = optim.Adadelta(net.parameters(), lr=1.0)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16, shuffle=True)
    losses = []
    for _ in range(2):
        net.train()
        for data, target in loader:
            optimizer.zero_grad()
            loss = F.nll_loss(net(data), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
    net.eval()
    torch.save(net.state_dict(), "mnist.pt")
    with torch.no_grad():
        return {"losses": losses, "test": F.nll_loss(net(x), y, reduction="sum")}


def vae():
    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc21, self.fc22, self.fc3, self.fc4 = (
                nn.Linear(784, 40),
                nn.Linear(40, 5),
                nn.Linear(40, 5),
                nn.Linear(5, 40),
                nn.Linear(40, 784),
            )

        def forward(self, x):
            h = F.relu(self.fc1(x.view(-1, 784)))
            mu, logvar = self.fc21(h), self.fc22(h)
            z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar

    x, _ = _digits()
    x, net = x.clamp(0, 1), VAE()
    optimizer, losses = optim.Adam(net.parameters(), lr=1e-3), []
    for batch in x.split(16):
        optimizer.zero_grad()
        out, mu, logvar = net(batch)
        loss = F.binary_cross_entropy(out, batch.view(-1, 784), reduction="sum") - 0.5 * torch.sum(
            1 + logvar - mu.pow(2) - logvar.exp()
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}


def dcgan():
    def init(m):
        if "Conv" in type(m).__name__:
            nn.init.normal_(m.weight, 0.0, 0.02)
        elif "BatchNorm" in type(m).__name__:
            nn.init.normal_(m.weight, 1.0, 0.02)
            nn.init.zeros_(m.bias)

    g = nn.Sequential(nn.ConvTranspose2d(10, 16, 4, 1, 0, bias=False), nn.BatchNorm2d(16), nn.ReLU(True), nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
                      nn.ConvTranspose2d(8, 1, 4, 2, 1, bias=False), nn.Tanh()).apply(init)  # fmt: skip
    d = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2, inplace=True),
                      nn.Conv2d(16, 1, 4, 1, 0, bias=False), nn.Sigmoid()).apply(init)  # fmt: skip
    criterion, of_d, of_g = (
        nn.BCELoss(),
        optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999)),
        optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999)),
    )
    losses = []
    for _ in range(3):
        real, noise = torch.randn(8, 1, 16, 16), torch.randn(8, 10, 1, 1)
        d.zero_grad()
        a = criterion(d(real).view(-1), torch.ones(8))
        a.backward()
        fake = g(noise)
        b = criterion(d(fake.detach()).view(-1), torch.zeros(8))
        b.backward()
        of_d.step()
        g.zero_grad()
        c = criterion(d(fake).view(-1), torch.ones(8))
        c.backward()
        of_g.step()
        losses += [a.item(), b.item(), c.item()]
    return {"losses": losses}


class _Language(nn.Module):
    def __init__(self, kind, words=40, width=16):
        super().__init__()
        self.drop, self.encoder = nn.Dropout(0.2), nn.Embedding(words, width)
        self.rnn = getattr(nn, kind)(width, width, 2, dropout=0.2)
        self.decoder = nn.Linear(width, words)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)

    def forward(self, x, hidden):
        out, hidden = self.rnn(self.drop(self.encoder(x)), hidden)
        return F.log_softmax(self.decoder(self.drop(out)).view(-1, 40), dim=1), hidden


def word_language_model():
    text = torch.randint(0, 40, (25, 4))
    out = {}
    for kind in ("LSTM", "GRU", "RNN"):
        torch.manual_seed(1)
        net, hidden, losses, rate = _Language(kind), None, [], 1.0
        for i in range(0, 20, 5):
            if hidden is not None:
                hidden = tuple(h.detach() for h in hidden) if isinstance(hidden, tuple) else hidden.detach()
            net.zero_grad()
            y, hidden = net(text[i : i + 5], hidden)
            loss = F.nll_loss(y, text[i + 1 : i + 6].reshape(-1))
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.25)
            for p in net.parameters():
                p.data.add_(p.grad, alpha=-rate)
            losses.append(loss.item())
        out[kind] = losses
    return out


def transformer_language_model():
    class Positions(nn.Module):
        def __init__(self, width, longest=32):
            super().__init__()
            at, by = (
                torch.arange(longest).unsqueeze(1),
                torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width)),
            )
            pe = torch.zeros(longest, 1, width)
            pe[:, 0, 0::2], pe[:, 0, 1::2] = torch.sin(at * by), torch.cos(at * by)
            self.register_buffer("pe", pe)

        def forward(self, x):
            return x + self.pe[: x.size(0)]

    net = nn.ModuleList(
        [
            nn.Embedding(40, 16),
            Positions(16),
            nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, 0.1), 2),
            nn.Linear(16, 40),
        ]
    )
    text = torch.randint(0, 40, (11, 4))
    mask = nn.Transformer.generate_square_subsequent_mask(10)
    optimizer, losses = optim.SGD(net.parameters(), lr=0.5), []
    for _ in range(3):
        y = net[3](net[2](net[1](net[0](text[:-1]) * 4.0), mask))
        loss = F.cross_entropy(y.view(-1, 40), text[1:].view(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}


def super_resolution():
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, 1, 2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(16, 9, 3, 1, 1),
        nn.PixelShuffle(3),
    )
    for m in net:
        if isinstance(m, nn.Conv2d):
            nn.init.orthogonal_(m.weight, nn.init.calculate_gain("relu"))
    big = F.interpolate(torch.rand(4, 1, 6, 6), 24, mode="bicubic")
    small = F.interpolate(big, 8, mode="bilinear", antialias=True)
    optimizer, losses = optim.Adam(net.parameters(), lr=1e-2), []
    for _ in range(4):
        optimizer.zero_grad()
        loss = F.mse_loss(net(small), big)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}


class _Walk:
    """An environment: walk right over five places to be paid."""

    def reset(self):
        self.at, self.steps = 2, 0
        return self.state()

    def state(self):
        return F.one_hot(torch.tensor(self.at), 5).float()

    def step(self, action):
        self.at, self.steps = max(0, min(4, self.at + (1 if action else -1))), self.steps + 1
        return self.state(), float(self.at == 4), self.at == 4 or self.steps > 12


def reinforce():
    net = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 2), nn.Softmax(-1)).double()
    optimizer, env, rewards_of, losses = optim.Adam(net.parameters(), lr=1e-2), _Walk(), [], []
    for _ in range(6):
        state, done, logs, rewards = env.reset(), False, [], []
        while not done:
            m = torch.distributions.Categorical(net(state.double()))
            action = m.sample()
            logs.append(m.log_prob(action))
            state, reward, done = env.step(action.item())
            rewards.append(reward)
        back, returns = 0.0, []
        for r in rewards[::-1]:
            back = r + 0.99 * back
            returns.insert(0, back)
        returns = torch.tensor(returns, dtype=torch.float64)
        returns = (returns - returns.mean()) / (returns.std() + 1e-4)
        loss = torch.stack([-a * r for a, r in zip(logs, returns)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        rewards_of.append(len(rewards))
    return {"losses": losses, "lengths": rewards_of}


def actor_critic():
    body, actor, critic = nn.Linear(5, 16), nn.Linear(16, 2), nn.Linear(16, 1)
    optimizer, env, losses = (
        optim.Adam([*body.parameters(), *actor.parameters(), *critic.parameters()], lr=3e-2),
        _Walk(),
        [],
    )
    for _ in range(4):
        state, done, saved, rewards = env.reset(), False, [], []
        while not done:
            h = F.relu(body(state))
            m = torch.distributions.Categorical(F.softmax(actor(h), dim=-1))
            action = m.sample()
            saved.append((m.log_prob(action), critic(h)))
            state, reward, done = env.step(action.item())
            rewards.append(reward)
        back, policy, value = 0.0, [], []
        for (log, v), r in zip(saved[::-1], rewards[::-1]):
            back = r + 0.99 * back
            policy.append(-log * (back - v.item()))
            value.append(F.smooth_l1_loss(v, torch.tensor([back])))
        optimizer.zero_grad()
        loss = torch.stack(policy).sum() + torch.stack(value).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}


def time_sequence_prediction():
    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm1, self.lstm2, self.linear = nn.LSTMCell(1, 12), nn.LSTMCell(12, 12), nn.Linear(12, 1)

        def forward(self, x, future=0):
            outputs, n = [], x.size(0)
            h1, c1, h2, c2 = (torch.zeros(n, 12, dtype=torch.double) for _ in range(4))
            for part in x.split(1, dim=1):
                h1, c1 = self.lstm1(part, (h1, c1))
                h2, c2 = self.lstm2(h1, (h2, c2))
                out = self.linear(h2)
                outputs += [out]
            for _ in range(future):
                h1, c1 = self.lstm1(out, (h1, c1))
                h2, c2 = self.lstm2(h1, (h2, c2))
                out = self.linear(h2)
                outputs += [out]
            return torch.cat(outputs, dim=1)

    waves = torch.sin(torch.arange(20.0, dtype=torch.double) / 4 + torch.arange(6.0).unsqueeze(1))
    net = Sequence().double()
    optimizer, losses = optim.LBFGS(net.parameters(), lr=0.8, max_iter=5), []

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(net(waves[:, :-1]), waves[:, 1:])
        loss.backward()
        losses.append(loss.item())
        return loss

    for _ in range(3):
        optimizer.step(closure)
    with torch.no_grad():
        return {"losses": losses, "future": net(waves[:2, :-1], future=5)}


def regression():
    w, b = torch.randn(4, 1) * 5, torch.randn(1) * 5
    fc = nn.Linear(4, 1)
    losses = []
    for _ in range(20):
        x = torch.randn(32).unsqueeze(1)
        x = torch.cat([x**i for i in range(1, 5)], 1)
        fc.zero_grad()
        loss = F.smooth_l1_loss(fc(x), x.mm(w) + b.item())
        loss.backward()
        for p in fc.parameters():
            p.data.add_(p.grad.data, alpha=-0.1)
        losses.append(loss.item())
    return {"losses": losses, "weight": fc.weight}


def siamese():
    x, y = _digits(32)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 8),
    )
    head = nn.Sequential(nn.Linear(16, 8), nn.ReLU(inplace=True), nn.Linear(8, 1), nn.Sigmoid())
    optimizer, losses = optim.Adadelta([*net.parameters(), *head.parameters()], lr=1.0), []
    for i in range(4):
        j = torch.randperm(32)
        same = (y == y[j]).float()
        out = head(torch.cat((net(x), net(x[j])), 1)).squeeze()
        loss = nn.BCELoss()(out, same) + nn.TripletMarginLoss()(net(x), net(x[j]), net(x.flip(0)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}


def fast_neural_style():
    class Residual(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.pad, self.conv, self.norm = (
                nn.ReflectionPad2d(1),
                nn.Conv2d(c, c, 3),
                nn.InstanceNorm2d(c, affine=True),
            )

        def forward(self, x):
            return F.relu(self.norm(self.conv(self.pad(x)))) + x

    net = nn.Sequential(
        nn.ReflectionPad2d(2),
        nn.Conv2d(3, 8, 5, 2),
        Residual(8),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(8, 3, 3, padding=1),
    )
    target, x = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)

    def gram(y):
        y = y.flatten(2)
        return y.bmm(y.transpose(1, 2)) / y.shape[1] / y.shape[2]

    optimizer, losses = optim.Adam(net.parameters(), lr=1e-2), []
    for _ in range(3):
        out = net(x)
        loss = F.mse_loss(out, x) + 10 * F.mse_loss(gram(out), gram(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": losses}

"""Small whole trainings of the usual kinds: their losses are PyTorch's, step for step."""

import pytest


def losses_of(fl, model, optimizer, loss_of, steps, scheduler=None):
    """Trains and returns the losses and a checksum of the trained parameters."""
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
    return losses, [p.detach().double().abs().sum().item() for p in model.parameters()]


def test_convolutional_classifier(agree):
    """Convolutions, batch normalisation, dropout, SGD with momentum and a step schedule."""

    def train(fl):
        nn, F = fl.nn, fl.nn.functional
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 5),
        )  # fmt: skip
        x, y = fl.randn(32, 1, 12, 12), fl.randint(0, 5, (32,))
        optimizer = fl.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        scheduler = fl.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.5)
        return losses_of(fl, model, optimizer, lambda step: F.cross_entropy(model(x), y), 12, scheduler)

    agree(train, rtol=1e-3)


def test_recurrent_language_model(agree):
    """Embedding, LSTM, gradient clipping, Adam."""

    def train(fl):
        nn, F = fl.nn, fl.nn.functional

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = nn.Embedding(20, 16)
                self.lstm = nn.LSTM(16, 32, num_layers=2, batch_first=True)
                self.out = nn.Linear(32, 20)

            def forward(self, x):
                return self.out(self.lstm(self.embed(x))[0])

        model = Model()
        text = fl.randint(0, 20, (8, 21))
        optimizer = fl.optim.Adam(model.parameters(), lr=1e-2)
        losses = []
        for step in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(text[:, :-1]).transpose(1, 2), text[:, 1:])
            loss.backward()
            losses.append(nn.utils.clip_grad_norm_(model.parameters(), 0.25).item())
            optimizer.step()
            losses.append(loss.item())
        return losses

    agree(train, rtol=1e-3)


def test_transformer_classifier(agree):
    """A Transformer encoder with a padding mask, AdamW and a cosine schedule."""

    def train(fl):
        nn, F = fl.nn, fl.nn.functional

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = nn.Embedding(30, 32)
                layer = nn.TransformerEncoderLayer(32, 4, dim_feedforward=64, dropout=0.0, batch_first=True)
                self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
                self.out = nn.Linear(32, 2)

            def forward(self, x, pad):
                return self.out(self.encoder(self.embed(x), src_key_padding_mask=pad)[:, 0])

        model = Model()
        x, y = fl.randint(1, 30, (16, 10)), fl.randint(0, 2, (16,))
        pad = fl.arange(10)[None, :] >= fl.randint(3, 11, (16, 1))
        optimizer = fl.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
        scheduler = fl.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        # Not the parameters: the derivative by a key's bias is zero but for rounding, which AdamW makes as large as any.
        return losses_of(fl, model, optimizer, lambda step: F.cross_entropy(model(x, pad), y), 10, scheduler)[0]

    agree(train, rtol=1e-4)


def test_variational_autoencoder(agree):
    """Random numbers inside the forward pass, a loss of two terms, RMSprop."""

    def train(fl):
        nn, F = fl.nn, fl.nn.functional

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.encode = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 8))
                self.decode = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 20))

            def forward(self, x):
                mean, logvar = self.encode(x).chunk(2, dim=1)
                z = mean + fl.exp(0.5 * logvar) * fl.randn_like(logvar)
                return self.decode(z), mean, logvar

        model = Model()
        x = fl.rand(64, 20).round()
        optimizer = fl.optim.RMSprop(model.parameters(), lr=1e-3)

        def loss_of(step):
            logits, mean, logvar = model(x)
            distance = -0.5 * fl.mean(1 + logvar - mean.pow(2) - logvar.exp())
            return F.binary_cross_entropy_with_logits(logits, x) + 0.1 * distance

        return losses_of(fl, model, optimizer, loss_of, 15)

    agree(train, rtol=1e-3)


def test_adversarial_pair(agree):
    """Two networks, two optimizers, `detach`, transposed convolutions, `requires_grad_(False)`."""

    def train(fl):
        nn, F = fl.nn, fl.nn.functional
        generator = nn.Sequential(
            nn.Unflatten(1, (8, 1, 1)), nn.ConvTranspose2d(8, 8, 4), nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid(),
        )  # fmt: skip
        critic = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))
        first = fl.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
        second = fl.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
        real, losses = fl.rand(16, 1, 8, 8), []
        for step in range(8):
            fake = generator(fl.randn(16, 8))
            second.zero_grad()
            loss = F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()
            loss.backward()
            second.step()
            critic.requires_grad_(False)
            first.zero_grad()
            other = F.softplus(-critic(fake)).mean()
            other.backward()
            first.step()
            critic.requires_grad_(True)
            losses += [loss.item(), other.item()]
        return losses

    agree(train, rtol=1e-3)


def test_physics_by_second_derivatives(agree):
    """Derivatives of the network by its input inside the loss; L-BFGS."""

    def train(fl):
        nn = fl.nn
        model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1)).double()
        x = fl.linspace(0, 1, 20, dtype=fl.float64)[:, None].requires_grad_()
        optimizer = fl.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5)

        def closure():
            optimizer.zero_grad()
            u = model(x)
            (du,) = fl.autograd.grad(u.sum(), x, create_graph=True)
            (ddu,) = fl.autograd.grad(du.sum(), x, create_graph=True)
            loss = (ddu + u).pow(2).mean() + (u[0] - 1).pow(2).sum() + du[0].pow(2).sum()
            loss.backward()
            return loss

        return [optimizer.step(closure).item() for _ in range(4)]

    agree(train, rtol=1e-4)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam", "Adamax"])
def test_every_usual_optimizer_on_a_regression(agree, name):
    def train(fl):
        nn, F = fl.nn, fl.nn.functional
        model = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.LayerNorm(12), nn.Linear(12, 3))
        x, y = fl.randn(40, 6), fl.randn(40, 3)
        optimizer = getattr(fl.optim, name)(model.parameters(), lr=1e-2)
        return losses_of(fl, model, optimizer, lambda step: F.huber_loss(model(x), y), 10)

    agree(train, rtol=1e-3)

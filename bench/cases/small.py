"""Small arrays: what a call costs"""

import torch

GOAL = 1.0


def add():
    """`a + b` on 8x8"""
    a, b = torch.randn(8, 8), torch.randn(8, 8)
    return lambda: a + b


def add_grad():
    """`a + b` on 8x8, recording the graph"""
    a, b = torch.randn(8, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)
    return lambda: a + b


def chain():
    """ten operators on 8x8, forward and backward; goal 2"""
    x, w = torch.randn(8, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)

    def run():
        y = x
        y = y * w
        y = y + x
        y = y.tanh()
        y = y - w
        y = y * 0.5
        y = y.exp()
        y = y + 1.0
        y = y * y
        y = y.sigmoid()
        y.sum().backward()
        x.grad = w.grad = None

    return run


def index():
    """`x[2]`, `x[1, 3]`, `x[:, 1:3]` of 8x8"""
    x = torch.randn(8, 8)

    def run():
        x[2]
        x[1, 3]
        x[:, 1:3]

    return run


def layer():
    """a linear layer from 64 to 32 on 8 rows, then relu"""
    x, w, b = torch.randn(8, 64), torch.randn(32, 64), torch.randn(32)
    return lambda: torch.relu(torch.nn.functional.linear(x, w, b))


def normed():
    """layer_norm of 8x64"""
    x, w, b = torch.randn(8, 64), torch.ones(64), torch.zeros(64)
    return lambda: torch.nn.functional.layer_norm(x, (64,), w, b)


def classes():
    """cross_entropy of 32x10"""
    x, y = torch.randn(32, 10), torch.randint(0, 10, (32,))
    return lambda: torch.nn.functional.cross_entropy(x, y)


def mask():
    """`x[mask]` of 8x8"""
    x = torch.randn(8, 8)
    chosen = x > 0
    return lambda: x[chosen]


def mask_grad():
    """`x[mask]` of 8x8, its sum backward"""
    x = torch.randn(8, 8, requires_grad=True)
    chosen = x > 0

    def run():
        x[chosen].sum().backward()
        x.grad = None

    return run


def rows_grad():
    """`x[rows]` of 8x16, its sum backward"""
    x, rows = torch.randn(8, 16, requires_grad=True), torch.randint(0, 8, (8,))

    def run():
        x[rows].sum().backward()
        x.grad = None

    return run


def picked():
    """gather of 8x4 from 8x16"""
    x, places = torch.randn(8, 16), torch.randint(0, 16, (8, 4))
    return lambda: x.gather(1, places)


def largest():
    """the 3 largest of each row of 8x16"""
    x = torch.randn(8, 16)
    return lambda: x.topk(3)


def joined():
    """cat of two 8x16 along dim 1"""
    a, b = torch.randn(8, 16), torch.randn(8, 16)
    return lambda: torch.cat([a, b], 1)


def dropped():
    """dropout of 8x16 in training"""
    x = torch.randn(8, 16)
    return lambda: torch.nn.functional.dropout(x, 0.1)


def drawn():
    """randn of 8x16"""
    return lambda: torch.randn(8, 16)


def convolved():
    """conv2d 3x3 3->4, relu and max_pool2d of 2x3x8x8"""
    x, w = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    return lambda: torch.nn.functional.max_pool2d(torch.relu(torch.nn.functional.conv2d(x, w, padding=1)), 2)


def summed():
    """einsum "ij,jk->ik" of 8x16 and 16x16"""
    x, w = torch.randn(8, 16), torch.randn(16, 16)
    return lambda: torch.einsum("ij,jk->ik", x, w)


def attended():
    """attention of 2x2x4x8"""
    q, k, v = (torch.randn(2, 2, 4, 8) for _ in range(3))
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v)


def probability():
    """Categorical.log_prob of 4 actions"""
    chances = torch.distributions.Categorical(logits=torch.randn(4, 2))
    actions = chances.sample()
    return lambda: chances.log_prob(actions)


def act():
    """an actor of three layers on 4 states: sample, log_prob, entropy"""
    from torch import nn

    net = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    states = torch.randn(4, 4)

    def run():
        with torch.no_grad():
            chances = torch.distributions.Categorical(logits=net(states))
            actions = chances.sample()
            return actions, chances.log_prob(actions), chances.entropy()

    return run


def value():
    """a step of a DQN of two layers on 64 states, Adam"""
    from torch import nn

    net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
    opt = torch.optim.Adam(net.parameters())
    states, actions = torch.randn(64, 4), torch.randint(0, 2, (64, 1))

    def run():
        with torch.no_grad():
            target = net(states).max(1)[0]
        loss = nn.functional.smooth_l1_loss(net(states).gather(1, actions)[:, 0], target)
        opt.zero_grad()
        loss.backward()
        opt.step()

    return run


def encoder():
    """a step of a TransformerEncoderLayer of width 16 on 2x6, AdamW"""
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    opt = torch.optim.AdamW(layer.parameters())
    words = torch.randn(2, 6, 16)

    def run():
        loss = layer(words).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()

    return run

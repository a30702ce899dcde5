"""Programs of traced modules, part by part: the text that PyTorch prints, and that they hold for other sizes."""

import io

import pytest

import flambeau

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # PyTorch warns of TorchScript as such, and of what a trace leaves out


def models(fl):
    """Modules with example inputs."""
    nn, F = fl.nn, fl.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 4, 3, padding="same")
            self.fc1, self.fc2, self.drop = nn.Linear(16, 8), nn.Linear(8, 3), nn.Dropout(0.5)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = x.view(x.size(0), -1)
            return self.fc2(self.drop(F.relu(self.fc1(x))))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.l, self.act = nn.Linear(3, 3), nn.ReLU()
            self.register_buffer("k", fl.ones(3))
            self.w = nn.Parameter(fl.ones(3))

        def forward(self, x):
            a = self.act(self.l(x))
            b = self.act(self.l(a) + self.l.weight.sum())
            return a * self.k, b + 2, 1 - b, (b / 3.5, b**2), self.w * b

    class Sized(nn.Module):
        def forward(self, x):
            n, m = x.size(0), x.shape[1]
            z = fl.zeros(n, m * 2) + fl.arange(m * 2)
            y = x.view(n, -1)
            y = y[:, 1:] + x[0, 1:]
            y[0] = 1.0
            w = y.reshape(n * (m - 1)).to(fl.float64).float()
            whole = w.sum() + z.mean() + x[..., None].squeeze(-1).sum()
            return (
                whole,
                x.new_zeros(n),
                fl.cat([x, x], 1),
                x.T,
                x.expand(2, -1, -1),
                y.detach(),
                x.chunk(2, 1),
                x.max(1),
            )

    class Two(nn.Module):
        def forward(self, x):
            return x + 1, x * 2

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.i, self.j = Two(), Two()
            self.parts = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
            self.seq = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)))

        def forward(self, x):
            a, b = self.i(x)
            c, d = self.j(a)
            outs = []
            for p in self.parts:
                x = p(x)
                outs.append(x)
            return self.seq(a + d + c + sum(outs))

    class Gate(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    class Cell(nn.Module):
        def __init__(self, gate):
            super().__init__()
            self.gate, self.linear = gate, nn.Linear(4, 4)

        def forward(self, x, h):
            new = fl.tanh(self.gate(self.linear(x)) + h)
            return new, new

    class Wrap(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = fl.jit.script(nn.Linear(4, 4))

        def forward(self, x):
            y = self.cell(x)
            return fl.relu(y)

    pair = (fl.rand(3, 4), fl.rand(3, 4))
    return {
        "net": (Net().eval(), (fl.rand(1, 1, 10, 10),)),
        "twice": (Twice(), (fl.rand(2, 3),)),
        "sized": (Sized(), (fl.rand(3, 4),)),
        "nested": (Nested(), (fl.rand(2, 4),)),
        "gate": (Cell(Gate()), pair),
        "wrap": (Wrap(), pair[:1]),
        "norm": (nn.BatchNorm2d(3).eval(), (fl.rand(1, 3, 4, 4),)),
        "groups": (nn.GroupNorm(2, 4), (fl.rand(1, 4, 2),)),
        "embedding": (nn.Embedding(5, 3), (fl.tensor([1, 2]),)),
        "loss": (nn.CrossEntropyLoss(), (fl.rand(2, 3), fl.tensor([0, 1]))),
        "up": (nn.ConvTranspose2d(2, 3, 2), (fl.rand(1, 2, 4, 4),)),
        "pool": (nn.AvgPool2d(2), (fl.rand(1, 1, 2, 2),)),
        "flat": (
            nn.Sequential(nn.Hardswish(), nn.GELU(), nn.PReLU(), nn.Flatten(), nn.Softmax(1)),
            (fl.rand(2, 3, 4),),
        ),
    }


NAMES = ("net", "twice", "sized", "nested", "gate", "wrap", "norm", "groups", "embedding", "loss", "up", "pool", "flat")


def codes(module):
    """The program of each part that has one."""
    found = {}
    for name, part in module.named_modules():
        try:
            found[name] = part.code
        except AttributeError as why:
            found[name] = str(why)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_code_of_each_part(agree, name):
    agree(lambda fl: codes(fl.jit.trace(*models(fl)[name], check_trace=False)), grads=0)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("gate", "pool")])
def test_parts_hold_for_other_sizes(name):
    flambeau.manual_seed(0)
    m, args = models(flambeau)[name]
    traced = flambeau.jit.trace(m, args)
    file = io.BytesIO()
    flambeau.jit.save(traced, file)
    file.seek(0)
    more = tuple(flambeau.cat([x, x]) for x in args)
    for f in (traced, flambeau.jit.load(file)):
        for given in (args, more):
            flambeau.testing.assert_close(f(*given), m(*given))


def test_graphs_show_what_was_seen(agree):
    def program(fl):
        m = fl.nn.Sequential(fl.nn.Linear(3, 2), fl.nn.Tanh())
        graph = getattr(fl.jit.trace(m, fl.rand(4, 3)), "0").graph
        lines = str(graph).splitlines()
        return [
            lines[1].partition(" : ")[2],
            [line.partition("#")[0].partition(" : ")[2].replace(".1", "") for line in lines if "aten::" in line],
        ]

    agree(program, grads=0)


def test_results_that_do_not_come_from_the_trace():
    with pytest.raises(
        RuntimeError, match="of traced region did not have observable data dependence with trace inputs"
    ):
        flambeau.jit.trace(lambda x: flambeau.tensor([1.0, 2.0]).data, flambeau.rand(2))


def test_functions(agree):
    def program(fl):
        f = fl.jit.trace(lambda x, y: (x @ y).relu() * 2 + 1.5, (fl.rand(2, 2), fl.rand(2, 2)))
        ints = fl.jit.trace(lambda x: x + 1.5, fl.tensor([1, 2]))
        return f.code.partition("\n")[2], ints(fl.tensor([3])).dtype

    agree(program, grads=0)

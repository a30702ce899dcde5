"""Small nets prepared, observed and converted in eager mode: modules, codes, state dicts as PyTorch's."""

import copy
import re

import pytest

from tests.agree import rand
from tests.unit.ao.observed import told

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated"),
    pytest.mark.filterwarnings("ignore:Please use quant_min"),
    pytest.mark.filterwarnings("ignore:.*poor numerical accuracy"),
    pytest.mark.filterwarnings("ignore:must run observer"),
    pytest.mark.filterwarnings("ignore:All inputs of this cat"),
]


def outcome_of(model, x):
    """What is compared of a converted model."""
    return told([model(x), dict(model.state_dict())]), rounded(repr(model))


def rounded(text):
    """A printed module, its numbers to four digits."""
    return re.sub(r"-?\d+\.\d+(e-?\d+)?", lambda m: f"{float(m[0]):.4g}", text)


def seeded(fl, *modules):
    """A sequence whose parameters are numbers that both libraries draw alike."""
    model = fl.nn.Sequential(*modules)
    with fl.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(fl.from_numpy(rand(*p.shape, seed=i, dtype="float32")))
    return model


def statically(fl, model, x, backend="x86", fuse=None, train=False):
    """Prepared, shown some data, converted."""
    q = fl.ao.quantization
    if train:
        model.train()
        if fuse:
            q.fuse_modules_qat(model, fuse, inplace=True)
        model.qconfig = q.get_default_qat_qconfig(backend)
        model = q.prepare_qat(model)
    else:
        model.eval()
        if fuse:
            q.fuse_modules(model, fuse, inplace=True)
        model.qconfig = q.get_default_qconfig(backend)
        model = q.prepare(model)
    model(x)
    model(x * 0.5)
    prepared = rounded(repr(model))
    model.eval()
    return prepared, *outcome_of(q.convert(model), x)


SINGLE = {
    "linear": lambda nn: [nn.Linear(6, 5), nn.Linear(5, 3, bias=False)],
    "linear_relu": lambda nn: [nn.Linear(6, 5), nn.ReLU()],
    "hardswish": lambda nn: [nn.Linear(6, 5), nn.Hardswish()],
    "elu": lambda nn: [nn.Linear(6, 5), nn.ELU(0.7)],
    "leaky": lambda nn: [nn.Linear(6, 5), nn.LeakyReLU(0.2)],
    "relu6": lambda nn: [nn.Linear(6, 5), nn.ReLU6()],
    "sigmoid": lambda nn: [nn.Linear(6, 5), nn.Sigmoid(), nn.Dropout(0.5)],
    "layer_norm": lambda nn: [nn.Linear(6, 8), nn.LayerNorm(8)],
    "conv1d": lambda nn: [nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 3, 2, padding=1)],
    "conv1d_reflect": lambda nn: [nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 3, 2, padding=1, padding_mode="reflect")],
    "conv2d": lambda nn: [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2, dilation=1, padding=1)],
    "conv3d": lambda nn: [nn.Unflatten(1, (1, 1, 2, 3)), nn.Conv3d(1, 3, 1)],
    "group_norm": lambda nn: [nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.GroupNorm(2, 4)],
    "instance_norm": lambda nn: [nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.InstanceNorm1d(4, affine=True)],
    "batch_norm": lambda nn: [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4)],
}


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_static(agree, name):
    def program(fl, x):
        q = fl.ao.quantization
        model = seeded(fl, q.QuantStub(), *SINGLE[name](fl.nn), q.DeQuantStub())
        return statically(fl, model, x.float())

    agree(program, rand(4, 6), grads=0)


FUSED = {
    "conv_bn_relu": (lambda nn: [nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU()], [["1", "2", "3"]]),
    "conv_relu": (lambda nn: [nn.Conv2d(1, 3, 2), nn.ReLU()], [["1", "2"]]),
    "conv_bn": (lambda nn: [nn.Conv2d(1, 3, 2, bias=False), nn.BatchNorm2d(3)], [["1", "2"]]),
    "linear_relu": (lambda nn: [nn.Linear(4, 3), nn.ReLU()], [["1", "2"]]),
    "bn_relu": (lambda nn: [nn.Conv2d(1, 3, 2), nn.Identity(), nn.BatchNorm2d(3), nn.ReLU()], [["3", "4"]]),
}


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", sorted(FUSED))
def test_fused(agree, name, train):
    if train and name == "bn_relu":
        return  # not trained with fake quantization, in PyTorch neither

    def program(fl, x):
        q = fl.ao.quantization
        make, fuse = FUSED[name]
        model = seeded(fl, q.QuantStub(), *make(fl.nn), q.DeQuantStub())
        return statically(fl, model, x.float(), fuse=fuse, train=train)

    agree(program, rand(2, 1, 5, 4), grads=0)


@pytest.mark.parametrize("kind", ["qint8", "float16"])
def test_dynamic(agree, kind):
    def program(fl, x):
        class Net(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = fl.nn.LSTM(6, 5, 2, bidirectional=True)
                self.gru = fl.nn.GRU(10, 4, batch_first=True)
                self.linear = fl.nn.Linear(4, 3)

            def forward(self, x):
                y, state = self.lstm(x)
                return self.linear(self.gru(y)[0]), state

        fl.manual_seed(0)
        model = fl.ao.quantization.quantize_dynamic(
            Net(), {fl.nn.LSTM, fl.nn.GRU, fl.nn.Linear}, dtype=getattr(fl, kind)
        )
        x = x.float()
        packed = fl.nn.utils.rnn.pack_padded_sequence(x, [3, 5], enforce_sorted=False)
        again = copy.deepcopy(model)
        again.load_state_dict(model.state_dict())
        return model(x), again(x), model.lstm(packed)[0].data, repr(model), list(model.state_dict())

    agree(program, rand(5, 2, 6), grads=0, atol=1e-5)


@pytest.mark.parametrize("cell", ["RNNCell", "LSTMCell", "GRUCell"])
def test_dynamic_cells(agree, cell):
    def program(fl, x):
        fl.manual_seed(0)
        model = fl.nn.Sequential(getattr(fl.nn, cell)(6, 5))
        model = fl.ao.quantization.quantize_dynamic(model, {type(model[0])})
        return model(x.float()), repr(model), list(model.state_dict()), told(model[0].get_weight()), model[0].get_bias()

    agree(program, rand(2, 6), grads=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["float_qparams_weight_only_qconfig", "float_qparams_weight_only_qconfig_4bit"])
def test_embeddings(agree, kind):
    def program(fl):
        q = fl.ao.quantization
        fl.manual_seed(0)
        plain, bag, i = fl.nn.Embedding(9, 8), fl.nn.EmbeddingBag(9, 8, mode="sum"), fl.tensor([1, 2, 8, 0, 8, 8])
        plain.qconfig = bag.qconfig = getattr(q, kind)
        bags = fl.ao.nn.quantized.EmbeddingBag.from_float(bag)
        found = [bags(i, fl.tensor([0, 4])), repr(bags), list(bags.state_dict())]
        if kind.endswith("4bit"):
            return found
        one = fl.ao.nn.quantized.Embedding.from_float(plain)
        return found, one(i), repr(one)

    agree(program, grads=0)


def test_functional_modules(agree):
    def program(fl, x, y):
        q, x, y = fl.ao.quantization, x.detach(), y.detach()

        class Net(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.quant, self.dequant = q.QuantStub(), q.DeQuantStub()
                for name in ("add", "mul", "cat", "add_relu", "scaled", "moved", "product"):
                    setattr(self, name, fl.ao.nn.quantized.FloatFunctional())

            def forward(self, x, y):
                x, y = self.quant(x), self.quant(y)
                x = self.add_relu.add_relu(self.add.add(x, y), self.mul.mul(x, y))
                x = self.scaled.mul_scalar(self.cat.cat([x, y], 1), 0.5)
                return self.dequant(self.product.matmul(self.moved.add_scalar(x, 0.25), x.transpose(0, 1)))

        model = Net().eval()
        model.qconfig = q.get_default_qconfig("x86")
        model = q.prepare(model)
        observed = model(x.float(), y.float())
        model = q.convert(model)
        return observed, model(x.float(), y.float()), rounded(repr(model)), dict(model.state_dict())

    agree(program, rand(4, 6), rand(4, 6, seed=1), grads=0)
    agree(lambda fl: fl.ao.nn.quantized.FloatFunctional()(1), raises=RuntimeError)
    agree(lambda fl: fl.ao.nn.quantized.QFunctional()(1), raises=RuntimeError)


@pytest.mark.parametrize("what", ["LSTM", "MultiheadAttention"])
def test_custom_modules(agree, what):
    def program(fl, x):
        q, x = fl.ao.quantization, x.float()

        class Net(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.quant, self.dequant = q.QuantStub(), q.DeQuantStub()
                self.inner = fl.nn.LSTM(6, 5) if what == "LSTM" else fl.nn.MultiheadAttention(6, 2)

            def forward(self, x):
                x = self.quant(x)
                return self.dequant((self.inner(x) if what == "LSTM" else self.inner(x, x, x))[0])

        fl.manual_seed(0)
        model = Net().eval()
        model.qconfig = q.get_default_qconfig("x86")
        model = q.prepare(model)
        observed = model(x)
        prepared = rounded(repr(model))
        model = q.convert(model)
        return observed, prepared, model(x), rounded(repr(model)), list(model.state_dict())

    agree(program, rand(5, 2, 6), grads=0)


def test_state_of_converted_modules(agree):
    def program(fl, x):
        q = fl.ao.quantization

        def made(seed):
            fl.manual_seed(seed)
            model = fl.nn.Sequential(
                q.QuantStub(), fl.nn.Linear(6, 6), fl.nn.Unflatten(1, (2, 3)), fl.nn.Conv1d(2, 2, 2)
            )
            model.qconfig = q.get_default_qconfig("x86")
            model = q.prepare(model.eval())
            model(x.float() * (seed + 1))
            return q.convert(model)

        one, other = made(0), made(1)
        result = str(other.load_state_dict(one.state_dict()))
        copied = copy.deepcopy(other)
        assert fl.equal(other(x.float()).int_repr(), one(x.float()).int_repr())
        return result, told(copied(x.float())), rounded(repr(copied)), told(copied[1]._weight_bias())

    agree(program, rand(4, 6), grads=0)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions(agree, dims, kind, groups, dynamic):
    """By fbgemm: the engine that PyTorch would choose computes transposed ones wrongly where there are zero points."""

    def program(fl, x, w, b):
        x, w, b = x.detach().float(), w.detach().float(), b.detach().float()
        before, fl.backends.quantized.engine = fl.backends.quantized.engine, "fbgemm"
        try:
            room = fl.ao.nn.quantized.dynamic if dynamic else fl.ao.nn.quantized
            conv = getattr(room, f"{kind}{dims}d")(4, 6, 3, 2, 1, groups=groups)
            conv.set_weight_bias(fl.quantize_per_tensor(w, 0.02, 0, fl.qint8), b)
            conv.scale, conv.zero_point = 0.1, 20
            x = x if dynamic else fl.quantize_per_tensor(x, 0.02, 100, fl.quint8)
            return told(conv(x)), repr(conv), told(conv._weight_bias()), told(copy.deepcopy(conv)(x))
        finally:
            fl.backends.quantized.engine = before

    weight = (4, 6 // groups) if kind == "ConvTranspose" else (6, 4 // groups)
    agree(program, rand(2, 4, *[5] * dims), rand(*weight, *[3] * dims, seed=1), rand(6, seed=2), grads=0)


def test_convolutions_refuse(agree):
    agree(lambda fl: fl.ao.nn.quantized.Conv2d(3, 4, 2, groups=2), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantized.Conv2d(4, 3, 2, groups=2), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantized.Conv2d(4, 0, 2), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantized.Conv2d(4, 4, 2, padding_mode="circular"), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantized.Conv3d(4, 4, 2, padding_mode="reflect"), raises=AssertionError)
    agree(lambda fl: fl.ao.nn.quantized.ConvTranspose1d(4, 4, 2, padding_mode="reflect"), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantized.Conv1d(4, 4, 2)(fl.ones(3)), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantized.ConvTranspose3d(4, 4, 2)(fl.ones(3)), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantized.Conv1d.from_float(fl.nn.ReLU()), raises=AssertionError)
    agree(lambda fl: fl.ao.nn.quantized.Conv1d.from_float(fl.nn.Conv1d(2, 2, 2)), raises=AssertionError)
    agree(lambda fl: fl.ao.nn.quantized.Linear.from_float(fl.nn.Linear(2, 2)), raises=AssertionError)
    agree(lambda fl: fl.ao.nn.quantized.LSTM.from_float(fl.nn.LSTM(2, 2)), raises=NotImplementedError)
    agree(lambda fl: fl.ao.nn.quantized.MultiheadAttention.from_float(None), raises=NotImplementedError)
    agree(lambda fl: fl.ao.nn.quantized.dynamic.GRU(2, 2, dropout=-1.0), raises=ValueError)
    agree(lambda fl: fl.ao.nn.quantized.dynamic.LSTM(2, 2)(fl.ones(2, 2, 3)), raises=RuntimeError)
    agree(lambda fl: fl.ao.nn.quantized.dynamic.LSTM(2, 2)(fl.ones(2, 2)), raises=RuntimeError)
    agree(lambda fl: fl.ao.nn.quantized.dynamic.GRU(2, 2)(fl.ones(2, 2, 2), fl.ones(2, 2, 2)), raises=RuntimeError)
    agree(lambda fl: fl.ao.nn.quantized.dynamic.GRUCell(2, 2)(fl.ones(2, 3)), raises=RuntimeError)
    agree(lambda fl: fl.ao.nn.quantized.dynamic.RNNCell(2, 2)(fl.ones(2, 2), fl.ones(1, 2)), raises=RuntimeError)
    agree(lambda fl: fl.ao.nn.quantized.dynamic.RNNCell(2, 2, nonlinearity="x")(fl.ones(2, 2)), raises=RuntimeError)


def test_functional(agree):
    def program(fl, x, w):
        f = fl.ao.nn.quantized.functional
        q = fl.quantize_per_tensor(x.detach().float(), 0.03, 100, fl.quint8)
        qw = fl.quantize_per_tensor(w.detach().float(), 0.02, 0, fl.qint8)
        return told(
            [
                f.avg_pool2d(q, 2),
                f.avg_pool3d(q.unsqueeze(0), 2),
                f.adaptive_avg_pool2d(q, 3),
                f.adaptive_avg_pool3d(q.unsqueeze(0), 2),
                f.conv2d(q, qw, None, padding=1, scale=0.1, zero_point=90),
                f.conv1d(q[:, :, 0], qw[:, :, 0].contiguous(), None, scale=0.1, zero_point=90),
                f.interpolate(q, scale_factor=2),
                f.linear(q[0, 0], fl.quantize_per_tensor(fl.ones(3, 6), 0.02, 0, fl.qint8)),
                f.max_pool1d(q[:, :, 0], 2),
                f.max_pool2d(q, 2, 1, 1),
                f.celu(q, 0.05, 30, 0.7),
                f.leaky_relu(q, 0.13),
                f.leaky_relu(q, 0.13, False, 0.05, 30),
                f.leaky_relu(q.clone(), 0.13, True),
                f.hardtanh(q, -0.5, 0.5),
                f.hardtanh(q.clone(), -0.5, 0.5, True),
                f.hardswish(q, 0.05, 30),
                f.threshold(q, 0.1, 0.2),
                f.elu(q, 0.05, 30),
                f.hardsigmoid(q),
                f.clamp(q, -0.3, 0.3),
            ]
        )

    agree(program, rand(2, 4, 6, 6), rand(3, 4, 3, 3, seed=1), grads=0)
    for name in ("avg_pool2d", "avg_pool3d", "adaptive_avg_pool2d", "interpolate"):
        agree(
            lambda fl, name=name: getattr(fl.ao.nn.quantized.functional, name)(fl.ones(1, 1, 2, 2), 2),
            raises=ValueError,
        )
    agree(lambda fl: fl.ao.nn.quantized.functional.hardsigmoid(fl.ones(1)), raises=ValueError)
    agree(
        lambda fl: fl.ao.nn.quantized.functional.max_pool2d(fl.ones(1), 2, return_indices=True),
        raises=NotImplementedError,
    )
    agree(lambda fl: fl.ao.nn.quantized.functional.conv2d(fl.ones(1), 2, 3), raises=NotImplementedError)


def test_squeezed_by_channel(agree):
    def program(fl, x):
        q = fl.quantize_per_channel(x.detach().float(), fl.tensor([0.1, 0.2, 0.3]), fl.tensor([0, 1, 2]), 0, fl.qint8)
        return told([q.squeeze(1), q.squeeze(), q.unsqueeze(0).squeeze(0), q.squeeze(0), q.squeeze((1, 2))])

    agree(program, rand(3, 1, 2), grads=0)

    def refused(fl):
        fl.quantize_per_channel(fl.ones(1, 2), fl.tensor([0.1]), fl.tensor([0]), 0, fl.qint8).squeeze(0)

    agree(refused, raises=RuntimeError)


def test_traced(agree):
    """Converted modules are calls of modules in a graph, operators of functional ones are calls of functions."""

    def program(fl, x):
        q = fl.ao.quantization

        class Net(fl.nn.Module):
            def __init__(self):
                super().__init__()
                self.quant, self.dequant = q.QuantStub(), q.DeQuantStub()
                self.linear, self.add = fl.nn.Linear(6, 6), fl.ao.nn.quantized.FloatFunctional()
                self.cat = fl.ao.nn.quantized.FloatFunctional()

            def forward(self, x):
                x = self.linear(self.quant(x))
                return self.dequant(self.cat.cat([self.add.add(x, x), x], dim=1))

        fl.manual_seed(0)
        x, model = x.detach().float(), Net().eval()
        model.qconfig = q.get_default_qconfig("x86")
        model = q.prepare(model)
        model(x)
        model = q.convert(model)
        traced = fl.fx.symbolic_trace(model)
        nodes = [(n.op, str(n.target), sorted(n.kwargs)) for n in traced.graph.nodes]
        assert fl.equal(traced(x), model(x))
        return nodes, traced(x)

    agree(program, rand(4, 6), grads=0)


@pytest.mark.parametrize("norm", [False, True])
def test_trained_with_fake_quantization(agree, norm):
    """Losses of a few steps, and the converted model, are PyTorch's."""

    def program(fl, x):
        q, nn, x = fl.ao.quantization, fl.nn, x.detach().float()
        parts = [nn.Conv2d(1, 3, 2), *([nn.BatchNorm2d(3)] if norm else []), nn.ReLU()]
        model = seeded(
            fl, q.QuantStub(), nn.Sequential(*parts), nn.Flatten(), nn.Linear(36, 4), q.DeQuantStub()
        ).train()
        q.fuse_modules_qat(model, [[f"1.{i}" for i in range(len(parts))]], inplace=True)
        model.qconfig = q.get_default_qat_qconfig("x86")
        model = q.prepare_qat(model)
        optimizer, losses = fl.optim.SGD(model.parameters(), 0.05), []
        for step in range(4):
            if step == 3:
                model.apply(q.disable_observer)
                model.apply(fl.ao.nn.intrinsic.qat.freeze_bn_stats)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), fl.tensor([0, 3, 1]))
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        small = q.convert(model.eval())
        return losses, [type(m).__name__ for m in small.modules()], small(x), small[3].scale

    agree(program, rand(3, 1, 5, 4), grads=0, rtol=1e-4)

"""Whole models, quantized module by module in both libraries: the same codes, the same files."""

import io

import numpy as np
import pytest

import flambeau
from tests.agree import rand
from tests.processor import usual

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions"),
    pytest.mark.filterwarnings("ignore:.*reduce_range will be deprecated"),
    pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
    pytest.mark.filterwarnings("ignore:.*isinstance.*treespec.*LeafSpec"),
]


def mlp(fl):
    """Two layers, between the marks."""
    nn, q = fl.nn, fl.ao.quantization

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.a, self.r, self.b, self.dequant = (
                q.QuantStub(),
                nn.Linear(12, 20),
                nn.ReLU(),
                nn.Linear(20, 7),
                q.DeQuantStub(),
            )

        def forward(self, x):
            return self.dequant(self.b(self.r(self.a(self.quant(x)))))

    return MLP(), [["a", "r"]], (16, 12)


def cnn(fl):
    """Convolutions, a normalization, pooling, a layer."""
    nn, q = fl.nn, fl.ao.quantization

    class CNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant = q.QuantStub(), q.DeQuantStub()
            self.conv, self.bn, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
            self.pool, self.conv2, self.relu2, self.fc = nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Linear(8, 5)

        def forward(self, x):
            x = self.pool(self.relu(self.bn(self.conv(self.quant(x)))))
            x = fl.nn.functional.adaptive_avg_pool2d(self.relu2(self.conv2(x)), 1)
            return self.dequant(self.fc(x.flatten(1)))

    return CNN(), [["conv", "bn", "relu"], ["conv2", "relu2"]], (4, 3, 8, 8)


def filled(fl, model):
    """A model with numbers that depend on names alone."""
    with fl.no_grad():
        for i, (name, t) in enumerate(sorted([*model.named_parameters(), *model.named_buffers()])):
            if t.dtype.is_floating_point:
                values = fl.from_numpy(rand(*t.shape, seed=i, dtype="float32", low=-0.7, high=0.7))
                t.copy_(values.abs() + 0.5 if "var" in name else values)
    return model


def batches(fl, shape):
    return [fl.from_numpy(rand(*shape, seed=i, dtype="float32", low=-2, high=3)) for i in range(3)]


def calibrated(fl, make, engine):
    """A quantized model, and its batches."""
    q = fl.ao.quantization
    model, groups, shape = make(fl)
    data = batches(fl, shape)
    model = q.fuse_modules(filled(fl, model).eval(), groups)
    model.qconfig = q.get_default_qconfig(engine)
    q.prepare(model, inplace=True)
    for x in data:
        model(x)
    return q.convert(model), data


def numbers(model):
    """The tensors that a model holds, as NumPy arrays, by name."""
    out = {}
    for name, v in model.state_dict().items():
        for i, t in enumerate(v if isinstance(v, tuple) else (v,)):
            if hasattr(t, "is_quantized"):
                out[f"{name}.{i}"] = (t.int_repr() if t.is_quantized else t.detach()).numpy()
    return out


@pytest.mark.parity
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
@pytest.mark.parametrize("make", [mlp, cnn])
def test_calibrated_models(torch, make, engine):
    theirs, data = calibrated(torch, make, engine)
    ours, mine = calibrated(flambeau, make, engine)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    for (name, a), (other, b) in zip(numbers(theirs).items(), numbers(ours).items(), strict=True):
        assert name == other and a.dtype == b.dtype
        assert np.allclose(a, b, rtol=1e-5, atol=1e-6), name
    for x, y in zip(data, mine, strict=True):
        assert np.allclose(theirs(x).numpy(), ours(y).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("make", [mlp, cnn])
def test_states_are_exchanged(torch, make):
    theirs, data = calibrated(torch, make, "fbgemm")
    ours, mine = calibrated(flambeau, make, "fbgemm")
    for writer, reader, source, target in ((torch, flambeau, theirs, ours), (flambeau, torch, ours, theirs)):
        file = io.BytesIO()
        writer.save(source.state_dict(), file)
        file.seek(0)
        target.load_state_dict(reader.load(file, weights_only=True))
        assert np.array_equal(theirs(data[0]).numpy(), ours(mine[0]).numpy())


@pytest.mark.parity
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
@pytest.mark.parametrize("make", [mlp, cnn])
def test_training(torch, make, engine, version):
    def run(fl):
        q = fl.ao.quantization
        model, groups, shape = make(fl)
        model = q.fuse_modules_qat(filled(fl, model).train(), groups)
        model.qconfig = q.get_default_qat_qconfig(engine, version)
        q.prepare_qat(model, inplace=True)
        step = fl.optim.SGD(model.parameters(), lr=0.01)
        losses = []
        for x in batches(fl, shape):
            step.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            step.step()
            losses.append(loss.item())
        return losses, q.convert(model.eval())(batches(fl, shape)[0]).numpy()

    (theirs, a), (ours, b) = run(torch), run(flambeau)
    if usual():  # elsewhere last places differ, and with them steps of the grid
        assert np.allclose(theirs, ours, rtol=1e-4)
        assert np.allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.allclose(theirs, ours, rtol=2e-2)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["qint8", "float16"])
def test_dynamic(torch, kind):
    def run(fl):
        nn = fl.nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.l, self.g, self.c, self.f = (
                    nn.LSTM(12, 8, 2, bidirectional=True),
                    nn.GRU(16, 8),
                    nn.LSTMCell(8, 8),
                    nn.Linear(8, 3),
                )

            def forward(self, x):
                y, _ = self.g(self.l(x)[0])
                return self.f(self.c(y[0])[0])

        model = fl.ao.quantization.quantize_dynamic(filled(fl, Net()), dtype=getattr(fl, kind))
        return repr(model), model(fl.from_numpy(rand(5, 3, 12, dtype="float32"))).detach().numpy()

    (text, a), (other, b) = run(torch), run(flambeau)
    assert text == other
    assert np.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_says_so():
    with pytest.raises(NotImplementedError, match=r"torch\.ao\.quantization\.prepare_jit"):
        flambeau.ao.quantization.prepare_jit(None, {})


def test_the_old_name():
    assert flambeau.quantization.QConfig is flambeau.ao.quantization.QConfig
    from flambeau.quantization.observer import MinMaxObserver

    assert MinMaxObserver is flambeau.ao.quantization.MinMaxObserver
    assert callable(flambeau.quantization.quantize) and callable(flambeau.quantization.fuse_modules)

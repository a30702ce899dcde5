"""Fused quantized modules, made of observed float ones and of references; their files."""

import copy
import io

import pytest

from tests.agree import rand
from tests.unit.ao.observed import config, observed, told, with_engine

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated"),
    pytest.mark.filterwarnings("ignore:Please use quant_min"),
    pytest.mark.filterwarnings("ignore:must run observer"),
]

PARTS = {
    "LinearReLU": (lambda nn: (nn.Linear(4, 3), nn.ReLU()), (5, 4)),
    "LinearLeakyReLU": (lambda nn: (nn.Linear(4, 3), nn.LeakyReLU(0.13)), (5, 4)),
    "LinearTanh": (lambda nn: (nn.Linear(4, 3), nn.Tanh()), (5, 4)),
    "ConvReLU1d": (lambda nn: (nn.Conv1d(4, 3, 2, padding=1, padding_mode="reflect"), nn.ReLU()), (2, 4, 5)),
    "ConvReLU2d": (lambda nn: (nn.Conv2d(4, 6, 2, groups=2), nn.ReLU()), (2, 4, 5, 5)),
    "ConvReLU3d": (lambda nn: (nn.Conv3d(4, 3, 2), nn.ReLU()), (2, 4, 3, 3, 3)),
    "BNReLU2d": (lambda nn: (nn.BatchNorm2d(4), nn.ReLU()), (2, 4, 5, 5)),
    "BNReLU3d": (lambda nn: (nn.BatchNorm3d(4), nn.ReLU()), (2, 4, 3, 3, 3)),
}


@pytest.mark.parametrize("scheme", ["per_tensor_symmetric", "per_channel_symmetric"])
@pytest.mark.parametrize("name", sorted(PARTS))
def test_of_observed(agree, name, scheme):
    make, size = PARTS[name]

    def program(fl, x):
        fl.manual_seed(0)
        fused = observed(fl, getattr(fl.ao.nn.intrinsic, name)(*make(fl.nn)), scheme=scheme)
        made = getattr(fl.ao.nn.intrinsic.quantized, name).from_float(fused)
        data = fl.quantize_per_tensor(x.detach().float(), 0.02, 100, fl.quint8)
        state = {k: told(list(v) if isinstance(v, tuple) else v) for k, v in made.state_dict().items()}
        return told(made(data)), repr(made), state

    engine = "onednn" if name in ("LinearLeakyReLU", "LinearTanh") else "x86"
    agree(lambda fl, x: with_engine(fl, engine, lambda: program(fl, x)), rand(*size), grads=0)


@pytest.mark.parametrize("narrow", [False, True])
def test_narrow_codes(agree, narrow):
    """Observers may allow fewer codes than the dtype has."""

    def program(fl, x):
        fl.manual_seed(0)
        linear = observed(fl, fl.nn.Linear(4, 3), low=-127 if narrow else -128, high=63 if narrow else 127)
        return told(fl.ao.nn.quantized.Linear.from_float(linear)._weight_bias())

    agree(program, rand(1), grads=0)


@pytest.mark.parametrize("name", ["ConvAdd2d", "ConvAddReLU2d"])
def test_added(agree, name):
    """By oneDNN, which alone has them in PyTorch."""

    def program(fl, x, y):
        fl.manual_seed(0)
        parts = (fl.nn.Conv2d(4, 3, 2), fl.ao.nn.quantized.FloatFunctional(), fl.nn.ReLU())
        fused = observed(fl, getattr(fl.ao.nn.intrinsic, name)(*parts[: 2 + ("ReLU" in name)]))
        made = getattr(fl.ao.nn.intrinsic.quantized, name).from_float(fused)
        data = [fl.quantize_per_tensor(t.detach().float(), 0.02, 100, fl.quint8) for t in (x, y)]
        return told(made(*data)), repr(made)

    x, y = rand(2, 4, 5, 5), rand(2, 3, 4, 4, seed=1)
    agree(lambda fl, *given: with_engine(fl, "onednn", lambda: program(fl, *given)), x, y, grads=0)


@pytest.mark.parametrize("kind", ["qint8", "float16"])
def test_dynamic(agree, kind):
    def program(fl, x):
        fl.manual_seed(0)
        fused = fl.ao.nn.intrinsic.LinearReLU(fl.nn.Linear(4, 3), fl.nn.ReLU())
        fused.qconfig = fused[0].qconfig = config(fl, dtype=kind)
        made = fl.ao.nn.intrinsic.quantized.dynamic.LinearReLU.from_float(fused)
        return made(x.detach().float()), repr(made), list(made.state_dict())

    agree(program, rand(5, 4), grads=0, atol=1e-5)


def test_trained_for_dynamic_quantization(agree):
    def program(fl, x):
        q = fl.ao.quantization
        fl.manual_seed(0)
        model = fl.nn.Sequential(fl.nn.Linear(4, 3), fl.nn.Linear(3, 2))
        model[0].qconfig = q.qconfig.default_dynamic_qat_qconfig
        model[0] = fl.ao.nn.qat.dynamic.Linear.from_float(model[0])
        y = model(x.detach().float())
        y.sum().backward()
        return y, model[0].weight.grad, model[0].to_float().weight

    agree(program, rand(5, 4), grads=0)
    agree(
        lambda fl: fl.ao.nn.qat.dynamic.Linear(4, 3, qconfig=fl.ao.quantization.get_default_qat_qconfig("x86")),
        raises=ValueError,
    )


@pytest.mark.parametrize("whole", [False, True])
def test_files(whole):
    """A converted model, and its state, come back from a file."""
    import flambeau as fl

    class Net(fl.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lstm, self.cell = fl.nn.Conv1d(2, 3, 2), fl.nn.LSTM(3, 4), fl.nn.GRUCell(4, 2)
            self.linear, self.rows = fl.nn.Linear(2, 2), fl.nn.Embedding(5, 4)

    q = fl.ao.quantization
    plain = Net()
    plain.conv = observed(fl, plain.conv)
    plain.rows.qconfig = q.float_qparams_weight_only_qconfig
    conv = fl.ao.nn.quantized.Conv1d.from_float(plain.conv)
    rows = fl.ao.nn.quantized.Embedding.from_float(plain.rows)
    parts = fl.nn.Sequential(plain.lstm, plain.cell, plain.linear)
    parts = q.quantize_dynamic(parts, {fl.nn.LSTM, fl.nn.GRUCell, fl.nn.Linear})
    model = fl.nn.Sequential(conv, rows, *parts)
    file = io.BytesIO()
    fl.save(model if whole else model.state_dict(), file)
    file.seek(0)
    found = fl.load(file, weights_only=False)
    if not whole:
        state, found = found, copy.deepcopy(model)
        found[2]._all_weight_values[0].param = None
        found.load_state_dict(state)
    x = fl.randn(3, 2, 3)
    assert fl.equal(found[2](x)[0], model[2](x)[0])
    assert fl.equal(found[4](x[..., :2]), model[4](x[..., :2]))
    assert fl.equal(found[3](fl.ones(1, 4)), model[3](fl.ones(1, 4)))
    assert fl.equal(found[1](fl.tensor([1, 4])), model[1](fl.tensor([1, 4])))
    assert repr(found) == repr(model)

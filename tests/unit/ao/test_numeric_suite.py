"""A quantized model beside its float model: weights, shadows, results."""

import copy
import importlib

import pytest

from tests.agree import rand
from tests.unit.ao.observed import told

pytestmark = [
    pytest.mark.filterwarnings("ignore:must run observer"),
    pytest.mark.filterwarnings("ignore:.*deprecated"),
    pytest.mark.filterwarnings("ignore:Please use quant_min"),
]


def sides(found):
    """What stands beside what, under its name."""
    return [[f"of {name}", told(both["float"]), told(both["quantized"])] for name, both in found.items()]


def suite(fl):
    return importlib.import_module(f"{fl.__name__}.ao.ns._numeric_suite")


def models(fl, x, dynamic=False):
    """A float model and what it becomes."""
    q = fl.ao.quantization

    class Net(fl.nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant = q.QuantStub(), q.DeQuantStub()
            self.conv = fl.nn.Conv2d(1, 3, 2)
            self.more = fl.nn.Sequential(fl.nn.ReLU(), fl.nn.Flatten(), fl.nn.Linear(36, 4))
            self.add, self.moved = fl.ao.nn.quantized.FloatFunctional(), fl.ao.nn.quantized.FloatFunctional()

        def forward(self, x):
            x = self.more(self.conv(self.quant(x)))
            return self.dequant(self.moved.mul_scalar(self.add.add(x, x), 0.5))

    fl.manual_seed(0)
    plain = Net().eval()
    plain.qconfig = q.get_default_qconfig("x86")
    observed = q.prepare(copy.deepcopy(plain))
    observed(x)
    return plain, q.convert(observed)


def test_weights(agree):
    def program(fl, x):
        plain, small = models(fl, x.detach().float())
        found = suite(fl).compare_weights(plain.state_dict(), small.state_dict())
        lstm = fl.nn.Sequential(fl.nn.LSTM(3, 4, 2))
        dynamic = fl.ao.quantization.quantize_dynamic(lstm)
        return [sides(found), sides(suite(fl).compare_weights(lstm.state_dict(), dynamic.state_dict()))]

    agree(program, rand(2, 1, 5, 4), grads=0)


def test_shadows(agree):
    def program(fl, x):
        x = x.detach().float()
        plain, small = models(fl, x)
        swapped = {fl.nn.Conv2d, fl.nn.Linear, fl.ao.nn.quantized.FloatFunctional}
        found = suite(fl).compare_model_stub(plain, small, swapped, x)
        return sides(found), [type(m).__name__ for m in small.modules()]

    agree(program, rand(2, 1, 5, 4), grads=0)


def test_outputs(agree):
    def program(fl, x):
        x = x.detach().float()
        plain, small = models(fl, x)
        return sides(suite(fl).compare_model_outputs(plain, small, x))

    agree(program, rand(2, 1, 5, 4), grads=0)

"""Models quantized by their graphs, in both libraries: the same numbers, and in codes where PyTorch's are."""

import numpy as np
import pytest

import flambeau
from tests.agree import rand
from tests.unit.quantized.test_models import batches, filled

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions"),
    pytest.mark.filterwarnings("ignore:.*reduce_range will be deprecated"),
    pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated"),
    pytest.mark.filterwarnings("ignore:.*isinstance.*treespec.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:All inputs of this cat"),
]


def residual(fl):
    """A sum with its activation, pooling, a known range at the end."""
    nn = fl.nn

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
            self.conv2, self.pool, self.fc, self.sig = (
                nn.Conv2d(6, 6, 3, padding=1),
                nn.MaxPool2d(2),
                nn.Linear(6, 5),
                nn.Sigmoid(),
            )

        def forward(self, x):
            y = self.relu(self.bn(self.conv(x)))
            y = self.pool(nn.functional.relu(y + self.conv2(y)))
            return self.sig(self.fc(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1)))

    return Residual(), (4, 3, 8, 8)


def mixed(fl):
    """Modules inside modules, functions, values used twice, what has no quantized form."""
    nn = fl.nn

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.act = nn.Linear(8, 8), nn.Hardswish()

        def forward(self, x):
            return self.act(self.a(x))

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.i, self.b, self.c, self.ln = Inner(), nn.Linear(8, 8), nn.Linear(16, 4), nn.LayerNorm(8)

        def forward(self, x):
            y, z = self.i(x), nn.functional.relu(self.b(x))
            w, u = fl.cat([y, z], 1), y * z
            return self.c(w), self.ln(u), fl.abs(u), fl.tanh(w), nn.functional.leaky_relu(y, 0.1)

    return Mixed(), (6, 8)


def parts(y):
    return [t.detach().numpy() for t in (y if isinstance(y, tuple) else (y,))]


def tools(fl):
    import importlib

    return importlib.import_module(f"{fl.__name__}.ao.quantization.quantize_fx")


def same(torch, run):
    theirs, ours = run(torch), run(flambeau)
    assert theirs[0] == ours[0]
    for a, b in zip(theirs[1:], ours[1:], strict=True):
        assert np.allclose(a, b, rtol=1e-5, atol=2e-6)


@pytest.mark.parity
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
@pytest.mark.parametrize("make", [residual, mixed])
def test_calibrated(torch, make, engine):
    def run(fl):
        model, shape = make(fl)
        data = batches(fl, shape)
        mapping = fl.ao.quantization.get_default_qconfig_mapping(engine)
        prepared = tools(fl).prepare_fx(filled(fl, model).eval(), mapping, (data[0],))
        count = sum("activation_post_process" in str(n.target) for n in prepared.graph.nodes)
        floats = [parts(prepared(x)) for x in data]
        made = tools(fl).convert_fx(prepared)
        kinds = sorted(type(m).__name__ for m in made.modules())
        return [count, kinds], *floats[0], *parts(made(data[0]))

    same(torch, run)


@pytest.mark.parity
@pytest.mark.parametrize("make", [residual, mixed])
def test_trained(torch, make):
    def run(fl):
        model, shape = make(fl)
        data = batches(fl, shape)
        mapping = fl.ao.quantization.get_default_qat_qconfig_mapping("fbgemm")
        prepared = tools(fl).prepare_qat_fx(filled(fl, model).train(), mapping, (data[0],))
        step = fl.optim.SGD(prepared.parameters(), lr=0.01)
        losses = []
        for x in data:
            step.zero_grad()
            y = prepared(x)
            loss = sum((t**2).mean() for t in (y if isinstance(y, tuple) else (y,)))
            loss.backward()
            step.step()
            losses.append(loss.item())
        return None, np.array(losses), *parts(tools(fl).convert_fx(prepared.eval())(data[0]))

    same(torch, run)


@pytest.mark.parity
@pytest.mark.parametrize("make", [residual, mixed])
def test_dynamic(torch, make):
    def run(fl):
        model, shape = make(fl)
        data = batches(fl, shape)
        mapping = fl.ao.quantization.QConfigMapping().set_global(fl.ao.quantization.default_dynamic_qconfig)
        made = tools(fl).convert_fx(tools(fl).prepare_fx(filled(fl, model).eval(), mapping, (data[0],)))
        return repr(made).count("Dynamic"), *parts(made(data[0]))

    same(torch, run)


@pytest.mark.parity
def test_by_name(torch):
    def run(fl):
        model, shape = mixed(fl)
        data = batches(fl, shape)
        mapping = (
            fl.ao.quantization.get_default_qconfig_mapping("fbgemm")
            .set_module_name("i", None)
            .set_module_name_regex("^b$", None)
        )
        prepared = tools(fl).prepare_fx(filled(fl, model).eval(), mapping, (data[0],))
        prepared(data[0])
        made = tools(fl).convert_fx(prepared)
        return sorted(type(m).__name__ for m in made.modules()), *parts(made(data[0]))

    same(torch, run)


@pytest.mark.parity
def test_fused(torch):
    def run(fl):
        model, shape = residual(fl)
        made = tools(fl).fuse_fx(filled(fl, model).eval())
        return [type(m).__name__ for m in made.children()], *parts(made(fl.from_numpy(rand(*shape, dtype="float32"))))

    same(torch, run)


def test_refusals():
    from flambeau.ao.quantization import get_default_qconfig_mapping, quantize_fx

    model, _ = residual(flambeau)
    with pytest.raises(AssertionError, match="train mode"):
        quantize_fx.prepare_qat_fx(model.eval(), get_default_qconfig_mapping(), ())
    with pytest.raises(ValueError, match="GraphModule"):
        quantize_fx.convert_fx(model)
    with pytest.raises(NotImplementedError, match="backend_config"):
        quantize_fx.prepare_fx(model, get_default_qconfig_mapping(), (), backend_config=3)

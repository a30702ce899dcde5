"""Observers, fake quantizers and configurations against PyTorch."""

import copy
import warnings

import numpy as np
import pytest

import flambeau
from tests.agree import rand

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions"),
    pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max"),
    pytest.mark.filterwarnings("ignore:.*reduce_range will be deprecated"),
    pytest.mark.filterwarnings("ignore:must run observer"),
    pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated"),
]
OBSERVERS = ["MinMaxObserver", "MovingAverageMinMaxObserver", "PerChannelMinMaxObserver", "MovingAveragePerChannelMinMaxObserver",
             "HistogramObserver"]  # fmt: skip
SEEN = [rand(4, 3, 8, 8, seed=i, dtype="float32", low=-1 - i, high=2 * i + 0.5) for i in range(3)]


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("kind", ["plain", "signed", "narrow", "reduced"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_observers(agree, name, kind, symmetric):
    def program(fl):
        quantization = fl.ao.quantization
        given = {"plain": {}, "signed": {"dtype": fl.qint8}, "narrow": {"quant_min": 0, "quant_max": 127},
                 "reduced": {"reduce_range": True, "dtype": fl.qint8}}[kind]  # fmt: skip
        if symmetric:
            given["qscheme"] = fl.per_channel_symmetric if "Channel" in name else fl.per_tensor_symmetric
        observer = getattr(quantization, name)(**given)
        for x in SEEN:
            observer(fl.from_numpy(x))
        return [*observer.calculate_qparams(), repr(observer), *(v for _, v in sorted(observer.state_dict().items()))]

    agree(program)


def test_float_zero_points(agree):
    def program(fl):
        observer = fl.ao.quantization.default_float_qparams_observer()
        observer(fl.from_numpy(SEEN[1]))
        return list(observer.calculate_qparams())

    agree(program)


def test_unseen_and_infinite(agree):
    agree(lambda fl: list(fl.ao.quantization.MinMaxObserver().calculate_qparams()))
    agree(lambda fl: list(fl.ao.quantization.HistogramObserver().calculate_qparams()))

    def program(fl):
        observer = fl.ao.quantization.HistogramObserver()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            observer(fl.tensor([1.0, float("inf"), -2.0]))
        observer(fl.tensor([]))
        return list(observer.calculate_qparams())

    agree(program)


def test_refusals(agree):
    agree(lambda fl: fl.ao.quantization.MinMaxObserver(qscheme=fl.per_channel_affine), raises=NotImplementedError)
    agree(
        lambda fl: fl.ao.quantization.PerChannelMinMaxObserver(qscheme=fl.per_tensor_affine), raises=NotImplementedError
    )
    agree(lambda fl: fl.ao.quantization.MinMaxObserver(quant_min=5, quant_max=3), raises=AssertionError)
    agree(lambda fl: fl.ao.quantization.QConfig(fl.ao.quantization.MinMaxObserver(), None), raises=ValueError)
    agree(lambda fl: fl.ao.quantization.PlaceholderObserver().calculate_qparams(), raises=Exception)
    agree(lambda fl: fl.ao.quantization.get_default_qconfig("nothing"), raises=AssertionError)


FAKES = ["default_fake_quant", "default_weight_fake_quant", "default_per_channel_weight_fake_quant", "default_fused_act_fake_quant",
         "default_fused_wt_fake_quant", "default_fused_per_channel_wt_fake_quant", "default_histogram_fake_quant",
         "default_fixed_qparams_range_0to1_fake_quant", "default_embedding_fake_quant",
         "fused_per_channel_wt_fake_quant_range_neg_127_to_127"]  # fmt: skip


@pytest.mark.parametrize("name", FAKES)
def test_fake_quantizers(agree, name):
    def program(fl, x):
        made = getattr(fl.ao.quantization, name)()
        outs = [made(x * (i + 1)) for i in range(3)]
        made.apply(fl.ao.quantization.disable_observer)
        outs.append(made(x * 9))
        made.apply(fl.ao.quantization.disable_fake_quant)
        return [*outs, made(x), *made.calculate_qparams(), repr(made)]

    agree(program, rand(4, 3, 5, dtype="float32", low=-1, high=2))


def test_states(agree):
    def program(fl):
        quantization = fl.ao.quantization
        model, other = (
            fl.nn.Sequential(quantization.default_per_channel_weight_fake_quant(), quantization.default_fake_quant())
            for _ in "ab"
        )
        for m in model:
            m(fl.from_numpy(SEEN[0]))
        other.load_state_dict(model.state_dict())
        return [
            list(model.state_dict()),
            *(v for v in other.state_dict().values()),
            list(quantization.get_observer_state_dict(model)),
        ]

    agree(program)


def test_mappings(agree):
    def program(fl):
        text = repr(fl.ao.quantization.get_default_qconfig_mapping("fbgemm"))
        return [
            line
            for line in text.replace("flambeau", "torch").splitlines()
            if "function" not in line and "built-in" not in line
        ]

    agree(program)

    def equal(fl):
        q = fl.ao.quantization
        m = q.QConfigMapping.from_dict(q.get_default_qconfig_mapping().to_dict())
        return [q.qconfig_equals(q.get_default_qconfig("fbgemm"), q.get_default_qconfig("x86")), len(m.object_type_qconfigs),
                q.qconfig_equals(q.default_qconfig, q.default_per_channel_qconfig), q.qconfig_equals(None, None),
                q.qconfig_equals(q.get_default_qat_qconfig(version=0), q.get_default_qat_qconfig(version=1)),
                q.get_block_size((8, 16), q.PerAxis(0)), q.get_block_size((8, 16), q.PerToken()), q.QuantType.QAT.value]  # fmt: skip

    agree(equal)


def test_recorded_values_and_copies():
    quantization = flambeau.ao.quantization
    observer = quantization.RecordingObserver()
    observer(flambeau.ones(2))
    assert len(observer.get_tensor_value()) == 1
    made = quantization.HistogramObserver()
    made(flambeau.from_numpy(SEEN[0]))
    other = copy.deepcopy(made)
    assert np.array_equal(other.histogram.numpy(), made.histogram.numpy())

"""`torch.ops.quantized_decomposed`: codes, what they stand for, what is refused."""

import importlib

import pytest

from tests.agree import rand
from tests.unit.ao.observed import told


def ops(fl):
    """The operators; PyTorch has them once this module is imported."""
    importlib.import_module(f"{fl.__name__}.ao.quantization.fx._decomposed")
    return fl.ops.quantized_decomposed


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("int8", -128, 127), ("uint8", 0, 200), ("int16", -30000, 30000), ("int32", -1000, 1000)]
)
def test_per_tensor(agree, kind, low, high):
    def program(fl, x):
        o, d, x = ops(fl), getattr(fl, kind), x.detach().float() * 10
        scale, zero = fl.tensor([0.03]), fl.tensor([5])
        q = o.quantize_per_tensor(x, 0.03, 5, low, high, d)
        found = [
            q,
            o.quantize_per_tensor(x.half(), 0.03, 5, low, high, d),
            o.quantize_per_tensor.tensor(x, scale, zero, low, high, d),
            o.quantize_per_tensor.tensor2(x, scale, zero, fl.tensor(low), fl.tensor(high), d),
            o.dequantize_per_tensor(q, 0.03, 5, low, high, d),
            o.dequantize_per_tensor(q, 0.03, 5, low, high, d, out_dtype=fl.float64),
            o.dequantize_per_tensor.tensor(q, scale, zero, low, high, d),
            o.dequantize_per_tensor.tensor2(q, scale, zero, fl.tensor(low), fl.tensor(high), d),
            o.choose_qparams.tensor(x, low, high, 1e-5, d),
            o.choose_qparams_symmetric.tensor(x, low, high, 1e-5, d),
            o.convert_element_type.no_fuse(x, d),
        ]
        meta = o.quantize_per_tensor(x.to("meta"), 0.03, 5, low, high, d)
        return [*found, list(meta.shape), str(meta.dtype)]

    agree(program, rand(5, 7), grads=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_per_channel(agree, axis):
    def program(fl, x):
        o, y = ops(fl), x.float()
        n = x.shape[axis]
        scales, zeros = fl.linspace(0.01, 0.02, n), fl.arange(n)
        q = o.quantize_per_channel(y.detach(), scales, zeros, axis, -128, 127, fl.int8)
        found = [
            q,
            o.dequantize_per_channel(q, scales, zeros, axis, -128, 127, fl.int8),
            o.dequantize_per_channel(q, scales, None, axis, -128, 127, fl.int8, out_dtype=fl.float64),
        ]
        return [*found, o.fake_quant_per_channel(y, scales, zeros.int(), axis, -40, 60)]

    agree(program, rand(2, 3, 4))


def test_per_token_and_group(agree):
    def program(fl, x):
        o, x = ops(fl), x.detach().float()
        scales, zeros = o.choose_qparams_per_token(x, fl.int8)
        other, shifted = o.choose_qparams_per_token_asymmetric(x, fl.int8)
        q = o.quantize_per_token(x, scales, zeros, -128, 127, fl.int8)
        r = o.quantize_per_token(x, other, shifted, -128, 127, fl.int8)
        by_group, at = fl.linspace(0.01, 0.02, 8).view(4, 2), fl.arange(8).view(4, 2)
        g = o.quantize_per_channel_group(x, by_group, at, -128, 127, fl.int8, 4)
        return told(
            [scales, zeros, other, shifted, q, r, g]
            + [o.dequantize_per_token(q, scales, zeros, -128, 127, fl.int8, fl.float32)]
            + [o.dequantize_per_token(r, other, shifted, -128, 127, fl.int8, fl.float32)]
            + [o.dequantize_per_channel_group(g, by_group, at, -128, 127, fl.int8, 4, fl.float32)]
            + [o.dequantize_per_channel_group(g, by_group, None, -128, 127, fl.int8, 4, fl.float32)]
        )

    agree(program, rand(4, 8), grads=0)


def test_refused(agree):
    ones = lambda fl, kind="float32": fl.ones(2, 2, dtype=getattr(fl, kind))
    agree(lambda fl: ops(fl).quantize_per_tensor(ones(fl, "int32"), 0.1, 0, 0, 255, fl.uint8), raises=AssertionError)
    agree(lambda fl: ops(fl).quantize_per_tensor(ones(fl), 0.1, 0, -1, 255, fl.uint8), raises=AssertionError)
    agree(lambda fl: ops(fl).quantize_per_tensor(ones(fl), 0.1, 0, 0, 256, fl.uint8), raises=AssertionError)
    agree(lambda fl: ops(fl).quantize_per_tensor(ones(fl), 0.1, 0, 0, 255, fl.int64), raises=ValueError)
    agree(lambda fl: ops(fl).dequantize_per_tensor(ones(fl), 0.1, 0, 0, 255, fl.uint8), raises=AssertionError)
    agree(
        lambda fl: ops(fl).quantize_per_channel(ones(fl), fl.ones(2), fl.ones(2), 2, 0, 255, fl.uint8),
        raises=AssertionError,
    )
    agree(
        lambda fl: ops(fl).quantize_per_channel_group(ones(fl), fl.ones(2), fl.ones(2), 0, 1, fl.uint8, 1),
        raises=AssertionError,
    )


def test_reference_modules(agree):
    """Decomposed references hold their weights' codes as integers."""

    def program(fl, x):
        ops(fl)
        fl.manual_seed(0)
        given = {"qscheme": fl.per_channel_affine, "dtype": fl.qint8, "scale": fl.linspace(0.01, 0.03, 6), "axis": 0}
        given |= {"zero_point": fl.arange(6), "is_decomposed": True}
        made = fl.ao.nn.quantized.reference.Linear.from_float(fl.nn.Linear(4, 6), given)
        one = {
            "qscheme": fl.per_tensor_affine,
            "dtype": fl.quint8,
            "scale": 0.02,
            "zero_point": 9,
            "is_decomposed": True,
        }
        other = fl.ao.nn.quantized.reference.Linear.from_float(fl.nn.Linear(4, 6), one)
        return made.get_quantized_weight(), made(x.float()), other.get_quantized_weight(), other(x.float())

    agree(program, rand(3, 4), grads=0)

"""Tests that the registry writes: every pointwise operator, on every layout, by every reading, with its derivatives."""

import numpy as np
import pytest

import flambeau as fl
from flambeau import _operators
from flambeau._eager import derive, large
from flambeau._kernel.record import Opaque
from flambeau._operators.op import REGISTRY, REQUIRED

_operators.load()

# Where a function is not defined on all numbers, or has kinks: what its inputs should look like.
DOMAIN = {
    "acosh": (1.1, 3.0), "log": (0.1, 3.0), "log2": (0.1, 3.0), "log10": (0.1, 3.0), "sqrt": (0.1, 3.0), "rsqrt": (0.1, 3.0),
    "log1p": (-0.5, 2.0), "asin": (-0.9, 0.9), "acos": (-0.9, 0.9), "atanh": (-0.9, 0.9), "erfinv": (-0.9, 0.9),
    "lgamma": (0.5, 3.0), "digamma": (0.5, 3.0), "pow.Tensor_Tensor": (0.2, 2.0), "logit": (0.1, 0.9), "xlogy.Tensor": (0.2, 2.0),
    "div.Tensor": (0.3, 2.0), "true_divide.Tensor": (0.3, 2.0), "reciprocal": (0.3, 2.0), "addcdiv": (0.3, 2.0), "atan2": (0.3, 2.0),
}  # fmt: skip
# Constant between jumps (finite differences see nothing), or not made for arbitrary floating operands.
NOT_SMOOTH = {"floor", "ceil", "round", "trunc", "frac", "sign", "sgn", "floor_divide", "remainder.Tensor", "fmod.Tensor", "heaviside", "nextafter",
              "copysign.Tensor", "ldexp.Tensor"}  # fmt: skip
SKIP = {"gcd", "lcm", "polygamma", "nextafter"}


def usable(op) -> bool:
    """Whether the operator can be called with tensors alone."""
    if op.kind != "pointwise" or "function" not in op.variants or op.overload in SKIP or op.promote == "none":
        return False
    if any(not p.is_tensor and p.default is REQUIRED for p in op.params) or any(
        p.default is None for p in op.params if p.is_tensor
    ):
        return False
    return not op.routine(fl.float32) and not any(p.is_free for p in op.params)


OPS = sorted({op.overload: op for op in REGISTRY.values() if usable(op)}.items())
IDS = [name for name, _ in OPS]


def operands(op, shape, dtype, seed=0):
    low, high = DOMAIN.get(op.overload, (-2.0, 2.0))
    rng = np.random.default_rng(seed)
    return [rng.uniform(low, high, shape).astype(dtype) for p in op.params if p.is_tensor]


def run(op, arrays):
    return derive.function(op)(*[fl.from_numpy(a) for a in arrays])


def test_there_are_many():
    assert len(OPS) > 60


@pytest.mark.parametrize(("name", "op"), OPS, ids=IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_and_small_calls_agree(name, op, dtype):
    """Above the size rule a generated kernel runs, below it the array library: the same function."""
    arrays = operands(op, (3, large.LARGE // 2), dtype)
    whole = run(op, arrays).numpy()
    part = run(op, [a[:, :50].copy() for a in arrays]).numpy()
    tolerance = 3e-5 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(whole[:, :50], part, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "op"), OPS, ids=IDS)
def test_layouts_agree(name, op):
    arrays = operands(op, (6, 8), "float32")
    expected = run(op, arrays).numpy()
    transposed = [np.ascontiguousarray(a.T).T for a in arrays]
    wide = [np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3] for a in arrays]
    for other in (transposed, wide, [arrays[0], *transposed[1:]]):
        np.testing.assert_array_equal(run(op, other).numpy(), expected)
    np.testing.assert_allclose(
        run(op, [np.asarray(a[2, 3]) for a in arrays]).numpy(), expected[2, 3], rtol=1e-6, atol=1e-7
    )
    assert run(op, [a[:0] for a in arrays]).shape == (0, 8)


@pytest.mark.parametrize(("name", "op"), OPS, ids=IDS)
def test_narrow_dtypes_are_computed_wide(name, op):
    if op.promote == "bool":
        pytest.skip("compares")
    arrays = operands(op, (20,), "float32")
    for dtype, tolerance in ((fl.float16, 2e-3), (fl.bfloat16, 1.6e-2)):
        narrow = [fl.from_numpy(a).to(dtype) for a in arrays]
        out = derive.function(op)(*narrow)
        assert out.dtype is dtype
        expected = derive.function(op)(*[t.float() for t in narrow]).numpy()
        np.testing.assert_allclose(out.float().numpy(), expected, rtol=tolerance, atol=tolerance)


SMOOTH = [(name, op) for name, op in OPS if op.differentiable and name not in NOT_SMOOTH and op.promote != "bool"]


@pytest.mark.parametrize(("name", "op"), SMOOTH, ids=[n for n, _ in SMOOTH])
def test_derivatives(name, op):
    tensors = [fl.from_numpy(a).requires_grad_() for a in operands(op, (2, 3), "float64", seed=3)]
    assert fl.autograd.gradcheck(derive.function(op), tensors)
    if name not in ("digamma", "lgamma"):  # whose third derivative has no kernel word
        assert fl.autograd.gradgradcheck(derive.function(op), tensors, atol=1e-4)


@pytest.mark.parametrize(("name", "op"), SMOOTH, ids=[n for n, _ in SMOOTH])
def test_large_derivatives_agree(name, op):
    def gradients(arrays):
        tensors = [fl.from_numpy(a).requires_grad_() for a in arrays]
        derive.function(op)(*tensors).sum().backward()
        return [t.grad.numpy() for t in tensors]

    arrays = operands(op, (2, large.LARGE), "float32")
    for whole, part in zip(gradients(arrays), gradients([a[:, :40].copy() for a in arrays]), strict=True):
        np.testing.assert_allclose(whole[:, :40], part, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("name", "op"), [(n, o) for n, o in OPS if "inplace" in o.variants and o.promote != "bool"],
                         ids=lambda x: x if isinstance(x, str) else "")  # fmt: skip
def test_in_place_and_out_forms(name, op):
    arrays = operands(op, (4, 5), "float64")
    expected = run(op, arrays).numpy()
    tensors = [fl.from_numpy(a.copy()) for a in arrays]
    before = tensors[0]._version
    assert derive.inplace(op)(*tensors) is tensors[op.receiver_at]
    np.testing.assert_array_equal(tensors[op.receiver_at].numpy(), expected)
    assert tensors[op.receiver_at]._version == before + 1
    if "out" in op.variants:
        out = fl.empty(4, 5, dtype=fl.float64)
        assert derive.function(op)(*map(fl.from_numpy, arrays), out=out) is out
        np.testing.assert_array_equal(out.numpy(), expected)
        with pytest.warns(UserWarning, match="was resized"):
            derive.function(op)(*map(fl.from_numpy, arrays), out=fl.empty(3, dtype=fl.float64))
        if expected.dtype.kind == "f":
            with pytest.raises(RuntimeError, match="can't be cast to the desired output type Long"):
                derive.function(op)(*map(fl.from_numpy, arrays), out=fl.empty(4, 5, dtype=fl.int64))


@pytest.mark.parametrize(("name", "op"), OPS, ids=IDS)
def test_sizes_that_do_not_fit(name, op):
    if sum(p.is_tensor for p in op.params) < 2:
        return
    arrays = operands(op, (2, 3), "float32")
    arrays[1] = arrays[1][:, :2]
    with pytest.raises(RuntimeError, match="must match the size of tensor"):
        run(op, arrays)


def test_meta_tensors_have_the_same_shapes():
    for name, op in OPS:
        arrays = operands(op, (2, 3), "float32")
        real = run(op, arrays)
        meta = derive.function(op)(*[fl.empty(2, 3, device="meta") for _ in arrays])
        assert (meta.shape, meta.dtype, meta.device.type) == (real.shape, real.dtype, "meta"), name


def test_an_operator_defined_twice_is_refused():
    from flambeau._operators.op import pointwise

    with pytest.raises(TypeError, match="defined twice"):
        pointwise("add.Tensor")(lambda k, input, other: input)
    assert issubclass(Opaque, Exception)

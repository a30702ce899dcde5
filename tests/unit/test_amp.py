"""Automatic mixed precision: what is cast under autocast, scaling of losses."""

import io
import pickle
import warnings

import numpy as np
import pytest

import flambeau
from tests.agree import rand

F32 = {"dtype": "float32"}


@pytest.mark.parametrize(
    "program",
    [
        lambda fl, x: (x @ x, fl.nn.functional.linear(x, x), x.softmax(1), x + x, x.sum()),
        lambda fl, x: fl.einsum("ij,jk->ik", x, x),
        lambda fl, x: fl.nn.functional.mse_loss(x.bfloat16(), x.bfloat16()),
        lambda fl, x: (fl.cat([x, x.bfloat16()]), x.bfloat16().prod(), (x.bfloat16() + x)),
        lambda fl, x: fl.nn.functional.layer_norm(x.bfloat16(), (3,)),
        lambda fl, x: fl.nn.functional.cross_entropy(x.bfloat16(), fl.tensor([0, 1, 2])),
        lambda fl, x: x.double() @ x.double(),
        lambda fl, x: fl.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None]),
        lambda fl, x: fl.nn.functional.conv1d(x[None], x[None]),
        lambda fl, x: fl.nn.functional.adaptive_avg_pool2d(x[None], 2),
    ],
)
def test_what_is_cast(agree, program):
    def under(fl, x):
        with fl.autocast("cpu"):
            inside = program(fl, x)
        with fl.autocast("cpu", dtype=fl.float16):
            again = program(fl, x)
        return inside, again, program(fl, x)

    agree(under, rand(3, 3, **F32), grads=0, rtol=4e-2, atol=1e-2)


def test_gradients_come_in_the_parameters_dtype(agree):
    def program(fl, x):
        layer = fl.nn.Linear(3, 2)
        with fl.autocast("cpu"):
            y = layer(x)
        (y.float() ** 2).sum().backward()
        return y.dtype, layer.weight.grad.dtype, layer.weight.grad

    agree(program, rand(4, 3, **F32), grads=0, rtol=4e-2, atol=1e-2)


def test_blocks_nest_and_end(agree):
    def program(fl, x):
        found = []
        state = lambda: (fl.is_autocast_enabled("cpu"), fl.get_autocast_dtype("cpu"), (x @ x).dtype)
        with fl.autocast("cpu", dtype=fl.float16):
            found.append(state())
            with fl.autocast("cpu", enabled=False):
                found.append(state())
            found.append(state())

        @fl.autocast("cpu")
        def function():
            return state()

        return [*found, function(), state()]

    agree(program, rand(3, 3, **F32), grads=0)


def test_a_parameter_is_cast_once():
    w = flambeau.ones(3, 3, requires_grad=True)
    with flambeau.autocast("cpu"):
        first, second = w @ w, w @ w
        assert first.grad_fn.next_functions[0][0] is second.grad_fn.next_functions[0][0]
    with flambeau.autocast("cpu"):
        assert (w @ w).grad_fn.next_functions[0][0] is not first.grad_fn.next_functions[0][0]


@pytest.mark.filterwarnings("ignore:In CPU autocast")
def test_refusals(agree):
    agree(lambda fl: fl.autocast(3), raises=ValueError)
    agree(lambda fl: fl.autocast("toaster"), raises=RuntimeError)
    agree(lambda fl: fl.autocast("cpu")(3), raises=TypeError)
    agree(lambda fl: fl.autocast("cpu", dtype=fl.float64)._enabled)


def test_custom_functions(agree):
    def program(fl, x):
        class Product(fl.autograd.Function):
            @staticmethod
            @fl.amp.custom_fwd(device_type="cpu", cast_inputs=fl.float32)
            def forward(ctx, a):
                ctx.save_for_backward(a)
                return a @ a

            @staticmethod
            @fl.amp.custom_bwd(device_type="cpu")
            def backward(ctx, g):
                (a,) = ctx.saved_tensors
                return g @ a.T + a.T @ g

        with fl.autocast("cpu"):
            return Product.apply(x)

    agree(program, rand(3, 3, **F32))


def training(fl, bad=()):
    fl.manual_seed(0)
    model = fl.nn.Linear(3, 1)
    optimizer = fl.optim.SGD(model.parameters(), lr=0.1)
    scaler = fl.amp.GradScaler("cpu", init_scale=16.0, growth_interval=2)
    x, found = fl.tensor(rand(8, 3, **F32)), []
    for step in range(6):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean() * (float("inf") if step in bad else 1.0)
        scaler.scale(loss).backward()
        if step % 2:
            scaler.unscale_(optimizer)
            fl.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        found.append(scaler.get_scale())
    return found, scaler.state_dict(), model.weight.detach()


def test_scaler(agree):
    agree(training)
    agree(lambda fl: training(fl, bad=(1, 4)))


def test_scaler_refusals(agree):
    def program(fl, twice):
        w = fl.ones(2, requires_grad=True)
        optimizer, scaler = fl.optim.SGD([w], lr=0.1), fl.amp.GradScaler("cpu")
        scaler.scale(w.sum()).backward()
        for _ in range(2):
            getattr(scaler, twice)(optimizer)

    for twice in ("unscale_", "step"):
        agree(lambda fl, twice=twice: program(fl, twice), raises=RuntimeError)
    agree(lambda fl: fl.amp.GradScaler("cpu").update(), raises=AssertionError)
    agree(lambda fl: fl.amp.GradScaler("cpu", growth_factor=1.0), raises=AssertionError)


def test_scaler_travels():
    scaler = flambeau.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(flambeau.ones(1))
    other = pickle.load(io.BytesIO(pickle.dumps(scaler)))
    assert other.get_scale() == 4.0
    fresh = flambeau.amp.GradScaler("cpu")
    fresh.load_state_dict(scaler.state_dict())
    assert np.isclose(fresh.scale(flambeau.ones(1)).item(), 4.0)
    assert flambeau.amp.GradScaler("cpu", enabled=False).state_dict() == {}


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "f",
    [
        lambda fl, x, w: fl.nn.functional.layer_norm(x, (3,), w, w),
        lambda fl, x, w: fl.nn.functional.group_norm(x, 3, w, w),
        lambda fl, x, w: fl.nn.functional.batch_norm(x, None, None, w, w, training=True),
        lambda fl, x, w: fl.nn.functional.rms_norm(x, (3,), w),
        lambda fl, x, w: fl.nn.functional.instance_norm(x[None], weight=w, bias=w),
    ],
)
def test_norms_of_narrow_inputs_have_wide_parameters(agree, f, narrow):
    def program(fl, x):
        narrower = getattr(fl, narrow)
        with fl.autocast("cpu", dtype=narrower):
            inside = f(fl, x.to(narrower), fl.ones(3))
        return inside, f(fl, x.to(narrower), fl.ones(3))

    agree(program, rand(3, 3, dtype="float32"), grads=0)


@pytest.mark.parametrize(
    "kinds", [("float64", "float32"), ("float64", "bfloat16"), ("float32", "float64"), ("float16", "bfloat16")]
)
@pytest.mark.parametrize(
    "f",
    [
        lambda fl, x, w: fl.nn.functional.layer_norm(x, (3,), w),
        lambda fl, x, w: fl.nn.functional.group_norm(x, 3, w),
        lambda fl, x, w: fl.nn.functional.batch_norm(x, w, w, w, w),
    ],
)
def test_norms_refuse_other_parameters(agree, f, kinds):
    agree(
        lambda fl, x: f(fl, x.to(getattr(fl, kinds[0])), fl.ones(3, dtype=getattr(fl, kinds[1]))),
        rand(3, 3),
        grads=0,
        raises=RuntimeError,
    )


@pytest.mark.parametrize(
    "f",
    [
        lambda fl, x: fl.nn.functional.pad(x[None].bfloat16(), (1, 1), mode="reflect"),
        lambda fl, x: fl.nn.functional.bilinear(x, x, x[None]).dtype,
        lambda fl, x: fl.nn.GRU(3, 3)(x)[0].dtype,
        lambda fl, x: fl.cat([x.double(), x.bfloat16()]),
    ],
)
def test_what_is_cast_inside_of_composites(agree, f):
    def program(fl, x):
        with fl.autocast("cpu", dtype=fl.bfloat16):
            return f(fl, x)

    agree(program, rand(3, 3, dtype="float32"), grads=0)


def test_two_narrow_dtypes_are_not_joined(agree):
    def program(fl, x):
        with fl.autocast("cpu", dtype=fl.bfloat16):
            return fl.cat([x.half(), x.bfloat16()])

    agree(program, rand(3, 3, dtype="float32"), grads=0, raises=RuntimeError)


def test_scaler_unscales_sparse_gradients(agree):
    def program(fl):
        e = fl.nn.Embedding(4, 2, sparse=True)
        optimizer, scaler = fl.optim.SGD(e.parameters(), 0.1), fl.amp.GradScaler("cpu")
        scaler.scale(e(fl.tensor([1, 1])).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        return e.weight

    agree(program)


def test_scaler_skips_one_of_two_optimizers(agree):
    """Infinities in the gradients of one neither stop the other nor make NumPy speak up while they are clipped."""

    def program(fl):
        a, b = fl.nn.Linear(3, 3), fl.nn.Linear(3, 1)
        one, two = fl.optim.SGD(a.parameters(), 0.1, momentum=0.9), fl.optim.Adam(b.parameters(), 0.1)
        scaler, scales = fl.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2), []
        for i in range(6):
            one.zero_grad(), two.zero_grad()
            with fl.autocast("cpu"):
                loss = b(a(fl.ones(4, 3) * i)).sum()
            scaler.scale(loss).backward()
            if i == 3:
                a.weight.grad[0, 0] = float("inf")
            scaler.unscale_(one)
            fl.nn.utils.clip_grad_norm_(a.parameters(), 1.0)
            scaler.step(one)
            scaler.step(two)
            scaler.update()
            scales.append(scaler.get_scale())
        return scales, list(a.parameters()), list(b.parameters())

    agree(program, grads=0, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "f",
    [
        lambda fl: fl.cpu.amp.autocast(),
        lambda fl: fl.cpu.amp.GradScaler(),
        lambda fl: fl.cuda.amp.custom_fwd(lambda *x: x),
        lambda fl: fl.cuda.amp.custom_bwd(lambda *x: x),
    ],
)
def test_older_names_warn(agree, f):
    def program(fl):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            f(fl)
        return [(w.category.__name__, str(w.message)) for w in seen]

    agree(program)

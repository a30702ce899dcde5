"""Creation: values, dtypes, devices, strides, and what is refused, as PyTorch has them."""

import pytest

from tests.agree import rand

CREATED = {
    "filled": lambda t: [
        t.zeros(2, 3),
        t.ones((2,), dtype=t.int32),
        t.full((2, 2), 7),
        t.full((1,), 1.5),
        t.full((1,), True),
        t.full((1,), 1j),
        t.zeros(()),
    ],
    "arange": lambda t: [
        t.arange(5),
        t.arange(1, 2.5, 0.5),
        t.arange(5, 0, -2),
        t.arange(3.0),
        t.arange(0, 5, 2, dtype=t.float16),
        t.arange(end=3),
    ],
    "linspace": lambda t: [
        t.linspace(0, 1, 5),
        t.linspace(3, -3, 4, dtype=t.float64),
        t.linspace(0, 10, 4, dtype=t.int64),
        t.linspace(1, 2, 1),
        t.logspace(0, 2, 3),
    ],
    "eye": lambda t: [t.eye(2), t.eye(2, 3, dtype=t.bool), t.tril_indices(3, 4, 1), t.triu_indices(3, 3)],
    "windows": lambda t: [
        f(n, periodic=p)
        for f in (t.hann_window, t.hamming_window, t.blackman_window, t.bartlett_window, t.kaiser_window)
        for n in (1, 7)
        for p in (True, False)
    ],
    "strided": lambda t: [
        t.empty_strided((2, 3), (1, 2)).stride(),
        t.empty(2, 3, 4, 5, memory_format=t.channels_last).stride(),
        t.empty(0, 3).stride(),
    ],
    "scalar": lambda t: [
        t.scalar_tensor(3),
        t.tensor(3).new_full((2,), 4.7),
        t.vander(t.tensor([1, 2, 3])),
        t.vander(t.tensor([1.0, 2.0]), 3, True),
    ],
    "default dtype": lambda t: [
        t.ones(1).dtype,
        t.arange(1.0).dtype,
        t.full((1,), 1.0).dtype,
        t.complex(t.ones(1), t.ones(1)).dtype,
    ],
}


@pytest.mark.parametrize("name", CREATED)
def test_created(agree, name):
    agree(CREATED[name])


def test_like_another(agree):
    def program(t, x):
        y = x.detach().mT
        return [
            t.zeros_like(y),
            t.ones_like(y, dtype=t.int64),
            t.full_like(y, 2),
            y.new_zeros(2),
            y.new_ones((2, 1)),
            y.new_full((1,), 3, dtype=t.bool),
            t.empty_like(y).stride(),
            t.zeros_like(y, memory_format=t.contiguous_format).stride(),
            t.ones_like(x).requires_grad,
        ]

    agree(program, rand(2, 3, 4), strides=True)


REFUSED = {
    "negative": (RuntimeError, lambda t: t.zeros(2, -1)),
    "arange step": (RuntimeError, lambda t: t.arange(0, 5, -1)),
    "eye": (RuntimeError, lambda t: t.eye(-1)),
    "linspace": (RuntimeError, lambda t: t.linspace(0, 1, -1)),
    "requires_grad": (RuntimeError, lambda t: t.zeros(2, dtype=t.int64, requires_grad=True)),
    "channels_last": (RuntimeError, lambda t: t.empty(2, 3, memory_format=t.channels_last)),
}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "complex64", "complex128"])
def test_evenly_spaced_numbers(agree, dtype):
    """PyTorch's bits: of integers whose steps are not, of large ones, of complex numbers."""

    def program(t):
        d = getattr(t, dtype)
        largest = 255 if dtype == "uint8" else 1.5 + 2j if d.is_complex else t.iinfo(d).max
        least = 0 if dtype == "uint8" else -3 - 1j if d.is_complex else t.iinfo(d).min
        return [t.linspace(a, b, n, dtype=d) for n in (0, 1, 2, 7, 40) for a, b in ((3, 11), (least, largest), (200, 7))
                if n or a == 3]  # fmt: skip

    agree(program)


@pytest.mark.parametrize("dtype", ["complex32", "bool"])
def test_numbers_that_are_not_spaced(agree, dtype):
    agree(lambda t: t.linspace(0, 1, 5, dtype=getattr(t, dtype)), raises=NotImplementedError)


@pytest.mark.parametrize("dims", [0, 1, 2])
def test_indices_out_of_bounds(agree, dims):
    agree(lambda t: t.zeros(3, 3, 3)[(slice(None),) * dims + (t.tensor([5]),)], raises=IndexError)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(agree, name):
    error, program = REFUSED[name]
    agree(program, raises=error)


def test_default_device_and_dtype():
    import flambeau as t

    with t.device("meta"):
        x = t.zeros(10**9, 10**6)
        assert x.is_meta
        assert t.arange(3).device.type == "meta"
    assert x.shape == (10**9, 10**6)
    t.set_default_dtype(t.float64)
    try:
        assert t.zeros(1).dtype is t.linspace(0, 1, 2).dtype is t.float64
    finally:
        t.set_default_dtype(t.float32)


def test_out(agree):
    def program(t):
        x = t.empty(0, dtype=t.float64)
        y = t.arange(4, out=x)
        return y, y is x, t.zeros(2, out=t.ones(2))

    agree(program)


def test_numpy_names(agree):
    agree(
        lambda t, x: [
            x.sum(axis=0),
            t.cat([x, x], axis=1),
            x.mean(axis=0, keepdims=True),
            t.stack([x], axis=2),
            x.squeeze(axis=0),
        ],
        rand(2, 3),
    )


def test_tensors_within_sequences_are_numbers(agree):
    def program(fl):
        one = fl.ones(1)
        return [
            fl.tensor([one, one]),
            fl.tensor([fl.ones(1, 1, dtype=fl.int64), True]),
            fl.tensor([[one, 2.0], [3, fl.ones(1, 1)]]),
            fl.tensor([[1], one]),
            fl.tensor((one.double(), one)),
            fl.tensor([one.half(), one.half()]),
            fl.tensor([fl.ones(1, dtype=fl.complex64), 1]),
            fl.tensor([fl.nn.Parameter(one, requires_grad=False), one]),
            fl.tensor([one.long(), 2], dtype=fl.bool),
            fl.Tensor([one, one]),
            fl.Tensor([[one], [one]]),
            fl.as_tensor([one, one]),
            fl.asarray([one, one]),
            fl.ones(3).new_tensor([one, 2]),
            fl.ones(3).new([one, 2]),
        ]

    agree(program)


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (ValueError, lambda fl: fl.tensor([fl.ones(2), fl.ones(2)])),
        (ValueError, lambda fl: fl.tensor([fl.ones(0)])),
        (ValueError, lambda fl: fl.Tensor([fl.ones(2)])),
        (TypeError, lambda fl: fl.tensor([fl.ones(1)], dtype=fl.int64)),
        (TypeError, lambda fl: fl.LongTensor([fl.ones(1), 2])),
        (TypeError, lambda fl: fl.tensor([1, [2]])),
        (TypeError, lambda fl: fl.tensor([fl.ones(1), [1]])),
        (TypeError, lambda fl: fl.tensor([[1], 2])),
    ],
)
def test_what_is_no_number_within_sequences(agree, error, make):
    agree(make, raises=error)


def test_the_old_constructor_keeps_history(agree):
    """`Tensor(x)` and a subclass's `super().__new__(cls, x)` are views: gradients go through them to what x came from."""

    def program(fl, x):
        labelled = type("Labelled", (fl.Tensor,), {"__new__": lambda cls, x, label: fl.Tensor.__new__(cls, x)})
        y = x * 2
        made = [fl.Tensor(y), fl.FloatTensor(y), y.new(y), labelled(y, "a"), labelled(x, "b"), fl.Tensor(x)]
        made += [fl.Tensor(labelled(y, "c")), fl.Tensor(fl.nn.Parameter(fl.ones(2)))]
        z = fl.ones(3)
        fl.Tensor(z).add_(1)
        facts = [(type(t).__name__, t.requires_grad, t.is_leaf, type(t.grad_fn).__name__) for t in made]
        return facts, fl.Tensor(z)._is_view(), z, [t.as_subclass(fl.Tensor) for t in made[:-1]]

    agree(program, rand(3, dtype="float32"), grads=2)
    agree(lambda fl: fl.Tensor(fl.ones(2), device="cpu"), raises=RuntimeError)
    agree(lambda fl: fl.vmap(lambda x: fl.Tensor(x) * 2)(fl.ones(2, 3)))


def test_the_device_that_is_there_anyway_may_be_named():
    import flambeau

    here = flambeau.device("cpu")
    for named in (here, "cpu", flambeau.zeros(1).device):
        assert flambeau.zeros(2, device=named, requires_grad=True).requires_grad
        assert flambeau.arange(3, device=named, dtype=flambeau.float32).tolist() == [0, 1, 2]
        with flambeau.device("meta"):
            assert flambeau.ones(2, device=named).device == here and flambeau.ones(2).device.type == "meta"
        x = flambeau.ones(2)
        assert x.to(named) is x and x.to(device=named) is x and x.to(dtype=flambeau.float32) is x
        assert x.to(named, copy=True) is not x and x.to(copy=True) is not x
        assert flambeau.zeros_like(x.to("meta"), device=named).device == here
    with pytest.raises((TypeError, RuntimeError)):
        x.to(device=flambeau.float32)
    with pytest.raises(TypeError):
        x.to(dtype="cpu")
    assert flambeau.zeros(1, device="cpu:0").device == flambeau.zeros(1).to("cpu:0").device

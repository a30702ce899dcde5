"""Fused modules, and those that are trained with fake quantization of their weights."""

import pytest

from tests.agree import rand
from tests.unit.ao.observed import config

PARTS = {
    "ConvReLU1d": lambda nn: (nn.Conv1d(2, 3, 2), nn.ReLU()),
    "ConvReLU2d": lambda nn: (nn.Conv2d(2, 3, 2), nn.ReLU()),
    "ConvReLU3d": lambda nn: (nn.Conv3d(2, 3, 2), nn.ReLU()),
    "LinearReLU": lambda nn: (nn.Linear(2, 3), nn.ReLU()),
    "ConvBn1d": lambda nn: (nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)),
    "ConvBn2d": lambda nn: (nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3)),
    "ConvBn3d": lambda nn: (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)),
    "ConvBnReLU1d": lambda nn: (nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.ReLU()),
    "ConvBnReLU2d": lambda nn: (nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.ReLU()),
    "ConvBnReLU3d": lambda nn: (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), nn.ReLU()),
    "BNReLU2d": lambda nn: (nn.BatchNorm2d(2), nn.ReLU()),
    "BNReLU3d": lambda nn: (nn.BatchNorm3d(2), nn.ReLU()),
    "LinearBn1d": lambda nn: (nn.Linear(2, 3), nn.BatchNorm1d(3)),
    "LinearLeakyReLU": lambda nn: (nn.Linear(2, 3), nn.LeakyReLU(0.1)),
    "LinearTanh": lambda nn: (nn.Linear(2, 3), nn.Tanh()),
}


def size(name):
    return (4, 2) if "Linear" in name else (4, 2, *[5] * int(name[-2]))


@pytest.mark.parametrize("name", sorted(PARTS))
def test_fused(agree, name):
    def program(fl, x):
        fl.manual_seed(0)
        fused = getattr(fl.ao.nn.intrinsic, name)(*PARTS[name](fl.nn)).to(x.dtype)
        assert isinstance(fused, fl.ao.nn.intrinsic._FusedModule)
        return fused(x), repr(fused), list(fused.state_dict())

    agree(program, rand(*size(name)))

    def wrong(fl):
        parts = list(PARTS[name](fl.nn))
        getattr(fl.ao.nn.intrinsic, name)(*parts[1:], parts[0])

    agree(wrong, raises=AssertionError)


def test_added(agree):
    def program(fl, x, y):
        fl.manual_seed(0)
        intrinsic, conv = fl.ao.nn.intrinsic, fl.nn.Conv2d(2, 3, 1).double()
        first, second = intrinsic.ConvAdd2d(conv, fl.add), intrinsic.ConvAddReLU2d(conv, fl.add, fl.nn.ReLU())
        return first(x, y), second(x, y), repr(first), repr(second)

    agree(program, rand(2, 2, 4, 4), rand(2, 3, 4, 4, seed=1))


def fake(fl):
    """A configuration whose fake quantization of weights rounds them, with the gradient of the identity."""

    class Rounded(fl.nn.Module):
        qscheme = fl.per_channel_affine_float_qparams

        def __init__(self, factory_kwargs=None):
            super().__init__()

        def forward(self, x):
            return x + (x * 16).round().detach() / 16 - x.detach()

    return config(fl)._replace(weight=Rounded)


@pytest.mark.parametrize("name", ["Linear", "Conv1d", "Conv2d", "Conv3d"])
def test_qat(agree, name):
    def program(fl, x):
        fl.manual_seed(0)
        plain = getattr(fl.nn, name)(*((2, 3) if name == "Linear" else (2, 3, 2))).to(x.dtype)
        plain.qconfig = fake(fl)
        made = getattr(fl.ao.nn.qat, name).from_float(plain)
        new = getattr(fl.ao.nn.qat, name)(*((2, 3) if name == "Linear" else (2, 3, 2)), qconfig=fake(fl))
        return (
            made(x),
            list(made.state_dict()),
            made.to_float()(x),
            type(made.to_float()).__name__,
            repr(new),
            new.weight,
        )

    agree(program, rand(*((4, 2) if name == "Linear" else (4, 2, *[5] * int(name[-2])))))
    agree(
        lambda fl: getattr(fl.ao.nn.qat, name)(2, 3, **({} if name == "Linear" else {"kernel_size": 2})),
        raises=AssertionError,
    )
    agree(lambda fl: getattr(fl.ao.nn.qat, name).from_float(fl.nn.ReLU()), raises=AssertionError)
    agree(
        lambda fl: getattr(fl.ao.nn.qat, name).from_float(getattr(fl.nn, name)(*((2, 3, 2)[: 2 + ("C" in name)]))),
        raises=AssertionError,
    )


def test_qat_embeddings(agree):
    def program(fl):
        fl.manual_seed(0)
        plain, bag, i = fl.nn.Embedding(9, 3), fl.nn.EmbeddingBag(9, 3, mode="sum"), fl.tensor([[1, 2, 8], [0, 8, 8]])
        plain.qconfig = bag.qconfig = fake(fl)
        one, two = fl.ao.nn.qat.Embedding.from_float(plain), fl.ao.nn.qat.EmbeddingBag.from_float(bag)
        loss = one(i).sum() + two(i).square().sum()
        loss.backward()
        return loss, one.weight.grad, two.weight.grad, repr(one), repr(two), one.to_float()(i), two.to_float()(i)

    agree(program, grads=0)
    agree(lambda fl: fl.ao.nn.qat.Embedding.from_float(fl.nn.ReLU()), raises=AssertionError)
    agree(lambda fl: fl.ao.nn.qat.EmbeddingBag(3, 4, qconfig=config(fl)), raises=AssertionError)


NORMALIZED = ["ConvBn1d", "ConvBn2d", "ConvBn3d", "ConvBnReLU1d", "ConvBnReLU2d", "ConvBnReLU3d", "LinearBn1d"]


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("name", NORMALIZED)
def test_qat_normalized(agree, name, slow):
    if slow and name == "LinearBn1d":
        return  # there is one way only

    def program(fl, x):
        fl.manual_seed(0)
        fused = getattr(fl.ao.nn.intrinsic, name)(*PARTS[name](fl.nn)).to(x.dtype)
        fused.qconfig = fake(fl)
        made = getattr(fl.ao.nn.intrinsic.qat, name).from_float(fused)
        if slow:
            made._enable_slow_path_for_better_numerical_stability = True
        found = [made(x)]
        found += [made.bn.running_mean.clone(), made.bn.running_var.clone(), made.bn.training]
        made.apply(fl.ao.nn.intrinsic.qat.freeze_bn_stats)
        made.train()
        found += [made(x), made.bn.training, made.training, made.bn.running_mean.clone()]
        made.apply(fl.ao.nn.intrinsic.qat.update_bn_stats)
        made.eval()
        plain = made.to_float().eval()
        return found, made(x), plain(x), list(made.state_dict()), repr(made), repr(plain)

    agree(program, rand(*size(name)), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["ConvReLU1d", "ConvReLU2d", "ConvReLU3d", "LinearReLU"])
def test_qat_activated(agree, name):
    def program(fl, x):
        fl.manual_seed(0)
        fused = getattr(fl.ao.nn.intrinsic, name)(*PARTS[name](fl.nn)).to(x.dtype)
        fused.qconfig = fused[0].qconfig = fake(fl)
        made = getattr(fl.ao.nn.intrinsic.qat, name).from_float(fused)
        return made(x), list(made.state_dict()), repr(made), made.to_float()(x), repr(made.to_float())

    agree(program, rand(*size(name)))


def test_qat_constructed_and_first_version(agree):
    def program(fl, x):
        fl.manual_seed(0)
        made = fl.ao.nn.intrinsic.qat.ConvBn2d(2, 3, 2, bias=True, freeze_bn=True, qconfig=fake(fl))
        found = [made.state_dict(), made.freeze_bn, made.bn.training, made.training]
        state = dict(made.state_dict())
        for new, old in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "running_mean"), ("running_var", "running_var"),
                         ("num_batches_tracked", "num_batches_tracked")):  # fmt: skip
            state[old] = state.pop("bn." + new)
        return found, str(made.load_state_dict(state))

    agree(program, rand(2, 2, 4, 4), grads=0)
    agree(lambda fl: fl.ao.nn.intrinsic.qat.ConvBn2d(2, 3, 2), raises=AssertionError)
    agree(lambda fl: fl.ao.nn.intrinsic.qat.ConvBn1d.from_float(fl.nn.ReLU()), raises=AssertionError)

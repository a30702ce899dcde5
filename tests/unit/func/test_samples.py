"""What looks at elements runs sample by sample, with derivatives of every order; second derivatives of what is flat in places."""

import pytest

import flambeau
from tests.agree import rand

pytestmark = [  # PyTorch's
    pytest.mark.filterwarnings("ignore:An output with one or more elements:UserWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning"),
]

F = lambda fl: fl.nn.functional
LOOKING = {
    "quantile": lambda fl, x: fl.quantile(x, fl.tensor([0.2, 0.5], dtype=fl.float64), 0).sum(),
    "nanquantile": lambda fl, x: fl.nanquantile(x, 0.3),
    "det": lambda fl, x: fl.linalg.det(x),
    "median": lambda fl, x: x.median(),
    "cumprod": lambda fl, x: x.cumprod(0).sum(),
    "binary_cross_entropy": lambda fl, x: F(fl).binary_cross_entropy(x.sigmoid(), x.detach().sigmoid()),
    "max_unpool": lambda fl, x: F(fl).max_unpool1d(x, fl.tensor([0, 2, 4]).expand(3, 3), 2).pow(2).sum(),
    "multi_margin_loss": lambda fl, x: F(fl).multi_margin_loss(x, fl.tensor([0, 2, 1])),
    "masked_scatter": lambda fl, x: fl.zeros_like(x).masked_scatter(x > 0, x * x).sum(),
    "index_fill": lambda fl, x: x.index_fill(0, fl.tensor([1]), x[0, 0] ** 2).sum(),
}


@pytest.mark.parametrize("name", LOOKING)
def test_derivatives(agree, name):
    f = lambda fl: lambda x: LOOKING[name](fl, x)
    agree(lambda fl, x: fl.vmap(fl.func.grad(f(fl)))(x), rand(2, 3, 3), grads=0, rtol=1e-6)
    agree(lambda fl, x: fl.vmap(fl.vmap(fl.func.grad(f(fl))))(x[None]), rand(2, 3, 3), grads=0, rtol=1e-6)
    if name != "multi_margin_loss":  # PyTorch has no tangents of it
        agree(lambda fl, x: fl.vmap(lambda x: fl.func.jvp(f(fl), (x,), (x * x,)))(x), rand(2, 3, 3), grads=0, rtol=1e-6)


@pytest.mark.parametrize("name", LOOKING)
def test_second_derivatives(name):
    """Those of a batch are those of its samples."""
    f = lambda x: LOOKING[name](flambeau, x**3)
    x = flambeau.from_numpy(rand(2, 3, 3))
    for transform in (flambeau.func.hessian, lambda f: flambeau.func.jacrev(flambeau.func.jacrev(f))):
        samples = flambeau.stack([transform(f)(sample) for sample in x])
        assert flambeau.allclose(flambeau.vmap(transform(f))(x), samples, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["softplus", "elu", "celu", "selu", "mish", "hardswish", "logsigmoid", "leaky_relu", "gelu"]
)
def test_hessians_of_activations(agree, name):
    """Forward over reverse mode: where a derivative is written, its tangents must not be lost."""
    agree(lambda fl, x: fl.func.hessian(lambda x: getattr(F(fl), name)(x * 2).sum())(x), rand(4), grads=0)
    agree(lambda fl, x: fl.vmap(fl.func.hessian(lambda x: getattr(F(fl), name)(x).sum()))(x), rand(2, 4), grads=0)

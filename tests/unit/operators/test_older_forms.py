"""Calls as they were written before numbers had names: `x.add_(2, y)`; and gradients of convolutions that lie in order."""

import pytest

from tests.agree import rand

CALLS = {
    "add": lambda fl, a, b, v: (a.clone().add_(2, b), a.sub(0.5, b), fl.add(a, 3, b)),
    "addcmul": lambda fl, a, b, v: (a.clone().addcmul_(2, b, b), fl.addcmul(a, 0.5, b, b), a.addcdiv(3, b, b + 9)),
    "addmm": lambda fl, a, b, v: (
        a.addmm(2, 3, a, b),
        a.clone().addmm_(2, a, b),
        fl.addmm(2, a, 3, a, b),
        fl.addmm(2, a, a, b),
    ),
    "addmv": lambda fl, a, b, v: (
        v.addmv(2, 3, a, v),
        fl.addmv(2, v, a, v),
        a.addr(2, 3, v, v),
        a.clone().addr_(2, v, v),
    ),
    "baddbmm": lambda fl, a, b, v: (a[None].baddbmm(2, 3, a[None], b[None]), fl.addbmm(2, a, 3, a[None], b[None])),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_numbers_in_front(agree, name):
    agree(CALLS[name], rand(3, 3), rand(3, 3), rand(3))


def test_wrong_numbers_of_arguments():
    import flambeau as fl

    with pytest.raises(TypeError, match="positional arguments"):
        fl.ones(2).add(1, 2, fl.ones(2))
    with pytest.warns(UserWarning, match="This overload of addcdiv_ is deprecated"):
        fl.ones(2).addcdiv_(1, fl.ones(2), fl.ones(2))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d", "conv1d"])
def test_padded_convolutions_lie_in_order(agree, name, padding):
    def program(fl, x, w):
        if name == "conv1d":
            x, w = x[:, :, 0], w[:, :, 0]
        x = x.detach().requires_grad_()
        y = getattr(fl.nn.functional, name)(x, w.detach(), padding=padding)
        (g,) = fl.autograd.grad(y.square().sum(), x)
        return y.detach().view(-1), g.view(-1), g.stride(), y.stride()

    agree(program, rand(2, 2, 5, 5), rand(2, 2, 3, 3), grads=0)

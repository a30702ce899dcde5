"""Whole training steps through tensors that are written by way of a view."""

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau._capture.rewritten import found_way
from flambeau.nn import functional as F


def flattened(x):
    y = torch.flatten(
        x.mean(-1, keepdim=True), 1
    )  # dropout in place after `flatten`, as classifiers of torchvision have it
    y = F.dropout(y, 0.5, True, inplace=True)
    return (y * y).sum()


def row(x):
    y = x * 2
    v = y[0]
    v.mul_(3)
    return (y * y * y).sum() + (v * v).sum()


def replaced(x):
    y = x * 2
    y[:, 0] = x[:, 1]
    y[1, ::2].mul_(3)
    y[:, 1:3] += x[:, :2]
    return (y * y * y).sum()


def transposed(x):
    y = x * 2
    a, b = y.transpose(0, 1), y[0]
    a.sin_()
    return (a * b.unsqueeze(1)).sum()


def filled(x):
    y = x * 2
    y[y.shape[0] - 1].fill_(2.0)
    return (y * x).sum()


def columns(x):
    y = (x * 2).transpose(0, 1)  # the base of what is written lies in another order
    z = y.view(y.shape)
    z[1:].mul_(y[:1].detach().clone())
    return (y * z).sum()


@pytest.mark.parametrize("f", [flattened, row, replaced, transposed, filled, columns])
def test_gradients_through_writes(f):
    torch.manual_seed(0)
    given = torch.randn(3, 4, 5)

    def step(x):
        loss = f(x)
        loss.backward()
        return loss

    compiled = torch.compile(step, fullgraph=True)
    for _ in range(2):
        x, y = (given.clone().requires_grad_() for _ in range(2))
        torch.manual_seed(1)
        want = step(x)
        torch.manual_seed(1)
        torch.testing.assert_close(compiled(y), want)
        torch.testing.assert_close(y.grad, x.grad)
        assert y.grad.stride() == x.grad.stride()


def test_a_program_does_it_natively():
    compiled = []

    def backend(gm, inputs):
        compiled.append(str(gm.code))
        return gm.forward

    x = torch.randn(2, 3, requires_grad=True)

    @torch.compile(backend=backend, fullgraph=True)
    def step(x):
        y = x * 2
        y[0].mul_(3)
        y.pow(2).sum().backward()

    step(x)
    assert "as_strided" not in compiled[0]
    torch.testing.assert_close(x.grad, 8 * x.detach() * torch.tensor([[9.0], [1.0]]))


def test_a_custom_function_that_writes_a_view_is_a_break():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx, g):
            return g * 2

    def step(x):
        y = x * 3
        Double.apply(y[0])
        y.sum().backward()
        return y

    x, y = (torch.ones(2, 2, requires_grad=True) for _ in range(2))
    torch.testing.assert_close(torch.compile(step)(x), step(y))
    torch.testing.assert_close(x.grad, y.grad)


def test_models_with_dropout_in_place():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(inplace=True))
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(4, 3))

        def forward(self, x):
            return self.classifier(torch.flatten(self.pool(self.features(x)), 1))

    nets = []
    for wrap in (lambda f: f, lambda f: torch.compile(f, fullgraph=True)):
        torch.manual_seed(0)
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(net, optimizer, x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        step = wrap(step)
        for n in range(3):
            torch.manual_seed(n)
            step(net, optimizer, torch.randn(2, 3, 8, 8), torch.tensor([0, 2]))
        nets.append(net.state_dict())
    torch.testing.assert_close(*nets)


def test_the_way_to_a_view():
    random = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        base = tuple(random.integers(1, 5, random.integers(1, 4)))
        whole = np.arange(np.prod(base)).reshape(base)
        view = whole
        for _ in range(random.integers(1, 4)):
            match random.integers(4):
                case 0 if view.ndim > 1:
                    view = view[int(random.integers(view.shape[0]))]
                case 1:
                    start = int(random.integers(view.shape[0]))
                    view = view[start :: int(random.integers(1, 3))]
                case 2:
                    view = view.transpose(random.permutation(view.ndim))
                case 3 if view.flags.c_contiguous:
                    view = view.reshape(-1)
        offset = (view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // whole.itemsize
        strides = tuple(s // whole.itemsize for s in view.strides)
        way = found_way(base, view.shape, strides, offset)
        if way is not None:
            found += 1
            assert (way.view(torch.from_numpy(whole)).numpy() == view).all()
    assert found > 350

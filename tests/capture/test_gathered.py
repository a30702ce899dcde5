"""Gradients of many parts of one tensor are laid together: the same bits as their sum, in the time of one tensor."""

import pytest

import flambeau as torch
from flambeau._capture import gathered


def recurrence(x):
    h = torch.zeros(x.shape[0], x.shape[2])
    for i in range(x.shape[1]):
        h = torch.tanh(h * x[:, i] + x[:, i])
    return h


def every_other_part(x):
    return sum((i + 1.0) * x.select(1, i).sin() for i in range(0, x.shape[1], 2))


def counted_from_the_back(x):
    return sum((i + 1.0) * x[:, -i - 1].sin() for i in range(x.shape[1]))


def slices(x):
    return sum((i + 1.0) * x[:, 2 * i : 2 * i + 2].sin().sum(1) for i in range(x.shape[1] // 2 - 1))


def slices_that_overlap(x):
    return sum((i + 1.0) * x[:, i : i + 2].sin().sum(1) for i in range(x.shape[1] - 1))


def parts_and_the_whole(x):
    whole = x.cos()
    return whole.sum(1) + recurrence(x) + whole.mean(1) * x[:, 0]


def parts_of_two_dims(x):
    return sum(x[:, i].exp() * x[:, :, i] for i in range(8))


def parts_twice(x):
    return sum(x[:, i % 8].exp() * (i + 1.0) for i in range(16))


def zeros_of_either_sign(x):
    return sum((x[:, i] * -0.0) for i in range(8))


def written_meanwhile(x):
    y = x * 1.0
    y[:, 3] = x[:, 2].sin()
    return recurrence(y)


PROGRAMS = [recurrence, every_other_part, counted_from_the_back, slices, slices_that_overlap, parts_and_the_whole,
            parts_of_two_dims, parts_twice, zeros_of_either_sign, written_meanwhile]  # fmt: skip


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_gradients_are_those_of_eager_code(program, inside):
    start = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(0))

    def step(x):
        out = program(x).sum()
        if inside:
            out.backward()
        return out

    made = []
    for f in (step, torch.compile(step, fullgraph=True)):
        x = start.clone().requires_grad_()
        out = f(x)
        if not inside:
            out.backward()
        made.append(x.grad)
    torch.testing.assert_close(made[1], made[0], rtol=2e-6, atol=2e-6)
    if program is zeros_of_either_sign:
        assert torch.equal(torch.signbit(made[1]), torch.signbit(made[0]))


def found(program):
    sums = []

    def backend(gm, inputs):
        sums.extend(gathered.sums(gm.graph).values())
        return gm

    @torch.compile(backend=backend, fullgraph=True)
    def step(x):
        program(x).sum().backward()

    step(torch.randn(6, 8, 8, requires_grad=True))
    return [(s.rest is None, len(s.parts)) for s in sums]


def test_which_sums_are_laid_together():
    assert found(recurrence) == [(True, 16)]  # each part is asked for twice
    assert found(every_other_part) == [(True, 4)]
    assert found(counted_from_the_back) == [(True, 8)]
    assert found(slices_that_overlap) == []
    assert sum(n for _, n in found(parts_and_the_whole)) >= 8
    assert found(lambda x: x[:, 0] * x[:, 1]) == []

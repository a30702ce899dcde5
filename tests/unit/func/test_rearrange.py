"""rearrange: einops' notation, values and strides as PyTorch's."""

import pytest

import flambeau as torch

CASES = [
    ("b h w c -> b c h w", (2, 3, 4, 5), {}),
    ("b h w c -> (b h) w c", (2, 3, 4, 5), {}),
    ("b (h1 h2) w c -> (b h1) w c h2", (2, 6, 4, 5), {"h1": 2}),
    ("(a b) ... -> ... b a", (6, 2, 3), {"a": 2}),
    ("... a -> a ...", (3,), {}),
    ("a b -> a () b", (2, 3), {}),
    ("a ... b -> (a ... b)", (2, 3, 4, 5), {}),
    ("a (b c) -> (c b) a", (2, 6), {"c": 3}),
    ("a b -> b 1 a", (0, 3), {}),
]


@pytest.mark.parametrize("pattern, shape, lengths", CASES, ids=[c[0] for c in CASES])
def test_as_pytorch(agree, pattern, shape, lengths):
    def case(t):
        n = 1
        for s in shape:
            n *= s
        return t.func.rearrange(t.arange(n).reshape(shape), pattern, **lengths)

    agree(case)


def test_a_list_is_stacked():
    assert torch.func.rearrange([torch.zeros(2), torch.ones(2)], "n a -> (a n)").tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "pattern, lengths",
    [("a b", {}), ("a b -> a", {}), ("a a -> a", {}), ("a ((b)) -> a b", {}), ("a (b -> a b", {}), ("a b c -> a b c", {}),
     ("(a b) c -> a b c", {}), ("(a b) c -> a b c", {"a": 4}), ("a b -> b a", {"c": 2}), ("a-b -> b a", {})],
)  # fmt: skip
def test_refusals(pattern, lengths):
    with pytest.raises(ValueError):
        torch.func.rearrange(torch.ones(6, 2), pattern, **lengths)


def test_unwrapping_what_a_transform_sees():
    seen = []

    def f(x):
        seen.append(torch.func.debug_unwrap(x))
        return x * 2

    torch.vmap(f)(torch.arange(3.0))
    assert seen[0].shape == (3,)
    x = torch.ones(2)
    assert torch.func.debug_unwrap(x) is x

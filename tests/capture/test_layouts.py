"""Results of programs that serve all sizes lie as those of eager code."""

import pytest

import flambeau as fl

LAYOUTS = {
    "transposed": lambda n: fl.randn(n[1], n[0], *n[2:]).transpose(0, 1),
    "channels last": lambda n: fl.randn(*n).contiguous(memory_format=fl.channels_last),
}
KEPT = {
    "half": lambda x: x.half(),
    "clone": lambda x: x.clone(),
    "empty_like": lambda x: fl.empty_like(x, dtype=fl.float64),
    "randn_like": lambda x: fl.randn_like(x) * 2,
    "flip": lambda x: x.flip(0),
    "conv2d": lambda x: fl.nn.functional.conv2d(x, fl.ones(3, 4, 2, 2)),
    "max_pool2d": lambda x: fl.nn.functional.max_pool2d(x, 2),
    "batch_norm": lambda x: fl.nn.functional.batch_norm(x, None, None, training=True),
    "sum": lambda x: x.sum(1),
    "as_strided": lambda x: x.as_strided((2, 2), (1, 1), 1) + 0,
}


CASES = [
    (n, layout) for n in KEPT for layout in LAYOUTS if (n, layout) != ("batch_norm", "channels last")
]  # which lies in order there


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_results_of_a_program_for_all_sizes_lie_as_those_of_eager(name, layout):
    compiled = fl.compile(KEPT[name])
    for sizes in ((2, 4, 6, 5), (3, 4, 8, 7), (4, 4, 9, 6)):
        x = LAYOUTS[layout](sizes)
        assert compiled(x).stride() == KEPT[name](x).stride()


ASKED = {
    "index_copy": lambda x: x[:1].index_copy(0, fl.zeros(1, dtype=fl.int64), x[-1:]),
    "index_fill": lambda x: x[:, :1].index_fill(1, fl.zeros(2, dtype=fl.int64), 2.0),
    "one_hot": lambda x: fl.nn.functional.one_hot(x.abs().long() % 5, 5),
    "cross_entropy": lambda x: fl.nn.functional.cross_entropy(x, fl.arange(x.shape[0]) % 3),
    "is_contiguous": lambda x: x * (2 if x.is_contiguous(memory_format=fl.channels_last) else 3),
    "channels_last": lambda x: x.contiguous(memory_format=fl.channels_last) if x.dim() == 4 else x,
    "strides": lambda x: (x + 1, x.t().contiguous().t().stride() if x.dim() == 2 else x.clone().stride()),
    "offsets": lambda x: (x[1:] * 2, x[1:].storage_offset(), (x * 2)[1:, 1:].storage_offset()),
    "unfold": lambda x: x.unfold(0, 2, 1),
    "expand": lambda x: x.sum(0, keepdim=True).expand(3, *x.shape[1:]),
    "diagonal": lambda x: (x.diagonal() * 2, x.diagonal().stride()),
}


@pytest.mark.parametrize("rank", (2, 4))
@pytest.mark.parametrize("name", ASKED)
def test_what_a_program_for_all_sizes_is_asked(name, rank):
    if (name, rank) == ("cross_entropy", 4):
        return
    compiled = fl.compile(ASKED[name])
    for sizes in ((3, 4, 6, 5), (4, 5, 8, 7), (5, 6, 9, 6)):
        x = fl.randn(sizes[:rank])
        found, expected = compiled(x), ASKED[name](x)
        for a, b in zip(*((r if type(r) is tuple else (r,)) for r in (found, expected)), strict=True):
            if isinstance(b, fl.Tensor):
                fl.testing.assert_close(a, b, check_stride=True)
            else:
                assert a == b


PARTS = {
    "slice": lambda x: x.exp()[:, 1:],
    "sorted": lambda x: x.sort(-2)[0].exp().split(2, 1)[-1],
    "turned": lambda x: (x * 2 + 1)[1:].transpose(0, 1),
    "row": lambda x: x.sin()[0],
    "between": lambda x: (x.exp() + x.cos())[..., 1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_what_a_program_makes_lies_as_in_eager(name, layout):
    x = LAYOUTS[layout]((2, 4, 3, 5))
    found, expected = fl.compile(PARTS[name], dynamic=False)(x), PARTS[name](x)
    assert found.stride() == expected.stride()
    fl.testing.assert_close(found, expected)

"""Flexible attention: scores changed by functions, masks in blocks, groups of heads, what it tells beside its result."""

import importlib

import pytest

from tests.agree import rand

pytestmark = pytest.mark.filterwarnings("ignore")
Q, K, V = rand(2, 4, 6, 8), rand(2, 4, 10, 8, seed=1), rand(2, 4, 10, 5, seed=2)


def attend(fl, *tensors, **options):
    """PyTorch takes no gradients of it on the CPU."""
    return flex(fl).flex_attention(*(t.detach() if isinstance(t, fl.Tensor) else t for t in tensors), **options)


def flex(fl):
    return importlib.import_module(f"{fl.__name__}.nn.attention.flex_attention")


SCORES = {
    "none": lambda fl: None,
    "causal": lambda fl: lambda s, b, h, i, j: fl.where(i >= j, s, -float("inf")),
    "relative": lambda fl: lambda s, b, h, i, j: s + (i - j) * 0.1,
    "soft cap": lambda fl: lambda s, b, h, i, j: 2.0 * fl.tanh(s / 2.0),
    "by head and batch": lambda fl: lambda s, b, h, i, j: s * (h + 1) - b,
}


@pytest.mark.parametrize("name", SCORES)
def test_changed_scores(agree, name):
    def program(fl, q, k, v):
        out, more = attend(fl, q, k, v, score_mod=SCORES[name](fl), return_lse=True)
        return out, more

    agree(program, Q, K, V)


def test_tables_that_scores_are_read_from(agree):
    def program(fl, q, k, v, bias):
        slopes, bias = fl.arange(4.0, dtype=fl.float64) / 4, bias.detach()
        return attend(fl, q, k, v, score_mod=lambda s, b, h, i, j: s + bias[b, h, i, j] * slopes[h], scale=0.3)

    agree(program, Q, K, V, rand(2, 4, 6, 10, seed=3))


def test_masks_and_groups_of_heads(agree):
    def program(fl, q, k, v):
        documents = fl.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
        tools = flex(fl)
        mask = tools.and_masks(
            lambda b, h, i, j: documents[i] == documents[j],
            tools.or_masks(lambda b, h, i, j: i >= j, lambda b, h, i, j: j == 1),
        )
        block = tools.create_block_mask(mask, 2, None, 6, 10, device="cpu", BLOCK_SIZE=4)
        out = attend(fl, q, k, v, block_mask=block, enable_gqa=True)
        dense = tools.create_mask(mask, 2, 4, 6, 10, device="cpu")
        return out, dense, block.sparsity()

    agree(program, Q, rand(2, 2, 10, 8, seed=1), rand(2, 2, 10, 5, seed=2))


def test_rows_that_attend_to_nothing(agree):
    def program(fl, q, k, v):
        block = flex(fl).create_block_mask(lambda b, h, i, j: i < j, 1, 1, 6, 6, device="cpu", BLOCK_SIZE=2)
        return attend(fl, q, k, v, block_mask=block, return_lse=True)

    agree(program, rand(1, 2, 6, 4), rand(1, 2, 6, 4, seed=1), rand(1, 2, 6, 4, seed=2))


def test_what_is_told_beside_the_result(agree):
    def program(fl, q, k, v):
        out, aux = attend(fl, q, k, v, return_aux=flex(fl).AuxRequest(lse=True))
        return out, aux.lse, aux.max_scores, type(aux).__name__

    agree(program, Q, K, V)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_narrow_and_mixed_dtypes(agree, dtype):
    def program(fl, q, k, v):
        narrow = getattr(fl, dtype)
        return attend(fl, q.to(narrow), k.to(narrow), v.to(narrow), return_lse=True), attend(
            fl, q.to(narrow), k, v.float()
        )

    agree(program, Q, K, V)


def test_gradients_are_those_of_attention():
    """PyTorch takes none on the CPU; here they are those of the same scores written out."""
    import flambeau
    from flambeau.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v, table = (flambeau.tensor(x, requires_grad=True) for x in (Q, K, V, rand(6, 10, seed=3)))
    block = create_block_mask(lambda b, h, i, j: i >= j, 1, 1, 6, 10, device="cpu", BLOCK_SIZE=4)
    one = flambeau.autograd.grad(
        flex_attention(q, k, v, lambda s, b, h, i, j: s + table[i, j], block).sin().sum(), (q, k, v, table)
    )
    hidden = flambeau.ones(6, 10, dtype=flambeau.bool).tril().logical_not()
    scores = (q @ k.mT / 8**0.5 + table).masked_fill(hidden, -float("inf"))
    other = flambeau.autograd.grad((scores.softmax(-1) @ v).sin().sum(), (q, k, v, table))
    flambeau.testing.assert_close(one, other)


def mask(fl, batch, *lengths):
    return flex(fl).create_block_mask(lambda b, h, i, j: i >= j, batch, 1, *lengths, device="cpu", BLOCK_SIZE=2)


REFUSED = {
    "dims": (NotImplementedError, lambda fl, q, k, v: ((q[0], k, v), {})),
    "features": (ValueError, lambda fl, q, k, v: ((q, k[..., :3], v), {})),
    "devices": (ValueError, lambda fl, q, k, v: ((q, k.to("meta"), v), {})),
    "heads": (ValueError, lambda fl, q, k, v: ((q, k[:, :2], v[:, :2]), {})),
    "groups": (ValueError, lambda fl, q, k, v: ((q, k[:, :3], v[:, :3]), {"enable_gqa": True})),
    "batches": (ValueError, lambda fl, q, k, v: ((q[:1], k, v), {})),
    "the mask's batches": (ValueError, lambda fl, q, k, v: ((q[:1], k, v), {"block_mask": mask(fl, 2, 6, 10)})),
    "batches that do not broadcast": (RuntimeError, lambda fl, q, k, v: ((fl.cat([q, q[:1]]), k, v), {"block_mask": mask(fl, 3, 6, 10)})),
    "a shorter mask": (ValueError, lambda fl, q, k, v: ((q, k, v), {"block_mask": mask(fl, 1, 4, 4)})),
    "a longer mask": (ValueError, lambda fl, q, k, v: ((q, k, v), {"block_mask": mask(fl, 1, 12, 10)})),
    "two ways to ask": (ValueError, lambda fl, q, k, v: ((q, k, v), {"return_lse": True, "return_aux": flex(fl).AuxRequest()})),
    "options": (AssertionError, lambda fl, q, k, v: ((q, k, v), {"kernel_options": {"OUTPUT_LOGSUMEXP": True}})),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses(agree, name):
    error, make = REFUSED[name]

    def program(fl, q, k, v):
        tensors, options = make(fl, q, k, v)
        return attend(fl, *tensors, **options)

    agree(program, Q, K, V, raises=error)

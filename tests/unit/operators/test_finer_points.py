"""What a program meets at the edges of arguments: signs of zeros, numbers and lists of the wrong kind, memory written under a derivative."""

import warnings

import pytest

from tests.agree import rand

ZEROS = [-0.0, 0.0, -1.0, 1.0]
VALUES = {
    "clamp from below": lambda fl: fl.tensor(ZEROS).clamp(min=0),
    "clamp between": lambda fl: fl.tensor(ZEROS).clamp(0, 1),
    "clamp from above": lambda fl: fl.tensor(ZEROS).clamp(max=0),
    "clamp of halves": lambda fl: fl.tensor(ZEROS, dtype=fl.float16).clamp(min=0),
    "clamp of many": lambda fl: fl.tensor(ZEROS * 20).clamp(min=0),
    "clamp_min": lambda fl: fl.clamp_min(fl.tensor(ZEROS), 0.0),
    "clamp_max": lambda fl: fl.clamp_max(fl.tensor(ZEROS), 0.0),
    "clamp by a tensor": lambda fl: fl.clamp(fl.tensor(ZEROS), min=fl.tensor([0.0, -0.0, 0.0, 0.0])),
    "number of a sparse tensor": lambda fl: [float(fl.tensor([2.0]).to_sparse()), int(fl.tensor(3).to_sparse())],
    "truth of a sparse tensor": lambda fl: [bool(fl.tensor([2.0]).to_sparse()), bool(fl.tensor([0]).to_sparse())],
    "blocks of nothing": lambda fl: list(fl.block_diag().shape),
    "segments from offsets": lambda fl: fl.segment_reduce(fl.arange(4.0), "mean", offsets=fl.tensor([1, 2, 4])),
    "segments that end early": lambda fl: fl.segment_reduce(fl.arange(4.0), "amax", offsets=fl.tensor([0, 0, 2])),
    "rows of segments": lambda fl: fl.segment_reduce(
        fl.arange(8.0).reshape(2, 4), "sum", offsets=fl.tensor([[0, 1, 3], [0, 2, 4]]), axis=1
    ),
    "hinge of integers": lambda fl: fl.nn.functional.hinge_embedding_loss(
        fl.tensor([1, 2]), fl.tensor([1, -1]), margin=3.5, reduction="none"
    ),
    "soft margin in the input's dtype": lambda fl: fl.nn.functional.soft_margin_loss(
        fl.tensor([1.0, 2.0]), fl.tensor([1.0, -1.0], dtype=fl.float64), reduction="none"
    ),
    "maximum over no named dims": lambda fl: [fl.ones(2, 3).amax(dim=None), fl.ones(2, 3).amin(None, True)],
    "similarity of integers and floats": lambda fl: fl.nn.functional.cosine_similarity(
        fl.tensor([[1, 2]]), fl.tensor([[1.0, 3.0]])
    ),
    "sum into integers": lambda fl: fl.sum(fl.tensor([0.6, 0.7]), 0, out=fl.zeros((), dtype=fl.int64)),
    "product into doubles": lambda fl: fl.prod(fl.tensor([0.6, 0.7]), 0, out=fl.zeros((), dtype=fl.float64)),
    "scan into integers": lambda fl: fl.cumsum(fl.tensor([0.6, 1.7]), 0, out=fl.zeros(2, dtype=fl.int64)),
    "norm into nothing": lambda fl: fl.norm(fl.ones(2, 3), 2, dim=0, out=fl.empty(0)),
    "sum into what is made anew": lambda fl: fl.amax(fl.ones(2, 3), 1, out=fl.empty(0, 1).expand(0, 3)),
    "shapes that broadcast": lambda fl: [list(fl.broadcast_shapes((2, 1), 3, ())), list(fl.broadcast_shapes())],
    "pairs": lambda fl: [fl.combinations(fl.arange(4)), fl.combinations(fl.arange(4)).stride()],
    "batched ends of doubles": lambda fl: fl.vmap(lambda a: fl.linspace(a, 2, 4))(fl.tensor([0.0, 1.0]).double()),
    "batched ends of integers": lambda fl: fl.vmap(lambda a: fl.linspace(a, 2, 4))(fl.tensor([0, 1])),
    "batched and a double end": lambda fl: fl.vmap(lambda a: fl.linspace(a, fl.tensor(2.0).double(), 4))(
        fl.tensor([0.0, 1.0])
    ),
}
REFUSED = {
    "flip along a number": lambda fl: fl.flip(fl.ones(2, 2), 1),
    "flip along a number by name": lambda fl: fl.flip(fl.ones(2, 2), dims=1),
    "full of one size": lambda fl: fl.full(2, 1),
    "full of a size by name": lambda fl: fl.full(size=2, fill_value=1),
    "new_full of one size": lambda fl: fl.ones(2).new_full(2, 1),
    "layer norm of a number": lambda fl: fl.nn.functional.layer_norm(fl.ones(2, 3), 3),
    "text added": lambda fl: fl.ones(2).add("a"),
    "nothing multiplied": lambda fl: fl.ones(2).mul(None),
    "a power of text": lambda fl: fl.ones(2).pow("a"),
    "sizes before dtypes": lambda fl: fl.ones(3, 4).bitwise_and(fl.ones(3)),
    "dims before dtypes": lambda fl: fl.ones(3, 4, dtype=fl.complex64).amax(5),
    "a dim of a number": lambda fl: fl.tensor(1.0).prod(dim=5),
    "less than a complex number": lambda fl: fl.ones(2).lt(1j),
    "a mask of other sizes": lambda fl: fl.ones(3, 4).masked_fill(fl.ones(5).bool(), 1),
    "selected by other sizes": lambda fl: fl.ones(2, 4).masked_select(fl.ones(3, 4).bool()),
    "integers' means without NaN": lambda fl: fl.ones(3).nanmean(dtype=fl.int32),
    "complex sums without NaN": lambda fl: fl.ones(3).nansum(dtype=fl.complex64),
    "quantile beyond one": lambda fl: fl.ones(0).quantile(2.0),
    "histogram of booleans": lambda fl: fl.ones(3).bool().histc(),
    "expanded booleans": lambda fl: fl.ones(3, 4).bool().expand(3),
    "product into doubles": lambda fl: fl.mm(fl.ones(2, 2), fl.ones(2, 2), out=fl.zeros(2, 2, dtype=fl.float64)),
    "sum with product into integers": lambda fl: fl.addmm(
        fl.ones(2), fl.ones(2, 2), fl.ones(2, 2), out=fl.zeros(2, 2, dtype=fl.int64)
    ),
    "scan into booleans": lambda fl: fl.cumsum(fl.ones(2), 0, out=fl.zeros(2, dtype=fl.bool)),
    "shapes that do not broadcast": lambda fl: fl.broadcast_shapes((2, 1), (3,), (4,)),
    "gradients of integers": lambda fl: fl.tensor([1, 2], requires_grad=True),
    "bags of integers": lambda fl: fl.nn.functional.embedding_bag(
        fl.tensor([0, 1]), fl.ones(3, 4).long(), fl.tensor([0])
    ),
    "a product of sizes and dtypes that do not fit": lambda fl: fl.ones(3, 4).long() @ fl.ones(3),
    "a layer of sizes and dtypes that do not fit": lambda fl: fl.nn.functional.linear(
        fl.ones(3, 4).half(), fl.ones(2, 3)
    ),
    "slices of a number": lambda fl: fl.tensor(1.0).unbind(-1),
    "a number for an output": lambda fl: fl.sum(fl.ones(3), 0, out=1),
    "a truth value for a scale": lambda fl: fl.ones(2).add(fl.ones(2), alpha=True),
    "an element of nothing": lambda fl: fl.ones(0, 2).index_select(0, fl.tensor([0])),
    "elements of a number": lambda fl: fl.tensor(1.0).index_select(0, fl.tensor([0, 0])),
    "fill of what is expanded by a tensor": lambda fl: fl.ones(2, 1).expand(2, 3).fill_(fl.tensor(1.0)),
    "selected into what is expanded": lambda fl: (
        fl.ones(3, 4).index_select(0, fl.tensor([0]))
        is fl.index_select(fl.ones(3, 4), 0, fl.tensor([0, 2]), out=fl.zeros(3, 1).expand(3, 4))
    ),
    "blocks in a list": lambda fl: fl.block_diag([fl.ones(2, 2)]),
    "product of a list": lambda fl: fl.cartesian_prod([fl.ones(2)]),
    "broadcast of a list": lambda fl: fl.broadcast_tensors([fl.ones(2), fl.ones(1)]),
    "pad by a float": lambda fl: fl.nn.functional.pad(fl.ones(2, 2), (1.0, 1)),
    "pad by a second float": lambda fl: fl.nn.functional.pad(fl.ones(2, 2), (1, 1.0)),
    "pad by a number": lambda fl: fl.nn.functional.pad(fl.ones(2, 2), 1),
    "reflect by a float": lambda fl: fl.nn.functional.pad(fl.ones(1, 2, 2), (1.0, 1), mode="reflect"),
    "fill with a complex number": lambda fl: fl.empty(2).fill_(1j),
    "fill integers with a complex number": lambda fl: fl.empty(2, dtype=fl.int64).fill_(1j),
    "full_like of a complex number": lambda fl: fl.full_like(fl.ones(2), 1j),
    "new_full of a complex number": lambda fl: fl.ones(2).new_full((2,), 1j),
    "index_fill with a complex number": lambda fl: fl.ones(2).index_fill(0, fl.tensor([1]), 1j),
    "soft margin of integers": lambda fl: fl.nn.functional.soft_margin_loss(fl.tensor([1, 2]), fl.tensor([1, -1])),
    "mean hinge of integers": lambda fl: fl.nn.functional.hinge_embedding_loss(fl.tensor([1, 2]), fl.tensor([1, -1])),
    "segments too short": lambda fl: fl.segment_reduce(fl.ones(4), "sum", lengths=fl.tensor([1, 2])),
    "segments of no kind": lambda fl: fl.segment_reduce(fl.ones(4), "foo", lengths=fl.tensor([1, 3])),
    "segments of no length": lambda fl: fl.segment_reduce(fl.ones(4), "sum"),
    "segments that go back": lambda fl: fl.segment_reduce(fl.ones(4), "sum", offsets=fl.tensor([0, 3, 2])),
    "segments of floats": lambda fl: fl.segment_reduce(fl.ones(4), "sum", lengths=fl.tensor([1.0, 3.0])),
    "segments along another axis": lambda fl: fl.segment_reduce(
        fl.ones(2, 4), "sum", lengths=fl.tensor([1, 3]), axis=1
    ),
    "product of unlike dtypes": lambda fl: fl.bmm(fl.ones(1, 2, 2, dtype=fl.float64), fl.ones(1, 2, 2)),
    "product with float8": lambda fl: fl.mm(fl.ones(2, 2, dtype=fl.float8_e5m2), fl.ones(2, 2)),
    "attention with dropout": lambda fl: fl._scaled_dot_product_flash_attention_for_cpu(
        *(fl.ones(1, 1, 2, 3),) * 3, 0.5
    ),
    "attention of integers": lambda fl: fl._scaled_dot_product_flash_attention_for_cpu(
        *(fl.ones(1, 1, 2, 3).long(),) * 3
    ),
    "attention of other widths": lambda fl: fl._scaled_dot_product_flash_attention_for_cpu(
        fl.ones(1, 1, 2, 3), fl.ones(1, 1, 2, 4), fl.ones(1, 1, 2, 4)
    ),
    "attention with a mask of doubles": lambda fl: fl._scaled_dot_product_flash_attention_for_cpu(
        *(fl.ones(1, 1, 2, 3),) * 3, attn_mask=fl.ones(2, 2).double()
    ),
}
OVERWRITTEN = {
    "a row by another": lambda y: y[1].mul_(y[0]),
    "a row by itself": lambda y: y[1].mul_(y[1]),
    "all by itself": lambda y: y.mul_(y),
    "all by what shares its memory": lambda y: y.mul_(y.detach()),
    "a quotient": lambda y: y[1].div_(y[0]),
    "a product of matrices": lambda y: y.addmm_(y, y),
    "a sum, which saves nothing": lambda y: y[1].add_(y[0]),
    "a result": lambda y: y.sigmoid_(),
    "one after the other": lambda y: y.exp_().mul_(2).sigmoid_(),
}


@pytest.mark.parametrize("case", VALUES)
def test_values(agree, case):
    agree(lambda fl, x: _with_signs(fl, VALUES[case](fl)), rand(1), grads=0)


def _with_signs(fl, out):
    return [out, out.signbit()] if isinstance(out, fl.Tensor) else out


@pytest.mark.parametrize("case", REFUSED)
def test_refused(agree, case):
    agree(lambda fl, x: _said(lambda: REFUSED[case](fl)), rand(1), grads=0)


@pytest.mark.parametrize("case", OVERWRITTEN)
def test_overwritten(agree, case):
    def program(fl, x):
        x = fl.ones(2, 2, requires_grad=True)
        y = x * 2

        def run():
            OVERWRITTEN[case](y)
            y.sum().backward()
            return x.grad

        return _said(run)

    agree(program, rand(1), grads=0)


def _said(run):
    try:
        return run()
    except (RuntimeError, TypeError, IndexError) as error:
        return [type(error).__name__, str(error)]


@pytest.mark.parametrize("how", ["to", "copy_", "fill_"])
def test_discarded_imaginary_parts(agree, how):
    def program(fl, x):
        z = fl.tensor([1 + 2j])
        fl.set_warn_always(True)
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                out = (
                    z.to(fl.float32)
                    if how == "to"
                    else fl.ones(1).copy_(z)
                    if how == "copy_"
                    else fl.ones(1).fill_(z[0])
                )
        finally:
            fl.set_warn_always(False)
        return [out, [str(w.message).partition(" (Triggered")[0] for w in seen], [w.category.__name__ for w in seen]]

    agree(program, rand(1), grads=0)


MADE = {
    "zeros": lambda fl: fl.zeros(2, 2, out=fl.ones(3)),
    "eye": lambda fl: fl.eye(2, out=fl.ones(3)),
    "arange": lambda fl: fl.arange(4, out=fl.ones(3)),
    "sum": lambda fl: fl.sum(fl.ones(2, 3), 0, out=fl.ones(2)),
    "norm": lambda fl: fl.norm(fl.ones(2, 3), dim=0, out=fl.ones(2)),
}


@pytest.mark.parametrize("case", MADE)
def test_resized_outputs(agree, case):
    def program(fl, x):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            out = MADE[case](fl)
        return [out, [str(w.message).partition(" (Triggered")[0] for w in seen]]

    agree(program, rand(1), grads=0)


def test_attention_backward_looks_at_its_arguments():
    """PyTorch reads what lies beyond; here it is refused."""
    import flambeau as fl

    q = fl.ones(1, 2, 4, 8)
    for out, lse in (
        (fl.ones(1, 2, 3, 8), fl.ones(1, 2, 4)),
        (q, fl.ones(1, 2, 3)),
        (q, fl.ones(1, 2, 4, dtype=fl.float64)),
    ):
        with pytest.raises(RuntimeError, match=r"expected (out|logsumexp) of"):
            fl._scaled_dot_product_flash_attention_for_cpu_backward(q, q, q, q, out, lse, 0.0, False)
    with pytest.raises(RuntimeError, match="does not expand"):
        fl._scaled_dot_product_flash_attention_for_cpu_backward(
            q, q, q, q, q, fl.ones(1, 2, 4), 0.0, False, attn_mask=fl.ones(3, 3)
        )
    with pytest.raises(RuntimeError, match="offsets lie outside"):
        fl.segment_reduce(fl.ones(4), "sum", offsets=fl.tensor([0, 9]))

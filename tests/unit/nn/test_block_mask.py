"""Block masks of flexible attention: all that they are made of, as PyTorch has it."""

import importlib

import pytest


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("lengths", [(8, 8), (6, 10)])
def test_all_of_a_block_mask(agree, apart, lengths):
    def program(fl):
        flex = __import__(f"{fl.__name__}.nn.attention.flex_attention", fromlist=["BlockMask"])
        mask = flex.create_block_mask(lambda b, h, q, kv: q + 2 * b >= kv, 2, 1, *lengths, "cpu", (2, 4), separate_full_blocks=apart,
                                      compute_dq_write_order=True, dq_kv_order=apart)  # fmt: skip
        flat, pairs = mask.as_tuple(), mask.as_tuple(flatten=False)
        again = flex.BlockMask.from_kv_blocks(mask.kv_num_blocks, mask.kv_indices, compute_q_blocks=False, BLOCK_SIZE=2)
        names = [n for n in mask._TENSOR_ATTRS if getattr(mask, n) is not None]
        moved = mask.to("cpu")
        return (
            [getattr(mask, n) for n in names], names, flat[:2], pairs[0], len(flat), len(pairs), mask.dq_kv_order_spt,
            again.q_indices is None, again.seq_lengths, again.BLOCK_SIZE, [getattr(moved, n) for n in names],
        )  # fmt: skip

    agree(program)


def test_what_masks_refuse(agree):
    def program(fl, **options):
        flex = __import__(f"{fl.__name__}.nn.attention.flex_attention", fromlist=["BlockMask"])
        counts, indices = fl.ones(1, 1, 2, dtype=fl.int32), fl.zeros(1, 1, 2, 2, dtype=fl.int32)
        return flex.BlockMask.from_kv_blocks(counts, indices, **options)

    agree(lambda fl: program(fl, full_kv_num_blocks=fl.ones(1, 1, 2)), raises=AssertionError)
    agree(lambda fl: program(fl, dq_kv_order=3), raises=ValueError)
    agree(lambda fl: program(fl, dq_write_order_full=fl.ones(1)), raises=ValueError)


def test_shown(agree):
    def program(fl, n, causal):
        flex = importlib.import_module(f"{fl.__name__}.nn.attention.flex_attention")
        mask = flex.create_block_mask(lambda b, h, i, j: i >= j if causal else i < 200, 2, None, n, n, device="cpu")
        return str(mask), repr(mask), mask.to_string((3, 3), 1)

    agree(lambda fl: program(fl, 5 * 128, True))
    agree(lambda fl: program(fl, 50 * 128, False))


def test_parts_of_a_mask(agree):
    def program(fl):
        flex = fl.nn.attention.flex_attention
        whole = flex.create_block_mask(
            lambda b, h, q, kv: (q >= kv) & (b + h + kv > 0), 2, 3, 16, 16, device="cpu", BLOCK_SIZE=4
        )
        found = []
        for index in (
            1,
            -1,
            (0, 2),
            (slice(0, 1), slice(1, 3), fl.tensor([3], dtype=fl.int32)),
            (slice(None), 0, slice(2)),
        ):
            part = whole[index]
            found.append([part.shape, part.kv_num_blocks, part.kv_indices, part.full_kv_num_blocks, part.full_kv_indices, part.q_num_blocks, part.to_dense()])  # fmt: skip
        try:
            part.mask_mod(0, 0, 0, 0)
        except RuntimeError as error:
            found.append(str(error)[:44])
        return found

    agree(program)

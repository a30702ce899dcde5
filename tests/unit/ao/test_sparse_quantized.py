"""Linear layers with blocks of zeros, made of what a sparsifier leaves."""

import pytest

from tests.agree import rand
from tests.unit.ao.observed import observed, told, with_engine

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")


def pruned(fl):
    """A linear layer whose smallest blocks are zero."""
    fl.manual_seed(0)
    model = fl.nn.Sequential(fl.nn.Linear(8, 8))
    sparsifier = fl.ao.pruning.WeightNormSparsifier(0.5)
    sparsifier.prepare(model, None)
    sparsifier.step()
    sparsifier.squash_mask(params_to_keep=("sparse_block_shape",))
    return model[0]


def test_static(agree):
    def program(fl, x):
        made = fl.ao.pruning.get_static_sparse_quantized_mapping()[fl.nn.Linear].from_float(observed(fl, pruned(fl)))
        data = fl.quantize_per_tensor(x.detach().float(), 0.02, 100, fl.quint8)
        state = {k: told(list(v) if isinstance(v, tuple) else v) for k, v in made.state_dict().items()}
        return told(made(data)), repr(made), state, told(list(made._weight_bias()))

    agree(lambda fl, x: with_engine(fl, "fbgemm", lambda: program(fl, x)), rand(3, 8), grads=0)


@pytest.mark.parametrize("blocks", [(1, 4)])
def test_dynamic(agree, blocks):
    def program(fl, x):
        kind = fl.ao.pruning.get_dynamic_sparse_quantized_mapping()[fl.nn.Linear]
        with fl.ao.nn.sparse.quantized.utils.LinearBlockSparsePattern(*blocks):
            made = kind.from_float(observed(fl, pruned(fl)))
        found = [made(x.detach().float()), repr(made), list(made.state_dict())]
        return [*found, made._weight_bias()[2:], fl.ao.nn.sparse.quantized.utils.LinearBlockSparsePattern.block_size()]

    # PyTorch's engine for this one adds up in another order
    agree(lambda fl, x: with_engine(fl, "qnnpack", lambda: program(fl, x)), rand(3, 8), grads=0, atol=1e-5)


def test_refused(agree):
    sparse = lambda fl: fl.ao.nn.sparse.quantized
    agree(lambda fl: sparse(fl).Linear(4, 4, 1, 4, dtype=fl.float16), raises=NotImplementedError)
    agree(lambda fl: sparse(fl).dynamic.Linear(4, 4, 1, 4, dtype=fl.float16), raises=NotImplementedError)
    agree(lambda fl: sparse(fl).Linear.from_float(fl.nn.ReLU()), raises=AssertionError)
    agree(lambda fl: sparse(fl).Linear.from_float(fl.nn.Linear(2, 2)), raises=AssertionError)
    agree(lambda fl: sparse(fl).dynamic.Linear.from_float(fl.nn.Linear(2, 2)), raises=AssertionError)
    agree(lambda fl: sparse(fl).utils.LinearBlockSparsePattern(2, 2), raises=AssertionError)

    def shifted(fl):
        weight = fl.quantize_per_tensor(fl.ones(8, 8), 0.1, 3, fl.qint8)
        with_engine(fl, "fbgemm", lambda: fl.ops.sparse.qlinear_prepack(weight, None, 1, 4))

    agree(shifted, raises=RuntimeError)

"""Operators that PyTorch's own Python code calls by name."""

import numpy as np
import pytest


@pytest.mark.parametrize("name", ["and", "or", "xor", "lshift", "rshift"])
def test_operators_of_python(agree, name):
    def run(t):
        op, x = getattr(t.ops.aten, f"__{name}__"), t.tensor([5, 6, 1])
        return op.Tensor(x, t.tensor([3, 1, 2])), op.Scalar(x, 2)

    agree(run)


def test_indices(agree):
    def run(t, wide):
        rows, columns, starts = t.tensor([0, 0, 2, 3]), t.tensor([0, 1, 1, 0]), t.tensor([0, 2, 2, 3, 4])
        return (
            t._convert_indices_from_coo_to_csr(rows, 5, out_int32=not wide),
            t._convert_indices_from_csr_to_coo(starts, columns, out_int32=not wide),
            t._convert_indices_from_csr_to_coo(starts, columns, transpose=wide),
        )

    for wide in (False, True):
        agree(lambda t, wide=wide: run(t, wide))


@pytest.mark.filterwarnings("ignore")
def test_parts_of_sparse_tensors_as_copies(agree):
    def run(t):
        rows, columns = t.eye(3).to_sparse_csr(), t.eye(3).to_sparse_csc()
        return (
            t.crow_indices_copy(rows), t.col_indices_copy(rows), t.values_copy(rows),
            t.ccol_indices_copy(columns), t.row_indices_copy(columns), t.values_copy(columns),
            t.spmm(t.eye(3).to_sparse(), t.ones(3, 2)), t.native_norm(t.eye(3).to_sparse()),
        )  # fmt: skip

    agree(run)


def test_determinants_with_their_factors(agree):
    def run(t, x):
        return [tuple(v for v in t._linalg_det(y)) for y in (x, x.mT, x[0].contiguous())]

    agree(run, np.random.default_rng(0).normal(size=(2, 3, 3)))


@pytest.mark.parametrize("name", ["inv", "solve_ex", "cholesky", "svd", "eigh", "lstsq", "lu_factor"])
def test_what_lapack_gave_up_on(agree, name):
    def run(t, batched):
        info = t.tensor([0, 2] if batched else 2, dtype=t.int32)
        try:
            t._linalg_check_errors(info, f"linalg.{name}", is_matrix=not batched)
        except RuntimeError as error:
            return str(error), isinstance(error, t.linalg.LinAlgError)

    agree(lambda t: (run(t, False), run(t, True)))
    agree(lambda t: t._linalg_check_errors(t.zeros(2, dtype=t.int32), name, is_matrix=False))


def test_singular_factors(agree):
    agree(lambda t: t.linalg.lu_factor(t.zeros(2, 2)), raises=RuntimeError)


def test_others(agree):
    agree(
        lambda t: t._embedding_bag_forward_only(t.arange(12.0).reshape(6, 2), t.tensor([1, 2, 3]), t.tensor([0, 2]))[0]
    )
    agree(lambda t: t._has_compatible_shallow_copy_type(t.ones(2), t.zeros(3, dtype=t.int64)))
    agree(lambda t: t._has_compatible_shallow_copy_type(t.ones(2), t.eye(2).to_sparse()))


def test_words_of_python_as_names(agree):
    agree(lambda t: t.zeros(9).uniform_(**{"from": 3, "to": 3.5}).ge(3).all())
    agree(lambda t: t.zeros(9).random_(**{"from": 3, "to": 4}))
    agree(lambda t: t.zeros(2).uniform_(till=3), raises=TypeError)
    agree(lambda t: t.tensor(2.0).__format__(format_spec=".3f"))


def test_grids_of_counts(agree):
    agree(lambda t: (r := t.histogramdd(t.tensor([[0.0, 1], [1, 0], [0.5, 0.5]]), 2), type(r).__name__))
    agree(lambda t: t.return_types.max((t.ones(2), t.zeros(2))).values)


def test_ranges_of_profiles():
    import flambeau as fl

    with fl.autograd.profiler.profile() as p:
        handle = fl.ops.profiler._record_function_enter_new("outer", None)
        fl.ones(2).add(1)
        fl.ops.profiler._record_function_exit._RecordFunction(handle)
    names = [e.name for e in p.function_events]
    assert names[0] == "outer" and "aten::add" in names
    assert fl.ops.aten._fused_sgd_.tensor_lr._schema.arguments[5].name == "lr"
    assert fl.ops.profiler._record_function_exit.overloads() == ["default", "_RecordFunction"]
    assert not hasattr(fl.ops.profiler, "nothing")


@pytest.mark.filterwarnings("ignore")
def test_plain_functions(agree):
    def run(t):
        aten = t.ops.aten
        i, v = t.tensor([[0, 1]]), t.tensor([2.0, 3.0])
        x, g, m, s = [t.ones(2)], [t.full((2,), 0.5)], [t.zeros(2)], [t.zeros(2)]
        aten._fused_adamw_.default(x, g, m, s, [], [t.tensor(1.0)], lr=0.1, beta1=0.9, beta2=0.99, weight_decay=0.1, eps=1e-8,
                                   amsgrad=False, maximize=False)  # fmt: skip
        return (
            aten.sparse_coo_tensor.size([3], dtype=t.float32, device="cpu").to_dense(),
            aten.sparse_coo_tensor.indices(i, v).to_dense(),
            aten._sparse_coo_tensor_with_dims_and_tensors(1, 0, [3], i, v, dtype=t.float32, layout=t.sparse_coo, device="cpu").to_dense(),
            aten.sparse_compressed_tensor.comp_plain_value_size(
                t.tensor([0, 1, 2]), t.tensor([1, 0]), v, [2, 2], layout=t.sparse_csr, device="cpu").to_dense(),
            x[0], str(aten.sparse_coo_tensor.size._schema), str(aten._fused_adamw_.default._schema), sorted(aten._fused_sgd_.overloads())[:1],
        )  # fmt: skip

    agree(run)

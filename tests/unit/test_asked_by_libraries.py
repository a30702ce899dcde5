"""What other people's libraries ask for: comparisons with None, sizes of NumPy's, the engine's callbacks, classes' modules, private names."""

import numpy as np
import pytest

import flambeau as torch
from tests.agree import rand


def test_a_tensor_is_compared_with_none(agree):
    agree(lambda fl, x: [x == None, x != None, x == None, x == "a", x in [None], [None, x].index(None)], rand(3), grads=0)  # noqa: E711  # fmt: skip
    agree(lambda fl, x: fl.func.vmap(lambda y: y * (1 if y == None else 2))(x), rand(3))  # noqa: E711


@pytest.mark.parametrize("name", ["eq", "add", "mul", "maximum", "matmul", "pow", "dot", "minimum", "atan2", "mm", "logaddexp"])  # fmt: skip
def test_none_is_no_operand(name):
    with pytest.raises(TypeError, match=name):
        getattr(torch, name)(torch.ones(3), None)


def test_operators_decline_none(agree):
    for text in ("x + None", "x * None", "x ** None", "x @ None", "x < None", "x & None"):
        agree(lambda fl, x, text=text: eval(text), rand(3), raises=TypeError)


def test_sizes_that_numpy_counted(agree):
    n = np.int64(3)
    agree(lambda fl: [fl.zeros(n).shape, fl.empty(n, device=None, dtype=None).shape, fl.ones(2).new_zeros(n).shape, fl.rand(n).shape,
                      fl.ones(3).view(n).shape, fl.ones(3).expand(n, n).shape, fl.ones(3).repeat(n).shape, fl.full((n,), 1).shape])  # fmt: skip


def test_what_is_called_when_a_backward_pass_has_run(agree):
    def program(fl, x):
        said, engine = [], fl.autograd.Variable._execution_engine

        def hook(g):
            engine.queue_callback(lambda: said.append(leaf.grad.clone()))
            return g

        leaf = x.detach().requires_grad_()
        y = leaf * 2
        y.register_hook(hook)
        y.sum().backward()
        return said

    agree(program, rand(3), grads=0)
    agree(lambda fl: fl.autograd.Variable._execution_engine.queue_callback(print), raises=RuntimeError)


def test_products_of_bytes(agree):
    a, b = np.arange(-20, 12, dtype="i1").reshape(4, 8) * 4, np.arange(-20, 20, dtype="i1").reshape(8, 5) * 6
    agree(lambda fl, a, b: fl._int_mm(a, b), a, b)
    agree(lambda fl, a, b: fl._int_mm(a, b), a.view("u1"), b)
    agree(lambda fl, a, b: fl._int_mm(a, b, out=fl.zeros(4, 5, dtype=fl.int32)), a, b)
    for x, y in ((a.astype("i2"), b), (a, b.astype("f8")), (a[None], b), (a, b[:4])):
        agree(lambda fl, a, b: fl._int_mm(a, b), x, y, raises=RuntimeError, grads=0)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_scripts_contract_over_listed_dims(agree):
    def program(fl, x, m):
        @fl.jit.script
        def f(x: fl.Tensor, m: fl.Tensor, dim: int):
            return (
                fl.tensordot(x, m, ([dim], [1])),
                fl.tensordot(x, m, 1),
                fl.tensordot(x, m, dims=[[dim], [0]]),
                fl.tensordot(m, m),
            )

        return f(x, m, 1)

    agree(program, rand(2, 3), rand(3, 3))
    agree(lambda fl, x, m: fl.tensordot(x, m, ([1], [1])), rand(2, 3), rand(3, 3))


def test_classes_are_from_torch_where_flambeau_stands_in_for_it(tmp_path):
    import subprocess
    import sys

    text = """
import torch, pickle, io, copy
kinds = [torch.nn.Linear, torch.optim.Adam, torch.distributions.Normal, torch.utils.data.DataLoader, torch.nn.Parameter, torch.Tensor]
assert all(k.__module__.split(".")[0] == "torch" for k in kinds), [k.__module__ for k in kinds]
assert str(torch.nn.Linear) == "<class 'torch.nn.modules.linear.Linear'>"
layer = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LSTM(3, 2))
again = pickle.loads(pickle.dumps(layer))
assert type(again) is torch.nn.Sequential and torch.equal(again[0].weight, layer[0].weight)
file = io.BytesIO()
torch.save(layer, file); file.seek(0)
assert type(torch.load(file, weights_only=False)[1]) is torch.nn.LSTM
torch.jit.script(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)))(torch.ones(2, 2))
torch.compile(layer[0])(torch.ones(1, 2))
print(torch.fx.symbolic_trace(layer[0]).code.count("linear"))
"""
    (tmp_path / "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "flambeau", "run", str(tmp_path / "program.py")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_private_names():
    import importlib

    from flambeau.distributed.fsdp import MixedPrecision, ShardingStrategy
    from flambeau.utils._ordered_set import OrderedSet

    for name in (
        "utils.data._utils.signal_handling", "distributed.tensor.parallel", "_C._distributed_c10d", "utils._triton", "fx.experimental.symbolic_shapes",
        "jit.annotations", "multiprocessing.pool",
    ):  # fmt: skip
        importlib.import_module(f"flambeau.{name}")
    assert torch.jit.annotations.List and torch.functional.F is torch.nn.functional and not torch.has_cuda
    assert [s.name for s in ShardingStrategy][:2] == [
        "FULL_SHARD",
        "SHARD_GRAD_OP",
    ] and MixedPrecision().param_dtype is None
    assert list(OrderedSet([3, 1, 3]) | [2]) == [3, 1, 2] and OrderedSet([1, 2]).difference([1]) == OrderedSet([2])
    assert torch._C._get_cudnn_enabled() and torch._C.default_generator is torch.default_generator
    assert not torch.utils._triton.has_triton() and issubclass(torch._dynamo.exc.TorchRuntimeError, RuntimeError)
    with pytest.raises(AttributeError, match="no attribute"):
        torch.fx.nothing  # noqa: B018


def test_dead_workers_of_other_peoples_loaders_are_reported():
    import os
    import time

    from flambeau.utils.data._utils import signal_handling

    pid = os.fork()
    if not pid:
        os._exit(3)
    signal_handling._set_worker_pids(1, [pid])
    time.sleep(0.2)
    with pytest.raises(RuntimeError, match=f"DataLoader worker \\(pid {pid}\\) exited unexpectedly with exit code 3"):
        signal_handling._error_if_any_worker_fails()
    signal_handling._error_if_any_worker_fails()  # told once
    signal_handling._remove_worker_pids(1)
    os.waitpid(pid, 0)

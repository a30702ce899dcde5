"""What other people's libraries ask for: comparisons with None, sizes of NumPy's, the engine's callbacks, classes' modules, private names."""

import importlib
import warnings

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


def test_places_that_numpy_counted(agree):
    n, one = np.int64(2), np.int64(1)
    agree(
        lambda fl, x: [x.narrow(1, one, n), x.repeat_interleave(n, 1), x.hsplit(n), x.tensor_split(n), x.chunk(n)],
        rand(2, 4),
    )
    agree(lambda fl, x, w: [fl.nn.functional.conv2d(x, w, padding=one, stride=n), fl.nn.functional.max_pool2d(x, n)], rand(1, 2, 4, 4), rand(2, 2, 3, 3))  # fmt: skip


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
    with torch._subclasses.fake_tensor.unset_fake_temporarily() as mode:
        assert mode is None
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


def test_gradients_that_no_history_needs_may_have_any_shape(agree):
    def program(fl, x, needed):
        class Doubled(fl.autograd.Function):
            @staticmethod
            def forward(ctx, a, b):
                return a * 2

            @staticmethod
            def backward(ctx, g):
                return g * 2, fl.ones(7)

        return Doubled.apply(x, fl.ones(4, requires_grad=needed))

    agree(lambda fl, x: program(fl, x, False), rand(3))
    agree(lambda fl, x: program(fl, x, True).sum().backward(), rand(3), raises=RuntimeError, grads=0)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_scripts_call_partial_applications(agree):
    import functools

    def program(fl, x):
        doubled, logarithm = functools.partial(fl.add, alpha=2), functools.partial(fl.log)

        def f(x):
            return doubled(x, logarithm(x.abs()))

        return fl.jit.script(f)(x)

    agree(program, rand(3))


def test_older_forms_of_define_and_impl():
    space = torch.library.Library("asked_for", "DEF")

    @torch.library.define(space, "one(Tensor x) -> Tensor")
    def one(x):
        return x + 1

    space.define("two(Tensor x) -> Tensor")

    @torch.library.impl(space, "two", "CPU")
    def two(x):
        return x + 2

    torch.library.impl(space, "two", "Meta")(torch.empty_like)
    assert torch.ops.asked_for.one(torch.zeros(1)).item() == 1 and torch.ops.asked_for.two(torch.zeros(1)).item() == 2
    assert torch.ops.asked_for.two(torch.ones(2, device="meta")).shape == (2,)


def test_operators_whose_defaults_are_dtypes():
    @torch.library.custom_op("asked_for::cast", mutates_args=())
    def cast(x: torch.Tensor, dtype: torch.dtype = torch.float64, k: float = 2.0) -> torch.Tensor:
        return x.to(dtype) * k

    @torch.library.triton_op("asked_for::doubled", mutates_args=())
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    assert doubled(torch.ones(1)).item() == torch.ops.asked_for.doubled(torch.ones(1)).item() == 2
    assert cast(torch.ones(1)).dtype is torch.float64
    assert torch.ops.asked_for.cast(torch.ones(1), torch.int64, k=3.0).item() == 3


def test_facts_and_operators_by_private_names(agree):
    from flambeau import _prims_common as facts
    from flambeau._higher_order_ops.out_dtype import out_dtype

    assert facts.make_contiguous_strides_for((2, 3, 4)) == (12, 4, 1)
    assert facts.make_contiguous_strides_for((2, 3, 4), row_major=False) == (12, 1, 3)
    assert facts.suggest_memory_format(torch.ones(1, 2, 3, 3)) is torch.contiguous_format
    assert (
        facts.suggest_memory_format(torch.ones(1, 2, 3, 3).to(memory_format=torch.channels_last)) is torch.channels_last
    )
    a = torch.full((1, 2), 100, dtype=torch.int8)
    assert out_dtype(torch.ops.aten.mm.default, torch.int32, a, a.t()).item() == 20000
    agree(lambda fl, x: [fl.ops.aten.is_pinned(x), str(fl.ops.aten._pin_memory.default._schema)], rand(2), grads=0)


def test_collectives_as_operators():
    from flambeau import distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        ops, name, x = torch.ops._c10d_functional, dist.group.WORLD.group_name, torch.arange(4.0)
        for y in (ops.all_gather_into_tensor(x, 1, name), ops.all_reduce(x, "sum", name), ops.reduce_scatter_tensor(x, "sum", 1, name),
                  ops.broadcast(x, 0, name), torch.ops.c10d_functional.all_reduce(x, "sum", "", [0], 1)):  # fmt: skip
            assert torch.equal(ops.wait_tensor(y), x) and y is not x
        out = [torch.zeros(2)]
        torch.ops.c10d.scatter_(out, [[torch.ones(2)]], dist.group.WORLD, 0)
        assert torch.equal(out[0], torch.ones(2))
    finally:
        dist.destroy_process_group()


def test_the_cpu_by_a_number(agree):
    agree(
        lambda fl, x: [x.to("cpu:0"), x.to(fl.device("cpu", 0), fl.float64), x.to(fl.ones(1, device="cpu:0"))], rand(3)
    )
    agree(lambda fl, x: [x.to("cpu:0") is x, x.to("cpu") is x, str(x.to("cpu:0").device), str(fl.nn.Linear(1, 1).to("cpu:0").weight.device),
                         str(fl.ones(1, device="cpu:0").device), str(fl.Generator("cpu:0").device)], rand(3), grads=0)  # fmt: skip


def test_questions_about_tensors_are_operators(agree):
    """Subclasses find them in tables by operator: optimum-quanto by `aten.is_same_size`."""

    def program(fl):
        aten, x = fl.ops.aten, fl.ones(2, 3)
        asked = [
            ("is_same_size", x, x.t()), ("is_contiguous", x.t()), ("size", x), ("size", x, 1), ("stride", x.t()), ("numel", x), ("dim", x),
            ("is_leaf", x), ("output_nr", x), ("retains_grad", x), ("element_size", x), ("storage_offset", x[1]), ("is_set_to", x, x),
            ("is_signed", x), ("is_inference", x), ("is_neg", x), ("is_conj", x), ("is_complex", x), ("is_floating_point", x),
            ("fill_diagonal_", x.clone(), 3.0), ("requires_grad_", x.clone()), ("resize_as_", x.clone(), x.t()),
        ]  # fmt: skip
        return [
            (
                name,
                getattr(aten, name)(*args),
                [str(getattr(getattr(aten, name), o)._schema) for o in getattr(aten, name).overloads()],
            )
            for name, *args in asked
        ]

    agree(program)


def test_layouts_and_types_in_scripts(agree):
    """pypose compares layouts, torcheval casts by `type`."""

    def program(fl):
        def layouts(x):
            return x.layout == fl.sparse_bsr or x.layout == fl.sparse_csr, x.layout == fl.sparse_bsc

        def cast(x):
            return x.type(fl.float64), x.t().type(x.sum().dtype)

        def sizes(x):
            return fl.Size([2, 3]), x.reshape(fl.Size([1, 16]))

        def made(c, i, v):
            blocks = fl.sparse_bsr_tensor(c, i, v, size=(2, 4), dtype=v.dtype)
            same = fl.sparse_compressed_tensor(c, i, v, [2, 4], layout=fl.sparse_bsr)
            pairs = fl.sparse_coo_tensor(fl.stack([i, i]), fl.ones(1), (4, 4)).to_sparse_csr()
            return (
                blocks.to_dense(),
                same.to_dense(),
                same.layout == fl.sparse_bsr,
                pairs.to_dense(),
                fl.sparse_coo_tensor([2, 3]).to_dense(),
            )

        first, second = fl.jit.script(layouts), fl.jit.script(cast)
        x = fl.eye(4)
        others = fl.jit.script(sizes)(x), fl.jit.script(made)(fl.tensor([0, 1]), fl.tensor([1]), fl.ones(1, 2, 2))
        kinds = x, x.to_sparse_csr(), x.to_sparse_bsr((2, 2)), x.to_sparse_bsc((2, 2))
        return [first(k) for k in kinds], second(x.int()), others, second.code.partition(":\n")[2]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(program)


def test_the_older_vmap(agree):
    def program(fl, x):
        of = importlib.import_module(f"{fl.__name__}._vmap_internals")

        def slopes(v):
            return fl.autograd.grad(x.pow(3).sum(0), (x, unused), v, retain_graph=True, allow_unused=True)

        x, unused = x.requires_grad_(), fl.ones(2, requires_grad=True)
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            found = of.vmap(lambda a, b: a @ b, in_dims=(0, None))(x.detach(), fl.ones(3, dtype=x.dtype))
        return [
            found,
            of._vmap(lambda a: (a.sum(), a * 2), out_dims=(0, 1))(x.detach()),
            of._vmap(slopes, allow_none_pass_through=True)(fl.eye(3, dtype=x.dtype)),
            [(w.category.__name__, str(w.message)) for w in given],
        ]

    agree(program, rand(2, 3), grads=0)


def test_names_that_are_imported_and_not_used(agree):
    def program(fl):
        comm = importlib.import_module(f"{fl.__name__}.cuda.comm")
        elastic = importlib.import_module(f"{fl.__name__}.distributed.elastic.utils")
        ports = importlib.import_module(f"{fl.__name__}.distributed.elastic.utils.distributed")
        store = ports.create_c10d_store(True, "localhost")
        store.set("a", "b")
        with pytest.raises(ValueError, match="server_port must be specified"):
            ports.create_c10d_store(True, "localhost", world_size=2)
        with pytest.raises(ValueError, match="Environment variable NOT_THERE expected"):
            elastic.get_env_variable_or_raise("NOT_THERE")
        return [
            sorted(comm.__all__),
            elastic.macros.substitute(["--rank=${local_rank}", 3], "2"),
            1024 <= ports.get_free_port() < 65536,
            store.get("a"),
            importlib.import_module(f"{fl.__name__}.distributed.elastic.utils.logging").get_logger().name,
        ]

    agree(program)


def test_parts_of_the_functional_derivatives(agree):
    """torchmin builds its Jacobians from them."""

    def program(fl, x):
        of = fl.autograd.functional
        basis = of._construct_standard_basis_for((fl.ones(1), fl.ones(2, dtype=fl.float64), fl.ones(1)), (1, 2, 1))
        wrapped = [of._as_tuple(x, "inputs", "test"), of._as_tuple([x, x])]
        fresh = of._grad_preprocess((x.detach(), x), create_graph=False, need_graph=True)
        slopes = of._autograd_grad((x.exp().sum(), x.detach()), (x,), create_graph=True)
        return [
            basis, wrapped, [(t.requires_grad, t.is_leaf) for t in fresh], slopes,
            of._grad_postprocess(slopes, create_graph=False), of._grad_postprocess((slopes,), create_graph=False),
            of._tuple_postprocess((x,), False), of._tuple_postprocess((x,), True), of._tuple_postprocess(((x,), (x,)), (True, False)),
        ]  # fmt: skip

    agree(program, rand(3))
    agree(lambda fl: fl.autograd.functional._as_tuple((1,), "outputs", "test"), raises=TypeError)
    agree(lambda fl: fl.autograd.functional._as_tuple(1, "outputs", "test"), raises=TypeError)


def test_scripts_take_derivatives(agree):
    """torchmin's L-BFGS is a script that calls `torch.autograd.grad`; quantiles are operators there, too."""

    def program(fl, x):
        def slope(x):
            (g,) = fl.autograd.grad([x.pow(3).sum()], [x], create_graph=True)
            assert g is not None
            return g

        def through(x):
            y = x * 2.0
            y.sum().backward()
            fl.autograd.backward([x.exp().sum()])
            return fl.quantile(x, 0.3), x.nanquantile(fl.tensor([0.25, 0.75], dtype=x.dtype), dim=0)

        scripted = fl.jit.script(slope)
        leaf = x.detach().requires_grad_()
        found = fl.jit.script(through)(leaf)
        return scripted(x), leaf.grad, found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(program, rand(4))


def test_limits_of_pythons_types(agree):
    def program(fl):
        found = []
        for kind in (float, int, complex, bool, "x", 3):
            for ask in (fl.finfo, fl.iinfo):
                try:
                    found.append(repr(ask(kind)))
                except TypeError as error:
                    found.append(str(error))
        return found

    agree(program)


def test_states_of_wrapped_modules(agree):
    """torchtnt asks whether a module is wrapped."""

    def program(fl):
        of = importlib.import_module(f"{fl.__name__}.distributed._composable_state")
        kind = importlib.import_module(f"{fl.__name__}.distributed.fsdp._common_utils")._FSDPState
        net, state = fl.nn.Linear(2, 2), of._State()
        found = [of._get_module_state(net), issubclass(kind, of._State)]
        of._insert_module_state(net, state)
        found.append(of._get_module_state(net) is state)
        try:
            of._insert_module_state(net, state)
        except AssertionError as error:
            found.append(str(error))
        del state
        try:
            of._get_module_state(net)
        except AssertionError as error:
            found.append(str(error))
        return found

    agree(program)


def test_the_folder_of_compiled_code_is_known():
    from flambeau._inductor import codecache

    assert isinstance(codecache.cache_dir(), str)


PINNED = {
    "tensor": lambda fl: fl.ones(2).pin_memory(),
    "cpu": lambda fl: fl.ones(2).pin_memory("cpu"),
    "zeros": lambda fl: fl.zeros(2, pin_memory=True),
    "data": lambda fl: fl.tensor([1.0], pin_memory=True),
    "packed": lambda fl: fl.nn.utils.rnn.pack_padded_sequence(fl.ones(3, 2, 1), [3, 2]).pin_memory(),
    "list": lambda fl: fl.utils.data._utils.pin_memory.pin_memory([fl.ones(2)]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PINNED)
def test_nothing_is_pinned_without_an_accelerator(agree, name):
    agree(PINNED[name], grads=0, raises=RuntimeError)


def test_objects_and_calls_of_the_core(agree):
    def program(fl):
        rpc = fl._C._distributed_rpc
        names = (
            "PyRRef",
            "RemoteProfilerManager",
            "RpcAgent",
            "RpcBackendOptions",
            "TensorPipeAgent",
            "WorkerInfo",
            "get_rpc_timeout",
        )
        return isinstance(3, fl.ScriptObject), fl.ScriptObject is fl._C.ScriptObject, [hasattr(rpc, n) for n in names], rpc._DEFAULT_RPC_TIMEOUT_SEC  # fmt: skip

    agree(program, grads=0)
    agree(lambda fl: fl.ScriptObject(), grads=0, raises=TypeError)


def test_signatures_of_functions_with_overloads():
    """array_api_compat wraps `torch.divide` and is asked by `inspect` how it is called; so is `help`."""
    import inspect

    shown = {
        name: str(inspect.signature(getattr(torch, name)))
        for name in ("divide", "div_", "median", "where", "max", "sort")
    }
    assert shown == {
        "divide": "(input, other, *, rounding_mode=None, out=None)",
        "div_": "(input, other, *, rounding_mode=None)",
        "median": "(input, dim=None, keepdim=False, *, out=None)",
        "where": "(condition, input=None, other=None, *, out=None)",
        "max": "(*args: 'Any', **kwargs: 'Any') -> 'Any'",  # `max(x, dim)` and `max(x, y)`: no one signature has both
        "sort": "(input, dim=-1, descending=False, *, stable=None, out=None)",
    }
    assert str(inspect.signature(torch.ones(2).div)) == "(other, *, rounding_mode=None)"


def test_every_name_is_made():
    """Functions and methods are made when they are first asked for: here, all of them."""
    from flambeau._eager import names
    from flambeau._operators import load
    from flambeau._operators.op import METHODS, NAMES

    load()
    for namespace, known in NAMES.items():
        assert all(callable(names.public(name, namespace)) for name in list(known))
    assert all(callable(names.method(name)) for name in list(METHODS))


def test_operators_by_their_inner_names(agree):
    agree(lambda fl, x: (fl._softmax(x, 1, False), fl._log_softmax(x, 0, False), fl._is_all_true(x > -5), fl._prelu_kernel(x, x[0])), rand(3, 4))  # fmt: skip


def test_functions_kept_out_of_graphs(agree):
    def program(fl, x):
        calls = []

        @fl._disable_dynamo
        def plain(x):
            """What it says."""
            calls.append(fl.compiler.is_compiling())
            return x.sin()

        @fl._disable_dynamo(recursive=False)
        def other(x):
            return x.cos()

        return (
            fl.compile(lambda x: plain(x) + other(x), backend="eager")(x.detach()),
            calls,
            plain.__name__,
            plain.__doc__,
        )

    agree(program, rand(3))


def test_everything_may_be_imported_by_a_star(agree):
    def program(fl):
        scope = {"copy": 1, "index": 2, "math": 3}
        exec(f"from {fl.__name__} import *", scope)
        wanted = ("Tensor", "FloatTensor", "LongStorage", "randn", "tensor", "arange", "relu", "relu_", "einsum", "stack", "float32", "bool", "device", "dtype",
                  "no_grad", "manual_seed", "save", "load", "vmap", "compile", "cond", "inf", "pi", "is_tensor", "Generator", "Size", "svd", "matmul",
                  "conv2d", "lstm", "autocast", "set_printoptions", "where", "export", "sym_max", "enable_grad", "UntypedStorage", "typename")  # fmt: skip
        others = ("nn", "optim", "linalg", "copy", "index", "math", "annotations", "sys", "slice_backward", "fx")
        known = [scope.get(n) is getattr(fl, n) for n in wanted]
        return known, [type(scope.get(n)).__name__ for n in others], [n in fl.__all__ for n in (*wanted, *others)]

    agree(program)


def test_methods_are_listed_before_any_was_called():
    """Libraries wrap every method that the class lists; what makes methods on demand is none."""
    import subprocess
    import sys

    ask = "import flambeau as t; n = dir(t.Tensor); print('svd' in n, 'add_' in n, '__getattr__' in n, '__getattr__' in dir(t.ones(1)))"
    found = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["True", "True", "False", "False"]


def test_no_gradient_goes_through_the_norms_of_weight_norm(agree):
    agree(lambda fl, v: [x.requires_grad for x in fl._weight_norm_interface(v, v[:, :1])], rand(3, 4))

"""What whole programs met: classes that answer for their elements, operators that modes see, traces through classes that are no tensors, plans and schemas."""

import typing
from importlib import import_module

import pytest


def wrapper(fl, seen):
    class Wrapped(fl.Tensor):
        @staticmethod
        def __new__(cls, inside):
            return fl.Tensor._make_wrapper_subclass(cls, inside.shape, dtype=inside.dtype)

        def __init__(self, inside):
            self.inside = inside

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*[a.inside if isinstance(a, Wrapped) else a for a in args])

    return Wrapped


@pytest.mark.parametrize("text", ["bool(w)", "int(w)", "w.item()", "[1, 2, 3, 4, 5][i]", "list(range(i))", "w.is_nonzero()", "fl.is_nonzero(w)", "complex(w)",
                                  "3.0 in w", "w.tolist()"])  # fmt: skip
def test_wrappers_answer_for_their_elements(agree, text):
    def program(fl):
        seen = []
        cls = wrapper(fl, seen)
        w, i = cls(fl.tensor(3.0)), cls(fl.tensor(2))
        try:
            return [repr(eval(text, {"fl": fl, "w": w, "i": i})), seen]
        except RuntimeError as error:
            return str(error)

    agree(program)


def test_modes_see_new_tensors(agree):
    def program(fl):
        seen = []

        class See(import_module(f"{fl.__name__}.utils._python_dispatch").TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                seen.append(str(func))
                return func(*args, **(kwargs or {}))

        import numpy as np

        with See():
            fl.tensor([1.0, 2.0], requires_grad=True)
            fl.as_tensor([1, 2])
            fl.from_numpy(np.ones(2))
            fl.zeros(2).new_tensor([3.0])
            bool(fl.tensor(True))
        return seen

    agree(program)


@pytest.mark.filterwarnings("ignore")
def test_traces_go_through_classes_that_are_no_tensors(agree):
    class Quantized(typing.NamedTuple):
        value: typing.Any
        scale: typing.Any

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            def plain(x):
                return x.value * x.scale if isinstance(x, cls) else [plain(y) for y in x] if type(x) is list else x

            return func(*map(plain, args), **(kwargs or {}))

    def program(fl):
        def f(x):
            q = Quantized(x, fl.tensor(2.0))
            return fl.nn.functional.linear(q, fl.ones(3, 4)) + fl.cat([q, q]).sum()

        traced = fl.jit.trace(f, fl.ones(2, 4))
        kinds = [n.kind() for n in traced.graph.nodes()]
        return [
            traced(fl.full((2, 4), 3.0)),
            kinds.count("aten::linear"),
            kinds.count("aten::cat"),
            kinds.count("aten::mul"),
        ]

    agree(program)


def test_ranges_of_profiles_by_handles(agree):
    def program(fl):
        with import_module(f"{fl.__name__}.profiler").profile(activities=[fl.profiler.ProfilerActivity.CPU]) as p:
            handle = fl.ops.profiler._record_function_enter("range", None)
            fl.ones(3).add(1)
            fl.ops.profiler._record_function_exit(handle)
        return [
            handle.dtype,
            [e.key for e in p.key_averages() if e.key == "range"],
            fl.ops.profiler._record_function_exit.overloads(),
        ]

    agree(program)


def test_schemas_and_registries(agree):
    def program(fl):
        fl._C._jit_clear_class_registry()
        import_module(f"{fl.__name__}.jit._recursive").ConcreteTypeStore()
        return [
            type(fl.ops.aten.add.Tensor._schema) is fl._C.FunctionSchema,
            isinstance(fl.ops.aten.add.Tensor._schema.arguments[0], fl._C.Argument),
        ]

    agree(program)


@pytest.mark.filterwarnings("ignore")
def test_blocks_as_kernels_take_them(agree):
    def program(fl):
        m = import_module(f"{fl.__name__}.sparse._triton_ops")
        a = fl.arange(48.0).reshape(2, 4, 6)
        b = a[0].to_sparse_bsr((2, 3))
        try:
            m.broadcast_batch_dims("f", fl.ones(2, 3, 3), fl.ones(3, 3, 3))
        except ValueError as error:
            wrong = str(error)
        return [
            wrong,
            list(m.broadcast_batch_dims("f", fl.ones(2, 3, 3), fl.ones(5, 1, 3, 3))),
            m.tile_to_blocksize(a, (2, 3)),
            list(m.prepare_inputs(b, fl.ones(5, 6, 2))),
            list(m.broadcast_batch_dims_bsr("f", b, fl.ones(3, 6, 2)).shape),
            [m.as1Dbatch(fl.ones(s)).shape for s in ((4, 5), (2, 3, 4, 5), (2, 3, 4))],
            [x if isinstance(x, int) else x.shape for x in m.ptr_stride_extractor(a, a.mT)],
        ]

    agree(program)


@pytest.mark.parametrize(
    "text",
    [
        "m.ColwiseParallel()", "m.RowwiseParallel(input_layouts=Replicate(), use_local_output=False)", "m.SequenceParallel(sequence_dim=2)",
        "m.PrepareModuleInput(input_layouts=(Shard(0),), desired_input_layouts=(Replicate(),))", "m.ParallelStyle()",
        "m.PrepareModuleInput(input_layouts=(Shard(0),), desired_input_layouts=(Replicate(), None))",
        "m.PrepareModuleOutput(output_layouts=Shard(0), desired_output_layouts=Replicate())",
        "m.PrepareModuleInputOutput(input_layouts=(Shard(0),), desired_input_layouts=(Replicate(),), output_layouts=Shard(0), desired_output_layouts=Replicate())",
        "m.PrepareModuleInput(input_kwarg_layouts={'a': Shard(1)}, desired_input_kwarg_layouts={'a': Replicate()})",
    ],
)  # fmt: skip
def test_plans_for_several_ranks_are_described(agree, text):
    def program(fl):
        m = import_module(f"{fl.__name__}.distributed.tensor.parallel.style")
        from_ = import_module(f"{fl.__name__}.distributed.tensor")
        try:
            return repr(eval(text, {"m": m, "Shard": from_.Shard, "Replicate": from_.Replicate}))
        except (AssertionError, TypeError) as error:
            return f"{type(error).__name__}: {error}"

    agree(program)


@pytest.mark.parametrize("text", ["x.sin()", "x.exp()", "x * x", "x / w", "x.softmax(0)", "x.sigmoid()", "x.relu()", "x.expand(2, 3)", "x.tanh()", "x.log()",
                                  "x.clamp(0, 1)", "fl.where(x > 0, x, 2.0)", "w.t()", "x.sqrt()"])  # fmt: skip
def test_what_nodes_save_can_be_looked_at(agree, text):
    def program(fl):
        x, w = fl.tensor([0.5, -1.0, 2.0], requires_grad=True), fl.ones(3, 3, requires_grad=True)
        node = eval(text, {"fl": fl, "x": x, "w": w}).grad_fn
        saved = {n: getattr(node, n) for n in sorted(dir(node)) if n.startswith("_saved_")}
        return [
            (n, v.detach(), v.grad_fn.name() if v.grad_fn else "") if isinstance(v, fl.Tensor) else (n, v)
            for n, v in saved.items()
        ]

    agree(program)


def test_what_nodes_saved_is_gone_after_backward(agree):
    def program(fl, after):
        y = fl.ones(2, requires_grad=True).exp()
        same = y.grad_fn._saved_result.equal(y)
        y.sum().backward()
        return same, getattr(y.grad_fn, after)

    agree(lambda fl: program(fl, "_saved_result"), raises=RuntimeError)
    agree(lambda fl: program(fl, "_saved_other"), raises=AttributeError)


@pytest.mark.filterwarnings("ignore")
def test_graphs_for_inference(agree):
    def program(fl):
        m = import_module(f"{fl.__name__}.fx.experimental.optimization")
        nn = fl.nn
        net = nn.Sequential(
            nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4)
        ).eval()
        x = fl.arange(16.0).reshape(2, 2, 2, 2)
        fused = m.fuse(net)
        bare = m.remove_dropout(net.train())
        nodes = list(fused.graph.nodes)
        part = m.extract_subgraph(fused, nodes[3:5], [nodes[2]], [nodes[4]])
        return [
            fused(x),
            fused.code,
            fl.allclose(fused(x), net.eval()(x), atol=1e-5),
            bare.code,
            part.code,
            m.fuse(fused, no_trace=True).code,
        ]

    agree(program)


def test_code_names_the_types_of_arguments(agree):
    def program(fl):
        def f(x, w=None, d=fl.float32, n=None):
            return x + 1

        f.__annotations__ = {
            "x": fl.Tensor,
            "w": fl.nn.Parameter,
            "d": fl.dtype,
            "n": fl.Size,
            "return": fl.Tensor,
        }
        return fl.fx.symbolic_trace(f).code

    agree(program)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad"])
def test_optimizers_get_a_state_without_a_step(agree, name):
    def program(fl):
        start = import_module(f"{fl.__name__}.distributed.checkpoint.state_dict")._init_optim_state
        p = fl.nn.Parameter(fl.ones(3))
        optimizer = getattr(fl.optim, name)([p], lr=0.5)
        start(optimizer)
        first = len(optimizer.state), p.detach().clone(), p.grad is None, optimizer.param_groups[0]["lr"]
        p.sum().backward()
        start(optimizer)
        return [*first, {k: v.clone() for k, v in optimizer.state[p].items() if isinstance(v, fl.Tensor)}, p.grad]

    agree(program)


def test_what_is_known_of_spread_tensors(agree):
    def program(fl):
        m = import_module(f"{fl.__name__}.distributed.tensor._dtensor_spec")
        t = import_module(f"{fl.__name__}.distributed.tensor")
        fsdp = import_module(f"{fl.__name__}.distributed._composable.fsdp")
        meta = m.TensorMeta(fl.Size((4, 6)), (6, 1), fl.float32)
        spec = m.DTensorSpec(None, (t.Replicate(), t.Shard(1)), meta) if fl.__name__ == "flambeau" else None
        assert spec is None or (
            spec.dim_map == [-1, 1] and spec.is_sharded() and not spec.is_replicated() and spec.ndim == 2
        )
        return [
            tuple(meta.shape),
            meta.stride,
            repr(fsdp.CPUOffloadPolicy()),
            repr(fsdp.MixedPrecisionPolicy(param_dtype=None)),
        ]

    agree(program)


def test_profiles_by_the_names_of_the_core(agree):
    def program(fl):
        core = fl._C._profiler
        config = core._ExperimentalConfig(verbose=True, custom_profiler_config="a")
        with fl.profiler.profile(activities=[core.ProfilerActivity.CPU], experimental_config=config) as p:
            fast = core._RecordFunctionFast("fast")
            for _ in range(2):
                with fast:
                    fl.ones(3).add(1)
        return [
            config.custom_profiler_config,
            config.trace_only,
            [e.count for e in p.key_averages() if e.key == "fast"],
        ]

    agree(program)


@pytest.mark.filterwarnings("ignore")
def test_parts_of_nested_tensors_with_holes_are_a_tuple(agree):
    def program(fl):
        t = fl.nested.narrow(
            fl.arange(24.0).reshape(3, 8), 1, fl.tensor([0, 2, 1]), fl.tensor([3, 4, 2]), layout=fl.jagged
        )
        return [type(t.unbind()).__name__, *t.unbind()]

    agree(program)

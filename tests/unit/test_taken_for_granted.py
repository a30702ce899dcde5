"""Names that libraries take for granted: conditions, devices that are not there, functions as operators, dtypes by Python's types."""

import dataclasses
import importlib
import subprocess
import sys

import pytest

import flambeau as torch
from tests.agree import rand


def test_types_of_scripts_and_switches(agree):
    agree(lambda fl: [str(fl.TensorType.get()), str(fl.DeviceObjType.get()), isinstance(fl.IntType.get(), fl.IntType),
                      isinstance(fl.IntType.get(), fl.TensorType), isinstance(fl.ListType(fl.IntType.get()), fl.ListType),
                      repr(fl.ListType(fl.IntType.get())), repr(fl.OptionalType(fl.FloatType.get())),
                      fl._C._jit_set_profiling_executor(True), fl._C._jit_can_fuse_on_gpu()])  # fmt: skip


def test_older_names_of_operators(agree):
    agree(
        lambda fl, x: [fl._cast_Double(x), fl._cast_Float(x), fl._reshape_from_tensor(x, fl.tensor([3, 2]))], rand(2, 3)
    )
    agree(lambda fl, x: [fl._shape_as_tensor(x), fl._cast_Long(x), fl._shape_as_tensor(x[0, 0])], rand(2, 3), grads=0)
    agree(lambda fl, x, w: fl.ops.aten._convolution(x, w, None, [1, 1], [1, 0], [1, 1], True, [0, 0], 1, False, False, True, True), rand(1, 2, 3, 3), rand(2, 2, 2, 2))  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_old_types_of_sparse_tensors(agree):
    def program(fl, v):
        made = fl.sparse.FloatTensor(fl.tensor([[0, 1], [1, 0]]), v, fl.Size((2, 3)))
        return [made.to_dense(), isinstance(made, fl.sparse.FloatTensor), isinstance(made.double(), fl.sparse.FloatTensor),
                isinstance(v, fl.sparse.FloatTensor), fl.sparse.DoubleTensor(2, 3).to_dense(), fl.sparse.LongTensor(fl.tensor([[1]]), fl.tensor([2])).to_dense()]  # fmt: skip

    agree(program, rand(2), grads=0)


def test_modules_that_libraries_ask_for():
    import flambeau._inductor.config as config
    from flambeau.cuda.amp.common import amp_definitely_not_available
    from flambeau.distributed.autograd import context, is_available
    from flambeau.onnx import OperatorExportTypes, TensorProtoDataType, TrainingMode, operators
    from flambeau.profiler.profiler import ProfilerAction, _default_schedule_fn
    from flambeau.torch_version import TorchVersion

    assert amp_definitely_not_available() and not torch.cuda._initialized and TorchVersion("1.2") < "1.10"
    assert _default_schedule_fn(7) is ProfilerAction.RECORD and not is_available()
    assert (OperatorExportTypes.ONNX, TrainingMode.TRAINING, TensorProtoDataType.FLOAT) == (0, 2, 1)
    assert str(TrainingMode.EVAL) == "TrainingMode.EVAL"
    assert operators.shape_as_tensor(torch.ones(2, 3)).tolist() == [2, 3]
    with pytest.raises(NotImplementedError, match="context"), context():
        pass
    with config.patch({"max_autotune": True, "triton.unique_kernel_names": False}):
        assert config.max_autotune and not config.triton.unique_kernel_names
    assert not config.max_autotune and config.triton.unique_kernel_names
    with pytest.raises(RuntimeError, match="is now removed"):
        torch.symeig(torch.eye(2))


@pytest.mark.parametrize("kind", [int, float, bool, complex])
def test_python_types_are_dtypes(agree, kind):
    agree(lambda fl, x: [fl.zeros(2, dtype=kind), fl.tensor(1, dtype=kind), x.to(kind), x.new_zeros(3, dtype=kind), x.sum(dtype=kind),
                             fl.full((2,), 1, dtype=kind), fl.as_tensor([1, 0], dtype=kind), x.to("cpu", kind)], rand(3), grads=0)  # fmt: skip


def test_python_types_are_dtypes_here_too(agree):
    agree(
        lambda fl, x: [
            fl.arange(3, dtype=int),
            x.cumsum(0, dtype=int),
            fl.randint(0, 9, (2,), dtype=float).dtype is fl.float64,
            x.view(int),
        ],
        rand(4, dtype="float64"),
        grads=0,
    )


GROUPS = [((8, 16), (3, 16, 12)), ((3, 4, 16), (16, 8)), ((5, 8), (8, 4)), ((3, 4, 16), (3, 16, 8))]


@pytest.mark.parametrize(("a", "b"), GROUPS)
def test_products_of_groups(agree, a, b):
    ends = None if len(a) == len(b) == 3 else [2, 2, 8]

    def product(fl, x, y):
        offs = None if ends is None else fl.tensor(ends, dtype=fl.int32)
        return fl.nn.functional.grouped_mm(x, y, offs=offs)

    agree(product, rand(*a, dtype="float32"), rand(*b, dtype="float32"))


@pytest.mark.parametrize("wrong", ["offsets", "long", "double", "inner", "groups", "bias", "rank"])
def test_products_of_groups_refuse(agree, wrong):
    def product(fl, x, y):
        offs = fl.tensor([2, 5, 8], dtype=fl.int64 if wrong == "long" else fl.int32)
        x = x.double() if wrong == "double" else x[:, :8] if wrong == "inner" else x[0] if wrong == "rank" else x
        offs = None if wrong == "offsets" else offs[:2] if wrong == "groups" else offs
        return fl._grouped_mm(x, y, offs=offs, bias=fl.ones(12) if wrong == "bias" else None)

    agree(product, rand(8, 16, dtype="float32"), rand(3, 16, 12, dtype="float32"), raises=RuntimeError)


@pytest.mark.parametrize("name", ["", "_index", "_value", "_type", "_not_implemented", "_tensor_all"])
def test_checks(agree, name):
    errors = {"_index": IndexError, "_value": ValueError, "_type": TypeError, "_not_implemented": NotImplementedError}

    def check(fl, x, holds, message):
        cond = fl.tensor([holds, True]) if name == "_tensor_all" else holds
        getattr(fl, "_check" + name)(cond, message)
        return x

    agree(lambda fl, x: check(fl, x, True, None), rand(1))
    for message in (None, lambda: "said so"):
        agree(
            lambda fl, x, message=message: check(fl, x, False, message), rand(1), raises=errors.get(name, RuntimeError)
        )
    agree(lambda fl, x: getattr(fl, "_check" + name)("no"), rand(1), raises=TypeError)


def test_associative_scan(agree):
    def scan(fl, x, y, dim=0, reverse=False):
        from importlib import import_module

        f = import_module(fl.__name__ + "._higher_order_ops.associative_scan").associative_scan

        def combine(a, b):
            return a[0] * b[0], a[1] * b[0] + b[1]

        return list(f(combine, (x, y), dim, reverse, "generic"))

    for n in (1, 2, 3, 4, 7, 8):
        agree(scan, rand(n, 3), rand(n, 3), grads=1)
    agree(lambda fl, x, y: scan(fl, x, y, 1, True), rand(2, 5), rand(2, 5))


@pytest.mark.parametrize("call", [
    lambda od, ops, x, t: od(ops.mul.Tensor, t.int32, x, x), lambda od, ops, x, t: od(ops.mm.default, t.int32, x, x),
    lambda od, ops, x, t: od(ops.div.Scalar, t.float32, x, 3), lambda od, ops, x, t: od(ops.linear.default, t.int64, x, x, x[0]),
])  # fmt: skip
def test_out_dtype(agree, call):
    def program(fl):
        from importlib import import_module

        od = import_module(fl.__name__ + "._higher_order_ops.out_dtype").out_dtype
        return call(od, fl.ops.aten, fl.full((2, 2), 100, dtype=fl.int8), fl)

    agree(program)


def test_functions_as_operators():
    from flambeau._higher_order_ops import map, scan

    x = torch.arange(6.0).view(3, 2).requires_grad_()
    assert torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,)).equal(x + 1)
    assert (
        torch.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, s * 2), (torch.tensor(0), torch.tensor(1)))[1].item()
        == 8
    )
    last, all_of_them = scan(lambda s, row: (s + row, s * row), x.new_ones(2), x, reverse=True)
    assert last.tolist() == [7, 10]
    assert all_of_them.shape == (3, 2)
    assert map(lambda row, y: row.sum() * y, x, torch.tensor(2.0)).tolist() == [2, 10, 18]
    with pytest.raises(RuntimeError, match="bool or tensor"):
        torch.cond("yes", lambda: 1, lambda: 2)


@pytest.mark.parametrize(("text", "error"), [
    ("cuda.CUDAGraph()", RuntimeError), ("cuda.Event()", RuntimeError), ("cuda.Stream()", RuntimeError), ("cuda.graph(None)", RuntimeError),
    ("cuda.FloatTensor(2)", TypeError), ("cuda.nvtx.range_push('a')", RuntimeError), ("cuda.profiler.start()", AssertionError),
    ("cuda.cudart()", AssertionError), ("mps.empty_cache()", RuntimeError), ("mps.get_rng_state()", RuntimeError),
    ("xpu.mem_get_info()", AssertionError), ("accelerator.memory_allocated()", RuntimeError), ("classes.some.Thing", RuntimeError),
    ("Stream().record_event()", RuntimeError), ("Event().elapsed_time(torch.Event())", ValueError),
    ("_assert_async(torch.tensor(0))", RuntimeError), ("get_device_module(1.0)", RuntimeError), ("_utils._get_device_index('cpu')", ValueError),
])  # fmt: skip
def test_devices_that_are_not_there(agree, text, error):
    agree(lambda fl, x: eval("torch." + text, {"torch": fl}), rand(1), raises=error)


def test_what_devices_answer_when_there_are_none():
    assert not isinstance(torch.ones(1), torch.cuda.FloatTensor)
    assert torch.cuda.default_generators == ()
    assert not torch.mps.is_available()
    assert not torch.mtia.is_available()
    assert torch.xpu.memory_allocated() == 0
    assert torch.get_device_module() is torch.cpu
    assert torch.Stream().query()
    assert torch.Event("cpu").query()
    assert torch.distributed.is_available()
    assert not torch.distributed.is_initialized()
    assert "NumPy" in torch.__config__.show()
    with torch.cuda.StreamContext(None):
        pass


def test_names_for_packed_data():
    assert torch.uint4.itemsize == 1
    assert repr(torch.bits1x8) == "torch.bits1x8"
    assert torch.ones(4, dtype=torch.uint8).view(torch.uint4).view(torch.uint8).sum() == 4


def _into(x, y):
    z = torch.empty_like(x)
    torch.mul(x, y, out=z)
    return torch.addcmul(z, x, y, value=2, out=z).sum(dim=0)


def test_scripts_write_into_tensors():
    assert torch.jit.script(_into)(torch.ones(2, 2), torch.full((2, 2), 3.0)).tolist() == [18, 18]


def test_what_users_hang_on_tensors():
    import copy
    import pickle

    p = torch.nn.Parameter(torch.ones(2))
    assert p.__dict__ == {}
    p.mark = 3
    p.__dict__["other"] = 4
    assert vars(p) == {"mark": 3, "other": 4} == copy.deepcopy(p.__dict__)
    assert p.other == 4
    assert pickle.loads(pickle.dumps(p)).mark == 3
    p.__dict__ = {"new": 1}
    assert not hasattr(p, "mark")
    assert p.new == 1
    assert p.tolist() == [1, 1]


class _Mixin:
    pass


class _Mixed(_Mixin, torch.Tensor):
    pass


def test_what_users_hang_on_tensors_of_mixed_classes():
    t = torch.ones(2).as_subclass(_Mixed)
    assert t.__dict__ == {}
    t.__dict__ = {"k": 1}
    assert (t + 1).tolist() == [2, 2]


def test_archives_by_record(tmp_path):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "a.pt")
    reader = torch.PyTorchFileReader(str(tmp_path / "a.pt"))
    assert reader.has_record("data.pkl")
    assert not reader.has_record("data/9")
    assert reader.get_storage_from_record("data/0", 3, torch.float32).tolist() == [0, 1, 2]
    assert reader.get_storage_from_record("data/0", 12, torch.UntypedStorage).shape == (12,)
    with pytest.raises(RuntimeError, match="record size"):
        reader.get_storage_from_record("data/0", 4, torch.float32)


def test_keys_of_dispatch():
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU) | torch._C.DispatchKeySet(
        torch._C.DispatchKey.AutocastCUDA
    )
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype is torch.bfloat16
        with torch._C._ExcludeDispatchKeyGuard(keys):
            assert (x @ x).dtype is torch.float32
        assert (x @ x).dtype is torch.bfloat16
    assert keys.has(torch._C.DispatchKey.AutocastCPU)


def test_modules_as_functions_of_their_parameters():
    from flambeau._functorch import make_functional as older

    models = [torch.nn.Linear(2, 3) for _ in range(4)]
    x = torch.randn(5, 2)
    f, params = older.make_functional(models[0])
    assert torch.equal(f(params, x), models[0](x))
    fs, stacked, buffers = older.combine_state_for_ensemble(models)
    out = torch.vmap(lambda p, b: fs(p, b, x))(stacked, buffers)
    assert torch.allclose(out[2], models[2](x))


def test_batched_tensors_by_their_parts():
    from flambeau._functorch.vmap import (
        _add_batch_dim,
        _maybe_remove_batch_dim,
        _vmap_decrement_nesting,
        _vmap_increment_nesting,
    )

    x = torch.arange(6.0).view(2, 3)
    level = _vmap_increment_nesting(3, "error")
    try:
        inside = _add_batch_dim(x, 1, level)
        assert torch._C._functorch.is_batchedtensor(inside)
        assert inside.shape == (2,)
        out = _maybe_remove_batch_dim("f", inside.sum(), level, 3, 0)
    finally:
        _vmap_decrement_nesting()
    assert out.tolist() == [3, 5, 7]


def test_vmap_goes_through_parts_that_a_library_put_in_place(monkeypatch):
    """tensordict maps over its dictionaries, which are no trees, by functions of its own in this module."""
    from flambeau._functorch import vmap as parts

    class Bag:
        def __init__(self, x):
            self.x = x

    def process(in_dims, args, func):
        return args[0].x.shape[0], list(in_dims), list(args), None

    def create(dims, args, level, spec):
        return [a if d is None else Bag(parts._add_batch_dim(a.x, d, level)) for a, d in zip(args, dims, strict=True)]

    def unwrap(out, out_dims, level, size, func):
        return Bag(parts._maybe_remove_batch_dim("f", out.x, level, size, out_dims))

    monkeypatch.setattr(parts, "_process_batched_inputs", process)
    monkeypatch.setattr(parts, "_create_batched_inputs", create)
    monkeypatch.setattr(parts, "_unwrap_batched", unwrap)
    found = torch.vmap(lambda bag, y: Bag((bag.x * y).sum()), in_dims=(0, None))(
        Bag(torch.ones(2, 3)), torch.arange(3.0)
    )
    assert type(found) is Bag
    assert found.x.tolist() == [3, 3]


def test_operators_whose_arguments_have_any_name():
    @torch.library.custom_op("taken_for_granted::attend", mutates_args=())
    def attend(q: torch.Tensor, k: torch.Tensor, run: torch.Tensor, self: torch.Tensor) -> torch.Tensor:
        return q + k * run

    assert attend(torch.ones(1), torch.ones(1) * 2, torch.ones(1) * 3, torch.ones(1)).item() == 7


@dataclasses.dataclass
class _Pair:
    x: torch.Tensor
    n: int = 2

    def total(self) -> torch.Tensor:
        return self.x * self.n


def _total(x):
    return _Pair(x, 3).total() + _Pair(x).n


def test_scripts_make_dataclasses():
    assert torch.jit.script(_total)(torch.ones(2)).tolist() == [5, 5]


def test_numpy_where_no_gradient_is_recorded(agree):
    def array(fl, x):
        with fl.no_grad():
            return fl.from_numpy(x.numpy().copy())

    agree(array, rand(3), grads=0)
    agree(lambda fl, x: fl.nn.Parameter(x).numpy(), rand(3), grads=0, raises=RuntimeError)


def test_short_names_of_dtypes(agree):
    names = (
        "bool",
        "uint8",
        "int8",
        "int64",
        "uint64",
        "float16",
        "bfloat16",
        "float32",
        "complex64",
        "complex128",
        "float8_e4m3fn",
        "quint8",
    )
    agree(lambda fl: [getattr(fl, n).abbr for n in names])


def test_storages_of_absent_devices(agree):
    agree(lambda fl: fl.ones(2).untyped_storage().is_hpu)
    agree(lambda fl: fl.ones(2).untyped_storage().hpu(), raises=AssertionError)
    agree(lambda fl: fl.ones(2).untyped_storage().mps(), raises=RuntimeError)


def test_checks_of_gradients_by_their_module(agree):
    """`torch.autograd.gradcheck` is a function and a module that can be imported from."""

    def program(fl):
        module = importlib.import_module(f"{fl.__name__}.autograd.gradcheck")
        x = fl.arange(3, dtype=fl.float64, requires_grad=True)
        with pytest.raises(module.GradcheckError):
            module.gradcheck(lambda x: x.detach() + x.sin() * x.detach(), (x,))
        return [module.gradcheck is fl.autograd.gradcheck, module.gradgradcheck is fl.autograd.gradgradcheck, callable(fl.autograd.gradcheck),
                module.gradcheck(fl.sin, (x,)), module.gradgradcheck(fl.sin, (x,)), fl._C._jit_set_autocast_mode(True)]  # fmt: skip

    agree(program)


@pytest.mark.parametrize("package", ["_dynamo", "_inductor"])
def test_switches_of_compilation_ahead_of_time_come_with_the_compiler(package):
    program = f"import flambeau as torch; import flambeau.{package}.config; torch._functorch.config.enable_autograd_cache = True"
    subprocess.run([sys.executable, "-c", program], check=True)

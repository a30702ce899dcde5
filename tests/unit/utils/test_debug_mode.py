"""`DebugMode`: texts of what ran."""

import pytest

from tests.agree import rand


def _mode(fl):
    import importlib

    return importlib.import_module(f"{fl.__name__}.utils._debug_mode").DebugMode


def test_operators_are_told(agree):
    def run(fl, x, w):
        mode = _mode(fl)(record_ids=True, record_tensor_attributes=["requires_grad"])
        with mode:
            y = x.clone().requires_grad_()
            z = fl.cat([y @ w, fl.zeros(1, 2)]).relu().sum(0, keepdim=True)
            z.mul_(2).view(2, 1).expand(2, 3).reshape(6)[1:4].argmax()
            (
                fl.arange(2, dtype=fl.float64),
                fl.full_like(x, 3),
                x.new_zeros((2,)),
                fl.ones_like(x, memory_format=fl.preserve_format),
            )
        return mode.debug_string()

    agree(run, rand(3, 4), rand(4, 2))


def test_modules_ranges_and_marks_are_told(agree):
    def run(fl, x):
        debug = _mode(fl)
        fl.manual_seed(0)
        net = fl.nn.Sequential(fl.nn.Linear(4, 3), fl.nn.Sequential(fl.nn.ReLU(), fl.nn.Linear(3, 2))).double()
        mode = debug(record_nn_module=True, record_output=False)
        with mode, fl.no_grad():
            with fl.profiler.record_function("outer"):
                y = net(x.detach())
            debug._annotate("between")
            y.add_(1, alpha=2)
        plain = debug(record_profiler_context=False)
        with plain, fl.autograd.profiler.record_function("unseen"):
            y.sum()
        return mode.debug_string(), plain.debug_string(), len(mode.logs), [tuple(c)[3] for c in mode.logs]

    agree(run, rand(5, 4))


def test_hashes_and_hooks(agree):
    def run(fl, x, y):
        debug = _mode(fl)
        seen = []
        with debug() as first, debug.log_tensor_hashes("hash_tensor", hash_inputs=True):
            x.exp().sum()
        with debug() as second, debug.log_tensor_hashes("hash_tensor", hash_inputs=True):
            y.exp().sum()
        with debug(store_original_args=True) as kept, debug.record_outputs():
            x.neg()
        hook = lambda func, types, args, kwargs, result: {"name": str(func)}
        with debug() as said, debug.dispatch_hooks(log_hook=hook, record_hook=lambda *a: seen.append(len(a))):
            (x * 2).tolist()
        found = debug.check_hash_mismatches(first.logs, second.logs, compare_inputs=True)
        same = debug.check_hash_mismatches(first.logs, first.logs)
        return (
            [(f["call"], f["is_input_hash"], f["pytree_path"]) for f in found],
            same,
            kept.logs[0].record["output"],
            kept.logs[0].args[0],
            said.debug_string(),
            seen,
        )

    agree(run, rand(2, 3), rand(2, 3))


def test_what_does_not_match(agree):
    def run(fl, x):
        debug = _mode(fl)
        with debug() as one:
            x.exp()
        with debug() as two:
            x.sin()
        debug.check_hash_mismatches(one.logs, two.logs)

    agree(run, rand(2), raises=ValueError)
    agree(lambda fl, x: _mode(fl).check_hash_mismatches([1], []), rand(2), raises=ValueError)


def test_traces_name_the_programs_lines():
    import flambeau as torch
    from flambeau.utils._debug_mode import DebugMode, get_active_debug_mode

    x = torch.ones(2, requires_grad=True)
    with DebugMode(record_stack_trace=True) as mode:
        assert get_active_debug_mode() is mode
        y = x.exp()
        y.sum().backward()
    text = mode.debug_string()
    assert "test_debug_mode.py" in text
    assert "code: y = x.exp()" in text
    assert "# File" not in mode.debug_string(show_stack_trace=False)
    back = next(c for c in mode.logs if "aten::mul" in str(c))
    assert "y = x.exp()" in back.fwd_stack_trace
    assert get_active_debug_mode() is None


def test_functions_are_told():
    import flambeau as torch
    from flambeau.utils._debug_mode import DebugMode

    with DebugMode(record_torchfunction=True) as mode:
        torch.nn.functional.relu(torch.ones(2))
    text = mode.debug_string()
    assert "nn.functional.relu(t: f32[2], inplace=False)  ->  t: f32[2]" in text
    assert "\n      aten::relu(t: f32[2])" in text


@pytest.mark.parametrize("kind", ["sum", 3])
def test_unknown_hashes(agree, kind):
    def run(fl, x):
        debug = _mode(fl)
        with debug(), debug.log_tensor_hashes(kind):
            x.exp()

    agree(run, rand(2), raises=AssertionError if kind == "sum" else NotImplementedError)

"""The mode that notes what runs: a dispatch mode, and for functions of `torch` a function mode, too."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import flambeau
from flambeau.overrides import DisableTorchFunction, TorchFunctionMode
from flambeau.utils._debug_mode import _utils
from flambeau.utils._debug_mode._calls import _AnnotateCall, _get_call_name, _OpCall
from flambeau.utils._debug_mode._utils import (  # fmt: skip
    TensorIdTracker,
    _compute_rel_diff,
    _get_user_stack_trace,
    _run_hook,
    hash_tensor_fn,
    norm_hash_fn,
)
from flambeau.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from flambeau.utils._pytree import keystr, tree_all, tree_map, tree_map_with_path


@flambeau.library.custom_op("debug_mode_ops::annotate", mutates_args=())
def _annotate(tag: str) -> None:
    return None


@_annotate.register_fake
def _(tag: str) -> None:
    return None


class _Functions(TorchFunctionMode):
    """Tells a debug mode of functions of `torch`."""

    def __init__(self, mode: DebugMode) -> None:
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.mode.__torch_function__(func, types, args, kwargs)


class DebugMode(TorchDispatchMode):
    """Inside the block, every operator is noted; `debug_string()` is the text of it.

    >>> import flambeau as torch
    >>> with DebugMode() as mode:
    ...     _ = torch.ones(2, 3).exp().sum(0)
    >>> print(mode.debug_string())
        aten::ones([2, 3], device=cpu, pin_memory=False)  ->  t: f32[2, 3]
        aten::exp(t: f32[2, 3])  ->  t: f32[2, 3]
        aten::sum.dim_IntList(t: f32[2, 3], [0])  ->  t: f32[3]
    """

    def __init__(self, *, record_torchfunction: bool = False, record_faketensor: bool = False, record_realtensor: bool = True,
                 record_tensor_attributes: Any = None, record_nn_module: bool = False, store_original_args: bool = False,
                 record_stack_trace: bool = False, record_output: bool = True, record_ids: bool = False,
                 record_profiler_context: bool = True, record_localtensor: bool = True,
                 run_compile_with_interpreter: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.supports_higher_order_operators = True
        self.record_torchfunction, self.record_faketensor = record_torchfunction, record_faketensor
        self.record_realtensor, self.record_localtensor = record_realtensor, record_localtensor
        self.record_tensor_attributes = record_tensor_attributes or []
        self.record_nn_module, self.store_original_args = record_nn_module, store_original_args
        self.record_stack_trace, self.record_output, self.record_ids = record_stack_trace, record_output, record_ids
        self.record_profiler_context = record_profiler_context
        self.run_compile_with_interpreter = run_compile_with_interpreter
        self.module_tracker: Any = None
        if record_nn_module:
            self.module_tracker_setup()
        self._functions = _Functions(self)
        self.reset()

    def reset(self) -> None:
        """Forget what was noted."""
        self.operators: list[Any] = []
        self.call_depth = 0
        self._tensor_memo = TensorIdTracker()
        self.current_nn_module_stack: list[str] = []
        self.fx_stack_trace: str | None = None

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """What the compiler does by itself is not noted."""
        return True

    @property
    def logs(self) -> list[Any]:
        """The lines as objects."""
        return list(self.operators)

    @property
    def _memo(self) -> TensorIdTracker | None:
        return self._tensor_memo if self.record_ids else None

    def _record_call(self, call: Any) -> None:
        if str(call).startswith("profiler::_record_function"):
            return
        if not self.store_original_args:
            call.stringify_args(self.record_tensor_attributes, self._memo)
        if self.fx_stack_trace:
            call.stack_trace = call.fwd_stack_trace = self.fx_stack_trace
        self.operators.append(call)

    def _record_call_output(self, call: Any, output: Any) -> None:
        if self.record_output:
            call.stringify_output(output, self.record_tensor_attributes, self._memo)

    def _mark(self, tag: Any, header: str, depth: int) -> None:
        self.operators.append(_AnnotateCall(tag, header, depth, stack=self.record_stack_trace))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = _OpCall(func, args, kwargs or {}, self.call_depth, stack=self.record_stack_trace)
        with DisableTorchFunction():
            self._record_call(call)
        self.call_depth += 1
        try:
            result = func(*args, **(kwargs or {}))
            with DisableTorchFunction():
                self._record_call_output(call, result)
            return result
        finally:
            self.call_depth -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        profiler = flambeau.ops.profiler
        if self.record_profiler_context:
            if func == profiler._record_function_enter_new.default:
                self._mark(args[0], "record function", self.call_depth)
                self.call_depth += 1
            elif func == profiler._record_function_exit._RecordFunction:
                self.call_depth -= 1
        if func == flambeau.ops.debug_mode_ops.annotate.default:
            self._mark(args[0], "annotate", self.call_depth)
            return None
        from flambeau._subclasses.fake_tensor import FakeTensor, FakeTensorMode

        fake = FakeTensor in types or any(isinstance(m, FakeTensorMode) for m in _get_current_dispatch_mode_stack())
        call = None
        if (fake and self.record_faketensor) or (not fake and not types and self.record_realtensor):
            call = _OpCall(func, args, kwargs, self.call_depth + 1, stack=self.record_stack_trace)
            self._record_call(call)
            for hook in _utils._DISPATCH_PRE_LOG_HOOKS:
                said = _run_hook(hook, func, types, args, kwargs, call)
                call.log = {**(call.log or {}), **said} or call.log
        result = func(*args, **kwargs)
        if call is not None:
            self._record_call_output(call, result)
            for hook in _utils._DISPATCH_RECORD_HOOKS:
                call.record = {
                    **(call.record or {}),
                    **_run_hook(hook, func, types, args, kwargs, result),
                } or call.record
            for hook in _utils._DISPATCH_LOG_HOOKS:
                call.log = {**(call.log or {}), **_run_hook(hook, func, types, args, kwargs, result)}
        return result

    def __enter__(self) -> DebugMode:
        if self.record_torchfunction:
            self._functions.__enter__()
        super().__enter__()
        if self.module_tracker is not None:
            self.module_tracker.__enter__()
        if self.record_stack_trace:
            self._anomaly = flambeau.autograd.set_detect_anomaly(True, check_nan=False)
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if self.module_tracker is not None:
            self.module_tracker.__exit__(*error)
        if self.record_torchfunction:
            self._functions.__exit__(*error)
        if self.record_stack_trace:
            self._anomaly.__exit__(*error)

    @contextlib.contextmanager
    def set_fx_stack_trace(self, stack_trace: str) -> Iterator[None]:
        """The block in which calls are said to come from there."""
        self.fx_stack_trace = stack_trace
        try:
            yield
        finally:
            self.fx_stack_trace = None

    def _enter_nn_module_call(self, fqn: str, header: str) -> None:
        self._mark(fqn, header, self.call_depth + 1)
        self.current_nn_module_stack.append(fqn)
        self.call_depth += 1

    def _exit_nn_module_call(self) -> None:
        self.call_depth -= 1
        self.current_nn_module_stack.pop()

    def module_tracker_setup(self) -> None:
        """Have the modules that are entered noted, too."""
        from flambeau.distributed._tools.mod_tracker import ModTracker

        tracker = self.module_tracker = ModTracker()
        tracker.register_user_hooks(
            lambda module, inputs: self._enter_nn_module_call(tracker._get_mod_name(module), "nn.Mod"),
            lambda module, inputs, outputs: self._exit_nn_module_call(),
        )

    def debug_string(self, show_stack_trace: bool | None = None) -> str:
        """The text: a line for each call, indented by how deep it stands; with traces, a line where their last place changes."""
        told = self.record_stack_trace if show_stack_trace is None else show_stack_trace
        lines: list[str] = []
        before = None
        with DisableTorchFunction():
            for call in self.operators:
                trace = getattr(call, "fwd_stack_trace", None) or getattr(call, "stack_trace", None) if told else None
                place = _get_user_stack_trace(trace) if trace else None
                if place and place != before:
                    lines += [""] * bool(lines) + ["  " * (call.call_depth + 1) + "# " + place]
                    before = place
                lines.append("  " * (call.call_depth + 1) + call.render(self.record_tensor_attributes))
        return "\n".join(lines)

    @staticmethod
    @contextlib.contextmanager
    def dispatch_hooks(record_hook: Any = None, log_hook: Any = None, pre_log_hook: Any = None) -> Iterator[None]:
        """The block in which `hook(func, types, args, kwargs, result)` may say more of each call, as a dictionary: for the
        call's `record`, or for its `log`, which the text shows; the last one comes before the call and gets it in the result's place."""
        pairs = (
            (_utils._DISPATCH_RECORD_HOOKS, record_hook),
            (_utils._DISPATCH_LOG_HOOKS, log_hook),
            (_utils._DISPATCH_PRE_LOG_HOOKS, pre_log_hook),
        )
        given = [(hooks, hook) for hooks, hook in pairs if hook]
        for hooks, hook in given:
            hooks.append(hook)
        try:
            yield
        finally:
            for hooks, _ in given:
                hooks.pop()

    @staticmethod
    @contextlib.contextmanager
    def record_outputs() -> Iterator[None]:
        """The block in which copies of all results are kept, in `record["output"]`."""

        def copies(func: Any, types: Any, args: Any, kwargs: Any, result: Any) -> dict[str, Any]:
            return {"output": tree_map(lambda x: x.clone() if isinstance(x, flambeau.Tensor) else x, result)}

        with DebugMode.dispatch_hooks(record_hook=copies):
            yield

    @staticmethod
    @contextlib.contextmanager
    def log_tensor_hashes(hash_fn: Any = "norm", hash_inputs: bool = False) -> Iterator[None]:
        """The block in which the text has a number for the elements of each result: their norm, or a sum of all bits ("hash_tensor")."""
        kinds = {"norm": norm_hash_fn, "hash_tensor": hash_tensor_fn}

        def by_name(kind: Any) -> Any:
            if not isinstance(kind, str) or kind not in kinds:
                raise AssertionError(f"hash_type must be 'norm' or 'hash_tensor', got {kind!r}")
            return functools.partial(kinds[kind], use_scalar=True)

        if callable(hash_fn):
            of = hash_fn
        elif isinstance(hash_fn, str):
            of = by_name(hash_fn)
        elif isinstance(hash_fn, list):
            several = [by_name(kind) for kind in hash_fn]

            def of(x: Any) -> Any:
                return tuple(fn(x) for fn in several)
        else:
            raise NotImplementedError(
                f"log_tensor_hashes() expected hash_fn to be callable, str, or list[str], but found {type(hash_fn)}"
            )

        def hashed(name: str, func: Any, value: Any) -> dict[str, Any] | None:
            if "empty" in str(func) or "profiler" in str(func):
                return None
            found = tree_map(lambda x: of(x) if isinstance(x, flambeau.Tensor) else None, value)
            return None if tree_all(lambda x: x is None, found) else {name: found}

        with DebugMode.dispatch_hooks(
            log_hook=lambda func, types, args, kwargs, result: hashed("hash", func, result),
            pre_log_hook=(lambda func, types, args, kwargs, call: hashed("input_hash", func, (args, kwargs)))
            if hash_inputs
            else None,
        ):
            yield

    @staticmethod
    def _annotate(tag: Any) -> None:
        """A line of the program's own, where a debug mode is active."""
        flambeau.ops.debug_mode_ops.annotate(tag)

    @staticmethod
    def check_hash_mismatches(logs1: list[Any], logs2: list[Any], compare_inputs: bool = False) -> list[dict[str, Any]]:
        """Where two runs of the same calls, noted under `log_tensor_hashes`, gave other elements."""
        if len(logs1) != len(logs2):
            raise ValueError(f"Log lengths don't match: {len(logs1)} vs {len(logs2)}")
        found: list[dict[str, Any]] = []
        for i, (one, other) in enumerate(zip(logs1, logs2, strict=True)):
            kinds = type(one).__name__, type(other).__name__
            names = _get_call_name(one), _get_call_name(other)
            if kinds[0] != kinds[1]:
                raise ValueError(f"Call types don't match at index {i}: {kinds[0]} vs {kinds[1]}")
            if names[0] != names[1]:
                raise ValueError(
                    f"Operators don't match at index {i}: {kinds[0]}[{names[0]}] vs {kinds[0]}[{names[1]}]"
                )
            if one.call_depth != other.call_depth:
                raise ValueError(f"Call depths for {kinds[0]}[{names[0]}] don't match at index {i}: "
                                 f"{one.call_depth} vs {other.call_depth}")  # fmt: skip
            if not isinstance(one, _OpCall):
                continue
            for key, word in (("hash", "Output"), ("input_hash", "Input"))[: 1 + compare_inputs]:
                has = [log is not None and key in log for log in (one.log, other.log)]
                if has[0] != has[1]:
                    raise ValueError(f"{word} hash presence inconsistent for triton kernel {kinds[0]}[{names[0]}] at index {i}: "
                                     f"log1 has {key}={has[0]}, log2 has {key}={has[1]}")  # fmt: skip
                if has[0]:
                    found += _unequal(names[0], one.log[key], other.log[key], key == "input_hash")
        return found


def _unequal(name: str, hashes1: Any, hashes2: Any, is_input: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def compare(path: Any, hash1: Any, hash2: Any) -> None:
        if hash1 != hash2:
            found.append({"call_type": "torch op", "call": name, "arg_name": None, "pytree_path": keystr(path), "hash1": hash1,
                          "hash2": hash2, "rel_diff": _compute_rel_diff(hash1, hash2), "is_input_hash": is_input})  # fmt: skip

    tree_map_with_path(compare, hashes1, hashes2)
    return found


class DebugInterpreter(flambeau.fx.Interpreter):
    """Runs a graph node by node under the active debug mode, which is told the modules and places that the nodes name."""

    def __init__(self, module: Any, backend: str) -> None:
        super().__init__(module)
        mode = get_active_debug_mode()
        if mode is None:
            raise RuntimeError("No DebugMode is currently active")
        self.mode, self.backend = mode, backend
        mode._mark("enter", f"{backend} region (compile)", mode.call_depth)

    def run_node(self, n: Any) -> Any:
        trace = n.meta.get("stack_trace") if n.op not in ("placeholder", "output") else None
        if not (self.mode.record_stack_trace and trace):
            return super().run_node(n)
        with self.mode.set_fx_stack_trace(trace):
            return super().run_node(n)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        result = super().run(*args)
        self.mode._mark("exit", f"{self.backend} region (compile)", self.mode.call_depth)
        return result


def get_active_debug_mode() -> DebugMode | None:
    """The outermost debug mode in whose block the call stands."""
    return next((mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, DebugMode)), None)

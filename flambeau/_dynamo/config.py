"""PyTorch's switches of the compiler. They can be set; none changes what is computed, most change nothing."""

from __future__ import annotations

from typing import Any

verbose = False
suppress_errors = False
recompile_limit = cache_size_limit = 8
accumulated_recompile_limit = accumulated_cache_size_limit = 256
assume_static_by_default = True
automatic_dynamic_shapes = True
specialize_int = False
specialize_float = False
capture_scalar_outputs = False
capture_dynamic_output_shape_ops = False
guard_nn_modules = True
inline_inbuilt_nn_modules = True
optimize_ddp = False
error_on_recompile = False
dynamic_shapes = True
compiled_autograd = False
disable = False
force_parameter_static_shapes = True
fail_on_recompile_limit_hit = False  # the limit is an error, not a warning
allow_rnn = False
numpy_default_float = "float64"
report_guard_failures = True
cprofile = False
allow_unspec_int_on_nn_module = False
skip_nnmodule_hook_guards = True
reorderable_logging_functions: set[Any] = set()
ignore_logger_methods: set[Any] = set()


def patched(space: dict[str, Any]) -> type:
    """The `patch` of a module of switches."""

    def swap(changes: dict[str, Any]) -> dict[str, Any]:
        before = {}
        for path, value in changes.items():
            *owners, name = path.split(".")
            at = space
            for owner in owners:
                at = vars(at[owner])
            before[path], at[name] = at.get(name), value
        return before

    class patch:
        """Set switches for the length of a `with` block, or of a decorated function."""

        def __init__(self, *args: Any, **changes: Any) -> None:
            self.changes = {args[0]: args[1]} if len(args) == 2 else {**(args[0] if args else {}), **changes}

        def __enter__(self) -> None:
            self.before = swap(self.changes)

        def __exit__(self, *exc: object) -> None:
            swap(self.before)

        def __call__(self, fn: Any) -> Any:
            import functools

            @functools.wraps(fn)
            def inner(*args: Any, **kwargs: Any) -> Any:
                with patch(self.changes):
                    return fn(*args, **kwargs)

            return inner

    return patch


patch = patched(globals())

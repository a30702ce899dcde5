"""Hooks on all modules, and the slow path of calling a module that has hooks of any kind.

`Module.__call__` comes here only when some hook exists; nothing here runs otherwise.
"""

import functools
import warnings
import weakref
from collections import OrderedDict

from flambeau import Tensor
from flambeau.utils.hooks import BackwardHook, RemovableHandle

GLOBAL = {}  # "full": whether the global backward hooks are of the full kind; absent before the first is registered
_global_buffer_registration_hooks = OrderedDict()
_global_module_registration_hooks = OrderedDict()
_global_parameter_registration_hooks = OrderedDict()
_global_backward_pre_hooks = OrderedDict()
_global_backward_hooks = OrderedDict()
_global_forward_pre_hooks = OrderedDict()
_global_forward_hooks = OrderedDict()
_global_forward_hooks_always_called = OrderedDict()
_global_forward_hooks_with_kwargs = OrderedDict()


def _has_any_global_hook():
    return (
        _global_backward_pre_hooks
        or _global_backward_hooks
        or _global_forward_pre_hooks
        or _global_forward_hooks
        or _global_forward_hooks_always_called
        or _global_forward_hooks_with_kwargs
    )


def add(hooks, hook, prepend=False, **marks):
    """Puts ``hook`` into ``hooks`` and its id into those of the named dictionaries whose mark is set."""
    handle = RemovableHandle(hooks, extra_dict=[d for d, _ in marks.values()])
    hooks[handle.id] = hook
    for marked, mark in marks.values():
        if mark:
            marked[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_module_buffer_registration_hook(hook):
    """Calls ``hook(module, name, buffer)`` whenever any module registers a buffer; a result replaces the buffer."""
    return add(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook):
    """Calls ``hook(module, name, child)`` whenever any module registers a child; a result replaces the child."""
    return add(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook):
    """Calls ``hook(module, name, param)`` whenever any module registers a parameter; a result replaces it."""
    return add(_global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook):
    """Calls ``hook(module, args)`` before the forward of every module; a result replaces the arguments."""
    return add(_global_forward_pre_hooks, hook)


def register_module_forward_hook(hook, *, with_kwargs=False, always_call=False):
    """Calls ``hook(module, args, output)`` after the forward of every module; a result replaces the output."""
    return add(
        _global_forward_hooks,
        hook,
        always=(_global_forward_hooks_always_called, always_call),
        kwargs=(_global_forward_hooks_with_kwargs, with_kwargs),
    )


def _claim_global_backward(full):
    if GLOBAL.setdefault("full", full) is not full:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
            "Please use only one of them."
        )


def register_module_backward_hook(hook):
    """Calls ``hook(module, grad_input, grad_output)`` at the last node of every module (the old, partial kind)."""
    _claim_global_backward(full=False)
    return add(_global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook):
    """Calls ``hook(module, grad_output)`` before the backward of every module; a result replaces the gradients."""
    return add(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook):
    """Calls ``hook(module, grad_input, grad_output)`` after the backward of every module."""
    _claim_global_backward(full=True)
    return add(_global_backward_hooks, hook)


class _WrappedHook:
    """A hook that may be given its module, which it refers to weakly and carries along when pickled."""

    def __init__(self, hook, module=None):
        self.hook = hook
        functools.update_wrapper(self, hook)
        self.with_module = module is not None
        if self.with_module:
            self.module = weakref.ref(module)

    def __call__(self, *args, **kwargs):
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self):
        state = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state):
        self.hook, self.with_module = state["hook"], state["with_module"]
        if self.with_module:
            if state["module"] is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(state["module"])


class HookedCall:
    """One call of a module with hooks: what its steps share is what the always-called hooks need after an error."""

    def __init__(self, module, args, kwargs):
        self.module, self.args, self.kwargs, self.result = module, args, kwargs, None
        self.called = set()

    def run(self, forward):
        try:
            return self.steps(forward)
        except Exception:
            self.call_remaining()
            raise

    def steps(self, forward):
        module = self.module
        full, partial = module._get_backward_hooks()
        before = module._get_backward_pre_hooks()
        self.pre_hooks()
        around = None
        if full or before:
            around = BackwardHook(module, full, before)
            self.args = around.setup_input_hook(self.args)
        self.result = forward(*self.args, **self.kwargs)
        self.forward_hooks()
        if around:
            if not isinstance(self.result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but "
                    f"received {type(self.result)}",
                    stacklevel=2,
                )
            self.result = around.setup_output_hook(self.result)
        if partial:
            self.partial_backward(partial)
        return self.result

    def pre_hooks(self):
        module = self.module
        for key, hook in (*_global_forward_pre_hooks.items(), *module._forward_pre_hooks.items()):
            if key in module._forward_pre_hooks_with_kwargs:
                out = hook(module, self.args, self.kwargs)
                if out is None:
                    continue
                if not (isinstance(out, tuple) and len(out) == 2):
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {out}."
                    )
                self.args, self.kwargs = out
            else:
                out = hook(module, self.args)
                if out is not None:
                    self.args = out if isinstance(out, tuple) else (out,)

    def forward_hooks(self):
        module = self.module
        for key, hook in (*_global_forward_hooks.items(), *module._forward_hooks.items()):
            if key in module._forward_hooks_always_called or key in _global_forward_hooks_always_called:
                self.called.add(key)
            with_kwargs = key in module._forward_hooks_with_kwargs or key in _global_forward_hooks_with_kwargs
            self.forward_hook(hook, with_kwargs)

    def forward_hook(self, hook, with_kwargs):
        args = (self.args, self.kwargs) if with_kwargs else (self.args,)
        out = hook(self.module, *args, self.result)
        if out is not None:
            self.result = out

    def call_remaining(self):
        """After an error: the always-called hooks that have not run yet; their own errors become warnings."""
        module = self.module
        for kind, hooks, always in (
            ("global module", _global_forward_hooks, _global_forward_hooks_always_called),
            ("module", module._forward_hooks, module._forward_hooks_always_called),
        ):
            for key, hook in hooks.items():
                if key not in always or key in self.called:
                    continue
                try:
                    self.forward_hook(hook, key in module._forward_hooks_with_kwargs)
                except Exception as error:
                    warnings.warn(
                        f"{kind} forward hook with ``always_call=True`` raised an exception that was silenced as "
                        f"another error was raised in forward: {error}",
                        stacklevel=2,
                    )

    def partial_backward(self, hooks):
        """The old backward hooks sit on the last node only."""
        out = self.result
        while not isinstance(out, Tensor):
            out = next(v for v in out.values() if isinstance(v, Tensor)) if isinstance(out, dict) else out[0]
        node = out.grad_fn
        if node is not None:
            for hook in hooks:
                node.register_hook(_WrappedHook(hook, self.module))
            warn_of_partial_hook(self.args, self.result, node)


def _tensors(x):
    """``x`` as a tuple of tensors, or None when it is something else."""
    if isinstance(x, Tensor):
        return (x,)
    return x if isinstance(x, tuple) and all(isinstance(t, Tensor) for t in x) else None


def warn_of_partial_hook(inputs, result, node):
    """Says what an old backward hook will not see."""
    advice = " Please use register_full_backward_hook to get the documented behavior."
    result, inputs = _tensors(result), _tensors(inputs)
    if result is None:
        text = (
            "Using non-full backward hooks on a Module that does not return a single Tensor or a tuple of Tensors is "
            "deprecated and will be removed in future versions. This hook will be missing some of the grad_output."
        ) + advice
    elif inputs is None:
        text = (
            "Using non-full backward hooks on a Module that does not take as input a single Tensor or a tuple of "
            "Tensors is deprecated and will be removed in future versions. This hook will be missing some of the "
            "grad_input."
        ) + advice
    else:
        nodes = {r.grad_fn for r in result if r.grad_fn is not None}
        if not nodes or (len(nodes) == 1 and node not in nodes):
            text = (
                "Using a non-full backward hook when outputs are nested in python data structure is deprecated and "
                "will be removed in future versions. This hook will be missing some grad_output."
            )
        elif len(nodes) > 1:
            text = (
                "Using a non-full backward hook when outputs are generated by different autograd Nodes is deprecated "
                "and will be removed in future versions. This hook will be missing some grad_output."
            ) + advice
        elif {i.grad_fn for i in inputs if i.grad_fn is not None} != {n[0] for n in node.next_functions}:
            text = (
                "Using a non-full backward hook when the forward contains multiple autograd Nodes is deprecated and "
                "will be removed in future versions. This hook will be missing some grad_input."
            ) + advice
        else:
            return
    warnings.warn(text, FutureWarning, stacklevel=5)

"""Handles that take a hook away again, and the pair of autograd hooks behind a module's full backward hooks.

This file knows nothing of modules beyond the object it hands to the user's hooks.
"""

import warnings
import weakref
from collections import OrderedDict

import flambeau

__all__ = ["RemovableHandle", "unserializable_hook", "warn_if_has_hooks", "BackwardHook"]


class RemovableHandle:
    """Removes one hook from the dictionary it was put into; also a context manager that removes it on exit.

    >>> hooks = OrderedDict()
    >>> handle = RemovableHandle(hooks)
    >>> hooks[handle.id] = print
    >>> handle.remove()
    >>> len(hooks)
    0
    """

    id: int
    next_id: int = 0

    def __init__(self, hooks_dict, *, extra_dict=None):
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        extra = [extra_dict] if isinstance(extra_dict, dict) else extra_dict or ()
        self.extra_dict_ref = tuple(map(weakref.ref, extra))

    def remove(self):
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = ref()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __getstate__(self):
        return self.hooks_dict_ref(), self.id, tuple(ref() for ref in self.extra_dict_ref)

    def __setstate__(self, state):
        hooks, self.id, *rest = state
        self.hooks_dict_ref = weakref.ref(OrderedDict() if hooks is None else hooks)
        self.extra_dict_ref = tuple(map(weakref.ref, rest[0] or ())) if rest else ()
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)

    def __enter__(self):
        return self

    def __exit__(self, type, value, tb):
        self.remove()


def unserializable_hook(f):
    """Marks a hook as one that is knowingly left out when its tensor is saved."""
    f.__torch_unserializable__ = True
    return f


def warn_if_has_hooks(tensor):
    """Warns for each backward hook of ``tensor`` that saving it will lose."""
    for hook in (tensor._backward_hooks or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized.  If this is expected, you can decorate the "
                "function with @torch.utils.hooks.unserializable_hook to suppress this warning",
                stacklevel=2,
            )


def _scatter(indices, values, size):
    """A tuple of ``size`` with ``values`` at ``indices`` and None elsewhere."""
    out = [None] * size
    for i, value in zip(indices, values, strict=True):
        out[i] = value
    return tuple(out)


class BackwardHook:
    """Runs a module's backward pre-hooks and hooks around the backward pass of one call of it.

    An identity node is placed before the module and one after it. The node behind runs the pre-hooks and remembers the
    gradients of the outputs; the node in front then has the gradients of the inputs and calls the hooks.
    """

    def __init__(self, module, user_hooks, user_pre_hooks):
        self.user_hooks = user_hooks
        self.user_pre_hooks = user_pre_hooks
        self.module = module
        self.grad_outputs = None
        self.n_outputs = self.n_inputs = -1
        self.output_tensors_index = self.input_tensors_index = None

    def setup_input_hook(self, args):
        """Passes the inputs through the front node."""
        args, self.input_tensors_index = self._through_node(args, self._at_inputs)
        self.n_inputs = len(args)
        return args

    def setup_output_hook(self, args):
        """Passes the outputs through the node behind the module."""
        single = not isinstance(args, tuple)
        args = (args,) if single else args
        out, self.output_tensors_index = self._through_node(args, self._at_outputs)
        self.n_outputs = len(args)
        return out[0] if single else out

    def _through_node(self, args, hook):
        """The arguments with their tensors replaced by an identity node's outputs, and where those tensors were."""
        where = [i for i, arg in enumerate(args) if isinstance(arg, flambeau.Tensor)]
        if not (flambeau.is_grad_enabled() and any(args[i].requires_grad for i in where)):
            return args, None
        from flambeau.nn.modules._functions import BackwardHookFunction

        outs = BackwardHookFunction.apply(*(args[i] for i in where))
        if not outs:
            raise RuntimeError("Cannot set Module backward hook for a Module with no input Tensors.")
        nodes = [t.grad_fn for t in outs if t.grad_fn is not None]
        nodes = [n for n in nodes if n.name() == "BackwardHookFunctionBackward"]
        if not nodes:
            raise RuntimeError(
                "Error while setting up backward hooks. Please open an issue with a code sample to reproduce this."
            )
        nodes[0].register_hook(hook)
        replaced = list(args)
        for i, out in zip(where, outs, strict=True):
            replaced[i] = out
        return (tuple(replaced) if type(args) is tuple else type(args)(*replaced)), where

    def _at_inputs(self, grad_input, _):
        if self.grad_outputs is None:  # backward stopped between the inputs and the outputs
            return None
        grads = _scatter(self.input_tensors_index, grad_input, self.n_inputs)
        for hook in self.user_hooks:
            out = hook(self.module, grads, self.grad_outputs)
            if out is None:
                continue
            if len(out) != len(grads):
                raise RuntimeError(
                    f"Backward hook returned an invalid number of grad_input, got {len(out)}, but expected {len(grads)}"
                )
            grads = out
        self.grad_outputs = None
        return tuple(grads[i] for i in self.input_tensors_index)

    def _at_outputs(self, _, grad_output):
        grads = _scatter(self.output_tensors_index, grad_output, self.n_outputs)
        for hook in self.user_pre_hooks:
            out = hook(self.module, grads)
            if out is None:
                continue
            if len(out) != len(grads):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(out)}, but expected {len(grads)}"
                )
            grads = out
        self.grad_outputs = grads
        if self.input_tensors_index is None:
            self._without_inputs(grads)
        return tuple(grads[i] for i in self.output_tensors_index)

    def _without_inputs(self, grads):
        """No input requires grad, so there is no front node: call the hooks at once, with no gradients to change."""
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
            "require gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
            "#torch.nn.Module.register_full_backward_hook for more details.",
            stacklevel=5,
        )
        none = (None,) * self.n_inputs
        for hook in self.user_hooks:
            out = hook(self.module, none, grads)
            if out is not None and not (isinstance(out, tuple) and all(g is None for g in out)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None for "
                    "all gradients."
                )
        self.grad_outputs = None

"""Checkpointing: parts of a forward pass whose intermediate tensors are computed again in the backward pass.

Two forms.  `use_reentrant=True` is an autograd function whose backward runs the part again and a backward pass inside
it.  `use_reentrant=False` replaces each tensor that the graph saves by a placeholder; the first placeholder that is
asked for runs the part again, which fills them all.
"""

import weakref
from contextlib import contextmanager, nullcontext
from warnings import warn

import flambeau
from flambeau.autograd.graph import saved_tensors_hooks
from flambeau.utils import _selective
from flambeau.utils._pytree import tree_leaves
from flambeau.utils._selective import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    _CachedTorchDispatchMode,
    _CachingTorchDispatchMode,
    create_selective_checkpoint_contexts,
)

__all__ = [
    "checkpoint", "checkpoint_sequential", "CheckpointError", "CheckpointFunction", "check_backward_validity",
    "detach_variable", "get_device_states", "set_device_states", "noop_context_fn", "set_checkpoint_early_stop",
    "DefaultDeviceType", "set_checkpoint_debug_enabled", "CheckpointPolicy", "SelectiveCheckpointContext",
    "create_selective_checkpoint_contexts", "SAC_IGNORED_OPS", "GraphExecGroup",  # noqa: F822 (made when asked for)
]  # fmt: skip

for _x in (CheckpointPolicy, SelectiveCheckpointContext, create_selective_checkpoint_contexts, _CachingTorchDispatchMode,
           _CachedTorchDispatchMode):  # fmt: skip
    _x.__module__ = __name__

_DEFAULT_DETERMINISM_MODE = "default"
_checkpoint_debug_enabled = None
_enable_checkpoint_early_stop = None


class CheckpointError(RuntimeError):
    """The part did something else the second time."""


@contextmanager
def set_checkpoint_early_stop(enable: bool):
    """Inside, parts stop running again (or do not) as soon as everything that is needed is there."""
    global _enable_checkpoint_early_stop
    before, _enable_checkpoint_early_stop = _enable_checkpoint_early_stop, enable
    try:
        yield
    finally:
        _enable_checkpoint_early_stop = before


@contextmanager
def set_checkpoint_debug_enabled(enabled):
    """Inside, `debug` of `checkpoint` counts as given."""
    global _checkpoint_debug_enabled
    before, _checkpoint_debug_enabled = _checkpoint_debug_enabled, enabled
    try:
        yield
    finally:
        _checkpoint_debug_enabled = before


def noop_context_fn():
    """Contexts for the first and the second run that do nothing."""
    return nullcontext(), nullcontext()


# ---- devices and their random numbers ----------------------------------------------------------------------------
class DefaultDeviceType:
    """The device whose random state is kept when no argument says which."""

    _default_device_type = None

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        """Sets it."""
        DefaultDeviceType._default_device_type = device

    @staticmethod
    def get_device_type() -> str:
        """What was set, or else the accelerator, or else the CPU."""
        if not DefaultDeviceType._default_device_type:
            found = flambeau.accelerator.current_accelerator(True) if _accelerated() else None
            DefaultDeviceType._default_device_type = "cpu" if found is None else found.type
        return DefaultDeviceType._default_device_type


def _accelerated():
    try:
        return flambeau.accelerator.is_available()
    except AttributeError:
        return False


def _others(args):
    """The tensors among the arguments that are not on the CPU."""
    return [x for x in tree_leaves(args) if isinstance(x, flambeau.Tensor) and x.device.type != "cpu"]


def _infer_device_type(*args):
    types = [x.device.type for x in _others(args)]
    if len(set(types)) > 1:
        warn(
            "Tensor arguments, excluding CPU tensors, are detected on at least two types of devices. Device state will "
            "only be saved for devices of a single device type, and the remaining devices will be ignored. Consequently, "
            "if any checkpointed functions involve randomness, this may result in incorrect gradients. (Note that if "
            "CUDA devices are among the devices detected, it will be prioritized; otherwise, the first device "
            f"encountered will be selected.)\nDevice types: {sorted(set(types))} first device type: {types[0]}",
            stacklevel=3,
        )
    if not types:
        return DefaultDeviceType.get_device_type()
    return "cuda" if "cuda" in types else types[0]


def get_device_states(*args):
    """The accelerators that the arguments are on, and their random states."""
    ids = [x.get_device() for x in _others(args) if x.device.type != "meta"]
    if not ids:
        return [], []
    module = getattr(flambeau, _infer_device_type(*args))
    states = []
    for i in ids:
        with module.device(i):
            states.append(module.get_rng_state())
    return ids, states


def set_device_states(devices, states, *, device_type=None) -> None:
    """Puts back what `get_device_states` gave."""
    device_type = device_type or DefaultDeviceType.get_device_type()
    for device, state in zip(devices, states, strict=False):
        module = getattr(flambeau, device_type)
        with module.device(device):
            module.set_rng_state(state)


class _Surroundings:
    """What the second run must find as the first did: random states and autocast."""

    def __init__(self, preserve, args):
        self.preserve = preserve
        self.device_type = _infer_device_type(*args)
        self.autocast = []
        for kind in dict.fromkeys((self.device_type, "cpu")):
            if kind == "cpu" or flambeau.amp.is_autocast_available(kind):
                options = {
                    "enabled": flambeau.is_autocast_enabled(kind),
                    "dtype": flambeau.get_autocast_dtype(kind),
                    "cache_enabled": flambeau.is_autocast_cache_enabled(),
                }
                if options["enabled"]:
                    self.autocast.append((kind, options))
        if preserve:
            self.state = flambeau.get_rng_state()
            self.devices, self.states = get_device_states(*args)

    @contextmanager
    def again(self):
        """Inside, the surroundings are what they were."""
        devices = self.devices if self.preserve else []
        # Where autocast was off it must be off again, even if backward is called under it.
        casts = self.autocast or [("cpu", {"enabled": False})]
        with flambeau.random.fork_rng(devices=devices, enabled=self.preserve, device_type=self.device_type):
            if self.preserve:
                flambeau.set_rng_state(self.state)
                set_device_states(self.devices, self.states, device_type=self.device_type)
            if not self.autocast and not flambeau.is_autocast_enabled("cpu"):
                yield
                return
            kind, options = casts[0]
            with flambeau.amp.autocast(kind, **options):
                yield


# ---- the reentrant form ------------------------------------------------------------------------------------------
def detach_variable(inputs):
    """The same tuple with its tensors cut off from their history; whether they require gradients stays."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(x.detach().requires_grad_(x.requires_grad) if isinstance(x, flambeau.Tensor) else x for x in inputs)


def check_backward_validity(inputs) -> None:
    """Warns if there is nothing to differentiate."""
    if not any(x.requires_grad for x in inputs if isinstance(x, flambeau.Tensor)):
        warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


class CheckpointFunction(flambeau.autograd.Function):
    """The reentrant form: forward without a graph; backward runs forward again, with one, and differentiates that."""

    @staticmethod
    def forward(ctx, run_function, preserve_rng_state, *args):
        """Runs the part without recording anything."""
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.surroundings = _Surroundings(preserve_rng_state, args)
        ctx.inputs = [None if isinstance(x, flambeau.Tensor) else x for x in args]
        ctx.tensor_indices = [i for i, x in enumerate(args) if isinstance(x, flambeau.Tensor)]
        ctx.save_for_backward(*(args[i] for i in ctx.tensor_indices))
        with flambeau.no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx, *args):
        """Runs the part again and differentiates it."""
        if not flambeau.autograd._is_checkpoint_valid():
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` "
                "parameter to .backward(). To resolve this error, you can either set use_reentrant=False, or call "
                ".backward() without passing the `inputs` argument."
            )
        inputs = list(ctx.inputs)
        for i, tensor in zip(ctx.tensor_indices, ctx.saved_tensors, strict=True):
            inputs[i] = tensor
        inputs = detach_variable(tuple(inputs))
        with ctx.surroundings.again(), flambeau.enable_grad():
            outputs = ctx.run_function(*inputs)
        outputs = (outputs,) if isinstance(outputs, flambeau.Tensor) else outputs
        pairs = [
            (out, grad)
            for out, grad in zip(outputs, args, strict=False)
            if isinstance(out, flambeau.Tensor) and out.requires_grad
        ]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        flambeau.autograd.backward(*zip(*pairs, strict=True))
        return None, None, *(x.grad if isinstance(x, flambeau.Tensor) else None for x in inputs)


# ---- the other form ----------------------------------------------------------------------------------------------
class _Stop(Exception):
    """Raised when the second run has made all that is needed."""


class GraphExecGroup:
    """Inside, the backward passes together run a part again at most once (`use_reentrant=False` only).

    They must need different tensors of it, even with `retain_graph`.

    >>> x = flambeau.ones(2, requires_grad=True)
    >>> runs = []
    >>> def part(x):
    ...     runs.append(1)
    ...     return x.sin(), x.exp()
    >>> a, b = flambeau.utils.checkpoint.checkpoint(part, x, use_reentrant=False)
    >>> with flambeau.utils.checkpoint.GraphExecGroup():
    ...     a.sum().backward()
    ...     b.sum().backward()
    >>> len(runs)
    2
    """

    def __enter__(self):
        inside = flambeau._C._get_graph_exec_group()
        if inside is not None:
            raise RuntimeError(f"GraphExecGroup contexts cannot be nested. Already inside group {inside}")
        flambeau._C._set_graph_exec_group(self)
        return self

    def __exit__(self, *error):
        flambeau._C._set_graph_exec_group(None)

    @classmethod
    def _get_current_group(cls):
        """The group that this runs in, or None."""
        return flambeau._C._get_graph_exec_group()


class _Holder:
    """Stands in the graph for a tensor that is not kept."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number):
        self.number = number


_TWICE = "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked once. "
_OVERLAP = (
    "Performing two backward calls that overlap (i.e. require the same saved activation in order to compute gradients) "
    "is not allowed while under the torch.utils.checkpoint.GraphExecGroup context. "
)
_ONCE = (
    "If you are calling ctx.saved_tensors in backward, make sure to do so only once. Otherwise please open an issue with "
    "details on your use case."
)


_TIP = """
Tip: To see a more detailed error message, either pass `debug=True` to
`torch.utils.checkpoint.checkpoint(...)` or wrap the code block
with `with torch.utils.checkpoint.set_checkpoint_debug_enabled(True):` to
enable checkpoint\u2011debug mode globally.

If this error occurs under torch.compile with automatic_dynamic_shapes enabled,
it may be because the recomputation selected a different compiled graph than the
forward pass (e.g., a dynamic graph instead of the original static graph).
To fix this, either:
  - Use torch._dynamo.mark_dynamic() to explicitly mark varying dimensions as
    dynamic upfront, avoiding the static-to-dynamic transition.
  - Call torch._C._dynamo.eval_frame._set_lru_cache(False) to disable LRU cache
    reordering, which can change which graph is checked first between forward
    and recompute.
See https://github.com/pytorch/pytorch/issues/166926 for more details and
workaround examples.
"""


class _Keep(flambeau.autograd.Function):
    """A node that only saves tensors: outer checkpoints then treat the inputs of inner ones like all saved tensors."""

    @staticmethod
    def forward(ctx, dummy, *tensors):
        """Saves the tensors."""
        ctx.save_for_backward(*tensors)
        return dummy.new_empty(0)

    @staticmethod
    def backward(ctx, *grads):
        """Never called: nothing depends on the result."""
        raise AssertionError("nothing depends on this node")


class _Frame:
    """One call of `checkpoint`: how to run it again, and what the second run made."""

    def __init__(self, run, args, early_stop, metadata, explain=None):
        self.run = run
        self.explain = explain  # what both runs did, as text, where `debug` asks for it
        self.early_stop = early_stop
        self.metadata = metadata
        self.holders = []  # weak: a part of the graph that is gone needs nothing
        self.expected = []  # metadata of what the first run saved
        self.values = {}  # number of a holder -> what the second run saved there
        self.values_of = None  # the backward pass, or group of them, that the second run was for
        self.count = 0
        self.args = [None if isinstance(x, flambeau.Tensor) else x for x in args]
        self.where = [i for i, x in enumerate(args) if isinstance(x, flambeau.Tensor)]
        self.grads = [args[i].requires_grad for i in self.where]
        dummy = flambeau.empty((0,), requires_grad=True)
        self.kept = _Keep.apply(dummy, *(args[i] for i in self.where)).grad_fn

    def pack(self, x):
        holder = _Holder(len(self.holders))
        self.holders.append(weakref.ref(holder))
        self.expected.append(self.metadata(x))
        return holder

    def unpack(self, holder):
        group = GraphExecGroup._get_current_group()
        asks = group or flambeau._C._current_graph_task_id()
        if asks == -1:
            asks = object()  # outside of a backward pass each look is one of its own
        try:
            if asks != self.values_of:
                self.again()
                self.values_of = asks
            if holder.number not in self.values:
                raise CheckpointError(_TWICE + (_OVERLAP if group is not None else "") + _ONCE)
        except CheckpointError as error:
            if self.explain is None:
                raise
            raise CheckpointError(self.explain()) from error
        return self.values.pop(holder.number)

    def again(self):
        args = list(self.args)
        for i, tensor, grad in zip(self.where, self.kept.saved_tensors, self.grads, strict=True):
            args[i] = tensor if tensor.requires_grad == grad else tensor.detach().requires_grad_(grad)
        self.values.clear()
        self.values_of = None
        self.count = 0
        try:
            with saved_tensors_hooks(self.collect, lambda x: x), flambeau.enable_grad():
                self.run(*args)
        except _Stop:
            pass
        self.check()

    def collect(self, x):
        x = x.detach() if x.requires_grad else x  # not into a cycle with the graph of the second run
        number, self.count = self.count, self.count + 1
        if number >= len(self.holders):
            raise CheckpointError(
                "torch.utils.checkpoint: trying to save more tensors during recomputation than during the original "
                f"forward pass.\n{_TIP}"
            )
        if self.holders[number]() is not None:
            self.values[number] = x
        if self.early_stop and self.count == len(self.holders):
            raise _Stop
        return x

    def check(self):
        if self.count != len(self.holders):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.holders)}\n"
                f"Number of tensors saved during recomputation: {self.count}.\n{_TIP}"
            )
        different = [
            f"tensor at position {i}:\nsaved metadata: {self.expected[i]}\nrecomputed metadata: {self.metadata(x)}\n"
            for i, x in sorted(self.values.items())
            if self.metadata(x) != self.expected[i]
        ]
        if different:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                f"during the forward pass.\n{''.join(different)}.\n{_TIP}"
            )


_METADATA = {
    _DEFAULT_DETERMINISM_MODE: lambda x: {"shape": x.shape, "dtype": x.dtype, "device": x.device},
    "none": lambda x: None,
}


def _without_reentry(function, preserve, context_fn, determinism_check, debug, early_stop, args, kwargs):
    if debug if _checkpoint_debug_enabled is None else _checkpoint_debug_enabled:
        if context_fn is not noop_context_fn:
            raise ValueError("debug=True is incompatible with non-default context_fn")
        from flambeau.utils._checkpoint_debug import Log, report

        logs = Log(), Log()
        context_fn, explain = (lambda: logs), lambda: report(*logs)
    else:
        explain = None
    if determinism_check not in _METADATA:
        raise ValueError(f"determinism_check should be one of {list(_METADATA)}, but got {determinism_check}")
    first, second = context_fn()
    surroundings = _Surroundings(preserve, args)

    def run(*args):
        with surroundings.again(), second:
            function(*args, **kwargs)

    if not flambeau.is_grad_enabled():
        return function(*args, **kwargs)
    stop = early_stop if _enable_checkpoint_early_stop is None else _enable_checkpoint_early_stop
    frame = _Frame(run, args, stop, _METADATA[determinism_check], explain)
    with saved_tensors_hooks(frame.pack, frame.unpack), first:
        return function(*args, **kwargs)


# ---- what is called ----------------------------------------------------------------------------------------------
def checkpoint(
    function,
    *args,
    use_reentrant: bool | None = None,
    context_fn=noop_context_fn,
    determinism_check: str = _DEFAULT_DETERMINISM_MODE,
    debug: bool = False,
    early_stop: bool = True,
    **kwargs,
):
    """`function(*args, **kwargs)`, whose intermediate tensors are computed again in the backward pass, not kept.

    Args:
        function: the part; it must do the same when it is called again
        use_reentrant: which form (see the top of this file); False is the better one
        preserve_rng_state: give the second run the random numbers of the first (True if not given)
        context_fn: makes two contexts, for the first and the second run
        determinism_check: compare shapes, dtypes and devices of both runs ("default") or not ("none")
        debug: log both runs, and show the logs in the error where they differ
        early_stop: stop the second run when all that is needed is there

    >>> x = flambeau.ones(2, requires_grad=True)
    >>> y = flambeau.utils.checkpoint.checkpoint(lambda x: x.sin().exp(), x, use_reentrant=False)
    >>> y.sum().backward()
    >>> flambeau.allclose(x.grad, (x.cos() * x.sin().exp()).detach())
    True
    """
    use_reentrant = _given(use_reentrant, "torch.utils.checkpoint", "Starting in PyTorch 2.9, calling checkpoint "
                           "without use_reentrant will raise an exception.")  # fmt: skip
    preserve = kwargs.pop("preserve_rng_state", True)
    if not use_reentrant:
        return _without_reentry(function, preserve, context_fn, determinism_check, debug, early_stop, args, kwargs)
    _no_more(kwargs)
    if context_fn is not noop_context_fn or debug is not False:
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    return _with_reentry(function, preserve, args)


def _with_reentry(function, preserve, args):
    return CheckpointFunction.apply(function, preserve, *args)


def _given(use_reentrant, name, since):
    if use_reentrant is not None:
        return use_reentrant
    warn(
        f"{name}: the use_reentrant parameter should be passed explicitly. {since} use_reentrant=False is recommended, "
        "but if you need to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for "
        "more details on the differences between the two variants.",
        stacklevel=3,
    )
    return True


def _no_more(kwargs):
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))


def checkpoint_sequential(functions, segments, input, use_reentrant=None, **kwargs):
    """A sequence of functions in `segments` parts, of which all but the last are checkpointed."""
    use_reentrant = _given(use_reentrant, "torch.utils.checkpoint.checkpoint_sequential", "In version 2.9 we will raise "
                           "an exception if use_reentrant is not passed.")  # fmt: skip
    preserve = kwargs.pop("preserve_rng_state", True)
    _no_more(kwargs)
    if isinstance(functions, flambeau.nn.Sequential):
        functions = list(functions.children())

    def chain(part):
        def run(x):
            for function in part:
                x = function(x)
            return x

        return run

    size = len(functions) // segments
    last = 0
    for start in range(0, size * (segments - 1), size):
        last = start + size
        input = checkpoint(
            chain(functions[start:last]), input, use_reentrant=use_reentrant, preserve_rng_state=preserve
        )
    return chain(functions[last:])(input)


def __getattr__(name):
    if name == "SAC_IGNORED_OPS":  # when it is asked for: this file does without the table of operators
        return _selective.ignored()
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

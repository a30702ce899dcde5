"""Selective checkpointing: which operators of a checkpointed part keep their results. `utils.checkpoint` gives it out.

Two modes share a store: under the first run, results that the policy wants are put there; under the second they are
taken out, each once, in the order of the operator's calls.
"""

import enum
import functools
from collections import defaultdict

import flambeau
from flambeau.utils._python_dispatch import TorchDispatchMode
from flambeau.utils._pytree import tree_map


class CheckpointPolicy(enum.Enum):
    """Whether an operator's result is kept or computed again; MUST binds programs that reorder the work, PREFER does not."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


class SelectiveCheckpointContext:
    """What a policy is told besides the call: the operator's result."""

    def __init__(self, *, is_recompute, op_output=None) -> None:
        self.is_recompute = is_recompute
        self.op_output = op_output


_SAVED = (CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE)
_RECOMPUTE, _CONSUMED = object(), object()
_DIFFERENT = (
    "This can happen if the operations in the checkpointed region are nondeterministic or depend on global state that "
    "changed between forward and backward."
)


@functools.cache
def ignored():
    """The operators that policies are not asked about. Looking at shapes and devices is no operator here."""
    return {flambeau.ops.aten.detach.default}


class _Kept:
    """A tensor that the first run keeps, and its version then."""

    def __init__(self, value):
        self.value = value.detach() if isinstance(value, flambeau.Tensor) else value
        self.version = value._version if isinstance(value, flambeau.Tensor) else None

    def get(self, may_change):
        if self.version is not None and not may_change and self.value._version != self.version:
            raise RuntimeError("Tensor cached during selective activation checkpoint has been mutated")
        return self.value


class _CachingTorchDispatchMode(TorchDispatchMode):
    """The first run: asks the policy about each operator, and keeps the results that it wants kept."""

    def __init__(self, policy_fn, storage, ac_graph_id=None) -> None:
        self.policy_fn, self.storage, self.ac_graph_id = policy_fn, storage, ac_graph_id
        self.func_counter = defaultdict(int)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Runs the operator."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in ignored():
            return out
        number = self.func_counter[func]
        self.func_counter[func] += 1
        told = SelectiveCheckpointContext(is_recompute=False, op_output=out)
        policy = self.policy_fn(told, func, *args, **kwargs)
        keep = policy if isinstance(policy, bool) else policy in _SAVED
        self.storage[func][number] = tree_map(_Kept, out) if keep else _RECOMPUTE
        return out


class _CachedTorchDispatchMode(TorchDispatchMode):
    """The second run: gives what was kept, and computes the rest."""

    def __init__(self, policy_fn, storage, allow_cache_entry_mutation=False) -> None:
        self.storage, self.allow_cache_entry_mutation = storage, allow_cache_entry_mutation
        self.func_counter = defaultdict(int)

    def __enter__(self):
        self.func_counter.clear()
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Gives the kept result, or runs the operator."""
        if func in ignored():
            return func(*args, **(kwargs or {}))
        number = self.func_counter[func]
        self.func_counter[func] += 1
        entries = self.storage.get(func)
        if entries is None:
            raise RuntimeError(f"{func} encountered during backward but not found in storage. {_DIFFERENT}")
        entry = entries.get(number)
        if entry is None:
            raise RuntimeError(
                f"{func} invocation index {number} encountered during backward but not found in storage. {_DIFFERENT}"
            )
        if entry is _CONSUMED:
            raise RuntimeError(
                "Trying to backward an extra time. You are only allowed to backward once on any region computed under "
                "selective activation checkpoint."
            )
        if entry is _RECOMPUTE:
            return func(*args, **(kwargs or {}))
        entries[number] = _CONSUMED
        return tree_map(lambda kept: kept.get(self.allow_cache_entry_mutation), entry)


def create_selective_checkpoint_contexts(policy_fn_or_list, allow_cache_entry_mutation=False):
    """Two contexts for `checkpoint(context_fn=...)`, under which the results of some operators are kept.

    Args:
        policy_fn_or_list: `policy(ctx, op, *args, **kwargs)`, which gives a CheckpointPolicy; or a list of operators to keep
        allow_cache_entry_mutation: do not look whether a kept tensor was written since

    >>> import functools
    >>> from flambeau.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
    >>> keep = functools.partial(create_selective_checkpoint_contexts, [flambeau.ops.aten.mm.default])
    >>> x = flambeau.ones(2, 2, requires_grad=True)
    >>> y = checkpoint(lambda x: (x @ x).sigmoid(), x, use_reentrant=False, context_fn=keep)
    >>> y.sum().backward()  # runs sigmoid again, mm not
    """
    if isinstance(policy_fn_or_list, list):
        for op in policy_fn_or_list:
            if not isinstance(op, flambeau._ops.OpOverload):
                packet = isinstance(op, flambeau._ops.OpOverloadPacket)
                hint = (
                    "Please update the OpOverloadPacket to a specific OpOverload.For example, if you have "
                    "`torch.ops.aten.mm`, change it to `torch.ops.aten.mm.default`."
                )
                raise ValueError(
                    f"Expected op in `op_list` to be an OpOverload but got: {op} of type {type(op)}. {hint if packet else ''}"
                )

        def policy(ctx, op, *args, **kwargs):
            listed = op in policy_fn_or_list
            return CheckpointPolicy.MUST_SAVE if listed else CheckpointPolicy.PREFER_RECOMPUTE

    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    storage = defaultdict(dict)
    return (
        _CachingTorchDispatchMode(policy, storage),
        _CachedTorchDispatchMode(None, storage, allow_cache_entry_mutation),
    )

"""`Optimizer`: parameter groups, per-parameter state, hooks and their files; and what every optimizer shares.

Not here: any update rule.  Each optimizer is one file with one update function over one parameter; PyTorch's
foreach, fused and capturable variants are the same function here, so those flags are only checked.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import update_wrapper, wraps
from itertools import chain
from typing import Any, TypeAlias
from warnings import warn

import flambeau
from flambeau import Tensor
from flambeau._C import _set_grad_enabled
from flambeau.utils.hooks import RemovableHandle

__all__ = ["Optimizer", "register_optimizer_step_pre_hook", "register_optimizer_step_post_hook"]

Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]
StateDict: TypeAlias = dict[str, Any]
DeviceDict: TypeAlias = dict[Any, Tensor]
DeviceDtypeDict: TypeAlias = dict[Any, Tensor]
GlobalOptimizerPreHook: TypeAlias = Callable[["Optimizer", Args, Kwargs], tuple[Args, Kwargs] | None]
GlobalOptimizerPostHook: TypeAlias = Callable[["Optimizer", Args, Kwargs], None]
ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

PLAIN = (flambeau.nn.Parameter, Tensor)
FLOATS = (flambeau.float32, flambeau.float64)

_global_optimizer_pre_hooks: dict[int, GlobalOptimizerPreHook] = OrderedDict()
_global_optimizer_post_hooks: dict[int, GlobalOptimizerPostHook] = OrderedDict()


class _RequiredParameter:
    """Stands for the default of an option that every group must give."""

    def __repr__(self):
        return "<required parameter>"


required = _RequiredParameter()


def register_optimizer_step_pre_hook(hook):
    """Calls `hook(optimizer, args, kwargs)` before the step of every optimizer.

    What it returns, if not None, replaces `(args, kwargs)`.
    """
    return _register(_global_optimizer_pre_hooks, hook)


def register_optimizer_step_post_hook(hook):
    """Calls `hook(optimizer, args, kwargs)` after the step of every optimizer."""
    return _register(_global_optimizer_post_hooks, hook)


def _register(hooks, hook, prepend=False):
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


_HOOKS = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


class Optimizer:
    """Base of all optimizers.

    Args:
        params: tensors, or `(name, tensor)` pairs, or dictionaries `{"params": ..., option: value}` (the groups)
        defaults: the options of groups that do not give their own
    """

    OptimizerPreHook: TypeAlias = Callable[["Optimizer", Args, Kwargs], tuple[Args, Kwargs] | None]
    OptimizerPostHook: TypeAlias = Callable[["Optimizer", Args, Kwargs], None]

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        for name in _HOOKS:
            setattr(self, name, OrderedDict())
        self._patch_step_function()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + flambeau.typename(params)
            )
        self.state: defaultdict[Tensor, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        self._warned_capturable_if_run_uncaptured = True

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state):
        self.__dict__.update(state)
        for name in _HOOKS:
            if name not in self.__dict__:
                setattr(self, name, OrderedDict())
        self._patch_step_function()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self):
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            options = "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
            text += f"\nParameter Group {i}\n{options}"
        return text + ")"

    # ---- the groups ----------------------------------------------------------------------------------------------
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters; options that it does not name are the defaults.

        >>> net = flambeau.nn.Linear(2, 1)
        >>> optimizer = flambeau.optim.SGD([net.weight], lr=0.1)
        >>> optimizer.add_param_group({"params": net.bias, "lr": 0.01})
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1, 0.01]
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [param[0] for param in params if isinstance(param, tuple)]
        params = [param[1] if isinstance(param, tuple) else param for param in params]
        param_group["params"] = params
        if names:
            if len(names) != len(params):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            param_group["param_names"] = names
        self._check_params(params)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        if len(params) != len(set(params)):
            warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        named = "param_names" in param_group
        for group in self.param_groups:
            if named != ("param_names" in group):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if named else 'without'} names to the optimizer"
                )
        if not set(params).isdisjoint(chain.from_iterable(group["params"] for group in self.param_groups)):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def _check_params(self, params):
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is " + flambeau.typename(param)
                )
            if not (self.defaults.get("differentiable", None) or param.is_leaf or param.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")

    def _collect(self, group, *entries):
        """The parameters that have a gradient, the gradients, and each named entry of their states (or None).

        A parameter seen for the first time gets its state from `_new_state(param, group)`.
        """
        params, grads, states = [], [], []
        for p in group["params"]:  # hot: once per parameter and step
            grad = p.grad
            if grad is None:
                continue
            if grad.is_sparse:
                self._check_sparse(group)
            state = self.state[p]
            if not state:
                if group.get("fused"):
                    _device_dtype_check_for_fused(p)
                state.update(self._new_state(p, group))
            params.append(p)
            grads.append(grad)
            states.append(state)
        return params, grads, *([state.get(entry) for state in states] for entry in entries)

    def _check_sparse(self, group):
        """Called when a gradient is sparse; optimizers that can use it override this."""
        raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters, or sets them to zero if not `set_to_none`."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:  # whatever there was: a compiled step is the same for all that there may have been
                    p.grad = None
                    continue
                if p.grad is None:
                    continue
                if p.grad.grad_fn is not None:
                    p.grad.detach_()
                else:
                    p.grad.requires_grad_(False)
                p.grad.zero_()

    # ---- the step ------------------------------------------------------------------------------------------------
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Updates the parameters; `closure`, if given, computes the loss first (with gradients) and returns it."""
        raise NotImplementedError

    def _optimizer_step_code(self) -> None:
        """Called after each step; a name that profilers look for."""

    def _accelerator_graph_capture_health_check(self) -> None:
        """Nothing to check: no device of ours records its calls to replay them."""

    _cuda_graph_capture_health_check = _accelerator_graph_capture_health_check

    @staticmethod
    def profile_hook_step(func):
        """Surrounds a step function by the hooks, and by a profiler's mark while one is running."""

        @wraps(func)
        def wrapper(*args, **kwargs):  # hot: called once per training step
            self = args[0]
            if _profiling():
                with flambeau.autograd.profiler.record_function(f"Optimizer.step#{type(self).__name__}.step"):
                    return hooked(self, args, kwargs)
            return hooked(self, args, kwargs)

        def hooked(self, args, kwargs):
            if _global_optimizer_pre_hooks or self._optimizer_step_pre_hooks:
                args, kwargs = self._run_pre_hooks(func, args, kwargs)
            out = func(*args, **kwargs)
            self._optimizer_step_code()
            if _global_optimizer_post_hooks or self._optimizer_step_post_hooks:
                for hook in chain(self._optimizer_step_post_hooks.values(), _global_optimizer_post_hooks.values()):
                    hook(self, args, kwargs)
            return out

        return wrapper

    def _run_pre_hooks(self, func, args, kwargs):
        for hook in chain(_global_optimizer_pre_hooks.values(), self._optimizer_step_pre_hooks.values()):
            result = hook(self, args, kwargs)
            if result is None:
                continue
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError(f"{func} must return None or a tuple of (new_args, new_kwargs), but got {result}.")
            args, kwargs = result
        return args, kwargs

    def _patch_step_function(self) -> None:
        cls = type(self)
        self._zero_grad_profile_name = f"Optimizer.zero_grad#{cls.__name__}.zero_grad"
        if not getattr(cls.step, "hooked", None):
            cls.step = self.profile_hook_step(cls.step)
            cls.step.hooked = True

    @staticmethod
    def _group_tensors_by_device_and_dtype(tensorlistlist, with_indices=False):
        from flambeau.utils._foreach_utils import _group_tensors_by_device_and_dtype

        return _group_tensors_by_device_and_dtype(tensorlistlist, with_indices)

    # ---- hooks ---------------------------------------------------------------------------------------------------
    def register_step_pre_hook(self, hook):
        """Calls `hook(optimizer, args, kwargs)` before each step; what it returns replaces `(args, kwargs)`."""
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook):
        """Calls `hook(optimizer, args, kwargs)` after each step."""
        return _register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook, prepend=False):
        """Calls `hook(optimizer)` before each `state_dict()`."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook, prepend=False):
        """Calls `hook(optimizer, state_dict)` after each `state_dict()`; what it returns replaces the dictionary."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook, prepend=False):
        """Calls `hook(optimizer, state_dict)` before each load; what it returns replaces the dictionary."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook, prepend=False):
        """Calls `hook(optimizer)` after each load."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # ---- files ---------------------------------------------------------------------------------------------------
    def state_dict(self) -> StateDict:
        """The state and the groups, with each parameter replaced by its number.

        >>> p = flambeau.nn.Parameter(flambeau.zeros(2))
        >>> flambeau.optim.SGD([p], lr=0.5).state_dict()["param_groups"][0]["params"]
        [0]
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        start = 0
        for group in self.param_groups:
            for i, p in enumerate(group["params"], start):
                numbers.setdefault(id(p), i)
            start += len(group["params"])
            packed = {key: value for key, value in group.items() if key != "params"}
            groups.append({**packed, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers[id(k)] if isinstance(k, Tensor) else k: value for k, value in self.state.items()}
        state_dict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            result = hook(self, state_dict)
            state_dict = state_dict if result is None else result
        return state_dict

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Takes over what `state_dict()` gave; tensors are cast to the parameters' dtype and device."""
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            result = hook(self, state_dict)
            state_dict = state_dict if result is None else result
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(g["params"]) != len(s["params"]) for g, s in zip(groups, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        params = {
            number: p
            for group, save in zip(groups, saved, strict=True)
            for number, p in zip(save["params"], group["params"], strict=True)
        }
        original = state_dict["param_groups"]
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in params:
                state[params[key]] = _cast(params[key], value, key, original)
            else:
                state[key] = value
        for group, save in zip(groups, saved, strict=True):
            save["params"] = group["params"]
            if "param_names" in group:
                save.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    @staticmethod
    def _process_value_according_to_param_policy(param, value, param_id, param_groups, key=None):
        """A loaded tensor in the parameter's dtype and on its device; step counters keep theirs."""
        group = next((g for g in param_groups if param_id in g["params"]), {})
        if key == "step":
            if group.get("capturable", False) or group.get("fused", False):
                return value.to(dtype=flambeau.float32, device=param.device)
            return value
        if param.is_floating_point():
            return value.to(dtype=param.dtype, device=param.device)
        return value.to(device=param.device)


def _cast(param, value, param_id, param_groups, key=None):
    if isinstance(value, Tensor):
        return Optimizer._process_value_according_to_param_policy(param, value, param_id, param_groups, key)
    if isinstance(value, dict):
        return {k: _cast(param, v, param_id, param_groups, k) for k, v in value.items()}
    if isinstance(value, Iterable):
        return type(value)(_cast(param, v, param_id, param_groups) for v in value)
    return value


def _profiling():
    """Is a profiler running?"""
    enabled = getattr(flambeau.autograd, "_profiler_enabled", None)
    return enabled is not None and enabled()


# ---- what the update functions share -----------------------------------------------------------------------------
def _use_grad_for_differentiable(step):
    """Runs a step without gradients, or with them if the optimizer is `differentiable`."""

    def wrapper(*args, **kwargs):
        before = flambeau.is_grad_enabled()
        try:
            _set_grad_enabled(args[0].defaults["differentiable"])
            return step(*args, **kwargs)
        finally:
            _set_grad_enabled(before)

    return update_wrapper(wrapper, step)


def _evaluate(closure):
    """The loss that a step returns: the closure's, computed with gradients."""
    if closure is None:
        return None
    with flambeau.enable_grad():
        return closure()


def _options(group, *names):
    return {name: group[name] for name in names}


def _expect(condition, message):
    if not condition:
        raise ValueError(message)


def _check_lr(lr, message="Invalid learning rate: "):
    _expect(not isinstance(lr, Tensor) or lr.numel() == 1, "Tensor lr must be 1-element")
    _expect(lr >= 0.0, f"{message}{lr}")


def _check_betas(betas):
    for i, beta in enumerate(betas[:2]):
        _expect(0.0 <= beta < 1.0, f"Invalid beta parameter at index {i}: {beta}")


def _check_fused(optimizer, fused, differentiable, foreach):
    if not fused:
        return
    if differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    optimizer._step_supports_amp_scaling = True
    optimizer._need_device_dtype_check_for_fused = True


def _check_steps(tensors, name="state_steps"):
    for t in tensors:
        if not isinstance(t, Tensor):
            raise RuntimeError(f"API has changed, `{name}` argument must contain a list of singleton tensors")


def _check_capturable(capturable, param, *scalars, names="params and state_steps", supports_xla=True):
    """`capturable` asks for scalars on the parameter's device, which must be an accelerator."""
    if not capturable:
        return
    devices = _get_capturable_supported_devices(supports_xla)
    if param.device.type not in devices or any(t.device.type != param.device.type for t in scalars):
        raise AssertionError(f"If capturable=True, {names} must be on supported devices: {devices}.")


def _scalar(value, param, group):
    """A counter of a parameter's state: a tensor, beside the parameter only where a device must read it."""
    fused = group.get("fused")
    device = param.device if fused or group.get("capturable") else None
    return flambeau.tensor(value, dtype=_get_scalar_dtype(fused), device=device)


def _zeros(param):
    return flambeau.zeros_like(param, memory_format=flambeau.preserve_format)


def _modernise(optimizer, *scalars, **options):
    """Brings older files up to date: options that groups lack, and counters that were Python numbers."""
    for group in optimizer.param_groups:
        for name, value in options.items():
            group.setdefault(name, value)
        for p in group["params"]:
            state = optimizer.state.get(p, {})
            for name in scalars:
                if name in state and not isinstance(state[name], Tensor):
                    state[name] = _scalar(float(state[name]), p, group)


def _infinite(found_inf):
    """Did a loss scaler find that gradients hold infinities or NaN?"""
    return bool(found_inf.item())


def _unscale(grads, grad_scale, found_inf):
    """Divides gradients by a loss scaler's factor; False if one was infinite and the step must be left out."""
    if found_inf is not None and _infinite(found_inf):
        return False
    if grad_scale is not None:
        for grad in grads:
            grad.div_(grad_scale.to(grad.device))
    return True


def _plain(params):  # hot: once per training step
    """Can all parameters be stepped in one call?"""
    for p in params:
        if type(p) not in PLAIN or p.dtype not in FLOATS or p.device.type != "cpu":
            return False
    return bool(params)


def _reals(*tensors):
    """Complex tensors as real ones with a last dimension of 2; None stays None."""
    return [t if t is None else flambeau.view_as_real(t) for t in tensors]


def _view_as_real(params, *state_and_grads):
    """Replaces the complex tensors in lists by their real views."""
    for i, p in enumerate(params):
        if p.is_complex():
            for tensors in (params, *state_and_grads):
                tensors[i] = flambeau.view_as_real(tensors[i])


def _get_value(x):
    if not isinstance(x, Tensor):
        return x
    return x.double() if flambeau.compiler.is_compiling() else x.item()


def _add_quotient(param, x, y, rate):
    """`param += rate * x / y`, where the rate may be a tensor: in what is compiled it is."""
    if isinstance(rate, Tensor):
        param.addcdiv_(x * rate, y)
    else:
        param.addcdiv_(x, y, value=rate)


def _to_scalar(x):
    """A one-element tensor without its dimensions; numbers as they are."""
    return x.squeeze() if isinstance(x, Tensor) and x.dim() != 0 else x


def _stack_if_compiling(x):
    return flambeau.stack(x) if flambeau.compiler.is_compiling() else x


def _get_scalar_dtype(is_fused=None):
    if is_fused or flambeau.get_default_dtype() != flambeau.float64:
        return flambeau.float32
    return flambeau.float64


def _get_capturable_supported_devices(supports_xla=True):
    return ["cuda", "xpu", "hpu", "privateuseone"] + ["xla"] * supports_xla


def _default_to_fused_or_foreach(params, differentiable, use_fused=False):
    """PyTorch's choice between its variants, as (fused, foreach): foreach where all tensors are on an accelerator."""
    from flambeau.utils._foreach_utils import (
        _get_foreach_kernels_supported_devices,
        _get_fused_kernels_supported_devices,
    )

    if differentiable:
        return False, False
    plain = [p for p in params if p is not None]
    standard = all(type(p) in (Tensor, flambeau.nn.Parameter) for p in plain)
    fusable, listable = _get_fused_kernels_supported_devices(), _get_foreach_kernels_supported_devices()
    fused = use_fused and standard and all(p.device.type in fusable and p.is_floating_point() for p in plain)
    return fused, not fused and standard and all(p.device.type in listable for p in plain)


def _device_dtype_check_for_fused(p, cuda_unsupported=False):
    from flambeau.utils._foreach_utils import _get_fused_kernels_supported_devices

    devices = [d for d in _get_fused_kernels_supported_devices() if not (cuda_unsupported and d == "cuda")]
    if not (p.device.type in devices and p.is_floating_point()):
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of supported devices: "
            f"{devices} but {p.dtype} and {p.device.type}"
        )


def _disable_dynamo_if_unsupported(single_tensor_fn=None):
    """A decorator that changes nothing: there is no function that `compile` must not enter."""
    return lambda func: func


_params_doc = "params (iterable): parameters, named parameters, or groups of them (dictionaries)"
_foreach_doc = "foreach (bool, optional): accepted; all parameters are updated by one function (default: None)"
_fused_doc = "fused (bool, optional): accepted; needs floating point parameters (default: None)"
_capturable_doc = "capturable (bool, optional): keep counters on the parameters' accelerator (default: False)"
_differentiable_doc = "differentiable (bool, optional): let gradients flow through the step (default: False)"
_maximize_doc = "maximize (bool, optional): ascend instead of descending (default: False)"

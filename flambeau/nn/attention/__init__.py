"""Which implementations of scaled dot product attention may be used, and biases for it."""

import contextlib
import logging
from enum import Enum

import flambeau
from flambeau._ground.submodules import on_demand

__all__ = [
    "SDPBackend",
    "sdpa_kernel",
    "WARN_FOR_UNFUSED_KERNELS",
    "register_flash_attention_impl",
    "activate_flash_attention_impl",
    "list_flash_attention_impls",
    "current_flash_attention_impl",
    "restore_flash_attention_impl",
]

WARN_FOR_UNFUSED_KERNELS = False

_log = logging.getLogger(__name__)


class SDPBackend(Enum):
    """An implementation of scaled dot product attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __int__(self):
        return self.value

    __index__ = __int__


# the name in flambeau.backends.cuda -> backend
_SWITCHES = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "mem_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_priority = [SDPBackend(n) for n in (1, 2, 0, 3, 4)]


def _backend_from_string(name):
    return getattr(SDPBackend, name)


def _cur_sdpa_kernel_backends(with_priority=False):
    """The backends that are enabled."""
    cuda = flambeau.backends.cuda
    enabled = [backend for name, backend in _SWITCHES.items() if getattr(cuda, f"{name}_sdp_enabled")()]
    return sorted(enabled, key=_priority.index) if with_priority else enabled


def _sdpa_kernel(backends, set_priority=False):
    """Enables these backends and no others."""
    for name, backend in _SWITCHES.items():
        getattr(flambeau.backends.cuda, f"enable_{name}_sdp")(backend in backends)
    if set_priority:
        _priority[:] = [*backends, *(b for b in _priority if b not in backends)]


@contextlib.contextmanager
def sdpa_kernel(backends, set_priority=False):
    """Inside, only these backends may compute attention; ``set_priority`` prefers them in their order.

    >>> with sdpa_kernel(SDPBackend.MATH):
    ...     _cur_sdpa_kernel_backends()
    [<SDPBackend.MATH: 0>]
    """
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
            f"{type(backends).__name__}"
        )
    backends = [backends] if isinstance(backends, SDPBackend) else list(dict.fromkeys(backends))
    before = _cur_sdpa_kernel_backends(with_priority=set_priority)
    try:
        _sdpa_kernel(backends, set_priority)
        yield {}
    finally:
        _sdpa_kernel(before, set_priority)


@contextlib.contextmanager
def _sdpa_kernel_variadic(*backends):
    with sdpa_kernel(list(backends)):
        yield


_implementations = {}  # name -> the function that puts it in place and returns a handle to take it out
_active = []  # the (name, handle) in place, if any


def register_flash_attention_impl(impl, *, register_fn):
    """Makes an implementation known: ``register_fn`` puts it in place and returns a handle with ``remove()``."""
    _implementations[impl] = register_fn


def activate_flash_attention_impl(impl):
    """Puts a registered implementation in place."""
    restore_flash_attention_impl(_raise_warn=False)
    if impl not in _implementations:
        raise ValueError(
            f"Unknown flash attention impl '{impl}'. Available implementations: {list_flash_attention_impls()}"
        )
    handle = _implementations[impl]()
    if handle is not None:
        _active.append((impl, handle))


def list_flash_attention_impls():
    """The names of the registered implementations."""
    return sorted(_implementations)


def current_flash_attention_impl():
    """The name of the implementation in place; None is the built-in one."""
    return _active[-1][0] if _active else None


def restore_flash_attention_impl(_raise_warn=True):
    """Goes back to the built-in implementation."""
    if _active:
        _active.pop()[1].remove()
    elif _raise_warn:
        _log.warning("Trying to restore default FA2 impl when no custom impl was activated")


__getattr__ = on_demand(__name__, "flex_attention")

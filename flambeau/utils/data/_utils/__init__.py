"""The parts of `DataLoader`: fetching, collating, worker processes and their channels."""

import atexit

MP_STATUS_CHECK_INTERVAL = 5.0  # seconds after which a waiting worker looks whether its parent still lives

HAS_NUMPY = True
# True once the interpreter begins to end: whoever waits for a worker in a finaliser need not.
python_exit_status = False


def _set_python_exit_flag() -> None:
    global python_exit_status
    python_exit_status = True


atexit.register(_set_python_exit_flag)


def __getattr__(name):
    if name in ("signal_handling", "pin_memory", "collate", "fetch", "worker"):  # for loaders that others wrote
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.utils.data._utils' has no attribute '{name}'")

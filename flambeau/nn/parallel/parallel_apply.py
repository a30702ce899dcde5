"""Several modules called at the same time, each in a thread."""

from concurrent.futures import ThreadPoolExecutor

import flambeau
from flambeau import Tensor

__all__ = ["get_a_var", "parallel_apply"]


def get_a_var(obj):
    """The first tensor in a nest of lists, tuples and dicts."""
    if isinstance(obj, Tensor):
        return obj
    items = obj.items() if isinstance(obj, dict) else obj if isinstance(obj, (list, tuple)) else ()
    return next((found for found in map(get_a_var, items) if found is not None), None)


def parallel_apply(modules, inputs, kwargs_tup=None, devices=None):
    """The outputs of each module on its inputs."""
    for name, given in (("inputs", inputs), ("kwargs_tup", kwargs_tup), ("devices", devices)):
        if given is not None and len(given) != len(modules):
            raise AssertionError(
                f"The number of modules {len(modules)} is not equal to the number of {name} {len(given)}"
            )
    kwargs_tup = [{}] * len(modules) if kwargs_tup is None else kwargs_tup
    grad = flambeau.is_grad_enabled()

    def run(module, args, kwargs):
        with flambeau.set_grad_enabled(grad):
            return module(*(args if isinstance(args, (list, tuple)) else (args,)), **kwargs)

    if len(modules) == 1:
        return [run(modules[0], inputs[0], kwargs_tup[0])]
    with ThreadPoolExecutor(max_workers=len(modules) or 1) as pool:
        return list(pool.map(run, modules, inputs, kwargs_tup))

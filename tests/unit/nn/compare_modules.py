"""Compares every module of PyTorch's module database with ours on PyTorch's tensors; run as a program.

Checked: repr, keys of the state dict, initial parameters bit for bit, outputs and gradients, errors. It is a program
of its own because it needs a process in which flambeau is not loaded. Prints one line per difference.
"""

import sys
import warnings

import purity
import torch
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

flambeau = purity.stand_in()
nn = flambeau.nn


def counterpart(theirs):
    """Our class of the same path."""
    owner = __import__(theirs.__module__.replace("torch.", "flambeau.", 1), fromlist=["x"])
    return getattr(owner, theirs.__name__)


def translate(x):
    """Constructor arguments with torch's modules and functions replaced by ours."""
    if isinstance(x, torch.nn.Module):
        return build(counterpart(type(x)), x._built_with, like=x)
    if isinstance(x, type) and issubclass(x, torch.nn.Module):
        return counterpart(x)
    if callable(x) and getattr(x, "__module__", "") == "torch.nn.functional":
        return getattr(nn.functional, x.__name__)
    if isinstance(x, torch.nn.Parameter):
        return nn.Parameter(x.detach().clone(), x.requires_grad)
    if type(x) in (list, tuple):
        return type(x)(map(translate, x))
    return x


def build(cls, given, like=None):
    args, kwargs = given
    module = cls(*map(translate, args), **{k: translate(v) for k, v in kwargs.items()})
    if like is not None and like.state_dict():
        module.load_state_dict(like.state_dict())
    return module


def remember_arguments():
    def new(cls, *args, **kwargs):
        self = object.__new__(cls)
        self.__dict__["_built_with"] = (args, kwargs)
        return self

    torch.nn.Module.__new__ = new


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def close(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.allclose(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b or (a is None and b is None)


def copies(x):
    if isinstance(x, torch.Tensor):
        return x.detach().clone().requires_grad_(x.requires_grad)
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return type(x)(map(copies, x))
    return x


def sums(out):
    if isinstance(out, torch.Tensor):
        return [out] if out.requires_grad else []
    return [t for item in out for t in sums(item)] if isinstance(out, (list, tuple)) else []


def run(module, forward):
    torch.manual_seed(1)
    args, kwargs = copies(list(forward.args)), {k: copies(v) for k, v in forward.kwargs.items()}
    out = module(*args, **kwargs)
    differentiable = sums(out)
    if differentiable:
        torch.autograd.backward([t.float().pow(2).sum() for t in differentiable])
    return out, [p.grad for p in module.parameters()], [t.grad for t in args if isinstance(t, torch.Tensor)]


def attempt(fn, *args, **kwargs):
    try:
        return fn(*args, **kwargs), None
    except Exception as error:
        return None, error


def compare(info, training, report):
    theirs, ours = info.module_cls, counterpart(info.module_cls)
    inputs = info.module_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=True, training=training)
    for i, sample in enumerate(inputs):
        given = sample.constructor_input.args, sample.constructor_input.kwargs
        torch.manual_seed(0)
        a = theirs(*given[0], **given[1]).train(training)
        torch.manual_seed(0)
        b = build(ours, given).train(training)
        if repr(a) != repr(b):
            report(i, "repr", f"{b!r} instead of {a!r}")
        state, mine = a.state_dict(), b.state_dict()
        if list(state) != list(mine) or state._metadata != mine._metadata:
            report(i, "state_dict", f"{list(mine)} instead of {list(state)}")
        lazy = any(torch.nn.parameter.is_lazy(p) for p in (*a.parameters(), *a.buffers()))
        if not lazy and not same(list(state.values()), list(mine.values())):
            report(i, "initial values", "")
        if sample.forward_input is None:
            continue
        if not lazy:
            b.load_state_dict(state)
        want, failed = attempt(run, a, sample.forward_input)
        got, error = attempt(run, b, sample.forward_input)
        if failed is not None or error is not None:
            if type(failed) is not type(error) or str(failed) != str(error):
                report(i, "error", f"{error!r} instead of {failed!r}")
        elif not close(want, got):
            report(i, "output", "")


def compare_errors(info, report):
    ours = counterpart(info.module_cls)
    cases = info.module_error_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=False, training=True)
    for i, case in enumerate(cases):
        given = case.module_error_input
        args = given.constructor_input.args, given.constructor_input.kwargs
        error = None
        if case.error_on is ModuleErrorEnum.CONSTRUCTION_ERROR:
            _, want = attempt(info.module_cls, *args[0], **args[1])
            _, error = attempt(build, ours, args)
        else:
            forward = given.forward_input
            a, b = info.module_cls(*args[0], **args[1]), build(ours, args)
            _, want = attempt(a, *forward.args, **forward.kwargs)
            _, error = attempt(b, *forward.args, **forward.kwargs)
        if type(want) is not type(error) or str(want) != str(error):
            report(i, "error input", f"{error!r} instead of {want!r}")


def main(pattern=""):
    warnings.simplefilter("ignore")
    remember_arguments()
    torch.set_num_threads(1)
    found, entries = [], 0
    for info in module_db:
        if pattern not in info.name or not info.module_cls.__module__.startswith("torch.nn.modules"):
            continue
        entries += 1

        def report(i, what, detail, name=info.name):
            found.append(f"{name}[{i}] {what}: {detail}")

        for training in (True, False) if info.train_and_eval_differ else (True,):
            _, error = attempt(compare, info, training, report)
            if error is not None:
                report("?", "raised", repr(error))
        if info.module_error_inputs_func is not None:
            _, error = attempt(compare_errors, info, report)
            if error is not None:
                report("?", "raised on error inputs", repr(error))
    print("\n".join(found))
    print(f"{entries} modules, {len(found)} differences")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

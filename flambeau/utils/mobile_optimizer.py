"""TorchScript modules made ready for machines that only run them."""

from enum import Enum

import flambeau

__all__ = ["LintCode", "MobileOptimizerType", "generate_mobile_module_lints", "optimize_for_mobile"]


class MobileOptimizerType(Enum):
    """Steps that can be left out. There are two here: what depends on PyTorch's mobile kernels has nothing to do."""

    CONV_BN_FUSION = 0
    INSERT_FOLD_PREPACK_OPS = 1
    REMOVE_DROPOUT = 2
    FUSE_ADD_RELU = 3
    HOIST_CONV_PACKED_PARAMS = 4
    VULKAN_AUTOMATIC_GPU_TRANSFER = 6


class LintCode(Enum):
    """What may be wrong with a module."""

    BUNDLED_INPUT = 1
    REQUIRES_GRAD = 2
    DROPOUT = 3
    BATCHNORM = 4


def _scripted(module):
    if not isinstance(module, flambeau.jit.ScriptModule):
        raise TypeError(f"Got {type(module)}, but ScriptModule is expected.")


def optimize_for_mobile(script_module, optimization_blocklist=None, preserved_methods=None, backend: str = "CPU"):
    """The module in evaluation, frozen: parameters are constants, convolutions take in the normalisations behind them.

    Args:
        script_module: the module; it stays what it is
        optimization_blocklist: steps to leave out
        preserved_methods: methods that are kept besides `forward`
        backend: "CPU"; "Vulkan" and "Metal" say NotImplementedError
    """
    _scripted(script_module)
    kept = [str(name) for name in preserved_methods or ()]
    missing = [name for name in kept if not hasattr(script_module, name)]
    if missing:
        raise AttributeError(f"The following methods to preserve do not exist in script_module: {', '.join(missing)}")
    if backend.lower() in ("vulkan", "metal"):
        raise NotImplementedError(f"torch.utils.mobile_optimizer.optimize_for_mobile(backend={backend!r})")
    if backend.lower() != "cpu":
        raise TypeError("Unknown backend, must be one of 'CPU', 'Vulkan' or 'Metal'")
    fuse = MobileOptimizerType.CONV_BN_FUSION not in (optimization_blocklist or ())
    copy = script_module.copy() if hasattr(script_module, "copy") else script_module
    return flambeau.jit.freeze(copy.eval(), preserved_attrs=kept or None, optimize_numerics=fuse)


def generate_mobile_module_lints(script_module):
    """What may be wrong with a module, as {name, message}."""
    _scripted(script_module)
    found = []

    def note(code, message):
        found.append({"name": code.name, "message": message})

    if not hasattr(script_module, "_generate_bundled_inputs_for_forward"):
        note(LintCode.BUNDLED_INPUT, "No bundled input for forward, please add bundled inputs before saving the module using "
             "torch.utils.bundled_inputs.augment_model_with_bundled_inputs.")  # fmt: skip
    for name, parameter in script_module.named_parameters():
        if parameter.requires_grad:
            note(LintCode.REQUIRES_GRAD, f"Param {name} requires grad, please set torch.no_grad() to reduce memory usage and "
                 "improve computation speed during inference phase.")  # fmt: skip
    for op in flambeau.jit.export_opnames(script_module):
        for code, part, before in ((LintCode.DROPOUT, "dropout", "."), (LintCode.BATCHNORM, "batch_norm", " ")):
            if part in op:
                note(code, f"Operator {op} exists, remember to call eval() before saving the module{before}and call "
                     f"torch.utils.mobile_optimizer.optimize_for_mobile to drop {part} operator.")  # fmt: skip
    return found

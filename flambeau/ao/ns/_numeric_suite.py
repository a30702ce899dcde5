"""Weights, results and results for equal inputs of a quantized model, beside those of its float model: in eager mode.

What is logged is found by the names of modules; a float name matches a quantized one where they differ by the last
part, or by the last two, as those of fused modules do.
"""

import flambeau
from flambeau import nn
from flambeau.ao import quantization
from flambeau.ao.nn import quantized
from flambeau.ao.nn.quantized import dynamic

NON_LEAF_MODULE_TO_ADD_OBSERVER_ALLOW_LIST = {dynamic.Linear, quantized.Linear, dynamic.LSTM, nn.LSTM}


def _find_match(str_list, key_str, postfix):
    """The first name that stands for ``key_str``, whose last part must be ``postfix``; ``None`` where there is none."""
    parts = key_str.split(".")
    if parts[-1] != postfix:
        return None
    stems = ["".join(parts[:-1])]
    if postfix == "_packed_params" and len(parts) > 2:
        stems.append("".join(parts[:-2]))
    for stem in stems:
        for name in str_list:
            pieces = name.split(".")
            if stem in ("".join(pieces[:-1]), "".join(pieces[:-2])):
                return name
    return None


def compare_weights(float_dict, quantized_dict):
    """``{name: {"float": weight, "quantized": weight}}`` for the weights of a quantized state dict that a float one has."""
    found = {}
    for key, value in quantized_dict.items():
        match = _find_match(float_dict, key, "weight")
        if match is not None:
            found[key] = {"float": float_dict[match], "quantized": value}
            continue
        match = _find_match(float_dict, key, "_packed_params")
        if match is not None:
            found[key] = {"float": float_dict[match], "quantized": value[0]}
        parts = key.split(".")
        if parts[-1] == "param" and parts[-3] == "_all_weight_values":
            name = ".".join(parts[:-3])
            by_input, by_state = (f"{name}.weight_{kind}_l{parts[-2]}" for kind in ("ih", "hh"))
            if by_input in float_dict and by_state in float_dict:
                packed = value.__getstate__()[0][4][1]  # of the two weights of a cell, the second is kept
                found[key] = {"float": float_dict[by_state], "quantized": packed.__getstate__()[0][0]}
    return found


def get_logger_dict(mod, prefix=""):
    """What the loggers in a module have seen: ``{name of the logger's module: statistics}``."""
    found = {}
    logger = next((child for child in mod.children() if isinstance(child, Logger)), None)
    if logger is not None:
        found[f"{prefix}.stats" if prefix else "stats"] = logger.stats
    for name, child in mod.named_children():
        found.update(get_logger_dict(child, f"{prefix}.{name}" if prefix else name))
    return found


class Logger(nn.Module):
    """What keeps statistics, in ``stats``."""

    def __init__(self):
        super().__init__()
        self.stats = {}
        self.dtype = flambeau.quint8  # observers have one

    def forward(self, x):
        """Nothing is logged."""


class ShadowLogger(Logger):
    """Keeps the results of a quantized module and of its float shadow."""

    def __init__(self):
        super().__init__()
        self.stats["float"] = []
        self.stats["quantized"] = []

    def forward(self, x, y):
        x = x[0] if len(x) > 1 else x
        y = y[0] if len(y) > 1 else y
        self.stats["quantized"].append(x.detach())
        self.stats["float"].append(y.detach())


class OutputLogger(Logger):
    """Keeps what passes through."""

    def __init__(self):
        super().__init__()
        self.stats["tensor_val"] = []

    def forward(self, x):
        self.stats["tensor_val"].append(x)
        return x


def _convert_tuple_to_list(t):
    return [_convert_tuple_to_list(x) for x in t] if type(t) is tuple else t


def _dequantize_tensor_list(t):
    if type(t) is list:
        return [_dequantize_tensor_list(x) for x in t]
    return t.dequantize() if t.is_quantized else t


class Shadow(nn.Module):
    """A quantized module, and beside it the float one, which is given the same inputs; their results are logged."""

    def __init__(self, q_module, float_module, logger_cls):
        super().__init__()
        self.orig_module = q_module
        self.shadow_module = float_module
        self.dequant = quantized.DeQuantize()
        self.logger = logger_cls()

    def forward(self, *x):
        given = _convert_tuple_to_list(x)
        output = self.orig_module(*given)
        self.logger(output, self.shadow_module(*_dequantize_tensor_list(given)))
        return output

    def _both(self, name, x, other):
        """An operator of functional modules, in both."""
        output = getattr(self.orig_module, name)(x, other)
        x, other = (
            [t.dequantize() for t in v] if isinstance(v, list) else v.dequantize() if hasattr(v, "dequantize") else v
            for v in (x, other)
        )
        self.logger(output, getattr(self.shadow_module, name)(x, other))
        return output

    def add(self, x, y):
        """The sum."""
        return self._both("add", x, y)

    def add_scalar(self, x, y):
        """The sum with a number."""
        return self._both("add_scalar", x, y)

    def mul(self, x, y):
        """The product."""
        return self._both("mul", x, y)

    def mul_scalar(self, x, y):
        """The product with a number."""
        return self._both("mul_scalar", x, y)

    def cat(self, x, dim=0):
        """Tensors one behind the other."""
        return self._both("cat", x, dim)

    def add_relu(self, x, y):
        """ReLU of the sum."""
        return self._both("add_relu", x, y)


def _is_identical_module_type(mod1, mod2):
    return [type(m) for m in mod1.modules()] == [type(m) for m in mod2.modules()]


def prepare_model_with_stubs(float_module, q_module, module_swap_list, logger_cls):
    """Puts a :class:`Shadow` in place of each quantized module whose float type is listed."""
    floats = dict(float_module.named_children())
    for name, mod in list(q_module.named_children()):
        if name not in floats:
            continue
        if type(floats[name]) not in module_swap_list:
            prepare_model_with_stubs(floats[name], mod, module_swap_list, logger_cls)
        elif not _is_identical_module_type(mod, floats[name]):
            q_module._modules[name] = Shadow(mod, floats[name], logger_cls)


def compare_model_stub(float_model, q_model, module_swap_list, *data, logger_cls=ShadowLogger):
    """What quantized modules and their float shadows give for the same inputs."""
    prepare_model_with_stubs(float_model, q_model, module_swap_list, logger_cls)
    q_model(*data)
    return get_logger_dict(q_model)


def get_matching_activations(float_module, q_module):
    """What was logged in both models, by the names of the quantized one."""
    floats, found = get_logger_dict(float_module), {}
    for key, stats in get_logger_dict(q_module).items():
        if len(stats["tensor_val"]) == 0:
            continue
        match = _find_match(sorted(floats, reverse=True), key, "stats")
        if match is not None:
            found[key] = {"float": floats[match]["tensor_val"], "quantized": stats["tensor_val"]}
    return found


def prepare_model_outputs(float_module, q_module, logger_cls=OutputLogger, allow_list=None):
    """Puts loggers behind the modules of both models whose types are listed."""
    if allow_list is None:
        allow_list = quantization.get_default_compare_output_module_list()
    logged = quantization.QConfig(activation=logger_cls, weight=None)
    float_module.qconfig = logged
    quantization.prepare(float_module, inplace=True, allow_list=allow_list, prepare_custom_config_dict={})
    q_module.qconfig = logged
    quantization.prepare(
        q_module,
        inplace=True,
        allow_list=allow_list,
        observer_non_leaf_module_list=NON_LEAF_MODULE_TO_ADD_OBSERVER_ALLOW_LIST,
        prepare_custom_config_dict={},
    )


def compare_model_outputs(float_model, q_model, *data, logger_cls=OutputLogger, allow_list=None):
    """What both models give, module by module, for the same data."""
    prepare_model_outputs(float_model, q_model, logger_cls, allow_list)
    float_model(*data)
    q_model(*data)
    return get_matching_activations(float_model, q_model)

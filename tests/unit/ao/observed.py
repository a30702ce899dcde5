"""Configurations that stand for those of `ao.quantization` where a module is made of a float one."""

from collections import namedtuple

Config = namedtuple("Config", ("activation", "weight"))


def observer(fl, scheme="per_tensor_symmetric", dtype="qint8", axis=0, low=-128, high=127, scale=None):
    """A module that chooses scales by the largest magnitude it saw last."""

    class Observer(fl.nn.Module):
        def __init__(self, factory_kwargs=None):
            super().__init__()
            self.dtype, self.qscheme, self.ch_axis = getattr(fl, dtype), getattr(fl, scheme), axis
            self.quant_min, self.quant_max = low, high

        def forward(self, x):
            self.seen = x.detach()
            return x

        def calculate_qparams(self):
            if scale is not None:
                return fl.tensor([scale[0]]), fl.tensor([scale[1]])
            x = self.seen.abs()
            if "channel" in scheme:
                x = x.transpose(0, axis).flatten(1).amax(1) / high
                return x, fl.zeros_like(x) if "float" in scheme else fl.zeros_like(x).long()
            x = x.max().reshape(1) / high
            return x, fl.zeros(1, dtype=fl.int64)

    return Observer


def config(fl, **options):
    """Weights as told; results in codes of 0.07 from 110."""
    return Config(observer(fl, dtype="quint8", scale=(0.07, 110)), observer(fl, **options))


def observed(fl, module, **options):
    """A module as preparation leaves it, with its configuration and the observer of its results."""
    module.qconfig = config(fl, **options)
    module.activation_post_process = module.qconfig.activation()
    for child in module.children():
        child.qconfig = module.qconfig
    return module


def told(value):
    """What `agree` can compare: quantized tensors as codes, scales and zero points."""
    if isinstance(value, (list, tuple)):
        return [told(v) for v in value]
    if isinstance(value, dict):
        return {key: told(v) for key, v in value.items()}
    if getattr(value, "is_quantized", False):
        if "channel" in str(value.qscheme()):
            return [
                value.int_repr(),
                value.q_per_channel_scales(),
                value.q_per_channel_zero_points(),
                value.q_per_channel_axis(),
            ]
        return [value.int_repr(), value.q_scale(), value.q_zero_point()]
    if type(value).__name__ == "dtype":
        return str(value)
    return value


def with_engine(fl, engine, run):
    """Runs something with this engine chosen: PyTorch has some operators in one engine only."""
    before, fl.backends.quantized.engine = fl.backends.quantized.engine, engine
    try:
        return run()
    finally:
        fl.backends.quantized.engine = before
